//! Compiling a component, in a process of its own with little time and memory: a compiler that a stranger's input
//! leads astray harms nobody but itself.
//!
//! The child reads its limits and the component from its standard input, and writes one byte and then either the code
//! or what is wrong to its standard output.

use std::{
    io::{self, Read, Write},
    os::unix::process::ExitStatusExt,
    process::{Child, Command, ExitCode, ExitStatus, Stdio},
    sync::mpsc,
};

use rustix::process::{Resource, Rlimit, Signal, setpriority_process, setrlimit};

use crate::{
    artifact::Artifact,
    config::{COMPONENT_BYTES_MAX, CompileLimits, CompilerCommand, FAULT_TEXT_BYTES_MAX},
    engine,
    fault::PushRefusal,
    text,
};

/// Begins what the child reads.
const MAGIC: &[u8; 4] = b"PHC1";
/// The limits after it: memory in bytes, CPU time in seconds, niceness.
const HEADER_BYTES: usize = MAGIC.len() + 8 + 8 + 4;
/// Comes before code.
const COMPILED: u8 = b'+';
/// Comes before what is wrong.
const REFUSED: u8 = b'-';

/// What the child is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Header {
    memory_bytes: u64,
    cpu_seconds: u64,
    niceness: i32,
}

/// Compiles a component. Takes as long as its limits allow.
pub(crate) fn compile(
    command: &CompilerCommand,
    limits: &CompileLimits,
    niceness: i32,
    component: &[u8],
) -> Result<Artifact, PushRefusal> {
    match command {
        CompilerCommand::InProcess => compile_here(component)
            .map(Artifact::trusted)
            .map_err(PushRefusal::DoesNotCompile),
        CompilerCommand::Child { program, args } => {
            let header = Header {
                memory_bytes: limits.memory_bytes,
                cpu_seconds: limits.cpu.as_secs().max(1),
                niceness,
            };
            let child = Command::new(program)
                .args(args)
                .env_clear()
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .map_err(|error| {
                    PushRefusal::Fault(format!("{} does not start: {error}", program.display()))
                })?;
            compile_there(child, limits, header, component)
        }
    }
}

