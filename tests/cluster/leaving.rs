//! Clients that leave a follower while the answer to their receive is on its way there: what the leader leased for them goes
//! to the next, although leases last for hours.

use std::time::{SystemTime, UNIX_EPOCH};

use posthouse_keyring::hmac_sha256;
use posthouse_stream::signing::{AUTHORIZATION, Authorization, Opening};
use posthouse_stream::stream_client::StreamClient;
use posthouse_stream::{CONSUME_PATH, ConsumeReply, ConsumeRequest, Open, consume_request};
use posthouse_tests::{Cluster, Connection, Node};
use tokio::sync::mpsc;
use tonic::transport::Endpoint;
use tonic::{Request, Streaming};

use crate::cuts::wired;
use crate::{create_queue, done, gauge, leader, send, until};

/// Whoever waits that long has not left by itself.
const WAIT_SECONDS: &str = "30";
/// How often another node may lead while a client waits.
const ROUNDS_MAX: usize = 5;

/// A stream that is open. Dropped, its client is gone.
struct Stream {
    _requests: mpsc::Sender<ConsumeRequest>,
    _replies: Streaming<ConsumeReply>,
    _runtime: tokio::runtime::Runtime,
}

#[test]
fn what_was_leased_for_one_who_left_over_http_before_the_answer_came_goes_to_the_next() {
    goes_to_the_next(receive, |node| {
        // One connection is whose that looks.
        gauge(node, "posthouse_connections") <= 1
    });
}

#[test]
fn what_was_leased_for_a_stream_that_ended_before_the_answer_came_goes_to_the_next() {
    goes_to_the_next(consume, |node| gauge(node, "posthouse_streams") == 0);
}

/// Has a client wait at a follower, and leave once the leader has leased a message for it and before it is told; then
/// another gets that message.
fn goes_to_the_next<C>(wait: impl Fn(&Node, &str) -> C, has_left: impl Fn(&Node) -> bool) {
    let cluster = wired(1);
    for round in 0..ROUNDS_MAX {
        let queue = format!("q-{round}");
        if leave(&cluster, &queue, &wait, &has_left) {
            let mut other = cluster.node(1).client();
            let asked = [("queueName", &*queue), ("pollingWaitSeconds", WAIT_SECONDS)];
            let got = done(&mut other, "ReceiveMessage", &asked);
            assert_eq!(got["msgBody"], "letter");
            assert_eq!(got["dequeueCount"], 1, "nobody has had it: {got}");
            return;
        }
    }
    panic!("other nodes lead again and again");
}

/// Has a client wait and leave. Returns whether the same node led all the time: else the client may have had its answer.
fn leave<C>(
    cluster: &Cluster,
    queue: &str,
    wait: &impl Fn(&Node, &str) -> C,
    has_left: &impl Fn(&Node) -> bool,
) -> bool {
    let led_by = leader(cluster.node(1), 0);
    let (follower, third) = (led_by % 3 + 1, (led_by + 1) % 3 + 1);
    create_queue(&mut cluster.node(follower).client(), queue);
    let client = wait(cluster.node(follower), queue);
    until("it waits", || {
        let waiting = cluster
            .nodes()
            .iter()
            .map(|node| gauge(node, "posthouse_waiters"));
        waiting.sum::<u64>() == 1
    });
    let wires = cluster.wires().unwrap();
    wires.cut(led_by, follower);
    let mut sender = cluster.node(third).client();
    send(&mut sender, queue, "letter");
    until("it is leased", || {
        let told = done(&mut sender, "GetQueueAttributes", &[("queueName", queue)]);
        told["inactiveMsgNum"] == 1
    });
    let leads_on = leader(cluster.node(third), 0) == led_by;
    drop(client);
    until("its client has left", || has_left(cluster.node(follower)));
    wires.mend();
    leads_on
}

/// Asks for a message over HTTP, and does not read the answer.
fn receive(node: &Node, queue: &str) -> Connection {
    let asked = [
        ("queueName", queue.as_bytes()),
        ("pollingWaitSeconds", WAIT_SECONDS.as_bytes()),
    ];
    let form = node.client().form("ReceiveMessage", &asked);
    let host = node.address().to_string();
    let mut connection = Connection::open(node.address()).unwrap();
    connection
        .request("POST", "/v2/index.php", &host, "", &form)
        .unwrap();
    connection
}

/// Asks for a message over a stream: bare, for the client of our own would go to the leader.
fn consume(node: &Node, queue: &str) -> Stream {
    let opening = Opening {
        id: "AKIDdev".to_owned(),
        timestamp_seconds: SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs(),
        nonce: "n0nce".to_owned(),
    };
    let signature = hmac_sha256(b"dev", opening.text(CONSUME_PATH).as_bytes());
    let authorization = Authorization { opening, signature }.to_string();
    let (requests, mut sent) = mpsc::channel(1);
    let open = Open {
        queue: queue.to_owned(),
        credit: 1,
        ..Open::default()
    };
    let request = Some(consume_request::Request::Open(open));
    requests.try_send(ConsumeRequest { request }).unwrap();
    let mut request = Request::new(futures::stream::poll_fn(move |context| sent.poll_recv(context)));
    request
        .metadata_mut()
        .insert(AUTHORIZATION, authorization.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let url = node.streams_url();
    let replies = runtime.block_on(async move {
        let channel = Endpoint::from_shared(url).unwrap().connect().await.unwrap();
        let mut client = StreamClient::new(channel);
        client.consume(request).await.unwrap().into_inner()
    });
    Stream {
        _requests: requests,
        _replies: replies,
        _runtime: runtime,
    }
}
