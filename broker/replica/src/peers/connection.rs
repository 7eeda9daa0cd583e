//! A connection between nodes: messages in, messages out.
//!
//! Reading asks for memory for a frame as long as entries usually are at once, and for a longer one only as bytes arrive,
//! whatever it says of its length. Writing puts what waits together: payloads are not copied, and many messages leave with
//! one system call.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf, Bytes, BytesMut};
use posthouse_wire::{FrameError, FrameReader};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};

use super::FRAME_BYTES_MAX;
use super::message::{CALL_PREFIX_BYTES, Message, MessageError};
use crate::config::ENTRY_BYTES_MAX;

/// How long the frame of a greeting may be.
const GREETING_BYTES_MAX: u32 = 1_024;
/// How long any other frame may be.
const PAYLOAD_BYTES_MAX: u32 = (FRAME_BYTES_MAX + CALL_PREFIX_BYTES) as u32;
/// What is read at once.
const READ_BYTES: usize = 64 * 1_024;
/// The room in the buffer below which it is made larger.
const READ_BYTES_MIN: usize = 4 * 1_024;
/// How much is asked for at once of what a frame says is still to come. A buffer that grows as bytes arrive is copied
/// each time: that was 6 % of all time of three nodes that take sends.
const AHEAD_BYTES_MAX: usize = 2 * ENTRY_BYTES_MAX;
/// What is put together before it is written.
const BATCH_BYTES: usize = 256 * 1_024;

/// What bytes go over: a socket, or TLS on one.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

/// A connection, in its two directions.
pub(super) struct Connection {
    pub(super) reader: MessageReader,
    pub(super) writer: MessageWriter,
}

/// Reads messages. Nothing is lost when a read is dropped half-way.
pub(super) struct MessageReader {
    stream: ReadHalf<Box<dyn Duplex>>,
    frames: FrameReader,
}

/// Writes messages. A write that is dropped half-way ends the connection.
pub(super) struct MessageWriter {
    stream: WriteHalf<Box<dyn Duplex>>,
    batch: Batch,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    #[error("the other side closed the connection")]
    Closed,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Message(#[from] MessageError),
    #[error("the other side said what is not said on this end of a connection")]
    OutOfPlace,
    #[error("an answer panicked")]
    Panicked,
}

/// Bytes that wait to be written, in pieces.
#[derive(Default)]
struct Batch {
    pieces: VecDeque<Bytes>,
    bytes: usize,
}

// === impl Duplex ===

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

// === impl Connection ===

impl Connection {
    /// Returns a connection that reads nothing longer than a greeting.
    pub(super) fn new(stream: Box<dyn Duplex>) -> Connection {
        let (read, write) = tokio::io::split(stream);
        Connection {
            reader: MessageReader {
                stream: read,
                frames: FrameReader::new(GREETING_BYTES_MAX),
            },
            writer: MessageWriter {
                stream: write,
                batch: Batch::default(),
            },
        }
    }
}

// === impl MessageReader ===

impl MessageReader {
    /// Takes longer frames from now on: it is known who sends them.
    pub(super) fn admit(&mut self) {
        let read = std::mem::take(self.frames.buffer());
        self.frames = FrameReader::new(PAYLOAD_BYTES_MAX);
        *self.frames.buffer() = read;
    }

    /// Waits for the next message.
    pub(super) async fn next(&mut self) -> Result<Message, ConnectionError> {
        loop {
            if let Some(frame) = self.frames.next_frame()? {
                return Ok(Message::decode(frame)?);
            }
            let missing = self.frames.missing();
            let buffer = self.frames.buffer();
            if buffer.capacity() - buffer.len() < READ_BYTES_MIN {
                if buffer.is_empty() {
                    // A new one: the old one may be as large as the longest frame was.
                    *buffer = BytesMut::new();
                }
                buffer.reserve(missing.clamp(READ_BYTES, AHEAD_BYTES_MAX));
            }
            if self.stream.read_buf(buffer).await? == 0 {
                return Err(ConnectionError::Closed);
            }
        }
    }
}

// === impl MessageWriter ===

impl MessageWriter {
    /// Adds a message to what is written next.
    pub(super) fn push(&mut self, message: Message) {
        for piece in message.encode() {
            self.batch.push(piece);
        }
    }

    /// Returns whether enough waits to be written.
    pub(super) fn is_full(&self) -> bool {
        self.batch.bytes >= BATCH_BYTES
    }

    /// Writes what waits.
    pub(super) async fn flush(&mut self) -> Result<(), ConnectionError> {
        if self.batch.has_remaining() {
            self.stream.write_all_buf(&mut self.batch).await?;
            self.stream.flush().await?;
        }
        Ok(())
    }
}

// === impl Batch ===

impl Batch {
    fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.bytes += piece.len();
            self.pieces.push_back(piece);
        }
    }
}

impl Buf for Batch {
    fn remaining(&self) -> usize {
        self.bytes
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(piece);
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.bytes, "no more is written than there was");
        self.bytes -= count;
        while let Some(piece) = self.pieces.front_mut() {
            if count < piece.len() {
                piece.advance(count);
                return;
            }
            count -= piece.len();
            self.pieces.pop_front();
        }
    }
}
