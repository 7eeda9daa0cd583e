//! What a node wants to search and page through, and could make again from checkpoint and log at any time.
//!
//! Kept in sled, which alone is no place for what must not be lost: every batch carries the index it was applied
//! at, so that what went missing is fed again, and what cannot be opened is moved aside and begun anew.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Bound;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;
use posthouse_model::LogIndex;

use crate::{ProjectionKind, StoreFault};

/// The key that holds the applied index; callers' keys are under another first byte.
const APPLIED_KEY: &[u8] = &[0];
/// The first byte of callers' keys.
const CALLERS: u8 = 1;
/// sled counts what it caches as it is on disk; in memory it is several times as much.
const CACHE_BYTES: u64 = 1 << 20;
/// The unit in which sled writes, of which it has several in memory. Values are smaller.
const SEGMENT_BYTES: usize = 128 << 10;

/// What can be searched and paged through. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Projection {
    kept: Arc<RwLock<Kept>>,
    /// Where it is, when in sled.
    directory: PathBuf,
}

/// A change of the projection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Op {
    /// Sets a key's value.
    Put(Bytes, Bytes),
    /// Takes a key away.
    Delete(Bytes),
}

#[derive(Debug)]
enum Kept {
    Sled(sled::Db),
    Memory {
        values: BTreeMap<Bytes, Bytes>,
        applied: LogIndex,
    },
    /// Being opened again.
    Nowhere,
}

// === impl Projection ===

impl Projection {
    /// The most changes that go into one batch; more are split. sled gives back the memory of what it replaced only
    /// between batches, so that larger ones cost more than they save.
    pub const BATCH_OPS_MAX: usize = 100;
    /// A value is smaller than this.
    pub const VALUE_BYTES_MAX: usize = 64 << 10;
    /// The most that one page holds.
    pub const PAGE_MAX: usize = 1_000;

    /// Opens the projection, anew if what is there cannot be opened.
    pub(crate) fn open(directory: &Path, kind: ProjectionKind) -> Result<Projection, StoreFault> {
        let kept = match kind {
            ProjectionKind::Memory => Kept::memory(),
            ProjectionKind::Sled => Kept::Sled(open_or_rebuild(directory)?),
        };
        Ok(Projection {
            kept: Arc::new(RwLock::new(kept)),
            directory: directory.to_owned(),
        })
    }

    /// Returns the index up to which it has been fed; zero when it is new, and is to be fed from the beginning.
    pub fn applied(&self) -> Result<LogIndex, StoreFault> {
        match &*self.kept.read() {
            Kept::Memory { applied, .. } => Ok(*applied),
            Kept::Nowhere => Ok(LogIndex(0)),
            Kept::Sled(db) => {
                let value = guarded(|| db.get(APPLIED_KEY))?;
                let bytes = value.as_deref().and_then(|value| value.try_into().ok());
                Ok(LogIndex(bytes.map_or(0, u64::from_le_bytes)))
            }
        }
    }

    /// Applies changes, in order, and with the last of them the index. What a crash takes away, it takes from the
    /// end, so feeding again from `applied` makes it whole.
    pub fn apply(&self, applied: LogIndex, ops: Vec<Op>) -> Result<(), StoreFault> {
        for op in &ops {
            op.check()?;
        }
        // sled takes changes while it is read: who pages through it holds nobody up.
        if let Kept::Sled(db) = &*self.kept.read() {
            return guarded(|| apply_to(db, applied, &ops));
        }
        match &mut *self.kept.write() {
            Kept::Memory { values, applied: at } => {
                *at = applied;
                for op in ops {
                    match op {
                        Op::Put(key, value) => values.insert(key, value),
                        Op::Delete(key) => values.remove(&key),
                    };
                }
                Ok(())
            }
            Kept::Nowhere => Err(nowhere()),
            // Opened again in between.
            Kept::Sled(db) => guarded(|| apply_to(db, applied, &ops)),
        }
    }

