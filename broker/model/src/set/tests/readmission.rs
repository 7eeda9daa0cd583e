//! Messages that were parked and are taken in again.

use super::bench::{Bench, DEAD, QUEUE, TOPIC, body, seconds};
use crate::*;

fn bench() -> Bench {
    Bench::new(QueueAttributes::default())
}

fn readmit(
    target: Incarnation,
    sequence: u64,
    gone_below: u64,
    content: Readmitted,
    decided_at: u64,
) -> SetCommand {
    SetCommand::Readmit {
        target,
        source: DEAD,
        sequence: Sequence(sequence),
        gone_below: Sequence(gone_below),
        content: Box::new(content),
        decided_at: LogIndex(decided_at),
    }
}

fn incoming(bench: &mut Bench, keep: bool) -> Readmitted {
    Readmitted::Queue(Incoming {
        message: bench.message(),
        keep,
    })
}

const ANEW: Result<SetReply, Refusal> = Ok(SetReply::Readmitted { anew: true });
const AGAIN: Result<SetReply, Refusal> = Ok(SetReply::Readmitted { anew: false });

#[test]
fn one_is_taken_in_once_however_often_it_is_sent() {
    let mut bench = bench();
    let first = incoming(&mut bench, true);
    assert_eq!(bench.ask(readmit(QUEUE, 7, 0, first.clone(), 0)), ANEW);
    assert_eq!(bench.applied.stored.len(), 1);
    assert_eq!(bench.ask(readmit(QUEUE, 7, 0, first.clone(), 0)), AGAIN);
    assert_eq!(bench.applied.stored.len(), 0);
    let second = incoming(&mut bench, true);
    assert_eq!(bench.ask(readmit(QUEUE, 8, 8, second, 0)), ANEW);
    // It is gone from where it was parked, and a repeat that comes late is one still.
    assert_eq!(bench.ask(readmit(QUEUE, 7, 0, first, 0)), AGAIN);
    assert_eq!(bench.receive_sequences(9), [1, 2]);
}

#[test]
fn one_that_a_filter_drops_this_time_is_not_kept_and_not_asked_about_again() {
    let mut bench = bench();
    let dropped = incoming(&mut bench, false);
    assert_eq!(bench.ask(readmit(QUEUE, 1, 0, dropped, 0)), ANEW);
    let kept = incoming(&mut bench, true);
    assert_eq!(bench.ask(readmit(QUEUE, 1, 0, kept, 0)), AGAIN);
    assert_eq!(bench.counts(), QueueCounts::default());
}

#[test]
fn one_that_is_refused_can_be_sent_again() {
    let mut bench = bench();
    bench
        .ask(SetCommand::Observe {
            directory: LogIndex(5),
        })
        .expect("it is noted");
    let message = incoming(&mut bench, true);
    let early = bench.ask(readmit(QUEUE, 1, 0, message.clone(), 4));
    assert!(matches!(early, Err(Refusal::DecidedTooEarly { .. })), "{early:?}");
    let elsewhere = bench.ask(readmit(TOPIC, 1, 0, message.clone(), 5));
    assert_eq!(elsewhere, Err(Refusal::WrongKind(TOPIC)));
    assert_eq!(bench.ask(readmit(QUEUE, 1, 0, message, 5)), ANEW);
    assert_eq!(bench.counts().active, 1);
}

#[test]
fn what_a_plugin_kept_meanwhile_is_written_with_one_or_neither_is_done() {
    let mut bench = bench();
    let store = KvId {
        place: crate::Place::Incarnation(QUEUE),
        world: World::Filter,
        tenant: bench.set.queue(QUEUE).expect("the queue is there").tenant(),
    };
    let decide = |bench: &mut Bench, sequence, read| {
        let uses = vec![KvUse {
            store,
            reads: vec![("seen".to_owned(), KvVersion(read))],
            writes: vec![(
                "seen".to_owned(),
                KvWrite::Put(bytes::Bytes::from_static(b"1"), None),
            )],
        }];
        let command = readmit(QUEUE, sequence, 0, incoming(bench, true), 0);
        let command = Decided::new(command).expect("plugins decide about it");
        bench.ask(SetCommand::Decide { uses, command })
    };
    assert_eq!(decide(&mut bench, 1, 0), ANEW);
    assert_eq!(decide(&mut bench, 2, 0), Err(Refusal::StaleRead));
    assert_eq!(bench.counts().active, 1);
    // What was taken in before writes nothing, whatever it read.
    assert_eq!(decide(&mut bench, 1, 0), AGAIN);
    assert_eq!(decide(&mut bench, 2, 1), ANEW);
    assert_eq!(bench.counts().active, 2);
}

#[test]
fn in_a_topic_only_the_subscriptions_that_it_is_for_get_it() {
    let mut bench = bench();
    let (one, other) = (bench.subscribe(1), bench.subscribe(2));
    let publication = Publication {
        message: bench.message(),
        matched: vec![other],
        replaced: Vec::new(),
    };
    let content = Readmitted::Topic(publication);
    assert_eq!(bench.ask(readmit(TOPIC, 3, 0, content.clone(), 0)), ANEW);
    assert_eq!(bench.applied.stored[0].body, body(TOPIC, 1));
    assert_eq!(bench.ask(readmit(TOPIC, 3, 0, content, 0)), AGAIN);
    assert_eq!((bench.claim(one, 9).len(), bench.claim(other, 9).len()), (0, 1));
}

#[test]
fn a_queue_that_is_made_again_has_taken_in_nothing() {
    let mut bench = bench();
    let message = incoming(&mut bench, true);
    assert_eq!(bench.ask(readmit(QUEUE, 1, 0, message.clone(), 0)), ANEW);
    bench
        .ask(SetCommand::Drop { incarnation: QUEUE })
        .expect("it is dropped");
    bench.define(QueueAttributes::default()).expect("it is made");
    assert_eq!(bench.ask(readmit(QUEUE, 1, 0, message, 0)), ANEW);
}

#[test]
fn named_messages_are_leased_if_they_are_visible_and_the_others_stay() {
    let mut bench = bench();
    bench.send(4);
    assert_eq!(bench.receive_sequences(1), [1]);
    let these = |sequences: &[u64]| SetCommand::ReceiveThese {
        queue: QUEUE,
        sequences: sequences.iter().copied().map(Sequence).collect(),
        visibility: seconds(60),
    };
    let Ok(SetReply::Leased(leased)) = bench.ask(these(&[1, 2, 4, 9])) else {
        panic!("they are leased");
    };
    let sequences: Vec<u64> = leased.iter().map(|one| one.body.sequence.0).collect();
    assert_eq!(sequences, [2, 4]);
    assert_eq!(leased[0].visible_again, bench.now + seconds(60));
    let queue = bench.set.queue(QUEUE).expect("the queue is there");
    assert_eq!(queue.visible_after(Sequence(0), 9), [Sequence(3)]);
    assert_eq!(queue.visible_after(Sequence(3), 9), []);
    assert_eq!(queue.first_kept(), Sequence(1));
    assert_eq!(bench.delete(leased[0].handle), Ok(()));
    assert!(bench.ask(these(&[0; 1_001])).is_err());
}
