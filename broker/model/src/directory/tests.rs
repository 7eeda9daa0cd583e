//! Each rule of the directory by example, and what always holds under any commands.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::{
    AccessKeyStatus, Definition, DiskId, FailurePolicy, Founder, HttpHost, MasterKeyState, NameState,
    NodeState, QueueAttributes, Quotas, ReplicaState, SessionCall, SigningAlgorithm, SigningSecret, Span,
    Submission, SubscriptionId, TopicAttributes,
};

mod changes;
mod nodes;
mod signing;
mod trials;

/// A directory, and the index of its next entry.
struct Log {
    directory: Directory,
    entries: u64,
}

impl Log {
    fn empty() -> Log {
        Log {
            directory: Directory::new(),
            entries: 0,
        }
    }

    /// A cluster of three sets with two tenants, 1 and 2.
    fn founded() -> Log {
        let mut log = Log::empty();
        assert_eq!(log.apply(found(3)), Ok(DirectoryReply::Done));
        for (name, tenant) in [("one", 1), ("two", 2)] {
            let reply = log.apply(create_tenant(name));
            assert_eq!(reply, Ok(DirectoryReply::Tenant(TenantId(tenant))));
        }
        log
    }

    fn apply(&mut self, command: DirectoryCommand) -> Result<DirectoryReply, DirectoryRefusal> {
        self.apply_at(Time::default(), command)
    }

    fn apply_at(&mut self, now: Time, command: DirectoryCommand) -> Result<DirectoryReply, DirectoryRefusal> {
        self.entries += 1;
        let submissions = vec![Submission { call: None, command }];
        let batch = Batch { now, submissions };
        let mut applied = self.directory.apply(LogIndex(self.entries), &batch);
        applied.outcomes.pop().expect("each submission is answered")
    }

    fn done(&mut self, command: DirectoryCommand) {
        assert_eq!(self.apply(command), Ok(DirectoryReply::Done));
    }

    fn create(&mut self, tenant: u32, definition: Definition, text: &str) -> NameRecord {
        let command = DirectoryCommand::Create {
            tenant: TenantId(tenant),
            name: name(text),
            definition,
        };
        match self.apply(command) {
            Ok(DirectoryReply::Created(record)) => record,
            other => panic!("{text} was not created: {other:?}"),
        }
    }

    /// A queue or topic that is in use.
    fn ready(&mut self, tenant: u32, definition: Definition, text: &str) -> Incarnation {
        let incarnation = self.create(tenant, definition, text).incarnation;
        self.done(DirectoryCommand::Confirm { incarnation });
        incarnation
    }

    fn push(&mut self, tenant: Option<u32>, text: &str, world: World, digest: u8) -> PluginVersion {
        match self.apply(push(tenant, text, world, digest)) {
            Ok(DirectoryReply::Plugin(version)) => version,
            other => panic!("{text} was not pushed: {other:?}"),
        }
    }

    fn in_use(&self, place: Place, world: World) -> Option<PluginVersion> {
        self.directory
            .binding(place, world)
            .map(|binding| binding.version)
    }
}

fn name(text: &str) -> Name {
    Name::parse(text).expect("tests use names")
}

fn found(sets: u8) -> DirectoryCommand {
    DirectoryCommand::Found {
        cluster: [7; 16],
        sets,
        root_check: [9; 32],
    }
}

fn create_tenant(text: &str) -> DirectoryCommand {
    DirectoryCommand::CreateTenant {
        name: name(text),
        quotas: Quotas::default(),
    }
}

fn queue() -> Definition {
    Definition::Queue(QueueAttributes::default())
}

fn topic() -> Definition {
    Definition::Topic(TopicAttributes::default())
}

fn create(tenant: u32, definition: Definition, text: &str) -> DirectoryCommand {
    DirectoryCommand::Create {
        tenant: TenantId(tenant),
        name: name(text),
        definition,
    }
}

fn add_access_key(tenant: u32, id: &str) -> DirectoryCommand {
    DirectoryCommand::AddAccessKey {
        tenant: TenantId(tenant),
        id: id.to_owned(),
        wrapped_secret: Bytes::from_static(b"wrapped"),
        root: false,
    }
}

fn push(tenant: Option<u32>, text: &str, world: World, digest: u8) -> DirectoryCommand {
    DirectoryCommand::PushPlugin {
        tenant: tenant.map(TenantId),
        name: name(text),
        world,
        digest: [digest; 32],
        bytes: 1_000,
    }
}

fn bind(place: Place, version: PluginVersion) -> DirectoryCommand {
    bind_with(place, version, b"", FailurePolicy::Reject)
}

fn bind_with(
    place: Place,
    version: PluginVersion,
    configuration: &[u8],
    on_failure: FailurePolicy,
) -> DirectoryCommand {
    let configuration = Bytes::copy_from_slice(configuration);
    DirectoryCommand::Bind {
        place,
        version,
        configuration,
        on_failure,
    }
}

fn put_master_key(tenant: u32, text: &str) -> DirectoryCommand {
    DirectoryCommand::PutMasterKey {
        tenant: TenantId(tenant),
        name: name(text),
        wrapped: Bytes::from_static(b"wrapped"),
    }
}

fn set_master_key(tenant: u32, text: &str, state: MasterKeyState) -> DirectoryCommand {
    DirectoryCommand::SetMasterKey {
        tenant: TenantId(tenant),
        name: name(text),
        state,
    }
}

fn limit_of(outcome: Result<DirectoryReply, DirectoryRefusal>) -> Option<u64> {
    match outcome {
        Err(DirectoryRefusal::Limit { limit, .. }) => Some(limit),
        _ => None,
    }
}

fn is_malformed(outcome: &Result<DirectoryReply, DirectoryRefusal>) -> bool {
    matches!(outcome, Err(DirectoryRefusal::Malformed(_)))
}

// Founding and tenants.

#[test]
fn a_cluster_is_founded_once_and_before_anything_else() {
    let mut log = Log::empty();
    assert_eq!(log.apply(create_tenant("one")), Err(DirectoryRefusal::NotFounded));
    assert!(is_malformed(&log.apply(found(0))));
    assert!(is_malformed(&log.apply(found(SETS_MAX + 1))));
    assert_eq!(log.directory.founded(), None);
    log.done(found(SETS_MAX));
    assert_eq!(log.apply(found(1)), Err(DirectoryRefusal::Founded));
    assert_eq!(
        log.directory.founded().map(|founding| founding.sets),
        Some(SETS_MAX)
    );
}

#[test]
fn tenants_are_numbered_from_one_and_numbers_do_not_come_back() {
    let mut log = Log::founded();
    log.done(DirectoryCommand::RemoveTenant { tenant: TenantId(2) });
    assert_eq!(
        log.apply(create_tenant("two")),
        Ok(DirectoryReply::Tenant(TenantId(3)))
    );
    assert_eq!(log.directory.tenant(TenantId(2)), None);
    assert_eq!(log.directory.tenants().count(), 2);
}

#[test]
fn a_tenant_s_name_is_unique_whatever_its_case() {
    let mut log = Log::founded();
    assert_eq!(
        log.apply(create_tenant("ONE")),
        Err(DirectoryRefusal::Exists(name("ONE")))
    );
    let found = log.directory.tenant_named(&name("One"));
    assert_eq!(found.map(|record| record.tenant), Some(TenantId(1)));
}

