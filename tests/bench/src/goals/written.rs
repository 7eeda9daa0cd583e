//! What three nodes write to their disk for each replica of a byte that is sent: with consumers that keep up, and with a
//! backlog that grows. In turn on two clusters, for what a set still has to write of one must not be counted for the other.
//!
//! By the disk's own count, in which all that others write is as well: nothing else should run. What waits to be written is
//! counted where it came from, and each part begins once nobody writes any more.

use std::time::{Duration, Instant};

use anyhow::Context;
use posthouse_load::Trio;
use posthouse_load::disk::Disk;
use posthouse_load::drive;
use posthouse_load::keep_up::keep_up;
use posthouse_load::requests::{BATCH, Signing};
use posthouse_load::statistics::median;

use crate::goals::BODY_BYTES;
use crate::options::Options;
use crate::report::{Bound, Report, Unit};
use crate::site::{parent, start_trio};

const KEPT_UP_MAX: f64 = 1.3;
const GROWING_MAX: f64 = 2.3;
const REPLICAS: f64 = 3.0;
/// What is sent in a part: four times as much as a set applies until it writes a segment.
const MESSAGES: u64 = 4 * (64 << 20) / BODY_BYTES as u64;
const QUICK_MESSAGES: u64 = 16_384;
/// So many messages may wait for consumers that keep up.
const WAITING_MAX: u64 = 4_096;
const QUEUE: &str = "kept-up";
/// Who writes less than this in as long writes no more.
const CALM_BYTES: u64 = 256 << 10;
const CALM: Duration = Duration::from_millis(500);
/// How long that is waited for; where others write as well, it may never be.
const CALMED: Duration = Duration::from_secs(15);

/// Measures both.
pub(crate) fn measure(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let Some(disk) = Disk::of(&parent(options))? else {
        report.miss(
            "written bytes by sent byte and replica",
            "name a folder on a disk that counts what is written with --data",
        );
        return Ok(());
    };
    let messages = if options.quick { QUICK_MESSAGES } else { MESSAGES };
    let (kept_up, growing) = (start_trio(options, 1)?, start_trio(options, 1)?);
    kept_up.ask("CreateQueue", &[("queueName", QUEUE)])?;
    let mut ratios = [Vec::new(), Vec::new()];
    // In the first round logs get their files. It is not counted.
    for round in 0..=options.rounds() {
        let of_kept_up = written(&disk, messages, || follow(&kept_up, options, messages))?;
        let queue = format!("growing-{round}");
        growing.ask("CreateQueue", &[("queueName", &queue)])?;
        let of_growing = written(&disk, messages, || fill(&growing, options, &queue, messages))?;
        // All that was written for it goes, so that the disk need not hold all rounds.
        growing.ask("DeleteQueue", &[("queueName", &queue)])?;
        if round > 0 {
            ratios[0].push(of_kept_up);
            ratios[1].push(of_growing);
        }
    }
    for (name, ratios, goal) in [
        ("consumers keep up", &ratios[0], KEPT_UP_MAX),
        ("the backlog grows", &ratios[1], GROWING_MAX),
    ] {
        let middle = median(ratios).context("there is a round")?;
        report.add(
            format!("written for each replica of a byte sent, {name}"),
            middle,
            Unit::Times,
            Bound::AtMost(goal),
        );
    }
    Ok(())
}

/// Returns how many bytes were written for each replica of a byte that was sent.
fn written(disk: &Disk, messages: u64, send: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let before = calm(disk)?;
    send()?;
    let after = calm(disk)?;
    let sent = messages as f64 * BODY_BYTES as f64 * REPLICAS;
    Ok(after.saturating_sub(before) as f64 / sent)
}

/// Waits until next to nothing is written any more; returns how much was until then.
fn calm(disk: &Disk) -> anyhow::Result<u64> {
    let start = Instant::now();
    let mut before = disk.written_bytes()?;
    loop {
        std::thread::sleep(CALM);
        let written = disk.written_bytes()?;
        if written - before < CALM_BYTES {
            return Ok(written);
        }
        if start.elapsed() > CALMED {
            eprintln!("others write to the disk as well: the figure counts that");
            return Ok(written);
        }
        before = written;
    }
}

fn follow(trio: &Trio, options: &Options, messages: u64) -> anyhow::Result<()> {
    let leader = trio.address(trio.leader(0)?);
    keep_up(
        leader,
        options.connections(),
        QUEUE,
        BODY_BYTES,
        messages,
        WAITING_MAX,
    )
    .map(drop)
}

fn fill(trio: &Trio, options: &Options, queue: &str, messages: u64) -> anyhow::Result<()> {
    let leader = trio.address(trio.leader(0)?);
    let request = Signing::new(leader).send_batch(queue, BODY_BYTES);
    let requests = (0..messages / BATCH).map(|_| request.clone());
    drive::each(leader, options.connections(), requests).map(drop)
}
