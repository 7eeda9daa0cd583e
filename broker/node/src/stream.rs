//! The streaming door: gRPC streams beside CMQ's HTTP, for our own clients.
//!
//! A stream is authenticated when it opens, by the metadata that it comes with. Then a task of its own reads its requests,
//! has them done by the same calls as the other door's, many at a time, and hands bunches of answers to HTTP/2. It reads no
//! further while as much is in flight as may be, or while what is answered is not taken in: HTTP/2's flow control then
//! stops the client, and nothing is held without a bound.
//!
//! ```text
//!   client ══ HTTP/2 ══► requests ─► task ─► calls (admission, plugins, commands)
//!             ◄═════════ answers ◄──  └── what is in flight ──┘
//! ```

mod answers;
mod arriving;
mod connection;
mod consuming;
mod leading;
mod opening;
mod publishing;

use std::sync::Arc;
use std::time::Duration;

use posthouse_gateway::cmq::CmqError;
use posthouse_stream::{
    CONSUME_PATH, ConsumeReply, ConsumeRequest, Effect, Error, PUBLISH_PATH, PublishReply, PublishRequest,
    stream_server,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};

use crate::bodies::Room;
use crate::calls::Calls;
use crate::config::LimitsConfig;
use crate::metrics::OpenStream;
use crate::stream::answers::{Answers, Giver};
use crate::stream::connection::Connection;
use crate::stream::consuming::Consuming;
use crate::stream::opening::Opener;
use crate::stream::publishing::{Gathering, Publishing};

pub use connection::Streams;

/// Opens streams. Cheap to clone.
#[derive(Clone)]
pub struct Door(Arc<Parts>);

struct Parts {
    calls: Calls,
    /// Room for bodies, shared with the other door.
    room: Room,
    /// How many more streams may be opened.
    streams: Arc<Semaphore>,
    /// How long the rest of a request may take.
    read_timeout: Duration,
    /// Sends that go together.
    gathering: Gathering,
    /// How long a client may take in nothing of what it is answered.
    write_timeout: Duration,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// What each stream's task has.
struct Served {
    door: Door,
    opener: Opener,
    connection: Connection,
    _open: (OpenStream, OwnedSemaphorePermit),
}

// === impl Door ===

impl Door {
    /// Returns the door to a broker's calls.
    pub fn new(calls: Calls, room: Room, limits: &LimitsConfig, stop: CancellationToken) -> Door {
        Door(Arc::new(Parts {
            calls,
            room,
            streams: Arc::new(Semaphore::new(limits.streams_max)),
            read_timeout: limits.body_read,
            gathering: Gathering::default(),
            write_timeout: limits.reply_write,
            stop,
            tasks: TaskTracker::new(),
        }))
    }

    async fn open<T>(
        &self,
        request: &Request<T>,
        path: &str,
        method: &'static str,
    ) -> Result<Served, Status> {
        let opener = Opener::authenticate(&self.0.calls, request.metadata(), path)
            .await
            .map_err(|error| unopened(&error))?;
        let place = Arc::clone(&self.0.streams).try_acquire_owned();
        let place = place.map_err(|_| {
            Status::resource_exhausted("as many streams are open as there may be (limits.streams_max)")
        })?;
        let connection = request.extensions().get::<Connection>().cloned();
        Ok(Served {
            door: self.clone(),
            opener,
            connection: connection.ok_or_else(|| Status::internal("the stream has no connection"))?,
            _open: (self.0.calls.broker.metrics.stream_opened(method), place),
        })
    }
}

#[tonic::async_trait]
impl stream_server::Stream for Door {
    type PublishStream = Answers<PublishReply>;
    type ConsumeStream = Answers<ConsumeReply>;

    async fn publish(
        &self,
        request: Request<Streaming<PublishRequest>>,
    ) -> Result<Response<Self::PublishStream>, Status> {
        let served = self.open(&request, PUBLISH_PATH, "Publish").await?;
        let (giver, answers) = Giver::new();
        self.0
            .tasks
            .spawn(Publishing::new(served, giver).run(request.into_inner()));
        Ok(Response::new(answers))
    }

    async fn consume(
        &self,
        request: Request<Streaming<ConsumeRequest>>,
    ) -> Result<Response<Self::ConsumeStream>, Status> {
        let served = self.open(&request, CONSUME_PATH, "Consume").await?;
        let (giver, answers) = Giver::new();
        self.0
            .tasks
            .spawn(Consuming::run(served, giver, request.into_inner()));
        Ok(Response::new(answers))
    }
}

/// Returns how a stream ends that may not be opened, or no longer be open.
fn unopened(error: &CmqError) -> Status {
    match error.code {
        4100 => Status::unauthenticated(error.to_string()),
        4420 => Status::resource_exhausted(error.to_string()),
        _ => Status::unavailable(error.to_string()),
    }
}

/// Returns how a stream ends whose node stops.
fn stopping() -> Status {
    Status::unavailable("the node stops; what was not answered may have been done")
}

/// Returns how a stream ends that asks for what no stream may ask.
fn out_of_bounds(why: &str) -> Status {
    Status::invalid_argument(why)
}

/// Returns an error as the protocol says it.
fn shown(error: &CmqError) -> Error {
    let effect = match error.in_doubt {
        true => Effect::MayHaveBeenDone,
        false => Effect::NotDone,
    };
    Error {
        code: error.code,
        module_code: error.module,
        text: error.text.clone(),
        effect: effect.into(),
    }
}
