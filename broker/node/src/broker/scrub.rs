//! Reads everything durable again, now and then and at a bounded rate, so that damage is found before it is needed.

use std::time::{Duration, Instant};

use futures::future::join_all;
use parking_lot::Mutex;
use posthouse_model::ReplicaId;
use tokio::sync::Notify;

use super::Broker;
use super::reach::{Ask, Told};

/// How long another node has to say that it begins.
const BEGIN_WITHIN: Duration = Duration::from_secs(2);
/// How long a node that was started rests before it first reads everything: others are waiting for it to serve.
const FIRST_REST: Duration = Duration::from_secs(60);

/// How often everything durable is read again, and how fast.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Scrubbing {
    /// How many bytes are read in a second, at most.
    pub bytes_a_second: u64,
    /// How long after one reading began the next one does, at the earliest.
    pub every: Duration,
}

/// What is known of this node's readings.
#[derive(Debug)]
pub(super) struct Scrubs {
    wanted: Notify,
    /// When the last one ended that went through.
    finished: Mutex<Option<Instant>>,
}

// === impl Scrubs ===

impl Scrubs {
    pub(super) fn new() -> Scrubs {
        Scrubs {
            wanted: Notify::new(),
            finished: Mutex::new(None),
        }
    }

    /// Returns how long ago everything had been read; none if it has not been since the start.
    pub(super) fn since_last(&self) -> Option<Duration> {
        self.finished.lock().map(|finished| finished.elapsed())
    }

    /// Has the next reading begin now.
    pub(super) fn begin(&self) {
        self.wanted.notify_one();
    }
}

// === impl Broker ===

impl Broker {
    /// Has all nodes of the cluster read everything durable again; returns which said that they do, this one first.
    pub async fn scrub_all(&self) -> Vec<(ReplicaId, bool)> {
        self.scrubs.begin();
        let asked = self.others.all().into_iter().map(|other| async move {
            let told = self.ask_one(other, &Ask::Scrub, BEGIN_WITHIN).await;
            (other, matches!(told, Some(Told::Scrubs)))
        });
        let mut begun = vec![(self.replica, true)];
        begun.extend(join_all(asked).await);
        begun
    }

    /// Reads everything durable again and again, until the broker stops.
    pub(super) async fn scrub(self, scrubbing: Scrubbing) {
        let mut rest = FIRST_REST.min(scrubbing.every);
        loop {
            tokio::select! {
                biased;
                () = self.stopped() => return,
                () = self.scrubs.wanted.notified() => {}
                () = tokio::time::sleep(rest) => {}
            }
            let begun = Instant::now();
            tokio::select! {
                biased;
                () = self.stopped() => return,
                is_done = self.scrub_once(scrubbing.bytes_a_second) => if !is_done { return },
            }
            rest = scrubbing.every.saturating_sub(begun.elapsed());
        }
    }

    /// Reads everything once; returns whether that could be done.
    async fn scrub_once(&self, bytes_a_second: u64) -> bool {
        let mut scrub = self.store.scrub();
        let begun = Instant::now();
        let mut bytes = 0_u64;
        loop {
            let step = tokio::task::spawn_blocking(move || {
                let step = scrub.step();
                (scrub, step)
            });
            let Ok((rest, step)) = step.await else {
                tracing::error!("a reading of everything durable panicked");
                return false;
            };
            scrub = rest;
            let Some(step) = step else { break };
            self.metrics.scrubbed(step);
            bytes = bytes.saturating_add(step);
            let due = Duration::from_secs_f64(bytes as f64 / bytes_a_second as f64);
            tokio::time::sleep(due.saturating_sub(begun.elapsed())).await;
        }
        *self.scrubs.finished.lock() = Some(Instant::now());
        tracing::info!(
            bytes,
            damaged = self.store.damage().len(),
            "read everything durable again"
        );
        true
    }
}
