//! The one who writes the log: everything queued goes into one batch, one write, one sync.
//!
//! The writer is a state machine. [`Wal::step`] does one batch; a thread calls it, or a simulation.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
use posthouse_model::{LogIndex, ReplicaId, Term};

use super::LogObserver;
use super::checking::Checking;
use super::format::{FileHeader, Mark, RawRecord, VERSION, begin_batch, finish_batch};
use crate::aligned::Aligned;
use crate::damage::{Alarm, Wrong};
use crate::disk::{Disk, DiskFile, Opening, Space, SyncPoint, WrittenBack};
use crate::jobs::{Jobs, Wake};
use crate::log::{Group, LogPoint, LogRecord, LogWrong};
use crate::{Config, Damaged, DamagedPart, Done, Driving, GroupId, StoreFault};

/// How long a log that found no room for another file rests before it looks again.
const ROOM_RETRY: Duration = Duration::from_millis(100);
/// How often it is looked at the room there is while as much is written as is kept in reserve.
const LOOKS: u64 = 4_096;
/// How much is written at once when a file is made ahead.
const ZEROS_BYTES: usize = 1 << 20;

/// Where an entry is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Location {
    pub(crate) epoch: u32,
    pub(crate) offset: u32,
    pub(crate) bytes: u32,
}

/// What is queued for the writer.
pub(crate) enum Operation {
    /// Entries, with the serials that tell them from others of the same index.
    Entries(Vec<(LogRecord, u64)>),
    Vote(Bytes),
    TruncateAfter(Option<LogIndex>),
    Purge(LogPoint),
    /// All that was said of the group is forgotten.
    Clear,
    /// Nothing: an empty batch, which says that the one before it is durable.
    Nothing,
}

/// The log of a node.
pub(crate) struct Wal {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) directory: PathBuf,
    pub(crate) config: Config,
    groups: Vec<Mutex<Group>>,
    queue: Mutex<Queue>,
    has_work: Condvar,
    caller: OnceLock<Wake>,
    has_room: Condvar,
    writer: Mutex<Writer>,
    files: RwLock<BTreeMap<u32, Arc<WalFile>>>,
    spares: Mutex<Vec<Spare>>,
    spare_number: AtomicU64,
    asides: Mutex<BTreeMap<GroupId, Aside>>,
    memory_bytes: AtomicUsize,
    failed: OnceLock<StoreFault>,
    observer: OnceLock<Arc<dyn LogObserver>>,
    over_budget: OnceLock<Wake>,
    is_nearly_full: AtomicBool,
    /// What was queued since the room was looked at.
    unlooked_bytes: AtomicUsize,
    jobs: Arc<Jobs>,
    pub(crate) alarm: Alarm,
}

/// A log file that may hold entries.
#[derive(Debug)]
pub(crate) struct WalFile {
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    /// Where its batches end. All below is durable.
    pub(crate) end: AtomicU64,
}

/// A file ready to become a log file.
pub(crate) struct Spare {
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) path: PathBuf,
}

/// What the writer knows, and nobody else needs.
pub(crate) struct Writer {
    /// The file being written; none before the first.
    pub(crate) current: Option<Current>,
    /// What each group last said, as of the last batch: every new file begins with it.
    pub(crate) carried: BTreeMap<GroupId, Carried>,
    /// Entries in memory that were written, oldest first.
    pub(crate) written: VecDeque<(GroupId, u64)>,
    pub(crate) buffer: Aligned,
    /// Whether the last batch is known durable by nothing but its sync.
    pub(crate) is_in_doubt: bool,
}

/// The file being written.
pub(crate) struct Current {
    pub(crate) header: FileHeader,
    pub(crate) file: Arc<WalFile>,
    /// Where the next batch goes. All below is durable.
    pub(crate) end: u64,
}

/// What a new file says of a group.
#[derive(Clone, Debug, Default)]
pub(crate) struct Carried {
    pub(crate) vote: Option<Bytes>,
    pub(crate) purged: Option<LogPoint>,
    pub(crate) committed: Option<LogPoint>,
    pub(crate) note: Option<Bytes>,
    /// Where it was cleared: epoch and offset.
    pub(crate) cleared_at: Option<(u32, u32)>,
}

/// What a group remembers with the next batch.
#[derive(Clone, Debug, Default)]
struct Aside {
    committed: Option<LogPoint>,
    note: Option<Bytes>,
}

