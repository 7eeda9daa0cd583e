//! Commands that no leader should write: they are refused or done, and nothing breaks.

use proptest::prelude::*;

use super::action::{name, subscription_attributes};
use super::through_snapshot;
use crate::*;

fn odd_number() -> impl Strategy<Value = u64> {
    prop_oneof![0..4_u64, Just(10_u64), u64::MAX - 2..=u64::MAX, any::<u64>()]
}

fn odd_span() -> impl Strategy<Value = Span> {
    prop_oneof![Just(0_u64), Just(5_000), Just(u64::MAX), any::<u64>()].prop_map(Span::from_millis)
}

fn odd_handles() -> impl Strategy<Value = Vec<ReceiptHandle>> {
    prop::collection::vec(odd_number().prop_map(ReceiptHandle), 0..4)
}

fn stream() -> impl Strategy<Value = Incarnation> {
    prop_oneof![4 => Just(1_u64), 4 => Just(10), 1 => odd_number()].prop_map(Incarnation)
}

fn message(id: u64) -> Message {
    Message::plain(MessageId(id), bytes::Bytes::from_static(b"body"))
}

fn odd_queue_command() -> BoxedStrategy<SetCommand> {
    let time = odd_number().prop_map(Time::from_millis);
    let decided_at = prop_oneof![Just(LogIndex(0)), odd_number().prop_map(LogIndex)];
    prop_oneof![
        (stream(), odd_span(), odd_number(), 0..4_usize, decided_at).prop_map(
            |(queue, delay, id, count, decided_at)| SetCommand::Send {
                queue,
                delay,
                messages: vec![
                    Incoming {
                        message: message(id),
                        keep: true
                    };
                    count
                ],
                token: Some(Token(id.to_string())),
                decided_at,
            }
        ),
        (stream(), any::<u16>(), prop::option::of(odd_span())).prop_map(|(queue, max, visibility)| {
            SetCommand::Receive {
                queue,
                max,
                visibility,
            }
        }),
        (stream(), odd_handles()).prop_map(|(queue, handles)| SetCommand::Delete { queue, handles }),
        (stream(), odd_handles()).prop_map(|(queue, handles)| SetCommand::Release { queue, handles }),
        (stream(), time).prop_map(|(queue, to)| SetCommand::Rewind { queue, to }),
        (stream(), stream(), prop::collection::vec(odd_number(), 0..4)).prop_map(
            |(target, source, numbers)| SetCommand::Deposit {
                target,
                source,
                parcels: numbers
                    .into_iter()
                    .map(|number| Parcel {
                        number,
                        message: message(number)
                    })
                    .collect(),
            }
        ),
        (stream(), odd_span(), odd_span(), odd_number()).prop_map(
            |(incarnation, retention, rewind, generation)| SetCommand::Define {
                incarnation,
                generation: Generation(generation),
                tenant: TenantId(u32::MAX),
                name: name(1),
                definition: Definition::Queue(QueueAttributes {
                    retention,
                    rewind,
                    ..QueueAttributes::default()
                }),
            }
        ),
    ]
    .boxed()
}

fn odd_topic_command() -> BoxedStrategy<SetCommand> {
    let subscription = || odd_number().prop_map(SubscriptionId);
    let matched = prop::collection::vec(subscription(), 0..4);
    let outcome = prop_oneof![
        odd_span().prop_map(SettledOutcome::Retry),
        stream().prop_map(|target| {
            SettledOutcome::Enqueue {
                target,
                cause: MoveCause::Parked("trap".to_owned()),
            }
        }),
        Just(SettledOutcome::Released),
    ];
    let settled = (odd_number(), outcome).prop_map(|(handle, outcome)| Settled {
        handle: ReceiptHandle(handle),
        message: MessageId(handle),
        status: u16::MAX,
        outcome,
    });
    prop_oneof![
        stream().prop_map(|topic| SetCommand::Subscribe {
            topic,
            name: name(1),
            attributes: subscription_attributes(0),
        }),
        stream().prop_map(|topic| SetCommand::Unsubscribe { topic, name: name(1) }),
        (stream(), matched).prop_map(|(topic, matched)| {
            let other = matched.iter().map(|id| (*id, message(1))).collect();
            let publication = Publication {
                message: message(1),
                matched,
                replaced: other,
            };
            let (publications, token, decided_at) = (vec![publication], None, LogIndex(0));
            SetCommand::Publish {
                topic,
                publications,
                token,
                decided_at,
            }
        }),
        (stream(), subscription(), any::<u16>(), odd_span(), 0..3_u64).prop_map(
            |(topic, subscription, max, span, term)| {
                let term = Term(if term == 2 { u64::MAX } else { term });
                SetCommand::Claim {
                    topic,
                    subscription,
                    max,
                    span,
                    term,
                }
            }
        ),
        (stream(), subscription(), prop::collection::vec(settled, 0..4)).prop_map(
            |(topic, subscription, outcomes)| SetCommand::Settle {
                topic,
                subscription,
                outcomes
            }
        ),
        (stream(), stream(), prop::collection::vec(odd_number(), 0..4)).prop_map(
            |(source, target, numbers)| SetCommand::Shipped {
                source,
                target,
                numbers
            }
        ),
        stream().prop_map(|incarnation| SetCommand::Drop { incarnation }),
        odd_number().prop_map(|directory| SetCommand::Observe {
            directory: LogIndex(directory)
        }),
        Just(SetCommand::Tick),
    ]
    .boxed()
}

proptest! {
    #[test]
    fn nothing_that_is_asked_breaks_a_set(
        entries in prop::collection::vec(
            (
                prop_oneof![0..100_000_u64, odd_number()],
                prop::collection::vec(
                    (prop::option::of(odd_number()), prop_oneof![
                        odd_queue_command(),
                        odd_topic_command(),
                    ]),
                    0..8,
                ),
            ),
            1..16,
        ),
    ) {
        let mut set = Set::new(SetId(u8::MAX));
        let topic = Definition::Topic(TopicAttributes::default());
        let queue = Definition::Queue(QueueAttributes::default());
        let defines = [(Incarnation(1), queue), (Incarnation(10), topic)];
        let define = defines.map(|(incarnation, definition)| Submission {
            call: None,
            command: super::bench::define(incarnation, 1, definition),
        });
        let first = Batch { now: Time::default(), submissions: define.to_vec() };
        set.apply(LogIndex(1), &first);
        for (index, (now, commands)) in (2..).zip(entries) {
            let submissions = commands.into_iter().map(|(number, command)| {
                let origin = ReplicaId(u64::MAX);
                let call = number.map(|number| SessionCall { origin, session: number, number });
                Submission { call, command }
            });
            let submissions: Vec<_> = submissions.collect();
            let count = submissions.len();
            let batch = Batch { now: Time::from_millis(now), submissions };
            let applied = set.apply(LogIndex(index), &batch);
            prop_assert_eq!(applied.outcomes.len(), count);
            prop_assert_eq!(&through_snapshot(&set), &set);
            let tick = Submission { call: None, command: SetCommand::Tick };
            let mut ticked = set.clone();
            let batch = Batch { now: set.now(), submissions: vec![tick] };
            let applied = ticked.apply(LogIndex(index + 1), &batch);
            prop_assert_eq!(&applied.outcomes[0], &Ok(SetReply::Ticked { more: false }));
            prop_assert!(ticked.deadline().is_none_or(|deadline| deadline > ticked.now()));
        }
    }
}
