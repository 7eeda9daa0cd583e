//! The rules of queues, one by one.

use bytes::Bytes;

use super::bench::*;
use crate::*;

fn bench() -> Bench {
    Bench::new(QueueAttributes::default())
}

fn with(change: impl FnOnce(&mut QueueAttributes)) -> Bench {
    let mut attributes = QueueAttributes::default();
    change(&mut attributes);
    Bench::new(attributes)
}

#[test]
fn messages_are_received_in_order_of_production() {
    let mut bench = bench();
    bench.send(3);
    bench.send(2);
    assert_eq!(bench.receive_sequences(2), [1, 2]);
    assert_eq!(bench.receive_sequences(16), [3, 4, 5]);
    assert_eq!(bench.receive_sequences(16), []);
}

#[test]
fn a_lease_that_ends_gives_the_message_its_old_place() {
    let mut bench = bench();
    bench.send(3);
    assert_eq!(bench.receive_sequences(1), [1]);
    bench.wait(29);
    assert_eq!(bench.receive_sequences(1), [2]);
    bench.wait(1);
    assert_eq!(bench.receive_sequences(3), [1, 3]);
}

#[test]
fn only_the_latest_handle_deletes_and_only_before_its_lease_ends() {
    let mut bench = bench();
    bench.send(1);
    let first = bench.receive(1)[0].1;
    bench.wait(30);
    assert_eq!(bench.delete(first), Err(Refusal::BadHandle(first)));
    let second = bench.receive(1)[0].1;
    assert_eq!(bench.delete(first), Err(Refusal::BadHandle(first)));
    assert_eq!(bench.delete(second), Ok(()));
    assert_eq!(bench.delete(second), Err(Refusal::BadHandle(second)));
    assert_eq!(bench.counts(), QueueCounts::default());
}

#[test]
fn handles_are_counted_over_the_whole_set_and_do_not_come_back() {
    let mut bench = bench();
    bench.send(2);
    let subscription = bench.subscribe(1);
    bench.publish(1, &[subscription]);
    assert_eq!(bench.receive(1)[0].1, ReceiptHandle(1));
    assert_eq!(bench.claim(subscription, 1)[0].handle, ReceiptHandle(2));
    assert_eq!(bench.receive(1)[0].1, ReceiptHandle(3));
}

#[test]
fn a_receive_says_how_often_and_since_when() {
    let mut bench = bench();
    bench.send(1);
    let start = bench.now;
    for count in 1..=3 {
        let leased = bench.leased(1).expect("a receive");
        assert_eq!(
            (leased[0].receive_count, leased[0].first_received),
            (count, start)
        );
        assert_eq!(leased[0].visible_again, bench.now + seconds(30));
        bench.wait(31);
    }
}

#[test]
fn a_release_is_as_if_the_receive_had_not_been() {
    let mut bench = bench();
    bench.send(1);
    let handle = bench.receive(1)[0].1;
    bench.release(handle);
    assert_eq!(bench.applied.awake, [Awake::Queue(QUEUE)]);
    bench.wait(5);
    let leased = bench.leased(1).expect("a receive");
    assert_eq!(
        (leased[0].receive_count, leased[0].first_received),
        (1, bench.now)
    );
    assert_eq!(bench.delete(handle), Err(Refusal::BadHandle(handle)));
}

#[test]
fn a_message_that_is_returned_is_visible_at_once_and_counts_as_received() {
    let mut bench = bench();
    bench.send(2);
    let first = bench.receive(1)[0].1;
    assert_eq!(bench.give_back(&[first], 0), Ok(vec![Ok(())]));
    assert_eq!(
        bench.give_back(&[first], 0),
        Ok(vec![Err(Refusal::BadHandle(first))])
    );
    assert_eq!(bench.delete(first), Err(Refusal::BadHandle(first)));
    let again = bench.leased(2).expect("a receive");
    assert_eq!([again[0].receive_count, again[1].receive_count], [2, 1]);
}

#[test]
fn a_message_that_is_returned_for_later_is_hidden_until_then() {
    let mut bench = bench();
    bench.send(1);
    let first = bench.receive(1)[0].1;
    assert_eq!(bench.give_back(&[first], 5), Ok(vec![Ok(())]));
    assert_eq!(bench.delete(first), Err(Refusal::BadHandle(first)));
    assert_eq!((bench.counts().active, bench.counts().leased), (0, 1));
    bench.wait(4);
    assert!(bench.receive(1).is_empty());
    bench.wait(1);
    assert_eq!(bench.leased(1).expect("a receive")[0].receive_count, 2);
    let handle = ReceiptHandle(1);
    assert_eq!(
        bench.give_back(&[handle], 43_201),
        Err(Refusal::OutOfRange {
            attribute: "delaySeconds".to_owned()
        })
    );
}

