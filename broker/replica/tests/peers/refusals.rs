//! Nodes that are not of one cluster, speak other versions, or are not who they are taken for.

use bytes::Bytes;
use futures::FutureExt;
use posthouse_model::ReplicaId;
use posthouse_replica::{CallFault, Hello, Lane, NetworkFault, PeerNetwork};

use crate::kit::{
    Answers, Node, PATIENCE, Raw, THERE, address, call, echo, greeting_of, hello, listen, until_answered,
    within,
};

const UNREACHABLE: Result<Bytes, NetworkFault> = Err(NetworkFault::Unreachable(THERE));

/// Starts a node that must not be asked anything, and another that takes it for replica [`THERE`].
async fn unasked(there: Hello, here: Hello) -> (Node, PeerNetwork) {
    let answers = Answers(|_, _| async { panic!("a refused node asked") }.boxed());
    let there = Node::start(there, None, std::sync::Arc::new(answers)).await;
    let network = PeerNetwork::new(here, None);
    network.know(THERE, there.address.clone());
    (there, network)
}

async fn refusal_at(address: &str, here: Hello) -> String {
    let asked = PeerNetwork::new(here, None).ask_address(address.to_owned(), Bytes::new(), PATIENCE);
    match within(asked).await {
        Err(CallFault::Unreachable(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_node_of_another_cluster_is_refused() {
    let other = Hello {
        cluster: Some([8; 16]),
        ..hello(1)
    };
    let (there, here) = unasked(hello(THERE.0), other).await;
    assert_eq!(within(call(&here, Lane::Log, "x")).await, UNREACHABLE);
    let reason = refusal_at(&there.address, other).await;
    assert!(reason.contains("different clusters"), "{reason}");
}

#[tokio::test]
async fn a_node_without_a_cluster_is_met_until_it_has_another() {
    let there = Node::there(echo).await;
    let here = PeerNetwork::new(Hello::default(), None);
    here.know(THERE, there.address.clone());
    assert!(within(call(&here, Lane::Log, "x")).await.is_ok());
    here.set_hello(Hello {
        cluster: Some([8; 16]),
        ..Hello::default()
    });
    assert_eq!(within(call(&here, Lane::Log, "x")).await, UNREACHABLE);
    here.set_hello(hello(1));
    assert_eq!(until_answered(&here, Lane::Log, b"again").await, "again");
}

#[tokio::test]
async fn another_replica_than_was_expected_is_refused() {
    let nobody = Hello {
        replica: None,
        ..hello(3)
    };
    for other in [hello(3), nobody] {
        let (there, here) = unasked(other, hello(1)).await;
        assert_eq!(within(call(&here, Lane::Log, "x")).await, UNREACHABLE);
        // Each sees it by itself: the asker says whom it expects, and looks at who answers.
        let mut raw = Raw::connect(&there.address).await;
        raw.send(1, &greeting_of(hello(1)).await).await;
        let refusal = raw.next().await.expect("a refusal");
        assert_eq!(refusal.kind.0, 2);
        let reason = String::from_utf8_lossy(&refusal.payload).into_owned();
        assert!(reason.starts_with("replica 2 was expected, and "), "{reason}");
        assert!(raw.next().await.is_none(), "the connection ends");
    }

    let listener = listen().await;
    let here = PeerNetwork::new(hello(1), None);
    here.know(THERE, address(&listener));
    let asked = tokio::spawn(call(&here, Lane::Log, "x"));
    let other = greeting_of(hello(3)).await;
    for _ in 0..2 {
        let mut raw = Raw::accept(&listener).await;
        raw.send(1, &other).await;
        assert_eq!(raw.next().await.expect("a greeting").kind.0, 1);
        assert!(raw.next().await.is_none(), "and nothing else");
    }
    assert_eq!(within(asked).await.expect("it ends"), UNREACHABLE);
}

#[tokio::test]
async fn a_node_of_another_version_is_refused() {
    let mut later = greeting_of(hello(1)).await;
    later[8..10].copy_from_slice(&2_u16.to_le_bytes());
    let (there, _) = unasked(hello(THERE.0), hello(1)).await;
    let mut raw = Raw::connect(&there.address).await;
    raw.send(1, &later).await;
    let refusal = raw.next().await.expect("a refusal");
    assert_eq!(refusal.kind.0, 2);
    assert_eq!(
        refusal.payload,
        "version 2 of the peers' protocol is not spoken here, but version 1"
    );
    assert!(raw.next().await.is_none(), "the connection ends");

    let listener = listen().await;
    let asked = tokio::spawn({
        let address = address(&listener);
        async move { refusal_at(&address, hello(1)).await }
    });
    let mut raw = Raw::accept(&listener).await;
    raw.send(1, &later).await;
    let reason = within(asked).await.expect("it ends");
    assert!(reason.contains("version 2 "), "{reason}");
}

#[tokio::test]
async fn what_was_refused_is_met_once_it_fits() {
    let there = Node::start(hello(9), None, std::sync::Arc::new(Answers(echo))).await;
    let here = there.asker();
    assert_eq!(within(call(&here, Lane::Log, "x")).await, UNREACHABLE);
    there.network.set_hello(Hello {
        replica: Some(ReplicaId(THERE.0)),
        ..hello(9)
    });
    assert_eq!(until_answered(&here, Lane::Log, b"x").await, "x");
}
