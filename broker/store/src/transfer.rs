//! A checkpoint with its segments, from one node's store to another's: a Raft snapshot.
//!
//! The receiving side fetches only what it lacks, in pieces of any size, checks every record, and lets the checkpoint
//! in as a cut does: segments durable first, then the checkpoint that names them.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use posthouse_model::LogIndex;

use crate::checkpoint::{self, Checkpoint, Named, PARTIAL_SUFFIX};
use crate::disk::{DiskFile, Opening, SyncPoint, WrittenBack};
use crate::segment::{Segment, SegmentKind, SegmentName};
use crate::shelf::{Segments, Shelf};
use crate::{Done, KeepClass, StoreFault};

/// How often an export starts anew because a cut put another checkpoint in place.
const EXPORT_TRIES_MAX: usize = 8;

/// A segment as it is named between nodes. Replicas that cut at the same index have the same files.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct SegmentFile {
    /// The index of the cut that made it.
    pub made_at: LogIndex,
    /// How long its messages are kept, at most.
    pub class: KeepClass,
    /// Its size.
    pub bytes: u64,
    /// Its digest.
    pub digest: u32,
}

/// A checkpoint with its segments, open to be read.
#[derive(Debug)]
pub struct Export {
    checkpoint: Checkpoint,
    segments: Vec<Arc<Segment>>,
}

/// A checkpoint with its segments, on its way in: one at a time for a group. What was fetched goes when this is dropped
/// without a commit.
pub struct Import {
    shelf: Arc<Shelf>,
    files: Vec<SegmentFile>,
    parts: Mutex<Parts>,
}

/// What is here of an import's segments. None of it is removed as not needed while it stands here.
#[derive(Default)]
struct Parts {
    /// Segments that are here in full.
    whole: BTreeMap<SegmentFile, Arc<Segment>>,
    /// Segments of which a part is here, or all that is yet to be checked.
    fetched: BTreeMap<SegmentFile, Fetched>,
}

/// A segment of which a part is here.
#[derive(Clone)]
struct Fetched {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    bytes: u64,
    written_back: WrittenBack,
}

// === impl SegmentFile ===

impl SegmentFile {
    fn of(segment: &Segment) -> Option<SegmentFile> {
        SegmentFile::named(&Named::of(segment))
    }

    pub(crate) fn named(named: &Named) -> Option<SegmentFile> {
        let SegmentKind::Bodies(class) = named.name.kind else {
            return None;
        };
        let (made_at, bytes, digest) = (named.name.made_at, named.bytes, named.digest);
        Some(SegmentFile {
            made_at,
            class,
            bytes,
            digest,
        })
    }

    fn name(&self, shelf: &Shelf) -> SegmentName {
        let (group, made_at) = (shelf.group, self.made_at);
        SegmentName {
            group,
            made_at,
            kind: SegmentKind::Bodies(self.class),
        }
    }
}

// === impl Export ===

impl Export {
    pub(crate) fn open(shelf: &Shelf) -> Result<Option<Export>, StoreFault> {
        for _ in 0..EXPORT_TRIES_MAX {
            let (at, segments) = shelf.look(|contents| (contents.checkpoint, Arc::clone(&contents.segments)));
            if at.is_none() {
                return Ok(None);
            }
            if let Some(lost) = segments.lost().first() {
                return Err(lost.wrong.fault());
            }
            let found = shelf.checkpoint()?;
            if let Some(checkpoint) = found.filter(|checkpoint| Some(checkpoint.at) == at) {
                let segments = segments.iter().cloned().collect();
                return Ok(Some(Export { checkpoint, segments }));
            }
        }
        Err(StoreFault::Io {
            doing: "export from",
            file: shelf.directory.clone(),
            text: "checkpoints change faster than they can be read".to_owned(),
        })
    }

    /// Returns the checkpoint.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Returns the segments that it names.
    pub fn files(&self) -> Vec<SegmentFile> {
        self.segments
            .iter()
            .filter_map(|segment| SegmentFile::of(segment))
            .collect()
    }

