//! Compiled plugins on disk, so that a plugin is compiled once a node and not at each start.
//!
//! A file is named for the component's digest and for what must agree for its code to run. It begins with a checksum
//! over those two and the code. One that does not check out is as good as absent, so nothing here needs an fsync.

use std::io::Write;
use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

use posthouse_keyring::{sha256, verify_equal};

use crate::{artifact::Artifact, fault::HostError};

/// Begins each file: what it is, and which version of that.
const MAGIC: &[u8; 8] = b"PHCODE\x00\x01";
const CHECKSUM_BYTES: usize = 32;
/// How the files are called.
const EXTENSION: &str = "code";
/// Others' permissions to write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Compiled plugins on disk.
pub(crate) struct Cache {
    dir: PathBuf,
    compatibility: u64,
    bytes_max: u64,
}

// === impl Cache ===

impl Cache {
    /// Opens a cache in a folder of ours, and throws away what other versions left there.
    pub(crate) fn open(dir: &Path, compatibility: u64, bytes_max: u64) -> Result<Cache, HostError> {
        let fault = |source| HostError::Cache {
            path: dir.to_owned(),
            source,
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(fault)?;
        let metadata = fs::metadata(dir).map_err(fault)?;
        if metadata.uid() != rustix::process::geteuid().as_raw() || metadata.mode() & WRITABLE_BY_OTHERS != 0
        {
            return Err(HostError::CacheExposed(dir.to_owned()));
        }
        let cache = Cache {
            dir: dir.to_owned(),
            compatibility,
            bytes_max,
        };
        cache.sweep().map_err(fault)?;
        Ok(cache)
    }

    /// Returns what was compiled from the component before, if it is whole.
    pub(crate) fn read(&self, digest: &[u8; 32]) -> Option<Artifact> {
        let path = self.path(digest);
        let bytes = fs::read(&path).ok()?;
        let Some(code) = self.checked(digest, &bytes) else {
            tracing::warn!(path = %path.display(), "compiled plugin is damaged and is compiled again");
            let _ = fs::remove_file(&path);
            return None;
        };
        Some(Artifact::trusted(code.to_vec()))
    }

    /// Keeps what was compiled from the component. A failure costs only time later.
    pub(crate) fn write(&self, digest: &[u8; 32], artifact: &Artifact) {
        if let Err(error) = self.try_write(digest, artifact) {
            tracing::warn!(dir = %self.dir.display(), %error, "compiled plugin is not kept");
        }
    }

    fn try_write(&self, digest: &[u8; 32], artifact: &Artifact) -> io::Result<()> {
        let path = self.path(digest);
        let unfinished = path.with_extension(format!("{}.new", std::process::id()));
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&unfinished)?;
        file.write_all(MAGIC)?;
        file.write_all(&self.checksum(digest, artifact.bytes()))?;
        file.write_all(artifact.bytes())?;
        drop(file);
        fs::rename(&unfinished, &path)?;
        self.sweep()
    }

    fn checked<'a>(&self, digest: &[u8; 32], bytes: &'a [u8]) -> Option<&'a [u8]> {
        let (checksum, code) = bytes.strip_prefix(MAGIC)?.split_at_checked(CHECKSUM_BYTES)?;
        verify_equal(checksum, &self.checksum(digest, code)).then_some(code)
    }

    fn checksum(&self, digest: &[u8; 32], code: &[u8]) -> [u8; 32] {
        let mut summed = Vec::with_capacity(72);
        summed.extend_from_slice(digest);
        summed.extend_from_slice(&self.compatibility.to_le_bytes());
        summed.extend_from_slice(&sha256(code));
        sha256(&summed)
    }

    fn path(&self, digest: &[u8; 32]) -> PathBuf {
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        self.dir
            .join(format!("{digest}-{:016x}.{EXTENSION}", self.compatibility))
    }

    /// Removes files of other versions, unfinished ones, and beyond the cache's size the oldest.
    fn sweep(&self) -> io::Result<()> {
        let ours = format!("-{:016x}.{EXTENSION}", self.compatibility);
        let mut kept: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            // A folder that was named by mistake keeps what it had.
            if !metadata.is_file() || !is_cached(&name) {
                continue;
            }
            if name.ends_with(&ours) {
                kept.push((metadata.modified()?, metadata.len(), entry.path()));
            } else {
                remove_if_there(&entry.path())?;
            }
        }
        kept.sort();
        let mut bytes: u64 = kept.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, len, path) in kept {
            if bytes <= self.bytes_max {
                break;
            }
            remove_if_there(&path)?;
            bytes -= len;
        }
        Ok(())
    }
}