impl Carried {
    pub(crate) fn says_something(&self) -> bool {
        self.vote.is_some()
            || self.purged.is_some()
            || self.committed.is_some()
            || self.note.is_some()
            || self.cleared_at.is_some()
    }
}

/// What recovery hands over.
pub(crate) struct WalParts {
    pub(crate) groups: Vec<Group>,
    pub(crate) writer: Writer,
    pub(crate) files: BTreeMap<u32, Arc<WalFile>>,
    pub(crate) spares: Vec<Spare>,
    pub(crate) spare_number: u64,
}

/// What a wait for work ended with.
pub(crate) enum Work {
    /// Something is queued.
    Queued,
    /// It has been quiet since the last batch.
    Quiet,
    /// The log was closed and everything queued is written.
    Closed,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Queued>,
    bytes: usize,
    is_closed: bool,
}

struct Queued {
    group: GroupId,
    operation: Operation,
    bytes: usize,
    done: Done,
}

/// Where the records of one operation went, relative to the batch.
type Placed = Vec<(u32, u32)>;

// === impl Wal ===

impl Wal {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        directory: PathBuf,
        config: Config,
        jobs: Arc<Jobs>,
        alarm: Alarm,
        parts: WalParts,
    ) -> Arc<Wal> {
        assert!(
            config.wal_file_bytes < 1 << 32,
            "places in a log file are of 32 bits"
        );
        let wal = Arc::new(Wal {
            disk,
            directory,
            config,
            groups: parts.groups.into_iter().map(Mutex::new).collect(),
            queue: Mutex::default(),
            has_work: Condvar::new(),
            caller: OnceLock::new(),
            has_room: Condvar::new(),
            writer: Mutex::new(parts.writer),
            files: RwLock::new(parts.files),
            spares: Mutex::new(parts.spares),
            spare_number: AtomicU64::new(parts.spare_number),
            asides: Mutex::default(),
            memory_bytes: AtomicUsize::new(0),
            failed: OnceLock::new(),
            observer: OnceLock::new(),
            over_budget: OnceLock::new(),
            is_nearly_full: AtomicBool::new(false),
            unlooked_bytes: AtomicUsize::new(0),
            jobs,
            alarm,
        });
        wal.look_at_room();
        wal
    }

    /// Opens the first file of a new log, if there is none yet, and lets go of what is not needed.
    pub(crate) fn begin(self: &Arc<Self>) -> Result<(), StoreFault> {
        let mut writer = self.writer.lock();
        if writer.current.is_none() {
            self.next_file(&mut writer, 0)?;
        }
        drop(writer);
        self.release();
        Ok(())
    }

    /// Has an observer told of each batch from now on. The first one stays.
    pub(crate) fn observe(&self, observer: Arc<dyn LogObserver>) {
        // Whoever comes second is told nothing.
        let _ = self.observer.set(observer);
    }

    /// Has the caller told of each operation that is queued from now on. The first one stays.
    pub(crate) fn tell(&self, wake: Wake) {
        // Whoever comes second is told nothing.
        let _ = self.caller.set(wake);
    }

    /// Has the caller told of each file that is begun while there is more log than there should be. The first one stays.
    pub(crate) fn tell_over_budget(&self, wake: Wake) {
        // Whoever comes second is told nothing.
        let _ = self.over_budget.set(wake);
    }

    pub(crate) fn group(&self, group: GroupId) -> MutexGuard<'_, Group> {
        self.groups[usize::from(group.0)].lock()
    }

    pub(crate) fn file(&self, epoch: u32) -> Arc<WalFile> {
        let files = self.files.read();
        Arc::clone(
            files
                .get(&epoch)
                .expect("a file with entries in it is not released"),
        )
    }

    // --- the queue ---

    /// Waits until not too much is queued. In a simulation, writes instead.
    pub(crate) fn wait_for_room(self: &Arc<Self>) {
        let mut queue = self.queue.lock();
        while !queue.is_closed && self.is_full(&queue) {
            if self.config.driving == Driving::Caller {
                drop(queue);
                self.step();
                queue = self.queue.lock();
            } else {
                self.has_room.wait(&mut queue);
            }
        }
    }

    fn is_full(&self, queue: &Queue) -> bool {
        queue.bytes >= self.config.queue_bytes_max || queue.waiting.len() >= self.config.queue_count_max
    }

    /// Queues an operation under its group's lock, so that the queue has the order in which callers see things
    /// change. The lock is let go before anyone is told no.
    pub(crate) fn push(
        &self,
        group: MutexGuard<'_, Group>,
        id: GroupId,
        operation: Operation,
        bytes: usize,
        done: Done,
    ) {
        let mut queue = self.queue.lock();
        if queue.is_closed {
            drop((queue, group));
            return done(Err(self.failed().unwrap_or(StoreFault::Closed)));
        }
        queue.bytes += bytes;
        queue.waiting.push_back(Queued {
            group: id,
            operation,
            bytes,
            done,
        });
        self.has_work.notify_one();
        if let Some(wake) = self.caller.get() {
            wake();
        }
    }

    /// Waits for something to write; after `quiet` without any, says so once.
    pub(crate) fn wait_for_work(&self, quiet: Option<Duration>) -> Work {
        let mut queue = self.queue.lock();
        loop {
            if !queue.waiting.is_empty() {
                return Work::Queued;
            }
            if queue.is_closed {
                return Work::Closed;
            }
            let Some(quiet) = quiet else {
                self.has_work.wait(&mut queue);
                continue;
            };
            if self.has_work.wait_for(&mut queue, quiet).timed_out() && queue.waiting.is_empty() {
                return Work::Quiet;
            }
        }
    }

    /// Takes nothing more. What is queued is still written.
    pub(crate) fn close(&self) {
        self.queue.lock().is_closed = true;
        self.has_work.notify_all();
        self.has_room.notify_all();
    }

    fn take(&self) -> Vec<Queued> {
        let mut queue = self.queue.lock();
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some(next) = queue.waiting.front() {
            if bytes + next.bytes > self.config.batch_bytes_max && !taken.is_empty() {
                break;
            }
            bytes += next.bytes;
            taken.extend(queue.waiting.pop_front());
        }
        queue.bytes -= bytes;
        self.has_room.notify_all();
        taken
    }

    // --- writing ---

    /// Writes one batch of what is queued; returns whether there was anything.
    pub(crate) fn step(self: &Arc<Self>) -> bool {
        let mut writer = self.writer.lock();
        let taken = self.take();
        if taken.is_empty() {
            return false;
        }
        let answer = match self.failed() {
            Some(fault) => Err(fault),
            None => self.write(&mut writer, &taken).map_err(|fault| self.fail(&fault)),
        };
        drop(writer);
        if answer.is_ok() && taken.iter().any(|queued| queued.operation.frees_files()) {
            self.release();
        }
        self.look_at_room_now_and_then(&taken);
        for queued in taken {
            (queued.done)(answer.clone());
        }
        true
    }

    /// Writes an empty batch, if the last one is in doubt.
    pub(crate) fn settle(self: &Arc<Self>) {
        // Others may fill the disk meanwhile.
        self.unlooked_bytes.store(usize::MAX / 2, Ordering::Relaxed);
        let mut writer = self.writer.lock();
        if !writer.is_in_doubt || self.failed().is_some() {
            return;
        }
        let nothing = Queued {
            group: GroupId::DIRECTORY,
            operation: Operation::Nothing,
            bytes: 0,
            done: Box::new(|_| {}),
        };
        if let Err(fault) = self.write(&mut writer, &[nothing]) {
            self.fail(&fault);
        }
        writer.is_in_doubt = false;
    }

    fn write(self: &Arc<Self>, writer: &mut Writer, taken: &[Queued]) -> Result<(), StoreFault> {
        let asides = std::mem::take(&mut *self.asides.lock());
        let mut buffer = std::mem::take(&mut writer.buffer);
        let (count, placed) = encode(&mut buffer, taken, &asides);
        if !writer
            .current
            .as_ref()
            .is_some_and(|current| current.has_room(buffer.len()))
        {
            self.next_file(writer, buffer.len())?;
        }
        let current = writer.current.as_mut().expect("a file was just opened");
        let start = current.end;
        finish_batch(&mut buffer, current.header, start, start, count);
        let file = &current.file;
        file.file
            .write_at(&buffer, start)
            .map_err(|error| StoreFault::io("write", &file.path, &error))?;
        let begun = Instant::now();
        file.file
            .sync(SyncPoint::WalBatch)
            .map_err(|error| StoreFault::io("sync", &file.path, &error))?;
        if let Some(observer) = self.observer.get() {
            observer.synced(buffer.len() as u64, begun.elapsed());
        }
        current.end += buffer.len() as u64;
        current.file.end.store(current.end, Ordering::Release);
        let epoch = current.epoch();
        writer.buffer = buffer;
        writer.is_in_doubt = true;
        self.take_in(writer, taken, placed, epoch, start);
        for (group, aside) in asides {
            let carried = writer.carried.entry(group).or_default();
            carried.committed = aside.committed.or(carried.committed);
            carried.note = aside.note.or(carried.note.take());
        }
        self.evict(writer);
        Ok(())
    }

    /// Tells the groups what is durable now.
    fn take_in(&self, writer: &mut Writer, taken: &[Queued], placed: Vec<Placed>, epoch: u32, start: u64) {
        for (queued, placed) in taken.iter().zip(placed) {
            let mut group = self.group(queued.group);
            match &queued.operation {
                Operation::Entries(records) => {
                    let locations = placed
                        .iter()
                        .map(|&(at, bytes)| Location {
                            epoch,
                            offset: start as u32 + at,
                            bytes,
                        })
                        .collect::<Vec<_>>();
                    if let Some((first, _)) = records.first() {
                        group.place(first.index, &locations);
                    }
                    let serials = records.iter().map(|(_, serial)| (queued.group, *serial));
                    writer.written.extend(serials);
                }
                Operation::TruncateAfter(index) => group.unplace_after(*index),
                Operation::Purge(point) => {
                    group.unplace_to(point.index);
                    let carried = writer.carried.entry(queued.group).or_default();
                    carried.purged = carried.purged.max(Some(*point));
                }
                Operation::Clear => {
                    group.unplace_after(None);
                    let cleared_at = placed.first().map(|(at, _)| (epoch, start as u32 + at));
                    let carried = Carried {
                        cleared_at,
                        ..Carried::default()
                    };
                    writer.carried.insert(queued.group, carried);
                }
                Operation::Vote(vote) => {
                    writer.carried.entry(queued.group).or_default().vote = Some(vote.clone());
                }
                Operation::Nothing => {}
            }
        }
    }

    /// Opens the next file with what has to be at its beginning, and room for a batch.
    fn next_file(self: &Arc<Self>, writer: &mut Writer, batch_bytes: usize) -> Result<(), StoreFault> {
        let block = u64::from(self.config.wal_block_bytes);
        let before = writer
            .current
            .as_ref()
            .map(|current| (current.epoch(), current.end));
        let epoch = before.map_or(1, |(epoch, _)| epoch + 1);
        let header = FileHeader {
            version: VERSION,
            block_bytes: self.config.wal_block_bytes,
            epoch: u64::from(epoch),
            salt: self.disk.salt(),
        };
        let mut carry = Aligned::default();
        let count = encode_carry(&mut carry, before, &writer.carried);
        finish_batch(&mut carry, header, block, block, count);
        let end = block + carry.len() as u64;
        let needed = end + (batch_bytes as u64).next_multiple_of(block) + block;
        let bytes = self.config.wal_file_bytes.max(needed);

        let spare = match before {
            Some(_) => self.wait_for_spare(bytes)?,
            None => self.spare(bytes)?,
        };
        let path = self.directory.join(file_name(epoch));
        let write = || {
            spare.file.write_at(&header.encode(), 0)?;
            spare.file.write_at(&carry, block)?;
            spare.file.sync(SyncPoint::WalFile)?;
            self.disk.rename(&spare.path, &path)?;
            self.disk
                .sync_directory(&self.directory, SyncPoint::WalDirectory)?;
            spare.file.bytes()
        };
        let bytes = write().map_err(|error| StoreFault::io("begin", &path, &error))?;
        let file = Arc::new(WalFile {
            file: spare.file,
            path,
            bytes,
            end: AtomicU64::new(end),
        });
        self.files.write().insert(epoch, Arc::clone(&file));
        writer.current = Some(Current { header, file, end });
        self.make_spare_soon();
        if self.is_over_budget()
            && let Some(wake) = self.over_budget.get()
        {
            wake();
        }
        Ok(())
    }

    fn evict(&self, writer: &mut Writer) {
        while self.memory_bytes.load(Ordering::Relaxed) > self.config.log_memory_bytes_max() {
            let Some((group, serial)) = writer.written.pop_front() else {
                return;
            };
            let freed = self.group(group).evict(serial);
            self.forget(freed);
        }
        // Purged entries leave their serials behind; they are cleared away before they outnumber the rest.
        while let Some(&(group, serial)) = writer.written.front()
            && self.group(group).is_gone(serial)
        {
            writer.written.pop_front();
        }
        if writer.written.len() > WRITTEN_MAX && writer.written.len() == writer.written.capacity() {
            writer
                .written
                .retain(|&(group, serial)| !self.group(group).is_gone(serial));
        }
    }

    pub(crate) fn remember(&self, bytes: usize) {
        self.memory_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn forget(&self, bytes: usize) {
        self.memory_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(crate) fn note_committed(&self, group: GroupId, point: LogPoint) {
        self.asides.lock().entry(group).or_default().committed = Some(point);
    }

    pub(crate) fn note_aside(&self, group: GroupId, note: Bytes) {
        self.asides.lock().entry(group).or_default().note = Some(note);
    }

    pub(crate) fn forget_asides(&self, group: GroupId) {
        self.asides.lock().remove(&group);
    }

    // --- files that come and go ---

    /// Lets go of the oldest files, up to the first that an entry is still needed of.
    fn release(self: &Arc<Self>) {
        let oldest = self
            .groups
            .iter()
            .filter_map(|group| group.lock().oldest_epoch())
            .min();
        let mut released = Vec::new();
        {
            let mut files = self.files.write();
            while files.len() > 1
                && let Some(first) = files.first_entry()
                && oldest.is_none_or(|oldest| *first.key() < oldest)
            {
                released.push(first.remove());
            }
        }
        if released.is_empty() {
            return;
        }
        let wal = Arc::clone(self);
        // After the end it is too late; they are released again at the next start.
        let _ = self.jobs.push(Box::new(move || wal.recycle(released)));
    }

    /// Gives released files another name, to be written over under a third. The name is durable before that: else
    /// a crash could bring back the first one, with another file's content.
    fn recycle(self: &Arc<Self>, released: Vec<Arc<WalFile>>) {
        let mut recycled = Vec::new();
        for file in released {
            let is_wanted = recycled.len() + self.spares.lock().len() < self.config.wal_spares_max
                && file.bytes == self.config.wal_file_bytes;
            // Someone may still be reading it; then it is left to them.
            let outcome = match Arc::try_unwrap(file) {
                Ok(file) if is_wanted => {
                    let path = self.spare_path();
                    let outcome = self.disk.rename(&file.path, &path);
                    recycled.push(Spare {
                        file: file.file,
                        path,
                    });
                    outcome
                }
                Ok(file) => self.disk.remove(&file.path),
                Err(file) => self.disk.remove(&file.path),
            };
            if let Err(error) = outcome {
                tracing::warn!(%error, "a released log file could not be put aside");
                return;
            }
        }
        match self.disk.sync_directory(&self.directory, SyncPoint::WalRelease) {
            Ok(()) => self.spares.lock().extend(recycled),
            Err(error) => {
                self.fail(&StoreFault::io("sync", &self.directory, &error));
            }
        }
    }

    fn spare(&self, bytes: u64) -> Result<Spare, StoreFault> {
        if bytes == self.config.wal_file_bytes
            && let Some(spare) = self.spares.lock().pop()
        {
            return Ok(spare);
        }
        self.create_spare(bytes)
    }

    /// Waits for room for another file, as long as the log is not closed. Nothing is lost meanwhile, and nothing is
    /// acknowledged: whoever waits for a batch goes on waiting, and other nodes go on without this one.
    fn wait_for_spare(&self, bytes: u64) -> Result<Spare, StoreFault> {
        let mut is_told = false;
        loop {
            let fault = match self.spare(bytes) {
                Err(fault @ StoreFault::DiskFull { .. }) => fault,
                other => return other,
            };
            self.look_at_room();
            // Who drives the log himself is not to be held up.
            if self.config.driving == Driving::Caller || self.queue.lock().is_closed {
                return Err(fault);
            }
            if !is_told {
                tracing::error!(%fault, "the log waits for room");
                is_told = true;
            }
            std::thread::sleep(ROOM_RETRY);
        }
    }

    fn create_spare(&self, bytes: u64) -> Result<Spare, StoreFault> {
        let path = self.spare_path();
        let create = || {
            let file = self.disk.open(&path, Opening::Create)?;
            file.allocate(bytes)?;
            Ok(file)
        };
        match create() {
            Ok(file) => Ok(Spare { file, path }),
            Err(error) => {
                // What is left of it would be taken for a spare at the next start.
                let _ = self.disk.remove(&path);
                Err(StoreFault::io("create", &path, &error))
            }
        }
    }

    fn spare_path(&self) -> PathBuf {
        let number = self.spare_number.fetch_add(1, Ordering::Relaxed);
        self.directory.join(spare_name(number))
    }

    /// Has a file made ahead, so that the writer need not wait for one.
    fn make_spare_soon(self: &Arc<Self>) {
        if !self.spares.lock().is_empty() {
            return;
        }
        let wal = Arc::clone(self);
        let _ = self.jobs.push(Box::new(move || {
            if let Err(fault) = wal.make_spare() {
                tracing::warn!(%fault, "no log file could be made ahead");
            }
        }));
    }

    fn make_spare(&self) -> Result<(), StoreFault> {
        if !self.spares.lock().is_empty() {
            return Ok(());
        }
        let spare = self.create_spare(self.config.wal_file_bytes)?;
        let zero = || {
            let zeros = Aligned::zeros(ZEROS_BYTES.min(self.config.wal_file_bytes as usize));
            let (mut at, mut written_back) = (0, WrittenBack::default());
            while at < self.config.wal_file_bytes {
                let bytes = zeros.len().min((self.config.wal_file_bytes - at) as usize);
                spare.file.write_at(&zeros[..bytes], at)?;
                at += bytes as u64;
                written_back.keep_up(&*spare.file, at)?;
            }
            spare.file.sync(SyncPoint::WalSpare)
        };
        zero().map_err(|error| StoreFault::io("write", &spare.path, &error))?;
        self.spares.lock().push(spare);
        Ok(())
    }

    // --- how it stands ---

    /// Stops the log for good, and returns what everyone is told from now on.
    pub(crate) fn fail(&self, fault: &StoreFault) -> StoreFault {
        let stopped = match fault {
            StoreFault::Stopped { .. } => fault.clone(),
            other => StoreFault::Stopped {
                because: other.to_string(),
            },
        };
        let stopped = self.failed.get_or_init(|| {
            tracing::error!(%fault, "the store stops");
            stopped
        });
        stopped.clone()
    }

    pub(crate) fn failed(&self) -> Option<StoreFault> {
        self.failed.get().cloned()
    }

    pub(crate) fn is_nearly_full(&self) -> bool {
        // Room may have been made without anything being written here, so a "yes" is looked at again.
        if self.is_nearly_full.load(Ordering::Relaxed) {
            self.look_at_room();
        }
        self.is_nearly_full.load(Ordering::Relaxed)
    }

    /// Looks at the room once enough was queued to matter, or it was quiet before: to ask costs as much as to write a
    /// small batch.
    fn look_at_room_now_and_then(&self, taken: &[Queued]) {
        let bytes: usize = taken.iter().map(|queued| queued.bytes).sum();
        let unlooked = self.unlooked_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if unlooked as u64 >= self.config.reserve_bytes / LOOKS || self.is_nearly_full.load(Ordering::Relaxed)
        {
            self.look_at_room();
        }
    }

    pub(crate) fn look_at_room(&self) {
        self.unlooked_bytes.store(0, Ordering::Relaxed);
        if let Ok(space) = self.disk.space(&self.directory) {
            self.note_room(space);
        }
    }

    /// Takes notice of how much room there is.
    pub(crate) fn note_room(&self, space: Space) {
        let is_nearly_full = space.free_bytes < self.config.reserve_bytes;
        self.is_nearly_full.store(is_nearly_full, Ordering::Relaxed);
    }

    // --- damage ---

    /// Takes notice that entries of a group up to an index cannot all be read.
    pub(crate) fn note_wrong(&self, group: GroupId, epoch: u32, until: LogIndex, wrong: &Wrong) {
        let noted = LogWrong {
            epoch,
            until,
            wrong: wrong.clone(),
        };
        if self.group(group).note_wrong(noted) {
            self.alarm.raise(group, wrong);
        }
    }

    /// Returns what is known to be damaged.
    pub(crate) fn damage(&self) -> Vec<Damaged> {
        let numbers = (0..GroupId::COUNT).map(GroupId);
        let found = numbers.filter_map(|number| {
            let group = self.group(number);
            let wrong = group.wrong()?;
            Some(wrong.wrong.of_group(number, DamagedPart::Log))
        });
        found.collect()
    }

    /// Returns the files that may hold entries.
    pub(crate) fn epochs(&self) -> Vec<u32> {
        self.files.read().keys().copied().collect()
    }

    /// Reads batches of a file again from an offset on, about so many bytes; returns how many it was, and where to go
    /// on, if there is more.
    pub(crate) fn scrub(self: &Arc<Self>, epoch: u32, from: u64, bytes_max: u64) -> (u64, Option<u64>) {
        let file = self.files.read().get(&epoch).cloned();
        // One that was released needs no reading.
        let Some(file) = file else { return (0, None) };
        let mut checking = match Checking::open(&*file.file, from) {
            Ok(checking) => checking,
            Err(what) => {
                self.take_notice(epoch, &file, 0..u64::from(self.config.wal_block_bytes), &what);
                return (u64::from(self.config.wal_block_bytes), None);
            }
        };
        let end = file.end.load(Ordering::Acquire);
        let begun = checking.at;
        while checking.at < end && checking.at - begun < bytes_max {
            let from = checking.at;
            if let Some(what) = checking.step(end) {
                self.take_notice(epoch, &file, from..checking.at, &what);
            }
        }
        let next = (checking.at < end).then_some(checking.at);
        (checking.at - begun, next)
    }

    /// Takes notice of a damaged part of a file. The groups are hit that need entries in it. What else is in it is in
    /// memory too, and at the beginning of the next file: the last file is followed by another at once.
    fn take_notice(self: &Arc<Self>, epoch: u32, file: &WalFile, range: Range<u64>, what: &str) {
        let wrong = Wrong {
            file: file.path.clone(),
            offset: range.start,
            bytes: range.end - range.start,
            what: what.to_owned(),
        };
        tracing::error!(file = %file.path.display(), offset = range.start, bytes = wrong.bytes, what, "damaged");
        for number in (0..GroupId::COUNT).map(GroupId) {
            let hit = self.group(number).last_within(epoch, &range);
            if let Some(until) = hit {
                self.note_wrong(number, epoch, until, &wrong);
            }
        }
        let mut writer = self.writer.lock();
        let is_last = writer
            .current
            .as_ref()
            .is_some_and(|current| current.epoch() == epoch);
        if is_last
            && self.failed().is_none()
            && let Err(fault) = self.next_file(&mut writer, 0)
        {
            self.fail(&fault);
        }
    }

    pub(crate) fn file_bytes(&self) -> u64 {
        self.files.read().values().map(|file| file.bytes).sum()
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_bytes.load(Ordering::Relaxed)
    }

    /// Returns whether there is more log than there should be.
    fn is_over_budget(&self) -> bool {
        self.file_bytes() > self.config.wal_bytes_max
    }

    /// Returns the groups that keep the oldest file, each with the last entry that it has there, when there is more log
    /// than there should be.
    pub(crate) fn keepers_of_oldest(&self) -> Vec<(GroupId, LogIndex)> {
        if !self.is_over_budget() {
            return Vec::new();
        }
        let epochs = self.epochs();
        // The last one is never let go of, however large it is.
        let [oldest, _, ..] = epochs[..] else {
            return Vec::new();
        };
        let numbers = (0..GroupId::COUNT).map(GroupId);
        numbers
            .filter_map(|number| Some((number, self.group(number).last_in(oldest)?)))
            .collect()
    }
}

/// How many serials are kept before it is looked for ones that are gone.
const WRITTEN_MAX: usize = 1 << 16;

impl std::fmt::Debug for Wal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wal")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

// === impl Operation ===

impl Operation {
    fn frees_files(&self) -> bool {
        match self {
            Operation::TruncateAfter(_) | Operation::Purge(_) | Operation::Clear => true,
            Operation::Entries(_) | Operation::Vote(_) | Operation::Nothing => false,
        }
    }
}

// === impl Current ===

impl Current {
    fn has_room(&self, batch_bytes: usize) -> bool {
        let block = u64::from(self.header.block_bytes);
        self.end + (batch_bytes as u64).next_multiple_of(block) <= self.file.bytes
    }

    fn epoch(&self) -> u32 {
        u32::try_from(self.header.epoch).expect("recovery takes no file of a higher epoch")
    }
}

/// Returns the name of the log file of an epoch.
pub(crate) fn file_name(epoch: u32) -> String {
    format!("{epoch:010}.log")
}

/// Returns the epoch of a log file by its name.
pub(crate) fn parse_file_name(name: &str) -> Option<u32> {
    name.strip_suffix(".log")
        .filter(|number| number.len() == 10)?
        .parse()
        .ok()
}

/// Returns the name of a spare file.
fn spare_name(number: u64) -> String {
    format!("{number:010}.spare")
}

/// Returns the number of a spare file by its name.
pub(crate) fn parse_spare_name(name: &Path) -> Option<u64> {
    name.to_str()?.strip_suffix(".spare")?.parse().ok()
}

/// Writes a batch of everything taken; returns how many records it has and where each operation's went.
fn encode(buffer: &mut Aligned, taken: &[Queued], asides: &BTreeMap<GroupId, Aside>) -> (u32, Vec<Placed>) {
    begin_batch(buffer);
    let mut count = 0;
    let mut placed = Vec::with_capacity(taken.len());
    for queued in taken {
        let mut places = Placed::new();
        let mut put = |record: RawRecord<'_>| {
            let at = buffer.len() as u32;
            places.push((at, record.encode(buffer)));
            count += 1;
        };
        match &queued.operation {
            Operation::Entries(records) => {
                for (record, _) in records {
                    put(record.raw(queued.group));
                }
            }
            Operation::Vote(vote) => put(mark(Mark::Vote, queued.group, LogPoint::default(), vote)),
            Operation::TruncateAfter(Some(index)) => {
                let point = LogPoint {
                    index: *index,
                    ..LogPoint::default()
                };
                put(mark(Mark::TruncateAfter, queued.group, point, &[]));
            }
            Operation::TruncateAfter(None) => {
                put(mark(Mark::TruncateAll, queued.group, LogPoint::default(), &[]));
            }
            Operation::Purge(point) => put(mark(Mark::Purge, queued.group, *point, &[])),
            Operation::Clear => put(mark(Mark::Clear, queued.group, LogPoint::default(), &[])),
            Operation::Nothing => {}
        }
        placed.push(places);
    }
    for (group, aside) in asides {
        if let Some(point) = aside.committed {
            mark(Mark::Committed, *group, point, &[]).encode(buffer);
            count += 1;
        }
        if let Some(note) = &aside.note {
            mark(Mark::Note, *group, LogPoint::default(), note).encode(buffer);
            count += 1;
        }
    }
    (count, placed)
}

