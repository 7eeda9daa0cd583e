//! A compiler for guests: rustup's where its wasm target is installed, else Debian's.
//!
//! Debian has no wasm target that is compiled already, but the standard library's sources; building them needs
//! `RUSTC_BOOTSTRAP`, because `-Z build-std` is not stable.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::guest::{Guest, Repository};

const TARGET: &str = "wasm32-unknown-unknown";

const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_LINKER: &str = "wasm-ld-22";

const REMEDY: &str = "\
no Rust compiler for wasm32-unknown-unknown was found. Install one, either way:
  with rustup:  rustup target add wasm32-unknown-unknown
  on Debian:    apt-get install rustc-web cargo-web rust-web-src lld-22";

/// A way to compile guests, and where it works.
pub(crate) struct Toolchain {
    kind: Kind,
    target_folder: PathBuf,
    /// Folders whose names are to leave no trace in what is built, and what to call them.
    renamed: Vec<(PathBuf, &'static str)>,
}

enum Kind {
    /// The cargo and rustc found on the path have the target.
    Plain,
    /// Debian's, which builds the standard library too.
    Debian,
}

// === impl Toolchain ===

impl Toolchain {
    /// Finds a compiler, or says what to install.
    pub(crate) fn find(repository: &Repository) -> Result<Self> {
        let kind = if plain_has_target() {
            Kind::Plain
        } else if debian_is_complete() {
            Kind::Debian
        } else {
            bail!(REMEDY);
        };
        let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
        let target_folder = target
            .unwrap_or_else(|| repository.root.join("target"))
            .join("guests");
        let mut renamed = vec![(repository.root.clone(), "posthouse")];
        renamed.extend(cargo_home().map(|folder| (folder, "cargo")));
        Ok(Self {
            kind,
            target_folder,
            renamed,
        })
    }

    /// Compiles a guest and returns its core module.
    pub(crate) fn build(&self, guest: &Guest) -> Result<Vec<u8>> {
        let manifest = guest.folder.join("Cargo.toml");
        let mut cargo = self.cargo();
        cargo
            .args(["build", "--release", "--target", TARGET, "--target-dir"])
            .arg(&self.target_folder);
        cargo.arg("--manifest-path").arg(&manifest);
        cargo
            .arg("--message-format=json-render-diagnostics")
            .stderr(Stdio::inherit());
        let output = cargo.output().context("cannot run cargo")?;
        ensure!(output.status.success(), "cargo failed");

        let messages = String::from_utf8(output.stdout).context("cargo's messages are not text")?;
        let module = messages.lines().find_map(|message| module_of(&manifest, message));
        let module = module.context("it makes no module: it wants `crate-type = [\"cdylib\"]`")?;
        fs::read(&module).with_context(|| format!("cannot read {}", module.display()))
    }

    fn cargo(&self) -> Command {
        let mut cargo = match self.kind {
            Kind::Plain => Command::new("cargo"),
            Kind::Debian => {
                let mut cargo = Command::new(DEBIAN_CARGO);
                cargo.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
                cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", DEBIAN_LINKER);
                cargo.args(["-Z", "build-std=std,panic_abort"]);
                cargo
            }
        };
        let flags = self
            .renamed
            .iter()
            .map(|(folder, name)| format!("--remap-path-prefix={}={name}", folder.display()));
        // Cargo splits its flags here, which lets a folder's name have a blank.
        cargo.env(
            "CARGO_ENCODED_RUSTFLAGS",
            flags.collect::<Vec<_>>().join("\u{1f}"),
        );
        cargo
    }
}

fn plain_has_target() -> bool {
    let asked = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .output();
    let Ok(folder) = asked.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()) else {
        return false;
    };
    let Ok(entries) = fs::read_dir(folder) else {
        return false;
    };
    entries
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
}

fn debian_is_complete() -> bool {
    let Ok(asked) = Command::new(DEBIAN_RUSTC).args(["--print", "sysroot"]).output() else {
        return false;
    };
    let sysroot = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
    let sources = Path::new(&sysroot).join("lib/rustlib/src/rust/library/std");
    let linker = Command::new(DEBIAN_LINKER).arg("--version").output();
    Path::new(DEBIAN_CARGO).is_file() && sources.exists() && linker.is_ok()
}

fn cargo_home() -> Option<PathBuf> {
    let named = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    named.or_else(|| Some(std::env::home_dir()?.join(".cargo")))
}

/// Returns the module that one of cargo's messages tells of, if the guest itself is what was compiled.
fn module_of(manifest: &Path, message: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    if message["reason"] != "compiler-artifact" || message["manifest_path"] != *manifest.to_str()? {
        return None;
    }
    let files = message["filenames"].as_array()?;
    files
        .iter()
        .filter_map(Value::as_str)
        .find(|file| file.ends_with(".wasm"))
        .map(PathBuf::from)
}
