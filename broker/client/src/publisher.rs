//! Publishes messages: those that wait together travel in one request, and each request is stored once.
//!
//! A task owns what is not answered. It has so many requests in flight; what comes meanwhile waits and is gathered. A
//! request keeps the token and the messages that it was first sent with until it is answered: sent again to another node,
//! it is known there. One that was refused although it carried messages of several callers is taken apart, so that nobody
//! is refused for another's message.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use posthouse_stream::bounds::{BODIES_BYTES_MAX, MESSAGES_MAX};
use posthouse_stream::{Error, OutgoingMessage, PUBLISH_PATH, PublishRequest, Published, publish_request};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::error::{PublishError, is_in_doubt, is_passing};
use crate::link::{Nodes, Search};

/// Messages that wait to be sent; who comes then, waits for room.
const WAITING_MAX: usize = 4_096;
/// Requests that are sent and not answered.
const IN_FLIGHT_MAX: usize = 16;
/// Requests in flight above which only full ones are sent: what comes meanwhile is gathered.
const PARTIAL_IN_FLIGHT_MAX: usize = 4;
/// How long a message is sent again that no node is known to have stored.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a request rests that a node did not do, before it is sent again.
const REST: Duration = Duration::from_millis(50);

/// Where messages go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    target: publish_request::Target,
    delay_seconds: u32,
    tags: Vec<String>,
    routing_key: String,
}

/// Takes messages to be published. Clones share one stream.
#[derive(Clone, Debug)]
pub struct Publisher {
    waiting: mpsc::Sender<Waiting>,
}

/// Resolves to a message's id once the message is durable. Dropped, the message is published all the same.
#[derive(Debug)]
pub struct Receipt(oneshot::Receiver<Result<u64, PublishError>>);

/// A message that waits to be sent.
#[derive(Debug)]
struct Waiting {
    target: Target,
    body: Bytes,
    place: oneshot::Sender<Result<u64, PublishError>>,
    until: Instant,
}

/// A request that is not answered.
struct Pending {
    request: PublishRequest,
    places: Vec<oneshot::Sender<Result<u64, PublishError>>>,
    until: Instant,
    /// Whether it may have been done.
    in_doubt: bool,
    /// Not to be sent before, if it is to be sent again.
    due: Option<Instant>,
}

/// The task's state.
struct Task {
    nodes: Arc<Nodes>,
    waiting: mpsc::Receiver<Waiting>,
    /// Messages that were taken out of the channel and are in no request yet.
    gathered: VecDeque<Waiting>,
    pending: BTreeMap<u64, Pending>,
    last_id: u64,
    /// What this publisher's tokens begin with.
    token: String,
    is_closed: bool,
}

/// How a connection ended.
enum Ended {
    /// All is done.
    Closed,
    /// To be tried elsewhere.
    Lost(Status),
}

// === impl Target ===

impl Target {
    /// Returns a queue.
    pub fn queue(name: impl Into<String>) -> Target {
        Target::new(publish_request::Target::Queue(name.into()))
    }

    /// Returns a topic.
    pub fn topic(name: impl Into<String>) -> Target {
        Target::new(publish_request::Target::Topic(name.into()))
    }

    fn new(target: publish_request::Target) -> Target {
        Target {
            target,
            delay_seconds: 0,
            tags: Vec::new(),
            routing_key: String::new(),
        }
    }

    /// Returns it with a delay, for which messages stay hidden in a queue.
    pub fn delayed(self, seconds: u32) -> Target {
        Target {
            delay_seconds: seconds,
            ..self
        }
    }

    /// Returns it with a tag more, by which a topic's subscriptions choose.
    pub fn tagged(mut self, tag: impl Into<String>) -> Target {
        self.tags.push(tag.into());
        self
    }

    /// Returns it with a routing key, by which a topic's subscriptions choose.
    pub fn routed(self, key: impl Into<String>) -> Target {
        Target {
            routing_key: key.into(),
            ..self
        }
    }
}

// === impl Publisher ===

impl Publisher {
    pub(crate) fn start(nodes: Arc<Nodes>) -> Publisher {
        let (sender, waiting) = mpsc::channel(WAITING_MAX);
        let task = Task {
            token: nodes.unique(),
            nodes,
            waiting,
            gathered: VecDeque::new(),
            pending: BTreeMap::new(),
            last_id: 0,
            is_closed: false,
        };
        tokio::spawn(task.run());
        Publisher { waiting: sender }
    }

    /// Takes a message, waiting for room if need be. It is published whether the receipt is awaited or not.
    ///
    /// # Errors
    ///
    /// Says that the publisher's runtime is gone.
    pub async fn publish(&self, target: &Target, body: impl Into<Bytes>) -> Result<Receipt, PublishError> {
        let (place, receipt) = oneshot::channel();
        let waiting = Waiting {
            target: target.clone(),
            body: body.into(),
            place,
            until: Instant::now() + PATIENCE,
        };
        match self.waiting.send(waiting).await {
            Ok(()) => Ok(Receipt(receipt)),
            Err(_) => Err(PublishError::Closed),
        }
    }
}