#[test]
fn a_tenant_with_a_name_left_stays_and_one_without_takes_all_with_it() {
    let mut log = Log::founded();
    let remove = DirectoryCommand::RemoveTenant { tenant: TenantId(1) };
    let incarnation = log.ready(1, queue(), "q");
    assert_eq!(log.apply(remove.clone()), Err(DirectoryRefusal::TenantInUse));
    log.done(DirectoryCommand::Remove { incarnation });
    assert_eq!(log.apply(remove.clone()), Err(DirectoryRefusal::TenantInUse));
    log.done(DirectoryCommand::Forget { incarnation });
    log.done(add_access_key(1, "AKID1"));
    log.done(add_access_key(2, "AKID2"));
    let version = log.push(Some(1), "mine", World::Route, 1);
    log.done(bind(Place::Tenant(TenantId(1)), version));
    assert_eq!(
        log.apply(put_master_key(1, "key")),
        Ok(DirectoryReply::MasterKey(1))
    );
    log.done(set_master_key(
        1,
        "key",
        MasterKeyState::DeletionAt(Time::from_seconds(1)),
    ));

    log.done(remove.clone());
    assert_eq!(log.directory.access_key("AKID1"), None);
    assert!(log.directory.access_key("AKID2").is_some());
    assert_eq!(log.directory.plugin(version), None);
    assert_eq!(log.directory.bindings().count(), 0);
    assert_eq!(log.directory.master_keys(TenantId(1)).count(), 0);
    assert_eq!(log.directory.deadline(), None);
    assert_eq!(log.apply(remove), Err(DirectoryRefusal::NoTenant));
}

#[test]
fn access_keys_are_unique_in_the_cluster_and_their_ids_are_printable() {
    let mut log = Log::founded();
    log.done(add_access_key(1, "AKID"));
    assert_eq!(
        log.apply(add_access_key(2, "AKID")),
        Err(DirectoryRefusal::AccessKeyExists)
    );
    assert_eq!(
        log.apply(add_access_key(9, "AKID9")),
        Err(DirectoryRefusal::NoTenant)
    );
    let too_long = "a".repeat(ACCESS_KEY_CHARS_MAX + 1);
    for id in ["", "with space", "nul\0", "é", &too_long] {
        assert!(is_malformed(&log.apply(add_access_key(1, id))), "{id:?}");
    }
    log.done(add_access_key(1, &"a".repeat(ACCESS_KEY_CHARS_MAX)));
    assert_eq!(log.directory.access_keys(TenantId(1)).count(), 2);
    assert_eq!(log.directory.access_keys(TenantId(2)).count(), 0);
}

#[test]
fn an_access_key_is_disabled_enabled_and_removed() {
    let mut log = Log::founded();
    log.done(add_access_key(1, "AKID"));
    let set = |status| DirectoryCommand::SetAccessKey {
        id: "AKID".to_owned(),
        status,
    };
    let remove = DirectoryCommand::RemoveAccessKey {
        id: "AKID".to_owned(),
    };
    log.done(set(AccessKeyStatus::Disabled));
    let status = log.directory.access_key("AKID").map(|key| key.status);
    assert_eq!(status, Some(AccessKeyStatus::Disabled));
    log.done(remove.clone());
    assert_eq!(
        log.apply(set(AccessKeyStatus::Enabled)),
        Err(DirectoryRefusal::NoAccessKey)
    );
    assert_eq!(log.apply(remove), Err(DirectoryRefusal::NoAccessKey));
    assert_eq!(log.directory.access_keys(TenantId(1)).count(), 0);
}

#[test]
fn a_tenant_has_a_bounded_number_of_access_keys() {
    let mut log = Log::founded();
    for number in 0..ACCESS_KEYS_MAX {
        log.done(add_access_key(1, &format!("AKID{number}")));
    }
    assert_eq!(
        limit_of(log.apply(add_access_key(1, "more"))),
        Some(ACCESS_KEYS_MAX as u64)
    );
    log.done(add_access_key(2, "more"));
}

#[test]
fn a_wrapped_secret_has_bounds() {
    let mut log = Log::founded();
    let add = |wrapped_secret: Vec<u8>| DirectoryCommand::AddAccessKey {
        tenant: TenantId(1),
        id: "AKID".to_owned(),
        wrapped_secret: Bytes::from(wrapped_secret),
        root: true,
    };
    assert!(is_malformed(&log.apply(add(Vec::new()))));
    let over = log.apply(add(vec![0; WRAPPED_BYTES_MAX + 1]));
    assert_eq!(limit_of(over), Some(WRAPPED_BYTES_MAX as u64));
    log.done(add(vec![0; WRAPPED_BYTES_MAX]));
}

// Names.

#[test]
fn names_of_a_kind_are_unique_whatever_their_case_and_kinds_do_not_collide() {
    let mut log = Log::founded();
    let made = log.ready(1, queue(), "Orders");
    let exists = Err(DirectoryRefusal::Exists(name("orders")));
    assert_eq!(log.apply(create(1, queue(), "orders")), exists);
    let of_topic = log.ready(1, topic(), "orders");
    let of_other = log.ready(2, queue(), "orders");
    let resolve = |tenant, kind| {
        let record = log.directory.name(TenantId(tenant), kind, &name("ORDERS"));
        record.map(|record| record.incarnation)
    };
    assert_eq!(resolve(1, Kind::Queue), Some(made));
    assert_eq!(resolve(1, Kind::Topic), Some(of_topic));
    assert_eq!(resolve(2, Kind::Queue), Some(of_other));
    assert_eq!(resolve(2, Kind::Topic), None);
}

#[test]
fn incarnations_count_over_both_kinds_and_do_not_come_back() {
    let mut log = Log::founded();
    let first = log.ready(1, queue(), "a");
    let second = log.ready(2, topic(), "a");
    log.done(DirectoryCommand::Remove { incarnation: second });
    log.done(DirectoryCommand::Forget { incarnation: second });
    let third = log.ready(2, topic(), "a");
    assert_eq!(
        (first, second, third),
        (Incarnation(1), Incarnation(2), Incarnation(3))
    );
}

#[test]
fn a_new_name_goes_to_the_least_loaded_set() {
    let mut log = Log::founded();
    let sets: Vec<u8> = (0..4)
        .map(|number| log.create(1, queue(), &format!("q{number}")).set.0)
        .collect();
    assert_eq!(sets, [0, 1, 2, 0]);
    let second = Incarnation(2);
    log.done(DirectoryCommand::Remove { incarnation: second });
    log.done(DirectoryCommand::Forget { incarnation: second });
    assert_eq!(log.create(2, topic(), "t").set, SetId(1));
}

