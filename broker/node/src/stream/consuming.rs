//! A `Consume` stream: as many messages as were asked for, handed out in bunches; acks, nacks and extends done as they come.
//!
//! One receive is under way while there is credit and nothing waits to be handed out; it leases many messages at once. Acks
//! that come while a delete is under way are gathered into the next one.

mod gathering;

use std::collections::VecDeque;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use posthouse_gateway::cmq::CmqError;
use posthouse_gateway::stream::{self, Opened};
use posthouse_model::{Kind, ReceiptHandle, Refusal, TenantId};
use posthouse_stream::bounds::{CREDIT_MAX, REQUESTS_IN_FLIGHT_MAX};
use posthouse_stream::{ConsumeReply, ConsumeRequest, Delivery, Settled, consume_request};
use prost::Message as _;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tonic::{Status, Streaming};

use super::answers::{Bunch, Giver, Stall};
use super::publishing::CHECK_EVERY;
use super::{Door, Parts, Served, out_of_bounds, shown, stopping, unopened};
use crate::broker::{LeaseChange, Received, Reception, Wish};
use crate::calls::Calls;
use gathering::{Acks, Part};

/// The most messages that one receive leases.
const RECEIVE_MAX: u16 = 256;
/// Bytes of bodies after which a bunch of deliveries is full.
const BUNCH_BYTES: usize = 262_144;
/// How long one receive waits for a message, before it is asked again.
const WAIT: Duration = Duration::from_secs(20);
/// How long a stream rests before it receives again, when it was refused or the node lets nobody wait.
const REST: Duration = Duration::from_millis(200);
/// How long a client has to say what it opens.
const OPEN_WITHIN: Duration = Duration::from_secs(10);

/// A stream's task.
pub(super) struct Consuming {
    door: Door,
    tenant: TenantId,
    opened: Opened,
    /// Messages that were asked for and are not leased.
    credit: u32,
    /// When to receive again, at the earliest.
    rests_until: Instant,
    /// Deliveries that are not handed over.
    ready: VecDeque<Bunch<ConsumeReply>>,
    /// What was settled and is not told.
    settled: Vec<Settled>,
    /// The door of the node that leads the queue's set, if that is another one, as it was told last; and whether it is yet
    /// to be told.
    leader: Option<String>,
    tells_leader: bool,
    /// Acks that wait for the delete under way.
    acks: Acks,
    is_deleting: bool,
    /// Requests that are being done.
    unsettled: usize,
}

/// What a client asks to be done with handles, not yet checked.
enum Asked {
    Ack(Vec<u64>),
    Nack(Vec<u64>, u32),
    Extend(Vec<u64>, u32),
}

/// A change of leases that is to be done.
struct Settle {
    id: u64,
    tenant: TenantId,
    opened: Opened,
    change: LeaseChange,
}

/// What came of a command.
enum Done {
    Deleted(Vec<Settled>),
    Changed(Settled),
}

// === impl Consuming ===

impl Consuming {
    /// Serves a stream until it ends.
    pub(super) async fn run(
        served: Served,
        giver: Giver<ConsumeReply>,
        mut requests: Streaming<ConsumeRequest>,
    ) {
        let opening = async {
            match tokio::time::timeout(OPEN_WITHIN, requests.message()).await {
                Ok(request) => Consuming::open(&served, request?),
                Err(_) => Err(out_of_bounds("nothing was opened in time")),
            }
        };
        let opened = tokio::select! {
            opened = opening => opened,
            () = served.door.0.stop.cancelled() => Err(stopping()),
            () = giver.gone() => return,
        };
        match opened {
            Ok(consuming) => consuming.serve(&served, giver, requests).await,
            Err(status) => giver.end(Err(status)),
        }
    }

