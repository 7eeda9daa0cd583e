//! The listener: connections in, requests to a handler, replies out; with a bound on everything a stranger can do.
//!
//! An idle connection may stay for long (some clients cannot survive the server's closing it), and costs little. A
//! request that has begun must arrive in time: its head within one bound, its body within another. A reply must be
//! taken in: a client that takes none of it for so long is hung up on, and what was owed to it with the reply is not
//! counted as handed over.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics::Metrics;

/// How long the listener rests when the process has no more descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long connections have to finish what they were asked when the node stops.
const FAREWELL: Duration = Duration::from_secs(8);

/// How long the listener says nothing more of what keeps it from accepting.
const QUIET: Duration = Duration::from_secs(60);

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
    /// How long a client may take in nothing of a reply.
    pub write_timeout: Duration,
}

/// What follows once the reply at hand was written to its connection. Found among a request's extensions.
#[derive(Clone, Default)]
pub struct OnceWritten(Arc<Mutex<Vec<Followup>>>);

/// Called once a reply was written; dropped when it cannot be.
type Followup = Box<dyn FnOnce() + Send>;

/// Answers requests.
pub trait Handler: Clone + Send + Sync + 'static {
    /// Answers one request. Dropped when the client goes away before it is answered.
    fn handle(&self, request: Request<Incoming>) -> impl Future<Output = Response<ReplyBody>> + Send;
}

/// A stream that can tell whether the other side has ended it, from the system itself: what the runtime knows of it may be
/// older.
pub trait Ending {
    /// Returns whether nothing more will come, and nothing is left of what came.
    fn has_ended(&self) -> bool;
}

/// What is spoken over a connection.
pub trait Conversation: Clone + Send + Sync + 'static {
    /// Speaks until the connection ends, or it is told to stop and what it was asked is done.
    fn hold<S>(
        self,
        stream: S,
        limits: Limits,
        stop: CancellationToken,
    ) -> impl Future<Output = hyper::Result<()>> + Send
    where
        S: AsyncRead + AsyncWrite + Ending + Unpin + Send + 'static;
}

/// HTTP/1: requests, one after the other.
#[derive(Clone)]
pub struct Http<H>(pub H);