impl Future for Receipt {
    type Output = Result<u64, PublishError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = std::task::ready!(Pin::new(&mut self.0).poll(context));
        Poll::Ready(answer.unwrap_or(Err(PublishError::Closed)))
    }
}

// === impl Task ===

impl Task {
    /// Publishes until all publishers are dropped and everything that they took is answered.
    async fn run(mut self) {
        let mut search = self.nodes.search();
        loop {
            let ended = self.serve(&mut search).await;
            match ended {
                Ended::Closed => return,
                Ended::Lost(status) => {
                    tracing::debug!(%status, "a stream of messages was lost");
                    self.lost(&status);
                }
            }
        }
    }

    /// Publishes over one connection.
    async fn serve(&mut self, search: &mut Search) -> Ended {
        let nodes = Arc::clone(&self.nodes);
        let mut link = tokio::select! {
            link = nodes.connect(search) => link,
            ended = self.wait_unconnected() => return ended,
        };
        let (requests, mut sent) = mpsc::channel::<PublishRequest>(IN_FLIGHT_MAX);
        let stream = futures::stream::poll_fn(move |context| sent.poll_recv(context));
        let opened = match nodes.sign(stream, PUBLISH_PATH) {
            Ok(request) => tokio::select! {
                opened = link.publish(request) => opened,
                ended = self.wait_unconnected() => return ended,
            },
            Err(status) => return Ended::Lost(status),
        };
        let mut replies = match opened {
            Ok(response) => response.into_inner(),
            Err(status) => return Ended::Lost(status),
        };
        let now = Instant::now();
        for pending in self.pending.values_mut() {
            pending.due = Some(now);
        }
        loop {
            self.expire();
            if self.is_closed && self.pending.is_empty() && self.gathered.is_empty() {
                return Ended::Closed;
            }
            let now = Instant::now();
            let due = self.next_due();
            let is_due = due.is_some_and(|(_, due)| due <= now);
            let may_send = is_due || self.has_request();
            let wakes = self.next_wake();
            tokio::select! {
                place = requests.reserve(), if may_send => {
                    let Ok(place) = place else {
                        // The stream is over; why, its replies say.
                        match replies.message().await {
                            Err(status) => return Ended::Lost(status),
                            Ok(Some(reply)) => {
                                for published in reply.published {
                                    self.answer(published);
                                }
                                continue;
                            }
                            Ok(None) => return Ended::Lost(Status::unavailable("the node closed the stream")),
                        }
                    };
                    let request = match due.filter(|_| is_due) {
                        Some((id, _)) => self.again(id),
                        None => Some(self.gather()),
                    };
                    if let Some(request) = request {
                        place.send(request);
                    }
                }
                reply = replies.message() => match reply {
                    Ok(Some(reply)) => {
                        search.served();
                        for published in reply.published {
                            self.answer(published);
                        }
                    }
                    Ok(None) => return Ended::Lost(Status::unavailable("the node closed the stream")),
                    Err(status) => return Ended::Lost(status),
                },
                () = self.take_in() => {}
                () = tokio::time::sleep_until(wakes) => {}
            }
        }
    }

    /// Gives up what is waited for too long while there is no connection; returns when nothing is left to be done.
    async fn wait_unconnected(&mut self) -> Ended {
        loop {
            self.expire();
            if self.is_closed && self.pending.is_empty() && self.gathered.is_empty() {
                return Ended::Closed;
            }
            let wakes = self.next_wake();
            tokio::select! {
                () = self.take_in() => {}
                () = tokio::time::sleep_until(wakes) => {}
            }
        }
    }

    /// Takes messages in, as many as two requests hold.
    async fn take_in(&mut self) {
        let room = (2 * MESSAGES_MAX).saturating_sub(self.gathered.len());
        if room == 0 || self.is_closed {
            return std::future::pending().await;
        }
        let mut taken = Vec::new();
        match self.waiting.recv_many(&mut taken, room).await {
            0 => self.is_closed = true,
            _ => self.gathered.extend(taken),
        }
    }

    /// Returns whether a request is to be made of what was gathered.
    fn has_request(&self) -> bool {
        match self.gathered.len() {
            0 => false,
            1..MESSAGES_MAX => self.pending.len() < PARTIAL_IN_FLIGHT_MAX,
            _ => self.pending.len() < IN_FLIGHT_MAX,
        }
    }

    /// Makes a request of the first messages that have one target.
    fn gather(&mut self) -> PublishRequest {
        self.last_id += 1;
        let id = self.last_id;
        let mut request = PublishRequest {
            id,
            token: format!("{}-{id}", self.token),
            ..PublishRequest::default()
        };
        let mut places = Vec::new();
        let mut until = Instant::now() + PATIENCE;
        let mut bytes = 0;
        let target = self.gathered.front().map(|first| first.target.clone());
        while let Some(next) = self.gathered.pop_front_if(|next| {
            let fits = places.is_empty() || bytes + next.body.len() <= BODIES_BYTES_MAX;
            fits && places.len() < MESSAGES_MAX && Some(&next.target) == target.as_ref()
        }) {
            bytes += next.body.len();
            until = until.min(next.until);
            request.messages.push(OutgoingMessage { body: next.body });
            places.push(next.place);
        }
        if let Some(target) = target {
            request.target = Some(target.target);
            request.delay_seconds = target.delay_seconds;
            request.tags = target.tags;
            request.routing_key = target.routing_key;
        }
        let pending = Pending {
            request: request.clone(),
            places,
            until,
            in_doubt: false,
            due: None,
        };
        self.pending.insert(id, pending);
        request
    }