    /// Returns the value of a key.
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreFault> {
        match &*self.kept.read() {
            Kept::Memory { values, .. } => Ok(values.get(key).cloned()),
            Kept::Nowhere => Err(nowhere()),
            Kept::Sled(db) => {
                let value = guarded(|| db.get(inner(key)))?;
                Ok(value.map(|value| Bytes::copy_from_slice(&value)))
            }
        }
    }

    /// Returns keys and values whose key begins with `prefix`, in order, from after `after` on, at most `limit`; if
    /// `contains` is given, only those with it in the rest of their key, whatever the case of ASCII letters.
    pub fn page(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        contains: Option<&str>,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreFault> {
        let limit = limit.min(Self::PAGE_MAX);
        let contains = contains.map(|text| text.to_ascii_lowercase().into_bytes());
        let is_wanted = |key: &[u8]| match &contains {
            Some(text) => has(&key[prefix.len()..], text),
            None => true,
        };
        // A key before the prefix is no place to go on from.
        let after = after.filter(|after| *after >= prefix);
        match &*self.kept.read() {
            Kept::Memory { values, .. } => {
                let from = match after {
                    Some(after) => Bound::Excluded(after),
                    None => Bound::Included(prefix),
                };
                Ok(values
                    .range::<[u8], _>((from, Bound::Unbounded))
                    .take_while(|(key, _)| key.starts_with(prefix))
                    .filter(|(key, _)| is_wanted(key))
                    .take(limit)
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect())
            }
            Kept::Nowhere => Err(nowhere()),
            Kept::Sled(db) => {
                let from = match after {
                    Some(after) => Bound::Excluded(inner(after)),
                    None => Bound::Included(inner(prefix)),
                };
                guarded(|| {
                    let mut page = Vec::new();
                    for pair in db.range::<Vec<u8>, _>((from, Bound::Unbounded)) {
                        let (key, value) = pair?;
                        let key = key.strip_prefix(&[CALLERS]);
                        let Some(key) = key.filter(|key| key.starts_with(prefix)) else {
                            break;
                        };
                        if page.len() == limit {
                            break;
                        }
                        if is_wanted(key) {
                            page.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(&value)));
                        }
                    }
                    Ok(page)
                })
            }
        }
    }

    /// Makes what was applied durable.
    pub fn sync(&self) -> Result<(), StoreFault> {
        let kept = self.kept.read();
        let Kept::Sled(db) = &*kept else {
            return Ok(());
        };
        // sled's flush ends with `sync_file_range`, which is no promise; the two syncs are.
        guarded(|| db.flush())?;
        let sync = |path: &Path| {
            let synced = File::open(path).and_then(|file| file.sync_all());
            synced.map_err(|error| StoreFault::io("sync", path, &error))
        };
        sync(&self.directory.join("db"))?;
        sync(&self.directory)
    }

    /// Takes everything away; it is to be fed from the beginning.
    pub fn clear(&self) -> Result<(), StoreFault> {
        let mut kept = self.kept.write();
        match &mut *kept {
            Kept::Memory { .. } => *kept = Kept::memory(),
            Kept::Sled(_) | Kept::Nowhere => {
                // Closed first, for sled holds a lock on its directory.
                kept.close();
                move_aside(&self.directory)?;
                *kept = Kept::Sled(open_or_rebuild(&self.directory)?);
            }
        }
        Ok(())
    }

    /// Lets go of the directory.
    pub(crate) fn close(&self) {
        let mut kept = self.kept.write();
        if matches!(&*kept, Kept::Sled(_)) {
            kept.close();
        }
    }
}

impl Kept {
    fn memory() -> Kept {
        Kept::Memory {
            values: BTreeMap::new(),
            applied: LogIndex(0),
        }
    }

    /// Lets go of what is kept; what is damaged may panic once more as it goes.
    fn close(&mut self) {
        let closed = std::mem::replace(self, Kept::Nowhere);
        if std::panic::catch_unwind(AssertUnwindSafe(|| drop(closed))).is_err() {
            tracing::warn!("the projection panicked as it was closed");
        }
    }
}

