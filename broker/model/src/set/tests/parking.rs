//! Messages that plugins failed on, parked with the commands that bring them.

use super::bench::{Bench, DEAD, QUEUE, TOPIC, body};
use crate::bounds::{MESSAGES_PER_COMMAND_MAX, OUTBOX_MAX};
use crate::*;

fn bench() -> Bench {
    Bench::new(QueueAttributes::default())
}

fn park(place: u32, subscription: Option<SubscriptionId>) -> Park {
    Park {
        place,
        target: DEAD,
        parking: Box::new(Parking {
            world: World::Filter,
            version: PluginVersion(3),
            digest: None,
            subscription,
            attempt: 1,
            trap: "it trapped".to_owned(),
            backtrace: String::new(),
        }),
    }
}

/// A send of messages that are kept in the queue or not.
fn send(bench: &mut Bench, keep: &[bool], token: Option<&str>, decided_at: u64) -> SetCommand {
    SetCommand::Send {
        queue: QUEUE,
        delay: Span::ZERO,
        messages: keep
            .iter()
            .map(|keep| Incoming {
                message: bench.message(),
                keep: *keep,
            })
            .collect(),
        token: token.map(|token| Token(token.to_owned())),
        decided_at: LogIndex(decided_at),
    }
}

fn publish(bench: &mut Bench, matched: &[SubscriptionId]) -> SetCommand {
    SetCommand::Publish {
        topic: TOPIC,
        publications: vec![Publication {
            message: bench.message(),
            matched: matched.to_vec(),
            replaced: Vec::new(),
        }],
        token: None,
        decided_at: LogIndex(0),
    }
}

fn parking(command: SetCommand, parks: Vec<Park>) -> SetCommand {
    SetCommand::Park {
        uses: Vec::new(),
        command: Decided::new(command).expect("plugins decide about it"),
        parks,
    }
}

fn ship(bench: &mut Bench, source: Incarnation, numbers: &[u64]) {
    bench
        .ask(SetCommand::Shipped {
            source,
            target: DEAD,
            numbers: numbers.to_vec(),
        })
        .expect("the outbox is there");
}

#[test]
fn what_is_sent_and_parked_waits_in_the_outbox_and_is_in_no_other_place() {
    let mut bench = bench();
    let command = send(&mut bench, &[true, false, true], None, 0);
    assert!(bench.ask(parking(command, vec![park(1, None)])).is_ok());
    assert!(bench.applied.outgoing, "who moves messages is told");
    let stored: Vec<(u64, u32)> = bench
        .applied
        .stored
        .iter()
        .map(|stored| (stored.body.sequence.0, stored.ordinal))
        .collect();
    assert_eq!(stored, [(1, 0), (2, 2), (3, 1)]);
    let outgoing = bench.set.outgoing(9);
    assert_eq!((outgoing.len(), outgoing[0].body), (1, body(QUEUE, 3)));
    assert_eq!(outgoing[0].cause.parking(), Some(&*park(1, None).parking));
    assert_eq!(bench.receive_sequences(9), [1, 2]);
    bench.wait(100 * 86_400);
    bench.ask(SetCommand::Tick).expect("it ticks");
    let queue = bench.set.queue(QUEUE).expect("the queue is there");
    assert_eq!(queue.outboxed(), 1, "its time in the queue does not end it");
    ship(&mut bench, QUEUE, &[1]);
    let queue = bench.set.queue(QUEUE).expect("the queue is there");
    assert_eq!((queue.outboxed(), queue.standing(Sequence(3))), (0, None));
}

#[test]
fn a_call_that_is_decided_again_parks_once() {
    let mut bench = bench();
    for _ in 0..2 {
        let command = send(&mut bench, &[false], Some("the caller's"), 0);
        assert!(bench.ask(parking(command, vec![park(0, None)])).is_ok());
    }
    assert_eq!(bench.set.outgoing(9).len(), 1);
    let call = SessionCall {
        origin: ReplicaId(1),
        session: 5,
        number: 0,
    };
    for _ in 0..2 {
        let command = send(&mut bench, &[false], None, 0);
        let command = parking(command, vec![park(0, None)]);
        assert!(bench.ask_as(Some(call), command).is_ok());
    }
    assert_eq!(bench.set.outgoing(9).len(), 2);
}

