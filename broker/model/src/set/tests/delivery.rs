//! The rules of topics, one by one.

use super::action::{name, subscription_attributes};
use super::bench::*;
use crate::*;

fn bench() -> Bench {
    Bench::new(QueueAttributes::default())
}

fn sequences(leased: &[Leased]) -> Vec<u64> {
    leased.iter().map(|leased| leased.body.sequence.0).collect()
}

fn backlog(bench: &Bench, subscription: SubscriptionId) -> u64 {
    let topic = bench.set.topic(TOPIC).expect("the topic is there");
    topic.subscription(subscription).map_or(0, Subscription::backlog)
}

#[test]
fn a_body_is_stored_once_and_kept_until_the_last_subscription_is_done_with_it() {
    let mut bench = bench();
    let (first, second) = (bench.subscribe(1), bench.subscribe(2));
    bench.publish(1, &[first, second]);
    assert_eq!(bench.applied.stored.len(), 1);
    let woken = [
        Awake::Subscription(TOPIC, first),
        Awake::Subscription(TOPIC, second),
    ];
    assert_eq!(bench.applied.awake, woken);
    for subscription in [second, first] {
        assert!(bench.set.is_kept(body(TOPIC, 1)));
        let claims = bench.claim(subscription, 5);
        bench.settle(subscription, &claims, SettledOutcome::Acknowledged);
    }
    assert!(!bench.set.is_kept(body(TOPIC, 1)));
    assert_eq!(bench.set.topic(TOPIC).expect("there").message_count(), 0);
}

#[test]
fn content_that_a_filter_replaced_is_stored_for_its_subscription_alone() {
    let mut bench = bench();
    let (first, second) = (bench.subscribe(1), bench.subscribe(2));
    let gone = SubscriptionId(99);
    let message = bench.message();
    let replaced = vec![(gone, message.clone()), (second, message.clone())];
    let unmatched = Publication {
        message: message.clone(),
        matched: vec![gone],
        replaced,
    };
    let plain = Publication {
        message,
        matched: vec![first, gone],
        replaced: Vec::new(),
    };
    let ids = vec![unmatched.message.id; 2];
    assert_eq!(
        bench.ask(publish(vec![unmatched, plain])),
        Ok(SetReply::Sent(ids))
    );
    let stored: Vec<_> = bench
        .applied
        .stored
        .iter()
        .map(|s| (s.body.sequence.0, s.ordinal))
        .collect();
    assert_eq!(stored, [(1, 2), (2, 3)]);
    assert_eq!(sequences(&bench.claim(first, 5)), [2]);
    assert_eq!(sequences(&bench.claim(second, 5)), [1]);
}

#[test]
fn what_matches_no_subscription_is_answered_and_not_stored() {
    let mut bench = bench();
    bench.publish(2, &[SubscriptionId(99)]);
    assert!(bench.applied.stored.is_empty());
    assert_eq!(bench.set.last_message_id(), MessageId(2));
}

#[test]
fn a_message_that_waits_for_its_retry_holds_nothing_up_and_comes_back_in_its_place() {
    let mut bench = bench();
    let subscription = bench.subscribe(1);
    bench.publish(3, &[subscription]);
    let claims = bench.claim(subscription, 1);
    bench.settle(subscription, &claims, SettledOutcome::Retry(seconds(10)));
    assert_eq!(sequences(&bench.claim(subscription, 1)), [2]);
    bench.wait(10);
    bench.tick();
    assert_eq!(bench.applied.awake, [Awake::Subscription(TOPIC, subscription)]);
    let claims = bench.claim(subscription, 5);
    assert_eq!(sequences(&claims), [1, 3]);
    assert_eq!((claims[0].receive_count, claims[1].receive_count), (2, 1));
}

#[test]
fn a_claim_that_ends_unsettled_can_be_claimed_again_and_settles_no_more() {
    let mut bench = bench();
    let subscription = bench.subscribe(1);
    bench.publish(1, &[subscription]);
    let late = bench.claim(subscription, 1);
    bench.wait(20);
    bench.settle(subscription, &late, SettledOutcome::Acknowledged);
    assert_eq!(backlog(&bench, subscription), 1);
    assert_eq!(bench.claim(subscription, 1)[0].receive_count, 2);
}

