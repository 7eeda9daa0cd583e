//! One value of each command, reply and refusal, for the kept files and for what is damaged on purpose.
//!
//! What is here was written to `kept/` and does not change: a new command gets a new list and a new file. The
//! `match`es at the end do not compile until somebody has thought of that.

use std::collections::BTreeMap;

use bytes::Bytes;
use posthouse_model::*;

pub(crate) fn set_batch() -> Batch<SetCommand> {
    let commands = set_commands();
    let call = Some(SessionCall {
        origin: ReplicaId(3),
        session: u64::MAX,
        number: 300,
    });
    let mut submissions: Vec<Submission<SetCommand>> = commands
        .into_iter()
        .map(|command| Submission { call: None, command })
        .collect();
    submissions.push(Submission {
        call,
        command: SetCommand::Tick,
    });
    Batch {
        now: Time::from_millis(1_700_000_000_123),
        submissions,
    }
}

pub(crate) fn set_commands() -> Vec<SetCommand> {
    let queue = Incarnation(70_000);
    let topic = Incarnation(5);
    vec![
        SetCommand::Define {
            incarnation: queue,
            generation: Generation(2),
            tenant: TenantId(1),
            name: name("orders"),
            definition: Definition::Queue(queue_attributes()),
        },
        SetCommand::Define {
            incarnation: topic,
            generation: Generation(1),
            tenant: TenantId(1),
            name: name("events"),
            definition: Definition::Topic(TopicAttributes {
                filter_type: FilterType::BindingKeys,
                ..TopicAttributes::default()
            }),
        },
        SetCommand::Drop { incarnation: queue },
        SetCommand::Subscribe {
            topic,
            name: name("sub"),
            attributes: http_subscription(),
        },
        SetCommand::AlterSubscription {
            topic,
            name: name("sub"),
            attributes: queue_subscription(),
        },
        SetCommand::Unsubscribe {
            topic,
            name: name("sub"),
        },
        SetCommand::Send {
            queue,
            delay: Span::from_seconds(60),
            messages: vec![
                Incoming {
                    message: clear_message(),
                    keep: true,
                },
                Incoming {
                    message: sealed_message(),
                    keep: false,
                },
            ],
            token: Some(Token("client's own".to_owned())),
            decided_at: LogIndex(17),
        },
        SetCommand::Receive {
            queue,
            max: 16,
            visibility: Some(Span::from_seconds(30)),
        },
        SetCommand::Delete {
            queue,
            handles: vec![ReceiptHandle(1), ReceiptHandle(u64::MAX)],
        },
        SetCommand::Release {
            queue,
            handles: vec![ReceiptHandle(2)],
        },
        SetCommand::Rewind {
            queue,
            to: Time::from_seconds(1_600_000_000),
        },
        SetCommand::Publish {
            topic,
            publications: vec![Publication {
                message: clear_message(),
                matched: vec![SubscriptionId(1), SubscriptionId(2)],
                replaced: vec![(SubscriptionId(3), sealed_message())],
            }],
            token: None,
            decided_at: LogIndex(0),
        },
        SetCommand::Claim {
            topic,
            subscription: SubscriptionId(1),
            max: 1_000,
            span: Span::from_millis(1_500),
            term: Term(4),
        },
        SetCommand::Settle {
            topic,
            subscription: SubscriptionId(1),
            outcomes: vec![
                settled(1, SettledOutcome::Acknowledged),
                settled(2, SettledOutcome::Retry(Span::from_seconds(20))),
                settled(3, SettledOutcome::Dropped),
                settled(
                    4,
                    SettledOutcome::Enqueue {
                        target: queue,
                        cause: MoveCause::Delivered,
                    },
                ),
                settled(5, SettledOutcome::Released),
            ],
        },
        SetCommand::Deposit {
            target: queue,
            source: topic,
            parcels: vec![Parcel {
                number: 1,
                message: moved_message(),
            }],
        },
        SetCommand::Shipped {
            source: topic,
            target: queue,
            numbers: vec![1, 2, 300],
        },
        SetCommand::Tick,
        SetCommand::Lead { term: Term(5) },
        SetCommand::Observe {
            directory: LogIndex(18),
        },
        SetCommand::Cut,
        SetCommand::Rewrite {
            inputs: vec![LogIndex(10), LogIndex(20)],
        },
    ]
}

/// What came after that: messages are parked with the commands that bring them.
pub(crate) fn set_batch_4() -> Batch<SetCommand> {
    let submissions = set_commands_4()
        .into_iter()
        .map(|command| Submission { call: None, command });
    Batch {
        now: Time::from_millis(1_700_000_300_123),
        submissions: submissions.collect(),
    }
}

pub(crate) fn set_commands_4() -> Vec<SetCommand> {
    let (queue, topic) = (Incarnation(70_000), Incarnation(5));
    let MoveCause::ParkedBy(parking) = parked_by() else {
        unreachable!("it says how a plugin failed");
    };
    let message = |id| Message::plain(MessageId(id), Bytes::from_static(b"in clear"));
    let park = |uses, command, target| SetCommand::Park {
        uses,
        command: Decided::new(command).expect("plugins decide about it"),
        parks: vec![Park {
            place: 0,
            target: Incarnation(target),
            parking: parking.clone(),
        }],
    };
    let used = KvUse {
        store: KvId {
            place: Place::Incarnation(queue),
            world: World::Filter,
            tenant: TenantId(1),
        },
        reads: vec![("absent".to_owned(), KvVersion(0))],
        writes: Vec::new(),
    };
    vec![
        park(
            vec![used],
            SetCommand::Send {
                queue,
                delay: Span::ZERO,
                messages: vec![Incoming {
                    message: message(1 << 53),
                    keep: false,
                }],
                token: None,
                decided_at: LogIndex(21),
            },
            300,
        ),
        park(
            Vec::new(),
            SetCommand::Publish {
                topic,
                publications: vec![Publication {
                    message: message(1 << 54),
                    matched: vec![SubscriptionId(1)],
                    replaced: Vec::new(),
                }],
                token: None,
                decided_at: LogIndex(22),
            },
            300,
        ),
    ]
}

