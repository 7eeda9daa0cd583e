//! A disk in memory that forgets, for tests: what was not synced may be there after a crash, or not, or in part.
//!
//! - A write that was not synced is kept, lost or torn at a sector, each by itself, whatever came after it.
//! - A name that was created, changed or removed is so for certain only after its directory was synced.
//! - One kind of sync can be left out, a sync can fail (and then the bytes look written while they are not), the
//!   room can run out, and the machine can stop after any operation.
//!
//! All chance comes from a seed. A process that is killed, in contrast, loses nothing here: the page cache stays.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use crate::disk::{Disk, DiskFile, Opening, Space, SyncPoint};

/// What the drive writes whole or not at all.
const SECTOR_BYTES: usize = 64;

/// A disk in memory that forgets. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct CrashDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    chance: Chance,
    /// Counts crashes and kills: files opened before one are dead after it.
    life: u64,
    files: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    directories: BTreeSet<PathBuf>,
    durable_names: BTreeMap<PathBuf, usize>,
    durable_directories: BTreeSet<PathBuf>,
    /// What was done to names since their directory was synced.
    changes: Vec<Change>,
    locked: BTreeSet<PathBuf>,
    ignored: Option<SyncPoint>,
    failing: Option<SyncPoint>,
    fails_write_back: bool,
    /// The most that ever lay in a file and was neither synced nor written back.
    unwritten_max: usize,
    free_bytes: u64,
    operations: u64,
    stops_after: Option<u64>,
    stops_before: Option<SyncPoint>,
}

#[derive(Debug, Default)]
struct Inode {
    /// What a read sees.
    seen: Vec<u8>,
    /// What is there after a crash for certain.
    durable: Vec<u8>,
    pending: Vec<Pending>,
    /// Bytes that a sync would have to write first.
    unwritten: usize,
}

#[derive(Debug)]
enum Pending {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Debug)]
enum Change {
    Directory(PathBuf),
    Create(PathBuf, usize),
    Rename {
        from: PathBuf,
        to: PathBuf,
        inode: usize,
    },
    Remove(PathBuf),
}

#[derive(Debug)]
struct CrashFile {
    state: Arc<Mutex<State>>,
    inode: usize,
    life: u64,
}

struct CrashLock {
    state: Arc<Mutex<State>>,
    path: PathBuf,
    life: u64,
}

/// A small generator of chance (xorshift64*), so that a seed means the same everywhere.
#[derive(Clone, Debug)]
pub struct Chance(u64);

// === impl Chance ===

impl Chance {
    /// Returns chance that follows from a seed.
    pub fn new(seed: u64) -> Chance {
        // The generator must not start from zero, and close seeds must not look alike (splitmix64).
        let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Chance((mixed ^ (mixed >> 31)).max(1))
    }

