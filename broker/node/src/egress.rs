//! The way out: HTTP requests to endpoints that tenants name.
//!
//! An endpoint is a stranger's input. Addresses that lead into the platform's own network (loopback, link-local,
//! private, metadata, multicast) are refused unless configured, whether they come from a resolver or stand in the
//! URL; redirects are not followed and no proxy is taken from the environment. A tenant may be held to hosts of a list
//! beside that.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use posthouse_model::HttpHost;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::config::IpNetwork;

/// The longest that a request waits for its response, whatever the plugin asks.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// How much of a response's body is read.
pub const RESPONSE_BYTES_MAX: usize = 1_024;
/// How many of a response's headers are passed on.
pub const RESPONSE_HEADERS_MAX: usize = 32;

/// Which addresses endpoints may lead to.
#[derive(Clone, Debug, Default)]
pub struct Allowed {
    /// Whether addresses inside (loopback, private, link-local …) may be reached.
    pub inside: bool,
    /// Networks that may be reached although they are inside.
    pub networks: Vec<IpNetwork>,
}

/// Sends requests to allowed addresses.
#[derive(Clone, Debug)]
pub struct Egress {
    client: reqwest::Client,
    allowed: Arc<Allowed>,
}

/// A request to an endpoint.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method, as a plugin named it.
    pub method: String,
    /// Where to.
    pub url: String,
    /// Headers, as a plugin named them.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
    /// How long to wait, at most [`TIMEOUT_MAX`].
    pub timeout: Duration,
}

/// What an endpoint answered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The first headers.
    pub headers: Vec<(String, String)>,
    /// The first bytes of the body.
    pub body: Bytes,
}

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// The request cannot be made as asked.
    #[error("request is malformed: {0}")]
    Malformed(String),
    /// The endpoint leads to a place that is not allowed.
    #[error("address {0} is not allowed for endpoints")]
    Forbidden(String),
    /// The tenant is held to other hosts.
    #[error("host {0} is not among those that the tenant's requests may go to")]
    NotListed(String),
    /// The tenant's plugins make far more requests than they may.
    #[error("the tenant's rate of requests is used up")]
    OverRate,
    /// No response came.
    #[error("no response: {0}")]
    NoResponse(String),
}

// === impl Allowed ===

impl Allowed {
    /// Returns whether an endpoint may lead to this address.
    pub fn allows(&self, address: IpAddr) -> bool {
        let address = unmapped(address);
        self.inside || !is_inside(address) || self.networks.iter().any(|network| network.contains(address))
    }
}

// === impl Egress ===

impl Egress {
    /// Returns a way out to the allowed addresses, for so many requests at once.
    ///
    /// All of them may be to one host, and end together: whichever of their connections were closed then would have to be
    /// made again for the next requests, and a system that makes thousands a second soon has no port left for another.
    pub fn open(allowed: Allowed, at_once_max: usize) -> Result<Egress, EgressError> {
        let allowed = Arc::new(allowed);
        let client = reqwest::Client::builder()
            .dns_resolver(Arc::new(Guarded {
                allowed: Arc::clone(&allowed),
            }))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(Duration::from_secs(10))
            .pool_idle_timeout(Duration::from_secs(60))
            .pool_max_idle_per_host(at_once_max)
            .build()
            .map_err(|error| EgressError::Malformed(error.to_string()))?;
        Ok(Egress { client, allowed })
    }

    /// Sends a request and waits for its response. With a list of hosts it goes to one of those or nowhere.
    pub async fn send(&self, request: Request, hosts: Option<&[HttpHost]>) -> Result<Response, EgressError> {
        let url = self.checked_url(&request.url, hosts)?;
        let method = reqwest::Method::from_bytes(request.method.as_bytes())
            .map_err(|_| EgressError::Malformed("method".to_owned()))?;
        let mut outgoing = self
            .client
            .request(method, url)
            .timeout(request.timeout.min(TIMEOUT_MAX));
        for (name, value) in &request.headers {
            outgoing = outgoing.header(name, value);
        }
        let response = outgoing.body(request.body).send().await.map_err(refused)?;
        Ok(read(response).await)
    }