    fn again(&mut self, id: u64) -> Option<PublishRequest> {
        let pending = self.pending.get_mut(&id)?;
        pending.due = None;
        Some(pending.request.clone())
    }

    fn answer(&mut self, published: Published) {
        let Some(mut pending) = self.pending.remove(&published.id) else {
            return;
        };
        match published.error {
            None => {
                let places = pending.places.into_iter().zip(published.message_ids);
                // Whoever does not wait for the receipt needs none.
                places.for_each(|(place, id)| drop(place.send(Ok(id))));
            }
            Some(error) if is_passing(&error) => {
                pending.in_doubt |= is_in_doubt(&error);
                pending.due = Some(Instant::now() + REST);
                self.pending.insert(published.id, pending);
            }
            Some(_) if pending.places.len() > 1 && !pending.in_doubt => self.take_apart(pending),
            // What was sent before may be done yet.
            Some(error) if pending.in_doubt => pending.fail(&PublishError::InDoubt(error.text)),
            Some(error) => pending.fail(&refused(error)),
        }
    }

    /// Has each message of a request sent in one of its own.
    fn take_apart(&mut self, pending: Pending) {
        let now = Instant::now();
        for (message, place) in pending.request.messages.into_iter().zip(pending.places) {
            self.last_id += 1;
            let id = self.last_id;
            let request = PublishRequest {
                id,
                token: format!("{}-{id}", self.token),
                messages: vec![message],
                target: pending.request.target.clone(),
                tags: pending.request.tags.clone(),
                routing_key: pending.request.routing_key.clone(),
                delay_seconds: pending.request.delay_seconds,
            };
            let alone = Pending {
                request,
                places: vec![place],
                until: pending.until,
                in_doubt: false,
                due: Some(now),
            };
            self.pending.insert(id, alone);
        }
    }

    /// A connection was lost: what was sent may have been done. A key that is not accepted is refused everywhere.
    fn lost(&mut self, status: &Status) {
        for pending in self.pending.values_mut() {
            pending.in_doubt |= pending.due.is_none();
            pending.due.get_or_insert_with(Instant::now);
        }
        if status.code() != Code::Unauthenticated {
            return;
        }
        let refused = PublishError::Refused {
            code: 4100,
            module_code: 10_030,
            text: status.message().to_owned(),
        };
        let not_sent = std::mem::take(&mut self.gathered);
        for waiting in not_sent {
            drop(waiting.place.send(Err(refused.clone())));
        }
        for (_, pending) in std::mem::take(&mut self.pending) {
            let error = match pending.in_doubt {
                true => PublishError::InDoubt(status.message().to_owned()),
                false => refused.clone(),
            };
            pending.fail(&error);
        }
    }

    /// Gives up what was waited for too long.
    fn expire(&mut self) {
        let now = Instant::now();
        let why = "no node said within the time that it was stored";
        while let Some(waiting) = self.gathered.pop_front_if(|waiting| waiting.until <= now) {
            drop(waiting.place.send(Err(PublishError::NotDone(why.to_owned()))));
        }
        let late: Vec<u64> = self
            .pending
            .iter()
            .filter(|(_, pending)| pending.until <= now)
            .map(|(id, _)| *id)
            .collect();
        for pending in late.into_iter().filter_map(|id| self.pending.remove(&id)) {
            let error = match pending.in_doubt || pending.due.is_none() {
                true => PublishError::InDoubt(why.to_owned()),
                false => PublishError::NotDone(why.to_owned()),
            };
            pending.fail(&error);
        }
    }

    /// Returns what is to be sent again first.
    fn next_due(&self) -> Option<(u64, Instant)> {
        self.pending
            .iter()
            .filter_map(|(id, pending)| Some((*id, pending.due?)))
            .min_by_key(|(_, due)| *due)
    }

    /// Returns when there is next something to do.
    fn next_wake(&self) -> Instant {
        let waiting = self.gathered.front().map(|waiting| waiting.until);
        let pending = self.pending.values().map(|pending| pending.until).min();
        let due = self
            .next_due()
            .map(|(_, due)| due.max(Instant::now() + Duration::from_millis(1)));
        let usual = Instant::now() + PATIENCE;
        [waiting, pending, due]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(usual)
    }
}

// === impl Pending ===

impl Pending {
    fn fail(self, error: &PublishError) {
        for place in self.places {
            drop(place.send(Err(error.clone())));
        }
    }
}

fn refused(error: Error) -> PublishError {
    PublishError::Refused {
        code: error.code,
        module_code: error.module_code,
        text: error.text,
    }
}