    /// Reads a piece of a segment; nothing if there is no such one, or at its end.
    pub fn read(&self, file: SegmentFile, offset: u64, bytes_max: usize) -> Result<Bytes, StoreFault> {
        let found = self
            .segments
            .iter()
            .find(|segment| SegmentFile::of(segment) == Some(file));
        found.map_or(Ok(Bytes::new()), |segment| segment.read_raw(offset, bytes_max))
    }
}

// === impl Import ===

impl Import {
    pub(crate) fn begin(shelf: &Arc<Shelf>, files: Vec<SegmentFile>) -> Import {
        Import::with(shelf, files, Parts::default())
    }

    /// Goes on with other segments: of what is here, what is among them stays.
    pub fn turn_to(self, files: Vec<SegmentFile>) -> Import {
        let shelf = Arc::clone(&self.shelf);
        let wanted: BTreeSet<SegmentFile> = files.iter().copied().collect();
        let parts = {
            let mut parts = self.parts.lock();
            Parts {
                whole: take_wanted(&mut parts.whole, &wanted),
                fetched: take_wanted(&mut parts.fetched, &wanted),
            }
        };
        drop(self);
        Import::with(&shelf, files, parts)
    }

    fn with(shelf: &Arc<Shelf>, files: Vec<SegmentFile>, mut parts: Parts) -> Import {
        for file in &files {
            if parts.whole.contains_key(file) || parts.fetched.contains_key(file) {
                continue;
            }
            if let Some(segment) = pin(shelf, *file) {
                parts.whole.insert(*file, segment);
            }
        }
        Import {
            shelf: Arc::clone(shelf),
            files,
            parts: Mutex::new(parts),
        }
    }

    /// Returns the segments that are not here in full, and how much of each is.
    pub fn missing(&self) -> Vec<(SegmentFile, u64)> {
        let have = self.files.iter().map(|file| (*file, self.have(*file)));
        have.filter(|(file, have)| have < &file.bytes).collect()
    }

    /// Returns how much of a segment is here.
    pub fn have(&self, file: SegmentFile) -> u64 {
        let parts = self.parts.lock();
        if parts.whole.contains_key(&file) {
            return file.bytes;
        }
        parts.fetched.get(&file).map_or(0, |fetched| fetched.bytes)
    }

    /// Returns whether every segment is here and was checked: a commit needs nothing more.
    pub fn is_whole(&self) -> bool {
        let parts = self.parts.lock();
        self.files.iter().all(|file| parts.whole.contains_key(file))
    }

