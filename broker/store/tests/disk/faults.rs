//! What the store says when the disk, the directory or another process is in the way.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use posthouse_model::{BodyKey, Incarnation, LogIndex, Message, MessageId, ReplicaId, Sequences, Term, Time};
use posthouse_store::crash::CrashDisk;
use posthouse_store::{
    Checkpoint, Config, CutPlan, Disk, Export, GroupId, Import, Live, LogObserver, LogPoint, Op, OpenError,
    RealDisk, Store, StoreFault, SyncPoint,
};

use crate::fixtures::{
    All, GROUP, SET, answer, append, by_hand, cut_by, entry, files, find, key, message, plan, record, send,
    send_message,
};

const WAIT: Duration = Duration::from_secs(30);

fn open(disk: &CrashDisk) -> Result<Store, OpenError> {
    Store::open(Path::new("/data"), Arc::new(disk.clone()), by_hand())
}

fn cut(store: &Store, at: u64) -> Result<(), StoreFault> {
    cut_by(store, plan(at))
}

/// Notes what it is told.
#[derive(Default)]
struct Noted(std::sync::Mutex<Vec<u64>>);

impl LogObserver for Noted {
    fn synced(&self, bytes: u64, _time: Duration) {
        self.0.lock().expect("no test panics with it").push(bytes);
    }
}

#[test]
fn an_observer_is_told_of_each_batch_that_was_synced_and_of_none_that_was_not() {
    let disk = CrashDisk::new(0);
    let store = open(&disk).expect("opens");
    let noted = Arc::new(Noted::default());
    store.observe_log(noted.clone());
    for number in 1..=3 {
        send(&store, number);
    }
    let told = noted.0.lock().expect("no test panics with it").clone();
    assert_eq!(told.len(), 3);
    assert!(
        told.iter().all(|bytes| *bytes > 0 && bytes % 512 == 0),
        "{told:?}"
    );
    disk.fail_next(SyncPoint::WalBatch);
    let (done, answered) = answer();
    store.log(GROUP).append(vec![record(4, entry(4))], done);
    store.step_log();
    answered.recv().expect("an answer").expect_err("the sync failed");
    assert_eq!(noted.0.lock().expect("no test panics with it").len(), 3);
}

#[test]
fn a_torn_tail_is_cut_and_reported() {
    let disk = CrashDisk::new(1);
    let store = open(&disk).expect("a new store");
    send(&store, 1);
    send(&store, 2);
    drop(store);
    disk.kill();
    let log = files(&disk, "wal", ".log").pop().expect("a log file");
    let at = find(&disk, &log, b"body 2");
    // One wrong byte would be put right.
    disk.flip(&log, at, 3);
    disk.flip(&log, at + 1, 3);

    let store = open(&disk).expect("a torn tail is no reason not to start");
    let torn = store.recovery().torn.clone().expect("a torn tail");
    assert_eq!(torn.file, log);
    assert!(torn.offset <= at && at < torn.offset + torn.bytes, "{torn:?}");
    assert_eq!(
        store.log(GROUP).state().last.map(|last| last.index),
        Some(LogIndex(1))
    );
    // The place is written again, and read back.
    let (done, told) = answer();
    store.log(GROUP).append(vec![record(2, entry(5))], done);
    store.step_log();
    told.recv().expect("an answer").expect("durable");
    drop(store);
    disk.cut_power();
    let store = open(&disk).expect("nothing is wrong any more");
    assert_eq!(store.recovery().torn, None);
    assert_eq!(
        store.log(GROUP).read_one(LogIndex(2)),
        Ok(Some(record(2, entry(5))))
    );
}

#[test]
fn damage_below_what_was_durable_is_refused_with_file_and_offset() {
    let disk = CrashDisk::new(2);
    let store = open(&disk).expect("a new store");
    send(&store, 1);
    send(&store, 2);
    drop(store);
    disk.kill();
    let log = files(&disk, "wal", ".log").pop().expect("a log file");
    let at = find(&disk, &log, b"body 1");
    disk.flip(&log, at, 0);
    match open(&disk) {
        Err(OpenError::Corrupt { file, offset, .. }) => {
            assert_eq!(file, log);
            assert!(offset <= at && at < offset + 512, "offset {offset} for {at}");
        }
        other => panic!("opened: {other:?}"),
    }
}

#[test]
fn an_empty_batch_takes_the_doubt_from_the_last_one() {
    let disk = CrashDisk::new(3);
    let store = open(&disk).expect("a new store");
    send(&store, 1);
    store.settle();
    drop(store);
    disk.kill();
    let log = files(&disk, "wal", ".log").pop().expect("a log file");
    disk.flip(&log, find(&disk, &log, b"body 1"), 0);
    assert!(matches!(open(&disk), Err(OpenError::Corrupt { .. })));
}

