//! The store: one data directory, its threads, and the way to each group's log and files.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use parking_lot::Mutex;
use posthouse_model::{LogIndex, SetId};

use crate::bodies::BodyMemory;
use crate::damage::Alarm;
use crate::disk::{Disk, Space, SyncPoint};
use crate::identity::{self, check_format, read_identity, write_identity};
use crate::jobs::{Jobs, Wake};
use crate::shelf::Shelf;
use crate::wal::{LogObserver, Wal, Work, recover};
use crate::{
    Bodies, Checkpoint, Config, CutPlan, DamageObserver, Damaged, Decisions, Driving, Export, GroupLog,
    Identity, Import, Live, LogState, OpenError, Projection, Scrub, SegmentFile, StoreFault, transfer,
};

const LOCK_FILE: &str = "LOCK";
const WAL_DIRECTORY: &str = "wal";
const GROUPS_DIRECTORY: &str = "groups";
const PROJECTION_DIRECTORY: &str = "projection";
/// What a data directory that was used before has at least one of.
const OUR_NAMES: [&str; 4] = [
    WAL_DIRECTORY,
    GROUPS_DIRECTORY,
    PROJECTION_DIRECTORY,
    identity::IDENTITY_FILE,
];

/// Is told once what became of something. Called on a thread of the store, so it must be quick.
pub type Done = Box<dyn FnOnce(Result<(), StoreFault>) + Send>;

/// A Raft group of this node: the directory, or a set.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct GroupId(pub u8);

/// An open data directory. Clones are the same; the last one to go closes it.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

/// What was found at open that is worth telling.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Recovery {
    /// The end of the log that was cut, because it was not written in full.
    pub torn: Option<TornTail>,
}

/// The end of the log that was cut. Nothing in it was ever said to be done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TornTail {
    /// The log file.
    pub file: PathBuf,
    /// Where the batch began that was not written in full.
    pub offset: u64,
    /// How long it was to be, as far as it says.
    pub bytes: u64,
}

/// What the store takes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Usage {
    /// Log files that may hold entries.
    pub wal_bytes: u64,
    /// Segments of all sets.
    pub segment_bytes: u64,
    /// Log entries in memory.
    pub log_memory_bytes: usize,
    /// Entries in memory whose bodies may be asked for, by their bytes.
    pub body_memory_bytes: usize,
    /// Bodies that wait for a cut.
    pub uncut_bodies: usize,
    /// The disk's room.
    pub space: Space,
}

struct Inner {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    wal: Arc<Wal>,
    jobs: Arc<Jobs>,
    memory: Arc<BodyMemory>,
    shelves: Vec<Arc<Shelf>>,
    projection: Projection,
    alarm: Alarm,
    identity: Mutex<Option<Identity>>,
    recovery: Recovery,
    threads: Mutex<Vec<JoinHandle<()>>>,
    lock: Mutex<Option<Box<dyn Send + Sync>>>,
}

/// The bodies of a group that has none.
struct NoBodies;

// === impl GroupId ===

impl GroupId {
    /// The directory's group.
    pub const DIRECTORY: GroupId = GroupId(0);
    /// How many groups there can be: the directory and 128 sets.
    pub const COUNT: u8 = 129;

    /// Returns the group of a set.
    ///
    /// # Panics
    ///
    /// When there can be no such set.
    pub fn of(set: SetId) -> GroupId {
        assert!(set.0 < Self::COUNT - 1, "a set's number is below 128");
        GroupId(set.0 + 1)
    }

    /// Returns the set whose group it is; none for the directory's.
    pub fn set(self) -> Option<SetId> {
        self.0.checked_sub(1).map(SetId)
    }
}

impl GroupId {
    /// Returns what the group's files begin with, before a `-`.
    pub(crate) fn file_prefix(self) -> String {
        format!("{:03}", self.0)
    }
}

