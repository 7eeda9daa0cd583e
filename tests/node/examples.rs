//! The examples with CMQ's own Python SDK, unmodified, each against a node of its own.
//!
//! `POSTHOUSE_PYTHON` names a Python that has `examples/requirements.txt`; without it, it is `python3`.

use std::path::Path;
use std::process::Command;

use crate::node;

macro_rules! examples {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                run(concat!(stringify!($name), ".py"));
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

fn run(script: &str) {
    let node = node();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    // The SDK writes its log where it is started.
    let folder = tempfile::tempdir().unwrap();
    let python = std::env::var("POSTHOUSE_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let output = Command::new(python)
        .arg(examples.canonicalize().unwrap().join(script))
        .env("POSTHOUSE_URL", node.url())
        .current_dir(folder.path())
        .output()
        .expect("Python starts; see README.md for what the tests need");
    assert!(
        output.status.success(),
        "{script} failed\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
