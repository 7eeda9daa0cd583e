//! Nodes that are not there, go away, come back, or become others.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use posthouse_model::ReplicaId;
use posthouse_replica::{CallFault, GroupName, Hello, Lane, NetworkFault, PeerFault, PeerNetwork};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::kit::{
    Answers, Gate, Node, PATIENCE, Raw, THERE, address, call, call_within, echo, greeting_of, hello, listen,
    until_answered, within,
};

/// Longer than any test waits.
const AN_HOUR: Duration = Duration::from_secs(3_600);

/// Starts a replica that answers nothing, and tells what it was asked.
async fn silent() -> (Node, mpsc::UnboundedReceiver<Bytes>) {
    let (came, coming) = mpsc::unbounded_channel();
    let gate = Gate::closed();
    let there = Node::there(move |_: GroupName, frame: Bytes| {
        came.send(frame).expect("the test looks");
        let passed = gate.passed();
        async move {
            passed.await;
            Ok::<Bytes, PeerFault>(Bytes::new())
        }
        .boxed()
    })
    .await;
    (there, coming)
}

#[tokio::test]
async fn who_is_not_known_or_does_not_listen_cannot_be_reached() {
    let here = PeerNetwork::new(hello(1), None);
    let unreachable = Err(NetworkFault::Unreachable(THERE));
    assert_eq!(within(call(&here, Lane::Log, "x")).await, unreachable);

    let nobody = address(&listen().await);
    here.know(THERE, nobody.clone());
    for lane in [Lane::Log, Lane::Heartbeat, Lane::Snapshot] {
        assert_eq!(within(call(&here, lane, "x")).await, unreachable);
    }
    assert_eq!(within(here.ask(THERE, Bytes::new(), PATIENCE)).await, unreachable);
    let asked = within(here.ask_address(nobody, Bytes::new(), PATIENCE)).await;
    assert!(matches!(asked, Err(CallFault::Unreachable(_))), "{asked:?}");
    let asked = within(here.ask_address("no address".to_owned(), Bytes::new(), PATIENCE)).await;
    assert!(matches!(asked, Err(CallFault::Unreachable(_))), "{asked:?}");
    within(here.stop()).await;
}

#[tokio::test]
async fn a_connection_that_breaks_leaves_what_was_written_without_answer() {
    let (there, mut came) = silent().await;
    let here = there.asker();
    let stuck = tokio::spawn(call(&here, Lane::Log, "x"));
    assert_eq!(within(came.recv()).await, Some(Bytes::from_static(b"x")));
    within(there.network.stop()).await;
    let broken = within(stuck).await.expect("it ends");
    assert!(matches!(broken, Err(NetworkFault::NoAnswer(_))), "{broken:?}");

    let listener = listen().await;
    let asked = tokio::spawn(here.ask_address(address(&listener), Bytes::new(), PATIENCE));
    let mut raw = Raw::accept(&listener).await;
    raw.send(1, &greeting_of(hello(5)).await).await;
    let kinds = [raw.next().await, raw.next().await].map(|frame| frame.map(|frame| frame.kind.0));
    assert_eq!(kinds, [Some(1), Some(4)], "a greeting and the request");
    drop(raw);
    let broken = within(asked).await.expect("it ends");
    assert!(matches!(broken, Err(CallFault::NoAnswer(_))), "{broken:?}");
}

#[tokio::test]
async fn a_node_that_comes_back_is_found_again() {
    let first = Node::there(echo).await;
    let here = first.asker();
    assert!(within(call(&here, Lane::Log, "first")).await.is_ok());
    within(first.network.stop()).await;
    let gone = within(async {
        loop {
            match call(&here, Lane::Log, "gone").await {
                Err(NetworkFault::Unreachable(_)) => return,
                // It was written before the end was seen.
                Err(NetworkFault::NoAnswer(_)) => {}
                Ok(_) => panic!("nobody is there"),
            }
        }
    });
    gone.await;

    let listener = TcpListener::bind(&first.address)
        .await
        .expect("the port is free again");
    let second = PeerNetwork::new(hello(THERE.0), None);
    second.serve(listener, Arc::new(Answers(echo)));
    let answer = until_answered(&here, Lane::Log, b"second").await;
    assert_eq!(answer, Bytes::from_static(b"second"));
}

#[tokio::test]
async fn a_connection_that_broke_while_nobody_asked_is_made_again_at_once() {
    let listener = listen().await;
    let here = PeerNetwork::new(hello(1), None);
    here.know(THERE, address(&listener));
    let theirs = greeting_of(hello(THERE.0)).await;
    let first = tokio::spawn(call(&here, Lane::Log, "first"));
    let mut raw = Raw::accept(&listener).await;
    assert!(raw.next().await.is_some(), "the greeting");
    raw.send(1, &theirs).await;
    let asked = raw.next().await.expect("the call");
    raw.send(5, &asked.payload[..8]).await;
    assert_eq!(within(first).await.expect("it ends"), Ok(Bytes::new()));
    drop(raw);

    let mut raw = Raw::accept(&listener).await;
    // Asked while the connection is being made: it waits.
    let second = tokio::spawn(call(&here, Lane::Log, "second"));
    assert!(raw.next().await.is_some(), "the greeting");
    raw.send(1, &theirs).await;
    let asked = raw.next().await.expect("the call");
    assert!(asked.payload.ends_with(b"second"));
    raw.send(5, &[&asked.payload[..8], b"answer"].concat()).await;
    let answer = within(second).await.expect("it ends");
    assert_eq!(answer, Ok(Bytes::from_static(b"answer")));
}

