//! Bytes that change on the disk: found by readers, by a scrub and at open, named, and put right from another store.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use posthouse_model::{LogIndex, Message, ReplicaId, Term};
use posthouse_store::crash::CrashDisk;
use posthouse_store::{
    Checkpoint, Config, CutPlan, DamageObserver, Damaged, DamagedPart, Disk, GroupId, KeepClass, LogPoint,
    OnDamage, OpenError, Opening, RealDisk, SegmentFile, Store, StoreFault,
};

use crate::fixtures::{
    GROUP, SET, answer, append, by_hand, cut_by, entry, files, find, key, message, plan, send,
};

/// Another set, which nothing may be said of that is the first one's.
const OTHER: GroupId = GroupId(2);

/// Counts what it is told.
#[derive(Default)]
struct Told(AtomicU64);

impl DamageObserver for Told {
    fn damaged(&self, group: GroupId) {
        assert_eq!(group, GROUP, "nothing else was touched");
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn telling(on_damage: OnDamage) -> Config {
    Config {
        on_damage,
        ..by_hand()
    }
}

fn open(disk: &CrashDisk) -> Store {
    let config = telling(OnDamage::Tell);
    Store::open(Path::new("/data"), Arc::new(disk.clone()), config).expect("it opens with what is whole")
}

fn cut(store: &Store, at: u64, rewrite: Vec<LogIndex>) -> Result<(), StoreFault> {
    let meta = Bytes::from_static(b"meta");
    cut_by(
        store,
        CutPlan {
            rewrite,
            meta,
            ..plan(at)
        },
    )
}

/// Fills a store with two segments, one of each of the cuts at 3 and 6, and an entry after them.
fn fill(store: &Store) {
    for number in 1..=6 {
        send(store, number);
        if number % 3 == 0 {
            cut(store, number, Vec::new()).expect("the disk is well");
        }
    }
    send(store, 7);
}

fn filled(seed: u64) -> (CrashDisk, Store) {
    let disk = CrashDisk::new(seed);
    let store = open(&disk);
    fill(&store);
    (disk, store)
}

fn scrub(store: &Store) -> u64 {
    let mut scrub = store.scrub();
    std::iter::from_fn(|| scrub.step()).sum()
}

fn body(store: &Store, number: u64) -> Result<Option<Message>, StoreFault> {
    let read = store.bodies(SET).read(key(number))?;
    Ok(read.map(|stored| stored.message))
}

/// Returns the one damaged thing there is.
fn only(store: &Store) -> Damaged {
    let damage = store.damage();
    assert_eq!(damage.len(), 1, "{damage:?}");
    damage.into_iter().next().expect("one")
}

fn segment(damaged: &Damaged) -> SegmentFile {
    match damaged.part {
        DamagedPart::Segment(file) => file,
        other => panic!("{other:?}"),
    }
}

/// Mends a segment from another store, in pieces.
fn mend(store: &Store, from: &Store, file: SegmentFile) -> Result<(), StoreFault> {
    let import = store.import(GROUP, vec![file]);
    let mut offset = 0;
    while offset < file.bytes {
        let piece = from.read_segment(GROUP, file, offset, 100)?;
        let piece = piece.expect("the other has it");
        import.write(file, offset, &piece)?;
        offset += piece.len() as u64;
    }
    import.settle(file)?;
    let (done, told) = answer();
    import.mend(done);
    while store.step_job() {}
    told.recv().expect("an answer")
}

fn all_are_there(store: &Store) {
    for number in 1..=7 {
        assert_eq!(body(store, number), Ok(Some(message(number))), "{number}");
    }
}

#[test]
fn a_reader_finds_a_flipped_bit_and_it_is_told_and_named() {
    let (disk, store) = filled(1);
    let told = Arc::new(Told::default());
    store.observe_damage(told.clone());
    let path = files(&disk, "groups", ".segment").remove(0);
    let at = find(&disk, &path, b"body 2");
    disk.flip(&path, at, 4);
    assert_eq!(store.damage(), []);
    for _ in 0..2 {
        assert!(matches!(body(&store, 2), Err(StoreFault::Corrupt { file, .. }) if file == path));
    }
    assert_eq!(told.0.load(Ordering::Relaxed), 1, "told once");
    let damaged = only(&store);
    assert_eq!((damaged.group, &damaged.file), (GROUP, &path));
    assert!(
        damaged.offset <= at && at < damaged.offset + damaged.bytes,
        "{damaged:?}"
    );
    let file = segment(&damaged);
    assert_eq!((file.made_at, file.class), (LogIndex(3), KeepClass::Hour));
    assert_eq!(body(&store, 1), Ok(Some(message(1))), "the rest is read still");
    assert_eq!(
        store.read_segment(GROUP, file, 0, 10),
        Ok(None),
        "and not handed on"
    );
}

#[test]
fn a_scrub_finds_a_flipped_bit_wherever_it_is() {
    let (disk, store) = filled(2);
    let whole = scrub(&store);
    assert!(whole > 0);
    assert_eq!(store.damage(), []);
    drop(store);
    disk.kill();
    let mut paths = files(&disk, "groups", ".segment");
    paths.extend(files(&disk, "groups", ".checkpoint"));
    let mut tried = 0;
    for path in paths {
        let bytes = disk.contents(&path).expect("the file is there");
        for offset in (0..bytes.len() as u64).step_by(7) {
            let store = open(&disk);
            disk.flip(&path, offset, (offset % 8) as u8);
            scrub(&store);
            let damaged = only(&store);
            assert_eq!((damaged.group, &damaged.file), (GROUP, &path));
            assert!(
                damaged.offset <= offset && offset < damaged.offset + damaged.bytes,
                "{offset}: {damaged:?}"
            );
            disk.flip(&path, offset, (offset % 8) as u8);
            drop(store);
            disk.kill();
            tried += 1;
        }
    }
    assert!(tried > 1000, "{tried}");
}

#[test]
fn a_scrub_finds_damage_in_the_log_and_names_the_group_whose_entries_it_hits() {
    let disk = CrashDisk::new(3);
    let store = open(&disk);
    for number in 1..=20 {
        append(&store, GROUP, number);
        append(&store, OTHER, number);
    }
    let told = Arc::new(Told::default());
    store.observe_damage(told.clone());
    // Entries of both groups have the same bytes; the first is the first group's.
    let path = files(&disk, "wal", ".log").remove(0);
    let at = find(&disk, &path, b"body 3");
    disk.flip(&path, at, 4);
    let last = files(&disk, "wal", ".log").pop().expect("a file");
    let end = find(&disk, &last, b"body 20");
    disk.flip(&last, end, 0);
    scrub(&store);
    let damaged = only(&store);
    assert_eq!(
        (damaged.group, damaged.part, &damaged.file),
        (GROUP, DamagedPart::Log, &path)
    );
    assert!(
        damaged.offset <= at && at < damaged.offset + damaged.bytes,
        "{damaged:?}"
    );
    assert_eq!(told.0.load(Ordering::Relaxed), 1);
    assert!(
        store
            .log(OTHER)
            .read(LogIndex(1)..LogIndex(21), usize::MAX)
            .is_ok()
    );

    // Once a checkpoint has replaced the entries, nothing is wrong any more.
    purge(&store, GROUP, 2);
    assert_eq!(store.damage().len(), 1);
    purge(&store, GROUP, 20);
    assert_eq!(store.damage(), []);
}

#[test]
fn a_damaged_segment_is_mended_from_another_store_for_good() {
    let (_, healthy) = filled(4);
    let (disk, store) = filled(4);
    let path = files(&disk, "groups", ".segment").remove(0);
    let whole = disk.contents(&path).expect("the file");
    disk.flip(&path, find(&disk, &path, b"body 2"), 4);
    scrub(&store);
    mend(&store, &healthy, segment(&only(&store))).expect("mended");
    assert_eq!(store.damage(), []);
    all_are_there(&store);
    assert_eq!(disk.contents(&path).as_ref(), Some(&whole));
    let left = files(&disk, "groups", ".partial");
    assert!(left.is_empty(), "{left:?}");
    drop(store);
    disk.cut_power();
    let store = open(&disk);
    assert_eq!(store.damage(), []);
    assert_eq!(body(&store, 2), Ok(Some(message(2))), "it is durable");
}

#[test]
fn what_is_mended_with_is_checked() {
    let (other_disk, healthy) = filled(5);
    let (disk, store) = filled(5);
    let path = files(&disk, "groups", ".segment").remove(0);
    disk.flip(&path, find(&disk, &path, b"body 2"), 4);
    scrub(&store);
    let file = segment(&only(&store));
    // The other's is damaged where it has not looked.
    other_disk.flip(&path, find(&other_disk, &path, b"body 1"), 1);
    assert!(matches!(
        mend(&store, &healthy, file),
        Err(StoreFault::Corrupt { .. })
    ));
    assert_eq!(only(&store).file, path, "it is damaged still");
    assert_eq!(
        body(&store, 1),
        Ok(Some(message(1))),
        "and not replaced by a worse one"
    );
}

#[test]
fn a_store_opens_without_a_segment_that_cannot_be_opened_and_says_so() {
    let (disk, store) = filled(6);
    let (_, healthy) = filled(6);
    drop(store);
    disk.kill();
    let path = files(&disk, "groups", ".segment").remove(0);
    let last = disk.contents(&path).expect("the file").len() as u64 - 1;
    disk.flip(&path, last, 0);
    let refuses = Store::open(
        Path::new("/data"),
        Arc::new(disk.clone()),
        telling(OnDamage::Refuse),
    );
    assert!(matches!(refuses, Err(OpenError::Corrupt { file, .. }) if file == path));

    let store = open(&disk);
    let damaged = only(&store);
    assert_eq!((damaged.group, &damaged.file), (GROUP, &path));
    // It may be in there: "not here" would be a lie.
    assert!(matches!(body(&store, 2), Err(StoreFault::Corrupt { file, .. }) if file == path));
    assert_eq!(body(&store, 5), Ok(Some(message(5))));
    assert!(store.export(GROUP).is_err(), "what is not whole is not handed on");
    // Cuts go on, and forget nothing; only what has to be read for them fails.
    cut(&store, 7, vec![LogIndex(3)]).expect_err("the damaged one cannot be rewritten");
    cut(&store, 8, Vec::new()).expect("the rest is well");
    drop(store);
    disk.kill();
    let store = open(&disk);
    mend(&store, &healthy, segment(&only(&store))).expect("mended");
    assert_eq!(store.damage(), []);
    for number in 1..=6 {
        assert_eq!(body(&store, number), Ok(Some(message(number))), "{number}");
    }
}

#[test]
fn a_segment_that_is_gone_is_mended_too() {
    let (disk, store) = filled(7);
    let (_, healthy) = filled(7);
    drop(store);
    disk.kill();
    let path = files(&disk, "groups", ".segment").remove(1);
    disk.remove(&path).expect("it was there");
    let store = open(&disk);
    let damaged = only(&store);
    assert_eq!(damaged.file, path);
    mend(&store, &healthy, segment(&damaged)).expect("mended");
    assert_eq!(body(&store, 5), Ok(Some(message(5))));
}

#[test]
fn an_import_fetches_anew_what_is_damaged_here() {
    let (disk, store) = filled(8);
    let (_, healthy) = filled(8);
    let path = files(&disk, "groups", ".segment").remove(0);
    disk.flip(&path, find(&disk, &path, b"body 2"), 4);
    let export = healthy.export(GROUP).expect("readable").expect("a checkpoint");
    assert_eq!(
        store.import(GROUP, export.files()).missing(),
        [],
        "as long as nobody knows"
    );
    scrub(&store);
    let file = segment(&only(&store));
    assert_eq!(store.import(GROUP, export.files()).missing(), [(file, 0)]);
}

#[test]
fn a_damaged_checkpoint_is_replaced_by_the_next() {
    let (disk, store) = filled(9);
    let path = files(&disk, "groups", ".checkpoint").remove(0);
    disk.flip(&path, 30, 0);
    scrub(&store);
    assert_eq!(only(&store).part, DamagedPart::Checkpoint);
    cut(&store, 7, Vec::new()).expect("the disk is well");
    assert_eq!(store.damage(), []);
    scrub(&store);
    assert_eq!(store.damage(), []);
    all_are_there(&store);
}

fn vote(store: &Store, group: GroupId, vote: &'static [u8]) {
    let (done, told) = answer();
    store.log(group).save_vote(Bytes::from_static(vote), done);
    store.step_log();
    told.recv().expect("an answer").expect("the disk is well");
}

fn last(store: &Store, group: GroupId) -> Option<LogIndex> {
    store.log(group).state().last.map(|last| last.index)
}

fn purge(store: &Store, group: GroupId, index: u64) {
    let (done, purged) = answer();
    let point = LogPoint {
        term: Term(1),
        leader: ReplicaId(1),
        index: LogIndex(index),
    };
    store.log(group).purge(point, done);
    store.step_log();
    purged.recv().expect("an answer").expect("durable");
}

/// Fills the logs of two groups by turns, with a vote each before.
fn fill_logs(store: &Store, entries: u64) {
    for group in [GROUP, OTHER] {
        vote(store, group, b"a vote");
    }
    for number in 1..=entries {
        append(store, GROUP, number);
        append(store, OTHER, number);
    }
}

/// Returns where an entry of the first group is: the bytes of the others' entries are the same, and come later.
fn entry_at(disk: &CrashDisk, number: u64) -> (PathBuf, u64) {
    for path in files(disk, "wal", ".log") {
        let bytes = disk.contents(&path).expect("the file is there");
        let wanted = entry(number);
        if let Some(at) = bytes.windows(wanted.len()).position(|window| window == wanted) {
            return (path, at as u64);
        }
    }
    panic!("entry {number} is nowhere")
}

#[test]
fn a_group_that_lost_an_entry_gives_up_its_log_and_others_go_on() {
    for number in [1, 7, 20] {
        let disk = CrashDisk::new(number);
        let store = open(&disk);
        fill_logs(&store, 20);
        store.settle();
        drop(store);
        disk.kill();
        let (path, at) = entry_at(&disk, number);
        disk.flip(&path, at + 3, 2);
        let config = telling(OnDamage::Refuse);
        let refused = Store::open(Path::new("/data"), Arc::new(disk.clone()), config);
        assert!(
            matches!(&refused, Err(OpenError::Corrupt { file, offset, bytes, .. })
                if *file == path && *offset <= at && at < offset + bytes),
            "{refused:?}"
        );
        drop(refused);
        disk.kill();
        // It is found at every start, until a checkpoint has taken the place of what was lost.
        for _ in 0..2 {
            let store = open(&disk);
            let damaged = only(&store);
            assert_eq!(
                (damaged.group, damaged.part, &damaged.file),
                (GROUP, DamagedPart::Log, &path)
            );
            assert!(
                damaged.offset <= at && at < damaged.offset + damaged.bytes,
                "{damaged:?}"
            );
            assert_eq!(last(&store, GROUP), None);
            assert_eq!(last(&store, OTHER), Some(LogIndex(20)));
            for group in [GROUP, OTHER] {
                let vote = store.log(group).state().vote;
                assert_eq!(vote.as_deref(), Some(&b"a vote"[..]), "no vote was lost");
            }
            drop(store);
            disk.kill();
        }
        let store = open(&disk);
        assert_eq!(only(&store).group, GROUP);
        purge(&store, GROUP, 25);
        assert_eq!(store.damage(), []);
        append(&store, GROUP, 26);
        drop(store);
        disk.cut_power();
        let store = open(&disk);
        assert_eq!(store.damage(), [], "the checkpoint took its place");
        assert_eq!(last(&store, GROUP), Some(LogIndex(26)));
    }
}

#[test]
fn damage_that_may_have_cost_a_vote_is_told_of_every_group_that_votes() {
    let disk = CrashDisk::new(11);
    let store = open(&disk);
    append(&store, GROUP, 1);
    append(&store, OTHER, 1);
    vote(&store, OTHER, b"an early vote");
    vote(&store, GROUP, b"a vote that is lost");
    append(&store, GROUP, 2);
    store.settle();
    drop(store);
    disk.kill();
    let path = files(&disk, "wal", ".log").remove(0);
    let at = find(&disk, &path, b"a vote that is lost");
    disk.flip(&path, at, 0);
    let store = open(&disk);
    let groups: Vec<GroupId> = store.damage().iter().map(|damaged| damaged.group).collect();
    assert_eq!(groups, [GROUP, OTHER], "nobody knows whose vote it was");
    assert_eq!(
        store.log(OTHER).state().vote.as_deref(),
        Some(&b"an early vote"[..])
    );
}

#[test]
fn damage_that_a_later_file_makes_good_is_nobodys() {
    let disk = CrashDisk::new(12);
    let store = open(&disk);
    vote(&store, GROUP, b"a vote");
    for number in 1..=40 {
        append(&store, GROUP, number);
    }
    purge(&store, GROUP, 30);
    store.settle();
    drop(store);
    disk.kill();
    let paths = files(&disk, "wal", ".log");
    assert!(paths.len() > 1, "{paths:?}");
    // Of what is there, only the newest entries are needed; the vote is at the beginning of each file.
    let (path, at) = entry_at(&disk, 31);
    assert_ne!(Some(&path), paths.first());
    disk.flip(&paths[0], 5, 0);
    let store = open(&disk);
    assert_eq!(
        store.damage(),
        [],
        "a header says nothing that the first batch does not"
    );
    assert_eq!(last(&store, GROUP), Some(LogIndex(40)));
    drop(store);
    disk.kill();
    disk.flip(&path, at, 0);
    let store = open(&disk);
    assert_eq!(only(&store).group, GROUP, "that one was needed");
}

#[test]
fn whatever_byte_of_the_log_is_flipped_a_group_lost_nothing_or_says_so() {
    let disk = CrashDisk::new(13);
    let store = open(&disk);
    fill_logs(&store, 12);
    vote(&store, GROUP, b"a later vote");
    for number in 13..=14 {
        append(&store, GROUP, number);
    }
    store.settle();
    drop(store);
    disk.kill();
    let (mut noticed, mut harmless) = (0, 0);
    for path in files(&disk, "wal", ".log") {
        let bytes = disk.contents(&path).expect("the file is there");
        for offset in (0..bytes.len() as u64).step_by(5) {
            disk.flip(&path, offset, (offset % 8) as u8);
            let before = disk.contents(&path).expect("the file is there");
            let config = telling(OnDamage::Tell);
            match Store::open(Path::new("/data"), Arc::new(disk.clone()), config) {
                Ok(store) => {
                    let hurt: Vec<GroupId> = store.damage().iter().map(|damaged| damaged.group).collect();
                    for (group, entries, voted) in
                        [(GROUP, 14, &b"a later vote"[..]), (OTHER, 12, &b"a vote"[..])]
                    {
                        if hurt.contains(&group) {
                            noticed += 1;
                            continue;
                        }
                        harmless += 1;
                        assert_eq!(last(&store, group), Some(LogIndex(entries)), "{offset}: {group}");
                        let state = store.log(group).state();
                        assert_eq!(state.vote.as_deref(), Some(voted), "{offset}: {group}");
                        let read = store
                            .log(group)
                            .read(LogIndex(1)..LogIndex(entries + 1), usize::MAX);
                        assert_eq!(
                            read.map(|read| read.len()),
                            Ok(entries as usize),
                            "{offset}: {group}"
                        );
                    }
                }
                Err(OpenError::Corrupt { file, .. }) => assert_eq!(file, path),
                Err(other) => panic!("{offset}: {other}"),
            }
            disk.kill();
            let after = disk.contents(&path);
            // A wrong byte of the last batch is put right.
            if after.as_ref() != Some(&bytes) {
                assert_eq!(after.as_ref(), Some(&before), "an open changes nothing");
                disk.flip(&path, offset, (offset % 8) as u8);
            }
        }
    }
    assert!(noticed > 50 && harmless > 500, "{noticed} and {harmless}");
}

#[test]
fn whatever_byte_of_the_last_batch_is_wrong_nothing_of_it_is_lost() {
    let disk = CrashDisk::new(14);
    let store = open(&disk);
    fill_logs(&store, 3);
    drop(store);
    disk.kill();
    let path = files(&disk, "wal", ".log").pop().expect("a log file");
    let bytes = disk.contents(&path).expect("the file is there");
    let wanted = entry(3);
    let at = bytes.windows(wanted.len()).rposition(|window| window == wanted);
    let at = at.expect("the last entry is there") as u64;
    // Batches begin on blocks, and this one is a single record.
    let (start, end) = (at / 512 * 512, at + wanted.len() as u64);
    for offset in start..end {
        for on_damage in [OnDamage::Refuse, OnDamage::Tell] {
            disk.flip(&path, offset, (offset % 8) as u8);
            let opened = Store::open(Path::new("/data"), Arc::new(disk.clone()), telling(on_damage));
            let store = opened.expect("it opens as if nothing had been");
            assert_eq!(store.recovery().torn, None, "{offset}");
            assert_eq!(store.damage(), [], "{offset}");
            let read = store.log(OTHER).read_one(LogIndex(3)).expect("readable");
            assert_eq!(read.map(|record| record.payload), Some(entry(3)), "{offset}");
            drop(store);
            disk.cut_power();
            let now = disk.contents(&path).expect("the file is there");
            assert_eq!(
                now[..end as usize],
                bytes[..end as usize],
                "{offset}: put right for good"
            );
        }
    }
}

#[test]
fn a_wrong_byte_of_the_last_batch_in_a_real_file_is_put_right() {
    let dir = tempfile::tempdir().expect("a directory");
    let open = || Store::open(dir.path(), Arc::new(RealDisk), telling(OnDamage::Refuse));
    let store = open().expect("a new store");
    append(&store, GROUP, 1);
    append(&store, GROUP, 2);
    drop(store);
    let path = dir.path().join("wal/0000000001.log");
    let mut bytes = std::fs::read(&path).expect("a log file");
    let wanted = entry(2);
    let at = bytes.windows(wanted.len()).rposition(|window| window == wanted);
    bytes[at.expect("the last entry is there") + 3] ^= 0x55;
    std::fs::write(&path, &bytes).expect("writable");
    let store = open().expect("it opens as if nothing had been");
    assert_eq!(store.recovery().torn, None);
    let read = store.log(GROUP).read_one(LogIndex(2)).expect("readable");
    assert_eq!(read.map(|record| record.payload), Some(wanted));
}

/// Fills a store, and leaves the checkpoint before the newest, as a crash does before it is removed.
fn with_older_checkpoint(seed: u64) -> (CrashDisk, Store, [PathBuf; 2]) {
    let disk = CrashDisk::new(seed);
    let store = open(&disk);
    for number in 1..=3 {
        send(&store, number);
    }
    cut(&store, 3, Vec::new()).expect("the disk is well");
    let older = files(&disk, "groups", ".checkpoint").remove(0);
    let bytes = disk.contents(&older).expect("the file is there");
    for number in 4..=6 {
        send(&store, number);
    }
    cut(&store, 6, Vec::new()).expect("the disk is well");
    let newest = files(&disk, "groups", ".checkpoint").remove(0);
    assert_ne!(newest, older);
    let file = disk.open(&older, Opening::Create).expect("it can be made");
    file.write_at(&bytes, 0).expect("written");
    (disk, store, [older, newest])
}

#[test]
fn an_older_checkpoint_takes_the_place_of_a_damaged_one_if_the_log_goes_on_from_it() {
    for on_damage in [OnDamage::Refuse, OnDamage::Tell] {
        let (disk, store, [older, newest]) = with_older_checkpoint(15);
        drop(store);
        disk.kill();
        disk.flip(&newest, 50, 0);
        let opened = Store::open(Path::new("/data"), Arc::new(disk.clone()), telling(on_damage));
        let store = opened.expect("it opens");
        assert_eq!(store.damage(), []);
        let found = store.checkpoint(GROUP).expect("readable").expect("one");
        assert_eq!(found.at, LogIndex(3));
        assert_eq!(files(&disk, "groups", ".checkpoint"), [older]);
        let first = store.log(GROUP).read_one(LogIndex(4)).expect("readable");
        assert_eq!(first.map(|record| record.payload), Some(entry(4)));
    }
}

#[test]
fn a_group_whose_only_checkpoint_is_damaged_has_lost_its_state_and_says_so_until_it_has_anothers() {
    let (disk, store, [_, newest]) = with_older_checkpoint(16);
    vote(&store, GROUP, b"a vote");
    purge(&store, GROUP, 6);
    store.settle();
    append(&store, OTHER, 1);
    drop(store);
    disk.kill();
    disk.flip(&newest, 50, 0);
    match Store::open(
        Path::new("/data"),
        Arc::new(disk.clone()),
        telling(OnDamage::Refuse),
    ) {
        Err(error @ OpenError::Corrupt { .. }) => {
            let text = error.to_string();
            assert!(text.contains(newest.to_str().expect("a name")), "{text}");
            assert!(text.contains("restore the data directory from a copy"), "{text}");
        }
        other => panic!("{other:?}"),
    }
    for _ in 0..2 {
        let store = open(&disk);
        let damaged = only(&store);
        assert_eq!((damaged.group, damaged.part), (GROUP, DamagedPart::Log));
        assert_eq!(damaged.file, newest);
        assert_eq!(store.checkpoint(GROUP), Ok(None));
        assert!(!store.is_empty(GROUP));
        let state = store.log(GROUP).state();
        assert_eq!((state.last, state.purged, state.committed), (None, None, None));
        assert_eq!(
            state.vote.as_deref(),
            Some(&b"a vote"[..]),
            "no vote is forgotten"
        );
        assert_eq!(last(&store, OTHER), Some(LogIndex(1)));
        drop(store);
        disk.cut_power();
    }
    let store = open(&disk);
    let (done, told) = answer();
    let checkpoint = Checkpoint {
        at: LogIndex(9),
        meta: Bytes::from_static(b"meta"),
        state: Bytes::from_static(b"another's"),
    };
    store.import(GROUP, Vec::new()).commit(checkpoint.clone(), done);
    while store.step_job() {}
    told.recv().expect("an answer").expect("the disk is well");
    purge(&store, GROUP, 9);
    assert_eq!(store.damage(), []);
    drop(store);
    disk.cut_power();
    let store = open(&disk);
    assert_eq!(store.damage(), []);
    assert_eq!(store.checkpoint(GROUP), Ok(Some(checkpoint)));
    assert_eq!(last(&store, GROUP), Some(LogIndex(9)));
}
