//! `posthouse`: runs a node, or speaks to one.

mod allocator;

use std::process::ExitCode;

use clap::Parser;
use posthouse_node::cli::{Cli, ClientCommand, Command, print_completion};
use posthouse_node::config::{Config, Flags};
use posthouse_node::{logs, serve};

/// Stack of a thread that serves requests.
const SERVING_STACK_BYTES: usize = 4 * 1_048_576;

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(flags) => serve_node(&flags),
        Command::CompilePlugin => posthouse_host::compile_main(),
        Command::Completion { shell } => print_completion(shell),
        Command::Client(command) => speak(command),
    }
}

fn serve_node(flags: &Flags) -> ExitCode {
    allocator::keep_what_is_free();
    let config = match Config::load(flags, &environment) {
        Ok(config) => config,
        Err(errors) => {
            eprintln!("posthouse: {errors}");
            return ExitCode::from(2);
        }
    };
    logs::start(&config.logs);
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    // Quick calls of plugins are made on these threads, with the stack that guests may use.
    threads.thread_stack_size(SERVING_STACK_BYTES);
    let runtime = match threads.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("posthouse: no threads can be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(serve::run(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("posthouse: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn speak(command: ClientCommand) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(command.run(&environment)),
        Err(error) => {
            eprintln!("posthouse: no runtime can be started: {error}");
            ExitCode::from(2)
        }
    }
}

fn environment(variable: &str) -> Option<String> {
    std::env::var(variable).ok()
}
