//! Connections to nodes: one after the other until one is there, with a rest between rounds.
//!
//! A node may say that another one leads what a stream is about. That one is tried next, at once the first time, and after
//! longer and longer rests as long as it goes on so: who leads may be in dispute, or what is said not be reachable from here.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use posthouse_keyring::{Entropy, SystemEntropy, hmac_sha256};
use posthouse_stream::bounds::REPLY_BYTES_MAX;
use posthouse_stream::signing::{AUTHORIZATION, Authorization, Opening};
use posthouse_stream::stream_client::StreamClient;
use tokio::time::Instant;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint, Uri};
use tonic::{Request, Status};

use crate::Key;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a node is asked whether it is there, and how long it has to say so.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// The first rest after no node was there, and the longest.
const REST_FIRST: Duration = Duration::from_millis(20);
const REST_MAX: Duration = Duration::from_secs(2);
/// What a node may send of a stream, and of all streams of a connection, before it is read.
const STREAM_WINDOW_BYTES: u32 = 2 * 1_048_576;
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1_048_576;
/// What a node may send in one frame, each of which is a system call of its own: as much as it hands out at once.
const FRAME_BYTES_MAX: u32 = 262_144;

/// The rest after the first move to a leader before there may be another, and the longest, after which moves are forgotten.
const MOVE_REST_FIRST: Duration = Duration::from_millis(200);
const MOVE_REST_MAX: Duration = Duration::from_secs(30);

/// The nodes, and the key to them.
#[derive(Debug)]
pub(crate) struct Nodes {
    endpoints: Vec<Endpoint>,
    tls: Option<ClientTlsConfig>,
    key: Key,
    entropy: SystemEntropy,
}

/// Where one publisher or consumer looks next.
#[derive(Debug)]
pub(crate) struct Search {
    next: usize,
    /// Connections that failed since one served.
    failures: u32,
    /// Where it is connected.
    at: Option<Uri>,
    /// The leader that it was told of and is not connected to.
    leader: Option<Endpoint>,
    /// Moves to leaders that followed on each other, and when the next may be.
    moves: u32,
    moves_from: Option<Instant>,
}

/// A connection to a node.
pub(crate) type Link = StreamClient<Channel>;

// === impl Nodes ===

impl Nodes {
    pub(crate) fn new(endpoints: Vec<Endpoint>, key: Key, tls: Option<ClientTlsConfig>) -> Nodes {
        Nodes {
            endpoints,
            tls,
            key,
            entropy: SystemEntropy::new(),
        }
    }

    /// Returns where to begin, another place for each who asks: all begin at different nodes.
    pub(crate) fn search(&self) -> Search {
        let [first, ..] = self.random::<8>();
        Search {
            next: usize::from(first),
            failures: 0,
            at: None,
            leader: None,
            moves: 0,
            moves_from: None,
        }
    }

    /// Returns the endpoint of a leader's door. One that would be spoken to in clear, where those that were given are not, is
    /// none.
    fn endpoint_of(&self, door: &str) -> Option<Endpoint> {
        let endpoint = endpoint(door, self.tls.as_ref()).ok()?;
        let scheme = endpoint.uri().scheme();
        let is_usual = |given: &Endpoint| given.uri().scheme() == scheme;
        self.endpoints.iter().any(is_usual).then_some(endpoint)
    }

    /// Connects to the next node that is there, resting as long as none is.
    pub(crate) async fn connect(&self, search: &mut Search) -> Link {
        loop {
            search.at = None;
            let now = Instant::now();
            let may_move = search.calls(now);
            let endpoint = match search.leader.take().filter(|_| may_move) {
                Some(leader) => {
                    search.moved(now);
                    leader
                }
                None => {
                    search.rest(self.endpoints.len()).await;
                    search.failures = search.failures.saturating_add(1);
                    search.next = search.next.wrapping_add(1);
                    self.endpoints[search.next % self.endpoints.len()].clone()
                }
            };
            match endpoint.connect().await {
                Ok(channel) => {
                    search.at = Some(endpoint.uri().clone());
                    return StreamClient::new(channel).max_decoding_message_size(REPLY_BYTES_MAX);
                }
                Err(error) => tracing::debug!(node = %endpoint.uri(), %error, "a node is not there"),
            }
        }
    }

