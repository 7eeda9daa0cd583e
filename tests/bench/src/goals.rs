//! The goals, one file each: what is measured for it and how the measurements are arranged.

pub mod backlog;
pub mod latency;
pub mod queues;
pub mod route;
pub mod seal;
pub mod send;

/// The bodies of the goals.
const BODY_BYTES: usize = 1_024;