#[test]
fn a_create_is_repeated_only_while_it_is_not_confirmed() {
    let mut log = Log::founded();
    let record = log.create(1, queue(), "q");
    assert_eq!(record.state, NameState::Creating(Box::new(queue())));
    assert_eq!(log.create(1, queue(), "q"), record);
    let exists = |text| Err(DirectoryRefusal::Exists(name(text)));
    assert_eq!(log.apply(create(1, queue(), "Q")), exists("Q"));
    let other = Definition::Queue(QueueAttributes {
        rewind: crate::Span::from_seconds(60),
        ..Default::default()
    });
    assert_eq!(log.apply(create(1, other, "q")), exists("q"));
    assert_eq!(log.directory.unfinished().count(), 1);
    log.done(DirectoryCommand::Confirm {
        incarnation: record.incarnation,
    });
    log.done(DirectoryCommand::Confirm {
        incarnation: record.incarnation,
    });
    assert_eq!(log.apply(create(1, queue(), "q")), exists("q"));
    assert_eq!(log.directory.unfinished().count(), 0);
}

#[test]
fn a_name_is_not_free_before_its_set_has_let_go_of_it() {
    let mut log = Log::founded();
    let incarnation = log.ready(1, queue(), "q");
    log.done(DirectoryCommand::Remove { incarnation });
    log.done(DirectoryCommand::Remove { incarnation });
    assert_eq!(log.directory.unfinished().count(), 1);
    let releasing = Err(DirectoryRefusal::StillReleasing(name("q")));
    assert_eq!(log.apply(create(1, queue(), "q")), releasing);
    let confirm = log.apply(DirectoryCommand::Confirm { incarnation });
    assert_eq!(confirm, Err(DirectoryRefusal::NoIncarnation(incarnation)));
    log.done(DirectoryCommand::Forget { incarnation });
    log.done(DirectoryCommand::Forget { incarnation });
    assert_eq!(log.directory.unfinished().count(), 0);
    assert_ne!(log.create(1, queue(), "q").incarnation, incarnation);
}

#[test]
fn a_removal_that_the_set_refused_is_undone() {
    let mut log = Log::founded();
    let incarnation = log.ready(1, topic(), "t");
    log.done(DirectoryCommand::Remove { incarnation });
    log.done(DirectoryCommand::Restore { incarnation });
    let state = |log: &Log| {
        log.directory
            .record(incarnation)
            .map(|record| record.state.clone())
    };
    assert_eq!(state(&log), Some(NameState::Ready));
    assert_eq!(log.directory.unfinished().count(), 0);
    log.done(DirectoryCommand::Restore { incarnation });
    assert_eq!(state(&log), Some(NameState::Ready));
}

#[test]
fn a_definition_that_the_set_refused_is_given_up_and_a_name_in_use_is_not() {
    let mut log = Log::founded();
    let incarnation = log.create(1, queue(), "q").incarnation;
    log.done(DirectoryCommand::Forget { incarnation });
    assert_eq!(log.directory.name(TenantId(1), Kind::Queue, &name("q")), None);
    let incarnation = log.ready(1, queue(), "q");
    assert!(is_malformed(&log.apply(DirectoryCommand::Forget { incarnation })));
}

#[test]
fn what_was_never_made_is_no_incarnation() {
    let mut log = Log::founded();
    let incarnation = Incarnation(1);
    for command in [
        DirectoryCommand::Confirm { incarnation },
        DirectoryCommand::Remove { incarnation },
        DirectoryCommand::Restore { incarnation },
        DirectoryCommand::Forget { incarnation },
        DirectoryCommand::Seal {
            incarnation,
            key: None,
        },
    ] {
        assert_eq!(
            log.apply(command),
            Err(DirectoryRefusal::NoIncarnation(incarnation))
        );
    }
}

#[test]
fn quotas_bound_queues_topics_and_plugins_each_for_itself() {
    let mut log = Log::founded();
    let quotas = Quotas {
        queues: 2,
        topics: 1,
        plugins: 1,
        ..Quotas::default()
    };
    log.done(DirectoryCommand::SetQuotas {
        tenant: TenantId(1),
        quotas,
    });
    let first = log.ready(1, queue(), "a");
    log.ready(1, queue(), "b");
    log.ready(1, topic(), "a");
    assert_eq!(limit_of(log.apply(create(1, queue(), "c"))), Some(2));
    assert_eq!(limit_of(log.apply(create(1, topic(), "c"))), Some(1));
    log.ready(2, queue(), "c");
    log.done(DirectoryCommand::Remove { incarnation: first });
    assert_eq!(
        limit_of(log.apply(create(1, queue(), "c"))),
        Some(2),
        "not yet let go of"
    );
    log.done(DirectoryCommand::Forget { incarnation: first });
    log.ready(1, queue(), "c");

    log.push(Some(1), "p", World::Route, 1);
    assert_eq!(limit_of(log.apply(push(Some(1), "p", World::Route, 2))), Some(1));
    log.push(Some(1), "p", World::Route, 1);
    let nobody = DirectoryCommand::SetQuotas {
        tenant: TenantId(9),
        quotas,
    };
    assert_eq!(log.apply(nobody), Err(DirectoryRefusal::NoTenant));
}

#[test]
fn names_are_listed_in_order_and_by_tenant_and_kind() {
    let mut log = Log::founded();
    for text in ["b", "C", "a"] {
        log.ready(1, queue(), text);
    }
    log.ready(1, topic(), "d");
    log.ready(2, queue(), "e");
    let names = log.directory.names(TenantId(1), Kind::Queue);
    let names: Vec<&str> = names.map(|record| record.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "C"]);
}

// Plugins and bindings.

#[test]
fn the_same_component_has_the_same_version_and_another_world_is_refused() {
    let mut log = Log::founded();
    let first = log.push(Some(1), "router", World::Route, 1);
    let second = log.push(Some(1), "Router", World::Route, 2);
    assert_eq!(log.push(Some(1), "router", World::Route, 1), first);
    assert!(second > first);
    let other_world = log.apply(push(Some(1), "router", World::Seal, 3));
    assert_eq!(other_world, Err(DirectoryRefusal::OtherWorld));
    assert_ne!(log.push(Some(2), "router", World::Seal, 1), first);
    assert_ne!(log.push(None, "router", World::Filter, 1), first);
    assert_eq!(
        log.apply(push(Some(9), "x", World::Route, 1)),
        Err(DirectoryRefusal::NoTenant)
    );
    assert_eq!(log.directory.plugins(Some(TenantId(1))).count(), 2);
    assert_eq!(log.directory.plugins(None).count(), 1);
}

#[test]
fn a_world_is_bound_only_where_it_decides() {
    let mut log = Log::founded();
    let queue = log.ready(1, queue(), "q");
    let topic = log.ready(1, topic(), "t");
    let places = [
        Place::Platform,
        Place::Tenant(TenantId(1)),
        Place::Incarnation(queue),
        Place::Incarnation(topic),
        Place::Subscription(queue, SubscriptionId(1)),
        Place::Subscription(topic, SubscriptionId(1)),
        Place::HttpEndpoints,
        Place::QueueEndpoints,
    ];
    let rule = [
        (
            World::Route,
            [true, true, false, true, false, false, false, false],
        ),
        (
            World::Filter,
            [false, true, true, true, false, true, false, false],
        ),
        (
            World::Deliver,
            [false, true, false, true, false, true, true, true],
        ),
        (World::Seal, [true, true, true, true, false, false, false, false]),
    ];
    for (number, (world, allowed)) in (1..).zip(rule) {
        let version = log.push(None, &format!("p{number}"), world, number);
        for (place, allowed) in places.into_iter().zip(allowed) {
            let expected = if allowed {
                Ok(DirectoryReply::Done)
            } else {
                Err(DirectoryRefusal::WrongPlace)
            };
            assert_eq!(
                log.apply(bind(place, version)),
                expected,
                "{world:?} at {place:?}"
            );
        }
    }
}