    /// Signs a request that opens a stream of a method, named by its path.
    pub(crate) fn sign<T>(&self, requests: T, path: &str) -> Result<Request<T>, Status> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let opening = Opening {
            id: self.key.id.clone(),
            timestamp_seconds: now.map(|now| now.as_secs()).unwrap_or_default(),
            nonce: hexadecimal(&self.random::<16>()),
        };
        let signature = hmac_sha256(&self.key.secret, opening.text(path).as_bytes());
        let authorization = Authorization { opening, signature }.to_string();
        let text: MetadataValue<Ascii> = authorization
            .parse()
            .map_err(|_| Status::unauthenticated("the key's id cannot be sent"))?;
        let mut request = Request::new(requests);
        request.metadata_mut().insert(AUTHORIZATION, text);
        Ok(request)
    }

    /// Returns a text that nobody else has: what tokens begin with.
    pub(crate) fn unique(&self) -> String {
        hexadecimal(&self.random::<16>())
    }

    fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.entropy.fill(&mut bytes);
        bytes
    }
}

// === impl Search ===

impl Search {
    /// A stream was served: what comes next is no round of failures.
    pub(crate) fn served(&mut self) {
        self.failures = 0;
    }

    /// A node said at which door the leader is; an empty one is its own.
    pub(crate) fn told(&mut self, nodes: &Nodes, door: &str) {
        self.leader = match door.is_empty() {
            true => None,
            false => nodes.endpoint_of(door),
        };
        self.leader
            .take_if(|leader| self.at.as_ref() == Some(leader.uri()));
    }

    /// Returns whether to go to the leader now.
    pub(crate) fn calls(&self, now: Instant) -> bool {
        self.leader.is_some() && self.moves_from.is_none_or(|from| from <= now)
    }

    /// Returns when to go to the leader, if that is to be later.
    pub(crate) fn calls_at(&self) -> Option<Instant> {
        self.leader.as_ref().and(self.moves_from)
    }

    /// It goes to a leader.
    fn moved(&mut self, now: Instant) {
        let is_long_ago = self.moves_from.is_some_and(|from| now >= from + MOVE_REST_MAX);
        self.moves = match is_long_ago {
            true => 1,
            false => self.moves.saturating_add(1),
        };
        let rest = MOVE_REST_FIRST.saturating_mul(1 << (self.moves - 1).min(10));
        self.moves_from = Some(now + rest.min(MOVE_REST_MAX));
    }

    /// Rests after each round in which no node served, longer each time.
    async fn rest(&self, nodes: usize) {
        let nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
        if self.failures == 0 || !self.failures.is_multiple_of(nodes) {
            return;
        }
        let round = self.failures / nodes;
        let rest = REST_FIRST.saturating_mul(1 << round.min(10)).min(REST_MAX);
        tokio::time::sleep(rest).await;
    }
}

/// Returns how a node is connected to.
pub(crate) fn endpoint(
    address: &str,
    tls: Option<&ClientTlsConfig>,
) -> Result<Endpoint, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(address.to_owned())?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .max_frame_size(FRAME_BYTES_MAX)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    match tls {
        Some(tls) => endpoint.tls_config(tls.clone()),
        None => Ok(endpoint),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(addresses: &[&str]) -> Nodes {
        let endpoints = addresses
            .iter()
            .map(|address| endpoint(address, None).expect("a URL"));
        Nodes::new(endpoints.collect(), Key::new("id", "secret"), None)
    }

    #[test]
    fn a_leader_is_gone_to_at_once_and_then_more_and_more_seldom() {
        let nodes = nodes(&["http://10.0.0.1:1"]);
        let (mut search, mut now) = (nodes.search(), Instant::now());
        let mut rests = Vec::new();
        for _ in 0..12 {
            search.told(&nodes, "http://10.0.0.2:1");
            let from = search.calls_at().unwrap_or(now).max(now);
            assert!(search.calls(from) && (from == now || !search.calls(now)));
            rests.push(from - now);
            now = from;
            search.leader = None;
            search.moved(now);
        }
        assert_eq!(rests[..3], [Duration::ZERO, MOVE_REST_FIRST, 2 * MOVE_REST_FIRST]);
        assert!(rests.is_sorted() && rests.iter().all(|rest| *rest <= MOVE_REST_MAX));
        let much_later = now + 3 * MOVE_REST_MAX;
        search.moved(much_later);
        assert_eq!(search.moves_from, Some(much_later + MOVE_REST_FIRST));
    }

    #[test]
    fn a_leader_is_not_gone_to_where_the_client_is_or_in_clear_when_it_spoke_so_to_none() {
        let nodes = nodes(&["https://10.0.0.1:1", "https://10.0.0.2:1"]);
        let mut search = nodes.search();
        for (door, is_gone_to) in [
            ("https://10.0.0.3:1", true),
            ("http://10.0.0.3:1", false),
            ("nonsense of a node", false),
            ("https://10.0.0.1:1", false),
            ("https://10.0.0.2:1", true),
            ("", false),
        ] {
            search.at = Some(Uri::from_static("https://10.0.0.1:1"));
            search.told(&nodes, door);
            assert_eq!(search.calls(Instant::now()), is_gone_to, "{door}");
        }
    }
}
