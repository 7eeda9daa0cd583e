//! Messages that a plugin fails on, while the nodes die that lead the sets where they are and where they are parked.

use std::path::Path;
use std::sync::atomic::Ordering;

use posthouse_tests::{Client, Cluster};

use crate::{
    Sent, cluster, command, create_queue, done, drain, kill_leader, leader, send_while_the_leader_dies,
    tried_at, until,
};

const SETS: u8 = 2;
/// What the other version passes.
const RULE: &str = r#"{"when":{"field":"/price","above":100},"not-json":"pass"}"#;
const BIND: [&str; 6] = ["plugin", "bind", "guard", "--queue", "q", "--plugin-version"];

/// Makes a queue whose filter traps, and another version of that which does not; returns the versions' numbers.
fn guard(cluster: &Cluster) -> [String; 2] {
    create_queue(&mut cluster.node(1).client(), "q");
    let versions = ["tests/plugins/hostile-filter", "examples/plugins/json-filter"].map(|plugin| {
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../..")
            .join(plugin)
            .join("component.wasm");
        let push = ["plugin", "push", "guard", &file.display().to_string()];
        command(cluster.node(1), &push)["version"].to_string()
    });
    let how = ["--config", "trap", "--on-failure", "park"];
    command(cluster.node(1), &[&BIND[..], &[&versions[0]], &how].concat());
    versions
}

fn wait_until_parked(client: &mut Client, count: usize) {
    until("all are parked", || {
        let parked = done(client, "GetQueueAttributes", &[("queueName", "parked")]);
        parked["activeMsgNum"] == count
    });
}

/// Takes all messages that were parked and are now in the queue; each must be there, once.
fn check_all_are_there(cluster: &Cluster, node: usize, count: usize) {
    let mut numbers: Vec<usize> = drain(cluster, node)
        .iter()
        .map(|body| body.strip_prefix("guilty ").unwrap().parse().unwrap())
        .collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..count), "each is there, once");
}

#[test]
fn what_a_filter_fails_on_is_parked_once_and_sent_again_once_whoever_dies_meanwhile() {
    let mut cluster = cluster(SETS);
    let versions = guard(&cluster);
    let sent = Sent::default();
    // While it is taken out of use by itself, which has what was decided meanwhile decided again.
    for set in 0..u64::from(SETS) {
        send_while_the_leader_dies(&mut cluster, set, &sent, |number| format!("guilty {number}"));
    }
    let sent = sent.done.load(Ordering::Relaxed);
    wait_until_parked(&mut cluster.node(1).client(), sent);
    assert_eq!(drain(&cluster, 1), [""; 0], "none of them is in the queue");

    command(
        cluster.node(1),
        &[&BIND[..], &[&versions[1], "--config", RULE]].concat(),
    );
    let redrive = ["plugin", "redrive", "guard", "--plugin-version", &versions[1]];
    let half = (sent / 2).to_string();
    let told = command(cluster.node(1), &[&redrive[..], &["--max", &half]].concat());
    assert_eq!(told["sent"].to_string(), half, "{told}");
    let victim = kill_leader(&mut cluster, 0);
    let survivor = if victim == 1 { 2 } else { 1 };
    // Whether others lead by now or not: it waits for them.
    let told = command(cluster.node(survivor), &redrive);
    assert_eq!(
        (&told["sent"], &told["parked"]),
        (&(sent - sent / 2).into(), &0.into()),
        "{told}"
    );
    check_all_are_there(&cluster, survivor, sent);
}

#[test]
fn a_redrive_goes_on_with_what_was_leased_when_the_leader_dies_amid_it() {
    const PARKED: usize = 250;
    let mut cluster = cluster(SETS);
    let versions = guard(&cluster);
    let mut client = cluster.node(1).client();
    for first in (0..PARKED).step_by(10) {
        let names: Vec<String> = (0..10).map(|place| format!("msgBody.{place}")).collect();
        let bodies: Vec<String> = (first..first + 10)
            .map(|number| format!("guilty {number}"))
            .collect();
        let mut parameters = vec![("queueName", "q")];
        parameters.extend(
            names
                .iter()
                .map(String::as_str)
                .zip(bodies.iter().map(String::as_str)),
        );
        done(&mut client, "BatchSendMessage", &parameters);
    }
    wait_until_parked(&mut client, PARKED);
    command(
        cluster.node(1),
        &[&BIND[..], &[&versions[1], "--config", RULE]].concat(),
    );

    let set = command(cluster.node(1), &["queue", "show", "parked"])["set"].as_u64();
    let victim = leader(cluster.node(1), set.unwrap());
    let survivor = if victim == 1 { 2 } else { 1 };
    let url = cluster.node(survivor).url();
    let redriving = std::thread::spawn(move || {
        let redrive = ["plugin", "redrive", "guard", "--plugin-version", &versions[1]];
        tried_at(&url, &[&redrive[..], &["--rate", "1000"]].concat())
    });
    let mut client = cluster.node(survivor).client();
    until("some of the first page are sent", || {
        let queue = done(&mut client, "GetQueueAttributes", &[("queueName", "q")]);
        queue["activeMsgNum"].as_u64() > Some(10)
    });
    cluster.node_mut(victim).kill();
    let told = redriving.join().unwrap();
    // One that died between the end of a page and its answer is told of as a failure, and what it sent is not counted.
    if let Ok(told) = told {
        let expected = [("sent", PARKED), ("parked", 0), ("leased", 0)];
        for (what, count) in expected {
            assert_eq!(told[what], count, "{what}: {told}");
        }
    }
    let parked = done(&mut client, "GetQueueAttributes", &[("queueName", "parked")]);
    assert_eq!(
        (&parked["activeMsgNum"], &parked["inactiveMsgNum"]),
        (&0.into(), &0.into())
    );
    check_all_are_there(&cluster, survivor, PARKED);
}
