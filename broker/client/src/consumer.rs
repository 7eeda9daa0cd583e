//! Consumes a queue: messages are asked for in advance, and settled over whichever connection there is.
//!
//! A task owns the connection. Messages wait in a channel that has as many places as may be asked for; each that is taken
//! out of it is asked for anew. Settlements that wait together travel together, and are sent again over the next connection
//! when they were not answered.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use posthouse_stream::bounds::HANDLES_MAX;
use posthouse_stream::{
    Ack, CONSUME_PATH, ConsumeReply, ConsumeRequest, Credit, Delivery, Extend, Nack, Open, Settled,
    consume_request,
};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::error::{ConsumeError, SettleError, is_in_doubt, is_passing};
use crate::exchange::{self, Ended, Exchange, Requests};
use crate::link::{Link, Nodes};
use crate::pending::{Pending, Place, Unanswered};

/// Settlements that wait to be sent; who comes then, waits for room.
const WAITING_MAX: usize = 4_096;
/// Requests that are sent and not answered: what comes meanwhile is gathered.
const IN_FLIGHT_MAX: usize = 8;
/// How long a settlement is sent again that no node is known to have done.
const PATIENCE: Duration = Duration::from_secs(30);

/// How much a consumer asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Window {
    /// Messages that are asked for and not yet taken by [`Consumer::next`], 1 to 10,000.
    pub messages: u32,
    /// How long messages stay hidden once they are handed out, in seconds; 0 is the queue's setting.
    pub visibility_seconds: u32,
}

/// Hands out messages of a queue. Dropped, messages that were not taken are given back; [`Consumer::close`] waits for that.
#[derive(Debug)]
pub struct Consumer {
    deliveries: mpsc::Receiver<Result<Delivery, ConsumeError>>,
    /// None once it is closed.
    settlements: Option<mpsc::Sender<Waiting>>,
    taken: Arc<Notify>,
    task: JoinHandle<()>,
}

/// Resolves once a message is settled. Dropped, the message is settled all the same.
#[derive(Debug)]
pub struct Settlement(oneshot::Receiver<Result<(), SettleError>>);

/// What is to be done with a lease.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Change {
    Ack,
    Nack { delay_seconds: u32 },
    Extend { visibility_seconds: u32 },
}

#[derive(Debug)]
struct Waiting {
    handle: u64,
    change: Change,
    place: Place<(), SettleError>,
}

/// A change of several leases, that travels together.
struct Changes {
    change: Change,
    handles: Vec<u64>,
}

struct Task {
    queue: String,
    window: Window,
    deliveries: mpsc::Sender<Result<Delivery, ConsumeError>>,
    settlements: mpsc::Receiver<Waiting>,
    taken: Arc<Notify>,
    /// Messages asked for over this connection and not come.
    asked: u32,
    gathered: Vec<Waiting>,
    pending: Unanswered<Changes, (), SettleError>,
    is_closed: bool,
}

impl Default for Window {
    fn default() -> Window {
        Window {
            messages: 256,
            visibility_seconds: 0,
        }
    }
}

// === impl Consumer ===

impl Consumer {
    pub(crate) fn start(nodes: Arc<Nodes>, queue: String, window: Window) -> Consumer {
        let window = Window {
            messages: window.messages.clamp(1, posthouse_stream::bounds::CREDIT_MAX),
            ..window
        };
        let (deliveries, receiver) = mpsc::channel(window.messages as usize);
        let (sender, settlements) = mpsc::channel(WAITING_MAX);
        let taken = Arc::new(Notify::new());
        let task = Task {
            queue,
            window,
            deliveries,
            settlements,
            taken: Arc::clone(&taken),
            asked: 0,
            gathered: Vec::new(),
            pending: Unanswered::new(),
            is_closed: false,
        };
        Consumer {
            task: tokio::spawn(task.run(nodes)),
            deliveries: receiver,
            settlements: Some(sender),
            taken,
        }
    }

    /// Waits for the next message. What is not settled is handed out again after its visibility timeout.
    ///
    /// # Errors
    ///
    /// Says why there will be none.
    pub async fn next(&mut self) -> Result<Delivery, ConsumeError> {
        let next = self.deliveries.recv().await;
        self.taken.notify_one();
        next.unwrap_or(Err(ConsumeError::Closed))
    }

    /// Takes what is there already of the next messages, without waiting.
    ///
    /// # Errors
    ///
    /// Says why there will be none.
    pub fn next_now(&mut self) -> Result<Option<Delivery>, ConsumeError> {
        let next = match self.deliveries.try_recv() {
            Ok(next) => next.map(Some),
            Err(TryRecvError::Empty) => return Ok(None),
            Err(TryRecvError::Disconnected) => Err(ConsumeError::Closed),
        };
        self.taken.notify_one();
        next
    }

