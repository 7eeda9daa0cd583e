//! Figures that plugins raise for their owners: counters and histograms, by version and tenant, within bounds.
//!
//! A call's figures gather in [`Raised`] and are kept when the call has ended well, so that one that is made again in a
//! fresh instance counts once. A name takes room, of which a version, a tenant and the node have so much each; what finds
//! none is dropped and counted, and the guest notices nothing.

use std::collections::BTreeMap;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;
use posthouse_model::{PluginVersion, TenantId};

use crate::{
    account::Account,
    config::{FIGURE_NAME_BYTES_MAX, FIGURES_PER_CALL_MAX, FIGURES_PER_VERSION_MAX},
};

/// Where the buckets of a histogram end; one more has no end.
pub const BUCKET_ENDS: [f64; 17] = [
    0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1_000.0, 3_000.0, 10_000.0,
    30_000.0, 100_000.0,
];

/// What one version of a plugin raised for one tenant.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnFigures {
    /// The version.
    pub version: PluginVersion,
    /// On whose behalf it ran.
    pub tenant: TenantId,
    /// Its counters, by name.
    pub counters: BTreeMap<String, u64>,
    /// Its histograms, by name.
    pub histograms: BTreeMap<String, Distribution>,
}

/// The values that a histogram was told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Distribution {
    /// Their sum.
    pub sum: f64,
    /// How many fell into each bucket; the last has those above [`BUCKET_ENDS`].
    pub counts: [u64; BUCKET_ENDS.len() + 1],
}

/// What a call has raised so far.
#[derive(Default)]
pub(crate) struct Raised {
    figures: Vec<(String, Change)>,
    dropped: u64,
}

/// What one version raised.
#[derive(Default)]
pub(crate) struct PluginFigures {
    tenants: Mutex<BTreeMap<TenantId, Kept>>,
}

#[derive(Clone, Copy)]
enum Change {
    Add(u64),
    Observe(f64),
}

/// What is kept for one tenant, and on whose account. What a tenant's account was closed with is let go with it.
struct Kept {
    account: Arc<Account>,
    counters: BTreeMap<String, u64>,
    histograms: BTreeMap<String, Distribution>,
}

// === impl Distribution ===

impl Distribution {
    /// Returns how many values there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Takes in what another was told.
    pub fn merge(&mut self, other: &Distribution) {
        self.sum = sum(self.sum, other.sum);
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count = count.saturating_add(more);
        }
    }

    fn observe(&mut self, value: f64) {
        self.sum = sum(self.sum, value);
        let bucket = BUCKET_ENDS.partition_point(|end| *end < value);
        self.counts[bucket] += 1;
    }
}

// === impl Raised ===

impl Raised {
    pub(crate) fn add(&mut self, name: String, by: u64) {
        self.raise(name, Change::Add(by));
    }

    pub(crate) fn observe(&mut self, name: String, value: f64) {
        if value.is_finite() {
            self.raise(name, Change::Observe(value));
        } else {
            self.dropped += 1;
        }
    }

    fn raise(&mut self, name: String, change: Change) {
        if self.figures.len() < FIGURES_PER_CALL_MAX && is_name(&name) {
            self.figures.push((name, change));
        } else {
            self.dropped += 1;
        }
    }

    fn is_empty(&self) -> bool {
        self.figures.is_empty() && self.dropped == 0
    }
}

// === impl PluginFigures ===

impl PluginFigures {
    /// Keeps what a call raised, as far as there is room for its names.
    pub(crate) fn keep(&self, account: &Arc<Account>, raised: Raised) {
        if raised.is_empty() {
            return;
        }
        let mut dropped = raised.dropped;
        if !raised.figures.is_empty() {
            let mut tenants = self.tenants.lock();
            let kept = tenants
                .entry(account.tenant)
                .or_insert_with(|| Kept::new(Arc::clone(account)));
            for (name, change) in raised.figures {
                dropped += u64::from(!kept.change(name, change));
            }
        }
        account.figures_dropped.fetch_add(dropped, Ordering::Relaxed);
    }

    /// Lets go of what is kept for a tenant.
    pub(crate) fn forget(&self, tenant: TenantId) {
        self.tenants.lock().remove(&tenant);
    }

    pub(crate) fn of(&self, version: PluginVersion) -> Vec<OwnFigures> {
        let tenants = self.tenants.lock();
        let shown = tenants.iter().map(|(tenant, kept)| OwnFigures {
            version,
            tenant: *tenant,
            counters: kept.counters.clone(),
            histograms: kept.histograms.clone(),
        });
        shown.collect()
    }
}

// === impl Kept ===

impl Kept {
    fn new(account: Arc<Account>) -> Kept {
        Kept {
            account,
            counters: BTreeMap::new(),
            histograms: BTreeMap::new(),
        }
    }

    /// Changes a figure, and returns whether there was room for it.
    fn change(&mut self, name: String, change: Change) -> bool {
        let known = match change {
            Change::Add(_) => self.counters.contains_key(&name),
            Change::Observe(_) => self.histograms.contains_key(&name),
        };
        let names = self.counters.len() + self.histograms.len();
        if !known && (names >= FIGURES_PER_VERSION_MAX || !self.account.take_figure()) {
            return false;
        }
        match change {
            Change::Add(by) => {
                let counter = self.counters.entry(name).or_default();
                *counter = counter.saturating_add(by);
            }
            Change::Observe(value) => self.histograms.entry(name).or_default().observe(value),
        }
        true
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let names = self.counters.len() + self.histograms.len();
        self.account.release_figures(names as u64);
    }
}

/// Counts how much of a bound is taken.
pub(crate) struct FigureRoom {
    taken: AtomicU64,
    max: u64,
}

