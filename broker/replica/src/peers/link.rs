//! One channel to one peer: calls wait in a queue, and one task makes the connection, writes calls in their order
//! and brings the answers.
//!
//! ```text
//! call ──► unsent ──room, written──► sent ──answer──► caller
//!             │                        │
//!             └─ cannot be reached     └─ connection broke: no answer
//! ```
//!
//! The first connection is made when it is needed; one that broke is made again at once, and calls wait for it. When
//! that fails, calls fail at once, until one of the attempts that follow, with pauses between them, succeeds. Of several
//! addresses, each attempt takes the next.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use posthouse_model::ReplicaId;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::connection::{Connection, ConnectionError, MessageReader, MessageWriter};
use super::local::{DialError, Era, Local};
use super::message::{CallId, Channel, Greeting, Message};
use super::room::{Room, Taken};
use super::{CallFault, FRAME_BYTES_MAX, Hello, deadline};
use crate::GroupName;

/// Calls that wait to be written.
const CALLS_WAITING_MAX: usize = 65_536;
/// The pause after the second failure in a row; after the first there is none.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// What is asked of a peer.
pub(super) enum Asked {
    Group { group: GroupName, frame: Bytes },
    Request(Bytes),
}

/// One channel to one peer.
pub(super) struct Link {
    local: Arc<Local>,
    to: ReplicaId,
    /// Where the peer may be, one at least.
    addresses: Vec<String>,
    channel: Channel,
    room: Room,
    queue: Mutex<Queue>,
    /// Told when there is something to write.
    wake: Notify,
}

/// The calls of a link. Numbers rise, so the map of the unsent is in their order.
struct Queue {
    phase: Phase,
    next: u64,
    unsent: BTreeMap<CallId, Unsent>,
    sent: HashMap<CallId, Sent>,
    /// Calls that were written and are waited for no longer.
    cancelled: Vec<CallId>,
    /// Whether this connection brought an answer.
    answered: bool,
}

/// Whether calls are taken.
enum Phase {
    /// There is a connection, or there will be one soon.
    Open,
    /// The last attempts failed.
    Down(String),
    /// There will be no connection.
    Closed,
}

type Answer = Result<Bytes, CallFault>;

struct Unsent {
    asked: Asked,
    answer: oneshot::Sender<Answer>,
}

struct Sent {
    answer: oneshot::Sender<Answer>,
    _room: Taken,
}

/// A caller's hold on its call. Dropped, the call is taken back.
struct Ticket {
    link: Arc<Link>,
    call: CallId,
}

/// What the writer does next.
enum Step {
    Cancel(CallId),
    Call { call: CallId, bytes: usize },
    Wait,
}

/// Where a call stood that was taken back.
enum Withdrawn {
    Unsent,
    Sent,
    Over,
}

// === impl Asked ===

impl Asked {
    fn bytes(&self) -> usize {
        match self {
            Asked::Group { frame, .. } => frame.len(),
            Asked::Request(request) => request.len(),
        }
    }

    /// Returns how many bytes are to be sent, if that is not too many.
    pub(super) fn check_length(&self) -> Result<usize, CallFault> {
        let bytes = self.bytes();
        if bytes > FRAME_BYTES_MAX {
            let reason = format!("{bytes} bytes are over the limit of {FRAME_BYTES_MAX}");
            return Err(CallFault::Unreachable(reason));
        }
        Ok(bytes)
    }

    pub(super) fn into_message(self, call: CallId) -> Message {
        match self {
            Asked::Group { group, frame } => Message::Group { call, group, frame },
            Asked::Request(request) => Message::Request { call, request },
        }
    }
}

// === impl Link ===

impl Link {
    pub(super) fn new(local: Arc<Local>, to: ReplicaId, addresses: Vec<String>, channel: Channel) -> Link {
        Link {
            room: local.room.for_peer(channel),
            local,
            to,
            addresses,
            channel,
            queue: Mutex::new(Queue {
                phase: Phase::Open,
                next: 0,
                unsent: BTreeMap::new(),
                sent: HashMap::new(),
                cancelled: Vec::new(),
                answered: false,
            }),
            wake: Notify::new(),
        }
    }

