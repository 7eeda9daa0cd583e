//! An interrupt ends the work in hand with an error, so that all that was started is stopped on the way out.

use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::bail;
use signal_hook::consts::{SIGINT, SIGTERM};

/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(100);

/// Whether one came.
static CAME: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Has interrupts noted from now on.
pub(crate) fn note() -> anyhow::Result<()> {
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&CAME))?;
    }
    Ok(())
}

/// Returns an error once an interrupt came.
pub(crate) fn none_came() -> anyhow::Result<()> {
    if CAME.load(Ordering::Relaxed) {
        bail!("interrupted");
    }
    Ok(())
}

/// Waits for an interrupt; returns what it is as an error.
pub(crate) async fn wait() -> anyhow::Error {
    loop {
        if let Err(interrupted) = none_came() {
            return interrupted;
        }
        tokio::time::sleep(LOOK).await;
    }
}
