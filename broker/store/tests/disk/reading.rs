//! Bodies that are read one after the other are what each is alone.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use posthouse_model::{BodyKey, LogIndex, Message, MessageId, StoredMessage};
use posthouse_store::crash::CrashDisk;
use posthouse_store::{Config, Fetched, RealDisk, Step, Store, StoreFault};
use proptest::prelude::*;

use crate::fixtures::{
    GROUP, SET, append_record, by_hand, cut_by, files, find, key, plan, record, send_message,
};

type Read = Result<Option<StoredMessage>, StoreFault>;

/// Returns a message of so many bytes; the number tells where it is in its file.
fn message(number: u64, bytes: usize) -> Message {
    let mut body = format!("body {number};").into_bytes();
    body.resize(body.len() + bytes, b'x');
    Message::plain(MessageId(number << 22), Bytes::from(body))
}

/// Returns a store with messages of these sizes, numbered from 1, which was cut after some of them.
fn filled(disk: &CrashDisk, sizes: &[usize], cuts: &[u64]) -> Store {
    filled_with(by_hand(), disk, sizes, cuts)
}

fn filled_with(config: Config, disk: &CrashDisk, sizes: &[usize], cuts: &[u64]) -> Store {
    let store = Store::open(Path::new("/data"), Arc::new(disk.clone()), config).expect("opens");
    for (number, bytes) in (1..).zip(sizes) {
        send_message(&store, number, message(number, *bytes));
        if cuts.contains(&number) {
            cut_by(&store, plan(number)).expect("the disk is well");
        }
    }
    store
}

fn one_by_one(store: &Store, keys: &[BodyKey]) -> Vec<Read> {
    keys.iter().map(|key| store.bodies(SET).read(*key)).collect()
}

fn together(store: &Store, keys: &[BodyKey]) -> Vec<Read> {
    store.bodies(SET).reading(keys).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn bodies_read_together_are_what_each_is_alone(
        sizes in prop::collection::vec(0_usize..20_000, 1..40),
        cuts in prop::collection::vec(1_u64..40, 0..4),
        // Some that are not there, some again, in any order or in that of the log.
        mut wanted in prop::collection::vec(1_u64..45, 0..60),
        in_order in any::<bool>(),
    ) {
        let disk = CrashDisk::new(1);
        let store = filled(&disk, &sizes, &cuts);
        if in_order {
            wanted.sort_unstable();
        }
        let keys: Vec<BodyKey> = wanted.iter().map(|number| key(*number)).collect();
        let read = together(&store, &keys);
        prop_assert_eq!(&read, &one_by_one(&store, &keys));
        for (number, read) in wanted.iter().zip(read) {
            let size = sizes.get(*number as usize - 1);
            let expected = size.map(|bytes| message(*number, *bytes));
            prop_assert_eq!(read.map(|read| read.map(|stored| stored.message)), Ok(expected));
        }
    }
}

#[test]
fn what_a_cut_has_written_is_in_memory_no_more() {
    let config = Config {
        memtable_bytes_max: 1 << 20,
        ..by_hand()
    };
    let disk = CrashDisk::new(4);
    let store = filled_with(config, &disk, &[1_000; 20], &[]);
    let kept = || store.usage().expect("the disk is well").body_memory_bytes;
    let before = kept();
    assert!(before >= 20_000, "{before}");
    cut_by(&store, plan(15)).expect("the disk is well");
    // Those after it, which are not cut.
    assert!((5_000..before / 3).contains(&kept()), "{} of {before}", kept());
    let keys: Vec<BodyKey> = (1..=20).map(key).collect();
    let read = together(&store, &keys);
    assert!(read.iter().all(|one| matches!(one, Ok(Some(_)))), "{read:?}");
}

#[test]
fn many_are_read_at_once_with_the_first() {
    // Through the page cache, and past it.
    for size in [4_000, 10_000] {
        let disk = CrashDisk::new(3);
        let store = filled(&disk, &[size; 20], &[20]);
        let keys: Vec<BodyKey> = (1..=20).map(key).collect();
        let bodies = store.bodies(SET);
        let mut reading = bodies.reading(&keys);
        let mut next = |number| {
            let read = reading.next().expect("one for each key");
            assert_eq!(
                read.map(|read| read.map(|stored| stored.message)),
                Ok(Some(message(number, size)))
            );
        };
        next(1);
        // What happens to the file now is not seen by who has read it.
        let path = files(&disk, "groups", ".segment").remove(0);
        disk.flip(&path, find(&disk, &path, b"body 7;"), 4);
        (2..=20).for_each(next);
        assert!(bodies.read(key(7)).is_err(), "it is by who reads it now");
    }
}

#[test]
fn what_takes_its_time_is_fetched_first_and_read_one_by_one_where_that_fails() {
    let disk = CrashDisk::new(5);
    let store = filled(&disk, &[10_000; 40], &[20]);
    let keys: Vec<BodyKey> = (1..=41).map(key).collect();
    let expected: Vec<Option<Message>> = (1..=40).map(|number| Some(message(number, 10_000))).collect();
    for fails in [false, true] {
        let bodies = store.bodies(SET);
        let mut reading = bodies.reading(&keys);
        let (mut fetches, mut read) = (0, Vec::new());
        while let Some(step) = reading.step() {
            match step {
                Step::Body(body) => read.push(body.expect("it can be read").map(|stored| stored.message)),
                Step::Fetch(fetch) => {
                    fetches += 1;
                    reading.fetched(if fails { Fetched::default() } else { fetch.run() });
                }
            }
        }
        assert_eq!(fetches, 1, "those of the log are in memory");
        assert_eq!(read.pop(), Some(None), "there is no such message");
        assert_eq!(read, expected);
    }
}

#[test]
fn a_damaged_one_among_many_is_refused_alone() {
    let disk = CrashDisk::new(2);
    let store = filled(&disk, &[4_000; 20], &[20]);
    let path = files(&disk, "groups", ".segment").remove(0);
    disk.flip(&path, find(&disk, &path, b"body 7;"), 4);
    let keys: Vec<BodyKey> = (1..=20).map(key).collect();
    let read = together(&store, &keys);
    for (number, read) in (1..).zip(read) {
        match number {
            7 => assert!(
                matches!(&read, Err(StoreFault::Corrupt { file, .. }) if *file == path),
                "{read:?}"
            ),
            _ => {
                let found = read.map(|read| read.map(|stored| stored.message));
                assert_eq!(found, Ok(Some(message(number, 4_000))));
            }
        }
    }
    assert_eq!(store.damage().len(), 1, "and it is known");
}

#[test]
fn long_entries_that_memory_keeps_no_more_are_read_back_from_the_log() {
    let config = || Config {
        wal_file_bytes: 4 << 20,
        ..by_hand()
    };
    let folder = tempfile::tempdir().expect("a folder");
    let open = || Store::open(folder.path(), Arc::new(RealDisk), config()).expect("opens");
    let payload = |number: u64| {
        let bytes = (0..300_000 * number).map(|at| (at % (250 + number)) as u8);
        bytes.collect::<Bytes>()
    };
    let store = open();
    (1..=4).for_each(|number| append_record(&store, GROUP, record(number, payload(number))));
    drop(store);
    let store = open();
    for number in [3, 1, 4, 2, 3] {
        let read = store
            .log(GROUP)
            .read_one(LogIndex(number))
            .expect("it can be read");
        assert!(read == Some(record(number, payload(number))), "{number}");
    }
}
