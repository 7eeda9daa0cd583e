//! Nodes that are one cluster, as processes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
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
/// How far the port of a node that moves is from the one before.
const PORTS_APART: u16 = 10;

/// Three nodes or so, each with an address of its own. Killed when dropped.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    peers: Vec<SocketAddr>,
    wires: Option<Wires>,
    network: Network,
    program: PathBuf,
    parent: PathBuf,
    sets: u8,
}

/// Loopback addresses that no other cluster of this machine has: the nodes' ports must be known beforehand, so they cannot
/// be left to chance.
#[derive(Clone, Copy, Debug)]
struct Network {
    high: u8,
    low: u8,
    cluster: u8,
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
    /// Whether what goes between them, and one more that may join, is in the test's hands.
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
        let network = Network::new();
        let peers: Vec<SocketAddr> = (1..=plan.nodes)
            .map(|node| network.address(node, PEERS_PORT))
            .collect();
        // One more may join.
        let wired: Vec<SocketAddr> = (1..=plan.nodes + 1)
            .map(|node| network.address(node, PEERS_PORT))
            .collect();
        let wires = plan.wired.then(|| Wires::lay(&wired)).transpose()?;
        let nodes: anyhow::Result<Vec<Node>> = (1..=plan.nodes)
            .map(|number| {
                let node = usize::from(number);
                let setting = Setting {
                    configuration: (plan.configuration)(node),
                    environment: Vec::new(),
                    listen: Some(network.address(number, CLIENTS_PORT)),
                    arguments: arguments(node, &peers_of(node, &peers, wires.as_ref()), plan.sets),
                };
                Node::new_in(plan.program, plan.parent, setting)
            })
            .collect();
        let mut cluster = Cluster {
            nodes: nodes?,
            peers,
            wires,
            network,
            program: plan.program.to_owned(),
            parent: plan.parent.to_owned(),
            sets: plan.sets,
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

    /// Starts one node that knows of no others.
    pub fn start_alone(program: &Path, sets: u8) -> anyhow::Result<Cluster> {
        let network = Network::new();
        let parent = std::env::temp_dir();
        let setting = Setting {
            listen: Some(network.address(1, CLIENTS_PORT)),
            arguments: vec!["--sets".to_owned(), sets.to_string()],
            ..Setting::default()
        };
        Ok(Cluster {
            nodes: vec![Node::start_in(program, &parent, setting)?],
            peers: vec![network.address(1, PEERS_PORT)],
            wires: None,
            network,
            program: program.to_owned(),
            parent,
            sets,
        })
    }

    /// Starts the node that was alone again, as one that others can join.
    pub fn open_to_others(&mut self) -> anyhow::Result<()> {
        let arguments = arguments(1, &peers_of(1, &self.peers, None), self.sets);
        let node = self.node_mut(1);
        node.terminate()?;
        node.set_arguments(arguments);
        node.launch()
    }

    /// Starts one more node, which is to join the others; returns when it serves.
    pub fn add(&mut self) -> anyhow::Result<&Node> {
        self.plan_one_more()?;
        let number = self.nodes.len();
        self.node_mut(number).launch()?;
        Ok(self.node(number))
    }

    /// Plans one more node, which is to join the others once it is started.
    pub fn plan_one_more(&mut self) -> anyhow::Result<()> {
        let number = u8::try_from(self.nodes.len() + 1)?;
        self.peers.push(self.network.address(number, PEERS_PORT));
        let node = usize::from(number);
        let setting = Setting {
            listen: Some(self.network.address(number, CLIENTS_PORT)),
            arguments: arguments(node, &peers_of(node, &self.peers, self.wires.as_ref()), self.sets),
            ..Setting::default()
        };
        self.nodes
            .push(Node::new_in(&self.program, &self.parent, setting)?);
        Ok(())
    }

    /// Has each node be told of all others, those that joined too, when it is started next.
    pub fn introduce_all(&mut self) {
        for (node, number) in self.nodes.iter_mut().zip(1..) {
            let peers = peers_of(number, &self.peers, self.wires.as_ref());
            node.set_arguments(arguments(number, &peers, self.sets));
        }
    }

    /// Has a node listen to the others elsewhere when it is started next. They are not told. It must not run.
    pub fn move_peer(&mut self, number: usize) {
        let own = &mut self.peers[number - 1];
        own.set_port(own.port() + PORTS_APART);
        let arguments = arguments(number, &peers_of(number, &self.peers, None), self.sets);
        self.node_mut(number).set_arguments(arguments);
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

// === impl Network ===

impl Network {
    fn new() -> Network {
        static CLUSTERS: AtomicU8 = AtomicU8::new(0);
        let [_, _, high, low] = std::process::id().to_be_bytes();
        Network {
            // 127.0.x.x is what everybody else uses.
            high: high | 0x80,
            low,
            cluster: CLUSTERS.fetch_add(8, Ordering::Relaxed),
        }
    }

    fn address(self, node: u8, port: u16) -> SocketAddr {
        let ip = Ipv4Addr::new(127, self.high, self.low, self.cluster.wrapping_add(node));
        SocketAddr::new(IpAddr::V4(ip), port)
    }
}

/// Returns what a node of a cluster is told when it is started.
fn arguments(node: usize, peers: &str, sets: u8) -> Vec<String> {
    let arguments = [
        "--node",
        &node.to_string(),
        "--peers",
        peers,
        "--sets",
        &sets.to_string(),
    ];
    arguments.map(str::to_owned).to_vec()
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
