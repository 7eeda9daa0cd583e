//! Running other programs: what they say goes to standard error, so that standard output stays ours.

use std::io;
use std::process::{Command, Stdio};

use crate::error::WorkshopError;

/// A program that is run, and what to install when it is missing.
#[derive(Clone, Copy)]
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    pub(crate) remedy: &'static str,
}

impl Tool {
    /// Runs a command of this tool to its end.
    pub(crate) fn run(self, command: &mut Command) -> Result<(), WorkshopError> {
        let status = command
            .stdin(Stdio::null())
            .stdout(Stdio::from(io::stderr()))
            .status()
            .map_err(|error| self.not_run(error))?;
        if status.success() {
            Ok(())
        } else {
            Err(WorkshopError::ToolFailed { tool: self.name })
        }
    }

    /// Returns why it could not be started.
    pub(crate) fn not_run(self, error: io::Error) -> WorkshopError {
        if error.kind() == io::ErrorKind::NotFound {
            return WorkshopError::ToolMissing {
                tool: self.name,
                remedy: self.remedy,
            };
        }
        WorkshopError::ToolNotRun {
            tool: self.name,
            source: error,
        }
    }
}
