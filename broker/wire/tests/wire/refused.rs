//! What is not an encoding is refused, with the reason.

use bytes::Bytes;
use posthouse_model::{Batch, Directory, Set, SetCommand};
use posthouse_wire::*;
use proptest::prelude::*;

use crate::examples;

fn read(bytes: &[u8]) -> Result<Batch<SetCommand>, DecodeError> {
    decode_set_batch(&Bytes::copy_from_slice(bytes))
}

#[test]
fn what_is_too_short_of_another_kind_or_version_is_refused() {
    assert_eq!(read(b""), Err(DecodeError::TooShort(0)));
    assert_eq!(read(&[Kind::SetBatch as u8]), Err(DecodeError::TooShort(1)));
    let bytes = encode_directory_batch(&examples::directory_batch());
    let expected = DecodeError::WrongKind {
        expected: Kind::SetBatch,
        found: 2,
    };
    assert_eq!(read(&bytes), Err(expected));
    for found in [0, 2, 255] {
        let mut bytes = encode_set_batch(&examples::set_batch()).to_vec();
        bytes[1] = found;
        let expected = DecodeError::UnknownVersion {
            kind: Kind::SetBatch,
            found,
            latest: 1,
        };
        assert_eq!(read(&bytes), Err(expected));
    }
}

#[test]
fn every_truncation_and_every_addition_is_refused() {
    let whole = encode_set_batch(&examples::set_batch());
    for length in 0..whole.len() {
        assert!(read(&whole[..length]).is_err(), "{length} of {}", whole.len());
    }
    let longer = [&whole[..], b"xyz"].concat();
    let expected = DecodeError::Trailing {
        kind: Kind::SetBatch,
        left: 3,
    };
    assert_eq!(read(&longer), Err(expected));
}

#[test]
fn a_name_that_is_none_is_refused() {
    let whole = encode_set_batch(&examples::set_batch());
    let at = whole
        .windows(6)
        .position(|window| window == b"orders")
        .expect("it is in there");
    let mut bytes = whole.to_vec();
    bytes[at] = b'-';
    assert!(matches!(read(&bytes), Err(DecodeError::Malformed { .. })));
}

/// Reads bytes as everything there is; what can be read comes back from its own encoding.
fn read_as_everything(payload: &[u8]) {
    let as_kind = |kind: Kind| [&[kind as u8, kind.version()], payload].concat();
    if let Ok(batch) = read(&as_kind(Kind::SetBatch)) {
        assert_eq!(read(&encode_set_batch(&batch)), Ok(batch));
    }
    if let Ok(batch) = decode_directory_batch(&as_kind(Kind::DirectoryBatch)) {
        assert_eq!(decode_directory_batch(&encode_directory_batch(&batch)), Ok(batch));
    }
    if let Ok(message) = decode_stored_message(&as_kind(Kind::StoredMessage)) {
        assert_eq!(
            decode_stored_message(&encode_stored_message(&message)),
            Ok(message)
        );
    }
    if let Ok(happening) = decode_happening(&as_kind(Kind::Happening)) {
        assert_eq!(decode_happening(&encode_happening(&happening)), Ok(happening));
    }
    if let Ok(outcome) = decode_set_outcome(&as_kind(Kind::SetOutcome)) {
        assert_eq!(decode_set_outcome(&encode_set_outcome(&outcome)), Ok(outcome));
    }
    if let Ok(outcome) = decode_directory_outcome(&as_kind(Kind::DirectoryOutcome)) {
        let again = decode_directory_outcome(&encode_directory_outcome(&outcome));
        assert_eq!(again, Ok(outcome));
    }
    let directory: Result<Directory, _> = decode_directory_state(&as_kind(Kind::DirectoryState));
    if let Ok(directory) = directory {
        assert_eq!(
            decode_directory_state(&encode_directory_state(&directory)),
            Ok(directory)
        );
    }
    let set: Result<Set, _> = decode_set_state(&as_kind(Kind::SetState));
    if let Ok(set) = set {
        assert_eq!(decode_set_state(&encode_set_state(&set)), Ok(set));
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_read_or_refused(
        payload in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        read_as_everything(&payload);
    }

    #[test]
    fn few_low_bytes_are_read_or_refused(payload in prop::collection::vec(0_u8..24, 0..60)) {
        read_as_everything(&payload);
    }

    #[test]
    fn a_damaged_entry_is_read_or_refused(
        at in any::<prop::sample::Index>(),
        to in any::<u8>(),
        removed in 0_usize..3,
    ) {
        for whole in [
            encode_set_batch(&examples::set_batch()),
            encode_directory_batch(&examples::directory_batch()),
            encode_directory_state(&examples::directory()),
            encode_set_state(&examples::set()),
        ] {
            let mut bytes = whole.to_vec();
            let at = at.index(bytes.len());
            bytes[at] = to;
            bytes.drain(at..(at + removed).min(bytes.len()));
            read_as_everything(bytes.get(2..).unwrap_or_default());
        }
    }

    #[test]
    fn a_damaged_directory_still_applies_without_a_panic(
        at in any::<prop::sample::Index>(),
        to in any::<u8>(),
    ) {
        let mut bytes = encode_directory_state(&examples::directory()).to_vec();
        let at = at.index(bytes.len());
        bytes[at] = to;
        let directory: Result<Directory, _> = decode_directory_state(&bytes);
        if let Ok(mut directory) = directory
            && let Some(next) = directory.applied().0.checked_add(1)
        {
            directory.apply(posthouse_model::LogIndex(next), &examples::directory_batch());
        }
    }
}
