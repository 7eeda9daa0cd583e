//! Tests of whole clusters: real processes that are killed, paused and stopped, spoken to over their sockets.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a step that fails ends its test"
)]

mod certificates;
mod clocks;
mod components;
mod course;
mod cuts;
mod damage;
mod examples;
mod explaining;
mod failover;
mod full;
mod interrupted;
mod keeping;
mod leaving;
mod life;
mod logs;
mod membership;
mod memory;
mod newcomers;
mod parking;
mod pauses;
mod recording;
mod rolling;
mod service;
mod slow;
mod streaming;
mod survival;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use posthouse_tests::{Answer, Client, Cluster, Connection, Node};
use serde_json::Value;

/// How long what must come is waited for.
const WITHIN: Duration = Duration::from_secs(60);
/// How often it is looked at meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How long a node tries at least before it answers with a fault.
const TRIED_FOR: Duration = Duration::from_secs(3);
/// CMQ's codes for a fault of the broker, for a queue without messages, and for no such queue.
const FAULT: (i64, i64) = (6000, 10050);
const NO_MESSAGE: i64 = 7000;
const NO_QUEUE: i64 = 4440;

/// Returns the program under test.
fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_posthouse"))
}

/// Starts three nodes.
fn cluster(sets: u8) -> Cluster {
    cluster_of(sets, "")
}

/// Starts three nodes that are configured otherwise.
fn cluster_of(sets: u8, configuration: &str) -> Cluster {
    Cluster::start(program(), 3, sets, configuration).expect("the cluster starts")
}

/// Says something to a node on the command line, and returns its answer.
fn command(node: &Node, arguments: &[&str]) -> Value {
    tried(node, arguments).unwrap_or_else(|refusal| panic!("{arguments:?}: {refusal}"))
}

/// Says something to a node on the command line that it does not do, and returns why.
fn refusal(node: &Node, arguments: &[&str]) -> String {
    tried(node, arguments).expect_err("it is refused")
}

/// Says something to a node on the command line, and returns its answer, or why there is none.
fn tried(node: &Node, arguments: &[&str]) -> Result<Value, String> {
    tried_at(&node.url(), arguments)
}

/// Says something on the command line to the node at an address, and returns its answer, or why there is none.
fn tried_at(url: &str, arguments: &[&str]) -> Result<Value, String> {
    let output = Command::new(program())
        .args(arguments)
        .args(["--json", "--url", url])
        .env("POSTHOUSE_SECRET_ID", "AKIDdev")
        .env("POSTHOUSE_SECRET_KEY", "dev")
        .output()
        .unwrap();
    match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout).unwrap()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// Asks a node for the cluster's status.
fn status(node: &Node) -> Value {
    command(node, &["cluster", "status"])
}

/// Returns how many entries each replica of set 0 that answers is behind, asking a node.
fn lags(cluster: &Cluster, asked: usize) -> Vec<u64> {
    let status = status(cluster.node(asked));
    let groups = status["groups"].as_array().unwrap();
    let set = groups.iter().find(|group| group["set"] == 0).unwrap();
    let replicas = set["replicas"].as_array().unwrap();
    replicas
        .iter()
        .map(|replica| replica["lag"].as_u64().unwrap())
        .collect()
}