#[test]
fn a_tenant_s_plugin_is_bound_at_its_own_places_only() {
    let mut log = Log::founded();
    let mine = log.ready(1, topic(), "t");
    let theirs = log.ready(2, topic(), "t");
    let version = log.push(Some(1), "p", World::Filter, 1);
    log.done(bind(Place::Tenant(TenantId(1)), version));
    log.done(bind(Place::Incarnation(mine), version));
    log.done(bind(Place::Subscription(mine, SubscriptionId(1)), version));
    let route = log.push(Some(1), "r", World::Route, 1);
    for (place, version) in [
        (Place::Tenant(TenantId(2)), version),
        (Place::Incarnation(theirs), version),
        (Place::Subscription(theirs, SubscriptionId(1)), version),
        (Place::Platform, route),
    ] {
        assert_eq!(log.apply(bind(place, version)), Err(DirectoryRefusal::NotYours));
    }
}

#[test]
fn a_binding_needs_its_place_and_its_plugin() {
    let mut log = Log::founded();
    let version = log.push(None, "p", World::Seal, 1);
    let no_plugin = log.apply(bind(Place::Platform, PluginVersion(99)));
    assert_eq!(no_plugin, Err(DirectoryRefusal::NoPlugin));
    let no_tenant = log.apply(bind(Place::Tenant(TenantId(9)), version));
    assert_eq!(no_tenant, Err(DirectoryRefusal::NoTenant));
    let incarnation = log.ready(1, queue(), "q");
    log.done(DirectoryCommand::Remove { incarnation });
    let removing = log.apply(bind(Place::Incarnation(incarnation), version));
    assert_eq!(removing, Err(DirectoryRefusal::NoIncarnation(incarnation)));
}

#[test]
fn a_version_is_removed_when_nothing_is_bound_to_it() {
    let mut log = Log::founded();
    let topic = log.ready(1, topic(), "t");
    let place = Place::Incarnation(topic);
    let one = log.push(Some(1), "p", World::Route, 1);
    let two = log.push(Some(1), "p", World::Route, 2);
    let remove = |version| DirectoryCommand::RemovePlugin { version };
    log.done(bind(place, one));
    assert_eq!(log.apply(remove(one)), Err(DirectoryRefusal::PluginInUse));
    log.done(DirectoryCommand::Activate { version: two });
    log.done(remove(one));
    assert_eq!(log.apply(remove(one)), Err(DirectoryRefusal::NoPlugin));
    assert_eq!(log.directory.plugin(one), None);
    assert_eq!(log.in_use(place, World::Route), Some(two));
    let roll_back = DirectoryCommand::RollBack {
        tenant: Some(TenantId(1)),
        name: name("p"),
    };
    assert_eq!(log.apply(roll_back), Err(DirectoryRefusal::NoEarlierVersion));
    // The same component gets a number of its own again, and a name without versions may be of another world.
    let again = log.push(Some(1), "p", World::Route, 1);
    assert!(again > two, "{again} is an old number");
    log.done(remove(again));
    log.done(DirectoryCommand::Unbind {
        place,
        world: World::Route,
    });
    log.done(remove(two));
    log.push(Some(1), "p", World::Filter, 3);
}

#[test]
fn a_removed_version_counts_no_longer() {
    let mut log = Log::founded();
    let quotas = Quotas {
        plugins: 1,
        ..Quotas::default()
    };
    log.done(DirectoryCommand::SetQuotas {
        tenant: TenantId(1),
        quotas,
    });
    let one = log.push(Some(1), "p", World::Route, 1);
    assert_eq!(limit_of(log.apply(push(Some(1), "p", World::Route, 2))), Some(1));
    log.done(DirectoryCommand::RemovePlugin { version: one });
    log.push(Some(1), "p", World::Route, 2);
}

#[test]
fn a_plugin_that_seals_is_kept_because_what_it_sealed_is() {
    let mut log = Log::founded();
    let version = log.push(None, "s", World::Seal, 1);
    let remove = DirectoryCommand::RemovePlugin { version };
    assert_eq!(log.apply(remove), Err(DirectoryRefusal::PluginSeals));
    assert!(log.directory.plugin(version).is_some());
}

#[test]
fn a_seal_binding_never_parks() {
    let mut log = Log::founded();
    let seal = log.push(None, "s", World::Seal, 1);
    let route = log.push(None, "r", World::Route, 1);
    let parking = |version| bind_with(Place::Platform, version, b"", FailurePolicy::Park);
    assert!(is_malformed(&log.apply(parking(seal))));
    log.done(parking(route));
}

#[test]
fn configurations_are_bounded_each_and_together() {
    let mut log = Log::founded();
    let topic = log.ready(1, topic(), "t");
    let version = log.push(None, "p", World::Filter, 1);
    let full = vec![0; CONFIGURATION_BYTES_MAX];
    let over = vec![0; CONFIGURATION_BYTES_MAX + 1];
    let at = |number| Place::Subscription(topic, SubscriptionId(number));
    let bind_at = |number, bytes: &[u8]| bind_with(at(number), version, bytes, FailurePolicy::Reject);
    assert_eq!(
        limit_of(log.apply(bind_at(0, &over))),
        Some(CONFIGURATION_BYTES_MAX as u64)
    );
    let fitting = CONFIGURATIONS_BYTES_MAX / CONFIGURATION_BYTES_MAX as u64;
    for number in 0..fitting {
        log.done(bind_at(number, &full));
    }
    assert_eq!(
        limit_of(log.apply(bind_at(fitting, b"x"))),
        Some(CONFIGURATIONS_BYTES_MAX)
    );
    log.done(bind_at(0, b"shorter than before"));
    log.done(bind_at(fitting, b"x"));
    log.done(DirectoryCommand::Unbind {
        place: at(1),
        world: World::Filter,
    });
    log.done(bind_at(fitting, b"longer"));
}

#[test]
fn a_topic_has_a_bounded_number_of_bindings_to_subscriptions() {
    let mut log = Log::founded();
    let topic = log.ready(1, topic(), "t");
    let version = log.push(None, "p", World::Deliver, 1);
    let at = |number| Place::Subscription(topic, SubscriptionId(number));
    for number in 0..SUBSCRIPTION_BINDINGS_MAX as u64 {
        log.done(bind(at(number), version));
    }
    let over = log.apply(bind(at(u64::MAX), version));
    assert_eq!(limit_of(over), Some(SUBSCRIPTION_BINDINGS_MAX as u64));
    log.done(bind(at(0), version));
    log.done(DirectoryCommand::Unbind {
        place: at(0),
        world: World::Deliver,
    });
    log.done(bind(at(u64::MAX), version));
}

