//! Requests that are not answered. Each is kept until it is, and sent again where it was lost or not done.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

/// How long a request rests that a node did not do, before it is sent again.
const REST: Duration = Duration::from_millis(50);
/// How soon it is looked again for what is to be sent now and has no place yet.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Where somebody waits for what comes of a message or a lease.
pub(crate) type Place<T, E> = oneshot::Sender<Result<T, E>>;

/// A request that is not answered.
pub(crate) struct Pending<R, T, E> {
    pub(crate) request: R,
    pub(crate) places: Vec<Place<T, E>>,
    /// How long it is sent again.
    pub(crate) until: Instant,
    /// Whether it may have been done.
    pub(crate) in_doubt: bool,
    /// Not to be sent before, if it is to be sent again. What has none is on its way, or answered soon.
    pub(crate) due: Option<Instant>,
}

/// All of a publisher or consumer that are not answered, by their ids.
pub(crate) struct Unanswered<R, T, E> {
    requests: BTreeMap<u64, Pending<R, T, E>>,
    last_id: u64,
}

// === impl Pending ===

impl<R, T, E: Clone> Pending<R, T, E> {
    /// Tells all who wait that it failed.
    pub(crate) fn fail(self, error: &E) {
        for place in self.places {
            // Whoever does not wait for it needs no answer.
            drop(place.send(Err(error.clone())));
        }
    }
}

// === impl Unanswered ===

impl<R, T, E> Unanswered<R, T, E> {
    pub(crate) fn new() -> Unanswered<R, T, E> {
        Unanswered {
            requests: BTreeMap::new(),
            last_id: 0,
        }
    }

    /// Returns an id that no request had before.
    pub(crate) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    pub(crate) fn len(&self) -> usize {
        self.requests.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    pub(crate) fn add(&mut self, id: u64, pending: Pending<R, T, E>) {
        self.requests.insert(id, pending);
    }

    /// Takes a request out that is answered.
    pub(crate) fn take(&mut self, id: u64) -> Option<Pending<R, T, E>> {
        self.requests.remove(&id)
    }

    /// Has a request that was not done, or not for certain, be sent again after a rest.
    pub(crate) fn rest(&mut self, id: u64, pending: Pending<R, T, E>) {
        let due = Some(Instant::now() + REST);
        self.requests.insert(id, Pending { due, ..pending });
    }

    /// A stream is over: what was sent over it may have been done, and is to be sent again.
    pub(crate) fn lost(&mut self) {
        for pending in self.requests.values_mut() {
            pending.in_doubt |= pending.due.is_none();
            pending.due.get_or_insert_with(Instant::now);
        }
    }

    /// Returns whether something is to be sent again now.
    pub(crate) fn is_due(&self) -> bool {
        let now = Instant::now();
        self.requests.values().any(|pending| pending.is_due(now))
    }

    /// Returns what is to be sent again now, if something is.
    pub(crate) fn next_due(&mut self) -> Option<(u64, &R)> {
        let now = Instant::now();
        let mut requests = self.requests.iter_mut();
        let (id, pending) = requests.find(|(_, pending)| pending.is_due(now))?;
        pending.due = None;
        Some((*id, &pending.request))
    }

    /// Takes out what was waited for too long.
    pub(crate) fn take_late(&mut self) -> Vec<Pending<R, T, E>> {
        let now = Instant::now();
        let late = self.requests.extract_if(.., |_, pending| pending.until <= now);
        late.map(|(_, pending)| pending).collect()
    }

    /// Takes out everything.
    pub(crate) fn take_all(&mut self) -> Vec<Pending<R, T, E>> {
        std::mem::take(&mut self.requests).into_values().collect()
    }

    /// Returns when there is next something to do.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        let soon = Instant::now() + LOOK_AGAIN;
        let wakes = self.requests.values().map(|pending| {
            let due = pending.due.map_or(pending.until, |due| due.max(soon));
            due.min(pending.until)
        });
        wakes.min()
    }
}

impl<R, T, E> Pending<R, T, E> {
    fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }
}
