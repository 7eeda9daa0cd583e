//! Very many messages of 1 KiB that wait in one queue: whether they slow others down, and the most memory that the node has
//! under load with them.

use posthouse_load::processor;
use posthouse_load::requests::BATCH;

use crate::goals::{BODY_BYTES, backlog};
use crate::options::{Options, WAITING};
use crate::report::{Bound, Report, Unit};
use crate::site::{Site, free_bytes};

const RESIDENT_MEGABYTES_MAX: f64 = 600.0;
/// What a message takes on the disk: its body, and what a segment and the records of decisions keep of it.
const MESSAGE_BYTES: u64 = 1_400;
/// What is left of the disk for logs, for what is sent while it is measured, and for the node not to refuse it.
const SPARE_BYTES: u64 = 5 << 30;
/// As many as fit are rounded down to so many.
const STEP: u64 = 100_000;

/// Fills a queue and measures the node with it.
pub(crate) fn measure(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let messages = waiting(options, report)?.next_multiple_of(BATCH);
    let site = Site::start(options)?;
    backlog::make_queues(&site)?;
    backlog::fill(&site, options, messages, BODY_BYTES, report)?;
    backlog::rates(&site, options, BODY_BYTES, report)?;
    let most = processor::resident_bytes_most(site.pid()?)?;
    report.add(
        format!("most resident memory under load with {messages} messages waiting"),
        most as f64 / 1e6,
        Unit::Megabytes,
        Bound::Below(RESIDENT_MEGABYTES_MAX),
    );
    Ok(())
}

/// Returns how many messages are to wait, and says so when they are fewer than the goal's.
fn waiting(options: &Options, report: &mut Report) -> anyhow::Result<u64> {
    let asked = options.waiting();
    let free = free_bytes(options)?;
    let messages = asked.unwrap_or_else(|| fitting(free));
    if messages < WAITING && !options.quick {
        report.remark(format!(
            "deep: {messages} messages wait, and not {WAITING}: {} GB of the disk are free, {} needed; see --waiting",
            free / 1_000_000_000,
            (WAITING * MESSAGE_BYTES + SPARE_BYTES) / 1_000_000_000,
        ));
    }
    Ok(messages)
}

/// Returns how many messages of the goal's fit into so many bytes, and at least as many as are worth a look.
fn fitting(free_bytes: u64) -> u64 {
    let fit = free_bytes.saturating_sub(SPARE_BYTES) / MESSAGE_BYTES;
    (fit / STEP * STEP).clamp(STEP, WAITING)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_messages_wait_as_fit_and_no_more_than_the_goal_has() {
        assert_eq!(fitting(u64::MAX), WAITING);
        assert_eq!(fitting(0), STEP);
        let half = fitting(SPARE_BYTES + WAITING / 2 * MESSAGE_BYTES + 1);
        assert_eq!(half, WAITING / 2);
    }
}
