//! Rust: a compiler for wasm32-unknown-unknown, rustup's where that target is installed, else Debian's.
//!
//! Debian has no wasm target that is compiled already, but the standard library's sources; building them needs
//! `RUSTC_BOOTSTRAP`, because `-Z build-std` is not stable.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use wit_component::ComponentEncoder;

use crate::error::{WorkshopError, at};
use crate::project::Project;
use crate::tool::Tool;

const TARGET: &str = "wasm32-unknown-unknown";

const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_LINKER: &str = "wasm-ld-22";

const CARGO: Tool = Tool {
    name: "a Rust compiler for wasm32-unknown-unknown",
    remedy: "Install one, either way:
  with rustup:  rustup target add wasm32-unknown-unknown
  on Debian:    apt-get install rustc-web cargo-web rust-web-src lld-22",
};

/// A way to compile Rust into components.
#[derive(Clone, Copy, Debug)]
pub struct RustToolchain {
    kind: Kind,
}

/// A crate that makes a plugin.
#[derive(Clone, Debug)]
pub struct RustCrate {
    /// Its `Cargo.toml`.
    pub manifest: PathBuf,
    /// Where cargo is to work; wherever it does by itself when absent.
    pub target_folder: Option<PathBuf>,
    /// A folder, beside cargo's own, whose name is to leave no trace in what is built, and what to call it.
    pub renamed: Option<(PathBuf, String)>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// The cargo and rustc found on the path have the target.
    Plain,
    /// Debian's, which builds the standard library too.
    Debian,
}

pub(crate) fn build(project: &Project) -> Result<(), WorkshopError> {
    let built = RustToolchain::find()?.build(&RustCrate {
        manifest: project.folder().join("Cargo.toml"),
        target_folder: None,
        renamed: None,
    })?;
    let component = project.component();
    fs::write(&component, built).map_err(at(&component))
}

// === impl RustToolchain ===

impl RustToolchain {
    /// Finds a compiler, or says what to install.
    pub fn find() -> Result<Self, WorkshopError> {
        let kind = if plain_has_target() {
            Kind::Plain
        } else if debian_is_complete() {
            Kind::Debian
        } else {
            return Err(WorkshopError::ToolMissing {
                tool: CARGO.name,
                remedy: CARGO.remedy,
            });
        };
        Ok(Self { kind })
    }

    /// Compiles a crate and returns its component.
    pub fn build(&self, source: &RustCrate) -> Result<Vec<u8>, WorkshopError> {
        let manifest = source.manifest.canonicalize().map_err(at(&source.manifest))?;
        let mut cargo = self.cargo(source);
        cargo.args(["build", "--release", "--target", TARGET]);
        if let Some(folder) = &source.target_folder {
            cargo.arg("--target-dir").arg(folder);
        }
        cargo.arg("--manifest-path").arg(&manifest);
        // What cargo says it made is read; what it has to complain of is shown as it comes.
        cargo.arg("--message-format=json-render-diagnostics");
        let output = cargo
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| CARGO.not_run(error))?;
        if !output.status.success() {
            return Err(WorkshopError::ToolFailed { tool: "cargo" });
        }
        let messages = String::from_utf8_lossy(&output.stdout);
        let module = messages.lines().find_map(|message| module_of(&manifest, message));
        let module = module.ok_or_else(|| WorkshopError::NotMade {
            told: format!(
                "{} makes no module: it wants `crate-type = [\"cdylib\"]`",
                manifest.display()
            ),
        })?;
        component(&fs::read(&module).map_err(at(&module))?)
    }

    fn cargo(&self, source: &RustCrate) -> Command {
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
        let own = cargo_home().map(|folder| (folder, "cargo".to_owned()));
        let flags = source
            .renamed
            .iter()
            .chain(&own)
            .map(|(folder, name)| format!("--remap-path-prefix={}={name}", folder.display()));
        // Cargo splits its flags here, which lets a folder's name have a blank.
        cargo.env(
            "CARGO_ENCODED_RUSTFLAGS",
            flags.collect::<Vec<_>>().join("\u{1f}"),
        );
        cargo
    }
}

/// Returns the component that a core module describes in the section that `wit-bindgen` put there.
fn component(module: &[u8]) -> Result<Vec<u8>, WorkshopError> {
    let encoded = ComponentEncoder::default()
        .validate(true)
        .module(module)
        .and_then(|mut encoder| encoder.encode());
    encoded.map_err(|error| WorkshopError::NotMade {
        told: format!("what was compiled makes no component: {error:#}"),
    })
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

/// Returns the module that one of cargo's messages tells of, if the plugin itself is what was compiled.
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
