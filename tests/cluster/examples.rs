//! The examples, unchanged, each against another node of one cluster.

use posthouse_tests::run_example;

use crate::cluster;

/// It looks at milliseconds, which a machine that is busy with other tests does not always keep.
const TIMED: &str = "long_poll.py";
const TIMED_TRIES: usize = 10;
const SCRIPTS: [&str; 7] = [
    "broadcast_pull.py",
    "delayed.py",
    "rewind.py",
    "topic_routing.py",
    "large_messages.py",
    "encryption.py",
    "http_push.py",
];

#[test]
fn the_examples_run_against_any_node_of_a_cluster() {
    // More sets than nodes: whichever node is asked, others lead some of what it is asked for.
    let cluster = cluster(6);
    let timed = (0..TIMED_TRIES).map(|turn| run_example(TIMED, &cluster.node(turn % 3 + 1).url()));
    let failures: Vec<_> = timed.map_while(Result::err).collect();
    assert!(failures.len() < TIMED_TRIES, "{:?}", failures.last());
    let running: Vec<_> = (0..3)
        .map(|turn| {
            let url = cluster.node(turn + 1).url();
            let scripts = SCRIPTS.into_iter().skip(turn).step_by(3);
            std::thread::spawn(move || {
                scripts
                    .map(|script| run_example(script, &url))
                    .collect::<Vec<_>>()
            })
        })
        .collect();
    for ended in running.into_iter().flat_map(|running| running.join().unwrap()) {
        ended.unwrap();
    }
}
