//! What befell a message, as `explain` tells it: short records that replicas keep beside the log for a while.
//!
//! A record is made of an entry and of what applying it did, so every replica and every replay makes the same
//! ones. A message that no plugin decided about and that came from nowhere else leaves none: most do. Records are
//! bounded by construction, and what is longer is cut; nothing here decides anything.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    Applied, Batch, Decision, Incarnation, Incoming, LogIndex, Message, MessageId, MoveCause, Parcel,
    Parking, PluginVersion, Publication, Readmitted, Sequence, SetCommand, SetReply, Settled, SettledOutcome,
    Span, Stored, SubscriptionId, TenantId, Time, Verdict,
};

/// The most subscriptions of a verdict that are named.
pub const SUBSCRIPTIONS_TOLD_MAX: usize = 7;
/// The most of a fault or trap that is told, in bytes.
pub const FAULT_TOLD_BYTES_MAX: usize = 60;

/// One thing that befell a message.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Happening {
    /// Whose the message is.
    pub tenant: TenantId,
    /// When: the time of the entry that says so.
    pub at: Time,
    /// What.
    pub event: Event,
}

/// What befell a message.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// It came into a queue or topic.
    Entered {
        /// The queue or topic.
        place: Incarnation,
        /// Its place there; none when a filter or a failure kept it out.
        sequence: Option<Sequence>,
        /// Where it was before, if it came from another queue or topic.
        from: Option<Departure>,
        /// What plugins said of it on its way in.
        verdicts: Vec<Told>,
    },
    /// One plugin said something of it on its way into a queue or topic: where the verdicts do not fit a record.
    Decided {
        /// The queue or topic.
        place: Incarnation,
        /// What was said.
        told: Told,
    },
    /// A subscription tried to hand it over.
    Attempted {
        /// The topic.
        topic: Incarnation,
        /// The subscription.
        subscription: SubscriptionId,
        /// The endpoint's answer: an HTTP status, or zero for none.
        status: u16,
        /// What followed.
        outcome: Attempt,
    },
}

/// Where a message was before.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Departure {
    /// The queue or topic.
    pub place: Incarnation,
    /// How often it was received there.
    pub receive_count: u32,
    /// Why it left; the text of a trap is cut.
    pub cause: MoveCause,
}

/// What one plugin said, cut to what fits a record.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// The version that decided.
    pub version: PluginVersion,
    /// The index of the directory's log that the leader had seen when it asked.
    pub directory: LogIndex,
    /// What it said: of many subscriptions the first, of a long fault the beginning.
    pub verdict: Verdict,
    /// How many subscriptions were cut off.
    pub more: u32,
}

/// What followed an attempt to hand a message over.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Attempt {
    /// The endpoint took it.
    Acknowledged,
    /// Another attempt, after so long.
    Retry(Span),
    /// None any more.
    Dropped,
    /// It goes into a queue.
    Enqueued(Incarnation),
}

/// What is kept of an entry, in its order.
struct Chronicle<'a> {
    at: Time,
    stored: BTreeMap<(u32, u32), Sequence>,
    tenant_of: &'a dyn Fn(Incarnation) -> Option<TenantId>,
    records: Vec<(MessageId, Happening)>,
}

// === impl Happening ===

impl Happening {
    /// Returns what an entry meant for messages that plugins decided about, that came from elsewhere, or that were
    /// handed over. `tenant_of` tells whose a queue or topic is, after the entry.
    pub fn of_entry(
        batch: &Batch<SetCommand>,
        applied: &Applied,
        tenant_of: &dyn Fn(Incarnation) -> Option<TenantId>,
    ) -> Vec<(MessageId, Happening)> {
        let mut chronicle = Chronicle {
            at: batch.now,
            stored: BTreeMap::new(),
            tenant_of,
            records: Vec::new(),
        };
        for (position, submission) in (0..).zip(&batch.submissions) {
            let Some(Ok(reply)) = applied.outcomes.get(position as usize) else {
                continue;
            };
            match (submission.command.plain(), reply) {
                (SetCommand::Send { queue, messages, .. }, SetReply::Sent(ids)) => {
                    chronicle.sent(applied, position, *queue, messages, ids);
                }
                (
                    SetCommand::Publish {
                        topic, publications, ..
                    },
                    SetReply::Sent(ids),
                ) => {
                    chronicle.published(applied, position, *topic, publications, ids);
                }
                (SetCommand::Deposit { target, parcels, .. }, SetReply::Deposited(_)) => {
                    chronicle.deposited(applied, position, *target, parcels);
                }
                (SetCommand::Readmit { target, content, .. }, SetReply::Readmitted { anew: true }) => {
                    chronicle.readmitted(applied, position, *target, content);
                }
                (
                    SetCommand::Settle {
                        topic,
                        subscription,
                        outcomes,
                    },
                    SetReply::Settled,
                ) => {
                    chronicle.settled(*topic, *subscription, outcomes);
                }
                // The others decide nothing about a message, or only what its place still shows.
                _ => {}
            }
        }
        chronicle.records
    }

