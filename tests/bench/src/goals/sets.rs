//! What many sets cost three nodes: batches of 16 to queues in 16 sets, and to as many queues of one, in turn on two clusters.
//!
//! Clients are at the node that leads their queue's set.

use anyhow::{Context, ensure};
use posthouse_load::Trio;
use posthouse_load::lanes::{self, Lane};

use crate::goals::BODY_BYTES;
use crate::options::Options;
use crate::report::{Bound, Report};
use crate::site::start_trio;

const SETS: u8 = 16;
const RATE_SHARE_MIN: f64 = 0.8;

/// A cluster with queues, and the sets that those are in.
struct Ground {
    trio: Trio,
    queues: Vec<(String, u64)>,
    sends: Vec<f64>,
    takes: Vec<f64>,
}

/// Measures both, and compares them.
pub(crate) fn measure(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let mut many = Ground::prepare(options, SETS)?;
    let mut one = Ground::prepare(options, 1)?;
    // One set stays where it is.
    many.trio.settle(SETS)?;
    // The first round warms everything up and is not counted.
    for round in 0..=options.rounds() {
        for ground in [&mut many, &mut one] {
            let lanes = ground.lanes()?;
            let sent = lanes::send(&lanes, options.many_connections(), 0, BODY_BYTES, options.part())?;
            let taken = lanes::take_all(&lanes, options.many_connections(), sent.messages)?;
            if round > 0 {
                ground.sends.push(sent.rate());
                ground.takes.push(taken.rate());
            }
        }
    }
    for (what, many, one) in [
        ("sends", &many.sends, &one.sends),
        ("receives and deletes", &many.takes, &one.takes),
    ] {
        let connections = options.many_connections();
        let name = |sets| format!("{sets} of three nodes: {what}, batches of 16, {connections} connections");
        let share = format!("{what} with 16 sets: share of one set's");
        report.add_share(
            [(name("one set"), one), (name("16 sets"), many)],
            (share, Bound::AtLeast(RATE_SHARE_MIN)),
        )?;
    }
    Ok(())
}

// === impl Ground ===

impl Ground {
    /// Starts three nodes with so many sets. A new queue goes to the set that has the fewest.
    fn prepare(options: &Options, sets: u8) -> anyhow::Result<Ground> {
        let trio = start_trio(options, sets)?;
        let mut queues = Vec::new();
        for number in 0..SETS {
            let queue = format!("lane-{number}");
            trio.ask("CreateQueue", &[("queueName", &queue)])?;
            let set = trio.set_of(&queue)?;
            queues.push((queue, set));
        }
        let ground = Ground {
            trio,
            queues,
            sends: Vec::new(),
            takes: Vec::new(),
        };
        ensure!(
            ground.sets() == sets,
            "the queues are in {} of {sets} sets",
            ground.sets()
        );
        Ok(ground)
    }

    /// Returns in how many sets the queues are.
    fn sets(&self) -> u8 {
        let mut sets: Vec<u64> = self.queues.iter().map(|(_, set)| *set).collect();
        sets.sort_unstable();
        sets.dedup();
        u8::try_from(sets.len()).unwrap_or(u8::MAX)
    }

    /// Returns the queues with who leads them now.
    fn lanes(&self) -> anyhow::Result<Vec<Lane>> {
        let leaders = self.trio.leaders()?;
        self.queues
            .iter()
            .map(|(queue, set)| {
                let leader = leaders
                    .get(set)
                    .with_context(|| format!("nobody leads set {set}"))?;
                Ok(Lane {
                    address: self.trio.address(*leader),
                    queue: queue.clone(),
                })
            })
            .collect()
    }
}
