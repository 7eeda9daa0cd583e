//! Runs plugins: checks and compiles them, keeps warm instances, asks them within limits, and checks what they answer.
//!
//! A [`Host`] is told a component when it is pushed ([`Host::check`]) and when it is to be used here
//! ([`Host::load`]); then it is asked under a [`Binding`]. What always holds:
//!
//! - A guest is a stranger. It has what its world lends it and nothing else, within [`Config`]'s limits of time, memory,
//!   stack, handles, host calls and output. A guest that fails harms its own call.
//! - An instance serves one binding of one tenant. After a trap it is gone, and the call is made once more in a fresh
//!   one if it had been used before, so that what one message did to it fails no other.
//! - Guests run on threads of this crate, less urgent than the broker's, and tenants take turns by the CPU time they use.
//! - This crate alone names the wasm engine; the generated bindings of `wit/` do not leave it.
//!
//! It leaves to its callers which plugin is bound where, what follows when one fails, and all I/O.

mod account;
mod artifact;
mod attendant;
mod bucket;
mod builtins;
mod cache;
mod call;
mod compile;
mod config;
mod contract;
mod convert;
mod copied;
mod engine;
mod fault;
mod figures;
mod host;
mod inspect;
mod instance;
mod job;
mod kv;
mod lend;
mod lent;
mod log;
mod output;
mod queue;
mod returned;
mod text;
mod ticker;
mod warm;
mod worker;

pub use account::Usage;
pub use bucket::Bucket;
pub use builtins::{Builtin, builtins};
pub use call::*;
pub use compile::compile_main;
pub use config::*;
pub use copied::repeats_body;
pub use fault::*;
pub use figures::{BUCKET_ENDS, Distribution, OwnFigures};
pub use host::{Checked, Host, Spent};
pub use kv::{KvReader, KvSession};
pub use lend::*;
pub use log::{Level, LogLine};
