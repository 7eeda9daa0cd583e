//! Signed pushes: a receiver checks them as Standard Webhooks has it, through a rotation and across a restart.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use posthouse_keyring::{hmac_sha256_parts, verify_ed25519};
use posthouse_tests::{Client, Node};
use serde_json::Value;

use crate::node;
use crate::push::{PUSH, Push, endpoint, subscribe};
use crate::sealing::{assert_silent, run};

/// What a receiver was given to check signatures by.
enum Check {
    Secret(Vec<u8>),
    PublicKey(Vec<u8>),
}

#[test]
fn a_receiver_tells_a_signed_push_by_the_old_key_and_the_new_one_until_the_old_one_is_retired() {
    let mut node = node();
    let (url, pushes) = endpoint(vec![200]);
    let mut client = node.client();
    subscribe(&mut client, &url, "SIMPLIFIED");
    let created = json(&node, &["key", "signing", "create", "hooks"]);
    let old = Check::shown(&created);
    bind(&node, r#"{"sign":"hooks"}"#);

    let push = pushed(&mut client, &pushes, "one");
    assert_eq!(signatures(&push).len(), 1);
    assert!(old.accepts(&push));
    assert_eq!(push.body, b"one");

    let rotated = json(
        &node,
        &["key", "signing", "rotate", "hooks", "--algorithm", "ed25519"],
    );
    let new = Check::shown(&rotated);
    let push = pushed(&mut client, &pushes, "two");
    assert_eq!(signatures(&push).len(), 2);
    assert!(old.accepts(&push) && new.accepts(&push));
    // A third version would take one away from whoever checks by it.
    let refused = std::process::Command::new(crate::program())
        .args(["key", "signing", "rotate", "hooks"])
        .env("POSTHOUSE_URL", node.url())
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(1));

    // What signs is in the log, and its secret is not.
    node.terminate().unwrap();
    node.launch().unwrap();
    let mut client = node.client();
    let push = pushed(&mut client, &pushes, "three");
    assert!(old.accepts(&push) && new.accepts(&push));
    if let Check::Secret(secret) = &old {
        assert!(assert_silent(&node.data(), secret) > 3);
    }

    run(&node, &["key", "signing", "retire", "hooks"]);
    let push = pushed(&mut client, &pushes, "four");
    assert_eq!(signatures(&push).len(), 1);
    assert!(!old.accepts(&push) && new.accepts(&push));
}

#[test]
fn a_push_as_json_is_signed_as_it_is_sent_and_an_altered_one_is_found_out() {
    let node = node();
    let (url, pushes) = endpoint(vec![200]);
    let mut client = node.client();
    subscribe(&mut client, &url, "JSON");
    let both = ["key", "signing", "create", "hooks", "--algorithm", "ed25519"];
    let key = Check::shown(&json(&node, &both));
    bind(&node, r#"{"sign":"hooks"}"#);
    let mut push = pushed(&mut client, &pushes, "a \"quoted\" word");
    assert!(push.body.starts_with(b"{\"TopicOwner\""));
    assert!(key.accepts(&push));
    let sent: Value = serde_json::from_slice(&push.body).unwrap();
    assert_eq!(header(&push, "webhook-id"), sent["msgId"].as_str().unwrap());
    push.body.push(b' ');
    assert!(!key.accepts(&push));
}

#[test]
fn nothing_is_pushed_unsigned_when_its_key_is_gone() {
    let node = node();
    let (url, pushes) = endpoint(vec![200]);
    let mut client = node.client();
    subscribe(&mut client, &url, "SIMPLIFIED");
    run(&node, &["key", "signing", "create", "hooks"]);
    bind(&node, r#"{"sign":"hooks"}"#);
    run(&node, &["key", "signing", "remove", "hooks"]);
    let id = publish(&mut client, "x");
    // The plugin failed, so the message waits to be tried again.
    crate::until(|| {
        let metrics = crate::get(&node, "/metrics").1;
        let faults = metrics.lines().find(|line| {
            line.starts_with("posthouse_plugin_faults_total{") && line.contains("world=\"deliver\"")
        });
        faults.map(drop)
    });
    assert!(pushes.try_recv().is_err(), "message {id} was pushed unsigned");
    let key = Check::shown(&json(&node, &["key", "signing", "create", "hooks"]));
    let push = pushes.recv_timeout(PUSH).unwrap();
    assert!(key.accepts(&push));
    assert_eq!(header(&push, "webhook-id"), id);
}

// === impl Check ===

impl Check {
    /// Reads what making a version told: a secret, or else the public key of the newest version.
    fn shown(made: &Value) -> Check {
        let decode = |text: &str| STANDARD.decode(text).unwrap();
        if let Some(secret) = made["secret"].as_str() {
            return Check::Secret(decode(secret.strip_prefix("whsec_").unwrap()));
        }
        let versions = made["key"]["versions"].as_array().unwrap();
        let shown = versions.last().unwrap()["public_key"].as_str().unwrap();
        Check::PublicKey(decode(shown.strip_prefix("whpk_").unwrap()))
    }

    /// Returns whether a push has a signature that this finds right.
    fn accepts(&self, push: &Push) -> bool {
        let (id, timestamp) = (header(push, "webhook-id"), header(push, "webhook-timestamp"));
        let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", &push.body];
        signatures(push)
            .iter()
            .any(|(version, signature)| match (self, version.as_str()) {
                (Check::Secret(secret), "v1") => {
                    hmac_sha256_parts(secret, &signed).as_slice() == signature.as_slice()
                }
                (Check::PublicKey(public), "v1a") => verify_ed25519(public, &signed.concat(), signature),
                _ => false,
            })
    }
}

/// Binds the built-in push to the subscription with a configuration.
fn bind(node: &Node, configuration: &str) {
    let place = ["--topic", "t", "--subscription", "s"];
    let bound = [
        &["plugin", "bind", "http-push"],
        &place[..],
        &["--config", configuration],
    ];
    run(node, &bound.concat());
}

fn json(node: &Node, arguments: &[&str]) -> Value {
    let told = run(node, &[arguments, &["--json"]].concat());
    serde_json::from_str(&told).unwrap()
}

fn publish(client: &mut Client, body: &str) -> String {
    let message = [("topicName", "t"), ("msgBody", body)];
    let sent = client.ask("PublishMessage", &message).unwrap();
    sent.success().unwrap().text("msgId").to_owned()
}

/// Publishes a message and returns its push, whose headers say which message it is, and when it was sent.
fn pushed(client: &mut Client, pushes: &std::sync::mpsc::Receiver<Push>, body: &str) -> Push {
    let id = publish(client, body);
    let push = pushes.recv_timeout(PUSH).unwrap();
    assert_eq!(header(&push, "webhook-id"), id);
    let sent: u64 = header(&push, "webhook-timestamp").parse().unwrap();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    // As far as receivers put up with.
    assert!(sent.abs_diff(now) < 300, "sent at {sent}, now it is {now}");
    push
}

fn signatures(push: &Push) -> Vec<(String, Vec<u8>)> {
    let all = header(push, "webhook-signature").split(' ');
    all.map(|one| {
        let (version, text) = one.split_once(',').unwrap();
        (version.to_owned(), STANDARD.decode(text).unwrap())
    })
    .collect()
}

fn header<'a>(push: &'a Push, name: &str) -> &'a str {
    let found = push
        .headers
        .iter()
        .find_map(|header| header.strip_prefix(name)?.strip_prefix(": "));
    found.expect("the push has the header")
}