#[test]
fn damage_at_the_end_of_a_file_that_another_follows_is_refused() {
    let disk = CrashDisk::new(4);
    let store = open(&disk).expect("a new store");
    let mut number = 0;
    while files(&disk, "wal", ".log").len() < 2 {
        number += 1;
        send(&store, number);
    }
    drop(store);
    disk.kill();
    let log = files(&disk, "wal", ".log").remove(0);
    let at = find(&disk, &log, format!("body {}", number - 1).as_bytes());
    disk.flip(&log, at, 1);
    match open(&disk) {
        Err(OpenError::Corrupt { file, .. }) => assert_eq!(file, log),
        other => panic!("opened: {other:?}"),
    }
}

#[test]
fn a_log_file_that_is_gone_is_missed() {
    let disk = CrashDisk::new(5);
    let store = open(&disk).expect("a new store");
    let mut number = 0;
    while files(&disk, "wal", ".log").len() < 3 {
        number += 1;
        send(&store, number);
    }
    drop(store);
    disk.kill();
    disk.remove(&files(&disk, "wal", ".log")[1])
        .expect("it was there");
    assert!(matches!(open(&disk), Err(OpenError::Corrupt { .. })));
}

#[test]
fn an_entry_that_is_damaged_while_running_is_reported_and_not_handed_out() {
    let disk = CrashDisk::new(6);
    let store = open(&disk).expect("a new store");
    send(&store, 1);
    send(&store, 2);
    let log = files(&disk, "wal", ".log").pop().expect("a log file");
    let at = find(&disk, &log, b"body 1");
    disk.flip(&log, at, 2);
    match store.log(GROUP).read_one(LogIndex(1)) {
        Err(StoreFault::Corrupt { file, offset, .. }) => {
            assert_eq!(file, log);
            assert!(offset <= at, "offset {offset} for {at}");
        }
        other => panic!("read: {other:?}"),
    }
    assert!(store.log(GROUP).read_one(LogIndex(2)).is_ok());
}

#[test]
fn a_flipped_bit_anywhere_in_a_segment_is_never_a_wrong_answer() {
    let disk = CrashDisk::new(7);
    let store = open(&disk).expect("a new store");
    for number in 1..=3 {
        send(&store, number);
    }
    cut(&store, 3).expect("the disk is well");
    let segment = files(&disk, "groups", ".segment").pop().expect("a segment");
    let bytes = disk.contents(&segment).expect("the segment");
    drop(store);
    disk.kill();
    let mut noticed = 0;
    for offset in (0..bytes.len() as u64).step_by(3) {
        disk.flip(&segment, offset, (offset % 8) as u8);
        match open(&disk) {
            Err(OpenError::Corrupt { file, .. }) => {
                assert_eq!(file, segment);
                noticed += 1;
            }
            Err(other) => panic!("{other}"),
            Ok(store) => {
                for number in 1..=3 {
                    match store.bodies(SET).read(key(number)) {
                        Ok(Some(found)) => assert_eq!(found.message, message(number)),
                        Err(StoreFault::Corrupt { file, .. }) => {
                            assert_eq!(file, segment);
                            noticed += 1;
                        }
                        other => panic!("offset {offset}: {other:?}"),
                    }
                }
            }
        }
        disk.kill();
        disk.flip(&segment, offset, (offset % 8) as u8);
    }
    assert!(noticed > 100, "{noticed} flips were noticed");
}

#[test]
fn a_damaged_checkpoint_is_refused() {
    let disk = CrashDisk::new(8);
    let store = open(&disk).expect("a new store");
    send(&store, 1);
    cut(&store, 1).expect("the disk is well");
    drop(store);
    disk.kill();
    let checkpoint = files(&disk, "groups", ".checkpoint").pop().expect("a checkpoint");
    disk.flip(&checkpoint, find(&disk, &checkpoint, b"state"), 0);
    match open(&disk) {
        Err(OpenError::Corrupt { file, .. }) => assert_eq!(file, checkpoint),
        other => panic!("opened: {other:?}"),
    }
}

