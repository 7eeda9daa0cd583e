//! Nodes that are one cluster, as processes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::http::Connection;
use crate::node::{Node, Setting};
use crate::wires::Wires;

/// How long a cluster has to become ready.
const READY: Duration = Duration::from_secs(120);
/// How often it is looked at meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Where nodes listen for clients, and for each other.
const CLIENTS_PORT: u16 = 7_070;
const PEERS_PORT: u16 = 7_071;

/// Three nodes or so, each with an address of its own. Killed when dropped.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    peers: Vec<SocketAddr>,
    wires: Option<Wires>,
}

/// How a cluster is started.
#[derive(Clone, Copy)]
pub struct Plan<'a> {
    /// The program of its nodes.
    pub program: &'a Path,
    /// How many there are.
    pub nodes: u8,
    /// How many sets they have.
    pub sets: u8,
    /// The text of each node's configuration file, by its number.
    pub configuration: &'a dyn Fn(usize) -> String,
    /// Whether what goes between them is in the test's hands.
    pub wired: bool,
    /// The folder below which they keep their data: it says which disk they are on.
    pub parent: &'a Path,
}

impl Cluster {
    /// Starts a cluster of new nodes; returns when all are ready.
    pub fn start(program: &Path, nodes: u8, sets: u8, configuration: &str) -> anyhow::Result<Cluster> {
        Cluster::start_as(Plan {
            program,
            nodes,
            sets,
            configuration: &|_| configuration.to_owned(),
            wired: false,
            parent: &std::env::temp_dir(),
        })
    }

    /// Starts a cluster as it is planned; returns when all nodes are ready.
    pub fn start_as(plan: Plan<'_>) -> anyhow::Result<Cluster> {
        let network = new_network();
        let address = |node: u8, port| SocketAddr::new(IpAddr::V4(network(node)), port);
        let peers: Vec<SocketAddr> = (1..=plan.nodes).map(|node| address(node, PEERS_PORT)).collect();
        let wires = plan.wired.then(|| Wires::lay(&peers)).transpose()?;
        let nodes: anyhow::Result<Vec<Node>> = (1..=plan.nodes)
            .map(|number| {
                let node = usize::from(number);
                let setting = Setting {
                    configuration: (plan.configuration)(node),
                    environment: Vec::new(),
                    listen: Some(address(number, CLIENTS_PORT)),
                    arguments: vec![
                        "--node".to_owned(),
                        node.to_string(),
                        "--peers".to_owned(),
                        peers_of(node, &peers, wires.as_ref()),
                        "--sets".to_owned(),
                        plan.sets.to_string(),
                    ],
                };
                Node::new_in(plan.program, plan.parent, setting)
            })
            .collect();
        let mut cluster = Cluster {
            nodes: nodes?,
            peers,
            wires,
        };
        for node in &mut cluster.nodes {
            node.spawn()?;
        }
        for node in &mut cluster.nodes {
            node.wait_serving()?;
        }
        cluster.wait_ready()?;
        Ok(cluster)
    }

    /// Returns a node, numbered from 1.
    pub fn node(&self, number: usize) -> &Node {
        &self.nodes[number - 1]
    }

    /// Returns a node to be killed or started, numbered from 1.
    pub fn node_mut(&mut self, number: usize) -> &mut Node {
        &mut self.nodes[number - 1]
    }

    /// Returns all nodes, in the order of their numbers.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Returns where a node listens to the others.
    pub fn peer_address(&self, number: usize) -> SocketAddr {
        self.peers[number - 1]
    }

    /// Returns what is between the nodes of a cluster that was planned with wires.
    pub fn wires(&self) -> anyhow::Result<&Wires> {
        self.wires.as_ref().context("the cluster was planned with wires")
    }

    /// Waits until every node that runs is ready.
    pub fn wait_ready(&self) -> anyhow::Result<()> {
        for node in self.nodes.iter().filter(|node| node.pid().is_some()) {
            wait_status(node.address(), 200)?;
        }
        Ok(())
    }

    /// Waits until a node says that it is not ready.
    pub fn wait_unready(&self, number: usize) -> anyhow::Result<()> {
        wait_status(self.node(number).address(), 503)
    }
}

/// Returns the list of peers as one node is given it: itself where it listens, the others where it reaches them.
fn peers_of(node: usize, peers: &[SocketAddr], wires: Option<&Wires>) -> String {
    let listed = peers.iter().zip(1..).map(|(peer, number)| match wires {
        Some(wires) if number != node => format!("{number}={}", wires.address(node, number)),
        Some(_) | None => format!("{number}={peer}"),
    });
    listed.collect::<Vec<_>>().join(",")
}

/// Waits until `/readyz` answers with a status.
fn wait_status(address: SocketAddr, status: u16) -> anyhow::Result<()> {
    let began = Instant::now();
    while began.elapsed() < READY {
        if ready_status(address).is_ok_and(|found| found == status) {
            return Ok(());
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    bail!("{address} does not answer {status} to /readyz")
}

fn ready_status(address: SocketAddr) -> anyhow::Result<u16> {
    let mut connection = Connection::open(address)?;
    connection.request("GET", "/readyz", &address.to_string(), "", b"")?;
    Ok(connection.answer()?.status)
}

/// Returns loopback addresses that no other cluster of this machine has: the nodes' ports must be known beforehand, so
/// they cannot be left to chance.
fn new_network() -> impl Fn(u8) -> Ipv4Addr {
    static CLUSTERS: AtomicU8 = AtomicU8::new(0);
    let process = std::process::id();
    let cluster = CLUSTERS.fetch_add(8, Ordering::Relaxed);
    let [_, _, high, low] = process.to_be_bytes();
    // 127.0.x.x is what everybody else uses.
    move |node| Ipv4Addr::new(127, high | 0x80, low, cluster.wrapping_add(node))
}
