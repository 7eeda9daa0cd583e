//! A node that was stopped where it was, and goes on as if no time had passed, answers nothing from what it knew.

use std::time::{Duration, Instant};

use posthouse_tests::Client;

use crate::{cluster, create_queue, leader, send, take};

/// How long the leader is paused; long enough that another leads meanwhile. In seconds, to try longer ones.
const PAUSE_VARIABLE: &str = "POSTHOUSE_TEST_PAUSE_SECONDS";
const PAUSE_SECONDS: u64 = 5;
/// How long a pause is waited out by a receive that waits as long as it can, which is 30 s.
const WAITED_OUT: Duration = Duration::from_secs(20);

fn pause() -> Duration {
    let said = std::env::var(PAUSE_VARIABLE).ok();
    Duration::from_secs(said.and_then(|said| said.parse().ok()).unwrap_or(PAUSE_SECONDS))
}

/// Sends a receive without waiting for its answer; returns what it is answered.
fn receiving(mut client: Client, wait: &'static str) -> std::thread::JoinHandle<Option<String>> {
    std::thread::spawn(move || {
        let asked = [("queueName", "q"), ("pollingWaitSeconds", wait)];
        let answer = client.ask("ReceiveMessage", &asked).ok()?.success().ok()?;
        Some(answer.text("msgBody").to_owned())
    })
}

#[test]
fn a_paused_leader_serves_nothing_from_before_its_pause() {
    let cluster = cluster(1);
    create_queue(&mut cluster.node(1).client(), "q");
    for round in 0..2 {
        let paused = leader(cluster.node(1), 0);
        let other = paused % 3 + 1;
        for number in 0..3 {
            let body = format!("{round}-{number}");
            send(&mut cluster.node(other).client(), "q", &body);
        }
        cluster.node(paused).pause().unwrap();
        let began = Instant::now();
        // These stand in its sockets until it wakes, with the messages still in its state.
        let stood: Vec<_> = (0..4)
            .map(|_| receiving(cluster.node(paused).client(), "0"))
            .collect();
        let mut client = cluster.node(other).client();
        // Meanwhile they are received and deleted by others, to the last.
        for number in 0..3 {
            assert_eq!(take(&mut client, "q"), Some(format!("{round}-{number}")));
        }
        std::thread::sleep(pause().saturating_sub(began.elapsed()));
        cluster.node(paused).resume().unwrap();
        // And these come at the moment in which it wakes.
        let came: Vec<_> = (0..4)
            .map(|_| receiving(cluster.node(paused).client(), "0"))
            .collect();
        for receive in stood.into_iter().chain(came) {
            assert_eq!(receive.join().unwrap(), None, "a message that was deleted");
        }
        cluster.wait_ready().unwrap();
    }
}

#[test]
fn a_receive_that_waits_at_a_paused_leader_gets_what_comes_after() {
    let cluster = cluster(1);
    create_queue(&mut cluster.node(1).client(), "q");
    let paused = leader(cluster.node(1), 0);
    let waits = receiving(cluster.node(paused).client(), "30");
    // It waits there before the pause: nothing tells so from outside but that a receive with no wait finds nothing.
    let asked = cluster
        .node(paused)
        .client()
        .ask("ReceiveMessage", &[("queueName", "q")]);
    assert!(asked.unwrap().success().is_err());
    cluster.node(paused).pause().unwrap();
    let began = Instant::now();
    let mut client = cluster.node(paused % 3 + 1).client();
    // One that is taken by another before it wakes, and one that is there for it.
    send(&mut client, "q", "taken");
    assert_eq!(take(&mut client, "q").as_deref(), Some("taken"));
    assert_eq!(take(&mut client, "q"), None);
    let pause = pause().min(WAITED_OUT);
    std::thread::sleep(pause.saturating_sub(began.elapsed()));
    cluster.node(paused).resume().unwrap();
    send(&mut client, "q", "new");
    assert_eq!(waits.join().unwrap().as_deref(), Some("new"));
}