#[test]
fn a_failed_sync_is_final() {
    let disk = CrashDisk::new(9);
    let store = open(&disk).expect("a new store");
    send(&store, 1);
    disk.fail_next(SyncPoint::WalBatch);
    let (done, told) = answer();
    store.log(GROUP).append(vec![record(2, entry(2))], done);
    store.step_log();
    let fault = told.recv().expect("an answer").expect_err("the sync failed");
    assert!(!fault.is_not_done(), "it may have been done: {fault}");
    let (done, told) = answer();
    store.log(GROUP).save_vote(Bytes::from_static(b"vote"), done);
    store.step_log();
    assert!(matches!(
        told.recv().expect("an answer"),
        Err(StoreFault::Stopped { .. })
    ));
    assert!(store.failed().is_some());
    assert!(cut(&store, 1).is_err());
    drop(store);
    // What looks written is written again before anyone relies on it.
    disk.kill();
    let store = open(&disk).expect("it starts");
    let last = store.log(GROUP).state().last;
    drop(store);
    disk.cut_power();
    let store = open(&disk).expect("it starts again");
    assert_eq!(store.log(GROUP).state().last, last);
}

/// More than may lie in a file before it is written back, with what is written at once.
const UNWRITTEN_MAX: usize = 6 << 20;
const LONG_BYTES: usize = 1 << 20;

fn long_message(number: u64) -> Message {
    Message::plain(MessageId(number << 22), Bytes::from(vec![b'x'; LONG_BYTES]))
}

fn cut_long(store: &Store, at: u64) -> Result<(), StoreFault> {
    let (done, told) = answer();
    let plan = CutPlan {
        at: LogIndex(at),
        rewrite: Vec::new(),
        live: Box::new(All),
        state: Box::new(|| vec![b's'; 2 * UNWRITTEN_MAX]),
        meta: Bytes::new(),
    };
    store.bodies(SET).cut(plan, done);
    while store.step_job() {}
    told.recv().expect("an answer")
}

/// Fetches in long pieces what is missing.
fn fetch_all(import: &Import, export: &Export) -> Result<(), StoreFault> {
    while let Some((file, have)) = import.missing().first().copied() {
        let piece = export.read(file, have, LONG_BYTES).expect("readable");
        import.write(file, have, &piece)?;
    }
    Ok(())
}

#[test]
fn long_files_are_written_back_while_they_are_written() {
    const MESSAGES: u64 = 12;
    let disk = CrashDisk::new(31);
    let store = open(&disk).expect("a new store");
    for number in 1..=MESSAGES {
        send_message(&store, number, long_message(number));
    }
    cut_long(&store, MESSAGES).expect("the disk is well");
    let unwritten = disk.unwritten_max();
    assert!(
        (LONG_BYTES..UNWRITTEN_MAX).contains(&unwritten),
        "{unwritten} bytes"
    );

    let export = store.export(GROUP).expect("readable").expect("a checkpoint");
    let other_disk = CrashDisk::new(32);
    let other = open(&other_disk).expect("a new store");
    let import = other.import(GROUP, export.files());
    fetch_all(&import, &export).expect("writable");
    let unwritten = other_disk.unwritten_max();
    assert!(
        (LONG_BYTES..UNWRITTEN_MAX).contains(&unwritten),
        "{unwritten} bytes of an import"
    );
}

#[test]
fn a_write_back_that_fails_is_a_sync_that_failed() {
    let disk = CrashDisk::new(33);
    let store = open(&disk).expect("a new store");
    send(&store, 1);
    disk.fail_next_write_back();
    cut_long(&store, 1).expect_err("what was written may be lost");
    assert!(store.failed().is_some());
}

#[test]
fn a_write_back_that_fails_in_an_import_stops_the_store() {
    const MESSAGES: u64 = 8;
    let store = open(&CrashDisk::new(34)).expect("a new store");
    for number in 1..=MESSAGES {
        send_message(&store, number, long_message(number));
    }
    cut(&store, MESSAGES).expect("the disk is well");
    let export = store.export(GROUP).expect("readable").expect("a checkpoint");
    let disk = CrashDisk::new(35);
    let other = open(&disk).expect("a new store");
    disk.fail_next_write_back();
    let import = other.import(GROUP, export.files());
    fetch_all(&import, &export).expect_err("what was written may be lost");
    assert!(other.failed().is_some());
}

#[test]
fn a_cut_that_finds_no_room_leaves_everything_and_works_later() {
    let disk = CrashDisk::new(10);
    let store = open(&disk).expect("a new store");
    send(&store, 1);
    while store.step_job() {}
    disk.set_free(100);
    let fault = cut(&store, 1).expect_err("there is no room");
    assert!(
        matches!(fault, StoreFault::DiskFull { .. }) && fault.is_not_done(),
        "{fault}"
    );
    assert_eq!(store.failed(), None);
    let left = files(&disk, "groups", "");
    assert!(left.is_empty(), "left behind: {left:?}");
    let body = store.bodies(SET).read(key(1)).expect("readable").expect("there");
    assert_eq!(body.message, message(1));
    disk.set_free(1 << 20);
    cut(&store, 1).expect("there is room again");
    assert_eq!(store.bodies(SET).uncut(), 0);
    let body = store.bodies(SET).read(key(1)).expect("readable").expect("there");
    assert_eq!(body.message, message(1));
}

