//! Sessions: the results of what nodes passed on, so that a command sent twice is done once.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::bounds::{SESSION_ITEMS_MAX, SESSION_RESULTS_MAX, SESSIONS_MAX};
use crate::{Refusal, ReplicaId, SessionCall, SetReply};

/// The sessions that a set remembers: the latest used.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sessions {
    sessions: BTreeMap<(ReplicaId, u64), Arc<Session>>,
    used: u64,
}

/// The latest results of one session, by the numbers of its calls.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
struct Session {
    /// Shared, as after each cut of the set all of them are copied once.
    results: BTreeMap<u64, Arc<Result<SetReply, Refusal>>>,
    items: usize,
    /// Up to which number results may have been forgotten.
    forgotten: Option<u64>,
    used: u64,
}

// === impl Sessions ===

impl Sessions {
    /// Returns what a call was answered before, if it was.
    pub(crate) fn recall(&mut self, call: SessionCall) -> Option<Result<SetReply, Refusal>> {
        self.used += 1;
        let session = Arc::make_mut(self.sessions.get_mut(&(call.origin, call.session))?);
        session.used = self.used;
        if let Some(result) = session.results.get(&call.number) {
            return Some(Result::clone(result));
        }
        let is_forgotten = session
            .forgotten
            .is_some_and(|forgotten| call.number <= forgotten);
        is_forgotten.then_some(Err(Refusal::SessionForgotten))
    }

    /// Remembers what a call was answered. What changed nothing and is to come again under the same number is not
    /// remembered: a decision made too early or by what has changed, and a receive that found nothing and now waits for its turn.
    pub(crate) fn remember(&mut self, call: SessionCall, result: &Result<SetReply, Refusal>) {
        match result {
            Err(Refusal::DecidedTooEarly { .. } | Refusal::StaleRead) => return,
            Ok(SetReply::Leased(leased)) if leased.is_empty() => return,
            Ok(_) | Err(_) => {}
        }
        let key = (call.origin, call.session);
        if !self.sessions.contains_key(&key) && self.sessions.len() >= SESSIONS_MAX {
            self.forget_least_used();
        }
        let session = Arc::make_mut(self.sessions.entry(key).or_default());
        session.used = self.used;
        session.items += items(result);
        let former = session.results.insert(call.number, Arc::new(result.clone()));
        session.items -= former.map_or(0, |former| items(&former));
        session.forget_oldest();
    }

    fn forget_least_used(&mut self) {
        let oldest = self.sessions.iter().min_by_key(|(_, session)| session.used);
        if let Some(key) = oldest.map(|(key, _)| *key) {
            self.sessions.remove(&key);
        }
    }
}

// === impl Session ===

impl Session {
    fn forget_oldest(&mut self) {
        while self.results.len() > SESSION_RESULTS_MAX
            || (self.items > SESSION_ITEMS_MAX && self.results.len() > 1)
        {
            let Some((number, result)) = self.results.pop_first() else {
                return;
            };
            self.items -= items(&result);
            self.forgotten = self.forgotten.max(Some(number));
        }
    }
}

/// Returns how much a result holds, at the least one.
fn items(result: &Result<SetReply, Refusal>) -> usize {
    let Ok(reply) = result else {
        return 1;
    };
    let held = match reply {
        SetReply::Sent(ids) => ids.len(),
        SetReply::Leased(leased) => leased.len(),
        SetReply::Deleted(results) | SetReply::Returned(results) | SetReply::Extended(results) => {
            results.len()
        }
        SetReply::Deposited(numbers) => numbers.len(),
        SetReply::Defined
        | SetReply::Dropped
        | SetReply::Subscribed(_)
        | SetReply::Altered
        | SetReply::Unsubscribed
        | SetReply::Released
        | SetReply::Rewound
        | SetReply::Settled
        | SetReply::Shipped
        | SetReply::Ticked { .. }
        | SetReply::Noted
        | SetReply::Readmitted { .. } => 0,
    };
    held + 1
}