impl std::fmt::Display for GroupId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.set() {
            None => f.write_str("directory"),
            Some(set) => write!(f, "set {set}"),
        }
    }
}

// === impl Store ===

impl Store {
    /// Opens a data directory, made if it is not there, and reads back what is in it.
    pub fn open(dir: &Path, disk: Arc<dyn Disk>, config: Config) -> Result<Store, OpenError> {
        let lock = prepare(&*disk, dir)?;
        let identity = read_identity(&*disk, dir)?;
        let wal_directory = dir.join(WAL_DIRECTORY);
        let (parts, torn) = recover(&*disk, &wal_directory, &config)?;
        let jobs = Arc::new(Jobs::default());
        let memory = Arc::new(BodyMemory::new(config.body_memory_bytes_max()));
        let driving = config.driving;
        let projection = Projection::open(&dir.join(PROJECTION_DIRECTORY), config.projection)?;
        let alarm = Alarm::default();
        let wal = Wal::new(
            Arc::clone(&disk),
            wal_directory,
            config,
            Arc::clone(&jobs),
            alarm.clone(),
            parts,
        );
        let shelves = open_shelves(dir, &disk, &wal, &jobs, &memory)?;
        wal.begin()?;
        let inner = Arc::new(Inner {
            dir: dir.to_owned(),
            disk,
            wal,
            jobs,
            memory,
            shelves,
            projection,
            alarm,
            identity: Mutex::new(identity),
            recovery: Recovery { torn },
            threads: Mutex::default(),
            lock: Mutex::new(Some(lock)),
        });
        match driving {
            Driving::Threads => inner.start()?,
            Driving::Caller => {}
        }
        Ok(Store { inner })
    }

    /// Writes what is queued, ends the threads, and lets go of the directory. Later operations are refused.
    pub fn close(&self) {
        self.inner.close();
    }

    /// Returns what was found at open that is worth telling.
    pub fn recovery(&self) -> &Recovery {
        &self.inner.recovery
    }

    /// Returns who the directory belongs to; none as long as it is new.
    pub fn identity(&self) -> Option<Identity> {
        self.inner.identity.lock().clone()
    }

    /// Sets who the directory belongs to, durably.
    pub fn set_identity(&self, identity: Identity) -> Result<(), StoreFault> {
        let mut current = self.inner.identity.lock();
        write_identity(&*self.inner.disk, &self.inner.dir, &identity)?;
        *current = Some(identity);
        Ok(())
    }

    /// Returns a group's log.
    ///
    /// # Panics
    ///
    /// When there can be no such group.
    pub fn log(&self, group: GroupId) -> GroupLog {
        assert!(group.0 < GroupId::COUNT, "a group's number is below 129");
        GroupLog {
            wal: Arc::clone(&self.inner.wal),
            group,
        }
    }

    /// Returns whether nothing is kept of a group: neither a log nor a checkpoint.
    pub fn is_empty(&self, group: GroupId) -> bool {
        let has_checkpoint = self
            .shelf(group)
            .look(|contents| contents.checkpoint.or(contents.lost_checkpoint).is_some());
        !has_checkpoint && self.log(group).state() == LogState::default()
    }

    /// Forgets all that is kept of a group: log, vote, checkpoint, segments and decisions. Nothing of the group must be in
    /// use. Once `done` is told so, another replica of the group can begin here with nothing.
    pub fn clear(&self, group: GroupId, done: Done) {
        let shelf = Arc::clone(self.shelf(group));
        self.log(group).clear(Box::new(move |cleared| match cleared {
            // The log first: files without a log are removed by the next attempt.
            Ok(()) => shelf.clear(done),
            Err(fault) => done(Err(fault)),
        }));
    }

    /// Returns a set's bodies.
    pub fn bodies(&self, set: SetId) -> Bodies {
        Bodies {
            shelf: Arc::clone(self.shelf(GroupId::of(set))),
        }
    }

