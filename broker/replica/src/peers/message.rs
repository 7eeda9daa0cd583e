//! What is said on a connection between nodes, and its bytes. Pure.
//!
//! The layouts stand in the parent's documentation.

use bytes::Bytes;
use posthouse_model::{ReplicaId, SetId};
use posthouse_wire::{DecodeError, FRAME_HEADER_BYTES, Frame, FrameKind, Kind, frame_header};
use serde::{Deserialize, Serialize};

use super::Hello;
use crate::{GroupName, Lane};

/// What a greeting begins with, so that nobody else is taken for a node.
const MAGIC: [u8; 8] = *b"posthorn";
/// The version of what is said here.
const VERSION: u16 = 1;
/// What of a reason is sent and kept.
const REASON_BYTES_MAX: usize = 512;
/// The bytes before a call's own: its number, its group.
pub(super) const CALL_PREFIX_BYTES: usize = 10;

const HELLO: FrameKind = FrameKind(1);
const REFUSED: FrameKind = FrameKind(2);
const GROUP: FrameKind = FrameKind(3);
const REQUEST: FrameKind = FrameKind(4);
const ANSWER: FrameKind = FrameKind(5);
const FAULT: FrameKind = FrameKind(6);
const CANCEL: FrameKind = FrameKind(7);

/// What a connection is for: the lanes of groups, and what else one node asks another.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub(super) enum Channel {
    Log,
    Heartbeat,
    Snapshot,
    Requests,
}

/// A call's number, given by the node that asks; it is new on each connection.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct CallId(pub(super) u64);

/// What a connection begins with, in either direction.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) struct Greeting {
    pub(super) channel: Channel,
    pub(super) hello: Hello,
    /// The replica that the other side is taken for.
    pub(super) expects: Option<ReplicaId>,
}

/// What is said. It has no debug print, which would show messages' bodies: in tests there are none to show.
#[cfg_attr(test, derive(Debug))]
#[derive(Clone, Eq, PartialEq)]
pub(super) enum Message {
    Hello(Greeting),
    Refused(String),
    Group {
        call: CallId,
        group: GroupName,
        frame: Bytes,
    },
    Request {
        call: CallId,
        request: Bytes,
    },
    Answer {
        call: CallId,
        answer: Bytes,
    },
    Fault {
        call: CallId,
        reason: String,
    },
    Cancel {
        call: CallId,
    },
}

/// Why a frame says nothing.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum MessageError {
    #[error("no greeting of a node")]
    NoGreeting,
    #[error("version {0} of the peers' protocol is not spoken here, but version {VERSION}")]
    OtherVersion(u16),
    #[error("malformed greeting: {0}")]
    Greeting(#[from] DecodeError),
    #[error("a frame of kind {kind} has only {bytes} bytes")]
    TooShort { kind: u8, bytes: usize },
    #[error("no group has the number {0}")]
    NoSuchGroup(u16),
    #[error("frames of kind {0} are not known")]
    UnknownKind(u8),
}

// === impl Channel ===

impl Channel {
    /// In the order of their numbers.
    pub(super) const ALL: [Channel; 4] = [
        Channel::Log,
        Channel::Heartbeat,
        Channel::Snapshot,
        Channel::Requests,
    ];
}

impl From<Lane> for Channel {
    fn from(lane: Lane) -> Self {
        match lane {
            Lane::Log => Channel::Log,
            Lane::Heartbeat => Channel::Heartbeat,
            Lane::Snapshot => Channel::Snapshot,
        }
    }
}

// === impl Message ===

impl Message {
    /// Returns the message's bytes, in two pieces.
    pub(super) fn encode(self) -> [Bytes; 2] {
        match self {
            Message::Hello(greeting) => {
                let encoded = posthouse_wire::encode(Kind::Peer, &greeting);
                pieces(HELLO, &[&MAGIC, &VERSION.to_le_bytes()], encoded)
            }
            Message::Refused(reason) => pieces(REFUSED, &[], Bytes::from(shortened(reason))),
            Message::Group { call, group, frame } => {
                let group = group_number(group).to_le_bytes();
                pieces(GROUP, &[&call.0.to_le_bytes(), &group], frame)
            }
            Message::Request { call, request } => pieces(REQUEST, &[&call.0.to_le_bytes()], request),
            Message::Answer { call, answer } => pieces(ANSWER, &[&call.0.to_le_bytes()], answer),
            Message::Fault { call, reason } => {
                pieces(FAULT, &[&call.0.to_le_bytes()], Bytes::from(shortened(reason)))
            }
            Message::Cancel { call } => pieces(CANCEL, &[&call.0.to_le_bytes()], Bytes::new()),
        }
    }

