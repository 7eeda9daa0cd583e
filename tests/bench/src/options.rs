//! What the bench was told.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::{Parser, ValueEnum};

/// The node.
const PROGRAM: &str = "posthouse";
/// The node with a stub for a router.
const STUB_PROGRAM: &str = "posthouse-stub-router";
/// What is run when `--quick` is given.
const QUICK_ROUNDS: usize = 2;
const QUICK_SECONDS: u64 = 1;
const QUICK_MESSAGES: u64 = 100_000;
const QUICK_QUEUES: u64 = 2_000;
/// How many messages of 1 KiB the goal of `deep` is for.
pub(crate) const WAITING: u64 = 10_000_000;

/// Measures the goals of Posthouse, of one node and of three.
#[derive(Clone, Debug, Parser)]
#[command(name = "posthouse-bench", max_term_width = 100)]
pub(crate) struct Options {
    /// What to measure.
    #[arg(value_enum, default_value_t = Goal::All)]
    pub(crate) goal: Goal,
    /// The program to measure; the release build beside this one when absent.
    #[arg(long, value_name = "FILE")]
    pub(crate) program: Option<PathBuf>,
    /// The same node with a router that returns every subscription, for `route`; the release build beside this
    /// program when absent.
    #[arg(long, value_name = "FILE")]
    stub_program: Option<PathBuf>,
    /// The folder below which nodes keep their data: it says which disk is measured.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Rounds of each measurement; figures are medians of them.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// How long each part of a round takes, in seconds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=300))]
    seconds: u64,
    /// Connections at once: 64 when absent, and 640 for `sets`, `seal` and `route`.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    connections: Option<u16>,
    /// Messages of 100 bytes that wait, for `backlog`.
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(16..=900_000_000))]
    messages: u64,
    /// Messages of 1 KiB that wait, for `deep`: 10,000,000 when absent, or as many of them as fit the disk.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(16..=900_000_000))]
    waiting: Option<u64>,
    /// Empty queues, for `queues`.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    queues: u64,
    /// Runs everything briefly, to see that it works.
    #[arg(long)]
    pub(crate) quick: bool,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Goal {
    /// Sends, one by one and in batches.
    Send,
    /// How long a send takes, beside a bare `fdatasync`.
    Latency,
    /// How long a send to three nodes takes, beside three bare processes that sync together.
    Quorum,
    /// How soon a consumer that waits has a message.
    Handover,
    /// What sealing costs.
    Seal,
    /// What routing costs.
    Route,
    /// Memory of empty queues.
    Queues,
    /// Sends and receives with very many queues in use, beside one.
    Spread,
    /// The same with 16 sets of three nodes, beside one.
    Sets,
    /// Memory, restart and speed with many messages waiting.
    Backlog,
    /// Speed and memory with many messages of 1 KiB waiting.
    Deep,
    /// Bytes written to the disk for a byte sent.
    Written,
    /// Pushes to a hundred HTTP subscriptions.
    Pushes,
    /// Messages of 1 MiB, beside the disk's speed.
    Large,
    /// How long nobody serves when the leader of three nodes dies, and when it is stopped.
    Failover,
    /// What a follower that catches up costs those who send.
    Catchup,
    /// Batches with three nodes.
    Cluster,
    /// What three idle nodes take, and idle sets.
    Idle,
    /// What a call of a plugin costs, without a node.
    Guests,
    /// Deliveries that wait for an answer, and the instances that takes.
    Flight,
    /// Memory of many tenants with a plugin each, and the first call of each.
    Tenants,
    /// What a tenant notices of hostile plugins beside it.
    Hostile,
    /// All of them.
    All,
}

// === impl Options ===

impl Options {
    /// Returns how many rounds there are.
    pub(crate) fn rounds(&self) -> usize {
        if self.quick {
            QUICK_ROUNDS
        } else {
            usize::from(self.rounds)
        }
    }

    /// Returns how long a part of a round takes.
    pub(crate) fn part(&self) -> Duration {
        Duration::from_secs(if self.quick { QUICK_SECONDS } else { self.seconds })
    }

    /// Returns how many connections to use at once.
    pub(crate) fn connections(&self) -> u16 {
        self.connections.unwrap_or(64)
    }

    /// Returns how many connections to use at once where what is compared takes what is there together: commands of a set into
    /// an entry, messages into a call of a plugin. With 64, an entry of one of 16 sets has four commands at most.
    pub(crate) fn many_connections(&self) -> u16 {
        self.connections.unwrap_or(640)
    }

    /// Returns how many messages wait, for `backlog`.
    pub(crate) fn messages(&self) -> u64 {
        if self.quick {
            self.messages.min(QUICK_MESSAGES)
        } else {
            self.messages
        }
    }