    /// Takes in the next piece of a segment. One that does not follow what is here is passed over.
    pub fn write(&self, file: SegmentFile, offset: u64, bytes: &[u8]) -> Result<(), StoreFault> {
        let mut parts = self.parts.lock();
        if !self.files.contains(&file) || parts.whole.contains_key(&file) {
            return Ok(());
        }
        let piece = match parts.fetched.entry(file) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(free) => free.insert(self.create(file)?),
        };
        let end = offset.saturating_add(bytes.len() as u64);
        if offset != piece.bytes || end > file.bytes {
            return Ok(());
        }
        piece
            .file
            .write_at(bytes, offset)
            .map_err(|error| StoreFault::io("write", &piece.path, &error))?;
        piece.bytes = end;
        let written_back = piece
            .written_back
            .keep_up(&*piece.file, end)
            .map_err(|error| StoreFault::io("sync", &piece.path, &error));
        self.stopping_on_sync(written_back)
    }

    /// Checks a segment that was fetched in full, and makes it durable. One that is damaged is let go of, so that it
    /// can be fetched anew.
    pub fn settle(&self, file: SegmentFile) -> Result<(), StoreFault> {
        let Some(fetched) = self.parts.lock().fetched.remove(&file) else {
            return Ok(());
        };
        let answer = self.name_fetched(file, &fetched);
        if let Err(fault) = &answer
            && fault.is_of_sync()
        {
            self.shelf.log.wal.fail(fault);
        }
        forget(&self.shelf, &fetched);
        match answer {
            Ok(segment) => {
                self.parts.lock().whole.insert(file, Arc::new(segment));
                Ok(())
            }
            Err(fault) => {
                let name = file.name(&self.shelf).file_name(file.digest);
                self.shelf.importing.lock().remove(&name);
                Err(fault)
            }
        }
    }

    /// Checks what was fetched and puts the checkpoint in place of all that the group has beside its log, in the
    /// background. Once `done` is told so, it is durable. One that is no newer than what is here changes nothing.
    pub fn commit(self, checkpoint: Checkpoint, done: Done) {
        let jobs = Arc::clone(&self.shelf.jobs);
        let job = Box::new(move || {
            let answer = if self.shelf.jobs.is_closed() {
                Err(StoreFault::Closed)
            } else {
                self.do_commit(&checkpoint)
            };
            // Whoever is told may begin another.
            drop(self);
            done(answer);
        });
        if let Err(late) = jobs.push(job) {
            late();
        }
    }

    /// Puts the segments, each of which is to be here in full by now, in the place of damaged ones, in the background.
    /// Once `done` is told so, that is durable. What nothing names any more changes nothing.
    pub fn mend(self, done: Done) {
        let jobs = Arc::clone(&self.shelf.jobs);
        let job = Box::new(move || {
            let answer = if self.shelf.jobs.is_closed() {
                Err(StoreFault::Closed)
            } else {
                self.stopping_on_sync(self.do_mend())
            };
            drop(self);
            done(answer);
        });
        if let Err(late) = jobs.push(job) {
            late();
        }
    }

    fn do_mend(&self) -> Result<(), StoreFault> {
        let shelf = &*self.shelf;
        let whole = self.take_whole()?;
        shelf
            .disk
            .sync_directory(&shelf.directory, SyncPoint::SegmentDirectory)
            .map_err(|error| StoreFault::io("sync", &shelf.directory, &error))?;
        for segment in whole {
            if shelf.change(|contents| contents.mend(&segment)) {
                tracing::info!(group = %shelf.group, file = %segment.path.display(), "mended");
            }
        }
        Ok(())
    }

    /// Returns the segments, checked and durable but for their names.
    fn take_whole(&self) -> Result<Vec<Arc<Segment>>, StoreFault> {
        let shelf = &*self.shelf;
        let mut list = Vec::with_capacity(self.files.len());
        for file in &self.files {
            self.settle(*file)?;
            let segment = self.parts.lock().whole.get(file).cloned();
            list.push(segment.ok_or_else(|| {
                let path = shelf.directory.join(file.name(shelf).file_name(file.digest));
                StoreFault::corrupt(&path, 0, file.bytes, "the segment was not fetched")
            })?);
        }
        Ok(list)
    }

    fn stopping_on_sync(&self, answer: Result<(), StoreFault>) -> Result<(), StoreFault> {
        if let Err(fault) = &answer
            && fault.is_of_sync()
        {
            self.shelf.log.wal.fail(fault);
        }
        answer
    }

    fn create(&self, file: SegmentFile) -> Result<Fetched, StoreFault> {
        let name = file.name(&self.shelf).file_name(file.digest) + PARTIAL_SUFFIX;
        let path = self.shelf.directory.join(&name);
        self.shelf.importing.lock().insert(name);
        let opened = self.shelf.disk.open(&path, Opening::Create);
        let opened = opened.map_err(|error| StoreFault::io("create", &path, &error))?;
        Ok(Fetched {
            file: opened,
            path,
            bytes: 0,
            written_back: WrittenBack::default(),
        })
    }

    fn do_commit(&self, checkpoint: &Checkpoint) -> Result<(), StoreFault> {
        let shelf = &*self.shelf;
        if shelf.look(|contents| contents.checkpoint >= Some(checkpoint.at)) {
            return Ok(());
        }
        self.stopping_on_sync(self.install(checkpoint))
    }

    fn install(&self, checkpoint: &Checkpoint) -> Result<(), StoreFault> {
        let shelf = &*self.shelf;
        let mut list = self.take_whole()?;
        shelf
            .disk
            .sync_directory(&shelf.directory, SyncPoint::SegmentDirectory)
            .map_err(|error| StoreFault::io("sync", &shelf.directory, &error))?;
        list.sort_by_key(|segment| segment.name);
        let named: Vec<Named> = list.iter().map(|segment| Named::of(segment)).collect();
        checkpoint::write(&*shelf.disk, &shelf.directory, shelf.group, checkpoint, &named)?;
        shelf.change(|contents| contents.replace(checkpoint.at, Segments::new(list)));
        shelf.memory.forget(shelf.group);
        shelf.remove_unnamed();
        Ok(())
    }

    /// Checks a fetched segment, makes it durable and gives it its name.
    fn name_fetched(&self, file: SegmentFile, fetched: &Fetched) -> Result<Segment, StoreFault> {
        let shelf = &*self.shelf;
        let name = file.name(shelf);
        let segment = Segment::open_path(&*shelf.disk, &fetched.path, name)?;
        if segment.bytes != file.bytes || segment.digest != file.digest {
            return Err(StoreFault::corrupt(
                &fetched.path,
                0,
                segment.bytes,
                "the segment is another than was named",
            ));
        }
        segment.check()?;
        fetched
            .file
            .sync(SyncPoint::SegmentFile)
            .map_err(|error| StoreFault::io("sync", &fetched.path, &error))?;
        let named = name.file_name(file.digest);
        let path = shelf.directory.join(&named);
        shelf.importing.lock().insert(named);
        shelf
            .disk
            .rename(&fetched.path, &path)
            .map_err(|error| StoreFault::io("rename", &fetched.path, &error))?;
        Segment::open(&*shelf.disk, &shelf.directory, name, file.digest)
    }
}