#[test]
fn the_nearest_binding_wins_and_one_out_of_use_still_does() {
    let mut log = Log::founded();
    let incarnation = log.ready(1, topic(), "t");
    let platform = log.push(None, "builtin", World::Route, 1);
    let mine = log.push(Some(1), "mine", World::Route, 2);
    log.done(bind(Place::Platform, platform));
    let near = Place::Incarnation(incarnation);
    let places = [near, Place::Tenant(TenantId(1)), Place::Platform];
    let resolved = |log: &Log| {
        let binding = log.directory.resolve_binding(&places, World::Route);
        binding.map(|binding| binding.version)
    };
    assert_eq!(resolved(&log), Some(platform));
    log.done(bind(near, mine));
    assert_eq!(resolved(&log), Some(mine));
    let reason = Some("it loops".to_owned());
    log.done(DirectoryCommand::Quarantine {
        place: near,
        world: World::Route,
        reason,
    });
    assert_eq!(resolved(&log), Some(mine));
    log.done(DirectoryCommand::Unbind {
        place: near,
        world: World::Route,
    });
    assert_eq!(resolved(&log), Some(platform));
    let again = DirectoryCommand::Unbind {
        place: near,
        world: World::Route,
    };
    assert_eq!(log.apply(again), Err(DirectoryRefusal::NotBound));
}

#[test]
fn activate_moves_every_binding_of_the_name_and_roll_back_moves_them_back() {
    let mut log = Log::founded();
    let topic = log.ready(1, topic(), "t");
    let (near, far) = (Place::Incarnation(topic), Place::Tenant(TenantId(1)));
    let one = log.push(Some(1), "p", World::Route, 1);
    let two = log.push(Some(1), "P", World::Route, 2);
    let other = log.push(None, "p", World::Route, 3);
    log.done(bind(near, one));
    log.done(bind(far, one));
    log.done(bind(Place::Platform, other));
    let roll_back = |tenant| DirectoryCommand::RollBack {
        tenant,
        name: name("p"),
    };
    let mine = Some(TenantId(1));
    assert_eq!(
        log.apply(roll_back(mine)),
        Err(DirectoryRefusal::NoEarlierVersion)
    );

    log.done(DirectoryCommand::Activate { version: two });
    let changed = log.entries;
    log.done(DirectoryCommand::Activate { version: two });
    for place in [near, far] {
        let binding = log.directory.binding(place, World::Route).expect("it is bound");
        assert_eq!(binding.version, two);
        assert_eq!(binding.previous, Some(one));
        assert_eq!(
            binding.changed,
            LogIndex(changed),
            "the second time changes nothing"
        );
    }
    assert_eq!(log.in_use(Place::Platform, World::Route), Some(other));

    assert_eq!(log.apply(roll_back(mine)), Ok(DirectoryReply::RolledBack(one)));
    assert_eq!(log.in_use(near, World::Route), Some(one));
    assert_eq!(log.in_use(far, World::Route), Some(one));
    assert_eq!(
        log.apply(roll_back(mine)),
        Err(DirectoryRefusal::NoEarlierVersion)
    );
    assert_eq!(
        log.apply(roll_back(Some(TenantId(2)))),
        Err(DirectoryRefusal::NoPlugin)
    );
    let nothing = DirectoryCommand::Activate {
        version: PluginVersion(99),
    };
    assert_eq!(log.apply(nothing), Err(DirectoryRefusal::NoPlugin));
}

#[test]
fn a_new_configuration_keeps_what_can_be_rolled_back_to_and_a_new_version_does_not() {
    let mut log = Log::founded();
    let one = log.push(None, "p", World::Seal, 1);
    let two = log.push(None, "p", World::Seal, 2);
    let previous = |log: &Log| {
        let binding = log.directory.binding(Place::Platform, World::Seal);
        binding.and_then(|binding| binding.previous)
    };
    log.done(bind(Place::Platform, one));
    log.done(DirectoryCommand::Activate { version: two });
    log.done(bind_with(Place::Platform, two, b"new", FailurePolicy::Reject));
    assert_eq!(previous(&log), Some(one));
    log.done(bind(Place::Platform, one));
    assert_eq!(previous(&log), None);
}

#[test]
fn a_quarantine_lasts_until_it_is_lifted_or_the_binding_changes() {
    let mut log = Log::founded();
    let one = log.push(None, "p", World::Seal, 1);
    let two = log.push(None, "p", World::Seal, 2);
    let (place, world) = (Place::Platform, World::Seal);
    let quarantine = |reason: Option<&str>| DirectoryCommand::Quarantine {
        place,
        world,
        reason: reason.map(str::to_owned),
    };
    let reason = |log: &Log| {
        log.directory
            .binding(place, world)
            .and_then(|binding| binding.quarantined.clone())
    };
    assert_eq!(log.apply(quarantine(Some("x"))), Err(DirectoryRefusal::NotBound));
    log.done(bind(place, one));
    log.done(quarantine(Some("it loops")));
    assert_eq!(reason(&log).as_deref(), Some("it loops"));
    log.done(quarantine(None));
    assert_eq!(reason(&log), None);
    log.done(quarantine(Some(&"é".repeat(QUARANTINE_BYTES_MAX))));
    assert_eq!(
        reason(&log).map(|reason| reason.len()),
        Some(QUARANTINE_BYTES_MAX)
    );
    log.done(DirectoryCommand::Activate { version: two });
    assert_eq!(reason(&log), None);
}

#[test]
fn a_breaker_and_since_when_a_binding_is_out_of_use_go_with_the_binding() {
    let mut log = Log::founded();
    let one = log.push(None, "p", World::Seal, 1);
    let (place, world) = (Place::Platform, World::Seal);
    let bind_breaking = |traps, seconds| DirectoryCommand::BindBreaking {
        place,
        version: one,
        configuration: Bytes::new(),
        on_failure: FailurePolicy::Reject,
        breaker: BreakerRecord {
            traps: Some(traps),
            within: Some(Span::from_seconds(seconds)),
        },
    };
    let take_out = || DirectoryCommand::TakeOut {
        place,
        world,
        reason: "it loops".to_owned(),
    };
    let release = || DirectoryCommand::Quarantine {
        place,
        world,
        reason: None,
    };
    let breaker = |log: &Log| log.directory.breaker(place, world);
    let out_since = |log: &Log| log.directory.out_since(place, world);
    assert_eq!(log.apply(take_out()), Err(DirectoryRefusal::NotBound));
    assert_eq!(out_since(&log), None);
    for (traps, seconds) in [(0, 1), (1, 0), (BREAKER_TRAPS_MAX + 1, 1), (1, 86_401)] {
        assert!(
            log.apply(bind_breaking(traps, seconds)).is_err(),
            "{traps} {seconds}"
        );
    }
    log.done(bind_breaking(3, 60));
    assert_eq!((breaker(&log).traps, out_since(&log)), (Some(3), None));
    log.done(take_out());
    let since = log.directory.now();
    assert_eq!(out_since(&log), Some(since));
    log.done(take_out());
    assert_eq!(out_since(&log), Some(since), "it was out before");
    log.done(release());
    assert_eq!((breaker(&log).traps, out_since(&log)), (Some(3), None));
    log.done(take_out());
    log.done(bind(place, one));
    assert_eq!((breaker(&log), out_since(&log)), (BreakerRecord::default(), None));
    log.done(bind_breaking(3, 60));
    log.done(take_out());
    log.done(DirectoryCommand::Unbind { place, world });
    assert_eq!((breaker(&log), out_since(&log)), (BreakerRecord::default(), None));
}