#[test]
fn a_message_that_is_returned_too_often_goes_to_the_dead_letter_queue() {
    let mut bench = with(|a| a.dead_letter = dead_letter(DeadLetterRule::ReceiveCount { max: 2 }));
    bench.send(2);
    for delay in [0, 1] {
        let leased = bench.receive(2);
        let handles: Vec<ReceiptHandle> = leased.iter().map(|(_, handle)| *handle).collect();
        assert_eq!(bench.give_back(&handles, delay), Ok(vec![Ok(()), Ok(())]));
    }
    assert_eq!(bench.set.outgoing_count(), 0, "they are hidden for a second");
    bench.wait(1);
    bench.tick();
    assert_eq!(bench.set.outgoing_count(), 2);
}

#[test]
fn a_rewind_shows_what_was_returned_for_later_and_counts_it_anew() {
    let mut bench = with(|a| a.rewind = seconds(100));
    bench.send(1);
    let handle = bench.receive(1)[0].1;
    assert_eq!(bench.give_back(&[handle], 60), Ok(vec![Ok(())]));
    bench.rewind(bench.now).expect("the queue can be rewound");
    assert_eq!(bench.leased(1).expect("a receive")[0].receive_count, 1);
}

#[test]
fn a_lease_that_is_extended_ends_so_long_from_then_under_the_same_handle() {
    let mut bench = bench();
    bench.send(2);
    let leased = bench.receive(2);
    let (long, short) = (leased[0].1, leased[1].1);
    bench.wait(29);
    assert_eq!(bench.extend(&[long], 60), Ok(vec![Ok(())]));
    assert_eq!(bench.extend(&[short], 1), Ok(vec![Ok(())]));
    bench.wait(1);
    assert_eq!(
        bench.extend(&[short], 60),
        Ok(vec![Err(Refusal::BadHandle(short))])
    );
    assert_eq!(bench.receive_sequences(2), [2]);
    bench.wait(58);
    assert_eq!(bench.delete(long), Ok(()));
    let refused = bench.extend(&[long], 0);
    assert_eq!(
        refused,
        Err(Refusal::OutOfRange {
            attribute: "visibilityTimeout".to_owned()
        })
    );
}

#[test]
fn a_delayed_message_comes_when_it_is_due_at_its_place() {
    let mut bench = bench();
    bench.send_delayed(1, 10).expect("there is room");
    assert_eq!(bench.applied.awake, []);
    bench.send(1);
    assert_eq!(bench.counts().delayed, 1);
    bench.wait(9);
    let handle = bench.receive(2)[0];
    assert_eq!(handle.0, 2);
    bench.release(handle.1);
    assert_eq!(bench.set.deadline(), Some(bench.now + seconds(1)));
    bench.wait(1);
    assert!(!bench.tick());
    assert_eq!(bench.applied.awake, [Awake::Queue(QUEUE)]);
    assert_eq!(bench.receive_sequences(2), [1, 2]);
}

#[test]
fn retention_ends_a_message_whatever_its_state() {
    let mut bench = with(|a| (a.retention, a.rewind) = (seconds(100), seconds(100)));
    bench.send(3);
    let deleted = bench.receive(1)[0].1;
    bench.delete(deleted).expect("the lease lasts");
    bench.wait(99);
    let handle = bench.receive(1)[0].1;
    let counts = bench.counts();
    assert_eq!((counts.active, counts.leased, counts.rewindable), (1, 1, 1));
    assert_eq!(bench.set.deadline(), Some(bench.now + seconds(1)));
    bench.wait(1);
    assert_eq!(bench.delete(handle), Err(Refusal::BadHandle(handle)));
    assert_eq!(bench.counts(), QueueCounts::default());
    assert_eq!(bench.set.kept_in(QUEUE, Sequence(1)..=Sequence(9)), 0);
    assert_eq!(bench.set.deadline(), None);
}

#[test]
fn retention_of_a_delayed_message_starts_when_it_is_visible() {
    let mut bench = with(|a| a.retention = seconds(60));
    bench.send_delayed(1, 300).expect("there is room");
    let keep_until = bench.applied.stored[0].keep_until;
    assert!(keep_until >= bench.now + seconds(360));
    bench.wait(359);
    assert_eq!(bench.receive_sequences(1), [1]);
    bench.wait(1);
    assert_eq!(bench.receive_sequences(1), []);
    assert_eq!(bench.counts(), QueueCounts::default());
}