/// What the commands above leave behind, but for those that take away.
pub(crate) fn set() -> Set {
    let mut set = Set::new(SetId(3));
    let batch = set_batch();
    let lasting = batch.submissions.into_iter().filter(|submission| {
        !matches!(
            submission.command,
            SetCommand::Drop { .. } | SetCommand::Unsubscribe { .. } | SetCommand::AlterSubscription { .. }
        )
    });
    for (index, submission) in (1..).zip(lasting) {
        let now = batch.now + Span::from_seconds(index);
        set.apply(
            LogIndex(index),
            &Batch {
                now,
                submissions: vec![submission],
            },
        );
    }
    set
}

/// What came after the first entries: what plugins keep.
pub(crate) fn set_batch_2() -> Batch<SetCommand> {
    let submissions = set_commands_2()
        .into_iter()
        .map(|command| Submission { call: None, command });
    Batch {
        now: Time::from_millis(1_700_000_100_123),
        submissions: submissions.collect(),
    }
}

/// A history that leaves two kv stores behind, of three.
pub(crate) fn set_commands_2() -> Vec<SetCommand> {
    let (queue, topic) = (Incarnation(70_000), Incarnation(5));
    let at = |place, tenant| KvId {
        place,
        world: World::Filter,
        tenant: TenantId(tenant),
    };
    let put = |value, ttl| KvWrite::Put(Bytes::from_static(value), ttl);
    let day = Some(Span::from_seconds(86_400));
    let of_queue = KvUse {
        store: at(Place::Incarnation(queue), 1),
        reads: vec![("absent".to_owned(), KvVersion(0))],
        writes: vec![
            ("count".to_owned(), put(b"300", None)),
            ("seen".to_owned(), put(b"", day)),
            ("gone".to_owned(), KvWrite::Delete),
        ],
    };
    let of_all = |tenant| KvUse {
        store: at(Place::HttpEndpoints, tenant),
        reads: Vec::new(),
        writes: vec![("k".to_owned(), put(b"v", day))],
    };
    let decide = |uses, command| SetCommand::Decide {
        uses,
        command: Decided::new(command).expect("plugins decide about it"),
    };
    let message = |id| Message::plain(MessageId(id), Bytes::from_static(b"in clear"));
    vec![
        decide(
            vec![of_queue],
            SetCommand::Send {
                queue,
                delay: Span::from_seconds(1),
                messages: vec![Incoming {
                    message: message(1 << 51),
                    keep: true,
                }],
                token: Some(Token("kept".to_owned())),
                decided_at: LogIndex(18),
            },
        ),
        decide(
            vec![of_all(1), of_all(2)],
            SetCommand::Publish {
                topic,
                publications: vec![Publication {
                    message: message(1 << 52),
                    matched: vec![SubscriptionId(1)],
                    replaced: vec![(SubscriptionId(2), message(1 << 52))],
                }],
                token: None,
                decided_at: LogIndex(19),
            },
        ),
        decide(
            Vec::new(),
            SetCommand::Settle {
                topic,
                subscription: SubscriptionId(1),
                outcomes: vec![settled(9, SettledOutcome::Acknowledged)],
            },
        ),
        SetCommand::ForgetKv {
            place: Place::HttpEndpoints,
            world: World::Filter,
            tenant: Some(TenantId(2)),
            decided_at: LogIndex(20),
        },
    ]
}

/// What both histories leave behind, as states are since plugins keep something in them.
pub(crate) fn set_2() -> Set {
    let mut set = set();
    set.apply(LogIndex(100), &set_batch_2());
    set
}

pub(crate) fn set_outcomes_2() -> Vec<Result<SetReply, Refusal>> {
    vec![Err(Refusal::StaleRead), Err(Refusal::KvFull)]
}

/// What came after that: messages that were parked are taken in again.
pub(crate) fn set_batch_3() -> Batch<SetCommand> {
    let submissions = set_commands_3()
        .into_iter()
        .map(|command| Submission { call: None, command });
    Batch {
        now: Time::from_millis(1_700_000_200_123),
        submissions: submissions.collect(),
    }
}

pub(crate) fn set_commands_3() -> Vec<SetCommand> {
    let (queue, topic) = (Incarnation(70_000), Incarnation(5));
    let readmit = |target, sequence, content| SetCommand::Readmit {
        target,
        source: Incarnation(9),
        sequence: Sequence(sequence),
        gone_below: Sequence(3),
        content: Box::new(content),
        decided_at: LogIndex(0),
    };
    let incoming = Incoming {
        message: redriven_message(),
        keep: true,
    };
    let publication = Publication {
        message: redriven_message(),
        matched: vec![SubscriptionId(1)],
        replaced: vec![(SubscriptionId(2), redriven_message())],
    };
    vec![
        SetCommand::ReceiveThese {
            queue,
            sequences: vec![Sequence(4), Sequence(700)],
            visibility: Span::from_seconds(60),
        },
        readmit(queue, 4, Readmitted::Queue(incoming.clone())),
        readmit(topic, 700, Readmitted::Topic(publication)),
        SetCommand::Decide {
            uses: vec![KvUse {
                store: KvId {
                    place: Place::Incarnation(queue),
                    world: World::Filter,
                    tenant: TenantId(1),
                },
                reads: Vec::new(),
                writes: vec![("again".to_owned(), KvWrite::Delete)],
            }],
            command: Decided::new(readmit(queue, 701, Readmitted::Queue(incoming)))
                .expect("plugins decide about it"),
        },
    ]
}

/// What these commands leave behind after the others, as states are since there are readmissions in them.
pub(crate) fn set_3() -> Set {
    let mut set = set_2();
    let applied = set.apply(LogIndex(1_000), &set_batch_3());
    assert!(applied.outcomes.iter().all(Result::is_ok), "{applied:?}");
    set
}

