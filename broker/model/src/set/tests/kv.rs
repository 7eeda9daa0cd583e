//! What plugins keep between decisions: written with what they decided, or not at all.

use bytes::Bytes;

use super::bench::*;
use crate::bounds::*;
use crate::*;

const STORE: KvId = KvId {
    place: Place::Incarnation(QUEUE),
    world: World::Filter,
    tenant: TenantId(1),
};

fn bench() -> Bench {
    Bench::new(QueueAttributes::default())
}

/// Reads keys of a store at the versions that they have.
fn reads(bench: &Bench, store: KvId, keys: &[&str]) -> Vec<(String, KvVersion)> {
    let entry = |key| bench.set.kv(store).and_then(|known| known.get(key, bench.now));
    let version = |key| entry(key).map(|entry| entry.version).unwrap_or_default();
    keys.iter().map(|key| ((*key).to_owned(), version(key))).collect()
}

fn put(key: &str, value: &str) -> (String, KvWrite) {
    (
        key.to_owned(),
        KvWrite::Put(Bytes::copy_from_slice(value.as_bytes()), None),
    )
}

fn put_for(key: &str, seconds: u64) -> (String, KvWrite) {
    let ttl = Some(Span::from_seconds(seconds));
    (key.to_owned(), KvWrite::Put(Bytes::from_static(b"x"), ttl))
}

/// A use that reads nothing.
fn writing(store: KvId, writes: Vec<(String, KvWrite)>) -> KvUse {
    KvUse {
        store,
        reads: Vec::new(),
        writes,
    }
}

fn decide(bench: &mut Bench, uses: Vec<KvUse>) -> Result<SetReply, Refusal> {
    let messages = bench.messages(1);
    bench.ask(decision(uses, send(messages, Span::ZERO)))
}

fn decision(uses: Vec<KvUse>, command: SetCommand) -> SetCommand {
    SetCommand::Decide {
        uses,
        command: Decided::new(command).expect("plugins decide about it"),
    }
}

fn value(bench: &Bench, key: &str) -> Option<String> {
    let entry = bench.set.kv(STORE)?.get(key, bench.now)?;
    Some(String::from_utf8_lossy(&entry.value).into_owned())
}

#[test]
fn of_two_decisions_by_the_same_state_one_is_refused_with_all_its_effects() {
    let mut bench = bench();
    let read = reads(&bench, STORE, &["count"]);
    let one = |value: &str| KvUse {
        store: STORE,
        reads: read.clone(),
        writes: vec![put("count", value)],
    };
    decide(&mut bench, vec![one("1")]).expect("it is fresh");
    assert_eq!(decide(&mut bench, vec![one("2")]), Err(Refusal::StaleRead));
    assert_eq!(bench.counts().active, 1);
    assert_eq!(value(&bench, "count").as_deref(), Some("1"));
    let read = reads(&bench, STORE, &["count"]);
    let again = KvUse {
        store: STORE,
        reads: read,
        writes: vec![put("count", "2")],
    };
    decide(&mut bench, vec![again]).expect("it was decided again");
    assert_eq!(value(&bench, "count").as_deref(), Some("2"));
}

#[test]
fn a_value_that_is_put_again_the_same_has_another_version() {
    let mut bench = bench();
    decide(&mut bench, vec![writing(STORE, vec![put("k", "v")])]).expect("room");
    let read = reads(&bench, STORE, &["k"]);
    let delete = vec![("k".to_owned(), KvWrite::Delete)];
    decide(&mut bench, vec![writing(STORE, delete)]).expect("room");
    decide(&mut bench, vec![writing(STORE, vec![put("k", "v")])]).expect("room");
    let by_the_first = KvUse {
        store: STORE,
        reads: read,
        writes: Vec::new(),
    };
    assert_eq!(decide(&mut bench, vec![by_the_first]), Err(Refusal::StaleRead));
}

#[test]
fn what_was_done_before_writes_nothing_again() {
    let mut bench = bench();
    let sent = |bench: &mut Bench, value: &str| {
        let command = SetCommand::Send {
            queue: QUEUE,
            delay: Span::ZERO,
            messages: bench.messages(1),
            token: Some(Token("once".to_owned())),
            decided_at: LogIndex::default(),
        };
        decision(vec![writing(STORE, vec![put("k", value)])], command)
    };
    let call = SessionCall {
        origin: ReplicaId(1),
        session: 1,
        number: 1,
    };
    let (first, second) = (sent(&mut bench, "first"), sent(&mut bench, "second"));
    let ids = bench.ask_as(Some(call), first.clone()).expect("room");
    assert_eq!(bench.ask(second), Ok(ids.clone()), "the client's own retry");
    assert_eq!(bench.ask_as(Some(call), first), Ok(ids), "a node's retry");
    assert_eq!(value(&bench, "k").as_deref(), Some("first"));
    assert_eq!(bench.counts().active, 1);
}

