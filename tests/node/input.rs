//! Bad input gets a clear answer and changes nothing.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;

use posthouse_tests::{Connection, Node, Setting};

use crate::metrics::figure;
use crate::steps::{Case, Steps};
use crate::{get, node, node_with, program, until};

#[test]
fn garbage_is_refused_and_the_node_lives_on() {
    let node = node();
    for garbage in [
        &b"\x00\xff\xfe\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"POST / HTTP/9.9\r\n\r\n",
        &[b'a'; 200_000][..],
    ] {
        let mut connection = Connection::open(node.address()).unwrap();
        // The node may hang up before it has read all of it.
        let _ = connection.send(garbage);
        let _ = connection.stream().shutdown(std::net::Shutdown::Write);
        connection.rest();
    }
    node.client().ask("ListQueue", &[]).unwrap().success().unwrap();
}

#[test]
fn wrong_and_missing_parameters_are_named() {
    let node = node();
    let mut client = node.client();
    let cases: [Case; 10] = [
        ("NoSuchAction", &[], (4000, 10430)),
        ("QueryQueueRoute", &[("queueName", "q")], (4000, 10430)),
        ("CreateQueue", &[], (4000, 10390)),
        ("CreateQueue", &[("queueName", "1q")], (4000, 10020)),
        (
            "CreateQueue",
            &[("queueName", "q"), ("visibilityTimeout", "0")],
            (4000, 10350),
        ),
        (
            "CreateQueue",
            &[("queueName", "q"), ("visibilityTimeout", "x")],
            (4000, 10360),
        ),
        ("ReceiveMessage", &[("queueName", "none")], (4440, 10100)),
        (
            "PublishMessage",
            &[("topicName", "none"), ("msgBody", "x")],
            (4440, 10600),
        ),
        (
            "BatchSendMessage",
            &[("queueName", "q"), ("msgBody.1", "a"), ("msgBody.3", "b")],
            (4000, 10380),
        ),
        (
            "SendMessage",
            &[("queueName", "q"), ("msgBody", "")],
            (4000, 10120),
        ),
    ];
    for (action, parameters, codes) in cases {
        let answer = client.ask(action, parameters).unwrap();
        assert_eq!(answer.codes(), codes, "{action} {parameters:?}: {}", answer.0);
    }
    let none = client.ask("ListQueue", &[]).unwrap().success().unwrap();
    assert_eq!(none.0["totalCount"], 0, "a refused call changed something");
}