    /// Returns a set's decisions.
    pub fn decisions(&self, set: SetId) -> Decisions {
        Decisions {
            shelf: Arc::clone(self.shelf(GroupId::of(set))),
        }
    }

    /// Returns the projection.
    pub fn projection(&self) -> Projection {
        self.inner.projection.clone()
    }

    /// Reads a group's newest checkpoint.
    pub fn checkpoint(&self, group: GroupId) -> Result<Option<Checkpoint>, StoreFault> {
        self.shelf(group).checkpoint()
    }

    /// Writes a checkpoint of a group without bodies, in the background. Once `done` is told so, it is durable and
    /// the log may be purged up to it.
    pub fn write_checkpoint(
        &self,
        group: GroupId,
        at: LogIndex,
        meta: Bytes,
        state: Box<dyn FnOnce() -> Vec<u8> + Send>,
        done: Done,
    ) {
        let live = Box::new(NoBodies);
        let plan = CutPlan {
            at,
            rewrite: Vec::new(),
            live,
            state,
            meta,
        };
        self.shelf(group).cut(plan, done);
    }

    /// Opens a group's newest checkpoint with the segments that it names, to hand them to another node. The files
    /// stay readable as long as the export is kept, whatever is cut meanwhile.
    pub fn export(&self, group: GroupId) -> Result<Option<Export>, StoreFault> {
        Export::open(self.shelf(group))
    }

    /// Begins to take in another node's checkpoint of a group, with these segments.
    pub fn import(&self, group: GroupId, files: Vec<SegmentFile>) -> Import {
        Import::begin(self.shelf(group), files)
    }

    /// Returns the groups that should be cut: they keep more log, or more bodies in it, than there should be. One whose
    /// newest checkpoint covers what keeps the oldest file has only to purge. It is this node's log that counts, not its
    /// peers'.
    pub fn groups_to_cut(&self) -> Vec<GroupId> {
        let uncut_max = self.inner.wal.config.uncut_bodies_max;
        let keepers = self.inner.wal.keepers_of_oldest().into_iter();
        let uncovered = keepers.filter(|(group, last)| {
            self.shelf(*group)
                .look(|contents| contents.checkpoint.is_none_or(|at| at < *last))
        });
        let mut groups: Vec<GroupId> = uncovered.map(|(group, _)| group).collect();
        let full = self.inner.shelves.iter().filter(|shelf| {
            shelf.look(|contents| contents.uncut()) > uncut_max && !groups.contains(&shelf.group)
        });
        let full: Vec<GroupId> = full.map(|shelf| shelf.group).collect();
        groups.extend(full);
        groups
    }

    /// Has an observer told of each batch of the log from now on. A store has one: later ones are told nothing.
    pub fn observe_log(&self, observer: Arc<dyn LogObserver>) {
        self.inner.wal.observe(observer);
    }

    /// Has the caller told of each log file that is begun while there is more log than there should be, for
    /// [`Store::groups_to_cut`] to say who is to be cut. It is told while locks are held, so it must only take notice. A
    /// store has one who is told: later ones are not.
    pub fn on_over_budget(&self, wake: Wake) {
        self.inner.wal.tell_over_budget(wake);
    }

    /// Has an observer told of damage that is found from now on. A store has one: later ones are told nothing.
    pub fn observe_damage(&self, observer: Arc<dyn DamageObserver>) {
        self.inner.alarm.observe(observer);
    }

    /// Returns what is known to be damaged, and neither mended yet nor without need.
    pub fn damage(&self) -> Vec<Damaged> {
        let mut found = self.inner.wal.damage();
        for shelf in &self.inner.shelves {
            found.extend(shelf.damage());
        }
        found
    }

    /// Begins to read everything durable again.
    pub fn scrub(&self) -> Scrub {
        Scrub::begin(&self.inner.wal, &self.inner.shelves)
    }

