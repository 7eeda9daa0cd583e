//! Load: connections that each send, wait for the answer, and send again; and single sends at a steady rate.
//!
//! All of it runs on one thread without locks, to leave the machine to the node.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::answer::{self, ANSWER_BYTES_MAX, Said, Whole};
use crate::requests::{Request, Signing};

/// How long an answer is waited for.
const ANSWER: Duration = Duration::from_secs(60);
/// What a connection reads at once.
const READ_BYTES: usize = 16_384;

/// How much was done, and in what time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Messages that were acknowledged, or received and deleted.
    pub messages: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// What became of sends at a steady rate.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// When they were acknowledged.
    pub acknowledged: Vec<Instant>,
    /// How many were refused.
    pub refused: u64,
}

/// A connection with what was read from it.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

// === impl Tally ===

impl Tally {
    /// Returns messages by second.
    pub fn rate(&self) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 {
            self.messages as f64 / seconds
        } else {
            0.0
        }
    }
}

// === impl Connection ===

impl Connection {
    /// Connects to a node.
    pub async fn open(address: SocketAddr) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("{address} does not accept"))?;
        stream.set_nodelay(true)?;
        Ok(Connection {
            stream,
            read: Vec::with_capacity(READ_BYTES),
        })
    }

    /// Asks for something that is to be done.
    pub async fn ask_done(&mut self, request: &Request) -> anyhow::Result<()> {
        expect_done(self.ask(request).await?)
    }

    /// Receives a batch and deletes it; returns how many messages it had.
    pub async fn take(&mut self, receive: &Request, signing: &Signing, queue: &str) -> anyhow::Result<u64> {
        let received = self.receive(receive).await?;
        if received.is_empty() {
            return Ok(0);
        }
        let handles: Vec<&str> = received.iter().map(String::as_str).collect();
        let delete = signing.delete_batch(queue, &handles);
        self.ask_done(&delete).await?;
        Ok(delete.messages)
    }

    /// Receives; returns the receipt handles of what came.
    pub async fn receive(&mut self, receive: &Request) -> anyhow::Result<Vec<String>> {
        let body = self.ask(receive).await?;
        match answer::said(body)? {
            Said::NoMessage => Ok(Vec::new()),
            Said::Done => Ok(answer::handles(body).into_iter().map(str::to_owned).collect()),
        }
    }

    /// Sends a request and returns the answer's body.
    async fn ask(&mut self, request: &Request) -> anyhow::Result<&[u8]> {
        self.read.clear();
        let asked = tokio::time::timeout(ANSWER, self.exchange(request)).await;
        let whole = asked.with_context(|| format!("no answer within {} s", ANSWER.as_secs()))??;
        Ok(&self.read[whole.body..whole.end])
    }

    async fn exchange(&mut self, request: &Request) -> anyhow::Result<Whole> {
        self.stream
            .write_all(request.bytes())
            .await
            .context("the connection broke while sending")?;
        loop {
            self.read.reserve(READ_BYTES);
            let read = self
                .stream
                .read_buf(&mut self.read)
                .await
                .context("no answer came")?;
            if read == 0 {
                bail!("the connection was closed");
            }
            if let Some(whole) = answer::whole(&self.read)? {
                return Ok(whole);
            }
            if self.read.len() > ANSWER_BYTES_MAX {
                bail!("an answer of more than {ANSWER_BYTES_MAX} bytes");
            }
        }
    }
}

/// Sends one request again and again over so many connections, until the time is over.
pub fn repeat(
    address: SocketAddr,
    connections: u16,
    request: &Request,
    span: Duration,
) -> anyhow::Result<Tally> {
    repeat_at(&[address], connections, std::slice::from_ref(request), span)
}

/// The same at some nodes alike, with a request for each.
pub fn repeat_at(
    addresses: &[SocketAddr],
    connections: u16,
    requests: &[Request],
    span: Duration,
) -> anyhow::Result<Tally> {
    let tally = RefCell::new(Tally::default());
    let start = Instant::now();
    on_each(connections, async |place| {
        let node = usize::from(place) % addresses.len();
        let request = &requests[node];
        let mut connection = Connection::open(addresses[node]).await?;
        while start.elapsed() < span {
            connection.ask_done(request).await?;
            count(&tally, request.messages, start);
        }
        Ok(())
    })?;
    Ok(tally.into_inner())
}

/// Sends requests, each once, in any order.
pub fn each(
    address: SocketAddr,
    connections: u16,
    requests: impl Iterator<Item = Request>,
) -> anyhow::Result<Tally> {
    let tally = RefCell::new(Tally::default());
    let requests = RefCell::new(requests);
    let start = Instant::now();
    on_each(connections, async |_| {
        let mut connection = Connection::open(address).await?;
        loop {
            // Taken before the wait: nothing is held while others run.
            let next = requests.borrow_mut().next();
            let Some(request) = next else {
                return Ok(());
            };
            connection.ask_done(&request).await?;
            count(&tally, request.messages, start);
        }
    })?;
    Ok(tally.into_inner())
}

