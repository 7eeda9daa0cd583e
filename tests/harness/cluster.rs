//! Nodes that are one cluster, as processes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;

use crate::http::Connection;
use crate::node::{Node, Setting};

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
}

impl Cluster {
    /// Starts a cluster of new nodes; returns when all are ready.
    pub fn start(program: &Path, nodes: u8, sets: u8, configuration: &str) -> anyhow::Result<Cluster> {
        let network = new_network();
        let address = |node: u8, port| SocketAddr::new(IpAddr::V4(network(node)), port);
        let peers: Vec<String> = (1..=nodes)
            .map(|node| format!("{node}={}", address(node, PEERS_PORT)))
            .collect();
        let nodes: anyhow::Result<Vec<Node>> = (1..=nodes)
            .map(|node| {
                let setting = Setting {
                    configuration: configuration.to_owned(),
                    environment: Vec::new(),
                    listen: Some(address(node, CLIENTS_PORT)),
                    arguments: vec![
                        "--node".to_owned(),
                        node.to_string(),
                        "--peers".to_owned(),
                        peers.join(","),
                        "--sets".to_owned(),
                        sets.to_string(),
                    ],
                };
                Node::new_in(program, &std::env::temp_dir(), setting)
            })
            .collect();
        let mut cluster = Cluster { nodes: nodes? };
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
