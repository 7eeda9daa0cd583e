//! Load with consumers that keep up: those who send wait for those who receive.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::time::Instant;

use tokio::sync::Notify;

use crate::drive::{Connection, Tally, count, on_each};
use crate::requests::{BATCH, Signing};

/// Sends so many messages in batches, which are received and deleted meanwhile. Nothing is sent while as many wait, or are on
/// their way, as may. Half of the connections send. Tells the rate of what was deleted.
pub fn keep_up(
    address: SocketAddr,
    connections: u16,
    queue: &str,
    body_bytes: usize,
    messages: u64,
    waiting_max: u64,
) -> anyhow::Result<Tally> {
    let signing = Signing::new(address);
    let (send, receive) = (
        signing.send_batch(queue, body_bytes),
        signing.wait_for_batch(queue),
    );
    let messages = messages.next_multiple_of(BATCH);
    let (sent, taken) = (Cell::new(0), RefCell::new(Tally::default()));
    let (room, start) = (Notify::new(), Instant::now());
    on_each(connections.max(2), async |place| {
        let mut connection = Connection::open(address).await?;
        if place % 2 == 0 {
            while sent.get() < messages {
                // All of it is on one thread: nothing is taken between the look and the wait.
                if sent.get().saturating_sub(taken.borrow().messages) >= waiting_max {
                    room.notified().await;
                    continue;
                }
                sent.set(sent.get() + send.messages);
                connection.ask_done(&send).await?;
            }
            return Ok(());
        }
        while taken.borrow().messages < messages {
            let came = connection.take(&receive, &signing, queue).await?;
            if came > 0 {
                count(&taken, came, start);
                room.notify_waiters();
            }
        }
        Ok(())
    })?;
    Ok(taken.into_inner())
}
