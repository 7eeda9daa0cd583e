//! Messages of 1 MiB, as large as they may be: how many bytes a second one node takes, by what the disk takes of a program
//! that writes and syncs 16 MiB at once, in turn.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use anyhow::Context;
use posthouse_load::drive;
use posthouse_load::statistics::{median, median_ratio};

use crate::options::Options;
use crate::report::{Bound, Report, Unit};
use crate::site::{Site, folder};

/// The most that a message has.
const LARGE_BYTES: usize = 1 << 20;
const RATE_SHARE_MIN: f64 = 0.5;
/// How many send at once.
const CONNECTIONS: u16 = 16;
/// What the program writes at once, and where it begins anew.
const PIECE_BYTES: usize = 16 << 20;
const FILE_BYTES: u64 = 512 << 20;

/// Measures both, and compares them.
pub(crate) fn measure(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let site = Site::start(options)?;
    let folder = folder(options)?;
    let file = File::create_new(folder.path().join("bare")).context("a file to write to")?;
    let (mut sends, mut writes) = (Vec::new(), Vec::new());
    // The first round warms everything up, and gives the file its length. It is not counted.
    for round in 0..=options.rounds() {
        let queue = format!("large-{round}");
        let size = LARGE_BYTES.to_string();
        site.ask("CreateQueue", &[("queueName", &queue), ("maxMsgSize", &size)])?;
        let request = site.signing().send(&queue, LARGE_BYTES);
        let sent = drive::repeat(site.address(), CONNECTIONS, &request, options.part())?;
        // What was sent need not be kept on the disk for all rounds.
        site.ask("DeleteQueue", &[("queueName", &queue)])?;
        let written = write(&file, options.part())?;
        if round > 0 {
            sends.push(sent.rate() * LARGE_BYTES as f64);
            writes.push(written);
        }
    }
    let share = median_ratio(&sends, &writes).context("there is a round")?;
    for (name, figures) in [
        ("a bare program: writes and syncs of 16 MiB", &writes),
        ("messages of 1 MiB, 16 connections", &sends),
    ] {
        let middle = median(figures).context("there is a round")?;
        report.add(name, middle / 1e6, Unit::MegabytesPerSecond, Bound::None);
    }
    report.add(
        "messages of 1 MiB: share of the disk's sequential speed",
        share,
        Unit::Times,
        Bound::AtLeast(RATE_SHARE_MIN),
    );
    Ok(())
}

/// Writes and syncs again and again, round and round; returns how many bytes a second.
fn write(file: &File, span: Duration) -> anyhow::Result<f64> {
    let piece = vec![b'x'; PIECE_BYTES];
    let (mut end, mut written) = (0, 0.0);
    let start = Instant::now();
    while start.elapsed() < span {
        file.write_all_at(&piece, end)?;
        file.sync_data()?;
        written += PIECE_BYTES as f64;
        end = (end + PIECE_BYTES as u64) % FILE_BYTES;
    }
    Ok(written / start.elapsed().as_secs_f64())
}
