//! How a connection begins: the side that made it says who it is and whom it takes the other for, and the other
//! answers who it is, or why it refuses. Nothing else is read before.

use posthouse_model::ReplicaId;

use super::Hello;
use super::connection::{Connection, ConnectionError};
use super::message::{Greeting, Message, MessageError};

/// Why a connection did not begin.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The other side refused this one.
    #[error("refused by the other side: {0:?}")]
    RefusedThere(String),
    /// This side refused the other.
    #[error(transparent)]
    RefusedHere(#[from] Misfit),
}

/// What does not fit in what a node says of itself. The other side is told, so no secret stands here.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Misfit {
    #[error("the two nodes are of different clusters")]
    Cluster,
    #[error("replica {expected} was expected, and {} found", Found(*.found))]
    Replica {
        expected: ReplicaId,
        found: Option<ReplicaId>,
    },
    #[error(transparent)]
    Version(MessageError),
}

/// How a replica that was found is named.
struct Found(Option<ReplicaId>);

// === impl HandshakeError ===

impl HandshakeError {
    /// Returns whether one of the two does not want the other, which trying again does not change.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            HandshakeError::Connection(_) => false,
            HandshakeError::RefusedThere(_) | HandshakeError::RefusedHere(_) => true,
        }
    }
}

// === impl Found ===

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(replica) => write!(f, "replica {replica}"),
            None => f.write_str("a node without a replica"),
        }
    }
}

/// Begins a connection that this side made. Returns who the other is.
pub(super) async fn greet(connection: &mut Connection, greeting: Greeting) -> Result<Hello, HandshakeError> {
    connection.writer.push(Message::Hello(greeting));
    connection.writer.flush().await?;
    match connection.reader.next().await {
        Ok(Message::Hello(theirs)) => {
            check(&greeting.hello, &theirs.hello)?;
            check_replica(greeting.expects, &theirs.hello)?;
            connection.reader.admit();
            Ok(theirs.hello)
        }
        Ok(Message::Refused(reason)) => Err(HandshakeError::RefusedThere(reason)),
        Ok(_) => Err(ConnectionError::OutOfPlace.into()),
        Err(error) => Err(version_or(error)),
    }
}

/// Begins a connection that the other side made. Returns what it said.
pub(super) async fn welcome(connection: &mut Connection, own: Hello) -> Result<Greeting, HandshakeError> {
    let fitting = match connection.reader.next().await {
        Ok(Message::Hello(theirs)) => check(&own, &theirs.hello)
            .and_then(|()| check_replica(theirs.expects, &own))
            .map(|()| theirs)
            .map_err(HandshakeError::RefusedHere),
        Ok(_) => Err(ConnectionError::OutOfPlace.into()),
        Err(error) => Err(version_or(error)),
    };
    match fitting {
        Ok(theirs) => {
            connection.writer.push(Message::Hello(Greeting {
                channel: theirs.channel,
                hello: own,
                expects: None,
            }));
            connection.writer.flush().await?;
            connection.reader.admit();
            Ok(theirs)
        }
        Err(HandshakeError::RefusedHere(misfit)) => {
            connection.writer.push(Message::Refused(misfit.to_string()));
            connection.writer.flush().await?;
            Err(misfit.into())
        }
        Err(other) => Err(other),
    }
}

fn check(own: &Hello, theirs: &Hello) -> Result<(), Misfit> {
    match (own.cluster, theirs.cluster) {
        (Some(ours), Some(other)) if ours != other => Err(Misfit::Cluster),
        (Some(_), Some(_)) | (None, _) | (_, None) => Ok(()),
    }
}

fn check_replica(expected: Option<ReplicaId>, hello: &Hello) -> Result<(), Misfit> {
    match expected {
        Some(expected) if hello.replica != Some(expected) => Err(Misfit::Replica {
            expected,
            found: hello.replica,
        }),
        Some(_) | None => Ok(()),
    }
}

/// A node of another version is refused with a reason; whoever sends other bytes is no node, and is told nothing.
fn version_or(error: ConnectionError) -> HandshakeError {
    match error {
        ConnectionError::Message(version @ MessageError::OtherVersion(_)) => Misfit::Version(version).into(),
        other => other.into(),
    }
}