/// Compiles one component from standard input to standard output, within the limits given with it. This is all that
/// the process that the host starts is to do.
pub fn compile_main() -> ExitCode {
    match serve(io::stdin().lock(), io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve(mut input: impl Read, mut output: impl Write) -> io::Result<()> {
    let mut header = [0; HEADER_BYTES];
    input.read_exact(&mut header)?;
    let header = Header::parse(&header).ok_or(io::ErrorKind::InvalidData)?;
    header.confine_this_process()?;
    let mut component = Vec::new();
    input
        .take(COMPONENT_BYTES_MAX as u64)
        .read_to_end(&mut component)?;
    match compile_here(&component) {
        Ok(code) => {
            output.write_all(&[COMPILED])?;
            output.write_all(&code)?;
        }
        Err(text) => {
            output.write_all(&[REFUSED])?;
            output.write_all(text.as_bytes())?;
        }
    }
    output.flush()
}

fn compile_here(component: &[u8]) -> Result<Vec<u8>, String> {
    let told = |error: wasmtime::Error| text::cut(format!("{error:#}"), FAULT_TEXT_BYTES_MAX);
    engine::compiler()
        .map_err(told)?
        .precompile_component(component)
        .map_err(told)
}

fn compile_there(
    mut child: Child,
    limits: &CompileLimits,
    header: Header,
    component: &[u8],
) -> Result<Artifact, PushRefusal> {
    let mut input = child.stdin.take().expect("it was piped");
    let output = child.stdout.take().expect("it was piped");
    let output_bytes_max = limits.artifact_bytes as u64 + 1;
    let answer = std::thread::scope(|threads| {
        let (done, answered) = mpsc::channel();
        threads.spawn(move || {
            // A child that dies early closes its end: its exit status says more than this error would.
            let _ = input
                .write_all(&header.encode())
                .and_then(|()| input.write_all(component));
        });
        threads.spawn(move || {
            let mut answer = Vec::new();
            let read = output.take(output_bytes_max + 1).read_to_end(&mut answer);
            let _ = done.send(read.map(|_| answer));
        });
        let answer = answered.recv_timeout(limits.time);
        // Ends the two threads too, whatever they wait for.
        if !matches!(&answer, Ok(Ok(answer)) if answer.len() as u64 <= output_bytes_max) {
            let _ = child.kill();
        }
        answer
    });
    let status = child
        .wait()
        .map_err(|error| PushRefusal::Fault(error.to_string()))?;
    match answer {
        Err(_) => Err(PushRefusal::CompileLimit(format!(
            "more than {} s, most of which it was not running",
            limits.time.as_secs()
        ))),
        Ok(Err(error)) => Err(PushRefusal::Fault(error.to_string())),
        Ok(Ok(answer)) if answer.len() as u64 > output_bytes_max => Err(PushRefusal::CompileLimit(format!(
            "more than {} bytes of code",
            limits.artifact_bytes
        ))),
        Ok(Ok(answer)) => judged(answer, status, header),
    }
}

fn judged(mut answer: Vec<u8>, status: ExitStatus, header: Header) -> Result<Artifact, PushRefusal> {
    if status.signal() == Some(Signal::XCPU.as_raw()) {
        return Err(PushRefusal::CompileLimit(format!(
            "more than {} s of CPU time",
            header.cpu_seconds
        )));
    }
    if !status.success() {
        return Err(PushRefusal::CompileLimit(format!(
            "the compiler ended with {status}"
        )));
    }
    match answer.first() {
        Some(&COMPILED) => {
            answer.remove(0);
            Ok(Artifact::trusted(answer))
        }
        Some(&REFUSED) => {
            let told = String::from_utf8_lossy(&answer[1..]).into_owned();
            Err(PushRefusal::DoesNotCompile(text::cut(told, FAULT_TEXT_BYTES_MAX)))
        }
        _ => Err(PushRefusal::Fault("the compiler said nothing".to_owned())),
    }
}

// === impl Header ===

impl Header {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&self.memory_bytes.to_le_bytes());
        bytes.extend_from_slice(&self.cpu_seconds.to_le_bytes());
        bytes.extend_from_slice(&self.niceness.to_le_bytes());
        bytes
    }

    fn parse(bytes: &[u8; HEADER_BYTES]) -> Option<Header> {
        let (memory_bytes, rest) = bytes.strip_prefix(MAGIC)?.split_first_chunk()?;
        let (cpu_seconds, rest) = rest.split_first_chunk()?;
        Some(Header {
            memory_bytes: u64::from_le_bytes(*memory_bytes),
            cpu_seconds: u64::from_le_bytes(*cpu_seconds),
            niceness: i32::from_le_bytes(rest.try_into().ok()?),
        })
    }

    fn confine_this_process(&self) -> io::Result<()> {
        let at_most = |value| Rlimit {
            current: Some(value),
            maximum: Some(value),
        };
        setrlimit(Resource::As, at_most(self.memory_bytes))?;
        let cpu = Rlimit {
            current: Some(self.cpu_seconds),
            // At the lower bound a signal says what was used up, which this one does not.
            maximum: Some(self.cpu_seconds.saturating_add(1)),
        };
        setrlimit(Resource::Cpu, cpu)?;
        setrlimit(Resource::Core, at_most(0))?;
        setrlimit(Resource::Fsize, at_most(0))?;
        setpriority_process(None, self.niceness)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_back_as_written() {
        let header = Header {
            memory_bytes: 5,
            cpu_seconds: 6,
            niceness: -7,
        };
        let bytes = header.encode().try_into().expect("it has its size");
        assert_eq!(Header::parse(&bytes), Some(header));
        assert_eq!(Header::parse(&[0; HEADER_BYTES]), None);
    }
}
