//! Messages that a plugin fails on, while the nodes die that lead the sets where they are and where they are parked.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::{cluster, command, create_queue, done, drain, kill_leader, leader, send, until, wait_for};

const SETS: u8 = 2;
/// What the other version passes.
const RULE: &str = r#"{"when":{"field":"/price","above":100},"not-json":"pass"}"#;

#[test]
fn what_a_filter_fails_on_is_parked_once_and_sent_again_once_whoever_dies_meanwhile() {
    let mut cluster = cluster(SETS);
    create_queue(&mut cluster.node(1).client(), "q");
    let mut versions = Vec::new();
    for plugin in ["tests/plugins/hostile-filter", "examples/plugins/json-filter"] {
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../..")
            .join(plugin)
            .join("component.wasm");
        let push = ["plugin", "push", "guard", &file.display().to_string()];
        versions.push(command(cluster.node(1), &push)["version"].to_string());
    }
    let bind = [
        "plugin",
        "bind",
        "guard",
        "--queue",
        "q",
        "--plugin-version",
        &versions[0],
    ];
    let how = ["--config", "trap", "--on-failure", "park"];
    command(cluster.node(1), &[&bind[..], &how].concat());
    let (named, sent) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    // While it is taken out of use by itself, which has what was decided meanwhile decided again.
    for set in 0..u64::from(SETS) {
        let victim = leader(cluster.node(1), set);
        let stop = Arc::new(AtomicBool::new(false));
        let senders: Vec<_> = (1..=3)
            .filter(|node| *node != victim)
            .flat_map(|node| [node, node])
            .map(|node| {
                let mut client = cluster.node(node).client();
                let stop = Arc::clone(&stop);
                let (named, sent) = (Arc::clone(&named), Arc::clone(&sent));
                std::thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        // With a token, and asked again until it is known to be done.
                        let number = named.fetch_add(1, Ordering::Relaxed);
                        send(&mut client, "q", &format!("guilty {number}"));
                        sent.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        wait_for(&sent, 30);
        cluster.node_mut(victim).kill();
        wait_for(&sent, 30);
        stop.store(true, Ordering::Relaxed);
        for sender in senders {
            sender.join().unwrap();
        }
        cluster.node_mut(victim).launch().unwrap();
        cluster.wait_ready().unwrap();
    }
    let sent = sent.load(Ordering::Relaxed);
    let mut client = cluster.node(1).client();
    until("all are parked", || {
        let parked = done(&mut client, "GetQueueAttributes", &[("queueName", "parked")]);
        parked["activeMsgNum"] == sent
    });
    assert_eq!(drain(&cluster, 1), [""; 0], "none of them is in the queue");

    command(cluster.node(1), &[&bind[..], &["--config", RULE]].concat());
    let redrive = ["plugin", "redrive", "guard", "--plugin-version", &versions[1]];
    let half = (sent / 2).to_string();
    let told = command(cluster.node(1), &[&redrive[..], &["--max", &half]].concat());
    assert_eq!(told["sent"].to_string(), half, "{told}");
    let victim = kill_leader(&mut cluster, 0);
    let survivor = if victim == 1 { 2 } else { 1 };
    until("others lead", || {
        (0..u64::from(SETS)).all(|set| leader(cluster.node(survivor), set) != victim)
    });
    // Those that were leased when a leader died would be hidden until their leases end.
    let told = command(cluster.node(survivor), &redrive);
    assert_eq!(
        (&told["sent"], &told["parked"]),
        (&(sent - sent / 2).into(), &0.into()),
        "{told}"
    );
    let mut numbers: Vec<usize> = drain(&cluster, survivor)
        .iter()
        .map(|body| body.strip_prefix("guilty ").unwrap().parse().unwrap())
        .collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..sent), "each is there, once");
}
