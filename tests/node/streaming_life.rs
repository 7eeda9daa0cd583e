//! How long streams live and what they may hold: certificates, tenants that are removed, requests that do not arrive.

use std::path::Path;

use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use posthouse_client::{Client, Key, PublishError, Target};
use posthouse_stream::PUBLISH_PATH;
use posthouse_stream::signing::AUTHORIZATION;
use posthouse_tests::Node;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::sync::mpsc;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use tonic::{Code, Status};
use tower_service::Service;

use crate::streaming::run;
use crate::streaming_input::{authorization, now, publish, publish_with, serves, to};
use crate::{node, node_with, until};

/// A request that says it is as long, and of which as much comes.
const SAID_BYTES: u32 = 1_000_000;
const CAME_BYTES: usize = 980_000;

/// A stream of which half a request has come.
struct Half {
    _more: mpsc::Sender<Bytes>,
    answer: hyper::Response<tonic::body::Body>,
}

#[test]
fn streams_are_served_under_the_nodes_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec!["node.example.com".to_owned()]).unwrap();
    let certificate = own.signed_by(&key, &authority).unwrap();
    let kept = |name: &str, pem: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, pem).unwrap();
        toml_path(&path)
    };
    let configuration = format!(
        "[tls]\ncertificate = {}\nkey = {}\n",
        kept("certificate.pem", certificate.pem()),
        kept("key.pem", key.serialize_pem())
    );
    let node = node_with(&configuration);
    let address = node.streams_address();
    let client = |trusted: String| {
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(trusted))
            .domain_name("node.example.com");
        let key = Key::new("AKIDdev", "dev");
        Client::with_tls(&[format!("https://{address}")], key, tls).unwrap()
    };
    run(async {
        let publisher = client(authority.pem()).publisher();
        // The stream is open and signed: it says that there is no such queue.
        let refused = publisher.publish(&Target::queue("nothing"), "x").await.unwrap();
        let refused = refused.await.unwrap_err();
        assert!(
            matches!(refused, PublishError::Refused { code: 4440, .. }),
            "{refused}"
        );
        let in_clear = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let (mut channel, body) = (in_clear.connect_lazy(), tonic::body::Body::empty());
        assert!(
            open(&mut channel, &format!("http://{address}"), body)
                .await
                .is_err()
        );
    });
}

#[test]
fn a_tenant_that_is_removed_has_its_streams_ended() {
    let node = node();
    let posthouse = |arguments: &[&str]| {
        let output = std::process::Command::new(crate::program())
            .args(arguments)
            .args(["--url", &node.url(), "--json"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    posthouse(&["tenant", "create", "shop"]);
    let key = posthouse(&["tenant", "key", "add", "shop"]);
    let (id, secret) = (key["id"].as_str().unwrap(), key["secret"].as_str().unwrap());
    run(async {
        let text = authorization(id, secret.as_bytes(), now(), PUBLISH_PATH);
        let mut stream = publish_with(&node, Some(&text)).await.unwrap();
        stream
            .send(to("nothing", 1, vec![Bytes::from_static(b"x")]))
            .await;
        let error = stream.reply().await.published.remove(0).error.unwrap();
        assert_eq!(error.code, 4440, "it is served: {error:?}");
        posthouse(&["tenant", "remove", "shop"]);
        assert_eq!(stream.end().await.code(), Code::Unauthenticated);
    });
}

#[test]
fn a_request_whose_rest_does_not_come_ends_its_stream() {
    let node = node_with("[limits]\nbody_read_seconds = 1\n");
    assert_eq!(create(&node), 0);
    run(async {
        let whole = publish(&node).await;
        let half = half(&node).await;
        assert_eq!(half.end().await, Some(Code::DeadlineExceeded));
        // One over which nothing is asked for as long has nothing that could be late.
        let mut whole = whole;
        whole.send(to("orders", 1, vec![Bytes::from_static(b"x")])).await;
        assert_eq!(whole.reply().await.published[0].message_ids.len(), 1);
    });
}

#[test]
fn halves_of_requests_take_no_more_room_than_there_is_for_bodies() {
    const ROOM_BYTES: usize = 67_108_864;
    let node = node_with(&format!(
        "[limits]\nbodies_bytes_max = {ROOM_BYTES}\nbody_read_seconds = 600\n"
    ));
    assert_eq!(create(&node), 0);
    run(async {
        let mut halves = Vec::new();
        for _ in 0..ROOM_BYTES / CAME_BYTES {
            halves.push(half(&node).await);
        }
        until(|| (held_bytes(&node) > ROOM_BYTES - CAME_BYTES).then_some(()));
        // Of one more there is no room for all that comes, and large requests find none either; what is there stays.
        assert_eq!(half(&node).await.end().await, Some(Code::ResourceExhausted));
        let mut stream = publish(&node).await;
        stream
            .send(to("orders", 1, vec![vec![b'x'; CAME_BYTES].into()]))
            .await;
        assert_eq!(stream.end().await.code(), Code::ResourceExhausted);
        drop(halves);
        until(|| (held_bytes(&node) == 0).then_some(()));
        assert!(serves(&node).await);
    });
}

impl Half {
    /// Reads how the stream ends.
    async fn end(self) -> Option<Code> {
        let answer = self.answer.into_body().collect().await.unwrap();
        let trailers = answer.trailers().cloned().unwrap_or_default();
        Status::from_header_map(&trailers).map(|status| status.code())
    }
}

/// Opens a stream and sends half a request.
async fn half(node: &Node) -> Half {
    let (more, mut chunks) = mpsc::channel::<Bytes>(2);
    let prefix = [&[0][..], &SAID_BYTES.to_be_bytes()].concat();
    more.send(prefix.into()).await.unwrap();
    more.send(vec![0; CAME_BYTES].into()).await.unwrap();
    let frames = futures::stream::poll_fn(move |context| {
        let chunk = chunks.poll_recv(context);
        chunk.map(|chunk| chunk.map(|chunk| Ok::<_, Status>(Frame::data(chunk))))
    });
    let endpoint = Endpoint::from_shared(node.streams_url()).unwrap();
    let mut channel = endpoint.connect().await.unwrap();
    let body = tonic::body::Body::new(StreamBody::new(frames));
    let answer = open(&mut channel, &node.streams_url(), body).await.unwrap();
    Half { _more: more, answer }
}

/// Opens a stream with a body of the test's own.
async fn open(
    channel: &mut tonic::transport::Channel,
    url: &str,
    body: tonic::body::Body,
) -> Result<hyper::Response<tonic::body::Body>, tonic::transport::Error> {
    let request = hyper::Request::post(format!("{url}{PUBLISH_PATH}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header(
            AUTHORIZATION,
            authorization("AKIDdev", b"dev", now(), PUBLISH_PATH),
        )
        .body(body)
        .unwrap();
    std::future::poll_fn(|context| channel.poll_ready(context)).await?;
    channel.call(request).await
}

fn create(node: &Node) -> i64 {
    let attributes = [("queueName", "orders"), ("maxMsgSize", "1048576")];
    node.client().ask("CreateQueue", &attributes).unwrap().code()
}

fn held_bytes(node: &Node) -> usize {
    let (_, text) = crate::get(node, "/metrics");
    let line = text
        .lines()
        .find(|line| line.starts_with("posthouse_bodies_held_bytes "));
    let count = line.and_then(|line| line.split_whitespace().last()?.parse().ok());
    count.unwrap_or_else(|| panic!("it is not told in {text}"))
}

fn toml_path(path: &Path) -> String {
    format!("{:?}", path.to_str().unwrap())
}
