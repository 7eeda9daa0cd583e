//! Many messages that wait in one queue: their memory, starting again with them, and whether they slow others down.

use std::time::Duration;

use anyhow::{Context, ensure};
use posthouse_load::drive;
use posthouse_load::processor::resident_bytes;
use posthouse_load::requests::BATCH;
use posthouse_load::statistics::{median, median_ratio};

use crate::options::Options;
use crate::report::{Bound, Report, Unit};
use crate::site::Site;

const RESIDENT_MEGABYTES_MAX: f64 = 400.0;
const READY_SECONDS_MAX: f64 = 5.0;
const RATE_SHARE_MIN: f64 = 0.9;
/// The bodies that wait.
const SMALL_BODY_BYTES: usize = 100;
const MEGABYTE: f64 = 1e6;
const DEEP: &str = "deep";
const SHALLOW: &str = "shallow";
/// The most calls that are filled in with one signature, which is good for some minutes.
const CALLS_PER_SIGNATURE: u64 = 50_000;
/// How much longer messages are kept than the CMQ default, so that none expires.
const RETENTION_SECONDS: &str = "1296000";
/// The most messages a queue takes.
const MESSAGES_MAX: &str = "1000000000";

/// Fills a queue and measures the node with it.
pub(crate) fn measure(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let mut site = Site::start(options)?;
    make_queues(&site)?;
    let messages = options.messages().next_multiple_of(BATCH);
    fill(&site, options, messages, SMALL_BODY_BYTES, report)?;
    memory(
        &site,
        &format!("resident memory with {messages} messages waiting"),
        report,
    )?;
    rates(&site, options, SMALL_BODY_BYTES, report)?;

    let waiting = site.waiting(DEEP)?;
    let ready = site.restart()?;
    told_ready("start until ready, after SIGTERM", ready, report);
    ensure!(
        site.waiting(DEEP)? == waiting,
        "messages are missing after a restart"
    );
    memory(&site, "resident memory after it", report)?;
    let ready = site.kill_and_start()?;
    told_ready("start until ready, after kill -9", ready, report);
    ensure!(
        site.waiting(DEEP)? == waiting,
        "messages are missing after a kill"
    );
    memory(&site, "resident memory after that", report)
}

/// Makes the queue that is filled and the one that is not.
pub(super) fn make_queues(site: &Site) -> anyhow::Result<()> {
    for queue in [DEEP, SHALLOW] {
        site.ask(
            "CreateQueue",
            &[
                ("queueName", queue),
                ("maxMsgHeapNum", MESSAGES_MAX),
                ("msgRetentionSeconds", RETENTION_SECONDS),
            ],
        )?;
    }
    Ok(())
}

/// Sends messages to one of them until so many wait.
pub(super) fn fill(
    site: &Site,
    options: &Options,
    messages: u64,
    body_bytes: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut calls = messages / BATCH;
    let mut seconds = 0.0;
    while calls > 0 {
        let part = calls.min(CALLS_PER_SIGNATURE);
        let request = site.signing().send_batch(DEEP, body_bytes);
        let requests = (0..part).map(|_| request.clone());
        let filled = drive::each(site.address(), options.connections(), requests)?;
        seconds += filled.elapsed.as_secs_f64();
        calls -= part;
        eprintln!("{} of {messages} messages wait", messages - calls * BATCH);
    }
    ensure!(
        site.waiting(DEEP)? == messages,
        "the node counts {} messages",
        site.waiting(DEEP)?
    );
    report.add(
        format!("filling it, messages of {body_bytes} B"),
        messages as f64 / seconds,
        Unit::PerSecond,
        Bound::None,
    );
    Ok(())
}

fn memory(site: &Site, name: &str, report: &mut Report) -> anyhow::Result<()> {
    let resident = resident_bytes(site.pid()?)? as f64 / MEGABYTE;
    report.add(
        name,
        resident,
        Unit::Megabytes,
        Bound::Below(RESIDENT_MEGABYTES_MAX),
    );
    Ok(())
}

fn told_ready(name: &str, ready: Duration, report: &mut Report) {
    report.add(
        name,
        ready.as_secs_f64(),
        Unit::Seconds,
        Bound::Below(READY_SECONDS_MAX),
    );
}

/// Sends to and consumes from both queues in turn.
pub(super) fn rates(
    site: &Site,
    options: &Options,
    body_bytes: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    let (mut sent, mut consumed) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    // The first round warms everything up and is not counted.
    for round in 0..=options.rounds() {
        for (place, queue) in [DEEP, SHALLOW].into_iter().enumerate() {
            let request = site.signing().send(queue, body_bytes);
            let send = site.repeat(options, &request)?.rate();
            let consume = drive::consume(
                &site.signing(),
                site.address(),
                options.connections(),
                queue,
                options.part(),
            )?;
            if round > 0 {
                sent[place].push(send);
                consumed[place].push(consume.rate());
            }
        }
    }
    for (what, [deep, shallow]) in [
        ("sends", &sent),
        ("receives with deletes, in batches of 16", &consumed),
    ] {
        let share = median_ratio(deep, shallow).context("there is a round")?;
        let deep = median(deep).context("there is a round")?;
        let shallow = median(shallow).context("there is a round")?;
        report.add(
            format!("{what}, with the backlog"),
            deep,
            Unit::PerSecond,
            Bound::None,
        );
        report.add(
            format!("{what}, on an empty queue"),
            shallow,
            Unit::PerSecond,
            Bound::None,
        );
        report.add(
            format!("{what}: share of an empty queue's"),
            share,
            Unit::Times,
            Bound::AtLeast(RATE_SHARE_MIN),
        );
    }
    Ok(())
}
