//! What the process counts, for `/metrics`.
//!
//! Every label has a bound: actions, codes, worlds and outcomes are from fixed lists, and the first
//! [`TENANTS_MAX`] tenants seen get series of their own, all later ones share one.

mod guests;
mod own;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use posthouse_host::{OwnFigures, Usage};
use posthouse_model::{SettledOutcome, TenantId, World};
use posthouse_store::LogObserver;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::egress::EgressError;
use guests::GuestFigures;
use own::OwnFigureSeries;

/// How many tenants get series of their own.
pub const TENANTS_MAX: usize = 1_000;
/// The label of all other tenants.
const OTHER_TENANTS: &str = "other";

/// The process's figures. Clones share them.
#[derive(Clone)]
pub struct Metrics(Arc<Figures>);

/// What is known of the store when `/metrics` is asked.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct StoreFigures {
    /// Bytes that the broker uses.
    pub used_bytes: u64,
    /// Bytes that are free on its disk.
    pub free_bytes: u64,
    /// Bytes of the write-ahead log.
    pub wal_bytes: u64,
    /// Whether sends are refused because the disk is nearly full.
    pub nearly_full: bool,
    /// Whether a write failed, after which nothing more is written.
    pub failed: bool,
    /// How much is known to be damaged, and not mended yet.
    pub damaged: u64,
}

/// An open connection, counted as long as it is held.
#[derive(Debug)]
pub struct OpenConnection(Gauge);

/// An open stream, counted as long as it is held.
#[derive(Debug)]
pub struct OpenStream(Gauge);

