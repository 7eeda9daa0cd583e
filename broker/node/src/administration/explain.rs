//! What became of a message: what is recorded of it, and how it stands now.
//!
//! Records tell what happened at which time; queues and topics tell what is so now. Both are looked up for one tenant
//! and say nothing of any other's things.

use std::collections::{BTreeMap, BTreeSet};

use posthouse_model::{
    Attempt, Departure, Event, Happening, Incarnation, Kind, MessageId, MoveCause, NameRecord, Outgoing,
    PluginRecord, Sequence, Standing, SubscriptionId, TenantId, Time, Told, Verdict,
};

use super::messages::{cause_text, parked_view};
use crate::admin::AdminError;
use crate::admin::shapes::{
    ExplainedDecision, ExplainedDelivery, ExplainedKey, ExplainedMove, ExplainedPlace, ExplainedTransfer,
    ExplainedTry, Explanation, hexadecimal,
};
use crate::broker::{Broker, BrokerError, PlaceStay, Seen, Stay, Trace, Visit, kind_word};

/// What is said of a message that nothing is known of.
const NOTHING_KNOWN: &str =
    "nothing is known of it: no plugin decided about it, and no queue of the tenant holds it";

/// A tenant's message, being explained.
struct Case<'a> {
    broker: &'a Broker,
    tenant: TenantId,
}

/// A place that the message came into.
struct Entry {
    place: Incarnation,
    sequence: Option<Sequence>,
    at: Time,
}

/// Returns what is known of a tenant's message.
pub(super) async fn explain(
    broker: &Broker,
    tenant: TenantId,
    message: MessageId,
) -> Result<Explanation, AdminError> {
    let set = message.set();
    if !broker.all_sets().any(|known| known == set) {
        return Err(AdminError::not_found(format!(
            "no set {set} stamps messages here"
        )));
    }
    let case = Case { broker, tenant };
    let Trace {
        happenings,
        unrecorded,
    } = broker.trace(tenant, message).await?;
    case.see(&happenings).await?;
    let mut explanation = Explanation {
        message_id: message.into(),
        set: set.0,
        stamped_ms: message.stamped().millis(),
        places: Vec::new(),
        decisions: Vec::new(),
        deliveries: Vec::new(),
        outgoing: Vec::new(),
        moves: Vec::new(),
        remark: None,
    };
    let mut entries = Vec::new();
    let mut tries: BTreeMap<(Incarnation, SubscriptionId), Vec<ExplainedTry>> = BTreeMap::new();
    for Happening { at, event, .. } in happenings {
        match event {
            Event::Entered {
                place,
                sequence,
                from,
                verdicts,
            } => {
                explanation
                    .moves
                    .extend(from.as_ref().map(|from| case.hop(at, from, place)));
                for told in &verdicts {
                    case.add_decision(&mut explanation.decisions, at, place, told);
                }
                entries.push(Entry { place, sequence, at });
            }
            Event::Decided { place, told } => {
                case.add_decision(&mut explanation.decisions, at, place, &told);
            }
            Event::Attempted {
                topic,
                subscription,
                status,
                outcome,
            } => {
                tries
                    .entry((topic, subscription))
                    .or_default()
                    .push(one_try(at, status, outcome));
            }
        }
    }
    if entries.is_empty() {
        // It left no record.
        entries.extend(unrecorded.map(|(place, sequence)| Entry {
            place,
            sequence: Some(sequence),
            at: message.stamped(),
        }));
    }
    if entries.is_empty() && tries.is_empty() {
        explanation.remark = Some(NOTHING_KNOWN.to_owned());
    }
    let mut standings = BTreeMap::new();
    for entry in &entries {
        let left = explanation
            .moves
            .iter()
            .any(|hop| hop.from == case.name(entry.place));
        let stay = case.stay(entry).await?;
        explanation
            .places
            .push(case.place(entry, stay.as_ref(), left, &explanation.decisions));
        for stay in stay.iter() {
            case.tell_parking(&mut explanation, entry, stay);
            let outgoing = stay.outgoing.iter().map(|one| case.transfer(one));
            explanation.outgoing.extend(outgoing);
            let subscriptions = stay.subscriptions.iter();
            standings.extend(
                subscriptions.map(|(id, standing, attempts)| ((entry.place, *id), (*standing, *attempts))),
            );
        }
    }
    explanation.deliveries = case.deliveries(&standings, tries);
    Ok(explanation)
}

