//! The bounds of a set, and what it costs to be near them.

use super::bench::*;
use crate::bounds::*;
use crate::*;

fn bench() -> Bench {
    Bench::new(QueueAttributes::default())
}

fn written_bytes(set: &Set) -> usize {
    postcard::to_allocvec(set).expect("a set can be written").len()
}

#[test]
fn a_million_waiting_messages_cost_a_bit_each_and_fill_a_queue_of_a_million() {
    let mut bench = Bench::new(QueueAttributes {
        messages_max: 1_000_000,
        ..QueueAttributes::default()
    });
    let before = written_bytes(&bench.set);
    for _ in 0..1_000 {
        bench.send(1_000);
    }
    assert_eq!(bench.counts().active, 1_000_000);
    assert!(written_bytes(&bench.set) - before < 150_000);
    let limit = 1_000_000;
    assert_eq!(bench.send_delayed(1, 0), Err(Refusal::Full { limit }));
    assert_eq!(bench.deposit(&[1]), Err(Refusal::Full { limit }));
    let handle = bench.receive(1)[0].1;
    bench.delete(handle).expect("the lease lasts");
    assert_eq!(bench.send_delayed(2, 0), Err(Refusal::Full { limit }));
    assert_eq!(bench.send_delayed(1, 0).map(|_| ()), Ok(()));
}

#[test]
fn an_empty_queue_is_small_and_so_is_one_that_was_used() {
    assert!(std::mem::size_of::<Queue>() <= 640);
    let mut bench = Bench::new(QueueAttributes::default());
    bench
        .ask(SetCommand::Drop { incarnation: DEAD })
        .expect("dropped");
    let fresh = written_bytes(&bench.set);
    for _ in 0..50 {
        bench.send_delayed(10, 1).expect("there is room");
        bench.wait(2);
        for (_, handle) in bench.receive(10) {
            bench.delete(handle).expect("the lease lasts");
        }
    }
    assert!(written_bytes(&bench.set) < fresh + 32);
}

#[test]
fn leases_are_bounded_and_end_a_bounded_number_at_a_time() {
    let mut bench = bench();
    for _ in 0..101 {
        bench.send(1_000);
    }
    for _ in 0..100 {
        assert_eq!(bench.receive(1_000).len(), 1_000);
    }
    let limit = LEASES_MAX as u64;
    assert_eq!(bench.leased(1), Err(Refusal::TooManyLeased { limit }));
    bench.wait(30);
    assert!(bench.tick());
    let ended = LEASES_MAX - bench.counts().leased as usize;
    assert!((1..=ENTRY_EXPIRIES_MAX + TICK_EXPIRIES_MAX).contains(&ended));
    assert!(bench.set.deadline().is_some_and(|deadline| deadline <= bench.now));
    let mut ticks = 1;
    while bench.tick() {
        ticks += 1;
    }
    assert!(ticks <= LEASES_MAX / TICK_EXPIRIES_MAX, "each tick ends many");
    assert_eq!(bench.counts().active, 101_000);
    assert_eq!(bench.receive_sequences(1), [1]);
}

#[test]
fn a_lease_that_ended_does_not_delete_even_before_it_was_ended() {
    let mut bench = bench();
    for _ in 0..4 {
        bench.send(1_000);
    }
    let mut last = ReceiptHandle(0);
    for _ in 0..4 {
        last = bench.receive(1_000)[999].1;
    }
    bench.wait(30);
    assert_eq!(bench.delete(last), Err(Refusal::BadHandle(last)));
    assert!(bench.counts().leased > 0);
}

#[test]
fn delayed_messages_are_bounded() {
    let mut bench = bench();
    for _ in 0..20 {
        bench.send_delayed(1_000, 10).expect("there is room");
    }
    let limit = DELAYED_MAX as u64;
    assert_eq!(bench.send_delayed(1, 10), Err(Refusal::TooManyDelayed { limit }));
    bench.send(1);
    let too_long = Err(Refusal::OutOfRange {
        attribute: "delaySeconds".to_owned(),
    });
    assert_eq!(bench.send_delayed(1, 2_592_001), too_long);
}

#[test]
fn one_command_takes_a_bounded_number_of_messages() {
    let mut bench = bench();
    let out = Err(Refusal::OutOfRange {
        attribute: "numOfMsg".to_owned(),
    });
    assert_eq!(bench.send_delayed(1_001, 0), out);
    let receive = SetCommand::Receive {
        queue: QUEUE,
        max: 1_001,
        visibility: None,
    };
    assert_eq!(bench.ask(receive), out);
}

