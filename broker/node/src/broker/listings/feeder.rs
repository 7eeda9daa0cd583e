//! The thread that feeds the projection, and how it is told what to write.
//!
//! ```text
//!          start, too much, a checkpoint           damage
//!  Changes ─────────────────────────────► Compare ────────► Anew
//!     ▲                                      │                │
//!     └──────────────── done ────────────────┴────────────────┘
//! ```
//!
//! Changes are names of things, looked up when they are written: what is written may be newer than what was told,
//! never older. So the thread may fall behind and forget what it was told, as long as it compares everything then.

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use posthouse_model::{Directory, DirectoryChange, LogIndex, PluginRecord, TenantRecord};
use posthouse_replica::Group;
use posthouse_store::{Op, Projection, StoreFault};
use tokio::sync::watch;

use super::rows::{self, Listed};
use super::walk::{Stored, given};

/// The most changes that wait to be written one by one; with more, everything is compared.
const CHANGES_MAX: usize = 10_000;
/// How many changes are looked up while the directory is held, and written at once.
const CHUNK: usize = 500;
/// After how many operations what was written is made durable. What a crash takes away is found missing at the next
/// start; until it is durable, the library keeps it in memory.
const UNSYNCED_MAX: usize = 1_000;
/// How long the thread rests after even a new projection failed: the disk does not take it.
const REST: Duration = Duration::from_secs(5);

/// What the feeder is told, and what it has shown.
pub(super) struct News {
    told: Mutex<Told>,
    wake: Condvar,
    shown: watch::Sender<Shown>,
}

/// What the projection shows.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Shown {
    /// How often it was made anew: who walks through it meanwhile may miss rows.
    pub(super) times_anew: u64,
    /// The directory's entries up to here; none as long as it is not known what it holds.
    pub(super) index: Option<LogIndex>,
}

/// The directory, to look things up in.
pub(in crate::broker) trait Source: Send + 'static {
    /// Reads it. Short, for entries wait.
    fn view<R>(&self, read: impl FnOnce(&Directory) -> R) -> R;
}

/// Feeds the projection.
pub(super) struct Feeder<S> {
    source: S,
    news: Arc<News>,
    writer: Writer,
}

/// Writes to the projection, and makes it durable from time to time.
struct Writer {
    projection: Projection,
    /// How many operations are not durable.
    unsynced: usize,
}

struct Told {
    work: Work,
    stop: bool,
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(super) enum Work {
    /// Writes what these are, then the index.
    Changes(BTreeSet<DirectoryChange>, Option<LogIndex>),
    /// Compares everything with the directory.
    Compare,
    /// Takes everything away first.
    Anew,
}

/// What was found different when everything was compared.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Differences {
    put: usize,
    deleted: usize,
}

// === impl News ===

impl News {
    pub(super) fn follow(&self, index: LogIndex, changes: &[DirectoryChange]) {
        self.tell(|work| {
            let Work::Changes(known, upto) = work else {
                // What is compared later, shows this too.
                return;
            };
            *upto = Some(index);
            known.extend(changes.iter().cloned());
            if known.len() > CHANGES_MAX {
                *work = Work::Compare;
            }
        });
    }

    pub(super) fn compare(&self) {
        self.tell(|work| match work {
            Work::Changes(..) => *work = Work::Compare,
            Work::Compare | Work::Anew => {}
        });
    }

    pub(super) fn make_anew(&self) {
        self.tell(|work| *work = Work::Anew);
    }

    pub(super) fn stop(&self) {
        self.told.lock().stop = true;
        self.wake.notify_one();
    }

    pub(super) fn shown(&self) -> watch::Receiver<Shown> {
        self.shown.subscribe()
    }

    fn tell(&self, change: impl FnOnce(&mut Work)) {
        change(&mut self.told.lock().work);
        self.wake.notify_one();
    }

    /// Waits until there is something to do, and takes it; none when the thread is to end and nothing is left.
    fn next(&self) -> Option<Work> {
        let mut told = self.told.lock();
        self.wake
            .wait_while(&mut told, |told| told.work.is_nothing() && !told.stop);
        drop(told);
        self.take()
    }

    /// Takes what there is to do.
    pub(super) fn take(&self) -> Option<Work> {
        let work = std::mem::take(&mut self.told.lock().work);
        (!work.is_nothing()).then_some(work)
    }

    /// Rests, unless the thread is to end. Returns whether it is.
    fn rest(&self) -> bool {
        let mut told = self.told.lock();
        self.wake.wait_while_for(&mut told, |told| !told.stop, REST);
        told.stop
    }
}

impl Default for News {
    fn default() -> News {
        News {
            told: Mutex::new(Told {
                // What the projection holds is not known until it was compared.
                work: Work::Compare,
                stop: false,
            }),
            wake: Condvar::new(),
            shown: watch::Sender::default(),
        }
    }
}

// === impl Work ===

impl Work {
    fn is_nothing(&self) -> bool {
        *self == Work::default()
    }
}

impl Default for Work {
    fn default() -> Work {
        Work::Changes(BTreeSet::new(), None)
    }
}

// === impl Source ===

impl Source for Group<Directory> {
    fn view<R>(&self, read: impl FnOnce(&Directory) -> R) -> R {
        Group::view(self, read)
    }
}

