//! Puts a group's commands into entries: while one is in flight, as many into the next as come, and when nothing is, at
//! once, or after a moment if others are likely to come back within it.
//!
//! One task owns the entry that is being filled. Who proposes hands it a command and a place for the answer; the
//! answer comes from the task that applies entries.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use openraft::errors::ClientWriteError;
use openraft::raft::ClientWriteResult;
use parking_lot::Mutex;
use posthouse_model::{Batch, ReplicaId, SessionCall, Submission, Term};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;
use tracing::{error, warn};

use crate::config::{COMMANDS_WAITING_MAX, ENTRIES_IN_FLIGHT_MAX, ENTRY_BYTES_MAX, ENTRY_COMMANDS_MAX};
use crate::gathering::{Gathering, Round};
use crate::held::Held;
use crate::leadership::{Leadership, Seat};
use crate::raft::{Callback, Engine, LeaderTerm, Proposal, Types};
use crate::{Fault, GroupName, Machine, Reason};

/// The weight of a group's commands that wait to be proposed; who comes then, waits for room.
const WAITING_BYTES_MAX: usize = 64 * 1_048_576;
/// How long a group that stops waits for what is in flight.
const LANDING_MAX: Duration = Duration::from_secs(5);

type Place<M> = oneshot::Sender<Result<<M as Machine>::Outcome, Fault>>;

/// Where commands are handed in.
pub(crate) struct Intake<M: Machine> {
    queue: mpsc::Sender<Waiting<M>>,
    room: Arc<Semaphore>,
    signals: Arc<Signals>,
}

/// A command that waits to be proposed.
struct Waiting<M: Machine> {
    submission: Submission<M::Command>,
    /// The term that it may be proposed in; none is any.
    only_in: Option<Term>,
    place: Place<M>,
    counted: Counted,
    _room: OwnedSemaphorePermit,
}

/// A command's part in what waits.
struct Counted {
    signals: Arc<Signals>,
    weight: usize,
}

/// Someone who waits for an answer.
struct Caller(Arc<Signals>);

/// What the proposer is woken by, beside commands that find it idle.
struct Signals {
    /// Entries that are proposed and not answered.
    in_flight: AtomicUsize,
    /// The weight of what waits.
    waiting_bytes: AtomicUsize,
    /// How many wait.
    waiting_count: AtomicUsize,
    /// Who waits for an answer: to what waits, and to what is in flight.
    callers: AtomicUsize,
    /// What was seen when the last entry was answered.
    last_round: Mutex<Round>,
    wake: Notify,
    /// Whether the group stops because it was told to.
    stops: AtomicBool,
}

/// Fills entries and proposes them.
pub(crate) struct Proposer<M: Machine> {
    group: GroupName,
    engine: Engine,
    held: Arc<Held<M>>,
    seat: Arc<Seat>,
    stopping: watch::Receiver<bool>,
    queue: mpsc::Receiver<Waiting<M>>,
    signals: Arc<Signals>,
    gathering: Gathering,
    /// The term in which this replica's first entry was proposed.
    begun: Option<Term>,
}

/// What a proposer is made with.
pub(crate) struct ProposerParts<M> {
    pub(crate) group: GroupName,
    pub(crate) engine: Engine,
    pub(crate) held: Arc<Held<M>>,
    pub(crate) seat: Arc<Seat>,
    pub(crate) stopping: watch::Receiver<bool>,
}

/// The entry that is being filled.
struct Filling<M: Machine> {
    submissions: Vec<Submission<M::Command>>,
    places: Vec<Place<M>>,
    /// The term that each may be proposed in, and the earliest of them.
    only_in: Vec<Option<Term>>,
    earliest: Option<Term>,
    weight: usize,
}

/// The places for the answers of one entry in flight. Whichever way it ends, each gets one.
struct InFlight<M: Machine> {
    places: Vec<Place<M>>,
    /// Called when the entry was applied, before the answers are given.
    applied: Option<Box<dyn FnOnce() + Send>>,
    launched: Instant,
    signals: Arc<Signals>,
}

// === impl Intake ===