    /// Reads a piece of a segment for another replica: none if it is not here as a whole, nothing at its end.
    pub fn read_segment(
        &self,
        group: GroupId,
        file: SegmentFile,
        offset: u64,
        bytes_max: usize,
    ) -> Result<Option<Bytes>, StoreFault> {
        transfer::read_segment(self.shelf(group), file, offset, bytes_max)
    }

    /// Returns why the store has stopped writing, if it has.
    pub fn failed(&self) -> Option<StoreFault> {
        self.inner.wal.failed()
    }

    /// Returns whether there is less free room than the reserve: then nothing large is to be taken in.
    pub fn nearly_full(&self) -> bool {
        self.inner.wal.is_nearly_full()
    }

    /// Returns a fault if the disk is nearly full: to be asked before something large is proposed.
    pub fn admit(&self) -> Result<(), StoreFault> {
        if self.nearly_full() {
            return Err(StoreFault::DiskFull {
                file: self.inner.dir.clone(),
            });
        }
        Ok(())
    }

    /// Returns a fault if an import of so many bytes would make the disk nearly full.
    pub fn admit_import(&self, bytes: u64) -> Result<(), StoreFault> {
        let needed = bytes.saturating_add(self.inner.wal.config.reserve_bytes);
        if bytes > 0 && self.space()?.free_bytes < needed {
            return Err(StoreFault::DiskFull {
                file: self.inner.dir.clone(),
            });
        }
        Ok(())
    }

    /// Returns the disk's room.
    pub fn space(&self) -> Result<Space, StoreFault> {
        let space = self.inner.disk.space(&self.inner.dir);
        space.map_err(|error| StoreFault::io("look at", &self.inner.dir, &error))
    }

    /// Returns what the store takes.
    pub fn usage(&self) -> Result<Usage, StoreFault> {
        let space = self.space()?;
        self.inner.wal.note_room(space);
        let mut usage = Usage {
            wal_bytes: self.inner.wal.file_bytes(),
            log_memory_bytes: self.inner.wal.memory_bytes(),
            body_memory_bytes: self.inner.memory.bytes(),
            space,
            ..Usage::default()
        };
        for shelf in &self.inner.shelves {
            shelf.look(|contents| {
                usage.segment_bytes += contents.segments.bytes();
                usage.uncut_bodies += contents.uncut();
            });
        }
        Ok(usage)
    }

    /// Has the caller told whenever there is something for [`Store::step_log`] or [`Store::step_job`]. It is told while
    /// locks are held, so it must only take notice. For [`Driving::Caller`].
    pub fn on_work(&self, log: Wake, jobs: Wake) {
        self.inner.wal.tell(log);
        self.inner.jobs.tell(jobs);
    }

    /// Writes one batch of what is queued; returns whether there was anything. For [`Driving::Caller`].
    pub fn step_log(&self) -> bool {
        self.inner.wal.step()
    }

    /// Does one job in the background; returns whether there was any. For [`Driving::Caller`].
    pub fn step_job(&self) -> bool {
        self.inner.jobs.step()
    }

    /// Writes an empty batch if the last one is in doubt, as is done after a pause. For [`Driving::Caller`].
    pub fn settle(&self) {
        self.inner.wal.settle();
    }

    pub(crate) fn shelf(&self, group: GroupId) -> &Arc<Shelf> {
        assert!(group.0 < GroupId::COUNT, "a group's number is below 129");
        &self.inner.shelves[usize::from(group.0)]
    }
}

