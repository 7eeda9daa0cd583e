//! What a follower that catches up costs those who send: it was away for longer than the log is kept, so that it fetches a
//! checkpoint and segments from the leader, which goes on serving.
//!
//! Follower and leader share a disk here. What that costs by itself is shown by a process that writes as much to it, in as
//! long, and has nothing to do with the leader.

use std::fs::OpenOptions;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use posthouse_load::Trio;
use posthouse_load::drive;
use posthouse_load::requests::Signing;
use posthouse_load::statistics::percentile;

use crate::goals::BODY_BYTES;
use crate::options::Options;
use crate::report::{Bound, Report, Unit};
use crate::site::{folder, start_trio};

const SENDS_PER_SECOND: u32 = 200;
/// How many connections share the sends.
const CONNECTIONS: u16 = 32;
/// How long sends are looked at with all nodes but one, and then with that one coming back.
const SPAN: Duration = Duration::from_secs(20);
/// For how long messages are sent while it is away, by the length of a part: some hundred megabytes.
const AWAY_PARTS: u32 = 3;
/// Who is behind by so many entries has caught up with those that are sent meanwhile.
const BEHIND_MAX: u64 = 64;
const POLL: Duration = Duration::from_millis(50);
/// A bare process writes so much, and syncs it, at once: what a node does.
const WRITE_BYTES: usize = 4 << 20;
const STALL_MILLIS_MAX: f64 = 20.0;
const FILLED: &str = "filled";
const STEADY: &str = "steady";

/// Measures sends at the leader with one follower away, and while it catches up.
pub(crate) fn measure(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let mut trio = start_trio(options, 1)?;
    for queue in [FILLED, STEADY] {
        trio.ask("CreateQueue", &[("queueName", queue)])?;
    }
    let leader = trio.leader(0)?;
    let away = trio.follower_to_stop(leader);
    trio.stop(away)?;
    let address = trio.address(leader);
    let signing = Signing::new(address);
    let filling = signing.send_batch(FILLED, BODY_BYTES);
    let filled = drive::repeat(
        address,
        options.connections(),
        &filling,
        options.part() * AWAY_PARTS,
    )?;
    let steady = signing.send(STEADY, BODY_BYTES);
    let send = || drive::steady(address, CONNECTIONS, &steady, SENDS_PER_SECOND, SPAN);
    // What was written just now is still being moved into segments.
    send()?;
    let before = send()?;
    let (during, taken) = std::thread::scope(|scope| {
        let sends = scope.spawn(send);
        let taken = catch_up(&mut trio, leader, away);
        let sends = sends.join().expect("the load does not panic");
        anyhow::Ok((sends?, taken?))
    })?;
    let fetched = filled.messages * BODY_BYTES as u64;
    let stop = AtomicBool::new(false);
    let beside = std::thread::scope(|scope| {
        let sends = scope.spawn(|| {
            let sent = send();
            stop.store(true, Ordering::Relaxed);
            sent
        });
        let written = write_as_much(options, fetched, taken, &stop);
        let sends = sends.join().expect("the load does not panic");
        written.and(sends)
    })?;
    report.add(
        "messages that were sent while a follower was away",
        filled.messages as f64,
        Unit::Calls,
        Bound::None,
    );
    report.add(
        "catching up took",
        taken.as_secs_f64(),
        Unit::Seconds,
        Bound::None,
    );
    let mut longest = Vec::new();
    for (when, millis) in [
        ("with one away", &before),
        ("while it catches up", &during),
        ("while a bare process writes as much", &beside),
    ] {
        for percent in [50.0, 99.0, 100.0] {
            let figure = percentile(millis, percent).context("something was sent")?;
            let name = format!("a send, 200 a second, {when}: p{percent}");
            report.add(name, figure, Unit::Millis, Bound::None);
            if percent == 100.0 {
                longest.push(figure);
            }
        }
    }
    report.add(
        "the longest send, by how much it is longer while a follower catches up",
        longest[1] - longest[0],
        Unit::Millis,
        Bound::AtMost(STALL_MILLIS_MAX),
    );
    Ok(())
}

/// Writes so many bytes in so long, at an even pace, from a thread that has nothing to do with any node.
fn write_as_much(options: &Options, bytes: u64, taken: Duration, stop: &AtomicBool) -> anyhow::Result<()> {
    let folder = folder(options)?;
    let mut file = OpenOptions::new()
        .create_new(true)
        .append(true)
        .open(folder.path().join("bare"))
        .context("a file to write to")?;
    let piece = vec![b'x'; WRITE_BYTES];
    let pieces = u32::try_from(bytes / WRITE_BYTES as u64)?.max(1);
    let start = Instant::now();
    for number in 1..=pieces {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        file.write_all(&piece)?;
        file.sync_data()?;
        let due = taken / pieces * number;
        std::thread::sleep(due.saturating_sub(start.elapsed()));
    }
    Ok(())
}

/// Starts a follower again; returns how long it took to catch up.
fn catch_up(trio: &mut Trio, leader: usize, away: usize) -> anyhow::Result<Duration> {
    let start = Instant::now();
    trio.launch(away)?;
    while start.elapsed() < SPAN {
        let behind = trio.most_behind(leader, 0)?;
        if behind.is_some_and(|entries| entries <= BEHIND_MAX) {
            return Ok(start.elapsed());
        }
        std::thread::sleep(POLL);
    }
    bail!("the follower had not caught up within {} s", SPAN.as_secs())
}
