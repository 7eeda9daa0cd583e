//! A binding's store during a decision: what guests see of it, and what is noted of what they do.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use posthouse_host::{Binding, Filtered, GuestFault, KvReader, KvSession};
use posthouse_model::{
    Incarnation, KvEntry, KvId, KvRoom, KvUse, KvVersion, KvWrite, Place, Span, World, bounds,
};

use crate::bench::{Bench, TENANT, VERSION, binding, envelope};

const STORE: KvId = KvId {
    place: Place::Incarnation(Incarnation(9)),
    world: World::Filter,
    tenant: TENANT,
};

/// A store in memory.
#[derive(Clone)]
struct Held {
    entries: Arc<Mutex<BTreeMap<String, KvEntry>>>,
    room: KvRoom,
}

impl Held {
    fn with(entries: &[(&str, &str, u64)]) -> Held {
        let entries = entries.iter().map(|(key, value, version)| {
            let value = Bytes::copy_from_slice(value.as_bytes());
            let version = KvVersion(*version);
            let until = None;
            (
                (*key).to_owned(),
                KvEntry {
                    value,
                    version,
                    until,
                },
            )
        });
        Held {
            entries: Arc::new(Mutex::new(entries.collect())),
            room: KvRoom {
                keys: 100,
                bytes: 1 << 20,
            },
        }
    }

    fn session(&self) -> KvSession {
        KvSession::new(Box::new(self.clone()))
    }
}

impl KvReader for Held {
    fn get(&self, key: &str) -> Option<KvEntry> {
        self.entries.lock().expect("nobody panics").get(key).cloned()
    }

    fn room(&self) -> KvRoom {
        self.room
    }
}

async fn bench() -> Bench {
    let bench = Bench::open();
    bench.load(World::Filter, "keeps").await;
    bench
}

fn lending(session: &KvSession) -> Binding {
    Binding {
        kv: Some(session.clone()),
        ..binding("")
    }
}

async fn ask(bench: &Bench, session: &KvSession, body: &'static str) -> Result<Filtered, GuestFault> {
    let body = Bytes::from_static(body.as_bytes());
    bench.host.filter(&lending(session), envelope(&[]), body).await
}

/// Asks, and returns what the guest made of the body.
async fn told(bench: &Bench, session: &KvSession, body: &'static str) -> String {
    match ask(bench, session, body).await {
        Ok(Filtered::Replace { body, .. }) => String::from_utf8_lossy(&body).into_owned(),
        other => panic!("{body}: {other:?}"),
    }
}

fn put(key: &str, value: &str, ttl: Option<Span>) -> (String, KvWrite) {
    let value = Bytes::copy_from_slice(value.as_bytes());
    (key.to_owned(), KvWrite::Put(value, ttl))
}

#[tokio::test]
async fn a_decision_sees_what_it_wrote_and_another_does_not() {
    let bench = bench().await;
    assert!(bench.host.uses_kv(VERSION));
    let held = Held::with(&[("count", "41", 7)]);
    let session = held.session();
    assert_eq!(told(&bench, &session, "x").await, "42");
    assert_eq!(told(&bench, &session, "x").await, "43");
    assert_eq!(told(&bench, &held.session(), "x").await, "42");
    let used = session.used(STORE).expect("it was used");
    let expected = KvUse {
        store: STORE,
        reads: vec![("count".to_owned(), KvVersion(7))],
        writes: vec![put("count", "43", None)],
    };
    assert_eq!(used, expected);
}

#[tokio::test]
async fn what_only_reads_depends_on_what_it_read() {
    let bench = bench().await;
    let session = Held::with(&[]).session();
    assert_eq!(session.used(STORE), None);
    assert_eq!(told(&bench, &session, "read").await, "0");
    let used = session.used(STORE).expect("it was used");
    assert_eq!(used.reads, [("count".to_owned(), KvVersion(0))]);
    assert_eq!(used.writes, []);
}

