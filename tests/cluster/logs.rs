//! What plugins write, seen from each node.

use std::path::Path;

use crate::{cluster, command, create_queue, done, leader};

#[test]
fn any_node_shows_what_a_plugin_wrote_on_the_one_where_it_ran() {
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
    let message = [("topicName", "t"), ("msgBody", "x"), ("msgTag.1", "trap")];
    client.ask("PublishMessage", &message).unwrap();
    let first = leader(cluster.node(1), 0);
    let lines = |asked: usize, cluster: &posthouse_tests::Cluster| {
        let logs = command(cluster.node(asked), &["plugin", "logs", "traps"]);
        let lines = logs["lines"].as_array().unwrap().iter();
        let lines: Vec<(String, String)> = lines
            .map(|line| (text(&line["node"]), text(&line["level"])))
            .collect();
        (lines, logs["silent"].clone())
    };
    let (expected, silent) = lines(first, &cluster);
    assert!(silent.is_null(), "{silent}");
    let levels: Vec<&str> = expected.iter().map(|(_, level)| level.as_str()).collect();
    assert_eq!(levels, ["error", "trap"], "{expected:?}");
    for asked in [1, 2, 3] {
        assert_eq!(lines(asked, &cluster).0, expected, "asking node {asked}");
    }
    cluster.node_mut(first).kill();
    let other = first % 3 + 1;
    let (left, silent) = lines(other, &cluster);
    assert_eq!(
        (left.len(), silent.as_array().map(Vec::len)),
        (0, Some(1)),
        "{silent}"
    );
}

fn text(value: &serde_json::Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