    fn checked_url(&self, text: &str, hosts: Option<&[HttpHost]>) -> Result<reqwest::Url, EgressError> {
        let url = reqwest::Url::parse(text).map_err(|error| EgressError::Malformed(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(EgressError::Malformed(
                "only http and https are spoken".to_owned(),
            ));
        }
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or_default();
        if hosts.is_some_and(|hosts| !hosts.iter().any(|one| one.is_of(host, port))) {
            return Err(EgressError::NotListed(format!("{host}:{port}")));
        }
        let literal = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>();
        match literal {
            Ok(address) if !self.allowed.allows(address) => Err(EgressError::Forbidden(address.to_string())),
            Ok(_) | Err(_) => Ok(url),
        }
    }
}

/// Resolves names, and hides addresses that are not allowed.
struct Guarded {
    allowed: Arc<Allowed>,
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let allowed = Arc::clone(&self.allowed);
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let kept: Vec<SocketAddr> = found
                .iter()
                .copied()
                .filter(|address| allowed.allows(address.ip()))
                .collect();
            if kept.is_empty() && !found.is_empty() {
                return Err(EgressError::Forbidden(name.as_str().to_owned()).into());
            }
            let addresses: Addrs = Box::new(kept.into_iter());
            Ok(addresses)
        })
    }
}

async fn read(mut response: reqwest::Response) -> Response {
    let status = response.status().as_u16();
    let headers = response
        .headers()
        .iter()
        .take(RESPONSE_HEADERS_MAX)
        .map(|(name, value)| {
            (
                name.to_string(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        })
        .collect();
    let mut body = Vec::new();
    // A body that breaks off does not change what the status said.
    while let Ok(Some(chunk)) = response.chunk().await {
        let room = RESPONSE_BYTES_MAX - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if body.len() == RESPONSE_BYTES_MAX {
            break;
        }
    }
    Response {
        status,
        headers,
        body: Bytes::from(body),
    }
}

fn refused(error: reqwest::Error) -> EgressError {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(cause) = source {
        if let Some(EgressError::Forbidden(address)) = cause.downcast_ref::<EgressError>() {
            return EgressError::Forbidden(address.clone());
        }
        source = cause.source();
    }
    if error.is_builder() {
        return EgressError::Malformed("method, URL or header".to_owned());
    }
    if error.is_timeout() {
        return EgressError::NoResponse("timed out".to_owned());
    }
    if error.is_connect() {
        return EgressError::NoResponse("could not connect".to_owned());
    }
    EgressError::NoResponse("connection broke".to_owned())
}

/// Returns an IPv4 address that was written as an IPv6 one in its own form.
fn unmapped(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
    }
}

fn is_inside(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_inside_v4(v4),
        IpAddr::V6(v6) => is_inside_v6(v6),
    }
}

fn is_inside_v4(address: Ipv4Addr) -> bool {
    let [first, second, third, _] = address.octets();
    address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || first == 0
        || first >= 240
        || (first == 100 && (second & 0xc0) == 64)
        || (first == 198 && (second & 0xfe) == 18)
        || (first == 192 && second == 0 && third == 0)
}