/// What came after that: leases are given back counted, and last longer.
pub(crate) fn set_batch_5() -> Batch<SetCommand> {
    let submissions = set_commands_5()
        .into_iter()
        .map(|command| Submission { call: None, command });
    Batch {
        now: Time::from_millis(1_700_000_400_123),
        submissions: submissions.collect(),
    }
}

pub(crate) fn set_commands_5() -> Vec<SetCommand> {
    let queue = Incarnation(70_000);
    vec![
        SetCommand::Return {
            queue,
            handles: vec![ReceiptHandle(7), ReceiptHandle(1 << 40)],
            delay: Span::from_millis(1_500),
        },
        SetCommand::Extend {
            queue,
            handles: vec![ReceiptHandle(8)],
            visibility: Span::from_seconds(43_200),
        },
    ]
}

pub(crate) fn set_outcomes_4() -> Vec<Result<SetReply, Refusal>> {
    let results = vec![Ok(()), Err(Refusal::BadHandle(ReceiptHandle(8)))];
    vec![
        Ok(SetReply::Returned(results.clone())),
        Ok(SetReply::Extended(results)),
    ]
}

pub(crate) fn set_outcomes_3() -> Vec<Result<SetReply, Refusal>> {
    vec![Ok(SetReply::Readmitted { anew: true })]
}

pub(crate) fn set_outcomes() -> Vec<Result<SetReply, Refusal>> {
    let leased = Leased {
        body: BodyKey {
            stream: Incarnation(5),
            sequence: Sequence(6),
        },
        handle: ReceiptHandle(7),
        receive_count: 2,
        first_received: Time::from_seconds(1),
        visible_again: Time::from_seconds(31),
    };
    let at = Incarnation(5);
    vec![
        Ok(SetReply::Defined),
        Ok(SetReply::Dropped),
        Ok(SetReply::Subscribed(SubscriptionId(1))),
        Ok(SetReply::Altered),
        Ok(SetReply::Unsubscribed),
        Ok(SetReply::Sent(vec![MessageId(1 << 60)])),
        Ok(SetReply::Leased(vec![leased])),
        Ok(SetReply::Deleted(vec![
            Ok(()),
            Err(Refusal::BadHandle(ReceiptHandle(8))),
        ])),
        Ok(SetReply::Released),
        Ok(SetReply::Rewound),
        Ok(SetReply::Settled),
        Ok(SetReply::Deposited(vec![1, 2])),
        Ok(SetReply::Shipped),
        Ok(SetReply::Ticked { more: true }),
        Ok(SetReply::Noted),
        Err(Refusal::NoIncarnation(at)),
        Err(Refusal::WrongKind(at)),
        Err(Refusal::OutOfRange {
            attribute: "visibilityTimeout".to_owned(),
        }),
        Err(Refusal::RewindAboveRetention),
        Err(Refusal::BodyTooLarge {
            bytes: 70_000,
            limit: 65_536,
        }),
        Err(Refusal::Full { limit: 1_000_000 }),
        Err(Refusal::TooManyLeased { limit: 100_000 }),
        Err(Refusal::TooManyDelayed { limit: 20_000 }),
        Err(Refusal::BadHandle(ReceiptHandle(9))),
        Err(Refusal::NotRewindable),
        Err(Refusal::RewindOutOfRange),
        Err(Refusal::SubscriptionExists),
        Err(Refusal::NoSubscription),
        Err(Refusal::TooManySubscriptions { limit: 500 }),
        Err(Refusal::HasSubscriptions),
        Err(Refusal::EndpointFixed),
        Err(Refusal::DecidedTooEarly {
            decided_at: LogIndex(1),
            seen: LogIndex(2),
        }),
        Err(Refusal::StaleTerm),
        Err(Refusal::OutboxFull { limit: 100_000 }),
        Err(Refusal::SessionForgotten),
        Err(Refusal::Malformed("why".to_owned())),
    ]
}

pub(crate) fn directory_batch() -> Batch<DirectoryCommand> {
    batch_of(directory_commands())
}

/// What came after the first release of directory batches.
pub(crate) fn directory_batch_2() -> Batch<DirectoryCommand> {
    batch_of(directory_commands_2())
}

/// What came after that: nodes and replicas.
pub(crate) fn directory_batch_3() -> Batch<DirectoryCommand> {
    batch_of(directory_commands_3())
}

/// What came after that: replicas that stay.
pub(crate) fn directory_batch_4() -> Batch<DirectoryCommand> {
    batch_of(directory_commands_4())
}

/// What came after that: signing keys, and limits of tenants' plugins.
pub(crate) fn directory_batch_5() -> Batch<DirectoryCommand> {
    batch_of(directory_commands_5())
}

/// What came after that: what guards bindings.
pub(crate) fn directory_batch_6() -> Batch<DirectoryCommand> {
    batch_of(directory_commands_6())
}

/// What came after that: versions that are tried beside those in use.
pub(crate) fn directory_batch_7() -> Batch<DirectoryCommand> {
    batch_of(directory_commands_7())
}

fn batch_of(commands: Vec<DirectoryCommand>) -> Batch<DirectoryCommand> {
    let submissions = commands
        .into_iter()
        .map(|command| Submission { call: None, command })
        .collect();
    Batch {
        now: Time::from_millis(1_700_000_000_456),
        submissions,
    }
}

/// A history that leaves something of everything behind.
pub(crate) fn directory_commands_2() -> Vec<DirectoryCommand> {
    vec![DirectoryCommand::RemovePlugin {
        version: PluginVersion(3),
    }]
}