#[test]
fn a_log_that_finds_no_room_stops_and_loses_nothing() {
    let disk = CrashDisk::new(11);
    let store = open(&disk).expect("a new store");
    while store.step_job() {}
    disk.set_free(0);
    let mut durable = 0;
    loop {
        let (done, told) = answer();
        store
            .log(GROUP)
            .append(vec![record(durable + 1, entry(durable + 1))], done);
        store.step_log();
        match told.recv().expect("an answer") {
            Ok(()) => durable += 1,
            Err(fault) => {
                assert!(fault.to_string().contains("full"), "{fault}");
                break;
            }
        }
    }
    drop(store);
    disk.cut_power();
    disk.set_free(1 << 20);
    let store = open(&disk).expect("there is room again");
    let last = store.log(GROUP).state().last.map(|last| last.index);
    assert_eq!(last, Some(LogIndex(durable)));
}

#[test]
fn nearly_full_is_said_and_unsaid() {
    let disk = CrashDisk::new(12);
    let config = Config {
        reserve_bytes: 1 << 16,
        ..by_hand()
    };
    let store = Store::open(Path::new("/data"), Arc::new(disk.clone()), config).expect("opens");
    assert!(!store.nearly_full());
    disk.set_free(1 << 15);
    send(&store, 1);
    assert!(store.nearly_full());
    let refused = store.admit().expect_err("nearly full");
    assert!(refused.is_not_done());
    // Small things still go.
    send(&store, 2);
    disk.set_free(1 << 17);
    assert!(!store.nearly_full());
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("file");
    std::fs::write(&file, "not a folder").expect("writable");
    let dir = file.join("data");
    match Store::open(&dir, Arc::new(RealDisk), Config::default()) {
        Err(OpenError::Unwritable { dir: named, .. }) => assert_eq!(named, dir),
        other => panic!("opened: {other:?}"),
    }
}

#[test]
fn a_newer_format_is_not_touched() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(
        folder.path().join("FORMAT"),
        "posthouse data directory, format 9\n",
    )
    .expect("writable");
    match Store::open(folder.path(), Arc::new(RealDisk), Config::default()) {
        Err(OpenError::NewerFormat {
            found: 9, known: 1, ..
        }) => {}
        other => panic!("opened: {other:?}"),
    }
    assert!(!folder.path().join("wal").exists());
}

#[test]
fn a_directory_without_its_format_is_not_taken_for_a_new_one() {
    let disk = CrashDisk::new(13);
    drop(open(&disk).expect("a new store"));
    disk.kill();
    disk.remove(Path::new("/data/FORMAT")).expect("it was there");
    assert!(matches!(open(&disk), Err(OpenError::Corrupt { .. })));
}

#[test]
fn a_directory_has_one_owner() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = || Config {
        wal_file_bytes: 1 << 16,
        ..Config::default()
    };
    let first = Store::open(folder.path(), Arc::new(RealDisk), config()).expect("opens");
    match Store::open(folder.path(), Arc::new(RealDisk), config()) {
        Err(OpenError::Locked { dir }) => assert_eq!(dir, folder.path()),
        other => panic!("opened: {other:?}"),
    }
    first.close();
    Store::open(folder.path(), Arc::new(RealDisk), config()).expect("the first let go of it");
}

/// Set in the process that is started to hold the lock.
const HOLD: &str = "POSTHOUSE_TEST_HOLD";

#[test]
fn another_process_is_kept_out() {
    let config = || Config {
        wal_file_bytes: 1 << 16,
        ..Config::default()
    };
    if let Ok(dir) = std::env::var(HOLD) {
        let answer = Store::open(Path::new(&dir), Arc::new(RealDisk), config());
        assert!(matches!(answer, Err(OpenError::Locked { .. })), "{answer:?}");
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let _first = Store::open(folder.path(), Arc::new(RealDisk), config()).expect("opens");
    let me = std::env::current_exe().expect("this test has a file");
    let status = std::process::Command::new(me)
        .args(["--exact", "another_process_is_kept_out"])
        .env(HOLD, folder.path())
        .stdout(std::process::Stdio::null())
        .status()
        .expect("a process");
    assert!(status.success());
}

#[test]
fn threads_write_what_is_queued_and_close_writes_the_rest() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = || Config {
        wal_file_bytes: 1 << 16,
        ..Config::default()
    };
    let store = Store::open(folder.path(), Arc::new(RealDisk), config()).expect("opens");
    let log = store.log(GROUP);
    let (last, told) = answer();
    for index in 1..=200 {
        log.append(vec![record(index, Bytes::from(vec![1; 700]))], Box::new(|_| {}));
    }
    log.append(vec![record(201, Bytes::new())], last);
    told.recv_timeout(WAIT).expect("an answer").expect("durable");
    log.append(vec![record(202, Bytes::new())], Box::new(|_| {}));
    log.save_vote(Bytes::from_static(b"vote"), Box::new(|_| {}));
    store.close();
    let (late, told) = answer();
    log.append(vec![record(203, Bytes::new())], late);
    assert_eq!(
        told.recv_timeout(WAIT).expect("an answer"),
        Err(StoreFault::Closed)
    );

    let store = Store::open(folder.path(), Arc::new(RealDisk), config()).expect("opens again");
    let state = store.log(GROUP).state();
    assert_eq!(state.last.map(|last| last.index), Some(LogIndex(202)));
    assert_eq!(state.vote, Some(Bytes::from_static(b"vote")));
    let read = store
        .log(GROUP)
        .read(LogIndex(1)..LogIndex(203), usize::MAX)
        .expect("readable");
    assert_eq!(read.len(), 202);
    assert_eq!(store.recovery().torn, None);
}

