//! Calls of a plugin that fail, recorded on the node that makes them and read from any.

use std::path::Path;

use crate::{cluster, command, create_queue, done, leader};

#[test]
fn any_node_tells_the_calls_that_failed_on_the_one_where_they_were_made() {
    let mut cluster = cluster(1);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/plugins/traps/component.wasm");
    let mut client = cluster.node(1).client();
    done(&mut client, "CreateTopic", &[("topicName", "t")]);
    create_queue(&mut client, "q");
    let subscription = [
        ("topicName", "t"),
        ("subscriptionName", "q"),
        ("protocol", "queue"),
        ("endpoint", "q"),
    ];
    done(&mut client, "Subscribe", &subscription);
    command(
        cluster.node(1),
        &["plugin", "push", "traps", &file.display().to_string()],
    );
    command(cluster.node(1), &["plugin", "bind", "traps", "--topic", "t"]);
    let record = ["plugin", "record", "--topic", "t", "--world", "route"];
    let begun = command(cluster.node(2), &record);
    assert_eq!(begun["recording"].as_array().map(Vec::len), Some(3), "{begun}");
    let message = [("topicName", "t"), ("msgBody", "x"), ("msgTag.1", "trap")];
    assert_ne!(client.ask("PublishMessage", &message).unwrap().code(), 0);
    let first = leader(cluster.node(1), 0);
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().display().to_string();
    let fetch = [&record[..], &["--into", &into]].concat();
    for asked in [1, 2, 3] {
        let told = command(cluster.node(asked), &fetch);
        let calls = told["calls"].as_array().unwrap();
        assert_eq!(calls.len(), 1, "asking node {asked}: {told}");
        assert_eq!(calls[0]["node"], first.to_string(), "{told}");
        assert!(told["silent"].is_null(), "{told}");
    }
    // The same call is the same file, whoever tells it.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    cluster.node_mut(first).kill();
    let told = command(cluster.node(first % 3 + 1), &fetch);
    assert_eq!(told["calls"].as_array().map(Vec::len), Some(0), "{told}");
    assert_eq!(told["silent"].as_array().map(Vec::len), Some(1), "{told}");
    assert_eq!(told["recording"].as_array().map(Vec::len), Some(2), "{told}");
}
