//! What all connections of a node share: who it is, how it meets others, what it may have in flight.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use socket2::{SockRef, TcpKeepalive};
use tokio::io;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::Hello;
use super::complaints::{Complaint, Complaints};
use super::connection::{Connection, Duplex};
use super::handshake::{HandshakeError, greet, welcome};
use super::message::Greeting;
use super::room::NodeRoom;
use super::tls::PeerTls;

/// How long making a connection may take, the greeting included.
const DIAL_WITHIN: Duration = Duration::from_secs(2);
/// How long a stranger has for its greeting, TLS included.
const GREETING_WITHIN: Duration = Duration::from_secs(5);
/// How long the other side's system may be silent while something is owed to it or, when nothing is, after it was
/// asked whether it is there. A connection over a cable that was cut would otherwise be waited on for minutes after
/// the cable is whole again.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// What all connections of a node share.
pub(super) struct Local {
    tls: Option<PeerTls>,
    era: Mutex<Era>,
    complaints: Complaints,
    pub(super) room: NodeRoom,
}

/// A time in which the node says the same of itself.
#[derive(Clone)]
pub(super) struct Era {
    pub(super) hello: Hello,
    pub(super) ended: CancellationToken,
}

/// Why no connection was made.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("nothing came within {0:?}")]
    TooSlow(Duration),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
}

// === impl Local ===

impl Local {
    pub(super) fn new(hello: Hello, tls: Option<PeerTls>) -> Local {
        Local {
            tls,
            era: Mutex::new(Era::new(hello)),
            complaints: Complaints::default(),
            room: NodeRoom::new(),
        }
    }

    pub(super) fn era(&self) -> Era {
        self.era.lock().clone()
    }

    /// Begins another era. What began in the last one ends.
    pub(super) fn begin_era(&self, hello: Hello) {
        let last = std::mem::replace(&mut *self.era.lock(), Era::new(hello));
        last.ended.cancel();
    }

    /// Makes a connection to another node, and returns who that is.
    pub(super) async fn dial(
        &self,
        address: &str,
        greeting: Greeting,
    ) -> Result<(Hello, Connection), DialError> {
        let dialled = async {
            let stream = TcpStream::connect(address).await?;
            prepare(&stream)?;
            let stream: Box<dyn Duplex> = match &self.tls {
                Some(tls) => Box::new(tls.connect(stream).await?),
                None => Box::new(stream),
            };
            let mut connection = Connection::new(stream);
            let theirs = greet(&mut connection, greeting).await?;
            Ok((theirs, connection))
        };
        let dialled = tokio::time::timeout(DIAL_WITHIN, dialled).await;
        dialled.unwrap_or(Err(DialError::TooSlow(DIAL_WITHIN)))
    }

    /// Takes a connection that another node made, and returns what it said.
    pub(super) async fn receive(
        &self,
        stream: TcpStream,
        own: Hello,
    ) -> Result<(Greeting, Connection), DialError> {
        let received = async {
            prepare(&stream)?;
            let stream: Box<dyn Duplex> = match &self.tls {
                Some(tls) => Box::new(tls.accept(stream).await?),
                None => Box::new(stream),
            };
            let mut connection = Connection::new(stream);
            let theirs = welcome(&mut connection, own).await?;
            Ok((theirs, connection))
        };
        let received = tokio::time::timeout(GREETING_WITHIN, received).await;
        received.unwrap_or(Err(DialError::TooSlow(GREETING_WITHIN)))
    }

    /// Logs that no connection to or from a peer was made, unless that was said a short while ago.
    pub(super) fn complain(&self, peer: &str, error: &DialError) {
        let complaint = if error.is_refusal() {
            Complaint::Refused(peer.to_owned())
        } else {
            Complaint::Unreachable(peer.to_owned())
        };
        if self.complaints.is_due(complaint, Instant::now()) {
            warn!(peer, %error, "no connection");
        }
    }
}

// === impl Era ===

impl Era {
    fn new(hello: Hello) -> Era {
        Era {
            hello,
            ended: CancellationToken::new(),
        }
    }
}

// === impl DialError ===

impl DialError {
    fn is_refusal(&self) -> bool {
        match self {
            DialError::TooSlow(_) | DialError::Io(_) => false,
            DialError::Handshake(error) => error.is_refusal(),
        }
    }
}

/// Sets a socket to what frames between nodes want: they leave at once, and a silent peer is noticed.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new()
        .with_time(SILENCE_MAX)
        .with_interval(SILENCE_MAX);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(SILENCE_MAX))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_socket_sends_at_once_and_notices_silence() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let stream = TcpStream::connect(address).await.expect("it listens");
        prepare(&stream).expect("the system knows the options");
        assert!(stream.nodelay().expect("it has the option"));
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().expect("it has the option"));
        #[cfg(target_os = "linux")]
        assert_eq!(
            socket.tcp_user_timeout().expect("it has the option"),
            Some(SILENCE_MAX)
        );
    }
}
