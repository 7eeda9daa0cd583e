//! Recordings: calls of a binding's plugin that failed, kept for a while so that its author can repeat them elsewhere.
//!
//! They are off unless somebody asks for one, for a bounded time and number. Each node keeps those of the calls that it made,
//! in memory alone: what was recorded says what bodies say, and belongs in no log. Of what is sealed nothing is recorded.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use parking_lot::Mutex;
use posthouse_host::{Binding, Delivery, Envelope, GuestFault, RouteTable};
use posthouse_model::bounds::{KV_TOUCHED_MAX, KV_WRITTEN_BYTES_MAX};
use posthouse_model::{KvId, KvRoom, MessageId, Place, PluginVersion, ReplicaId, TenantId, Time, World};
use posthouse_replica::Clock;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::kv::Found;
use super::reach::{Ask, Told};
use super::{Broker, BrokerError};
use crate::case_values::{body_value, delivery_value, envelope_value, table_values};

/// The longest that calls are recorded.
pub const RECORDING_SECONDS_MAX: u64 = 86_400;
/// The most calls that a node keeps of a recording.
pub const RECORDED_CALLS_MAX: u32 = 100;
/// The most recordings that a node keeps for a tenant. Beyond it, the tenant's one that ends first is forgotten.
const RECORDINGS_MAX: usize = 8;
/// The most recordings that a node keeps for all tenants together. Beyond it, no other is begun.
const ALL_RECORDINGS_MAX: usize = 1_024;
/// The most bytes that a node keeps of a tenant's recordings, and of all together.
const RECORDED_BYTES_MAX: usize = 4 * 1_048_576;
const ALL_RECORDED_BYTES_MAX: usize = 64 * 1_048_576;
/// The most attempts to deliver that are followed at once for a tenant, in case that they fail, and for all together.
const TRAILS_MAX: usize = 32;
const ALL_TRAILS_MAX: usize = 256;
/// The most bytes of an attempt's steps.
const TRAIL_BYTES_MAX: usize = 256 * 1_024;
/// How long after its end what was recorded is kept.
const KEPT_FOR: Duration = Duration::from_secs(3_600);
/// How often what is kept no longer is let go of.
const SWEEP: Duration = Duration::from_secs(60);
/// How long another node has to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// What of a request an attempt's later version must do alike: the rest may be signed, or be what is mended.
const SAME_REQUEST: [&str; 2] = ["method", "url"];

/// What is recorded.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Recorded {
    /// On whose behalf the plugin is called.
    pub tenant: TenantId,
    /// The place of the binding.
    pub place: Place,
    /// Its world.
    pub world: World,
}

/// How much is recorded.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct RecordingBounds {
    /// For how long.
    pub span: Duration,
    /// How many calls on each node, at most.
    pub calls: u32,
}

/// A call that failed.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct RecordedCall {
    /// When, by the node's clock.
    pub at: Time,
    /// The version that failed.
    pub version: PluginVersion,
    /// The message that it failed on, and with what.
    pub failed_on: (MessageId, String),
    /// What it was given and what it failed with, as `plugin test` reads it.
    pub case: String,
}

/// What one node recorded.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct RecordedOn {
    /// What logs call the node.
    pub node: String,
    /// Whether it still records.
    pub on: bool,
    /// The calls, the oldest first.
    pub calls: Vec<RecordedCall>,
    /// How many more failed for which there was no room.
    pub missed: u64,
}

/// What one node has to do with a recording.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum RecordAsk {
    /// Begins it anew.
    Begin(RecordingBounds),
    /// Ends it, and forgets what was recorded.
    Forget,
    /// Tells what was recorded.
    Tell,
}

/// The recordings of this node.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    recordings: Mutex<BTreeMap<Recorded, Recording>>,
    trails: Arc<Trails>,
}

/// How many attempts are followed for each tenant.
#[derive(Debug, Default)]
struct Trails(Mutex<BTreeMap<TenantId, usize>>);

/// The steps of an attempt to deliver, in case that it fails.
pub(super) struct Trail {
    tenant: TenantId,
    trails: Arc<Trails>,
    steps: Vec<Value>,
    /// How many bytes more the steps may have; none once they had too many.
    bytes_left: Option<usize>,
    /// What the plugin found in its store when it was asked last.
    pub(super) found: Option<Found>,
}

#[derive(Debug)]
struct Recording {
    until: Duration,
    calls_left: u32,
    bytes: usize,
    calls: Vec<RecordedCall>,
    missed: u64,
}