// === impl Case ===

impl Case<'_> {
    /// Has this node see the topics that are spoken of: how their subscriptions are called, their sets know.
    async fn see(&self, happenings: &[Happening]) -> Result<(), BrokerError> {
        let places = happenings.iter().map(|happening| match happening.event {
            Event::Entered { place, .. } | Event::Decided { place, .. } => place,
            Event::Attempted { topic, .. } => topic,
        });
        let places: BTreeSet<Incarnation> = places.collect();
        for record in places.into_iter().filter_map(|place| self.record(place)) {
            let is_elsewhere = matches!(self.broker.set(record.set), Seen::Told(_));
            if let Some(found) = self.broker.resolve_incarnation(record.incarnation)
                && is_elsewhere
                && record.kind == Kind::Topic
            {
                self.broker.see_incarnation(&found).await?;
            }
        }
        Ok(())
    }

    /// Returns how the message stands in a place, unless it was kept out of it or the place is gone.
    async fn stay(&self, entry: &Entry) -> Result<Option<Stay>, BrokerError> {
        let (Some(sequence), Some(record)) = (entry.sequence, self.record(entry.place)) else {
            return Ok(None);
        };
        let visit = Visit {
            place: entry.place,
            kind: record.kind,
            sequence,
            at: entry.at,
        };
        self.broker.stay(&record, visit).await.map(Some)
    }

    fn hop(&self, at: Time, from: &Departure, to: Incarnation) -> ExplainedMove {
        let parked = from
            .cause
            .parking()
            .map(|parking| parked_view(self.broker, self.tenant, from.place, parking));
        ExplainedMove {
            at_ms: at.millis(),
            from: self.name(from.place),
            to: self.name(to),
            receive_count: from.receive_count,
            cause: cause_text(&from.cause),
            parked,
        }
    }

    /// Has the move that a kept message was parked by tell all that the message says of it.
    fn tell_parking(&self, explanation: &mut Explanation, entry: &Entry, stay: &Stay) {
        let Some((from, parking)) = &stay.parking else {
            return;
        };
        let (from_name, to) = (self.name(*from), self.name(entry.place));
        let moves = explanation.moves.iter_mut();
        let mut own = moves.filter(|hop| hop.from == from_name && hop.to == to && hop.parked.is_some());
        if let Some(hop) = own.next_back() {
            hop.cause = cause_text(&MoveCause::ParkedBy(parking.clone()));
            hop.parked = Some(parked_view(self.broker, self.tenant, *from, parking));
        }
    }

    /// Adds a decision, unless it is told already: a command that was repeated says it twice.
    fn add_decision(
        &self,
        decisions: &mut Vec<ExplainedDecision>,
        at: Time,
        place: Incarnation,
        told: &Told,
    ) {
        let decision = self.decision(at, place, told);
        let same = |known: &ExplainedDecision| {
            ExplainedDecision {
                at_ms: decision.at_ms,
                ..known.clone()
            } == decision
        };
        if !decisions.iter().any(same) {
            decisions.push(decision);
        }
    }

    fn decision(&self, at: Time, place: Incarnation, told: &Told) -> ExplainedDecision {
        let plugin: Option<PluginRecord> = self
            .broker
            .directory
            .view(|directory| directory.plugin(told.version).cloned());
        let one = |subscription: &Option<SubscriptionId>| subscription.iter().copied().collect();
        let (verdict, subscriptions, reason): (&str, Vec<SubscriptionId>, Option<String>) =
            match &told.verdict {
                Verdict::Routed(matched) => ("routed", matched.clone(), None),
                Verdict::Passed(subscription) => ("passed", one(subscription), None),
                Verdict::Dropped(subscription) => ("dropped", one(subscription), None),
                Verdict::Replaced(subscription) => ("replaced", one(subscription), None),
                Verdict::Sealed | Verdict::SealedUnder { .. } => ("sealed", Vec::new(), None),
                Verdict::Failed(fault) => ("failed", Vec::new(), Some(fault.clone())),
            };
        ExplainedDecision {
            at_ms: at.millis(),
            place: self.name(place),
            plugin: plugin.as_ref().map(|plugin| plugin.name.to_string()),
            version: told.version.0,
            digest: plugin.as_ref().map(|plugin| hexadecimal(&plugin.digest)),
            world: plugin.as_ref().map(|plugin| plugin.world.into()),
            directory_index: told.directory.0,
            verdict: verdict.to_owned(),
            subscriptions: subscriptions
                .iter()
                .map(|id| self.subscription_name(place, *id))
                .collect(),
            more_subscriptions: told.more,
            reason,
            key: match &told.verdict {
                Verdict::SealedUnder { key, version } => Some(ExplainedKey {
                    name: key.to_string(),
                    version: *version,
                }),
                Verdict::Routed(_)
                | Verdict::Passed(_)
                | Verdict::Dropped(_)
                | Verdict::Replaced(_)
                | Verdict::Sealed
                | Verdict::Failed(_) => None,
            },
        }
    }

    fn place(
        &self,
        entry: &Entry,
        stay: Option<&Stay>,
        left: bool,
        decisions: &[ExplainedDecision],
    ) -> ExplainedPlace {
        let record = self.record(entry.place);
        let mut place = ExplainedPlace {
            kind: record
                .as_ref()
                .map_or("gone", |record| kind_word(record.kind))
                .to_owned(),
            name: record.as_ref().map(|record| record.name.to_string()),
            incarnation: entry.place.0,
            sequence: entry.sequence.map(|sequence| sequence.0),
            state: "gone".to_owned(),
            produced_ms: entry.sequence.map(|_| entry.at.millis()),
            receive_count: 0,
            visible_again_ms: None,
            body_bytes: None,
            sealed: decisions.iter().any(|decision| decision.verdict == "sealed"),
        };
        if entry.sequence.is_none() {
            place.state = "kept out".to_owned();
        }
        let Some(stay) = stay else {
            return place;
        };
        match stay.place {
            Some(PlaceStay::Queue {
                standing,
                receives,
                is_over,
            }) => {
                place.receive_count = receives;
                place.visible_again_ms = standing.and_then(until);
                place.state = queue_state(standing, left, is_over).to_owned();
            }
            Some(PlaceStay::Topic { is_kept }) => {
                place.state = if is_kept { "waiting" } else { "handed over" }.to_owned();
            }
            None => {}
        }
        if let Some((bytes, sealed)) = stay.body {
            place.body_bytes = Some(bytes);
            place.sealed = sealed;
        }
        place
    }

    fn transfer(&self, one: &Outgoing) -> ExplainedTransfer {
        ExplainedTransfer {
            target: self.name(one.target),
            number: one.number,
            cause: cause_text(&one.cause),
        }
    }

    fn deliveries(
        &self,
        standings: &BTreeMap<(Incarnation, SubscriptionId), (Standing, u32)>,
        mut tries: BTreeMap<(Incarnation, SubscriptionId), Vec<ExplainedTry>>,
    ) -> Vec<ExplainedDelivery> {
        for at in standings.keys() {
            tries.entry(*at).or_default();
        }
        let delivery =
            |((topic, subscription), tries): ((Incarnation, SubscriptionId), Vec<ExplainedTry>)| {
                let standing = standings.get(&(topic, subscription));
                let recorded = u32::try_from(tries.len()).unwrap_or(u32::MAX);
                ExplainedDelivery {
                    topic: self.name(topic),
                    subscription: self.subscription_name(topic, subscription),
                    attempts: standing.map_or(recorded, |(_, attempts)| recorded.max(*attempts)),
                    status: tries.last().and_then(|last| last.status),
                    state: delivery_state(standing.map(|(standing, _)| *standing), tries.last()),
                    next_attempt_ms: standing.and_then(|(standing, _)| match standing {
                        Standing::Waiting { until } => Some(until.millis()),
                        Standing::Ready
                        | Standing::Leased { .. }
                        | Standing::Rewindable
                        | Standing::Outgoing => None,
                    }),
                    tries,
                }
            };
        tries.into_iter().map(delivery).collect()
    }

    /// Returns what the directory says of a queue or topic of the tenant.
    fn record(&self, place: Incarnation) -> Option<NameRecord> {
        let record = self
            .broker
            .directory
            .view(|directory| directory.record(place).cloned());
        record.filter(|record| record.tenant == self.tenant)
    }

    fn name(&self, place: Incarnation) -> String {
        self.record(place)
            .map_or_else(|| format!("#{place}"), |record| record.name.to_string())
    }

    fn subscription_name(&self, topic: Incarnation, id: SubscriptionId) -> String {
        self.broker.subscription_name(self.tenant, topic, id)
    }
}

