//! A `Publish` stream: requests done as they come, many at a time, answered in bunches in the order that they are done.

mod gathering;

use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use posthouse_gateway::cmq::{Action, CmqError};
use posthouse_gateway::stream;
use posthouse_model::{Kind, MessageId, Name, TenantId};
use posthouse_stream::bounds::{BYTES_IN_FLIGHT_MAX, REQUESTS_IN_FLIGHT_MAX};
use posthouse_stream::{PublishReply, PublishRequest, Published};
use prost::Message as _;
use tokio::time::{MissedTickBehavior, interval};
use tonic::{Status, Streaming};

use super::answers::{Bunch, Giver, Stall};
use super::leading::Leading;
use super::{Door, Served, shown, stopping, unopened};
use gathering::Lane;

pub(super) use gathering::Gathering;

/// How often it is looked whether whoever opened a stream still may.
pub(super) const CHECK_EVERY: Duration = Duration::from_secs(1);

/// A stream's task.
pub(super) struct Publishing {
    served: Served,
    giver: Giver<PublishReply>,
    stall: Stall,
    leading: Leading,
    /// Bytes of bodies in flight.
    bytes: usize,
    /// What was answered and is not handed over.
    answered: Vec<Published>,
}

/// A request that is done.
struct Done {
    published: Published,
    bytes: usize,
    /// Where its messages were to go, if it says so.
    target: Option<(Kind, Name)>,
}

// === impl Publishing ===

impl Publishing {
    pub(super) fn new(served: Served, giver: Giver<PublishReply>) -> Publishing {
        Publishing {
            stall: Stall::new(served.door.0.write_timeout),
            leading: Leading::default(),
            served,
            giver,
            bytes: 0,
            answered: Vec::new(),
        }
    }

    /// Serves the stream until it ends.
    pub(super) async fn run(mut self, mut requests: Streaming<PublishRequest>) {
        let parts = self.served.door.0.clone();
        let (stop, tenant) = (parts.stop.clone(), self.served.opener.tenant);
        let mut check = interval(CHECK_EVERY);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut in_flight = FuturesUnordered::new();
        // How the stream ends, once nothing more is read of it.
        let mut end: Option<Result<(), Status>> = None;
        loop {
            self.stall.note(!self.answered.is_empty());
            let unanswered = in_flight.len() + self.answered.len();
            if unanswered == 0
                && let Some(end) = end
            {
                return self.giver.end(end);
            }
            let reads =
                end.is_none() && unanswered < REQUESTS_IN_FLIGHT_MAX && self.bytes < BYTES_IN_FLIGHT_MAX;
            tokio::select! {
                Some(done) = in_flight.next(), if !in_flight.is_empty() => {
                    let Done { mut published, bytes, target } = done;
                    if let Some(target) = target {
                        published.leader = self.leading.door(&parts.calls, tenant, target);
                    }
                    self.bytes -= bytes;
                    self.answered.push(published);
                }
                place = self.giver.place(), if !self.answered.is_empty() => {
                    let Some(place) = place else { return };
                    let published = std::mem::take(&mut self.answered);
                    let reply = PublishReply { published };
                    place.give(Bunch { reply, ..Bunch::default() });
                    self.stall.moved();
                }
                request = requests.message(), if reads => match request {
                    Ok(Some(request)) => {
                        let bytes = request.encoded_len();
                        self.bytes += bytes;
                        in_flight.push(answer(&self.served.door, tenant, request, bytes));
                    }
                    Ok(None) => end = Some(Ok(())),
                    Err(status) => end = Some(Err(status)),
                },
                () = stop.cancelled(), if end.is_none() => end = Some(Err(stopping())),
                _ = check.tick() => {
                    self.leading.forget();
                    if let Err(error) = self.served.opener.check(&parts.calls) {
                        end.get_or_insert(Err(unopened(&error)));
                    }
                }
                () = self.stall.over() => return self.served.connection.cut(),
                () = self.giver.gone() => return,
            }
        }
    }
}

async fn answer(door: &Door, tenant: TenantId, request: PublishRequest, bytes: usize) -> Done {
    let id = request.id;
    let mut target = None;
    let outcome = publish(door, tenant, request, bytes, &mut target).await;
    let code = outcome.as_ref().map_or_else(|error| error.code, |_| 0);
    door.0.calls.broker.metrics.stream_request("publish", code);
    let published = match outcome {
        Ok(ids) => Published {
            id,
            message_ids: ids.into_iter().map(|id| id.0).collect(),
            ..Published::default()
        },
        Err(error) => Published {
            id,
            error: Some(shown(&error)),
            ..Published::default()
        },
    };
    Done {
        published,
        bytes,
        target,
    }
}

async fn publish(
    door: &Door,
    tenant: TenantId,
    request: PublishRequest,
    bytes: usize,
    target: &mut Option<(Kind, Name)>,
) -> Result<Vec<MessageId>, CmqError> {
    let calls = &door.0.calls;
    calls.admit(tenant, bytes)?;
    let held = door
        .0
        .room
        .take_all(bytes)
        .map_err(|full| CmqError::not_done(&full.to_string()))?;
    let stream::Publish { action, token } = stream::publish(request, &calls.config)?;
    match action {
        Action::BatchSendMessage { queue, bodies, delay } => {
            *target = Some((Kind::Queue, queue.clone()));
            if token.is_none() {
                let lane = Lane { tenant, queue, delay };
                let (told, is_first) = door.0.gathering.join(&lane, bodies, held);
                if is_first {
                    let all = door.clone();
                    door.0
                        .tasks
                        .spawn(async move { all.0.gathering.go(&all.0.calls, lane).await });
                }
                return told.await.unwrap_or_else(|_| Err(lost()));
            }
            calls.send(tenant, &queue, delay, bodies, token).await
        }
        Action::BatchPublishMessage {
            topic,
            bodies,
            tags,
            routing_key,
        } => {
            *target = Some((Kind::Topic, topic.clone()));
            calls
                .publish(tenant, &topic, bodies, &tags, routing_key, token)
                .await
        }
        other => unreachable!("{} publishes nothing", other.name()),
    }
}

/// Returns the error for a request whose outcome nobody told.
fn lost() -> CmqError {
    CmqError::may_have_been_done("the node stops")
}
