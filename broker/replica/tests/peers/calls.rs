//! Calls, their answers, their order, and what does not hold up what.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{join_all, ready};
use parking_lot::Mutex;
use posthouse_model::SetId;
use posthouse_replica::{GroupName, Lane, Network, NetworkFault, Outbound, PEER_FRAME_BYTES_MAX, PeerFault};
use tokio::sync::mpsc;

use crate::kit::{Gate, Node, PATIENCE, THERE, call, call_within, echo, hello, within};

const LANES: [Lane; 3] = [Lane::Log, Lane::Heartbeat, Lane::Snapshot];

#[tokio::test]
async fn each_lane_and_each_request_is_answered() {
    let there = Node::there(echo).await;
    let here = there.asker();
    for lane in LANES {
        let calls: Vec<_> = (0..100)
            .map(|number| call(&here, lane, format!("{lane:?} {number}")))
            .collect();
        let answers = within(join_all(calls)).await;
        for (number, answer) in answers.into_iter().enumerate() {
            assert_eq!(answer, Ok(Bytes::from(format!("{lane:?} {number}"))));
        }
    }
    let answer = within(here.ask(THERE, Bytes::from_static(b"the time"), PATIENCE)).await;
    assert_eq!(answer, Ok(Bytes::from_static(b"1 asked the time")));
    let address = there.address.clone();
    let answer = within(here.ask_address(address, Bytes::from_static(b"who"), PATIENCE)).await;
    assert_eq!(answer, Ok((hello(THERE.0), Bytes::from_static(b"1 asked who"))));
    here.stop().await;
    there.network.stop().await;
}

#[tokio::test]
async fn the_longest_frame_goes_through_and_no_longer_one() {
    let there = Node::there(echo).await;
    let here = there.asker();
    let longest = Bytes::from(vec![5; PEER_FRAME_BYTES_MAX]);
    let answer = within(call(&here, Lane::Snapshot, longest.clone())).await;
    assert!(answer == Ok(longest), "it comes back as it was");
    let longer = Bytes::from(vec![5; PEER_FRAME_BYTES_MAX + 1]);
    let refused = within(call(&here, Lane::Snapshot, longer)).await;
    assert_eq!(refused, Err(NetworkFault::Unreachable(THERE)));
    let answer = within(call(&here, Lane::Snapshot, "still there")).await;
    assert_eq!(answer, Ok(Bytes::from_static(b"still there")));
}

