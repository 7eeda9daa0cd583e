//! Consumes a queue: messages are asked for in advance, and settled over whichever connection there is.
//!
//! A task owns the connection. Messages wait in a channel that has as many places as may be asked for; each that is taken
//! out of it is asked for anew. Settlements that wait together travel together, and are sent again over the next connection
//! when they were not answered.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use posthouse_stream::bounds::HANDLES_MAX;
use posthouse_stream::{
    Ack, CONSUME_PATH, ConsumeReply, ConsumeRequest, Credit, Delivery, Extend, Nack, Open, Settled,
    consume_request,
};
use tokio::sync::mpsc::error::{SendError, TryRecvError};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::error::{ConsumeError, SettleError, is_passing};
use crate::link::{Nodes, Search};

/// Settlements that wait to be sent; who comes then, waits for room.
const WAITING_MAX: usize = 4_096;
/// Requests that are sent and not answered: what comes meanwhile is gathered.
const IN_FLIGHT_MAX: usize = 8;
/// How long a settlement is sent again that no node is known to have done.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a request rests that a node did not do, before it is sent again.
const REST: Duration = Duration::from_millis(50);

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
    place: oneshot::Sender<Result<(), SettleError>>,
}

/// A request that is not answered.
struct Pending {
    change: Change,
    handles: Vec<u64>,
    places: Vec<oneshot::Sender<Result<(), SettleError>>>,
    until: Instant,
    /// Whether it may have been done.
    in_doubt: bool,
    /// When to send it again, if it is to be.
    due: Option<Instant>,
}

struct Task {
    nodes: Arc<Nodes>,
    queue: String,
    window: Window,
    deliveries: mpsc::Sender<Result<Delivery, ConsumeError>>,
    settlements: mpsc::Receiver<Waiting>,
    taken: Arc<Notify>,
    /// Messages asked for over this connection and not come.
    asked: u32,
    gathered: Vec<Waiting>,
    pending: BTreeMap<u64, Pending>,
    last_id: u64,
    is_closed: bool,
}