/// Receives messages and deletes them, until the time is over or none is left.
pub fn consume(
    signing: &Signing,
    address: SocketAddr,
    connections: u16,
    queue: &str,
    span: Duration,
) -> anyhow::Result<Tally> {
    consume_at(
        &[address],
        connections,
        std::slice::from_ref(signing),
        queue,
        span,
    )
}

/// The same at some nodes alike, with what signs for each.
pub fn consume_at(
    addresses: &[SocketAddr],
    connections: u16,
    signings: &[Signing],
    queue: &str,
    span: Duration,
) -> anyhow::Result<Tally> {
    let receives: Vec<Request> = signings
        .iter()
        .map(|signing| signing.receive_batch(queue))
        .collect();
    let tally = RefCell::new(Tally::default());
    let start = Instant::now();
    on_each(connections, async |place| {
        let node = usize::from(place) % addresses.len();
        let mut connection = Connection::open(addresses[node]).await?;
        while start.elapsed() < span {
            let taken = connection.take(&receives[node], &signings[node], queue).await?;
            if taken == 0 {
                return Ok(());
            }
            count(&tally, taken, start);
        }
        Ok(())
    })?;
    Ok(tally.into_inner())
}

/// Receives messages as they come and deletes them, until the time is over.
pub fn follow(
    signing: &Signing,
    address: SocketAddr,
    connections: u16,
    queue: &str,
    span: Duration,
) -> anyhow::Result<Tally> {
    let receive = signing.wait_for_batch(queue);
    let tally = RefCell::new(Tally::default());
    let start = Instant::now();
    on_each(connections, async |_| {
        let mut connection = Connection::open(address).await?;
        while start.elapsed() < span {
            let taken = connection.take(&receive, signing, queue).await?;
            count(&tally, taken, start);
        }
        Ok(())
    })?;
    Ok(tally.into_inner())
}

/// Sends one request at a steady rate, whether or not the ones before were answered. Returns how long each took, in
/// milliseconds.
pub fn steady(
    address: SocketAddr,
    connections: u16,
    request: &Request,
    per_second: u32,
    span: Duration,
) -> anyhow::Result<Vec<f64>> {
    let taken = RefCell::new(Vec::new());
    let gap = Duration::from_secs(1) / per_second;
    let start = Instant::now();
    on_each(connections, async |place| {
        let mut connection = Connection::open(address).await?;
        // Each connection has every so-manyth send, so that a slow answer holds up its own connection only.
        let mut due = start + gap * u32::from(place);
        while due - start < span {
            let begun = reach(due).await;
            connection.ask_done(request).await?;
            let millis = begun.elapsed().as_secs_f64() * 1_000.0;
            taken.borrow_mut().push(millis);
            due += gap * u32::from(connections);
        }
        Ok(())
    })?;
    Ok(taken.into_inner())
}

/// Sends one request at a steady rate until told to stop, and notes when each was acknowledged.
pub fn watch(
    address: SocketAddr,
    connections: u16,
    request: &Request,
    per_second: u32,
    stop: &AtomicBool,
) -> anyhow::Result<Watched> {
    let watched = RefCell::new(Watched::default());
    let gap = Duration::from_secs(1) / per_second;
    let start = Instant::now();
    on_each(connections, async |place| {
        let mut connection = Connection::open(address).await?;
        let mut due = start + gap * u32::from(place);
        while !stop.load(Ordering::Relaxed) {
            reach(due).await;
            let done = answer::said(connection.ask(request).await?).is_ok();
            let mut watched = watched.borrow_mut();
            match done {
                true => watched.acknowledged.push(Instant::now()),
                false => watched.refused += 1,
            }
            // What was late is not made up for.
            due = (due + gap * u32::from(connections)).max(Instant::now());
        }
        Ok(())
    })?;
    Ok(watched.into_inner())
}

/// Waits for a send to be due and returns when it began to wait for its answer: now, or, when the answer before came too
/// late for it, when it was due. That a timer of a millisecond wakes late is not the node's doing.
pub async fn reach(due: Instant) -> Instant {
    if Instant::now() >= due {
        return due;
    }
    tokio::time::sleep_until(due.into()).await;
    Instant::now()
}

/// Runs the same on every connection, given its number; the first error ends all.
pub(crate) fn on_each(connections: u16, run: impl AsyncFn(u16) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut running: FuturesUnordered<_> = (0..connections).map(|place| run(place)).collect();
        while let Some(outcome) = running.next().await {
            outcome?;
        }
        Ok(())
    })
}

fn expect_done(body: &[u8]) -> anyhow::Result<()> {
    match answer::said(body)? {
        Said::Done => Ok(()),
        Said::NoMessage => bail!("no message was answered to what is no receive"),
    }
}

pub(crate) fn count(tally: &RefCell<Tally>, messages: u64, start: Instant) {
    let mut tally = tally.borrow_mut();
    tally.messages += messages;
    tally.elapsed = start.elapsed();
}