fn one_try(at: Time, status: u16, outcome: Attempt) -> ExplainedTry {
    let outcome = match outcome {
        Attempt::Acknowledged => "acknowledged",
        Attempt::Retry(_) => "retry",
        Attempt::Dropped => "dropped",
        Attempt::Enqueued(_) => "enqueued",
    };
    ExplainedTry {
        at_ms: at.millis(),
        status: (status != 0).then_some(status),
        outcome: outcome.to_owned(),
    }
}

/// Returns how a message stands in a queue; one that left it for another has moved.
fn queue_state(standing: Option<Standing>, left: bool, is_over: bool) -> &'static str {
    match standing {
        Some(Standing::Ready) => "waiting",
        Some(Standing::Leased { .. }) => "leased",
        Some(Standing::Waiting { .. }) => "delayed",
        Some(Standing::Rewindable) => "rewindable",
        Some(Standing::Outgoing) => "outgoing",
        None if left => "moved",
        None if is_over => "expired",
        None => "deleted",
    }
}

/// Returns how a delivery stands: with its subscription, or once that has let go of it, how the last attempt ended.
fn delivery_state(standing: Option<Standing>, last: Option<&ExplainedTry>) -> String {
    let word = match (standing, last) {
        (Some(Standing::Ready), _) => "waiting",
        (Some(Standing::Leased { .. }), _) => "claimed",
        (Some(Standing::Waiting { .. }), _) => "retry",
        (Some(Standing::Rewindable | Standing::Outgoing), _) | (None, None) => "expired",
        (None, Some(last)) if last.outcome == "retry" => "expired",
        (None, Some(last)) => &last.outcome,
    };
    word.to_owned()
}

fn until(standing: Standing) -> Option<u64> {
    match standing {
        Standing::Leased { until } | Standing::Waiting { until } => Some(until.millis()),
        Standing::Ready | Standing::Rewindable | Standing::Outgoing => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_stands_as_its_subscription_says_and_then_as_it_ended() {
        let at = Time::from_millis(5);
        let retried = one_try(at, 500, Attempt::Retry(posthouse_model::Span::from_seconds(1)));
        let taken = one_try(at, 200, Attempt::Acknowledged);
        assert_eq!(
            delivery_state(Some(Standing::Waiting { until: at }), Some(&retried)),
            "retry"
        );
        assert_eq!(delivery_state(Some(Standing::Ready), None), "waiting");
        assert_eq!(delivery_state(None, Some(&taken)), "acknowledged");
        // It was let go of without another attempt: its time was over.
        assert_eq!(delivery_state(None, Some(&retried)), "expired");
    }

    #[test]
    fn an_attempt_without_an_answer_has_no_status() {
        assert_eq!(one_try(Time::default(), 0, Attempt::Dropped).status, None);
        assert_eq!(
            one_try(Time::default(), 204, Attempt::Acknowledged).status,
            Some(204)
        );
    }
}
