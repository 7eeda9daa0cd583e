//! Values to bytes and back: two bytes that say what it is, then the value as postcard writes it.
//!
//! Owns the list of kinds and their versions. What a value means is the model's.

use bytes::Bytes;
use posthouse_model::{
    Batch, DirectoryCommand, DirectoryRefusal, DirectoryReply, Happening, Message, Refusal, SetCommand,
    SetReply, StoredMessage, Time,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The bytes before a value: its kind and its version.
const PREFIX_BYTES: usize = 2;
/// What the second version of a directory's state has at its end beyond the first, when there is nothing in it: no
/// nodes, no replicas, no ids given, nothing changed.
const NO_NODES: [u8; 4] = [0; 4];
/// What the third version has beyond the second: no node that said where it is.
const NONE_LOCATED: [u8; 1] = [0];
/// What the fourth version has beyond the third: no signing keys, and no tenant whose plugins are limited in another way
/// than all are.
const NONE_SIGNS: [u8; 2] = [0; 2];
/// What the fifth version has beyond the fourth: no breaker that was set, nothing known to be out of use since when.
const NO_GUARDS: [u8; 2] = [0; 2];
/// What the sixth version has beyond the fifth: no trials.
const NONE_TRIED: [u8; 1] = [0];

/// What the second version of a set's state has at its end beyond the first: nothing that plugins keep.
const NOTHING_KEPT: [u8; 4] = [0; 4];
/// What the third version has beyond the second: nothing that was taken in again.
const NONE_READMITTED: [u8; 1] = [0];

/// What an encoding holds: its first byte. Numbers are never given to another kind.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Kind {
    /// An entry of a set's log: `Batch<SetCommand>`.
    SetBatch = 1,
    /// An entry of the directory's log: `Batch<DirectoryCommand>`.
    DirectoryBatch = 2,
    /// A set's state.
    SetState = 3,
    /// The directory's state.
    DirectoryState = 4,
    /// A message with what was added at apply.
    StoredMessage = 5,
    /// What a set answered: `Result<SetReply, Refusal>`.
    SetOutcome = 6,
    /// What the directory answered: `Result<DirectoryReply, DirectoryRefusal>`.
    DirectoryOutcome = 7,
    /// A request or an answer between peers that run the same release; never kept on disk.
    Peer = 8,
    /// What a replica keeps for itself: votes, membership, the meta data of checkpoints.
    Replica = 9,
    /// What befell a message: `Happening`.
    Happening = 10,
    /// A row of a node's projection, which is made again when another release writes it otherwise.
    ProjectionRow = 11,
}

/// Why bytes are not what they were read as.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// Too short to say what they are.
    #[error("{0} bytes are too few")]
    TooShort(usize),
    /// Another kind than was asked for.
    #[error("expected {expected:?}, found kind {found}")]
    WrongKind {
        /// What was asked for.
        expected: Kind,
        /// The first byte.
        found: u8,
    },
    /// A version that this release does not know: written by a later one.
    #[error("{kind:?} of version {found} is not known, the latest known is {latest}")]
    UnknownVersion {
        /// What it is.
        kind: Kind,
        /// Its version.
        found: u8,
        /// The latest version that this release reads.
        latest: u8,
    },
    /// The bytes after the prefix make no value of that kind.
    #[error("malformed {kind:?}: {reason}")]
    Malformed {
        /// What it was read as.
        kind: Kind,
        /// What the codec says.
        reason: String,
    },
    /// Bytes are left over.
    #[error("{left} bytes after a {kind:?}")]
    Trailing {
        /// What it is.
        kind: Kind,
        /// How many.
        left: usize,
    },
}

// === impl Kind ===

impl Kind {
    /// Returns the version that is written now.
    pub const fn version(self) -> u8 {
        match self {
            Kind::DirectoryState => 6,
            Kind::SetState => 3,
            Kind::SetBatch
            | Kind::DirectoryBatch
            | Kind::StoredMessage
            | Kind::SetOutcome
            | Kind::DirectoryOutcome
            | Kind::Peer
            | Kind::Replica
            | Kind::Happening
            | Kind::ProjectionRow => 1,
        }
    }

