//! Compiling in a child process. This program is the child, too: it has no test harness, so that it can be.

#![expect(
    clippy::expect_used,
    reason = "a test ends where something is not as it should be"
)]

use std::{process::ExitCode, sync::Arc, time::Duration};

use bytes::Bytes;
use posthouse_host::{
    COMPILE_CPU_MAX, COMPILE_TIME_MAX, CompilerCommand, Config, Host, NoKeys, PushRefusal, builtins,
    compile_main,
};
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
        a_component_that_takes_long_to_compile_is_stopped_by_the_cpu_time_it_takes().await;
        time_by_the_clock_is_for_compilers_that_hang();
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

async fn a_component_that_takes_long_to_compile_is_stopped_by_the_cpu_time_it_takes() {
    let dear = check(dear_router(), COMPILE, |config| {
        config.compile_limits.cpu = Duration::from_secs(1)
    });
    match dear.await {
        Err(PushRefusal::CompileLimit(text)) => assert!(text.contains("1 s of CPU time"), "{text}"),
        other => panic!("{other:?}"),
    }
}

/// A busy machine runs a compiler seldom. It has to be very busy before a good component is refused for that.
fn time_by_the_clock_is_for_compilers_that_hang() {
    assert!(COMPILE_TIME_MAX >= 5 * COMPILE_CPU_MAX);
}

/// Returns the router with a module beside it that nothing uses and that takes long to compile.
fn dear_router() -> Bytes {
    /// Functions, and how often each says the same: enough for many seconds.
    const FUNCTIONS: u32 = 64;
    const ROUNDS: usize = 8_000;
    // (i32) -> i32
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    section(&mut module, 1, &[1, 0x60, 1, 0x7f, 1, 0x7f]);
    let mut declared = leb(FUNCTIONS);
    declared.extend((0..FUNCTIONS).map(|_| 0));
    section(&mut module, 3, &declared);
    // local 0 = local 0 * local 0 + (local 0 rotated by 7), again and again.
    let round = [0x20, 0, 0x20, 0, 0x6c, 0x20, 0, 0x41, 7, 0x77, 0x6a, 0x21, 0];
    let mut body = vec![0];
    body.extend(round.repeat(ROUNDS));
    body.extend([0x20, 0, 0x0b]);
    let mut code = leb(FUNCTIONS);
    for _ in 0..FUNCTIONS {
        code.extend(leb(u32::try_from(body.len()).expect("it is short")));
        code.extend_from_slice(&body);
    }
    section(&mut module, 10, &code);
    let mut component = router().to_vec();
    // A core module is section 1 of a component.
    section(&mut component, 1, &module);
    Bytes::from(component)
}

fn section(to: &mut Vec<u8>, id: u8, content: &[u8]) {
    to.push(id);
    to.extend(leb(u32::try_from(content.len()).expect("it is short")));
    to.extend_from_slice(content);
}

/// Returns a number as WebAssembly writes it.
fn leb(mut number: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
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
