//! Load on a system through one of its doors: clients that send, clients that receive and delete, sends at a steady rate.
//!
//! Each client has a connection of its own, to the node that leads its queue. All clients of a load are on one thread, to
//! leave the machine to what is measured; senders and receivers are on two when both are at work.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use posthouse_load::requests;

use crate::contender::{Body, Door};
use crate::interrupt;
use crate::meter::{Done, Enough, Meter};
use crate::plan::Plan;
use crate::systems::{amqp, http, jetstream, stream};

/// A queue, or a stream, and where the node that leads it listens for clients.
#[derive(Clone, Debug)]
pub(crate) struct Lane {
    /// Its name.
    pub(crate) queue: String,
    /// The node.
    pub(crate) leader: SocketAddr,
}

/// Queues that are worked on as it was planned.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    /// How clients speak.
    pub(crate) door: Door,
    /// Where.
    pub(crate) lanes: Vec<Lane>,
    /// How many they are.
    pub(crate) plan: Plan,
    /// With what.
    pub(crate) body: Body,
}

/// Sends at a steady rate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// So many a second.
    pub(crate) per_second: u32,
    /// So long.
    pub(crate) span: Duration,
}

// === impl Work ===

impl Work {
    /// Sends until it is enough. Returns once all that was sent is confirmed.
    pub(crate) fn produce(&self, enough: Enough) -> anyhow::Result<Done> {
        let body = self.body();
        self.with_clients(self.plan.producers, enough, async |lane, meter| match self.door {
            Door::Amqp => amqp::produce(lane, self.plan, &body, meter).await,
            Door::JetStream => jetstream::produce(lane, self.plan, &body, meter).await,
            Door::Http { batch } => http::produce(lane, batch, self.body, meter).await,
            Door::Stream => stream::produce(lane, self.plan, &body, meter).await,
        })
    }

    /// Receives and deletes until it is enough. Returns once nothing is left that was received and not deleted.
    pub(crate) fn consume(&self, enough: Enough) -> anyhow::Result<Done> {
        self.with_clients(self.plan.consumers, enough, async |lane, meter| match self.door {
            Door::Amqp => amqp::consume(lane, self.plan, meter).await,
            Door::JetStream => jetstream::consume(lane, self.plan, meter).await,
            Door::Http { .. } => http::consume(lane, meter).await,
            Door::Stream => stream::consume(lane, self.plan, meter).await,
        })
    }

    /// Sends single messages at a steady rate, whether or not those before are confirmed. Returns how long each took, in
    /// milliseconds.
    pub(crate) fn steady(&self, pace: Pace) -> anyhow::Result<Vec<f64>> {
        let lane = &self.lanes[0];
        match self.door {
            Door::Amqp => run(amqp::steady(lane, &self.body(), pace)),
            Door::JetStream => run(jetstream::steady(lane, &self.body(), pace)),
            Door::Http { .. } => http::steady(lane, self.body, pace),
            Door::Stream => run(stream::steady(lane, &self.body(), pace)),
        }
    }

    fn body(&self) -> Bytes {
        Bytes::from(requests::body(self.body.bytes()))
    }

    fn with_clients(
        &self,
        clients: u16,
        enough: Enough,
        client: impl AsyncFn(&Lane, &Meter) -> anyhow::Result<()>,
    ) -> anyhow::Result<Done> {
        let meter = Meter::new(enough, clients);
        run(async {
            let lanes = self.lanes.iter().cycle().take(usize::from(clients));
            let mut running: FuturesUnordered<_> = lanes.map(|lane| client(lane, &meter)).collect();
            while let Some(outcome) = running.next().await {
                outcome?;
            }
            Ok(())
        })?;
        Ok(meter.done())
    }
}

/// Runs something to its end, or to an interrupt.
pub(crate) fn run<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        tokio::select! {
            done = work => done,
            interrupted = interrupt::wait() => Err(interrupted),
        }
    })
}
