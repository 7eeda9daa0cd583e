//! Runs seeds, each in a process of its own, and says how one that fails is repeated.

use std::process::{Command, Output};

use posthouse_replica::Bug;

use crate::{away, course};

/// The seeds of an ordinary test run.
const SEEDS_USUAL: u64 = 100;
/// In one of so many, members come and go, too.
const CHANGING_ONE_IN: u64 = 4;
/// What a run ends with that found nothing.
const DIGEST: &str = "digest ";

/// What is simulated.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Story {
    /// A course while all is well.
    Fair,
    /// A course while machines, clocks and network fail.
    Foul,
    /// The same, and members of sets come and go.
    Changing,
    /// A set that is away for an hour.
    Away,
}

/// One run of a seed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) seed: u64,
    pub(crate) story: Story,
    pub(crate) bug: Option<Bug>,
}

#[test]
fn seeds_keep_every_promise() {
    let first = number("POSTHOUSE_SIMULATION_SEED").unwrap_or(0);
    let count = number("POSTHOUSE_SIMULATION_SEEDS").unwrap_or(SEEDS_USUAL);
    let halves = [0, 1].map(|half| {
        std::thread::spawn(move || {
            for seed in (first + half..first + count).step_by(2) {
                Run::of(seed, Story::Foul).expect_well();
            }
        })
    });
    for half in halves {
        half.join().expect("no seed fails");
    }
}

#[test]
fn seeds_keep_every_promise_while_members_come_and_go() {
    let first = number("POSTHOUSE_SIMULATION_SEED").unwrap_or(0);
    let count = number("POSTHOUSE_SIMULATION_SEEDS").unwrap_or(SEEDS_USUAL);
    for seed in first..first + count.div_ceil(CHANGING_ONE_IN) {
        Run::of(seed, Story::Changing).expect_well();
    }
}

#[test]
fn a_seed_has_one_history() {
    for (seed, story) in [
        (1, Story::Fair),
        (2, Story::Foul),
        (3, Story::Foul),
        (4, Story::Changing),
    ] {
        let run = Run::of(seed, story);
        assert_eq!(run.expect_well(), run.expect_well(), "{run:?}");
    }
    let (one, another) = (Run::of(2, Story::Foul), Run::of(3, Story::Foul));
    assert_ne!(one.expect_well(), another.expect_well());
}

#[test]
fn what_goes_to_a_set_that_was_away_for_an_hour_arrives_once() {
    Run::of(0, Story::Away).expect_well();
}

/// What the processes of the others run: one seed.
#[test]
#[ignore = "it is run by the others, or by tests/simulation/run"]
fn one_seed() {
    let run = Run::from_environment();
    let is_told = std::env::var_os("POSTHOUSE_SIMULATION_TOLD").is_some();
    if let Ok(filter) = std::env::var("POSTHOUSE_SIMULATION_LOG") {
        // On a thread of its own, whose chance is not that of the simulation: it is the same with a log and without.
        let log = move || {
            let log = tracing_subscriber::fmt().with_env_filter(filter);
            log.with_ansi(false).without_time().init();
        };
        std::thread::spawn(log).join().expect("logging starts");
    }
    crate::entropy::seed(run.seed);
    if let Some(bug) = run.bug {
        bug.let_loose();
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime starts");
    let notes = runtime.block_on(async {
        match run.story {
            Story::Fair => course::run(run.seed, course::Weather::Fair, is_told).await,
            Story::Foul => course::run(run.seed, course::Weather::Foul, is_told).await,
            Story::Changing => course::run(run.seed, course::Weather::Changing, is_told).await,
            Story::Away => away::run(run.seed, is_told).await,
        }
    });
    let wrong = notes.all_wrong();
    assert!(wrong.is_empty(), "{wrong:#?}");
    println!("{DIGEST}{:016x}", notes.digest());
}

// === impl Run ===

impl Run {
    pub(crate) fn of(seed: u64, story: Story) -> Run {
        let bug = None;
        Run { seed, story, bug }
    }

    fn from_environment() -> Run {
        let text = |variable: &str| std::env::var(variable).unwrap_or_default();
        let story = match text("POSTHOUSE_SIMULATION_STORY").as_str() {
            "Fair" => Story::Fair,
            "Away" => Story::Away,
            "Changing" => Story::Changing,
            _ => Story::Foul,
        };
        let name = text("POSTHOUSE_SIMULATION_BUG");
        Run {
            seed: number("POSTHOUSE_SIMULATION_SEED").unwrap_or(0),
            story,
            bug: Bug::ALL.into_iter().find(|bug| format!("{bug:?}") == name),
        }
    }

    /// Runs it in a process of its own.
    pub(crate) fn output(self) -> Output {
        let bug = self.bug.map(|bug| format!("{bug:?}")).unwrap_or_default();
        Command::new(std::env::current_exe().expect("this program has a path"))
            .args(["seeds::one_seed", "--exact", "--ignored", "--nocapture"])
            .env("POSTHOUSE_SIMULATION_SEED", self.seed.to_string())
            .env("POSTHOUSE_SIMULATION_STORY", format!("{:?}", self.story))
            .env("POSTHOUSE_SIMULATION_BUG", bug)
            .output()
            .expect("this program can be run")
    }

    /// Returns the digest of its history, in which nothing is wrong.
    fn expect_well(self) -> String {
        let output = self.output();
        if let Some(digest) = digest(&output) {
            return digest;
        }
        let Run { seed, story, .. } = self;
        panic!(
            "{}\n{}\nrun again with: POSTHOUSE_SIMULATION_STORY={story:?} tests/simulation/run 1 {seed}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// Returns what a run ended with that found nothing.
pub(crate) fn digest(output: &Output) -> Option<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix(DIGEST));
    line.filter(|_| output.status.success()).map(str::to_owned)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}