impl<M: Machine> Intake<M> {
    /// Hands in a command, and waits for its outcome. One that comes from what this replica saw while it led is proposed
    /// in that term alone: in between, others may have led and agreed on more.
    pub(crate) async fn propose(
        &self,
        only_in: Option<Term>,
        call: Option<SessionCall>,
        command: M::Command,
    ) -> Result<M::Outcome, Fault> {
        let stopping = Fault::NotDone(Reason::Stopping);
        let weight = M::weight(&command).min(WAITING_BYTES_MAX);
        let permits = u32::try_from(weight).unwrap_or(u32::MAX);
        let room = self
            .room
            .clone()
            .acquire_many_owned(permits)
            .await
            .map_err(|_| stopping)?;
        let _caller = Caller::new(&self.signals);
        let (place, outcome) = oneshot::channel();
        let waiting = Waiting {
            submission: Submission { call, command },
            only_in,
            place,
            counted: Counted::new(&self.signals, weight),
            _room: room,
        };
        let fills = self.signals.fill_an_entry();
        self.queue.send(waiting).await.map_err(|_| stopping)?;
        if fills {
            self.signals.wake.notify_one();
        }
        outcome.await.unwrap_or(Err(Fault::MayBeDone(Reason::Stopping)))
    }
}

// === impl Signals ===

impl Signals {
    /// Returns whether what waits fills an entry: then the proposer need not wait for the one in flight.
    fn fill_an_entry(&self) -> bool {
        let bytes = self.waiting_bytes.load(Ordering::Relaxed);
        let count = self.waiting_count.load(Ordering::Relaxed);
        bytes >= ENTRY_BYTES_MAX || count >= ENTRY_COMMANDS_MAX
    }

    fn launched(&self) {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
    }

    fn landed(&self) {
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
        self.wake.notify_one();
    }

    fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    /// Takes notice of a round that ends, before anyone has an answer.
    fn note_round(&self, took: Duration) {
        *self.last_round.lock() = Round {
            callers: self.callers.load(Ordering::Relaxed),
            took,
        };
    }
}

// === impl Caller ===

