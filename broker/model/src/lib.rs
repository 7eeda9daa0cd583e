//! What the broker is: queues, topics, messages and the commands on them, as pure state machines.
//!
//! Two machines are replicated: a [`Set`] holds queues and topics, the [`Directory`] says who owns which names.
//! Both are functions of their state and of the entries of their logs: time, chance and what plugins decided come
//! with the entry, and nothing here knows a clock, a file, a socket or a thread.
//!
//! # Words
//!
//! - A **set** is one Raft group that holds queues and topics; the **directory** is the one extra group.
//! - An **incarnation** is the number a queue or topic got when it was created.
//! - A **tenant** is an account.
//! - A **stream** is the bodies stored under one incarnation, numbered by **sequence**.
//! - A **lease** is one receive of one message, named by a **receipt handle**. A **claim** is a lease held by
//!   the leader itself, to deliver for a subscription.
//! - An **outbox** holds what is on its way from a queue or topic to a queue; a **parcel** is one message in it.
//! - A **kv store** is what the plugin of one binding keeps in one set between its decisions.
//! - A **cut** is the entry at which replicas write a segment and a checkpoint.

mod ages;
mod attributes;
mod backlog;
mod block_map;
mod command;
mod directory;
mod directory_command;
mod history;
mod http_host;
mod id;
mod kv;
mod message;
mod name;
mod outbox;
mod queue;
mod sequence_set;
mod set;
pub mod shared;
mod step;
mod taken;
mod time;
mod timers;
mod token;
mod topic;

pub use attributes::*;
pub use backlog::Standing;
pub use command::*;
pub use directory::*;
pub use directory_command::*;
pub use history::*;
pub use http_host::*;
pub use id::*;
pub use kv::{KvEntry, KvId, KvLimit, KvRoom, KvStore, KvUse, KvVersion, KvWrite, check_kv_key, kv_cost};
pub use message::*;
pub use name::*;
pub use queue::Queue;
pub use set::Set;
pub use time::{Span, Time};
pub use topic::{Subscription, Topic};
