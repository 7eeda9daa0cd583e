//! What a stream's task answers, on its way to HTTP/2.
//!
//! One bunch waits at most: HTTP/2 takes it when the client has room for it, and only then the leases in it are the
//! client's. What was not taken is given back when the stream ends.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::SendError;
use tokio::time::Instant;
use tonic::Status;

use crate::bodies::Held;
use crate::broker::Leases;

/// A bunch of answers.
#[derive(Default)]
pub(super) struct Bunch<R> {
    pub(super) reply: R,
    /// The leases in it.
    pub(super) leases: Option<Leases>,
    /// The room that its bodies take until HTTP/2 has them.
    pub(super) held: Held,
}

/// Where a stream's task gives its answers.
pub(super) struct Giver<R> {
    bunches: mpsc::Sender<Bunch<R>>,
    end: Arc<Mutex<Option<Status>>>,
}

/// A stream's answers, as HTTP/2 takes them. Dropped when the client is gone.
pub struct Answers<R> {
    bunches: mpsc::Receiver<Bunch<R>>,
    end: Arc<Mutex<Option<Status>>>,
}

/// Room for a bunch.
pub(super) struct Place<'a, R>(mpsc::Permit<'a, Bunch<R>>);

/// Since when a client has taken in nothing, although there is something.
#[derive(Debug)]
pub(super) struct Stall {
    timeout: Duration,
    ends: Option<Instant>,
}

// === impl Giver ===

impl<R> Giver<R> {
    pub(super) fn new() -> (Giver<R>, Answers<R>) {
        let (sender, bunches) = mpsc::channel(1);
        let end = Arc::new(Mutex::new(None));
        let giver = Giver {
            bunches: sender,
            end: Arc::clone(&end),
        };
        (giver, Answers { bunches, end })
    }

    /// Waits for room; none when the client is gone.
    pub(super) async fn place(&self) -> Option<Place<'_, R>> {
        match self.bunches.reserve().await {
            Ok(permit) => Some(Place(permit)),
            Err(SendError(())) => None,
        }
    }

    /// Waits until the client is gone.
    pub(super) async fn gone(&self) {
        self.bunches.closed().await;
    }

    /// Ends the stream, after what was given.
    pub(super) fn end(self, status: Result<(), Status>) {
        *self.end.lock() = status.err();
    }
}

impl<R> Place<'_, R> {
    pub(super) fn give(self, bunch: Bunch<R>) {
        self.0.send(bunch);
    }
}

// === impl Answers ===

impl<R> Stream for Answers<R> {
    type Item = Result<R, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.bunches.poll_recv(context) {
            Poll::Ready(Some(Bunch { reply, leases, held })) => {
                drop(held);
                if let Some(mut leases) = leases {
                    leases.keep();
                }
                Poll::Ready(Some(Ok(reply)))
            }
            Poll::Ready(None) => Poll::Ready(self.end.lock().take().map(Err)),
            Poll::Pending => Poll::Pending,
        }
    }
}

// === impl Stall ===

impl Stall {
    pub(super) fn new(timeout: Duration) -> Stall {
        Stall { timeout, ends: None }
    }

    /// Notes whether there is something that the client has not taken in.
    pub(super) fn note(&mut self, waits: bool) {
        match (waits, self.ends) {
            (true, None) => self.ends = Some(Instant::now() + self.timeout),
            (true, Some(_)) => {}
            (false, _) => self.ends = None,
        }
    }

    /// The client took something in.
    pub(super) fn moved(&mut self) {
        self.ends = None;
    }

    /// Waits until the client has taken in nothing for too long.
    pub(super) async fn over(&self) {
        match self.ends {
            Some(ends) => tokio::time::sleep_until(ends).await,
            None => std::future::pending().await,
        }
    }
}
