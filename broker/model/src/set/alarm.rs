//! When something falls due, over all queues, topics, subscriptions and kv stores of a set.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{Incarnation, KvId, SubscriptionId, Time};

/// The alarms of a set, each place's at most once. Each place remembers what its alarm is set to.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct Alarms(BTreeSet<(Time, Place)>);

/// Where something falls due.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub(crate) enum Place {
    /// In a queue, or in what a topic keeps.
    Stream(Incarnation),
    /// In a subscription's backlog.
    Subscription(Incarnation, SubscriptionId),
    /// In a kv store.
    Kv(KvId),
}

// === impl Alarms ===

impl Alarms {
    /// Moves a place's alarm from what it was set to, to when its next deadline is.
    pub(crate) fn set(&mut self, place: Place, alarm: &mut Option<Time>, next: Option<Time>) {
        if *alarm == next {
            return;
        }
        if let Some(time) = alarm.take() {
            self.0.remove(&(time, place));
        }
        if let Some(time) = next {
            self.0.insert((time, place));
        }
        *alarm = next;
    }

    /// Returns the place whose alarm has gone off the longest ago.
    pub(crate) fn due(&self, now: Time) -> Option<Place> {
        let (time, place) = self.0.first()?;
        (*time <= now).then_some(*place)
    }

    /// Returns when the next alarm goes off.
    pub(crate) fn next(&self) -> Option<Time> {
        self.0.first().map(|(time, _)| *time)
    }
}
