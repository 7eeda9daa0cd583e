//! Components of plugins, on the disks of all nodes.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use posthouse_tests::{Cluster, Node};

use crate::{LOOK_AGAIN, cluster, command};

/// How long what is removed may stay: a node keeps what it finds at its start for a minute.
const GONE_WITHIN: Duration = Duration::from_secs(180);

/// Returns the components that a node keeps.
fn components(node: &Node) -> BTreeSet<String> {
    let files = std::fs::read_dir(node.data().join("components")).unwrap();
    files
        .map(|file| file.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".wasm"))
        .collect()
}

fn wait_for_components(cluster: &Cluster, expected: &BTreeSet<String>) {
    let began = Instant::now();
    loop {
        let found: Vec<_> = cluster.nodes().iter().map(components).collect();
        if found.iter().all(|found| found == expected) {
            return;
        }
        assert!(began.elapsed() < GONE_WITHIN, "{found:?} and not {expected:?}");
        std::thread::sleep(LOOK_AGAIN);
    }
}

#[test]
fn a_removed_component_goes_from_every_node_also_from_one_that_was_down() {
    let mut cluster = cluster(1);
    let builtins = components(cluster.node(1));
    wait_for_components(&cluster, &builtins);
    let file =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/plugins/json-filter/component.wasm");
    let push = |cluster: &Cluster, plugin: &str| {
        let pushed = command(
            cluster.node(1),
            &["plugin", "push", plugin, &file.display().to_string()],
        );
        pushed["version"].to_string()
    };
    let remove = |cluster: &Cluster, plugin: &str, version: &str| {
        command(cluster.node(1), &["plugin", "remove", plugin, version]);
    };
    let version = push(&cluster, "one");
    let again = push(&cluster, "other");
    let with_it = components(cluster.node(1));
    assert_eq!(with_it.len(), builtins.len() + 1, "the same under two names");
    wait_for_components(&cluster, &with_it);
    remove(&cluster, "one", &version);
    let listed = command(cluster.node(2), &["plugin", "list"]);
    let names: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|plugin| &plugin["name"])
        .collect();
    assert!(!names.iter().any(|name| *name == "one"), "{listed}");
    assert_eq!(
        components(cluster.node(2)),
        with_it,
        "another version is the same"
    );
    remove(&cluster, "other", &again);
    wait_for_components(&cluster, &builtins);

    let version = push(&cluster, "one");
    wait_for_components(&cluster, &with_it);
    cluster.node_mut(3).kill();
    remove(&cluster, "one", &version);
    let orphan = cluster
        .node(3)
        .data()
        .join("components")
        .join(format!("{}.wasm", "ab".repeat(32)));
    std::fs::write(orphan, b"recorded nowhere").unwrap();
    cluster.node_mut(3).launch().unwrap();
    wait_for_components(&cluster, &builtins);
}
