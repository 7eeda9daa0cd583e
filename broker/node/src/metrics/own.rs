//! Figures that plugins raise for their owners, as the plugin host last said.
//!
//! A plugin's names are values of a label, and never part of what is parsed. Tenants that share a label are added up.

use std::collections::BTreeMap;

use parking_lot::RwLock;
use posthouse_host::{BUCKET_ENDS, Distribution, OwnFigures};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use super::TenantLabel;

/// Figures that plugins raise for their owners.
#[derive(Debug, Default)]
pub(super) struct OwnFigureSeries(RwLock<Series>);

#[derive(Debug, Default)]
struct Series {
    counters: BTreeMap<Labels, u64>,
    histograms: BTreeMap<Labels, Distribution>,
}

#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, EncodeLabelSet)]
struct Labels {
    tenant: TenantLabel,
    plugin: String,
    version: u64,
    name: String,
}

// === impl OwnFigureSeries ===

impl OwnFigureSeries {
    /// Replaces what is known: a version's figures, with the labels of its tenant and its plugin's name.
    pub(super) fn replace(&self, figures: impl Iterator<Item = (TenantLabel, String, OwnFigures)>) {
        let mut known = Series::default();
        for (tenant, plugin, own) in figures {
            let labels = |name| Labels {
                tenant: tenant.clone(),
                plugin: plugin.clone(),
                version: own.version.0,
                name,
            };
            for (name, count) in own.counters {
                let counter = known.counters.entry(labels(name)).or_default();
                *counter = counter.saturating_add(count);
            }
            for (name, values) in own.histograms {
                known.histograms.entry(labels(name)).or_default().merge(&values);
            }
        }
        *self.0.write() = known;
    }
}

impl Collector for OwnFigureSeries {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let known = self.0.read();
        let help = "Counters that plugins raise for their owners";
        let mut family = encoder.encode_descriptor("plugin_counter", help, None, MetricType::Counter)?;
        for (labels, count) in &known.counters {
            ConstCounter::new(*count).encode(family.encode_family(labels)?)?;
        }
        let help = "Histograms that plugins raise for their owners";
        let mut family = encoder.encode_descriptor("plugin_histogram", help, None, MetricType::Histogram)?;
        for (labels, values) in &known.histograms {
            let ends = BUCKET_ENDS.into_iter().chain([f64::MAX]);
            let buckets: Vec<(f64, u64)> = ends.zip(values.counts).collect();
            let mut one = family.encode_family(labels)?;
            one.encode_histogram::<NoLabelSet>(values.sum, values.count(), &buckets, None)?;
        }
        Ok(())
    }
}