#[test]
fn released_files_are_written_again_and_the_log_does_not_grow() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = Config {
        wal_file_bytes: 1 << 16,
        ..Config::default()
    };
    let store = Store::open(folder.path(), Arc::new(RealDisk), config).expect("opens");
    let log = store.log(GROUP);
    for index in 1..=400 {
        let (done, told) = answer();
        log.append(vec![record(index, Bytes::from(vec![1; 6000]))], done);
        told.recv_timeout(WAIT).expect("an answer").expect("durable");
        let (done, told) = answer();
        let point = LogPoint {
            term: Term(1),
            leader: ReplicaId(1),
            index: LogIndex(index),
        };
        log.purge(point, done);
        told.recv_timeout(WAIT).expect("an answer").expect("durable");
    }
    store.close();
    let files = std::fs::read_dir(folder.path().join("wal"))
        .expect("the folder")
        .count();
    assert!(files <= 8, "{files} files for a log of one entry");
}

#[test]
fn who_keeps_the_oldest_file_is_said_as_soon_as_there_is_too_much_log() {
    let config = Config {
        wal_bytes_max: 3 * by_hand().wal_file_bytes,
        ..by_hand()
    };
    let store = Store::open(Path::new("/data"), Arc::new(CrashDisk::new(0)), config).expect("opens");
    let told = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&told);
    store.on_over_budget(Box::new(move || {
        counted.fetch_add(1, Ordering::Relaxed);
    }));
    append(&store, GroupId::DIRECTORY, 1);
    let mut number = 0;
    while told.load(Ordering::Relaxed) == 0 {
        assert_eq!(
            store.groups_to_cut(),
            [],
            "nothing is to be cut before there is too much"
        );
        number += 1;
        send(&store, number);
    }
    assert_eq!(store.groups_to_cut(), [GroupId::DIRECTORY, GROUP]);

    cut(&store, number).expect("there is room");
    assert_eq!(
        store.groups_to_cut(),
        [GroupId::DIRECTORY],
        "what a checkpoint covers is only to be purged"
    );
    let (done, answered) = answer();
    let state = Box::new(|| b"state".to_vec());
    store.write_checkpoint(GroupId::DIRECTORY, LogIndex(1), Bytes::new(), state, done);
    while store.step_job() {}
    answered.recv().expect("an answer").expect("there is room");
    assert_eq!(store.groups_to_cut(), []);
}

#[test]
fn a_file_larger_than_the_whole_log_should_be_has_nothing_cut() {
    let config = Config {
        wal_bytes_max: by_hand().wal_file_bytes / 2,
        ..by_hand()
    };
    let store = Store::open(Path::new("/data"), Arc::new(CrashDisk::new(0)), config).expect("opens");
    send(&store, 1);
    assert_eq!(store.groups_to_cut(), [], "it would not be let go of");
}

#[test]
fn as_many_log_files_are_kept_as_a_cut_lets_go() {
    for (file_mib, log_mib, spares) in [(16, 256, 18), (64, 256, 6), (1_024, 4_096, 6)] {
        let config = Config::with_log_files_of(file_mib << 20);
        let kept = (config.wal_file_bytes, config.wal_bytes_max, config.wal_spares_max);
        assert_eq!(kept, (file_mib << 20, log_mib << 20, spares));
    }
}

