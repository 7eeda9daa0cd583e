//! How long a send to three nodes takes at a steady rate, beside three bare processes that write and sync a record of its
//! size together, and a loopback round trip to them: in turn, at the same rate.
//!
//! Clients are at the set's leader. Percentiles are compared round by round.

use anyhow::Context;
use posthouse_load::drive;
use posthouse_load::requests::Signing;
use posthouse_load::statistics::{median, median_ratio, percentile};

use crate::bare::BareTrio;
use crate::goals::BODY_BYTES;
use crate::options::Options;
use crate::report::{Bound, Report, Unit};
use crate::site::start_trio;

const SENDS_PER_SECOND: u32 = 1_000;
/// How many connections share the sends.
const CONNECTIONS: u16 = 32;
const TIMES_MAX: f64 = 2.0;
const PERCENTS: [f64; 2] = [50.0, 99.0];
const QUEUE: &str = "steady";

/// Measures both, and compares their percentiles.
pub(crate) fn measure(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let trio = start_trio(options, 1)?;
    trio.ask("CreateQueue", &[("queueName", QUEUE)])?;
    let mut bare_trio = BareTrio::start(options)?;
    let mut sends = [const { Vec::new() }; PERCENTS.len()];
    let mut records = [const { Vec::new() }; PERCENTS.len()];
    // The first round warms everything up and is not counted.
    for round in 0..=options.rounds() {
        let address = trio.address(trio.leader(0)?);
        let request = Signing::new(address).send(QUEUE, BODY_BYTES);
        let sent = drive::steady(address, CONNECTIONS, &request, SENDS_PER_SECOND, options.part())?;
        let kept = bare_trio.steady(SENDS_PER_SECOND, options.part())?;
        if round == 0 {
            continue;
        }
        for (place, percent) in PERCENTS.into_iter().enumerate() {
            sends[place].push(percentile(&sent, percent).context("something was sent")?);
            records[place].push(percentile(&kept, percent).context("something was kept")?);
        }
    }
    for (place, percent) in PERCENTS.into_iter().enumerate() {
        for (name, millis) in [
            ("three bare processes, 1000 records a second", &records[place]),
            ("a send to three nodes, 1000 a second", &sends[place]),
        ] {
            let middle = median(millis).context("there is a round")?;
            report.add(format!("{name}: p{percent}"), middle, Unit::Millis, Bound::None);
        }
        let times = median_ratio(&sends[place], &records[place]).context("there is a round")?;
        report.add(
            format!("p{percent} of a send by that of three bare processes"),
            times,
            Unit::Times,
            Bound::AtMost(TIMES_MAX),
        );
    }
    Ok(())
}
