//! Nodes that do not hear each other: who is cut off refuses, the others go on, and nothing is done twice.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use posthouse_tests::{Answer, Client, Cluster, Plan};

use crate::{create_queue, done, drain, leader, program, send, try_send, until};

/// How long a call may take to be refused, with room for a busy machine: the promise is 5 s.
const REFUSED_WITHIN: Duration = Duration::from_secs(20);
/// How often a call is raced against the end of its leader.
const ROUNDS_MAX: usize = 5;

/// Starts three nodes, with what is between them in the test's hands.
pub(crate) fn wired(sets: u8) -> Cluster {
    let plan = Plan {
        program: program(),
        nodes: 3,
        sets,
        configuration: &|_| String::new(),
        wired: true,
        parent: &std::env::temp_dir(),
    };
    Cluster::start_as(plan).expect("the cluster starts")
}

/// Asks for what is to be refused; returns whether it may have been done all the same.
fn refused(client: &mut Client, action: &str, parameters: &[(&str, &str)]) -> bool {
    let began = Instant::now();
    let answer = client.ask(action, parameters).unwrap();
    assert_eq!(answer.codes(), (6000, 10050), "{}", answer.0);
    assert!(
        began.elapsed() < REFUSED_WITHIN,
        "refused after {:?}",
        began.elapsed()
    );
    answer.text("message").contains("may have been done")
}

/// Sends until it is acknowledged: until another node leads, calls may be refused.
fn send_at_last(client: &mut Client, body: &str) {
    until("a send is acknowledged", || try_send(client, "q", body));
}

/// Returns what is in the queue, each once, without what may have been done or not.
fn certain(cluster: &Cluster, node: usize, in_doubt: &[&str]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut stored = drain(cluster, node);
    stored.retain(|body| !in_doubt.contains(&body.as_str()) && seen.insert(body.clone()));
    stored
}

#[test]
fn a_leader_that_is_cut_off_refuses_while_the_others_go_on() {
    let cluster = wired(1);
    create_queue(&mut cluster.node(1).client(), "q");
    send(&mut cluster.node(1).client(), "q", "before");
    let lonely = leader(cluster.node(1), 0);
    let other = lonely % 3 + 1;
    cluster.wires().unwrap().isolate(lonely);

    let mut client = cluster.node(lonely).client();
    let in_doubt = refused(
        &mut client,
        "SendMessage",
        &[("queueName", "q"), ("msgBody", "alone")],
    );
    refused(&mut client, "ReceiveMessage", &[("queueName", "q")]);
    send_at_last(&mut cluster.node(other).client(), "meanwhile");
    // It does not know of what the others do, and must not say that it does.
    refused(&mut client, "ReceiveMessage", &[("queueName", "q")]);
    cluster.wait_unready(lonely).unwrap();

    cluster.wires().unwrap().mend();
    cluster.wait_ready().unwrap();
    send_at_last(&mut client, "after");
    let doubtful: &[&str] = if in_doubt { &["alone"] } else { &[] };
    assert_eq!(
        certain(&cluster, lonely, doubtful),
        ["before", "meanwhile", "after"]
    );
}

#[test]
fn a_leader_that_is_cut_off_refuses_nothing_by_what_it_saw_last() {
    let cluster = wired(1);
    let mut client = cluster.node(1).client();
    create_queue(&mut client, "q");
    done(&mut client, "CreateTopic", &[("topicName", "topic")]);
    let lonely = leader(cluster.node(1), 0);
    let other = lonely % 3 + 1;
    cluster.wires().unwrap().isolate(lonely);
    let subscription = [
        ("topicName", "topic"),
        ("subscriptionName", "s"),
        ("protocol", "queue"),
        ("endpoint", "q"),
        ("notifyContentFormat", "SIMPLIFIED"),
    ];
    done(&mut cluster.node(other).client(), "Subscribe", &subscription);
    // It knows of no subscription, and cannot know that there is none.
    let mut client = cluster.node(lonely).client();
    let publish = [("topicName", "topic"), ("msgBody", "news")];
    refused(&mut client, "PublishMessage", &publish);

    cluster.wires().unwrap().mend();
    cluster.wait_ready().unwrap();
    done(&mut client, "PublishMessage", &publish);
    let wait = [("queueName", "q"), ("pollingWaitSeconds", "30")];
    assert_eq!(done(&mut client, "ReceiveMessage", &wait)["msgBody"], "news");
}

#[test]
fn a_leader_that_is_not_heard_is_replaced() {
    let cluster = wired(1);
    create_queue(&mut cluster.node(1).client(), "q");
    let mute = leader(cluster.node(1), 0);
    let (second, third) = (mute % 3 + 1, (mute + 1) % 3 + 1);
    let wires = cluster.wires().unwrap();
    wires.cut(mute, second);
    wires.cut(mute, third);
    send_at_last(&mut cluster.node(second).client(), "from the second");
    send_at_last(&mut cluster.node(third).client(), "from the third");
    wires.mend();
    cluster.wait_ready().unwrap();
    send_at_last(&mut cluster.node(mute).client(), "from the first");
    let expected = ["from the second", "from the third", "from the first"];
    assert_eq!(certain(&cluster, mute, &[]), expected);
}