// === impl Feeder ===

impl<S: Source> Feeder<S> {
    pub(super) fn new(source: S, projection: Projection, news: Arc<News>) -> Feeder<S> {
        Feeder {
            source,
            news,
            writer: Writer {
                projection,
                unsynced: 0,
            },
        }
    }

    /// Feeds the projection until told to stop.
    pub(super) fn run(mut self) {
        while let Some(work) = self.news.next() {
            let was_anew = work == Work::Anew;
            if let Err(fault) = self.feed(work) {
                tracing::error!(%fault, "the projection cannot be fed; it is made anew");
                self.news.make_anew();
                if was_anew && self.news.rest() {
                    return;
                }
            }
        }
        if let Err(fault) = self.writer.projection.sync() {
            tracing::warn!(%fault, "the projection may not be durable; it is put right at the next start");
        }
    }

    /// Does what is to be done.
    pub(super) fn feed(&mut self, work: Work) -> Result<(), StoreFault> {
        match work {
            Work::Changes(changes, upto) => {
                self.write(changes)?;
                upto.map_or(Ok(()), |upto| self.show(upto))
            }
            Work::Compare => self.compare(),
            Work::Anew => {
                self.news.shown.send_modify(|shown| {
                    shown.times_anew += 1;
                    shown.index = None;
                });
                self.writer.projection.clear()?;
                self.compare()
            }
        }
    }

    fn write(&mut self, changes: BTreeSet<DirectoryChange>) -> Result<(), StoreFault> {
        let applied = self.writer.projection.applied()?;
        let changes: Vec<DirectoryChange> = changes.into_iter().collect();
        for chunk in changes.chunks(CHUNK) {
            let look_up = |directory: &Directory| {
                let ops = chunk.iter().filter_map(|change| rows::op(directory, change));
                ops.collect()
            };
            let ops = self.source.view(look_up);
            self.writer.apply(applied, ops)?;
        }
        Ok(())
    }

    /// Goes through the projection and the directory together, and puts right what differs.
    fn compare(&mut self) -> Result<(), StoreFault> {
        let applied = self.writer.projection.applied()?;
        let index = self.source.view(Directory::applied);
        let differences = self.put_right(applied)?;
        self.show(index)?;
        let Differences { put, deleted } = differences;
        if differences == Differences::default() {
            tracing::debug!(%index, "listings agree with the directory");
        } else if applied == index {
            tracing::warn!(%index, put, deleted, "listings were damaged and are put right");
        } else {
            tracing::info!(%applied, %index, put, deleted, "listings are brought up to the directory");
        }
        Ok(())
    }

    fn put_right(&mut self, applied: LogIndex) -> Result<Differences, StoreFault> {
        let mut found = Differences::default();
        let mut ops = Vec::new();
        let mut stored = Stored::new(self.writer.projection.clone(), Vec::new(), None).peekable();
        let given = given::<Listed>(&self.source)
            .chain(given::<PluginRecord>(&self.source))
            .chain(given::<TenantRecord>(&self.source));
        for (key, value) in given {
            while let Some(extra) = next_before(&mut stored, Some(&key))? {
                found.deleted += 1;
                ops.push(Op::Delete(extra));
                self.writer.apply_full(applied, &mut ops)?;
            }
            let held = stored.next_if(|held| matches!(held, Ok((known, _)) if *known == key));
            let held = held.transpose()?;
            if held.is_none_or(|(_, held)| held != value) {
                found.put += 1;
                ops.push(Op::Put(key, value));
                self.writer.apply_full(applied, &mut ops)?;
            }
        }
        while let Some(extra) = next_before(&mut stored, None)? {
            found.deleted += 1;
            ops.push(Op::Delete(extra));
            self.writer.apply_full(applied, &mut ops)?;
        }
        self.writer.apply(applied, ops)?;
        Ok(found)
    }

    fn show(&mut self, index: LogIndex) -> Result<(), StoreFault> {
        self.writer.apply(index, Vec::new())?;
        self.news.shown.send_modify(|shown| shown.index = Some(index));
        Ok(())
    }
}

// === impl Writer ===

impl Writer {
    /// Applies operations once they are many, and takes them out.
    fn apply_full(&mut self, applied: LogIndex, ops: &mut Vec<Op>) -> Result<(), StoreFault> {
        if ops.len() < CHUNK {
            return Ok(());
        }
        self.apply(applied, std::mem::take(ops))
    }

    fn apply(&mut self, applied: LogIndex, ops: Vec<Op>) -> Result<(), StoreFault> {
        // With them goes the index.
        self.unsynced += ops.len() + 1;
        self.projection.apply(applied, ops)?;
        if self.unsynced >= UNSYNCED_MAX {
            self.unsynced = 0;
            self.projection.sync()?;
        }
        Ok(())
    }
}

/// Takes the next key if it stands before another one; none is after all.
fn next_before(stored: &mut Peekable<Stored>, key: Option<&Bytes>) -> Result<Option<Bytes>, StoreFault> {
    let next = stored.next_if(|held| match held {
        Ok((known, _)) => key.is_none_or(|key| known < key),
        Err(_) => true,
    });
    Ok(next.transpose()?.map(|(known, _)| known))
}
