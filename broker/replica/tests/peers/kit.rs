//! What the tests of the network share: nodes, answers, and connections made by hand.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use posthouse_model::ReplicaId;
use posthouse_replica::{
    Answerer, GroupName, Hello, Lane, Network, NetworkFault, Outbound, PeerFault, PeerNetwork, PeerTls,
};
use posthouse_wire::{Frame, FrameKind, FrameReader};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// The replica that tests ask.
pub(crate) const THERE: ReplicaId = ReplicaId(2);

/// A node that listens.
pub(crate) struct Node {
    pub(crate) network: PeerNetwork,
    pub(crate) address: String,
}

type GroupAnswer = BoxFuture<'static, Result<Bytes, PeerFault>>;

/// Answers groups as a test says, and requests by who asked and what.
pub(crate) struct Answers<F>(pub(crate) F);

/// A gate that answers wait at.
#[derive(Clone)]
pub(crate) struct Gate(watch::Sender<bool>);

/// A connection made by hand.
pub(crate) struct Raw {
    stream: TcpStream,
    frames: FrameReader,
}

// === impl Node ===

impl Node {
    pub(crate) async fn start(hello: Hello, tls: Option<PeerTls>, answerer: Arc<dyn Answerer>) -> Node {
        let listener = listen().await;
        let address = address(&listener);
        let network = PeerNetwork::new(hello, tls);
        network.serve(listener, answerer);
        Node { network, address }
    }

    /// Starts the replica that tests ask.
    pub(crate) async fn there<F>(answer: F) -> Node
    where
        F: Fn(GroupName, Bytes) -> GroupAnswer + Send + Sync + 'static,
    {
        Node::start(hello(THERE.0), None, Arc::new(Answers(answer))).await
    }

    /// Returns the network of another node, which knows this one.
    pub(crate) fn asker(&self) -> PeerNetwork {
        let network = PeerNetwork::new(hello(1), None);
        network.know(THERE, self.address.clone());
        network
    }
}

// === impl Answers ===

impl<F> Answerer for Answers<F>
where
    F: Fn(GroupName, Bytes) -> GroupAnswer + Send + Sync + 'static,
{
    fn group(&self, group: GroupName, frame: Bytes) -> GroupAnswer {
        (self.0)(group, frame)
    }

    fn request(&self, from: Hello, request: Bytes) -> BoxFuture<'static, Bytes> {
        let answer = format!("{} asked {}", from.node, String::from_utf8_lossy(&request));
        futures::future::ready(Bytes::from(answer)).boxed()
    }
}

// === impl Gate ===

impl Gate {
    pub(crate) fn closed() -> Gate {
        Gate(watch::Sender::new(false))
    }

    pub(crate) fn open(&self) {
        self.0.send_replace(true);
    }

    pub(crate) fn passed(&self) -> BoxFuture<'static, ()> {
        let mut is_open = self.0.subscribe();
        async move {
            // When the test is over, nobody waits any longer.
            let _ = is_open.wait_for(|is_open| *is_open).await;
        }
        .boxed()
    }
}

// === impl Raw ===

impl Raw {
    pub(crate) async fn connect(address: &str) -> Raw {
        let stream = within(TcpStream::connect(address)).await.expect("it listens");
        Raw::on(stream)
    }

    pub(crate) async fn accept(listener: &TcpListener) -> Raw {
        let (stream, _) = within(listener.accept()).await.expect("somebody connects");
        Raw::on(stream)
    }

    fn on(stream: TcpStream) -> Raw {
        Raw {
            stream,
            frames: FrameReader::new(1 << 20),
        }
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        within(self.stream.write_all(bytes)).await.expect("it is open");
    }

    pub(crate) async fn send(&mut self, kind: u8, payload: &[u8]) {
        self.write(&frame(kind, payload)).await;
    }

    /// Waits for the end of the connection, and returns what came until then.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // However it ends, it ends.
        let _ = within(self.stream.read_to_end(&mut rest)).await;
        rest
    }

    /// Waits for the next frame; none when the connection ended.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.frames.next_frame().expect("nodes write frames") {
                return Some(frame);
            }
            match within(self.stream.read_buf(self.frames.buffer())).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }
}

/// Answers with what it was asked.
pub(crate) fn echo(_: GroupName, frame: Bytes) -> GroupAnswer {
    futures::future::ready(Ok(frame)).boxed()
}

pub(crate) fn hello(replica: u64) -> Hello {
    Hello {
        cluster: Some([7; 16]),
        replica: Some(ReplicaId(replica)),
        node: u16::try_from(replica).expect("tests have few replicas"),
    }
}

pub(crate) async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0")
        .await
        .expect("there is a free port")
}

pub(crate) fn address(listener: &TcpListener) -> String {
    listener.local_addr().expect("it is bound").to_string()
}

/// Returns the bytes of a frame.
pub(crate) fn frame(kind: u8, payload: &[u8]) -> Bytes {
    Frame {
        kind: FrameKind(kind),
        payload: Bytes::copy_from_slice(payload),
    }
    .encode()
}

/// Returns the greeting with which a node asks replica [`THERE`] on its channel for requests: a payload of kind 1.
pub(crate) async fn greeting_of(hello: Hello) -> Vec<u8> {
    let listener = listen().await;
    let network = PeerNetwork::new(hello, None);
    network.know(THERE, address(&listener));
    let asking = tokio::spawn(network.ask(THERE, Bytes::new(), PATIENCE));
    let greeting = Raw::accept(&listener).await.next().await.expect("a greeting");
    assert_eq!(greeting.kind, FrameKind(1));
    network.stop().await;
    assert!(within(asking).await.expect("it ends").is_err());
    greeting.payload.to_vec()
}

/// Asks replica [`THERE`] on a lane of the directory.
pub(crate) fn call(
    network: &PeerNetwork,
    lane: Lane,
    frame: impl Into<Bytes>,
) -> BoxFuture<'static, Result<Bytes, NetworkFault>> {
    call_within(network, lane, frame, PATIENCE)
}

pub(crate) fn call_within(
    network: &PeerNetwork,
    lane: Lane,
    frame: impl Into<Bytes>,
    within: Duration,
) -> BoxFuture<'static, Result<Bytes, NetworkFault>> {
    network.call(Outbound {
        to: THERE,
        group: GroupName::Directory,
        lane,
        frame: frame.into(),
        within,
    })
}

/// Waits for what must come.
pub(crate) async fn within<T>(coming: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, coming)
        .await
        .expect("it comes in time")
}

/// Asks again and again until there is an answer.
pub(crate) async fn until_answered(network: &PeerNetwork, lane: Lane, frame: &'static [u8]) -> Bytes {
    let mut looks = tokio::time::interval(Duration::from_millis(2));
    let asking = async {
        loop {
            if let Ok(answer) = call(network, lane, frame).await {
                return answer;
            }
            looks.tick().await;
        }
    };
    within(asking).await
}