#[test]
fn a_leader_that_hears_nobody_makes_room_for_another() {
    let cluster = wired(1);
    create_queue(&mut cluster.node(1).client(), "q");
    let deaf = leader(cluster.node(1), 0);
    let (second, third) = (deaf % 3 + 1, (deaf + 1) % 3 + 1);
    let wires = cluster.wires().unwrap();
    wires.cut(second, deaf);
    wires.cut(third, deaf);
    send_at_last(&mut cluster.node(second).client(), "from the second");
    send_at_last(&mut cluster.node(third).client(), "from the third");
    wires.mend();
    cluster.wait_ready().unwrap();
    send_at_last(&mut cluster.node(deaf).client(), "from the first");
    let expected = ["from the second", "from the third", "from the first"];
    assert_eq!(certain(&cluster, deaf, &[]), expected);
}

#[test]
fn a_node_that_is_far_away_holds_nobody_up_for_good() {
    let cluster = wired(2);
    create_queue(&mut cluster.node(1).client(), "q");
    let wires = cluster.wires().unwrap();
    let mut expected = Vec::new();
    for far in 1..=3 {
        wires.slow(far, Duration::from_millis(20));
        for node in 1..=3 {
            let body = format!("{far} is far, said at {node}");
            send_at_last(&mut cluster.node(node).client(), &body);
            expected.push(body);
        }
        wires.mend();
    }
    assert_eq!(certain(&cluster, 1, &[]), expected);
}

/// Has three calls done by a leader whose answers do not get through, and that dies then. Returns how they ended.
fn race(cluster: &mut Cluster) -> [Answer; 3] {
    let dying = leader(cluster.node(1), 0);
    let (through, witness) = (dying % 3 + 1, (dying + 1) % 3 + 1);
    let mut client = cluster.node(witness).client();
    send(&mut client, "received", "x");
    send(&mut client, "deleted", "x");
    let leased = client.ask("ReceiveMessage", &[("queueName", "deleted")]);
    let handle = leased
        .unwrap()
        .success()
        .unwrap()
        .text("receiptHandle")
        .to_owned();

    // What it does not know of a queue, it would have to ask for.
    let mut askers = [0; 3].map(|_| cluster.node(through).client());
    for queue in ["sent", "received", "deleted"] {
        done(&mut askers[0], "GetQueueAttributes", &[("queueName", queue)]);
    }
    cluster.wires().unwrap().cut(dying, through);
    let calls = [
        ("SendMessage", vec![("queueName", "sent"), ("msgBody", "x")]),
        ("ReceiveMessage", vec![("queueName", "received")]),
        (
            "DeleteMessage",
            vec![("queueName", "deleted"), ("receiptHandle", handle.as_str())],
        ),
    ];
    let answers = std::thread::scope(|scope| {
        let mut askers = askers.iter_mut();
        let asking = calls.map(|(action, parameters)| {
            let asker = askers.next().unwrap();
            scope.spawn(move || asker.ask(action, &parameters).unwrap())
        });
        until("the leader has done all three", || {
            let mut count = |queue: &str, field: &str| {
                done(&mut client, "GetQueueAttributes", &[("queueName", queue)])[field].clone()
            };
            count("sent", "activeMsgNum") == 1
                && count("received", "inactiveMsgNum") == 1
                && count("deleted", "inactiveMsgNum") == 0
        });
        cluster.node_mut(dying).kill();
        asking.map(|asking| asking.join().unwrap())
    });
    cluster.wires().unwrap().mend();
    cluster.node_mut(dying).launch().unwrap();
    cluster.wait_ready().unwrap();
    answers
}

#[test]
fn what_a_dying_leader_did_is_answered_by_the_next_and_not_done_again() {
    let mut cluster = wired(1);
    for _ in 0..ROUNDS_MAX {
        for queue in ["sent", "received", "deleted"] {
            create_queue(&mut cluster.node(1).client(), queue);
        }
        let [sent, received, deleted] = race(&mut cluster);
        let mut client = cluster.node(1).client();
        // However it was answered, it was done once.
        let only = done(&mut client, "ReceiveMessage", &[("queueName", "sent")]);
        assert_eq!(only["msgBody"], "x");
        for (queue, field) in [
            ("sent", "activeMsgNum"),
            ("received", "activeMsgNum"),
            ("deleted", "activeMsgNum"),
            ("deleted", "inactiveMsgNum"),
        ] {
            let shown = done(&mut client, "GetQueueAttributes", &[("queueName", queue)]);
            assert_eq!(shown[field], 0, "{queue}: {field}");
        }
        let answers = [&sent, &received, &deleted];
        if answers.iter().all(|answer| answer.code() == 0) {
            assert_eq!(only["msgId"], sent.text("msgId"));
            assert_eq!(received.0["dequeueCount"], 1);
            return;
        }
        // A machine that is too busy to elect in time leaves the call in doubt, and says so.
        for answer in answers.iter().filter(|answer| answer.code() != 0) {
            assert!(
                answer.text("message").contains("may have been done"),
                "{}",
                answer.0
            );
        }
        for queue in ["sent", "received", "deleted"] {
            done(&mut client, "DeleteQueue", &[("queueName", queue)]);
        }
    }
    panic!("another leader was never there in time");
}
