//! What three nodes take and give: batches of 16 over HTTP, each acknowledged after `fdatasync` on two of the nodes.
//!
//! One set, so that all of it goes through one log. Clients are at the set's leader; what they get through all nodes
//! alike is told beside it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use posthouse_load::Trio;
use posthouse_load::drive;
use posthouse_load::requests::Signing;
use posthouse_load::statistics::median;

use crate::goals::BODY_BYTES;
use crate::options::Options;
use crate::report::{Bound, Report, Unit};
use crate::site::start_trio;

const SENDS_PER_SECOND: f64 = 40_000.0;
const TAKES_PER_SECOND: f64 = 40_000.0;
const MIXED_PER_SECOND: f64 = 15_000.0;
/// How long the rest of a queue may take to be taken out.
const EMPTYING: Duration = Duration::from_secs(600);
const QUEUE: &str = "batches";
const MIXED_QUEUE: &str = "mixed";

/// What was measured in the rounds.
#[derive(Default)]
struct Rounds {
    sends: Vec<f64>,
    takes: Vec<f64>,
    sends_anywhere: Vec<f64>,
    takes_anywhere: Vec<f64>,
    mixed_sends: Vec<f64>,
    mixed_takes: Vec<f64>,
}

/// Measures sends, then receives and deletes of what was sent, then both at once.
pub(crate) fn measure(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let trio = start_trio(options, 1)?;
    for queue in [QUEUE, MIXED_QUEUE] {
        trio.ask("CreateQueue", &[("queueName", queue)])?;
    }
    // The first round warms everything up and is not counted.
    Rounds::default().add(&trio, options)?;
    let mut rounds = Rounds::default();
    for _ in 0..options.rounds() {
        rounds.add(&trio, options)?;
    }
    let connections = options.connections();
    for (what, figures, goal) in [
        ("sends", &rounds.sends, Bound::AtLeast(SENDS_PER_SECOND)),
        (
            "receives and deletes",
            &rounds.takes,
            Bound::AtLeast(TAKES_PER_SECOND),
        ),
        ("sends through all nodes", &rounds.sends_anywhere, Bound::None),
        (
            "receives and deletes through all nodes",
            &rounds.takes_anywhere,
            Bound::None,
        ),
        (
            "mixed: sends",
            &rounds.mixed_sends,
            Bound::AtLeast(MIXED_PER_SECOND),
        ),
        (
            "mixed: receives and deletes",
            &rounds.mixed_takes,
            Bound::AtLeast(MIXED_PER_SECOND),
        ),
    ] {
        let middle = median(figures).context("there is a round")?;
        let name = format!("three nodes, {connections} connections: {what}");
        report.add(name, middle, Unit::PerSecond, goal);
    }
    Ok(())
}

// === impl Rounds ===

impl Rounds {
    fn add(&mut self, trio: &Trio, options: &Options) -> anyhow::Result<()> {
        let leader = [trio.address(trio.leader(0)?)];
        let all = [1, 2, 3].map(|node| trio.address(node));
        let (connections, part) = (options.connections(), options.part());
        for (addresses, sends, takes) in [
            (&leader[..], &mut self.sends, &mut self.takes),
            (&all[..], &mut self.sends_anywhere, &mut self.takes_anywhere),
        ] {
            let requests = signings(addresses).map(|signing| signing.send_batch(QUEUE, BODY_BYTES));
            let requests: Vec<_> = requests.collect();
            sends.push(drive::repeat_at(addresses, connections, &requests, part)?.rate());
            let signings: Vec<_> = signings(addresses).collect();
            takes.push(drive::consume_at(addresses, connections, &signings, QUEUE, part)?.rate());
            drive::consume_at(addresses, connections, &signings, QUEUE, EMPTYING)?;
        }
        let (address, half) = (leader[0], connections.div_ceil(2));
        let signing = Signing::new(address);
        let send = signing.send_batch(MIXED_QUEUE, BODY_BYTES);
        let (sent, taken) = std::thread::scope(|scope| {
            let sending = scope.spawn(|| drive::repeat(address, half, &send, part));
            let taken = drive::follow(&signing, address, half, MIXED_QUEUE, part);
            (sending.join().expect("the load does not panic"), taken)
        });
        self.mixed_sends.push(sent?.rate());
        self.mixed_takes.push(taken?.rate());
        drive::consume(&signing, address, connections, MIXED_QUEUE, EMPTYING)?;
        Ok(())
    }
}

fn signings(addresses: &[SocketAddr]) -> impl Iterator<Item = Signing> {
    addresses.iter().map(|address| Signing::new(*address))
}
