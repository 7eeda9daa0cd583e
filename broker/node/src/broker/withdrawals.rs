//! Receives that wait here for another node, and can be withdrawn by it.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use posthouse_model::SessionCall;
use tokio_util::sync::CancellationToken;

/// Receives that wait here for other nodes.
#[derive(Clone, Debug, Default)]
pub(super) struct Withdrawals {
    waiting: Arc<Mutex<HashMap<SessionCall, CancellationToken>>>,
}

/// One of them. Dropping it forgets it.
#[derive(Debug)]
pub(super) struct Withdrawable {
    withdrawals: Withdrawals,
    call: SessionCall,
    withdrawn: CancellationToken,
}

// === impl Withdrawals ===

impl Withdrawals {
    /// Lets a receive be withdrawn from now on. The same one again takes the place of the earlier.
    pub(super) fn watch(&self, call: SessionCall) -> Withdrawable {
        let withdrawn = CancellationToken::new();
        self.waiting.lock().insert(call, withdrawn.clone());
        Withdrawable {
            withdrawals: self.clone(),
            call,
            withdrawn,
        }
    }

    /// Withdraws a receive, if it waits here.
    pub(super) fn withdraw(&self, call: SessionCall) {
        if let Some(withdrawn) = self.waiting.lock().remove(&call) {
            withdrawn.cancel();
        }
    }
}

// === impl Withdrawable ===

impl Withdrawable {
    /// Waits until it is withdrawn.
    pub(super) async fn wait(&self) {
        self.withdrawn.cancelled().await;
    }
}

impl Drop for Withdrawable {
    fn drop(&mut self) {
        self.withdrawals.waiting.lock().remove(&self.call);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use posthouse_model::ReplicaId;

    use super::*;

    const CALL: SessionCall = SessionCall {
        origin: ReplicaId(1),
        session: 2,
        number: 3,
    };

    #[test]
    fn what_is_withdrawn_ends_its_wait_and_is_forgotten() {
        let withdrawals = Withdrawals::default();
        let waiting = withdrawals.watch(CALL);
        assert_eq!(waiting.wait().now_or_never(), None);
        withdrawals.withdraw(CALL);
        assert_eq!(waiting.wait().now_or_never(), Some(()));
        drop(waiting);
        assert!(withdrawals.waiting.lock().is_empty());
    }

    #[test]
    fn what_ended_cannot_be_withdrawn() {
        let withdrawals = Withdrawals::default();
        drop(withdrawals.watch(CALL));
        withdrawals.withdraw(CALL);
        assert!(withdrawals.waiting.lock().is_empty());
    }
}
