//! Time as a set knows it: a number in the log, never a clock that is read.

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970, as stamped by a set's leader. Never runs back within a set.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Time(u64);

/// A length of time in milliseconds.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Span(u64);

// === impl Time ===

impl Time {
    /// The latest time there is.
    pub const MAX: Time = Time(u64::MAX);

    /// Returns the time so many milliseconds after 1970.
    pub const fn from_millis(millis: u64) -> Time {
        Time(millis)
    }

    /// Returns the time so many seconds after 1970.
    pub const fn from_seconds(seconds: u64) -> Time {
        Time(seconds.saturating_mul(1_000))
    }

    /// Returns the milliseconds since 1970.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// Returns the whole seconds since 1970, as CMQ's replies give times.
    pub const fn seconds(self) -> u64 {
        self.0 / 1_000
    }

    /// Returns how long ago `earlier` was, zero if it is yet to come.
    pub const fn since(self, earlier: Time) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }

    /// Returns this time less `span`, at the least the first time there is.
    pub const fn before(self, span: Span) -> Time {
        Time(self.0.saturating_sub(span.0))
    }
}

impl std::ops::Add<Span> for Time {
    type Output = Time;
    fn add(self, span: Span) -> Time {
        Time(self.0.saturating_add(span.0))
    }
}

// === impl Span ===

impl Span {
    /// No time at all.
    pub const ZERO: Span = Span(0);

    /// Returns a span of milliseconds.
    pub const fn from_millis(millis: u64) -> Span {
        Span(millis)
    }

    /// Returns a span of seconds.
    pub const fn from_seconds(seconds: u64) -> Span {
        Span(seconds.saturating_mul(1_000))
    }

    /// Returns the span in milliseconds.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// Returns the span in whole seconds.
    pub const fn seconds(self) -> u64 {
        self.0 / 1_000
    }

    /// Returns whether nothing passes in it.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl From<Span> for std::time::Duration {
    fn from(span: Span) -> Self {
        Self::from_millis(span.0)
    }
}
