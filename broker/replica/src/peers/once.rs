//! One question to whoever is at an address, on a connection of its own.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::connection::{Connection, ConnectionError};
use super::link::Asked;
use super::local::Local;
use super::message::{CallId, Channel, Greeting, Message};
use super::room::Taken;
use super::{CallFault, Hello, deadline};

/// The number of the only call.
const CALL: CallId = CallId(0);

/// One question.
pub(super) struct Question<'a> {
    pub(super) local: &'a Local,
    pub(super) stop: &'a CancellationToken,
    pub(super) address: &'a str,
}

/// Whom a question reached, with the room that it has.
struct Reached {
    theirs: Hello,
    connection: Connection,
    _room: Taken,
}

// === impl Question ===

impl Question<'_> {
    /// Connects, asks, and returns who answered what.
    pub(super) async fn ask(&self, asked: Asked, within: Duration) -> Result<(Hello, Bytes), CallFault> {
        let deadline = deadline(within);
        let connecting = self.connect(asked.check_length()?);
        let reached = self.until(deadline, connecting).await;
        let mut reached =
            reached.unwrap_or_else(|| Err(CallFault::Unreachable("no connection in time".to_owned())))?;
        let exchanging = exchange(&mut reached.connection, asked);
        let answer = self.until(deadline, exchanging).await;
        let answer = answer.unwrap_or_else(|| Err(CallFault::NoAnswer("none came in time".to_owned())))?;
        Ok((reached.theirs, answer))
    }

    async fn connect(&self, bytes: usize) -> Result<Reached, CallFault> {
        let room = self.local.room.for_peer(Channel::Requests).take(bytes).await;
        let greeting = Greeting {
            channel: Channel::Requests,
            hello: self.local.era().hello,
            expects: None,
        };
        match self.local.dial(self.address, greeting).await {
            Ok((theirs, connection)) => Ok(Reached {
                theirs,
                connection,
                _room: room,
            }),
            Err(error) => {
                self.local.complain(self.address, &error);
                Err(CallFault::Unreachable(error.to_string()))
            }
        }
    }

    /// Waits for a step; none when the time is over or the node stops.
    async fn until<T>(&self, deadline: Instant, step: impl Future<Output = T>) -> Option<T> {
        let step = self.stop.run_until_cancelled(step);
        timeout_at(deadline, step).await.ok().flatten()
    }
}

async fn exchange(connection: &mut Connection, asked: Asked) -> Result<Bytes, CallFault> {
    let lost = |error: ConnectionError| CallFault::NoAnswer(error.to_string());
    connection.writer.push(asked.into_message(CALL));
    connection.writer.flush().await.map_err(lost)?;
    match connection.reader.next().await.map_err(lost)? {
        Message::Answer { call: CALL, answer } => Ok(answer),
        Message::Fault { call: CALL, reason } => Err(CallFault::NoAnswer(reason)),
        _ => Err(lost(ConnectionError::OutOfPlace)),
    }
}