/// A history that leaves nodes of all states behind, and replicas.
pub(crate) fn directory_commands_3() -> Vec<DirectoryCommand> {
    let founder = |number: u16| Founder {
        node: NodeId(number),
        replica: ReplicaId(u64::from(number)),
        address: format!("127.0.0.{number}:7071"),
    };
    let admit = |number: u16| DirectoryCommand::Admit {
        node: NodeId(number),
        address: format!("[::1]:{number}"),
        disk: DiskId([number as u8; 16]),
    };
    vec![
        DirectoryCommand::Enroll {
            founders: vec![founder(1), founder(2), founder(3)],
        },
        admit(4),
        DirectoryCommand::Ready { node: NodeId(4) },
        admit(5),
        DirectoryCommand::Locate {
            node: NodeId(5),
            address: "elsewhere.example:9".to_owned(),
        },
        DirectoryCommand::Relocate {
            set: SetId(1),
            from: NodeId(1),
            to: NodeId(4),
        },
        DirectoryCommand::Renew {
            set: None,
            replica: ReplicaId(2),
        },
        DirectoryCommand::Discard {
            set: None,
            replica: ReplicaId(2),
        },
        DirectoryCommand::Renew {
            set: Some(SetId(0)),
            replica: ReplicaId(2),
        },
        admit(6),
        DirectoryCommand::Drain { node: NodeId(6) },
        DirectoryCommand::RemoveNode { node: NodeId(6) },
        admit(7),
        DirectoryCommand::Drain { node: NodeId(7) },
    ]
}

/// A history that leaves nothing behind: a replica that is not leaving stays.
pub(crate) fn directory_commands_4() -> Vec<DirectoryCommand> {
    vec![DirectoryCommand::Reinstate {
        set: Some(SetId(1)),
        replica: ReplicaId(3),
    }]
}

/// A history that leaves a signing key with two versions behind, one with one, and a tenant's limits.
pub(crate) fn directory_commands_5() -> Vec<DirectoryCommand> {
    let tenant = TenantId(1);
    let shared = SigningSecret {
        algorithm: SigningAlgorithm::HmacSha256,
        wrapped: Bytes::from_static(b"wrapped"),
        public: Bytes::new(),
    };
    let pair = SigningSecret {
        algorithm: SigningAlgorithm::Ed25519,
        wrapped: Bytes::from_static(b"wrapped too"),
        public: Bytes::from_static(b"public"),
    };
    let create = |text, secret: &SigningSecret| DirectoryCommand::CreateSigningKey {
        tenant,
        name: name(text),
        secret: secret.clone(),
    };
    let rotate = |text, secret: &SigningSecret| DirectoryCommand::RotateSigningKey {
        tenant,
        name: name(text),
        secret: secret.clone(),
    };
    let host = |text| HttpHost::parse(text).expect("examples use hosts");
    vec![
        create("both", &shared),
        rotate("both", &pair),
        create("one", &pair),
        rotate("one", &shared),
        DirectoryCommand::RetireSigningKey {
            tenant,
            name: name("one"),
        },
        create("gone", &shared),
        DirectoryCommand::RemoveSigningKey {
            tenant,
            name: name("gone"),
        },
        DirectoryCommand::SetGuestLimits {
            tenant,
            limits: GuestLimits {
                host_calls_per_second: 1_000,
                output_bytes_per_second: 1 << 33,
                http_requests_per_second: 0,
                http_hosts: Some(vec![host("*.example.com:8443"), host("192.0.2.7")]),
            },
        },
    ]
}

/// What guards bindings: one is bound with a breaker of its own, and taken out of use.
pub(crate) fn directory_commands_6() -> Vec<DirectoryCommand> {
    let place = Place::Tenant(TenantId(1));
    vec![
        DirectoryCommand::BindBreaking {
            place,
            version: PluginVersion(2),
            configuration: Bytes::from_static(b"guarded"),
            on_failure: FailurePolicy::Park,
            breaker: BreakerRecord {
                traps: Some(3),
                within: Some(Span::from_seconds(60)),
            },
        },
        DirectoryCommand::TakeOut {
            place,
            world: World::Filter,
            reason: "3 traps within 60 s".to_owned(),
        },
    ]
}

/// A history that leaves a trial behind that runs, and one of each end.
pub(crate) fn directory_commands_7() -> Vec<DirectoryCommand> {
    let topic = Incarnation(2);
    let subscription = |number| Place::Subscription(topic, SubscriptionId(number));
    let tenants = Place::Tenant(TenantId(1));
    let on_topic = Place::Incarnation(topic);
    let gate = Gate {
        calls_min: 1_000,
        errors_max: Some(Share(10)),
        differences_max: Some(Share(500)),
        call_micros_max: Some(2_000),
        promotes: true,
    };
    let begin = |place, version, share, gate| DirectoryCommand::BeginTrial {
        place,
        world: World::Filter,
        version: PluginVersion(version),
        share: Share(share),
        gate,
    };
    let end = |place, end| DirectoryCommand::EndTrial {
        place,
        world: World::Filter,
        began: LogIndex(12),
        end,
    };
    let push = DirectoryCommand::PushPlugin {
        tenant: Some(TenantId(1)),
        name: name("mine"),
        world: World::Filter,
        digest: [6; 32],
        bytes: 30_002,
    };
    vec![
        push,
        bind(tenants, 2, FailurePolicy::Reject),
        bind(subscription(10), 2, FailurePolicy::Reject),
        bind(subscription(11), 2, FailurePolicy::Reject),
        begin(on_topic, 4, 0, None),
        begin(tenants, 4, 10_000, Some(gate)),
        end(tenants, TrialEnd::Promoted),
        begin(subscription(9), 4, 300, Some(gate)),
        end(subscription(9), TrialEnd::FellBack("too many errors".to_owned())),
        begin(
            subscription(10),
            4,
            1,
            Some(Gate {
                errors_max: None,
                differences_max: None,
                call_micros_max: None,
                promotes: false,
                ..gate
            }),
        ),
        end(subscription(10), TrialEnd::Stopped),
        begin(subscription(11), 4, 0, Some(gate)),
        bind(subscription(11), 4, FailurePolicy::Reject),
    ]
}

