//! Builds guests, and tells whether the committed components are what their sources say.
//!
//! ```text
//! cargo run -p posthouse-guests -- build                  every guest of this repository
//! cargo run -p posthouse-guests -- build topic-router     one of them, by its name
//! cargo run -p posthouse-guests -- build path/to/guest    any folder with a guest crate in it
//! cargo run -p posthouse-guests -- check                  fails if a committed component is stale
//! ```
//!
//! A build writes `component.wasm` and `component.digest` beside the guest's `Cargo.toml`. The digest is of the
//! sources, so that a check needs no compiler for guests, and that compilers may differ in the bytes they make.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

mod guest;

use guest::{Guest, Repository};
use posthouse_workshop::{RustCrate, RustToolchain};

const USAGE: &str = "usage: guests build [NAME or PATH ...] | guests check";

fn main() -> ExitCode {
    match run(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let repository = Repository::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))?;
    match arguments.split_first() {
        Some((command, [])) if command == "build" => build(&repository, &repository.guests()?),
        Some((command, asked)) if command == "build" => {
            let found: Result<Vec<_>> = asked.iter().map(|guest| repository.guest(guest)).collect();
            build(&repository, &found?)
        }
        Some((command, [])) if command == "check" => check(&repository),
        _ => bail!(USAGE),
    }
}

fn build(repository: &Repository, guests: &[Guest]) -> Result<()> {
    let toolchain = RustToolchain::find()?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target_folder = target
        .unwrap_or_else(|| repository.root.join("target"))
        .join("guests");
    for guest in guests {
        let source = RustCrate {
            manifest: guest.folder.join("Cargo.toml"),
            target_folder: Some(target_folder.clone()),
            renamed: Some((repository.root.clone(), "posthouse".to_owned())),
        };
        let component = toolchain
            .build(&source)
            .with_context(|| format!("cannot build {guest}"))?;
        guest.keep(&component, repository)?;
        println!("{guest}: {} bytes", component.len());
    }
    Ok(())
}

fn check(repository: &Repository) -> Result<()> {
    let mut stale = Vec::new();
    for guest in repository.guests()? {
        if let Err(reason) = guest.check(repository) {
            stale.push(format!("{guest}: {reason:#}"));
        }
    }
    if stale.is_empty() {
        return Ok(());
    }
    bail!(
        "{}\nto build them: cargo run -p posthouse-guests -- build",
        stale.join("\n")
    );
}