impl Caller {
    fn new(signals: &Arc<Signals>) -> Caller {
        signals.callers.fetch_add(1, Ordering::Relaxed);
        Caller(signals.clone())
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.0.callers.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl Counted ===

impl Counted {
    fn new(signals: &Arc<Signals>, weight: usize) -> Counted {
        signals.waiting_bytes.fetch_add(weight, Ordering::Relaxed);
        signals.waiting_count.fetch_add(1, Ordering::Relaxed);
        Counted {
            signals: signals.clone(),
            weight,
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.signals
            .waiting_bytes
            .fetch_sub(self.weight, Ordering::Relaxed);
        self.signals.waiting_count.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl Proposer ===

/// Returns a proposer and where it takes commands in.
pub(crate) fn new<M: Machine>(parts: ProposerParts<M>) -> (Intake<M>, Proposer<M>) {
    let (sender, queue) = mpsc::channel(COMMANDS_WAITING_MAX);
    let signals = Arc::new(Signals {
        in_flight: AtomicUsize::new(0),
        waiting_bytes: AtomicUsize::new(0),
        waiting_count: AtomicUsize::new(0),
        callers: AtomicUsize::new(0),
        last_round: Mutex::default(),
        wake: Notify::new(),
        stops: AtomicBool::new(false),
    });
    let intake = Intake {
        queue: sender,
        room: Arc::new(Semaphore::new(WAITING_BYTES_MAX)),
        signals: signals.clone(),
    };
    let ProposerParts {
        group,
        engine,
        held,
        seat,
        stopping,
    } = parts;
    let proposer = Proposer {
        group,
        engine,
        held,
        seat,
        stopping,
        queue,
        signals,
        gathering: Gathering::default(),
        begun: None,
    };
    (intake, proposer)
}

impl<M: Machine> Proposer<M> {
    /// Runs until the group stops, and answers what still waits then.
    pub(crate) async fn run(mut self) {
        let mut leadership = self.seat.watch();
        let mut stopping = self.stopping.clone();
        let mut filling = Filling::new();
        loop {
            let now = *leadership.borrow_and_update();
            match now {
                Leadership::Following { .. } => self.refuse_waiting(&mut filling, now),
                Leadership::Elected { term, .. } => self.begin(term).await,
                Leadership::Leading { term, .. } => self.propose_waiting(&mut filling, term).await,
                Leadership::Stopped(_) => break,
            }
            let takes_next = match now {
                // Nothing is in flight: the next command is taken at once, into an entry that may wait for more.
                Leadership::Leading { .. } => {
                    self.signals.in_flight() == 0 && (filling.is_empty() || self.gathering.until().is_some())
                }
                Leadership::Following { .. } => true,
                Leadership::Elected { .. } | Leadership::Stopped(_) => false,
            };
            tokio::select! {
                biased;
                _ = stopping.wait_for(|stopping| *stopping) => break,
                _ = leadership.changed() => {}
                () = self.signals.wake.notified() => {}
                () = reach(self.gathering.until()), if takes_next => {}
                next = self.queue.recv(), if takes_next => match next {
                    Some(waiting) => filling.add(waiting),
                    None => break,
                },
            }
        }
        self.finish(filling).await;
    }

    /// Answers what waits, and gives what is in flight some time to be answered.
    async fn finish(mut self, mut filling: Filling<M>) {
        self.signals
            .stops
            .store(*self.stopping.borrow(), Ordering::Release);
        self.queue.close();
        let last = match self.seat.now() {
            stopped @ Leadership::Stopped(_) => stopped,
            Leadership::Following { .. } | Leadership::Elected { .. } | Leadership::Leading { .. } => {
                Leadership::Stopped(Reason::Stopping)
            }
        };
        self.refuse_waiting(&mut filling, last);
        let landed = async {
            while self.signals.in_flight() > 0 {
                self.signals.wake.notified().await;
            }
        };
        // What has no answer by then gets it when the engine stops.
        if tokio::time::timeout(LANDING_MAX, landed).await.is_err() {
            warn!(group = %self.group, entries = self.signals.in_flight(), "stops with entries in flight");
        }
    }

    fn refuse_waiting(&mut self, filling: &mut Filling<M>, leadership: Leadership) {
        let Some(reason) = leadership.refusal() else {
            return;
        };
        while let Ok(waiting) = self.queue.try_recv() {
            filling.add(waiting);
        }
        self.gathering.end();
        let (_, places) = filling.empty();
        for place in places {
            // Who no longer waits needs no answer.
            drop(place.send(Err(Fault::NotDone(reason))));
        }
    }

    /// Proposes the first entry of this replica's leadership, or takes commands at once if it needs none.
    async fn begin(&mut self, term: Term) {
        self.gathering.end();
        let seat = self.seat.clone();
        let begun = move || seat.take(term);
        let Some(command) = M::lead(term) else {
            begun();
            return;
        };
        if self.begun == Some(term) {
            return;
        }
        self.begun = Some(term);
        let submissions = vec![Submission { call: None, command }];
        let in_flight = InFlight {
            places: Vec::new(),
            applied: Some(Box::new(begun)),
            launched: Instant::now(),
            signals: self.signals.clone(),
        };
        self.propose(term, submissions, in_flight).await;
    }

    /// Proposes what waits: once it was gathered when nothing is in flight, else only what fills an entry.
    async fn propose_waiting(&mut self, filling: &mut Filling<M>, term: Term) {
        loop {
            while !filling.is_full()
                && let Ok(waiting) = self.queue.try_recv()
            {
                filling.add(waiting);
            }
            let in_flight = self.signals.in_flight();
            let due = if filling.is_full() {
                in_flight < ENTRIES_IN_FLIGHT_MAX
            } else {
                in_flight == 0 && !filling.is_empty() && {
                    let last = *self.signals.last_round.lock();
                    self.gathering.is_over(filling.len(), last, Instant::now())
                }
            };
            if !due {
                return;
            }
            self.gathering.end();
            let (submissions, places) = filling.empty_in(term);
            if submissions.is_empty() {
                continue;
            }
            let in_flight = InFlight {
                places,
                applied: None,
                launched: Instant::now(),
                signals: self.signals.clone(),
            };
            self.propose(term, submissions, in_flight).await;
        }
    }

    /// Hands an entry to the engine, if this replica still leads at `term`.
    async fn propose(
        &mut self,
        term: Term,
        submissions: Vec<Submission<M::Command>>,
        in_flight: InFlight<M>,
    ) {
        let batch = Batch {
            now: self.held.stamp(),
            submissions,
        };
        let proposal = Proposal {
            encoded: M::encode_batch(&batch),
            decoded: Some(Arc::new(batch)),
        };
        self.signals.launched();
        let callback = Callback::new(move |result| in_flight.land(result));
        let written = self
            .engine
            .write(proposal)
            .with_leader(LeaderTerm::new(term.0))
            .responder(callback)
            .await;
        if let Err(fatal) = written {
            // The places were answered when the engine let go of the callback.
            error!(group = %self.group, %fatal, "the engine takes no entry");
        }
    }
}

// === impl Filling ===

impl<M: Machine> Filling<M> {
    fn new() -> Filling<M> {
        Filling {
            submissions: Vec::new(),
            places: Vec::new(),
            only_in: Vec::new(),
            earliest: None,
            weight: 0,
        }
    }

    fn add(&mut self, waiting: Waiting<M>) {
        self.weight += waiting.counted.weight;
        self.submissions.push(waiting.submission);
        self.places.push(waiting.place);
        self.only_in.push(waiting.only_in);
        if let Some(term) = waiting.only_in {
            self.earliest = Some(self.earliest.map_or(term, |earliest| earliest.min(term)));
        }
    }

    fn len(&self) -> usize {
        self.submissions.len()
    }

    fn is_empty(&self) -> bool {
        self.submissions.is_empty()
    }

    fn is_full(&self) -> bool {
        self.weight >= ENTRY_BYTES_MAX || self.submissions.len() >= ENTRY_COMMANDS_MAX
    }

    /// Takes out what is there.
    fn empty(&mut self) -> (Vec<Submission<M::Command>>, Vec<Place<M>>) {
        self.weight = 0;
        self.only_in.clear();
        self.earliest = None;
        (
            std::mem::take(&mut self.submissions),
            std::mem::take(&mut self.places),
        )
    }

    /// Takes out what may be proposed in a term, and answers the rest: its term is over.
    fn empty_in(&mut self, term: Term) -> (Vec<Submission<M::Command>>, Vec<Place<M>>) {
        if self.earliest.is_none_or(|earliest| earliest == term) {
            return self.empty();
        }
        let only_in = std::mem::take(&mut self.only_in);
        let (submissions, places) = self.empty();
        let mut kept = (Vec::new(), Vec::new());
        for ((submission, place), only_in) in submissions.into_iter().zip(places).zip(only_in) {
            if only_in.is_none_or(|only_in| only_in == term) {
                kept.0.push(submission);
                kept.1.push(place);
            } else {
                // Who no longer waits needs no answer.
                drop(place.send(Err(Fault::NotDone(Reason::LeadershipLost))));
            }
        }
        kept
    }
}

// === impl InFlight ===

impl<M: Machine> InFlight<M> {
    /// Gives each place its answer.
    fn land(mut self, result: ClientWriteResult<Types>) {
        self.signals.note_round(self.launched.elapsed());
        match result {
            Ok(response) => {
                if let Some(applied) = self.applied.take() {
                    applied();
                }
                let outcomes = response
                    .data
                    .0
                    .and_then(|answer| answer.downcast::<Vec<M::Outcome>>().ok());
                let outcomes = outcomes.map(|outcomes| *outcomes).unwrap_or_default();
                assert!(
                    outcomes.len() >= self.places.len(),
                    "each command of an entry has an outcome"
                );
                for (place, outcome) in self.places.drain(..).zip(outcomes) {
                    // Who no longer waits needs no answer.
                    drop(place.send(Ok(outcome)));
                }
            }
            Err(error) => self.answer_all(fault_of(&error)),
        }
    }

    fn answer_all(&mut self, fault: Fault) {
        for place in self.places.drain(..) {
            // Who no longer waits needs no answer.
            drop(place.send(Err(fault)));
        }
    }
}

impl<M: Machine> Drop for InFlight<M> {
    fn drop(&mut self) {
        // Let go without a word: the engine stopped, before or after it wrote the entry.
        let is_told_to = self.signals.stops.load(Ordering::Acquire);
        let reason = if is_told_to {
            Reason::Stopping
        } else {
            Reason::StoreFailed
        };
        self.answer_all(Fault::MayBeDone(reason));
        self.signals.landed();
    }
}

/// Waits for a moment; without one, for ever.
async fn reach(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

fn fault_of(error: &ClientWriteError<Types>) -> Fault {
    match error {
        ClientWriteError::ForwardToLeader(forward) => Fault::NotDone(Reason::NotLeading {
            leader: forward.leader_id.map(ReplicaId),
        }),
        ClientWriteError::LogEntryDiscarded(_) => Fault::MayBeDone(Reason::LeadershipLost),
        // Commands change no membership and have no preconditions.
        ClientWriteError::ChangeMembershipError(_) | ClientWriteError::PreconditionFailed(_) => {
            Fault::NotDone(Reason::LeadershipLost)
        }
    }
}