// === impl Recorder ===

impl Recorder {
    /// Begins a recording anew, unless there are too many.
    fn begin(&self, what: Recorded, bounds: RecordingBounds, now: Duration) {
        self.sweep(now);
        let mut recordings = self.recordings.lock();
        recordings.remove(&what);
        let own = recordings.iter().filter(|(other, _)| other.tenant == what.tenant);
        if own.clone().count() >= RECORDINGS_MAX {
            let first = own.min_by_key(|(_, recording)| recording.until);
            if let Some(first) = first.map(|(other, _)| *other) {
                recordings.remove(&first);
            }
        }
        if recordings.len() >= ALL_RECORDINGS_MAX {
            return;
        }
        let recording = Recording {
            until: now + bounds.span,
            calls_left: bounds.calls,
            bytes: 0,
            calls: Vec::new(),
            missed: 0,
        };
        recordings.insert(what, recording);
    }

    fn forget(&self, what: Recorded) {
        self.recordings.lock().remove(&what);
    }

    /// Lets go of what ended long enough ago.
    fn sweep(&self, now: Duration) {
        let is_kept = |recording: &Recording| now < recording.until + KEPT_FOR;
        self.recordings.lock().retain(|_, recording| is_kept(recording));
    }

    /// Returns whether a call that fails is to be recorded.
    fn wants(&self, what: Recorded, now: Duration) -> bool {
        let recordings = self.recordings.lock();
        recordings
            .get(&what)
            .is_some_and(|recording| recording.is_on(now))
    }

    /// Keeps a call that failed. One that fails alike on a message again, because that is tried again or decided again, says
    /// nothing more, and would leave no room for others.
    fn add(&self, what: Recorded, call: RecordedCall, now: Duration) {
        let mut recordings = self.recordings.lock();
        let (mut own, mut all) = (call.case.len(), call.case.len());
        for (other, recording) in &*recordings {
            all += recording.bytes;
            if other.tenant == what.tenant {
                own += recording.bytes;
            }
        }
        let Some(recording) = recordings.get_mut(&what).filter(|recording| recording.is_on(now)) else {
            return;
        };
        let is_known =
            |known: &RecordedCall| known.version == call.version && known.failed_on == call.failed_on;
        if recording.calls.iter().any(is_known) {
            return;
        }
        if own > RECORDED_BYTES_MAX || all > ALL_RECORDED_BYTES_MAX {
            recording.missed += 1;
            return;
        }
        recording.bytes += call.case.len();
        recording.calls_left -= 1;
        recording.calls.push(call);
    }

    /// Counts a call that failed and that there is no room for.
    fn miss(&self, what: Recorded) {
        if let Some(recording) = self.recordings.lock().get_mut(&what) {
            recording.missed += 1;
        }
    }

    fn told(&self, what: Recorded, node: &str, now: Duration) -> RecordedOn {
        let recordings = self.recordings.lock();
        let recording = recordings.get(&what);
        RecordedOn {
            node: node.to_owned(),
            on: recording.is_some_and(|recording| recording.is_on(now)),
            calls: recording.map_or_else(Vec::new, |recording| recording.calls.clone()),
            missed: recording.map_or(0, |recording| recording.missed),
        }
    }
}

impl Recording {
    fn is_on(&self, now: Duration) -> bool {
        now < self.until && self.calls_left > 0
    }
}

// === impl Trail ===

impl Trail {
    /// Begins to follow an attempt, unless too many are followed.
    fn begin(tenant: TenantId, trails: &Arc<Trails>) -> Option<Trail> {
        let mut followed = trails.0.lock();
        let all: usize = followed.values().sum();
        let own = followed.get(&tenant).copied().unwrap_or_default();
        if own >= TRAILS_MAX || all >= ALL_TRAILS_MAX {
            return None;
        }
        followed.insert(tenant, own + 1);
        drop(followed);
        Some(Trail {
            tenant,
            trails: Arc::clone(trails),
            steps: Vec::new(),
            bytes_left: Some(TRAIL_BYTES_MAX),
            found: None,
        })
    }

    /// Notes what the plugin asked for, and how that went.
    pub(super) fn step(&mut self, asked_for: Value, response: Value) {
        let mut step = found_values(self.found.take());
        step.insert("expect".to_owned(), what_must_be_alike(asked_for));
        step.insert("response".to_owned(), response);
        let step = Value::Object(step);
        let bytes = step.to_string().len();
        self.bytes_left = self.bytes_left.and_then(|left| left.checked_sub(bytes));
        match self.bytes_left {
            Some(_) => self.steps.push(step),
            None => self.steps.clear(),
        }
    }

