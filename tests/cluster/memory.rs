//! How much memory a cluster takes while a follower catches up over large entries.
//!
//! `cargo nextest run -p posthouse-node --test cluster --run-ignored only -E 'test(memory)'` does so over 2 GiB.

use std::time::Duration;

use posthouse_tests::Node;

use crate::{cluster_of, done, lags, leader, send, status, until};

/// What a node may have resident, at any moment.
const RESIDENT_MAX: u64 = 600_000_000;
/// The largest body there is.
const BODY_BYTES: usize = 1_048_576;
/// Each follower takes less than it lacks into its memory: cuts come early enough to be among what is sent.
const CONFIGURATION: &str = "";
/// How long a follower has to catch up, over two gibibytes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(1_800);

/// Returns the most that a node has had resident.
fn resident_peak(node: &Node) -> u64 {
    let pid = node.pid().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kilobytes * 1024
}

fn catch_up_over(mebibytes: usize) {
    let mut cluster = cluster_of(1, CONFIGURATION);
    let mut client = cluster.node(1).client();
    let parameters = [("queueName", "q"), ("maxMsgSize", "1048576")];
    done(&mut client, "CreateQueue", &parameters);
    let led = leader(cluster.node(1), 0);
    let late = led % 3 + 1;
    cluster.node_mut(late).terminate().unwrap();
    let mut client = cluster.node(led).client();
    let body = "b".repeat(BODY_BYTES);
    for _ in 0..mebibytes {
        send(&mut client, "q", &body);
    }
    cluster.node_mut(late).launch().unwrap();
    let began = std::time::Instant::now();
    loop {
        let lags = lags(&cluster, led);
        if lags.len() == 3 && lags.iter().all(|lag| *lag == 0) {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{lags:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
    let peaks: Vec<u64> = (1..=3).map(|node| resident_peak(cluster.node(node))).collect();
    println!(
        "caught up over {mebibytes} MiB in {:?}; resident peaks {peaks:?}",
        began.elapsed()
    );
    assert!(peaks.iter().all(|peak| *peak < RESIDENT_MAX), "{peaks:?}");
    until("all is well", || status(cluster.node(led))["healthy"] == true);
}

#[test]
fn memory_is_bounded_while_a_follower_catches_up() {
    catch_up_over(160);
}

#[test]
#[ignore = "writes 6 GiB; run by the command above"]
fn memory_is_bounded_while_a_follower_catches_up_over_two_gibibytes() {
    catch_up_over(2_048);
}
