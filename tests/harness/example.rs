//! The examples: programs as users write them, with CMQ's own Python SDK, unmodified.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

/// Runs a script of `examples/` against the node at a URL.
///
/// `POSTHOUSE_PYTHON` names a Python that has `examples/requirements.txt`; without it, it is `python3`.
pub fn run_example(script: &str, url: &str) -> anyhow::Result<()> {
    run_example_with(script, &[("POSTHOUSE_URL", url)])
}

/// Runs a script of `examples/` likewise, with these variables.
pub fn run_example_with(script: &str, environment: &[(&str, &str)]) -> anyhow::Result<()> {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    // The SDK writes its log where it is started.
    let folder = tempfile::tempdir()?;
    let python = std::env::var("POSTHOUSE_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let output = Command::new(python)
        .arg(examples.canonicalize()?.join(script))
        .envs(environment.iter().copied())
        .current_dir(folder.path())
        .output()
        .context("Python does not start; see README.md for what the tests need")?;
    if !output.status.success() {
        bail!(
            "{script} failed\n{}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