#[test]
fn bodies_stay_readable_while_they_are_cut_and_the_log_is_purged() {
    const MESSAGES: u64 = 400;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = Config {
        wal_file_bytes: 1 << 14,
        memtable_bytes_max: 0,
        ..Config::default()
    };
    let store = Store::open(folder.path(), Arc::new(RealDisk), config).expect("opens");
    let newest = Arc::new(AtomicU64::new(0));
    let reader = std::thread::spawn({
        let (bodies, newest) = (store.bodies(SET), Arc::clone(&newest));
        move || {
            let mut reads = 0;
            while newest.load(Ordering::Acquire) < MESSAGES {
                let last = newest.load(Ordering::Acquire);
                for number in (1..=last).rev().take(60) {
                    let found = bodies.read(key(number)).expect("readable").expect("there");
                    assert_eq!(found.message, message(number));
                    reads += 1;
                }
            }
            reads
        }
    });
    for number in 1..=MESSAGES {
        send(&store, number);
        newest.store(number, Ordering::Release);
        if number % 20 == 0 {
            let (done, told) = answer();
            let plan = CutPlan {
                at: LogIndex(number),
                rewrite: Vec::new(),
                live: Box::new(All),
                state: Box::new(Vec::new),
                meta: Bytes::new(),
            };
            store.bodies(SET).cut(plan, done);
            told.recv_timeout(WAIT)
                .expect("an answer")
                .expect("the disk is well");
            let point = LogPoint {
                term: Term(1),
                leader: ReplicaId(1),
                index: LogIndex(number),
            };
            store.log(GROUP).purge(point, Box::new(|_| {}));
        }
    }
    let reads: u64 = reader.join().expect("every read was right");
    assert!(reads > 0);
}

#[test]
fn a_checkpoint_with_its_segments_goes_to_another_store() {
    let disk = CrashDisk::new(14);
    let store = open(&disk).expect("a new store");
    for number in 1..=5 {
        send(&store, number);
    }
    cut(&store, 5).expect("the disk is well");
    let export = store.export(GROUP).expect("readable").expect("a checkpoint");

    let other_disk = CrashDisk::new(15);
    let other = open(&other_disk).expect("a new store");
    send(&other, 1);
    let import = other.import(GROUP, export.files());
    loop {
        let missing = import.missing();
        let Some((file, have)) = missing.first() else {
            break;
        };
        let piece = export.read(*file, *have, 100).expect("readable");
        import.write(*file, *have, &piece).expect("writable");
    }
    let (done, told) = answer();
    import.commit(export.checkpoint().clone(), done);
    while other.step_job() {}
    told.recv().expect("an answer").expect("it is whole");
    drop(other);
    other_disk.cut_power();
    let other = open(&other_disk).expect("opens");
    assert_eq!(
        other.checkpoint(GROUP).expect("readable"),
        Some(export.checkpoint().clone())
    );
    for number in 1..=5 {
        let found = other
            .bodies(SET)
            .read(key(number))
            .expect("readable")
            .expect("there");
        assert_eq!(found.message, message(number));
    }
    assert_eq!(other.bodies(SET).segments(), store.bodies(SET).segments());
}

#[test]
fn an_import_with_a_flipped_bit_is_refused() {
    let disk = CrashDisk::new(16);
    let store = open(&disk).expect("a new store");
    send(&store, 1);
    cut(&store, 1).expect("the disk is well");
    let export = store.export(GROUP).expect("readable").expect("a checkpoint");
    let other_disk = CrashDisk::new(17);
    let other = open(&other_disk).expect("a new store");
    let import = other.import(GROUP, export.files());
    for (file, _) in import.missing() {
        let mut bytes = export.read(file, 0, usize::MAX).expect("readable").to_vec();
        bytes[60] ^= 1;
        import.write(file, 0, &bytes).expect("writable");
    }
    let (done, told) = answer();
    import.commit(export.checkpoint().clone(), done);
    while other.step_job() {}
    assert!(matches!(
        told.recv().expect("an answer"),
        Err(StoreFault::Corrupt { .. })
    ));
    assert_eq!(other.checkpoint(GROUP), Ok(None));
    assert!(files(&other_disk, "groups", "").is_empty());
}

