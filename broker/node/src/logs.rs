//! Where the process's logs go: structured lines on standard error, as text or as JSON.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::config::{LogFormat, LogsConfig};

/// What the Raft library says of its inner workings at `info` and `warn` means something to its authors only.
const QUIET: &str = "openraft=error";

/// Sends logs to standard error from here on. Does nothing when logs go somewhere already, as in tests.
pub fn start(config: &LogsConfig) {
    // The filter was parsed when the configuration was checked; one that says less is the safe other way.
    let filter = parse_filter(&config.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let outcome = match config.format {
        LogFormat::Text => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "logs were started before");
    }
}

/// Returns what a filter's text says is logged.
///
/// # Errors
///
/// Refuses a text that is no filter.
pub(crate) fn parse_filter(text: &str) -> Result<EnvFilter, ParseError> {
    if text.contains("openraft") {
        return EnvFilter::builder().parse(text);
    }
    EnvFilter::builder().parse(format!("{QUIET},{text}"))
}
