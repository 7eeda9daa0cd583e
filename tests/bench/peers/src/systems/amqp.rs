//! Clients of RabbitMQ: confirms with a window, and one acknowledgement for all that has come.

use std::collections::VecDeque;

use anyhow::{Context, ensure};
use async_rs::Runtime;
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, PublisherConfirm};

use crate::door::{Lane, Pace};
use crate::meter::Meter;
use crate::plan::Plan;
use crate::systems::pace;

/// A message that outlives its broker.
const PERSISTENT: u8 = 2;

/// Opens a connection to the node of a lane.
pub(crate) async fn connect(lane: &Lane) -> anyhow::Result<Connection> {
    let uri = format!("amqp://guest:guest@{}/%2f", lane.leader);
    let opened =
        Connection::connect_with_runtime(&uri, ConnectionProperties::default(), Runtime::tokio_current());
    opened
        .await
        .with_context(|| format!("{} does not accept", lane.leader))
}

/// Sends with so many messages unconfirmed.
pub(crate) async fn produce(lane: &Lane, plan: Plan, body: &Bytes, meter: &Meter) -> anyhow::Result<()> {
    let connection = connect(lane).await?;
    let channel = confirming(&connection).await?;
    let mut unconfirmed: VecDeque<PublisherConfirm> = VecDeque::new();
    meter.connected().await;
    while !meter.is_over() {
        if unconfirmed.len() >= usize::from(plan.window)
            && let Some(oldest) = unconfirmed.pop_front()
        {
            confirmed(oldest).await?;
            meter.count(1);
            continue;
        }
        unconfirmed.push_back(publish(&channel, lane, body).await?);
    }
    for confirm in unconfirmed {
        confirmed(confirm).await?;
        meter.count(1);
    }
    Ok(connection.close(200, "done".into()).await?)
}

/// Receives and acknowledges, many messages at once when many have come.
pub(crate) async fn consume(lane: &Lane, plan: Plan, meter: &Meter) -> anyhow::Result<()> {
    let connection = connect(lane).await?;
    let channel = connection.create_channel().await?;
    channel
        .basic_qos(plan.prefetch, BasicQosOptions::default())
        .await?;
    meter.connected().await;
    let (queue, options) = (lane.queue.as_str(), BasicConsumeOptions::default());
    let mut messages = channel
        .basic_consume(queue.into(), "".into(), options, FieldTable::default())
        .await?;
    // Half of what it is given ahead, so that the other half is on its way meanwhile.
    let together = u64::from(plan.prefetch / 2).max(1);
    while !meter.is_over() {
        let Some(first) = meter.unless_over(messages.next()).await else {
            break;
        };
        let mut newest = first.context("the broker ended the consumer")??;
        let mut taken = 1;
        while taken < together
            && let Some(next) = messages.next().now_or_never()
        {
            newest = next.context("the broker ended the consumer")??;
            taken += 1;
        }
        newest.acker.ack(BasicAckOptions { multiple: true }).await?;
        meter.count(taken);
    }
    // What came and was not acknowledged goes back into the queue.
    Ok(connection.close(200, "done".into()).await?)
}

/// Sends at a steady rate over one connection.
pub(crate) async fn steady(lane: &Lane, body: &Bytes, pace: Pace) -> anyhow::Result<Vec<f64>> {
    let connection = connect(lane).await?;
    let channel = confirming(&connection).await?;
    let taken = pace::keep(pace, async || {
        confirmed(publish(&channel, lane, body).await?).await
    })
    .await?;
    connection.close(200, "done".into()).await?;
    Ok(taken)
}

async fn confirming(connection: &Connection) -> anyhow::Result<Channel> {
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    Ok(channel)
}

async fn publish(channel: &Channel, lane: &Lane, body: &Bytes) -> anyhow::Result<PublisherConfirm> {
    let properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
    let (queue, options) = (lane.queue.as_str(), BasicPublishOptions::default());
    Ok(channel
        .basic_publish("".into(), queue.into(), options, body, properties)
        .await?)
}

async fn confirmed(confirm: PublisherConfirm) -> anyhow::Result<()> {
    let confirmation = confirm.await?;
    ensure!(confirmation.is_ack(), "a message was not confirmed");
    Ok(())
}