#[test]
fn a_body_is_not_kept_longer_than_was_said_when_it_was_stored() {
    let mut bench = with(|a| a.retention = seconds(60));
    bench.send(1);
    bench.now = bench.now + Span::from_millis(700);
    bench.send(1);
    let stored = bench.applied.stored[0];
    bench.now = stored.keep_until;
    bench.tick();
    assert!(!bench.set.is_kept(stored.body));
    assert!(!bench.set.is_kept(body(QUEUE, 1)));
}

#[test]
fn a_message_received_too_often_goes_to_the_dead_letter_queue_when_its_last_lease_ends() {
    let mut bench = with(|a| a.dead_letter = dead_letter(DeadLetterRule::ReceiveCount { max: 2 }));
    bench.send(2);
    for _ in 0..2 {
        assert_eq!(bench.receive_sequences(2), [1, 2]);
        assert!(bench.set.outgoing(10).is_empty());
        bench.wait(30);
    }
    bench.tick();
    assert!(bench.applied.outgoing);
    assert_eq!(bench.receive_sequences(2), []);
    let numbers: Vec<_> = bench
        .set
        .outgoing(10)
        .iter()
        .map(|o| (o.target, o.number))
        .collect();
    assert_eq!(numbers, [(DEAD, 1), (DEAD, 2)]);
    let first = &bench.set.outgoing(1)[0];
    assert_eq!(
        (first.receive_count, &first.cause),
        (2, &MoveCause::ReceivedTooOften)
    );
    assert_eq!(bench.set.keep_until(first.body), Some(Time::MAX));
    assert_eq!(bench.counts(), QueueCounts::default());
}

#[test]
fn a_message_in_the_outbox_is_kept_until_it_is_shipped() {
    let mut bench = with(|a| {
        a.retention = seconds(60);
        a.dead_letter = dead_letter(DeadLetterRule::ReceiveCount { max: 1 });
    });
    bench.send(2);
    bench.receive(1);
    bench.wait(1_000);
    bench.tick();
    assert!(!bench.set.is_kept(body(QUEUE, 2)));
    let outgoing = bench.set.outgoing(10);
    // The lease ended long after the message did: it has expired, and is no dead letter.
    assert!(outgoing.is_empty());
    bench.send(1);
    bench.receive(1);
    bench.wait(31);
    bench.tick();
    bench.wait(1_000);
    bench.tick();
    let outgoing = bench.set.outgoing(10).remove(0);
    assert!(bench.set.is_kept(outgoing.body));
    let (source, target, numbers) = (outgoing.source, outgoing.target, vec![outgoing.number]);
    let shipped = SetCommand::Shipped {
        source,
        target,
        numbers,
    };
    assert_eq!(bench.ask(shipped.clone()), Ok(SetReply::Shipped));
    assert!(!bench.set.is_kept(outgoing.body));
    assert_eq!(bench.ask(shipped), Ok(SetReply::Shipped));
}

#[test]
fn a_lower_limit_on_receives_holds_for_what_was_received_before() {
    let mut bench = bench();
    bench.send(1);
    for _ in 0..3 {
        assert_eq!(bench.receive_sequences(1), [1]);
        bench.wait(30);
    }
    bench.tick();
    let rule = DeadLetterRule::ReceiveCount { max: 2 };
    let dead_letter = dead_letter(rule);
    bench
        .define(QueueAttributes {
            dead_letter,
            ..QueueAttributes::default()
        })
        .expect("valid");
    assert_eq!(bench.receive_sequences(1), []);
    assert_eq!(bench.set.outgoing(10).len(), 1);
}

#[test]
fn a_message_that_waited_too_long_goes_to_the_dead_letter_queue() {
    let max = seconds(300);
    let mut bench = with(|a| {
        a.visibility = seconds(600);
        a.dead_letter = dead_letter(DeadLetterRule::Age { max });
    });
    bench.send(3);
    let deleted = bench.receive(1)[0].1;
    bench.delete(deleted).expect("the lease lasts");
    bench.wait(299);
    bench.receive(1);
    assert_eq!(bench.set.deadline(), Some(bench.now + seconds(1)));
    bench.wait(1);
    bench.tick();
    let buried: Vec<_> = bench.set.outgoing(10).iter().map(|o| o.body.sequence.0).collect();
    assert_eq!(buried, [3], "what is leased stays with its consumer");
    bench.wait(600);
    bench.tick();
    let last = bench.set.outgoing(10).remove(1);
    assert_eq!((last.body.sequence.0, last.cause), (2, MoveCause::WaitedTooLong));
    assert!(!bench.tick());
    assert_eq!(bench.counts(), QueueCounts::default());
}

