//! Tests of a whole node: the real program, started as a user starts it, spoken to over its sockets.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a step that fails ends its test"
)]

mod actions;
mod compatibility;
mod durability;
mod examples;
mod input;
mod listings;
mod messages;
mod metrics;
mod operations;
mod plugin_removal;
mod plugins;
mod push;
mod sealing;
mod steps;

use posthouse_tests::{Connection, Node, Setting};

/// How often a condition is looked at before a test gives up.
const LOOKS_MAX: usize = 10_000;

/// Returns the program under test.
fn program() -> &'static std::path::Path {
    std::path::Path::new(env!("CARGO_BIN_EXE_posthouse"))
}

/// Starts a node as `posthouse serve --dev` does.
fn node() -> Node {
    node_with("")
}

/// Starts a node with a configuration file.
fn node_with(configuration: &str) -> Node {
    let setting = Setting {
        configuration: configuration.to_owned(),
        ..Setting::default()
    };
    Node::start(program(), setting).expect("the node starts")
}

/// Gets a page of the node's own, such as its metrics.
fn get(node: &Node, path: &str) -> (u16, String) {
    let mut connection = Connection::open(node.address()).unwrap();
    connection.request("GET", path, "node", "", b"").unwrap();
    let answer = connection.answer().unwrap();
    (answer.status, String::from_utf8_lossy(&answer.body).into_owned())
}

/// Waits until there is something, a bounded number of looks.
fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..LOOKS_MAX {
        if let Some(found) = look() {
            return found;
        }
        std::thread::yield_now();
    }
    panic!("the condition did not come to hold");
}
