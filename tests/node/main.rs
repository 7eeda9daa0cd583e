//! Tests of a whole node: the real program, started as a user starts it, spoken to over its sockets.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a step that fails ends its test"
)]

mod actions;
mod cases;
mod compatibility;
mod durability;
mod examples;
mod input;
mod keeping;
mod limits;
mod listings;
mod messages;
mod metrics;
mod operations;
mod pack;
mod parked;
mod plugin_removal;
mod plugins;
mod push;
mod recording;
mod refusals;
mod sealing;
mod signing;
mod steps;
mod streaming;
mod streaming_input;
mod streaming_life;
mod templates;
mod trials;

use std::time::{Duration, Instant};

use posthouse_tests::{Connection, Node, Setting};

/// How long a condition is waited for before a test gives up: longer than a busy machine needs for anything.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long between two looks at it, so that looking leaves the processors to the node.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

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

/// Waits until there is something, for a bounded time.
fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if let Some(found) = look() {
            return found;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    panic!("the condition did not come to hold");
}
