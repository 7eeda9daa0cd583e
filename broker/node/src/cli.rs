//! The command line: `serve`, and commands that speak to a running node's admin API.
//!
//! Exit status: 0 when done; 1 when the node refused, or went away so that what was asked may have been done; 2 when
//! nothing was done, because the command line is wrong or no node answered.

mod client;
mod cluster;
mod key;
mod named;
mod output;
mod plugin;
mod queue;
mod subscription;
mod tenant;
#[cfg(test)]
mod tests;
mod topic;

use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::admin::Operation;
use crate::admin::shapes::{Decimal, ExplainedDecision, Explanation, NodeStatus};
use crate::config::Flags;
use client::Client;
pub use client::{CliError, Connection};
use output::{Output, Record, Table, failure, moment, one_line};

/// The hidden command that compiles a plugin in a process of its own.
pub const COMPILE_COMMAND: &str = "compile-plugin";

/// A message broker: queues you pull from, topics that push, open at its joints.
#[derive(Debug, Parser)]
#[command(
    name = "posthouse",
    version,
    max_term_width = 100,
    after_help = "Exit status: 0 when done, 1 when the node refused, 2 when the command line is wrong or no node answered."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs a node.
    Serve(Flags),
    /// Compiles the component on standard input to standard output.
    #[command(name = COMPILE_COMMAND, hide = true)]
    CompilePlugin,
    /// Prints a script that completes commands in a shell.
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Does something on a running node.
    #[command(flatten)]
    Client(ClientCommand),
}

/// Something to do on a running node.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Queues: create, send, receive and the rest.
    Queue(Connected<queue::QueueCommand>),
    /// Topics: create, publish and the rest.
    Topic(Connected<topic::TopicCommand>),
    /// Subscriptions of a topic.
    Sub(Connected<subscription::SubCommand>),
    /// Tenants, their quotas and access keys. Most need a root access key.
    Tenant(Connected<tenant::TenantCommand>),
    /// Master keys, data keys under them, and signing keys.
    Key(Connected<key::KeyCommand>),
    /// Plugins and where they are bound.
    Plugin(Connected<plugin::PluginCommand>),
    /// Says what became of a message.
    Explain {
        /// The message's id.
        message: Decimal,
        /// Where to ask.
        #[command(flatten)]
        connection: Connection,
    },
    /// The cluster: its nodes, sets and leaders.
    Cluster(Connected<cluster::ClusterCommand>),
    /// Says how the node is.
    Status {
        /// Where to ask.
        #[command(flatten)]
        connection: Connection,
    },
}

/// A command with where to send it.
#[derive(Debug, Args)]
pub struct Connected<C: Subcommand> {
    #[command(subcommand)]
    command: C,
    #[command(flatten)]
    connection: Connection,
}

// === impl ClientCommand ===

impl ClientCommand {
    /// Does it, prints what came of it, and returns the exit status.
    pub async fn run(self, environment: &dyn Fn(&str) -> Option<String>) -> ExitCode {
        match self.perform(environment).await {
            Ok(output) => output.print(),
            Err(error) => error.print(),
        }
    }

    async fn perform(self, environment: &dyn Fn(&str) -> Option<String>) -> Result<Output, CliError> {
        let connect = |connection: &Connection| Client::new(connection, environment);
        match self {
            ClientCommand::Queue(given) => given.command.perform(&connect(&given.connection)?).await,
            ClientCommand::Topic(given) => given.command.perform(&connect(&given.connection)?).await,
            ClientCommand::Sub(given) => given.command.perform(&connect(&given.connection)?).await,
            ClientCommand::Tenant(given) => given.command.perform(&connect(&given.connection)?).await,
            ClientCommand::Key(given) => given.command.perform(&connect(&given.connection)?).await,
            ClientCommand::Plugin(given) => given.command.perform(&given.connection, environment).await,
            ClientCommand::Cluster(given) => given.command.perform(&connect(&given.connection)?).await,
            ClientCommand::Explain { message, connection } => explain(&connect(&connection)?, message).await,
            ClientCommand::Status { connection } => status(&connect(&connection)?).await,
        }
    }
}

/// Prints the completion script for a shell.
pub fn print_completion(shell: clap_complete::Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "posthouse", &mut script);
    output::print_text(&String::from_utf8_lossy(&script))
}

async fn status(client: &Client) -> Result<Output, CliError> {
    let status: NodeStatus = client.ask(Operation::ShowStatus, &[]).await?;
    let mut record = Record::new();
    record.line("node", &status.label);
    record.line("version", &status.version);
    record.line("cluster", &status.cluster);
    record.line("up", format!("{} s", status.uptime_seconds));
    record.line("ready", yes_no(status.ready));
    record.line("disk used", format!("{} bytes", status.disk.used_bytes));
    record.line("disk free", format!("{} bytes", status.disk.free_bytes));
    record.line("disk nearly full", yes_no(status.disk.nearly_full));
    record.line("write failed", yes_no(status.disk.failed));
    record.line("built-ins", status.built_ins.join(", "));
    let mut table = Table::new(&["group", "leads", "term", "applied", "queues", "topics"]);
    let directory = status.directory;
    table.row([
        "directory".to_owned(),
        yes_no(directory.leading).to_owned(),
        directory.term.to_string(),
        directory.applied.to_string(),
        String::new(),
        String::new(),
    ]);
    for set in &status.sets {
        table.row([
            format!("set {}", set.set),
            yes_no(set.group.leading).to_owned(),
            set.group.term.to_string(),
            set.group.applied.to_string(),
            set.queues.to_string(),
            set.topics.to_string(),
        ]);
    }
    client.output(&status, format!("{record}\n{table}"))
}