#[tokio::test]
async fn a_fault_and_too_long_an_answer_come_back_as_no_answer() {
    let there = Node::there(|group, frame| match &frame[..] {
        b"long" => ready(Ok(Bytes::from(vec![0; PEER_FRAME_BYTES_MAX + 1]))).boxed(),
        _ => ready(Err(PeerFault::NoGroup(group))).boxed(),
    })
    .await;
    let here = there.asker();
    let fault = within(call(&here, Lane::Log, "anything")).await;
    assert_eq!(fault, Err(NetworkFault::NoAnswer("no directory here".to_owned())));
    let fault = within(call(&here, Lane::Log, "long")).await;
    assert!(
        matches!(&fault, Err(NetworkFault::NoAnswer(reason)) if reason.contains("over the limit")),
        "{fault:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_of_a_group_are_handed_over_in_the_order_they_were_given() {
    let came: Arc<Mutex<BTreeMap<GroupName, Vec<u32>>>> = Arc::default();
    let seen = came.clone();
    let there = Node::there(move |group, frame| {
        let seen = seen.clone();
        async move {
            let number = u32::from_le_bytes(frame[..4].try_into().expect("four bytes and some"));
            seen.lock().entry(group).or_default().push(number);
            // Those that were handed over first are answered last.
            for _ in number..64 {
                tokio::task::yield_now().await;
            }
            Ok(frame)
        }
        .boxed()
    })
    .await;
    let here = there.asker();
    let groups = [
        GroupName::Directory,
        GroupName::Set(SetId(0)),
        GroupName::Set(SetId(127)),
    ];
    let mut calls = Vec::new();
    for number in 0..2_000_u32 {
        for group in groups {
            let mut frame = vec![0; 4 + (number as usize * 37) % 3_000];
            frame[..4].copy_from_slice(&number.to_le_bytes());
            calls.push(here.call(Outbound {
                to: THERE,
                group,
                lane: Lane::Log,
                frame: Bytes::from(frame),
                within: PATIENCE,
            }));
        }
    }
    // The order is that of the calls, whoever waits for them first.
    calls.reverse();
    for answer in within(join_all(calls)).await {
        answer.expect("all are answered");
    }
    let expected: Vec<u32> = (0..2_000).collect();
    for group in groups {
        assert_eq!(came.lock().get(&group), Some(&expected), "{group}");
    }
}

#[tokio::test]
async fn what_is_stuck_holds_up_no_other_lane_group_or_request() {
    let gate = Gate::closed();
    let stuck = gate.clone();
    let there = Node::there(move |group, frame| {
        let passed = stuck.passed();
        let is_stuck = frame.starts_with(b"stuck");
        async move {
            if is_stuck {
                passed.await;
            }
            Ok(Bytes::from(group.to_string()))
        }
        .boxed()
    })
    .await;
    let here = there.asker();
    let mut full = vec![0; PEER_FRAME_BYTES_MAX];
    full[..5].copy_from_slice(b"stuck");
    let snapshot = tokio::spawn(call(&here, Lane::Snapshot, full));
    let append = tokio::spawn(call(&here, Lane::Log, "stuck"));

    for lane in [Lane::Heartbeat, Lane::Log] {
        let answer = within(call(&here, lane, "other")).await;
        assert_eq!(answer, Ok(Bytes::from_static(b"directory")));
    }
    let set = here.call(Outbound {
        to: THERE,
        group: GroupName::Set(SetId(3)),
        lane: Lane::Log,
        frame: Bytes::new(),
        within: PATIENCE,
    });
    assert_eq!(within(set).await, Ok(Bytes::from_static(b"set 3")));
    let answer = within(here.ask(THERE, Bytes::from_static(b"x"), PATIENCE)).await;
    assert!(answer.is_ok(), "{answer:?}");
    assert!(!snapshot.is_finished() && !append.is_finished());

    gate.open();
    for stuck in [snapshot, append] {
        assert!(within(stuck).await.expect("it ends").is_ok());
    }
}

#[tokio::test]
async fn calls_beyond_the_room_wait_unsent_and_go_when_it_is_free() {
    let gate = Gate::closed();
    let stuck = gate.clone();
    let (came, mut coming) = mpsc::unbounded_channel();
    let there = Node::there(move |_, frame| {
        came.send(frame[0]).expect("the test looks");
        stuck.passed().map(|()| Ok(Bytes::new())).boxed()
    })
    .await;
    let here = there.asker();
    let large = |name: u8| vec![name; PEER_FRAME_BYTES_MAX / 2 + 1];
    let first = tokio::spawn(call(&here, Lane::Log, large(1)));
    assert_eq!(within(coming.recv()).await, Some(1));

    let second = within(call_within(&here, Lane::Log, large(2), Duration::from_millis(50))).await;
    assert_eq!(
        second,
        Err(NetworkFault::Unreachable(THERE)),
        "it was never written"
    );

    let third = tokio::spawn(call(&here, Lane::Log, large(3)));
    first.abort();
    assert_eq!(within(coming.recv()).await, Some(3), "the second left no trace");
    gate.open();
    assert!(within(third).await.expect("it ends").is_ok());
}

#[tokio::test]
async fn an_answer_that_nobody_waits_for_is_dropped() {
    /// Tells when it is dropped.
    struct Held(mpsc::UnboundedSender<&'static str>);

    impl Drop for Held {
        fn drop(&mut self) {
            let _ = self.0.send("dropped");
        }
    }

    let gate = Gate::closed();
    let stuck = gate.clone();
    let (events, mut happening) = mpsc::unbounded_channel();
    let there = Node::there(move |_, frame| {
        if frame.starts_with(b"quick") {
            return ready(Ok(frame)).boxed();
        }
        let held = Held(events.clone());
        let passed = stuck.passed();
        async move {
            let _ = held.0.send("came");
            passed.await;
            drop(held);
            Ok(Bytes::from_static(b"late"))
        }
        .boxed()
    })
    .await;
    let here = there.asker();

    // On a machine with much to do, the call's time may be over before it is written.
    let mut late = Err(NetworkFault::Unreachable(THERE));
    while late == Err(NetworkFault::Unreachable(THERE)) {
        late = within(call_within(&here, Lane::Log, "slow", Duration::from_millis(50))).await;
    }
    assert!(matches!(late, Err(NetworkFault::NoAnswer(_))), "{late:?}");
    assert_eq!(within(happening.recv()).await, Some("came"));
    assert_eq!(within(happening.recv()).await, Some("dropped"));

    let left = tokio::spawn(call(&here, Lane::Log, "slow"));
    assert_eq!(within(happening.recv()).await, Some("came"));
    left.abort();
    assert_eq!(within(happening.recv()).await, Some("dropped"));

    let answer = within(call(&here, Lane::Log, "quick")).await;
    assert_eq!(answer, Ok(Bytes::from_static(b"quick")), "and not another call's");
}