/// How a connection ended.
enum Ended {
    /// All is done.
    Closed,
    /// To be tried elsewhere.
    Lost(Status),
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
            nodes,
            queue,
            window,
            deliveries,
            settlements,
            taken: Arc::clone(&taken),
            asked: 0,
            gathered: Vec::new(),
            pending: BTreeMap::new(),
            last_id: 0,
            is_closed: false,
        };
        Consumer {
            task: tokio::spawn(task.run()),
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
    async fn run(mut self) {
        let mut search = self.nodes.search();
        loop {
            let status = match self.serve(&mut search).await {
                Ended::Closed => return,
                Ended::Lost(status) => status,
            };
            tracing::debug!(queue = self.queue, %status, "a consumer's stream was lost");
            for pending in self.pending.values_mut() {
                pending.in_doubt |= pending.due.is_none();
                pending.due.get_or_insert_with(Instant::now);
            }
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

    /// Consumes over one connection.
    async fn serve(&mut self, search: &mut Search) -> Ended {
        let nodes = Arc::clone(&self.nodes);
        let mut link = tokio::select! {
            link = nodes.connect(search) => link,
            ended = self.wait_unconnected() => return ended,
        };
        let (requests, mut sent) = mpsc::channel::<ConsumeRequest>(IN_FLIGHT_MAX);
        // None once nothing more is asked.
        let mut requests = Some(requests);
        self.asked = self.room();
        let open = Open {
            queue: self.queue.clone(),
            visibility_seconds: self.window.visibility_seconds,
            credit: self.asked,
        };
        if let Some(requests) = &requests {
            // There is a place: nothing was sent yet.
            let _ = requests.try_send(request(consume_request::Request::Open(open)));
        }
        let stream = futures::stream::poll_fn(move |context| sent.poll_recv(context));
        let opened = match nodes.sign(stream, CONSUME_PATH) {
            Ok(request) => tokio::select! {
                opened = link.consume(request) => opened,
                ended = self.wait_unconnected() => return ended,
            },
            Err(status) => return Ended::Lost(status),
        };
        let mut replies = match opened {
            Ok(response) => response.into_inner(),
            Err(status) => return Ended::Lost(status),
        };
        let taken = Arc::clone(&self.taken);
        let mut leaves_by = None;
        loop {
            self.expire();
            let now = Instant::now();
            if self.is_done() && self.asked == 0 || leaves_by.is_some_and(|by| by <= now) {
                return Ended::Closed;
            }
            if self.is_done() {
                // What is on its way is leased for this consumer: it is taken in until the node ends the stream, and given
                // back over another one.
                requests = None;
                leaves_by.get_or_insert(now + PATIENCE);
            }
            let may_send = self.wanted_credit() > 0 || self.next_due_now().is_some() || self.has_request();
            let wakes = self.next_wake();
            tokio::select! {
                place = reserve(requests.as_ref()), if may_send => match place {
                    Ok(place) => {
                        if let Some(next) = self.next_request() {
                            place.send(request(next));
                        }
                    }
                    // The stream is over; why, its replies say.
                    Err(_) => match replies.message().await {
                        Ok(Some(reply)) => self.take(reply),
                        Ok(None) => return closed_by_node(),
                        Err(status) => return Ended::Lost(status),
                    },
                },
                reply = replies.message() => match reply {
                    Ok(Some(reply)) => {
                        search.served();
                        self.take(reply);
                    }
                    Ok(None) => return closed_by_node(),
                    Err(status) => return Ended::Lost(status),
                },
                () = self.take_in() => {}
                () = taken.notified() => {}
                () = tokio::time::sleep_until(wakes) => {}
            }
        }
    }

    async fn wait_unconnected(&mut self) -> Ended {
        loop {
            self.expire();
            if self.is_done() {
                return Ended::Closed;
            }
            let wakes = self.next_wake();
            tokio::select! {
                () = self.take_in() => {}
                () = tokio::time::sleep_until(wakes) => {}
            }
        }
    }

    /// Takes settlements in, as many as two requests hold.
    async fn take_in(&mut self) {
        let room = (2 * HANDLES_MAX).saturating_sub(self.gathered.len());
        if room == 0 || self.is_closed {
            return std::future::pending().await;
        }
        if self.settlements.recv_many(&mut self.gathered, room).await == 0 {
            self.is_closed = true;
        }
    }

    fn is_done(&self) -> bool {
        self.is_closed && self.pending.is_empty() && self.gathered.is_empty()
    }

    fn take(&mut self, reply: ConsumeReply) {
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
    }

    fn settled(&mut self, settled: Settled) {
        let Some(mut pending) = self.pending.remove(&settled.id) else {
            return;
        };
        match settled.error {
            Some(error) if is_passing(&error) => {
                pending.in_doubt |= crate::error::is_in_doubt(&error);
                pending.due = Some(Instant::now() + REST);
                self.pending.insert(settled.id, pending);
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
                for (handle, place) in pending.handles.into_iter().zip(pending.places) {
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

    fn has_request(&self) -> bool {
        !self.gathered.is_empty() && self.pending.len() < IN_FLIGHT_MAX
    }

    fn next_due_now(&self) -> Option<u64> {
        let now = Instant::now();
        let mut pending = self.pending.iter();
        pending
            .find(|(_, pending)| pending.due.is_some_and(|due| due <= now))
            .map(|(id, _)| *id)
    }

    fn next_request(&mut self) -> Option<consume_request::Request> {
        let messages = self.wanted_credit();
        if messages > 0 {
            self.asked += messages;
            return Some(consume_request::Request::Credit(Credit { messages }));
        }
        if let Some(id) = self.next_due_now() {
            let pending = self.pending.get_mut(&id)?;
            pending.due = None;
            return Some(pending.request(id));
        }
        self.has_request().then(|| self.gather())
    }

    /// Makes a request of what waits for the same as the first.
    fn gather(&mut self) -> consume_request::Request {
        let change = self.gathered.first().map_or(Change::Ack, |first| first.change);
        let mut pending = Pending {
            change,
            handles: Vec::new(),
            places: Vec::new(),
            until: Instant::now() + PATIENCE,
            in_doubt: false,
            due: None,
        };
        for waiting in std::mem::take(&mut self.gathered) {
            match waiting.change == change && pending.handles.len() < HANDLES_MAX {
                true => {
                    pending.handles.push(waiting.handle);
                    pending.places.push(waiting.place);
                }
                false => self.gathered.push(waiting),
            }
        }
        self.last_id += 1;
        let request = pending.request(self.last_id);
        self.pending.insert(self.last_id, pending);
        request
    }

    /// Gives up what was waited for too long.
    fn expire(&mut self) {
        let now = Instant::now();
        let late: Vec<u64> = self
            .pending
            .iter()
            .filter(|(_, pending)| pending.until <= now)
            .map(|(id, _)| *id)
            .collect();
        for pending in late.into_iter().filter_map(|id| self.pending.remove(&id)) {
            pending.fail(&SettleError::InDoubt(
                "no node answered within the time".to_owned(),
            ));
        }
    }

    fn next_wake(&self) -> Instant {
        let usual = Instant::now() + PATIENCE;
        let until = self.pending.values().map(|pending| pending.until).min();
        let due = self.pending.values().filter_map(|pending| pending.due).min();
        let due = due.map(|due| due.max(Instant::now() + Duration::from_millis(1)));
        [until, due].into_iter().flatten().min().unwrap_or(usual)
    }
}

// === impl Pending ===

impl Pending {
    fn request(&self, id: u64) -> consume_request::Request {
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

    fn fail(self, error: &SettleError) {
        for place in self.places {
            drop(place.send(Err(error.clone())));
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

/// Waits for a place for a request, for ever where nothing more is asked.
async fn reserve(
    requests: Option<&mpsc::Sender<ConsumeRequest>>,
) -> Result<mpsc::Permit<'_, ConsumeRequest>, SendError<()>> {
    match requests {
        Some(requests) => requests.reserve().await,
        None => std::future::pending().await,
    }
}

fn request(request: consume_request::Request) -> ConsumeRequest {
    ConsumeRequest {
        request: Some(request),
    }
}

fn closed_by_node() -> Ended {
    Ended::Lost(Status::unavailable("the node closed the stream"))
}
