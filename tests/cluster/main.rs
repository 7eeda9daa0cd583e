//! Tests of whole clusters: real processes that are killed, paused and stopped, spoken to over their sockets.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a step that fails ends its test"
)]

mod course;
mod failover;
mod history;
mod service;

use posthouse_tests::{Client, Cluster};

/// Starts three nodes.
fn cluster(sets: u8) -> Cluster {
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_posthouse"));
    Cluster::start(program, 3, sets, "").expect("the cluster starts")
}

/// Makes a queue.
fn create_queue(client: &mut Client, name: &str) {
    let made = client.ask(
        "CreateQueue",
        &[("queueName", name), ("visibilityTimeout", "43200")],
    );
    made.unwrap().success().unwrap();
}

/// Sends a message; returns whether it was acknowledged.
fn send(client: &mut Client, queue: &str, body: &str) -> bool {
    let sent = client.ask("SendMessage", &[("queueName", queue), ("msgBody", body)]);
    sent.is_ok_and(|answer| answer.code() == 0)
}

/// Receives one message and deletes it; returns its body.
fn take(client: &mut Client, queue: &str) -> Option<String> {
    let got = client
        .ask("ReceiveMessage", &[("queueName", queue)])
        .unwrap()
        .success()
        .ok()?;
    let handle = got.text("receiptHandle").to_owned();
    let deleted = client
        .ask(
            "DeleteMessage",
            &[("queueName", queue), ("receiptHandle", &handle)],
        )
        .unwrap();
    assert_eq!(deleted.code(), 0, "{}", deleted.0);
    Some(got.text("msgBody").to_owned())
}
