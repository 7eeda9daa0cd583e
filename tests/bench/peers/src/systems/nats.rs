//! NATS JetStream: three servers, streams with three replicas from which what was acknowledged is gone.

use std::fmt::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use async_nats::jetstream::Context as JetStream;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::stream::{Config, RetentionPolicy, StorageType};
use tempfile::TempDir;

use super::{NODES, free_address, insist, names, wait_for};
use crate::door::{Lane, run};
use crate::options::Options;
use crate::program::Program;
use crate::systems::jetstream;

/// Messages that a stream's consumers may have unacknowledged: more than any plan has.
const UNACKNOWLEDGED_MAX: i64 = 200_000;
/// Pulls that may wait at a stream.
const WAITING_MAX: i64 = 512;

/// How long an answer may take before what was asked for is asked for again.
const ANSWERED: Duration = Duration::from_secs(2);

/// Three servers of NATS.
#[derive(Debug)]
pub(crate) struct Nats {
    servers: Vec<Program>,
    clients: Vec<SocketAddr>,
    _folder: TempDir,
}

// === impl Nats ===

impl Nats {
    /// Starts them, to sync each write before it is confirmed, or as they come.
    pub(crate) fn start(sync: bool, options: &Options) -> anyhow::Result<Nats> {
        let program = options.nats_server()?;
        let folder = options.folder()?;
        let addresses =
            || -> anyhow::Result<Vec<SocketAddr>> { (0..NODES).map(|_| free_address()).collect() };
        let (clients, routes) = (addresses()?, addresses()?);
        let mut servers = Vec::new();
        for number in 0..usize::from(NODES) {
            let home = folder.path().join(name(number));
            std::fs::create_dir(&home)?;
            let file = home.join("nats.conf");
            std::fs::write(&file, configuration(number, &clients, &routes, &home, sync)?)?;
            let mut command = Command::new(&program);
            servers.push(Program::start(
                command.arg("--config").arg(&file),
                &home.join("log"),
            )?);
        }
        let mut nats = Nats {
            servers,
            clients,
            _folder: folder,
        };
        nats.wait_ready()?;
        Ok(nats)
    }

    /// Makes streams, each with one consumer.
    pub(crate) fn make(&self, name: &str, queues: u16) -> anyhow::Result<Vec<Lane>> {
        names(name, queues).map(|queue| self.make_one(queue)).collect()
    }

    fn make_one(&self, queue: String) -> anyhow::Result<Lane> {
        // A server that has not heard of a leader yet answers nothing; to make a stream again changes nothing.
        insist(|| run(self.create(&queue)))?;
        self.find(queue)
    }

    /// Returns streams with who leads them now.
    pub(crate) fn led(&self, lanes: &[Lane]) -> anyhow::Result<Vec<Lane>> {
        lanes.iter().map(|lane| self.find(lane.queue.clone())).collect()
    }

    /// Finds the leader of a stream.
    fn find(&self, queue: String) -> anyhow::Result<Lane> {
        let leader = wait_for("a stream has a leader", || {
            let info = run(self.with_jetstream(async |jetstream| {
                Ok(jetstream.get_stream(&queue).await?.get_info().await?)
            }))?;
            Ok(info.cluster.and_then(|cluster| cluster.leader))
        })?;
        let number = (0..usize::from(NODES)).find(|number| name(*number) == leader);
        let leader = self.clients[number.context("a stream's leader is one of the three")?];
        Ok(Lane { queue, leader })
    }

    async fn create(&self, queue: &str) -> anyhow::Result<()> {
        self.with_jetstream(async |jetstream| {
            let stream = Config {
                name: queue.to_owned(),
                subjects: vec![queue.to_owned()],
                retention: RetentionPolicy::WorkQueue,
                storage: StorageType::File,
                num_replicas: usize::from(NODES),
                ..Config::default()
            };
            let stream = jetstream.create_stream(stream).await?;
            let consumer = pull::Config {
                durable_name: Some(jetstream::CONSUMER.to_owned()),
                ack_policy: AckPolicy::Explicit,
                max_ack_pending: UNACKNOWLEDGED_MAX,
                max_waiting: WAITING_MAX,
                ..pull::Config::default()
            };
            stream.create_consumer(consumer).await?;
            Ok(())
        })
        .await
    }

    /// Removes streams.
    pub(crate) fn remove(&self, lanes: &[Lane]) -> anyhow::Result<()> {
        run(self.with_jetstream(async |jetstream| {
            for lane in lanes {
                jetstream.delete_stream(&lane.queue).await?;
            }
            Ok(())
        }))
    }

    /// Returns how many messages are in streams.
    pub(crate) fn messages(&self, lanes: &[Lane]) -> anyhow::Result<u64> {
        run(self.with_jetstream(async |jetstream| {
            let mut messages = 0;
            for lane in lanes {
                messages += jetstream
                    .get_stream(&lane.queue)
                    .await?
                    .get_info()
                    .await?
                    .state
                    .messages;
            }
            Ok(messages)
        }))
    }

    /// Returns the servers' process ids.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.servers.iter().map(Program::pid).collect()
    }

    fn wait_ready(&mut self) -> anyhow::Result<()> {
        wait_for("NATS listens", || {
            for server in &mut self.servers {
                server.still_runs()?;
            }
            let is_up = |address: &SocketAddr| TcpStream::connect(address).is_ok();
            Ok(self.clients.iter().all(is_up).then_some(()))
        })?;
        // The first stream with three replicas cannot be made until all servers have found each other.
        let lanes = self.make("ready", 1)?;
        self.remove(&lanes)
    }

    async fn with_jetstream<T>(
        &self,
        ask: impl AsyncFn(&JetStream) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let lane = Lane {
            queue: String::new(),
            leader: self.clients[0],
        };
        let client = jetstream::connect(&lane).await?;
        ask(&jetstream::context(&client, ANSWERED)).await
    }
}

fn name(number: usize) -> String {
    format!("n{number}")
}

/// Returns what a server is told. What is not said here is as it comes.
fn configuration(
    number: usize,
    clients: &[SocketAddr],
    routes: &[SocketAddr],
    home: &Path,
    sync: bool,
) -> anyhow::Result<String> {
    let mut text = String::new();
    writeln!(text, "server_name: {}", name(number))?;
    writeln!(text, "listen: \"{}\"", clients[number])?;
    writeln!(text, "jetstream {{")?;
    writeln!(text, "  store_dir: \"{}\"", home.join("data").display())?;
    writeln!(text, "  max_memory_store: 1GB")?;
    writeln!(text, "  max_file_store: 100GB")?;
    if sync {
        writeln!(text, "  sync_interval: always")?;
    }
    writeln!(text, "}}")?;
    writeln!(text, "cluster {{")?;
    writeln!(text, "  name: bench")?;
    writeln!(text, "  listen: \"{}\"", routes[number])?;
    let others = routes.iter().filter(|route| **route != routes[number]);
    let others: Vec<String> = others.map(|route| format!("\"nats://{route}\"")).collect();
    writeln!(text, "  routes: [{}]", others.join(", "))?;
    writeln!(text, "}}")?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_of_both_settings_syncs_always() {
        let addresses: Vec<SocketAddr> = (1..=3)
            .map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
            .collect();
        let of = |sync| {
            configuration(1, &addresses, &addresses, Path::new("/d"), sync).expect("text can be written")
        };
        assert!(of(true).contains("sync_interval: always"));
        assert!(!of(false).contains("sync_interval"));
        // A server has routes to the two others alone.
        assert!(of(false).contains("routes: [\"nats://127.0.0.1:1\", \"nats://127.0.0.1:3\"]"));
    }
}
