//! Groups of replicas that agree: the directory and the sets of a node, on Raft over the node's store.
//!
//! ```text
//! propose ─ proposer ─ entry ─ Raft ─ store (WAL, fsync on a majority) ─ apply ─ outcomes
//!            batches            log                                       ├─ bodies, cuts
//!            stamps time                                                  └─ observer
//! ```
//!
//! A [`Group`] replicates one [`Machine`]. Its leader stamps time and message ids, puts waiting commands together
//! into entries, and has done what falls due. Every replica applies the same entries to the same state.
//!
//! What the crate needs from above it asks for in traits: [`Clock`] tells the time, [`Observer`] is told what was
//! applied, [`Network`] brings frames to other nodes. [`PeerNetwork`] is the one that does so over TCP. The crate
//! alone names the Raft library.

mod blocking;
mod bugs;
mod checkpointer;
mod clock;
mod condition;
mod config;
mod cutter;
mod directory_effects;
mod fault;
mod gathering;
mod group;
mod groups;
mod held;
mod leadership;
mod machine;
mod membership;
mod mender;
mod network;
mod observer;
mod outage;
mod peers;
mod proposer;
mod purger;
mod quiet;
mod raft;
mod set_effects;
mod set_time;
mod ticker;

#[cfg(test)]
mod test_store;

#[cfg(feature = "bugs")]
pub use bugs::Bug;
pub use clock::{Clock, SystemClock};
pub use condition::Condition;
pub use config::{COMMANDS_WAITING_MAX, Config, ENTRIES_IN_FLIGHT_MAX, ENTRY_BYTES_MAX, ENTRY_COMMANDS_MAX};
pub use fault::{Fault, Reason};
pub use group::Group;
pub use groups::{Groups, OpenError};
pub use machine::Machine;
pub use membership::Members;
pub use network::{Lane, Lone, Network, NetworkFault, Outbound};
pub use observer::{GroupName, Observer, Unobserved};
pub use peers::{
    Answerer, CallFault, FRAME_BYTES_MAX as PEER_FRAME_BYTES_MAX, Hello, PeerNetwork, PeerTls, PeerTlsError,
};
pub use raft::peer::PeerFault;
