//! Complaints about peers, each at most once a minute: a peer that is tried again and again must not fill the log.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long a complaint is not repeated.
const QUIET: Duration = Duration::from_secs(60);
/// Complaints that are remembered; beyond it, new ones wait until one may be repeated.
const COMPLAINTS_MAX: usize = 256;

/// What was complained about, and when.
#[derive(Default)]
pub(super) struct Complaints {
    last: Mutex<BTreeMap<Complaint, Instant>>,
}

/// A complaint about someone.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Complaint {
    /// A peer cannot be reached.
    Unreachable(String),
    /// A peer and this node do not want each other.
    Refused(String),
}

// === impl Complaints ===

impl Complaints {
    /// Returns whether a complaint is to be made now, and takes it as made.
    pub(super) fn is_due(&self, complaint: Complaint, now: Instant) -> bool {
        let mut last = self.last.lock();
        let is_quiet = |made: &Instant| now.saturating_duration_since(*made) < QUIET;
        if last.get(&complaint).is_some_and(is_quiet) {
            return false;
        }
        if last.len() >= COMPLAINTS_MAX {
            last.retain(|_, made| is_quiet(made));
        }
        if last.len() >= COMPLAINTS_MAX {
            return false;
        }
        last.insert(complaint, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_made_once_a_minute_about_each_peer() {
        let complaints = Complaints::default();
        let start = Instant::now();
        let one = || Complaint::Refused("one".to_owned());
        assert!(complaints.is_due(one(), start));
        assert!(!complaints.is_due(one(), start + Duration::from_secs(59)));
        assert!(complaints.is_due(Complaint::Unreachable("one".to_owned()), start));
        assert!(complaints.is_due(Complaint::Refused("two".to_owned()), start));
        assert!(complaints.is_due(one(), start + Duration::from_secs(60)));
        assert!(!complaints.is_due(one(), start + Duration::from_secs(61)));
    }

    #[test]
    fn no_more_complaints_are_remembered_than_there_is_room_for() {
        let complaints = Complaints::default();
        let start = Instant::now();
        let made = |number: usize, now| complaints.is_due(Complaint::Refused(number.to_string()), now);
        assert!((0..COMPLAINTS_MAX).all(|number| made(number, start)));
        assert!(!made(COMPLAINTS_MAX, start));
        assert!(made(COMPLAINTS_MAX, start + QUIET));
        assert_eq!(complaints.last.lock().len(), 1);
    }
}
