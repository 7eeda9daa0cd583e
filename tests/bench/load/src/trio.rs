//! Three nodes under measurement.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use posthouse_tests::{Cluster, Node, Plan};
use serde_json::Value;

use crate::processor;

/// Allows the tenant on whose behalf everything is done more than a load program of this kind asks for.
pub const ALLOWANCE: [&str; 13] = [
    "tenant",
    "quota",
    "dev",
    "--calls-per-second",
    "10000000",
    "--bytes-per-second",
    "100000000000",
    "--queues",
    "2000000",
    "--plugin-cpu",
    "1000000000",
    "--http-requests",
    "10000000",
];
/// The configuration: the log says only what goes wrong, beside the line that tells the address.
pub const QUIET: &str = "[logs]\nlevel = \"warn,posthouse_node::serve=info\"\n";

const NODES: u8 = 3;
/// How long a set may be without a leader.
const LED: Duration = Duration::from_secs(60);
/// How often it is looked at meanwhile.
const LED_POLL: Duration = Duration::from_millis(50);

/// How long leaders have to stay where they are: nodes look every five seconds whether they are spread.
const SETTLED: Duration = Duration::from_secs(7);
/// How long that may take, and how often it is looked at.
const SETTLING: Duration = Duration::from_secs(120);
const SETTLING_POLL: Duration = Duration::from_millis(500);

/// A cluster of three with data on the disk under measurement.
#[derive(Debug)]
pub struct Trio {
    /// Whose command line is used.
    program: PathBuf,
    cluster: Cluster,
}

// === impl Trio ===

impl Trio {
    /// Starts a program three times on new folders below another, the tenant allowed everything.
    pub fn start(program: &Path, parent: &Path, sets: u8) -> anyhow::Result<Trio> {
        let cluster = Cluster::start_as(Plan {
            program,
            nodes: NODES,
            sets,
            configuration: &|_| QUIET.to_owned(),
            wired: false,
            parent,
        })?;
        let program = program.to_owned();
        let trio = Trio { program, cluster };
        command(&trio.program, trio.node(1), &ALLOWANCE)?;
        Ok(trio)
    }

    /// Returns where a node listens, numbered from 1.
    pub fn address(&self, node: usize) -> SocketAddr {
        self.node(node).address()
    }

    /// Returns another node than this one.
    pub fn other_than(&self, node: usize) -> usize {
        node % usize::from(NODES) + 1
    }

    /// Returns a follower that can be stopped: not the node that is asked for the status.
    pub fn follower_to_stop(&self, leader: usize) -> usize {
        (2..=usize::from(NODES))
            .find(|node| *node != leader)
            .unwrap_or(leader)
    }

    /// Asks for an action that is to be done.
    pub fn ask(&self, action: &str, parameters: &[(&str, &str)]) -> anyhow::Result<()> {
        self.node(1).client().ask(action, parameters)?.success()?;
        Ok(())
    }

    /// Returns the number of the node that leads a set.
    pub fn leader(&self, set: u64) -> anyhow::Result<usize> {
        let start = Instant::now();
        while start.elapsed() < LED {
            if let Some(leader) = self.shown(1, set)?["leader"].as_u64() {
                return Ok(usize::try_from(leader)?);
            }
            std::thread::sleep(LED_POLL);
        }
        bail!("nobody leads set {set}")
    }

    /// Returns the node that leads a queue's set.
    pub fn leader_of(&self, queue: &str) -> anyhow::Result<&Node> {
        Ok(self.node(self.leader(self.set_of(queue)?)?))
    }

    /// Returns the set that a queue is in.
    pub fn set_of(&self, queue: &str) -> anyhow::Result<u64> {
        let shown = command(&self.program, self.node(1), &["queue", "show", queue, "--json"])?;
        let shown: Value = serde_json::from_slice(&shown).context("what is shown of a queue is no JSON")?;
        shown["set"].as_u64().context("a queue is in a set")
    }

    /// Returns the numbers of the nodes that lead the sets, by set; sets that nobody leads are left out.
    pub fn leaders(&self) -> anyhow::Result<BTreeMap<u64, usize>> {
        let mut leaders = BTreeMap::new();
        for group in self.groups(1)? {
            // The directory's group is no set.
            if let (Some(set), Some(leader)) = (group["set"].as_u64(), group["leader"].as_u64()) {
                leaders.insert(set, usize::try_from(leader)?);
            }
        }
        Ok(leaders)
    }