    /// Returns all steps, with the one that failed; none where they were too many bytes.
    fn failed(mut self, failed: Value) -> Option<Vec<Value>> {
        self.bytes_left?;
        let mut step = found_values(self.found.take());
        step.insert("failed".to_owned(), failed);
        let mut steps = std::mem::take(&mut self.steps);
        steps.push(Value::Object(step));
        Some(steps)
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        let mut followed = self.trails.0.lock();
        if let Some(own) = followed.get_mut(&self.tenant) {
            *own -= 1;
            if *own == 0 {
                followed.remove(&self.tenant);
            }
        }
    }
}

/// Returns what a version that is mended must ask for as well, for the same response to make sense.
fn what_must_be_alike(mut asked_for: Value) -> Value {
    if let Some(Value::Object(request)) = asked_for.get_mut("http") {
        request.retain(|name, _| SAME_REQUEST.contains(&name.as_str()));
    }
    asked_for
}

// === impl Broker ===

impl Broker {
    /// Has all nodes record the calls of a binding's plugin that fail, from now on, or (without bounds) no longer; returns
    /// what each of them has, this one first, and which did not answer.
    pub async fn record(
        &self,
        what: Recorded,
        bounds: Option<RecordingBounds>,
    ) -> Result<(Vec<RecordedOn>, Vec<ReplicaId>), BrokerError> {
        if bounds.is_some() {
            self.refresh(None).await?;
            self.check_recorded(what)?;
        }
        let ask = bounds.map_or(RecordAsk::Forget, RecordAsk::Begin);
        let (told, silent) = self.recorders(what, ask).await;
        if bounds.is_some() && told.iter().all(|node| !node.on) {
            let text =
                format!("no node records more than {ALL_RECORDINGS_MAX} bindings at once: try again later");
            return Err(BrokerError::Argument(text));
        }
        Ok((told, silent))
    }

    /// Returns what was recorded of a binding on each node, this one first, and which nodes did not answer.
    pub async fn recorded(&self, what: Recorded) -> (Vec<RecordedOn>, Vec<ReplicaId>) {
        self.recorders(what, RecordAsk::Tell).await
    }

    async fn recorders(&self, what: Recorded, ask: RecordAsk) -> (Vec<RecordedOn>, Vec<ReplicaId>) {
        let request = Ask::Record(what, ask);
        let request = &request;
        let asked = self.others.all().into_iter().map(|other| async move {
            match self.ask_one(other, request, ANSWER_WITHIN).await {
                Some(Told::Recorded(recorded)) => Ok(recorded),
                Some(_) | None => Err(other),
            }
        });
        let mut told = vec![self.record_here(what, ask)];
        let mut silent = Vec::new();
        for answer in join_all(asked).await {
            match answer {
                Ok(recorded) => told.push(recorded),
                Err(other) => silent.push(other),
            }
        }
        (told, silent)
    }

    /// Does what is asked with this node's recording, and tells what is recorded.
    pub(super) fn record_here(&self, what: Recorded, ask: RecordAsk) -> RecordedOn {
        let now = self.clock.monotonic();
        match ask {
            RecordAsk::Begin(bounds) => self.recorder.begin(what, bounds, now),
            RecordAsk::Forget => self.recorder.forget(what),
            RecordAsk::Tell => {}
        }
        self.recorder.told(what, &self.label, now)
    }

    /// Refuses what may not be recorded: nothing is bound there, or what is decided there is sealed.
    fn check_recorded(&self, what: Recorded) -> Result<(), BrokerError> {
        let bound = self
            .directory
            .view(|directory| directory.binding(what.place, what.world).is_some());
        if !bound {
            return Err(BrokerError::Argument(
                "nothing of that world is bound there".to_owned(),
            ));
        }
        if self.is_sealed(what.place) || what.world == World::Seal {
            return Err(BrokerError::Argument(
                "what is sealed is not recorded: a recording says what bodies say".to_owned(),
            ));
        }
        Ok(())
    }

    /// Returns where to note an attempt's steps, if it is to be recorded should it fail.
    pub(super) fn trail(&self, binding: &Binding) -> Option<Trail> {
        let what = recorded(binding, World::Deliver);
        let wanted = self.recorder.wants(what, self.clock.monotonic());
        wanted
            .then(|| Trail::begin(binding.tenant, &self.recorder.trails))
            .flatten()
    }

