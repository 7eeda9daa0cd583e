//! What became of messages: the records that replicas kept of it and how the messages stand, looked up over all sets;
//! and records dropped in time.
//!
//! Of a set that is not here, its leader is asked.

use std::time::Duration;

use futures::future::try_join_all;
use posthouse_model::{
    Body, BodyKey, Event, Happening, Incarnation, Kind, MessageId, NameRecord, NameState, Outgoing, Parking,
    QueueAttributes, Sequence, Set, SetId, Span, Standing, SubscriptionId, TenantId, Time, bounds,
};
use posthouse_replica::Group;
use serde::{Deserialize, Serialize};

use super::reach::{Ask, PATIENCE, Told, senseless};
use super::{Broker, BrokerError};

/// How often records that are old enough are dropped.
const SWEEP: Duration = Duration::from_secs(600);
/// How much later than its stamp a message may have been stored, to be found without a record.
const STORED_WITHIN: Span = Span::from_seconds(2);
/// How many bodies are read to find one message, at most.
const BODIES_READ_MAX: usize = 4_096;

/// How many messages of one outbox are looked at for one, at most.
const OUTGOING_LOOKED_AT_MAX: usize = 10_000;

/// What sets know of a tenant's message.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// What befell it, by time.
    pub happenings: Vec<Happening>,
    /// Where the set that stamped it keeps it, when there is no record of it there.
    pub unrecorded: Option<(Incarnation, Sequence)>,
}

/// A queue or topic that a message came into.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Visit {
    /// The queue or topic.
    pub place: Incarnation,
    /// Which of both.
    pub kind: Kind,
    /// The message's place there.
    pub sequence: Sequence,
    /// When it came.
    pub at: Time,
}

/// How a message stands where it came to.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Stay {
    /// How it stands in the queue or topic; none once that is gone.
    pub place: Option<PlaceStay>,
    /// How it stands with each subscription that still has it, and how often it was claimed.
    pub subscriptions: Vec<(SubscriptionId, Standing, u32)>,
    /// Where it is on its way to, as far as outboxes are looked at.
    pub outgoing: Vec<Outgoing>,
    /// How long its body is and whether that is sealed, while it is kept.
    pub body: Option<(u64, bool)>,
    /// Where it was parked from and how, if it was and is kept.
    pub parking: Option<(Incarnation, Box<Parking>)>,
}

/// How a message stands in a queue or topic.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum PlaceStay {
    /// In a queue.
    Queue {
        /// None when the queue has it no longer.
        standing: Option<Standing>,
        /// How often it was received.
        receives: u32,
        /// Whether its time in the queue is over.
        is_over: bool,
    },
    /// In a topic.
    Topic {
        /// Whether a subscription still needs it.
        is_kept: bool,
    },
}

/// The longest times that queues and topics keep messages, of all sets here: what a set has recorded of a message may be
/// asked for while another one keeps that.
#[derive(Clone, Copy, Debug, Default)]
struct Retentions {
    topics: Span,
    queues: Span,
    /// Whether a queue has a dead letter policy.
    buries: bool,
}

// === impl Visit ===

impl Visit {
    fn body(&self) -> BodyKey {
        BodyKey {
            stream: self.place,
            sequence: self.sequence,
        }
    }

    /// Returns how the message stands by a set's state.
    fn in_set(&self, state: &Set, now: Time) -> Stay {
        let place = match self.kind {
            Kind::Queue => state.queue(self.place).map(|queue| PlaceStay::Queue {
                standing: queue.standing(self.sequence),
                receives: queue.receives(self.sequence),
                is_over: self.at + queue.attributes().retention <= now,
            }),
            Kind::Topic => Some(PlaceStay::Topic {
                is_kept: state.is_kept(self.body()),
            }),
        };
        let topic = state.topic(self.place).into_iter();
        let subscriptions = topic
            .flat_map(|topic| topic.subscriptions())
            .filter_map(|subscription| {
                let standing = subscription.standing(self.sequence)?;
                Some((subscription.id(), standing, subscription.attempts(self.sequence)))
            });
        let lanes = state.lanes().filter(|(source, _)| *source == self.place);
        let outgoing = lanes
            .flat_map(|(source, target)| state.outgoing_to(source, target, 0, OUTGOING_LOOKED_AT_MAX))
            .filter(|one| one.body.sequence == self.sequence);
        Stay {
            place,
            subscriptions: subscriptions.collect(),
            outgoing: outgoing.collect(),
            body: None,
            parking: None,
        }
    }
}

