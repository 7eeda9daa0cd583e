//! Measures the goals of one node and of three: bodies of 1 KiB, acknowledged after `fdatasync`, the load from the same machine.
//!
//! Starts a release build of `posthouse serve` on a folder of its own, and prints each figure beside its goal. What is
//! compared is measured in turn, round by round, so that a machine that slows down slows both. Requests that can be
//! repeated are signed once and sent many times: the node checks each signature, the load program makes few.

mod bare;
mod goals;
mod options;
mod report;
mod sink;
mod site;

use std::process::ExitCode;

use clap::Parser;

use crate::bare::Role;
use crate::goals::{
    backlog, catchup, cluster, deep, failover, flight, guests, handover, hostile, idle, large, latency,
    pushes, queues, quorum, route, seal, send, sets, spread, tenants, written,
};
use crate::options::{Goal, Options};
use crate::report::Report;

/// The allocator of `posthouse`, for what is measured in this process.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if let Some(role) = Role::of_arguments() {
        return role.play();
    }
    let options = Options::parse();
    let mut report = Report::default();
    let outcome = options
        .goal
        .parts()
        .iter()
        .try_for_each(|goal| measure(*goal, &options, &mut report));
    print!("{report}");
    if options.quick {
        println!("quick: too short to say whether a goal is met");
    }
    match outcome {
        Ok(()) if report.is_met() => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("posthouse-bench: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn measure(goal: Goal, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    eprintln!("== {goal}");
    match goal {
        Goal::Send => send::measure(options, report),
        Goal::Latency => latency::measure(options, report),
        Goal::Quorum => quorum::measure(options, report),
        Goal::Handover => handover::measure(options, report),
        Goal::Seal => seal::measure(options, report),
        Goal::Route => route::measure(options, report),
        Goal::Queues => queues::measure(options, report),
        Goal::Spread => spread::measure(options, report),
        Goal::Sets => sets::measure(options, report),
        Goal::Backlog => backlog::measure(options, report),
        Goal::Deep => deep::measure(options, report),
        Goal::Written => written::measure(options, report),
        Goal::Pushes => pushes::measure(options, report),
        Goal::Large => large::measure(options, report),
        Goal::Failover => failover::measure(options, report),
        Goal::Catchup => catchup::measure(options, report),
        Goal::Cluster => cluster::measure(options, report),
        Goal::Idle => idle::measure(options, report),
        Goal::Guests => guests::measure(options, report),
        Goal::Flight => flight::measure(options, report),
        Goal::Tenants => tenants::measure(options, report),
        Goal::Hostile => hostile::measure(options, report),
        Goal::All => Ok(()),
    }
}
