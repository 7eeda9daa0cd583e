//! A cut: what is live goes from the log to segments, and a checkpoint names them.
//!
//! The order is what makes it safe. Segments are durable, with their names, before a checkpoint names them; the
//! checkpoint is durable, with its name, before anything that it replaces goes: tables, old segments, old
//! checkpoints, and (by the caller, once told) the log.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use posthouse_model::{BodyKey, LogIndex};

use super::{Live, Pieces, Place, Table};
use crate::checkpoint::{self, Checkpoint, Named};
use crate::disk::SyncPoint;
use crate::segment::{Segment, SegmentKind, SegmentName, SegmentWriter};
use crate::shelf::{Lost, Notes, Segments, Shelf};
use crate::{Done, KeepClass, StoreFault};

/// A segment smaller than this is merged with others, however much of it is live.
const SMALL_BYTES: u64 = 4 << 20;
/// How many bodies one cut takes over from other segments, at most; the rest waits for the next rewrite.
const REWRITTEN_MAX: u64 = 2_000_000;

/// What a cut is to do.
pub struct CutPlan {
    /// The index of the cut in the set's log.
    pub at: LogIndex,
    /// Segments to merge, by the index of the cut that made them: of these, the ones at most half live, or small.
    pub rewrite: Vec<LogIndex>,
    /// What is live at that index.
    pub live: Box<dyn Live>,
    /// Makes the bytes of the state at that index, in the background.
    pub state: Box<dyn FnOnce() -> Vec<u8> + Send>,
    /// What the caller keeps beside the state.
    pub meta: Bytes,
}

/// A cut under way.
struct Cut<'a> {
    shelf: &'a Shelf,
    at: LogIndex,
    live: Box<dyn Live>,
    writers: BTreeMap<KeepClass, SegmentWriter>,
    /// Whether any file was created, whose name is to be made durable.
    has_created: bool,
}

// === impl Shelf ===

impl Shelf {
    /// Queues a cut: what was inserted and noted so far belongs to it.
    pub(crate) fn cut(self: &Arc<Self>, plan: CutPlan, done: Done) {
        let at = plan.at;
        self.change(|contents| contents.freeze(at));
        let shelf = Arc::clone(self);
        let job = Box::new(move || {
            let answer = if shelf.jobs.is_closed() {
                Err(StoreFault::Closed)
            } else {
                shelf.memory.begin_cut(shelf.group, at);
                let answer = shelf.do_cut(plan);
                shelf.memory.end_cut(shelf.group, at, answer.is_ok());
                answer
            };
            done(answer);
        });
        // One that comes too late only says so.
        if let Err(late) = self.jobs.push(job) {
            late();
        }
    }

    fn do_cut(&self, plan: CutPlan) -> Result<(), StoreFault> {
        if let Some(fault) = self.log.wal.failed() {
            return Err(fault);
        }
        let is_done = self.look(|contents| contents.checkpoint >= Some(plan.at));
        if is_done {
            return Ok(());
        }
        let CutPlan {
            at,
            rewrite,
            live,
            state,
            meta,
        } = plan;
        let mut cut = Cut {
            shelf: self,
            at,
            live,
            writers: BTreeMap::new(),
            has_created: false,
        };
        let answer = cut.run(&rewrite, state, meta);
        if let Err(fault) = &answer {
            tracing::warn!(group = self.group.0, %at, %fault, "a cut failed");
            // What it wrote is named by nothing.
            self.remove_unnamed();
            if fault.is_of_sync() {
                self.log.wal.fail(fault);
            }
        }
        self.log.wal.look_at_room();
        answer
    }
}

// === impl Cut ===