#[test]
fn a_released_claim_does_not_count_as_an_attempt() {
    let mut bench = bench();
    let subscription = bench.subscribe(1);
    bench.publish(1, &[subscription]);
    let claims = bench.claim(subscription, 1);
    bench.settle(subscription, &claims, SettledOutcome::Released);
    let topic = bench.set.topic(TOPIC).expect("there");
    assert_eq!(
        topic
            .subscription(subscription)
            .expect("there")
            .attempts(Sequence(1)),
        0
    );
    assert_eq!(bench.claim(subscription, 1)[0].receive_count, 1);
}

#[test]
fn a_new_leader_voids_claims_of_earlier_terms() {
    let mut bench = bench();
    let subscription = bench.subscribe(1);
    bench.publish(2, &[subscription]);
    let old = bench.claim_in(Term(3), subscription, 1).expect("the first claim");
    assert_eq!(bench.ask(SetCommand::Lead { term: Term(4) }), Ok(SetReply::Noted));
    assert_eq!(bench.applied.awake, [Awake::Subscription(TOPIC, subscription)]);
    assert_eq!(bench.claim_in(Term(3), subscription, 1), Err(Refusal::StaleTerm));
    bench.settle(subscription, &old, SettledOutcome::Acknowledged);
    let claims = bench
        .claim_in(Term(4), subscription, 5)
        .expect("of the new leader");
    assert_eq!(sequences(&claims), [1, 2]);
    assert_eq!(
        claims[0].receive_count, 2,
        "the void claim may have been an attempt"
    );
    bench.ask(SetCommand::Lead { term: Term(4) }).expect("noted");
    bench.settle(subscription, &claims, SettledOutcome::Acknowledged);
    assert_eq!(backlog(&bench, subscription), 0);
}

#[test]
fn an_enqueued_message_is_kept_by_each_parcel_that_needs_it() {
    let mut bench = bench();
    let (first, second) = (bench.subscribe(1), bench.subscribe(2));
    bench.publish(1, &[first, second]);
    let enqueue = SettledOutcome::Enqueue {
        target: QUEUE,
        cause: MoveCause::Delivered,
    };
    for subscription in [first, second] {
        let claims = bench.claim(subscription, 1);
        bench.settle(subscription, &claims, enqueue.clone());
        assert!(bench.applied.outgoing);
    }
    let outgoing = bench.set.outgoing(10);
    let numbers: Vec<_> = outgoing.iter().map(|o| (o.number, o.body.sequence.0)).collect();
    assert_eq!(numbers, [(1, 1), (2, 1)]);
    assert_eq!(bench.set.lanes().collect::<Vec<_>>(), [(TOPIC, QUEUE)]);
    assert_eq!(bench.set.outgoing_to(TOPIC, QUEUE, 1, 10).len(), 1);
    bench.publish(1, &[first]);
    bench.wait(100_000);
    bench.tick();
    assert!(
        !bench.set.is_kept(body(TOPIC, 2)),
        "what no parcel needs is too old"
    );
    let ship = |number| SetCommand::Shipped {
        source: TOPIC,
        target: QUEUE,
        numbers: vec![number],
    };
    bench.ask(ship(2)).expect("shipped");
    assert!(bench.set.is_kept(body(TOPIC, 1)));
    bench.ask(ship(1)).expect("shipped");
    assert!(!bench.set.is_kept(body(TOPIC, 1)));
}

#[test]
fn numbers_to_a_target_go_on_when_its_outbox_was_empty() {
    let mut bench = bench();
    let subscription = bench.subscribe(1);
    for number in 1..=3 {
        bench.publish(1, &[subscription]);
        let claims = bench.claim(subscription, 1);
        let (target, cause) = (QUEUE, MoveCause::Delivered);
        bench.settle(subscription, &claims, SettledOutcome::Enqueue { target, cause });
        assert_eq!(bench.set.outgoing(10)[0].number, number);
        let (source, numbers) = (TOPIC, vec![number]);
        bench
            .ask(SetCommand::Shipped {
                source,
                target,
                numbers,
            })
            .expect("shipped");
        assert_eq!(bench.set.outgoing_count(), 0);
    }
}

