//! What may be used of something in a second: a bucket that fills at a rate and holds one second of it.
//!
//! What is used is charged after the fact, so it may run below empty; then nothing is left until it has filled again.

use std::time::{Duration, Instant};

/// What may be used of something.
#[derive(Debug)]
pub struct Bucket {
    held: i64,
    rate: u64,
    filled: Instant,
}

// === impl Bucket ===

impl Bucket {
    /// Returns a full bucket that fills at so much a second.
    pub fn full(rate: u64, now: Instant) -> Bucket {
        Bucket {
            held: capacity(rate),
            rate,
            filled: now,
        }
    }

    /// Changes the rate from now on. One that held more is emptied to what the new rate allows.
    pub fn set_rate(&mut self, rate: u64, now: Instant) {
        self.fill(now);
        self.rate = rate;
        self.held = self.held.min(capacity(rate));
    }

    /// Returns how much is left, which is nothing while it is below empty.
    pub fn left(&mut self, now: Instant) -> u64 {
        self.fill(now);
        u64::try_from(self.held).unwrap_or(0)
    }

    /// Takes out what was used.
    pub fn charge(&mut self, used: u64) {
        self.held = self.held.saturating_sub_unsigned(used);
    }

    /// Puts back what was taken out and not used.
    pub fn give_back(&mut self, unused: u64) {
        self.held = self.held.saturating_add_unsigned(unused).min(capacity(self.rate));
    }

    /// Returns whether more is used than a second is worth beyond what there was.
    pub fn is_overdrawn(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.held <= capacity(self.rate).saturating_neg()
    }

    /// Returns how long it is until anything is left; none is for ever.
    pub fn until_any(&mut self, now: Instant) -> Option<Duration> {
        self.fill(now);
        let missing = u64::try_from(1_i64.saturating_sub(self.held)).unwrap_or(0);
        let micros = missing.saturating_mul(1_000_000).checked_div(self.rate)?;
        Some(Duration::from_micros(micros))
    }

    /// Adds what the time since the last filling is worth in whole, and goes on from what that time was, so that nothing
    /// is lost to rounding however often this is called.
    fn fill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.filled).as_micros();
        let worth = u64::try_from(elapsed)
            .unwrap_or(u64::MAX)
            .saturating_mul(self.rate)
            / 1_000_000;
        if worth == 0 {
            return;
        }
        let room = capacity(self.rate).saturating_sub(self.held);
        if i64::try_from(worth).is_ok_and(|worth| worth < room) {
            self.filled += Duration::from_micros(worth.saturating_mul(1_000_000) / self.rate);
        } else {
            self.filled = now;
        }
        self.held = self.held.saturating_add_unsigned(worth).min(capacity(self.rate));
    }
}

fn capacity(rate: u64) -> i64 {
    i64::try_from(rate).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_fills_at_its_rate_and_holds_one_second() {
        let start = Instant::now();
        let mut bucket = Bucket::full(1_000, start);
        bucket.charge(1_500);
        assert_eq!(bucket.left(start), 0);
        assert_eq!(bucket.left(start + Duration::from_millis(600)), 100);
        assert_eq!(bucket.left(start + Duration::from_secs(60)), 1_000);
    }

    #[test]
    fn filling_often_loses_nothing() {
        let start = Instant::now();
        let mut bucket = Bucket::full(1_000, start);
        bucket.charge(1_000);
        for micros in (0..=1_000_000).step_by(1_500) {
            bucket.left(start + Duration::from_micros(micros));
        }
        assert_eq!(bucket.held, 999);
    }

    #[test]
    fn one_tells_when_there_is_something_again_and_when_far_too_much_was_used() {
        let start = Instant::now();
        let mut bucket = Bucket::full(10, start);
        assert_eq!(bucket.until_any(start), Some(Duration::ZERO));
        bucket.charge(14);
        bucket.give_back(4);
        assert_eq!(bucket.until_any(start), Some(Duration::from_millis(100)));
        assert!(!bucket.is_overdrawn(start));
        bucket.charge(10);
        assert!(bucket.is_overdrawn(start));
        assert!(!bucket.is_overdrawn(start + Duration::from_millis(100)));
        bucket.give_back(1_000);
        assert_eq!(bucket.left(start), 10, "it holds one second");
        let mut nothing = Bucket::full(0, start);
        assert_eq!(nothing.until_any(start), None);
        assert!(nothing.is_overdrawn(start));
    }

    #[test]
    fn another_rate_leaves_no_more_than_it_allows() {
        let start = Instant::now();
        let mut bucket = Bucket::full(1_000, start);
        bucket.set_rate(10, start);
        assert_eq!(bucket.left(start), 10);
        bucket.set_rate(0, start);
        assert_eq!(bucket.left(start + Duration::from_secs(9)), 0);
        bucket.set_rate(u64::MAX, start + Duration::from_secs(9));
        let later = start + Duration::from_secs(10);
        assert!(bucket.left(later) > 1_000_000_000, "{bucket:?}");
    }
}
