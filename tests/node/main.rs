//! Tests of a whole node: the real program, started as a user starts it, spoken to over its sockets.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a step that fails ends its test"
)]

mod durability;
mod examples;
mod input;
mod listings;
mod messages;
mod operations;
mod plugins;
mod push;
mod sealing;

use posthouse_tests::{Node, Setting};

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
        environment: Vec::new(),
    };
    Node::start(program(), setting).expect("the node starts")
}