impl Drop for Import {
    fn drop(&mut self) {
        let parts = std::mem::take(&mut *self.parts.lock());
        for fetched in parts.fetched.values() {
            forget(&self.shelf, fetched);
        }
        let mut is_left = false;
        for file in parts.whole.keys() {
            let name = file.name(&self.shelf).file_name(file.digest);
            self.shelf.importing.lock().remove(&name);
            is_left |= !self.shelf.look(|contents| contents.names(&name));
        }
        if is_left {
            // A cut may be making the same file: what nothing names is looked for where cuts are made. When that is
            // too late, it is at the next start.
            let shelf = Arc::clone(&self.shelf);
            let _ = self.shelf.jobs.push(Box::new(move || shelf.remove_unnamed()));
        }
    }
}

impl std::fmt::Debug for Import {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Import")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

/// Reads a piece of a segment that is here as a whole.
pub(crate) fn read_segment(
    shelf: &Shelf,
    file: SegmentFile,
    offset: u64,
    bytes_max: usize,
) -> Result<Option<Bytes>, StoreFault> {
    let name = file.name(shelf);
    let found = shelf.look(|contents| contents.segments.find(name, file.digest).cloned());
    let found = found.filter(|segment| segment.bytes == file.bytes && segment.wrong().is_none());
    found
        .map(|segment| shelf.noted(&segment, segment.read_raw(offset, bytes_max)))
        .transpose()
}

/// Returns a segment if it is here, and sees to it that no cut removes it from now on.
fn pin(shelf: &Shelf, file: SegmentFile) -> Option<Arc<Segment>> {
    let name = file.name(shelf);
    let file_name = name.file_name(file.digest);
    // First this, then the look: what is still named then, is not removed.
    shelf.importing.lock().insert(file_name.clone());
    let found = shelf.look(|contents| contents.segments.find(name, file.digest).cloned());
    // One that is damaged is fetched anew.
    let found = found.filter(|segment| segment.bytes == file.bytes && segment.wrong().is_none());
    if found.is_none() {
        shelf.importing.lock().remove(&file_name);
    }
    found
}

/// Lets go of a segment's file that was not given its name, or no longer has this one.
fn forget(shelf: &Shelf, fetched: &Fetched) {
    if let Some(name) = fetched.path.file_name().and_then(|name| name.to_str()) {
        shelf.importing.lock().remove(name);
    }
    // Once it was named it is not there, else it is not needed.
    let _ = shelf.disk.remove(&fetched.path);
}

fn take_wanted<T>(
    parts: &mut BTreeMap<SegmentFile, T>,
    wanted: &BTreeSet<SegmentFile>,
) -> BTreeMap<SegmentFile, T> {
    let (taken, left) = std::mem::take(parts)
        .into_iter()
        .partition(|(file, _)| wanted.contains(file));
    *parts = left;
    taken
}