/// Returns the number of the node that leads a set, asking a node.
fn leader(node: &Node, set: u64) -> usize {
    let began = Instant::now();
    loop {
        let status = status(node);
        let groups = status["groups"].as_array().unwrap();
        let found = groups.iter().find(|group| group["set"] == set).unwrap();
        // Nodes that found a cluster are replicas of the same numbers.
        if let Some(leader) = found["leader"].as_u64() {
            return usize::try_from(leader).unwrap();
        }
        assert!(began.elapsed() < WITHIN, "nobody leads set {set}: {status}");
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Returns a figure of a node as it tells it, all of that name together.
fn gauge(node: &Node, name: &str) -> u64 {
    let mut connection = Connection::open(node.address()).unwrap();
    let host = node.address().to_string();
    connection.request("GET", "/metrics", &host, "", b"").unwrap();
    let told = String::from_utf8(connection.answer().unwrap().body).unwrap();
    let figures = told.lines().filter_map(|line| line.strip_prefix(name));
    let counts = figures
        .filter(|rest| rest.starts_with([' ', '{']))
        .filter_map(|rest| rest.split_whitespace().last()?.parse::<u64>().ok());
    counts.sum()
}

/// Kills the node that leads a set, and returns its number.
fn kill_leader(cluster: &mut Cluster, set: u64) -> usize {
    let victim = leader(cluster.node(1), set);
    cluster.node_mut(victim).kill();
    victim
}

/// Waits until something holds.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < WITHIN, "not so: {what}");
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Asks a node that lives, and that can agree with another one. Whatever happens to the others, its client is told of no
/// fault before the time is up for which it tries: only where that is too short, on a busy machine, is it asked again. With
/// a token that takes effect once; without one, what may have been done is the end of the test.
fn ask_as(client: &mut Client, token: Option<&str>, action: &str, parameters: &[(&str, &str)]) -> Answer {
    let began = Instant::now();
    loop {
        let asked = Instant::now();
        let answer = match token {
            Some(token) => client.ask_once(token, action, parameters),
            None => client.ask(action, parameters),
        };
        let answer = answer.expect("its node lives");
        if answer.codes() != FAULT {
            return answer;
        }
        assert!(
            asked.elapsed() >= TRIED_FOR,
            "{action}: a fault before the time is up: {}",
            answer.0
        );
        let is_known = token.is_some() || !answer.text("message").contains("may have been done");
        assert!(is_known && began.elapsed() < WITHIN, "{action}: {}", answer.0);
    }
}

/// Asks a node that lives, like [`ask_as`].
fn ask(client: &mut Client, action: &str, parameters: &[(&str, &str)]) -> Answer {
    ask_as(client, None, action, parameters)
}

/// Asks a node that lives for what is to be done, and returns the answer.
fn done(client: &mut Client, action: &str, parameters: &[(&str, &str)]) -> Value {
    ask(client, action, parameters).success().unwrap().0
}

/// Waits until so much more was counted.
fn wait_for(count: &AtomicUsize, more: usize) {
    let aim = count.load(Ordering::Relaxed) + more;
    let began = Instant::now();
    while count.load(Ordering::Relaxed) < aim {
        assert!(began.elapsed() < WITHIN, "sends come to a halt");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Makes a queue.
fn create_queue(client: &mut Client, name: &str) {
    let attributes = [("queueName", name), ("visibilityTimeout", "43200")];
    done(client, "CreateQueue", &attributes);
}

/// Sends a message through a node that lives.
fn send(client: &mut Client, queue: &str, body: &str) {
    static SENDS: AtomicU64 = AtomicU64::new(0);
    let token = format!("send-{}", SENDS.fetch_add(1, Ordering::Relaxed));
    let letter = [("queueName", queue), ("msgBody", body)];
    let sent = ask_as(client, Some(&token), "SendMessage", &letter);
    assert_eq!(sent.code(), 0, "{queue}: {}", sent.0);
}

/// How many messages were begun, and how many are in the queue.
#[derive(Clone, Default)]
struct Sent {
    begun: Arc<AtomicUsize>,
    done: Arc<AtomicUsize>,
}

/// Sends messages to the queue `q` from four threads, while the node dies that leads a set, and starts it again. Each has a
/// token, and is sent again until it is known to be there: so it is there once.
fn send_while_the_leader_dies(cluster: &mut Cluster, set: u64, sent: &Sent, body: fn(usize) -> String) {
    let victim = leader(cluster.node(1), set);
    let stop = Arc::new(AtomicBool::new(false));
    let senders: Vec<_> = (1..=3)
        .filter(|node| *node != victim)
        .flat_map(|node| [node, node])
        .map(|node| {
            let mut client = cluster.node(node).client();
            let (stop, sent) = (Arc::clone(&stop), sent.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let number = sent.begun.fetch_add(1, Ordering::Relaxed);
                    send(&mut client, "q", &body(number));
                    sent.done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    wait_for(&sent.done, 30);
    cluster.node_mut(victim).kill();
    wait_for(&sent.done, 30);
    stop.store(true, Ordering::Relaxed);
    for sender in senders {
        sender.join().unwrap();
    }
    cluster.node_mut(victim).launch().unwrap();
    cluster.wait_ready().unwrap();
}

/// Sends a message through a node that may die, or be cut off; returns whether it was acknowledged.
fn try_send(client: &mut Client, queue: &str, body: &str) -> bool {
    let sent = client.ask("SendMessage", &[("queueName", queue), ("msgBody", body)]);
    sent.is_ok_and(|answer| answer.code() == 0)
}

/// Receives one message through a node that lives, and deletes it; returns its body, if there is any.
fn take(client: &mut Client, queue: &str) -> Option<String> {
    let got = ask(client, "ReceiveMessage", &[("queueName", queue)]);
    if got.code() == NO_MESSAGE {
        return None;
    }
    let got = got.success().unwrap();
    let handle = got.text("receiptHandle");
    done(
        client,
        "DeleteMessage",
        &[("queueName", queue), ("receiptHandle", handle)],
    );
    Some(got.text("msgBody").to_owned())
}

/// Takes everything out of the queue `q`, through one node.
fn drain(cluster: &Cluster, node: usize) -> Vec<String> {
    let mut client = cluster.node(node).client();
    std::iter::from_fn(|| take(&mut client, "q")).collect()
}
