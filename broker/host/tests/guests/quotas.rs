//! What tenants' guests may use, and that one does not use another's share.

use bytes::Bytes;
use posthouse_host::{BusyReason, Filtered, GuestFault};
use posthouse_model::{GuestLimits, Incarnation, Quotas, World};

use crate::bench::{Bench, OTHER, TENANT, binding, binding_of, envelope, table};

fn quotas(change: impl FnOnce(&mut Quotas)) -> Quotas {
    let mut quotas = Quotas::default();
    change(&mut quotas);
    quotas
}

#[tokio::test]
async fn a_tenant_that_used_up_its_time_waits_and_others_do_not() {
    let bench = Bench::open();
    bench.load(World::Route, "loops").await;
    // A microsecond a second: the first call is made, and the next one is a minute away.
    bench.host.set_quota(
        TENANT,
        &quotas(|quotas| quotas.guest_micros_per_second = 1),
        &GuestLimits::default(),
    );
    let table = table(&[&[]]);
    let looping = bench
        .host
        .route(&binding(""), &table, vec![envelope(&["loop"])])
        .await;
    assert_eq!(looping, [Err(GuestFault::OutOfTime)]);
    let busy = bench.host.route(&binding(""), &table, vec![envelope(&[])]).await;
    assert_eq!(busy, [Err(GuestFault::Busy(BusyReason::Cpu))]);
    let theirs = bench
        .host
        .route(&binding_of(OTHER, ""), &table, vec![envelope(&[])])
        .await;
    assert!(theirs[0].is_ok(), "{theirs:?}");
    let usage = bench.host.usage();
    assert_eq!(usage[0].0, TENANT);
    assert!(usage[0].1.cpu_micros >= 40_000, "{usage:?}");
    assert_eq!((usage[0].1.traps, usage[0].1.refused.iter().sum::<u64>()), (1, 1));
    assert!(usage[1].1.cpu_micros < 40_000, "{usage:?}");
}

#[tokio::test]
async fn tenants_have_instances_of_their_own() {
    let bench = Bench::open();
    bench.load(World::Route, "lies").await;
    let table = table(&[&[]]);
    for tenant in [TENANT, OTHER, TENANT, OTHER] {
        let answers = bench
            .host
            .route(&binding_of(tenant, ""), &table, vec![envelope(&[])])
            .await;
        assert!(answers[0].is_ok(), "{answers:?}");
    }
    for (_, usage) in bench.host.usage() {
        assert_eq!((usage.instances, usage.calls), (1, 2));
        assert!(usage.memory_bytes > 0);
    }
}

#[tokio::test]
async fn a_tenant_at_its_instances_gives_up_its_own_idle_one() {
    let bench = Bench::open();
    bench.load(World::Route, "lies").await;
    bench.host.set_quota(
        TENANT,
        &quotas(|quotas| quotas.guest_instances = 1),
        &GuestLimits::default(),
    );
    for topic in 1..5 {
        let mut table = (*table(&[&[]])).clone();
        table.key.0 = Incarnation(topic);
        let table = std::sync::Arc::new(table);
        let answers = bench.host.route(&binding(""), &table, vec![envelope(&[])]).await;
        assert!(answers[0].is_ok(), "{answers:?}");
        assert_eq!(bench.host.usage()[0].1.instances, 1);
    }
    bench.host.set_quota(
        TENANT,
        &quotas(|quotas| quotas.guest_instances = 0),
        &GuestLimits::default(),
    );
    bench.host.unload(crate::bench::VERSION);
    bench.load(World::Route, "lies").await;
    let none = bench
        .host
        .route(&binding(""), &table(&[&[]]), vec![envelope(&[])])
        .await;
    assert_eq!(none, [Err(GuestFault::Busy(BusyReason::Instances))]);
}

#[tokio::test]
async fn a_pool_that_is_empty_takes_an_idle_instance_of_anybody() {
    let bench = Bench::open_with(|config| config.small.instances = 2);
    bench.load(World::Route, "lies").await;
    for topic in 1..6 {
        let mut table = (*table(&[&[]])).clone();
        table.key.0 = Incarnation(topic);
        let tenant = if topic % 2 == 0 { TENANT } else { OTHER };
        let answers = bench
            .host
            .route(
                &binding_of(tenant, ""),
                &std::sync::Arc::new(table),
                vec![envelope(&[])],
            )
            .await;
        assert!(answers[0].is_ok(), "{answers:?}");
    }
}

#[tokio::test]
async fn memory_ends_at_the_tenants_quota() {
    let bench = Bench::open();
    bench.load(World::Filter, "hostile-filter").await;
    bench.host.set_quota(
        TENANT,
        &quotas(|quotas| quotas.guest_memory_bytes = 4 * 1_048_576),
        &GuestLimits::default(),
    );
    let guilty = Bytes::from_static(b"guilty");
    let hoarding = bench
        .host
        .filter(&binding("hoard"), envelope(&[]), guilty.clone())
        .await;
    assert_eq!(hoarding, Err(GuestFault::OutOfMemory));
    bench.host.set_quota(
        TENANT,
        &quotas(|quotas| quotas.guest_memory_bytes = 0),
        &GuestLimits::default(),
    );
    let none = bench
        .host
        .filter(&binding("other"), envelope(&[]), guilty.clone())
        .await;
    assert_eq!(none, Err(GuestFault::Busy(BusyReason::Memory)));
    bench
        .host
        .set_quota(TENANT, &Quotas::default(), &GuestLimits::default());
    let again = bench.host.filter(&binding("other"), envelope(&[]), guilty).await;
    assert_eq!(again, Ok(Filtered::Drop));
    bench.host.forget_tenant(TENANT);
    assert!(bench.host.usage().is_empty());
}

