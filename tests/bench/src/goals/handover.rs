//! How soon a consumer that waits has a message, counted from when its sender was told that it is kept: three nodes, one
//! process for both, so one clock.
//!
//! Pairs of a sender and a consumer have a queue each. The consumer's receive waits; then one message is sent; both answers
//! are noted. A receive that was answered before the send counts as less than nothing. Senders are at the set's leader;
//! consumers are there as well, or at another node, in turn.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use posthouse_load::drive::Connection;
use posthouse_load::requests::Signing;
use posthouse_load::statistics::{median, percentile};

use crate::goals::BODY_BYTES;
use crate::options::Options;
use crate::report::{Bound, Report, Unit};
use crate::site::start_trio;

const MILLIS_MAX: f64 = 2.0;
/// How many pairs there are.
const PAIRS: usize = 8;
/// How long a receive is given to come to wait, before its message is sent. One that is late all the same finds the message
/// there, and is counted as it is.
const SETTING: Duration = Duration::from_millis(5);

/// Measures consumers at the leader and elsewhere.
pub(crate) fn measure(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let trio = start_trio(options, 1)?;
    for pair in 0..PAIRS {
        trio.ask("CreateQueue", &[("queueName", &queue(pair))])?;
    }
    let mut rounds = [const { Vec::new() }; 2];
    // The first round warms everything up and is not counted.
    for round in 0..=options.rounds() {
        let leader = trio.leader(0)?;
        for (place, consumers) in [leader, trio.other_than(leader)].into_iter().enumerate() {
            let millis = hand_over(trio.address(leader), trio.address(consumers), options.part())?;
            if round > 0 {
                rounds[place].push(millis);
            }
        }
    }
    for (where_at, rounds) in ["at its leader", "elsewhere"].into_iter().zip(&rounds) {
        let of_rounds = |percent| -> anyhow::Result<f64> {
            let figures: Option<Vec<f64>> = rounds.iter().map(|millis| percentile(millis, percent)).collect();
            median(&figures.context("each round has messages")?).context("there is a round")
        };
        for (percent, goal) in [(50.0, Bound::None), (99.0, Bound::AtMost(MILLIS_MAX))] {
            report.add(
                format!("a waiting receive's answer after the send's, {where_at}: p{percent}"),
                of_rounds(percent)?,
                Unit::Millis,
                goal,
            );
        }
        let all: Vec<f64> = rounds.iter().flatten().copied().collect();
        let before = all.iter().filter(|millis| **millis < 0.0).count();
        report.add(
            format!("waiting receives answered before the send, {where_at}"),
            before as f64 / all.len() as f64 * 100.0,
            Unit::Percent,
            Bound::None,
        );
    }
    Ok(())
}

/// Has all pairs hand over messages until the time is over. Returns how long after the sender's answer each came, in
/// milliseconds.
fn hand_over(senders: SocketAddr, consumers: SocketAddr, span: Duration) -> anyhow::Result<Vec<f64>> {
    let millis = RefCell::new(Vec::new());
    let start = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut pairs: FuturesUnordered<_> = (0..PAIRS)
            .map(|pair| go_on(queue(pair), senders, consumers, start + span, &millis))
            .collect();
        while let Some(ended) = pairs.next().await {
            ended?;
        }
        anyhow::Ok(())
    })?;
    Ok(millis.into_inner())
}

/// Has one pair hand over one message after the other.
async fn go_on(
    queue: String,
    senders: SocketAddr,
    consumers: SocketAddr,
    end: Instant,
    millis: &RefCell<Vec<f64>>,
) -> anyhow::Result<()> {
    let (signing, send) = (
        Signing::new(consumers),
        Signing::new(senders).send(&queue, BODY_BYTES),
    );
    let receive = signing.wait_for_one(&queue);
    let (mut sender, mut consumer) = (
        Connection::open(senders).await?,
        Connection::open(consumers).await?,
    );
    while Instant::now() < end {
        let sending = async {
            tokio::time::sleep(SETTING).await;
            sender.ask_done(&send).await?;
            anyhow::Ok(Instant::now())
        };
        let receiving = async {
            let handles = consumer.receive(&receive).await?;
            anyhow::Ok((handles, Instant::now()))
        };
        let (answered, (handles, came)) = tokio::try_join!(sending, receiving)?;
        ensure!(handles.len() == 1, "{} messages came of one", handles.len());
        let after = came.saturating_duration_since(answered).as_secs_f64();
        let before = answered.saturating_duration_since(came).as_secs_f64();
        millis.borrow_mut().push((after - before) * 1_000.0);
        let handles: Vec<&str> = handles.iter().map(String::as_str).collect();
        consumer.ask_done(&signing.delete_batch(&queue, &handles)).await?;
    }
    Ok(())
}

fn queue(pair: usize) -> String {
    format!("pair-{pair}")
}