#[test]
fn the_age_of_a_dead_letter_counts_from_the_end_of_its_delay() {
    let max = seconds(300);
    let mut bench = with(|a| a.dead_letter = dead_letter(DeadLetterRule::Age { max }));
    bench.send_delayed(1, 100).expect("there is room");
    bench.send_delayed(1, 900).expect("there is room");
    bench.wait(399);
    bench.tick();
    assert_eq!(bench.counts().active, 1);
    assert_eq!(bench.set.deadline(), Some(bench.now + seconds(1)));
    bench.wait(1);
    bench.tick();
    assert_eq!(bench.set.outgoing(10).len(), 1);
    assert_eq!(bench.counts().delayed, 1);
    bench.wait(800);
    bench.tick();
    assert_eq!(bench.set.outgoing(10).len(), 2);
}

#[test]
fn rewind_brings_back_what_was_deleted_since_in_order() {
    let mut bench = with(|a| a.rewind = seconds(1_000));
    let start = bench.now;
    for _ in 0..5 {
        bench.send(1);
        bench.wait(10);
    }
    for (sequence, handle) in bench.receive(4) {
        if sequence != 2 {
            bench.delete(handle).expect("the lease lasts");
        }
    }
    assert_eq!(bench.counts().rewindable, 3);
    assert_eq!(bench.rewind(start + seconds(20)), Ok(SetReply::Rewound));
    assert_eq!(bench.applied.awake, [Awake::Queue(QUEUE)]);
    // The first stays deleted; the second was leased, which is void.
    assert_eq!(bench.receive_sequences(16), [2, 3, 4, 5]);
    assert_eq!(bench.counts().rewindable, 1);
}

#[test]
fn a_rewind_voids_handles_and_starts_counts_from_zero() {
    let mut bench = with(|a| a.rewind = seconds(1_000));
    bench.send(1);
    bench.receive(1);
    bench.wait(30);
    let handle = bench.receive(1)[0].1;
    let now = bench.now;
    bench.rewind(now).expect("within range");
    assert_eq!(bench.delete(handle), Err(Refusal::BadHandle(handle)));
    assert_eq!(bench.leased(1).expect("a receive")[0].receive_count, 1);
}

#[test]
fn a_rewind_reaches_back_as_far_as_the_queue_keeps_and_not_ahead() {
    let mut bench = with(|a| a.rewind = seconds(100));
    let now = bench.now;
    assert_eq!(
        bench.rewind(now.before(seconds(101))),
        Err(Refusal::RewindOutOfRange)
    );
    assert_eq!(
        bench.rewind(now + Span::from_millis(1)),
        Err(Refusal::RewindOutOfRange)
    );
    assert_eq!(bench.rewind(now.before(seconds(100))), Ok(SetReply::Rewound));
    bench.define(QueueAttributes::default()).expect("valid");
    assert_eq!(bench.rewind(now), Err(Refusal::NotRewindable));
}

#[test]
fn what_was_deleted_can_be_brought_back_for_as_long_as_it_was_produced_ago() {
    let mut bench = with(|a| a.rewind = seconds(100));
    bench.send(2);
    bench.wait(99);
    let leased = bench.receive(2);
    bench.delete(leased[0].1).expect("the lease lasts");
    assert_eq!(bench.counts().rewindable, 1);
    bench.wait(1);
    bench.delete(leased[1].1).expect("the lease lasts");
    assert_eq!(bench.counts().rewindable, 0);
    assert!(!bench.set.is_kept(body(QUEUE, 1)));
}

#[test]
fn rewind_turned_off_drops_what_could_be_brought_back_at_once() {
    let mut bench = with(|a| a.rewind = seconds(100));
    bench.send(1);
    let handle = bench.receive(1)[0].1;
    bench.delete(handle).expect("the lease lasts");
    assert!(bench.set.is_kept(body(QUEUE, 1)));
    bench.define(QueueAttributes::default()).expect("valid");
    assert_eq!(bench.counts().rewindable, 0);
    assert!(!bench.set.is_kept(body(QUEUE, 1)));
}

