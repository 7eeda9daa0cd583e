//! The cluster as a whole.

use clap::Subcommand;

use super::client::Client;
use super::output::{Output, Table};
use super::{CliError, yes_no};
use crate::admin::Operation;
use crate::admin::shapes::{
    ClusterGroup, ClusterNode, ClusterScrub, ClusterStatus, Done, NodeStateView, SetMove,
};

/// What is done with the cluster.
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Shows nodes, sets, leaders, terms, lag, disks and health. Needs a root access key.
    Status,
    /// Has all nodes read everything on their disks again, to find damage. Needs a root access key.
    Scrub,
    /// Moves a set's replica from one node to another; `status` shows how far it has got. Needs a root access key.
    Move {
        /// The set's number.
        #[arg(long)]
        set: u8,
        /// The number of the node that has a replica of it.
        #[arg(long)]
        from: u16,
        /// The number of the node that is to have one.
        #[arg(long)]
        to: u16,
    },
    /// Moves all replicas of sets from a node to others, and gives it none any more; `status` shows how far it has got.
    /// Needs a root access key.
    Drain {
        /// The node's number.
        node: u16,
    },
    /// Lets a node go that was drained: it stops, and its data directory is of no use any more. Needs a root access key.
    Remove {
        /// The node's number.
        node: u16,
    },
}

// === impl ClusterCommand ===

impl ClusterCommand {
    pub(super) async fn perform(self, client: &Client) -> Result<Output, CliError> {
        match self {
            ClusterCommand::Status => {
                let status: ClusterStatus = client.ask(Operation::ShowCluster, &[]).await?;
                let text = text(&status);
                client.output(&status, text)
            }
            ClusterCommand::Scrub => {
                let begun: ClusterScrub = client.ask(Operation::ScrubCluster, &[]).await?;
                let text = begun_text(&begun);
                client.output(&begun, text)
            }
            ClusterCommand::Move { set, from, to } => {
                let number = set.to_string();
                let done: Done = client
                    .tell(Operation::MoveSet, &[("set", &number)], &SetMove { from, to })
                    .await?;
                client.output(&done, format!("set {set} moves from node {from} to node {to}\n"))
            }
            ClusterCommand::Drain { node } => {
                let number = node.to_string();
                let done: Done = client.ask(Operation::DrainNode, &[("node", &number)]).await?;
                client.output(&done, format!("node {node} is being drained\n"))
            }
            ClusterCommand::Remove { node } => {
                let number = node.to_string();
                let done: Done = client.ask(Operation::RemoveNode, &[("node", &number)]).await?;
                client.output(&done, format!("node {node} is none of the cluster's any more\n"))
            }
        }
    }
}

fn text(status: &ClusterStatus) -> String {
    let mut nodes = Table::new(&[
        "node",
        "label",
        "state",
        "health",
        "leads",
        "disk used",
        "disk free",
        "up",
    ]);
    for node in &status.nodes {
        let disk = |bytes: fn(&crate::admin::shapes::DiskStatus) -> u64| {
            node.disk
                .as_ref()
                .map_or("-".to_owned(), |disk| format!("{} MB", bytes(disk) / 1_000_000))
        };
        nodes.row([
            number(node.node, node.replica),
            node.label.clone().unwrap_or_else(|| "-".to_owned()),
            node.state.map_or("-", state).to_owned(),
            health(node),
            node.leads.map_or("-".to_owned(), |leads| leads.to_string()),
            disk(|disk| disk.used_bytes),
            disk(|disk| disk.free_bytes),
            node.uptime_seconds
                .map_or("-".to_owned(), |seconds| format!("{seconds} s")),
        ]);
    }
    let mut groups = Table::new(&["group", "leads", "term", "applied", "lag on each node"]);
    for group in &status.groups {
        groups.row([
            group
                .set
                .map_or("directory".to_owned(), |set| format!("set {set}")),
            leads(group),
            group.term.map_or("-".to_owned(), |term| term.to_string()),
            applied(group).to_string(),
            lags(group),
        ]);
    }
    let healthy = yes_no(status.healthy);
    format!("healthy: {healthy}\n\n{nodes}\n{groups}{}", damage_text(status))
}

/// Returns a table of what is damaged; nothing when nothing is.
fn damage_text(status: &ClusterStatus) -> String {
    let mut damage = Table::new(&["damaged on", "group", "file", "offset", "bytes", "what"]);
    for node in &status.nodes {
        for damaged in &node.damage {
            damage.row([
                node.label.clone().unwrap_or_else(|| node.replica.to_string()),
                damaged
                    .set
                    .map_or("directory".to_owned(), |set| format!("set {set}")),
                damaged.file.clone(),
                damaged.offset.to_string(),
                damaged.bytes.to_string(),
                damaged.what.clone(),
            ]);
        }
    }
    match status.nodes.iter().all(|node| node.damage.is_empty()) {
        true => String::new(),
        false => format!("\n{damage}"),
    }
}

fn begun_text(begun: &ClusterScrub) -> String {
    let mut nodes = Table::new(&["replica", "reads its disk again"]);
    for node in &begun.nodes {
        nodes.row([node.replica.to_string(), yes_no(node.begun).to_owned()]);
    }
    nodes.to_string()
}

/// Returns what a node is called: by its number or, as long as none is known, by its replica.
fn number(node: Option<u16>, replica: u64) -> String {
    node.map_or(replica.to_string(), |node| node.to_string())
}

fn state(state: NodeStateView) -> &'static str {
    match state {
        NodeStateView::Joining => "joining",
        NodeStateView::Active => "active",
        NodeStateView::Draining => "draining",
        NodeStateView::Gone => "gone",
    }
}

/// Returns the node that leads a group.
fn leads(group: &ClusterGroup) -> String {
    let leader = group
        .replicas
        .iter()
        .find(|replica| Some(replica.replica) == group.leader);
    leader.map_or("none".to_owned(), |leader| number(leader.node, leader.replica))
}

fn health(node: &ClusterNode) -> String {
    match (node.reachable, &node.unready, &node.disk) {
        (false, _, _) => "does not answer".to_owned(),
        (true, Some(why), _) => why.clone(),
        (true, None, _) if !node.damage.is_empty() => format!("{} damaged", node.damage.len()),
        (true, None, Some(disk)) if disk.nearly_full => "disk nearly full".to_owned(),
        (true, None, _) => "ok".to_owned(),
    }
}

fn applied(group: &ClusterGroup) -> u64 {
    group
        .replicas
        .iter()
        .map(|replica| replica.applied)
        .max()
        .unwrap_or(0)
}

fn lags(group: &ClusterGroup) -> String {
    let lags: Vec<String> = group
        .replicas
        .iter()
        .map(|replica| {
            let number = number(replica.node, replica.replica);
            let mends = if replica.whole { "" } else { " (mends)" };
            format!("{number}: {}{mends}", replica.lag)
        })
        .collect();
    lags.join(", ")
}