/// Makes the directory, takes its lock and checks its format.
fn prepare(disk: &dyn Disk, dir: &Path) -> Result<Box<dyn Send + Sync>, OpenError> {
    let unwritable = |error: io::Error| OpenError::Unwritable {
        dir: dir.to_owned(),
        text: error.to_string(),
    };
    disk.create_directory(dir).map_err(unwritable)?;
    let lock = disk
        .lock(&dir.join(LOCK_FILE))
        .map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => OpenError::Locked { dir: dir.to_owned() },
            _ => unwritable(error),
        })?;
    // Other things may be there: a file system's own folder, say.
    let names = disk.list(dir).map_err(unwritable)?;
    let is_new = !names.iter().any(|name| OUR_NAMES.contains(&name.as_str()));
    check_format(disk, dir, is_new)?;
    for name in [WAL_DIRECTORY, GROUPS_DIRECTORY] {
        disk.create_directory(&dir.join(name)).map_err(unwritable)?;
    }
    let sync = |directory: &Path| {
        disk.sync_directory(directory, SyncPoint::Layout)
            .map_err(|error| StoreFault::io("sync", directory, &error))
    };
    sync(dir)?;
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        sync(parent)?;
    }
    Ok(lock)
}

fn open_shelves(
    dir: &Path,
    disk: &Arc<dyn Disk>,
    wal: &Arc<Wal>,
    jobs: &Arc<Jobs>,
    memory: &Arc<BodyMemory>,
) -> Result<Vec<Arc<Shelf>>, StoreFault> {
    let directory = dir.join(GROUPS_DIRECTORY);
    Shelf::sync_names(&**disk, &directory)?;
    let names = disk
        .list(&directory)
        .map_err(|error| StoreFault::io("list", &directory, &error))?;
    let mut by_group: HashMap<&str, Vec<&str>> = HashMap::new();
    for name in &names {
        let group = name.split_once('-').map_or("", |(group, _)| group);
        by_group.entry(group).or_default().push(name);
    }
    let mut shelves = Vec::with_capacity(usize::from(GroupId::COUNT));
    for group in (0..GroupId::COUNT).map(GroupId) {
        let names = by_group.remove(group.file_prefix().as_str()).unwrap_or_default();
        let log = GroupLog {
            wal: Arc::clone(wal),
            group,
        };
        let (disk, jobs, memory) = (Arc::clone(disk), Arc::clone(jobs), Arc::clone(memory));
        let shelf = Shelf::open(group, disk, &directory, &names, log, jobs, memory)?;
        shelves.push(Arc::new(shelf));
    }
    Ok(shelves)
}

// === impl Inner ===

impl Inner {
    fn start(&self) -> Result<(), StoreFault> {
        let wal = Arc::clone(&self.wal);
        let jobs = Arc::clone(&self.jobs);
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work);
            thread.map_err(|error| StoreFault::io("start a thread for", &self.dir, &error))
        };
        let mut threads = self.threads.lock();
        threads.push(spawn("log", Box::new(move || write_log(&wal)))?);
        threads.push(spawn("store-jobs", Box::new(move || jobs.run()))?);
        Ok(())
    }

    fn close(&self) {
        self.wal.close();
        self.jobs.close();
        if self.wal.config.driving == Driving::Caller {
            while self.wal.step() {}
            self.wal.settle();
            while self.jobs.step() {}
        }
        let me = std::thread::current().id();
        for thread in std::mem::take(&mut *self.threads.lock()) {
            // The last clone may go in a callback, on one of these threads.
            if thread.thread().id() != me && thread.join().is_err() {
                tracing::error!("a thread of the store panicked");
            }
        }
        self.projection.close();
        self.lock.lock().take();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.wal.config.driving == Driving::Threads {
            self.close();
        }
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

/// Writes batches until the log is closed; after a pause, an empty one, once.
fn write_log(wal: &Arc<Wal>) {
    let mut quiet = None;
    loop {
        match wal.wait_for_work(quiet) {
            Work::Queued => {
                wal.step();
                quiet = wal.config.quiet;
            }
            Work::Quiet => {
                wal.settle();
                quiet = None;
            }
            Work::Closed => {
                wal.settle();
                return;
            }
        }
    }
}

// === impl NoBodies ===

impl Live for NoBodies {
    fn is_live(&self, _key: posthouse_model::BodyKey) -> bool {
        false
    }

    fn live_in(&self, _stream: posthouse_model::Incarnation, _sequences: posthouse_model::Sequences) -> u64 {
        0
    }
}
