//! Arbitrary commands, most of which make sense.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::prelude::*;

use super::reference::Reference;
use crate::*;

/// What is asked; picks are resolved by what the set holds by then.
#[derive(Clone, Debug)]
pub(super) enum Action {
    Define {
        stream: u64,
        generation: u64,
        shape: u8,
    },
    Drop {
        stream: u64,
    },
    Subscribe {
        topic: u64,
        name: u8,
        shape: u8,
    },
    Alter {
        topic: u64,
        name: u8,
        shape: u8,
    },
    Unsubscribe {
        topic: u64,
        name: u8,
    },
    Send {
        queue: u64,
        delay: u64,
        keep: Vec<bool>,
        token: Option<u8>,
        decided_at: u64,
    },
    Receive {
        queue: u64,
        max: u16,
        visibility: Option<u64>,
    },
    Delete {
        queue: u64,
        handles: Vec<u16>,
    },
    Release {
        queue: u64,
        handles: Vec<u16>,
    },
    Return {
        queue: u64,
        handles: Vec<u16>,
        delay: u64,
    },
    Extend {
        queue: u64,
        handles: Vec<u16>,
        visibility: u64,
    },
    Rewind {
        queue: u64,
        back: u64,
    },
    Publish {
        topic: u64,
        matched: Vec<u8>,
        replaced: Vec<u8>,
        token: Option<u8>,
        decided_at: u64,
    },
    Claim {
        topic: u64,
        subscription: u8,
        max: u16,
        span: u64,
        term: u64,
    },
    Settle {
        topic: u64,
        subscription: u8,
        outcomes: Vec<(u16, u8)>,
    },
    Deposit {
        target: u64,
        source: u64,
        numbers: Vec<u64>,
    },
    Decide {
        decision: Box<Action>,
        uses: Vec<Used>,
    },
    ReceiveThese {
        queue: u64,
        sequences: Vec<u64>,
        visibility: u64,
    },
    Readmit {
        target: u64,
        /// Into a topic if there is any, for these subscriptions.
        matched: Option<Vec<u8>>,
        source: u64,
        sequence: u64,
        gone_below: u64,
        keep: bool,
        decided_at: u64,
    },
    ForgetKv {
        store: u8,
        of_all: bool,
        decided_at: u64,
    },
    Tick,
    Lead {
        term: u64,
    },
    Observe {
        directory: u64,
    },
    Cut,
}

/// What a plugin reads and writes in the store of one of a few bindings.
#[derive(Clone, Debug)]
pub(super) struct Used {
    store: u8,
    /// Keys, and by how much the version is wrong.
    reads: Vec<(u8, u64)>,
    /// Keys, and how long in seconds the value lives: for ever if absent, not at all if zero.
    writes: Vec<(u8, Option<u64>)>,
}

/// A few entries: how long after the one before, what is asked by which call, and how many parcels arrive.
pub(super) type Script = Vec<(u64, Vec<(Option<u8>, Action)>, u8)>;

pub(super) const QUEUES: [Incarnation; 3] = [Incarnation(1), Incarnation(2), Incarnation(3)];
pub(super) const TOPICS: [Incarnation; 2] = [Incarnation(10), Incarnation(11)];

pub(super) fn any_script() -> impl Strategy<Value = Script> {
    let call = prop_oneof![3 => Just(None), 1 => (0..12_u8).prop_map(Some)];
    let asked = prop::collection::vec((call, any_action()), 1..4);
    prop::collection::vec((any_wait(), asked, 0..3_u8), 1..40)
}

fn any_wait() -> impl Strategy<Value = u64> {
    prop_oneof![
        3 => Just(0_u64),
        3 => 1..1_500_u64,
        2 => 1_000..12_000_u64,
        1 => 20_000..70_000_u64,
        1 => Just(300_000_u64),
    ]
}

fn any_queue() -> impl Strategy<Value = u64> {
    prop_oneof![6 => Just(1_u64), 3 => Just(2_u64), 1 => Just(3_u64), 1 => 4..12_u64]
}

fn any_topic() -> impl Strategy<Value = u64> {
    prop_oneof![6 => Just(10_u64), 3 => Just(11_u64), 1 => 1..13_u64]
}

fn any_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => any_queue_action(),
        4 => any_topic_action(),
        1 => any_set_action(),
        4 => any_kv_action(),
        2 => any_parked_action(),
    ]
}