    /// Returns the same in records that are all short: each verdict in one of its own.
    pub fn into_short(self) -> Vec<Happening> {
        let Event::Entered {
            place,
            sequence,
            from,
            verdicts,
        } = self.event
        else {
            return vec![self];
        };
        let (tenant, at) = (self.tenant, self.at);
        let entered = Event::Entered {
            place,
            sequence,
            from,
            verdicts: Vec::new(),
        };
        let decided = verdicts.into_iter().map(|told| Event::Decided { place, told });
        let events = std::iter::once(entered).chain(decided);
        events.map(|event| Happening { tenant, at, event }).collect()
    }
}

// === impl Chronicle ===

impl Chronicle<'_> {
    fn sent(
        &mut self,
        applied: &Applied,
        position: u32,
        queue: Incarnation,
        messages: &[Incoming],
        ids: &[MessageId],
    ) {
        for ((ordinal, incoming), id) in (0..).zip(messages).zip(ids) {
            let message = &incoming.message;
            // A repeated token is answered with other ids: these messages were not taken in.
            if message.id == *id && (!message.decisions.is_empty() || message.origin.is_some()) {
                let sequence = self.sequence(applied, position, ordinal);
                self.entered(queue, sequence, message, &message.decisions);
            }
        }
    }

    fn published(
        &mut self,
        applied: &Applied,
        position: u32,
        topic: Incarnation,
        publications: &[Publication],
        ids: &[MessageId],
    ) {
        let mut ordinal = 0;
        for (publication, id) in publications.iter().zip(ids) {
            let messages = std::iter::once(&publication.message)
                .chain(publication.replaced.iter().map(|(_, message)| message));
            for message in messages {
                if message.id == *id && !message.decisions.is_empty() {
                    let sequence = self.sequence(applied, position, ordinal);
                    self.entered(topic, sequence, message, &message.decisions);
                }
                ordinal += 1;
            }
        }
    }

    fn deposited(&mut self, applied: &Applied, position: u32, target: Incarnation, parcels: &[Parcel]) {
        for (ordinal, parcel) in (0..).zip(parcels) {
            // What was taken in before is not stored again.
            let Some(sequence) = self.sequence(applied, position, ordinal) else {
                continue;
            };
            // What was decided where it comes from was told there; it may have been sealed on the way.
            let decisions = &parcel.message.decisions;
            let sealed: Vec<Decision> = decisions
                .iter()
                .filter(|decision| decision.verdict.is_sealed())
                .cloned()
                .collect();
            self.entered(target, Some(sequence), &parcel.message, &sealed);
        }
    }

    fn readmitted(&mut self, applied: &Applied, position: u32, target: Incarnation, content: &Readmitted) {
        for (ordinal, message) in (0..).zip(content.messages()) {
            let sequence = self.sequence(applied, position, ordinal);
            // A message that no subscription gets unchanged is there for those that get it changed.
            if sequence.is_some() || ordinal == 0 {
                self.entered(target, sequence, message, &message.decisions);
            }
        }
    }

    fn settled(&mut self, topic: Incarnation, subscription: SubscriptionId, outcomes: &[Settled]) {
        let Some(tenant) = (self.tenant_of)(topic) else {
            return;
        };
        for settled in outcomes {
            let outcome = match &settled.outcome {
                SettledOutcome::Acknowledged => Attempt::Acknowledged,
                SettledOutcome::Retry(after) => Attempt::Retry(*after),
                SettledOutcome::Dropped => Attempt::Dropped,
                SettledOutcome::Enqueue { target, .. } => Attempt::Enqueued(*target),
                SettledOutcome::Released => continue,
            };
            // A body that could not be read has told nobody its id.
            if settled.message == MessageId::default() {
                continue;
            }
            let status = settled.status;
            let event = Event::Attempted {
                topic,
                subscription,
                status,
                outcome,
            };
            self.records.push((
                settled.message,
                Happening {
                    tenant,
                    at: self.at,
                    event,
                },
            ));
        }
    }

    fn entered(
        &mut self,
        place: Incarnation,
        sequence: Option<Sequence>,
        message: &Message,
        decisions: &[Decision],
    ) {
        let Some(tenant) = (self.tenant_of)(place) else {
            return;
        };
        let from = message.origin.as_ref().map(|origin| Departure {
            place: origin.incarnation,
            receive_count: origin.receive_count,
            cause: cut_cause(&origin.cause),
        });
        let verdicts = decisions.iter().map(Told::from).collect();
        let event = Event::Entered {
            place,
            sequence,
            from,
            verdicts,
        };
        self.records.push((
            message.id,
            Happening {
                tenant,
                at: self.at,
                event,
            },
        ));
    }

    fn sequence(&mut self, applied: &Applied, position: u32, ordinal: u32) -> Option<Sequence> {
        if self.stored.is_empty() {
            let named = |stored: &Stored| ((stored.submission, stored.ordinal), stored.body.sequence);
            self.stored = applied.stored.iter().map(named).collect();
        }
        self.stored.get(&(position, ordinal)).copied()
    }
}

