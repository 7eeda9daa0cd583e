//! The examples with CMQ's own Python SDK, unmodified, each against a node of its own.

use posthouse_tests::{run_example, run_example_with};

use crate::node;

macro_rules! examples {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                run_example(concat!(stringify!($name), ".py"), &node().url()).unwrap();
            }
        )*
    };
}

examples! {
    broadcast_pull
    long_poll
    delayed
    rewind
    topic_routing
    large_messages
    encryption
    http_push
}

#[test]
fn publish_and_consume_over_streams() {
    let node = node();
    let streams = node.streams_url();
    let environment = [
        ("POSTHOUSE_URL", node.url()),
        ("POSTHOUSE_STREAMS", streams.replace("http://", "")),
    ];
    let environment = environment
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    run_example_with("streaming/publish_and_consume.py", &environment).unwrap();
}