#[test]
fn a_forgotten_topic_takes_its_bindings_with_it() {
    let mut log = Log::founded();
    let topic_made = log.ready(1, topic(), "t");
    let kept = log.ready(1, topic(), "kept");
    let filter = log.push(Some(1), "f", World::Filter, 1);
    let deliver = log.push(Some(1), "d", World::Deliver, 1);
    for incarnation in [topic_made, kept] {
        log.done(bind(Place::Incarnation(incarnation), filter));
        log.done(bind(Place::Incarnation(incarnation), deliver));
        log.done(bind(Place::Subscription(incarnation, SubscriptionId(7)), filter));
    }
    log.done(DirectoryCommand::Remove {
        incarnation: topic_made,
    });
    log.done(DirectoryCommand::Restore {
        incarnation: topic_made,
    });
    assert_eq!(log.directory.bindings().count(), 6, "a removal may be undone");
    log.done(DirectoryCommand::Remove {
        incarnation: topic_made,
    });
    log.done(DirectoryCommand::Forget {
        incarnation: topic_made,
    });
    assert_eq!(log.directory.bindings().count(), 3);
    assert_eq!(log.in_use(Place::Incarnation(kept), World::Filter), Some(filter));
}

// Master keys.

#[test]
fn a_master_key_gets_versions_while_it_is_enabled() {
    let mut log = Log::founded();
    assert_eq!(
        log.apply(put_master_key(1, "key")),
        Ok(DirectoryReply::MasterKey(1))
    );
    assert_eq!(
        log.apply(put_master_key(1, "KEY")),
        Ok(DirectoryReply::MasterKey(2))
    );
    assert_eq!(
        log.apply(put_master_key(2, "key")),
        Ok(DirectoryReply::MasterKey(1))
    );
    assert_eq!(
        log.apply(put_master_key(9, "key")),
        Err(DirectoryRefusal::NoTenant)
    );
    log.done(set_master_key(1, "key", MasterKeyState::Disabled));
    let refused = Err(DirectoryRefusal::NoMasterKey(name("key")));
    assert_eq!(log.apply(put_master_key(1, "key")), refused);
    log.done(set_master_key(1, "key", MasterKeyState::Enabled));
    assert_eq!(
        log.apply(put_master_key(1, "key")),
        Ok(DirectoryReply::MasterKey(3))
    );
}

#[test]
fn a_scheduled_key_is_destroyed_by_the_tick_that_is_due_and_not_before() {
    let mut log = Log::founded();
    assert_eq!(
        log.apply(put_master_key(1, "key")),
        Ok(DirectoryReply::MasterKey(1))
    );
    let (early, due) = (Time::from_seconds(9), Time::from_seconds(10));
    assert_eq!(log.directory.deadline(), None);
    log.done(set_master_key(1, "key", MasterKeyState::DeletionAt(due)));
    assert_eq!(log.directory.deadline(), Some(due));
    let state = |log: &Log| {
        let key = log
            .directory
            .master_key(TenantId(1), &name("key"))
            .expect("its name stays");
        (key.state, key.versions.len())
    };
    log.apply_at(early, DirectoryCommand::Tick)
        .expect("a tick is never refused");
    assert_eq!(state(&log), (MasterKeyState::DeletionAt(due), 1));
    log.apply_at(due, DirectoryCommand::Tick)
        .expect("a tick is never refused");
    assert_eq!(state(&log), (MasterKeyState::Destroyed, 0));
    assert_eq!(log.directory.deadline(), None);
    let refused = Err(DirectoryRefusal::NoMasterKey(name("key")));
    assert_eq!(
        log.apply(set_master_key(1, "key", MasterKeyState::Enabled)),
        refused
    );
    assert_eq!(log.apply(put_master_key(1, "key")), refused);
}

#[test]
fn a_deletion_is_moved_and_called_off() {
    let mut log = Log::founded();
    assert_eq!(
        log.apply(put_master_key(1, "key")),
        Ok(DirectoryReply::MasterKey(1))
    );
    let at = |seconds| MasterKeyState::DeletionAt(Time::from_seconds(seconds));
    log.done(set_master_key(1, "key", at(10)));
    log.done(set_master_key(1, "key", at(10)));
    assert_eq!(log.directory.deadline(), Some(Time::from_seconds(10)));
    log.done(set_master_key(1, "key", at(20)));
    assert_eq!(log.directory.deadline(), Some(Time::from_seconds(20)));
    log.done(set_master_key(1, "key", MasterKeyState::Enabled));
    assert_eq!(log.directory.deadline(), None);
    assert!(is_malformed(&log.apply(set_master_key(
        1,
        "key",
        MasterKeyState::Destroyed
    ))));
}

#[test]
fn a_queue_is_sealed_under_an_enabled_key_of_its_tenant() {
    let mut log = Log::founded();
    let incarnation = log.ready(1, queue(), "q");
    assert_eq!(
        log.apply(put_master_key(1, "Key")),
        Ok(DirectoryReply::MasterKey(1))
    );
    assert_eq!(
        log.apply(put_master_key(2, "theirs")),
        Ok(DirectoryReply::MasterKey(1))
    );
    let seal = |key: Option<&str>| DirectoryCommand::Seal {
        incarnation,
        key: key.map(name),
    };
    let refused = |text| Err(DirectoryRefusal::NoMasterKey(name(text)));
    assert_eq!(log.apply(seal(Some("theirs"))), refused("theirs"));
    log.done(set_master_key(1, "key", MasterKeyState::Disabled));
    assert_eq!(log.apply(seal(Some("key"))), refused("key"));
    log.done(set_master_key(1, "key", MasterKeyState::Enabled));
    log.done(seal(Some("key")));
    let sealed = |log: &Log| {
        log.directory
            .record(incarnation)
            .and_then(|record| record.sealed_under.clone())
    };
    assert_eq!(sealed(&log), Some(name("Key")));
    let at = MasterKeyState::DeletionAt(Time::from_seconds(1));
    let in_use = Err(DirectoryRefusal::MasterKeyInUse);
    assert_eq!(log.apply(set_master_key(1, "KEY", at)), in_use);
    log.done(set_master_key(1, "key", MasterKeyState::Disabled));
    log.done(seal(None));
    assert_eq!(sealed(&log), None);
    log.done(set_master_key(1, "key", at));
}

// What always holds.

#[test]
fn a_command_sent_twice_in_a_session_takes_effect_once() {
    let mut log = Log::founded();
    let call = Some(SessionCall {
        origin: ReplicaId(1),
        session: 5,
        number: 1,
    });
    let command = put_master_key(1, "key");
    let submission = Submission { call, command };
    let batch = Batch {
        now: Time::default(),
        submissions: vec![submission.clone(), submission],
    };
    let first = Ok(DirectoryReply::MasterKey(1));
    let applied = log.directory.apply(LogIndex(100), &batch);
    assert_eq!(applied.outcomes, [first.clone(), first.clone()]);
    let applied = log.directory.apply(LogIndex(101), &batch);
    assert_eq!(applied.outcomes, [first.clone(), first]);
    assert_eq!(applied.changes, []);
}

