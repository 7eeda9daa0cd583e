//! The listener: connections in, requests to a handler, replies out; with a bound on everything a stranger can do.
//!
//! An idle connection may stay for long (some clients cannot survive the server's closing it), and costs little. A
//! request that has begun must arrive in time: its head within one bound, its body within another.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics::Metrics;

/// How long the listener rests when the process has no more descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long connections have to finish what they were asked when the node stops.
const FAREWELL: Duration = Duration::from_secs(8);

/// A body of a reply, of any kind.
pub type ReplyBody = http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>;

/// Bounds on connections.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once; more wait to be accepted.
    pub connections_max: usize,
    /// How long a head may take from its first byte.
    pub head_timeout: Duration,
    /// How long a connection may be idle.
    pub idle_timeout: Duration,
}

/// Answers requests.
pub trait Handler: Clone + Send + Sync + 'static {
    /// Answers one request. Dropped when the client goes away before it is answered.
    fn handle(&self, request: Request<Incoming>) -> impl Future<Output = Response<ReplyBody>> + Send;
}

/// Why a body was not read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BodyError {
    /// It is larger than it may be. The rest was not read.
    #[error("the body is over {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// It did not arrive in time.
    #[error("the body did not arrive in time")]
    TooSlow,
    /// The client went away.
    #[error("the connection broke while the body was read")]
    Broken,
}

/// Serves connections until told to stop, then lets those that are busy finish.
pub async fn serve<H: Handler>(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    limits: Limits,
    metrics: Metrics,
    handler: H,
    stop: CancellationToken,
) {
    let connections = TaskTracker::new();
    let room = Arc::new(Semaphore::new(limits.connections_max));
    loop {
        let permit = tokio::select! {
            () = stop.cancelled() => break,
            permit = Arc::clone(&room).acquire_owned() => permit.expect("the semaphore is never closed"),
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                // Replies are written whole: waiting for more to send only delays them.
                let _ = stream.set_nodelay(true);
                let (tls, handler, stop) = (tls.clone(), handler.clone(), stop.clone());
                let open = metrics.connection_opened();
                connections.spawn(async move {
                    let served = match tls {
                        None => converse(stream, limits, handler, stop).await,
                        Some(tls) => {
                            match tokio::time::timeout(limits.head_timeout, tls.accept(stream)).await {
                                Ok(Ok(stream)) => converse(stream, limits, handler, stop).await,
                                Ok(Err(_)) | Err(_) => Ok(()),
                            }
                        }
                    };
                    if let Err(error) = served {
                        tracing::debug!(%peer, %error, "connection ended early");
                    }
                    drop((open, permit));
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    connections.close();
    if tokio::time::timeout(FAREWELL, connections.wait()).await.is_err() {
        tracing::warn!(left = connections.len(), "connections did not finish in time");
    }
}

async fn converse<S, H>(stream: S, limits: Limits, handler: H, stop: CancellationToken) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let pace = Arc::new(Mutex::new(Pace::Idle));
    let io = Paced {
        stream,
        pace: Arc::clone(&pace),
        timer: None,
        head_timeout: limits.head_timeout,
    };
    let service = service_fn(move |request| {
        *pace.lock() = Pace::Busy;
        let (handler, pace) = (handler.clone(), Arc::clone(&pace));
        async move {
            let response = handler.handle(request).await;
            *pace.lock() = Pace::Idle;
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // This bound also holds for a connection that waits for its next request; heads have a tighter one.
        .header_read_timeout(limits.idle_timeout)
        .max_buf_size(128 * 1024)
        .serve_connection(TokioIo::new(io), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        served = connection.as_mut() => return served,
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

/// Reads a request's body, up to a limit and within a time.
pub async fn read_body(body: Incoming, bytes_max: usize, within: Duration) -> Result<Bytes, BodyError> {
    let announced = hyper::body::Body::size_hint(&body).exact();
    if announced.is_some_and(|bytes| bytes > bytes_max as u64) {
        return Err(BodyError::TooLarge { limit: bytes_max });
    }
    match tokio::time::timeout(within, collect(body, bytes_max, announced)).await {
        Ok(read) => read,
        Err(_) => Err(BodyError::TooSlow),
    }
}

async fn collect(mut body: Incoming, bytes_max: usize, announced: Option<u64>) -> Result<Bytes, BodyError> {
    let mut first: Option<Bytes> = None;
    let mut rest: Option<BytesMut> = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| BodyError::Broken)?;
        let Ok(chunk) = frame.into_data() else { continue };
        let held = first.as_ref().map_or(0, Bytes::len) + rest.as_ref().map_or(0, BytesMut::len);
        if held + chunk.len() > bytes_max {
            return Err(BodyError::TooLarge { limit: bytes_max });
        }
        // Most bodies come in one piece, which is passed on as it is.
        match (first.take(), rest.as_mut()) {
            (None, None) => first = Some(chunk),
            (None, Some(rest)) => rest.extend_from_slice(&chunk),
            (Some(head), _) => {
                let expected = announced
                    .and_then(|bytes| usize::try_from(bytes).ok())
                    .unwrap_or(0);
                let mut joined = BytesMut::with_capacity(expected.max(head.len() + chunk.len()));
                joined.extend_from_slice(&head);
                joined.extend_from_slice(&chunk);
                rest = Some(joined);
            }
        }
    }
    Ok(first.or(rest.map(BytesMut::freeze)).unwrap_or_default())
}

/// Where a connection stands between its requests.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Pace {
    /// Nothing of the next request has come.
    Idle,
    /// A head is coming, since a deadline was set.
    Head,
    /// A request is being answered.
    Busy,
}

/// A stream that breaks when a head takes too long.
struct Paced<S> {
    stream: S,
    pace: Arc<Mutex<Pace>>,
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
    head_timeout: Duration,
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let came = buffer.filled().len() > before;
        let pace = *self.pace.lock();
        match pace {
            Pace::Idle if came => {
                *self.pace.lock() = Pace::Head;
                self.timer = Some(Box::pin(tokio::time::sleep(self.head_timeout)));
            }
            Pace::Idle | Pace::Busy => self.timer = None,
            Pace::Head => {}
        }
        if read.is_pending()
            && let Some(timer) = &mut self.timer
            && timer.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the head took too long",
            )));
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Returns the address that a listener has.
pub fn address(listener: &TcpListener) -> io::Result<SocketAddr> {
    listener.local_addr()
}