    /// Deletes a message.
    ///
    /// # Errors
    ///
    /// Says that the consumer has ended.
    pub async fn ack(&self, handle: u64) -> Result<Settlement, SettleError> {
        self.settle(handle, Change::Ack).await
    }

    /// Gives a message back, to be handed out again after so long. It counts as received.
    ///
    /// # Errors
    ///
    /// Says that the consumer has ended.
    pub async fn nack(&self, handle: u64, delay_seconds: u32) -> Result<Settlement, SettleError> {
        self.settle(handle, Change::Nack { delay_seconds }).await
    }

    /// Has a message stay hidden for so long from now on.
    ///
    /// # Errors
    ///
    /// Says that the consumer has ended.
    pub async fn extend(&self, handle: u64, visibility_seconds: u32) -> Result<Settlement, SettleError> {
        self.settle(handle, Change::Extend { visibility_seconds }).await
    }

    /// Gives back what was not taken, also what is on its way, and waits until a node has said of that and of everything
    /// that was settled what became of it.
    pub async fn close(mut self) {
        self.deliveries.close();
        if let Some(settlements) = self.settlements.take() {
            while let Some(Ok(delivery)) = self.deliveries.recv().await {
                // A task that has ended gives nothing back.
                let _ = settlements.send(untaken(delivery.handle)).await;
            }
        }
        // What a task that was stopped did not give back is visible once its leases are over.
        let _ = (&mut self.task).await;
    }

    async fn settle(&self, handle: u64, change: Change) -> Result<Settlement, SettleError> {
        let (place, settled) = oneshot::channel();
        let waiting = Waiting {
            handle,
            change,
            place,
        };
        let settlements = self.settlements.as_ref().ok_or(SettleError::Closed)?;
        match settlements.send(waiting).await {
            Ok(()) => Ok(Settlement(settled)),
            Err(_) => Err(SettleError::Closed),
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        // What was handed out to nobody is visible at once, not after its lease.
        self.deliveries.close();
        let Some(settlements) = self.settlements.take() else {
            return;
        };
        while let Ok(Ok(delivery)) = self.deliveries.try_recv() {
            if settlements.try_send(untaken(delivery.handle)).is_err() {
                return;
            }
        }
    }
}

impl Future for Settlement {
    type Output = Result<(), SettleError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = std::task::ready!(Pin::new(&mut self.0).poll(context));
        Poll::Ready(answer.unwrap_or(Err(SettleError::Closed)))
    }
}

// === impl Task ===

impl Task {
    /// Consumes until the consumer is dropped and everything that it settled is answered, or nothing can be consumed.
    async fn run(mut self, nodes: Arc<Nodes>) {
        let mut search = nodes.search();
        loop {
            let ended = exchange::go(&nodes, &mut self, &mut search).await;
            self.pending.lost();
            let status = match ended {
                Ended::Closed => return,
                Ended::Left => continue,
                Ended::Lost(status) => status,
            };
            tracing::debug!(queue = self.queue, %status, "a consumer's stream was lost");
            let text = status.message().to_owned();
            let error = match status.code() {
                Code::Unauthenticated => ConsumeError::Key(text),
                Code::NotFound => ConsumeError::NoQueue(text),
                Code::InvalidArgument => ConsumeError::Bounds(text),
                _ => continue,
            };
            // There is a place for each message that was asked for; one who takes none needs not be told.
            let _ = self.deliveries.try_send(Err(error));
            return;
        }
    }

    fn settled(&mut self, settled: Settled) {
        let Some(mut pending) = self.pending.take(settled.id) else {
            return;
        };
        match settled.error {
            Some(error) if is_passing(&error) => {
                pending.in_doubt |= is_in_doubt(&error);
                self.pending.rest(settled.id, pending);
            }
            Some(error) => pending.fail(&SettleError::Refused {
                code: error.code,
                text: error.text,
            }),
            None => {
                let void = match pending.in_doubt {
                    // It may be void because it was done before.
                    true => SettleError::InDoubt("the lease is over, perhaps by this".to_owned()),
                    false => SettleError::Void,
                };
                for (handle, place) in pending.request.handles.into_iter().zip(pending.places) {
                    let outcome = match settled.void_handles.contains(&handle) {
                        true => Err(void.clone()),
                        false => Ok(()),
                    };
                    // Whoever does not wait for it needs no answer.
                    drop(place.send(outcome));
                }
            }
        }
    }

    /// Returns how many messages there are places for.
    fn room(&self) -> u32 {
        match self.deliveries.is_closed() {
            true => 0,
            false => u32::try_from(self.deliveries.capacity()).unwrap_or(u32::MAX),
        }
    }

    /// Returns how many more messages are to be asked for: not each alone.
    fn wanted_credit(&self) -> u32 {
        let more = self.room().saturating_sub(self.asked);
        match more >= self.window.messages.div_ceil(4) {
            true => more,
            false => 0,
        }
    }

