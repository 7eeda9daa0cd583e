//! Has done what falls due in a group: at its next deadline the leader proposes a tick, and again while more is due.

use std::sync::Arc;
use std::time::Duration;

use posthouse_model::Time;
use tokio::sync::watch;
use tracing::debug;

use crate::Machine;
use crate::held::Held;
use crate::leadership::Leadership;
use crate::proposer::Intake;

/// How long a deadline waits that a tick did not move, or that none was taken for: it must not be ticked for ever.
const UNMOVED_PAUSE: Duration = Duration::from_millis(100);

/// Proposes ticks.
pub(crate) struct Ticker<M: Machine> {
    pub(crate) held: Arc<Held<M>>,
    pub(crate) intake: Arc<Intake<M>>,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) stopping: watch::Receiver<bool>,
}

// === impl Ticker ===

impl<M: Machine> Ticker<M> {
    /// Runs until the group stops.
    pub(crate) async fn run(mut self) {
        let mut stopping = self.stopping.clone();
        tokio::select! {
            () = self.tick_for_ever() => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
    }

    async fn tick_for_ever(&mut self) {
        let mut deadlines = self.held.deadlines();
        let mut ticked: Option<Time> = None;
        loop {
            let leads = matches!(*self.leadership.borrow_and_update(), Leadership::Leading { .. });
            let deadline = *deadlines.borrow_and_update();
            let due = async {
                match deadline {
                    Some(deadline) if leads => {
                        if ticked == Some(deadline) {
                            tokio::time::sleep(UNMOVED_PAUSE).await;
                        }
                        self.held.reach(deadline).await;
                    }
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                changed = deadlines.changed() => if changed.is_err() { return },
                changed = self.leadership.changed() => if changed.is_err() { return },
                () = due => {
                    ticked = deadline;
                    self.tick().await;
                }
            }
        }
    }

    /// Does what is due, all of it.
    async fn tick(&self) {
        loop {
            match self.intake.propose(None, None, M::tick()).await {
                Ok(outcome) if M::more_is_due(&outcome) => {}
                Ok(_) => return,
                Err(fault) => {
                    // The engine may refuse what comes while no majority answers, and lead on: it is tried again.
                    debug!(%fault, "no tick");
                    return;
                }
            }
        }
    }
}
