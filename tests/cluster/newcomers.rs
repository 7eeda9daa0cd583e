//! Nodes that are new, that listen elsewhere than before, and that hold little: what they answer, and how the others
//! find them.

use crate::{cluster, done, refusal};

#[test]
fn a_node_that_has_not_seen_the_directory_says_that_it_is_starting() {
    let mut cluster = cluster(1);
    for number in 1..=3 {
        cluster.node_mut(number).kill();
    }
    // It knows which cluster it is of, and nothing else; and nobody is there to tell it.
    let kept = cluster.node(2).keep_disk().unwrap();
    std::fs::create_dir(cluster.node(2).data()).unwrap();
    for file in ["FORMAT", "IDENTITY"] {
        std::fs::copy(kept.join(file), cluster.node(2).data().join(file)).unwrap();
    }
    cluster.node_mut(2).launch().unwrap();
    cluster.wait_unready(2).unwrap();
    let answer = cluster.node(2).client().ask("ListQueue", &[]).unwrap();
    assert_eq!(answer.code(), 6000, "{}", answer.0);
    assert!(answer.text("message").contains("starting"), "{}", answer.0);
    let refused = refusal(cluster.node(2), &["queue", "list"]);
    assert!(refused.contains("starting"), "{refused}");

    cluster.node_mut(2).kill();
    cluster.node(2).put_disk(&kept).unwrap();
    for number in 1..=3 {
        cluster.node_mut(number).spawn().unwrap();
    }
    for number in 1..=3 {
        cluster.node_mut(number).wait_serving().unwrap();
    }
    cluster.wait_ready().unwrap();
    done(&mut cluster.node(2).client(), "ListQueue", &[]);
}
