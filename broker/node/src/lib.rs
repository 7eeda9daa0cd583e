//! The posthouse process: what it is told, what it listens to, and what holds the crates together.

pub mod admin;
pub mod administration;
pub mod admission;
pub mod bodies;
pub mod broker;
pub mod calls;
mod case_values;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod cmq;
pub mod config;
pub mod descriptors;
pub mod disk;
pub mod egress;
#[cfg(test)]
mod founded;
pub mod front;
pub mod guests;
pub mod listener;
pub mod logs;
pub mod metrics;
pub mod serve;
pub mod stream;
pub mod waiters;
