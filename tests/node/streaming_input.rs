//! What a hostile or mistaken client may send to the streaming door: each is refused, and the node serves on.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use posthouse_keyring::hmac_sha256;
use posthouse_stream::bounds::{CREDIT_MAX, MESSAGES_MAX, REQUEST_BYTES_MAX};
use posthouse_stream::signing::{AUTHORIZATION, Authorization, Opening};
use posthouse_stream::stream_client::StreamClient;
use posthouse_stream::{
    Ack, CONSUME_PATH, ConsumeReply, ConsumeRequest, Credit, Effect, Open, OutgoingMessage, PUBLISH_PATH,
    PublishReply, PublishRequest, consume_request, publish_request,
};
use posthouse_tests::Node;
use tokio::sync::mpsc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};

use crate::streaming::{publish_all, run, with_queue};
use crate::{PATIENCE, get, node_with};

/// A stream whose requests the test writes.
pub(crate) struct Raw<Q, R> {
    requests: mpsc::Sender<Q>,
    replies: Streaming<R>,
}

impl<Q, R> Raw<Q, R> {
    /// Sends a request; one to a stream that is over is lost.
    pub(crate) async fn send(&self, request: Q) {
        drop(self.requests.send(request).await);
    }

    /// Reads until the stream ends, and returns how.
    pub(crate) async fn end(&mut self) -> Status {
        loop {
            match self.replies.message().await {
                Ok(Some(_)) => {}
                Ok(None) => return Status::ok(""),
                Err(status) => return status,
            }
        }
    }

    pub(crate) async fn reply(&mut self) -> R {
        self.replies.message().await.unwrap().unwrap()
    }
}

#[test]
fn a_stream_that_is_not_signed_rightly_is_not_opened() {
    let (node, _client) = with_queue("CreateQueue", &[("queueName", "orders")]);
    run(async {
        let now = now();
        let good = authorization("AKIDdev", b"dev", now, PUBLISH_PATH);
        let cases = [
            None,
            Some("Basic QUtJRGRldjpkZXY=".to_owned()),
            Some(authorization("AKIDdev", b"wrong", now, PUBLISH_PATH)),
            Some(authorization("AKIDnobody", b"dev", now, PUBLISH_PATH)),
            Some(authorization("AKIDdev", b"dev", now - 1_000, PUBLISH_PATH)),
            Some(authorization("AKIDdev", b"dev", now, CONSUME_PATH)),
            Some(format!("{good}0")),
        ];
        for case in cases {
            let status = publish_with(&node, case.as_deref()).await.err();
            let status = status.unwrap_or_else(|| panic!("{case:?} was accepted"));
            assert_eq!(status.code(), Code::Unauthenticated, "{case:?}: {status}");
        }
        assert!(publish_with(&node, Some(&good)).await.is_ok());
    });
}

#[test]
fn each_request_that_is_wrong_is_answered_and_the_next_is_done() {
    let (node, _client) = with_queue("CreateQueue", &[("queueName", "orders")]);
    run(async {
        let mut stream = publish(&node).await;
        stream.send(to("orders", 1, vec![Bytes::new()])).await;
        stream
            .send(to("orders", 2, vec![Bytes::from_static(b"x"); MESSAGES_MAX + 1]))
            .await;
        stream
            .send(to("nothing", 3, vec![Bytes::from_static(b"x")]))
            .await;
        stream
            .send(to("orders", 4, vec![vec![b'x'; 65_537].into()]))
            .await;
        stream
            .send(PublishRequest {
                id: 5,
                ..PublishRequest::default()
            })
            .await;
        stream.send(to("orders", 6, vec![Bytes::from_static(b"x")])).await;
        let mut codes = std::collections::BTreeMap::new();
        while codes.len() < 6 {
            for published in stream.reply().await.published {
                let error = published.error.unwrap_or_default();
                assert!(error.code == 0 || error.effect() == Effect::NotDone, "{error:?}");
                codes.insert(published.id, (error.code, error.module_code));
            }
        }
        let expected = [
            (1, (4000, 10_120)),
            (2, (4000, 10_370)),
            (3, (4440, 10_100)),
            (4, (4400, 10_230)),
            (5, (4000, 10_390)),
            (6, (0, 0)),
        ];
        assert_eq!(codes.into_iter().collect::<Vec<_>>(), expected);
    });
}