    /// Returns whether failing calls of what is lent this store are recorded.
    pub(super) fn records(&self, store: KvId) -> bool {
        let KvId { place, world, tenant } = store;
        let what = Recorded { tenant, place, world };
        self.recorder.wants(what, self.clock.monotonic())
    }

    /// Records that a router failed on some of the messages that it was asked about together. Of their bodies it is told the
    /// sizes alone. Where it has a store, what it finds for one is what it wrote for those before.
    pub(super) fn record_route(
        &self,
        binding: &Binding,
        table: &RouteTable,
        asked: &[(Envelope, Option<GuestFault>)],
        found: Option<Found>,
    ) {
        let case = |asked: &[(Envelope, Option<GuestFault>)], found| {
            let (filter_type, subscriptions) = table_values(table);
            let messages = asked.iter().map(|(envelope, fault)| {
                let mut message = json!({
                    "envelope": envelope_value(envelope),
                    "body_bytes": envelope.body_bytes,
                });
                if let Some(fault) = fault {
                    message["failed"] = Value::from(fault.to_string());
                }
                message
            });
            let mut case = found_values(found);
            case.insert("filter_type".to_owned(), filter_type);
            case.insert("subscriptions".to_owned(), subscriptions);
            case.insert("messages".to_owned(), messages.collect());
            case
        };
        if found.is_some() {
            let failed = asked
                .iter()
                .filter_map(|(envelope, fault)| Some((envelope.id, fault.as_ref()?)));
            if let Some(failed) = failed.max_by_key(|(_, fault)| fault.is_guilty()) {
                self.record_call(binding, World::Route, failed, |_| case(asked, found));
            }
            return;
        }
        for one in asked {
            if let (envelope, Some(fault)) = one {
                let alone = std::slice::from_ref(one);
                self.record_call(binding, World::Route, (envelope.id, fault), |_| case(alone, None));
            }
        }
    }

    /// Records that a filter failed on a message.
    pub(super) fn record_filter(
        &self,
        binding: &Binding,
        envelope: &Envelope,
        body: &[u8],
        found: Option<Found>,
        fault: &GuestFault,
    ) {
        self.record_call(binding, World::Filter, (envelope.id, fault), |failed| {
            let mut case = found_values(found);
            case.insert("envelope".to_owned(), envelope_value(envelope));
            case.insert("body".to_owned(), body_value(body));
            case.insert("failed".to_owned(), failed);
            case
        });
    }

    /// Records that a deliver plugin failed on an attempt, after these steps and how they went.
    pub(super) fn record_delivery(
        &self,
        binding: &Binding,
        delivery: &Delivery,
        body: &[u8],
        trail: Trail,
        fault: &GuestFault,
    ) {
        let Some(steps) = trail.failed(Value::from(fault.to_string())) else {
            self.recorder.miss(recorded(binding, World::Deliver));
            return;
        };
        self.record_call(binding, World::Deliver, (delivery.message, fault), |_| {
            let fields = [
                ("delivery", delivery_value(delivery)),
                ("body", body_value(body)),
                ("steps", Value::Array(steps)),
            ];
            fields
                .map(|(name, value)| (name.to_owned(), value))
                .into_iter()
                .collect()
        });
    }

    /// Records a call that failed, if that is wanted and the plugin is to blame.
    fn record_call(
        &self,
        binding: &Binding,
        world: World,
        (message, fault): (MessageId, &GuestFault),
        case: impl FnOnce(Value) -> Map<String, Value>,
    ) {
        let what = recorded(binding, world);
        if !fault.is_guilty() || !self.recorder.wants(what, self.clock.monotonic()) {
            return;
        }
        let mut whole = Map::new();
        let configuration = String::from_utf8_lossy(&binding.configuration);
        if !configuration.is_empty() {
            whole.insert("config".to_owned(), Value::from(configuration));
        }
        let failed = fault.to_string();
        whole.extend(case(Value::from(failed.as_str())));
        let call = RecordedCall {
            at: self.clock.machine(),
            version: binding.version,
            failed_on: (message, failed),
            case: format!("{:#}\n", Value::Object(whole)),
        };
        self.recorder.add(what, call, self.clock.monotonic());
    }

    /// Lets go of recordings that ended long enough ago, until the broker stops.
    pub(super) async fn forget_recordings(self) {
        let stop = self.stop.clone();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(SWEEP) => self.recorder.sweep(self.clock.monotonic()),
            }
        }
    }
}