// === impl Op ===

impl Op {
    fn check(&self) -> Result<(), StoreFault> {
        let (what, bytes) = match self {
            Op::Put(key, value) if key.len() < value.len() => ("a value", value.len()),
            Op::Put(key, _) | Op::Delete(key) => ("a key", key.len()),
        };
        if bytes >= Projection::VALUE_BYTES_MAX {
            let limit = Projection::VALUE_BYTES_MAX - 1;
            return Err(StoreFault::TooLarge { what, bytes, limit });
        }
        Ok(())
    }
}

fn apply_to(db: &sled::Db, applied: LogIndex, ops: &[Op]) -> sled::Result<()> {
    let mut batches = ops.chunks(Projection::BATCH_OPS_MAX).peekable();
    loop {
        let mut batch = sled::Batch::default();
        for op in batches.next().unwrap_or_default() {
            match op {
                Op::Put(key, value) => batch.insert(inner(key), &value[..]),
                Op::Delete(key) => batch.remove(inner(key)),
            }
        }
        let is_last = batches.peek().is_none();
        if is_last {
            batch.insert(APPLIED_KEY, &applied.0.to_le_bytes());
        }
        db.apply_batch(batch)?;
        if is_last {
            return Ok(());
        }
    }
}

fn open_or_rebuild(directory: &Path) -> Result<sled::Db, StoreFault> {
    match open_sled(directory) {
        Ok(db) => Ok(db),
        Err(error) => {
            tracing::warn!(%error, "the projection cannot be opened; it is made anew");
            move_aside(directory)?;
            open_sled(directory)
        }
    }
}

fn open_sled(directory: &Path) -> Result<sled::Db, StoreFault> {
    let config = sled::Config::new()
        .path(directory)
        .cache_capacity(CACHE_BYTES)
        .segment_size(SEGMENT_BYTES)
        .flush_every_ms(None)
        .mode(sled::Mode::LowSpace);
    guarded(|| {
        let db = config.open()?;
        // What is damaged may show only when it is read.
        db.get(APPLIED_KEY)?;
        Ok(db)
    })
}

/// Has sled do something. It panics on some of the damage that it finds.
fn guarded<T>(work: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreFault> {
    let text = match std::panic::catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(done)) => return Ok(done),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it panicked".to_owned(),
    };
    Err(StoreFault::Projection { text })
}

/// Moves a projection out of the way, to be looked at; one that was moved before goes.
fn move_aside(directory: &Path) -> Result<(), StoreFault> {
    let aside = directory.with_extension("damaged");
    let fault = |error| StoreFault::io("move aside", directory, &error);
    let removed = match std::fs::remove_dir_all(&aside) {
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => std::fs::remove_file(&aside),
        other => other,
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(fault(error)),
        _ => {}
    }
    match std::fs::rename(directory, &aside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(fault(error)),
        _ => Ok(()),
    }
}

fn inner(key: &[u8]) -> Vec<u8> {
    let mut inner = Vec::with_capacity(key.len() + 1);
    inner.push(CALLERS);
    inner.extend_from_slice(key);
    inner
}

fn has(text: &[u8], wanted: &[u8]) -> bool {
    wanted.is_empty()
        || text
            .windows(wanted.len())
            .any(|window| window.eq_ignore_ascii_case(wanted))
}