    fn open(served: &Served, request: Option<ConsumeRequest>) -> Result<Consuming, Status> {
        let Some(consume_request::Request::Open(open)) = request.and_then(|request| request.request) else {
            return Err(out_of_bounds("a stream is opened by its first request"));
        };
        let opened = stream::open(&open).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let mut consuming = Consuming {
            door: served.door.clone(),
            tenant: served.opener.tenant,
            opened,
            credit: 0,
            rests_until: Instant::now(),
            ready: VecDeque::new(),
            settled: Vec::new(),
            leader: None,
            tells_leader: false,
            acks: Acks::default(),
            is_deleting: false,
            unsettled: 0,
        };
        consuming.grant(open.credit)?;
        Ok(consuming)
    }

    async fn serve(
        mut self,
        served: &Served,
        giver: Giver<ConsumeReply>,
        mut requests: Streaming<ConsumeRequest>,
    ) {
        let door = self.door.clone();
        let parts: &Parts = &door.0;
        let mut check = interval(CHECK_EVERY);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stall = Stall::new(parts.write_timeout);
        let mut receiving: Option<BoxFuture<'_, Result<Reception, CmqError>>> = None;
        let mut settling: FuturesUnordered<BoxFuture<'_, Done>> = FuturesUnordered::new();
        // How the stream ends, once nothing more is read of it.
        let mut end: Option<Result<(), Status>> = None;
        loop {
            if end.is_some() {
                // What is leased and not handed over is given back.
                receiving = None;
                self.ready.clear();
            }
            if let Some(end) = end.take_if(|_| self.unsettled == 0 && self.settled.is_empty()) {
                return giver.end(end);
            }
            if let Some(part) = self.next_delete() {
                settling.push(Box::pin(delete(parts, self.tenant, self.opened.clone(), part)));
            }
            let is_told = !self.ready.is_empty() || !self.settled.is_empty() || self.tells_leader;
            stall.note(is_told);
            let receives = end.is_none() && receiving.is_none() && self.ready.is_empty() && self.credit > 0;
            let reads = end.is_none() && self.unsettled + self.settled.len() < REQUESTS_IN_FLIGHT_MAX;
            tokio::select! {
                Some(done) = settling.next(), if !settling.is_empty() => self.note(done),
                place = giver.place(), if is_told => {
                    let Some(place) = place else { return };
                    place.give(self.next_bunch());
                    stall.moved();
                }
                received = async { receiving.as_mut().expect("there is one").await }, if receiving.is_some() => {
                    receiving = None;
                    if let Err(status) = self.take(received) {
                        end.get_or_insert(Err(status));
                    }
                }
                () = tokio::time::sleep_until(self.rests_until), if receives => {
                    let max = u16::try_from(self.credit).unwrap_or(u16::MAX).min(RECEIVE_MAX);
                    receiving = Some(Box::pin(receive(parts, self.tenant, self.opened.clone(), max)));
                }
                request = requests.message(), if reads => match request {
                    Ok(Some(request)) => match self.begin(request) {
                        Ok(Some(settle)) => settling.push(Box::pin(settle.run(parts))),
                        Ok(None) => {}
                        Err(status) => end = Some(Err(status)),
                    },
                    Ok(None) => end = Some(Ok(())),
                    Err(status) => end = Some(Err(status)),
                },
                () = parts.stop.cancelled(), if end.is_none() => end = Some(Err(stopping())),
                _ = check.tick() => {
                    self.look_for_leader(&parts.calls);
                    if let Err(error) = served.opener.check(&parts.calls) {
                        end.get_or_insert(Err(unopened(&error)));
                    }
                }
                () = stall.over() => return served.connection.cut(),
                () = giver.gone() => return,
            }
        }
    }