#[test]
fn requests_that_come_together_are_answered_each_for_itself() {
    const REQUESTS: u64 = 200;
    let (node, _client) = with_queue("CreateQueue", &[("queueName", "orders"), ("maxMsgSize", "1024")]);
    run(async {
        let mut streams = [publish(&node).await, publish(&node).await];
        for id in 0..REQUESTS {
            let bytes = if id % 50 == 7 { 1_025 } else { 1_000 };
            let bodies = vec![Bytes::from(vec![b'x'; bytes]); usize::try_from(id % 3 + 1).unwrap()];
            for stream in &streams {
                stream.send(to("orders", id, bodies.clone())).await;
            }
        }
        let mut ids = std::collections::BTreeSet::new();
        for stream in &mut streams {
            let mut answered = 0;
            while answered < REQUESTS {
                for published in stream.reply().await.published {
                    answered += 1;
                    let count = published.message_ids.len() as u64;
                    match published.id % 50 {
                        7 => {
                            let error = published.error.unwrap();
                            assert_eq!((error.code, error.module_code, count), (4400, 10_230, 0));
                        }
                        _ => {
                            assert_eq!((published.error, count), (None, published.id % 3 + 1));
                        }
                    }
                    ids.extend(published.message_ids);
                }
            }
        }
        let refused = |id: &u64| id % 50 == 7;
        let stored: u64 = (0..REQUESTS).filter(|id| !refused(id)).map(|id| id % 3 + 1).sum();
        assert_eq!(ids.len() as u64, 2 * stored, "each message has an id of its own");
        let told = node
            .client()
            .ask("GetQueueAttributes", &[("queueName", "orders")]);
        assert_eq!(told.unwrap().0["activeMsgNum"], 2 * stored);
    });
}

#[test]
fn the_same_token_over_another_stream_is_done_once() {
    let (node, _client) = with_queue("CreateQueue", &[("queueName", "orders")]);
    run(async {
        let request = PublishRequest {
            token: "mine".to_owned(),
            ..to("orders", 1, vec![Bytes::from_static(b"x"); 3])
        };
        let mut ids = Vec::new();
        for _ in 0..2 {
            let mut stream = publish(&node).await;
            stream.send(request.clone()).await;
            ids.push(stream.reply().await.published.remove(0).message_ids);
        }
        assert_eq!(ids[0], ids[1]);
    });
    let told = node
        .client()
        .ask("GetQueueAttributes", &[("queueName", "orders")])
        .unwrap();
    assert_eq!(told.0["activeMsgNum"], 3);
}

#[test]
fn a_request_larger_than_any_ends_its_stream_alone() {
    let (node, _client) = with_queue("CreateQueue", &[("queueName", "orders")]);
    run(async {
        let mut stream = publish(&node).await;
        let half: Bytes = vec![0; REQUEST_BYTES_MAX / 2].into();
        stream.send(to("orders", 1, vec![half.clone(), half])).await;
        assert_eq!(stream.end().await.code(), Code::OutOfRange);
        assert!(serves(&node).await);
    });
}

#[test]
fn never_more_messages_come_than_were_asked_for() {
    let (node, client) = with_queue("CreateQueue", &[("queueName", "orders")]);
    run(async {
        let bodies: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        publish_all(&client, "orders", &bodies).await;
        let mut stream = consume(&node, "orders", 3).await;
        let mut granted = 3;
        let mut come = 0;
        for more in [0, 1, 40, 7] {
            granted += more;
            if more > 0 {
                stream.send(credit(more)).await;
            }
            while come < granted {
                come += u32::try_from(stream.reply().await.deliveries.len()).unwrap();
            }
            assert_eq!(come, granted);
            // Whatever else the stream did is told before what is asked now is answered.
            stream.send(ack(u64::from(granted), vec![u64::MAX])).await;
            let reply = stream.reply().await;
            assert!(reply.deliveries.is_empty(), "{reply:?}");
            assert_eq!(reply.settled[0].void_handles, [u64::MAX]);
        }
    });
}

