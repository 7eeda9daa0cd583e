//! A group's log with messages in it, and where their bytes are.

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use bytes::Bytes;
use posthouse_model::{
    Batch, BodyKey, Incarnation, Incoming, LogIndex, Message, MessageId, ReplicaId, Sequence, Sequences,
    SetCommand, SetId, Span, Stored, Submission, Term, Time,
};
use posthouse_store::crash::CrashDisk;
use posthouse_store::{
    Config, CutPlan, Disk, Done, Driving, GroupId, Live, LogRecord, ProjectionKind, RecordKind, Store,
    StoreFault,
};

pub(crate) const SET: SetId = SetId(0);
pub(crate) const GROUP: GroupId = GroupId(1);
const QUEUE: Incarnation = Incarnation(7);

/// Everything is needed.
pub(crate) struct All;

impl Live for All {
    fn is_live(&self, _key: BodyKey) -> bool {
        true
    }

    fn live_in(&self, _stream: Incarnation, _sequences: Sequences) -> u64 {
        1
    }
}

/// Returns what a store is told that does nothing by itself.
pub(crate) fn by_hand() -> Config {
    Config {
        wal_file_bytes: 8192,
        wal_block_bytes: 512,
        memtable_bytes_max: 0,
        reserve_bytes: 0,
        quiet: None,
        driving: Driving::Caller,
        projection: ProjectionKind::Memory,
        ..Config::default()
    }
}

pub(crate) fn answer() -> (Done, mpsc::Receiver<Result<(), StoreFault>>) {
    let (tell, told) = mpsc::channel();
    (Box::new(move |answer| drop(tell.send(answer))), told)
}

pub(crate) fn record(index: u64, payload: Bytes) -> LogRecord {
    let (index, term, leader) = (LogIndex(index), Term(1), ReplicaId(1));
    LogRecord {
        index,
        term,
        leader,
        kind: RecordKind::Normal,
        payload,
    }
}

pub(crate) fn message(number: u64) -> Message {
    Message::plain(MessageId(number << 22), Bytes::from(format!("body {number}")))
}

/// Returns an entry that sends the message of that number.
pub(crate) fn entry(number: u64) -> Bytes {
    entry_of(number, message(number))
}

fn entry_of(number: u64, message: Message) -> Bytes {
    let messages = vec![Incoming { message, keep: true }];
    let command = SetCommand::Send {
        queue: QUEUE,
        delay: Span::ZERO,
        messages,
        token: None,
        decided_at: LogIndex(0),
    };
    let submissions = vec![Submission { call: None, command }];
    posthouse_wire::encode_set_batch(&Batch {
        now: Time::from_seconds(number),
        submissions,
    })
}

pub(crate) fn key(number: u64) -> BodyKey {
    BodyKey {
        stream: QUEUE,
        sequence: Sequence(number),
    }
}

/// Appends an entry with one message to a group's log, durably.
pub(crate) fn append(store: &Store, group: GroupId, number: u64) {
    append_record(store, group, record(number, entry(number)));
}

pub(crate) fn append_record(store: &Store, group: GroupId, record: LogRecord) {
    let (done, told) = answer();
    store.log(group).append(vec![record], done);
    store.step_log();
    told.recv().expect("an answer").expect("the disk is well");
}

/// Appends an entry with one message, durably, and inserts its body.
pub(crate) fn send(store: &Store, number: u64) {
    send_message(store, number, message(number));
}

pub(crate) fn send_message(store: &Store, number: u64, message: Message) {
    let entry = entry_of(number, message);
    append_record(store, GROUP, record(number, entry.clone()));
    let stored = Stored {
        body: key(number),
        submission: 0,
        ordinal: 0,
        keep_until: Time::from_seconds(number + 60),
    };
    let batch = posthouse_wire::decode_set_batch(&entry).expect("an entry");
    store
        .bodies(SET)
        .insert(LogIndex(number), &Arc::new(batch), entry.len(), &[stored]);
}

/// Returns a cut of which everything is needed.
pub(crate) fn plan(at: u64) -> CutPlan {
    CutPlan {
        at: LogIndex(at),
        rewrite: Vec::new(),
        live: Box::new(All),
        state: Box::new(|| b"state".to_vec()),
        meta: Bytes::new(),
    }
}

/// Makes a cut, and waits for it.
pub(crate) fn cut_by(store: &Store, plan: CutPlan) -> Result<(), StoreFault> {
    let (done, told) = answer();
    store.bodies(SET).cut(plan, done);
    while store.step_job() {}
    told.recv().expect("an answer")
}

/// Returns the files in a folder of the data directory whose names end so, oldest first.
pub(crate) fn files(disk: &CrashDisk, folder: &str, suffix: &str) -> Vec<PathBuf> {
    let folder = Path::new("/data").join(folder);
    let mut names = disk.list(&folder).expect("the folder is there");
    names.retain(|name| name.ends_with(suffix));
    names.sort();
    names.into_iter().map(|name| folder.join(name)).collect()
}

/// Returns where some bytes are in a file.
pub(crate) fn find(disk: &CrashDisk, path: &Path, wanted: &[u8]) -> u64 {
    let bytes = disk.contents(path).expect("the file is there");
    let at = bytes.windows(wanted.len()).position(|window| window == wanted);
    at.expect("the bytes are there") as u64
}
