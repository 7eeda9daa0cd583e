//! The store's bounds, with names and defaults.

use std::time::Duration;

use crate::OnDamage;

/// The store's bounds and habits.
#[derive(Clone, Debug)]
pub struct Config {
    /// How large a file of the log is.
    pub wal_file_bytes: u64,
    /// What a batch of the log is padded to, so that no write touches a sector that holds durable bytes.
    pub wal_block_bytes: u32,
    /// How much log is kept before cuts are wanted.
    pub wal_bytes_max: u64,
    /// How many released log files are kept to be written again. Each that is not kept is made and zeroed anew.
    pub wal_spares_max: usize,
    /// How much goes into one batch, if more is queued. One record may be larger.
    pub batch_bytes_max: usize,
    /// How much may wait for the writer; who brings more waits.
    pub queue_bytes_max: usize,
    /// How many operations may wait for the writer.
    pub queue_count_max: usize,
    /// How much of log and bodies together is kept in memory to be read, beside what is still to be written.
    pub memtable_bytes_max: usize,
    /// How many bodies of one set may wait for a cut before one is wanted.
    pub uncut_bodies_max: usize,
    /// How many bytes of decisions of one set may wait for a cut; more are not kept.
    pub uncut_decision_bytes_max: usize,
    /// How long it is quiet before an empty batch says that the last one is durable; none is never.
    pub quiet: Option<Duration>,
    /// Less free room than this is "nearly full".
    pub reserve_bytes: u64,
    /// Who does the work.
    pub driving: Driving,
    /// Where the projection is kept.
    pub projection: ProjectionKind,
    /// What is done about damage that is found at open.
    pub on_damage: OnDamage,
}

/// Who does the work of writing and cutting.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Driving {
    /// Threads of the store.
    Threads,
    /// The caller, by `step_log` and `step_job`: a simulation, in which everything has its turn.
    Caller,
}

/// Where the projection is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ProjectionKind {
    /// In sled, in the data directory.
    Sled,
    /// In memory, gone with the store.
    Memory,
}

const MIB: u64 = 1 << 20;

// === impl Config ===

impl Config {
    /// Returns the defaults with log files of a size, and as much log as becomes of it.
    pub fn with_log_files_of(bytes: u64) -> Config {
        let wal_bytes_max = (256 * MIB).max(4 * bytes);
        Config {
            wal_file_bytes: bytes,
            wal_block_bytes: 4096,
            wal_bytes_max,
            // All that a cut lets go at once: what the budget allows, and what came while it was made.
            wal_spares_max: usize::try_from(wal_bytes_max / bytes.max(1) + 2).unwrap_or(usize::MAX),
            batch_bytes_max: 8 << 20,
            queue_bytes_max: 64 << 20,
            queue_count_max: 65_536,
            memtable_bytes_max: 24 << 20,
            uncut_bodies_max: 150_000,
            uncut_decision_bytes_max: 16 << 20,
            quiet: Some(Duration::from_millis(10)),
            reserve_bytes: 1024 * MIB,
            driving: Driving::Threads,
            projection: ProjectionKind::Sled,
            on_damage: OnDamage::Refuse,
        }
    }

    /// Returns how much of the log is kept in memory: what followers that keep up read, a fraction of a second of it.
    pub(crate) fn log_memory_bytes_max(&self) -> usize {
        self.memtable_bytes_max / 8
    }

    /// Returns how much of what was applied is kept in memory. It should hold what a cut writes, and what comes meanwhile.
    pub(crate) fn body_memory_bytes_max(&self) -> usize {
        self.memtable_bytes_max - self.log_memory_bytes_max()
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::with_log_files_of(64 * MIB)
    }
}