    /// Returns any number.
    pub fn any(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Returns a number below a bound, or zero if the bound is.
    pub fn below(&mut self, bound: u64) -> u64 {
        (self.any() >> 16) % bound.max(1)
    }

    /// Returns true once in so many.
    pub fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

// === impl CrashDisk ===

impl CrashDisk {
    /// Returns an empty disk whose chance follows from a seed.
    pub fn new(seed: u64) -> CrashDisk {
        CrashDisk {
            state: Arc::new(Mutex::new(State {
                chance: Chance::new(seed),
                life: 0,
                files: Vec::new(),
                names: BTreeMap::new(),
                directories: BTreeSet::from([PathBuf::from("/")]),
                durable_names: BTreeMap::new(),
                durable_directories: BTreeSet::from([PathBuf::from("/")]),
                changes: Vec::new(),
                locked: BTreeSet::new(),
                ignored: None,
                failing: None,
                fails_write_back: false,
                unwritten_max: 0,
                free_bytes: u64::MAX / 2,
                operations: 0,
                stops_after: None,
                stops_before: None,
            })),
        }
    }

    /// Leaves out every sync of a kind from now on, while saying that it was done.
    pub fn ignore(&self, point: SyncPoint) {
        self.state.lock().ignored = Some(point);
    }

    /// Makes the next sync of a kind fail. As on Linux, the bytes look written after, and are not.
    pub fn fail_next(&self, point: SyncPoint) {
        self.state.lock().failing = Some(point);
    }

    /// Makes the next write-back of a file fail.
    pub fn fail_next_write_back(&self) {
        self.state.lock().fails_write_back = true;
    }

    /// Returns the most bytes that ever lay in a file and were neither synced nor written back.
    pub fn unwritten_max(&self) -> usize {
        self.state.lock().unwritten_max
    }

    /// Sets how many bytes of new file length are left.
    pub fn set_free(&self, bytes: u64) {
        self.state.lock().free_bytes = bytes;
    }

    /// Lets the machine stop after so many more operations: each one after that fails.
    pub fn stop_after(&self, operations: u64) {
        let mut state = self.state.lock();
        state.stops_after = Some(state.operations + operations);
    }

    /// Lets the machine stop when the next sync of a kind is about to be done.
    pub fn stop_before(&self, point: SyncPoint) {
        self.state.lock().stops_before = Some(point);
    }

    /// Returns whether the machine has stopped.
    pub fn has_stopped(&self) -> bool {
        self.state.lock().has_stopped()
    }

    /// Ends the process and nothing else: open files are dead, locks are free, and the page cache stays.
    pub fn kill(&self) {
        let mut state = self.state.lock();
        state.life += 1;
        state.locked.clear();
        state.stops_after = None;
        state.stops_before = None;
        state.failing = None;
    }

    /// Cuts the power: what was not synced is there, or not, or in part.
    pub fn cut_power(&self) {
        self.kill();
        self.state.lock().forget();
    }

    /// Flips a bit of a file, durably.
    ///
    /// # Panics
    ///
    /// When there is no such file or byte.
    pub fn flip(&self, path: &Path, offset: u64, bit: u8) {
        let mut state = self.state.lock();
        let inode = *state.names.get(path).expect("the file is there");
        let file = &mut state.files[inode];
        file.seen[offset as usize] ^= 1 << bit;
        if let Some(byte) = file.durable.get_mut(offset as usize) {
            *byte ^= 1 << bit;
        }
    }

    /// Returns a file's bytes as a read sees them.
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state.lock();
        state
            .names
            .get(path)
            .map(|inode| state.files[*inode].seen.clone())
    }

    fn begin(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state.lock();
        state.begin()?;
        Ok(state)
    }
}

impl Disk for CrashDisk {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        let mut state = self.begin()?;
        let mut missing = Vec::new();
        let mut at = Some(path);
        while let Some(directory) = at
            && !state.directories.contains(directory)
        {
            missing.push(directory.to_owned());
            at = directory.parent();
        }
        for directory in missing.into_iter().rev() {
            state.directories.insert(directory.clone());
            state.changes.push(Change::Directory(directory));
        }
        Ok(())
    }

