//! Calls of guests that have been quick are made where their callers are; one that is not after all moves to a thread.

use std::{sync::Arc, time::Duration};

use futures::FutureExt;
use futures::future::join_all;
use posthouse_host::{GuestFault, RouteTable};
use posthouse_model::{SubscriptionId, World};

use crate::bench::{Bench, VERSION, binding, builtin_component, envelope, table};

/// More than an instance has to answer before it counts as quick.
const ENOUGH: u64 = 64;

/// Opens a host with a router that has been asked often enough to be known as quick.
async fn asked_often(guest: &str, table: &Arc<RouteTable>, tick: Duration) -> Bench {
    let bench = Bench::open_with(|config| config.tick = tick);
    bench.load(World::Route, guest).await;
    for _ in 0..ENOUGH {
        bench.host.route(&binding(""), table, vec![envelope(&[])]).await;
    }
    bench
}

/// Returns how many calls were answered where their callers were.
fn answered_here(bench: &Bench) -> u64 {
    let usage = bench.host.usage();
    usage.iter().map(|(_, usage)| usage.answered_here).sum()
}

/// So seldom, no call looks slow however busy the machine is.
const SELDOM: Duration = Duration::from_secs(3_600);

#[tokio::test]
async fn a_quick_router_answers_where_its_caller_is() {
    let table = table(&[&[], &[]]);
    let bench = asked_often("loops", &table, SELDOM).await;
    let before = answered_here(&bench);
    assert!(
        before < ENOUGH,
        "nothing is known of a router that was never asked"
    );
    let answer = bench.host.route(&binding(""), &table, vec![envelope(&[])]).await;
    assert_eq!(answer, [Ok(vec![SubscriptionId(100), SubscriptionId(101)])]);
    assert_eq!(answered_here(&bench), before + 1);
}

/// Returns how many calls were made of guests.
fn calls(bench: &Bench) -> u64 {
    let usage = bench.host.usage();
    usage.iter().map(|(_, usage)| usage.calls).sum()
}

#[tokio::test]
async fn callers_that_come_together_are_answered_by_one_call_each_with_its_own() {
    const CALLERS: usize = 8;
    let table = table(&[&["even"], &[]]);
    let bench = Bench::open_with(|config| config.tick = SELDOM);
    let component = builtin_component("topic-router");
    let loaded = bench.host.load(VERSION, None, World::Route, component).await;
    loaded.expect("the router loads");
    let bound = binding("");
    for _ in 0..ENOUGH {
        bench.host.route(&bound, &table, vec![envelope(&[])]).await;
    }
    let (called, answered) = (calls(&bench), answered_here(&bench));
    let asked = (0..CALLERS).map(|caller| {
        let tags: &[&str] = if caller % 2 == 0 { &["even"] } else { &[] };
        bench.host.route(&bound, &table, vec![envelope(tags); caller + 1])
    });
    let answers = join_all(asked).await;
    for (caller, answers) in answers.into_iter().enumerate() {
        let expected = match caller % 2 {
            0 => vec![SubscriptionId(100), SubscriptionId(101)],
            _ => vec![SubscriptionId(101)],
        };
        assert_eq!(answers, vec![Ok(expected); caller + 1], "of caller {caller}");
    }
    assert_eq!(calls(&bench), called + 1);
    assert_eq!(answered_here(&bench), answered + CALLERS as u64);
}

#[tokio::test]
async fn who_joined_a_caller_that_is_gone_is_answered_all_the_same() {
    let table = table(&[&[]]);
    let bench = asked_often("loops", &table, SELDOM).await;
    let bound = binding("");
    let mut first = Box::pin(bench.host.route(&bound, &table, vec![envelope(&[])]));
    assert!(first.as_mut().now_or_never().is_none(), "it lets others join");
    let mut second = Box::pin(bench.host.route(&bound, &table, vec![envelope(&[])]));
    assert!(second.as_mut().now_or_never().is_none(), "it joined the first");
    drop(first);
    assert_eq!(second.await, [Ok(vec![SubscriptionId(100)])]);
}

#[tokio::test]
async fn another_table_is_made_on_a_thread() {
    let first = table(&[&[], &[]]);
    let bench = asked_often("loops", &first, SELDOM).await;
    let before = answered_here(&bench);
    let mut second = (*first).clone();
    second.key.1 += 1;
    second.subscriptions.truncate(1);
    let second = Arc::new(second);
    let answer = bench.host.route(&binding(""), &second, vec![envelope(&[])]).await;
    assert_eq!(answer, [Ok(vec![SubscriptionId(100)])]);
    assert_eq!(answered_here(&bench), before);
}

#[tokio::test]
async fn what_fails_after_having_been_quick_fails_for_the_guilty_message_alone() {
    for (guest, tag) in [("loops", "loop"), ("hoards", "hoard"), ("traps", "trap")] {
        let table = table(&[&[]]);
        let bench = asked_often(guest, &table, Duration::from_millis(2)).await;
        let before = answered_here(&bench);
        let mut answers = bench
            .host
            .route(&binding(""), &table, vec![envelope(&[tag])])
            .await;
        let fault = answers.remove(0).expect_err("the message is guilty");
        match guest {
            "loops" => assert_eq!(fault, GuestFault::OutOfTime),
            "hoards" => assert_eq!(fault, GuestFault::OutOfMemory),
            _ => assert!(matches!(fault, GuestFault::Trap { .. }), "{fault:?}"),
        }
        assert_eq!(
            answered_here(&bench),
            before,
            "{guest}: it was found out on a thread"
        );
        let after = bench.host.route(&binding(""), &table, vec![envelope(&[])]).await;
        assert_eq!(after, [Ok(vec![SubscriptionId(100)])], "{guest}");
    }
}