// === impl Told ===

impl From<&Decision> for Told {
    fn from(decision: &Decision) -> Told {
        let (verdict, more) = match &decision.verdict {
            Verdict::Routed(matched) => {
                let told = matched
                    .iter()
                    .take(SUBSCRIPTIONS_TOLD_MAX)
                    .copied()
                    .collect::<Vec<_>>();
                let more = u32::try_from(matched.len() - told.len()).unwrap_or(u32::MAX);
                (Verdict::Routed(told), more)
            }
            Verdict::Failed(fault) => (Verdict::Failed(cut(fault)), 0),
            short @ (Verdict::Passed(_)
            | Verdict::Dropped(_)
            | Verdict::Replaced(_)
            | Verdict::Sealed
            | Verdict::SealedUnder { .. }) => (short.clone(), 0),
        };
        Told {
            version: decision.version,
            directory: decision.directory,
            verdict,
            more,
        }
    }
}

fn cut_cause(cause: &MoveCause) -> MoveCause {
    match cause {
        MoveCause::Parked(trap) => MoveCause::Parked(cut(trap)),
        MoveCause::ParkedBy(parking) => MoveCause::ParkedBy(Box::new(Parking {
            digest: None,
            trap: cut(&parking.trap),
            backtrace: String::new(),
            ..**parking
        })),
        short @ (MoveCause::ReceivedTooOften
        | MoveCause::WaitedTooLong
        | MoveCause::Delivered
        | MoveCause::Redriven) => short.clone(),
    }
}