#[test]
fn a_rewind_leaves_delayed_and_dead_lettered_messages_where_they_are() {
    let mut bench = with(|a| {
        a.rewind = seconds(1_000);
        a.dead_letter = dead_letter(DeadLetterRule::ReceiveCount { max: 1 });
    });
    bench.send(1);
    bench.send_delayed(1, 500).expect("there is room");
    bench.receive(1);
    bench.wait(30);
    bench.tick();
    let to = bench.now.before(seconds(900));
    bench.rewind(to).expect("within range");
    assert_eq!(bench.receive_sequences(2), []);
    assert_eq!(bench.set.outgoing(10).len(), 1);
    bench.wait(470);
    assert_eq!(bench.receive_sequences(2), [2]);
}

#[test]
fn what_is_brought_back_is_not_a_dead_letter_for_its_age_before() {
    let mut bench = with(|a| {
        a.rewind = seconds(2_000);
        a.dead_letter = dead_letter(DeadLetterRule::Age { max: seconds(300) });
    });
    bench.send(2);
    let handle = bench.receive(1)[0].1;
    bench.delete(handle).expect("the lease lasts");
    bench.wait(1_000);
    bench.tick();
    assert_eq!(bench.set.outgoing(10).len(), 1, "the other has waited too long");
    let to = bench.now.before(seconds(1_500));
    bench.rewind(to).expect("within range");
    bench.wait(299);
    bench.tick();
    assert_eq!(bench.counts().active, 1);
    bench.wait(1);
    bench.tick();
    assert_eq!(bench.set.outgoing(10).len(), 2);
}

#[test]
fn a_dead_letter_policy_that_comes_back_looks_at_every_message_again() {
    let max = seconds(300);
    let mut attributes = QueueAttributes {
        visibility: seconds(600),
        dead_letter: dead_letter(DeadLetterRule::Age { max }),
        ..QueueAttributes::default()
    };
    let mut bench = Bench::new(attributes.clone());
    bench.send(2);
    bench.receive(1);
    bench.wait(300);
    bench.tick();
    assert_eq!(bench.set.outgoing(10).len(), 1);
    let policy = attributes.dead_letter.take();
    bench.define(attributes.clone()).expect("valid");
    bench.wait(300);
    bench.tick();
    assert_eq!(
        bench.counts().active,
        1,
        "without the policy the message is visible again"
    );
    attributes.dead_letter = policy;
    bench.define(attributes).expect("valid");
    bench.tick();
    assert_eq!(bench.set.outgoing(10).len(), 2);
}

#[test]
fn a_send_is_all_or_none() {
    let mut bench = bench();
    let mut messages = bench.messages(3);
    messages[2].message.body = Body::Clear(Bytes::from(vec![0; 65_537]));
    let refusal = Refusal::BodyTooLarge {
        bytes: 65_537,
        limit: 65_536,
    };
    assert_eq!(bench.ask(send(messages, Span::ZERO)), Err(refusal));
    assert!(bench.applied.stored.is_empty());
    assert_eq!(bench.counts(), QueueCounts::default());
}

#[test]
fn what_a_seal_adds_to_a_body_does_not_count() {
    let mut bench = bench();
    let mut sealed = |bytes| {
        let mut messages = bench.messages(1);
        let context = SealContext {
            tenant: TenantId(1),
            incarnation: QUEUE,
            message: messages[0].message.id,
        };
        messages[0].message.body = Body::Sealed(SealedBody {
            header: Bytes::from_static(b"header"),
            ciphertext: Bytes::from(vec![0; bytes]),
            context,
            version: PluginVersion(1),
        });
        bench.ask(send(messages, Span::ZERO))
    };
    assert!(sealed(65_552).is_ok());
    assert!(matches!(
        sealed(65_536 + 4_097),
        Err(Refusal::BodyTooLarge { .. })
    ));
}

#[test]
fn a_message_that_a_filter_dropped_is_answered_and_not_kept() {
    let mut bench = bench();
    let mut messages = bench.messages(3);
    messages[1].keep = false;
    let ids: Vec<_> = messages.iter().map(|incoming| incoming.message.id).collect();
    assert_eq!(bench.ask(send(messages, Span::ZERO)), Ok(SetReply::Sent(ids)));
    let stored: Vec<_> = bench
        .applied
        .stored
        .iter()
        .map(|s| (s.body.sequence.0, s.ordinal))
        .collect();
    assert_eq!(stored, [(1, 0), (2, 2)]);
    assert_eq!(bench.set.last_message_id(), MessageId(3));
}