    /// Returns whether most of its bytes are message bodies. Then its length is counted first, which looks at none of
    /// them; a vector that grows would move them again and again, and keep up to as much room again.
    const fn holds_bodies(self) -> bool {
        match self {
            Kind::SetBatch | Kind::StoredMessage | Kind::Peer => true,
            // A state costs as much to count as to write; the others are small.
            Kind::DirectoryBatch
            | Kind::SetState
            | Kind::DirectoryState
            | Kind::SetOutcome
            | Kind::DirectoryOutcome
            | Kind::Replica
            | Kind::Happening
            | Kind::ProjectionRow => false,
        }
    }
}

/// Returns the bytes of an entry of a set's log.
pub fn encode_set_batch(batch: &Batch<SetCommand>) -> Bytes {
    encode(Kind::SetBatch, batch)
}

/// Reads an entry of a set's log. The bodies in it are parts of the bytes.
pub fn decode_set_batch(bytes: &Bytes) -> Result<Batch<SetCommand>, DecodeError> {
    decode_shared(Kind::SetBatch, bytes)
}

/// Returns the bytes of an entry of the directory's log.
pub fn encode_directory_batch(batch: &Batch<DirectoryCommand>) -> Bytes {
    encode(Kind::DirectoryBatch, batch)
}

/// Reads an entry of the directory's log.
pub fn decode_directory_batch(bytes: &[u8]) -> Result<Batch<DirectoryCommand>, DecodeError> {
    decode(Kind::DirectoryBatch, bytes)
}

/// Returns the bytes of a set's state.
pub fn encode_set_state<S: Serialize>(set: &S) -> Bytes {
    encode_state(Kind::SetState, set)
}

/// Reads a set's state.
pub fn decode_set_state<S: DeserializeOwned>(bytes: &[u8]) -> Result<S, DecodeError> {
    // The end of each version beyond the one before it.
    let ends = [&NOTHING_KEPT[..], &NONE_READMITTED];
    decode_earlier_state(Kind::SetState, &ends, bytes)
}

/// Returns the bytes of the directory's state.
pub fn encode_directory_state<S: Serialize>(directory: &S) -> Bytes {
    encode_state(Kind::DirectoryState, directory)
}

/// Reads the directory's state.
pub fn decode_directory_state<S: DeserializeOwned>(bytes: &[u8]) -> Result<S, DecodeError> {
    // The end of each version beyond the one before it.
    let ends = [&NO_NODES[..], &NONE_LOCATED, &NONE_SIGNS, &NO_GUARDS, &NONE_TRIED];
    decode_earlier_state(Kind::DirectoryState, &ends, bytes)
}

/// Returns the bytes of a machine's state.
pub fn encode_state<S: Serialize>(kind: Kind, state: &S) -> Bytes {
    encode(kind, state)
}

/// Reads a machine's state.
pub fn decode_state<S: DeserializeOwned>(kind: Kind, bytes: &[u8]) -> Result<S, DecodeError> {
    decode(kind, bytes)
}

/// Reads a state of this version or of an earlier one, which has none of the ends that came later.
fn decode_earlier_state<S: DeserializeOwned>(
    kind: Kind,
    ends: &[&[u8]],
    bytes: &[u8],
) -> Result<S, DecodeError> {
    let [found, version, state @ ..] = bytes else {
        return decode_state(kind, bytes);
    };
    let later = usize::from(*version)
        .checked_sub(1)
        .and_then(|known| ends.get(known..));
    let Some(later) = later.filter(|later| !later.is_empty()) else {
        return decode_state(kind, bytes);
    };
    let now = [&[*found, kind.version()], state, &later.concat()].concat();
    decode_state(kind, &now)
}

/// Returns the bytes of a stored message.
pub fn encode_stored_message(message: &StoredMessage) -> Bytes {
    encode(Kind::StoredMessage, message)
}

/// Appends the bytes of a stored message, whose message someone else holds.
pub fn encode_stored_message_onto(bytes: &mut Vec<u8>, message: &Message, produced: Time) {
    // Fields are written one after the other, with nothing between them.
    encode_onto(Kind::StoredMessage, &(message, produced), bytes);
}