    /// Asks, and waits for the answer. The call has its place in the order when this returns.
    pub(super) fn call(
        self: &Arc<Link>,
        asked: Asked,
        within: Duration,
    ) -> impl Future<Output = Answer> + Send + use<> {
        let deadline = deadline(within);
        let entered = self.enter(asked);
        async move {
            let (ticket, answer) = entered?;
            match tokio::time::timeout_at(deadline, answer).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Err(CallFault::NoAnswer("the link has ended".to_owned())),
                Err(_) => Err(ticket.give_up()),
            }
        }
    }

    /// Keeps the connection, from when it is first needed until the link is closed.
    pub(super) async fn run(self: Arc<Link>, closing: CancellationToken) {
        closing.run_until_cancelled(self.keep()).await;
        self.settle("this node has ended the connection", Phase::Closed);
    }

    async fn keep(&self) {
        while self.queue.lock().unsent.is_empty() {
            self.wake.notified().await;
        }
        let mut failures = 0;
        let mut turns = self.addresses.iter().cycle();
        let Some(mut address) = turns.next() else {
            self.settle("the peer is nowhere", Phase::Closed);
            return;
        };
        loop {
            let era = self.local.era();
            let attempt = self.attempt(&era, address, &mut failures);
            match era.ended.run_until_cancelled(attempt).await {
                Some(true) => {}
                Some(false) => address = turns.next().unwrap_or(address),
                None => {
                    failures = 0;
                    self.settle("this node says another thing of itself now", Phase::Open);
                }
            }
        }
    }

    /// Makes a connection to an address and uses it until it breaks; then pauses. Returns whether there was one.
    async fn attempt(&self, era: &Era, address: &str, failures: &mut u32) -> bool {
        let connected = self.connect(era.hello, address).await;
        let was_there = connected.is_ok();
        let reason = match connected {
            Ok(connection) => {
                self.open();
                let began = Instant::now();
                let error = self.use_connection(connection, era).await;
                // Whoever takes connections and at once lets them go again is as good as not there.
                if self.queue.lock().answered || began.elapsed() >= PAUSE_MAX {
                    *failures = 0;
                }
                debug!(to = %self.to, channel = ?self.channel, %error, "connection broke");
                error.to_string()
            }
            Err(error) => {
                self.local
                    .complain(&format!("replica {} at {address}", self.to), &error);
                error.to_string()
            }
        };
        *failures = failures.saturating_add(1);
        match pause_after(*failures) {
            None => self.settle(&reason, Phase::Open),
            Some(pause) => {
                self.settle(&reason, Phase::Down(reason.clone()));
                tokio::time::sleep(pause).await;
            }
        }
        was_there
    }

    async fn connect(&self, hello: Hello, address: &str) -> Result<Connection, DialError> {
        let greeting = Greeting {
            channel: self.channel,
            hello,
            expects: Some(self.to),
        };
        let (_, connection) = self.local.dial(address, greeting).await?;
        Ok(connection)
    }

    async fn use_connection(&self, connection: Connection, era: &Era) -> ConnectionError {
        let Connection {
            mut reader,
            mut writer,
        } = connection;
        let ended = tokio::select! {
            ended = self.read_answers(&mut reader) => ended,
            ended = self.write_calls(&mut writer, era) => ended,
        };
        match ended {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    async fn read_answers(&self, reader: &mut MessageReader) -> Result<Infallible, ConnectionError> {
        loop {
            match reader.next().await? {
                Message::Answer { call, answer } => self.bring(call, Ok(answer)),
                Message::Fault { call, reason } => self.bring(call, Err(CallFault::NoAnswer(reason))),
                Message::Hello(_)
                | Message::Refused(_)
                | Message::Group { .. }
                | Message::Request { .. }
                | Message::Cancel { .. } => return Err(ConnectionError::OutOfPlace),
            }
        }
    }

    async fn write_calls(
        &self,
        writer: &mut MessageWriter,
        era: &Era,
    ) -> Result<Infallible, ConnectionError> {
        loop {
            let step = self.next_step();
            if era.ended.is_cancelled() {
                // The call may be of the next era: it waits for a connection on which that is said.
                std::future::pending::<()>().await;
            }
            match step {
                Step::Cancel(call) => writer.push(Message::Cancel { call }),
                Step::Call { call, bytes } => {
                    let room = match self.room.try_take(bytes) {
                        Some(room) => room,
                        None => {
                            // The answers that make room may be to what is not yet written.
                            writer.flush().await?;
                            self.room.take(bytes).await
                        }
                    };
                    if let Some(message) = self.begin(call, room) {
                        writer.push(message);
                    }
                }
                Step::Wait => {
                    writer.flush().await?;
                    self.wake.notified().await;
                }
            }
            if writer.is_full() {
                writer.flush().await?;
            }
        }
    }

    fn enter(self: &Arc<Link>, asked: Asked) -> Result<(Ticket, oneshot::Receiver<Answer>), CallFault> {
        asked.check_length()?;
        let mut queue = self.queue.lock();
        match &queue.phase {
            Phase::Open if queue.unsent.len() < CALLS_WAITING_MAX => {}
            Phase::Open => return Err(CallFault::Unreachable("too many calls wait".to_owned())),
            Phase::Down(reason) => return Err(CallFault::Unreachable(reason.clone())),
            Phase::Closed => return Err(CallFault::Unreachable("the link is closed".to_owned())),
        }
        let call = CallId(queue.next);
        queue.next += 1;
        let (answer, receiver) = oneshot::channel();
        queue.unsent.insert(call, Unsent { asked, answer });
        drop(queue);
        self.wake.notify_one();
        let link = self.clone();
        Ok((Ticket { link, call }, receiver))
    }

    /// Takes calls: a connection was made.
    fn open(&self) {
        let mut queue = self.queue.lock();
        queue.phase = Phase::Open;
        queue.answered = false;
    }

    fn next_step(&self) -> Step {
        let mut queue = self.queue.lock();
        if let Some(call) = queue.cancelled.pop() {
            return Step::Cancel(call);
        }
        match queue.unsent.first_key_value() {
            Some((&call, unsent)) => Step::Call {
                call,
                bytes: unsent.asked.bytes(),
            },
            None => Step::Wait,
        }
    }

    /// Takes a call for sent, and returns what is to be written; none when it was taken back.
    fn begin(&self, call: CallId, room: Taken) -> Option<Message> {
        let mut queue = self.queue.lock();
        let Unsent { asked, answer } = queue.unsent.remove(&call)?;
        queue.sent.insert(call, Sent { answer, _room: room });
        Some(asked.into_message(call))
    }

    /// Brings a call its answer. One that comes too late has nowhere to go.
    fn bring(&self, call: CallId, answer: Answer) {
        let mut queue = self.queue.lock();
        queue.answered = true;
        if let Some(sent) = queue.sent.remove(&call) {
            let _ = sent.answer.send(answer);
        }
    }

    /// Ends what cannot go on: calls that were written have no answer, and those that were not are tried later only
    /// while the link is open.
    fn settle(&self, reason: &str, phase: Phase) {
        let mut queue = self.queue.lock();
        for (_, sent) in queue.sent.drain() {
            let _ = sent.answer.send(Err(CallFault::NoAnswer(reason.to_owned())));
        }
        queue.cancelled.clear();
        match phase {
            Phase::Open => {}
            Phase::Down(_) | Phase::Closed => {
                for unsent in std::mem::take(&mut queue.unsent).into_values() {
                    let _ = unsent.answer.send(Err(CallFault::Unreachable(reason.to_owned())));
                }
            }
        }
        queue.phase = phase;
    }
}

// === impl Ticket ===

impl Ticket {
    /// Takes the call back because its time is over.
    fn give_up(self) -> CallFault {
        match self.withdraw() {
            Withdrawn::Unsent => CallFault::Unreachable("the call was not written in time".to_owned()),
            Withdrawn::Sent | Withdrawn::Over => CallFault::NoAnswer("none came in time".to_owned()),
        }
    }

    fn withdraw(&self) -> Withdrawn {
        let mut queue = self.link.queue.lock();
        if queue.unsent.remove(&self.call).is_some() {
            return Withdrawn::Unsent;
        }
        if queue.sent.remove(&self.call).is_none() {
            return Withdrawn::Over;
        }
        queue.cancelled.push(self.call);
        drop(queue);
        self.link.wake.notify_one();
        Withdrawn::Sent
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.withdraw();
    }
}

/// Returns the pause after so many failures in a row.
fn pause_after(failures: u32) -> Option<Duration> {
    let doublings = failures.checked_sub(2)?;
    let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
    Some(PAUSE_MIN.saturating_mul(factor).min(PAUSE_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_begin_after_the_second_failure_and_end_at_a_second() {
        let pauses = [0, 1, 2, 3, 6, 7, 40, u32::MAX].map(pause_after);
        let millis = |millis| Some(Duration::from_millis(millis));
        assert_eq!(
            pauses,
            [
                None,
                None,
                millis(50),
                millis(100),
                millis(800),
                millis(1_000),
                millis(1_000),
                millis(1_000)
            ]
        );
    }
}
