//! How long a send takes at a steady rate, beside a bare append and `fdatasync` on the same disk, in turn.
//!
//! The goal is by appends one after the other. Appends at the rate of the sends are printed beside them: a machine that is
//! idle in between takes longer for each, whoever asks.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::Context;
use posthouse_load::drive;
use posthouse_load::statistics::percentile;

use crate::goals::BODY_BYTES;
use crate::options::Options;
use crate::report::{Bound, Report, Unit};
use crate::site::{Site, folder};

const SENDS_PER_SECOND: u32 = 200;
const GAP: Duration = Duration::from_millis(1_000 / SENDS_PER_SECOND as u64);
/// How many connections share the sends.
const CONNECTIONS: u16 = 8;
/// What a bare write appends: a message and what a log writes around it.
const APPEND_BYTES: usize = 1_536;
const TIMES_MAX: f64 = 4.0;
const QUEUE: &str = "steady";

/// Measures both, and compares their 99th percentiles.
pub(crate) fn measure(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let site = Site::start(options)?;
    site.create_queue(QUEUE)?;
    let folder = folder(options)?;
    let path = folder.path().join("bare");
    let mut file = OpenOptions::new()
        .create_new(true)
        .append(true)
        .open(&path)
        .context("a file to append to")?;
    send(&site, options.part())?;
    append(&mut file, Duration::ZERO, options.part())?;

    let (mut sends, mut appends, mut paced) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.rounds() {
        sends.extend(send(&site, options.part())?);
        appends.extend(append(&mut file, Duration::ZERO, options.part())?);
        paced.extend(append(&mut file, GAP, options.part())?);
    }
    for (name, taken) in [
        ("append and fdatasync, one after the other", &appends),
        ("append and fdatasync, 200 a second", &paced),
        ("a send, 200 a second", &sends),
    ] {
        for percent in [50.0, 99.0] {
            let millis = percentile(taken, percent).context("something was measured")?;
            report.add(format!("{name}: p{percent}"), millis, Unit::Millis, Bound::None);
        }
    }
    let bare = percentile(&appends, 99.0).context("something was measured")?;
    let sent = percentile(&sends, 99.0).context("something was measured")?;
    report.add(
        "p99 of a send by that of a bare fdatasync",
        sent / bare,
        Unit::Times,
        Bound::Below(TIMES_MAX),
    );
    Ok(())
}

fn send(site: &Site, span: Duration) -> anyhow::Result<Vec<f64>> {
    let request = site.signing().send(QUEUE, BODY_BYTES);
    drive::steady(site.address(), CONNECTIONS, &request, SENDS_PER_SECOND, span)
}

/// Appends and syncs again and again, with a rest between; returns how long each took, in milliseconds.
fn append(file: &mut File, rest: Duration, span: Duration) -> anyhow::Result<Vec<f64>> {
    let bytes = [b'x'; APPEND_BYTES];
    let mut taken = Vec::new();
    let start = Instant::now();
    while start.elapsed() < span {
        std::thread::sleep(rest);
        let begun = Instant::now();
        file.write_all(&bytes)?;
        file.sync_data()?;
        taken.push(begun.elapsed().as_secs_f64() * 1_000.0);
    }
    Ok(taken)
}
