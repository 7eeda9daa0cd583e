//! A stream's requests as they arrive: what has come of one that is not complete takes up room like any other body, and not
//! for ever.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};
use tonic::Status;

use crate::bodies::{Held, Room};

/// What stands before each message in gRPC: a flag, and how many bytes it has.
const PREFIX_BYTES: usize = 5;
/// After how long it is taken that nobody has read meanwhile: streams are looked at once a second while they are read.
const UNREAD: Duration = Duration::from_secs(4);

/// What a client sends over a stream.
pub(super) struct Arriving {
    body: Incoming,
    room: Room,
    message: Message,
    held: Held,
    /// How long the rest of a message may take from when the last of it came.
    within: Duration,
    late: Option<Pin<Box<Sleep>>>,
    polled: Instant,
}

/// How much has come of a message.
#[derive(Debug, Default)]
struct Message {
    prefix: [u8; PREFIX_BYTES],
    prefix_bytes: usize,
    /// Bytes that have come, and that it has.
    came: usize,
    has: usize,
}

// === impl Arriving ===

impl Arriving {
    pub(super) fn new(body: Incoming, room: Room, within: Duration) -> Arriving {
        Arriving {
            body,
            room,
            message: Message::default(),
            held: Held::default(),
            within,
            late: None,
            polled: Instant::now(),
        }
    }

    /// Takes note of what came.
    fn note(&mut self, chunk: &[u8]) -> Result<(), Status> {
        self.late = None;
        self.message.take(chunk);
        match self.message.came {
            0 => self.held = Held::default(),
            came => self
                .room
                .grow(&mut self.held, came)
                .map_err(|full| Status::resource_exhausted(full.to_string()))?,
        }
        Ok(())
    }

    /// Waits for more of a message.
    fn poll_late(&mut self, context: &mut Context<'_>, was_read: bool) -> Poll<()> {
        if self.message.is_whole() {
            return Poll::Pending;
        }
        if !was_read {
            self.late = None;
        }
        let within = self.within;
        let late = self
            .late
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(within)));
        late.as_mut().poll(context)
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let now = Instant::now();
        let was_read = now.saturating_duration_since(self.polled) < UNREAD;
        self.polled = now;
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(chunk) = frame.data_ref() {
                    self.note(chunk)?;
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(Status::from_error(error.into())))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => self.poll_late(context, was_read).map(|()| {
                let late = "a request did not arrive in time (limits.body_read_seconds)";
                Some(Err(Status::deadline_exceeded(late)))
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

// === impl Message ===

impl Message {
    /// Takes in what came, of this message and of those that follow it.
    fn take(&mut self, mut chunk: &[u8]) {
        while !chunk.is_empty() {
            if self.prefix_bytes < PREFIX_BYTES {
                let (head, rest) = chunk.split_at(chunk.len().min(PREFIX_BYTES - self.prefix_bytes));
                self.prefix[self.prefix_bytes..][..head.len()].copy_from_slice(head);
                self.prefix_bytes += head.len();
                chunk = rest;
                let [_, size @ ..] = self.prefix;
                self.has = usize::try_from(u32::from_be_bytes(size)).unwrap_or(usize::MAX);
            }
            if self.prefix_bytes == PREFIX_BYTES {
                let more = chunk.len().min(self.has - self.came);
                self.came += more;
                chunk = &chunk[more..];
                if self.came == self.has {
                    *self = Message::default();
                }
            }
        }
    }

    fn is_whole(&self) -> bool {
        self.prefix_bytes == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: usize) -> Vec<u8> {
        let size = u32::try_from(bytes).expect("a small message");
        [&[0][..], &size.to_be_bytes(), &vec![7; bytes]].concat()
    }

    #[test]
    fn what_has_come_of_a_message_is_known_however_it_is_cut() {
        let sent = [message(3), message(0), message(1_000), message(4)].concat();
        for piece in [1, 2, 4, 5, 7, 1_003, sent.len()] {
            let mut arriving = Message::default();
            let mut came = 0;
            for chunk in sent.chunks(piece) {
                arriving.take(chunk);
                came += chunk.len();
                // The third message begins after 13 bytes, and its prefix ends after 18.
                if (18..1_018).contains(&came) {
                    assert_eq!(arriving.came, came - 18, "in pieces of {piece}");
                    assert!(!arriving.is_whole());
                }
            }
            assert!(arriving.is_whole(), "in pieces of {piece}");
        }
    }

    #[test]
    fn a_message_of_any_size_is_only_counted_as_far_as_it_came() {
        let mut arriving = Message::default();
        arriving.take(&[0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3]);
        assert_eq!(arriving.came, 3);
    }
}
