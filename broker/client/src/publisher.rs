//! Publishes messages: those that wait together travel in one request, and each request is stored once.
//!
//! A task owns what is not answered. It has so many requests in flight; what comes meanwhile waits and is gathered. A
//! request keeps the token and the messages that it was first sent with until it is answered: sent again to another node,
//! it is known there. One that was refused although it carried messages of several callers is taken apart, so that nobody
//! is refused for another's message.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use posthouse_stream::bounds::{BODIES_BYTES_MAX, MESSAGES_MAX};
use posthouse_stream::{
    Error, OutgoingMessage, PUBLISH_PATH, PublishReply, PublishRequest, Published, publish_request,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::error::{PublishError, is_in_doubt, is_passing};
use crate::exchange::{self, Ended, Exchange, Requests};
use crate::link::{Link, Nodes};
use crate::pending::{Pending, Place, Unanswered};

/// Messages that wait to be sent; who comes then, waits for room.
const WAITING_MAX: usize = 4_096;
/// Requests that are sent and not answered.
const IN_FLIGHT_MAX: usize = 16;
/// Requests in flight above which only full ones are sent: what comes meanwhile is gathered.
const PARTIAL_IN_FLIGHT_MAX: usize = 4;
/// How long a message is sent again that no node is known to have stored.
const PATIENCE: Duration = Duration::from_secs(60);

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
    place: Place<u64, PublishError>,
    until: Instant,
}

/// The task's state.
struct Task {
    waiting: mpsc::Receiver<Waiting>,
    /// Messages that were taken out of the channel and are in no request yet.
    gathered: VecDeque<Waiting>,
    pending: Unanswered<PublishRequest, u64, PublishError>,
    /// What this publisher's tokens begin with.
    token: String,
    is_closed: bool,
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
            waiting,
            gathered: VecDeque::new(),
            pending: Unanswered::new(),
            is_closed: false,
        };
        tokio::spawn(task.run(nodes));
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
    async fn run(mut self, nodes: Arc<Nodes>) {
        let mut search = nodes.search();
        loop {
            match exchange::go(&nodes, &mut self, &mut search).await {
                Ended::Closed => return,
                Ended::Left => self.pending.lost(),
                Ended::Lost(status) => {
                    tracing::debug!(%status, "a stream of messages was lost");
                    self.lost(&status);
                }
            }
        }
    }

    /// Makes a request of the first messages that have one target.
    fn gather(&mut self) -> PublishRequest {
        let id = self.pending.next_id();
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
        self.pending.add(id, pending);
        request
    }

    fn answer(&mut self, published: Published) {
        let Some(mut pending) = self.pending.take(published.id) else {
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
                self.pending.rest(published.id, pending);
            }
            Some(_) if pending.places.len() > 1 && !pending.in_doubt => self.take_apart(pending),
            // What was sent before may be done yet.
            Some(error) if pending.in_doubt => pending.fail(&PublishError::InDoubt(error.text)),
            Some(error) => pending.fail(&refused(error)),
        }
    }

    /// Has each message of a request sent in one of its own.
    fn take_apart(&mut self, pending: Pending<PublishRequest, u64, PublishError>) {
        let now = Instant::now();
        for (message, place) in pending.request.messages.into_iter().zip(pending.places) {
            let id = self.pending.next_id();
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
            self.pending.add(id, alone);
        }
    }

    /// A connection was lost: what was sent may have been done. A key that is not accepted is refused everywhere.
    fn lost(&mut self, status: &Status) {
        self.pending.lost();
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
        for pending in self.pending.take_all() {
            let error = match pending.in_doubt {
                true => PublishError::InDoubt(status.message().to_owned()),
                false => refused.clone(),
            };
            pending.fail(&error);
        }
    }
}

impl Exchange for Task {
    type Request = PublishRequest;
    type Reply = PublishReply;
    const PATH: &'static str = PUBLISH_PATH;

    async fn open(
        link: &mut Link,
        requests: Request<Requests<PublishRequest>>,
    ) -> Result<Response<Streaming<PublishReply>>, Status> {
        link.publish(requests).await
    }

    fn first(&mut self) -> Option<PublishRequest> {
        None
    }

    /// What was gathered is sent at once while little is in flight, and else once it fills a request.
    fn has_request(&self) -> bool {
        let has_new = match self.gathered.len() {
            0 => false,
            1..MESSAGES_MAX => self.pending.len() < PARTIAL_IN_FLIGHT_MAX,
            _ => self.pending.len() < IN_FLIGHT_MAX,
        };
        has_new || self.pending.is_due()
    }

    fn next_request(&mut self) -> Option<PublishRequest> {
        if let Some((_, request)) = self.pending.next_due() {
            return Some(request.clone());
        }
        self.has_request().then(|| self.gather())
    }

    /// Where all answers of a bunch name one leader, it leads what is published here.
    fn take(&mut self, reply: PublishReply) -> Option<String> {
        let mut leaders = reply.published.iter().map(|published| &published.leader);
        let first = leaders.next().cloned();
        let leader = match leaders.all(|leader| Some(leader) == first.as_ref()) {
            true => first,
            false => None,
        };
        for published in reply.published {
            self.answer(published);
        }
        leader
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

    fn expire(&mut self) {
        let now = Instant::now();
        let why = "no node said within the time that it was stored";
        while let Some(waiting) = self.gathered.pop_front_if(|waiting| waiting.until <= now) {
            drop(waiting.place.send(Err(PublishError::NotDone(why.to_owned()))));
        }
        for pending in self.pending.take_late() {
            let error = match pending.in_doubt || pending.due.is_none() {
                true => PublishError::InDoubt(why.to_owned()),
                false => PublishError::NotDone(why.to_owned()),
            };
            pending.fail(&error);
        }
    }

    fn next_wake(&self) -> Instant {
        let waiting = self.gathered.front().map(|waiting| waiting.until);
        let usual = Instant::now() + PATIENCE;
        let wakes = [waiting, self.pending.next_wake()].into_iter().flatten();
        wakes.min().unwrap_or(usual)
    }

    fn is_done(&self) -> bool {
        self.is_closed && self.pending.is_empty() && self.gathered.is_empty()
    }

    /// What was published is answered, and nothing else comes.
    fn awaits(&self) -> bool {
        false
    }
}

fn refused(error: Error) -> PublishError {
    PublishError::Refused {
        code: error.code,
        module_code: error.module_code,
        text: error.text,
    }
}
