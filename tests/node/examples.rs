//! The examples with CMQ's own Python SDK, unmodified, each against a node of its own.

use posthouse_tests::run_example;

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
