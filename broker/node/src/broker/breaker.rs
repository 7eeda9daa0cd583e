//! The breaker: a binding whose plugin traps again and again is taken out of use, so that it costs its tenant no more
//! time than its failure policy does.
//!
//! Counted are faults that leave an instance in disorder or break a limit. That a plugin answers that it failed is not
//! counted: it may be right about the message. After how many within how long is said for a binding where it is bound, and
//! else for the node. The bindings that every tenant shares are never broken: one tenant's
//! messages must not take what delivers everybody's out of use.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use parking_lot::Mutex;
use posthouse_host::{Binding, GuestFault};
use posthouse_model::{BreakerRecord, LogIndex, Place, World};
use posthouse_replica::Clock;

use super::Broker;

/// The most bindings whose traps are remembered. Beyond it the one that trapped longest ago is forgotten.
const BINDINGS_MAX: usize = 1_000;

/// When a binding is taken out of use for which nothing else was said.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Breaking {
    /// After so many traps.
    pub traps: usize,
    /// Within so long.
    pub within: Duration,
}

/// The traps of bindings, as this node saw them.
#[derive(Debug)]
pub(super) struct Breaker {
    breaking: Breaking,
    bindings: Mutex<BTreeMap<(Place, World), Traps>>,
}

/// The traps of one binding.
#[derive(Debug)]
struct Traps {
    /// Which binding at this place: one that was changed begins anew.
    changed: LogIndex,
    /// When they were, the oldest first.
    at: VecDeque<Duration>,
}

// === impl Breaking ===

impl Breaking {
    /// Returns when a binding is taken out of use for which something was said.
    fn with(self, said: BreakerRecord) -> Breaking {
        Breaking {
            traps: said.traps.map_or(self.traps, |traps| traps as usize),
            within: said.within.map_or(self.within, Duration::from),
        }
    }
}

// === impl Breaker ===

impl Breaker {
    pub(super) fn new(breaking: Breaking) -> Breaker {
        Breaker {
            breaking,
            bindings: Mutex::default(),
        }
    }

    /// Counts a trap; returns whether it is the one after which the binding is taken out of use.
    fn count(
        &self,
        breaking: Breaking,
        place: Place,
        world: World,
        changed: LogIndex,
        now: Duration,
    ) -> bool {
        let mut bindings = self.bindings.lock();
        if bindings.len() >= BINDINGS_MAX && !bindings.contains_key(&(place, world)) {
            forget_oldest(&mut bindings);
        }
        let traps = bindings.entry((place, world)).or_insert_with(|| Traps {
            changed,
            at: VecDeque::new(),
        });
        if traps.changed != changed {
            traps.changed = changed;
            traps.at.clear();
        }
        traps.at.push_back(now);
        while traps
            .at
            .front()
            .is_some_and(|at| now.saturating_sub(*at) > breaking.within)
        {
            traps.at.pop_front();
        }
        if traps.at.len() < breaking.traps {
            return false;
        }
        // Once is enough: calls that are under way may fail as well before the binding is out of use.
        traps.at.clear();
        true
    }
}

fn forget_oldest(bindings: &mut BTreeMap<(Place, World), Traps>) {
    let oldest = bindings
        .iter()
        .min_by_key(|(_, traps)| traps.at.back().copied())
        .map(|(key, _)| *key);
    if let Some(key) = oldest {
        bindings.remove(&key);
    }
}

// === impl Broker ===

impl Broker {
    /// Returns when a binding is taken out of use.
    pub fn breaking(&self, place: Place, world: World) -> Breaking {
        let said = self.directory.view(|directory| directory.breaker(place, world));
        self.breaker.breaking.with(said)
    }

