//! The goals, one file each: what is measured for it and how the measurements are arranged.

pub(crate) mod backlog;
pub(crate) mod catchup;
pub(crate) mod cluster;
pub(crate) mod deep;
pub(crate) mod failover;
pub(crate) mod flight;
pub(crate) mod guests;
pub(crate) mod handover;
pub(crate) mod hostile;
pub(crate) mod idle;
pub(crate) mod large;
pub(crate) mod latency;
pub(crate) mod pushes;
pub(crate) mod queues;
pub(crate) mod quorum;
pub(crate) mod route;
pub(crate) mod seal;
pub(crate) mod send;
pub(crate) mod sets;
pub(crate) mod spread;
pub(crate) mod tenants;
pub(crate) mod written;

/// The bodies of the goals.
const BODY_BYTES: usize = 1_024;
