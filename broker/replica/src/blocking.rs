//! Work that may take long, kept away from the tasks that must not wait.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Does a piece of work on a thread that may be blocked, and returns what came of it; an error if it panicked. A
/// runtime of one thread does it on that: it is a simulation, in which everything has its turn.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, tokio::task::JoinError> {
    if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await
}
