//! Any values of what is encoded most: messages, and the commands that carry them.

use bytes::Bytes;
use posthouse_model::*;
use proptest::prelude::*;

use crate::examples;

pub(crate) fn message() -> impl Strategy<Value = Message> {
    let labels = (prop::collection::vec(".{0,4}", 0..3), ".{0,8}");
    let attributes = prop::collection::btree_map(".{0,4}", attribute(), 0..3);
    let decisions = prop::collection::vec(decision(), 0..3);
    (
        any::<u64>(),
        body(),
        labels,
        attributes,
        prop::option::of(origin()),
        decisions,
    )
        .prop_map(
            |(id, body, (tags, routing_key), attributes, origin, decisions)| Message {
                id: MessageId(id),
                body,
                tags,
                routing_key,
                attributes,
                origin,
                decisions,
            },
        )
}

pub(crate) fn stored_message() -> impl Strategy<Value = StoredMessage> {
    (message(), time()).prop_map(|(message, produced)| StoredMessage { message, produced })
}

pub(crate) fn set_batch() -> impl Strategy<Value = Batch<SetCommand>> {
    batch(prop_oneof![
        1 => prop::sample::select(
            [
                examples::set_commands(),
                examples::set_commands_2(),
                examples::set_commands_3(),
                examples::set_commands_4(),
                examples::set_commands_5(),
            ]
            .concat(),
        ),
        2 => set_command(),
        1 => decided(),
    ])
}

pub(crate) fn directory_batch() -> impl Strategy<Value = Batch<DirectoryCommand>> {
    batch(prop_oneof![
        1 => prop::sample::select(examples::directory_commands()),
        1 => prop::sample::select(examples::directory_commands_6()),
        1 => directory_command(),
    ])
}

fn batch<C: std::fmt::Debug>(command: impl Strategy<Value = C>) -> impl Strategy<Value = Batch<C>> {
    let call = (any::<u64>(), any::<u64>(), any::<u64>()).prop_map(|(origin, session, number)| SessionCall {
        origin: ReplicaId(origin),
        session,
        number,
    });
    let submission =
        (prop::option::of(call), command).prop_map(|(call, command)| Submission { call, command });
    (time(), prop::collection::vec(submission, 0..5))
        .prop_map(|(now, submissions)| Batch { now, submissions })
}

fn set_command() -> impl Strategy<Value = SetCommand> {
    let incoming = (message(), any::<bool>()).prop_map(|(message, keep)| Incoming { message, keep });
    let publication = (
        message(),
        prop::collection::vec(subscription(), 0..4),
        prop::collection::vec((subscription(), message()), 0..2),
    )
        .prop_map(|(message, matched, replaced)| Publication {
            message,
            matched,
            replaced,
        });
    let token = || prop::option::of(".{0,8}".prop_map(Token));
    let parcel = (any::<u64>(), message()).prop_map(|(number, message)| Parcel { number, message });
    let handles = prop::collection::vec(any::<u64>().prop_map(ReceiptHandle), 0..4);
    prop_oneof![
        (
            incarnation(),
            any::<u64>(),
            prop::collection::vec(incoming, 0..3),
            token(),
            index()
        )
            .prop_map(|(queue, delay, messages, token, decided_at)| SetCommand::Send {
                queue,
                delay: Span::from_millis(delay),
                messages,
                token,
                decided_at,
            }),
        (
            incarnation(),
            prop::collection::vec(publication, 0..3),
            token(),
            index()
        )
            .prop_map(|(topic, publications, token, decided_at)| SetCommand::Publish {
                topic,
                publications,
                token,
                decided_at,
            }),
        (incarnation(), incarnation(), prop::collection::vec(parcel, 0..3)).prop_map(
            |(target, source, parcels)| SetCommand::Deposit {
                target,
                source,
                parcels
            }
        ),
        (incarnation(), handles).prop_map(|(queue, handles)| SetCommand::Delete { queue, handles }),
        (incarnation(), any::<u16>(), prop::option::of(any::<u64>())).prop_map(|(queue, max, visibility)| {
            SetCommand::Receive {
                queue,
                max,
                visibility: visibility.map(Span::from_millis),
            }
        }),
    ]
}

