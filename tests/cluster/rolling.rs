//! All nodes are restarted, one after the other, and clients that try again see no failure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use posthouse_tests::{Answer, Client, Cluster};

use crate::{cluster, wait_for};

const PRODUCERS: usize = 3;
const CONSUMERS: usize = 2;
/// How long leases last: what a broken connection may have leased is visible again then.
const VISIBILITY_SECONDS: u64 = 15;
/// How long a client tries.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long it rests in between.
const REST: Duration = Duration::from_millis(50);
/// CMQ's codes for a queue without messages, and for a handle that is no longer good.
const NO_MESSAGE: i64 = 7000;
const HANDLE_IS_OVER: i64 = 4430;

/// A client as users write them: when a node does not answer, or says that nothing was done, it asks the next.
struct Persistent {
    clients: Vec<Client>,
    at: usize,
}

/// What came of a call in the end.
struct Outcome {
    answer: Answer,
    /// Whether an earlier attempt broke off, so that it may have been done before.
    doubt: bool,
}

/// What producers and consumers share.
#[derive(Default)]
struct Work {
    stop: AtomicBool,
    sent: AtomicUsize,
    /// Message ids by what was sent.
    acknowledged: Mutex<BTreeMap<String, String>>,
    consumed: Mutex<BTreeMap<String, BTreeSet<String>>>,
}

// === impl Persistent ===

impl Persistent {
    fn new(cluster: &Cluster, at: usize) -> Persistent {
        Persistent {
            clients: (1..=3).map(|node| cluster.node(node).client()).collect(),
            at,
        }
    }

    fn ask(&mut self, token: Option<&str>, action: &str, parameters: &[(&str, &str)]) -> Outcome {
        let began = Instant::now();
        let mut doubt = false;
        loop {
            let client = &mut self.clients[self.at];
            let asked = match token {
                Some(token) => client.ask_once(token, action, parameters),
                None => client.ask(action, parameters),
            };
            let failure = match asked {
                Ok(answer) if !answer.text("message").contains("not done") => {
                    return Outcome { answer, doubt };
                }
                Ok(answer) => answer.0.to_string(),
                Err(error) => {
                    doubt = true;
                    format!("{error:#}")
                }
            };
            assert!(began.elapsed() < PATIENCE, "{action} fails: {failure}");
            self.at = (self.at + 1) % self.clients.len();
            std::thread::sleep(REST);
        }
    }
}

// === impl Work ===

impl Work {
    fn produce(&self, producer: usize, mut client: Persistent) {
        let mut number = 0;
        while !self.stop.load(Ordering::Relaxed) {
            let body = format!("{producer}-{number}");
            number += 1;
            let message = [("queueName", "q"), ("msgBody", body.as_str())];
            let sent = client.ask(Some(&body), "SendMessage", &message).answer;
            assert_eq!(sent.code(), 0, "{}", sent.0);
            let id = sent.text("msgId").to_owned();
            self.acknowledged.lock().unwrap().insert(body, id);
            self.sent.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn consume(&self, mut client: Persistent) {
        while !self.stop.load(Ordering::Relaxed) {
            self.consume_one(&mut client, "1");
        }
    }

    /// Receives and deletes one message; returns whether there was one.
    fn consume_one(&self, client: &mut Persistent, wait: &str) -> bool {
        let ask = [("queueName", "q"), ("pollingWaitSeconds", wait)];
        let got = client.ask(None, "ReceiveMessage", &ask).answer;
        if got.code() == NO_MESSAGE {
            return false;
        }
        assert_eq!(got.code(), 0, "{}", got.0);
        let ids = (got.text("msgBody").to_owned(), got.text("msgId").to_owned());
        self.consumed
            .lock()
            .unwrap()
            .entry(ids.0)
            .or_default()
            .insert(ids.1);
        let delete = [("queueName", "q"), ("receiptHandle", got.text("receiptHandle"))];
        let deleted = client.ask(None, "DeleteMessage", &delete);
        let before = deleted.doubt && deleted.answer.code() == HANDLE_IS_OVER;
        assert!(deleted.answer.code() == 0 || before, "{}", deleted.answer.0);
        true
    }
}

#[test]
fn restarting_all_nodes_in_turn_fails_no_request_that_is_tried_again() {
    let mut cluster = cluster(3);
    let visibility = VISIBILITY_SECONDS.to_string();
    let queue = [("queueName", "q"), ("visibilityTimeout", visibility.as_str())];
    let made = cluster.node(1).client().ask("CreateQueue", &queue);
    made.unwrap().success().unwrap();
    let work = Arc::new(Work::default());
    let mut workers = Vec::new();
    for producer in 0..PRODUCERS {
        let (work, client) = (Arc::clone(&work), Persistent::new(&cluster, producer % 3));
        workers.push(std::thread::spawn(move || work.produce(producer, client)));
    }
    for consumer in 0..CONSUMERS {
        let (work, client) = (Arc::clone(&work), Persistent::new(&cluster, consumer % 3));
        workers.push(std::thread::spawn(move || work.consume(client)));
    }
    for node in 1..=3 {
        wait_for(&work.sent, 50);
        assert_eq!(cluster.node_mut(node).terminate().unwrap(), Some(0));
        wait_for(&work.sent, 50);
        cluster.node_mut(node).launch().unwrap();
        cluster.wait_ready().unwrap();
    }
    wait_for(&work.sent, 50);
    work.stop.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.join().unwrap();
    }
    // What a connection that broke may have leased comes within its visibility timeout.
    let mut client = Persistent::new(&cluster, 0);
    let mut quiet = Instant::now();
    while quiet.elapsed() < Duration::from_secs(VISIBILITY_SECONDS + 2) {
        if work.consume_one(&mut client, "1") {
            quiet = Instant::now();
        }
    }
    let acknowledged = work.acknowledged.lock().unwrap();
    let consumed = work.consumed.lock().unwrap();
    for (body, id) in acknowledged.iter() {
        let found = consumed.get(body);
        assert_eq!(found, Some(&BTreeSet::from([id.clone()])), "{body}");
    }
    assert_eq!(
        consumed.len(),
        acknowledged.len(),
        "what nobody sent was consumed"
    );
}