    /// Returns how many messages of 1 KiB are to wait; none if as many as fit.
    pub(crate) fn waiting(&self) -> Option<u64> {
        if self.quick {
            Some(self.waiting.unwrap_or(WAITING).min(QUICK_MESSAGES))
        } else {
            self.waiting
        }
    }

    /// Returns how many empty queues there are.
    pub(crate) fn queues(&self) -> u64 {
        if self.quick {
            self.queues.min(QUICK_QUEUES)
        } else {
            self.queues
        }
    }

    /// Returns the node with a stub for a router, if it is there.
    pub(crate) fn stub_program(&self) -> anyhow::Result<Option<PathBuf>> {
        let program = match &self.stub_program {
            Some(program) => program.clone(),
            None => release_build(STUB_PROGRAM)?,
        };
        Ok(program.is_file().then_some(program))
    }

    /// Returns the program to measure.
    pub(crate) fn program(&self) -> anyhow::Result<PathBuf> {
        let program = match &self.program {
            Some(program) => program.clone(),
            None => release_build(PROGRAM)?,
        };
        if !program.is_file() {
            bail!(
                "{} is not there; build it with `cargo build --release -p posthouse-node`, or name it with --program",
                program.display()
            );
        }
        Ok(program)
    }
}

/// Returns where cargo puts the release build of a program: beside this one, whatever it was built as.
fn release_build(program: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    match own.parent().and_then(|profile| profile.parent()) {
        Some(target) => Ok(target.join("release").join(program)),
        None => bail!("{} is not below a target directory; use --program", own.display()),
    }
}

// === impl Goal ===

impl Goal {
    /// Returns what is measured for this, the quick ones first.
    pub(crate) fn parts(self) -> &'static [Goal] {
        match self {
            Goal::Send => &[Goal::Send],
            Goal::Latency => &[Goal::Latency],
            Goal::Quorum => &[Goal::Quorum],
            Goal::Handover => &[Goal::Handover],
            Goal::Seal => &[Goal::Seal],
            Goal::Route => &[Goal::Route],
            Goal::Queues => &[Goal::Queues],
            Goal::Spread => &[Goal::Spread],
            Goal::Sets => &[Goal::Sets],
            Goal::Backlog => &[Goal::Backlog],
            Goal::Deep => &[Goal::Deep],
            Goal::Written => &[Goal::Written],
            Goal::Pushes => &[Goal::Pushes],
            Goal::Large => &[Goal::Large],
            Goal::Failover => &[Goal::Failover],
            Goal::Catchup => &[Goal::Catchup],
            Goal::Cluster => &[Goal::Cluster],
            Goal::Idle => &[Goal::Idle],
            Goal::Guests => &[Goal::Guests],
            Goal::Flight => &[Goal::Flight],
            Goal::Tenants => &[Goal::Tenants],
            Goal::Hostile => &[Goal::Hostile],
            Goal::All => &[
                Goal::Send,
                Goal::Latency,
                Goal::Quorum,
                Goal::Handover,
                Goal::Seal,
                Goal::Route,
                Goal::Large,
                Goal::Pushes,
                Goal::Queues,
                Goal::Spread,
                Goal::Sets,
                Goal::Written,
                Goal::Failover,
                Goal::Catchup,
                Goal::Cluster,
                Goal::Idle,
                Goal::Guests,
                Goal::Flight,
                Goal::Tenants,
                Goal::Hostile,
                Goal::Backlog,
                Goal::Deep,
            ],
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self
            .to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned());
        f.write_str(&name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_measures_each_goal_once() {
        let all = Goal::All.parts();
        for goal in Goal::value_variants() {
            let times = all.iter().filter(|part| *part == goal).count();
            assert_eq!(times, usize::from(*goal != Goal::All), "{goal}");
        }
    }

    #[test]
    fn quick_takes_less_of_everything() {
        let full = Options::parse_from(["posthouse-bench"]);
        let quick = Options::parse_from(["posthouse-bench", "--quick"]);
        assert!(quick.rounds() < full.rounds() && quick.part() < full.part());
        assert!(quick.messages() < full.messages() && quick.queues() < full.queues());
        assert!(full.waiting().is_none() && quick.waiting().is_some_and(|messages| messages < WAITING));
    }

    #[test]
    fn a_missing_program_is_told_with_the_remedy() {
        let options = Options::parse_from(["posthouse-bench", "--program", "/nowhere/posthouse"]);
        let error = options.program().expect_err("it is not there").to_string();
        assert!(
            error.contains("/nowhere/posthouse") && error.contains("cargo build --release"),
            "{error}"
        );
    }
}
