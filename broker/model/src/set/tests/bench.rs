//! A set to try one rule on: short words for commands, and a time that only the test moves.

use bytes::Bytes;

use super::action::{name, subscription_attributes};
use crate::*;

pub(super) const QUEUE: Incarnation = Incarnation(1);
pub(super) const DEAD: Incarnation = Incarnation(2);
pub(super) const TOPIC: Incarnation = Incarnation(10);

/// A set with a queue, another for dead letters, and a topic.
pub(super) struct Bench {
    pub(super) set: Set,
    pub(super) now: Time,
    pub(super) applied: Applied,
    generation: u64,
    next_id: u64,
}

impl Bench {
    pub(super) fn new(attributes: QueueAttributes) -> Bench {
        let mut bench = Bench {
            set: Set::new(SetId(1)),
            now: Time::from_seconds(1_700_000_000),
            applied: Applied::default(),
            generation: 0,
            next_id: 0,
        };
        bench.define(attributes).expect("attributes within bounds");
        bench
            .ask(define(DEAD, 1, Definition::Queue(QueueAttributes::default())))
            .expect("new");
        bench
            .ask(define(TOPIC, 1, Definition::Topic(TopicAttributes::default())))
            .expect("new");
        bench
    }

    pub(super) fn wait(&mut self, seconds: u64) {
        self.now = self.now + Span::from_seconds(seconds);
    }

    /// Applies one command in an entry of its own.
    pub(super) fn ask(&mut self, command: SetCommand) -> Result<SetReply, Refusal> {
        self.ask_as(None, command)
    }

    pub(super) fn ask_as(
        &mut self,
        call: Option<SessionCall>,
        command: SetCommand,
    ) -> Result<SetReply, Refusal> {
        let batch = Batch {
            now: self.now,
            submissions: vec![Submission { call, command }],
        };
        self.applied = self.set.apply(self.set.applied().next(), &batch);
        self.applied.outcomes.pop().expect("one command has one outcome")
    }

    pub(super) fn define(&mut self, attributes: QueueAttributes) -> Result<SetReply, Refusal> {
        self.generation += 1;
        self.ask(define(QUEUE, self.generation, Definition::Queue(attributes)))
    }

    pub(super) fn message(&mut self) -> Message {
        self.next_id += 1;
        Message::plain(MessageId(self.next_id), Bytes::from_static(b"body"))
    }

    pub(super) fn messages(&mut self, count: usize) -> Vec<Incoming> {
        (0..count)
            .map(|_| Incoming {
                message: self.message(),
                keep: true,
            })
            .collect()
    }

    pub(super) fn send(&mut self, count: usize) {
        self.send_delayed(count, 0).expect("there is room");
    }

    pub(super) fn send_delayed(&mut self, count: usize, seconds: u64) -> Result<SetReply, Refusal> {
        let messages = self.messages(count);
        self.ask(send(messages, Span::from_seconds(seconds)))
    }

    /// Receives, and says the sequences and handles.
    pub(super) fn receive(&mut self, max: u16) -> Vec<(u64, ReceiptHandle)> {
        let leased = self.leased(max).expect("a receive");
        leased
            .iter()
            .map(|leased| (leased.body.sequence.0, leased.handle))
            .collect()
    }

    pub(super) fn receive_sequences(&mut self, max: u16) -> Vec<u64> {
        self.receive(max)
            .into_iter()
            .map(|(sequence, _)| sequence)
            .collect()
    }

    pub(super) fn leased(&mut self, max: u16) -> Result<Vec<Leased>, Refusal> {
        let reply = self.ask(SetCommand::Receive {
            queue: QUEUE,
            max,
            visibility: None,
        })?;
        let SetReply::Leased(leased) = reply else {
            panic!("a receive is answered by leases, not {reply:?}");
        };
        Ok(leased)
    }

    pub(super) fn delete(&mut self, handle: ReceiptHandle) -> Result<(), Refusal> {
        let handles = vec![handle];
        match self
            .ask(SetCommand::Delete {
                queue: QUEUE,
                handles,
            })
            .expect("the queue is there")
        {
            SetReply::Deleted(mut results) => results.pop().expect("one handle has one result"),
            reply => panic!("a delete is answered by results, not {reply:?}"),
        }
    }

    pub(super) fn release(&mut self, handle: ReceiptHandle) {
        let handles = vec![handle];
        self.ask(SetCommand::Release {
            queue: QUEUE,
            handles,
        })
        .expect("the queue is there");
    }

    pub(super) fn give_back(
        &mut self,
        handles: &[ReceiptHandle],
        delay: u64,
    ) -> Result<Vec<Result<(), Refusal>>, Refusal> {
        let command = SetCommand::Return {
            queue: QUEUE,
            handles: handles.to_vec(),
            delay: Span::from_seconds(delay),
        };
        match self.ask(command)? {
            SetReply::Returned(results) => Ok(results),
            reply => panic!("each handle is answered, not {reply:?}"),
        }
    }