fn nowhere() -> StoreFault {
    StoreFault::Projection {
        text: "it is closed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_op() -> impl Strategy<Value = Op> {
        let key = proptest::collection::vec(0_u8..4, 0..4).prop_map(Bytes::from);
        let value = proptest::collection::vec(any::<u8>(), 0..4).prop_map(Bytes::from);
        (key, proptest::option::of(value)).prop_map(|(key, value)| match value {
            Some(value) => Op::Put(key, value),
            None => Op::Delete(key),
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn sled_answers_as_memory_does(
            ops in proptest::collection::vec(any_op(), 0..60),
            prefix in proptest::collection::vec(0_u8..4, 0..2),
            after in proptest::option::of(proptest::collection::vec(0_u8..4, 0..3)),
            limit in 0_usize..10,
        ) {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let path = folder.path().join("projection");
            let memory = Projection::open(&path, ProjectionKind::Memory).expect("opens");
            let sled = Projection::open(&path, ProjectionKind::Sled).expect("opens");
            for both in [&memory, &sled] {
                both.apply(LogIndex(7), ops.clone()).expect("applies");
            }
            prop_assert_eq!(memory.applied(), sled.applied());
            let page = |of: &Projection| of.page(&prefix, after.as_deref(), limit, None);
            prop_assert_eq!(page(&memory), page(&sled));
        }
    }

    #[test]
    fn more_operations_than_a_batch_takes_are_all_applied() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("projection");
        let sled = Projection::open(&path, ProjectionKind::Sled).expect("opens");
        let count = Projection::BATCH_OPS_MAX * 2 + 1;
        let ops = (0..count).map(|n| Op::Put(Bytes::from(format!("{n:06}")), Bytes::new()));
        sled.apply(LogIndex(1), ops.collect()).expect("applies");
        let last = format!("{:06}", count - 1);
        assert_eq!(sled.get(last.as_bytes()), Ok(Some(Bytes::new())));
        let found = sled.page(b"00", None, 5, Some("04")).expect("reads");
        assert_eq!(found.len(), 5);
        assert!(
            found
                .iter()
                .all(|(key, _)| String::from_utf8_lossy(key).contains("04"))
        );
    }

    /// Reads everything, page by page.
    fn read_all(projection: &Projection) -> Result<usize, StoreFault> {
        let mut rows = 0;
        let mut after: Option<Bytes> = None;
        loop {
            let page = projection.page(b"", after.as_deref(), 100, None)?;
            let Some((last, _)) = page.last() else {
                return Ok(rows);
            };
            after = Some(last.clone());
            rows += page.len();
        }
    }

    #[test]
    fn damage_anywhere_is_a_fault_or_a_loss_and_what_is_damaged_can_be_made_anew() {
        const ROWS: usize = 2_000;
        const PARTS: usize = 12;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("projection");
        let ops = || (0..ROWS).map(|n| Op::Put(Bytes::from(format!("{n:06}")), Bytes::from(vec![1; 40])));
        for part in 0..PARTS {
            let sled = Projection::open(&path, ProjectionKind::Sled).expect("opens");
            sled.clear().expect("can be made anew");
            sled.apply(LogIndex(1), ops().collect()).expect("applies");
            sled.sync().expect("is durable");
            assert_eq!(read_all(&sled), Ok(ROWS));
            sled.close();
            let file = path.join("db");
            let mut bytes = std::fs::read(&file).expect("it is there");
            let at = |part| bytes.len() * part / PARTS;
            let (from, to) = (at(part), at(part + 1));
            bytes[from..to].fill(0xa5);
            std::fs::write(&file, bytes).expect("writable");
            let sled = Projection::open(&path, ProjectionKind::Sled).expect("opens, anew if need be");
            let read = read_all(&sled);
            assert!(read.is_err() || read.is_ok_and(|rows| rows <= ROWS));
            sled.clear().expect("can be made anew");
            assert_eq!((sled.applied(), read_all(&sled)), (Ok(LogIndex(0)), Ok(0)));
            sled.apply(LogIndex(2), ops().collect()).expect("applies");
            assert_eq!(read_all(&sled), Ok(ROWS));
            sled.close();
        }
    }

    #[test]
    fn a_value_that_is_too_large_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let memory = Projection::open(folder.path(), ProjectionKind::Memory).expect("opens");
        let value = Bytes::from(vec![0; Projection::VALUE_BYTES_MAX]);
        let refused = memory.apply(LogIndex(1), vec![Op::Put(Bytes::new(), value)]);
        assert!(matches!(refused, Err(StoreFault::TooLarge { .. })));
    }
}
