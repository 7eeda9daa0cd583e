//! What nodes take that nobody asks for anything: memory of new ones, and processor time with many sets.

use std::time::{Duration, Instant};

use posthouse_load::processor;

use crate::options::Options;
use crate::report::{Bound, Report, Unit};
use crate::site::start_trio;

const SETS: u8 = 100;
const PERCENT_MAX: f64 = 10.0;
/// What a new cluster has when nothing else is said.
const USUAL_SETS: u8 = 4;
const RESIDENT_MEGABYTES_MAX: f64 = 150.0;
/// How long the nodes have to spread leaders among themselves before they are looked at.
const SETTLING: Duration = Duration::from_secs(30);
/// How long they are looked at.
const SPAN: Duration = Duration::from_secs(30);
/// The same, for a brief look.
const QUICK: Duration = Duration::from_secs(4);

/// Measures three nodes with nothing to do.
pub(crate) fn measure(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    memory(options, report)?;
    processors(options, report)
}

/// Measures the memory of three new nodes.
fn memory(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let trio = start_trio(options, USUAL_SETS)?;
    std::thread::sleep(if options.quick { QUICK } else { SETTLING });
    for (node, pid) in trio.pids().into_iter().enumerate() {
        report.add(
            format!("three idle nodes: resident memory of node {}", node + 1),
            processor::resident_bytes(pid)? as f64 / 1e6,
            Unit::Megabytes,
            Bound::Below(RESIDENT_MEGABYTES_MAX),
        );
    }
    Ok(())
}

/// Measures the processor time of three nodes with many sets.
fn processors(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let trio = start_trio(options, SETS)?;
    let [settling, span] = [SETTLING, SPAN].map(|usual| if options.quick { QUICK } else { usual });
    std::thread::sleep(settling);
    let start = Instant::now();
    let before = trio.busy_seconds()?;
    std::thread::sleep(span);
    let after = trio.busy_seconds()?;
    let elapsed = start.elapsed().as_secs_f64();
    for (node, (before, after)) in before.iter().zip(&after).enumerate() {
        report.add(
            format!("{SETS} idle sets: node {} keeps a core busy", node + 1),
            (after - before) / elapsed * 100.0,
            Unit::Percent,
            Bound::Below(PERCENT_MAX),
        );
    }
    Ok(())
}