    /// Takes in what a client says. Returns what is to be done at once.
    fn begin(&mut self, request: ConsumeRequest) -> Result<Option<Settle>, Status> {
        let bytes = request.encoded_len();
        let request = request
            .request
            .ok_or_else(|| out_of_bounds("a request says nothing"))?;
        let (id, asked) = match request {
            consume_request::Request::Open(_) => return Err(out_of_bounds("the stream is open")),
            consume_request::Request::Credit(credit) => {
                self.grant(credit.messages)?;
                return Ok(None);
            }
            consume_request::Request::Ack(ack) => (ack.id, Asked::Ack(ack.handles)),
            consume_request::Request::Nack(nack) => (nack.id, Asked::Nack(nack.handles, nack.delay_seconds)),
            consume_request::Request::Extend(extend) => (
                extend.id,
                Asked::Extend(extend.handles, extend.visibility_seconds),
            ),
        };
        match self.prepare(id, asked, bytes) {
            Ok(settle) => {
                self.unsettled += 1;
                Ok(settle)
            }
            Err(error) => {
                self.settled.push(failed(id, &error));
                Ok(None)
            }
        }
    }

    /// Checks what is to be settled; acks are gathered.
    fn prepare(&mut self, id: u64, asked: Asked, bytes: usize) -> Result<Option<Settle>, CmqError> {
        self.door.0.calls.admit(self.tenant, bytes)?;
        let change = match asked {
            Asked::Ack(handles) => {
                self.acks.add(id, stream::handles(handles)?);
                return Ok(None);
            }
            Asked::Nack(handles, delay) => {
                LeaseChange::Nack(stream::handles(handles)?, stream::delay(delay)?)
            }
            Asked::Extend(handles, seconds) => {
                LeaseChange::Extend(stream::handles(handles)?, stream::visibility(seconds)?)
            }
        };
        Ok(Some(Settle {
            id,
            tenant: self.tenant,
            opened: self.opened.clone(),
            change,
        }))
    }

    fn grant(&mut self, messages: u32) -> Result<(), Status> {
        let credit = self.credit.checked_add(messages);
        let credit = credit.filter(|credit| *credit <= CREDIT_MAX);
        self.credit =
            credit.ok_or_else(|| out_of_bounds("more messages are asked for than may be at once"))?;
        Ok(())
    }

    /// Returns the acks that are to be deleted next, unless a delete is under way.
    fn next_delete(&mut self) -> Option<Part> {
        if self.is_deleting {
            return None;
        }
        let part = self.acks.next()?;
        self.is_deleting = true;
        Some(part)
    }

    fn note(&mut self, done: Done) {
        match done {
            Done::Deleted(settled) => {
                self.is_deleting = false;
                self.unsettled -= settled.len();
                self.settled.extend(settled);
            }
            Done::Changed(settled) => {
                self.unsettled -= 1;
                self.settled.push(settled);
            }
        }
    }

    /// Takes what a receive brought. What may get better is asked again after a rest.
    fn take(&mut self, received: Result<Reception, CmqError>) -> Result<(), Status> {
        self.rests_until = Instant::now();
        match received {
            Ok(reception) if reception.messages.is_empty() => self.rests_until += REST,
            Ok(reception) => self.hand_out(reception),
            Err(error) if error.code == 4440 => return Err(Status::not_found(error.to_string())),
            Err(error) if error.code == 4100 => return Err(unopened(&error)),
            Err(error) => {
                tracing::debug!(%error, "a consumer receives nothing for a while");
                self.rests_until += REST;
            }
        }
        Ok(())
    }

