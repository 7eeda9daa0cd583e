//! The cluster as a whole.

use clap::Subcommand;

use super::client::Client;
use super::output::{Output, Table};
use super::{CliError, yes_no};
use crate::admin::Operation;
use crate::admin::shapes::{ClusterGroup, ClusterNode, ClusterStatus};

/// What is done with the cluster.
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Shows nodes, sets, leaders, terms, lag, disks and health. Needs a root access key.
    Status,
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
        }
    }
}

fn text(status: &ClusterStatus) -> String {
    let mut nodes = Table::new(&[
        "node",
        "replica",
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
            node.label.clone().unwrap_or_else(|| "-".to_owned()),
            node.replica.to_string(),
            health(node),
            node.leads.map_or("-".to_owned(), |leads| leads.to_string()),
            disk(|disk| disk.used_bytes),
            disk(|disk| disk.free_bytes),
            node.uptime_seconds
                .map_or("-".to_owned(), |seconds| format!("{seconds} s")),
        ]);
    }
    let mut groups = Table::new(&["group", "leader", "term", "applied", "lag of each replica"]);
    for group in &status.groups {
        groups.row([
            group
                .set
                .map_or("directory".to_owned(), |set| format!("set {set}")),
            group
                .leader
                .map_or("none".to_owned(), |leader| leader.to_string()),
            group.term.map_or("-".to_owned(), |term| term.to_string()),
            applied(group).to_string(),
            lags(group),
        ]);
    }
    format!("healthy: {}\n\n{nodes}\n{groups}", yes_no(status.healthy))
}

fn health(node: &ClusterNode) -> String {
    match (node.reachable, &node.unready, &node.disk) {
        (false, _, _) => "does not answer".to_owned(),
        (true, Some(why), _) => why.clone(),
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
        .map(|replica| format!("{}: {}", replica.replica, replica.lag))
        .collect();
    lags.join(", ")
}