    fn open(&self, path: &Path, how: Opening) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.begin()?;
        if !path
            .parent()
            .is_some_and(|parent| state.directories.contains(parent))
        {
            return Err(io::ErrorKind::NotFound.into());
        }
        let found = state.names.get(path).copied();
        let inode = match (how, found) {
            (Opening::Read | Opening::Write, None) => return Err(io::ErrorKind::NotFound.into()),
            (Opening::Read | Opening::Write, Some(inode)) => inode,
            (Opening::Create, Some(inode)) => {
                state.files[inode].set_length(0);
                inode
            }
            (Opening::Create, None) => {
                let inode = state.files.len();
                state.files.push(Inode::default());
                state.names.insert(path.to_owned(), inode);
                state.changes.push(Change::Create(path.to_owned(), inode));
                inode
            }
        };
        Ok(Arc::new(CrashFile {
            state: Arc::clone(&self.state),
            inode,
            life: state.life,
        }))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let state = self.begin()?;
        if !state.directories.contains(directory) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let all = state.names.keys().chain(&state.directories);
        let names = all.filter(|path| path.parent() == Some(directory));
        Ok(names
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.begin()?;
        let inode = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), inode);
        let (from, to) = (from.to_owned(), to.to_owned());
        state.changes.push(Change::Rename { from, to, inode });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.begin()?;
        let inode = state.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        let freed = state.files[inode].seen.len() as u64;
        state.free_bytes += freed;
        state.changes.push(Change::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_directory(&self, directory: &Path, point: SyncPoint) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.begin_sync(point)? {
            return Ok(());
        }
        if state.failing == Some(point) {
            state.failing = None;
            return Err(io::Error::other("injected failure of a sync"));
        }
        let changes = std::mem::take(&mut state.changes);
        for change in changes {
            if change.path().parent() == Some(directory) {
                state.settle(change);
            } else {
                state.changes.push(change);
            }
        }
        Ok(())
    }

    fn space(&self, _directory: &Path) -> io::Result<Space> {
        let state = self.state.lock();
        Ok(Space {
            free_bytes: state.free_bytes,
            total_bytes: u64::MAX / 2,
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        let mut state = self.begin()?;
        if !state.locked.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let (path, life) = (path.to_owned(), state.life);
        Ok(Box::new(CrashLock {
            state: Arc::clone(&self.state),
            path,
            life,
        }))
    }

    fn salt(&self) -> u64 {
        self.state.lock().chance.any()
    }
}

impl Drop for CrashLock {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        if state.life == self.life {
            state.locked.remove(&self.path);
        }
    }
}

// === impl State ===

impl State {
    fn begin(&mut self) -> io::Result<()> {
        self.operations += 1;
        if self.has_stopped() {
            return Err(io::Error::other("the machine has stopped"));
        }
        Ok(())
    }

    fn check_life(&self, life: u64) -> io::Result<()> {
        if self.life != life {
            return Err(io::Error::other("the process has ended"));
        }
        Ok(())
    }

    /// Begins a sync; returns whether it is one to be left out.
    fn begin_sync(&mut self, point: SyncPoint) -> io::Result<bool> {
        if self.stops_before == Some(point) {
            self.stops_after = Some(self.operations);
        }
        self.begin()?;
        Ok(self.ignored == Some(point))
    }

    fn has_stopped(&self) -> bool {
        self.stops_after.is_some_and(|last| self.operations > last)
    }

    /// Makes a change of names durable.
    fn settle(&mut self, change: Change) {
        match change {
            Change::Directory(path) => {
                self.durable_directories.insert(path);
            }
            Change::Create(path, inode) => {
                self.durable_names.insert(path, inode);
            }
            Change::Rename { from, to, inode } => {
                if self.durable_names.get(&from) == Some(&inode) {
                    self.durable_names.remove(&from);
                }
                self.durable_names.insert(to, inode);
            }
            Change::Remove(path) => {
                self.durable_names.remove(&path);
            }
        }
    }

    fn forget(&mut self) {
        for change in std::mem::take(&mut self.changes) {
            if self.chance.one_in(2) {
                self.settle(change);
            }
        }
        let directories = self.durable_directories.clone();
        self.durable_directories.retain(|directory| {
            directory
                .ancestors()
                .skip(1)
                .all(|ancestor| directories.contains(ancestor))
        });
        let directories = &self.durable_directories;
        self.durable_names
            .retain(|path, _| path.parent().is_some_and(|p| directories.contains(p)));
        self.names = self.durable_names.clone();
        self.directories = self.durable_directories.clone();
        for file in &mut self.files {
            file.forget(&mut self.chance);
        }
    }
}