#[test]
fn time_never_runs_back() {
    let mut log = Log::founded();
    log.apply_at(Time::from_seconds(5), DirectoryCommand::Tick)
        .expect("a tick is never refused");
    log.apply_at(Time::from_seconds(4), DirectoryCommand::Tick)
        .expect("a tick is never refused");
    assert_eq!(log.directory.now(), Time::from_seconds(5));
    assert_eq!(log.directory.applied(), LogIndex(log.entries));
}

/// Numbers that are few, so that commands meet each other, with some that nothing has.
fn few() -> impl Strategy<Value = u64> {
    prop_oneof![9 => 0_u64..6, 1 => Just(u64::MAX)]
}

fn any_name() -> impl Strategy<Value = Name> {
    prop::sample::select(vec!["a", "A", "b", "c"]).prop_map(name)
}

fn any_tenant() -> impl Strategy<Value = TenantId> {
    prop_oneof![9 => 0_u32..4, 1 => Just(u32::MAX)].prop_map(TenantId)
}

fn any_incarnation() -> impl Strategy<Value = Incarnation> {
    few().prop_map(Incarnation)
}

fn any_version() -> impl Strategy<Value = PluginVersion> {
    few().prop_map(PluginVersion)
}

fn any_world() -> impl Strategy<Value = World> {
    prop::sample::select(vec![World::Route, World::Filter, World::Deliver, World::Seal])
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("AKID".to_owned()),
        "[a-c]{0,2}",
        Just("x".repeat(2_000)),
        ".{0,3}"
    ]
}

fn any_bytes() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        Just(0),
        1_usize..4,
        Just(WRAPPED_BYTES_MAX + 1),
        Just(CONFIGURATION_BYTES_MAX)
    ]
    .prop_map(|bytes| Bytes::from(vec![1; bytes]))
}

fn any_place() -> impl Strategy<Value = Place> {
    prop_oneof![
        Just(Place::Platform),
        any_tenant().prop_map(Place::Tenant),
        any_incarnation().prop_map(Place::Incarnation),
        (any_incarnation(), few())
            .prop_map(|(topic, subscription)| Place::Subscription(topic, SubscriptionId(subscription))),
        Just(Place::HttpEndpoints),
        Just(Place::QueueEndpoints),
    ]
}

fn any_quotas() -> impl Strategy<Value = Quotas> {
    (0_u32..4, 0_u32..4, 0_u32..4).prop_map(|(queues, topics, plugins)| Quotas {
        queues,
        topics,
        plugins,
        ..Quotas::default()
    })
}

fn any_key_state() -> impl Strategy<Value = MasterKeyState> {
    prop_oneof![
        Just(MasterKeyState::Enabled),
        Just(MasterKeyState::Disabled),
        few().prop_map(|millis| MasterKeyState::DeletionAt(Time::from_millis(millis))),
        Just(MasterKeyState::Destroyed),
    ]
}

fn any_policy() -> impl Strategy<Value = FailurePolicy> {
    let policies = vec![
        FailurePolicy::Reject,
        FailurePolicy::Fallback,
        FailurePolicy::Park,
    ];
    prop::sample::select(policies)
}

fn any_command() -> impl Strategy<Value = DirectoryCommand> {
    use DirectoryCommand as C;
    let accounts = prop_oneof![
        any::<u8>().prop_map(found),
        (any_name(), any_quotas()).prop_map(|(name, quotas)| C::CreateTenant { name, quotas }),
        (any_tenant(), any_quotas()).prop_map(|(tenant, quotas)| C::SetQuotas { tenant, quotas }),
        any_tenant().prop_map(|tenant| C::RemoveTenant { tenant }),
        (any_tenant(), any_text(), any_bytes(), any::<bool>()).prop_map(
            |(tenant, id, wrapped_secret, root)| C::AddAccessKey {
                tenant,
                id,
                wrapped_secret,
                root
            }
        ),
        any_text().prop_map(|id| C::SetAccessKey {
            id,
            status: AccessKeyStatus::Disabled
        }),
        any_text().prop_map(|id| C::RemoveAccessKey { id }),
    ];
    let names = prop_oneof![
        3 => (any_tenant(), any_name(), any::<bool>()).prop_map(|(tenant, name, is_queue)| {
            let definition = if is_queue { queue() } else { topic() };
            C::Create { tenant, name, definition }
        }),
        2 => any_incarnation().prop_map(|incarnation| C::Confirm { incarnation }),
        1 => any_incarnation().prop_map(|incarnation| C::Remove { incarnation }),
        1 => any_incarnation().prop_map(|incarnation| C::Restore { incarnation }),
        1 => any_incarnation().prop_map(|incarnation| C::Forget { incarnation }),
        1 => (any_incarnation(), prop::option::of(any_name()))
            .prop_map(|(incarnation, key)| C::Seal { incarnation, key }),
    ];
    let plugins = prop_oneof![
        3 => (prop::option::of(any_tenant()), any_name(), any_world(), 0_u8..3).prop_map(
            |(tenant, name, world, digest)| {
                C::PushPlugin { tenant, name, world, digest: [digest; 32], bytes: 1 }
            }
        ),
        4 => (any_place(), any_version(), any_bytes(), any_policy()).prop_map(
            |(place, version, configuration, on_failure)| {
                C::Bind { place, version, configuration, on_failure }
            }
        ),
        1 => (any_place(), any_world()).prop_map(|(place, world)| C::Unbind { place, world }),
        2 => any_version().prop_map(|version| C::RemovePlugin { version }),
        2 => any_version().prop_map(|version| C::Activate { version }),
        1 => (prop::option::of(any_tenant()), any_name())
            .prop_map(|(tenant, name)| C::RollBack { tenant, name }),
        1 => (any_place(), any_world(), prop::option::of(any_text()))
            .prop_map(|(place, world, reason)| C::Quarantine { place, world, reason }),
        3 => trials::any_begin(),
        2 => trials::any_end(),
    ];
    let keys = prop_oneof![
        (any_tenant(), any_name(), any_bytes()).prop_map(|(tenant, name, wrapped)| C::PutMasterKey {
            tenant,
            name,
            wrapped
        }),
        (any_tenant(), any_name(), any_key_state()).prop_map(|(tenant, name, state)| C::SetMasterKey {
            tenant,
            name,
            state
        }),
        Just(C::Tick),
    ];
    prop_oneof![
        2 => accounts,
        3 => names,
        3 => plugins,
        1 => keys,
        1 => any_signing_command(),
        2 => any_node_command()
    ]
}

fn any_secret() -> impl Strategy<Value = SigningSecret> {
    (any::<bool>(), any_bytes(), any_bytes()).prop_map(|(shared, wrapped, public)| SigningSecret {
        algorithm: match shared {
            true => SigningAlgorithm::HmacSha256,
            false => SigningAlgorithm::Ed25519,
        },
        wrapped,
        public,
    })
}