#[tokio::test]
async fn while_a_peer_is_away_calls_fail_without_waiting_for_it() {
    let listener = listen().await;
    let here = PeerNetwork::new(hello(1), None);
    here.know(THERE, address(&listener));
    let first = tokio::spawn(call(&here, Lane::Log, "first"));
    for _ in 0..2 {
        // Whoever closes the connection is as good as not there.
        drop(Raw::accept(&listener).await);
    }
    let unreachable = Err(NetworkFault::Unreachable(THERE));
    assert_eq!(within(first).await.expect("it ends"), unreachable);

    let mut third = Raw::accept(&listener).await;
    assert!(third.next().await.is_some(), "the greeting");
    let second = call_within(&here, Lane::Log, "second", AN_HOUR);
    tokio::select! {
        answer = within(second) => assert_eq!(answer, unreachable),
        _ = third.next() => panic!("the call waited for the attempt"),
    }
}

#[tokio::test]
async fn another_hello_ends_what_was_begun_under_the_last() {
    let (there, mut came) = silent().await;
    let here = there.asker();
    let from_here = tokio::spawn(call(&here, Lane::Log, "x"));
    within(came.recv()).await.expect("it came");
    here.set_hello(Hello { node: 9, ..hello(1) });
    let ended = within(from_here).await.expect("it ends");
    assert!(matches!(ended, Err(NetworkFault::NoAnswer(_))), "{ended:?}");
    let answer = within(here.ask(THERE, Bytes::from_static(b"x"), PATIENCE)).await;
    assert_eq!(answer, Ok(Bytes::from_static(b"9 asked x")));

    let from_there = tokio::spawn(call(&here, Lane::Log, "x"));
    within(came.recv()).await.expect("it came");
    there.network.set_hello(hello(THERE.0));
    let ended = within(from_there).await.expect("it ends");
    assert!(matches!(ended, Err(NetworkFault::NoAnswer(_))), "{ended:?}");
}

#[tokio::test]
async fn a_replica_that_moves_is_found_where_it_went_and_one_forgotten_is_not() {
    let (old, mut came) = silent().await;
    let here = old.asker();
    let left = tokio::spawn(call(&here, Lane::Log, "x"));
    within(came.recv()).await.expect("it came");
    here.know(THERE, old.address.clone());
    assert!(!left.is_finished(), "nothing changed");

    let new = Node::there(echo).await;
    here.know(THERE, new.address.clone());
    let left = within(left).await.expect("it ends");
    assert!(matches!(left, Err(NetworkFault::NoAnswer(_))), "{left:?}");
    let answer = within(call(&here, Lane::Log, "moved")).await;
    assert_eq!(answer, Ok(Bytes::from_static(b"moved")));

    here.forget(THERE);
    let forgotten = within(call(&here, Lane::Log, "x")).await;
    assert_eq!(forgotten, Err(NetworkFault::Unreachable(THERE)));
}

#[tokio::test]
async fn a_replica_is_looked_for_at_each_address_where_it_may_be() {
    let here = PeerNetwork::new(hello(1), None);
    let there = Node::there(echo).await;
    let nobody = address(&listen().await);
    let another = Node::start(hello(9), None, Arc::new(Answers(echo))).await;
    for before in [nobody, another.address.clone()] {
        here.know_at(THERE, vec![before, there.address.clone()]);
        assert_eq!(until_answered(&here, Lane::Log, b"found").await, &b"found"[..]);
    }
    within(here.stop()).await;
}

#[tokio::test]
async fn a_network_that_stopped_asks_and_answers_nothing() {
    let (there, mut came) = silent().await;
    let here = there.asker();
    let stuck = tokio::spawn(call(&here, Lane::Log, "x"));
    within(came.recv()).await.expect("it came");
    within(here.stop()).await;
    let stuck = within(stuck).await.expect("it ends");
    assert!(matches!(stuck, Err(NetworkFault::NoAnswer(_))), "{stuck:?}");
    here.know(ReplicaId(3), there.address.clone());
    for to in [THERE, ReplicaId(3)] {
        let asked = within(here.ask(to, Bytes::new(), PATIENCE)).await;
        assert_eq!(asked, Err(NetworkFault::Unreachable(to)));
    }
    let asked = within(here.ask_address(there.address.clone(), Bytes::new(), PATIENCE)).await;
    assert!(matches!(asked, Err(CallFault::Unreachable(_))), "{asked:?}");

    within(there.network.stop()).await;
    let refused = within(TcpStream::connect(&there.address)).await;
    assert!(refused.is_err(), "nobody listens any longer");
}