    fn has_settlement(&self) -> bool {
        !self.gathered.is_empty() && self.pending.len() < IN_FLIGHT_MAX
    }

    /// Makes a request of what waits for the same as the first.
    fn gather(&mut self) -> consume_request::Request {
        let change = self.gathered.first().map_or(Change::Ack, |first| first.change);
        let mut pending = Pending {
            request: Changes {
                change,
                handles: Vec::new(),
            },
            places: Vec::new(),
            until: Instant::now() + PATIENCE,
            in_doubt: false,
            due: None,
        };
        let handles = &mut pending.request.handles;
        for waiting in std::mem::take(&mut self.gathered) {
            match waiting.change == change && handles.len() < HANDLES_MAX {
                true => {
                    handles.push(waiting.handle);
                    pending.places.push(waiting.place);
                }
                false => self.gathered.push(waiting),
            }
        }
        let id = self.pending.next_id();
        let request = pending.request.with(id);
        self.pending.add(id, pending);
        request
    }
}

impl Exchange for Task {
    type Request = ConsumeRequest;
    type Reply = ConsumeReply;
    const PATH: &'static str = CONSUME_PATH;

    async fn open(
        link: &mut Link,
        requests: Request<Requests<ConsumeRequest>>,
    ) -> Result<Response<Streaming<ConsumeReply>>, Status> {
        link.consume(requests).await
    }

    fn first(&mut self) -> Option<ConsumeRequest> {
        self.asked = self.room();
        Some(request(consume_request::Request::Open(Open {
            queue: self.queue.clone(),
            visibility_seconds: self.window.visibility_seconds,
            credit: self.asked,
        })))
    }

    fn has_request(&self) -> bool {
        self.wanted_credit() > 0 || self.pending.is_due() || self.has_settlement()
    }

    fn next_request(&mut self) -> Option<ConsumeRequest> {
        let messages = self.wanted_credit();
        if messages > 0 {
            self.asked += messages;
            return Some(request(consume_request::Request::Credit(Credit { messages })));
        }
        if let Some((id, changes)) = self.pending.next_due() {
            return Some(request(changes.with(id)));
        }
        self.has_settlement().then(|| request(self.gather()))
    }

    fn take(&mut self, reply: ConsumeReply) -> Option<String> {
        for delivery in reply.deliveries {
            self.asked = self.asked.saturating_sub(1);
            let handle = delivery.handle;
            // There is a place for each that was asked for, unless the consumer is gone: then it goes back.
            if self.deliveries.try_send(Ok(delivery)).is_err() {
                self.gathered.push(untaken(handle));
            }
        }
        for settled in reply.settled {
            self.settled(settled);
        }
        Some(reply.leader).filter(|leader| !leader.is_empty())
    }

    /// Takes settlements in, as many as two requests hold, or notice that a message was taken.
    async fn take_in(&mut self) {
        let room = (2 * HANDLES_MAX).saturating_sub(self.gathered.len());
        let takes_in = room > 0 && !self.is_closed;
        tokio::select! {
            count = self.settlements.recv_many(&mut self.gathered, room), if takes_in => {
                self.is_closed = count == 0;
            }
            () = self.taken.notified() => {}
        }
    }

    fn expire(&mut self) {
        for pending in self.pending.take_late() {
            pending.fail(&SettleError::InDoubt(
                "no node answered within the time".to_owned(),
            ));
        }
    }

    fn next_wake(&self) -> Instant {
        let usual = Instant::now() + PATIENCE;
        self.pending.next_wake().unwrap_or(usual)
    }

    fn is_done(&self) -> bool {
        self.is_closed && self.pending.is_empty() && self.gathered.is_empty()
    }

    /// Messages that were asked for may be on their way, and would be leased for nobody.
    fn awaits(&self) -> bool {
        self.asked > 0
    }
}

// === impl Changes ===

impl Changes {
    fn with(&self, id: u64) -> consume_request::Request {
        let handles = self.handles.clone();
        match self.change {
            Change::Ack => consume_request::Request::Ack(Ack { id, handles }),
            Change::Nack { delay_seconds } => consume_request::Request::Nack(Nack {
                id,
                handles,
                delay_seconds,
            }),
            Change::Extend { visibility_seconds } => consume_request::Request::Extend(Extend {
                id,
                handles,
                visibility_seconds,
            }),
        }
    }
}

/// Returns what gives a message back that was handed out to nobody.
fn untaken(handle: u64) -> Waiting {
    let (place, _) = oneshot::channel();
    Waiting {
        handle,
        change: Change::Nack { delay_seconds: 0 },
        place,
    }
}

fn request(request: consume_request::Request) -> ConsumeRequest {
    ConsumeRequest {
        request: Some(request),
    }
}