pub(crate) fn directory_commands() -> Vec<DirectoryCommand> {
    let tenant = TenantId(1);
    let (queue, topic) = (Incarnation(1), Incarnation(2));
    let wrapped = || Bytes::from_static(b"wrapped");
    let id = || "AKIDdev".to_owned();
    let on_topic = Place::Incarnation(topic);
    vec![
        DirectoryCommand::Found {
            cluster: [1; 16],
            sets: 4,
            root_check: [2; 32],
        },
        DirectoryCommand::CreateTenant {
            name: name("dev"),
            quotas: Quotas::default(),
        },
        DirectoryCommand::CreateTenant {
            name: name("gone"),
            quotas: Quotas::default(),
        },
        DirectoryCommand::SetQuotas {
            tenant,
            quotas: Quotas {
                queues: 5,
                ..Quotas::default()
            },
        },
        DirectoryCommand::RemoveTenant { tenant: TenantId(2) },
        DirectoryCommand::AddAccessKey {
            tenant,
            id: id(),
            wrapped_secret: wrapped(),
            root: true,
        },
        DirectoryCommand::AddAccessKey {
            tenant,
            id: "AKIDgone".to_owned(),
            wrapped_secret: wrapped(),
            root: false,
        },
        DirectoryCommand::SetAccessKey {
            id: id(),
            status: AccessKeyStatus::Enabled,
        },
        DirectoryCommand::SetAccessKey {
            id: id(),
            status: AccessKeyStatus::Disabled,
        },
        DirectoryCommand::RemoveAccessKey {
            id: "AKIDgone".to_owned(),
        },
        DirectoryCommand::Create {
            tenant,
            name: name("orders"),
            definition: Definition::Queue(queue_attributes()),
        },
        DirectoryCommand::Create {
            tenant,
            name: name("events"),
            definition: Definition::Topic(TopicAttributes::default()),
        },
        DirectoryCommand::Confirm { incarnation: topic },
        DirectoryCommand::Remove { incarnation: topic },
        DirectoryCommand::Restore { incarnation: topic },
        DirectoryCommand::Create {
            tenant,
            name: name("gone"),
            definition: Definition::Topic(TopicAttributes::default()),
        },
        DirectoryCommand::Forget {
            incarnation: Incarnation(3),
        },
        DirectoryCommand::PushPlugin {
            tenant: None,
            name: name("topic-router"),
            world: World::Route,
            digest: [3; 32],
            bytes: 20_000,
        },
        DirectoryCommand::PushPlugin {
            tenant: Some(tenant),
            name: name("mine"),
            world: World::Filter,
            digest: [4; 32],
            bytes: 30_000,
        },
        DirectoryCommand::PushPlugin {
            tenant: Some(tenant),
            name: name("mine"),
            world: World::Filter,
            digest: [5; 32],
            bytes: 30_001,
        },
        bind(Place::Platform, 1, FailurePolicy::Fallback),
        bind(Place::Tenant(tenant), 2, FailurePolicy::Reject),
        bind(on_topic, 2, FailurePolicy::Park),
        bind(
            Place::Subscription(topic, SubscriptionId(9)),
            2,
            FailurePolicy::Reject,
        ),
        bind(Place::HttpEndpoints, 1, FailurePolicy::Reject),
        bind(Place::QueueEndpoints, 1, FailurePolicy::Reject),
        DirectoryCommand::Unbind {
            place: Place::Tenant(tenant),
            world: World::Filter,
        },
        DirectoryCommand::Activate {
            version: PluginVersion(3),
        },
        DirectoryCommand::RollBack {
            tenant: Some(tenant),
            name: name("mine"),
        },
        DirectoryCommand::Activate {
            version: PluginVersion(3),
        },
        DirectoryCommand::Quarantine {
            place: on_topic,
            world: World::Filter,
            reason: Some("it loops".to_owned()),
        },
        DirectoryCommand::PutMasterKey {
            tenant,
            name: name("key"),
            wrapped: wrapped(),
        },
        DirectoryCommand::PutMasterKey {
            tenant,
            name: name("key"),
            wrapped: wrapped(),
        },
        DirectoryCommand::PutMasterKey {
            tenant,
            name: name("other"),
            wrapped: wrapped(),
        },
        DirectoryCommand::PutMasterKey {
            tenant,
            name: name("gone"),
            wrapped: wrapped(),
        },
        set_master_key("other", MasterKeyState::Disabled),
        set_master_key("other", MasterKeyState::Enabled),
        set_master_key("gone", MasterKeyState::Destroyed),
        set_master_key("gone", MasterKeyState::DeletionAt(Time::from_seconds(1))),
        DirectoryCommand::Tick,
        set_master_key(
            "other",
            MasterKeyState::DeletionAt(Time::from_seconds(1_800_000_000)),
        ),
        DirectoryCommand::Seal {
            incarnation: queue,
            key: Some(name("key")),
        },
    ]
}

/// What the history above leaves behind.
pub(crate) fn directory() -> Directory {
    let mut directory = Directory::new();
    directory.apply(LogIndex(7), &directory_batch());
    let call = Some(SessionCall {
        origin: ReplicaId(1),
        session: 2,
        number: 3,
    });
    let submissions = vec![Submission {
        call,
        command: DirectoryCommand::Tick,
    }];
    directory.apply(
        LogIndex(8),
        &Batch {
            now: Time::from_millis(1_700_000_000_789),
            submissions,
        },
    );
    directory
}

/// What both histories leave behind, as states were since there are nodes in them: of one that moved it was not known
/// that it had.
pub(crate) fn directory_2() -> Directory {
    let mut commands = directory_commands_3();
    let moved = commands.iter().find_map(|command| match command {
        DirectoryCommand::Locate { node, address } => Some((*node, address.clone())),
        _ => None,
    });
    let (moved, elsewhere) = moved.expect("one moves");
    commands.retain(|command| !matches!(command, DirectoryCommand::Locate { .. }));
    for command in &mut commands {
        match command {
            DirectoryCommand::Admit { node, address, .. } if *node == moved => address.clone_from(&elsewhere),
            _ => {}
        }
    }
    let mut directory = directory();
    directory.apply(LogIndex(9), &batch_of(commands));
    directory
}

/// What both histories leave behind, as states are since nodes say where they are.
pub(crate) fn directory_3() -> Directory {
    let mut directory = directory();
    directory.apply(LogIndex(9), &directory_batch_3());
    directory
}