#[test]
fn a_repeated_token_answers_the_first_ids_for_five_minutes() {
    let mut bench = bench();
    let with_token = |bench: &mut Bench, decided_at| {
        let messages = bench.messages(1);
        let token = Some(Token("mine".to_owned()));
        let delay = Span::ZERO;
        bench.ask(SetCommand::Send {
            queue: QUEUE,
            delay,
            messages,
            token,
            decided_at,
        })
    };
    let first = with_token(&mut bench, LogIndex(0));
    bench.wait(299);
    bench
        .ask(SetCommand::Observe {
            directory: LogIndex(9),
        })
        .expect("noted");
    assert_eq!(with_token(&mut bench, LogIndex(3)), first);
    assert_eq!(bench.counts().active, 1);
    bench.wait(1);
    assert_ne!(with_token(&mut bench, LogIndex(0)), first);
    assert_eq!(bench.counts().active, 2);
}

#[test]
fn a_decision_made_before_what_the_set_has_seen_is_refused() {
    let mut bench = bench();
    let decided = |bench: &mut Bench, decided_at| {
        let (messages, token, delay) = (bench.messages(1), None, Span::ZERO);
        let decided_at = LogIndex(decided_at);
        bench.ask(SetCommand::Send {
            queue: QUEUE,
            delay,
            messages,
            token,
            decided_at,
        })
    };
    assert!(decided(&mut bench, 5).is_ok());
    assert_eq!(bench.set.directory_seen(), LogIndex(5));
    let (decided_at, seen) = (LogIndex(4), LogIndex(5));
    assert_eq!(
        decided(&mut bench, 4),
        Err(Refusal::DecidedTooEarly { decided_at, seen })
    );
    assert!(decided(&mut bench, 0).is_ok());
    bench
        .ask(SetCommand::Observe {
            directory: LogIndex(6),
        })
        .expect("noted");
    assert!(decided(&mut bench, 5).is_err());
    assert!(decided(&mut bench, 6).is_ok());
}

#[test]
fn a_deposit_takes_each_number_once_whatever_the_order_and_for_ever() {
    let mut bench = with(|a| a.retention = seconds(60));
    assert_eq!(bench.deposit(&[2, 1]), Ok(SetReply::Deposited(vec![2, 1])));
    assert_eq!(bench.counts().active, 2);
    assert_eq!(bench.deposit(&[1, 4, 2]), Ok(SetReply::Deposited(vec![1, 4, 2])));
    assert_eq!(bench.counts().active, 3);
    let stored: Vec<_> = bench.applied.stored.iter().map(|s| s.ordinal).collect();
    assert_eq!(stored, [1]);
    bench.wait(1_000_000);
    assert_eq!(bench.deposit(&[4]), Ok(SetReply::Deposited(vec![4])));
    assert_eq!(bench.counts(), QueueCounts::default());
    assert!(matches!(bench.deposit(&[0]), Err(Refusal::Malformed(_))));
}

#[test]
fn a_dropped_queue_leaves_nothing() {
    let mut bench = with(|a| a.dead_letter = dead_letter(DeadLetterRule::ReceiveCount { max: 1 }));
    bench.send(2);
    bench.receive(1);
    bench.wait(30);
    bench.tick();
    assert_eq!(bench.set.outgoing(10).len(), 1);
    assert_eq!(
        bench.ask(SetCommand::Drop { incarnation: QUEUE }),
        Ok(SetReply::Dropped)
    );
    assert_eq!(
        bench.ask(SetCommand::Drop { incarnation: QUEUE }),
        Ok(SetReply::Dropped)
    );
    assert!(bench.set.outgoing(10).is_empty());
    assert_eq!(bench.set.deadline(), None);
    assert!(!bench.set.is_kept(body(QUEUE, 2)));
    assert_eq!(bench.leased(1), Err(Refusal::NoIncarnation(QUEUE)));
}

#[test]
fn a_definition_takes_effect_only_when_it_is_newer() {
    let mut bench = bench();
    let attributes = QueueAttributes {
        visibility: seconds(5),
        ..QueueAttributes::default()
    };
    let definition = Definition::Queue(attributes.clone());
    bench.wait(7);
    assert_eq!(
        bench.ask(define(QUEUE, 1, definition.clone())),
        Ok(SetReply::Defined)
    );
    assert_eq!(
        bench.set.queue(QUEUE).expect("there").attributes().visibility,
        seconds(30)
    );
    assert_eq!(bench.ask(define(QUEUE, 2, definition)), Ok(SetReply::Defined));
    let queue = bench.set.queue(QUEUE).expect("there");
    assert_eq!(queue.attributes(), &attributes);
    assert_eq!(queue.modified(), queue.created() + seconds(7));
    let topic = Definition::Topic(TopicAttributes::default());
    assert_eq!(bench.ask(define(QUEUE, 3, topic)), Err(Refusal::WrongKind(QUEUE)));
}

