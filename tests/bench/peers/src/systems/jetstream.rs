//! Clients of NATS JetStream: publishes with a window of acknowledgements, and pulls in batches.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::context::PublishAckFuture;
use async_nats::jetstream::{self, Context};
use async_nats::{Client, ConnectOptions};
use bytes::Bytes;
use futures::StreamExt;

use crate::door::{Lane, Pace};
use crate::meter::Meter;
use crate::plan::Plan;
use crate::systems::pace;

/// The consumer of a stream, one for all who pull.
pub(crate) const CONSUMER: &str = "work";
/// Batches that a connection has asked for: one is on its way while another is worked on.
pub(crate) const PULLS: usize = 2;
/// How long a batch may take to become full.
const FILLING: Duration = Duration::from_millis(500);
/// How long an acknowledgement may take.
const ACKNOWLEDGED: Duration = Duration::from_secs(60);

/// Opens a connection to the node of a lane, and to no other.
pub(crate) async fn connect(lane: &Lane) -> anyhow::Result<Client> {
    let options = ConnectOptions::new().ignore_discovered_servers();
    let opened = options.connect(format!("nats://{}", lane.leader)).await;
    opened.with_context(|| format!("{} does not accept", lane.leader))
}

/// Returns what speaks to JetStream over a connection, and waits so long for an answer.
pub(crate) fn context(client: &Client, answered: Duration) -> Context {
    let mut context = jetstream::new(client.clone());
    context.set_timeout(answered);
    context
}

/// Publishes with so many messages unacknowledged.
pub(crate) async fn produce(lane: &Lane, plan: Plan, body: &Bytes, meter: &Meter) -> anyhow::Result<()> {
    let client = connect(lane).await?;
    let context = context(&client, ACKNOWLEDGED);
    let mut unconfirmed: VecDeque<PublishAckFuture> = VecDeque::new();
    meter.connected().await;
    while !meter.is_over() {
        if unconfirmed.len() >= usize::from(plan.window)
            && let Some(oldest) = unconfirmed.pop_front()
        {
            oldest.await?;
            meter.count(1);
            continue;
        }
        unconfirmed.push_back(context.publish(lane.queue.clone(), body.clone()).await?);
    }
    for confirm in unconfirmed {
        confirm.await?;
        meter.count(1);
    }
    Ok(())
}

/// Pulls in batches and acknowledges each message.
pub(crate) async fn consume(lane: &Lane, plan: Plan, meter: &Meter) -> anyhow::Result<()> {
    let client = connect(lane).await?;
    let context = context(&client, ACKNOWLEDGED);
    let consumer: PullConsumer = context.get_consumer_from_stream(CONSUMER, &lane.queue).await?;
    meter.connected().await;
    let pulls = (0..PULLS).map(|_| pull(&consumer, plan, meter));
    for outcome in futures::future::join_all(pulls).await {
        outcome?;
    }
    Ok(client.flush().await?)
}

/// Pulls batch by batch. One that was begun is worked on to its end: what is left would not come again for a long time.
async fn pull(consumer: &PullConsumer, plan: Plan, meter: &Meter) -> anyhow::Result<()> {
    while !meter.is_over() {
        let asked = consumer
            .batch()
            .max_messages(usize::from(plan.prefetch))
            .expires(FILLING);
        let mut batch = asked.messages().await?;
        while let Some(Some(message)) = meter.unless_finished(batch.next()).await {
            let message = message.map_err(|error| anyhow!("a pull failed: {error}"))?;
            let acknowledged = message.ack().await;
            acknowledged.map_err(|error| anyhow!("an acknowledgement failed: {error}"))?;
            meter.count(1);
        }
    }
    Ok(())
}

/// Publishes at a steady rate over one connection.
pub(crate) async fn steady(lane: &Lane, body: &Bytes, pace: Pace) -> anyhow::Result<Vec<f64>> {
    let client = connect(lane).await?;
    let context = context(&client, ACKNOWLEDGED);
    pace::keep(pace, async || {
        context.publish(lane.queue.clone(), body.clone()).await?.await?;
        Ok(())
    })
    .await
}
