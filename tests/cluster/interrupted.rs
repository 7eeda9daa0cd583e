//! Nodes die in the middle of changes of members, under load, and come back: the change comes to its end, and nothing
//! that was acknowledged is lost.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use posthouse_tests::{Client, Cluster, Node};
use serde_json::Value;

use crate::membership::{holders, is_group_on, is_settled_on, node, wait_until};
use crate::slow::{empty_disk, set_delay};
use crate::{LOOK_AGAIN, WITHIN, ask_as, cluster, command, done, status, tried, until};

/// How much a set holds that a new replica has to fetch: so much that it takes a while.
const KEPT_BATCHES: usize = 16;
const KEPT_BATCH_MESSAGES: usize = 16;
const KEPT_BODY_BYTES: usize = 60_000;

/// How much longer a sync takes of a node that is not to be soon done with what it does.
const LATE_SYNC: Duration = Duration::from_secs(2);

/// A producer and a consumer of one queue that may be told of faults.
struct Load {
    queue: String,
    stop: Arc<AtomicBool>,
    producer: JoinHandle<Sent>,
    consumer: JoinHandle<BTreeSet<String>>,
}

/// What was sent.
#[derive(Default)]
struct Sent {
    acknowledged: BTreeSet<String>,
    /// What may have been sent or not.
    doubtful: BTreeSet<String>,
}

// === impl Load ===

impl Load {
    fn begin(queue: &str, mut producer: Client, mut consumer: Client) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let (name, stopping) = (queue.to_owned(), Arc::clone(&stop));
        let producer = std::thread::spawn(move || {
            let mut sent = Sent::default();
            for number in 0_u64.. {
                if stopping.load(Ordering::Relaxed) {
                    break;
                }
                let body = format!("{name}-{number}");
                let answer = producer.ask("SendMessage", &[("queueName", &name), ("msgBody", &body)]);
                match answer.is_ok_and(|answer| answer.code() == 0) {
                    true => sent.acknowledged.insert(body),
                    false => sent.doubtful.insert(body),
                };
            }
            sent
        });
        let (name, stopping) = (queue.to_owned(), Arc::clone(&stop));
        let consumer = std::thread::spawn(move || {
            let mut taken = BTreeSet::new();
            while !stopping.load(Ordering::Relaxed) {
                taken.extend(take_some(&mut consumer, &name));
            }
            taken
        });
        Load {
            queue: queue.to_owned(),
            stop,
            producer,
            consumer,
        }
    }

    /// Ends, and checks that all that was acknowledged is got, and nothing that was never sent.
    fn end(self, mut rest: Client) {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.producer.join().unwrap();
        let mut taken = self.consumer.join().unwrap();
        let began = Instant::now();
        while !sent.acknowledged.is_subset(&taken) {
            // What was leased by a call whose answer was lost becomes visible again.
            assert!(
                began.elapsed() < WITHIN,
                "{}: acknowledged and lost: {:?}",
                self.queue,
                sent.acknowledged.difference(&taken).collect::<Vec<_>>()
            );
            taken.extend(take_some(&mut rest, &self.queue));
        }
        assert!(!sent.acknowledged.is_empty());
        let known: BTreeSet<String> = sent.acknowledged.union(&sent.doubtful).cloned().collect();
        assert!(taken.is_subset(&known), "what nobody sent");
    }
}

/// Takes a few messages, if there are any.
fn take_some(client: &mut Client, queue: &str) -> Vec<String> {
    let got = client.ask(
        "BatchReceiveMessage",
        &[
            ("queueName", queue),
            ("numOfMsg", "16"),
            ("pollingWaitSeconds", "0"),
        ],
    );
    let Ok(got) = got else { return Vec::new() };
    let messages = got.0["msgInfoList"].as_array().cloned().unwrap_or_default();
    let text = |message: &Value, field: &str| message[field].as_str().unwrap_or_default().to_owned();
    for message in &messages {
        let handle = text(message, "receiptHandle");
        // It comes again if it is still there.
        let _ = client.ask(
            "DeleteMessage",
            &[("queueName", queue), ("receiptHandle", &handle)],
        );
    }
    messages.iter().map(|message| text(message, "msgBody")).collect()
}