impl Change {
    fn path(&self) -> &Path {
        match self {
            Change::Directory(path)
            | Change::Create(path, _)
            | Change::Rename { to: path, .. }
            | Change::Remove(path) => path,
        }
    }
}

// === impl Inode ===

impl Inode {
    fn set_length(&mut self, bytes: usize) {
        self.seen.resize(bytes, 0);
        self.pending.push(Pending::Length(bytes));
    }

    fn write(&mut self, bytes: &[u8], offset: usize) {
        put(&mut self.seen, bytes, offset);
        self.pending.push(Pending::Write {
            offset,
            bytes: bytes.to_owned(),
        });
        self.unwritten += bytes.len();
    }

    fn sync(&mut self) {
        self.unwritten = 0;
        for pending in self.pending.drain(..) {
            match pending {
                Pending::Write { offset, bytes } => put(&mut self.durable, &bytes, offset),
                Pending::Length(bytes) => self.durable.resize(bytes, 0),
            }
        }
    }

    fn forget(&mut self, chance: &mut Chance) {
        for pending in self.pending.drain(..) {
            let fate = chance.below(4);
            match pending {
                _ if fate == 0 => {}
                Pending::Length(bytes) => self.durable.resize(bytes, 0),
                Pending::Write { offset, bytes } if fate == 1 => {
                    put(&mut self.durable, &bytes, offset);
                }
                Pending::Write { offset, bytes } => {
                    let mut at = 0;
                    for sector in bytes.chunks(SECTOR_BYTES) {
                        if !chance.one_in(3) {
                            put(&mut self.durable, sector, offset + at);
                        }
                        at += sector.len();
                    }
                }
            }
        }
        self.seen = self.durable.clone();
    }
}

fn put(into: &mut Vec<u8>, bytes: &[u8], offset: usize) {
    let end = offset + bytes.len();
    if into.len() < end {
        into.resize(end, 0);
    }
    into[offset..end].copy_from_slice(bytes);
}

// === impl CrashFile ===

impl CrashFile {
    fn begin(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state.lock();
        state.check_life(self.life)?;
        state.begin()?;
        Ok(state)
    }
}

impl DiskFile for CrashFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.begin()?.files[self.inode].seen.len() as u64)
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.begin()?;
        let seen = &state.files[self.inode].seen;
        let from = (offset as usize).min(seen.len());
        let bytes = into.len().min(seen.len() - from);
        into[..bytes].copy_from_slice(&seen[from..from + bytes]);
        Ok(bytes)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.begin()?;
        let length = state.files[self.inode].seen.len() as u64;
        let grows = (offset + bytes.len() as u64).saturating_sub(length);
        if grows > state.free_bytes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.free_bytes -= grows;
        state.files[self.inode].write(bytes, offset as usize);
        state.unwritten_max = state.unwritten_max.max(state.files[self.inode].unwritten);
        Ok(())
    }

    fn sync(&self, point: SyncPoint) -> io::Result<()> {
        let mut state = self.state.lock();
        state.check_life(self.life)?;
        if state.begin_sync(point)? {
            return Ok(());
        }
        if state.failing == Some(point) {
            state.failing = None;
            state.files[self.inode].pending.clear();
            return Err(io::Error::other("injected failure of a sync"));
        }
        state.files[self.inode].sync();
        Ok(())
    }

    /// Nothing is durable by it: that is all a caller may count on.
    fn write_back(&self) -> io::Result<()> {
        let mut state = self.begin()?;
        if std::mem::take(&mut state.fails_write_back) {
            return Err(io::Error::other("injected failure of a write-back"));
        }
        state.files[self.inode].unwritten = 0;
        Ok(())
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.begin()?;
        let grows = bytes.saturating_sub(state.files[self.inode].seen.len() as u64);
        if grows > state.free_bytes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.free_bytes -= grows;
        state.files[self.inode].set_length(bytes as usize);
        Ok(())
    }
}