/// What all histories leave behind, as states are since there are signing keys in them.
pub(crate) fn directory_4() -> Directory {
    let mut directory = directory_3();
    directory.apply(LogIndex(10), &directory_batch_5());
    directory
}

/// What all histories leave behind, as states are since there are trials in them.
pub(crate) fn directory_6() -> Directory {
    let mut directory = directory_5();
    let outcomes = directory.apply(LogIndex(12), &directory_batch_7()).outcomes;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    directory
}

pub(crate) fn directory_outcomes_5() -> Vec<Result<DirectoryReply, DirectoryRefusal>> {
    vec![
        Err(DirectoryRefusal::NoTrial),
        Err(DirectoryRefusal::NotTried(World::Deliver)),
        Err(DirectoryRefusal::OtherPlugin),
        Err(DirectoryRefusal::VersionInUse),
    ]
}

pub(crate) fn directory_outcomes_4() -> Vec<Result<DirectoryReply, DirectoryRefusal>> {
    vec![
        Ok(DirectoryReply::SigningKey(2)),
        Err(DirectoryRefusal::NoSigningKey(name("hooks"))),
        Err(DirectoryRefusal::SigningKeyRotating(name("hooks"))),
        Err(DirectoryRefusal::SigningKeyNotRotating(name("hooks"))),
    ]
}

/// What these histories and that of guards leave behind, as states are since there are guards.
pub(crate) fn directory_5() -> Directory {
    let mut directory = directory_4();
    let applied = directory.apply(LogIndex(11), &directory_batch_6());
    assert!(applied.outcomes.iter().all(Result::is_ok), "{applied:?}");
    directory
}

pub(crate) fn directory_outcomes_3() -> Vec<Result<DirectoryReply, DirectoryRefusal>> {
    let replica = ReplicaRecord {
        replica: ReplicaId(65_536),
        node: NodeId(4),
        disk: DiskId([4; 16]),
        set: None,
        state: ReplicaState::Wanted,
    };
    let leaving = ReplicaRecord {
        set: Some(SetId(1)),
        state: ReplicaState::Leaving,
        ..replica
    };
    vec![
        Ok(DirectoryReply::Admitted(vec![replica, leaving])),
        Ok(DirectoryReply::Replica(ReplicaId(65_537))),
        Err(DirectoryRefusal::NodesKnown),
        Err(DirectoryRefusal::NoNode(NodeId(9))),
        Err(DirectoryRefusal::NodeNotActive(NodeId(9))),
        Err(DirectoryRefusal::NodeHasReplica(NodeId(9))),
        Err(DirectoryRefusal::NodeHoldsReplicas(NodeId(9))),
        Err(DirectoryRefusal::TooFewNodes),
        Err(DirectoryRefusal::NoReplica),
        Err(DirectoryRefusal::ReplicaWanted),
    ]
}

pub(crate) fn directory_outcomes_2() -> Vec<Result<DirectoryReply, DirectoryRefusal>> {
    vec![
        Err(DirectoryRefusal::PluginInUse),
        Err(DirectoryRefusal::PluginSeals),
    ]
}

pub(crate) fn directory_outcomes() -> Vec<Result<DirectoryReply, DirectoryRefusal>> {
    let record = |state| NameRecord {
        incarnation: Incarnation(9),
        tenant: TenantId(1),
        name: name("orders"),
        kind: Kind::Queue,
        set: SetId(3),
        state,
        sealed_under: Some(name("key")),
    };
    let creating = NameState::Creating(Box::new(Definition::Queue(queue_attributes())));
    vec![
        Ok(DirectoryReply::Done),
        Ok(DirectoryReply::Tenant(TenantId(1))),
        Ok(DirectoryReply::Created(record(creating))),
        Ok(DirectoryReply::Created(record(NameState::Ready))),
        Ok(DirectoryReply::Created(record(NameState::Removing))),
        Ok(DirectoryReply::Plugin(PluginVersion(1))),
        Ok(DirectoryReply::RolledBack(PluginVersion(2))),
        Ok(DirectoryReply::MasterKey(3)),
        Err(DirectoryRefusal::Founded),
        Err(DirectoryRefusal::NotFounded),
        Err(DirectoryRefusal::Exists(name("orders"))),
        Err(DirectoryRefusal::StillReleasing(name("orders"))),
        Err(DirectoryRefusal::Limit {
            what: "queues".to_owned(),
            limit: 1_000,
        }),
        Err(DirectoryRefusal::NoTenant),
        Err(DirectoryRefusal::TenantInUse),
        Err(DirectoryRefusal::NoAccessKey),
        Err(DirectoryRefusal::AccessKeyExists),
        Err(DirectoryRefusal::NoIncarnation(Incarnation(9))),
        Err(DirectoryRefusal::NoPlugin),
        Err(DirectoryRefusal::NotYours),
        Err(DirectoryRefusal::OtherWorld),
        Err(DirectoryRefusal::WrongPlace),
        Err(DirectoryRefusal::NotBound),
        Err(DirectoryRefusal::NoEarlierVersion),
        Err(DirectoryRefusal::NoMasterKey(name("key"))),
        Err(DirectoryRefusal::MasterKeyInUse),
        Err(DirectoryRefusal::Malformed("why".to_owned())),
    ]
}

pub(crate) fn happenings() -> Vec<Happening> {
    let told = |verdict, more| Told {
        version: PluginVersion(9),
        directory: LogIndex(77),
        verdict,
        more,
    };
    let attempts = [
        Attempt::Acknowledged,
        Attempt::Retry(Span::from_seconds(9)),
        Attempt::Dropped,
        Attempt::Enqueued(Incarnation(6)),
    ];
    let mut events = vec![
        Event::Entered {
            place: Incarnation(5),
            sequence: Some(Sequence(300)),
            from: Some(Departure {
                place: Incarnation(4),
                receive_count: 2,
                cause: MoveCause::Parked("trap".to_owned()),
            }),
            verdicts: vec![
                told(Verdict::Routed(vec![SubscriptionId(1), SubscriptionId(2)]), 3),
                told(Verdict::Passed(None), 0),
            ],
        },
        Event::Decided {
            place: Incarnation(5),
            told: told(Verdict::Failed("fault".to_owned()), 0),
        },
    ];
    events.extend(attempts.map(|outcome| Event::Attempted {
        topic: Incarnation(5),
        subscription: SubscriptionId(2),
        status: 503,
        outcome,
    }));
    let at = Time::from_millis(1_700_000_000_123);
    let happening = |event| Happening {
        tenant: TenantId(1),
        at,
        event,
    };
    events.into_iter().map(happening).collect()
}