/// Makes a queue whose messages are soon visible again.
fn create(client: &mut Client, queue: &str) {
    done(
        client,
        "CreateQueue",
        &[("queueName", queue), ("visibilityTimeout", "5")],
    );
}

/// Fills a queue with so much that a new replica is not soon done with it.
fn fill(client: &mut Client, queue: &str) {
    create(client, queue);
    let filling = "x".repeat(KEPT_BODY_BYTES);
    for batch in 0..KEPT_BATCHES {
        let bodies: Vec<(String, String)> = (0..KEPT_BATCH_MESSAGES)
            .map(|number| (format!("msgBody.{number}"), format!("{batch}/{number}/{filling}")))
            .collect();
        let mut parameters = vec![("queueName", queue)];
        parameters.extend(bodies.iter().map(|(name, body)| (name.as_str(), body.as_str())));
        let token = format!("{queue}-{batch}");
        let sent = ask_as(client, Some(&token), "BatchSendMessage", &parameters);
        assert_eq!(sent.code(), 0, "{}", sent.0);
    }
}

/// Takes all that a queue was filled with.
fn check_filled(client: &mut Client, queue: &str) {
    let mut taken = BTreeSet::new();
    let began = Instant::now();
    while taken.len() < KEPT_BATCHES * KEPT_BATCH_MESSAGES {
        assert!(
            began.elapsed() < WITHIN,
            "{queue}: only {} are there",
            taken.len()
        );
        let some = take_some(client, queue);
        let names = some
            .iter()
            .filter_map(|body| Some(body.rsplit_once('/')?.0.to_owned()));
        taken.extend(names);
    }
}

fn group(status: &Value, set: Option<u64>) -> &Value {
    let groups = status["groups"].as_array().unwrap();
    groups
        .iter()
        .find(|group| group["set"].as_u64() == set)
        .unwrap_or(&Value::Null)
}

/// Returns whether a node has a replica of a set that began empty. When that is first seen, it is catching up.
fn has_new_replica(status: &Value, set: u64, number: u64) -> bool {
    let replicas = group(status, Some(set))["replicas"].as_array();
    let mut of_node = replicas
        .into_iter()
        .flatten()
        .filter(|replica| replica["node"] == number);
    of_node.any(|replica| replica["replica"].as_u64() > Some(65_535))
}

/// Returns the number of the node that leads a group; none when nobody is seen to.
fn leading_node(status: &Value, set: Option<u64>) -> Option<usize> {
    let group = group(status, set);
    let replicas = group["replicas"].as_array()?;
    let leads = replicas
        .iter()
        .find(|replica| replica["replica"] == group["leader"])?;
    usize::try_from(leads["node"].as_u64()?).ok()
}