/// Returns whether a file is named as those of the cache are: a digest, and what must agree.
fn is_cached(name: &str) -> bool {
    let Some((digest, rest)) = name.split_once('-') else {
        return false;
    };
    let is_digest = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_digest && (rest.ends_with(".code") || rest.ends_with(".new"))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: [u8; 32] = [7; 32];

    fn open(dir: &Path, compatibility: u64) -> Cache {
        Cache::open(dir, compatibility, 1_000).expect("the folder is ours")
    }

    fn fresh_dir() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary folder")
    }

    #[test]
    fn code_reads_back_as_written() {
        let dir = fresh_dir();
        let cache = open(&dir.path().join("code"), 1);
        assert!(cache.read(&DIGEST).is_none());
        cache.write(&DIGEST, &Artifact::trusted(vec![1, 2, 3]));
        assert_eq!(cache.read(&DIGEST).expect("it was written").bytes(), [1, 2, 3]);
    }

    #[test]
    fn any_changed_byte_makes_it_absent() {
        let dir = fresh_dir();
        let cache = open(&dir.path().join("code"), 1);
        cache.write(&DIGEST, &Artifact::trusted(vec![1, 2, 3]));
        let whole = fs::read(cache.path(&DIGEST)).expect("it was written");
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(cache.path(&DIGEST), &damaged).expect("the folder is ours");
            assert!(cache.read(&DIGEST).is_none(), "byte {at}");
            fs::write(cache.path(&DIGEST), &whole[..at]).expect("the folder is ours");
            assert!(cache.read(&DIGEST).is_none(), "cut at {at}");
        }
    }

    #[test]
    fn code_for_one_component_is_not_taken_for_anothers() {
        let dir = fresh_dir();
        let cache = open(&dir.path().join("code"), 1);
        cache.write(&DIGEST, &Artifact::trusted(vec![1, 2, 3]));
        fs::rename(cache.path(&DIGEST), cache.path(&[8; 32])).expect("the folder is ours");
        assert!(cache.read(&[8; 32]).is_none());
    }

    #[test]
    fn what_another_version_left_is_thrown_away() {
        let dir = fresh_dir();
        let folder = dir.path().join("code");
        let old = open(&folder, 1);
        old.write(&DIGEST, &Artifact::trusted(vec![1, 2, 3]));
        fs::write(folder.join("not-ours.code"), b"kept").expect("the folder is ours");
        open(&folder, 2);
        fs::remove_file(folder.join("not-ours.code")).expect("it was kept");
        assert_eq!(fs::read_dir(&folder).expect("it is there").count(), 0);
    }

    #[test]
    fn the_oldest_code_goes_when_there_is_too_much() {
        let dir = fresh_dir();
        let cache = open(&dir.path().join("code"), 1);
        for number in 0..4 {
            cache.write(&[number; 32], &Artifact::trusted(vec![0; 400]));
            let file = fs::File::options()
                .write(true)
                .open(cache.path(&[number; 32]))
                .expect("it was written");
            file.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(u64::from(number)))
                .expect("the file is ours");
        }
        let kept: Vec<bool> = (0..4).map(|number| cache.read(&[number; 32]).is_some()).collect();
        assert_eq!(kept, [false, false, true, true]);
    }

    #[test]
    fn a_folder_that_others_can_write_to_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = fresh_dir();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).expect("the folder is ours");
        assert!(matches!(
            Cache::open(dir.path(), 1, 1_000),
            Err(HostError::CacheExposed(_))
        ));
    }
}
