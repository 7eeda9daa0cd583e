//! Posthouse: three nodes, one or several sets.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use posthouse_load::Trio;

use super::{names, wait_for};
use crate::door::Lane;
use crate::options::Options;

/// How long leaders have to stay where they are: nodes look every five seconds whether they are spread.
const SETTLED: Duration = Duration::from_secs(7);

/// Three nodes of Posthouse.
#[derive(Debug)]
pub(crate) struct Posthouse {
    trio: Trio,
    /// Whether clients come by the streaming door.
    streams: bool,
}

// === impl Posthouse ===

impl Posthouse {
    /// Starts them with so many sets, for clients that come by the streaming door or over HTTP. Nodes that are started for
    /// development, as these are, have both open.
    pub(crate) fn start(sets: u8, streams: bool, options: &Options) -> anyhow::Result<Posthouse> {
        let trio = Trio::start(&options.posthouse()?, &options.data(), sets)?;
        let leaders =
            || -> anyhow::Result<Vec<usize>> { (0..sets).map(|set| trio.leader(set.into())).collect() };
        let mut seen = (leaders()?, Instant::now());
        wait_for("leaders stay where they are", || {
            let now = leaders()?;
            if now != seen.0 {
                seen = (now, Instant::now());
            }
            Ok((seen.1.elapsed() >= SETTLED).then_some(()))
        })?;
        Ok(Posthouse { trio, streams })
    }

    /// Returns queues with who leads them now.
    pub(crate) fn led(&self, lanes: &[Lane]) -> anyhow::Result<Vec<Lane>> {
        lanes
            .iter()
            .map(|lane| {
                let (queue, leader) = (lane.queue.clone(), self.leader_of(&lane.queue)?);
                Ok(Lane { queue, leader })
            })
            .collect()
    }

    /// Makes queues. A new one goes to the set that has the fewest, so that as many sets as queues have one each.
    pub(crate) fn make(&self, name: &str, queues: u16) -> anyhow::Result<Vec<Lane>> {
        names(name, queues)
            .map(|queue| {
                self.trio.ask("CreateQueue", &[("queueName", &queue)])?;
                let leader = self.leader_of(&queue)?;
                Ok(Lane { queue, leader })
            })
            .collect()
    }

    /// Removes queues.
    pub(crate) fn remove(&self, lanes: &[Lane]) -> anyhow::Result<()> {
        lanes
            .iter()
            .try_for_each(|lane| self.trio.ask("DeleteQueue", &[("queueName", &lane.queue)]))
    }

    /// Returns how many messages are in queues.
    pub(crate) fn messages(&self, lanes: &[Lane]) -> anyhow::Result<u64> {
        lanes.iter().map(|lane| self.trio.messages(&lane.queue)).sum()
    }

    /// Returns the nodes' process ids.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.trio.pids()
    }

    /// Returns where the node that leads a queue's set has its door.
    fn leader_of(&self, queue: &str) -> anyhow::Result<SocketAddr> {
        let leader = self.trio.leader_of(queue)?;
        Ok(match self.streams {
            true => leader.streams_address(),
            false => leader.address(),
        })
    }
}
