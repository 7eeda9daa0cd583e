//! Whose directory it is, and in which format: two small files, written whole or not at all.

use std::io;
use std::path::Path;

use posthouse_model::ReplicaId;

use crate::bytes_at::{put_u32, put_u64, u32_at, u64_at};
use crate::disk::{Disk, Opening, SyncPoint, read_whole};
use crate::{GroupId, OpenError, StoreFault};

/// The format that this version writes, and the newest it reads.
pub(crate) const FORMAT: u32 = 1;

const FORMAT_FILE: &str = "FORMAT";
pub(crate) const IDENTITY_FILE: &str = "IDENTITY";
const PARTIAL_SUFFIX: &str = ".partial";
const FORMAT_PREFIX: &str = "posthouse data directory, format ";
const IDENTITY_MAGIC: [u8; 8] = *b"PHIDE\0\0\x01";
const IDENTITY_HEADER_BYTES: usize = 40;
const REPLICA_BYTES: usize = 9;

/// Names a cluster: drawn when it is founded.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ClusterId(pub u128);

/// Who a data directory belongs to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node's label.
    pub node: u32,
    /// Which replica this is of each group it is one of.
    pub replicas: Vec<(GroupId, ReplicaId)>,
}

/// Checks the format of a data directory; a new one is given this version's.
pub(crate) fn check_format(disk: &dyn Disk, dir: &Path, is_new: bool) -> Result<(), OpenError> {
    let path = dir.join(FORMAT_FILE);
    let Some(bytes) = read(disk, &path)? else {
        if !is_new {
            return Err(OpenError::Corrupt {
                file: path,
                offset: 0,
                bytes: 0,
                what: "the file is missing, though the directory is not empty".into(),
            });
        }
        let text = format!("{FORMAT_PREFIX}{FORMAT}\n");
        return Ok(write(disk, dir, FORMAT_FILE, text.as_bytes())?);
    };
    let text = String::from_utf8_lossy(&bytes);
    let found = text
        .strip_prefix(FORMAT_PREFIX)
        .and_then(|rest| rest.trim_end().parse().ok());
    match found {
        Some(FORMAT) => Ok(()),
        Some(found) if found > FORMAT => Err(OpenError::NewerFormat {
            dir: dir.to_owned(),
            found,
            known: FORMAT,
        }),
        _ => Err(OpenError::Corrupt {
            file: path,
            offset: 0,
            bytes: bytes.len() as u64,
            what: "it does not name a format".into(),
        }),
    }
}

/// Reads a data directory's identity, if it has one.
pub(crate) fn read_identity(disk: &dyn Disk, dir: &Path) -> Result<Option<Identity>, StoreFault> {
    let path = dir.join(IDENTITY_FILE);
    let Some(bytes) = read(disk, &path)? else {
        return Ok(None);
    };
    match Identity::decode(&bytes) {
        Some(identity) => Ok(Some(identity)),
        None => Err(StoreFault::corrupt(
            &path,
            0,
            bytes.len() as u64,
            "it is not an identity, or its checksum is wrong",
        )),
    }
}

/// Writes a data directory's identity.
pub(crate) fn write_identity(disk: &dyn Disk, dir: &Path, identity: &Identity) -> Result<(), StoreFault> {
    write(disk, dir, IDENTITY_FILE, &identity.encode())
}

fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Vec<u8>>, StoreFault> {
    match disk.open(path, Opening::Read).and_then(|file| read_whole(&*file)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreFault::io("read", path, &error)),
    }
}

fn write(disk: &dyn Disk, dir: &Path, name: &str, bytes: &[u8]) -> Result<(), StoreFault> {
    let path = dir.join(name);
    let partial = dir.join(format!("{name}{PARTIAL_SUFFIX}"));
    let write = || {
        let file = disk.open(&partial, Opening::Create)?;
        file.write_at(bytes, 0)?;
        file.sync(SyncPoint::SettingFile)?;
        disk.rename(&partial, &path)?;
        disk.sync_directory(dir, SyncPoint::SettingDirectory)
    };
    write().map_err(|error| StoreFault::io("write", &path, &error))
}

// === impl Identity ===

impl Identity {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; IDENTITY_HEADER_BYTES];
        bytes[..8].copy_from_slice(&IDENTITY_MAGIC);
        bytes[16..32].copy_from_slice(&self.cluster.0.to_le_bytes());
        put_u32(&mut bytes, 32, self.node);
        for (group, replica) in &self.replicas {
            let at = bytes.len();
            bytes.resize(at + REPLICA_BYTES, 0);
            bytes[at] = group.0;
            put_u64(&mut bytes, at + 1, replica.0);
        }
        let crc = crc32c::crc32c(&bytes[16..]);
        put_u32(&mut bytes, 8, crc);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Identity> {
        if bytes.len() < IDENTITY_HEADER_BYTES
            || bytes[..8] != IDENTITY_MAGIC
            || crc32c::crc32c(&bytes[16..]) != u32_at(bytes, 8)
        {
            return None;
        }
        let cluster = ClusterId(u128::from_le_bytes(bytes[16..32].try_into().ok()?));
        let replicas = bytes[IDENTITY_HEADER_BYTES..]
            .chunks_exact(REPLICA_BYTES)
            .map(|chunk| (GroupId(chunk[0]), ReplicaId(u64_at(chunk, 1))))
            .collect();
        Some(Identity {
            cluster,
            node: u32_at(bytes, 32),
            replicas,
        })
    }
}
