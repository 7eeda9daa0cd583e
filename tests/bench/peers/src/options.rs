//! What the comparison was told.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Parser, ValueEnum};
use tempfile::TempDir;

use crate::contender::{Body, Contender};

/// What is run when `--quick` is given.
const QUICK_ROUNDS: u16 = 1;
const QUICK_SECONDS: u64 = 1;
/// Where Debian's package puts RabbitMQ's own scripts, in a folder of its version.
const RABBITMQ_FOLDER: &str = "/usr/lib/rabbitmq/lib";

/// Measures Posthouse beside RabbitMQ and NATS JetStream: three nodes of each on this machine, the same work, in turn.
#[derive(Clone, Debug, Parser)]
#[command(name = "posthouse-bench-peers", max_term_width = 100)]
pub(crate) struct Options {
    /// What to measure; all when absent.
    #[arg(long, value_enum, value_delimiter = ',')]
    contenders: Vec<Contender>,
    /// The sizes of bodies; all when absent.
    #[arg(long, value_enum, value_delimiter = ',')]
    bodies: Vec<Body>,
    /// The program `posthouse`; the release build beside this one when absent.
    #[arg(long, value_name = "FILE")]
    posthouse: Option<PathBuf>,
    /// The program `nats-server`.
    #[arg(long, value_name = "FILE", env = "NATS_SERVER", default_value = "nats-server")]
    nats_server: PathBuf,
    /// The folder of RabbitMQ's own scripts; that of Debian's package when absent.
    #[arg(long, value_name = "DIR")]
    rabbitmq_scripts: Option<PathBuf>,
    /// The folder below which all keep their data: it says which disk is measured.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Rounds; figures are medians of them.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// How long sending, mixed work and steady sending take in a round, in seconds each.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=300))]
    seconds: u64,
    /// Sends a second while latency is measured.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) pace: u32,
    /// Searches first how many clients, and how much in flight, serve each best, instead of using what was found before.
    #[arg(long)]
    pub(crate) tune: bool,
    /// Runs everything briefly, to see that it works.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Where to put the picture.
    #[arg(long, value_name = "FILE", default_value = "peers.svg")]
    pub(crate) picture: PathBuf,
}

// === impl Options ===

impl Options {
    /// Returns what is measured, in the order of a round, each once.
    pub(crate) fn contenders(&self) -> Vec<Contender> {
        chosen(&self.contenders)
    }

    /// Returns the sizes of bodies, each once.
    pub(crate) fn bodies(&self) -> Vec<Body> {
        chosen(&self.bodies)
    }

    /// Returns how many rounds there are.
    pub(crate) fn rounds(&self) -> u16 {
        if self.quick { QUICK_ROUNDS } else { self.rounds }
    }

    /// Returns how long a part of a round takes.
    pub(crate) fn part(&self) -> Duration {
        Duration::from_secs(if self.quick { QUICK_SECONDS } else { self.seconds })
    }

    /// Returns the folder below which all keep their data.
    pub(crate) fn data(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(std::env::temp_dir)
    }

    /// Returns a new folder there, gone when it is dropped.
    pub(crate) fn folder(&self) -> anyhow::Result<TempDir> {
        let parent = self.data();
        TempDir::new_in(&parent).with_context(|| format!("{} takes no folder", parent.display()))
    }

    /// Returns the program `posthouse`.
    pub(crate) fn posthouse(&self) -> anyhow::Result<PathBuf> {
        let program = match &self.posthouse {
            Some(program) => program.clone(),
            None => std::env::current_exe()?.with_file_name("posthouse"),
        };
        let remedy = "build it with `cargo build --release` at the root, or name it with --posthouse";
        there(&program, remedy)
    }

    /// Returns the program `nats-server`.
    pub(crate) fn nats_server(&self) -> anyhow::Result<PathBuf> {
        let remedy = "tests/bench/peers/run installs it; or name it with --nats-server";
        there(&self.nats_server, remedy)
    }

    /// Returns the folder of RabbitMQ's own scripts.
    pub(crate) fn rabbitmq_scripts(&self) -> anyhow::Result<PathBuf> {
        let remedy = "tests/bench/peers/run installs it; or name the folder with --rabbitmq-scripts";
        if let Some(folder) = &self.rabbitmq_scripts {
            there(&folder.join("rabbitmq-server"), remedy)?;
            return Ok(folder.clone());
        }
        let versions = std::fs::read_dir(RABBITMQ_FOLDER).into_iter().flatten().flatten();
        let scripts = versions.map(|version| version.path().join("sbin"));
        let found = scripts
            .into_iter()
            .find(|folder| folder.join("rabbitmq-server").is_file());
        found.with_context(|| format!("RabbitMQ is not in {RABBITMQ_FOLDER}; {remedy}"))
    }
}

/// Returns what was named, or all when nothing was.
fn chosen<T: ValueEnum + Ord + Copy>(named: &[T]) -> Vec<T> {
    let mut chosen = if named.is_empty() {
        T::value_variants().to_vec()
    } else {
        named.to_vec()
    };
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}

/// Returns a program that is there, by its path or, when that is a bare name, in one of the places for programs.
fn there(program: &Path, remedy: &str) -> anyhow::Result<PathBuf> {
    let is_bare = program.components().count() == 1;
    let places = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates = vec![program.to_owned()];
    if is_bare {
        candidates = std::env::split_paths(&places)
            .map(|place| place.join(program))
            .collect();
    }
    match candidates.into_iter().find(|candidate| candidate.is_file()) {
        Some(found) => Ok(found),
        None => bail!("{} is not there; {remedy}", program.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_twice_is_measured_once_and_in_order() {
        let arguments = [
            "posthouse-bench-peers",
            "--contenders",
            "posthouse,nats,posthouse",
        ];
        let options = Options::parse_from(arguments);
        assert_eq!(options.contenders(), [Contender::Nats, Contender::Posthouse]);
        assert_eq!(options.bodies(), [Body::Small, Body::Large]);
    }

    #[test]
    fn quick_takes_less() {
        let full = Options::parse_from(["posthouse-bench-peers"]);
        let quick = Options::parse_from(["posthouse-bench-peers", "--quick"]);
        assert!(quick.rounds() < full.rounds() && quick.part() < full.part());
    }

    #[test]
    fn a_missing_program_is_told_with_the_remedy() {
        let options = Options::parse_from(["posthouse-bench-peers", "--nats-server", "/nowhere/nats-server"]);
        let error = options.nats_server().expect_err("it is not there").to_string();
        assert!(
            error.contains("/nowhere/nats-server") && error.contains("run"),
            "{error}"
        );
        assert!(there(Path::new("sh"), "").is_ok(), "a bare name is looked for");
    }
}