    /// Makes bunches of what was leased. Where there is no room for them, it is given back.
    fn hand_out(&mut self, reception: Reception) {
        let bytes = reception.messages.iter().map(|one| one.body().len()).sum();
        let Ok(mut held) = self.door.0.room.take_all(bytes) else {
            self.rests_until += REST;
            return;
        };
        let (messages, mut leases) = reception.into_parts();
        self.credit = self
            .credit
            .saturating_sub(u32::try_from(messages.len()).unwrap_or(u32::MAX));
        let metrics = &self.door.0.calls.broker.metrics;
        metrics.bytes_out(self.tenant, bytes as u64);
        let mut messages = messages.into_iter().peekable();
        while messages.peek().is_some() {
            let mut deliveries = Vec::new();
            let mut bytes = 0;
            while bytes < BUNCH_BYTES
                && let Some(next) = messages.next()
            {
                bytes += next.body().len();
                deliveries.push(delivery(next));
            }
            self.ready.push_back(Bunch {
                leases: Some(leases.take_first(deliveries.len())),
                held: held.split(bytes),
                reply: ConsumeReply {
                    deliveries,
                    ..ConsumeReply::default()
                },
            });
        }
    }

    /// Has a client be told of the leader's door, when that is another than before.
    fn look_for_leader(&mut self, calls: &Calls) {
        let leader = calls
            .broker
            .leading_door(self.tenant, Kind::Queue, &self.opened.queue);
        if leader != self.leader {
            self.tells_leader = leader.is_some();
            self.leader = leader;
        }
    }

    fn next_bunch(&mut self) -> Bunch<ConsumeReply> {
        let metrics = &self.door.0.calls.broker.metrics;
        for settled in &self.settled {
            let code = settled.error.as_ref().map_or(0, |error| error.code);
            metrics.stream_request("settle", code);
        }
        let mut bunch = self.ready.pop_front().unwrap_or_default();
        bunch.reply.settled = std::mem::take(&mut self.settled);
        if std::mem::take(&mut self.tells_leader) {
            bunch.reply.leader = self.leader.clone().unwrap_or_default();
        }
        bunch
    }
}

// === impl Settle ===

impl Settle {
    async fn run(self, parts: &Parts) -> Done {
        let handles = self.change.handles().to_vec();
        let outcome = parts
            .calls
            .change_leases(self.tenant, &self.opened.queue, self.change)
            .await;
        Done::Changed(match outcome {
            Ok(results) => settled(self.id, &handles, &results),
            Err(error) => failed(self.id, &error),
        })
    }
}

async fn receive(parts: &Parts, tenant: TenantId, opened: Opened, max: u16) -> Result<Reception, CmqError> {
    parts.calls.admit(tenant, 0)?;
    let wish = Wish {
        max,
        wait: Some(WAIT),
        visibility: opened.visibility,
    };
    let mut waited = Duration::ZERO;
    parts
        .calls
        .receive(tenant, &opened.queue, wish, &mut waited)
        .await
}

async fn delete(parts: &Parts, tenant: TenantId, opened: Opened, part: Part) -> Done {
    let outcome = parts
        .calls
        .delete(tenant, &opened.queue, part.handles().to_vec())
        .await;
    let each = part.each();
    Done::Deleted(match outcome {
        Ok(results) => each
            .map(|(id, range)| settled(id, &part.handles()[range.clone()], &results[range]))
            .collect(),
        Err(error) => each.map(|(id, _)| failed(id, &error)).collect(),
    })
}

fn settled(id: u64, handles: &[ReceiptHandle], results: &[Result<(), Refusal>]) -> Settled {
    let void = handles.iter().zip(results).filter(|(_, result)| result.is_err());
    Settled {
        id,
        void_handles: void.map(|(handle, _)| handle.0).collect(),
        ..Settled::default()
    }
}

fn failed(id: u64, error: &CmqError) -> Settled {
    Settled {
        id,
        error: Some(shown(error)),
        ..Settled::default()
    }
}

fn delivery(received: Received) -> Delivery {
    let body = received.body().clone();
    let Received { leased, message } = received;
    Delivery {
        message_id: message.message.id.0,
        handle: leased.handle.0,
        body,
        receive_count: leased.receive_count,
        enqueued_millis: message.produced.millis(),
        first_received_millis: leased.first_received.millis(),
        visible_again_millis: leased.visible_again.millis(),
        tags: message.message.tags,
        routing_key: message.message.routing_key,
    }
}