#[test]
fn a_stale_call_is_decided_again_under_its_own_name() {
    let mut bench = bench();
    let call = SessionCall {
        origin: ReplicaId(1),
        session: 1,
        number: 1,
    };
    decide(&mut bench, vec![writing(STORE, vec![put("k", "v")])]).expect("room");
    let stale = KvUse {
        store: STORE,
        reads: vec![("k".to_owned(), KvVersion(0))],
        writes: vec![put("k", "w")],
    };
    let messages = bench.messages(1);
    let command = send(messages, Span::ZERO);
    let refused = bench.ask_as(Some(call), decision(vec![stale], command.clone()));
    assert_eq!(refused, Err(Refusal::StaleRead));
    let read = reads(&bench, STORE, &["k"]);
    let fresh = KvUse {
        store: STORE,
        reads: read,
        writes: vec![put("k", "w")],
    };
    bench
        .ask_as(Some(call), decision(vec![fresh], command))
        .expect("it is fresh");
    assert_eq!(value(&bench, "k").as_deref(), Some("w"));
}

#[test]
fn what_expires_is_gone_at_its_time_and_is_not_kept() {
    let mut bench = bench();
    decide(
        &mut bench,
        vec![writing(STORE, vec![put_for("short", 5), put("long", "v")])],
    )
    .expect("room");
    let read = reads(&bench, STORE, &["short"]);
    bench.wait(5);
    assert_eq!(value(&bench, "short"), None);
    let by_what_expired = KvUse {
        store: STORE,
        reads: read,
        writes: Vec::new(),
    };
    assert_eq!(decide(&mut bench, vec![by_what_expired]), Err(Refusal::StaleRead));
    assert_eq!(bench.set.kv(STORE).map(KvStore::len), Some(1));
    let until = bench.set.kv_room(STORE);
    assert_eq!(until.keys, KV_KEYS_MAX - 1);
    decide(
        &mut bench,
        vec![writing(
            STORE,
            vec![put_for("short", 5), ("long".to_owned(), KvWrite::Delete)],
        )],
    )
    .expect("room");
    bench.wait(5);
    bench.tick();
    assert_eq!(bench.set.kv(STORE), None, "a store that holds nothing is none");
    assert!(bench.set.deadline().is_none_or(|deadline| deadline > bench.now));
}

#[test]
fn a_store_goes_with_its_queue_its_subscription_and_when_it_is_forgotten() {
    let mut bench = bench();
    let at = |place| KvId { place, ..STORE };
    let id = bench.subscribe(0);
    let places = [
        Place::Incarnation(QUEUE),
        Place::Incarnation(TOPIC),
        Place::Subscription(TOPIC, id),
        Place::Tenant(TenantId(1)),
    ];
    for place in places {
        let uses = vec![writing(at(place), vec![put_for("k", 60)])];
        let messages = bench.messages(1);
        let command = SetCommand::Send {
            queue: DEAD,
            delay: Span::ZERO,
            messages,
            token: None,
            decided_at: LogIndex::default(),
        };
        bench.ask(decision(uses, command)).expect("room");
    }
    let held = |bench: &Bench| -> Vec<Place> { bench.set.kv_stores().map(|store| store.place).collect() };
    assert_eq!(held(&bench).len(), 4);
    bench
        .ask(SetCommand::Unsubscribe {
            topic: TOPIC,
            name: super::action::name(0),
        })
        .expect("it is there");
    assert!(!held(&bench).contains(&places[2]));
    for incarnation in [QUEUE, TOPIC] {
        bench.ask(SetCommand::Drop { incarnation }).expect("dropped");
        assert!(!held(&bench).contains(&Place::Incarnation(incarnation)));
    }
    let forget = |place, tenant, decided_at| SetCommand::ForgetKv {
        place,
        world: World::Filter,
        tenant,
        decided_at: LogIndex(decided_at),
    };
    let (tenants, all) = (places[3], Place::Platform);
    bench.ask(forget(tenants, Some(TenantId(2)), 5)).expect("noted");
    bench.ask(forget(all, None, 5)).expect("noted");
    assert_eq!(held(&bench), [tenants]);
    let too_early = bench.ask(forget(tenants, None, 4));
    assert!(
        matches!(too_early, Err(Refusal::DecidedTooEarly { .. })),
        "{too_early:?}"
    );
    bench.ask(forget(tenants, None, 6)).expect("noted");
    assert_eq!(held(&bench), []);
    assert_eq!(
        bench.set.kv_room(STORE).bytes,
        KV_STORE_BYTES_MAX,
        "nothing counts any more"
    );
}