/// Waits until a group is led, and returns the number of the node.
fn leader_of(cluster: &Cluster, set: Option<u64>) -> usize {
    let began = Instant::now();
    loop {
        if let Some(leader) = leading_node(&status(cluster.node(1)), set) {
            return leader;
        }
        assert!(began.elapsed() < WITHIN, "nobody leads");
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Checks that the members of set 0 are not yet what they are to be, as who leads it sees them.
fn check_unfinished(asked: &Node) {
    let status = wait_until(asked, "the set is led", |status| {
        leading_node(status, Some(0)).is_some()
    });
    let changing = &group(&status, Some(0))["changing"];
    assert_eq!(*changing, true, "it had caught up: {status:#}");
}

#[test]
fn a_node_that_is_killed_while_it_catches_up_goes_on_when_it_is_back() {
    let mut cluster = cluster(1);
    fill(&mut cluster.node(1).client(), "kept");
    create(&mut cluster.node(1).client(), "load");
    wait_until(cluster.node(1), "it is founded", |status| {
        is_settled_on(status, &[1, 2, 3])
    });
    let load = Load::begin("load", cluster.node(1).client(), cluster.node(3).client());
    cluster.node_mut(2).kill();
    empty_disk(&cluster, 2);

    // Once when it is hardly taken in, and again while it fetches what the set holds, which takes it long.
    cluster.node_mut(2).spawn().unwrap();
    wait_until(cluster.node(1), "it is taken in", |status| {
        node(status, 2)["replica"].as_u64() > Some(65_535)
    });
    cluster.node_mut(2).kill();
    set_delay(&cluster, 2, LATE_SYNC);
    cluster.node_mut(2).spawn().unwrap();
    wait_until(cluster.node(1), "it has begun to catch up", |status| {
        has_new_replica(status, 0, 2)
    });
    cluster.node_mut(2).kill();
    check_unfinished(cluster.node(1));

    set_delay(&cluster, 2, Duration::ZERO);
    cluster.node_mut(2).launch().unwrap();
    wait_until(cluster.node(1), "it has caught up", |status| {
        is_settled_on(status, &[1, 2, 3])
    });
    load.end(cluster.node(2).client());
    cluster.node_mut(3).kill();
    check_filled(&mut cluster.node(2).client(), "kept");
}

#[test]
fn a_node_that_joins_is_killed_again_and_again_and_joins() {
    let mut cluster = cluster(1);
    create(&mut cluster.node(1).client(), "load");
    wait_until(cluster.node(1), "it is founded", |status| {
        is_settled_on(status, &[1, 2, 3])
    });
    let load = Load::begin("load", cluster.node(1).client(), cluster.node(3).client());
    cluster.plan_one_more().unwrap();
    cluster.node_mut(4).spawn().unwrap();
    wait_until(cluster.node(1), "it is known", |status| {
        !node(status, 4).is_null()
    });
    cluster.node_mut(4).kill();
    cluster.node_mut(4).spawn().unwrap();
    wait_until(cluster.node(1), "it holds the directory", |status| {
        holders(group(status, None)).contains(&4)
    });
    cluster.node_mut(4).kill();
    cluster.node_mut(4).launch().unwrap();
    wait_until(cluster.node(1), "it has joined", |status| {
        node(status, 4)["state"] == "active" && is_group_on(status, None, &[1, 2, 3, 4])
    });
    load.end(cluster.node(4).client());
}

/// Has a change begun, which may have to wait until somebody leads the directory.
fn change(node: &Node, arguments: &[&str]) {
    until("the change is taken", || tried(node, arguments).is_ok());
}

/// Who is killed in the middle of a move.
#[derive(Clone, Copy, Debug)]
enum Victim {
    /// The node that the replica goes to.
    Target,
    /// The node that it comes from.
    Source,
    /// The node that leads the set.
    SetLeader,
    /// The node that leads the directory, and with it the change.
    DirectoryLeader,
}

/// Moves set 0, and kills a node in the middle of it, under load.
fn move_and_kill(cluster: &mut Cluster, (from, to): (usize, usize), victim: Victim) {
    let killed = match victim {
        Victim::Target => to,
        Victim::Source => from,
        Victim::SetLeader => leader_of(cluster, Some(0)),
        Victim::DirectoryLeader => leader_of(cluster, None),
    };
    let living: Vec<usize> = [1, 3].into_iter().filter(|node| *node != killed).collect();
    let (first, last) = (living[0], living[living.len() - 1]);
    println!("set 0 from {from} to {to}, {victim:?} is killed: {killed}");
    let load = Load::begin("load", cluster.node(first).client(), cluster.node(last).client());
    let (source, target) = (from.to_string(), to.to_string());
    // A target that stands still, or is slow, keeps the change where it is until the one is dead that is to be.
    match killed == to {
        true => set_delay(cluster, to, LATE_SYNC),
        false => cluster.node(to).pause().unwrap(),
    }
    change(
        cluster.node(first),
        &[
            "cluster", "move", "--set", "0", "--from", &source, "--to", &target,
        ],
    );
    if killed == to {
        wait_until(cluster.node(first), "it catches up", |status| {
            has_new_replica(status, 0, to as u64)
        });
    }
    cluster.node_mut(killed).kill();
    match killed == to {
        true => {
            check_unfinished(cluster.node(first));
            set_delay(cluster, to, Duration::ZERO);
        }
        false => cluster.node(to).resume().unwrap(),
    }
    cluster.node_mut(killed).launch().unwrap();
    let nodes = [1, 3, to as u64];
    wait_until(cluster.node(first), "it was moved", |status| {
        is_group_on(status, Some(0), &nodes) && status["healthy"] == true
    });
    load.end(cluster.node(to).client());
}

#[test]
fn a_move_comes_to_its_end_whoever_is_killed_in_the_middle_of_it() {
    let mut cluster = cluster(1);
    fill(&mut cluster.node(1).client(), "kept");
    create(&mut cluster.node(1).client(), "load");
    cluster.plan_one_more().unwrap();
    empty_disk(&cluster, 4);
    cluster.node_mut(4).launch().unwrap();
    wait_until(cluster.node(1), "the fourth has joined", |status| {
        node(status, 4)["state"] == "active" && is_group_on(status, None, &[1, 2, 3, 4])
    });
    move_and_kill(&mut cluster, (2, 4), Victim::Target);
    move_and_kill(&mut cluster, (4, 2), Victim::Source);
    move_and_kill(&mut cluster, (2, 4), Victim::SetLeader);
    move_and_kill(&mut cluster, (4, 2), Victim::DirectoryLeader);
    cluster.node_mut(3).kill();
    check_filled(&mut cluster.node(2).client(), "kept");
}

#[test]
fn a_move_that_is_taken_back_in_the_middle_costs_nothing() {
    let mut cluster = cluster(1);
    create(&mut cluster.node(1).client(), "load");
    cluster.add().unwrap();
    wait_until(cluster.node(1), "the fourth has joined", |status| {
        node(status, 4)["state"] == "active" && is_group_on(status, None, &[1, 2, 3, 4])
    });
    let load = Load::begin("load", cluster.node(1).client(), cluster.node(3).client());
    cluster.node(4).pause().unwrap();
    change(
        cluster.node(1),
        &["cluster", "move", "--set", "0", "--from", "2", "--to", "4"],
    );
    wait_until(cluster.node(1), "it has begun", |status| {
        group(status, Some(0))["changing"] == true
    });
    change(
        cluster.node(1),
        &["cluster", "move", "--set", "0", "--from", "4", "--to", "2"],
    );
    let status = wait_until(cluster.node(1), "it is as it was", |status| {
        is_group_on(status, Some(0), &[1, 2, 3])
    });
    let replicas = group(&status, Some(0))["replicas"].as_array().unwrap().clone();
    let of_second = replicas.iter().find(|replica| replica["node"] == 2).unwrap();
    assert_eq!(of_second["replica"], 2, "it held on to what it had: {status:#}");
    cluster.node(4).resume().unwrap();
    wait_until(cluster.node(1), "all are well", |status| {
        status["healthy"] == true && is_group_on(status, Some(0), &[1, 2, 3])
    });
    load.end(cluster.node(2).client());
}

#[test]
fn a_drained_node_that_is_killed_meanwhile_lets_go_of_everything_when_it_is_back() {
    let mut cluster = cluster(2);
    fill(&mut cluster.node(1).client(), "kept");
    for queue in ["load", "other"] {
        create(&mut cluster.node(1).client(), queue);
    }
    cluster.add().unwrap();
    wait_until(cluster.node(1), "the fourth has joined", |status| {
        node(status, 4)["state"] == "active" && is_group_on(status, None, &[1, 2, 3, 4])
    });
    let load = Load::begin("load", cluster.node(1).client(), cluster.node(3).client());
    let other = Load::begin("other", cluster.node(3).client(), cluster.node(1).client());
    cluster.node(4).pause().unwrap();
    change(cluster.node(1), &["cluster", "drain", "2"]);
    cluster.node_mut(2).kill();
    cluster.node(4).resume().unwrap();
    wait_until(
        cluster.node(1),
        "the others hold everything without it",
        |status| (0..2).all(|set| is_group_on(status, Some(set), &[1, 3, 4])),
    );
    cluster.node_mut(2).launch().unwrap();
    wait_until(cluster.node(1), "it is back, and holds no set", |status| {
        status["healthy"] == true && (0..2).all(|set| is_group_on(status, Some(set), &[1, 3, 4]))
    });
    command(cluster.node(4), &["cluster", "remove", "2"]);
    assert_eq!(
        cluster.node_mut(2).wait_ended().unwrap(),
        Some(1),
        "it is told to go"
    );
    load.end(cluster.node(4).client());
    other.end(cluster.node(4).client());
    check_filled(&mut cluster.node(4).client(), "kept");
}