// === impl Broker ===

impl Broker {
    /// Returns what all sets know of a tenant's message.
    pub async fn trace(&self, tenant: TenantId, message: MessageId) -> Result<Trace, BrokerError> {
        // A message that moved left records in other sets than the one that stamped it.
        let asked = self.all_sets().map(|set| self.trace_in(set, tenant, message));
        let mut whole = Trace::default();
        for trace in try_join_all(asked).await? {
            whole.happenings.extend(trace.happenings);
            whole.unrecorded = whole.unrecorded.or(trace.unrecorded);
        }
        whole.happenings.sort_by_key(|happening| happening.at);
        Ok(whole)
    }

    async fn trace_in(&self, set: SetId, tenant: TenantId, message: MessageId) -> Result<Trace, BrokerError> {
        if let Some(group) = self.here(set) {
            return self.trace_here(group, tenant, message).await;
        }
        let ask = |_| Ask::Trace { set, tenant, message };
        match self.reach(Some(set), PATIENCE, ask).await? {
            Told::Trace(trace) => Ok(trace),
            other => Err(senseless(&other)),
        }
    }

    /// Returns what a set that is here knows of a tenant's message.
    pub(super) async fn trace_here(
        &self,
        group: Group<Set>,
        tenant: TenantId,
        message: MessageId,
    ) -> Result<Trace, BrokerError> {
        let broker = self.clone();
        blocking(move || {
            let happenings = broker.happenings(&group, tenant, message)?;
            let is_entry = |happening: &Happening| matches!(happening.event, Event::Entered { .. });
            let unrecorded = match group.set() == message.set() && !happenings.iter().any(is_entry) {
                true => broker.find_unrecorded(&group, tenant, message)?,
                false => None,
            };
            Ok(Trace {
                happenings,
                unrecorded,
            })
        })
        .await
    }

    /// Returns how a message stands in a queue or topic that it came into.
    pub async fn stay(&self, record: &NameRecord, visit: Visit) -> Result<Stay, BrokerError> {
        let set = record.set;
        if let Some(group) = self.here(set) {
            return self.stay_here(group, visit).await;
        }
        match self
            .reach(Some(set), PATIENCE, |_| Ask::Stay { set, visit })
            .await?
        {
            Told::Stay(stay) => Ok(stay),
            other => Err(senseless(&other)),
        }
    }

    /// Returns how a message stands in a queue or topic of a set that is here.
    pub(super) async fn stay_here(&self, group: Group<Set>, visit: Visit) -> Result<Stay, BrokerError> {
        let broker = self.clone();
        blocking(move || {
            let stored = broker.read(group.set(), visit.body())?;
            let now = group.now();
            let origin = stored.as_ref().and_then(|stored| stored.message.origin.as_ref());
            let parking = origin.and_then(|origin| {
                let parking = origin.cause.parking()?;
                Some((origin.incarnation, Box::new(parking.clone())))
            });
            Ok(Stay {
                parking,
                body: stored.map(|stored| {
                    let body = stored.message.body;
                    (body.len() as u64, matches!(body, Body::Sealed(_)))
                }),
                ..group.view(|state| visit.in_set(state, now))
            })
        })
        .await
    }

    /// Returns how a subscription of a tenant's topic is called; its number if it is gone, or not seen here.
    pub fn subscription_name(&self, tenant: TenantId, topic: Incarnation, id: SubscriptionId) -> String {
        let record = self.directory.view(|directory| directory.record(topic).cloned());
        let name = record
            .filter(|record| record.tenant == tenant)
            .and_then(|record| {
                self.set(record.set).view(|state| {
                    let subscription = state.topic(topic)?.subscription(id)?;
                    Some(subscription.name().to_string())
                })
            });
        name.unwrap_or_else(|| format!("#{id}"))
    }

    /// Returns what a set has recorded of a tenant's message, by time. Reads files.
    fn happenings(
        &self,
        group: &Group<Set>,
        tenant: TenantId,
        message: MessageId,
    ) -> Result<Vec<Happening>, BrokerError> {
        let records = self
            .store
            .decisions(group.set())
            .lookup(message)
            .map_err(BrokerError::unreadable)?;
        let mut happenings = Vec::new();
        for record in records {
            match posthouse_wire::decode_happening(&record) {
                Ok(happening) if happening.tenant == tenant => happenings.push(happening),
                Ok(_) => {}
                Err(error) => tracing::warn!(%message, %error, "a record of a message cannot be read"),
            }
        }
        happenings.sort_by_key(|happening| happening.at);
        Ok(happenings)
    }

