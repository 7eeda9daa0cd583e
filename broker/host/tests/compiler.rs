//! Compiling in a child process. This program is the child, too: it has no test harness, so that it can be.

#![expect(
    clippy::expect_used,
    reason = "a test ends where something is not as it should be"
)]

use std::{process::ExitCode, sync::Arc, time::Duration};

use bytes::Bytes;
use posthouse_host::{CompilerCommand, Config, Host, NoKeys, PushRefusal, builtins, compile_main};
use posthouse_model::World;

/// Makes this program the compiler.
const COMPILE: &str = "compile";
/// Makes this program a compiler that never answers.
const HANG: &str = "hang";

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some(COMPILE) => return compile_main(),
        Some(HANG) => loop {
            std::thread::park();
        },
        // What `cargo test` passes on to harnesses is not for this one.
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime starts");
    runtime.block_on(async {
        a_component_is_compiled_by_the_child().await;
        a_component_that_does_not_compile_is_refused().await;
        a_compiler_short_of_memory_or_time_refuses().await;
        a_compiler_that_is_not_there_is_no_fault_of_the_components().await;
    });
    ExitCode::SUCCESS
}

async fn check(component: Bytes, arg: &str, change: impl FnOnce(&mut Config)) -> Result<(), PushRefusal> {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let program = std::env::current_exe().expect("this program has a path");
    let compiler = CompilerCommand::Child {
        program,
        args: vec![arg.into()],
    };
    let mut config = Config::new(dir.path().join("code"), compiler);
    config.small.instances = 4;
    config.interpreter.instances = 4;
    change(&mut config);
    let host = Host::open(config, Arc::new(NoKeys)).expect("a host opens");
    host.check(World::Route, component).await.map(|_| ())
}

fn router() -> Bytes {
    let router = builtins().iter().find(|builtin| builtin.world == World::Route);
    Bytes::from_static(router.expect("the router is embedded").component)
}

async fn a_component_is_compiled_by_the_child() {
    assert_eq!(check(router(), COMPILE, |_| {}).await, Ok(()));
}

async fn a_component_that_does_not_compile_is_refused() {
    // Code comes last, so a change there leaves the outermost layer readable; whether it still compiles is not known
    // beforehand, but one of them does not.
    let mut refused = 0;
    for at in (0..8).map(|part| router().len() / 2 + part * 7) {
        let mut damaged = router().to_vec();
        damaged[at] = 0xff;
        match check(Bytes::from(damaged), COMPILE, |_| {}).await {
            Err(PushRefusal::DoesNotCompile(text)) => {
                assert!(!text.is_empty());
                refused += 1;
            }
            Ok(()) | Err(PushRefusal::NotAComponent(_) | PushRefusal::DoesNotStart(_)) => {}
            Err(refusal) => panic!("{refusal:?}"),
        }
    }
    assert!(refused > 0);
}

async fn a_compiler_short_of_memory_or_time_refuses() {
    let short = check(router(), COMPILE, |config| {
        config.compile_limits.memory_bytes = 1_048_576
    })
    .await;
    assert!(matches!(short, Err(PushRefusal::CompileLimit(_))), "{short:?}");
    let late = check(router(), HANG, |config| {
        config.compile_limits.time = Duration::from_millis(50)
    })
    .await;
    assert!(matches!(late, Err(PushRefusal::CompileLimit(_))), "{late:?}");
    let large = check(router(), COMPILE, |config| {
        config.compile_limits.artifact_bytes = 1_000
    })
    .await;
    assert!(matches!(large, Err(PushRefusal::CompileLimit(_))), "{large:?}");
}

async fn a_compiler_that_is_not_there_is_no_fault_of_the_components() {
    let absent = check(router(), COMPILE, |config| {
        config.compiler = CompilerCommand::Child {
            program: "/nowhere/posthouse".into(),
            args: Vec::new(),
        };
    });
    let absent = absent.await;
    assert!(matches!(absent, Err(PushRefusal::Fault(_))), "{absent:?}");
}
