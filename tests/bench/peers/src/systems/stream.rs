//! Clients of Posthouse's streams: publishes with a window of receipts, and messages that are asked for ahead.

use std::collections::VecDeque;

use anyhow::Context;
use bytes::Bytes;
use futures::FutureExt;
use posthouse_client::{
    Client, ConsumeError, Consumer, Delivery, Key, Receipt, SettleError, Settlement, Target, Window,
};
use posthouse_load::requests::{SECRET_ID, SECRET_KEY};

use crate::door::{Lane, Pace};
use crate::meter::Meter;
use crate::plan::Plan;
use crate::systems::pace;

/// What a client that receives waits for.
enum Next {
    /// A message.
    Come(Result<Delivery, ConsumeError>),
    /// What became of the delete that has waited longest.
    Deleted(Result<(), SettleError>),
}

/// Publishes with so many messages unconfirmed.
pub(crate) async fn produce(lane: &Lane, plan: Plan, body: &Bytes, meter: &Meter) -> anyhow::Result<()> {
    let publisher = client(lane)?.publisher();
    let target = Target::queue(&lane.queue);
    let mut unconfirmed: VecDeque<Receipt> = VecDeque::new();
    meter.connected().await;
    while !meter.is_over() {
        if unconfirmed.len() >= usize::from(plan.window)
            && let Some(oldest) = unconfirmed.pop_front()
        {
            oldest.await?;
            meter.count(1);
            continue;
        }
        unconfirmed.push_back(publisher.publish(&target, body.clone()).await?);
    }
    for receipt in unconfirmed {
        receipt.await?;
        meter.count(1);
    }
    Ok(())
}

/// Receives and deletes, with as many deletes unconfirmed as there are messages asked for ahead.
pub(crate) async fn consume(lane: &Lane, plan: Plan, meter: &Meter) -> anyhow::Result<()> {
    let client = client(lane)?;
    meter.connected().await;
    let window = Window {
        messages: plan.prefetch.into(),
        ..Window::default()
    };
    let mut consumer = client.consumer(&lane.queue, window);
    let mut unconfirmed: VecDeque<Settlement> = VecDeque::new();
    while !meter.is_over() {
        let has_room = unconfirmed.len() < usize::from(plan.prefetch);
        let next = async {
            tokio::select! {
                biased;
                Some(deleted) = oldest(&mut unconfirmed) => Next::Deleted(deleted),
                delivery = consumer.next(), if has_room => Next::Come(delivery),
            }
        };
        match meter.unless_over(next).await {
            None => break,
            Some(Next::Deleted(deleted)) => {
                deleted?;
                meter.count(1 + confirmed(&mut unconfirmed)?);
            }
            Some(Next::Come(first)) => {
                unconfirmed.push_back(consumer.ack(first?.handle).await?);
                take_others(&mut consumer, &mut unconfirmed, plan).await?;
            }
        }
    }
    for settlement in unconfirmed {
        settlement.await?;
        meter.count(1);
    }
    // What came and was not deleted goes back into the queue.
    consumer.close().await;
    Ok(())
}

/// Publishes at a steady rate over one stream.
pub(crate) async fn steady(lane: &Lane, body: &Bytes, pace: Pace) -> anyhow::Result<Vec<f64>> {
    let publisher = client(lane)?.publisher();
    let target = Target::queue(&lane.queue);
    pace::keep(pace, async || {
        publisher.publish(&target, body.clone()).await?.await?;
        Ok(())
    })
    .await
}

fn client(lane: &Lane) -> anyhow::Result<Client> {
    let address = format!("http://{}", lane.leader);
    Client::new(&[address], Key::new(SECRET_ID, SECRET_KEY)).context("a client of the streaming door")
}

/// Waits for the delete that has waited longest, if there is one.
async fn oldest(unconfirmed: &mut VecDeque<Settlement>) -> Option<Result<(), SettleError>> {
    let deleted = unconfirmed.front_mut()?.await;
    unconfirmed.pop_front();
    Some(deleted)
}

/// Takes out the deletes that are confirmed already; returns how many.
fn confirmed(unconfirmed: &mut VecDeque<Settlement>) -> anyhow::Result<u64> {
    let mut messages = 0;
    while let Some(deleted) = unconfirmed.front_mut().and_then(|oldest| oldest.now_or_never()) {
        deleted?;
        unconfirmed.pop_front();
        messages += 1;
    }
    Ok(messages)
}

/// Deletes what has come beside a message, as long as there is room.
async fn take_others(
    consumer: &mut Consumer,
    unconfirmed: &mut VecDeque<Settlement>,
    plan: Plan,
) -> anyhow::Result<()> {
    while unconfirmed.len() < usize::from(plan.prefetch)
        && let Some(delivery) = consumer.next_now()?
    {
        unconfirmed.push_back(consumer.ack(delivery.handle).await?);
    }
    Ok(())
}
