//! The network between nodes: frames of groups and requests, over TCP, with TLS when it is configured.
//!
//! Each node connects to each of the others, on four channels: log, heartbeats, snapshots and requests. A channel is
//! a connection of its own, so that none waits for another. Who made a connection asks on it, and the other answers.
//!
//! # Protocol
//!
//! Frames are those of [`posthouse_wire`]: length, kind, version, checksum, payload. All numbers are little-endian.
//!
//! ```text
//! kind  who says it  payload
//! 1     both, first  "posthorn" | version u16 | greeting: channel, cluster, replica, node, whom it expects
//! 2     answerer     why the greeting is refused; the connection ends
//! 3     asker        call u64 | group u16 (0: directory, 1 + n: set n) | frame
//! 4     asker        call u64 | request
//! 5     answerer     call u64 | answer
//! 6     answerer     call u64 | why there is none
//! 7     asker        call u64: its answer is waited for no longer
//! ```
//!
//! The asker greets, and says nothing more until it was greeted. A node of another version of the protocol, of another
//! cluster (when both know theirs) or of another replica than was expected is refused, by whoever sees it first.
//! Then calls follow in any number, and answers in any order.
//!
//! With TLS, both sides show a certificate; nothing of this is said before both were verified ([`PeerTls`]). Without
//! it anyone who can connect is believed, so a listener belongs on the loopback address: its owner sees to it.
//!
//! # Bounds
//!
//! A frame is [`FRAME_BYTES_MAX`] long at most, a greeting 1 KiB. Of what a frame of a greeted peer says is still to come,
//! memory is asked for 2 MiB ahead at most. Calls in flight are bounded in bytes for each
//! channel of each peer, and of the node; the others wait, each within its own time. Connections are bounded in
//! number, those without a greeting more tightly and in time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use posthouse_model::ReplicaId;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::{GroupName, Network, NetworkFault, Outbound, PeerFault};

mod answering;
mod complaints;
mod connection;
mod handshake;
mod link;
mod local;
mod message;
mod once;
mod room;
mod serving;
mod tls;

pub use tls::{PeerTls, PeerTlsError};

use link::{Asked, Link};
use local::Local;
use message::Channel;
use once::Question;
use serving::Server;

/// How long a frame, a request or an answer may be: twice the longest that is meant to be.
pub const FRAME_BYTES_MAX: usize = 64 * 1_048_576;
/// How long an answer is waited for, whatever the caller says.
const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What a node says of itself when a connection begins.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// The cluster it belongs to, once it is founded.
    pub cluster: Option<[u8; 16]>,
    /// The replica it is, once it has an identity.
    pub replica: Option<ReplicaId>,
    /// Its number: a label for people.
    pub node: u16,
}

/// Answers what other nodes ask.
pub trait Answerer: Send + Sync + 'static {
    /// Answers a frame for a group, as [`crate::Groups::answer`] does.
    ///
    /// Frames of one lane come in their order, and each answer is polled once before the next frame is given: what
    /// must keep that order is to be done before the answer first waits, and must be quick. Then answers go on side
    /// by side. One is dropped when nobody waits for it any longer.
    fn group(&self, group: GroupName, frame: Bytes) -> BoxFuture<'static, Result<Bytes, PeerFault>>;

    /// Answers whatever else one node asks another. The answer is dropped when nobody waits for it any longer.
    fn request(&self, from: Hello, request: Bytes) -> BoxFuture<'static, Bytes>;
}

/// Why a call had no answer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CallFault {
    /// It was not written to a connection.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// It was, and may have got there.
    #[error("no answer: {0}")]
    NoAnswer(String),
}

/// The network between nodes. Clones are handles to the same one.
#[derive(Clone)]
pub struct PeerNetwork {
    shared: Arc<Shared>,
}

struct Shared {
    local: Arc<Local>,
    peers: Mutex<HashMap<ReplicaId, Peer>>,
    /// The node of each replica that is called otherwise than its node.
    hosts: Mutex<HashMap<ReplicaId, ReplicaId>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// A replica that this node knows the address of.
struct Peer {
    addresses: Vec<String>,
    links: [Arc<Link>; Channel::ALL.len()],
    closing: CancellationToken,
}

// === impl CallFault ===

impl CallFault {
    fn of(self, to: ReplicaId) -> NetworkFault {
        match self {
            CallFault::Unreachable(_) => NetworkFault::Unreachable(to),
            CallFault::NoAnswer(reason) => NetworkFault::NoAnswer(reason),
        }
    }
}

// === impl PeerNetwork ===

impl PeerNetwork {
    /// Returns a network that knows nobody yet.
    pub fn new(hello: Hello, tls: Option<PeerTls>) -> PeerNetwork {
        PeerNetwork {
            shared: Arc::new(Shared {
                local: Arc::new(Local::new(hello, tls)),
                peers: Mutex::new(HashMap::new()),
                hosts: Mutex::new(HashMap::new()),
                tasks: TaskTracker::new(),
                stop: CancellationToken::new(),
            }),
        }
    }

