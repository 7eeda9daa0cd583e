//! What a plugin costs: its cases asked over and over, as a broker would.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::case::Case;
use super::trial::Trial;
use crate::cli::output::Table;

/// How long a case is asked for.
const ASKED_FOR: Duration = Duration::from_secs(1);
/// Calls before any are counted, so that the instance is as warm as in a broker.
const WARMING: u32 = 100;
/// How many instances are started to say how long that takes.
const STARTS: usize = 15;

/// What a case costs.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    name: String,
    /// Calls that were counted.
    calls: u64,
    /// From asking to the answer, at the mean.
    nanos_a_call: u64,
    /// The guest's part of that, in CPU time.
    cpu_nanos_a_call: u64,
    /// The first call of a fresh instance less a later one, at the median.
    start_nanos: u64,
    /// What the instance had of memory at the end: it never gives any back.
    memory_bytes: u64,
}

/// Measures a case.
pub(super) async fn figures(case: &Case, trial: &Trial) -> Figures {
    let binding = case.binding(trial);
    for _ in 0..WARMING {
        case.ask(trial, &binding).await;
    }
    let before = trial.usage(&binding);
    let began = Instant::now();
    while began.elapsed() < ASKED_FOR {
        case.ask(trial, &binding).await;
    }
    let elapsed = began.elapsed();
    let after = trial.usage(&binding);
    trial.forget(&binding);
    let calls = (after.calls - before.calls).max(1);
    let nanos_a_call = nanos(elapsed) / calls;
    let mut starts = Vec::with_capacity(STARTS);
    for _ in 0..STARTS {
        let fresh = case.binding(trial);
        let before = Instant::now();
        case.ask(trial, &fresh).await;
        let took = nanos(before.elapsed());
        let later = trial.usage(&fresh).calls.max(1) * nanos_a_call;
        starts.push(took.saturating_sub(later));
        trial.forget(&fresh);
    }
    starts.sort_unstable();
    Figures {
        name: case.name.clone(),
        calls,
        nanos_a_call,
        cpu_nanos_a_call: (after.cpu_micros - before.cpu_micros) * 1_000 / calls,
        start_nanos: starts[STARTS / 2],
        memory_bytes: after.memory_bytes,
    }
}

/// Returns the figures for people.
pub(super) fn text(figures: &[Figures]) -> String {
    let mut table = Table::new(&[
        "case",
        "calls",
        "ns a call",
        "CPU ns a call",
        "start us",
        "memory KiB",
    ]);
    for case in figures {
        table.row([
            case.name.clone(),
            case.calls.to_string(),
            case.nanos_a_call.to_string(),
            case.cpu_nanos_a_call.to_string(),
            (case.start_nanos / 1_000).to_string(),
            (case.memory_bytes / 1_024).to_string(),
        ]);
    }
    table.to_string()
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
