//! Bytes that a release wrote, and that every later one reads.
//!
//! A file in `kept/` holds examples of one kind and version, one a frame. None is ever changed or removed. When a
//! kind gets a new command or a new version, its examples go to a new list here and a new file:
//!
//! ```text
//! cargo test -p posthouse-wire --test wire -- --ignored keep_what_is_new
//! ```
//!
//! writes the files that are missing, and touches no other.

use std::path::PathBuf;

use bytes::Bytes;
use posthouse_model::{Directory, Set};
use posthouse_wire::*;

use crate::examples;

const PAYLOAD_BYTES_MAX: u32 = 1 << 20;

/// The name of each file that is written as it was, and what it holds. What only an earlier version wrote,
/// `directory_state-1` to `directory_state-5`, `set_state-1` and `set_state-2`, is read and written no more.
fn files() -> Vec<(&'static str, Kind, Vec<Bytes>)> {
    let outcomes = examples::set_outcomes();
    let directory_outcomes = examples::directory_outcomes();
    let messages = examples::stored_messages();
    vec![
        (
            "set_batch-1",
            Kind::SetBatch,
            vec![encode_set_batch(&examples::set_batch())],
        ),
        (
            "set_batch-2",
            Kind::SetBatch,
            vec![encode_set_batch(&examples::set_batch_2())],
        ),
        (
            "set_batch-3",
            Kind::SetBatch,
            vec![encode_set_batch(&examples::set_batch_3())],
        ),
        (
            "set_batch-4",
            Kind::SetBatch,
            vec![encode_set_batch(&examples::set_batch_4())],
        ),
        (
            "set_batch-5",
            Kind::SetBatch,
            vec![encode_set_batch(&examples::set_batch_5())],
        ),
        (
            "directory_batch-1",
            Kind::DirectoryBatch,
            vec![encode_directory_batch(&examples::directory_batch())],
        ),
        (
            "directory_batch-2",
            Kind::DirectoryBatch,
            vec![encode_directory_batch(&examples::directory_batch_2())],
        ),
        (
            "directory_batch-3",
            Kind::DirectoryBatch,
            vec![encode_directory_batch(&examples::directory_batch_3())],
        ),
        (
            "directory_batch-4",
            Kind::DirectoryBatch,
            vec![encode_directory_batch(&examples::directory_batch_4())],
        ),
        (
            "directory_batch-5",
            Kind::DirectoryBatch,
            vec![encode_directory_batch(&examples::directory_batch_5())],
        ),
        (
            "directory_batch-6",
            Kind::DirectoryBatch,
            vec![encode_directory_batch(&examples::directory_batch_6())],
        ),
        (
            "directory_batch-7",
            Kind::DirectoryBatch,
            vec![encode_directory_batch(&examples::directory_batch_7())],
        ),
        (
            "directory_state-6",
            Kind::DirectoryState,
            vec![encode_directory_state(&examples::directory_6())],
        ),
        (
            "set_state-3",
            Kind::SetState,
            vec![encode_set_state(&examples::set_3())],
        ),
        (
            "stored_message-1",
            Kind::StoredMessage,
            messages.iter().map(encode_stored_message).collect(),
        ),
        (
            "stored_message-2",
            Kind::StoredMessage,
            examples::stored_messages_2()
                .iter()
                .map(encode_stored_message)
                .collect(),
        ),
        (
            "set_outcome-1",
            Kind::SetOutcome,
            outcomes.iter().map(encode_set_outcome).collect(),
        ),
        (
            "set_outcome-2",
            Kind::SetOutcome,
            examples::set_outcomes_2()
                .iter()
                .map(encode_set_outcome)
                .collect(),
        ),
        (
            "set_outcome-3",
            Kind::SetOutcome,
            examples::set_outcomes_3()
                .iter()
                .map(encode_set_outcome)
                .collect(),
        ),
        (
            "set_outcome-4",
            Kind::SetOutcome,
            examples::set_outcomes_4()
                .iter()
                .map(encode_set_outcome)
                .collect(),
        ),
        (
            "directory_outcome-1",
            Kind::DirectoryOutcome,
            directory_outcomes.iter().map(encode_directory_outcome).collect(),
        ),
        (
            "directory_outcome-2",
            Kind::DirectoryOutcome,
            examples::directory_outcomes_2()
                .iter()
                .map(encode_directory_outcome)
                .collect(),
        ),
        (
            "directory_outcome-3",
            Kind::DirectoryOutcome,
            examples::directory_outcomes_3()
                .iter()
                .map(encode_directory_outcome)
                .collect(),
        ),
        (
            "directory_outcome-4",
            Kind::DirectoryOutcome,
            examples::directory_outcomes_4()
                .iter()
                .map(encode_directory_outcome)
                .collect(),
        ),
        (
            "directory_outcome-5",
            Kind::DirectoryOutcome,
            examples::directory_outcomes_5()
                .iter()
                .map(encode_directory_outcome)
                .collect(),
        ),
        (
            "happening-1",
            Kind::Happening,
            examples::happenings().iter().map(encode_happening).collect(),
        ),
        (
            "happening-2",
            Kind::Happening,
            examples::happenings_2().iter().map(encode_happening).collect(),
        ),
        (
            "happening-3",
            Kind::Happening,
            examples::happenings_3().iter().map(encode_happening).collect(),
        ),
    ]
}

fn path(name: &str) -> PathBuf {
    let kept = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("kept");
    kept.join(name).with_extension("bin")
}

