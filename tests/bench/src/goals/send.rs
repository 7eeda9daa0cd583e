//! Sends, one by one and in batches, in turn on one queue.

use anyhow::Context;
use posthouse_load::statistics::median;

use crate::goals::BODY_BYTES;
use crate::options::Options;
use crate::report::{Bound, Report, Unit};
use crate::site::{Busy, Site};

const SINGLE_PER_SECOND: f64 = 10_000.0;
const BATCHED_PER_SECOND: f64 = 60_000.0;
const QUEUE: &str = "sends";

/// Measures what a queue takes a second.
pub(crate) fn measure(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let site = Site::start(options)?;
    site.create_queue(QUEUE)?;
    // The first parts warm everything up and are not counted.
    site.repeat(options, &site.signing().send(QUEUE, BODY_BYTES))?;
    site.repeat(options, &site.signing().send_batch(QUEUE, BODY_BYTES))?;

    let (mut single, mut batched) = (Vec::new(), Vec::new());
    let busy = Busy::begin(&site)?;
    for _ in 0..options.rounds() {
        // Signed anew each time: a signature is good for some minutes only.
        single.push(
            site.repeat(options, &site.signing().send(QUEUE, BODY_BYTES))?
                .rate(),
        );
        batched.push(
            site.repeat(options, &site.signing().send_batch(QUEUE, BODY_BYTES))?
                .rate(),
        );
    }
    let single = median(&single).context("there is a round")?;
    let batched = median(&batched).context("there is a round")?;
    let connections = options.connections();
    report.add(
        format!("sends of 1 KiB, {connections} connections"),
        single,
        Unit::PerSecond,
        Bound::AtLeast(SINGLE_PER_SECOND),
    );
    report.add(
        format!("messages of 1 KiB in batches of 16, {connections} connections"),
        batched,
        Unit::PerSecond,
        Bound::AtLeast(BATCHED_PER_SECOND),
    );
    busy.tell(&site, "sends", report)
}