/// Boxed, as the actions of stores are.
fn any_parked_action() -> BoxedStrategy<Action> {
    let source = 1..3_u64;
    let place = || 0..6_u64;
    let target = prop_oneof![2 => any_queue().prop_map(|queue| (queue, None)), 1 => (any_topic(), prop::collection::vec(0..4_u8, 0..3)).prop_map(|(topic, matched)| (topic, Some(matched)))];
    let decided_at = prop_oneof![4 => Just(0_u64), 1 => 1..4_u64];
    prop_oneof![
        1 => (any_queue(), prop::collection::vec(0..9_u64, 0..5), 1..40_u64)
            .prop_map(|(queue, sequences, visibility)| Action::ReceiveThese { queue, sequences, visibility }),
        3 => (target, source, place(), place(), any::<bool>(), decided_at).prop_map(
            |((target, matched), source, sequence, gone_below, keep, decided_at)| {
                Action::Readmit { target, matched, source, sequence, gone_below, keep, decided_at }
            }
        ),
    ]
    .boxed()
}

/// Boxed, as it is made of the others: what picks among so much would not fit on a test's stack.
fn any_kv_action() -> BoxedStrategy<Action> {
    let decides = |action: &Action| {
        matches!(
            action,
            Action::Send { .. } | Action::Publish { .. } | Action::Settle { .. } | Action::Readmit { .. }
        )
    };
    let decision = prop_oneof![
        any_queue_action().boxed(),
        any_topic_action().boxed(),
        any_parked_action()
    ]
    .prop_filter("plugins decide about it", decides)
    .prop_map(Box::new);
    let reads = prop::collection::vec((0..4_u8, prop_oneof![6 => Just(0_u64), 1 => 1..3_u64]), 0..3);
    let ttl = prop_oneof![3 => Just(None), 1 => Just(Some(0)), 2 => (1..70_u64).prop_map(Some)];
    let writes = prop::collection::vec((0..4_u8, ttl), 0..4);
    let used = (0..KV_STORES, reads, writes).prop_map(|(store, reads, writes)| Used { store, reads, writes });
    prop_oneof![
        9 => (decision, prop::collection::vec(used, 0..3))
            .prop_map(|(decision, uses)| Action::Decide { decision, uses }),
        1 => (0..KV_STORES, any::<bool>(), 0..4_u64)
            .prop_map(|(store, of_all, decided_at)| Action::ForgetKv { store, of_all, decided_at }),
    ]
    .boxed()
}

fn any_queue_action() -> impl Strategy<Value = Action> {
    let delay = prop_oneof![3 => Just(0_u64), 1 => 1..3_000_u64, 1 => 3_000..90_000_u64];
    let token = prop::option::weighted(0.2, 0..3_u8);
    let decided_at = prop_oneof![4 => Just(0_u64), 1 => 1..4_u64];
    let keep = prop::collection::vec(prop::bool::weighted(0.85), 0..5);
    let visibility = prop::option::weighted(0.5, 1..40_u64);
    let handles = || prop::collection::vec(0..8_u16, 0..4);
    prop_oneof![
        6 => (any_queue(), delay, keep, token, decided_at).prop_map(
            |(queue, delay, keep, token, decided_at)| {
                Action::Send { queue, delay, keep, token, decided_at }
            }
        ),
        6 => (any_queue(), 0..5_u16, visibility)
            .prop_map(|(queue, max, visibility)| Action::Receive { queue, max, visibility }),
        3 => (any_queue(), handles()).prop_map(|(queue, handles)| Action::Delete { queue, handles }),
        1 => (any_queue(), handles()).prop_map(|(queue, handles)| Action::Release { queue, handles }),
        2 => (any_queue(), handles(), prop_oneof![Just(0_u64), 1..20_000_u64])
            .prop_map(|(queue, handles, delay)| Action::Return { queue, handles, delay }),
        1 => (any_queue(), handles(), 1..70_u64)
            .prop_map(|(queue, handles, visibility)| Action::Extend { queue, handles, visibility }),
        1 => (any_queue(), 0..70_u64).prop_map(|(queue, back)| Action::Rewind { queue, back }),
        1 => (any_queue(), 1..6_u64, 0..6_u8)
            .prop_map(|(stream, generation, shape)| Action::Define { stream, generation, shape }),
        1 => (any_queue(), 1..4_u64, prop::collection::vec(1..12_u64, 0..4))
            .prop_map(|(target, source, numbers)| Action::Deposit { target, source, numbers }),
    ]
}

