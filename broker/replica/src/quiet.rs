//! Has a leader fall silent that no majority answers.
//!
//! Followers that hear a leader elect no other. One that is heard and hears nobody, because what goes to it is lost on
//! the way, would keep the group from being led: nothing can be agreed on, and nobody takes its place. So it says
//! nothing more after a while, until another leads.

use std::time::Duration;

use openraft::Instant as OpenraftInstant;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::metrics::RaftServerMetrics;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::warn;

use crate::GroupName;
use crate::raft::{Engine, Types};

/// How long a leader that no majority answers goes on taking commands.
pub(crate) const MAJORITY_SILENCE_MAX: Duration = Duration::from_millis(1_500);
/// How long it goes on being heard. On machines that are too busy to answer in time, another leader is no better, and
/// electing it makes them busier still.
const UNANSWERED_MAX: Duration = Duration::from_secs(4);
/// How long a leader is not looked at again, at least.
const LOOK_MIN: Duration = Duration::from_millis(50);

/// Ends a leader's heartbeats when no majority answers them.
pub(crate) struct Quieter {
    pub(crate) group: GroupName,
    pub(crate) engine: Engine,
    pub(crate) stopping: watch::Receiver<bool>,
}

// === impl Quieter ===

impl Quieter {
    /// Runs until the group stops or its engine fails.
    pub(crate) async fn run(self) {
        let mut stopping = self.stopping.clone();
        tokio::select! {
            () = self.watch() => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
    }

    async fn watch(&self) {
        let mut metrics = self.engine.server_metrics();
        while metrics.wait_until(leads_others).await.is_ok() {
            let over = async { metrics.wait_until(|metrics| !leads_others(metrics)).await.is_ok() };
            tokio::pin!(over);
            tokio::select! {
                biased;
                goes_on = &mut over => match goes_on {
                    true => continue,
                    false => return,
                },
                () = self.unanswered() => {}
            }
            warn!(group = %self.group, "no majority answers: says nothing more");
            self.engine.runtime_config().heartbeat(false);
            if !over.await {
                return;
            }
            self.engine.runtime_config().heartbeat(true);
        }
    }

    /// Waits until no majority has answered for too long.
    async fn unanswered(&self) {
        let begun = Instant::now();
        let silence = || silence(&self.engine).unwrap_or(begun.elapsed());
        while let Some(left) = UNANSWERED_MAX.checked_sub(silence()) {
            tokio::time::sleep(left.max(LOOK_MIN)).await;
        }
    }
}

/// Returns for how long no majority has answered a leader; none when none ever did.
pub(crate) fn silence(engine: &Engine) -> Option<Duration> {
    let metrics = engine.data_metrics();
    let metrics = metrics.borrow_watched();
    let acked = metrics.last_quorum_acked?;
    Some(OpenraftInstant::elapsed(&acked.into_inner()))
}

fn leads_others(metrics: &RaftServerMetrics<Types>) -> bool {
    metrics.state.is_leader() && !metrics.membership_config.voter_ids().eq([metrics.id])
}