/// Fills the outboxes from the topic.
fn fill_outboxes(bench: &mut Bench) -> SubscriptionId {
    let subscription = bench.subscribe(1);
    while bench.set.outgoing_count() < OUTBOX_MAX {
        bench.publish(1_000, &[subscription]);
        let claims = bench.claim(subscription, 1_000);
        let (target, cause) = (Incarnation(77), MoveCause::Delivered);
        bench.settle(subscription, &claims, SettledOutcome::Enqueue { target, cause });
    }
    subscription
}

fn ship(bench: &mut Bench, numbers: std::ops::RangeInclusive<u64>) {
    let (source, target, numbers) = (TOPIC, Incarnation(77), numbers.collect());
    bench
        .ask(SetCommand::Shipped {
            source,
            target,
            numbers,
        })
        .expect("shipped");
}

#[test]
fn a_full_outbox_turns_an_enqueue_into_a_retry() {
    let mut bench = bench();
    let subscription = fill_outboxes(&mut bench);
    bench.publish(1, &[subscription]);
    let claims = bench.claim(subscription, 1);
    let (target, cause) = (Incarnation(77), MoveCause::Delivered);
    bench.settle(subscription, &claims, SettledOutcome::Enqueue { target, cause });
    assert_eq!(bench.set.outgoing_count(), OUTBOX_MAX);
    assert!(bench.claim(subscription, 1).is_empty());
    bench.wait(1);
    assert_eq!(bench.claim(subscription, 1)[0].receive_count, 2);
}

#[test]
fn a_dead_letter_that_finds_the_outbox_full_is_not_handed_out_again_and_goes_later() {
    let rule = DeadLetterRule::ReceiveCount { max: 1 };
    let dead_letter = dead_letter(rule);
    let mut bench = Bench::new(QueueAttributes {
        dead_letter,
        ..QueueAttributes::default()
    });
    bench.send(1);
    bench.receive(1);
    fill_outboxes(&mut bench);
    bench.wait(30);
    for _ in 0..3 {
        assert!(bench.receive(1).is_empty());
        assert_eq!(bench.counts().leased, 1);
        assert!(!bench.tick());
        assert_eq!(bench.set.deadline(), Some(bench.now + seconds(1)));
        bench.wait(1);
    }
    ship(&mut bench, 1..=1);
    bench.wait(1);
    bench.tick();
    assert_eq!(bench.counts(), QueueCounts::default());
    assert_eq!(bench.set.outgoing_to(QUEUE, DEAD, 0, 10).len(), 1);
}

#[test]
fn a_message_too_old_that_finds_the_outbox_full_stays_and_goes_later() {
    let rule = DeadLetterRule::Age { max: seconds(300) };
    let dead_letter = dead_letter(rule);
    let mut bench = Bench::new(QueueAttributes {
        dead_letter,
        ..QueueAttributes::default()
    });
    bench.send(2);
    bench.send_delayed(1, 5).expect("there is room");
    fill_outboxes(&mut bench);
    bench.wait(400);
    assert!(!bench.tick());
    assert_eq!(bench.counts().active, 3);
    let handle = bench.receive(1)[0].1;
    bench.release(handle);
    assert!(!bench.tick());
    assert_eq!(bench.set.deadline(), Some(bench.now + seconds(1)));
    ship(&mut bench, 1..=10);
    bench.wait(1);
    assert!(!bench.tick());
    assert_eq!(bench.counts(), QueueCounts::default());
    assert_eq!(bench.set.outgoing_to(QUEUE, DEAD, 0, 10).len(), 3);
}

#[test]
fn a_message_too_old_that_comes_back_to_a_full_outbox_goes_later() {
    let rule = DeadLetterRule::Age { max: seconds(300) };
    let (dead_letter, visibility) = (dead_letter(rule), seconds(600));
    let mut bench = Bench::new(QueueAttributes {
        dead_letter,
        visibility,
        ..QueueAttributes::default()
    });
    bench.send(2);
    bench.receive(1);
    bench.wait(300);
    bench.tick();
    assert_eq!(bench.set.outgoing_to(QUEUE, DEAD, 0, 10).len(), 1);
    fill_outboxes(&mut bench);
    bench.wait(300);
    bench.tick();
    assert_eq!(bench.counts().active, 1);
    ship(&mut bench, 1..=1);
    bench.wait(1);
    bench.tick();
    assert_eq!(bench.counts(), QueueCounts::default());
    assert_eq!(bench.set.outgoing_to(QUEUE, DEAD, 0, 10).len(), 2);
}

#[test]
fn a_number_too_far_above_what_is_complete_is_left_for_later() {
    let mut bench = bench();
    let far = TAKEN_AHEAD_MAX + 1;
    assert_eq!(bench.deposit(&[far, 2]), Ok(SetReply::Deposited(vec![2])));
    assert_eq!(bench.deposit(&[1, far]), Ok(SetReply::Deposited(vec![1, far])));
    assert_eq!(bench.counts().active, 3);
}

