//! Clients of Posthouse over CMQ's HTTP API: a call at a time on each connection.

use posthouse_load::drive::{self, Connection};
use posthouse_load::requests::{Request, Signing};

use crate::contender::Body;
use crate::door::{Lane, Pace};
use crate::meter::Meter;

/// Connections over which sends at a steady rate are spread.
const STEADY_CONNECTIONS: u16 = 32;

/// Sends the same call again and again.
pub(crate) async fn produce(lane: &Lane, batch: u16, body: Body, meter: &Meter) -> anyhow::Result<()> {
    let request = send(lane, batch, body);
    let mut connection = Connection::open(lane.leader).await?;
    meter.connected().await;
    while !meter.is_over() {
        connection.ask_done(&request).await?;
        meter.count(request.messages);
    }
    Ok(())
}

/// Receives in batches and deletes each batch.
pub(crate) async fn consume(lane: &Lane, meter: &Meter) -> anyhow::Result<()> {
    let signing = Signing::new(lane.leader);
    let receive = signing.wait_for_batch(&lane.queue);
    let mut connection = Connection::open(lane.leader).await?;
    meter.connected().await;
    while !meter.is_over() {
        let take = connection.take(&receive, &signing, &lane.queue);
        // What waits for a message when the last one was taken has none.
        let Some(taken) = meter.unless_finished(take).await else {
            break;
        };
        meter.count(taken?);
    }
    Ok(())
}

/// Sends single messages at a steady rate.
pub(crate) fn steady(lane: &Lane, body: Body, pace: Pace) -> anyhow::Result<Vec<f64>> {
    let request = send(lane, 1, body);
    drive::steady(
        lane.leader,
        STEADY_CONNECTIONS,
        &request,
        pace.per_second,
        pace.span,
    )
}

fn send(lane: &Lane, batch: u16, body: Body) -> Request {
    let signing = Signing::new(lane.leader);
    match batch {
        1 => signing.send(&lane.queue, body.bytes()),
        _ => signing.send_batch(&lane.queue, body.bytes()),
    }
}