    pub(super) fn extend(
        &mut self,
        handles: &[ReceiptHandle],
        visibility: u64,
    ) -> Result<Vec<Result<(), Refusal>>, Refusal> {
        let command = SetCommand::Extend {
            queue: QUEUE,
            handles: handles.to_vec(),
            visibility: Span::from_seconds(visibility),
        };
        match self.ask(command)? {
            SetReply::Extended(results) => Ok(results),
            reply => panic!("each handle is answered, not {reply:?}"),
        }
    }

    pub(super) fn rewind(&mut self, to: Time) -> Result<SetReply, Refusal> {
        self.ask(SetCommand::Rewind { queue: QUEUE, to })
    }

    pub(super) fn tick(&mut self) -> bool {
        match self.ask(SetCommand::Tick) {
            Ok(SetReply::Ticked { more }) => more,
            outcome => panic!("a tick says whether more is due, not {outcome:?}"),
        }
    }

    pub(super) fn counts(&self) -> QueueCounts {
        self.set.queue(QUEUE).expect("the queue is there").counts()
    }

    pub(super) fn subscribe(&mut self, number: u8) -> SubscriptionId {
        let attributes = subscription_attributes(0);
        let subscribe = SetCommand::Subscribe {
            topic: TOPIC,
            name: name(number),
            attributes,
        };
        match self.ask(subscribe).expect("a new subscription") {
            SetReply::Subscribed(id) => id,
            reply => panic!("a new subscription has a number, not {reply:?}"),
        }
    }

    pub(super) fn publish(&mut self, count: usize, matched: &[SubscriptionId]) {
        let publications = (0..count).map(|_| Publication {
            message: self.message(),
            matched: matched.to_vec(),
            replaced: Vec::new(),
        });
        let publications = publications.collect();
        self.ask(publish(publications)).expect("there is room");
    }

    pub(super) fn claim(&mut self, subscription: SubscriptionId, max: u16) -> Vec<Leased> {
        self.claim_in(Term(1), subscription, max).expect("a claim")
    }

    pub(super) fn claim_in(
        &mut self,
        term: Term,
        subscription: SubscriptionId,
        max: u16,
    ) -> Result<Vec<Leased>, Refusal> {
        let span = Span::from_seconds(20);
        let claim = SetCommand::Claim {
            topic: TOPIC,
            subscription,
            max,
            span,
            term,
        };
        match self.ask(claim)? {
            SetReply::Leased(leased) => Ok(leased),
            reply => panic!("a claim is answered by leases, not {reply:?}"),
        }
    }

    pub(super) fn settle(
        &mut self,
        subscription: SubscriptionId,
        claims: &[Leased],
        outcome: SettledOutcome,
    ) {
        let settled = claims.iter().map(|leased| Settled {
            handle: leased.handle,
            message: MessageId(0),
            status: 0,
            outcome: outcome.clone(),
        });
        let outcomes = settled.collect();
        let settle = SetCommand::Settle {
            topic: TOPIC,
            subscription,
            outcomes,
        };
        self.ask(settle).expect("the subscription is there");
    }

    pub(super) fn deposit(&mut self, numbers: &[u64]) -> Result<SetReply, Refusal> {
        let parcels = numbers.iter().map(|number| Parcel {
            number: *number,
            message: self.message(),
        });
        let parcels = parcels.collect();
        self.ask(SetCommand::Deposit {
            target: QUEUE,
            source: Incarnation(50),
            parcels,
        })
    }
}

pub(super) fn define(incarnation: Incarnation, generation: u64, definition: Definition) -> SetCommand {
    SetCommand::Define {
        incarnation,
        generation: Generation(generation),
        tenant: TenantId(1),
        name: name(1),
        definition,
    }
}

pub(super) fn send(messages: Vec<Incoming>, delay: Span) -> SetCommand {
    SetCommand::Send {
        queue: QUEUE,
        delay,
        messages,
        token: None,
        decided_at: LogIndex(0),
    }
}

pub(super) fn publish(publications: Vec<Publication>) -> SetCommand {
    SetCommand::Publish {
        topic: TOPIC,
        publications,
        token: None,
        decided_at: LogIndex(0),
    }
}

pub(super) fn dead_letter(rule: DeadLetterRule) -> Option<Box<DeadLetterPolicy>> {
    Some(Box::new(DeadLetterPolicy {
        name: name(1),
        target: DEAD,
        rule,
    }))
}

pub(super) fn seconds(seconds: u64) -> Span {
    Span::from_seconds(seconds)
}

pub(super) fn body(stream: Incarnation, sequence: u64) -> BodyKey {
    BodyKey {
        stream,
        sequence: Sequence(sequence),
    }
}

/// Returns the name of a call of one session.
pub(super) fn call(session: u64, number: u64) -> Option<SessionCall> {
    Some(SessionCall {
        origin: ReplicaId(1),
        session,
        number,
    })
}
