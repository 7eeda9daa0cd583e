//! Bytes that change on a node's disk: found, named, and put right from the other nodes.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use posthouse_tests::{Cluster, Node};

use crate::{cluster_of, command, create_queue, send, status, take, until};

/// How long a node has to find damage, and to mend it.
const PATIENCE: Duration = Duration::from_secs(90);
/// Segments are written early, and read again fast.
const CONFIGURATION: &str =
    "[storage]\nwal_file_bytes = 16_777_216\ncut_bytes = 1_048_576\nscrub_bytes_a_second = 1_073_741_824\n";
/// Bodies that make several cuts.
const MESSAGES: usize = 60;
const BODY_BYTES: usize = 64_000;

fn body(number: usize) -> String {
    format!("{number}-").repeat(BODY_BYTES / 4)
}

/// Returns the segments of the first set on a node, oldest first.
fn segments(node: &Node) -> Vec<PathBuf> {
    let names = std::fs::read_dir(node.data().join("groups")).unwrap();
    let mut paths: Vec<PathBuf> = names.map(|name| name.unwrap().path()).collect();
    paths.retain(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("001-") && name.ends_with(".segment")
    });
    paths.sort();
    paths
}

/// Flips a bit in the middle of a file, in its place.
fn flip(path: &Path) {
    let bytes = std::fs::read(path).unwrap();
    let at = bytes.len() / 2;
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_at(&[bytes[at] ^ 1], at as u64).unwrap();
}

fn wait_healthy(cluster: &Cluster) {
    let began = Instant::now();
    loop {
        let status = status(cluster.node(1));
        if status["healthy"] == true {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "not healthy: {status}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn metric(node: &Node, name: &str) -> String {
    let mut connection = posthouse_tests::Connection::open(node.address()).unwrap();
    let host = node.address().to_string();
    connection.request("GET", "/metrics", &host, "", b"").unwrap();
    let text = String::from_utf8(connection.answer().unwrap().body.to_vec()).unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.rsplit(' ').next().unwrap().to_owned()
}

fn fill(cluster: &Cluster) {
    create_queue(&mut cluster.node(1).client(), "q");
    let mut client = cluster.node(1).client();
    for number in 0..MESSAGES {
        send(&mut client, "q", &body(number));
    }
    for node in 1..=3 {
        until("segments are written", || {
            !segments(cluster.node(node)).is_empty()
        });
    }
}

#[test]
fn a_flipped_byte_is_found_by_a_scrub_and_mended_from_another_node() {
    let cluster = cluster_of(1, CONFIGURATION);
    fill(&cluster);
    let mut expected = Vec::new();
    for node in 1..=3 {
        let path = segments(cluster.node(node)).remove(0);
        let whole = std::fs::read(&path).unwrap();
        flip(&path);
        expected.push((path, whole));
        let begun = command(cluster.node(2), &["cluster", "scrub"]);
        assert!(
            begun["nodes"]
                .as_array()
                .unwrap()
                .iter()
                .all(|node| node["begun"] == true),
            "{begun}"
        );
        let (path, whole) = &expected[node - 1];
        // A cut may have made it needless meanwhile; then nothing is left to be mended.
        until("the segment is what it was", || {
            std::fs::read(path).is_ok_and(|bytes| bytes == *whole) || !path.exists()
        });
        wait_healthy(&cluster);
        assert_eq!(metric(cluster.node(node), "posthouse_store_damaged"), "0");
        assert_ne!(metric(cluster.node(node), "posthouse_scrubbed_bytes_total"), "0");
    }
    let mut client = cluster.node(3).client();
    for number in 0..MESSAGES {
        assert_eq!(take(&mut client, "q"), Some(body(number)), "{number}");
    }
}

#[test]
fn a_node_starts_with_damaged_files_and_is_mended() {
    let mut cluster = cluster_of(1, CONFIGURATION);
    fill(&cluster);
    until("every node has every message", || {
        let status = status(cluster.node(1));
        let groups = status["groups"].as_array().unwrap();
        let mut replicas = groups
            .iter()
            .flat_map(|group| group["replicas"].as_array().unwrap());
        replicas.all(|replica| replica["lag"] == 0)
    });
    cluster.node_mut(2).terminate().unwrap();
    let path = segments(cluster.node(2)).remove(0);
    let whole = std::fs::read(&path).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(whole.len() as u64 - 1).unwrap();
    damage_newest(&cluster.node(2).data().join("wal"));
    cluster.node_mut(2).launch().unwrap();
    until("the segment is what it was", || {
        std::fs::read(&path).is_ok_and(|bytes| bytes == whole) || !path.exists()
    });
    wait_healthy(&cluster);
    cluster.node_mut(2).terminate().unwrap();
    let log = cluster.node_mut(2).take_log().join("\n");
    for name in [path.file_name().unwrap().to_str().unwrap(), ".log"] {
        let is_told = log
            .lines()
            .any(|line| line.contains("damaged") && line.contains(name));
        assert!(is_told, "{name} in {log}");
    }
    cluster.node_mut(2).launch().unwrap();
    cluster.wait_ready().unwrap();
    // It votes and acknowledges as before: with another gone, all is there.
    cluster.node_mut(1).kill();
    cluster.wait_ready().unwrap();
    let mut client = cluster.node(2).client();
    for number in 0..MESSAGES {
        assert_eq!(take(&mut client, "q"), Some(body(number)), "{number}");
    }
}

#[test]
fn a_node_whose_checkpoint_was_damaged_while_it_was_down_is_mended() {
    let mut cluster = cluster_of(1, CONFIGURATION);
    fill(&cluster);
    cluster.node_mut(2).terminate().unwrap();
    let groups = cluster.node(2).data().join("groups");
    let names = std::fs::read_dir(&groups).unwrap();
    let mut checkpoints: Vec<PathBuf> = names.map(|name| name.unwrap().path()).collect();
    checkpoints.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "checkpoint")
    });
    assert!(!checkpoints.is_empty());
    for path in &checkpoints {
        flip(path);
    }
    cluster.node_mut(2).launch().unwrap();
    until("the damaged ones are gone", || {
        checkpoints.iter().all(|path| !path.exists())
    });
    wait_healthy(&cluster);
    // It votes and acknowledges as before: with another gone, all is there.
    cluster.node_mut(1).kill();
    cluster.wait_ready().unwrap();
    let mut client = cluster.node(2).client();
    for number in 0..MESSAGES {
        assert_eq!(take(&mut client, "q"), Some(body(number)), "{number}");
    }
}

/// Changes a byte of the newest message in a log, behind which the stop wrote that all of it was durable.
fn damage_newest(wal: &Path) {
    let mut logs: Vec<PathBuf> = std::fs::read_dir(wal)
        .unwrap()
        .map(|name| name.unwrap().path())
        .collect();
    logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.sort();
    let wanted = body(MESSAGES - 1);
    for path in logs.iter().rev() {
        let bytes = std::fs::read(path).unwrap();
        let at = bytes
            .windows(wanted.len())
            .rposition(|window| window == wanted.as_bytes());
        if let Some(at) = at {
            let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
            file.write_at(b"?", at as u64).unwrap();
            return;
        }
    }
    panic!("the newest message is in no log file");
}
