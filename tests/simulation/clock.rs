//! The clocks of a machine: one that runs a little fast or slow, and one on the wall that may be wrong by an hour.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use posthouse_model::{Span, Time};
use posthouse_replica::Clock;
use tokio::time::Instant;

/// When simulations begin.
const BEGINNING: Time = Time::from_seconds(1_800_000_000);
/// How fast or slow a machine's oscillator is, at most.
pub(crate) const DRIFT_PARTS_PER_MILLION: u32 = 100;

const MILLION: u128 = 1_000_000;

/// What is wrong with a machine's clocks.
#[derive(Debug)]
pub(crate) struct Dial {
    began: Instant,
    /// Its oscillator makes so many steps in the time of a million.
    pace: u128,
    /// How far all wall clocks were put ahead, because they had been wrong.
    corrected_millis: AtomicI64,
    /// How far the wall clock is ahead of that.
    ahead_millis: AtomicI64,
}

/// The clocks as one process of the machine sees them.
pub(crate) struct NodeClock {
    dial: Arc<Dial>,
    started: Instant,
}

// === impl Dial ===

impl Dial {
    /// Returns clocks that are right, but for a drift of so many parts in a million.
    pub(crate) fn new(began: Instant, drift: i64) -> Dial {
        let pace = 1_000_000
            + drift.clamp(
                -i64::from(DRIFT_PARTS_PER_MILLION),
                i64::from(DRIFT_PARTS_PER_MILLION),
            );
        Dial {
            began,
            pace: u128::from(pace.unsigned_abs()),
            corrected_millis: AtomicI64::new(0),
            ahead_millis: AtomicI64::new(0),
        }
    }

    /// Puts the wall clock ahead as those of all machines are, which had been wrong.
    pub(crate) fn correct(&self, millis: i64) {
        self.corrected_millis.store(millis, Ordering::Relaxed);
    }

    /// Sets the wall clock so far ahead, or behind.
    pub(crate) fn set_ahead(&self, millis: i64) {
        self.ahead_millis.store(millis, Ordering::Relaxed);
    }

    fn counted_since(&self, start: Instant) -> Duration {
        let passed = start.elapsed().as_nanos() * self.pace / MILLION;
        Duration::from_nanos(u64::try_from(passed).unwrap_or(u64::MAX))
    }
}

// === impl NodeClock ===

impl NodeClock {
    pub(crate) fn start(dial: Arc<Dial>) -> NodeClock {
        NodeClock {
            dial,
            started: Instant::now(),
        }
    }
}

impl Clock for NodeClock {
    fn wall(&self) -> Time {
        let millis = u64::try_from(self.dial.counted_since(self.dial.began).as_millis()).unwrap_or(u64::MAX);
        let right = BEGINNING + Span::from_millis(millis);
        let corrected = self.dial.corrected_millis.load(Ordering::Relaxed);
        let ahead = self.dial.ahead_millis.load(Ordering::Relaxed) + corrected;
        let off = Span::from_millis(ahead.unsigned_abs());
        if ahead < 0 { right.before(off) } else { right + off }
    }

    fn monotonic(&self) -> Duration {
        self.dial.counted_since(self.started)
    }

    fn reach(&self, at: Duration) -> BoxFuture<'static, ()> {
        let nanos = (at.as_nanos() * MILLION).div_ceil(self.dial.pace);
        let due = self.started + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        tokio::time::sleep_until(due).boxed()
    }
}
