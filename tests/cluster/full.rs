//! A disk that is full: its node leads nothing, holds up nobody, and comes back by itself.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{cluster_of, done, lags, leader, send, status, take, until};

/// The size of the small disk: room for the log's files and what the plugins were compiled to.
const DISK_MIB: u64 = 160;
/// Small files of the log, and the least reserve there is.
const CONFIGURATION: &str = "[storage]\nwal_file_bytes = 16_777_216\nreserve_bytes = 16_777_216\n";
/// More than the log's files that a node has ready take in.
const MESSAGES: usize = 60;
const BODY_BYTES: usize = 900_000;

/// Says to a test that it is run in name spaces of its own.
const APART_VARIABLE: &str = "POSTHOUSE_TEST_APART";

/// A small file system over a node's data directory, gone when dropped.
struct SmallDisk {
    data: PathBuf,
}

// === impl SmallDisk ===

impl SmallDisk {
    /// Moves a node that is stopped to a disk of its own.
    fn under(data: &Path) -> SmallDisk {
        let aside = data.with_extension("aside");
        run("cp", &["-a", path(data), path(&aside)]);
        let disk = SmallDisk::mount(data).expect("it was tried before");
        run("cp", &["-a", &format!("{}/.", path(&aside)), path(data)]);
        disk
    }

    /// Puts a small disk in place of a folder; none where that is not permitted.
    fn mount(data: &Path) -> Option<SmallDisk> {
        let size = format!("size={DISK_MIB}m");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs", path(data)])
            .stderr(Stdio::null())
            .status();
        mounted.is_ok_and(|status| status.success()).then(|| SmallDisk {
            data: data.to_owned(),
        })
    }

    fn filler(&self) -> PathBuf {
        self.data.join("filler")
    }

    /// Fills the disk but for so many bytes.
    fn fill_but(&self, left: u64) {
        let free = rustix_free(&self.data);
        let bytes = free.saturating_sub(left);
        let file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.filler())
            .unwrap();
        let mut file = std::io::BufWriter::new(file);
        let zeros = vec![0; 1 << 16];
        let mut written = 0;
        while written < bytes {
            let piece = zeros.len().min((bytes - written) as usize);
            if std::io::Write::write_all(&mut file, &zeros[..piece]).is_err() {
                break;
            }
            written += piece as u64;
        }
        // What found no room any more is not needed.
        let _ = file.into_parts();
    }

    fn free(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l", path(&self.data)]).status();
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn run(program: &str, arguments: &[&str]) {
    assert!(
        Command::new(program).args(arguments).status().unwrap().success(),
        "{program}"
    );
}

fn rustix_free(directory: &Path) -> u64 {
    let output = Command::new("stat")
        .args(["-f", "-c", "%a %S", path(directory)])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let numbers: Vec<u64> = text
        .split_whitespace()
        .map(|number| number.parse().unwrap())
        .collect();
    numbers[0] * numbers[1]
}

/// Runs a test again where whoever runs it may mount: in name spaces of its own. Returns whether there are any.
fn run_apart(test: &str) -> bool {
    let apart = |program: &Path, arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command
            .args(["--user", "--map-root-user", "--mount"])
            .arg(program);
        command.args(arguments).env(APART_VARIABLE, "1");
        command.status().is_ok_and(|status| status.success())
    };
    if std::env::var_os(APART_VARIABLE).is_some() || !apart(Path::new("true"), &[]) {
        return false;
    }
    let own = std::env::current_exe().unwrap();
    assert!(apart(&own, &["--exact", test, "--nocapture"]), "it failed apart");
    true
}

#[test]
fn a_full_disk_on_one_node_holds_up_nobody_and_comes_back_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    if SmallDisk::mount(folder.path()).is_none() {
        if !run_apart("full::a_full_disk_on_one_node_holds_up_nobody_and_comes_back_by_itself") {
            println!("no file system may be mounted here, not even in a name space of its own: skipped");
        }
        return;
    }
    let mut cluster = cluster_of(1, CONFIGURATION);
    let parameters = [
        ("queueName", "q"),
        ("visibilityTimeout", "43200"),
        ("maxMsgSize", "1048576"),
    ];
    done(&mut cluster.node(1).client(), "CreateQueue", &parameters);
    let full = leader(cluster.node(1), 0);
    cluster.node_mut(full).terminate().unwrap();
    let disk = SmallDisk::under(&cluster.node(full).data());
    cluster.node_mut(full).launch().unwrap();
    cluster.wait_ready().unwrap();
    let other = full % 3 + 1;

    // Nearly full: it leads nothing, and sends go on, by whichever node.
    disk.fill_but(8 << 20);
    let mut bodies = Vec::new();
    until("another leads", || {
        let body = format!("early {}", bodies.len());
        send(&mut cluster.node(full).client(), "q", &body);
        bodies.push(body);
        let status = status(cluster.node(other));
        let nodes = status["nodes"].as_array().unwrap();
        let it = nodes.iter().find(|node| node["replica"] == full).unwrap();
        it["disk"]["nearly_full"] == true && it["leads"] == 0
    });

    // Full: it takes nothing more, and the others go on without it.
    disk.fill_but(0);
    let mut client = cluster.node(other).client();
    for number in 0..MESSAGES {
        let body = format!("{number}-").repeat(BODY_BYTES / 2);
        let body = body[..BODY_BYTES].to_owned();
        send(&mut client, "q", &body);
        bodies.push(body);
    }
    let behind = lags(&cluster, other);
    assert!(
        behind.iter().any(|lag| *lag > 0),
        "the full one keeps up: {behind:?}"
    );

    // Room again: it comes back without being told, and all is there when another is gone.
    disk.free();
    until("it has caught up", || {
        lags(&cluster, other).iter().all(|lag| *lag == 0)
    });
    until("it has room", || status(cluster.node(other))["healthy"] == true);
    cluster.node_mut(other).kill();
    cluster.wait_ready().unwrap();
    let mut client = cluster.node(full).client();
    for body in &bodies {
        assert_eq!(take(&mut client, "q").as_ref(), Some(body));
    }
    cluster.node_mut(full).kill();
    drop(disk);
}