/// A command that plugins decided, with what they kept meanwhile.
fn decided() -> impl Strategy<Value = SetCommand> {
    let ttl = prop::option::of(any::<u64>().prop_map(Span::from_millis));
    let write = prop_oneof![
        1 => Just(KvWrite::Delete),
        2 => (bytes(), ttl).prop_map(|(value, ttl)| KvWrite::Put(value, ttl)),
    ];
    let one = (
        (incarnation(), subscription(), any::<u32>()),
        prop::collection::vec((".{0,4}", any::<u64>().prop_map(KvVersion)), 0..3),
        prop::collection::vec((".{0,4}", write), 0..3),
    )
        .prop_map(|((topic, subscription, tenant), reads, writes)| KvUse {
            store: KvId {
                place: Place::Subscription(topic, subscription),
                world: World::Deliver,
                tenant: TenantId(tenant),
            },
            reads,
            writes,
        });
    (prop::collection::vec(one, 0..3), set_command()).prop_filter_map(
        "plugins do not decide about it",
        |(uses, command)| {
            let command = Decided::new(command)?;
            Some(SetCommand::Decide { uses, command })
        },
    )
}

fn directory_command() -> impl Strategy<Value = DirectoryCommand> {
    prop_oneof![
        (any::<[u8; 16]>(), any::<u8>(), any::<[u8; 32]>()).prop_map(|(cluster, sets, root_check)| {
            DirectoryCommand::Found {
                cluster,
                sets,
                root_check,
            }
        }),
        (any::<u32>(), ".{0,9}", bytes(), any::<bool>()).prop_map(|(tenant, id, wrapped_secret, root)| {
            DirectoryCommand::AddAccessKey {
                tenant: TenantId(tenant),
                id,
                wrapped_secret,
                root,
            }
        }),
        any::<u64>().prop_map(|version| DirectoryCommand::RemovePlugin {
            version: PluginVersion(version),
        }),
        (incarnation(), subscription(), any::<u64>(), bytes()).prop_map(
            |(topic, subscription, version, configuration)| DirectoryCommand::Bind {
                place: Place::Subscription(topic, subscription),
                version: PluginVersion(version),
                configuration,
                on_failure: FailurePolicy::Park,
            }
        ),
    ]
}

fn body() -> impl Strategy<Value = Body> {
    let sealed = (
        bytes(),
        bytes(),
        any::<u32>(),
        incarnation(),
        any::<u64>(),
        any::<u64>(),
    );
    prop_oneof![
        bytes().prop_map(Body::Clear),
        sealed.prop_map(|(header, ciphertext, tenant, incarnation, message, version)| {
            let context = SealContext {
                tenant: TenantId(tenant),
                incarnation,
                message: MessageId(message),
            };
            let version = PluginVersion(version);
            Body::Sealed(SealedBody {
                header,
                ciphertext,
                context,
                version,
            })
        }),
    ]
}

fn attribute() -> impl Strategy<Value = Attribute> {
    prop_oneof![
        ".{0,8}".prop_map(Attribute::Text),
        "[0-9]{1,8}".prop_map(Attribute::Number),
        bytes().prop_map(Attribute::Binary),
    ]
}

fn origin() -> impl Strategy<Value = Origin> {
    let cause = prop_oneof![
        Just(MoveCause::ReceivedTooOften),
        Just(MoveCause::WaitedTooLong),
        Just(MoveCause::Delivered),
        ".{0,8}".prop_map(MoveCause::Parked),
        Just(examples::parked_by()),
        Just(MoveCause::Redriven),
    ];
    (incarnation(), time(), any::<u32>(), cause).prop_map(|(incarnation, produced, receive_count, cause)| {
        Origin {
            incarnation,
            produced,
            receive_count,
            cause,
        }
    })
}

fn decision() -> impl Strategy<Value = Decision> {
    let one = || prop::option::of(subscription());
    let verdict = prop_oneof![
        prop::collection::vec(subscription(), 0..4).prop_map(Verdict::Routed),
        one().prop_map(Verdict::Passed),
        one().prop_map(Verdict::Dropped),
        one().prop_map(Verdict::Replaced),
        Just(examples::sealed_under()),
        Just(Verdict::Sealed),
        ".{0,8}".prop_map(Verdict::Failed),
    ];
    (any::<u64>(), index(), verdict).prop_map(|(version, directory, verdict)| Decision {
        version: PluginVersion(version),
        directory,
        verdict,
    })
}

fn bytes() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from)
}

fn time() -> impl Strategy<Value = Time> {
    any::<u64>().prop_map(Time::from_millis)
}

fn index() -> impl Strategy<Value = LogIndex> {
    any::<u64>().prop_map(LogIndex)
}

fn incarnation() -> impl Strategy<Value = Incarnation> {
    any::<u64>().prop_map(Incarnation)
}

fn subscription() -> impl Strategy<Value = SubscriptionId> {
    any::<u64>().prop_map(SubscriptionId)
}
