//! Messages of 1 MiB, as large as they may be: how many bytes a second one node takes through each of its doors, by what the
//! disk takes of a program that writes and syncs 16 MiB at once, in turn.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use futures::future::try_join_all;
use posthouse_client::{Client, Key, Receipt, Target};
use posthouse_load::drive;
use posthouse_load::requests::{SECRET_ID, SECRET_KEY};
use posthouse_load::statistics::{median, median_ratio};

use crate::options::Options;
use crate::report::{Bound, Report, Unit};
use crate::site::{Site, folder};

/// The most that a message has.
const LARGE_BYTES: usize = 1 << 20;
const RATE_SHARE_MIN: f64 = 0.5;
/// How many send at once over HTTP.
const CONNECTIONS: u16 = 16;
/// How many streams there are, and how many messages each has in flight: as many in all.
const STREAMS: u16 = 4;
const IN_FLIGHT: usize = 4;
/// What the program writes at once, and where it begins anew.
const PIECE_BYTES: usize = 16 << 20;
const FILE_BYTES: u64 = 512 << 20;

/// Measures both, and compares them.
pub(crate) fn measure(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let site = Site::start(options)?;
    let folder = folder(options)?;
    let file = File::create_new(folder.path().join("bare")).context("a file to write to")?;
    let (mut requests, mut streams, mut writes) = (Vec::new(), Vec::new(), Vec::new());
    // The first round warms everything up, and gives the file its length. It is not counted.
    for round in 0..=options.rounds() {
        let queue = format!("large-{round}");
        let size = LARGE_BYTES.to_string();
        site.ask("CreateQueue", &[("queueName", &queue), ("maxMsgSize", &size)])?;
        let request = site.signing().send(&queue, LARGE_BYTES);
        let sent = drive::repeat(site.address(), CONNECTIONS, &request, options.part())?;
        let streamed = stream(&site.streams_url(), &queue, options.part())?;
        // What was sent need not be kept on the disk for all rounds.
        site.ask("DeleteQueue", &[("queueName", &queue)])?;
        let written = write(&file, options.part())?;
        if round > 0 {
            requests.push(sent.rate() * LARGE_BYTES as f64);
            streams.push(streamed);
            writes.push(written);
        }
    }
    for (name, figures) in [
        ("a bare program: writes and syncs of 16 MiB", &writes),
        ("messages of 1 MiB, over HTTP", &requests),
        ("messages of 1 MiB, over streams", &streams),
    ] {
        let middle = median(figures).context("there is a round")?;
        report.add(name, middle / 1e6, Unit::MegabytesPerSecond, Bound::None);
    }
    for (name, figures) in [
        (
            "messages of 1 MiB over HTTP: share of the disk's speed",
            &requests,
        ),
        (
            "messages of 1 MiB over streams: share of the disk's speed",
            &streams,
        ),
    ] {
        let share = median_ratio(figures, &writes).context("there is a round")?;
        report.add(name, share, Unit::Times, Bound::AtLeast(RATE_SHARE_MIN));
    }
    Ok(())
}

/// Publishes over streams for a while; returns how many bytes a second.
fn stream(url: &str, queue: &str, span: Duration) -> anyhow::Result<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let body = Bytes::from(vec![b'x'; LARGE_BYTES]);
    let start = Instant::now();
    let sent = runtime.block_on(async {
        let clients = (0..STREAMS).map(|_| publish(url, queue, &body, start + span));
        try_join_all(clients).await
    })?;
    let messages: u64 = sent.iter().sum();
    Ok(messages as f64 * LARGE_BYTES as f64 / start.elapsed().as_secs_f64())
}

/// Publishes over one stream until a moment. Returns how many messages, once all of them are confirmed.
async fn publish(url: &str, queue: &str, body: &Bytes, end: Instant) -> anyhow::Result<u64> {
    let client = Client::new(&[url], Key::new(SECRET_ID, SECRET_KEY))?;
    let (publisher, target) = (client.publisher(), Target::queue(queue));
    let mut unconfirmed: VecDeque<Receipt> = VecDeque::new();
    let mut messages = 0;
    loop {
        if unconfirmed.len() < IN_FLIGHT && Instant::now() < end {
            unconfirmed.push_back(publisher.publish(&target, body.clone()).await?);
            continue;
        }
        let Some(oldest) = unconfirmed.pop_front() else {
            return Ok(messages);
        };
        oldest.await?;
        messages += 1;
    }
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