/// Writes the batch that a new file begins with; returns how many records it has.
fn encode_carry(
    buffer: &mut Aligned,
    before: Option<(u32, u64)>,
    carried: &BTreeMap<GroupId, Carried>,
) -> u32 {
    begin_batch(buffer);
    let mut count = 0;
    let mut put = |record: RawRecord<'_>| {
        record.encode(buffer);
        count += 1;
    };
    if let Some((epoch, end)) = before {
        let point = LogPoint {
            term: Term(u64::from(epoch)),
            leader: ReplicaId(0),
            index: LogIndex(end),
        };
        put(mark(Mark::Preceded, GroupId::DIRECTORY, point, &[]));
    }
    for (group, carried) in carried {
        if let Some((epoch, offset)) = carried.cleared_at {
            let point = LogPoint {
                term: Term(u64::from(epoch)),
                leader: ReplicaId(0),
                index: LogIndex(u64::from(offset)),
            };
            put(mark(Mark::ClearedAt, *group, point, &[]));
        }
        if let Some(vote) = &carried.vote {
            put(mark(Mark::Vote, *group, LogPoint::default(), vote));
        }
        if let Some(purged) = carried.purged {
            put(mark(Mark::Purge, *group, purged, &[]));
        }
        if let Some(committed) = carried.committed {
            put(mark(Mark::Committed, *group, committed, &[]));
        }
        if let Some(note) = &carried.note {
            put(mark(Mark::Note, *group, LogPoint::default(), note));
        }
    }
    count
}

fn mark(mark: Mark, group: GroupId, point: LogPoint, payload: &[u8]) -> RawRecord<'_> {
    RawRecord {
        mark,
        group: group.0,
        term: point.term.0,
        leader: point.leader.0,
        index: point.index.0,
        payload,
        offset: 0,
    }
}
