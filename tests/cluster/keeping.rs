//! What plugins keep between decisions, while the node dies that leads the set.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::{cluster, command, create_queue, drain, send, wait_for};

#[test]
fn a_counter_counts_exactly_while_its_leader_is_killed() {
    let mut cluster = cluster(1);
    create_queue(&mut cluster.node(1).client(), "q");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/plugins/keeps/component.wasm");
    let file = file.display().to_string();
    command(cluster.node(1), &["plugin", "push", "numbers", &file]);
    command(cluster.node(1), &["plugin", "bind", "numbers", "--queue", "q"]);
    let sent = Arc::new(AtomicUsize::new(0));
    for _ in 0..2 {
        let victim = crate::leader(cluster.node(1), 0);
        let stop = Arc::new(AtomicBool::new(false));
        let senders: Vec<_> = (1..=3)
            .filter(|node| *node != victim)
            .flat_map(|node| [node, node])
            .map(|node| {
                let mut client = cluster.node(node).client();
                let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
                std::thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        // With a token, and asked again until it is known to be done: so it is done once.
                        send(&mut client, "q", "x");
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
    let numbers: Vec<usize> = drain(&cluster, 2)
        .iter()
        .map(|body| body.parse().unwrap())
        .collect();
    assert_eq!(numbers.len(), sent, "each was stored once");
    let distinct: BTreeSet<usize> = numbers.into_iter().collect();
    assert!(
        distinct.into_iter().eq(1..=sent),
        "each has a number of its own, and none is left out"
    );
}
