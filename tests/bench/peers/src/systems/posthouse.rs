//! Posthouse: three nodes, one or several sets.

use posthouse_load::Trio;

use super::names;
use crate::door::Lane;
use crate::options::Options;

/// Three nodes of Posthouse.
#[derive(Debug)]
pub(crate) struct Posthouse {
    trio: Trio,
}

// === impl Posthouse ===

impl Posthouse {
    /// Starts them with so many sets.
    pub(crate) fn start(sets: u8, options: &Options) -> anyhow::Result<Posthouse> {
        let trio = Trio::start(&options.posthouse()?, &options.data(), sets)?;
        Ok(Posthouse { trio })
    }

    /// Makes queues. A new one goes to the set that has the fewest, so that as many sets as queues have one each.
    pub(crate) fn make(&self, name: &str, queues: u16) -> anyhow::Result<Vec<Lane>> {
        names(name, queues)
            .map(|queue| {
                self.trio.ask("CreateQueue", &[("queueName", &queue)])?;
                let leader = self.trio.leader_of(&queue)?;
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
}