fn any_topic_action() -> impl Strategy<Value = Action> {
    let subscriptions = || prop::collection::vec(0..4_u8, 0..4);
    let token = prop::option::weighted(0.1, 0..3_u8);
    let outcomes = prop::collection::vec((0..8_u16, 0..6_u8), 0..4);
    prop_oneof![
        1 => (any_topic(), 1..4_u64, 0..2_u8)
            .prop_map(|(stream, generation, shape)| Action::Define { stream, generation, shape }),
        3 => (any_topic(), 0..3_u8, 0..3_u8)
            .prop_map(|(topic, name, shape)| Action::Subscribe { topic, name, shape }),
        1 => (any_topic(), 0..3_u8, 0..3_u8)
            .prop_map(|(topic, name, shape)| Action::Alter { topic, name, shape }),
        1 => (any_topic(), 0..3_u8).prop_map(|(topic, name)| Action::Unsubscribe { topic, name }),
        6 => (any_topic(), subscriptions(), subscriptions(), token, 0..2_u64).prop_map(
            |(topic, matched, replaced, token, decided_at)| {
                Action::Publish { topic, matched, replaced, token, decided_at }
            }
        ),
        5 => (any_topic(), 0..4_u8, 0..4_u16, 0..20_u64, 1..3_u64).prop_map(
            |(topic, subscription, max, span, term)| {
                Action::Claim { topic, subscription, max, span, term }
            }
        ),
        5 => (any_topic(), 0..4_u8, outcomes).prop_map(|(topic, subscription, outcomes)| {
            Action::Settle { topic, subscription, outcomes }
        }),
    ]
}

fn any_set_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        1 => (1..12_u64).prop_map(|stream| Action::Drop { stream }),
        3 => Just(Action::Tick),
        1 => (0..4_u64).prop_map(|term| Action::Lead { term }),
        1 => (0..4_u64).prop_map(|directory| Action::Observe { directory }),
        1 => Just(Action::Cut),
    ]
}