#[test]
fn what_is_refused_parks_nothing_and_may_be_decided_again() {
    let mut bench = bench();
    let index = LogIndex(5);
    bench
        .ask(SetCommand::Observe { directory: index })
        .expect("it is noted");
    let early = send(&mut bench, &[false], None, 4);
    let early = bench.ask(parking(early, vec![park(0, None)]));
    assert!(matches!(early, Err(Refusal::DecidedTooEarly { .. })), "{early:?}");
    let stale = SetCommand::Park {
        uses: vec![KvUse {
            store: KvId {
                place: crate::Place::Incarnation(QUEUE),
                world: World::Filter,
                tenant: bench.set.queue(QUEUE).expect("the queue is there").tenant(),
            },
            reads: vec![("seen".to_owned(), KvVersion(7))],
            writes: Vec::new(),
        }],
        command: Decided::new(send(&mut bench, &[false], None, 5)).expect("plugins decide about it"),
        parks: vec![park(0, None)],
    };
    assert_eq!(bench.ask(stale), Err(Refusal::StaleRead));
    assert_eq!(bench.set.outgoing(9), []);
    let again = send(&mut bench, &[false], None, 5);
    assert!(bench.ask(parking(again, vec![park(0, None)])).is_ok());
    assert_eq!(bench.set.outgoing(9).len(), 1);
}

#[test]
fn a_published_message_is_parked_for_each_subscription_whose_filter_failed_beside_those_that_get_it() {
    let mut bench = bench();
    let (one, two, three) = (bench.subscribe(1), bench.subscribe(2), bench.subscribe(3));
    let command = publish(&mut bench, &[one]);
    let parks = vec![park(0, Some(two)), park(0, Some(three))];
    assert!(bench.ask(parking(command, parks)).is_ok());
    let bodies: Vec<BodyKey> = bench.set.outgoing(9).iter().map(|one| one.body).collect();
    assert_eq!(bodies, [body(TOPIC, 1); 2]);
    // A router's failure: no subscription gets it.
    let command = publish(&mut bench, &[]);
    assert!(bench.ask(parking(command, vec![park(0, None)])).is_ok());
    let kept = |bench: &Bench| {
        bench
            .set
            .topic(TOPIC)
            .expect("the topic is there")
            .message_count()
    };
    assert_eq!(kept(&bench), 2);
    ship(&mut bench, TOPIC, &[1, 3]);
    assert_eq!(kept(&bench), 1, "another parcel needs the first");
    ship(&mut bench, TOPIC, &[2]);
    assert_eq!(kept(&bench), 1, "a subscription needs it");
    assert_eq!(bench.claim(one, 9).len(), 1);
}

#[test]
fn what_would_be_in_two_places_or_in_none_is_refused() {
    let mut bench = bench();
    let malformed = |outcome| matches!(outcome, Err(Refusal::Malformed(_)));
    for (keep, parks) in [
        (true, vec![park(0, None)]),
        (false, vec![park(1, None)]),
        (false, vec![park(0, None), park(0, None)]),
    ] {
        let command = send(&mut bench, &[keep], None, 0);
        assert!(malformed(bench.ask(parking(command, parks))));
    }
    let command = publish(&mut bench, &[]);
    assert!(malformed(bench.ask(parking(command, vec![park(1, None)]))));
    let settle = SetCommand::Settle {
        topic: TOPIC,
        subscription: SubscriptionId(1),
        outcomes: Vec::new(),
    };
    assert!(malformed(bench.ask(parking(settle, vec![park(0, None)]))));
    assert_eq!(bench.set.outgoing(9), []);
    assert_eq!(bench.counts(), QueueCounts::default());
}

#[test]
fn where_there_is_no_room_to_park_one_nothing_of_the_call_is_done() {
    let mut bench = bench();
    let many = vec![park(0, None); MESSAGES_PER_COMMAND_MAX];
    for _ in 0..OUTBOX_MAX / MESSAGES_PER_COMMAND_MAX {
        let command = publish(&mut bench, &[]);
        assert!(bench.ask(parking(command, many.clone())).is_ok());
    }
    let command = send(&mut bench, &[true, false], None, 0);
    let full = Refusal::OutboxFull {
        limit: OUTBOX_MAX as u64,
    };
    assert_eq!(bench.ask(parking(command, vec![park(1, None)])), Err(full));
    assert_eq!(bench.counts(), QueueCounts::default());
    ship(&mut bench, TOPIC, &[1]);
    let command = send(&mut bench, &[true, false], None, 0);
    assert!(bench.ask(parking(command, vec![park(1, None)])).is_ok());
    assert_eq!(bench.counts().active, 1);
}
