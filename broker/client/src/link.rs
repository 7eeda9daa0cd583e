//! Connections to nodes: one after the other until one is there, with a rest between rounds.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use posthouse_keyring::{Entropy, SystemEntropy, hmac_sha256};
use posthouse_stream::bounds::REPLY_BYTES_MAX;
use posthouse_stream::signing::{AUTHORIZATION, Authorization, Opening};
use posthouse_stream::stream_client::StreamClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
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

/// The nodes, and the key to them.
#[derive(Debug)]
pub(crate) struct Nodes {
    endpoints: Vec<Endpoint>,
    key: Key,
    entropy: SystemEntropy,
}

/// Where one publisher or consumer looks next.
#[derive(Debug)]
pub(crate) struct Search {
    next: usize,
    /// Connections that failed since one served.
    failures: u32,
}

/// A connection to a node.
pub(crate) type Link = StreamClient<Channel>;

// === impl Nodes ===

impl Nodes {
    pub(crate) fn new(endpoints: Vec<Endpoint>, key: Key) -> Nodes {
        let endpoints = endpoints.into_iter().map(|endpoint| {
            endpoint
                .connect_timeout(CONNECT_TIMEOUT)
                .tcp_nodelay(true)
                .http2_keep_alive_interval(KEEP_ALIVE)
                .keep_alive_timeout(KEEP_ALIVE)
                .initial_stream_window_size(STREAM_WINDOW_BYTES)
                .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        });
        Nodes {
            endpoints: endpoints.collect(),
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
        }
    }

    /// Connects to the next node that is there, resting as long as none is.
    pub(crate) async fn connect(&self, search: &mut Search) -> Link {
        loop {
            search.rest(self.endpoints.len()).await;
            let endpoint = &self.endpoints[search.next % self.endpoints.len()];
            search.next = search.next.wrapping_add(1);
            search.failures = search.failures.saturating_add(1);
            match endpoint.connect().await {
                Ok(channel) => {
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

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
