//! Counts what clients have done, and tells them when it is enough.
//!
//! All clients of a meter are on one thread. The clock starts once each of them is connected.

use std::cell::{Cell, OnceCell};
use std::time::{Duration, Instant};

use posthouse_load::drive::Tally;
use tokio::sync::{Barrier, Notify};

/// How much is enough: whichever comes first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Enough {
    /// So many messages.
    pub(crate) messages: u64,
    /// So long.
    pub(crate) span: Duration,
    /// Of how many messages, the first ones, the rate is told.
    pub(crate) rated: u64,
}

/// What was done in all, and how fast.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Done {
    /// The messages by which the rate is told, and how long they took.
    pub(crate) rated: Tally,
    /// All messages.
    pub(crate) messages: u64,
}

/// Counts for so many clients.
#[derive(Debug)]
pub(crate) struct Meter {
    enough: Enough,
    connected: Barrier,
    start: OnceCell<Instant>,
    done: Cell<Done>,
    finished: Notify,
}

// === impl Enough ===

impl Enough {
    /// As much as can be done in so long.
    pub(crate) fn after(span: Duration) -> Enough {
        Enough {
            messages: u64::MAX,
            span,
            rated: u64::MAX,
        }
    }
}

// === impl Meter ===

impl Meter {
    /// Returns a meter for so many clients.
    pub(crate) fn new(enough: Enough, clients: u16) -> Meter {
        Meter {
            enough,
            connected: Barrier::new(usize::from(clients)),
            start: OnceCell::new(),
            done: Cell::default(),
            finished: Notify::new(),
        }
    }

    /// Waits until every client is connected. The last one starts the clock.
    pub(crate) async fn connected(&self) {
        self.connected.wait().await;
        self.start.get_or_init(Instant::now);
    }

    /// Returns whether no more is to be begun.
    pub(crate) fn is_over(&self) -> bool {
        self.is_finished() || self.elapsed() >= self.enough.span
    }

    /// Counts messages that are done.
    pub(crate) fn count(&self, messages: u64) {
        let mut done = self.done.get();
        if done.messages < self.enough.rated {
            done.rated.messages = done.messages + messages;
            done.rated.elapsed = self.elapsed();
        }
        done.messages += messages;
        self.done.set(done);
        if self.is_finished() {
            self.finished.notify_waiters();
        }
    }

    /// Waits for something as long as messages are missing; none once they are all done.
    pub(crate) async fn unless_finished<T>(&self, awaited: impl Future<Output = T>) -> Option<T> {
        let finished = self.finished.notified();
        if self.is_finished() {
            return None;
        }
        tokio::select! {
            biased;
            done = awaited => Some(done),
            () = finished => None,
        }
    }

    /// The same until the time is over, too.
    pub(crate) async fn unless_over<T>(&self, awaited: impl Future<Output = T>) -> Option<T> {
        let left = self.enough.span.saturating_sub(self.elapsed());
        let done = tokio::time::timeout(left, self.unless_finished(awaited)).await;
        done.ok().flatten()
    }

    /// Returns what was done.
    pub(crate) fn done(&self) -> Done {
        self.done.get()
    }

    fn is_finished(&self) -> bool {
        self.done.get().messages >= self.enough.messages
    }

    fn elapsed(&self) -> Duration {
        self.start.get().map(Instant::elapsed).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_of_the_first_messages_and_the_count_of_all() {
        let enough = Enough {
            messages: 10,
            span: Duration::from_secs(60),
            rated: 6,
        };
        let meter = Meter::new(enough, 1);
        for _ in 0..4 {
            assert!(!meter.is_over());
            meter.count(3);
        }
        let done = meter.done();
        assert_eq!((done.rated.messages, done.messages), (6, 12));
        assert!(meter.is_over());
    }

    #[test]
    fn nothing_is_waited_for_once_all_is_done() {
        let enough = Enough {
            messages: 1,
            ..Enough::after(Duration::from_secs(60))
        };
        let meter = Meter::new(enough, 1);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        runtime.expect("a runtime").block_on(async {
            assert_eq!(meter.unless_over(async { 7 }).await, Some(7));
            meter.count(1);
            assert_eq!(meter.unless_over(std::future::pending::<()>()).await, None);
        });
    }
}