/// Reads a stored message.
pub fn decode_stored_message(bytes: &[u8]) -> Result<StoredMessage, DecodeError> {
    decode(Kind::StoredMessage, bytes)
}

/// Returns the bytes of what befell a message.
pub fn encode_happening(happening: &Happening) -> Bytes {
    encode(Kind::Happening, happening)
}

/// Reads what befell a message.
pub fn decode_happening(bytes: &[u8]) -> Result<Happening, DecodeError> {
    decode(Kind::Happening, bytes)
}

/// Returns the bytes of a set's answer.
pub fn encode_set_outcome(outcome: &Result<SetReply, Refusal>) -> Bytes {
    encode(Kind::SetOutcome, outcome)
}

/// Reads a set's answer.
pub fn decode_set_outcome(bytes: &[u8]) -> Result<Result<SetReply, Refusal>, DecodeError> {
    decode(Kind::SetOutcome, bytes)
}

/// Returns the bytes of the directory's answer.
pub fn encode_directory_outcome(outcome: &Result<DirectoryReply, DirectoryRefusal>) -> Bytes {
    encode(Kind::DirectoryOutcome, outcome)
}

/// Reads the directory's answer.
pub fn decode_directory_outcome(
    bytes: &[u8],
) -> Result<Result<DirectoryReply, DirectoryRefusal>, DecodeError> {
    decode(Kind::DirectoryOutcome, bytes)
}

/// Returns the bytes of a value. Its type must know the length of each of its sequences and must not depend on
/// being self-describing, as all of the model's types do.
pub fn encode<T: Serialize + ?Sized>(kind: Kind, value: &T) -> Bytes {
    let capacity = match kind.holds_bodies() {
        true => encoded_len(value),
        false => PREFIX_BYTES,
    };
    let mut bytes = Vec::with_capacity(capacity);
    encode_onto(kind, value, &mut bytes);
    Bytes::from(bytes)
}

fn encode_onto<T: Serialize + ?Sized>(kind: Kind, value: &T, bytes: &mut Vec<u8>) {
    bytes.extend([kind as u8, kind.version()]);
    *bytes = postcard::to_extend(value, std::mem::take(bytes))
        .expect("a vector takes any bytes, and our types know the lengths of their sequences");
}

/// Returns how many bytes a value takes when it is encoded.
pub fn encoded_len<T: Serialize + ?Sized>(value: &T) -> usize {
    let size = postcard::experimental::serialized_size(value)
        .expect("counting takes any bytes, and our types know the lengths of their sequences");
    PREFIX_BYTES + size
}

/// Reads what a value begins with, whatever follows it.
pub fn decode_beginning<T: DeserializeOwned>(kind: Kind, bytes: &[u8]) -> Result<T, DecodeError> {
    Ok(split(kind, bytes)?.0)
}

/// Reads a value.
pub fn decode<T: DeserializeOwned>(kind: Kind, bytes: &[u8]) -> Result<T, DecodeError> {
    let (value, rest) = split(kind, bytes)?;
    if !rest.is_empty() {
        return Err(DecodeError::Trailing {
            kind,
            left: rest.len(),
        });
    }
    Ok(value)
}

/// Reads a value, with bodies that are parts of the bytes: they keep all of them in memory.
pub fn decode_shared<T: DeserializeOwned>(kind: Kind, bytes: &Bytes) -> Result<T, DecodeError> {
    posthouse_model::shared::decode_from(bytes, |bytes| decode(kind, bytes))
}

/// Reads a value, and returns what is left.
fn split<T: DeserializeOwned>(kind: Kind, bytes: &[u8]) -> Result<(T, &[u8]), DecodeError> {
    let Some((&[found, version], payload)) = bytes.split_first_chunk::<PREFIX_BYTES>() else {
        return Err(DecodeError::TooShort(bytes.len()));
    };
    if found != kind as u8 {
        return Err(DecodeError::WrongKind {
            expected: kind,
            found,
        });
    }
    if version != kind.version() {
        return Err(DecodeError::UnknownVersion {
            kind,
            found: version,
            latest: kind.version(),
        });
    }
    postcard::take_from_bytes(payload).map_err(|error| DecodeError::Malformed {
        kind,
        reason: error.to_string(),
    })
}