#[tokio::test]
async fn a_call_that_fails_has_written_nothing_and_those_before_it_have() {
    let bench = bench().await;
    let session = Held::with(&[]).session();
    assert_eq!(told(&bench, &session, "x").await, "1");
    let before = session.used(STORE);
    assert!(matches!(
        ask(&bench, &session, "trap").await,
        Err(GuestFault::Trap { .. })
    ));
    assert!(matches!(
        ask(&bench, &session, "fail").await,
        Err(GuestFault::Said(_))
    ));
    assert_eq!(session.used(STORE), before);
    assert_eq!(ask(&bench, &session, "drop").await, Ok(Filtered::Drop));
    assert_eq!(told(&bench, &session, "x").await, "2");
    let writes = session.used(STORE).expect("it was used").writes;
    assert_eq!(writes, [put("count", "2", None), put("dropped", "1", None)]);
}

#[tokio::test]
async fn a_batch_notes_each_message_once_however_quick_its_instance_is() {
    let bench = bench().await;
    for _ in 0..40 {
        let session = Held::with(&[]).session();
        let batch = (0..5).map(|_| (envelope(&[]), Bytes::from_static(b"x")));
        let answers = bench.host.filter_batch(&lending(&session), batch.collect()).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        let writes = session.used(STORE).expect("it was used").writes;
        assert_eq!(writes, [put("count", "5", None)]);
    }
}

#[tokio::test]
async fn decisions_at_the_same_time_keep_to_their_own() {
    let bench = bench().await;
    let sessions: Vec<KvSession> = (0..20).map(|_| Held::with(&[]).session()).collect();
    let asked = sessions.iter().map(|session| told(&bench, session, "x"));
    let told = futures::future::join_all(asked).await;
    assert!(told.iter().all(|count| count == "1"), "{told:?}");
}

#[tokio::test]
async fn a_swap_goes_by_versions_also_by_its_own() {
    let bench = bench().await;
    let session = Held::with(&[]).session();
    let went = "[false, true, false, true, false, true, false]";
    assert_eq!(told(&bench, &session, "swap").await, went);
    let used = session.used(STORE).expect("it was used");
    assert_eq!(used.reads, [("swapped".to_owned(), KvVersion(0))]);
    assert_eq!(used.writes, [("swapped".to_owned(), KvWrite::Delete)]);
}

#[tokio::test]
async fn what_is_out_of_bounds_is_refused_and_no_trap() {
    let bench = bench().await;
    let session = Held::with(&[]).session();
    let answers = told(&bench, &session, "bounds").await;
    assert_eq!(answers.matches("\"out-of-bounds\"").count(), 7, "{answers}");
    assert_eq!(session.used(STORE), None);
    let session = Held::with(&[]).session();
    let brief = told(&bench, &session, "brief").await;
    assert_eq!(brief, "false");
    let writes = session.used(STORE).expect("it was used").writes;
    assert_eq!(writes, [put("brief", "", Some(Span::from_seconds(1)))]);
}

#[tokio::test]
async fn writing_ends_at_the_stores_room_and_at_the_decisions_bound() {
    let bench = bench().await;
    let mut held = Held::with(&[]);
    let ends = |filled: &str, count: u64, why: &str| {
        let (written, refusal) = filled.split_once(' ').expect("a count and a refusal");
        assert_eq!(written, count.to_string(), "{refusal}");
        assert!(refusal.contains(&format!("\"{why}\"")), "{refusal}");
    };
    ends(&told(&bench, &held.session(), "fill").await, 100, "full");
    held.room.keys = usize::MAX;
    let most = bounds::KV_WRITTEN_BYTES_MAX / posthouse_model::kv_cost("00000000", 4_096);
    ends(&told(&bench, &held.session(), "fill").await, most, "too-much");
    held.room.bytes = 10 * posthouse_model::kv_cost("00000000", 4_096);
    ends(&told(&bench, &held.session(), "fill").await, 10, "full");
}

#[tokio::test]
async fn where_there_is_no_store_and_where_all_is_sealed_a_plugin_is_told() {
    let bench = bench().await;
    let body = Bytes::from_static(b"x");
    let refused = bench.host.filter(&binding(""), envelope(&[]), body).await;
    assert!(
        matches!(&refused, Err(GuestFault::Said(text)) if text.contains("unavailable")),
        "{refused:?}"
    );
    let sealed = KvSession::sealed();
    let refused = ask(&bench, &sealed, "x").await;
    assert!(
        matches!(&refused, Err(GuestFault::Said(text)) if text.contains("sealed")),
        "{refused:?}"
    );
    assert_eq!(sealed.used(STORE), None);
}
