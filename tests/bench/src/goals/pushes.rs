//! How many pushes a second a topic with a hundred HTTP subscriptions makes, to a sink of the bench on one thread.
//!
//! Messages are published all the while, so that some always wait for each subscription, and not ever more. A message is
//! counted once for each subscription, when it comes. One node; each subscription has a path of its own at the sink.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use posthouse_load::drive::Connection;
use posthouse_load::processor;
use posthouse_load::requests::Signing;
use posthouse_load::statistics::median;

use crate::goals::BODY_BYTES;
use crate::options::Options;
use crate::report::{Bound, Report, Unit};
use crate::sink::Sink;
use crate::site::Site;

const SUBSCRIPTIONS: usize = 100;
const PUSHES_PER_SECOND: f64 = 20_000.0;
/// So many messages may wait for their pushes.
const WAITING_MAX: u64 = 128;
const TOPIC: &str = "broadcast";
const TAG: &str = "x";
/// How often it is looked at whether there is room for another message.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// For how long one signature is used.
const SIGNED: Duration = Duration::from_secs(60);
/// How long the last pushes may take.
const EMPTYING: Duration = Duration::from_secs(60);

/// Measures pushes.
pub(crate) fn measure(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let sink = Sink::serve()?;
    let site = Site::start(options)?;
    site.ask("CreateTopic", &[("topicName", TOPIC)])?;
    for number in 0..SUBSCRIPTIONS {
        let (name, endpoint) = (format!("reader-{number}"), sink.url(number));
        site.ask(
            "Subscribe",
            &[
                ("topicName", TOPIC),
                ("subscriptionName", &name),
                ("protocol", "http"),
                ("endpoint", &endpoint),
                ("notifyContentFormat", "SIMPLIFIED"),
            ],
        )?;
    }
    let address = site.address();
    let (stop, published) = (AtomicBool::new(false), AtomicU64::new(0));
    let looked = std::thread::scope(|scope| {
        let publishing = scope.spawn(|| {
            let outcome = publish(address, &sink, &published, &stop);
            stop.store(true, Ordering::Relaxed);
            outcome
        });
        let looked = look(&site, &sink, options, &stop);
        stop.store(true, Ordering::Relaxed);
        publishing.join().expect("the load does not panic").and(looked)
    })?;
    empty(&sink, published.load(Ordering::Relaxed) * SUBSCRIPTIONS as u64)?;
    looked.tell(report)?;
    report.add(
        "pushes that came again",
        sink.repeated() as f64,
        Unit::Calls,
        Bound::None,
    );
    report.add(
        "connections that they were made over",
        sink.connections() as f64,
        Unit::Calls,
        Bound::None,
    );
    Ok(())
}

/// What was seen in the rounds.
#[derive(Default)]
struct Looked {
    rates: Vec<f64>,
    node: Vec<f64>,
    sink: Vec<f64>,
    micros: Vec<f64>,
}

// === impl Looked ===

impl Looked {
    fn tell(&self, report: &mut Report) -> anyhow::Result<()> {
        for (name, figures, unit, goal) in [
            (
                "pushes to 100 subscriptions of a topic",
                &self.rates,
                Unit::PerSecond,
                Bound::AtLeast(PUSHES_PER_SECOND),
            ),
            (
                "pushes: processors kept busy by the node",
                &self.node,
                Unit::Processors,
                Bound::None,
            ),
            ("pushes: by the sink", &self.sink, Unit::Processors, Bound::None),
            (
                "the node's processor time for a push",
                &self.micros,
                Unit::Micros,
                Bound::None,
            ),
        ] {
            report.add(name, median(figures).context("there is a round")?, unit, goal);
        }
        Ok(())
    }
}

/// Looks at what comes, round by round.
fn look(site: &Site, sink: &Sink, options: &Options, stop: &AtomicBool) -> anyhow::Result<Looked> {
    let mut looked = Looked::default();
    // The first round warms everything up and is not counted.
    for round in 0..=options.rounds() {
        let (start, pushes) = (Instant::now(), sink.pushes());
        let (node, own) = (processor::busy_seconds(site.pid()?)?, sink.busy_seconds()?);
        std::thread::sleep(options.part());
        if stop.load(Ordering::Relaxed) {
            bail!("nothing is published any more");
        }
        let (seconds, pushes) = (start.elapsed().as_secs_f64(), (sink.pushes() - pushes) as f64);
        let node = processor::busy_seconds(site.pid()?)? - node;
        let own = sink.busy_seconds()? - own;
        if round > 0 {
            looked.rates.push(pushes / seconds);
            looked.node.push(node / seconds);
            looked.sink.push(own / seconds);
            looked.micros.push(node / pushes * 1e6);
        }
    }
    Ok(looked)
}

/// Publishes whenever there is room for another message, until it is to stop.
fn publish(address: SocketAddr, sink: &Sink, published: &AtomicU64, stop: &AtomicBool) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut connection = Connection::open(address).await?;
        let signing = Signing::new(address);
        let sign = || (signing.publish(TOPIC, TAG, BODY_BYTES), Instant::now());
        let (mut request, mut signed) = sign();
        while !stop.load(Ordering::Relaxed) {
            let done = sink.pushes() / SUBSCRIPTIONS as u64;
            if published.load(Ordering::Relaxed) >= done + WAITING_MAX {
                tokio::time::sleep(LOOK_AGAIN).await;
                continue;
            }
            if signed.elapsed() > SIGNED {
                (request, signed) = sign();
            }
            connection.ask_done(&request).await?;
            published.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    })
}

/// Waits until all has come that was published.
fn empty(sink: &Sink, pushes: u64) -> anyhow::Result<()> {
    let start = Instant::now();
    while sink.pushes() < pushes {
        if start.elapsed() > EMPTYING {
            bail!("{} of {pushes} pushes came", sink.pushes());
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(())
}
