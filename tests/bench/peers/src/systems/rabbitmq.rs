//! RabbitMQ: three nodes, quorum queues with a replica on each.
//!
//! Nothing of the machine's own installation is touched: names, ports, cookie, configuration and data are of this run, and
//! so is the port mapper. The nodes find each other by a list in their configuration.

use std::fmt::Write;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use serde_json::Value;
use tempfile::TempDir;

use super::{NODES, amqp, free_address, names, wait_for};
use crate::door::{Lane, run};
use crate::options::Options;
use crate::program::Program;

/// Known to the nodes of one run and to its command line.
const COOKIE: &str = "posthouse-bench-peers";

/// Three nodes of RabbitMQ.
#[derive(Debug)]
pub(crate) struct RabbitMq {
    nodes: Vec<Program>,
    clients: Vec<SocketAddr>,
    setting: Setting,
    /// Goes last: nodes look for it as long as they run.
    _mapper: Program,
    _folder: TempDir,
}

/// What all programs of one run share.
#[derive(Debug)]
struct Setting {
    /// The folder of RabbitMQ's own scripts.
    scripts: PathBuf,
    home: PathBuf,
    mapper: SocketAddr,
}

// === impl RabbitMq ===

impl RabbitMq {
    /// Starts them.
    pub(crate) fn start(options: &Options) -> anyhow::Result<RabbitMq> {
        let folder = options.folder()?;
        let setting = Setting {
            scripts: options.rabbitmq_scripts()?,
            home: folder.path().to_owned(),
            mapper: free_address()?,
        };
        let cookie = setting.home.join(".erlang.cookie");
        std::fs::write(&cookie, COOKIE)?;
        std::fs::set_permissions(&cookie, PermissionsExt::from_mode(0o400))?;
        let mapper = Program::start(
            Command::new("epmd")
                .args(["-address", "127.0.0.1", "-port"])
                .arg(setting.mapper.port().to_string()),
            &setting.home.join("mapper.log"),
        )?;
        wait_for("the port mapper listens", || {
            Ok(TcpStream::connect(setting.mapper).ok())
        })?;
        let clients: anyhow::Result<Vec<SocketAddr>> = (0..NODES).map(|_| free_address()).collect();
        let clients = clients?;
        let nodes: anyhow::Result<Vec<Program>> = (0..usize::from(NODES))
            .map(|number| setting.start_node(number, clients[number]))
            .collect();
        let mut rabbit = RabbitMq {
            nodes: nodes?,
            clients,
            setting,
            _mapper: mapper,
            _folder: folder,
        };
        rabbit.wait_ready()?;
        Ok(rabbit)
    }

    /// Makes queues, each declared at the node that is to lead it.
    pub(crate) fn make(&self, name: &str, queues: u16) -> anyhow::Result<Vec<Lane>> {
        let lanes: Vec<Lane> = names(name, queues)
            .zip(self.clients.iter().cycle())
            .map(|(queue, leader)| Lane {
                queue,
                leader: *leader,
            })
            .collect();
        for lane in &lanes {
            run(declare(lane))?;
        }
        wait_for("queues have three replicas, led by where they were made", || {
            self.are_led(&lanes)
        })?;
        Ok(lanes)
    }

    /// Removes queues.
    pub(crate) fn remove(&self, lanes: &[Lane]) -> anyhow::Result<()> {
        run(async {
            for lane in lanes {
                let connection = amqp::connect(lane).await?;
                let channel = connection.create_channel().await?;
                let queue = lane.queue.as_str();
                channel
                    .queue_delete(queue.into(), QueueDeleteOptions::default())
                    .await?;
                connection.close(200, "done".into()).await?;
            }
            Ok(())
        })
    }

    /// Returns how many messages are in queues, those that are not acknowledged too.
    pub(crate) fn messages(&self, lanes: &[Lane]) -> anyhow::Result<u64> {
        let shown = self.setting.ask(&["list_queues", "name", "messages"])?;
        let of = |lane: &Lane| {
            let queue = find(&shown, &lane.queue).context("a queue is listed")?;
            queue["messages"].as_u64().context("a queue has messages")
        };
        lanes.iter().map(of).sum()
    }