    /// Takes in that a plugin failed.
    pub(super) fn plugin_failed(&self, binding: &Binding, world: World, fault: &GuestFault) {
        self.metrics.guest_fault(binding.tenant, world);
        let identity = binding.identity;
        let Some(trap) = trap(fault).filter(|_| !is_everybodys(identity.place)) else {
            return;
        };
        let now = self.clock.monotonic();
        let breaking = self.breaking(identity.place, world);
        let counted = self
            .breaker
            .count(breaking, identity.place, world, identity.changed, now);
        if !counted {
            return;
        }
        let Breaking { traps, within } = breaking;
        let reason = format!(
            "{traps} traps within {} s; at the last it {trap}",
            within.as_secs()
        );
        let broker = self.clone();
        let tenant = binding.tenant;
        // Not by whoever is deciding a message: the sets are told, and have what is under way decided again.
        self.while_running(async move {
            let bound = broker
                .directory
                .view(|directory| directory.binding(identity.place, world).cloned());
            if bound.is_none_or(|bound| bound.changed != identity.changed) {
                return;
            }
            match broker
                .quarantine(identity.place, world, Some(reason.clone()))
                .await
            {
                Ok(()) => {
                    broker.metrics.binding_broken(tenant, world);
                    tracing::warn!(?tenant, ?world, reason, "a plugin's binding is out of use");
                }
                // The next traps try again.
                Err(error) => tracing::warn!(?tenant, ?world, %error, "a plugin's binding stays in use"),
            }
        });
    }
}

/// Returns what a plugin did, if that counts. Nothing of the plugin's own words: the reason is kept in clear, and they may
/// repeat what a body says.
fn trap(fault: &GuestFault) -> Option<&'static str> {
    match fault {
        GuestFault::Trap { .. } => Some("trapped"),
        GuestFault::OutOfTime => Some("used up its time"),
        GuestFault::OutOfMemory => Some("used up its memory"),
        GuestFault::Nonsense(_) => Some("answered what makes no sense"),
        GuestFault::Said(_) | GuestFault::Busy(_) | GuestFault::NotLoaded | GuestFault::Stopped => None,
    }
}

fn is_everybodys(place: Place) -> bool {
    match place {
        Place::Platform | Place::HttpEndpoints | Place::QueueEndpoints => true,
        Place::Tenant(_) | Place::Incarnation(_) | Place::Subscription(..) => false,
    }
}

#[cfg(test)]
mod tests {
    use posthouse_model::Incarnation;

    use super::*;

    const HERE: Place = Place::Incarnation(Incarnation(7));

    const BREAKING: Breaking = Breaking {
        traps: 3,
        within: Duration::from_secs(60),
    };

    fn breaker() -> Breaker {
        Breaker::new(BREAKING)
    }

    fn count(breaker: &Breaker, place: Place, changed: u64, second: u64) -> bool {
        let now = Duration::from_secs(second);
        breaker.count(BREAKING, place, World::Filter, LogIndex(changed), now)
    }

    #[test]
    fn enough_traps_within_the_time_break_a_binding_once() {
        let breaker = breaker();
        assert!(!count(&breaker, HERE, 1, 0));
        assert!(!count(&breaker, HERE, 1, 30));
        assert!(count(&breaker, HERE, 1, 60));
        assert!(!count(&breaker, HERE, 1, 60));
    }

    #[test]
    fn traps_that_are_long_past_do_not_count() {
        let breaker = breaker();
        for second in [0, 40, 80, 120, 160] {
            assert!(!count(&breaker, HERE, 1, second), "at {second} s");
        }
    }

    #[test]
    fn traps_of_another_binding_do_not_count() {
        let breaker = breaker();
        let there = Place::Incarnation(Incarnation(8));
        assert!(!count(&breaker, HERE, 1, 0));
        assert!(!count(&breaker, HERE, 1, 0));
        assert!(!count(&breaker, there, 1, 0));
        assert!(!count(&breaker, HERE, 2, 0), "it was bound anew");
        assert!(!count(&breaker, HERE, 2, 0));
        assert!(count(&breaker, HERE, 2, 0));
    }

    #[test]
    fn what_is_said_for_a_binding_goes_before_what_is_configured() {
        let only_traps = BreakerRecord {
            traps: Some(5),
            within: None,
        };
        let expected = Breaking { traps: 5, ..BREAKING };
        assert_eq!(BREAKING.with(only_traps), expected);
        assert_eq!(BREAKING.with(BreakerRecord::default()), BREAKING);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let breaker = breaker();
        for (number, second) in (0..).zip(0..=BINDINGS_MAX as u64) {
            assert!(!count(
                &breaker,
                Place::Incarnation(Incarnation(number)),
                1,
                second
            ));
        }
        let bindings = breaker.bindings.lock();
        assert_eq!(bindings.len(), BINDINGS_MAX);
        assert!(!bindings.contains_key(&(Place::Incarnation(Incarnation(0)), World::Filter)));
    }
}