struct Figures {
    registry: Registry,
    tenants: RwLock<BTreeMap<TenantId, Arc<str>>>,
    other_tenants: Arc<str>,
    cmq_calls: Family<CmqCall, Counter>,
    cmq_seconds: Family<Action, Histogram, fn() -> Histogram>,
    admin_calls: Family<AdminCall, Counter>,
    stream_requests: Family<StreamRequest, Counter>,
    streams: Family<StreamMethod, Gauge>,
    bytes_in: Family<Tenant, Counter>,
    bytes_out: Family<Tenant, Counter>,
    sent: Family<Tenant, Counter>,
    received: Family<Tenant, Counter>,
    deleted: Family<Tenant, Counter>,
    throttled: Family<Tenant, Counter>,
    decided_again: Counter,
    guest_faults: Family<Guest, Counter>,
    bindings_broken: Family<Guest, Counter>,
    tried: Family<TriedLabel, Counter>,
    guests: Arc<GuestFigures>,
    own: Arc<OwnFigureSeries>,
    pushes: Family<Push, Counter>,
    http_requests: Family<Tenant, Counter>,
    http_request_bytes: Family<Tenant, Counter>,
    http_failed: Family<Failure, Counter>,
    http_held_back: Family<Tenant, Counter>,
    sync_seconds: Histogram,
    sync_bytes: Counter,
    connections: Gauge,
    waiters: Gauge,
    bodies_held_bytes: Gauge,
    store_used_bytes: Gauge,
    store_free_bytes: Gauge,
    store_wal_bytes: Gauge,
    store_nearly_full: Gauge,
    store_failed: Gauge,
    store_damaged: Gauge,
    scrubbed_bytes: Counter,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct CmqCall {
    action: &'static str,
    code: u32,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct Action {
    action: &'static str,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct AdminCall {
    operation: &'static str,
    status: u16,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct StreamRequest {
    request: &'static str,
    code: u32,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct StreamMethod {
    method: &'static str,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct Tenant {
    tenant: TenantLabel,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct Guest {
    tenant: TenantLabel,
    world: &'static str,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct TriedLabel {
    tenant: TenantLabel,
    world: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct Push {
    tenant: TenantLabel,
    outcome: &'static str,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct Failure {
    tenant: TenantLabel,
    reason: &'static str,
}

#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
struct TenantLabel(Arc<str>);

// === impl Metrics ===

impl Metrics {
    /// Returns figures that are all zero.
    pub fn new() -> Metrics {
        Metrics(Arc::new(Figures::new()))
    }

    /// Returns the figures as text, in OpenMetrics' format.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail, and every label set here can be encoded.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.0.registry);
        text
    }

    /// Counts an answered CMQ call; code 0 is success.
    pub fn cmq_call(&self, action: &'static str, code: u32) {
        self.0.cmq_calls.get_or_create(&CmqCall { action, code }).inc();
    }

    /// Notes how long a CMQ call took, its wait for a message not counted.
    pub fn cmq_took(&self, action: &'static str, time: Duration) {
        self.0
            .cmq_seconds
            .get_or_create(&Action { action })
            .observe(time.as_secs_f64());
    }

    /// Counts an answered admin call.
    pub fn admin_call(&self, operation: &'static str, status: u16) {
        self.0
            .admin_calls
            .get_or_create(&AdminCall { operation, status })
            .inc();
    }

    /// Counts an answered request of a stream; code 0 is success.
    pub fn stream_request(&self, request: &'static str, code: u32) {
        let label = StreamRequest { request, code };
        self.0.stream_requests.get_or_create(&label).inc();
    }

    /// Counts a stream, until what is returned is dropped.
    pub fn stream_opened(&self, method: &'static str) -> OpenStream {
        let open = self.0.streams.get_or_create(&StreamMethod { method }).clone();
        open.inc();
        OpenStream(open)
    }

    /// Counts bytes that a tenant sent in requests.
    pub fn bytes_in(&self, tenant: TenantId, bytes: u64) {
        self.0.bytes_in.get_or_create(&self.tenant(tenant)).inc_by(bytes);
    }

    /// Counts bytes that a tenant was sent in replies.
    pub fn bytes_out(&self, tenant: TenantId, bytes: u64) {
        self.0.bytes_out.get_or_create(&self.tenant(tenant)).inc_by(bytes);
    }

    /// Counts messages that a tenant sent or published.
    pub fn sent(&self, tenant: TenantId, messages: u64) {
        self.0.sent.get_or_create(&self.tenant(tenant)).inc_by(messages);
    }

    /// Counts messages that a tenant received.
    pub fn received(&self, tenant: TenantId, messages: u64) {
        self.0
            .received
            .get_or_create(&self.tenant(tenant))
            .inc_by(messages);
    }

    /// Counts messages that a tenant deleted.
    pub fn deleted(&self, tenant: TenantId, messages: u64) {
        self.0
            .deleted
            .get_or_create(&self.tenant(tenant))
            .inc_by(messages);
    }

    /// Counts a call that was refused because the tenant is over its rate.
    pub fn throttled(&self, tenant: TenantId) {
        self.0.throttled.get_or_create(&self.tenant(tenant)).inc();
    }

    /// Counts a send or publish that is decided again, because what decides changed meanwhile.
    pub fn decided_again(&self) {
        self.0.decided_again.inc();
    }

    /// Counts a decision that a plugin failed to make: its failure policy answered for it.
    pub fn guest_fault(&self, tenant: TenantId, world: World) {
        self.0
            .guest_faults
            .get_or_create(&self.guest(tenant, world))
            .inc();
    }

    /// Counts a binding that was taken out of use because its plugin trapped too often.
    pub fn binding_broken(&self, tenant: TenantId, world: World) {
        self.0
            .bindings_broken
            .get_or_create(&self.guest(tenant, world))
            .inc();
    }

    /// Counts a message for which a version that is tried was, or was to be, compared with the one in use.
    pub fn tried(&self, tenant: TenantId, world: World, outcome: &'static str) {
        let Guest { tenant, world } = self.guest(tenant, world);
        let label = TriedLabel {
            tenant,
            world,
            outcome,
        };
        self.0.tried.get_or_create(&label).inc();
    }

    /// Counts an attempt to deliver.
    pub fn pushed(&self, tenant: TenantId, outcome: &SettledOutcome) {
        let outcome = match outcome {
            SettledOutcome::Acknowledged => "acknowledged",
            SettledOutcome::Retry(_) => "retry",
            SettledOutcome::Dropped => "dropped",
            SettledOutcome::Enqueue { .. } => "enqueued",
            SettledOutcome::Released => "released",
        };
        let Tenant { tenant } = self.tenant(tenant);
        self.0.pushes.get_or_create(&Push { tenant, outcome }).inc();
    }

    /// Counts an HTTP request that is made for a tenant's deliveries, with a body of so many bytes.
    pub fn http_request(&self, tenant: TenantId, bytes: u64) {
        let tenant = self.tenant(tenant);
        self.0.http_requests.get_or_create(&tenant).inc();
        self.0.http_request_bytes.get_or_create(&tenant).inc_by(bytes);
    }

    /// Counts a request that got no answer, or was refused.
    pub fn http_failed(&self, tenant: TenantId, error: &EgressError) {
        let reason = match error {
            EgressError::Malformed(_) => "malformed",
            EgressError::Forbidden(_) => "address",
            EgressError::NotListed(_) => "host",
            EgressError::OverRate => "rate",
            EgressError::NoResponse(_) => "no_response",
        };
        let Tenant { tenant } = self.tenant(tenant);
        self.0
            .http_failed
            .get_or_create(&Failure { tenant, reason })
            .inc();
    }

    /// Counts a time that a subscription's deliveries wait because the tenant's rate of HTTP requests is used up.
    pub fn http_held_back(&self, tenant: TenantId) {
        self.0.http_held_back.get_or_create(&self.tenant(tenant)).inc();
    }

    /// Counts a connection, until what is returned is dropped.
    pub fn connection_opened(&self) -> OpenConnection {
        self.0.connections.inc();
        OpenConnection(self.0.connections.clone())
    }

    /// Says what each tenant's plugins have used and use.
    pub fn observe_guests(&self, usage: &[(TenantId, Usage)]) {
        let labelled = usage.iter().map(|(tenant, usage)| {
            let Tenant { tenant } = self.tenant(*tenant);
            (tenant.0, *usage)
        });
        self.0.guests.replace(labelled);
    }

    /// Says what plugins raised for their owners, each with its name.
    pub fn observe_own(&self, figures: Vec<(String, OwnFigures)>) {
        let labelled = figures.into_iter().map(|(plugin, own)| {
            let Tenant { tenant } = self.tenant(own.tenant);
            (tenant, plugin, own)
        });
        self.0.own.replace(labelled);
    }

    /// Says how many receives are waiting for a message.
    pub fn observe_waiters(&self, waiters: usize) {
        self.0.waiters.set(i64::try_from(waiters).unwrap_or(i64::MAX));
    }

    /// Says how many bytes the large bodies of requests and replies take that are held.
    pub fn observe_bodies(&self, bytes: u64) {
        self.0
            .bodies_held_bytes
            .set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Counts bytes that were read again to see whether they are what was written.
    pub fn scrubbed(&self, bytes: u64) {
        self.0.scrubbed_bytes.inc_by(bytes);
    }

    /// Says how the store is.
    pub fn observe_store(&self, figures: StoreFigures) {
        let gauge = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.0.store_used_bytes.set(gauge(figures.used_bytes));
        self.0.store_free_bytes.set(gauge(figures.free_bytes));
        self.0.store_wal_bytes.set(gauge(figures.wal_bytes));
        self.0.store_nearly_full.set(i64::from(figures.nearly_full));
        self.0.store_failed.set(i64::from(figures.failed));
        self.0.store_damaged.set(gauge(figures.damaged));
    }

    fn guest(&self, tenant: TenantId, world: World) -> Guest {
        let world = match world {
            World::Route => "route",
            World::Filter => "filter",
            World::Deliver => "deliver",
            World::Seal => "seal",
        };
        let Tenant { tenant } = self.tenant(tenant);
        Guest { tenant, world }
    }

    fn tenant(&self, tenant: TenantId) -> Tenant {
        if let Some(label) = self.0.tenants.read().get(&tenant) {
            return Tenant {
                tenant: TenantLabel(Arc::clone(label)),
            };
        }
        let mut tenants = self.0.tenants.write();
        let label = if tenants.contains_key(&tenant) || tenants.len() < TENANTS_MAX {
            Arc::clone(tenants.entry(tenant).or_insert_with(|| tenant.to_string().into()))
        } else {
            Arc::clone(&self.0.other_tenants)
        };
        Tenant {
            tenant: TenantLabel(label),
        }
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

impl LogObserver for Metrics {
    fn synced(&self, bytes: u64, time: Duration) {
        self.0.sync_bytes.inc_by(bytes);
        self.0.sync_seconds.observe(time.as_secs_f64());
    }
}

// === impl OpenConnection ===

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.dec();
    }
}

// === impl Figures ===

impl Figures {
    fn new() -> Figures {
        let mut figures = Figures {
            registry: Registry::with_prefix("posthouse"),
            tenants: RwLock::default(),
            other_tenants: OTHER_TENANTS.into(),
            cmq_calls: Family::default(),
            cmq_seconds: Family::new_with_constructor(latencies),
            admin_calls: Family::default(),
            stream_requests: Family::default(),
            streams: Family::default(),
            bytes_in: Family::default(),
            bytes_out: Family::default(),
            sent: Family::default(),
            received: Family::default(),
            deleted: Family::default(),
            throttled: Family::default(),
            decided_again: Counter::default(),
            guest_faults: Family::default(),
            bindings_broken: Family::default(),
            tried: Family::default(),
            guests: Arc::default(),
            own: Arc::default(),
            pushes: Family::default(),
            http_requests: Family::default(),
            http_request_bytes: Family::default(),
            http_failed: Family::default(),
            http_held_back: Family::default(),
            sync_seconds: latencies(),
            sync_bytes: Counter::default(),
            connections: Gauge::default(),
            waiters: Gauge::default(),
            bodies_held_bytes: Gauge::default(),
            store_used_bytes: Gauge::default(),
            store_free_bytes: Gauge::default(),
            store_wal_bytes: Gauge::default(),
            store_nearly_full: Gauge::default(),
            store_failed: Gauge::default(),
            store_damaged: Gauge::default(),
            scrubbed_bytes: Counter::default(),
        };
        figures.register_calls();
        figures.register_tenants();
        figures.register_node();
        figures
    }

    fn register_calls(&mut self) {
        let registry = &mut self.registry;
        registry.register("cmq_calls", "CMQ calls answered", self.cmq_calls.clone());
        registry.register_with_unit(
            "cmq_call_duration",
            "Time from a CMQ call to its answer, the wait for a message not counted",
            Unit::Seconds,
            self.cmq_seconds.clone(),
        );
        registry.register("admin_calls", "Admin calls answered", self.admin_calls.clone());
        registry.register(
            "stream_requests",
            "Requests of streams answered",
            self.stream_requests.clone(),
        );
        registry.register("streams", "Streams open", self.streams.clone());
    }

    fn register_tenants(&mut self) {
        let registry = &mut self.registry;
        registry.register("request_bytes", "Bytes of requests", self.bytes_in.clone());
        registry.register("reply_bytes", "Bytes of replies", self.bytes_out.clone());
        registry.register("messages_sent", "Messages sent and published", self.sent.clone());
        registry.register("messages_received", "Messages received", self.received.clone());
        registry.register("messages_deleted", "Messages deleted", self.deleted.clone());
        registry.register(
            "calls_throttled",
            "Calls over a tenant's rate",
            self.throttled.clone(),
        );
        registry.register(
            "plugin_faults",
            "Decisions that a plugin failed to make",
            self.guest_faults.clone(),
        );
        registry.register(
            "plugin_bindings_broken",
            "Bindings taken out of use because their plugin trapped too often",
            self.bindings_broken.clone(),
        );
        registry.register(
            "plugin_trial_messages",
            "Messages for which a version that is tried was compared with the one in use, by what came of it",
            self.tried.clone(),
        );
        registry.register_collector(Box::new(Arc::clone(&self.guests)));
        registry.register_collector(Box::new(Arc::clone(&self.own)));
        registry.register("push_attempts", "Attempts to deliver", self.pushes.clone());
        registry.register(
            "http_requests",
            "HTTP requests made for deliveries",
            self.http_requests.clone(),
        );
        registry.register(
            "http_request_bytes",
            "Bytes of the bodies of HTTP requests made for deliveries",
            self.http_request_bytes.clone(),
        );
        registry.register(
            "http_requests_failed",
            "HTTP requests for deliveries that were refused or not answered",
            self.http_failed.clone(),
        );
        registry.register(
            "http_requests_held_back",
            "Times that deliveries waited because the tenant's rate of HTTP requests was used up",
            self.http_held_back.clone(),
        );
    }

    fn register_node(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "sends_decided_again",
            "Sends and publishes decided again because bindings or sealing changed meanwhile",
            self.decided_again.clone(),
        );
        registry.register_with_unit(
            "log_sync_duration",
            "Time to make a batch of the log durable",
            Unit::Seconds,
            self.sync_seconds.clone(),
        );
        registry.register(
            "log_written_bytes",
            "Bytes of the log made durable",
            self.sync_bytes.clone(),
        );
        registry.register("connections", "Connections open", self.connections.clone());
        registry.register("waiters", "Receives waiting for a message", self.waiters.clone());
        registry.register(
            "bodies_held_bytes",
            "Bytes of requests and replies above 64 KiB that are held",
            self.bodies_held_bytes.clone(),
        );
        registry.register(
            "store_used_bytes",
            "Bytes of files",
            self.store_used_bytes.clone(),
        );
        registry.register(
            "store_free_bytes",
            "Bytes free on the disk",
            self.store_free_bytes.clone(),
        );
        registry.register(
            "store_wal_bytes",
            "Bytes of the log's files",
            self.store_wal_bytes.clone(),
        );
        registry.register(
            "store_nearly_full",
            "1 while sends are refused because the disk is nearly full",
            self.store_nearly_full.clone(),
        );
        registry.register(
            "store_failed",
            "1 once a write has failed",
            self.store_failed.clone(),
        );
        registry.register(
            "store_damaged",
            "Damaged parts of files that are not mended yet",
            self.store_damaged.clone(),
        );
        registry.register(
            "scrubbed_bytes",
            "Bytes read again to find damage",
            self.scrubbed_bytes.clone(),
        );
    }
}

/// Buckets from a tenth of a millisecond to about 26 seconds.
fn latencies() -> Histogram {
    Histogram::new(exponential_buckets(0.0001, 2.0, 19))
}

impl EncodeLabelValue for TenantLabel {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&&*self.0, encoder)
    }
}

#[cfg(test)]
mod tests {
    use posthouse_host::BusyReason;

    use super::*;

    #[test]
    fn what_is_counted_is_in_the_text() {
        let metrics = Metrics::new();
        metrics.http_request(TenantId(7), 100);
        metrics.http_failed(TenantId(7), &EgressError::NotListed("h".to_owned()));
        metrics.cmq_call("SendMessage", 0);
        metrics.cmq_call("SendMessage", 0);
        metrics.cmq_call("SendMessage", 4440);
        metrics.sent(TenantId(7), 16);
        let mut usage = used(3, 500_000);
        let output = BusyReason::ALL
            .iter()
            .position(|reason| *reason == BusyReason::Output);
        usage.refused[output.expect("it is one of all")] = 2;
        metrics.observe_guests(&[(TenantId(7), usage)]);
        metrics.pushed(TenantId(7), &SettledOutcome::Retry(posthouse_model::Span::ZERO));
        metrics.synced(4_096, Duration::from_micros(250));
        metrics.observe_store(StoreFigures {
            free_bytes: 5,
            nearly_full: true,
            ..Default::default()
        });
        let text = metrics.encode();
        for line in [
            "posthouse_cmq_calls_total{action=\"SendMessage\",code=\"0\"} 2",
            "posthouse_cmq_calls_total{action=\"SendMessage\",code=\"4440\"} 1",
            "posthouse_messages_sent_total{tenant=\"7\"} 16",
            "posthouse_plugin_calls_total{tenant=\"7\"} 3",
            "posthouse_plugin_cpu_seconds_total{tenant=\"7\"} 0.5",
            "posthouse_plugin_memory_bytes{tenant=\"7\"} 0",
            "posthouse_plugin_calls_refused_total{tenant=\"7\",reason=\"output\"} 2",
            "posthouse_http_request_bytes_total{tenant=\"7\"} 100",
            "posthouse_http_requests_failed_total{tenant=\"7\",reason=\"host\"} 1",
            "posthouse_push_attempts_total{tenant=\"7\",outcome=\"retry\"} 1",
            "posthouse_log_sync_duration_seconds_count 1",
            "posthouse_store_free_bytes 5",
            "posthouse_store_nearly_full 1",
            "posthouse_store_failed 0",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in\n{text}"
            );
        }
    }

    #[test]
    fn a_connection_is_counted_until_it_is_let_go() {
        let metrics = Metrics::new();
        let first = metrics.connection_opened();
        let _second = metrics.connection_opened();
        drop(first);
        assert!(metrics.encode().contains("posthouse_connections 1\n"));
    }

    #[test]
    fn a_tenant_whose_account_is_closed_leaves_the_plugins_figures() {
        let metrics = Metrics::new();
        metrics.observe_guests(&[(TenantId(1), used(1, 0)), (TenantId(2), used(2, 0))]);
        metrics.observe_guests(&[(TenantId(2), used(2, 0))]);
        let text = metrics.encode();
        assert!(!text.contains("plugin_calls_total{tenant=\"1\"}"), "{text}");
        assert!(text.contains("plugin_calls_total{tenant=\"2\"} 2\n"), "{text}");
    }

    fn used(calls: u64, cpu_micros: u64) -> Usage {
        Usage {
            calls,
            cpu_micros,
            ..Usage::default()
        }
    }

    #[test]
    fn tenants_past_the_bound_share_a_series_and_earlier_ones_keep_theirs() {
        let metrics = Metrics::new();
        for tenant in 0..=TENANTS_MAX + 1 {
            metrics.sent(TenantId(u32::try_from(tenant).expect("small")), 1);
        }
        metrics.sent(TenantId(0), 1);
        let text = metrics.encode();
        assert!(text.contains("posthouse_messages_sent_total{tenant=\"other\"} 2\n"));
        assert!(text.contains("posthouse_messages_sent_total{tenant=\"0\"} 2\n"));
        let series = text
            .lines()
            .filter(|line| line.starts_with("posthouse_messages_sent_total"));
        assert_eq!(series.count(), TENANTS_MAX + 1);
    }
}
