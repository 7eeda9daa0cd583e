//! What is read from peers and from the log, as any bytes; and entries of the logs, applied.
//!
//! An input that begins with a kind of encoding is one, so that the examples that `wire` keeps are inputs; any other is
//! frames, after a byte that is passed over. Entries of a log follow each other with a mark between them, so that they
//! can be cut apart and put together.

#![no_main]

use std::fmt::Debug;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use posthouse_model::{Directory, LogIndex, Set, SetId};
use posthouse_wire::{DecodeError, FrameReader};

/// What stands between two entries.
const NEXT: &[u8] = b"NEXT";
/// The most that a frame may carry here.
const FRAME_BYTES_MAX: u32 = 32_768;

fuzz_target!(|input: &[u8]| {
    let Some(&kind) = input.first() else {
        return;
    };
    match kind {
        1 => set_entries(input),
        2 => directory_entries(input),
        3 => again(
            input,
            posthouse_wire::decode_set_state::<Set>,
            posthouse_wire::encode_set_state::<Set>,
        ),
        4 => again(
            input,
            posthouse_wire::decode_directory_state::<Directory>,
            posthouse_wire::encode_directory_state::<Directory>,
        ),
        5 => again(
            input,
            posthouse_wire::decode_stored_message,
            posthouse_wire::encode_stored_message,
        ),
        6 => again(
            input,
            posthouse_wire::decode_set_outcome,
            posthouse_wire::encode_set_outcome,
        ),
        7 => again(
            input,
            posthouse_wire::decode_directory_outcome,
            posthouse_wire::encode_directory_outcome,
        ),
        _ => frames(&input[1..]),
    }
});

/// Reads frames as they come over a connection: in pieces.
fn frames(bytes: &[u8]) {
    let mut reader = FrameReader::new(FRAME_BYTES_MAX);
    let mut read = 0;
    for piece in bytes.chunks(7) {
        reader.buffer().extend_from_slice(piece);
        loop {
            match reader.next_frame() {
                Ok(Some(frame)) => {
                    let encoded = frame.encode();
                    assert_eq!(
                        encoded,
                        bytes[read..read + encoded.len()],
                        "a frame is what it was read from"
                    );
                    read += encoded.len();
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}

/// Applies entries of a set's log: none may stop the set, and what is left can be written down and read back.
fn set_entries(bytes: &[u8]) {
    let mut set = Set::new(SetId(0));
    for (index, entry) in (1..).zip(pieces(bytes)) {
        let Ok(batch) = posthouse_wire::decode_set_batch(&Bytes::copy_from_slice(entry)) else {
            continue;
        };
        let applied = set.apply(LogIndex(index), &batch);
        assert_eq!(applied.outcomes.len(), batch.submissions.len());
    }
    let state = posthouse_wire::encode_set_state(&set);
    let read = posthouse_wire::decode_set_state::<Set>(&state);
    assert!(read.as_ref() == Ok(&set), "a state reads back as written");
}

/// Applies entries of the directory's log, as above.
fn directory_entries(bytes: &[u8]) {
    let mut directory = Directory::new();
    for (index, entry) in (1..).zip(pieces(bytes)) {
        let Ok(batch) = posthouse_wire::decode_directory_batch(entry) else {
            continue;
        };
        let applied = directory.apply(LogIndex(index), &batch);
        assert_eq!(applied.outcomes.len(), batch.submissions.len());
    }
    let state = posthouse_wire::encode_directory_state(&directory);
    let read = posthouse_wire::decode_directory_state::<Directory>(&state);
    assert!(read.as_ref() == Ok(&directory), "a state reads back as written");
}

/// Checks that what can be read reads back from its own bytes.
fn again<T: Debug + PartialEq>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, DecodeError>,
    encode: impl Fn(&T) -> Bytes,
) {
    if let Ok(value) = decode(bytes) {
        assert_eq!(decode(&encode(&value)).as_ref(), Ok(&value));
    }
}

/// Returns the pieces between marks.
fn pieces(bytes: &[u8]) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    let mut rest = bytes;
    while let Some(at) = rest.windows(NEXT.len()).position(|window| window == NEXT) {
        pieces.push(&rest[..at]);
        rest = &rest[at + NEXT.len()..];
    }
    pieces.push(rest);
    pieces
}
