//! Push to HTTP endpoints, received by a server of the test's own.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use crate::{node, node_with};

/// How long a push is waited for.
pub(crate) const PUSH: Duration = Duration::from_secs(60);

/// A push as it came.
pub(crate) struct Push {
    pub(crate) headers: Vec<String>,
    pub(crate) body: Vec<u8>,
}

#[test]
fn a_push_has_the_headers_and_the_body_of_the_reference() {
    let node = node();
    let (url, pushes) = endpoint(vec![200]);
    let mut client = node.client();
    subscribe(&mut client, &url, "SIMPLIFIED");
    let sent = client
        .ask(
            "PublishMessage",
            &[
                ("topicName", "t"),
                ("msgBody", "a\r\nb"),
                ("msgTag.1", "one"),
                ("msgTag.2", "two"),
            ],
        )
        .unwrap()
        .success()
        .unwrap();
    let push = pushes.recv_timeout(PUSH).unwrap();
    assert_eq!(push.body, b"a\r\nb");
    for expected in [
        "POST /hook HTTP/1.1".to_owned(),
        "content-type: text/plain".to_owned(),
        "user-agent: Qcloud Notification Service Agent".to_owned(),
        format!("x-cmq-message-id: {}", sent.text("msgId")),
        "x-cmq-message-tag: one, two".to_owned(),
    ] {
        assert!(
            push.headers.contains(&expected),
            "{expected} is not in {:?}",
            push.headers
        );
    }
    assert!(
        push.headers
            .iter()
            .any(|header| header.starts_with("x-cmq-request-id: "))
    );
}

#[test]
fn a_push_that_fails_is_tried_again_and_one_that_succeeds_is_not() {
    let node = node();
    let (url, pushes) = endpoint(vec![500, 302, 204]);
    let mut client = node.client();
    subscribe(&mut client, &url, "JSON");
    client
        .ask("PublishMessage", &[("topicName", "t"), ("msgBody", "x")])
        .unwrap()
        .success()
        .unwrap();
    let bodies: Vec<Vec<u8>> = (0..3).map(|_| pushes.recv_timeout(PUSH).unwrap().body).collect();
    assert!(
        bodies.iter().all(|body| body == &bodies[0]),
        "the same push each time"
    );
    client
        .ask("PublishMessage", &[("topicName", "t"), ("msgBody", "y")])
        .unwrap()
        .success()
        .unwrap();
    let next = String::from_utf8(pushes.recv_timeout(PUSH).unwrap().body).unwrap();
    assert!(
        next.contains(r#""msgBody":"y""#),
        "a message that was accepted came again: {next}"
    );
}

#[test]
fn an_endpoint_gets_so_many_pushes_at_once_whichever_subscriptions_lead_to_it() {
    let node = node_with("[push]\nper_endpoint_in_flight_max = 1\n");
    let mut client = node.client();
    let (slow, pushes, release) = holding_endpoint();
    let (quick, witnesses) = endpoint(vec![200]);
    subscribe(&mut client, &slow, "SIMPLIFIED");
    for (topic, subscription, url) in [("t", "s2", &slow), ("quick", "s", &quick)] {
        // The first topic is there already.
        client.ask("CreateTopic", &[("topicName", topic)]).unwrap();
        subscribe_as(&mut client, topic, subscription, url, "SIMPLIFIED");
    }
    let mut publish = |topic: &str, body: &str| {
        let message = [("topicName", topic), ("msgBody", body)];
        client.ask("PublishMessage", &message).unwrap().success().unwrap();
    };
    publish("t", "x");
    pushes.recv_timeout(PUSH).unwrap();
    // Another push to the slow endpoint would be there long before these have come and gone.
    for number in 0..20 {
        publish("quick", &number.to_string());
        witnesses.recv_timeout(PUSH).unwrap();
    }
    assert!(pushes.try_recv().is_err(), "two pushes at once to one endpoint");
    release.send(()).unwrap();
    pushes.recv_timeout(PUSH).unwrap();
    release.send(()).unwrap();
}

#[test]
fn endpoints_inside_the_network_are_refused_unless_allowed() {
    let node = node_with("[push]\nallow_networks = [\"10.0.0.0/8\"]\n");
    let mut client = node.client();
    // In development mode loopback is allowed; the metadata address of clouds is not.
    subscribe(&mut client, "http://169.254.169.254/hook", "JSON");
    client
        .ask("PublishMessage", &[("topicName", "t"), ("msgBody", "x")])
        .unwrap()
        .success()
        .unwrap();
    let metrics = posthouse_tests::Connection::open(node.address()).and_then(|mut connection| {
        connection.request("GET", "/metrics", "x", "", b"")?;
        connection.answer()
    });
    assert_eq!(metrics.unwrap().status, 200);
    let waiting = client
        .ask(
            "GetSubscriptionAttributes",
            &[("topicName", "t"), ("subscriptionName", "s")],
        )
        .unwrap()
        .success()
        .unwrap();
    assert_eq!(waiting.0["msgCount"], 1, "the message waits for its retry");
}

/// Subscribes an endpoint to a new topic.
pub(crate) fn subscribe(client: &mut posthouse_tests::Client, url: &str, format: &str) {
    client
        .ask("CreateTopic", &[("topicName", "t")])
        .unwrap()
        .success()
        .unwrap();
    subscribe_as(client, "t", "s", url, format);
}

fn subscribe_as(
    client: &mut posthouse_tests::Client,
    topic: &str,
    subscription: &str,
    url: &str,
    format: &str,
) {
    client
        .ask(
            "Subscribe",
            &[
                ("topicName", topic),
                ("subscriptionName", subscription),
                ("protocol", "http"),
                ("endpoint", url),
                ("notifyContentFormat", format),
            ],
        )
        .unwrap()
        .success()
        .unwrap();
}

/// Serves on a port of its own: answers pushes with these statuses in turn, the last one from then on.
pub(crate) fn endpoint(statuses: Vec<u16>) -> (String, mpsc::Receiver<Push>) {
    let replies = statuses.iter().map(|status| {
        format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\nLocation: /hook\r\n\r\n")
    });
    endpoint_with(replies.collect())
}

/// Serves on a port of its own: answers pushes with these texts in turn, the last one from then on, and hangs up.
pub(crate) fn endpoint_with(replies: Vec<String>) -> (String, mpsc::Receiver<Push>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (told, pushes) = mpsc::channel();
    std::thread::spawn(move || {
        for (answered, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let push = read_push(&mut BufReader::new(stream.try_clone().unwrap()));
            let reply = &replies[answered.min(replies.len() - 1)];
            stream.write_all(reply.as_bytes()).unwrap();
            if told.send(push).is_err() {
                return;
            }
        }
    });
    (url, pushes)
}

/// Serves on a port of its own: answers each push once it is told to.
pub(crate) fn holding_endpoint() -> (String, mpsc::Receiver<Push>, mpsc::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (told, pushes) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Arc::new(Mutex::new(released));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (told, released) = (told.clone(), Arc::clone(&released));
            std::thread::spawn(move || {
                // Whoever listened is gone when the test is over.
                let _ = told.send(read_push(&mut BufReader::new(stream.try_clone().unwrap())));
                let _ = released.lock().unwrap().recv();
                let _ = stream.write_all(b"HTTP/1.1 200 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            });
        }
    });
    (url, pushes, release)
}

fn read_push(reader: &mut impl BufRead) -> Push {
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        headers.push(line);
    }
    let length = headers
        .iter()
        .find_map(|header| header.strip_prefix("content-length: "))
        .unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    Push { headers, body }
}