impl Cut<'_> {
    fn run(
        &mut self,
        rewrite: &[LogIndex],
        state: Box<dyn FnOnce() -> Vec<u8> + Send>,
        meta: Bytes,
    ) -> Result<(), StoreFault> {
        let ((tables, notes), before) = self
            .shelf
            .look(|contents| (contents.frozen_to(self.at), Arc::clone(&contents.segments)));
        let (mut kept, lost) = self.merge(&before, rewrite)?;
        self.write_tables(&tables)?;
        for (_, writer) in std::mem::take(&mut self.writers) {
            kept.push(Arc::new(writer.finish(
                &*self.shelf.disk,
                &self.shelf.directory,
                SyncPoint::SegmentFile,
            )?));
        }
        kept.sort_by_key(|segment| segment.name);
        let decisions = self.write_notes(&notes)?;
        if self.has_created {
            let directory = &self.shelf.directory;
            self.shelf
                .disk
                .sync_directory(directory, SyncPoint::SegmentDirectory)
                .map_err(|error| StoreFault::io("sync", directory, &error))?;
        }
        let mut named: Vec<Named> = kept.iter().map(|segment| Named::of(segment)).collect();
        named.extend(lost.iter().map(|lost| lost.named));
        let checkpoint = Checkpoint {
            at: self.at,
            meta,
            state: Bytes::from(state()),
        };
        let shelf = self.shelf;
        checkpoint::write(&*shelf.disk, &shelf.directory, shelf.group, &checkpoint, &named)?;
        shelf.change(|contents| {
            contents.install(
                self.at,
                Segments::with_lost(kept, lost),
                tables.len(),
                notes.len(),
                decisions,
            );
        });
        shelf.remove_unnamed();
        Ok(())
    }

    /// Takes over what is live of the segments to merge; returns those that stay, and of these the ones that cannot be
    /// looked into.
    fn merge(
        &mut self,
        before: &Segments,
        rewrite: &[LogIndex],
    ) -> Result<(Vec<Arc<Segment>>, Vec<Lost>), StoreFault> {
        let lost = before.lost().to_vec();
        if let Some(needed) = lost
            .iter()
            .find(|lost| rewrite.contains(&lost.named.name.made_at))
        {
            return Err(needed.wrong.fault());
        }
        let mut kept = Vec::new();
        let mut rewritten = 0;
        // Its own: consumers keep what they read.
        let pieces = Pieces::default();
        for segment in before.iter() {
            let is_dead = segment
                .streams
                .iter()
                .all(|summary| self.live.live_in(summary.stream, summary.first..=summary.last) == 0);
            if is_dead {
                continue;
            }
            if !rewrite.contains(&segment.name.made_at) {
                kept.push(Arc::clone(segment));
                continue;
            }
            let mut entries = Vec::new();
            let read = segment.each_entry(|entry| {
                if self.live.is_live(entry.key) {
                    entries.push(entry);
                }
            });
            self.shelf.noted(segment, read)?;
            let live = entries.len() as u64;
            let is_worth_it = live * 2 <= segment.entries || segment.bytes < SMALL_BYTES;
            if !is_worth_it || rewritten + live > REWRITTEN_MAX {
                kept.push(Arc::clone(segment));
                continue;
            }
            rewritten += live;
            entries.sort_unstable_by_key(|entry| entry.position);
            let SegmentKind::Bodies(class) = segment.name.kind else {
                continue;
            };
            for entry in entries {
                let bytes = self.shelf.noted(segment, segment.get_along(&entry, &pieces))?;
                self.writer(class)?.put(entry.key, entry.time, &bytes)?;
            }
        }
        Ok((kept, lost))
    }

    /// Writes what is live of the tables, in the order of the log, so that each entry is decoded once.
    fn write_tables(&mut self, tables: &[Arc<Table>]) -> Result<(), StoreFault> {
        let mut found: Vec<(Place, BodyKey, KeepClass)> = Vec::new();
        for table in tables {
            table.each(|key, place, class| {
                if self.live.is_live(key) {
                    found.push((place, key, class));
                }
            });
        }
        found.sort_unstable();
        let mut bytes = Vec::new();
        // Messages of an entry follow each other: it is looked for once.
        for of_entry in found.chunk_by(|(one, ..), (next, ..)| one.index == next.index) {
            self.write_messages(of_entry, &mut bytes)?;
        }
        Ok(())
    }

    /// Writes messages of one entry.
    fn write_messages(
        &mut self,
        found: &[(Place, BodyKey, KeepClass)],
        bytes: &mut Vec<u8>,
    ) -> Result<(), StoreFault> {
        let Some(&(first, key, _)) = found.first() else {
            return Ok(());
        };
        let entry = self.shelf.entry(first.index)?;
        let entry = entry.ok_or_else(|| self.shelf.missing(key))?;
        for &(place, key, class) in found {
            let message = entry
                .message(place.submission, place.ordinal)
                .ok_or_else(|| self.shelf.not_there(place))?;
            bytes.clear();
            posthouse_wire::encode_stored_message_onto(bytes, message, entry.now);
            self.writer(class)?.put(key, entry.now, bytes)?;
        }
        self.shelf.memory.note_written(self.shelf.group, first.index);
        Ok(())
    }

    fn write_notes(&mut self, notes: &[Arc<Notes>]) -> Result<Option<Arc<Segment>>, StoreFault> {
        if notes.iter().all(|notes| notes.is_empty()) {
            return Ok(None);
        }
        let name = self.name(SegmentKind::Decisions);
        self.has_created = true;
        let mut writer = SegmentWriter::create(&*self.shelf.disk, &self.shelf.directory, name)?;
        Notes::merge(notes, |key, time, bytes| writer.put(key, time, bytes))?;
        let shelf = self.shelf;
        let file = writer.finish(&*shelf.disk, &shelf.directory, SyncPoint::DecisionsFile)?;
        Ok(Some(Arc::new(file)))
    }

    fn writer(&mut self, class: KeepClass) -> Result<&mut SegmentWriter, StoreFault> {
        let name = self.name(SegmentKind::Bodies(class));
        match self.writers.entry(class) {
            std::collections::btree_map::Entry::Occupied(there) => Ok(there.into_mut()),
            std::collections::btree_map::Entry::Vacant(free) => {
                self.has_created = true;
                let shelf = self.shelf;
                Ok(free.insert(SegmentWriter::create(&*shelf.disk, &shelf.directory, name)?))
            }
        }
    }

    fn name(&self, kind: SegmentKind) -> SegmentName {
        SegmentName {
            group: self.shelf.group,
            made_at: self.at,
            kind,
        }
    }
}
