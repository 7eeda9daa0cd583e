//! What the bench and the comparison with other brokers share: load over HTTP, three nodes to put it on, what processes
//! use of the machine and write to its disk, and medians.
//!
//! Requests are signed once and sent again and again (CMQ's nonces are not checked for repeats), and all connections are
//! on one thread without locks: the load program shares its processors with what it measures.

mod answer;
pub mod disk;
pub mod drive;
pub mod keep_up;
pub mod lanes;
pub mod processor;
pub mod requests;
pub mod statistics;
mod trio;

pub use trio::{ALLOWANCE, QUIET, Trio, command};
