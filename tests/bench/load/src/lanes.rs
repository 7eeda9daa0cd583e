//! Load on several queues alike: as many connections share them, whether there are fewer queues or more.
//!
//! The connection with number `i` begins with queue `i` and goes on with every so-manyth as there are connections. With
//! fewer queues than connections, and as many for each, it stays with one; with more, all are used in turn.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::drive::{Connection, Tally, count, on_each};
use crate::requests::{Request, Signing};

/// Of how much of what there is the rate of taking it is told: later, some queues are empty and some are not.
const RATED_SHARE: f64 = 0.9;

/// A queue, and where it is asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lane {
    /// The node.
    pub address: SocketAddr,
    /// The queue.
    pub queue: String,
}

/// Sends batches to all queues alike, until the time is over. The first is sent to the queue with a given number.
pub fn send(
    lanes: &[Lane],
    connections: u16,
    from: usize,
    body_bytes: usize,
    span: Duration,
) -> anyhow::Result<Tally> {
    let sign = |lane: &Lane| Signing::new(lane.address).send_batch(&lane.queue, body_bytes);
    let requests: Vec<Request> = lanes.iter().map(sign).collect();
    let tally = RefCell::new(Tally::default());
    let start = Instant::now();
    on_each(connections, async |place| {
        let mut at = (from + usize::from(place)) % lanes.len();
        let mut way = Way::open(lanes[at].address).await?;
        while start.elapsed() < span {
            let request = &requests[at];
            way.to(lanes[at].address).await?.ask_done(request).await?;
            count(&tally, request.messages, start);
            at = (at + usize::from(connections)) % lanes.len();
        }
        Ok(())
    })?;
    Ok(tally.into_inner())
}

/// Receives and deletes all that there is, which is so many messages, in batches. Tells the rate of the most of them.
pub fn take_all(lanes: &[Lane], connections: u16, messages: u64) -> anyhow::Result<Tally> {
    let (signings, receives): (Vec<Signing>, Vec<Request>) = lanes
        .iter()
        .map(|lane| {
            let signing = Signing::new(lane.address);
            let receive = signing.receive_batch(&lane.queue);
            (signing, receive)
        })
        .unzip();
    let rated_max = (messages as f64 * RATED_SHARE) as u64;
    let (rated, taken) = (RefCell::new(Tally::default()), Cell::new(0));
    let start = Instant::now();
    on_each(connections, async |place| {
        let mut at = usize::from(place) % lanes.len();
        let mut way = Way::open(lanes[at].address).await?;
        let mut empty = 0;
        // Who has found all queues empty is done: what is left is with others.
        while taken.get() < messages && empty < lanes.len() {
            let connection = way.to(lanes[at].address).await?;
            let came = connection
                .take(&receives[at], &signings[at], &lanes[at].queue)
                .await?;
            taken.set(taken.get() + came);
            if came == 0 {
                empty += 1;
                at = (at + 1) % lanes.len();
                continue;
            }
            empty = 0;
            if rated.borrow().messages < rated_max {
                count(&rated, came, start);
            }
            at = (at + usize::from(connections)) % lanes.len();
        }
        Ok(())
    })?;
    let taken = taken.get();
    ensure!(taken == messages, "{taken} of {messages} messages came");
    Ok(rated.into_inner())
}

/// A connection that leads elsewhere when it has to.
struct Way {
    connection: Connection,
    address: SocketAddr,
}

// === impl Way ===

impl Way {
    async fn open(address: SocketAddr) -> anyhow::Result<Way> {
        let connection = Connection::open(address).await?;
        Ok(Way { connection, address })
    }

    async fn to(&mut self, address: SocketAddr) -> anyhow::Result<&mut Connection> {
        if self.address != address {
            *self = Way::open(address).await?;
        }
        Ok(&mut self.connection)
    }
}
