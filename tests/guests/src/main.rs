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

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

mod component;
mod guest;
mod toolchain;

use guest::{Guest, Repository};
use toolchain::Toolchain;

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
    let toolchain = Toolchain::find(repository)?;
    for guest in guests {
        let module = toolchain
            .build(guest)
            .with_context(|| format!("cannot build {guest}"))?;
        let component =
            component::encode(&module).with_context(|| format!("cannot make a component of {guest}"))?;
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