/// Boxed, because what is nested deeper needs more of a stack than tests have.
fn any_signing_command() -> BoxedStrategy<DirectoryCommand> {
    use DirectoryCommand as C;
    let limits = (0_u32..4, any::<bool>()).prop_map(|(calls, held)| GuestLimits {
        host_calls_per_second: calls,
        http_hosts: held.then(|| vec![HttpHost::parse("example.com").expect("a host")]),
        ..GuestLimits::default()
    });
    prop_oneof![
        3 => (any_tenant(), any_name(), any_secret())
            .prop_map(|(tenant, name, secret)| C::CreateSigningKey { tenant, name, secret }),
        3 => (any_tenant(), any_name(), any_secret())
            .prop_map(|(tenant, name, secret)| C::RotateSigningKey { tenant, name, secret }),
        2 => (any_tenant(), any_name()).prop_map(|(tenant, name)| C::RetireSigningKey { tenant, name }),
        1 => (any_tenant(), any_name()).prop_map(|(tenant, name)| C::RemoveSigningKey { tenant, name }),
        1 => (any_tenant(), limits).prop_map(|(tenant, limits)| C::SetGuestLimits { tenant, limits }),
    ]
    .boxed()
}

fn any_node() -> impl Strategy<Value = NodeId> {
    (0_u16..7).prop_map(NodeId)
}

fn any_group() -> impl Strategy<Value = Option<SetId>> {
    prop::option::weighted(0.7, (0_u8..4).prop_map(SetId))
}

fn any_replica() -> impl Strategy<Value = ReplicaId> {
    let given = (0..40_u64).prop_map(|given| FOUNDER_REPLICA_MAX.0 + given);
    prop_oneof![2 => few(), 3 => given].prop_map(ReplicaId)
}

/// Boxed, because what is nested deeper needs more of a stack than tests have.
fn any_node_command() -> BoxedStrategy<DirectoryCommand> {
    use DirectoryCommand as C;
    let address = prop_oneof![9 => Just("host:1".to_owned()), 1 => any_text()];
    let founder = (any_node(), any_replica(), address.clone()).prop_map(|(node, replica, address)| Founder {
        node,
        replica,
        address,
    });
    prop_oneof![
        1 => prop::collection::vec(founder, 0..4).prop_map(|founders| C::Enroll { founders }),
        1 => Just(enroll(3)),
        4 => (any_node(), address.clone(), 0_u8..9).prop_map(|(node, address, disk)| C::Admit {
            node,
            address,
            disk: DiskId([disk; 16])
        }),
        3 => any_node().prop_map(|node| C::Ready { node }),
        1 => (any_node(), address).prop_map(|(node, address)| C::Locate { node, address }),
        3 => (0_u8..4, any_node(), any_node())
            .prop_map(|(set, from, to)| C::Relocate { set: SetId(set), from, to }),
        2 => any_node().prop_map(|node| C::Drain { node }),
        2 => any_node().prop_map(|node| C::RemoveNode { node }),
        2 => (any_group(), any_replica()).prop_map(|(set, replica)| C::Renew { set, replica }),
        2 => (any_group(), any_replica()).prop_map(|(set, replica)| C::Reinstate { set, replica }),
        4 => (any_group(), any_replica()).prop_map(|(set, replica)| C::Discard { set, replica }),
    ]
    .boxed()
}

/// So many founders, each by its number.
fn enroll(nodes: u16) -> DirectoryCommand {
    let founders = (1..=nodes).map(|node| Founder {
        node: NodeId(node),
        replica: ReplicaId(u64::from(node)),
        address: format!("host:{node}"),
    });
    DirectoryCommand::Enroll {
        founders: founders.collect(),
    }
}

fn any_batch() -> impl Strategy<Value = Batch<DirectoryCommand>> {
    let call = (0_u64..2, 0_u64..2, 0_u64..100).prop_map(|(origin, session, number)| SessionCall {
        origin: ReplicaId(origin),
        session,
        number,
    });
    let submission = (prop::option::weighted(0.2, call), any_command())
        .prop_map(|(call, command)| Submission { call, command });
    (0_u64..10, prop::collection::vec(submission, 0..4)).prop_map(|(now, submissions)| Batch {
        now: Time::from_millis(now),
        submissions,
    })
}

/// A founded cluster with some tenants, and then anything.
fn any_log() -> impl Strategy<Value = Vec<Batch<DirectoryCommand>>> {
    prop::collection::vec(any_batch(), 0..60).prop_map(|mut batches| {
        let beginning = [
            found(3),
            create_tenant("a"),
            create_tenant("b"),
            create_tenant("c"),
        ];
        let submissions = beginning
            .into_iter()
            .map(|command| Submission { call: None, command })
            .collect();
        batches.insert(
            0,
            Batch {
                now: Time::default(),
                submissions,
            },
        );
        batches
    })
}

fn run(
    directory: &mut Directory,
    batches: &[Batch<DirectoryCommand>],
) -> Vec<Result<DirectoryReply, DirectoryRefusal>> {
    let mut outcomes = Vec::new();
    for batch in batches {
        let answered = directory.apply(directory.applied().next(), batch).outcomes;
        assert_eq!(answered.len(), batch.submissions.len());
        outcomes.extend(answered);
    }
    outcomes
}

/// Counts again what the directory keeps counts and indexes of.
fn check_consistent(directory: &Directory) {
    for tenant in directory.tenants() {
        let by_name = directory.tenant_named(&tenant.name).map(|found| found.tenant);
        assert_eq!(by_name, Some(tenant.tenant));
        let mut usage = 0;
        for binding in directory.bindings() {
            if directory.owner_of(binding.place) == Some(tenant.tenant) {
                usage += binding.configuration.len();
            }
        }
        assert_eq!(directory.plugins.configuration_bytes(tenant.tenant), usage as u64);
        for kind in [Kind::Queue, Kind::Topic] {
            for record in directory.names(tenant.tenant, kind) {
                assert_eq!(directory.name(tenant.tenant, kind, &record.name), Some(record));
                let is_unfinished = directory.unfinished().any(|other| other == record);
                assert_eq!(is_unfinished, record.state != NameState::Ready);
            }
        }
    }
    for binding in directory.bindings() {
        let plugin = directory.plugin(binding.version).expect("what is bound is kept");
        assert_eq!(plugin.world, binding.world);
        if let Some(previous) = binding.previous {
            assert!(directory.plugin(previous).is_some());
        }
        assert!(
            plugin.tenant.is_none() || plugin.tenant == directory.owner_of(binding.place),
            "a tenant's plugin is bound at its own places only"
        );
    }
    trials::check_consistent(directory);
    directory.names.check_consistent();
    directory.nodes.check_consistent();
}

proptest! {
    #[test]
    fn any_log_replays_to_the_same_state_and_answers(batches in any_log()) {
        let (mut one, mut other) = (Directory::new(), Directory::new());
        prop_assert_eq!(run(&mut one, &batches), run(&mut other, &batches));
        prop_assert_eq!(&one, &other);
        check_consistent(&one);
    }

    #[test]
    fn a_directory_goes_on_from_its_snapshot_as_if_there_had_been_none(
        batches in any_log(),
        at in any::<prop::sample::Index>(),
    ) {
        let (before, after) = batches.split_at(at.index(batches.len()));
        let mut directory = Directory::new();
        run(&mut directory, before);
        let snapshot = postcard::to_stdvec(&directory).expect("a vector takes any bytes");
        let mut restored: Directory =
            postcard::from_bytes(&snapshot).expect("it was written as it is read");
        prop_assert_eq!(&directory, &restored);
        prop_assert_eq!(run(&mut directory, after), run(&mut restored, after));
        prop_assert_eq!(directory, restored);
    }
}
