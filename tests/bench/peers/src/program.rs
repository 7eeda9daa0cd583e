//! A program that was started: its log goes to a file, and it is killed when dropped.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail};

/// How much of its log is shown when it ends by itself.
const LOG_SHOWN_LINES: usize = 40;

/// A running program.
#[derive(Debug)]
pub(crate) struct Program {
    process: Child,
    log: PathBuf,
}

// === impl Program ===

impl Program {
    /// Starts a program with its output going to a file.
    pub(crate) fn start(command: &mut Command, log: &Path) -> anyhow::Result<Program> {
        let output = File::create(log).with_context(|| format!("{} cannot be written", log.display()))?;
        let name = command.get_program().to_owned();
        let process = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("{} cannot be started", name.display()))?;
        Ok(Program {
            process,
            log: log.to_owned(),
        })
    }

    /// Returns its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Returns an error, with the end of its log, if it does not run any more.
    pub(crate) fn still_runs(&mut self) -> anyhow::Result<()> {
        let Some(status) = self.process.try_wait()? else {
            return Ok(());
        };
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let end = lines.len().saturating_sub(LOG_SHOWN_LINES);
        bail!(
            "{} ended with {status}:\n{}",
            self.log.display(),
            lines[end..].join("\n")
        )
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // One that has ended by itself cannot be killed; it is gone either way.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
