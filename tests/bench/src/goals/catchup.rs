//! What a follower that catches up costs those who send: it was away for longer than the log is kept, so that it fetches a
//! checkpoint and segments from the leader, which goes on serving.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::drive;
use crate::goals::BODY_BYTES;
use crate::options::Options;
use crate::report::{Bound, Report, Unit};
use crate::requests::Signing;
use crate::site::Trio;
use crate::statistics::percentile;

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
const STALL_MILLIS_MAX: f64 = 20.0;
const FILLED: &str = "filled";
const STEADY: &str = "steady";

/// Measures sends at the leader with one follower away, and while it catches up.
pub(crate) fn measure(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let mut trio = Trio::start(options, 1)?;
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
        options.connections,
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
    for (when, millis) in [("with one away", &before), ("while it catches up", &during)] {
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