/// Returns what a plugin found in its store, as a case says it. How much room there was matters only where there was so little
/// that a decision could have come to its end.
fn found_values(found: Option<Found>) -> Map<String, Value> {
    let mut values = Map::new();
    let Some(Found { entries, room }) = found else {
        return values;
    };
    let entries = entries.into_iter();
    let held: Map<String, Value> = entries
        .filter_map(|(key, value)| Some((key, body_value(&value?))))
        .collect();
    values.insert("kv".to_owned(), Value::Object(held));
    let is_little = |room: &KvRoom| room.keys < KV_TOUCHED_MAX || room.bytes < KV_WRITTEN_BYTES_MAX;
    if let Some(KvRoom { keys, bytes }) = room.filter(is_little) {
        values.insert("kv_room".to_owned(), json!({ "keys": keys, "bytes": bytes }));
    }
    values
}

fn recorded(binding: &Binding, world: World) -> Recorded {
    Recorded {
        tenant: binding.tenant,
        place: binding.identity.place,
        world,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const WHAT: Recorded = Recorded {
        tenant: TenantId(3),
        place: Place::Platform,
        world: World::Filter,
    };
    const FOR_LONG: RecordingBounds = RecordingBounds {
        span: Duration::from_secs(10),
        calls: 9,
    };

    /// Returns a call that is no other's repetition.
    fn call(bytes: usize) -> RecordedCall {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        RecordedCall {
            at: Time::default(),
            version: PluginVersion(1),
            failed_on: (MessageId(NUMBER.fetch_add(1, Ordering::Relaxed)), String::new()),
            case: "x".repeat(bytes),
        }
    }

    fn of_tenant(tenant: u32, place: u64) -> Recorded {
        Recorded {
            tenant: TenantId(tenant),
            place: Place::Incarnation(posthouse_model::Incarnation(place)),
            ..WHAT
        }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn nothing_is_recorded_unasked_and_nothing_beyond_its_time_or_number() {
        let recorder = Recorder::default();
        recorder.add(WHAT, call(1), at(0));
        assert_eq!(recorder.told(WHAT, "1", at(0)).calls, []);
        let bounds = RecordingBounds { calls: 2, ..FOR_LONG };
        recorder.begin(WHAT, bounds, at(0));
        for second in [0, 9, 9] {
            recorder.add(WHAT, call(1), at(second));
        }
        let told = recorder.told(WHAT, "1", at(9));
        assert_eq!((told.on, told.calls.len()), (false, 2));
        recorder.begin(WHAT, bounds, at(0));
        recorder.add(WHAT, call(1), at(10));
        assert!(!recorder.wants(WHAT, at(10)));
        assert_eq!(recorder.told(WHAT, "1", at(10)).calls, []);
    }

    #[test]
    fn a_message_that_fails_again_alike_is_recorded_once() {
        let recorder = Recorder::default();
        recorder.begin(WHAT, FOR_LONG, at(0));
        let first = call(1);
        let otherwise = RecordedCall {
            failed_on: (first.failed_on.0, "otherwise".to_owned()),
            ..first.clone()
        };
        let other_version = RecordedCall {
            version: PluginVersion(2),
            ..first.clone()
        };
        for call in [&first, &first, &otherwise, &other_version, &first] {
            recorder.add(WHAT, call.clone(), at(0));
        }
        let told = recorder.told(WHAT, "1", at(0));
        assert_eq!(told.calls, [first, otherwise, other_version]);
        assert_eq!(told.missed, 0);
    }

    #[test]
    fn a_call_that_is_too_large_is_passed_over_and_counted() {
        let recorder = Recorder::default();
        recorder.begin(WHAT, FOR_LONG, at(0));
        for bytes in [RECORDED_BYTES_MAX - 1, 2, 1] {
            recorder.add(WHAT, call(bytes), at(0));
        }
        let told = recorder.told(WHAT, "1", at(0));
        assert_eq!((told.on, told.calls.len(), told.missed), (true, 2, 1));
    }

    #[test]
    fn a_tenant_s_recordings_take_no_room_from_another_s() {
        let recorder = Recorder::default();
        let other = of_tenant(4, 0);
        recorder.begin(other, FOR_LONG, at(0));
        for place in 0..=RECORDINGS_MAX as u64 {
            recorder.begin(of_tenant(3, place), FOR_LONG, at(place));
            recorder.add(of_tenant(3, place), call(RECORDED_BYTES_MAX / 2), at(place));
        }
        recorder.add(other, call(RECORDED_BYTES_MAX), at(0));
        assert_eq!(recorder.told(other, "1", at(0)).calls.len(), 1);
        // Its own that ends first had to go, and what it kept had room for two calls.
        assert!(!recorder.wants(of_tenant(3, 0), at(0)));
        let kept = |place| recorder.told(of_tenant(3, place), "1", at(0)).calls.len();
        assert_eq!((0..=RECORDINGS_MAX as u64).map(kept).sum::<usize>(), 2);
    }

    #[test]
    fn all_recordings_together_have_bounds() {
        let recorder = Recorder::default();
        let all = ALL_RECORDINGS_MAX as u32;
        for tenant in 0..=all {
            recorder.begin(of_tenant(tenant, 0), FOR_LONG, at(0));
            recorder.add(of_tenant(tenant, 0), call(RECORDED_BYTES_MAX), at(0));
        }
        assert!(recorder.wants(of_tenant(all - 1, 0), at(0)));
        assert!(!recorder.wants(of_tenant(all, 0), at(0)));
        let bytes: usize = recorder.recordings.lock().values().map(|one| one.bytes).sum();
        assert_eq!(bytes, ALL_RECORDED_BYTES_MAX);
    }

    #[test]
    fn what_was_recorded_is_let_go_of_an_hour_after_its_end() {
        let recorder = Recorder::default();
        recorder.begin(WHAT, FOR_LONG, at(0));
        recorder.add(WHAT, call(1), at(0));
        recorder.sweep(at(3_609));
        assert_eq!(recorder.told(WHAT, "1", at(3_609)).calls.len(), 1);
        recorder.sweep(at(3_610));
        assert!(recorder.recordings.lock().is_empty());
    }

    #[test]
    fn attempts_that_are_followed_have_bounds() {
        let trails = Arc::default();
        let follow = |tenant| Trail::begin(TenantId(tenant), &trails);
        let own: Vec<Trail> = (0..=TRAILS_MAX).filter_map(|_| follow(1)).collect();
        assert_eq!(own.len(), TRAILS_MAX);
        let others = (2..).map_while(&follow).take(ALL_TRAILS_MAX);
        assert_eq!(others.collect::<Vec<_>>().len(), ALL_TRAILS_MAX - TRAILS_MAX);
        drop(own);
        assert!(trails.0.lock().is_empty());
        let mut trail = follow(1).expect("nothing is followed any more");
        trail.step(json!("x"), json!("y".repeat(TRAIL_BYTES_MAX / 2)));
        trail.step(json!("x"), json!("y".repeat(TRAIL_BYTES_MAX / 2)));
        trail.step(json!("x"), json!("y"));
        assert_eq!(trail.failed(json!("z")), None);
    }

    #[test]
    fn the_room_of_a_store_is_told_where_it_was_little() {
        let held = |keys, bytes| {
            let entries = [("a", Some("1")), ("gone", None)];
            let entry = |(key, value): (&str, Option<&str>)| {
                let value = value.map(|value| bytes::Bytes::copy_from_slice(value.as_bytes()));
                (key.to_owned(), value)
            };
            found_values(Some(Found {
                entries: entries.map(entry).into_iter().collect(),
                room: Some(KvRoom { keys, bytes }),
            }))
        };
        let much = held(KV_TOUCHED_MAX, KV_WRITTEN_BYTES_MAX);
        assert_eq!(Value::Object(much), json!({ "kv": { "a": "1" } }));
        let little = held(0, KV_WRITTEN_BYTES_MAX);
        assert_eq!(
            Value::Object(little)["kv_room"],
            json!({ "keys": 0, "bytes": KV_WRITTEN_BYTES_MAX })
        );
        assert!(held(KV_TOUCHED_MAX, 7).contains_key("kv_room"));
        assert!(found_values(None).is_empty());
    }

    #[test]
    fn of_a_request_that_went_well_only_where_it_goes_must_stay() {
        let asked_for = json!({ "http": {
            "method": "POST", "url": "http://a", "headers": { "webhook-signature": "v1,x" }, "body": "message",
        } });
        let alike = json!({ "http": { "method": "POST", "url": "http://a" } });
        assert_eq!(what_must_be_alike(asked_for), alike);
        assert_eq!(
            what_must_be_alike(json!({ "enqueue": "q" })),
            json!({ "enqueue": "q" })
        );
    }
}