fn read(name: &str, kind: Kind) -> Vec<Bytes> {
    let bytes = std::fs::read(path(name)).expect("the file is kept");
    let mut reader = FrameReader::new(PAYLOAD_BYTES_MAX);
    reader.buffer().extend_from_slice(&bytes);
    let mut payloads = Vec::new();
    while let Some(frame) = reader.next_frame().expect("kept frames are whole") {
        assert_eq!(frame.kind, FrameKind(kind as u8));
        payloads.push(frame.payload);
    }
    assert!(reader.buffer().is_empty(), "{name} ends within a frame");
    payloads
}

#[test]
fn kept_entries_read_as_what_they_were() {
    for (name, expected) in [
        ("set_batch-1", examples::set_batch()),
        ("set_batch-2", examples::set_batch_2()),
        ("set_batch-3", examples::set_batch_3()),
        ("set_batch-4", examples::set_batch_4()),
        ("set_batch-5", examples::set_batch_5()),
    ] {
        let payloads = read(name, Kind::SetBatch);
        let batches: Vec<_> = payloads.iter().map(decode_set_batch).collect();
        assert_eq!(batches, [Ok(expected)], "{name}");
    }
    for (name, expected) in [
        ("directory_batch-1", examples::directory_batch()),
        ("directory_batch-2", examples::directory_batch_2()),
        ("directory_batch-3", examples::directory_batch_3()),
        ("directory_batch-4", examples::directory_batch_4()),
        ("directory_batch-5", examples::directory_batch_5()),
        ("directory_batch-6", examples::directory_batch_6()),
        ("directory_batch-7", examples::directory_batch_7()),
    ] {
        let payloads = read(name, Kind::DirectoryBatch);
        let batches: Vec<_> = payloads
            .iter()
            .map(|bytes| decode_directory_batch(bytes))
            .collect();
        assert_eq!(batches, [Ok(expected)], "{name}");
    }
}

#[test]
fn a_kept_directory_reads_as_what_it_was() {
    for (name, expected) in [
        ("directory_state-1", examples::directory()),
        ("directory_state-2", examples::directory_2()),
        ("directory_state-3", examples::directory_3()),
        ("directory_state-4", examples::directory_4()),
        ("directory_state-5", examples::directory_5()),
        ("directory_state-6", examples::directory_6()),
    ] {
        let payloads = read(name, Kind::DirectoryState);
        let states: Vec<Result<Directory, DecodeError>> = payloads
            .iter()
            .map(|bytes| decode_directory_state(bytes))
            .collect();
        assert_eq!(states, [Ok(expected)], "{name}");
    }
}

#[test]
fn a_kept_set_reads_as_what_it_was() {
    for (name, expected) in [
        ("set_state-1", examples::set()),
        ("set_state-2", examples::set_2()),
        ("set_state-3", examples::set_3()),
    ] {
        let payloads = read(name, Kind::SetState);
        let states: Vec<Result<Set, DecodeError>> =
            payloads.iter().map(|bytes| decode_set_state(bytes)).collect();
        assert_eq!(states, [Ok(expected)], "{name}");
    }
}

#[test]
fn kept_messages_read_as_what_they_were() {
    for (name, expected) in [
        ("stored_message-1", examples::stored_messages()),
        ("stored_message-2", examples::stored_messages_2()),
    ] {
        let payloads = read(name, Kind::StoredMessage);
        let messages: Result<Vec<_>, _> = payloads
            .iter()
            .map(|bytes| decode_stored_message(bytes))
            .collect();
        assert_eq!(messages, Ok(expected), "{name}");
    }
}

#[test]
fn kept_outcomes_read_as_what_they_were() {
    for (name, expected) in [
        ("set_outcome-1", examples::set_outcomes()),
        ("set_outcome-2", examples::set_outcomes_2()),
        ("set_outcome-3", examples::set_outcomes_3()),
        ("set_outcome-4", examples::set_outcomes_4()),
    ] {
        let payloads = read(name, Kind::SetOutcome);
        let outcomes: Result<Vec<_>, _> = payloads.iter().map(|bytes| decode_set_outcome(bytes)).collect();
        assert_eq!(outcomes, Ok(expected), "{name}");
    }
    for (name, expected) in [
        ("directory_outcome-1", examples::directory_outcomes()),
        ("directory_outcome-2", examples::directory_outcomes_2()),
        ("directory_outcome-3", examples::directory_outcomes_3()),
        ("directory_outcome-4", examples::directory_outcomes_4()),
        ("directory_outcome-5", examples::directory_outcomes_5()),
    ] {
        let payloads = read(name, Kind::DirectoryOutcome);
        let outcomes: Result<Vec<_>, _> = payloads
            .iter()
            .map(|bytes| decode_directory_outcome(bytes))
            .collect();
        assert_eq!(outcomes, Ok(expected), "{name}");
    }
}

#[test]
fn kept_happenings_read_as_what_they_were() {
    for (name, expected) in [
        ("happening-1", examples::happenings()),
        ("happening-2", examples::happenings_2()),
        ("happening-3", examples::happenings_3()),
    ] {
        let payloads = read(name, Kind::Happening);
        let happenings: Result<Vec<_>, _> = payloads.iter().map(|bytes| decode_happening(bytes)).collect();
        assert_eq!(happenings, Ok(expected), "{name}");
    }
}

#[test]
fn today_s_bytes_are_the_kept_ones() {
    for (name, kind, payloads) in files() {
        assert_eq!(read(name, kind), payloads, "{name}: what it means has changed");
    }
}

#[test]
#[ignore = "writes kept files that are missing; run it when a kind got new examples"]
fn keep_what_is_new() {
    for (name, kind, payloads) in files() {
        let path = path(name);
        if path.exists() {
            continue;
        }
        let mut bytes = Vec::new();
        for payload in payloads {
            let frame = Frame {
                kind: FrameKind(kind as u8),
                payload,
            };
            bytes.extend_from_slice(&frame.encode());
        }
        std::fs::write(path, bytes).expect("the folder can be written");
    }
}
