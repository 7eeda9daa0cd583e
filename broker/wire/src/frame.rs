//! Frames between peers: a length, a kind, a checksum and that many bytes.
//!
//! ```text
//! length u32 | kind u8 | version u8 | crc32c u32 | payload
//! ```
//!
//! Numbers are little-endian. The checksum covers everything but itself. TCP's own is too weak for what is written
//! to disk as it arrives. After any error the connection is useless, because where the next frame begins is not
//! known: its owner closes it.

use bytes::{Buf, Bytes, BytesMut};

/// The bytes before a payload.
pub const HEADER_BYTES: usize = 10;
/// The version of the framing that is spoken now.
const VERSION: u8 = 1;

/// What a frame holds, as its sender and its receiver agree.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct FrameKind(pub u8);

/// A frame as it was received.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Frame {
    /// What it holds.
    pub kind: FrameKind,
    /// Its bytes.
    pub payload: Bytes,
}

/// Takes bytes as they come from a connection, and gives frames.
#[derive(Debug)]
pub struct FrameReader {
    buffer: BytesMut,
    payload_bytes_max: u32,
}

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FrameError {
    /// The frame is longer than the reader takes.
    #[error("frame of {bytes} bytes is over the limit of {limit}")]
    TooLong {
        /// The payload's length.
        bytes: u32,
        /// The reader's limit.
        limit: u32,
    },
    /// A framing that this release does not speak.
    #[error("frame version {0} is not known")]
    UnknownVersion(u8),
    /// Damaged on the way.
    #[error("frame has checksum {found:08x}, its bytes have {expected:08x}")]
    Damaged {
        /// What its header says.
        found: u32,
        /// What its bytes have.
        expected: u32,
    },
}

// === impl Frame ===

impl Frame {
    /// Returns the frame's bytes in one piece.
    pub fn encode(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.payload.len());
        bytes.extend_from_slice(&frame_header(self.kind, &[&self.payload]));
        bytes.extend_from_slice(&self.payload);
        Bytes::from(bytes)
    }
}

// === impl FrameReader ===

impl FrameReader {
    /// Returns a reader that takes payloads of at most so many bytes.
    pub fn new(payload_bytes_max: u32) -> FrameReader {
        FrameReader {
            buffer: BytesMut::new(),
            payload_bytes_max,
        }
    }

    /// Returns where bytes from the connection are to be appended, as they arrive.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Returns how many bytes of the frame that has begun are still to come, if it is one that the reader takes.
    pub fn missing(&self) -> usize {
        let Some(&[l0, l1, l2, l3]) = self.buffer.first_chunk() else {
            return 0;
        };
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        if length > self.payload_bytes_max {
            return 0;
        }
        (HEADER_BYTES + length as usize).saturating_sub(self.buffer.len())
    }

    /// Returns the next whole frame, or none until more bytes have come.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(header) = self.buffer.first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let header = *header;
        let [l0, l1, l2, l3, kind, version, c0, c1, c2, c3] = header;
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        let found = u32::from_le_bytes([c0, c1, c2, c3]);
        if version != VERSION {
            return Err(FrameError::UnknownVersion(version));
        }
        if length > self.payload_bytes_max {
            return Err(FrameError::TooLong {
                bytes: length,
                limit: self.payload_bytes_max,
            });
        }
        let payload_bytes = length as usize;
        if self.buffer.len() - HEADER_BYTES < payload_bytes {
            return Ok(None);
        }
        self.buffer.advance(HEADER_BYTES);
        let payload = self.buffer.split_to(payload_bytes).freeze();
        let expected = checksum(length, FrameKind(kind), &[&payload]);
        if found != expected {
            return Err(FrameError::Damaged { found, expected });
        }
        Ok(Some(Frame {
            kind: FrameKind(kind),
            payload,
        }))
    }
}

/// Returns what is written before a payload, which may lie in several pieces, so that none of it need be copied.
///
/// # Panics
///
/// When the payload is of 4 GiB or more: what is sent has bounds far below.
pub fn frame_header(kind: FrameKind, payload: &[&[u8]]) -> [u8; HEADER_BYTES] {
    let bytes: usize = payload.iter().map(|piece| piece.len()).sum();
    let length = u32::try_from(bytes).expect("what is sent is bounded far below 4 GiB");
    let [l0, l1, l2, l3] = length.to_le_bytes();
    let [c0, c1, c2, c3] = checksum(length, kind, payload).to_le_bytes();
    [l0, l1, l2, l3, kind.0, VERSION, c0, c1, c2, c3]
}

fn checksum(length: u32, kind: FrameKind, payload: &[&[u8]]) -> u32 {
    let [l0, l1, l2, l3] = length.to_le_bytes();
    let prefix = crc32c::crc32c(&[l0, l1, l2, l3, kind.0, VERSION]);
    payload
        .iter()
        .fold(prefix, |sum, piece| crc32c::crc32c_append(sum, piece))
}
