//! Checkpoints: a group's state at one index of its log, with the segments that hold its bodies.
//!
//! ```text
//! magic 8 | crc 4 | group 1 | 0 3 | at 8 | meta 4 | segments 4 | state 8     40 bytes; the crc covers the rest
//! per segment: made at 8 | kind 1 | 0 3 | digest 4 | bytes 8                 24 bytes
//! meta, state
//! ```
//!
//! A checkpoint is written under another name, made durable and then renamed, after all that it names is durable.

use std::path::Path;

use bytes::Bytes;
use posthouse_model::LogIndex;

use crate::bytes_at::{put_u32, put_u64, u32_at, u64_at};
use crate::disk::{Disk, Opening, SyncPoint, read_whole};
use crate::segment::{Segment, SegmentKind, SegmentName};
use crate::sequential::SequentialWriter;
use crate::{Damage, GroupId, StoreFault};

const MAGIC: [u8; 8] = *b"PHCKP\0\0\x01";
const HEADER_BYTES: usize = 40;
const SEGMENT_BYTES: usize = 24;
/// What files end with that are still being written.
pub(crate) const PARTIAL_SUFFIX: &str = ".partial";

/// A group's state at one index of its log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Checkpoint {
    /// The index: entries up to it are in the state.
    pub at: LogIndex,
    /// What the caller keeps beside the state: term, membership.
    pub meta: Bytes,
    /// The state.
    pub state: Bytes,
}

/// A segment as a checkpoint names it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Named {
    pub(crate) name: SegmentName,
    pub(crate) digest: u32,
    pub(crate) bytes: u64,
}

/// Returns a checkpoint's file name.
pub(crate) fn file_name(group: GroupId, at: LogIndex) -> String {
    format!("{:03}-{:020}.checkpoint", group.0, at.0)
}

/// Returns group and index of a checkpoint by its file's name.
pub(crate) fn parse_file_name(name: &str) -> Option<(GroupId, LogIndex)> {
    let (group, at) = name.strip_suffix(".checkpoint")?.split_once('-')?;
    Some((GroupId(group.parse().ok()?), LogIndex(at.parse().ok()?)))
}

/// Writes a checkpoint and makes it durable, under its name.
pub(crate) fn write(
    disk: &dyn Disk,
    directory: &Path,
    group: GroupId,
    checkpoint: &Checkpoint,
    segments: &[Named],
) -> Result<(), StoreFault> {
    let name = file_name(group, checkpoint.at);
    let partial = directory.join(format!("{name}{PARTIAL_SUFFIX}"));
    let head = encode_head(group, checkpoint, segments);
    let mut file = SequentialWriter::create(disk, partial)?;
    file.put(&head)?;
    file.put(&checkpoint.state)?;
    file.finish(disk, &directory.join(name), SyncPoint::CheckpointFile)?;
    disk.sync_directory(directory, SyncPoint::CheckpointDirectory)
        .map_err(|error| StoreFault::io("sync", directory, &error))
}

/// Reads a checkpoint that was durable.
pub(crate) fn read(
    disk: &dyn Disk,
    path: &Path,
    group: GroupId,
    at: LogIndex,
) -> Result<(Checkpoint, Vec<Named>), StoreFault> {
    let bytes = disk
        .open(path, Opening::Read)
        .and_then(|file| read_whole(&*file))
        .map_err(|error| StoreFault::io("read", path, &error))?;
    decode(Bytes::from(bytes), group, at).map_err(|damage| StoreFault::damage(path, &damage))
}

fn encode_head(group: GroupId, checkpoint: &Checkpoint, segments: &[Named]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_BYTES + segments.len() * SEGMENT_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[12] = group.0;
    put_u64(&mut bytes, 16, checkpoint.at.0);
    put_u32(&mut bytes, 24, checkpoint.meta.len() as u32);
    put_u32(&mut bytes, 28, segments.len() as u32);
    put_u64(&mut bytes, 32, checkpoint.state.len() as u64);
    for (place, named) in segments.iter().enumerate() {
        let at = HEADER_BYTES + place * SEGMENT_BYTES;
        put_u64(&mut bytes, at, named.name.made_at.0);
        bytes[at + 8] = named.name.kind.encode();
        put_u32(&mut bytes, at + 12, named.digest);
        put_u64(&mut bytes, at + 16, named.bytes);
    }
    bytes.extend_from_slice(&checkpoint.meta);
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[12..]), &checkpoint.state);
    put_u32(&mut bytes, 8, crc);
    bytes
}

fn decode(bytes: Bytes, group: GroupId, at: LogIndex) -> Result<(Checkpoint, Vec<Named>), Damage> {
    let damage = |what| Damage {
        offset: 0,
        bytes: bytes.len() as u64,
        what,
    };
    if bytes.len() < HEADER_BYTES || bytes[..8] != MAGIC {
        return Err(damage("not a checkpoint of this version"));
    }
    if crc32c::crc32c(&bytes[12..]) != u32_at(&bytes, 8) {
        return Err(damage("the checkpoint's checksum is wrong"));
    }
    let (meta_bytes, count) = (u32_at(&bytes, 24) as usize, u32_at(&bytes, 28) as usize);
    let meta_at = count
        .checked_mul(SEGMENT_BYTES)
        .and_then(|b| b.checked_add(HEADER_BYTES));
    let state_at = meta_at.and_then(|meta_at| meta_at.checked_add(meta_bytes));
    let end = usize::try_from(u64_at(&bytes, 32))
        .ok()
        .and_then(|state_bytes| state_bytes.checked_add(state_at?));
    let (Some(meta_at), Some(state_at), true) = (meta_at, state_at, end == Some(bytes.len())) else {
        return Err(damage("the checkpoint's lengths do not add up"));
    };
    if bytes[12] != group.0 || u64_at(&bytes, 16) != at.0 {
        return Err(damage("the checkpoint is another than its name says"));
    }
    let mut segments = Vec::with_capacity(count);
    for chunk in bytes[HEADER_BYTES..meta_at].chunks_exact(SEGMENT_BYTES) {
        let kind = SegmentKind::parse(chunk[8])
            .ok_or_else(|| damage("the checkpoint names a segment of an unknown kind"))?;
        let name = SegmentName {
            group,
            made_at: LogIndex(u64_at(chunk, 0)),
            kind,
        };
        segments.push(Named {
            name,
            digest: u32_at(chunk, 12),
            bytes: u64_at(chunk, 16),
        });
    }
    let checkpoint = Checkpoint {
        at,
        meta: bytes.slice(meta_at..state_at),
        state: bytes.slice(state_at..),
    };
    Ok((checkpoint, segments))
}

// === impl Named ===

impl Named {
    pub(crate) fn of(segment: &Segment) -> Named {
        Named {
            name: segment.name,
            digest: segment.digest,
            bytes: segment.bytes,
        }
    }

    /// Opens the segment and checks that it is the one that was named.
    pub(crate) fn open(&self, disk: &dyn Disk, directory: &Path) -> Result<Segment, StoreFault> {
        let segment = Segment::open(disk, directory, self.name, self.digest)?;
        if segment.bytes != self.bytes {
            let what = "the segment is another than the checkpoint says";
            return Err(StoreFault::corrupt(&segment.path, 0, segment.bytes, what));
        }
        Ok(segment)
    }
}
