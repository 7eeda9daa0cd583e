//! What sealing costs: sends to a queue that seals and to one that does not, in turn on one node.

use anyhow::Context;
use posthouse_load::statistics::{median, median_ratio};

use crate::goals::BODY_BYTES;
use crate::options::Options;
use crate::report::{Bound, Report, Unit};
use crate::site::Site;

const COST_PERCENT_MAX: f64 = 15.0;
const CLEAR: &str = "clear";
const SEALED: &str = "sealed";
const KEY: &str = "bench";

/// Measures what sealing takes off the rate of sends.
pub(crate) fn measure(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let site = Site::start(options)?;
    site.create_queue(CLEAR)?;
    site.create_queue(SEALED)?;
    site.command(&["key", "create", KEY])?;
    site.command(&["queue", "seal", SEALED, "--key", KEY])?;
    for queue in [CLEAR, SEALED] {
        site.repeat_by_many(options, &site.signing().send(queue, BODY_BYTES))?;
    }

    let (mut clear, mut sealed) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds() {
        clear.push(
            site.repeat_by_many(options, &site.signing().send(CLEAR, BODY_BYTES))?
                .rate(),
        );
        sealed.push(
            site.repeat_by_many(options, &site.signing().send(SEALED, BODY_BYTES))?
                .rate(),
        );
    }
    let cost = (1.0 - median_ratio(&sealed, &clear).context("there is a round")?) * 100.0;
    let clear = median(&clear).context("there is a round")?;
    let sealed = median(&sealed).context("there is a round")?;
    let connections = options.many_connections();
    for (what, rate) in [("in clear", clear), ("sealed", sealed)] {
        let name = format!("sends of 1 KiB, {what}, {connections} connections");
        report.add(name, rate, Unit::PerSecond, Bound::None);
    }
    report.add(
        "cost of sealing",
        cost,
        Unit::Percent,
        Bound::AtMost(COST_PERCENT_MAX),
    );
    Ok(())
}