#[test]
fn a_consumer_that_goes_beyond_what_it_may_has_its_stream_ended() {
    let (node, _client) = with_queue("CreateQueue", &[("queueName", "orders")]);
    run(async {
        let mut stream = consume(&node, "orders", CREDIT_MAX).await;
        stream.send(credit(1)).await;
        assert_eq!(stream.end().await.code(), Code::InvalidArgument);
        let mut stream = consume(&node, "orders", CREDIT_MAX).await;
        stream.send(credit(u32::MAX)).await;
        assert_eq!(stream.end().await.code(), Code::InvalidArgument);
        let mut stream = consume(&node, "orders", 1).await;
        stream.send(open("orders", 1)).await;
        assert_eq!(stream.end().await.code(), Code::InvalidArgument);
        let mut stream = consume(&node, "orders", 1).await;
        stream.send(ConsumeRequest { request: None }).await;
        assert_eq!(stream.end().await.code(), Code::InvalidArgument);
        let mut stream = consume_beginning_with(&node, credit(1)).await;
        assert_eq!(stream.end().await.code(), Code::InvalidArgument);
        let mut stream = consume(&node, "no such queue", 1).await;
        assert_eq!(stream.end().await.code(), Code::InvalidArgument);
        let mut stream = consume(&node, "nothing", 1).await;
        assert_eq!(stream.end().await.code(), Code::NotFound);
        let mut stream = consume(&node, "orders", 0).await;
        stream.send(ack(1, Vec::new())).await;
        let error = stream.reply().await.settled.remove(0).error.unwrap();
        assert_eq!((error.code, error.module_code), (4000, 10_390));
    });
}