#[test]
fn a_session_keeps_its_latest_results_and_says_when_one_is_forgotten() {
    let mut bench = bench();
    let call = |number| call(1, number);
    let mut handles = Vec::new();
    bench.send(1_000);
    bench.send(1_000);
    let receive = SetCommand::Receive {
        queue: QUEUE,
        max: 1,
        visibility: None,
    };
    for number in 0..=SESSION_RESULTS_MAX as u64 {
        handles.push(bench.ask_as(call(number), receive.clone()));
    }
    assert_eq!(
        bench.ask_as(call(0), receive.clone()),
        Err(Refusal::SessionForgotten)
    );
    for (number, handle) in (0..).zip(&handles).skip(1) {
        assert_eq!(&bench.ask_as(call(number), receive.clone()), handle);
    }
}

#[test]
fn a_session_s_results_are_bounded_by_what_they_hold() {
    let mut bench = bench();
    let call = |number| call(1, number);
    let receive = SetCommand::Receive {
        queue: QUEUE,
        max: 1_000,
        visibility: None,
    };
    for number in 0..40 {
        bench.send(1_000);
        bench.ask_as(call(number), receive.clone()).expect("a receive");
    }
    assert_eq!(
        bench.ask_as(call(0), receive.clone()),
        Err(Refusal::SessionForgotten)
    );
    assert!(
        bench
            .ask_as(call(39), receive)
            .is_ok_and(|r| r != SetReply::Leased(vec![]))
    );
}

#[test]
fn the_session_that_was_silent_longest_is_forgotten_first() {
    let mut bench = bench();
    let call = |session| call(session, 1);
    bench.send(1_000);
    let receive = SetCommand::Receive {
        queue: QUEUE,
        max: 1,
        visibility: None,
    };
    let first = bench.ask_as(call(0), receive.clone());
    let second = bench.ask_as(call(1), receive.clone());
    for session in 2..SESSIONS_MAX as u64 {
        bench.ask_as(call(session), receive.clone()).expect("a receive");
    }
    assert_eq!(bench.ask_as(call(0), receive.clone()), first);
    bench
        .ask_as(call(1_000), receive.clone())
        .expect("one session more");
    assert_eq!(bench.ask_as(call(0), receive.clone()), first);
    assert_ne!(bench.ask_as(call(1), receive), second);
}

#[test]
fn tokens_are_bounded_in_length_and_number() {
    let mut bench = bench();
    let send = |bench: &mut Bench, token: String| {
        let (messages, delay, token) = (bench.messages(1), Span::ZERO, Some(Token(token)));
        let decided_at = LogIndex(0);
        bench.ask(SetCommand::Send {
            queue: QUEUE,
            delay,
            messages,
            token,
            decided_at,
        })
    };
    let out = Err(Refusal::OutOfRange {
        attribute: "token".to_owned(),
    });
    assert_eq!(send(&mut bench, "x".repeat(129)), out);
    let first = send(&mut bench, "0".to_owned());
    let second = send(&mut bench, "1".to_owned());
    for number in 2..=TOKENS_MAX {
        send(&mut bench, number.to_string()).expect("there is room");
    }
    assert_eq!(send(&mut bench, "1".to_owned()), second);
    assert_ne!(send(&mut bench, "0".to_owned()), first);
}

#[test]
fn subscriptions_are_bounded() {
    let mut bench = bench();
    let subscribe = |number: usize| SetCommand::Subscribe {
        topic: TOPIC,
        name: Name::parse(&format!("s{number}")).expect("a letter and a number"),
        attributes: super::action::subscription_attributes(0),
    };
    for number in 0..SUBSCRIPTIONS_MAX {
        bench.ask(subscribe(number)).expect("there is room");
    }
    let limit = SUBSCRIPTIONS_MAX as u64;
    let refusal = Refusal::TooManySubscriptions { limit };
    assert_eq!(bench.ask(subscribe(SUBSCRIPTIONS_MAX)), Err(refusal));
}

#[test]
fn an_endpoint_that_fails_holds_a_bounded_number_of_messages_in_retry() {
    let mut bench = bench();
    let subscription = bench.subscribe(1);
    for _ in 0..101 {
        bench.publish(1_000, &[subscription]);
        let claims = bench.claim(subscription, 1_000);
        bench.settle(subscription, &claims, SettledOutcome::Retry(seconds(600)));
    }
    assert!(bench.claim(subscription, 1).is_empty());
    let topic = bench.set.topic(TOPIC).expect("there");
    assert!(!topic.subscription(subscription).expect("there").claimable());
    assert_eq!(
        topic.subscription(subscription).expect("there").backlog(),
        101_000
    );
}
