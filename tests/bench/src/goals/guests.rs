//! What a call of a plugin costs in the host alone, without a node around it: the built-in router over batches, with few
//! binding keys and with many, and a filter that looks into JSON.
//!
//! One caller asks again and again, as one that publishes in batches does.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use bytes::Bytes;
use posthouse_host::{
    Binding, BindingIdentity, CompilerCommand, Config, Envelope, Filtered, Host, NoKeys, ROUTE_BATCH_MAX,
    RouteSubscription, RouteTable,
};
use posthouse_model::{
    FilterType, GuestLimits, Incarnation, LogIndex, MessageId, Place, PluginVersion, Quotas, SubscriptionId,
    TenantId, Time, World,
};

use posthouse_load::statistics::median;

use crate::goals::BODY_BYTES;
use crate::options::Options;
use crate::report::{Bound, Report, Unit};

/// Binding keys of a topic, and how many of them a subscription has; microseconds that a message may cost with them.
const TOPICS: [(usize, usize, f64); 2] = [(10, 1, 0.5), (1_000, 2, 1.5)];
const FILTER_MICROS_MAX: f64 = 5.0;
const ROUTER: PluginVersion = PluginVersion(1);
const FILTER: PluginVersion = PluginVersion(2);
const RULE: &str = r#"{"when":{"field":"/price","above":100}}"#;
/// A round need be no longer: a call takes microseconds.
const ROUND_MAX: Duration = Duration::from_secs(2);
/// Calls between two looks at the clock.
const CALLS: usize = 50;

/// Measures both.
pub(crate) fn measure(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()?;
    runtime.block_on(measure_guests(options, report))
}

async fn measure_guests(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let config = Config::new(folder.path().join("code"), CompilerCommand::InProcess);
    let host = Host::open(config, Arc::new(NoKeys))?;
    load(&host, World::Route, ROUTER, "plugins/topic-router").await?;
    load(&host, World::Filter, FILTER, "examples/plugins/json-filter").await?;

    for (number, (keys, keys_each, micros_max)) in (0..).zip(TOPICS) {
        let binding = binding(&host, ROUTER, "", number);
        let table = Arc::new(table(number, keys / keys_each, keys_each));
        let batch: Vec<Envelope> = (0..ROUTE_BATCH_MAX)
            .map(|message| envelope(message % keys))
            .collect();
        let ask = async || {
            let reached = host.route(&binding, &table, batch.clone()).await;
            let each_reached_one = reached
                .iter()
                .all(|reached| matches!(reached, Ok(all) if all.len() == 1));
            each_reached_one
                .then_some(())
                .ok_or_else(|| anyhow!("the router answered {reached:?}"))
        };
        let micros = micros_a_call(options, ask).await? / ROUTE_BATCH_MAX as f64;
        report.add(
            format!("routing a message of {ROUTE_BATCH_MAX}, {keys} binding keys"),
            micros,
            Unit::Micros,
            Bound::AtMost(micros_max),
        );
    }

    let binding = binding(&host, FILTER, RULE, 9);
    let body = json_body();
    let ask = async || match host.filter(&binding, envelope(0), body.clone()).await {
        Ok(Filtered::Pass) => Ok(()),
        other => Err(anyhow!("the filter answered {other:?}")),
    };
    report.add(
        "filtering a JSON body of 1 KiB",
        micros_a_call(options, ask).await?,
        Unit::Micros,
        Bound::AtMost(FILTER_MICROS_MAX),
    );
    host.stop().await;
    Ok(())
}

/// Asks again and again, and returns how long a call takes, the median of all rounds.
async fn micros_a_call(
    options: &Options,
    mut ask: impl AsyncFnMut() -> anyhow::Result<()>,
) -> anyhow::Result<f64> {
    let mut rounds = Vec::new();
    for _ in 0..=options.rounds() {
        let (begun, mut calls) = (Instant::now(), 0);
        while begun.elapsed() < options.part().min(ROUND_MAX) {
            for _ in 0..CALLS {
                ask().await?;
            }
            calls += CALLS;
        }
        rounds.push(begun.elapsed().as_secs_f64() * 1e6 / calls as f64);
    }
    // The first one warms.
    rounds.remove(0);
    median(&rounds).context("there is a round")
}

async fn load(host: &Host, world: World, version: PluginVersion, folder: &str) -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let component =
        std::fs::read(root.join(folder).join("component.wasm")).context("components are committed")?;
    let loaded = host.load(version, None, world, Bytes::from(component)).await;
    loaded.map_err(|refusal| anyhow!("{folder}: {refusal}"))
}

fn binding(host: &Host, version: PluginVersion, configuration: &'static str, number: u32) -> Binding {
    let tenant = TenantId(number + 1);
    let quotas = Quotas {
        guest_micros_per_second: u32::MAX,
        ..Quotas::default()
    };
    let limits = GuestLimits {
        host_calls_per_second: u32::MAX,
        output_bytes_per_second: u64::MAX,
        ..GuestLimits::default()
    };
    host.set_quota(tenant, &quotas, &limits);
    Binding {
        version,
        tenant,
        configuration: Bytes::from_static(configuration.as_bytes()),
        identity: BindingIdentity {
            changed: LogIndex(1),
            place: Place::Incarnation(Incarnation(1)),
        },
        kv: None,
    }
}

/// Returns a table of subscriptions each of which wants so many shops' paid orders.
fn table(number: u32, subscriptions: usize, keys_each: usize) -> RouteTable {
    let subscriptions = (0..subscriptions).map(|subscription| RouteSubscription {
        id: SubscriptionId(subscription as u64),
        name: format!("s{subscription}"),
        filter_tags: Vec::new(),
        binding_keys: (0..keys_each)
            .map(|key| format!("shop{}.*.paid", subscription * keys_each + key))
            .collect(),
    });
    RouteTable {
        key: (Incarnation(u64::from(number) + 1), 1),
        filter_type: FilterType::BindingKeys,
        subscriptions: subscriptions.collect(),
    }
}

fn envelope(shop: usize) -> Envelope {
    Envelope {
        id: MessageId(1),
        produced: Time::from_seconds(1_000),
        tags: Vec::new(),
        routing_key: format!("shop{shop}.order.paid"),
        body_bytes: 1_024,
        attributes: BTreeMap::new(),
    }
}

/// Returns an order with its price in the middle.
fn json_body() -> Bytes {
    let item = r#"{"name":"a thing with a name","count":3,"weight":1.25},"#;
    let items = item.repeat((BODY_BYTES - 100) / item.len() / 2);
    let items = items.trim_end_matches(',');
    Bytes::from(format!(
        r#"{{"shop":"shop7","items":[{items}],"price":250,"sent":[{items}]}}"#
    ))
}
