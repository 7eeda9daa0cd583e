//! Takes the connections that other nodes make.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::Answerer;
use super::answering::answer_calls;
use super::local::{Era, Local};

/// Connections whose greeting has not come; more wait to be accepted.
const STRANGERS_MAX: usize = 64;
/// Connections at once; more are closed.
const CONNECTIONS_MAX: usize = 1_024;
/// How long the listener rests when the process has no more descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What takes connections.
pub(super) struct Server {
    local: Arc<Local>,
    answerer: Arc<dyn Answerer>,
    strangers: Arc<Semaphore>,
    places: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// What a connection takes up until it ends.
struct Place {
    _place: OwnedSemaphorePermit,
    /// Given back at the greeting.
    stranger: OwnedSemaphorePermit,
}

// === impl Server ===

impl Server {
    pub(super) fn new(
        local: Arc<Local>,
        answerer: Arc<dyn Answerer>,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Server {
        Server {
            local,
            answerer,
            strangers: Arc::new(Semaphore::new(STRANGERS_MAX)),
            places: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            tasks,
            stop,
        }
    }

    /// Takes connections until told to stop.
    pub(super) async fn run(self: Arc<Server>, listener: TcpListener) {
        self.stop.run_until_cancelled(self.accept(listener)).await;
    }

    async fn accept(self: &Arc<Server>, listener: TcpListener) {
        loop {
            let stranger = self.strangers.clone().acquire_owned().await;
            let stranger = stranger.expect("the semaphore is never closed");
            match listener.accept().await {
                Ok((stream, address)) => {
                    let Ok(place) = self.places.clone().try_acquire_owned() else {
                        warn!(%address, "too many connections of peers");
                        continue;
                    };
                    let place = Place {
                        _place: place,
                        stranger,
                    };
                    self.tasks.spawn(self.clone().attend(stream, address, place));
                }
                Err(error) => {
                    warn!(%error, "a peer's connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Attends to one connection until it ends, or the node stops or says another thing of itself.
    async fn attend(self: Arc<Server>, stream: TcpStream, address: SocketAddr, place: Place) {
        let era = self.local.era();
        let attended = self.converse(stream, address, &era, place);
        let attended = era.ended.run_until_cancelled(attended);
        self.stop.run_until_cancelled(attended).await;
    }

    async fn converse(&self, stream: TcpStream, address: SocketAddr, era: &Era, place: Place) {
        let (greeting, connection) = match self.local.receive(stream, era.hello).await {
            Ok(received) => received,
            Err(error) => {
                self.local.complain(&address.ip().to_string(), &error);
                return;
            }
        };
        let Place { _place, stranger } = place;
        drop(stranger);
        let error = answer_calls(connection, greeting, self.answerer.clone(), self.tasks.clone()).await;
        debug!(%address, node = greeting.hello.node, channel = ?greeting.channel, %error, "connection ended");
    }
}