/// What came after that: under which master key a body was sealed.
pub(crate) fn happenings_2() -> Vec<Happening> {
    vec![Happening {
        tenant: TenantId(1),
        at: Time::from_millis(1_700_000_000_456),
        event: Event::Decided {
            place: Incarnation(5),
            told: Told {
                version: PluginVersion(9),
                directory: LogIndex(77),
                verdict: sealed_under(),
                more: 0,
            },
        },
    }]
}

/// What is said of a body whose master key is known.
pub(crate) fn sealed_under() -> Verdict {
    Verdict::SealedUnder {
        key: name("key"),
        version: 3,
    }
}

/// What came after that: how a plugin failed on a message, and that it was sent on its way again.
pub(crate) fn happenings_3() -> Vec<Happening> {
    let entered = |cause| Happening {
        tenant: TenantId(1),
        at: Time::from_millis(1_700_000_000_456),
        event: Event::Entered {
            place: Incarnation(5),
            sequence: Some(Sequence(301)),
            from: Some(Departure {
                place: Incarnation(4),
                receive_count: 0,
                cause,
            }),
            verdicts: Vec::new(),
        },
    };
    [parked_by(), MoveCause::Redriven].map(entered).to_vec()
}

/// The cause of a message that was parked by a plugin of which everything is told.
pub(crate) fn parked_by() -> MoveCause {
    MoveCause::ParkedBy(Box::new(Parking {
        world: World::Deliver,
        version: PluginVersion(9),
        digest: Some([7; 32]),
        subscription: Some(SubscriptionId(2)),
        attempt: 3,
        trap: "the plugin trapped: unreachable".to_owned(),
        backtrace: "inner at 0x1\nouter at 0x2\n".to_owned(),
    }))
}

pub(crate) fn stored_messages_2() -> Vec<StoredMessage> {
    let produced = Time::from_millis(1_700_000_000_456);
    let mut parked = moved_message();
    if let Some(origin) = &mut parked.origin {
        origin.cause = parked_by();
    }
    [parked, redriven_message()]
        .map(|message| StoredMessage { message, produced })
        .to_vec()
}

fn redriven_message() -> Message {
    let mut message = moved_message();
    if let Some(origin) = &mut message.origin {
        origin.cause = MoveCause::Redriven;
    }
    message
}

pub(crate) fn stored_messages() -> Vec<StoredMessage> {
    let produced = Time::from_millis(1_700_000_000_123);
    [clear_message(), sealed_message(), moved_message()]
        .map(|message| StoredMessage { message, produced })
        .to_vec()
}

fn clear_message() -> Message {
    let decision = |verdict| Decision {
        version: PluginVersion(4),
        directory: LogIndex(17),
        verdict,
    };
    let one = SubscriptionId(1);
    Message {
        tags: vec!["red".to_owned(), "grün".to_owned()],
        routing_key: "a.b.c".to_owned(),
        attributes: BTreeMap::from([
            (
                "binary".to_owned(),
                Attribute::Binary(Bytes::from_static(b"\0\xff")),
            ),
            ("number".to_owned(), Attribute::Number("1.50".to_owned())),
            ("text".to_owned(), Attribute::Text("words".to_owned())),
        ]),
        decisions: vec![
            decision(Verdict::Routed(vec![one, SubscriptionId(2)])),
            decision(Verdict::Passed(None)),
            decision(Verdict::Dropped(Some(one))),
            decision(Verdict::Replaced(Some(one))),
            decision(Verdict::Sealed),
            decision(Verdict::Failed("out of memory".to_owned())),
        ],
        ..Message::plain(
            MessageId(7_130_316_800_000_000_001),
            Bytes::from_static(b"in clear"),
        )
    }
}

fn sealed_message() -> Message {
    let id = MessageId(7_130_316_800_000_000_002);
    Message {
        body: Body::Sealed(SealedBody {
            header: Bytes::from_static(b"header"),
            ciphertext: Bytes::from_static(b"ciphertext"),
            context: SealContext {
                tenant: TenantId(1),
                incarnation: Incarnation(5),
                message: id,
            },
            version: PluginVersion(6),
        }),
        ..Message::plain(id, Bytes::new())
    }
}

fn moved_message() -> Message {
    let id = MessageId(7_130_316_800_000_000_003);
    Message {
        origin: Some(Origin {
            incarnation: Incarnation(5),
            produced: Time::from_seconds(1_600_000_000),
            receive_count: 3,
            cause: MoveCause::Parked("trap".to_owned()),
        }),
        ..Message::plain(id, Bytes::from_static(b"moved"))
    }
}

fn queue_attributes() -> QueueAttributes {
    QueueAttributes {
        rewind: Span::from_seconds(3_600),
        dead_letter: Some(Box::new(DeadLetterPolicy {
            name: name("dead"),
            target: Incarnation(8),
            rule: DeadLetterRule::ReceiveCount { max: 5 },
        })),
        ..QueueAttributes::default()
    }
}

fn http_subscription() -> SubscriptionAttributes {
    SubscriptionAttributes {
        endpoint: Endpoint::Http("http://example.com/hook".to_owned()),
        retry: RetryStrategy::ExponentialDecay,
        format: ContentFormat::Simplified,
        filter_tags: vec![Tag::parse("red").expect("it is a tag")],
        binding_keys: Vec::new(),
    }
}

