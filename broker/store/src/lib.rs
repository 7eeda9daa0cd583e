//! The durable log, its bodies and its checkpoints: everything a node keeps on its disk.
//!
//! One [`Store`] owns one data directory. In it:
//!
//! - a **write-ahead log** ([`wal`]), one for all groups of the node: a batch of everything queued, one write,
//!   one `fdatasync`, then the callbacks. [`GroupLog`] is one group's view of it.
//! - **bodies** ([`Bodies`]): a set's messages, in the log until a cut writes the live ones to immutable
//!   [`segment`]s by how long they are kept.
//! - **checkpoints** ([`Checkpoint`]): a group's state, naming only files that are durable.
//! - **decisions** ([`Decisions`]): short records by message id, for `explain`.
//! - a **projection** ([`Projection`]): what can be rebuilt from the rest, searched and paged through.
//!
//! What holds always: a callback that says yes follows the `fdatasync` of what it says yes to; a failed sync
//! stops the store for good; bytes that were damaged on the disk are reported with file and offset and never
//! handed out. The store knows no Raft types and decides nothing about agreement.

pub mod crash;
pub mod segment;
pub mod wal;

mod aligned;
mod bodies;
mod buffers;
mod bytes_at;
mod checkpoint;
mod config;
mod damage;
mod decisions;
mod disk;
mod fault;
mod identity;
mod jobs;
mod log;
mod projection;
mod scrub;
mod sequential;
mod shelf;
mod store;
mod transfer;

pub use bodies::{Bodies, CutPlan, Fetch, Fetched, Live, Reading, SegmentSummary, Step, StreamSummary};
pub use checkpoint::Checkpoint;
pub use config::{Config, Driving, ProjectionKind};
pub use damage::{DamageObserver, Damaged, DamagedPart, OnDamage};
pub use decisions::Decisions;
pub use disk::{Disk, DiskFile, Opening, RealDisk, Space, SyncPoint};
pub use fault::{Damage, OpenError, StoreFault};
pub use identity::{ClusterId, Identity};
pub use jobs::Wake;
pub use log::{GroupLog, LogPoint, LogRecord, LogState, RecordKind};
pub use projection::{Op, Projection};
pub use scrub::Scrub;
pub use segment::KeepClass;
pub use store::{Done, GroupId, Recovery, Store, TornTail, Usage};
pub use transfer::{Export, Import, SegmentFile};
pub use wal::LogObserver;