/// Returns the beginning of a text.
fn cut(text: &str) -> String {
    let end = text.floor_char_boundary(FAULT_TOLD_BYTES_MAX);
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{BodyKey, Origin, ReceiptHandle, Submission};

    const QUEUE: Incarnation = Incarnation(4);
    const TENANT: TenantId = TenantId(7);

    fn told(batch: &Batch<SetCommand>, applied: &Applied) -> Vec<(MessageId, Happening)> {
        Happening::of_entry(batch, applied, &|_| Some(TENANT))
    }

    fn batch(command: SetCommand) -> Batch<SetCommand> {
        let submissions = vec![Submission { call: None, command }];
        Batch {
            now: Time::from_millis(5),
            submissions,
        }
    }

    fn applied(reply: SetReply, stored: &[u32]) -> Applied {
        let stored = (1..).zip(stored).map(|(sequence, ordinal)| Stored {
            body: BodyKey {
                stream: QUEUE,
                sequence: Sequence(sequence),
            },
            submission: 0,
            ordinal: *ordinal,
            keep_until: Time::MAX,
        });
        Applied {
            outcomes: vec![Ok(reply)],
            stored: stored.collect(),
            ..Applied::default()
        }
    }

    fn decided(id: u64, verdict: Verdict) -> Message {
        let decision = Decision {
            version: PluginVersion(3),
            directory: LogIndex(9),
            verdict,
        };
        Message {
            decisions: vec![decision],
            ..Message::plain(MessageId(id), Bytes::from_static(b"x"))
        }
    }

    fn send(messages: Vec<Incoming>) -> SetCommand {
        SetCommand::Send {
            queue: QUEUE,
            delay: Span::ZERO,
            messages,
            token: None,
            decided_at: LogIndex::default(),
        }
    }

    #[test]
    fn a_message_that_nobody_decided_about_leaves_no_record() {
        let plain = Message::plain(MessageId(1), Bytes::from_static(b"x"));
        let batch = batch(send(vec![Incoming {
            message: plain,
            keep: true,
        }]));
        assert_eq!(
            told(&batch, &applied(SetReply::Sent(vec![MessageId(1)]), &[0])),
            []
        );
    }

    #[test]
    fn a_dropped_message_is_told_without_a_place_and_a_kept_one_with_its_own() {
        let dropped = Incoming {
            message: decided(1, Verdict::Dropped(None)),
            keep: false,
        };
        let passed = Incoming {
            message: decided(2, Verdict::Passed(None)),
            keep: true,
        };
        let reply = SetReply::Sent(vec![MessageId(1), MessageId(2)]);
        let records = told(&batch(send(vec![dropped, passed])), &applied(reply, &[1]));
        let sequences: Vec<Option<Sequence>> = records
            .iter()
            .map(|(_, happening)| match &happening.event {
                Event::Entered { sequence, .. } => *sequence,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(sequences, [None, Some(Sequence(1))]);
    }

    #[test]
    fn a_repeated_token_tells_nothing_of_messages_that_were_not_taken_in() {
        let again = Incoming {
            message: decided(2, Verdict::Passed(None)),
            keep: true,
        };
        let records = told(
            &batch(send(vec![again])),
            &applied(SetReply::Sent(vec![MessageId(1)]), &[]),
        );
        assert_eq!(records, []);
    }

    #[test]
    fn a_released_claim_was_no_attempt() {
        let settled = |id, outcome| Settled {
            handle: ReceiptHandle(1),
            message: MessageId(id),
            status: 200,
            outcome,
        };
        let command = SetCommand::Settle {
            topic: QUEUE,
            subscription: SubscriptionId(1),
            outcomes: vec![
                settled(1, SettledOutcome::Released),
                settled(2, SettledOutcome::Acknowledged),
                settled(0, SettledOutcome::Dropped),
            ],
        };
        let records = told(&batch(command), &applied(SetReply::Settled, &[]));
        let ids: Vec<MessageId> = records.iter().map(|(id, _)| *id).collect();
        assert_eq!(ids, [MessageId(2)]);
    }

    #[test]
    fn what_is_long_is_cut_and_says_how_much() {
        let many = Verdict::Routed((0..20).map(SubscriptionId).collect());
        let decision = &decided(1, many).decisions[0];
        let told = Told::from(decision);
        assert_eq!(told.more, 13);
        let long = Verdict::Failed("é".repeat(100));
        let Verdict::Failed(fault) = Told::from(&decided(1, long).decisions[0]).verdict else {
            panic!("a fault stays one");
        };
        assert_eq!(fault.len(), FAULT_TOLD_BYTES_MAX);
    }

    #[test]
    fn short_records_tell_the_same_as_the_long_one() {
        let origin = Origin {
            incarnation: Incarnation(1),
            produced: Time::from_millis(1),
            receive_count: 2,
            cause: MoveCause::Parked("trap ".repeat(100)),
        };
        let mut message = decided(1, Verdict::Sealed);
        message.decisions.push(message.decisions[0].clone());
        message.origin = Some(origin);
        let reply = SetReply::Sent(vec![MessageId(1)]);
        let records = told(
            &batch(send(vec![Incoming { message, keep: true }])),
            &applied(reply, &[0]),
        );
        let (_, happening) = records.into_iter().next().expect("one record");
        let short = happening.into_short();
        assert_eq!(short.len(), 3);
        assert!(
            matches!(&short[0].event, Event::Entered { from: Some(_), verdicts, .. } if verdicts.is_empty())
        );
        assert!(matches!(short[2].event, Event::Decided { place: QUEUE, .. }));
    }
}
