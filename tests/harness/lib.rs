//! Starts nodes as processes and speaks to them as clients do: for tests of whole nodes and for the bench.
//!
//! A [`Node`] is a real `posthouse serve --dev` on a port of its own and a folder of its own, stopped by its own
//! process id. A [`Client`] signs CMQ requests over one kept connection, with nothing but a socket below it. A
//! [`history`] of calls is checked for what is promised, whether its nodes were real or simulated.

pub mod history;

mod client;
mod cluster;
mod endpoint;
mod example;
mod http;
mod misshapen;
mod node;
mod pack;
mod wires;

pub use client::{Answer, Client};
pub use cluster::{Cluster, Plan};
pub use endpoint::{Endpoint, Push};
pub use example::{run_example, run_example_with};
pub use http::{Connection, HttpAnswer};
pub use misshapen::{growing, named, slow_to_compile};
pub use node::{Node, Setting};
pub use pack::{Answered, Loose, Pack};
pub use wires::Wires;
