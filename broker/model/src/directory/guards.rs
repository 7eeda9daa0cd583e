//! What guards bindings beside what they are: when a breaker takes them out of use, and since when they are.
//!
//! A binding that nobody set anything for and that is in use leaves nothing here. What is here of a place goes with what
//! is bound there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::limit;
use crate::{BreakerRecord, DirectoryRefusal, Place, Span, Time, World};

/// The most traps after which a breaker can be set to take a binding out of use.
pub const BREAKER_TRAPS_MAX: u32 = 1_000;
/// The longest time within which a breaker can be set to count traps.
pub const BREAKER_WITHIN_MAX: Span = Span::from_seconds(86_400);

/// What guards bindings, by what they are called.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub(super) struct Guards {
    breakers: BTreeMap<(Place, World), BreakerRecord>,
    out_since: BTreeMap<(Place, World), Time>,
}

// === impl Guards ===

impl Guards {
    pub(super) fn breaker(&self, place: Place, world: World) -> BreakerRecord {
        self.breakers.get(&(place, world)).copied().unwrap_or_default()
    }

    pub(super) fn out_since(&self, place: Place, world: World) -> Option<Time> {
        self.out_since.get(&(place, world)).copied()
    }

    /// Begins with a binding that was just made.
    pub(super) fn begin(&mut self, place: Place, world: World, breaker: BreakerRecord) {
        self.forget(place, world);
        if breaker != BreakerRecord::default() {
            self.breakers.insert((place, world), breaker);
        }
    }

    /// Notes since when a binding is out of use, if it was not before.
    pub(super) fn take_out(&mut self, place: Place, world: World, now: Time) {
        self.out_since.entry((place, world)).or_insert(now);
    }

    /// Forgets since when bindings were out of use that are in use again, and everything about those that are gone.
    /// `is_out` says whether a binding is out of use, if there is one.
    pub(super) fn tidy(&mut self, is_out: impl Fn(Place, World) -> Option<bool>) {
        self.breakers
            .retain(|(place, world), _| is_out(*place, *world).is_some());
        self.out_since
            .retain(|(place, world), _| is_out(*place, *world) == Some(true));
    }

    fn forget(&mut self, place: Place, world: World) {
        self.breakers.remove(&(place, world));
        self.out_since.remove(&(place, world));
    }
}

/// Refuses a breaker that never breaks, breaks at once, or counts without end.
pub(super) fn check_breaker(breaker: BreakerRecord) -> Result<(), DirectoryRefusal> {
    if breaker.traps == Some(0) || breaker.within == Some(Span::ZERO) {
        return Err(DirectoryRefusal::Malformed("a breaker of nothing".to_owned()));
    }
    if breaker.traps.is_some_and(|traps| traps > BREAKER_TRAPS_MAX) {
        return Err(limit("traps of a breaker", u64::from(BREAKER_TRAPS_MAX)));
    }
    if breaker.within.is_some_and(|within| within > BREAKER_WITHIN_MAX) {
        return Err(limit("milliseconds of a breaker", BREAKER_WITHIN_MAX.millis()));
    }
    Ok(())
}