#[test]
fn stores_tenants_and_sets_are_bounded_and_what_shrinks_makes_room() {
    let mut bench = bench();
    let large = "x".repeat(KV_VALUE_BYTES_MAX);
    let filled = |number: u64, tenant: u32| KvId {
        place: Place::Incarnation(Incarnation(100 + number)),
        world: World::Route,
        tenant: TenantId(tenant),
    };
    let mut fill = |store: KvId, from: usize, keys: usize| {
        let writes = (from..from + keys).map(|number| put(&format!("{number:08}"), &large));
        decide(&mut bench, vec![writing(store, writes.collect())])
    };
    let cost = kv_cost("00000000", KV_VALUE_BYTES_MAX);
    let per_store = (KV_STORE_BYTES_MAX / cost) as usize;
    let stores_of_tenant = KV_TENANT_BYTES_MAX / KV_STORE_BYTES_MAX;
    let tenants = (KV_SET_BYTES_MAX / KV_TENANT_BYTES_MAX) as u32;
    for tenant in 0..tenants {
        for number in 0..stores_of_tenant {
            fill(filled(number, tenant), 0, per_store).expect("there is room");
            assert_eq!(fill(filled(number, tenant), per_store, 1), Err(Refusal::KvFull));
        }
        let left = (KV_TENANT_BYTES_MAX - stores_of_tenant * per_store as u64 * cost) / cost;
        let more = filled(stores_of_tenant, tenant);
        assert_eq!(fill(more, 0, left as usize + 1), Err(Refusal::KvFull));
        fill(more, 0, left as usize).expect("there is room for so many");
    }
    let another = filled(0, tenants);
    let rest = bench.set.kv_room(another).bytes / cost;
    let mut fill =
        |store: KvId, writes: Vec<(String, KvWrite)>| decide(&mut bench, vec![writing(store, writes)]);
    let many = |count: u64| {
        (0..count)
            .map(|number| put(&format!("{number:08}"), &large))
            .collect::<Vec<_>>()
    };
    assert_eq!(fill(another, many(rest + 1)), Err(Refusal::KvFull));
    // One that grows no more goes on, and one that shrinks makes room.
    let full = filled(0, 0);
    fill(full, vec![put("00000000", "small")]).expect("it shrinks");
    fill(full, vec![put("00000000", "tiny")]).expect("it shrinks");
    fill(another, many(rest + 1)).expect("there is room again");
}

#[test]
fn keys_are_bounded() {
    let mut bench = bench();
    let mut put_keys = |from: usize, count: usize| {
        let writes = (from..from + count).map(|number| put(&number.to_string(), ""));
        decide(&mut bench, vec![writing(STORE, writes.collect())])
    };
    for from in (0..KV_KEYS_MAX).step_by(1_000) {
        put_keys(from, 1_000).expect("there is room");
    }
    assert_eq!(put_keys(KV_KEYS_MAX, 1), Err(Refusal::KvFull));
    put_keys(0, 1).expect("a key that is there");
}

#[test]
fn what_no_leader_lets_a_plugin_do_is_refused() {
    let mut bench = bench();
    let long = |length: usize| "k".repeat(length);
    let over = [
        put("", "v"),
        put(&long(KV_KEY_BYTES_MAX + 1), "v"),
        put("k", &long(KV_VALUE_BYTES_MAX + 1)),
        put_for("k", 0),
        put_for("k", KV_TTL_SECONDS_MAX + 1),
        (String::new(), KvWrite::Delete),
    ];
    let many = (0..=KV_TOUCHED_MAX).map(|number| put(&number.to_string(), ""));
    let mut uses: Vec<Vec<KvUse>> = over
        .into_iter()
        .map(|write| vec![writing(STORE, vec![write])])
        .collect();
    uses.push(vec![writing(STORE, many.collect())]);
    uses.push(vec![writing(STORE, vec![put("k", "v"), put("k", "w")])]);
    uses.push(vec![
        writing(STORE, vec![put("k", "v")]),
        writing(STORE, vec![put("l", "v")]),
    ]);
    for one in uses {
        let refused = decide(&mut bench, one.clone());
        assert!(
            matches!(refused, Err(Refusal::Malformed(_))),
            "{one:?}: {refused:?}"
        );
    }
    assert_eq!(bench.counts().active, 0);
    assert_eq!(bench.set.kv_stores().count(), 0);
    assert_eq!(Decided::new(SetCommand::Tick), None);
}
