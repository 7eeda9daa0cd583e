//! The clocks that set time is made from: given from outside, so that tests and the simulator bring their own.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::FutureExt;
use futures::future::BoxFuture;
use posthouse_model::Time;

/// A machine's clocks.
pub trait Clock: Send + Sync + 'static {
    /// Returns the wall clock's time, towards which set time is led: on a cluster, the median of its nodes.
    fn wall(&self) -> Time;

    /// Returns the time since some fixed moment of this process. Never runs back.
    fn monotonic(&self) -> Duration;

    /// Waits until the monotonic clock shows at least `at`.
    fn reach(&self, at: Duration) -> BoxFuture<'static, ()>;
}

/// The machine's own clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    started: Instant,
}

// === impl SystemClock ===

impl SystemClock {
    /// Returns a clock that starts now.
    pub fn new() -> SystemClock {
        SystemClock {
            started: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn wall(&self) -> Time {
        // A clock before 1970 is as good as none.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Time::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }

    fn reach(&self, at: Duration) -> BoxFuture<'static, ()> {
        let deadline = tokio::time::Instant::from_std(self.started + at);
        tokio::time::sleep_until(deadline).boxed()
    }
}