#[test]
fn an_import_keeps_what_it_counts_on_and_leaves_nothing_behind() {
    struct Nothing;
    impl Live for Nothing {
        fn is_live(&self, _key: BodyKey) -> bool {
            false
        }
        fn live_in(&self, _stream: Incarnation, _sequences: Sequences) -> u64 {
            0
        }
    }
    let of_nothing = |at| CutPlan {
        live: Box::new(Nothing),
        ..plan(at)
    };
    let disk = CrashDisk::new(20);
    let store = open(&disk).expect("a new store");
    let other_disk = CrashDisk::new(21);
    let other = open(&other_disk).expect("a new store");
    send(&store, 1);
    cut(&store, 1).expect("the disk is well");
    let first = store.export(GROUP).expect("readable").expect("a checkpoint");
    for number in 2..=3 {
        send(&store, number);
        cut(&store, number).expect("the disk is well");
    }
    let export = store.export(GROUP).expect("readable").expect("a checkpoint");
    let fetch = |import: &Import| {
        for (file, have) in import.missing() {
            let piece = export.read(file, have, usize::MAX).expect("readable");
            import.write(file, have, &piece).expect("writable");
            import.settle(file).expect("it is whole");
        }
        assert!(import.is_whole());
    };

    send(&other, 1);
    cut(&other, 1).expect("the disk is well");
    let import = other.import(GROUP, first.files());
    assert!(import.is_whole(), "replicas have the same files");
    let import = import.turn_to(export.files());
    let missing: Vec<u64> = import.missing().iter().map(|(file, _)| file.made_at.0).collect();
    assert_eq!(missing, [2, 3]);
    fetch(&import);
    cut_by(&other, of_nothing(2)).expect("the disk is well");
    assert!(other.bodies(SET).segments().is_empty());
    drop(import);
    while other.step_job() {}
    assert!(
        files(&other_disk, "groups", ".segment").is_empty(),
        "no commit came"
    );

    let import = other.import(GROUP, export.files());
    fetch(&import);
    let (done, told) = answer();
    import.commit(export.checkpoint().clone(), done);
    while other.step_job() {}
    told.recv().expect("an answer").expect("it is whole");
    let import = other.import(GROUP, export.files());
    cut_by(&other, of_nothing(4)).expect("the disk is well");
    assert!(import.is_whole(), "a cut takes nothing from it");
    let newer = Checkpoint {
        at: LogIndex(5),
        ..export.checkpoint().clone()
    };
    let (done, told) = answer();
    import.commit(newer, done);
    while other.step_job() {}
    told.recv().expect("an answer").expect("it is whole");
    drop(other);
    other_disk.cut_power();
    let other = open(&other_disk).expect("opens");
    for number in 1..=3 {
        let found = other
            .bodies(SET)
            .read(key(number))
            .expect("readable")
            .expect("there");
        assert_eq!(found.message, message(number));
    }
}

#[test]
fn a_rewrite_drops_what_is_dead_and_keeps_the_rest() {
    struct Odd;
    impl Live for Odd {
        fn is_live(&self, key: BodyKey) -> bool {
            key.sequence.0 % 2 == 1
        }
        fn live_in(&self, _stream: Incarnation, sequences: Sequences) -> u64 {
            (sequences.start().0..=sequences.end().0)
                .filter(|sequence| sequence % 2 == 1)
                .count() as u64
        }
    }
    let disk = CrashDisk::new(18);
    let store = open(&disk).expect("a new store");
    for number in 1..=4 {
        send(&store, number);
        cut(&store, number).expect("the disk is well");
    }
    let bodies = store.bodies(SET);
    assert_eq!(bodies.segments().len(), 4);
    let rewrite = bodies.segments().iter().map(|segment| segment.made_at).collect();
    let (done, told) = answer();
    let plan = CutPlan {
        at: LogIndex(9),
        rewrite,
        live: Box::new(Odd),
        state: Box::new(Vec::new),
        meta: Bytes::new(),
    };
    bodies.cut(plan, done);
    while store.step_job() {}
    told.recv().expect("an answer").expect("the disk is well");
    let segments = bodies.segments();
    assert_eq!(segments.len(), 1);
    assert_eq!((segments[0].made_at, segments[0].bodies), (LogIndex(9), 2));
    assert_eq!(files(&disk, "groups", ".segment").len(), 1);
    for number in [1, 3] {
        let found = bodies.read(key(number)).expect("readable").expect("there");
        assert_eq!(found.message, message(number));
    }
}

#[test]
fn old_decisions_are_dropped() {
    let disk = CrashDisk::new(19);
    let store = open(&disk).expect("a new store");
    let decisions = store.decisions(SET);
    for number in 1..=2 {
        decisions.note(MessageId(number << 22), Bytes::from_static(b"routed"));
        decisions.note(MessageId(number << 22), Bytes::from_static(b"sealed"));
        cut(&store, number).expect("the disk is well");
    }
    let both = vec![Bytes::from_static(b"routed"), Bytes::from_static(b"sealed")];
    assert_eq!(decisions.lookup(MessageId(1 << 22)), Ok(both.clone()));
    decisions.drop_before(Time::from_millis(2));
    while store.step_job() {}
    assert_eq!(decisions.lookup(MessageId(1 << 22)), Ok(Vec::new()));
    assert_eq!(decisions.lookup(MessageId(2 << 22)), Ok(both));
    assert_eq!(files(&disk, "groups", ".decisions").len(), 1);
    decisions.note(MessageId(3 << 22), Bytes::from(vec![0; 129]));
    assert_eq!(decisions.unnoted(), 1);
}