    /// Says another thing of this node from now on. Connections on which it said what was true before are closed.
    pub fn set_hello(&self, hello: Hello) {
        self.shared.local.begin_era(hello);
    }

    /// Learns where a replica is, as `host:port`. Connections to where it was are closed. To be called within a tokio
    /// runtime.
    pub fn know(&self, replica: ReplicaId, address: String) {
        self.know_at(replica, vec![address]);
    }

    /// Learns where a replica may be: it is looked for at each address in turn. Otherwise as [`PeerNetwork::know`].
    pub fn know_at(&self, replica: ReplicaId, addresses: Vec<String>) {
        let mut peers = self.shared.peers.lock();
        if peers
            .get(&replica)
            .is_some_and(|peer| peer.addresses == addresses)
        {
            return;
        }
        let peer = self.meet(replica, addresses);
        if let Some(before) = peers.insert(replica, peer) {
            before.closing.cancel();
        }
    }

    /// Forgets where a replica is, and closes the connections to it.
    pub fn forget(&self, replica: ReplicaId) {
        if let Some(peer) = self.shared.peers.lock().remove(&replica) {
            peer.closing.cancel();
        }
    }

    /// Learns on which nodes replicas are that are called otherwise than their nodes, and forgets what was known of that.
    /// A node is called by its replica of the directory, in all that is said of replicas here.
    pub fn set_hosts(&self, hosts: HashMap<ReplicaId, ReplicaId>) {
        *self.shared.hosts.lock() = hosts;
    }

    /// Returns the nodes whose addresses are known.
    pub fn known(&self) -> Vec<ReplicaId> {
        self.shared.peers.lock().keys().copied().collect()
    }

    /// Takes the connections that other nodes make to a listener, until stopped. To be called within a tokio runtime.
    pub fn serve(&self, listener: TcpListener, answerer: Arc<dyn Answerer>) {
        let shared = &self.shared;
        let (tasks, stop) = (shared.tasks.clone(), shared.stop.clone());
        let server = Arc::new(Server::new(shared.local.clone(), answerer, tasks, stop));
        shared.tasks.spawn(server.run(listener));
    }

    /// Asks a replica whose address is known what its [`Answerer::request`] answers.
    pub fn ask(
        &self,
        to: ReplicaId,
        request: Bytes,
        within: Duration,
    ) -> BoxFuture<'static, Result<Bytes, NetworkFault>> {
        self.call_on(to, Channel::Requests, Asked::Request(request), within)
    }

    /// Asks whoever is at an address, on a connection of its own, and returns who that is with the answer. For nodes
    /// that have no identity yet.
    pub fn ask_address(
        &self,
        address: String,
        request: Bytes,
        within: Duration,
    ) -> BoxFuture<'static, Result<(Hello, Bytes), CallFault>> {
        let (local, stop) = (self.shared.local.clone(), self.shared.stop.clone());
        async move {
            let question = Question {
                local: &local,
                stop: &stop,
                address: &address,
            };
            question.ask(Asked::Request(request), within).await
        }
        .boxed()
    }

    /// Ends all connections, and returns when nothing of the network runs any longer. What is asked then, fails.
    pub async fn stop(&self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    fn call_on(
        &self,
        to: ReplicaId,
        channel: Channel,
        asked: Asked,
        within: Duration,
    ) -> BoxFuture<'static, Result<Bytes, NetworkFault>> {
        let host = self.shared.hosts.lock().get(&to).copied().unwrap_or(to);
        let link = {
            let peers = self.shared.peers.lock();
            peers.get(&host).map(|peer| peer.links[channel as usize].clone())
        };
        match link {
            Some(link) => link
                .call(asked, within)
                .map(move |answer| answer.map_err(|fault| fault.of(to)))
                .boxed(),
            None => futures::future::ready(Err(NetworkFault::Unreachable(to))).boxed(),
        }
    }

    fn meet(&self, replica: ReplicaId, addresses: Vec<String>) -> Peer {
        let shared = &self.shared;
        let closing = shared.stop.child_token();
        let links = Channel::ALL.map(|channel| {
            let link = Link::new(shared.local.clone(), replica, addresses.clone(), channel);
            let link = Arc::new(link);
            shared.tasks.spawn(link.clone().run(closing.clone()));
            link
        });
        Peer {
            addresses,
            links,
            closing,
        }
    }
}

impl Network for PeerNetwork {
    fn call(&self, frame: Outbound) -> BoxFuture<'static, Result<Bytes, NetworkFault>> {
        let Outbound {
            to,
            group,
            lane,
            frame,
            within,
        } = frame;
        self.call_on(to, Channel::from(lane), Asked::Group { group, frame }, within)
    }
}

fn deadline(within: Duration) -> Instant {
    Instant::now() + within.min(WAIT_MAX)
}
