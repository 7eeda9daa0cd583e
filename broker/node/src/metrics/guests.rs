//! What plugins used, by tenant, as the plugin host last said.
//!
//! The host counts; here its counts are only shown. They are replaced as a whole, so that a tenant that is gone is
//! gone from the figures too.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use posthouse_host::{BusyReason, Usage};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use super::TenantLabel;

/// What plugins used, by tenant.
#[derive(Debug, Default)]
pub(super) struct GuestFigures(RwLock<BTreeMap<Arc<str>, Usage>>);

#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct Refused {
    tenant: TenantLabel,
    reason: &'static str,
}

/// One figure of a tenant's use. `Refused` has one series for each reason.
enum Figure {
    Count(fn(&Usage) -> u64),
    Refused,
    Seconds(fn(&Usage) -> f64),
    Level(fn(&Usage) -> i64),
}

/// Every figure: its name, what it says, and where it is in a tenant's use.
const FIGURES: [(&str, &str, Figure); 10] = [
    (
        "plugin_calls",
        "Calls of plugins",
        Figure::Count(|usage| usage.calls),
    ),
    (
        "plugin_cpu",
        "CPU time of plugins",
        Figure::Seconds(|usage| usage.cpu_micros as f64 / 1_000_000.0),
    ),
    (
        "plugin_traps",
        "Calls that ended in a trap or at a limit",
        Figure::Count(|usage| usage.traps),
    ),
    (
        "plugin_bad_answers",
        "Calls whose answer made no sense, or said that the plugin failed",
        Figure::Count(|usage| usage.failures),
    ),
    (
        "plugin_calls_refused",
        "Calls not made because the tenant's plugins use all they may",
        Figure::Refused,
    ),
    (
        "plugin_host_calls",
        "Calls that plugins made to the host",
        Figure::Count(|usage| usage.host_calls),
    ),
    (
        "plugin_output_bytes",
        "Bytes that plugins handed to the host",
        Figure::Count(|usage| usage.output_bytes),
    ),
    (
        "plugin_figures_dropped",
        "Figures that plugins raised over a bound",
        Figure::Count(|usage| usage.figures_dropped),
    ),
    (
        "plugin_instances",
        "Instances of plugins",
        Figure::Level(|usage| i64::from(usage.instances)),
    ),
    (
        "plugin_memory_bytes",
        "Memory of instances of plugins",
        Figure::Level(|usage| i64::try_from(usage.memory_bytes).unwrap_or(i64::MAX)),
    ),
];

// === impl GuestFigures ===

impl GuestFigures {
    /// Replaces what is known. Tenants that share a label are added up.
    pub(super) fn replace(&self, usage: impl Iterator<Item = (Arc<str>, Usage)>) {
        let mut known: BTreeMap<Arc<str>, Usage> = BTreeMap::new();
        for (label, more) in usage {
            let sum = known.entry(label).or_default();
            sum.calls += more.calls;
            sum.cpu_micros += more.cpu_micros;
            sum.traps += more.traps;
            sum.failures += more.failures;
            for (sum, more) in sum.refused.iter_mut().zip(more.refused) {
                *sum += more;
            }
            sum.host_calls += more.host_calls;
            sum.output_bytes += more.output_bytes;
            sum.figures_dropped += more.figures_dropped;
            sum.instances = sum.instances.saturating_add(more.instances);
            sum.memory_bytes = sum.memory_bytes.saturating_add(more.memory_bytes);
        }
        *self.0.write() = known;
    }
}

impl Collector for GuestFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let known = self.0.read();
        for (name, help, figure) in &FIGURES {
            let (unit, kind) = match figure {
                Figure::Count(_) | Figure::Refused => (None, MetricType::Counter),
                Figure::Seconds(_) => (Some(&Unit::Seconds), MetricType::Counter),
                Figure::Level(_) => (None, MetricType::Gauge),
            };
            let mut family = encoder.encode_descriptor(name, help, unit, kind)?;
            for (label, usage) in &*known {
                let tenant = TenantLabel(Arc::clone(label));
                if let Figure::Refused = figure {
                    for (reason, count) in BusyReason::ALL.into_iter().zip(usage.refused) {
                        let series = Refused {
                            tenant: tenant.clone(),
                            reason: reason.word(),
                        };
                        ConstCounter::new(count).encode(family.encode_family(&series)?)?;
                    }
                    continue;
                }
                let labels = [("tenant", tenant)];
                let one = family.encode_family(&labels)?;
                match figure {
                    Figure::Refused => {}
                    Figure::Count(count) => ConstCounter::new(count(usage)).encode(one)?,
                    Figure::Seconds(seconds) => ConstCounter::new(seconds(usage)).encode(one)?,
                    Figure::Level(level) => ConstGauge::new(level(usage)).encode(one)?,
                }
            }
        }
        Ok(())
    }
}
