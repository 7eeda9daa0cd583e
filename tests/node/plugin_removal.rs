//! Versions of plugins go when nothing needs them, and not before.

use posthouse_tests::Node;
use serde_json::Value;

use crate::node;
use crate::plugins::{publish, push, refused, topic_to_queue};
use crate::sealing::run;

#[test]
fn a_version_is_removed_once_nothing_is_bound_to_it() {
    let mut node = node();
    let mut client = node.client();
    topic_to_queue(&mut client, "t", &[], "q", "");
    push(&node, "router", "examples/plugins/zero-or-more-router");
    push(&node, "router", "tests/plugins/traps");
    let versions = versions(&node, "router");
    let [old, new] = [&*versions[0], &*versions[1]];
    let remove = |version| ["plugin", "remove", "router", version];
    run(
        &node,
        &[
            "plugin",
            "bind",
            "router",
            "--topic",
            "t",
            "--plugin-version",
            new,
        ],
    );
    let told = refused(&node, &[], &remove(new));
    assert!(told.contains("the version is bound"), "{told}");
    publish(&mut client, "t", "x").success().unwrap();
    run(&node, &remove(old));
    let told = refused(&node, &[], &remove(old));
    assert!(told.contains(&format!("has no version {old}")), "{told}");
    run(&node, &["plugin", "unbind", "--topic", "t", "--world", "route"]);
    run(&node, &remove(new));
    let told = refused(&node, &[], &remove(new));
    assert!(told.contains("no plugin router"), "{told}");
    node.kill();
    node.launch().unwrap();
    let told = refused(&node, &[], &["plugin", "show", "router"]);
    assert!(told.contains("no plugin router"), "{told}");
    publish(&mut node.client(), "t", "x").success().unwrap();
}

#[test]
fn a_removed_versions_component_goes_unless_another_version_is_the_same() {
    let node = node();
    let components = || std::fs::read_dir(node.data().join("components")).unwrap().count();
    let before = components();
    for plugin in ["one", "two"] {
        push(&node, plugin, "tests/plugins/traps");
    }
    assert_eq!(components(), before + 1);
    run(&node, &["plugin", "remove", "one", &versions(&node, "one")[0]]);
    assert_eq!(components(), before + 1, "the other plugin needs it");
    run(&node, &["plugin", "remove", "two", &versions(&node, "two")[0]]);
    assert_eq!(components(), before);
}

#[test]
fn a_plugin_that_seals_is_not_removed_because_it_alone_opens_what_it_sealed() {
    let node = node();
    push(&node, "seal", "tests/plugins/hostile-seal");
    let known = versions(&node, "seal");
    let told = refused(&node, &[], &["plugin", "remove", "seal", &known[0]]);
    assert!(told.contains("opened by nothing else"), "{told}");
    assert_eq!(versions(&node, "seal"), known);
}

/// Returns the versions of a plugin, oldest first.
fn versions(node: &Node, plugin: &str) -> Vec<String> {
    let shown: Value = serde_json::from_str(&run(node, &["plugin", "show", plugin, "--json"])).unwrap();
    let versions = shown["versions"].as_array().unwrap().iter();
    versions.map(|version| version["version"].to_string()).collect()
}
