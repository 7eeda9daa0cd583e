//! What plugins keep between decisions, while the node dies that leads the set.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::Ordering;

use crate::{Sent, cluster, command, create_queue, drain, send_while_the_leader_dies};

#[test]
fn a_counter_counts_exactly_while_its_leader_is_killed() {
    let mut cluster = cluster(1);
    create_queue(&mut cluster.node(1).client(), "q");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/plugins/keeps/component.wasm");
    let file = file.display().to_string();
    command(cluster.node(1), &["plugin", "push", "numbers", &file]);
    command(cluster.node(1), &["plugin", "bind", "numbers", "--queue", "q"]);
    let sent = Sent::default();
    for _ in 0..2 {
        send_while_the_leader_dies(&mut cluster, 0, &sent, |_| "x".to_owned());
    }
    let sent = sent.done.load(Ordering::Relaxed);
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
