//! The guests of a repository: where they are, what they are made of, and what is kept of a build.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

/// Folders whose subfolders are guests.
const GUEST_FOLDERS: [&str; 3] = ["plugins", "examples/plugins", "tests/plugins"];

const COMPONENT: &str = "component.wasm";
const DIGEST: &str = "component.digest";

/// What in a guest's folder is not a source: what a build writes, and what only people read.
const NOT_SOURCES: [&str; 4] = [COMPONENT, DIGEST, "README.md", "target"];

/// The repository that holds the contract, and guests.
pub(crate) struct Repository {
    pub(crate) root: PathBuf,
}

/// A folder with the crate of one guest.
pub(crate) struct Guest {
    name: String,
    pub(crate) folder: PathBuf,
}

// === impl Repository ===

impl Repository {
    /// Opens the repository at `root`.
    pub(crate) fn open(root: &Path) -> Result<Self> {
        let root = root.canonicalize().context("cannot find the repository")?;
        ensure!(root.join("wit").is_dir(), "{} has no wit/", root.display());
        Ok(Self { root })
    }

    /// Returns every guest here, by name.
    pub(crate) fn guests(&self) -> Result<Vec<Guest>> {
        let mut guests = BTreeMap::new();
        for parent in GUEST_FOLDERS.map(|parent| self.root.join(parent)) {
            if !parent.is_dir() {
                continue;
            }
            for entry in fs::read_dir(&parent)? {
                let folder = entry?.path();
                if folder.join("src/lib.rs").is_file() {
                    let guest = Guest::open(&folder)?;
                    guests.insert(guest.name.clone(), guest);
                }
            }
        }
        Ok(guests.into_values().collect())
    }

    /// Returns the guest of this name, or the one in this folder.
    pub(crate) fn guest(&self, asked: &str) -> Result<Guest> {
        if let Some(guest) = self.guests()?.into_iter().find(|guest| guest.name == asked) {
            return Ok(guest);
        }
        for folder in [PathBuf::from(asked), self.root.join(asked)] {
            if folder.join("Cargo.toml").is_file() {
                return Guest::open(&folder);
            }
        }
        bail!("no guest is named {asked}, and no folder {asked} has a Cargo.toml");
    }

    fn contract(&self) -> PathBuf {
        self.root.join("wit")
    }
}

// === impl Guest ===

impl Guest {
    fn open(folder: &Path) -> Result<Self> {
        let folder = folder.canonicalize()?;
        let name = folder.file_name().context("a guest's folder has a name")?;
        Ok(Self {
            name: name.to_string_lossy().into_owned(),
            folder,
        })
    }

    /// Keeps what was built, with the digest of what it was built from.
    pub(crate) fn keep(&self, component: &[u8], repository: &Repository) -> Result<()> {
        fs::write(self.folder.join(COMPONENT), component)?;
        fs::write(self.folder.join(DIGEST), self.digests(component, repository)?)?;
        Ok(())
    }

    /// Fails if the kept component was built from other sources, or is not the one that was built.
    pub(crate) fn check(&self, repository: &Repository) -> Result<()> {
        let component = fs::read(self.folder.join(COMPONENT)).context("no component was built")?;
        let kept = fs::read_to_string(self.folder.join(DIGEST)).context("no digest was kept")?;
        let now = self.digests(&component, repository)?;
        for (kept, now) in kept.lines().zip(now.lines()) {
            let what = now.split(' ').next().unwrap_or_default();
            ensure!(kept == now, "the {what} changed since it was built");
        }
        ensure!(kept == now, "the digest is damaged");
        Ok(())
    }

    fn digests(&self, component: &[u8], repository: &Repository) -> Result<String> {
        let sources = self.digest_of_sources(repository)?;
        Ok(format!(
            "sources sha256:{sources}\ncomponent sha256:{}\n",
            hex(Sha256::digest(component))
        ))
    }

    fn digest_of_sources(&self, repository: &Repository) -> Result<String> {
        let mut digest = Sha256::new();
        for (name, path) in self.sources(repository)? {
            let content = content(&path).with_context(|| format!("cannot read {}", path.display()))?;
            for part in [name.as_bytes(), &content] {
                digest.update((part.len() as u64).to_be_bytes());
                digest.update(part);
            }
        }
        Ok(hex(digest.finalize()))
    }