#[test]
fn a_topic_keeps_a_message_for_a_day() {
    let mut bench = bench();
    let subscription = bench.subscribe(1);
    bench.publish(2, &[subscription]);
    bench.claim(subscription, 1);
    bench.wait(86_399);
    bench.tick();
    assert_eq!(backlog(&bench, subscription), 2);
    assert_eq!(bench.set.deadline(), Some(bench.now + seconds(1)));
    bench.wait(1);
    bench.tick();
    assert_eq!(backlog(&bench, subscription), 0);
    assert!(!bench.set.is_kept(body(TOPIC, 1)));
    assert_eq!(bench.set.deadline(), None);
}

#[test]
fn a_removed_subscription_takes_along_what_it_alone_needed() {
    let mut bench = bench();
    let (first, second) = (bench.subscribe(1), bench.subscribe(2));
    bench.publish(1, &[first]);
    bench.publish(1, &[first, second]);
    bench.claim(first, 1);
    let unsubscribe = SetCommand::Unsubscribe {
        topic: TOPIC,
        name: name(1),
    };
    assert_eq!(bench.ask(unsubscribe.clone()), Ok(SetReply::Unsubscribed));
    assert_eq!(bench.ask(unsubscribe), Err(Refusal::NoSubscription));
    assert!(!bench.set.is_kept(body(TOPIC, 1)));
    assert!(bench.set.is_kept(body(TOPIC, 2)));
    let (topic, outcomes) = (TOPIC, vec![]);
    let settle = |subscription| SetCommand::Settle {
        topic,
        subscription,
        outcomes,
    };
    assert_eq!(bench.ask(settle(first)), Err(Refusal::NoSubscription));
}

#[test]
fn a_subscription_is_unique_by_name_and_keeps_its_endpoint() {
    let mut bench = bench();
    let id = bench.subscribe(1);
    let subscribe = |name| {
        let attributes = subscription_attributes(0);
        SetCommand::Subscribe {
            topic: TOPIC,
            name,
            attributes,
        }
    };
    let upper = Name::parse("N1").expect("a name");
    assert_eq!(
        bench.ask(subscribe(upper.clone())),
        Err(Refusal::SubscriptionExists)
    );
    let alter = |shape| SetCommand::AlterSubscription {
        topic: TOPIC,
        name: upper.clone(),
        attributes: subscription_attributes(shape),
    };
    let version = bench.set.topic(TOPIC).expect("there").table_version();
    assert_eq!(bench.ask(alter(1)), Err(Refusal::EndpointFixed));
    assert_eq!(bench.set.topic(TOPIC).expect("there").table_version(), version);
    assert_eq!(bench.ask(alter(2)), Ok(SetReply::Altered));
    let topic = bench.set.topic(TOPIC).expect("there");
    assert_ne!(topic.table_version(), version);
    let subscription = topic.subscription_named(&upper).expect("there");
    assert_eq!(
        (subscription.id(), subscription.attributes()),
        (id, &subscription_attributes(2))
    );
}

#[test]
fn a_topic_with_subscriptions_is_not_dropped() {
    let mut bench = bench();
    bench.subscribe(1);
    let drop = SetCommand::Drop { incarnation: TOPIC };
    assert_eq!(bench.ask(drop.clone()), Err(Refusal::HasSubscriptions));
    bench
        .ask(SetCommand::Unsubscribe {
            topic: TOPIC,
            name: name(1),
        })
        .expect("it is there");
    assert_eq!(bench.ask(drop), Ok(SetReply::Dropped));
}

#[test]
fn a_subscription_s_number_does_not_come_back() {
    let mut bench = bench();
    let first = bench.subscribe(1);
    bench
        .ask(SetCommand::Unsubscribe {
            topic: TOPIC,
            name: name(1),
        })
        .expect("it is there");
    assert!(bench.subscribe(1) > first);
}