/// Serves connections until told to stop, then lets those that are busy finish. There is room for so many at once, of this
/// listener and those that share it.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    (limits, room): (Limits, Arc<Semaphore>),
    metrics: Metrics,
    conversation: impl Conversation,
    stop: CancellationToken,
) {
    let connections = TaskTracker::new();
    let mut complaint = Complaint::default();
    loop {
        if room.available_permits() == 0 && complaint.is_due() {
            tracing::warn!(
                connections_max = limits.connections_max,
                "as many connections are open as there may be (limits.connections_max): others wait until some close"
            );
        }
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
                let (tls, conversation, stop) = (tls.clone(), conversation.clone(), stop.clone());
                let open = metrics.connection_opened();
                connections.spawn(async move {
                    let served = match tls {
                        None => conversation.hold(stream, limits, stop).await,
                        Some(tls) => {
                            match tokio::time::timeout(limits.head_timeout, tls.accept(stream)).await {
                                Ok(Ok(stream)) => conversation.hold(stream, limits, stop).await,
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
                if complaint.is_due() {
                    tracing::warn!(%error, "a connection could not be accepted");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    connections.close();
    if tokio::time::timeout(FAREWELL, connections.wait()).await.is_err() {
        tracing::warn!(left = connections.len(), "connections did not finish in time");
    }
}

impl<H: Handler> Conversation for Http<H> {
    fn hold<S>(
        self,
        stream: S,
        limits: Limits,
        stop: CancellationToken,
    ) -> impl Future<Output = hyper::Result<()>> + Send
    where
        S: AsyncRead + AsyncWrite + Ending + Unpin + Send + 'static,
    {
        converse(stream, limits, self.0, stop)
    }
}

async fn converse<S, H>(stream: S, limits: Limits, handler: H, stop: CancellationToken) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Ending + Unpin + Send + 'static,
    H: Handler,
{
    let pace = Arc::new(Mutex::new(Pace::Idle));
    let once_written = OnceWritten::default();
    let io = Paced {
        stream,
        pace: Arc::clone(&pace),
        timer: None,
        head_timeout: limits.head_timeout,
        stall: None,
        write_timeout: limits.write_timeout,
        once_written: once_written.clone(),
    };
    let service = service_fn(move |mut request: Request<Incoming>| {
        *pace.lock() = Pace::Busy;
        request.extensions_mut().insert(once_written.clone());
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

/// Something to be said, but not again and again.
#[derive(Default)]
struct Complaint {
    said: Option<Instant>,
}

// === impl Complaint ===

impl Complaint {
    /// Returns whether it is to be said now.
    fn is_due(&mut self) -> bool {
        let is_due = self.said.is_none_or(|said| said.elapsed() >= QUIET);
        if is_due {
            self.said = Some(Instant::now());
        }
        is_due
    }
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

/// A stream that breaks when a head takes too long to come, or a reply to go.
struct Paced<S> {
    stream: S,
    pace: Arc<Mutex<Pace>>,
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
    head_timeout: Duration,
    /// Runs while the client takes in nothing of what is to be written.
    stall: Option<Pin<Box<tokio::time::Sleep>>>,
    write_timeout: Duration,
    once_written: OnceWritten,
}

// === impl OnceWritten ===

impl OnceWritten {
    /// Has something done once all that was put into the reply so far was written; it is dropped undone if that fails.
    pub fn then(&self, followup: impl FnOnce() + Send + 'static) {
        self.0.lock().push(Box::new(followup));
    }

    fn is_awaited(&self) -> bool {
        !self.0.lock().is_empty()
    }

    fn written(&self) {
        let followups = std::mem::take(&mut *self.0.lock());
        for followup in followups {
            followup();
        }
    }
}

// === impl Ending ===

impl Ending for TcpStream {
    fn has_ended(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        matches!(socket2::SockRef::from(self).peek(&mut byte), Ok(0))
    }
}

impl Ending for TlsStream<TcpStream> {
    fn has_ended(&self) -> bool {
        self.get_ref().0.has_ended()
    }
}

// === impl Paced ===

impl<S: Ending> Paced<S> {
    /// Refuses to write to a client that is gone what is only to be counted as handed over when it is there: the system would
    /// take it.
    fn unless_gone(&self) -> io::Result<()> {
        match self.once_written.is_awaited() && self.stream.has_ended() {
            true => Err(io::ErrorKind::BrokenPipe.into()),
            false => Ok(()),
        }
    }
}

impl<S> Paced<S> {
    /// Passes on how a write went, unless the client has taken in nothing for too long.
    fn unless_stalled<T>(
        &mut self,
        context: &mut Context<'_>,
        went: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if went.is_ready() {
            self.stall = None;
            return went;
        }
        let timeout = self.write_timeout;
        let stall = self
            .stall
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        match stall.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the client takes in no reply",
            ))),
            Poll::Pending => Poll::Pending,
        }
    }
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

impl<S: AsyncWrite + Ending + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.unless_gone()?;
        let went = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.unless_stalled(context, went)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let went = Pin::new(&mut self.stream).poll_flush(context);
        // Flushing comes after everything was written that was there to be.
        if let Poll::Ready(Ok(())) = &went {
            self.once_written.written();
        }
        self.unless_stalled(context, went)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let went = Pin::new(&mut self.stream).poll_shutdown(context);
        self.unless_stalled(context, went)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.unless_gone()?;
        let went = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.unless_stalled(context, went)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Returns the address that a listener has.
pub fn address(listener: &TcpListener) -> io::Result<SocketAddr> {
    listener.local_addr()
}
