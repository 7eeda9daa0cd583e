//! Three nodes in one process, on simulated time, network and disks: what happens in it follows from a seed.
//!
//! What is real: the groups of `posthouse-replica` with the Raft library below them, the log, segments and checkpoints
//! of `posthouse-store`, and `posthouse-model`. What is simulated: the disk (which forgets), the clocks (which drift,
//! and may be wrong), the network, chance, the runtime's time, and the turn that each node's log and jobs have. The
//! clients and what a node does for them are the simulation's own, by the rules that nodes have.
//!
//! One seed is run by one process, because all chance in it follows from the seed ([`entropy`]). `tests/simulation/run`
//! runs any number of them.

#![expect(clippy::expect_used, reason = "a step that fails ends its test")]

mod away;
mod bugs;
mod clients;
mod clock;
mod course;
mod door;
mod entropy;
mod faults;
mod life;
mod machine;
mod members;
mod mount;
mod network;
mod notes;
mod outbox;
mod seeds;
mod world;