#[test]
fn attributes_out_of_bounds_are_refused_by_name() {
    let mut bench = bench();
    let mut refused = |change: fn(&mut QueueAttributes)| {
        let mut attributes = QueueAttributes::default();
        change(&mut attributes);
        bench.define(attributes)
    };
    let out = |attribute: &str| {
        Err(Refusal::OutOfRange {
            attribute: attribute.to_owned(),
        })
    };
    assert_eq!(refused(|a| a.messages_max = 999_999), out("maxMsgHeapNum"));
    assert_eq!(
        refused(|a| a.polling_wait = seconds(31)),
        out("pollingWaitSeconds")
    );
    assert_eq!(refused(|a| a.visibility = Span::ZERO), out("visibilityTimeout"));
    assert_eq!(refused(|a| a.body_bytes_max = 1_048_577), out("maxMsgSize"));
    assert_eq!(refused(|a| a.retention = seconds(59)), out("msgRetentionSeconds"));
    assert_eq!(
        refused(|a| a.rewind = seconds(345_601)),
        Err(Refusal::RewindAboveRetention)
    );
    let none = |a: &mut QueueAttributes| {
        a.dead_letter = dead_letter(DeadLetterRule::ReceiveCount { max: 0 });
    };
    assert_eq!(refused(none), out("maxReceiveCount"));
    let as_long_as_retention = |a: &mut QueueAttributes| {
        a.retention = seconds(300);
        a.dead_letter = dead_letter(DeadLetterRule::Age { max: seconds(300) });
    };
    assert_eq!(refused(as_long_as_retention), out("maxTimeToLive"));
    let to_itself = |a: &mut QueueAttributes| {
        a.dead_letter = dead_letter(DeadLetterRule::ReceiveCount { max: 1 });
        a.dead_letter.as_mut().expect("just set").target = QUEUE;
    };
    assert_eq!(refused(to_itself), out("deadLetterPolicy"));
}

#[test]
fn time_never_runs_back() {
    let mut bench = bench();
    let now = bench.now;
    bench.now = now.before(seconds(1_000));
    bench.tick();
    assert_eq!(bench.set.now(), now);
    bench.send(1);
    assert_eq!(bench.counts().oldest, Some(now));
}

#[test]
fn a_command_sent_twice_in_a_session_takes_effect_once() {
    let mut bench = bench();
    let call = |number| call(9, number);
    let messages = bench.messages(1);
    let sent = bench.ask_as(call(1), send(messages.clone(), Span::ZERO));
    assert_eq!(bench.ask_as(call(1), send(messages, Span::ZERO)), sent);
    assert_eq!(bench.counts().active, 1);
    let receive = SetCommand::Receive {
        queue: QUEUE,
        max: 1,
        visibility: None,
    };
    let leased = bench.ask_as(call(2), receive.clone());
    bench.wait(10);
    assert_eq!(bench.ask_as(call(2), receive.clone()), leased);
    assert_ne!(bench.ask_as(call(3), receive), leased);
}

#[test]
fn a_receive_that_is_asked_again_answers_no_lease_that_has_ended() {
    let mut bench = with(|attributes| attributes.rewind = seconds(600));
    let call = call(9, 1);
    let receive = SetCommand::Receive {
        queue: QUEUE,
        max: 3,
        visibility: None,
    };
    let asked = |bench: &mut Bench| match bench.ask_as(call, receive.clone()) {
        Ok(SetReply::Leased(leased)) => leased,
        other => panic!("{other:?}"),
    };
    bench.send(3);
    let first = asked(&mut bench);
    assert_eq!(asked(&mut bench), first);
    // One was given back, and is another's; one was deleted.
    bench.release(first[0].handle);
    assert_eq!(bench.receive_sequences(1), [1]);
    bench.delete(first[1].handle).expect("it is leased");
    assert_eq!(asked(&mut bench), first[2..]);
    // All have ended: it is a receive like any other.
    bench.wait(60);
    let anew = asked(&mut bench);
    assert_eq!(anew.len(), 2, "the deleted one is gone");
    assert!(
        anew.iter()
            .all(|one| first.iter().all(|old| old.handle < one.handle))
    );
    assert_eq!(asked(&mut bench), anew);
    bench.rewind(bench.now).expect("it can be rewound");
    assert_ne!(asked(&mut bench), anew);
}

