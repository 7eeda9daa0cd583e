//! A stream, from its opening to its end, whatever travels over it: what a publisher and a consumer have in common.
//!
//! ```text
//!   open ──► exchange ──► asks no more ──► the node ends it ──► closed, or opened again elsewhere
//!     └─────────┴── lost: opened again, what is not answered is sent again
//! ```
//!
//! A stream is left for another node's by asking no more over it: the node answers what it was asked, hands over what is on
//! its way, and ends it. So nothing is in doubt for that, and no lease is lost.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::SendError;
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};

use crate::link::{Link, Nodes, Search};

/// Requests that are made and not yet taken by HTTP/2.
const MADE_MAX: usize = 16;
/// How long a node has to end a stream over which nothing more is asked.
const LEFT_WITHIN: Duration = Duration::from_secs(30);

/// What a publisher or a consumer does over streams.
pub(crate) trait Exchange: Send {
    /// What is asked.
    type Request: Send + 'static;
    /// What a node answers.
    type Reply: Send;
    /// The method's path.
    const PATH: &'static str;

    /// Opens a stream.
    fn open(
        link: &mut Link,
        requests: Request<Requests<Self::Request>>,
    ) -> impl Future<Output = Result<Response<Streaming<Self::Reply>>, Status>> + Send;

    /// Returns what a stream begins with.
    fn first(&mut self) -> Option<Self::Request>;

    /// Returns whether there is something to ask now.
    fn has_request(&self) -> bool;

    /// Returns what to ask next.
    fn next_request(&mut self) -> Option<Self::Request>;

    /// Takes an answer in. Returns the door of the node that leads what this is about, if the answer says so: an empty text
    /// is the node's own.
    fn take(&mut self, reply: Self::Reply) -> Option<String>;

    /// Waits for something to do.
    fn take_in(&mut self) -> impl Future<Output = ()> + Send;

    /// Gives up what was waited for too long.
    fn expire(&mut self);

    /// Returns when to look again, whatever comes.
    fn next_wake(&self) -> Instant;

    /// Returns whether nobody wants anything more, and everything is answered.
    fn is_done(&self) -> bool;

    /// Returns whether something may be on its way that was asked for over this stream.
    fn awaits(&self) -> bool;
}

/// How a stream ended.
pub(crate) enum Ended {
    /// All is done.
    Closed,
    /// It was left, to go on elsewhere.
    Left,
    /// To be tried elsewhere.
    Lost(Status),
}

/// Requests on their way to HTTP/2.
#[derive(Debug)]
pub(crate) struct Requests<T>(mpsc::Receiver<T>);

impl<T> Stream for Requests<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.poll_recv(context)
    }
}

/// Goes through one stream.
pub(crate) async fn go<E: Exchange>(nodes: &Nodes, exchange: &mut E, search: &mut Search) -> Ended {
    let mut link = tokio::select! {
        link = nodes.connect(search) => link,
        () = unconnected(exchange) => return Ended::Closed,
    };
    let (sender, sent) = mpsc::channel(MADE_MAX);
    if let Some(first) = exchange.first() {
        // There is a place: nothing was sent yet.
        let _ = sender.try_send(first);
    }
    // None once nothing more is asked.
    let mut requests = Some(sender);
    let mut left_by = None;
    let opened = match nodes.sign(Requests(sent), E::PATH) {
        Ok(request) => tokio::select! {
            opened = E::open(&mut link, request) => opened,
            () = unconnected(exchange) => return Ended::Closed,
        },
        Err(status) => return Ended::Lost(status),
    };
    let mut replies = match opened {
        Ok(response) => response.into_inner(),
        Err(status) => return Ended::Lost(status),
    };
    loop {
        exchange.expire();
        let now = Instant::now();
        if exchange.is_done() && !exchange.awaits() {
            return Ended::Closed;
        }
        if requests.is_some() && (exchange.is_done() || search.calls(now)) {
            requests = None;
            left_by = Some(now + LEFT_WITHIN);
        }
        if left_by.is_some_and(|by| by <= now) {
            return ended(exchange, "the node does not end the stream");
        }
        // Once nothing more is asked, it is left already.
        let moves = left_by.or_else(|| search.calls_at());
        let wakes = exchange.next_wake();
        let wakes = moves.map_or(wakes, |moves| moves.min(wakes));
        let reply = tokio::select! {
            place = reserve(requests.as_ref()), if exchange.has_request() => match place {
                Ok(place) => {
                    if let Some(request) = exchange.next_request() {
                        place.send(request);
                    }
                    continue;
                }
                // The stream is over; why, its replies say.
                Err(_) => replies.message().await,
            },
            reply = replies.message() => reply,
            () = exchange.take_in() => continue,
            () = tokio::time::sleep_until(wakes) => continue,
        };
        match reply {
            Ok(Some(reply)) => {
                search.served();
                if let Some(door) = exchange.take(reply) {
                    search.told(nodes, &door);
                }
            }
            Ok(None) if requests.is_none() => return Ended::Left,
            Ok(None) => return ended(exchange, "the node closed the stream"),
            Err(status) => return Ended::Lost(status),
        }
    }
}

/// Goes on without a connection until nobody wants anything more.
async fn unconnected(exchange: &mut impl Exchange) {
    loop {
        exchange.expire();
        if exchange.is_done() {
            return;
        }
        let wakes = exchange.next_wake();
        tokio::select! {
            () = exchange.take_in() => {}
            () = tokio::time::sleep_until(wakes) => {}
        }
    }
}

/// Waits for a place for a request, for ever where nothing more is asked.
async fn reserve<T>(requests: Option<&mpsc::Sender<T>>) -> Result<mpsc::Permit<'_, T>, SendError<()>> {
    match requests {
        Some(requests) => requests.reserve().await,
        None => std::future::pending().await,
    }
}

fn ended(exchange: &impl Exchange, why: &str) -> Ended {
    match exchange.is_done() {
        true => Ended::Closed,
        false => Ended::Lost(Status::unavailable(why)),
    }
}
