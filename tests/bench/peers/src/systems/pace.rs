//! Sends at a steady rate that do not wait for each other.

use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;

use crate::door::Pace;

/// Begins so many sends a second, each when it is due. Returns how long each took, in milliseconds. A timer that wakes late
/// is not the system's doing: a send's time begins when it does.
pub(crate) async fn keep(pace: Pace, send: impl AsyncFn() -> anyhow::Result<()>) -> anyhow::Result<Vec<f64>> {
    let gap = Duration::from_secs(1) / pace.per_second;
    let start = Instant::now();
    let timed = async || {
        let begun = Instant::now();
        send().await?;
        anyhow::Ok(begun.elapsed().as_secs_f64() * 1_000.0)
    };
    let mut due = start;
    let mut taken = Vec::new();
    let mut under_way = FuturesUnordered::new();
    loop {
        let is_due = due - start < pace.span;
        tokio::select! {
            biased;
            Some(millis) = under_way.next() => taken.push(millis?),
            () = tokio::time::sleep_until(due.into()), if is_due => {
                under_way.push(timed());
                due += gap;
            }
            else => return Ok(taken),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sends_are_as_many_as_are_due_and_do_not_wait_for_each_other() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        let pace = Pace {
            per_second: 1_000,
            span: Duration::from_millis(50),
        };
        let slow = async || {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Ok(())
        };
        let taken = runtime.block_on(keep(pace, slow)).expect("nothing fails");
        assert_eq!(taken.len(), 50);
        assert!(taken.iter().all(|millis| *millis >= 100.0));
    }
}