#[test]
fn releasing_nothing_under_a_receives_name_tells_what_it_leased_or_keeps_it_from_leasing() {
    let mut bench = bench();
    let call = |number| call(7, number);
    let receive = SetCommand::Receive {
        queue: QUEUE,
        max: 1,
        visibility: None,
    };
    let nothing = SetCommand::Release {
        queue: QUEUE,
        handles: Vec::new(),
    };
    bench.send(1);
    // It comes first: whoever still asks gets no message.
    assert_eq!(bench.ask_as(call(1), nothing.clone()), Ok(SetReply::Released));
    assert_eq!(bench.ask_as(call(1), receive.clone()), Ok(SetReply::Released));
    // It comes after.
    let leased = bench.ask_as(call(2), receive.clone());
    assert!(matches!(&leased, Ok(SetReply::Leased(leased)) if leased.len() == 1));
    assert_eq!(bench.ask_as(call(2), nothing.clone()), leased);
    // Once the lease is over there is nothing to tell, and nothing is leased under that name any more.
    let Ok(SetReply::Leased(leased)) = leased else {
        panic!("it was leased");
    };
    bench.release(leased[0].handle);
    assert_eq!(bench.ask_as(call(2), nothing), Ok(SetReply::Released));
    assert_eq!(bench.ask_as(call(2), receive), Ok(SetReply::Released));
    assert_eq!(bench.receive_sequences(10), [1]);
}

#[test]
fn a_decision_made_too_early_can_be_made_again_under_the_same_number() {
    let mut bench = bench();
    bench
        .ask(SetCommand::Observe {
            directory: LogIndex(9),
        })
        .expect("noted");
    let call = call(9, 1);
    let mut decided = |decided_at| {
        let (messages, token, delay) = (bench.messages(1), None, Span::ZERO);
        let decided_at = LogIndex(decided_at);
        let send = SetCommand::Send {
            queue: QUEUE,
            delay,
            messages,
            token,
            decided_at,
        };
        bench.ask_as(call, send)
    };
    assert!(matches!(decided(8), Err(Refusal::DecidedTooEarly { .. })));
    let sent = decided(9);
    assert!(sent.is_ok());
    assert_eq!(decided(10), sent);
}

#[test]
fn a_message_stands_where_it_is_and_nowhere_once_it_is_gone() {
    let mut bench = with(|attributes| attributes.rewind = seconds(60));
    bench.send(3);
    bench.send_delayed(1, 100).expect("there is room");
    let leased = bench.receive(2);
    bench.delete(leased[1].1).expect("it is leased");
    let now = bench.set.now();
    let queue = bench.set.queue(QUEUE).expect("the queue is there");
    let standings = [1, 2, 3, 4, 5].map(|sequence| queue.standing(Sequence(sequence)));
    let expected = [
        Some(Standing::Leased {
            until: now + seconds(30),
        }),
        Some(Standing::Rewindable),
        Some(Standing::Ready),
        Some(Standing::Waiting {
            until: now + seconds(100),
        }),
        None,
    ];
    assert_eq!(standings, expected);
    assert_eq!([1, 3].map(|sequence| queue.receives(Sequence(sequence))), [1, 0]);
}

#[test]
fn what_is_kept_of_some_seconds_is_named_up_to_a_bound() {
    let mut bench = bench();
    bench.send(2);
    let first = bench.set.now();
    bench.wait(5);
    bench.send(3);
    let last = bench.set.now();
    let handle = bench.receive(1)[0].1;
    bench.delete(handle).expect("it is leased");
    let queue = bench.set.queue(QUEUE).expect("the queue is there");
    let kept = |from, to, max| queue.kept_between(from, to, max);
    assert_eq!(kept(first, first, 9), [Sequence(2)]);
    assert_eq!(kept(last, last, 9), [Sequence(3), Sequence(4), Sequence(5)]);
    assert_eq!(kept(first, last, 2), [Sequence(2), Sequence(3)]);
    assert_eq!(kept(last + seconds(1), last + seconds(9), 9), []);
    let since = |since, after: Option<u64>, max| queue.kept_since(since, after.map(Sequence), max);
    assert_eq!(since(first, None, 2), [Sequence(2), Sequence(3)]);
    assert_eq!(since(first, Some(3), 9), [Sequence(4), Sequence(5)]);
    assert_eq!(since(last, Some(1), 1), [Sequence(3)]);
    assert_eq!(since(first, Some(u64::MAX), 9), []);
}