#[test]
fn a_mebibyte_percent_encoded_is_taken_and_more_is_refused_while_it_is_read() {
    let node = node();
    let mut client = node.client();
    client
        .ask("CreateQueue", &[("queueName", "q"), ("maxMsgSize", "1048576")])
        .unwrap()
        .success()
        .unwrap();
    // Every byte of these becomes three.
    let largest = "é".repeat(524_288);
    client
        .ask("SendMessage", &[("queueName", "q"), ("msgBody", &largest)])
        .unwrap()
        .success()
        .unwrap();
    let got = client
        .ask("ReceiveMessage", &[("queueName", "q")])
        .unwrap()
        .success()
        .unwrap();
    assert_eq!(got.text("msgBody"), largest);
    let larger = "é".repeat(524_289);
    assert_eq!(
        client
            .ask("SendMessage", &[("queueName", "q"), ("msgBody", &larger)])
            .unwrap()
            .codes(),
        (4400, 10230)
    );

    let mut connection = Connection::open(node.address()).unwrap();
    connection
        .send(b"POST /v2/index.php HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
        .unwrap();
    let answer = connection.answer().unwrap();
    assert_eq!(answer.status, 200);
    assert!(String::from_utf8_lossy(&answer.body).contains("10420"));
    assert_eq!(answer.header("connection"), Some("close"));
}

#[test]
fn slow_senders_are_hung_up_on() {
    let node = node_with("[limits]\nheader_read_seconds = 1\nbody_read_seconds = 1\n");
    let mut slow_head = Connection::open(node.address()).unwrap();
    slow_head.send(b"POST /v2/index.php HTTP/1.1\r\nHo").unwrap();
    assert!(slow_head.rest().is_empty());
    let mut slow_body = Connection::open(node.address()).unwrap();
    slow_body
        .send(b"POST /v2/index.php HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nAc")
        .unwrap();
    let answer = slow_body.answer().unwrap();
    assert!(String::from_utf8_lossy(&answer.body).contains("10420"));
}

#[test]
fn who_takes_in_no_reply_is_hung_up_on_and_its_messages_come_back() {
    let node = node_with("[limits]\nreply_write_seconds = 1\n");
    let mut client = node.client();
    client.create_queue("q", &[("maxMsgSize", "1048576"), ("visibilityTimeout", "43200")]);
    // More than the system keeps for one connection.
    let body = "x".repeat(1_048_576);
    for _ in 0..16 {
        client.send("q", &body);
    }
    let mut deaf = Connection::open(node.address()).unwrap();
    let form = client.form("BatchReceiveMessage", &[("queueName", b"q"), ("numOfMsg", b"16")]);
    let host = node.address().to_string();
    deaf.request("POST", "/v2/index.php", &host, "", &form).unwrap();
    let mut holds = |attribute: &str| {
        let queue = client.done("GetQueueAttributes", &[("queueName", "q")]);
        (queue.0[attribute] == 16).then_some(())
    };
    until(|| holds("inactiveMsgNum"));
    until(|| holds("activeMsgNum"));
    // It was never handed over, so it was never received.
    assert_eq!(client.receive("q").0["dequeueCount"], 1);
}

#[test]
fn the_node_holds_only_so_many_bytes_of_requests_at_once() {
    let node = node_with("[limits]\nbodies_bytes_max = 67108864\nbody_read_seconds = 600\n");
    let mut client = node.client();
    client.create_queue("q", &[("maxMsgSize", "1048576")]);
    // Each brings nearly all of what it announced, and then nothing more. There is no room left for another megabyte.
    let part = vec![b'a'; 3_350_000];
    let stalled: Vec<Connection> = (0..20)
        .map(|_| {
            let mut connection = Connection::open(node.address()).unwrap();
            let head = b"POST /v2/index.php HTTP/1.1\r\nHost: x\r\nContent-Length: 3350001\r\n\r\n";
            connection.send(head).unwrap();
            connection.send(&part).unwrap();
            connection
        })
        .collect();
    let large = "x".repeat(1_000_000);
    let held = 20.0 * 3_350_528.0;
    until(|| (figure(&node, "bodies_held_bytes", "") == held).then_some(()));
    let mut send = |body: &str| {
        client
            .ask("SendMessage", &[("queueName", "q"), ("msgBody", body)])
            .unwrap()
    };
    let refused = send(&large);
    assert_eq!(refused.codes(), (6000, 10050));
    assert!(
        refused.text("message").contains("not done, try again"),
        "{refused:?}"
    );
    assert_eq!(send("small").code(), 0);
    drop(stalled);
    until(|| (send(&large).code() == 0).then_some(()));
}

#[test]
fn connections_leave_the_node_descriptors_for_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let limited = folder.path().join("posthouse");
    let script = format!("#!/bin/sh\nulimit -n 256\nexec {:?} \"$@\"\n", program());
    std::fs::write(&limited, script).unwrap();
    std::fs::set_permissions(&limited, std::fs::Permissions::from_mode(0o755)).unwrap();
    let setting = Setting {
        configuration: "[storage]\nwal_file_bytes = 16777216\ncut_bytes = 1048576\n".to_owned(),
        ..Setting::default()
    };
    let mut node = Node::start(&limited, setting).unwrap();
    let mut client = node.client();
    client.create_queue("q", &[("maxMsgSize", "1048576")]);
    // More than there may be: the system takes them in, and the node does not.
    let strangers: Vec<_> = (0..120)
        .map(|_| std::net::TcpStream::connect(node.address()).unwrap())
        .collect();
    // Files of the log and of segments are opened meanwhile.
    let body = "x".repeat(1_048_576);
    for _ in 0..40 {
        client.send("q", &body);
    }
    drop(strangers);
    assert_eq!(get(&node, "/readyz").0, 200);
    assert_eq!(client.receive("q").text("msgBody"), body);
    node.kill();
    let log = node.take_log().join("\n");
    assert!(log.contains("the limit on open files"), "{log}");
    assert!(log.contains("limits.connections_max): others wait"), "{log}");
}

#[test]
fn an_expired_signature_is_refused() {
    let node = node();
    let mut client = node.client();
    let form = String::from_utf8(client.form("ListQueue", &[])).unwrap();
    let old: String = form
        .split('&')
        .map(|pair| match pair.starts_with("Timestamp=") {
            true => "Timestamp=1000000000".to_owned(),
            false => pair.to_owned(),
        })
        .collect::<Vec<_>>()
        .join("&");
    let answer = client.post(old.as_bytes()).unwrap();
    assert!(String::from_utf8_lossy(&answer.body).contains("(10030)"));
}

#[test]
fn thousands_of_idle_connections_do_not_disturb() {
    // The node inherits the limit on descriptors: 10,000 connections, or as many as it gives away of those.
    let count = descriptors().saturating_sub(2_500).min(10_000);
    let node = node();
    let idle: Vec<_> = (0..count)
        .map(|_| std::net::TcpStream::connect(node.address()).unwrap())
        .collect();
    let mut client = node.client();
    client
        .ask("CreateQueue", &[("queueName", "q")])
        .unwrap()
        .success()
        .unwrap();
    client
        .ask("SendMessage", &[("queueName", "q"), ("msgBody", "x")])
        .unwrap()
        .success()
        .unwrap();
    // And each of them is served, late as it asks.
    for mut stream in idle.into_iter().step_by(500) {
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

#[test]
fn continue_is_said_to_who_expects_it() {
    let node = node();
    let client = node.client();
    let form = client.form("ListQueue", &[]);
    let mut connection = Connection::open(node.address()).unwrap();
    let head = format!(
        "POST /v2/index.php HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        node.address(),
        form.len()
    );
    connection.send(head.as_bytes()).unwrap();
    connection.send(&form).unwrap();
    let answer = connection.answer().unwrap();
    assert!(String::from_utf8_lossy(&answer.body).contains("\"code\":0"));
}

/// Raises this process's limit on descriptors as far as it may, and returns it.
fn descriptors() -> u64 {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where it cannot be raised, the test takes what there is.
    let _ = setrlimit(Resource::Nofile, limit);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