    /// Waits until all sets have leaders that have stayed where they are for a while.
    pub fn settle(&self, sets: u8) -> anyhow::Result<()> {
        let start = Instant::now();
        let mut seen = (self.leaders()?, Instant::now());
        while seen.0.len() < usize::from(sets) || seen.1.elapsed() < SETTLED {
            if start.elapsed() > SETTLING {
                bail!("leaders do not stay where they are");
            }
            std::thread::sleep(SETTLING_POLL);
            let now = self.leaders()?;
            if now != seen.0 {
                seen = (now, Instant::now());
            }
        }
        Ok(())
    }

    /// Returns how many messages a queue has, waiting, received or delayed.
    pub fn messages(&self, queue: &str) -> anyhow::Result<u64> {
        let mut client = self.node(1).client();
        let answer = client
            .ask("GetQueueAttributes", &[("queueName", queue)])?
            .success()?;
        let fields = ["activeMsgNum", "inactiveMsgNum", "delayMsgNum"];
        Ok(fields.iter().filter_map(|field| answer.0[*field].as_u64()).sum())
    }

    /// Returns the nodes' process ids.
    pub fn pids(&self) -> Vec<u32> {
        self.cluster.nodes().iter().filter_map(Node::pid).collect()
    }

    /// Returns how many entries the replica that is furthest behind lacks, by what a node shows of a set; none as long as
    /// one of them does not answer.
    pub fn most_behind(&self, asked: usize, set: u64) -> anyhow::Result<Option<u64>> {
        let shown = self.shown(asked, set)?;
        let replicas = shown["replicas"].as_array().context("the set has replicas")?;
        if replicas.len() < usize::from(NODES) {
            return Ok(None);
        }
        let lags = replicas.iter().filter_map(|replica| replica["lag"].as_u64());
        Ok(lags.max())
    }

    /// Returns what a node shows of a set; nothing if it does not know the set.
    fn shown(&self, asked: usize, set: u64) -> anyhow::Result<Value> {
        let group = self.groups(asked)?.into_iter().find(|group| group["set"] == set);
        Ok(group.unwrap_or_default())
    }

    /// Returns what a node shows of all groups.
    fn groups(&self, asked: usize) -> anyhow::Result<Vec<Value>> {
        let shown = command(&self.program, self.node(asked), &["cluster", "status", "--json"])?;
        let mut status: Value = serde_json::from_slice(&shown).context("the status is no JSON")?;
        match status["groups"].take() {
            Value::Array(groups) => Ok(groups),
            _ => bail!("the status has no groups"),
        }
    }

    /// Kills a node.
    pub fn kill(&mut self, node: usize) {
        self.cluster.node_mut(node).kill();
    }

    /// Stops a node as an operator would.
    pub fn stop(&mut self, node: usize) -> anyhow::Result<()> {
        match self.cluster.node_mut(node).terminate()? {
            Some(0) => Ok(()),
            status => bail!("the node stopped with status {status:?}"),
        }
    }

    /// Starts a node again.
    pub fn launch(&mut self, node: usize) -> anyhow::Result<()> {
        self.cluster.node_mut(node).launch()
    }

    /// Starts a node again, and waits until all are ready.
    pub fn relaunch(&mut self, node: usize) -> anyhow::Result<()> {
        self.cluster.node_mut(node).launch()?;
        self.cluster.wait_ready()
    }

    /// Returns the processor time that each node has used, in seconds.
    pub fn busy_seconds(&self) -> anyhow::Result<Vec<f64>> {
        let busy = |node: &Node| processor::busy_seconds(node.pid().context("the node runs")?);
        self.cluster.nodes().iter().map(busy).collect()
    }

    fn node(&self, number: usize) -> &Node {
        self.cluster.node(number)
    }
}

/// Says something to a node with a program's command line, and returns what it prints.
pub fn command(program: &Path, node: &Node, arguments: &[&str]) -> anyhow::Result<Vec<u8>> {
    let output = Command::new(program)
        .args(arguments)
        .args(["--url", &node.url()])
        .output()
        .with_context(|| format!("{} cannot be started", program.display()))?;
    if !output.status.success() {
        bail!(
            "posthouse {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(output.stdout)
}