#[tokio::test]
async fn a_tenant_that_called_the_host_or_handed_over_as_much_as_it_may_waits_and_others_do_not() {
    let bench = Bench::open();
    bench.load(World::Filter, "hostile-filter").await;
    let guilty = Bytes::from_static(b"guilty");
    // A thousand lines of a hundred kilobytes: each is a call to the host, whatever is kept of it.
    let chatter = |tenant| {
        let guilty = guilty.clone();
        let host = bench.host.clone();
        async move {
            let binding = binding_of(tenant, "chatter");
            host.filter(&binding, envelope(&[]), guilty).await
        }
    };
    let few_calls = GuestLimits {
        host_calls_per_second: 1,
        ..GuestLimits::default()
    };
    let few_bytes = GuestLimits {
        output_bytes_per_second: 1_000,
        ..GuestLimits::default()
    };
    for (tenant, limits, reason) in [
        (TENANT, few_calls, BusyReason::HostCalls),
        (OTHER, few_bytes, BusyReason::Output),
    ] {
        bench.host.set_quota(tenant, &Quotas::default(), &limits);
        assert_eq!(chatter(tenant).await, Ok(Filtered::Pass));
        assert_eq!(chatter(tenant).await, Err(GuestFault::Busy(reason)));
        let all = bench.host.usage();
        let (_, usage) = all
            .iter()
            .find(|(of, _)| *of == tenant)
            .expect("it has an account");
        assert!(
            usage.host_calls >= 1_000 && usage.output_bytes >= 1_000_000,
            "{usage:?}"
        );
        let place = BusyReason::ALL.iter().position(|one| *one == reason);
        assert_eq!(usage.refused[place.expect("it is one of all")], 1);
    }
    assert_eq!(chatter(posthouse_model::TenantId(99)).await, Ok(Filtered::Pass));
}

#[tokio::test]
async fn memory_of_all_tenants_together_ends_at_the_nodes_and_idle_instances_of_anybody_make_room() {
    // An instance of this guest takes a little more than one mebibyte.
    let max = 3 * 1_048_576;
    let bench = Bench::open_with(|config| config.memory_bytes_max = max);
    bench.load(World::Route, "lies").await;
    for topic in 1..10 {
        let mut table = (*table(&[&[]])).clone();
        table.key.0 = Incarnation(topic);
        let tenant = if topic % 2 == 0 { TENANT } else { OTHER };
        let binding = binding_of(tenant, "");
        let answers = bench
            .host
            .route(&binding, &std::sync::Arc::new(table), vec![envelope(&[])])
            .await;
        assert!(answers[0].is_ok(), "{answers:?}");
        let used: u64 = bench
            .host
            .usage()
            .iter()
            .map(|(_, usage)| usage.memory_bytes)
            .sum();
        assert!((1..=max).contains(&used), "{used} bytes are used");
    }
}

#[tokio::test]
async fn a_guest_that_is_refused_the_nodes_memory_is_not_to_blame() {
    let bench = Bench::open_with(|config| config.memory_bytes_max = 4 * 1_048_576);
    bench.load(World::Filter, "hostile-filter").await;
    let guilty = Bytes::from_static(b"guilty");
    let hoarding = bench
        .host
        .filter(&binding("hoard"), envelope(&[]), guilty.clone())
        .await;
    let fault = hoarding.expect_err("there is no such memory");
    assert_eq!(fault, GuestFault::Busy(BusyReason::NodeMemory));
    assert!(!fault.is_guilty());
    let again = bench.host.filter(&binding("other"), envelope(&[]), guilty).await;
    assert_eq!(
        again,
        Ok(Filtered::Drop),
        "the instance is gone, and its memory free again"
    );
}

#[tokio::test]
async fn calls_of_a_router_that_wait_together_are_made_together() {
    let bench = Bench::open_with(|config| config.threads = 1);
    bench.load(World::Route, "loops").await;
    let table = table(&[&[]]);
    let other = binding_of(OTHER, "");
    // The one thread is busy with this for fifty milliseconds of its own time; meanwhile the others come to wait.
    let looping = bench.host.route(&other, &table, vec![envelope(&["loop"])]);
    let binding = binding("");
    let waiting = (0..100).map(|_| bench.host.route(&binding, &table, vec![envelope(&[])]));
    let (looping, answers) = futures::join!(looping, futures::future::join_all(waiting));
    assert_eq!(looping, [Err(GuestFault::OutOfTime)]);
    assert!(answers.iter().all(|answer| answer[0].is_ok()));
    let usage = bench.host.usage();
    assert!(
        usage[0].1.calls <= 3,
        "a hundred messages in calls of 64: {usage:?}"
    );
}

#[tokio::test]
async fn a_tenant_has_only_so_many_calls_waiting() {
    let bench = Bench::open_with(|config| {
        config.threads = 1;
        config.waiting_max = 4;
    });
    bench.load(World::Route, "loops").await;
    let table = table(&[&[]]);
    let other = binding_of(OTHER, "");
    let looping = bench.host.route(&other, &table, vec![envelope(&["loop"])]);
    let binding = binding("");
    let waiting = (0..10).map(|_| bench.host.route(&binding, &table, vec![envelope(&[])]));
    let (_, answers) = futures::join!(looping, futures::future::join_all(waiting));
    let busy = answers
        .iter()
        .filter(|answer| answer[0] == Err(GuestFault::Busy(BusyReason::Waiting)))
        .count();
    assert!((1..=6).contains(&busy), "{busy}");
}
