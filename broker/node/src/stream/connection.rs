//! HTTP/2 connections that carry streams: bounded in streams, windows and heads, and in how long they are idle.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::Request;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use posthouse_stream::bounds::{REQUEST_BYTES_MAX, STREAMS_MAX};
use posthouse_stream::stream_server::StreamServer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service;

use super::Door;
use super::arriving::Arriving;
use crate::listener::{Conversation, Ending, Limits};

/// What a client may send of one stream before it is read.
const STREAM_WINDOW_BYTES: u32 = 1_048_576;
/// What a client may send of all streams of a connection before it is read.
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1_048_576;
/// What a client may send in one frame: each costs a system call, and is in memory before it is counted.
const FRAME_BYTES_MAX: u32 = 65_536;
/// What is written of one stream before the client has taken it in, beyond its window.
const SEND_BUFFER_BYTES: usize = 524_288;
/// The largest head of a request.
const HEAD_BYTES_MAX: u32 = 8_192;
/// Streams that a client may reset before they were accepted, and that it may have had reset for its errors, before the
/// connection ends.
const RESETS_MAX: usize = 32;
/// How often a client is asked whether it is there.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(20);
/// How long it has to say so.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// gRPC over HTTP/2.
#[derive(Clone)]
pub struct Streams(pub Door);

/// The connection that a stream came over. Found among a request's extensions.
#[derive(Clone)]
pub(super) struct Connection {
    cut: CancellationToken,
}

/// How many requests of a connection are open.
#[derive(Default)]
struct Open {
    count: AtomicUsize,
    changed: Notify,
}

/// A request that is open as long as this is held.
struct Held(Arc<Open>);

/// A reply that keeps its request open.
struct Counted {
    body: tonic::body::Body,
    _held: Held,
}

/// Runs what HTTP/2 does for each stream, and lets it be waited for.
#[derive(Clone)]
struct Tasks(TaskTracker);

// === impl Connection ===

impl Connection {
    /// Cuts it off: the client does not take in what it is answered.
    pub(super) fn cut(&self) {
        self.cut.cancel();
    }
}

// === impl Open ===

impl Open {
    fn begin(self: &Arc<Self>) -> Held {
        self.count.fetch_add(1, Ordering::AcqRel);
        self.changed.notify_one();
        Held(Arc::clone(self))
    }

    /// Waits until no request has been open for so long.
    async fn idle(&self, timeout: Duration) {
        loop {
            let changed = self.changed.notified();
            match self.count.load(Ordering::Acquire) {
                0 => match tokio::time::timeout(timeout, changed).await {
                    Ok(()) => {}
                    Err(_) => return,
                },
                _ => changed.await,
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::AcqRel);
        self.0.changed.notify_one();
    }
}

// === impl Streams ===

impl Conversation for Streams {
    async fn hold<S>(self, stream: S, limits: Limits, stop: CancellationToken) -> hyper::Result<()>
    where
        S: AsyncRead + AsyncWrite + Ending + Unpin + Send + 'static,
    {
        let tasks = TaskTracker::new();
        let connection = Connection {
            cut: CancellationToken::new(),
        };
        let cut = connection.cut.clone();
        let open = Arc::new(Open::default());
        let idle = Arc::clone(&open);
        let (room, read_timeout) = (self.0.0.room.clone(), self.0.0.read_timeout);
        let server = StreamServer::new(self.0)
            .max_decoding_message_size(REQUEST_BYTES_MAX)
            .max_encoding_message_size(usize::MAX);
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(connection.clone());
            let (mut server, held) = (server.clone(), open.begin());
            let request = request.map(|body| Arriving::new(body, room.clone(), read_timeout));
            async move {
                let response = server.call(request).await?;
                Ok::<_, Infallible>(response.map(|body| Counted { body, _held: held }))
            }
        });
        let serving = http2::Builder::new(Tasks(tasks.clone()))
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES_MAX)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .max_header_list_size(HEAD_BYTES_MAX)
            .max_pending_accept_reset_streams(RESETS_MAX)
            .max_local_error_reset_streams(RESETS_MAX)
            .keep_alive_interval(KEEP_ALIVE_EVERY)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        let mut serving = std::pin::pin!(serving);
        let served = tokio::select! {
            served = serving.as_mut() => Some(served),
            () = cut.cancelled() => Some(Ok(())),
            () = idle.idle(limits.idle_timeout) => None,
            () = stop.cancelled() => None,
        };
        match served {
            Some(served) => served,
            None => {
                serving.as_mut().graceful_shutdown();
                tokio::select! {
                    served = serving.as_mut() => served,
                    () = cut.cancelled() => Ok(()),
                }
            }
        }
    }
}

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

impl Body for Counted {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_once_nothing_was_open_over_it_for_so_long() {
        const TIMEOUT: Duration = Duration::from_secs(10);
        let open = Arc::new(Open::default());
        let first = open.begin();
        let begun = tokio::time::Instant::now();
        let ends = async {
            tokio::time::sleep(3 * TIMEOUT).await;
            drop(first);
            tokio::time::sleep(TIMEOUT / 2).await;
            let second = open.begin();
            tokio::time::sleep(TIMEOUT).await;
            drop(second);
        };
        tokio::join!(open.idle(TIMEOUT), ends);
        assert_eq!(begun.elapsed(), 5 * TIMEOUT + TIMEOUT / 2);
    }
}
