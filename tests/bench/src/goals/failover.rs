//! How long nobody serves when a leader dies, and when it is stopped.
//!
//! Sends go through another node at a steady rate; what counts is the longest time without an acknowledgement from the
//! moment on at which the leader was killed or told to stop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use posthouse_load::Trio;
use posthouse_load::drive::{self, Watched};
use posthouse_load::requests::Signing;
use posthouse_load::statistics::median;

use crate::goals::BODY_BYTES;
use crate::options::Options;
use crate::report::{Bound, Report, Unit};
use crate::site::start_trio;

const SENDS_PER_SECOND: u32 = 200;
/// How many connections share the sends.
const CONNECTIONS: u16 = 32;
/// How long sends go on before the leader goes, and after it.
const BEFORE: Duration = Duration::from_secs(1);
const AFTER: Duration = Duration::from_secs(6);
/// How often a leader may hand over by itself before it is given up to measure.
const SETTLING_TRIES: u8 = 10;
const KILLED_MILLIS_MAX: f64 = 3_000.0;
const STOPPED_MILLIS_MAX: f64 = 500.0;
const QUEUE: &str = "steady";

/// How a leader goes.
#[derive(Clone, Copy, Debug)]
enum End {
    Killed,
    Stopped,
}

/// Measures both, in turn.
pub(crate) fn measure(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let mut trio = start_trio(options, 1)?;
    trio.ask("CreateQueue", &[("queueName", QUEUE)])?;
    let (mut killed, mut stopped, mut refused) = (Vec::new(), Vec::new(), 0);
    for round in 1..=options.rounds() {
        for (end, gaps) in [(End::Killed, &mut killed), (End::Stopped, &mut stopped)] {
            let (gap, watched) = settled_gap(&mut trio, end)?;
            report.add(
                format!("leader {end}, round {round}: nobody served for"),
                gap,
                Unit::Millis,
                Bound::None,
            );
            gaps.push(gap);
            refused += watched.refused;
        }
    }
    for (end, gaps, most) in [
        (End::Killed, &killed, KILLED_MILLIS_MAX),
        (End::Stopped, &stopped, STOPPED_MILLIS_MAX),
    ] {
        let middle = median(gaps).context("there is a round")?;
        let worst = gaps.iter().copied().fold(0.0, f64::max);
        report.add(format!("leader {end}: median"), middle, Unit::Millis, Bound::None);
        report.add(
            format!("leader {end}: longest"),
            worst,
            Unit::Millis,
            Bound::AtMost(most),
        );
    }
    report.add(
        "sends through another node that were refused",
        refused as f64,
        Unit::Calls,
        Bound::AtMost(0.0),
    );
    Ok(())
}

/// Has the leader go, again if it handed over to another in the moment before: then nothing was lost that led.
fn settled_gap(trio: &mut Trio, end: End) -> anyhow::Result<(f64, Watched)> {
    for _ in 0..SETTLING_TRIES {
        if let Some(found) = gap(trio, end)? {
            return Ok(found);
        }
    }
    bail!("leaders go on changing by themselves");
}

/// Has the leader go while sends are made through another node. Returns for how many milliseconds none was
/// acknowledged, and what became of the sends; none if it leads no longer when it is to go.
fn gap(trio: &mut Trio, end: End) -> anyhow::Result<Option<(f64, Watched)>> {
    let leader = trio.leader(0)?;
    let through = trio.address(trio.other_than(leader));
    let send = Signing::new(through).send(QUEUE, BODY_BYTES);
    let stop = AtomicBool::new(false);
    let (gone, watched) = std::thread::scope(|scope| {
        let load = scope.spawn(|| drive::watch(through, CONNECTIONS, &send, SENDS_PER_SECOND, &stop));
        std::thread::sleep(BEFORE);
        let leads = trio.leader(0).map(|now| now == leader);
        let gone = Instant::now();
        let ended = match (&leads, end) {
            (Ok(false) | Err(_), _) => Ok(()),
            (Ok(true), End::Killed) => {
                trio.kill(leader);
                Ok(())
            }
            (Ok(true), End::Stopped) => trio.stop(leader),
        };
        if let Ok(true) = leads {
            std::thread::sleep(AFTER.saturating_sub(gone.elapsed()));
        }
        stop.store(true, Ordering::Relaxed);
        let watched = load.join().expect("the load does not panic");
        ended.and(leads).map(|leads| (leads.then_some(gone), watched))
    })?;
    let (Some(gone), watched) = (gone, watched?) else {
        return Ok(None);
    };
    trio.relaunch(leader)?;
    let silence = longest_silence(&watched.acknowledged, gone).context("sends go on")?;
    Ok(Some((silence.as_secs_f64() * 1_000.0, watched)))
}

/// Returns the longest time between two moments, as far as it is after a moment; none if there are none after it.
fn longest_silence(moments: &[Instant], after: Instant) -> Option<Duration> {
    let mut sorted = moments.to_vec();
    sorted.sort();
    let mut last = after;
    let mut longest = None;
    for moment in sorted.into_iter().filter(|moment| *moment > after) {
        longest = longest.max(Some(moment - last));
        last = moment;
    }
    longest
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            End::Killed => "killed",
            End::Stopped => "stopped",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_what_is_between_two_moments_after_the_first() {
        let begin = Instant::now();
        let at = |millis: &[u64]| -> Vec<Instant> {
            let moment = |millis: &u64| begin + Duration::from_millis(*millis);
            millis.iter().map(moment).collect()
        };
        let silence = |millis: &[u64], after| {
            let longest = longest_silence(&at(millis), begin + Duration::from_millis(after));
            longest.map(|longest| longest.as_millis())
        };
        assert_eq!(silence(&[0, 500, 510, 900, 905], 505), Some(390));
        assert_eq!(silence(&[900, 905, 510, 500, 0], 505), Some(390));
        assert_eq!(silence(&[0, 100, 900, 910], 800), Some(100));
        assert_eq!(silence(&[0, 100], 800), None);
    }
}
