//! An HTTP server that is pushed to and does as little as it can: it answers at once, keeps connections, and counts each
//! message of a subscription once. All of it is on one thread.

use std::cell::RefCell;
use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use anyhow::Context;
use posthouse_load::processor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What a connection reads at once.
const READ_BYTES: usize = 16_384;
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
/// The headers that are looked at.
const LENGTH: &str = "content-length";
const MESSAGE: &str = "x-cmq-message-id";

/// The server. It ends with the program.
#[derive(Debug)]
pub(crate) struct Sink {
    address: SocketAddr,
    thread: u32,
    counts: Arc<Counts>,
}

/// What came until now.
#[derive(Debug, Default)]
struct Counts {
    /// Messages of subscriptions, each once.
    pushes: AtomicU64,
    /// Those that came again.
    repeated: AtomicU64,
    connections: AtomicU64,
}

/// A push, as far as it is looked at.
#[derive(Debug, Eq, PartialEq)]
struct Push<'a> {
    /// The path, which tells the subscription.
    path: &'a str,
    message: u64,
    /// How many bytes it is in all.
    length: usize,
}

/// What came, by path and message.
type Seen = RefCell<HashSet<(u32, u64)>>;

// === impl Sink ===

impl Sink {
    /// Serves on a free port.
    pub(crate) fn serve() -> anyhow::Result<Sink> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("a port to be pushed to")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let counts = Arc::new(Counts::default());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (tell, told) = mpsc::channel();
        let shared = Arc::clone(&counts);
        std::thread::spawn(move || {
            // Whoever started it waits for this.
            let _ = tell.send(rustix::thread::gettid().as_raw_nonzero().get());
            if let Err(error) = runtime.block_on(accept(listener, &shared)) {
                eprintln!("the sink accepts no more: {error:#}");
            }
        });
        let thread = u32::try_from(told.recv().context("the sink's thread begins")?)?;
        Ok(Sink {
            address,
            thread,
            counts,
        })
    }

    /// Returns the URL for pushes of a subscription.
    pub(crate) fn url(&self, subscription: usize) -> String {
        format!("http://{}/{subscription}", self.address)
    }

    /// Returns how many messages of subscriptions came, each counted once.
    pub(crate) fn pushes(&self) -> u64 {
        self.counts.pushes.load(Ordering::Relaxed)
    }

    /// Returns how many came more than once.
    pub(crate) fn repeated(&self) -> u64 {
        self.counts.repeated.load(Ordering::Relaxed)
    }

    /// Returns how many connections were made.
    pub(crate) fn connections(&self) -> u64 {
        self.counts.connections.load(Ordering::Relaxed)
    }

    /// Returns the processor time that it has used, in seconds.
    pub(crate) fn busy_seconds(&self) -> anyhow::Result<f64> {
        processor::busy_seconds_of_thread(self.thread)
    }
}

// === impl Push ===

impl Push<'_> {
    /// Parses the push that begins the bytes; none until its head has come.
    fn parse(bytes: &[u8]) -> anyhow::Result<Option<Push<'_>>> {
        let Some(head) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(None);
        };
        let text = std::str::from_utf8(&bytes[..head]).context("a push's head is no text")?;
        let mut lines = text.split("\r\n");
        let path = lines.next().and_then(|line| line.split(' ').nth(1));
        let (mut length, mut message) = (None, None);
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            if name.eq_ignore_ascii_case(LENGTH) {
                length = value.trim().parse().ok();
            } else if name.eq_ignore_ascii_case(MESSAGE) {
                message = value.trim().parse().ok();
            }
        }
        let body: usize = length.context("a push says its length")?;
        Ok(Some(Push {
            path: path.context("a push has a path")?,
            message: message.context("a push names its message")?,
            length: head + 4 + body,
        }))
    }
}

async fn accept(listener: TcpListener, counts: &Arc<Counts>) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let seen = std::rc::Rc::new(Seen::default());
    let tasks = tokio::task::LocalSet::new();
    tasks
        .run_until(async {
            loop {
                let (stream, _) = listener.accept().await?;
                counts.connections.fetch_add(1, Ordering::Relaxed);
                let (counts, seen) = (Arc::clone(counts), std::rc::Rc::clone(&seen));
                tokio::task::spawn_local(async move {
                    // What breaks off was not pushed: the node tries it again.
                    if let Err(error) = answer(stream, &counts, &seen).await {
                        eprintln!("a connection to the sink ends: {error:#}");
                    }
                });
            }
        })
        .await
}

async fn answer(mut stream: TcpStream, counts: &Counts, seen: &Seen) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut read = Vec::with_capacity(READ_BYTES);
    loop {
        read.reserve(READ_BYTES);
        if stream.read_buf(&mut read).await? == 0 {
            return Ok(());
        }
        while let Some(push) = Push::parse(&read)?.filter(|push| push.length <= read.len()) {
            let subscription = push.path.trim_start_matches('/').parse()?;
            let (message, length) = (push.message, push.length);
            let count = match seen.borrow_mut().insert((subscription, message)) {
                true => &counts.pushes,
                false => &counts.repeated,
            };
            count.fetch_add(1, Ordering::Relaxed);
            read.drain(..length);
            stream.write_all(ANSWER).await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    const PUSH: &[u8] = b"POST /7 HTTP/1.1\r\nX-Cmq-Message-Id: 42\r\ncontent-length: 5\r\n\r\nhelloPOST /8";

    #[test]
    fn a_push_is_parsed_once_its_head_has_come() {
        let head = PUSH.len() - b"helloPOST /8".len();
        for end in 0..PUSH.len() {
            let push = Push::parse(&PUSH[..end]).expect("a good push");
            assert_eq!(push.is_some(), end >= head, "{end}");
        }
        let push = Push::parse(PUSH).expect("a good push").expect("a whole one");
        let expected = Push {
            path: "/7",
            message: 42,
            length: head + 5,
        };
        assert_eq!(push, expected);
        assert!(Push::parse(b"POST / HTTP/1.1\r\n\r\n").is_err());
    }

    #[test]
    fn a_message_of_a_subscription_is_counted_once() {
        let sink = Sink::serve().expect("a sink");
        let mut stream = std::net::TcpStream::connect(sink.address).expect("it accepts");
        for (path, message) in [("1", "5"), ("2", "5"), ("1", "6"), ("1", "5")] {
            let push =
                format!("POST /{path} HTTP/1.1\r\nx-cmq-message-id: {message}\r\ncontent-length: 1\r\n\r\nx");
            stream.write_all(push.as_bytes()).expect("it reads");
            let mut answer = vec![0; ANSWER.len()];
            stream.read_exact(&mut answer).expect("it answers");
            assert_eq!(answer, ANSWER);
        }
        assert_eq!((sink.pushes(), sink.repeated(), sink.connections()), (3, 1, 1));
    }
}