    /// Returns what the guest is made of, by names that do not depend on where the repository lies.
    fn sources(&self, repository: &Repository) -> Result<BTreeMap<String, PathBuf>> {
        let mut sources = BTreeMap::new();
        add_files("guest", &self.folder, &mut sources)?;
        add_files("wit", &repository.contract(), &mut sources)?;
        if !self.folder.join("Cargo.lock").is_file() {
            let workspace = self
                .folder
                .parent()
                .context("a guest without Cargo.lock is in a workspace")?;
            for file in ["Cargo.toml", "Cargo.lock"] {
                sources.insert(format!("workspace/{file}"), workspace.join(file));
            }
        }
        Ok(sources)
    }
}

impl fmt::Display for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Returns a source's bytes; of the contract, what compilers read, for its comments are the manual and change more often.
fn content(path: &Path) -> Result<Vec<u8>> {
    let content = fs::read(path)?;
    if path.extension().is_none_or(|extension| extension != "wit") {
        return Ok(content);
    }
    let text = String::from_utf8(content)?;
    let lines = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default().trim());
    Ok(lines
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("\n")
        .into_bytes())
}

fn add_files(name: &str, folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let own_name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if own_name.starts_with('.') || NOT_SOURCES.contains(&own_name.as_str()) {
            continue;
        }
        let name = format!("{name}/{own_name}");
        if path.is_dir() {
            add_files(&name, &path, files)?;
        } else {
            files.insert(name, path);
        }
    }
    Ok(())
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;
    use wit_component::DecodedWasm;

    /// The one guest that asks for more than the contract names.
    const GRABS: &str = "grabs-clock";

    /// A repository with one guest in it, built.
    fn built() -> (TempDir, Repository, Guest) {
        let root = TempDir::new().expect("a temporary folder");
        for (path, content) in [
            ("wit/worlds.wit", "package a:b;"),
            ("plugins/Cargo.toml", "[workspace]"),
            ("plugins/Cargo.lock", "version = 4"),
            ("plugins/one/Cargo.toml", "[package]"),
            ("plugins/one/src/lib.rs", "//! One."),
        ] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
            fs::write(path, content).expect("a file");
        }
        let repository = Repository::open(root.path()).expect("a repository");
        let guest = repository.guest("one").expect("the guest");
        guest.keep(b"component", &repository).expect("kept");
        (root, repository, guest)
    }

    #[test]
    fn a_guest_just_built_is_not_stale() {
        let (_root, repository, guest) = built();
        guest.check(&repository).expect("fresh");
    }

    #[test]
    fn a_change_of_any_source_makes_it_stale() {
        for path in [
            "wit/worlds.wit",
            "plugins/Cargo.toml",
            "plugins/Cargo.lock",
            "plugins/one/Cargo.toml",
            "plugins/one/src/lib.rs",
            "plugins/one/src/more.rs",
            "plugins/one/component.wasm",
            "plugins/one/component.digest",
        ] {
            let (root, repository, guest) = built();
            fs::write(root.path().join(path), "changed").expect("a change");
            assert!(guest.check(&repository).is_err(), "{path} changed unnoticed");
        }
    }

    #[test]
    fn what_only_people_read_makes_nothing_stale() {
        let (root, repository, guest) = built();
        fs::write(root.path().join("plugins/one/README.md"), "read me").expect("a change");
        fs::write(
            root.path().join("wit/worlds.wit"),
            "/// A.\n\npackage a:b; // B.\n",
        )
        .expect("a change");
        guest.check(&repository).expect("fresh");
    }

    #[test]
    fn a_guest_is_found_by_name_and_by_folder() {
        let (root, repository, guest) = built();
        let folder = root.path().join("plugins/one");
        let by_folder = repository.guest(&folder.to_string_lossy()).expect("the guest");
        assert_eq!(by_folder.folder, guest.folder);
        assert_eq!(
            repository.guest("plugins/one").expect("the guest").folder,
            guest.folder
        );
        assert!(repository.guest("two").is_err());
    }

    #[test]
    fn a_kept_component_imports_only_what_the_contract_names() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let repository = Repository::open(&root).expect("this repository");
        for guest in repository.guests().expect("guests") {
            let component = fs::read(guest.folder.join("component.wasm")).expect("a component");
            let imports = imports(&component);
            let strange = imports
                .iter()
                .any(|import| !import.starts_with("posthouse:plugin/"));
            assert_eq!(strange, guest.to_string() == GRABS, "{guest} imports {imports:?}");
        }
    }

    fn imports(component: &[u8]) -> Vec<String> {
        let decoded = wit_component::decode(component).expect("a component");
        let DecodedWasm::Component(resolve, world) = decoded else {
            panic!("a package is no component");
        };
        let imports = resolve.worlds[world].imports.keys();
        imports.map(|key| resolve.name_world_key(key)).collect()
    }
}