fn queue_subscription() -> SubscriptionAttributes {
    SubscriptionAttributes {
        endpoint: Endpoint::Queue(name("orders")),
        retry: RetryStrategy::Backoff,
        format: ContentFormat::Json,
        filter_tags: Vec::new(),
        binding_keys: vec![Key::parse("a.*.#").expect("it is a key")],
    }
}

fn settled(handle: u64, outcome: SettledOutcome) -> Settled {
    Settled {
        handle: ReceiptHandle(handle),
        message: MessageId(1 << 50),
        status: 200,
        outcome,
    }
}

fn bind(place: Place, version: u64, on_failure: FailurePolicy) -> DirectoryCommand {
    DirectoryCommand::Bind {
        place,
        version: PluginVersion(version),
        configuration: Bytes::from_static(b"{}"),
        on_failure,
    }
}

fn set_master_key(text: &str, state: MasterKeyState) -> DirectoryCommand {
    DirectoryCommand::SetMasterKey {
        tenant: TenantId(1),
        name: name(text),
        state,
    }
}

fn name(text: &str) -> Name {
    Name::parse(text).expect("examples use names")
}

/// Returns a command's place in the enum. A new one does not compile here until it has an example.
pub(crate) fn place_of_set_command(command: &SetCommand) -> usize {
    match command {
        SetCommand::Define { .. } => 0,
        SetCommand::Drop { .. } => 1,
        SetCommand::Subscribe { .. } => 2,
        SetCommand::AlterSubscription { .. } => 3,
        SetCommand::Unsubscribe { .. } => 4,
        SetCommand::Send { .. } => 5,
        SetCommand::Receive { .. } => 6,
        SetCommand::Delete { .. } => 7,
        SetCommand::Release { .. } => 8,
        SetCommand::Rewind { .. } => 9,
        SetCommand::Publish { .. } => 10,
        SetCommand::Claim { .. } => 11,
        SetCommand::Settle { .. } => 12,
        SetCommand::Deposit { .. } => 13,
        SetCommand::Shipped { .. } => 14,
        SetCommand::Tick => 15,
        SetCommand::Lead { .. } => 16,
        SetCommand::Observe { .. } => 17,
        SetCommand::Cut => 18,
        SetCommand::Rewrite { .. } => 19,
        SetCommand::Decide { .. } => 20,
        SetCommand::ForgetKv { .. } => 21,
        SetCommand::ReceiveThese { .. } => 22,
        SetCommand::Readmit { .. } => 23,
        SetCommand::Park { .. } => 24,
        SetCommand::Return { .. } => 25,
        SetCommand::Extend { .. } => 26,
    }
}

/// Returns a command's place in the enum. A new one does not compile here until it has an example.
pub(crate) fn place_of_directory_command(command: &DirectoryCommand) -> usize {
    match command {
        DirectoryCommand::Found { .. } => 0,
        DirectoryCommand::CreateTenant { .. } => 1,
        DirectoryCommand::SetQuotas { .. } => 2,
        DirectoryCommand::RemoveTenant { .. } => 3,
        DirectoryCommand::AddAccessKey { .. } => 4,
        DirectoryCommand::SetAccessKey { .. } => 5,
        DirectoryCommand::RemoveAccessKey { .. } => 6,
        DirectoryCommand::Create { .. } => 7,
        DirectoryCommand::Confirm { .. } => 8,
        DirectoryCommand::Remove { .. } => 9,
        DirectoryCommand::Restore { .. } => 10,
        DirectoryCommand::Forget { .. } => 11,
        DirectoryCommand::PushPlugin { .. } => 12,
        DirectoryCommand::Bind { .. } => 13,
        DirectoryCommand::Unbind { .. } => 14,
        DirectoryCommand::Activate { .. } => 15,
        DirectoryCommand::RollBack { .. } => 16,
        DirectoryCommand::Quarantine { .. } => 17,
        DirectoryCommand::PutMasterKey { .. } => 18,
        DirectoryCommand::SetMasterKey { .. } => 19,
        DirectoryCommand::Tick => 20,
        DirectoryCommand::Seal { .. } => 21,
        DirectoryCommand::RemovePlugin { .. } => 22,
        DirectoryCommand::Enroll { .. } => 23,
        DirectoryCommand::Admit { .. } => 24,
        DirectoryCommand::Ready { .. } => 25,
        DirectoryCommand::Locate { .. } => 26,
        DirectoryCommand::Relocate { .. } => 27,
        DirectoryCommand::Drain { .. } => 28,
        DirectoryCommand::RemoveNode { .. } => 29,
        DirectoryCommand::Renew { .. } => 30,
        DirectoryCommand::Discard { .. } => 31,
        DirectoryCommand::Reinstate { .. } => 32,
        DirectoryCommand::CreateSigningKey { .. } => 33,
        DirectoryCommand::RotateSigningKey { .. } => 34,
        DirectoryCommand::RetireSigningKey { .. } => 35,
        DirectoryCommand::RemoveSigningKey { .. } => 36,
        DirectoryCommand::SetGuestLimits { .. } => 37,
        DirectoryCommand::BindBreaking { .. } => 38,
        DirectoryCommand::TakeOut { .. } => 39,
        DirectoryCommand::BeginTrial { .. } => 40,
        DirectoryCommand::EndTrial { .. } => 41,
    }
}

#[test]
fn every_command_has_an_example() {
    let lists = [
        set_commands(),
        set_commands_2(),
        set_commands_3(),
        set_commands_4(),
        set_commands_5(),
    ];
    let set: Vec<usize> = lists.iter().flatten().map(place_of_set_command).collect();
    assert!((0..27).all(|place| set.contains(&place)));
    let lists = [
        directory_commands(),
        directory_commands_2(),
        directory_commands_3(),
        directory_commands_4(),
        directory_commands_5(),
        directory_commands_6(),
        directory_commands_7(),
    ];
    let directory: Vec<usize> = lists.iter().flatten().map(place_of_directory_command).collect();
    assert!((0..42).all(|place| directory.contains(&place)));
}
