//! Figures that guests raise: what a good one counts is shown, and a bad one harms nobody.

use bytes::Bytes;
use posthouse_host::{Filtered, GuestFault, OwnFigures, Usage};
use posthouse_model::{TenantId, World};

use crate::bench::{Bench, OTHER, TENANT, VERSION, binding_of, envelope};

/// Has a filter that is set to `how` judge a guilty message.
async fn judge(bench: &Bench, tenant: TenantId, how: &str) -> Result<Filtered, GuestFault> {
    let guilty = Bytes::from_static(b"guilty");
    let binding = binding_of(tenant, how);
    bench.host.filter(&binding, envelope(&[]), guilty).await
}

fn figures_of(bench: &Bench, tenant: TenantId) -> Option<OwnFigures> {
    let figures = bench.host.figures().into_iter();
    figures
        .filter(|own| own.version == VERSION)
        .find(|own| own.tenant == tenant)
}

fn used(bench: &Bench, tenant: TenantId) -> Usage {
    let mut usage = bench.host.usage().into_iter();
    usage
        .find(|(of, _)| *of == tenant)
        .map(|(_, usage)| usage)
        .unwrap_or_default()
}

#[tokio::test]
async fn what_a_guest_counts_is_kept_by_tenant() {
    let bench = Bench::open();
    bench.load(World::Filter, "hostile-filter").await;
    for tenant in [TENANT, TENANT, OTHER] {
        assert_eq!(judge(&bench, tenant, "count").await, Ok(Filtered::Pass));
    }
    for (tenant, calls) in [(TENANT, 2), (OTHER, 1)] {
        let own = figures_of(&bench, tenant).expect("it raised figures");
        assert_eq!(own.counters["guilty"], calls);
        assert_eq!(own.histograms["body_bytes"].count(), calls);
        assert_eq!(own.histograms["body_bytes"].sum, 6.0 * calls as f64);
    }
    bench.host.forget_tenant(OTHER);
    assert_eq!(figures_of(&bench, OTHER), None);
    bench.host.unload(VERSION);
    assert_eq!(bench.host.figures(), []);
}

#[tokio::test]
async fn a_call_that_traps_has_counted_nothing() {
    let bench = Bench::open();
    bench.load(World::Filter, "hostile-filter").await;
    for _ in 0..2 {
        let fault = judge(&bench, TENANT, "count-and-trap").await;
        assert!(matches!(fault, Err(GuestFault::Trap { .. })), "{fault:?}");
    }
    assert_eq!(figures_of(&bench, TENANT), None);
}

#[tokio::test]
async fn a_guest_that_counts_over_every_bound_is_answered_and_what_was_over_is_counted() {
    let bench = Bench::open();
    bench.load(World::Filter, "hostile-filter").await;
    for _ in 0..2 {
        assert_eq!(judge(&bench, TENANT, "count-badly").await, Ok(Filtered::Drop));
    }
    let own = figures_of(&bench, TENANT).expect("it raised figures");
    assert_eq!(own.counters.len(), 32);
    assert!(own.counters.values().all(|count| *count == u64::MAX));
    assert_eq!(own.histograms.len(), 0);
    // Of each call, 32 of the 1,002 are kept.
    assert_eq!(used(&bench, TENANT).figures_dropped, 2 * (1_002 - 32));
}