    /// Finds a message that left no record, in the queues of the set that stamped it: by what they keep of about that
    /// time, up to a bound. Reads files.
    fn find_unrecorded(
        &self,
        group: &Group<Set>,
        tenant: TenantId,
        message: MessageId,
    ) -> Result<Option<(Incarnation, Sequence)>, BrokerError> {
        let queues: Vec<Incarnation> = self.directory.view(|directory| {
            let names = directory.names(tenant, Kind::Queue);
            names
                .filter(|record| record.set == group.set() && record.state == NameState::Ready)
                .map(|record| record.incarnation)
                .collect()
        });
        let (first, last) = (message.stamped(), message.stamped() + STORED_WITHIN);
        let mut left = BODIES_READ_MAX;
        for incarnation in queues {
            let candidates = group.view(|state| {
                let queue = state.queue(incarnation);
                queue
                    .map(|queue| queue.kept_between(first, last, left))
                    .unwrap_or_default()
            });
            left = left.saturating_sub(candidates.len());
            for sequence in candidates {
                let body = BodyKey {
                    stream: incarnation,
                    sequence,
                };
                let stored = self.read(group.set(), body)?;
                if stored.is_some_and(|stored| stored.message.id == message) {
                    return Ok(Some((incarnation, sequence)));
                }
            }
        }
        Ok(None)
    }

    /// Drops records once no message they speak of can be kept, and for `explain` after that, until the broker stops.
    pub(super) async fn forget_history(self, explain: Span) {
        let stop = self.stop.clone();
        loop {
            let mut longest = Retentions::default();
            for set in self.sets() {
                set.view(|state| longest.take_in(state));
            }
            for set in self.sets() {
                let before = longest.kept_since(set.view(Set::now)).before(explain);
                self.store.decisions(set.set()).drop_before(before);
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(SWEEP) => {}
            }
        }
    }
}

// === impl Retentions ===

impl Retentions {
    fn take_in(&mut self, state: &Set) {
        let topics = state.topics().filter_map(|topic| state.topic(topic));
        let queues: Vec<&QueueAttributes> = state
            .queues()
            .filter_map(|queue| Some(state.queue(queue)?.attributes()))
            .collect();
        let longest = topics.map(|topic| topic.attributes().retention).max();
        self.topics = self.topics.max(longest.unwrap_or(Span::ZERO));
        for queue in queues {
            self.queues = self.queues.max(queue.retention);
            self.buries |= queue.dead_letter.is_some();
        }
    }

    /// Returns the time before which every message was produced that is still kept. One may have been in a topic for as
    /// long as that keeps messages, then in a queue, and then in that one's dead letter queue.
    fn kept_since(&self, now: Time) -> Time {
        let buried = if self.buries { self.queues } else { Span::ZERO };
        // Retention begins when a delay ends.
        let delay = Span::from_seconds(*bounds::CMQ_DELAY_SECONDS.end());
        now.before(self.topics)
            .before(self.queues)
            .before(buried)
            .before(delay)
    }
}

/// Does what reads files where that holds up nothing else.
async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> Result<R, BrokerError> + Send + 'static,
) -> Result<R, BrokerError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(BrokerError::unreadable)?
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_seconds(10_000_000);

    #[test]
    fn a_message_is_known_as_long_as_any_place_may_keep_it() {
        let hours = |count: u64| Span::from_seconds(count * 3_600);
        let delay = Span::from_seconds(*bounds::CMQ_DELAY_SECONDS.end());
        let nothing = Retentions::default();
        assert_eq!(nothing.kept_since(NOW), NOW.before(delay));
        let plain = Retentions {
            topics: hours(24),
            queues: hours(96),
            buries: false,
        };
        assert_eq!(plain.kept_since(NOW), NOW.before(hours(120)).before(delay));
        let buried = Retentions {
            buries: true,
            ..plain
        };
        assert_eq!(buried.kept_since(NOW), NOW.before(hours(216)).before(delay));
    }
}