impl Action {
    /// Says the action as a command, picking by what the reference knows.
    pub(super) fn command(&self, reference: &Reference, next_id: &mut u64) -> SetCommand {
        match self {
            Action::Define {
                stream,
                generation,
                shape,
            } => SetCommand::Define {
                incarnation: Incarnation(*stream),
                generation: Generation(*generation),
                tenant: TenantId(1),
                name: name(*shape),
                definition: definition(*stream, *shape),
            },
            Action::Drop { stream } => SetCommand::Drop {
                incarnation: Incarnation(*stream),
            },
            Action::Subscribe {
                topic,
                name: subscription,
                shape,
            } => SetCommand::Subscribe {
                topic: Incarnation(*topic),
                name: name(*subscription),
                attributes: subscription_attributes(*shape),
            },
            Action::Alter {
                topic,
                name: subscription,
                shape,
            } => SetCommand::AlterSubscription {
                topic: Incarnation(*topic),
                name: name(*subscription),
                attributes: subscription_attributes(*shape),
            },
            Action::Unsubscribe {
                topic,
                name: subscription,
            } => SetCommand::Unsubscribe {
                topic: Incarnation(*topic),
                name: name(*subscription),
            },
            Action::Send {
                queue,
                delay,
                keep,
                token: key,
                decided_at,
            } => SetCommand::Send {
                queue: Incarnation(*queue),
                delay: Span::from_millis(*delay),
                messages: keep
                    .iter()
                    .map(|keep| Incoming {
                        message: message(next_id),
                        keep: *keep,
                    })
                    .collect(),
                token: key.map(token),
                decided_at: LogIndex(*decided_at),
            },
            Action::Receive {
                queue,
                max,
                visibility,
            } => SetCommand::Receive {
                queue: Incarnation(*queue),
                max: *max,
                visibility: visibility.map(Span::from_seconds),
            },
            Action::Delete { queue, handles } => SetCommand::Delete {
                queue: Incarnation(*queue),
                handles: recent(reference, handles),
            },
            Action::Release { queue, handles } => SetCommand::Release {
                queue: Incarnation(*queue),
                handles: recent(reference, handles),
            },
            Action::Return {
                queue,
                handles,
                delay,
            } => SetCommand::Return {
                queue: Incarnation(*queue),
                handles: recent(reference, handles),
                delay: Span::from_millis(*delay),
            },
            Action::Extend {
                queue,
                handles,
                visibility,
            } => SetCommand::Extend {
                queue: Incarnation(*queue),
                handles: recent(reference, handles),
                visibility: Span::from_seconds(*visibility),
            },
            Action::Rewind { queue, back } => {
                let second = (reference.now.seconds() + 2).saturating_sub(*back);
                SetCommand::Rewind {
                    queue: Incarnation(*queue),
                    to: Time::from_seconds(second),
                }
            }
            Action::Publish {
                topic,
                matched,
                replaced,
                token: key,
                decided_at,
            } => {
                let pick = |pick: &u8| subscription(reference, *topic, *pick);
                let message = message(next_id);
                let other = |s| (s, Message::plain(message.id, Bytes::from_static(b"other")));
                let replaced = replaced.iter().map(pick).map(other).collect();
                let matched = matched.iter().map(pick).collect();
                SetCommand::Publish {
                    topic: Incarnation(*topic),
                    publications: vec![Publication {
                        message,
                        matched,
                        replaced,
                    }],
                    token: key.map(token),
                    decided_at: LogIndex(*decided_at),
                }
            }
            Action::Claim {
                topic,
                subscription: pick,
                max,
                span,
                term,
            } => SetCommand::Claim {
                topic: Incarnation(*topic),
                subscription: subscription(reference, *topic, *pick),
                max: *max,
                span: Span::from_seconds(*span),
                term: Term(*term),
            },
            Action::Settle {
                topic,
                subscription: pick,
                outcomes,
            } => SetCommand::Settle {
                topic: Incarnation(*topic),
                subscription: subscription(reference, *topic, *pick),
                outcomes: outcomes
                    .iter()
                    .map(|(pick, outcome)| Settled {
                        handle: recent(reference, &[*pick])[0],
                        message: MessageId(0),
                        status: 0,
                        outcome: settled_outcome(*outcome),
                    })
                    .collect(),
            },
            Action::Deposit {
                target,
                source,
                numbers,
            } => SetCommand::Deposit {
                target: Incarnation(*target),
                source: Incarnation(*source),
                parcels: numbers
                    .iter()
                    .map(|number| Parcel {
                        number: *number,
                        message: message(next_id),
                    })
                    .collect(),
            },
            Action::Decide { decision, uses } => {
                let command = decision.command(reference, next_id);
                let mut known: BTreeMap<KvId, KvUse> = BTreeMap::new();
                for used in uses {
                    let store = kv_store(reference, used.store);
                    known.insert(store, used.of(store, reference));
                }
                SetCommand::Decide {
                    uses: known.into_values().collect(),
                    command: Decided::new(command).expect("plugins decide about it"),
                }
            }
            Action::ReceiveThese {
                queue,
                sequences,
                visibility,
            } => SetCommand::ReceiveThese {
                queue: Incarnation(*queue),
                sequences: sequences.iter().copied().map(Sequence).collect(),
                visibility: Span::from_seconds(*visibility),
            },
            Action::Readmit {
                target,
                matched,
                source,
                sequence,
                gone_below,
                keep,
                decided_at,
            } => {
                let message = message(next_id);
                let content = match matched {
                    None => Readmitted::Queue(Incoming { message, keep: *keep }),
                    Some(matched) => {
                        let matched: BTreeSet<SubscriptionId> = matched
                            .iter()
                            .map(|pick| subscription(reference, *target, *pick))
                            .collect();
                        Readmitted::Topic(Publication {
                            message,
                            matched: matched.into_iter().collect(),
                            replaced: Vec::new(),
                        })
                    }
                };
                SetCommand::Readmit {
                    target: Incarnation(*target),
                    source: Incarnation(*source),
                    sequence: Sequence(*sequence),
                    gone_below: Sequence(*gone_below),
                    content: Box::new(content),
                    decided_at: LogIndex(*decided_at),
                }
            }
            Action::ForgetKv {
                store,
                of_all,
                decided_at,
            } => {
                let KvId { place, world, tenant } = kv_store(reference, *store);
                SetCommand::ForgetKv {
                    place,
                    world,
                    tenant: (!of_all).then_some(tenant),
                    decided_at: LogIndex(*decided_at),
                }
            }
            Action::Tick => SetCommand::Tick,
            Action::Lead { term } => SetCommand::Lead { term: Term(*term) },
            Action::Observe { directory } => SetCommand::Observe {
                directory: LogIndex(*directory),
            },
            Action::Cut => SetCommand::Cut,
        }
    }
}

impl Used {
    fn of(&self, store: KvId, reference: &Reference) -> KvUse {
        let key = |key: u8| format!("key {key}");
        let version = |name: &str| {
            reference
                .kept(store, name)
                .map(|kept| kept.version)
                .unwrap_or_default()
        };
        let reads = self.reads.iter().map(|(number, wrong)| {
            let KvVersion(known) = version(&key(*number));
            (key(*number), KvVersion(known + wrong))
        });
        let writes = self.writes.iter().map(|(number, ttl)| {
            let value = Bytes::copy_from_slice(&[*number, ttl.unwrap_or_default() as u8]);
            let write = match ttl {
                Some(0) => KvWrite::Delete,
                ttl => KvWrite::Put(value, ttl.map(Span::from_seconds)),
            };
            (key(*number), write)
        });
        KvUse {
            store,
            reads: reads.collect(),
            writes: writes.collect::<BTreeMap<_, _>>().into_iter().collect(),
        }
    }
}

