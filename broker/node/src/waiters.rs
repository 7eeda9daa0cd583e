//! Receives that wait for a message: the leader's memory of who asked first.
//!
//! A waiter costs nothing while nothing happens: no polling, no timer here. When messages of its queue become
//! visible, or are on their way in, as many waiters as want those are served, in order of arrival, each by a `Receive` of its
//! own.
//! When the queue is deleted, all of its line are told so at once.
//! A waiter that is dropped (its wait is over, its client is gone) is forgotten at once; what had been leased for
//! it in that moment is given back.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use posthouse_model::{Incarnation, Leased, SessionCall, Span};
use posthouse_replica::Fault;
use tokio::sync::oneshot;

/// All waiters of a node.
#[derive(Clone)]
pub struct Waiters {
    state: Arc<Mutex<State>>,
    give_back: GiveBack,
    waiters_max: usize,
}

/// Called with what was leased for one who was gone by then.
pub type GiveBack = Arc<dyn Fn(Incarnation, Vec<Leased>) + Send + Sync>;

/// A place in a queue's line. Dropping it leaves the line.
pub struct Place {
    answer: oneshot::Receiver<Turn>,
    waiters: Waiters,
    queue: Incarnation,
    turn: u64,
}

/// One who waits, taken out of the line to be served.
#[derive(Debug)]
pub struct Waiter {
    /// How many messages it wants at most.
    pub max: u16,
    /// How long they are to stay hidden; the queue's setting when absent.
    pub visibility: Option<Span>,
    /// What names the receive in the cluster.
    pub call: Option<SessionCall>,
    /// Where it stands, to be put back when there was nothing after all.
    turn: u64,
    answer: oneshot::Sender<Turn>,
}

/// What a waiter is told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Turn {
    /// It is its turn, and this was leased for it; nothing is "no message".
    Leased(Vec<Leased>),
    /// The queue is gone.
    Gone,
    /// It cannot be served here.
    Failed(Fault),
}

#[derive(Debug, Default)]
struct State {
    lines: HashMap<Incarnation, BTreeMap<u64, Waiter>>,
    turns: u64,
    waiting: usize,
}

// === impl Waiters ===

impl Waiters {
    /// Returns an empty line for each queue, for so many on the whole node.
    pub fn new(waiters_max: usize, give_back: GiveBack) -> Waiters {
        Waiters {
            state: Arc::default(),
            give_back,
            waiters_max,
        }
    }

    /// Joins a queue's line; none when the node has as many waiters as it takes.
    pub fn join(
        &self,
        queue: Incarnation,
        max: u16,
        visibility: Option<Span>,
        call: Option<SessionCall>,
    ) -> Option<Place> {
        let mut state = self.state.lock();
        if state.waiting >= self.waiters_max {
            return None;
        }
        let (answer, receiver) = oneshot::channel();
        state.turns += 1;
        state.waiting += 1;
        let turn = state.turns;
        state.lines.entry(queue).or_default().insert(
            turn,
            Waiter {
                max,
                visibility,
                call,
                turn,
                answer,
            },
        );
        Some(Place {
            answer: receiver,
            waiters: self.clone(),
            queue,
            turn,
        })
    }

    /// Returns whether anybody waits for a queue.
    pub fn any(&self, queue: Incarnation) -> bool {
        self.state.lock().lines.contains_key(&queue)
    }

    /// Returns how many wait, on the whole node.
    pub fn len(&self) -> usize {
        self.state.lock().waiting
    }

    /// Returns whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the first of a queue's line out of it, as many as want so many messages together.
    pub fn take(&self, queue: Incarnation, messages: u64) -> Vec<Waiter> {
        let mut state = self.state.lock();
        let mut taken = Vec::new();
        let Some(line) = state.lines.get_mut(&queue) else {
            return taken;
        };
        let mut wanted = 0;
        while wanted < messages {
            let Some((_, waiter)) = line.pop_first() else {
                break;
            };
            wanted += u64::from(waiter.max.max(1));
            taken.push(waiter);
        }
        if line.is_empty() {
            state.lines.remove(&queue);
        }
        state.waiting -= taken.len();
        taken
    }

    /// Puts back one who was taken and got nothing, at its old place.
    pub fn put_back(&self, queue: Incarnation, waiter: Waiter) {
        if waiter.answer.is_closed() {
            return;
        }
        let mut state = self.state.lock();
        state.waiting += 1;
        state.lines.entry(queue).or_default().insert(waiter.turn, waiter);
    }

    /// Tells all who wait for queues that fit why they wait in vain here.
    pub fn disappoint(&self, fits: impl Fn(Incarnation) -> bool, why: Fault) {
        let queues: Vec<Incarnation> = self.state.lock().lines.keys().copied().collect();
        for queue in queues.into_iter().filter(|queue| fits(*queue)) {
            for waiter in self.take(queue, u64::MAX) {
                let _ = waiter.serve(Turn::Failed(why));
            }
        }
    }

    /// Tells all who wait for a queue that it is gone.
    pub fn send_away(&self, queue: Incarnation) {
        for waiter in self.take(queue, u64::MAX) {
            // One who is gone by now needs no answer.
            let _ = waiter.serve(Turn::Gone);
        }
    }