    /// Returns the process ids of nodes and port mapper.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.nodes.iter().map(Program::pid).collect()
    }

    fn wait_ready(&mut self) -> anyhow::Result<()> {
        wait_for("RabbitMQ listens", || {
            for node in &mut self.nodes {
                node.still_runs()?;
            }
            let is_up = |address: &SocketAddr| TcpStream::connect(address).is_ok();
            Ok(self.clients.iter().all(is_up).then_some(()))
        })?;
        let status = self.setting.ask(&["cluster_status"])?;
        let running = status["running_nodes"].as_array().map_or(0, Vec::len);
        if running != usize::from(NODES) {
            bail!("{running} nodes of RabbitMQ are one cluster");
        }
        Ok(())
    }

    /// Returns whether each queue has a replica on every node and is led by the one that its clients connect to.
    fn are_led(&self, lanes: &[Lane]) -> anyhow::Result<Option<()>> {
        let shown = self.setting.ask(&["list_queues", "name", "leader", "members"])?;
        let is_led = |lane: &Lane| {
            let queue = find(&shown, &lane.queue)?;
            let number = self.clients.iter().position(|client| *client == lane.leader)?;
            let members = queue["members"].as_array()?.len();
            (queue["leader"] == name(number) && members == usize::from(NODES)).then_some(())
        };
        Ok(lanes.iter().all(|lane| is_led(lane).is_some()).then_some(()))
    }
}

// === impl Setting ===

impl Setting {
    fn start_node(&self, number: usize, client: SocketAddr) -> anyhow::Result<Program> {
        let home = self.home.join(number.to_string());
        std::fs::create_dir(&home)?;
        let (file, plugins) = (home.join("rabbitmq.conf"), home.join("plugins"));
        std::fs::write(&file, configuration(client, &home)?)?;
        std::fs::write(&plugins, "[].\n")?;
        let mut command = self.command("rabbitmq-server");
        command
            .env("RABBITMQ_NODENAME", name(number))
            .env("RABBITMQ_DIST_PORT", free_address()?.port().to_string())
            .env("RABBITMQ_CONFIG_FILE", &file)
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", &plugins)
            .env("RABBITMQ_MNESIA_BASE", home.join("data"))
            .env("RABBITMQ_LOG_BASE", home.join("logs"))
            .env("RABBITMQ_PID_FILE", home.join("pid"))
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "-kernel inet_dist_use_interface {127,0,0,1}",
            )
            // Has the script become the node instead of waiting for it.
            .env("RUNNING_UNDER_SYSTEMD", "yes");
        Program::start(&mut command, &home.join("out"))
    }

    /// Asks a node by RabbitMQ's own command line.
    fn ask(&self, question: &[&str]) -> anyhow::Result<Value> {
        let output = self
            .command("rabbitmqctl")
            .args(["--quiet", "--node", &name(0), "--formatter", "json"])
            .args(question)
            .output()
            .context("rabbitmqctl cannot be started")?;
        if !output.status.success() {
            bail!(
                "rabbitmqctl {}: {}",
                question.join(" "),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        serde_json::from_slice(&output.stdout).context("rabbitmqctl answers JSON")
    }

    fn command(&self, script: &str) -> Command {
        let mut command = Command::new(self.scripts.join(script));
        command
            .env("HOME", &self.home)
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("ERL_EPMD_PORT", self.mapper.port().to_string())
            // Not the machine's own.
            .env("RABBITMQ_CONF_ENV_FILE", "/dev/null");
        command
    }
}

fn name(number: usize) -> String {
    format!("posthouse-bench-{number}@localhost")
}

/// Returns what a node is told. What is not said here is as it comes.
fn configuration(client: SocketAddr, home: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    writeln!(text, "listeners.tcp.1 = {client}")?;
    writeln!(text, "cluster_formation.peer_discovery_backend = classic_config")?;
    for number in 0..usize::from(NODES) {
        let name = name(number);
        writeln!(
            text,
            "cluster_formation.classic_config.nodes.{} = {name}",
            number + 1
        )?;
    }
    for end in ["min", "max"] {
        writeln!(text, "cluster_formation.randomized_startup_delay_range.{end} = 0")?;
    }
    writeln!(text, "log.console = false")?;
    writeln!(text, "log.file = {}", home.join("log").display())?;
    Ok(text)
}

async fn declare(lane: &Lane) -> anyhow::Result<()> {
    let connection = amqp::connect(lane).await?;
    let channel = connection.create_channel().await?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    arguments.insert(
        "x-quorum-initial-group-size".into(),
        AMQPValue::LongInt(NODES.into()),
    );
    let queue = lane.queue.as_str();
    channel
        .queue_declare(queue.into(), QueueDeclareOptions::durable(), arguments)
        .await?;
    Ok(connection.close(200, "done".into()).await?)
}

fn find<'a>(shown: &'a Value, name: &str) -> Option<&'a Value> {
    shown.as_array()?.iter().find(|queue| queue["name"] == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_told_of_all_three_and_listen_on_their_own_address_alone() {
        let client = SocketAddr::from(([127, 0, 0, 1], 4_000));
        let text = configuration(client, Path::new("/d")).expect("text can be written");
        assert_eq!(text.matches("listeners.").count(), 1);
        assert!(text.contains("listeners.tcp.1 = 127.0.0.1:4000\n"));
        assert_eq!(text.matches("classic_config.nodes.").count(), 3);
    }
}