/// How many stores there are to pick from.
const KV_STORES: u8 = 6;

fn kv_store(reference: &Reference, pick: u8) -> KvId {
    let place = match pick {
        0 => Place::Incarnation(Incarnation(1)),
        1 => Place::Incarnation(Incarnation(10)),
        2 => Place::Subscription(Incarnation(10), subscription(reference, 10, 0)),
        3 => Place::Subscription(Incarnation(11), subscription(reference, 11, 1)),
        4 => Place::Platform,
        _ => Place::Tenant(TenantId(1)),
    };
    KvId {
        place,
        world: World::Filter,
        tenant: TenantId(1 + u32::from(pick % 2)),
    }
}

/// Returns attributes of one of a few shapes: with rewind, and dead letters by count or age.
pub(super) fn queue_attributes(shape: u8) -> QueueAttributes {
    let policy = |rule| {
        Some(Box::new(DeadLetterPolicy {
            name: name(0),
            target: Incarnation(3),
            rule,
        }))
    };
    let by_count = policy(DeadLetterRule::ReceiveCount { max: 2 });
    let by_age = policy(DeadLetterRule::Age {
        max: Span::from_seconds(300),
    });
    let (retention, rewind, dead_letter) = match shape {
        0 => (60, 0, None),
        1 => (90, 60, None),
        2 => (70, 30, by_count),
        3 => (600, 0, by_age),
        4 => (600, 400, by_age),
        _ => (400, 0, by_count),
    };
    QueueAttributes {
        visibility: Span::from_seconds(10),
        retention: Span::from_seconds(retention),
        rewind: Span::from_seconds(rewind),
        dead_letter,
        ..QueueAttributes::default()
    }
}

pub(super) fn name(number: u8) -> Name {
    Name::parse(&format!("n{number}")).expect("a letter and a number")
}

pub(super) fn subscription_attributes(shape: u8) -> SubscriptionAttributes {
    SubscriptionAttributes {
        endpoint: Endpoint::Http(format!("http://host/{}", shape % 2)),
        retry: RetryStrategy::Backoff,
        format: ContentFormat::Json,
        filter_tags: vec![Tag::parse(&format!("t{shape}")).expect("a letter and a number")],
        binding_keys: Vec::new(),
    }
}

fn definition(stream: u64, shape: u8) -> Definition {
    if stream < 10 {
        // The dead letter queue has no policy of its own.
        return Definition::Queue(queue_attributes(if stream == 3 { shape % 2 } else { shape }));
    }
    let seconds = 60 + 200 * u64::from(shape % 2);
    let retention = Span::from_seconds(seconds);
    Definition::Topic(TopicAttributes {
        retention,
        ..TopicAttributes::default()
    })
}

fn message(next_id: &mut u64) -> Message {
    *next_id += 1;
    Message::plain(MessageId(*next_id), Bytes::from_static(b"body"))
}

fn token(number: u8) -> Token {
    Token(format!("token {number}"))
}

/// Picks among the handles given out last, and one that is yet to be.
fn recent(reference: &Reference, picks: &[u16]) -> Vec<ReceiptHandle> {
    let pick = |pick: &u16| ReceiptHandle((reference.handles + 1).saturating_sub(u64::from(*pick)));
    picks.iter().map(pick).collect()
}

fn subscription(reference: &Reference, topic: u64, pick: u8) -> SubscriptionId {
    let known = reference.topics.get(&Incarnation(topic));
    let picked = known.and_then(|topic| topic.subscriptions.get(usize::from(pick)));
    picked.map_or(SubscriptionId(u64::from(pick)), |subscription| subscription.id)
}

fn settled_outcome(number: u8) -> SettledOutcome {
    match number {
        0 => SettledOutcome::Acknowledged,
        1 => SettledOutcome::Retry(Span::from_seconds(4)),
        2 => SettledOutcome::Retry(Span::ZERO),
        3 => SettledOutcome::Dropped,
        4 => SettledOutcome::Released,
        _ => SettledOutcome::Enqueue {
            target: Incarnation(2),
            cause: MoveCause::Delivered,
        },
    }
}
