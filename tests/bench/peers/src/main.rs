//! Measures Posthouse beside what people would pick instead: RabbitMQ's quorum queues and NATS JetStream with three
//! replicas, each on three nodes of this machine, through its best-kept Rust client, with the same work.
//!
//! Systems take turns, round by round, so that a machine that slows down slows all. Only one runs at a time, on new
//! folders. After each turn it is checked that all that was confirmed was received.

mod contender;
mod door;
mod interrupt;
mod measured;
mod meter;
mod options;
mod picture;
mod plan;
mod program;
mod rounds;
mod systems;
mod table;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use crate::options::Options;

/// The load must leave the machine to what is measured: a sixth of its time was the system's allocator's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let options = Options::parse();
    match compare(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("posthouse-bench-peers: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Measures, prints, draws. Returns whether all goals are met, of which a quick look says nothing.
fn compare(options: &Options) -> anyhow::Result<bool> {
    interrupt::note()?;
    let measured = rounds::measure(options)?;
    print!("{}", table::show(&measured, &options.bodies()));
    std::fs::write(&options.picture, picture::draw(&measured))
        .with_context(|| format!("{} cannot be written", options.picture.display()))?;
    println!("\nThe picture is in {}.", options.picture.display());
    if options.quick {
        println!("quick: too short to say whether a goal is met");
        return Ok(true);
    }
    Ok(table::are_met(&measured))
}