fn is_inside_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let embeds_v4 = (segments[0] == 0x64 && segments[1] == 0xff9b) || segments[0] == 0x2002;
    address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || (segments[0] & 0xfe00) == 0xfc00
        || (segments[0] & 0xffc0) == 0xfe80
        || segments[..6].iter().all(|segment| *segment == 0)
        || embeds_v4
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufStream};
    use tokio::sync::Barrier;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn addresses_inside_are_refused_however_they_are_written() {
        let allowed = Allowed::default();
        for inside in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
        ] {
            assert!(!allowed.allows(address(inside)), "{inside}");
        }
        for outside in ["8.8.8.8", "2606:4700::1111", "172.32.0.1"] {
            assert!(allowed.allows(address(outside)), "{outside}");
        }
    }

    #[test]
    fn a_network_can_be_allowed() {
        let networks = vec![IpNetwork::parse("10.0.0.0/8").expect("a network")];
        let allowed = Allowed {
            inside: false,
            networks,
        };
        assert!(allowed.allows(address("10.9.9.9")));
        assert!(!allowed.allows(address("127.0.0.1")));
        assert!(!allowed.allows(address("192.168.0.1")));
    }

    #[tokio::test]
    async fn literals_and_names_that_lead_inside_are_refused() {
        // The provider may have been installed by another test of this process.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let egress = Egress::open(Allowed::default(), 1).expect("a client");
        for url in [
            "http://127.0.0.1:1/",
            "http://[::1]:1/",
            "http://localhost:1/",
            "http://2130706433/",
        ] {
            let request = Request {
                method: "POST".to_owned(),
                url: url.to_owned(),
                headers: Vec::new(),
                body: Bytes::new(),
                timeout: Duration::from_secs(5),
            };
            let error = egress.send(request, None).await.expect_err(url);
            assert!(matches!(error, EgressError::Forbidden(_)), "{url}: {error}");
        }
    }

    #[tokio::test]
    async fn connections_of_requests_that_end_together_serve_the_next_ones() {
        const AT_ONCE: usize = 100;
        const WAVES: usize = 10;
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("it is bound"));
        let accepted = Arc::new(AtomicUsize::new(0));
        // Nobody is answered before all have asked, so that each has a connection of its own.
        let (asked, count) = (Arc::new(Barrier::new(AT_ONCE)), Arc::clone(&accepted));
        let server = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let asked = Arc::clone(&asked);
                connections.spawn(async move {
                    let mut stream = BufStream::new(stream);
                    let mut line = String::new();
                    while stream.read_line(&mut line).await.is_ok_and(|bytes| bytes > 0) {
                        let is_end = line.trim_end().is_empty();
                        line.clear();
                        if is_end {
                            asked.wait().await;
                            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                            stream.write_all(answer).await.expect("it is read");
                            stream.flush().await.expect("it is read");
                        }
                    }
                });
            }
        });
        let allowed = Allowed {
            inside: true,
            networks: Vec::new(),
        };
        let egress = Egress::open(allowed, AT_ONCE).expect("a client");
        for _ in 0..WAVES {
            let requests = (0..AT_ONCE).map(|_| {
                let request = Request {
                    method: "GET".to_owned(),
                    url: url.clone(),
                    headers: Vec::new(),
                    body: Bytes::new(),
                    timeout: TIMEOUT_MAX,
                };
                egress.send(request, None)
            });
            for sent in futures::future::join_all(requests).await {
                assert_eq!(sent.expect("it is answered").status, 200);
            }
        }
        server.abort();
        // Now and then one is asked for before it is seen to be free, and another one made meanwhile.
        let connections = accepted.load(Ordering::Relaxed);
        assert!(connections < 2 * AT_ONCE, "{connections} connections");
    }

    #[test]
    fn a_list_of_hosts_is_kept_to_beside_the_rules_for_addresses() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let egress = Egress::open(Allowed::default(), 1).expect("a client");
        let host = |text| HttpHost::parse(text).expect("a host");
        let hosts = [
            host("hooks.example"),
            host("*.shop.example:8443"),
            host("127.0.0.1"),
        ];
        let checked = |url| egress.checked_url(url, Some(&hosts));
        for listed in ["http://Hooks.Example/in", "https://a.b.shop.example:8443/"] {
            assert!(checked(listed).is_ok(), "{listed}");
        }
        for other in [
            "http://hooks.example.evil.test/",
            "https://a.shop.example/",
            "http://hooks.example@evil.test/",
        ] {
            assert!(
                matches!(checked(other), Err(EgressError::NotListed(_))),
                "{other}"
            );
        }
        let inside = checked("http://127.0.0.1/");
        assert!(matches!(inside, Err(EgressError::Forbidden(_))), "{inside:?}");
        assert!(matches!(
            egress.checked_url("http://hooks.example/", Some(&[])),
            Err(EgressError::NotListed(_))
        ));
    }
}