    /// Tells all who wait, on the whole node, that there is no message.
    pub fn dismiss_all(&self) {
        let lines = {
            let mut state = self.state.lock();
            state.waiting = 0;
            std::mem::take(&mut state.lines)
        };
        for waiter in lines.into_values().flat_map(BTreeMap::into_values) {
            // One who is gone by now needs no answer.
            let _ = waiter.serve(Turn::none());
        }
    }

    fn leave(&self, queue: Incarnation, turn: u64) {
        let mut state = self.state.lock();
        let Some(line) = state.lines.get_mut(&queue) else {
            return;
        };
        let left = line.remove(&turn).is_some();
        if line.is_empty() {
            state.lines.remove(&queue);
        }
        if left {
            state.waiting -= 1;
        }
    }
}

// === impl Waiter ===

impl Waiter {
    /// Returns whether whoever waited is gone.
    pub fn is_gone(&self) -> bool {
        self.answer.is_closed()
    }

    /// Tells it its turn; gives that back if whoever waited is gone.
    pub fn serve(self, turn: Turn) -> Result<(), Turn> {
        self.answer.send(turn)
    }
}

// === impl Turn ===

impl Turn {
    /// Returns "no message".
    pub fn none() -> Turn {
        Turn::Leased(Vec::new())
    }
}

// === impl Place ===

impl Place {
    /// Waits for the turn, until the deadline. Then there is "no message".
    ///
    /// What was leased in the very moment the wait ended is returned, not lost.
    pub async fn wait_until(mut self, deadline: tokio::time::Instant) -> Turn {
        match tokio::time::timeout_at(deadline, &mut self.answer).await {
            Ok(turn) => turn.unwrap_or_else(|_| Turn::none()),
            Err(_) => {
                self.answer.close();
                self.answer.try_recv().unwrap_or_else(|_| Turn::none())
            }
        }
    }
}

/// Whoever waited is gone, or was served: a turn that came and was not taken is given back.
impl Drop for Place {
    fn drop(&mut self) {
        self.waiters.leave(self.queue, self.turn);
        self.answer.close();
        match self.answer.try_recv() {
            Ok(Turn::Leased(leased)) => (self.waiters.give_back)(self.queue, leased),
            Ok(Turn::Gone | Turn::Failed(_)) | Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUE: Incarnation = Incarnation(1);

    #[test]
    fn waiters_are_taken_in_order_of_arrival() {
        let waiters = waiters();
        let _places: Vec<_> = (1..=3).map(|max| waiters.join(QUEUE, max, None, None)).collect();
        let taken = |messages| {
            let taken = waiters.take(QUEUE, messages);
            taken.iter().map(|waiter| waiter.max).collect::<Vec<u16>>()
        };
        assert_eq!(taken(0), [0; 0]);
        assert_eq!(taken(3), [1, 2], "who wants two may have the rest of them");
        assert_eq!(taken(9), [3]);
        assert!(waiters.is_empty());
    }

    #[test]
    fn one_who_is_put_back_is_first_again() {
        let waiters = waiters();
        let _places: Vec<_> = (1..=2).map(|max| waiters.join(QUEUE, max, None, None)).collect();
        let first = waiters.take(QUEUE, 1).pop().expect("one waits");
        waiters.put_back(QUEUE, first);
        assert_eq!(waiters.take(QUEUE, 1)[0].max, 1);
    }

    #[test]
    fn a_dropped_place_leaves_the_line() {
        let waiters = waiters();
        drop(waiters.join(QUEUE, 1, None, None));
        assert!(waiters.is_empty());
        assert!(!waiters.any(QUEUE));
    }

    #[test]
    fn one_who_left_before_the_turn_refuses_it() {
        let waiters = waiters();
        let place = waiters.join(QUEUE, 1, None, None);
        let waiter = waiters.take(QUEUE, 1).pop().expect("one waits");
        drop(place);
        assert!(waiter.is_gone());
        assert!(waiter.serve(Turn::none()).is_err());
    }

    #[test]
    fn a_turn_that_was_not_taken_is_given_back() {
        let given_back = Arc::new(Mutex::new(0));
        let count = Arc::clone(&given_back);
        let waiters = Waiters::new(16, Arc::new(move |_, _| *count.lock() += 1));
        let place = waiters.join(QUEUE, 1, None, None);
        let waiter = waiters.take(QUEUE, 1).pop().expect("one waits");
        waiter.serve(Turn::none()).expect("the place is still held");
        drop(place);
        assert_eq!(*given_back.lock(), 1);
    }

    #[tokio::test]
    async fn those_whose_queue_is_gone_are_told_so_and_others_wait_on() {
        let waiters = waiters();
        let places: Vec<_> = (1..=2)
            .filter_map(|max| waiters.join(QUEUE, max, None, None))
            .collect();
        let other = waiters.join(Incarnation(2), 1, None, None);
        waiters.send_away(QUEUE);
        assert_eq!(waiters.len(), 1);
        let late = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
        for place in places {
            assert_eq!(place.wait_until(late).await, Turn::Gone);
        }
        drop(other);
    }

    fn waiters() -> Waiters {
        Waiters::new(16, Arc::new(|_, _| ()))
    }
}