    /// Reads what a frame says.
    pub(super) fn decode(frame: Frame) -> Result<Message, MessageError> {
        let Frame { kind, mut payload } = frame;
        match kind {
            HELLO => decode_greeting(&payload).map(Message::Hello),
            REFUSED => Ok(Message::Refused(text(&payload))),
            GROUP => {
                let call = take_call(kind, &mut payload)?;
                let group = group_named(u16::from_le_bytes(take(kind, &mut payload)?))?;
                let frame = payload;
                Ok(Message::Group { call, group, frame })
            }
            REQUEST => {
                let call = take_call(kind, &mut payload)?;
                let request = payload;
                Ok(Message::Request { call, request })
            }
            ANSWER => {
                let call = take_call(kind, &mut payload)?;
                let answer = payload;
                Ok(Message::Answer { call, answer })
            }
            FAULT => {
                let call = take_call(kind, &mut payload)?;
                let reason = text(&payload);
                Ok(Message::Fault { call, reason })
            }
            CANCEL => {
                let call = take_call(kind, &mut payload)?;
                Ok(Message::Cancel { call })
            }
            FrameKind(unknown) => Err(MessageError::UnknownKind(unknown)),
        }
    }
}

fn pieces(kind: FrameKind, prefix: &[&[u8]], payload: Bytes) -> [Bytes; 2] {
    let prefix = prefix.concat();
    let header = frame_header(kind, &[&prefix, &payload]);
    let mut head = Vec::with_capacity(FRAME_HEADER_BYTES + prefix.len());
    head.extend_from_slice(&header);
    head.extend_from_slice(&prefix);
    [Bytes::from(head), payload]
}

fn decode_greeting(payload: &[u8]) -> Result<Greeting, MessageError> {
    let rest = payload.strip_prefix(&MAGIC).ok_or(MessageError::NoGreeting)?;
    let (version, rest) = rest.split_first_chunk().ok_or(MessageError::NoGreeting)?;
    let version = u16::from_le_bytes(*version);
    if version != VERSION {
        return Err(MessageError::OtherVersion(version));
    }
    Ok(posthouse_wire::decode(Kind::Peer, rest)?)
}

fn take_call(kind: FrameKind, payload: &mut Bytes) -> Result<CallId, MessageError> {
    take(kind, payload).map(|bytes| CallId(u64::from_le_bytes(bytes)))
}

/// Takes bytes off a payload's beginning.
fn take<const N: usize>(kind: FrameKind, payload: &mut Bytes) -> Result<[u8; N], MessageError> {
    let Some(taken) = payload.first_chunk::<N>().copied() else {
        return Err(MessageError::TooShort {
            kind: kind.0,
            bytes: payload.len(),
        });
    };
    *payload = payload.slice(N..);
    Ok(taken)
}

fn group_number(group: GroupName) -> u16 {
    match group {
        GroupName::Directory => 0,
        GroupName::Set(SetId(set)) => 1 + u16::from(set),
    }
}

fn group_named(number: u16) -> Result<GroupName, MessageError> {
    let Some(set) = number.checked_sub(1) else {
        return Ok(GroupName::Directory);
    };
    let set = u8::try_from(set).map_err(|_| MessageError::NoSuchGroup(number))?;
    Ok(GroupName::Set(SetId(set)))
}

fn text(payload: &[u8]) -> String {
    let kept = &payload[..payload.len().min(REASON_BYTES_MAX)];
    String::from_utf8_lossy(kept).into_owned()
}

fn shortened(mut reason: String) -> String {
    reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
    reason
}

#[cfg(test)]
mod tests;
