//! Bytes that no node sends: they end their connection, and nothing else.

use std::sync::Arc;

use bytes::Bytes;
use posthouse_replica::{Lane, NetworkFault, PeerNetwork};

use crate::kit::{
    Answers, Node, Raw, THERE, address, call, echo, frame, greeting_of, hello, listen, until_answered, within,
};

/// Bytes that make no frame of the right kind in the right place, and what is wrong with them.
fn garbage(place: &str) -> Vec<(&'static str, Vec<u8>)> {
    let mut damaged = frame(4, b"\0\0\0\0\0\0\0\0 a request").to_vec();
    *damaged.last_mut().expect("it has bytes") ^= 1;
    let mut framing = frame(4, b"\0\0\0\0\0\0\0\0").to_vec();
    framing[5] = 9;
    let mut kinds = vec![
        (
            "a length over the limit",
            b"\xff\xff\xff\xff\x04\x01\0\0\0\0".to_vec(),
        ),
        (
            "a length just over it",
            (64 * 1_048_576_u32 + 11)
                .to_le_bytes()
                .iter()
                .chain(b"\x04\x01\0\0\0\0")
                .copied()
                .collect(),
        ),
        ("a checksum that is not its own", damaged),
        ("another framing", framing),
        ("a kind that is not known", frame(8, b"\0\0\0\0\0\0\0\0").to_vec()),
        ("too few bytes", frame(3, b"\0\0\0").to_vec()),
        (
            "a group that cannot be",
            frame(3, b"\0\0\0\0\0\0\0\0\xff\xff").to_vec(),
        ),
        (
            "a second greeting of nobody",
            frame(1, b"posthorn\x01\0").to_vec(),
        ),
        ("a refusal", frame(2, b"no").to_vec()),
    ];
    match place {
        "asker" => kinds.push(("an answer", frame(5, b"\0\0\0\0\0\0\0\0").to_vec())),
        _ => kinds.push(("a request", frame(4, b"\0\0\0\0\0\0\0\0").to_vec())),
    }
    kinds
}

async fn assert_answers(there: &Node) {
    let answer = within(call(&there.asker(), Lane::Log, "x")).await;
    assert_eq!(answer, Ok(Bytes::from_static(b"x")));
}

#[tokio::test]
async fn a_stranger_who_is_no_node_is_told_nothing() {
    let there = Node::there(echo).await;
    let strange = [
        b"GET / HTTP/1.1\r\nHost: there\r\n\r\n".to_vec(),
        vec![0; 64],
        vec![0xff; 64],
        frame(1, b"hello").to_vec(),
        frame(1, &[b'x'; 1_025]).to_vec(),
        frame(4, b"\0\0\0\0\0\0\0\0").to_vec(),
        b"\x01\x04\0\0\x01\x01\0\0\0\0".to_vec(),
    ];
    for bytes in strange {
        let mut silent = Raw::connect(&there.address).await;
        let mut raw = Raw::connect(&there.address).await;
        raw.write(&bytes).await;
        tokio::select! {
            biased;
            // This one came first, and is closed when its time is over.
            _ = silent.next() => panic!("{bytes:?}: the connection is closed only with time"),
            told = raw.next() => assert!(told.is_none(), "{bytes:?} was answered"),
        }
    }
    assert_answers(&there).await;
}

#[tokio::test]
async fn garbage_of_an_asker_ends_its_connection_and_no_other() {
    let there = Node::there(echo).await;
    let other = there.asker();
    assert!(within(call(&other, Lane::Log, "x")).await.is_ok());
    let greeting = greeting_of(hello(1)).await;
    for (what, bytes) in garbage("asker") {
        let mut raw = Raw::connect(&there.address).await;
        raw.send(1, &greeting).await;
        assert_eq!(raw.next().await.expect("a greeting").kind.0, 1);
        raw.send(3, b"\x07\0\0\0\0\0\0\0\0\0frame").await;
        let answer = raw.next().await.expect("an answer");
        assert_eq!(
            (answer.kind.0, &answer.payload[..]),
            (5, &b"\x07\0\0\0\0\0\0\0frame"[..])
        );
        raw.write(&bytes).await;
        assert!(raw.next().await.is_none(), "{what}: the connection goes on");
    }
    assert!(
        within(call(&other, Lane::Log, "x")).await.is_ok(),
        "on the same connection"
    );
}

#[tokio::test]
async fn garbage_of_an_answerer_ends_its_connection_and_the_next_is_good() {
    let theirs = greeting_of(hello(THERE.0)).await;
    for (what, bytes) in garbage("answerer") {
        let listener = listen().await;
        let here = PeerNetwork::new(hello(1), None);
        here.know(THERE, address(&listener));
        let asked = tokio::spawn(call(&here, Lane::Log, "x"));
        let mut raw = Raw::accept(&listener).await;
        raw.send(1, &theirs).await;
        let kinds = [raw.next().await, raw.next().await].map(|frame| frame.map(|frame| frame.kind.0));
        assert_eq!(kinds, [Some(1), Some(3)], "a greeting and the call");
        // An answer to what was not asked is none.
        raw.send(5, b"\xff\xff\0\0\0\0\0\0").await;
        raw.write(&bytes).await;
        let asked = within(asked).await.expect("it ends");
        assert!(
            matches!(asked, Err(NetworkFault::NoAnswer(_))),
            "{what}: {asked:?}"
        );
        assert!(raw.next().await.is_none(), "{what}: the connection goes on");

        let there = PeerNetwork::new(hello(THERE.0), None);
        there.serve(listener, Arc::new(Answers(echo)));
        assert_eq!(until_answered(&here, Lane::Log, b"good").await, "good");
        here.stop().await;
        there.stop().await;
    }
}

#[tokio::test]
async fn a_greeting_may_come_in_pieces() {
    let there = Node::there(echo).await;
    let greeting = frame(1, &greeting_of(hello(1)).await);
    let mut slow = Raw::connect(&there.address).await;
    for byte in &greeting[..] {
        slow.write(&[*byte]).await;
    }
    assert_eq!(slow.next().await.expect("a greeting").kind.0, 1);
}

#[tokio::test]
async fn strangers_who_say_nothing_are_few_and_not_for_long() {
    let there = Node::there(echo).await;
    let greeting = frame(1, &greeting_of(hello(1)).await);
    let mut silent = Vec::new();
    for number in 0..64 {
        let mut raw = Raw::connect(&there.address).await;
        // Half a greeting is none.
        raw.write(&greeting[..number % greeting.len()]).await;
        silent.push(raw);
    }
    let mut next = Raw::connect(&there.address).await;
    next.write(&greeting).await;
    tokio::select! {
        biased;
        ended = futures::future::select_all(silent.iter_mut().map(|raw| Box::pin(raw.next()))) => {
            assert!(ended.0.is_none(), "a stranger was told something");
        }
        _ = next.next() => panic!("there was room for one more"),
    }
    assert_eq!(next.next().await.expect("a greeting").kind.0, 1);
    for mut raw in silent {
        assert!(raw.next().await.is_none());
    }
    assert_answers(&there).await;
}
