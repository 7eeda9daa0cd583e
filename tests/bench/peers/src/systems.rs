//! Systems under measurement: three nodes each, started on new folders, killed when dropped.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use anyhow::bail;
use posthouse_load::processor;

pub(crate) mod amqp;
pub(crate) mod http;
pub(crate) mod jetstream;
mod nats;
mod pace;
mod posthouse;
mod rabbitmq;
pub(crate) mod stream;

use crate::contender::Server;
use crate::door::Lane;
use crate::interrupt;
use crate::options::Options;

pub(crate) use nats::Nats;
pub(crate) use posthouse::Posthouse;
pub(crate) use rabbitmq::RabbitMq;

/// Nodes of a system, and replicas of all that it keeps.
pub(crate) const NODES: u8 = 3;
/// How long a system may take to be ready, and a queue to be as it should.
const READY: Duration = Duration::from_secs(120);
/// How often it is looked at meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A system with three nodes.
#[derive(Debug)]
pub(crate) enum System {
    /// RabbitMQ.
    RabbitMq(RabbitMq),
    /// NATS.
    Nats(Nats),
    /// Posthouse.
    Posthouse(Posthouse),
}

// === impl System ===

impl System {
    /// Starts three nodes on new folders; returns when all are ready. Only Posthouse has sets.
    pub(crate) fn start(server: Server, sets: u8, options: &Options) -> anyhow::Result<System> {
        Ok(match server {
            Server::RabbitMq => System::RabbitMq(RabbitMq::start(options)?),
            Server::Nats { sync } => System::Nats(Nats::start(sync, options)?),
            Server::Posthouse { streams } => System::Posthouse(Posthouse::start(sets, streams, options)?),
        })
    }

    /// Makes so many queues, replicated on all nodes and led by different ones.
    pub(crate) fn make(&self, name: &str, queues: u16) -> anyhow::Result<Vec<Lane>> {
        match self {
            System::RabbitMq(system) => system.make(name, queues),
            System::Nats(system) => system.make(name, queues),
            System::Posthouse(system) => system.make(name, queues),
        }
    }

    /// Returns queues with who leads them now. Those of RabbitMQ stay where they were made.
    pub(crate) fn led(&self, lanes: &[Lane]) -> anyhow::Result<Vec<Lane>> {
        match self {
            System::RabbitMq(_) => Ok(lanes.to_vec()),
            System::Nats(system) => system.led(lanes),
            System::Posthouse(system) => system.led(lanes),
        }
    }

    /// Removes queues with all that is in them.
    pub(crate) fn remove(&self, lanes: &[Lane]) -> anyhow::Result<()> {
        match self {
            System::RabbitMq(system) => system.remove(lanes),
            System::Nats(system) => system.remove(lanes),
            System::Posthouse(system) => system.remove(lanes),
        }
    }

    /// Returns how many messages the system says are in the queues.
    pub(crate) fn messages(&self, lanes: &[Lane]) -> anyhow::Result<u64> {
        match self {
            System::RabbitMq(system) => system.messages(lanes),
            System::Nats(system) => system.messages(lanes),
            System::Posthouse(system) => system.messages(lanes),
        }
    }

    /// Returns the processor time that all of its processes have used until now, in seconds.
    pub(crate) fn busy_seconds(&self) -> anyhow::Result<f64> {
        processor::busy_seconds_of_trees(&match self {
            System::RabbitMq(system) => system.pids(),
            System::Nats(system) => system.pids(),
            System::Posthouse(system) => system.pids(),
        })
    }
}

/// Names the queues of a piece of work.
fn names(name: &str, queues: u16) -> impl Iterator<Item = String> {
    (0..queues).map(move |number| format!("{name}-{number}"))
}

/// Returns an address that nobody listens at now.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// Asks again and again until there is an answer; fails when that takes too long, or on an interrupt.
fn wait_for<T>(what: &str, mut ask: impl FnMut() -> anyhow::Result<Option<T>>) -> anyhow::Result<T> {
    let start = Instant::now();
    while start.elapsed() < READY {
        interrupt::none_came()?;
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    bail!("{what}: not within {} s", READY.as_secs())
}

/// Does something again and again until it works; fails as it last did when that takes too long, or on an interrupt.
fn insist<T>(mut ask: impl FnMut() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let start = Instant::now();
    loop {
        match ask() {
            Ok(answer) => return Ok(answer),
            Err(error) if start.elapsed() >= READY => return Err(error),
            Err(_) => interrupt::none_came()?,
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}