// === impl FigureRoom ===

impl FigureRoom {
    pub(crate) fn new(max: u64) -> FigureRoom {
        FigureRoom {
            taken: AtomicU64::new(0),
            max,
        }
    }

    /// Takes room for one name, if there is any.
    pub(crate) fn take(&self) -> bool {
        let take = |taken: u64| (taken < self.max).then_some(taken + 1);
        self.taken
            .try_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
    }

    pub(crate) fn release(&self, names: u64) {
        self.taken.fetch_sub(names, Ordering::Relaxed);
    }
}

/// Adds finite numbers. What would be more than a number can be stays the largest.
fn sum(one: f64, other: f64) -> f64 {
    (one + other).clamp(f64::MIN, f64::MAX)
}

/// Returns whether a figure can be named so.
fn is_name(name: &str) -> bool {
    let of_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    name.len() <= FIGURE_NAME_BYTES_MAX
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(of_name)
}

#[cfg(test)]
mod tests {
    use posthouse_model::{GuestLimits, Quotas};

    use super::*;
    use crate::account::Accounts;
    use crate::config::{FIGURES_PER_NODE_MAX, FIGURES_PER_TENANT_MAX, GuestQuota};

    const VERSION: PluginVersion = PluginVersion(1);

    fn accounts() -> Accounts {
        Accounts::new(GuestQuota::new(&Quotas::default(), &GuestLimits::default()))
    }

    fn raised(names: &[&str]) -> Raised {
        let mut raised = Raised::default();
        names.iter().for_each(|name| raised.add((*name).to_owned(), 1));
        raised
    }

    fn dropped(account: &Account) -> u64 {
        account.figures_dropped.load(Ordering::Relaxed)
    }

    #[test]
    fn what_is_raised_adds_up_for_its_tenant() {
        let (accounts, figures) = (accounts(), PluginFigures::default());
        for tenant in [1, 1, 2] {
            figures.keep(&accounts.of(TenantId(tenant)), raised(&["seen", "seen"]));
        }
        let counts = figures.of(VERSION);
        let counts: Vec<_> = counts.iter().map(|own| own.counters["seen"]).collect();
        assert_eq!(counts, [4, 2]);
    }

    #[test]
    fn a_value_falls_into_the_bucket_that_ends_at_it_or_next_above() {
        let mut values = Distribution::default();
        for value in [-1.0, 0.001, 0.002, 1.0, 1.000_1, 1e9] {
            values.observe(value);
        }
        let at = |end: f64| values.counts[BUCKET_ENDS.iter().position(|one| *one == end).expect("an end")];
        assert_eq!([at(0.001), at(0.003), at(1.0), at(3.0)], [2, 1, 1, 1]);
        assert_eq!(values.counts[BUCKET_ENDS.len()], 1);
        assert_eq!(values.count(), 6);
        values.observe(f64::MAX);
        values.observe(f64::MAX);
        assert!(values.sum.is_finite());
    }

    #[test]
    fn what_is_no_name_or_no_number_is_dropped_and_counted() {
        let (accounts, figures) = (accounts(), PluginFigures::default());
        let account = accounts.of(TenantId(1));
        let long = "x".repeat(FIGURE_NAME_BYTES_MAX + 1);
        let names = ["", "1st", "_x", "Seen", "a-b", "a\"} 1\nb", "é", long.as_str()];
        figures.keep(&account, raised(&names));
        let mut raised = Raised::default();
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            raised.observe("seconds".to_owned(), value);
        }
        figures.keep(&account, raised);
        assert_eq!(figures.of(VERSION), []);
        assert_eq!(dropped(&account), names.len() as u64 + 3);
    }

    #[test]
    fn a_call_raises_so_often_and_no_more() {
        let (accounts, figures) = (accounts(), PluginFigures::default());
        let account = accounts.of(TenantId(1));
        figures.keep(&account, raised(&vec!["seen"; FIGURES_PER_CALL_MAX + 2]));
        assert_eq!(
            figures.of(VERSION)[0].counters["seen"],
            FIGURES_PER_CALL_MAX as u64
        );
        assert_eq!(dropped(&account), 2);
    }

    #[test]
    fn names_end_at_the_versions_the_tenants_and_the_nodes_bound() {
        let accounts = accounts();
        let names: Vec<String> = (0..=FIGURES_PER_VERSION_MAX).map(|n| format!("n{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut versions = Vec::new();
        let tenants = FIGURES_PER_NODE_MAX / FIGURES_PER_TENANT_MAX + 1;
        let kept = |figures: &PluginFigures| figures.of(VERSION)[0].counters.len();
        for tenant in 0..tenants {
            let account = accounts.of(TenantId(u32::try_from(tenant).expect("few")));
            for number in 0..=FIGURES_PER_TENANT_MAX / FIGURES_PER_VERSION_MAX as u64 {
                let figures = PluginFigures::default();
                figures.keep(&account, raised(&names));
                let has_room =
                    tenant < tenants - 1 && number < FIGURES_PER_TENANT_MAX / FIGURES_PER_VERSION_MAX as u64;
                let expected = if has_room { FIGURES_PER_VERSION_MAX } else { 0 };
                assert_eq!(kept(&figures), expected, "tenant {tenant}, version {number}");
                versions.push(figures);
            }
        }
        // What is known goes on, and what is let go makes room.
        versions[0].keep(&accounts.of(TenantId(0)), raised(&["n0"]));
        assert_eq!(versions[0].of(VERSION)[0].counters["n0"], 2);
        versions.remove(0);
        let figures = PluginFigures::default();
        figures.keep(&accounts.of(TenantId(0)), raised(&names));
        assert_eq!(kept(&figures), FIGURES_PER_VERSION_MAX);
    }
}
