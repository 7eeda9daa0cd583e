//! Three nodes under measurement.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use posthouse_tests::{Cluster, Node, Plan};
use serde_json::Value;

use super::{ALLOWANCE, CONFIGURATION, command, parent};
use crate::options::Options;
use crate::processor;

const NODES: u8 = 3;
/// How long a set may be without a leader.
const LED: Duration = Duration::from_secs(60);
/// How often it is looked at meanwhile.
const LED_POLL: Duration = Duration::from_millis(50);

/// A cluster of three with data on the disk under measurement.
#[derive(Debug)]
pub(crate) struct Trio {
    /// Whose command line is used.
    program: PathBuf,
    cluster: Cluster,
}

// === impl Trio ===

impl Trio {
    /// Starts the program to measure three times on new folders, the tenant allowed everything.
    pub(crate) fn start(options: &Options, sets: u8) -> anyhow::Result<Trio> {
        let program = options.program()?;
        let cluster = Cluster::start_as(Plan {
            program: &program,
            nodes: NODES,
            sets,
            configuration: &|_| CONFIGURATION.to_owned(),
            wired: false,
            parent: &parent(options),
        })?;
        let trio = Trio { program, cluster };
        command(&trio.program, trio.node(1), &ALLOWANCE)?;
        Ok(trio)
    }

    /// Returns where a node listens, numbered from 1.
    pub(crate) fn address(&self, node: usize) -> SocketAddr {
        self.node(node).address()
    }

    /// Returns another node than this one.
    pub(crate) fn other_than(&self, node: usize) -> usize {
        node % usize::from(NODES) + 1
    }

    /// Returns a follower that can be stopped: not the node that is asked for the status.
    pub(crate) fn follower_to_stop(&self, leader: usize) -> usize {
        (2..=usize::from(NODES))
            .find(|node| *node != leader)
            .unwrap_or(leader)
    }

    /// Asks for an action that is to be done.
    pub(crate) fn ask(&self, action: &str, parameters: &[(&str, &str)]) -> anyhow::Result<()> {
        self.node(1).client().ask(action, parameters)?.success()?;
        Ok(())
    }

    /// Returns the number of the node that leads a set.
    pub(crate) fn leader(&self, set: u64) -> anyhow::Result<usize> {
        let start = Instant::now();
        while start.elapsed() < LED {
            if let Some(leader) = self.shown(1, set)?["leader"].as_u64() {
                return Ok(usize::try_from(leader)?);
            }
            std::thread::sleep(LED_POLL);
        }
        bail!("nobody leads set {set}")
    }

    /// Returns how many entries the replica that is furthest behind lacks, by what a node shows of a set; none as long as
    /// one of them does not answer.
    pub(crate) fn most_behind(&self, asked: usize, set: u64) -> anyhow::Result<Option<u64>> {
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
        let shown = command(&self.program, self.node(asked), &["cluster", "status", "--json"])?;
        let mut status: Value = serde_json::from_slice(&shown).context("the status is no JSON")?;
        let groups = status["groups"].as_array_mut().context("the status has groups")?;
        let group = groups.iter_mut().find(|group| group["set"] == set);
        Ok(group.map(Value::take).unwrap_or_default())
    }

    /// Kills a node.
    pub(crate) fn kill(&mut self, node: usize) {
        self.cluster.node_mut(node).kill();
    }

    /// Stops a node as an operator would.
    pub(crate) fn stop(&mut self, node: usize) -> anyhow::Result<()> {
        match self.cluster.node_mut(node).terminate()? {
            Some(0) => Ok(()),
            status => bail!("the node stopped with status {status:?}"),
        }
    }

    /// Starts a node again.
    pub(crate) fn launch(&mut self, node: usize) -> anyhow::Result<()> {
        self.cluster.node_mut(node).launch()
    }

    /// Starts a node again, and waits until all are ready.
    pub(crate) fn relaunch(&mut self, node: usize) -> anyhow::Result<()> {
        self.cluster.node_mut(node).launch()?;
        self.cluster.wait_ready()
    }

    /// Returns the processor time that each node has used, in seconds.
    pub(crate) fn busy_seconds(&self) -> anyhow::Result<Vec<f64>> {
        let busy = |node: &Node| processor::busy_seconds(node.pid().context("the node runs")?);
        self.cluster.nodes().iter().map(busy).collect()
    }

    fn node(&self, number: usize) -> &Node {
        self.cluster.node(number)
    }
}
