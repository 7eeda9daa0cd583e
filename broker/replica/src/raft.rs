//! Raft as this crate speaks it: openraft's names bound to ours, and its traits over our store and network.
//!
//! Raft sees opaque entries and opaque answers. Its log begins at 0, with the founders' membership, so that the
//! first entry that a machine sees is above that. A leader's term names its entries: a term has one leader at most.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use openraft::OptionalSend;
use openraft::raft::responder::Responder;
use openraft::vote::leader_id_std;
use posthouse_model::{LogIndex, Term};

pub(crate) mod checkpoint;
pub(crate) mod log;
pub(crate) mod peer;
pub(crate) mod record;
pub(crate) mod state;

#[cfg(test)]
mod tests;

/// openraft's type configuration.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Types;

/// The engine of one group.
pub(crate) type Engine = openraft::Raft<Types, state::AppliedState>;
pub(crate) type RaftEntry = openraft::Entry<LeaderTerm, Payload>;
pub(crate) type Payload = openraft::EntryPayload<Proposal, u64, ()>;
pub(crate) type LeaderTerm = leader_id_std::CommittedLeaderId<u64>;
pub(crate) type LogId = openraft::LogId<LeaderTerm>;
pub(crate) type Vote = openraft::Vote<leader_id_std::LeaderId<u64, u64>>;
pub(crate) type Membership = openraft::Membership<u64, ()>;
pub(crate) type StoredMembership = openraft::StoredMembership<LeaderTerm, u64, ()>;

/// An entry's content: its bytes, which every replica keeps, and on the leader what they were made from, so that it
/// need not be read from them again.
#[derive(Clone)]
pub(crate) struct Proposal {
    pub(crate) encoded: Bytes,
    pub(crate) decoded: Option<Arc<dyn Any + Send + Sync>>,
}

/// What applying one entry answers: a vector of outcomes, of a type that the group knows.
pub(crate) struct Answer(pub(crate) Option<Box<dyn Any + Send + Sync>>);

/// Calls back when a write is done. Dropped without a call when the engine stops first.
pub(crate) struct Callback<T>(Box<dyn FnOnce(T) + Send>);

// === impl Types ===

impl openraft::RaftTypeConfig for Types {
    type D = Proposal;
    type R = Answer;
    type NodeId = u64;
    type Node = ();
    type Term = u64;
    type LeaderId = leader_id_std::LeaderId<u64, u64>;
    type Vote = Vote;
    type Payload = Payload;
    type Entry = RaftEntry;
    type AsyncRuntime = openraft::TokioRuntime;
    type Responder<T>
        = Callback<T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

// === impl Proposal ===

/// Never shows its bytes: debug prints end up in logs.
impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proposal({} bytes)", self.encoded.len())
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

// === impl Answer ===

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answer")
    }
}

// === impl Callback ===

impl<T> Callback<T> {
    pub(crate) fn new(call: impl FnOnce(T) + Send + 'static) -> Callback<T> {
        Callback(Box::new(call))
    }
}

impl<T: OptionalSend + 'static> Responder<Types, T> for Callback<T> {
    fn on_complete(self, result: T) {
        (self.0)(result);
    }
}

/// Returns openraft's name for an entry.
pub(crate) fn log_id(term: Term, index: LogIndex) -> LogId {
    LogId {
        leader_id: LeaderTerm::new(term.0),
        index: index.0,
    }
}