#[test]
fn a_projection_that_cannot_be_opened_is_made_anew() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = || Config {
        wal_file_bytes: 1 << 16,
        ..Config::default()
    };
    let put = || vec![Op::Put(Bytes::from_static(b"q/a"), Bytes::from_static(b"1"))];
    let store = Store::open(folder.path(), Arc::new(RealDisk), config()).expect("opens");
    store
        .projection()
        .apply(LogIndex(5), put())
        .expect("sled is well");
    store.projection().sync().expect("sled is well");
    store.close();
    drop(store);
    let store = Store::open(folder.path(), Arc::new(RealDisk), config()).expect("opens");
    assert_eq!(store.projection().applied(), Ok(LogIndex(5)));
    assert_eq!(store.projection().get(b"q/a"), Ok(Some(Bytes::from_static(b"1"))));
    store.close();
    drop(store);
    let projection = folder.path().join("projection");
    std::fs::remove_dir_all(&projection).expect("it was there");
    std::fs::write(&projection, "nonsense").expect("writable");
    let store = Store::open(folder.path(), Arc::new(RealDisk), config()).expect("opens");
    assert_eq!(store.projection().applied(), Ok(LogIndex(0)));
    assert!(folder.path().join("projection.damaged").exists());
    store
        .projection()
        .apply(LogIndex(6), put())
        .expect("sled is well");
    store.projection().clear().expect("cleared");
    assert_eq!(store.projection().applied(), Ok(LogIndex(0)));
}

fn clear(store: &Store, group: GroupId) {
    let (done, told) = answer();
    store.clear(group, done);
    store.step_log();
    while store.step_job() {}
    told.recv().expect("an answer").expect("the disk is well");
}

fn vote(store: &Store, group: GroupId, vote: &'static [u8]) {
    let (done, told) = answer();
    store.log(group).save_vote(Bytes::from_static(vote), done);
    store.step_log();
    told.recv().expect("an answer").expect("the disk is well");
}

#[test]
fn a_group_that_is_cleared_is_as_if_it_had_never_been_and_others_are_as_they_were() {
    const OTHER: GroupId = GroupId(2);
    let disk = CrashDisk::new(8);
    let store = open(&disk).expect("opens");
    for group in [GROUP, OTHER] {
        vote(&store, group, b"voted");
    }
    for number in 1..=4 {
        send(&store, number);
    }
    store.log(GROUP).save_committed(record(4, Bytes::new()).point());
    cut(&store, 3).expect("cut");
    assert!(!store.is_empty(GROUP));
    assert!(!files(&disk, "groups", "").is_empty());
    clear(&store, GROUP);
    assert!(store.is_empty(GROUP));
    assert_eq!(files(&disk, "groups", ""), Vec::<PathBuf>::new());

    disk.cut_power();
    drop(store);
    let store = open(&disk).expect("opens");
    assert!(store.is_empty(GROUP), "not even its vote is left");
    assert_eq!(store.log(OTHER).state().vote, Some(Bytes::from_static(b"voted")));

    // Another replica begins there, and that is all that is kept from then on, however many files come.
    vote(&store, GROUP, b"another");
    for number in 1..=40 {
        send(&store, number);
    }
    disk.cut_power();
    drop(store);
    let store = open(&disk).expect("opens");
    let state = store.log(GROUP).state();
    assert_eq!(state.vote, Some(Bytes::from_static(b"another")));
    assert_eq!(state.last.map(|last| last.index), Some(LogIndex(40)));
    assert_eq!(state.committed, None);
    let first = store.log(GROUP).read_one(LogIndex(1)).expect("readable");
    assert_eq!(first.map(|record| record.payload), Some(entry(1)));
}

#[test]
fn a_crash_while_a_group_is_cleared_brings_back_no_checkpoint_without_its_segments() {
    for seed in 0..2_000 {
        let disk = CrashDisk::new(seed);
        let store = open(&disk).expect("opens");
        send(&store, 1);
        cut(&store, 1).expect("the disk is well");
        send(&store, 2);
        // The first checkpoint goes, and its segment with it.
        let rewritten = CutPlan {
            rewrite: vec![LogIndex(1)],
            ..plan(2)
        };
        cut_by(&store, rewritten).expect("the disk is well");
        disk.stop_after(seed % 16);
        let (done, _told) = answer();
        store.clear(GROUP, done);
        store.step_log();
        while store.step_job() {}
        drop(store);
        disk.cut_power();
        if let Err(error) = open(&disk) {
            panic!("seed {seed}: {error}");
        }
    }
}
