//! Results of commands that nodes passed on, so that a command sent twice takes effect once.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{DirectoryRefusal, DirectoryReply, LogIndex, ReplicaId, SessionCall};

/// The most sessions whose results are kept; the one that was silent longest goes first.
pub const DIRECTORY_SESSIONS_MAX: usize = 256;
/// The most results that are kept of a session; the lowest numbers go first.
pub const DIRECTORY_SESSION_RESULTS_MAX: usize = 64;

type Outcome = Result<DirectoryReply, DirectoryRefusal>;

#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub(super) struct Sessions {
    sessions: BTreeMap<(ReplicaId, u64), Session>,
}

#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
struct Session {
    /// When it was last heard of.
    heard: LogIndex,
    /// The highest number whose result was let go.
    forgotten: Option<u64>,
    results: BTreeMap<u64, Outcome>,
}

// === impl Sessions ===

impl Sessions {
    /// Returns what a call was answered before; a refusal if that is no longer known, none for a new call.
    pub(super) fn answered(&self, call: SessionCall) -> Option<Outcome> {
        let session = self.sessions.get(&(call.origin, call.session))?;
        if let Some(outcome) = session.results.get(&call.number) {
            return Some(outcome.clone());
        }
        if session
            .forgotten
            .is_some_and(|forgotten| call.number <= forgotten)
        {
            let what = "session call older than what is kept".to_owned();
            return Some(Err(DirectoryRefusal::Malformed(what)));
        }
        None
    }

    /// Keeps what a call was answered.
    pub(super) fn keep(&mut self, call: SessionCall, index: LogIndex, outcome: &Outcome) {
        let session = self.sessions.entry((call.origin, call.session)).or_default();
        session.heard = index;
        session.results.insert(call.number, outcome.clone());
        if session.results.len() > DIRECTORY_SESSION_RESULTS_MAX
            && let Some((number, _)) = session.results.pop_first()
        {
            session.forgotten = session.forgotten.max(Some(number));
        }
        if self.sessions.len() > DIRECTORY_SESSIONS_MAX {
            self.drop_silent();
        }
    }

    fn drop_silent(&mut self) {
        let by_silence = |(id, session): &(&(ReplicaId, u64), &Session)| (session.heard, **id);
        if let Some((id, _)) = self.sessions.iter().min_by_key(by_silence) {
            let id = *id;
            self.sessions.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TenantId;

    fn call(session: u64, number: u64) -> SessionCall {
        SessionCall {
            origin: ReplicaId(1),
            session,
            number,
        }
    }

    fn outcome(number: u64) -> Outcome {
        Ok(DirectoryReply::Tenant(TenantId(number as u32)))
    }

    #[test]
    fn a_repeated_call_is_answered_as_before_until_it_is_forgotten() {
        let mut sessions = Sessions::default();
        let kept = DIRECTORY_SESSION_RESULTS_MAX as u64;
        for number in 1..=kept + 1 {
            assert_eq!(sessions.answered(call(1, number)), None);
            sessions.keep(call(1, number), LogIndex(number), &outcome(number));
        }
        assert_eq!(sessions.answered(call(1, 2)), Some(outcome(2)));
        assert!(matches!(sessions.answered(call(1, 1)), Some(Err(_))));
    }

    #[test]
    fn the_session_that_was_silent_longest_goes_first() {
        let mut sessions = Sessions::default();
        let many = DIRECTORY_SESSIONS_MAX as u64;
        for session in 1..=many {
            sessions.keep(call(session, 1), LogIndex(session), &outcome(1));
        }
        sessions.keep(call(1, 2), LogIndex(many + 1), &outcome(2));
        sessions.keep(call(many + 1, 1), LogIndex(many + 2), &outcome(1));
        assert_eq!(sessions.sessions.len(), DIRECTORY_SESSIONS_MAX);
        assert_eq!(sessions.answered(call(2, 1)), None);
        assert_eq!(sessions.answered(call(1, 1)), Some(outcome(1)));
    }
}