async fn explain(client: &Client, message: Decimal) -> Result<Output, CliError> {
    let id = message.to_string();
    let explanation: Explanation = client.ask(Operation::Explain, &[("message", &id)]).await?;
    let text = explanation_text(&explanation);
    client.output(&explanation, text)
}

fn explanation_text(explanation: &Explanation) -> String {
    let mut text = format!(
        "message {} was stamped by set {} at {}\n",
        explanation.message_id,
        explanation.set,
        moment(explanation.stamped_ms)
    );
    let mut places = Table::new(&[
        "place",
        "state",
        "stored",
        "receives",
        "visible again",
        "bytes",
        "sealed",
    ]);
    for place in &explanation.places {
        let name = place
            .name
            .clone()
            .unwrap_or_else(|| format!("#{}", place.incarnation));
        places.row([
            format!("{} {name}", place.kind),
            place.state.clone(),
            place.produced_ms.map(moment).unwrap_or_default(),
            place.receive_count.to_string(),
            place.visible_again_ms.map(moment).unwrap_or_default(),
            place
                .body_bytes
                .map(|bytes| bytes.to_string())
                .unwrap_or_default(),
            yes_no(place.sealed).to_owned(),
        ]);
    }
    let mut moves = Table::new(&["moved at", "from", "to", "because"]);
    for hop in &explanation.moves {
        moves.row([
            moment(hop.at_ms),
            hop.from.clone(),
            hop.to.clone(),
            hop.cause.clone(),
        ]);
    }
    let mut decisions = Table::new(&[
        "decided at",
        "plugin",
        "version",
        "digest",
        "verdict",
        "subscriptions",
        "key",
        "reason",
    ]);
    for decision in &explanation.decisions {
        decisions.row([
            moment(decision.at_ms),
            decision.plugin.clone().unwrap_or_else(|| "(gone)".to_owned()),
            decision.version.to_string(),
            decision.digest.as_deref().map(short).unwrap_or_default(),
            decision.verdict.clone(),
            subscriptions_text(decision),
            decision
                .key
                .as_ref()
                .map(|key| format!("{} version {}", key.name, key.version))
                .unwrap_or_default(),
            decision.reason.clone().unwrap_or_default(),
        ]);
    }
    let mut deliveries = Table::new(&["subscription", "state", "attempts", "status", "next attempt"]);
    for delivery in &explanation.deliveries {
        deliveries.row([
            delivery.subscription.clone(),
            delivery.state.clone(),
            delivery.attempts.to_string(),
            delivery
                .status
                .map(|status| status.to_string())
                .unwrap_or_default(),
            delivery.next_attempt_ms.map(moment).unwrap_or_default(),
        ]);
    }
    let mut outgoing = Table::new(&["on its way to", "number", "because"]);
    for transfer in &explanation.outgoing {
        outgoing.row([
            transfer.target.clone(),
            transfer.number.to_string(),
            transfer.cause.clone(),
        ]);
    }
    let mut tries = Table::new(&["tried at", "subscription", "outcome", "status"]);
    for delivery in &explanation.deliveries {
        for one in &delivery.tries {
            tries.row([
                moment(one.at_ms),
                delivery.subscription.clone(),
                one.outcome.clone(),
                one.status.map(|status| status.to_string()).unwrap_or_default(),
            ]);
        }
    }
    if let Some(remark) = &explanation.remark {
        text.push_str(&format!("{remark}\n"));
    }
    for table in [places, moves, decisions, deliveries, tries, outgoing] {
        if !table.is_empty() {
            text.push('\n');
            text.push_str(&table.to_string());
        }
    }
    for (hop, parked) in explanation
        .moves
        .iter()
        .filter_map(|hop| Some((hop, hop.parked.as_ref()?)))
    {
        let at = moment(hop.at_ms);
        text.push_str(&format!(
            "\n{at}: {}: {}\n",
            failure(parked),
            one_line(&parked.trap)
        ));
        for frame in parked.backtrace.lines() {
            text.push_str(&format!("    {}\n", one_line(frame)));
        }
    }
    text
}

fn subscriptions_text(decision: &ExplainedDecision) -> String {
    let named = decision.subscriptions.join(" ");
    match decision.more_subscriptions {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// Returns the beginning of a digest, which is enough to tell two apart.
fn short(digest: &str) -> String {
    digest.chars().take(12).collect()
}

fn yes_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}