#[test]
fn a_key_that_is_disabled_ends_the_streams_that_it_opened() {
    let (node, _client) = with_queue("CreateQueue", &[("queueName", "orders")]);
    let url = node.url();
    let posthouse = |arguments: &[&str]| {
        let output = std::process::Command::new(crate::program())
            .args(arguments)
            .args(["--url", &url, "--json"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let key = posthouse(&["tenant", "key", "add", "dev"]);
    let (id, secret) = (key["id"].as_str().unwrap(), key["secret"].as_str().unwrap());
    run(async {
        let text = authorization(id, secret.as_bytes(), now(), PUBLISH_PATH);
        let mut stream = publish_with(&node, Some(&text)).await.unwrap();
        stream.send(to("orders", 1, vec![Bytes::from_static(b"x")])).await;
        assert_eq!(stream.reply().await.published[0].message_ids.len(), 1);
        posthouse(&["tenant", "key", "disable", "dev", id]);
        assert_eq!(stream.end().await.code(), Code::Unauthenticated);
    });
}

#[test]
fn more_streams_than_there_may_be_are_refused_until_one_ends() {
    let node = node_with("[limits]\nstreams_max = 2\n");
    assert_eq!(
        node.client()
            .ask("CreateQueue", &[("queueName", "orders")])
            .unwrap()
            .code(),
        0
    );
    run(async {
        let (first, _second) = (publish(&node).await, publish(&node).await);
        let text = authorization("AKIDdev", b"dev", now(), PUBLISH_PATH);
        let refused = publish_with(&node, Some(&text)).await.err().unwrap();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        drop(first);
        while publish_with(&node, Some(&text)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
}

#[test]
fn a_client_that_never_reads_is_cut_off_and_gets_nothing_for_it() {
    let node = node_with("[limits]\nreply_write_seconds = 1\n");
    let create = [
        ("queueName", "orders"),
        ("maxMsgSize", "1048576"),
        ("visibilityTimeout", "43200"),
    ];
    assert_eq!(node.client().ask("CreateQueue", &create).unwrap().code(), 0);
    run(async {
        let mut stream = publish(&node).await;
        for id in 0..24 {
            stream
                .send(to("orders", id, vec![vec![b'x'; 1_048_576].into()]))
                .await;
        }
        let mut stored = 0;
        while stored < 24 {
            stored += stream.reply().await.published.len();
        }
        // Its window of 64 KiB is never opened again: it reads nothing.
        let mut idle = consume(&node, "orders", 1_000).await;
        let cut = tokio::time::timeout(PATIENCE, idle.requests.closed()).await;
        cut.expect("the stream is cut off");
        assert_ne!(idle.end().await.code(), Code::Ok);
        assert!(serves(&node).await);
    });
    // What it was not handed is visible again at once.
    let visible = crate::until(|| {
        let told = node
            .client()
            .ask("GetQueueAttributes", &[("queueName", "orders")])
            .unwrap();
        told.0["activeMsgNum"].as_i64().filter(|active| *active > 16)
    });
    assert!(visible <= 24);
}

#[test]
fn garbage_ends_its_connection_and_nothing_else() {
    let (node, _client) = with_queue("CreateQueue", &[("queueName", "orders")]);
    let address = node.streams_url().replace("http://", "");
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let garbage: [Vec<u8>; 5] = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        vec![0xff; 4_096],
        [&preface[..], &[0xff; 1_024]].concat(),
        // A frame on a stream that is not open, and one of headers that are none.
        [&preface[..], &settings, &[0, 0, 4, 0, 0, 0, 0, 0, 9, 1, 2, 3, 4]].concat(),
        [
            &preface[..],
            &settings,
            &[0, 0, 4, 1, 4, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff],
        ]
        .concat(),
    ];
    for bytes in garbage {
        let mut socket = TcpStream::connect(&address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        // The node may have hung up by the time that all is written.
        drop(socket.write_all(&bytes));
        let mut answer = Vec::new();
        drop(socket.read_to_end(&mut answer));
    }
    run(async { assert!(serves(&node).await) });
    assert_eq!(get(&node, "/healthz").0, 200);
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub(crate) fn authorization(id: &str, secret: &[u8], timestamp_seconds: u64, path: &str) -> String {
    let opening = Opening {
        id: id.to_owned(),
        timestamp_seconds,
        nonce: "n0nce".to_owned(),
    };
    let signature = hmac_sha256(secret, opening.text(path).as_bytes());
    Authorization { opening, signature }.to_string()
}

async fn connect(node: &Node) -> StreamClient<Channel> {
    let endpoint = Endpoint::from_shared(node.streams_url()).unwrap();
    let endpoint = endpoint.connect_timeout(Duration::from_secs(10));
    StreamClient::new(endpoint.connect().await.unwrap())
}

pub(crate) async fn publish_with(
    node: &Node,
    authorization: Option<&str>,
) -> Result<Raw<PublishRequest, PublishReply>, Status> {
    let (requests, mut sent) = mpsc::channel(64);
    let mut request = Request::new(futures::stream::poll_fn(move |context| sent.poll_recv(context)));
    if let Some(text) = authorization {
        request
            .metadata_mut()
            .insert(AUTHORIZATION, text.parse().unwrap());
    }
    let replies = connect(node).await.publish(request).await?.into_inner();
    Ok(Raw { requests, replies })
}

pub(crate) async fn publish(node: &Node) -> Raw<PublishRequest, PublishReply> {
    let text = authorization("AKIDdev", b"dev", now(), PUBLISH_PATH);
    publish_with(node, Some(&text)).await.unwrap()
}

async fn consume_beginning_with(node: &Node, first: ConsumeRequest) -> Raw<ConsumeRequest, ConsumeReply> {
    let (requests, mut sent) = mpsc::channel(64);
    requests.send(first).await.unwrap();
    let mut request = Request::new(futures::stream::poll_fn(move |context| sent.poll_recv(context)));
    let text = authorization("AKIDdev", b"dev", now(), CONSUME_PATH);
    request
        .metadata_mut()
        .insert(AUTHORIZATION, text.parse().unwrap());
    let replies = connect(node).await.consume(request).await.unwrap().into_inner();
    Raw { requests, replies }
}

async fn consume(node: &Node, queue: &str, credit: u32) -> Raw<ConsumeRequest, ConsumeReply> {
    consume_beginning_with(node, open(queue, credit)).await
}

/// Returns whether a message can be published.
pub(crate) async fn serves(node: &Node) -> bool {
    let mut stream = publish(node).await;
    stream.send(to("orders", 1, vec![Bytes::from_static(b"x")])).await;
    stream.reply().await.published[0].error.is_none()
}

pub(crate) fn to(queue: &str, id: u64, bodies: Vec<Bytes>) -> PublishRequest {
    PublishRequest {
        id,
        target: Some(publish_request::Target::Queue(queue.to_owned())),
        messages: bodies.into_iter().map(|body| OutgoingMessage { body }).collect(),
        ..PublishRequest::default()
    }
}

fn open(queue: &str, credit: u32) -> ConsumeRequest {
    said(consume_request::Request::Open(Open {
        queue: queue.to_owned(),
        visibility_seconds: 0,
        credit,
    }))
}

fn credit(messages: u32) -> ConsumeRequest {
    said(consume_request::Request::Credit(Credit { messages }))
}

fn ack(id: u64, handles: Vec<u64>) -> ConsumeRequest {
    said(consume_request::Request::Ack(Ack { id, handles }))
}

fn said(request: consume_request::Request) -> ConsumeRequest {
    ConsumeRequest {
        request: Some(request),
    }
}
