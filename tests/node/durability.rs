//! What was acknowledged survives a kill, and what was deleted does not come back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use posthouse_store::crash::Chance;

use crate::node;

/// The variable with the seed that chooses the moments of kills; another one each time if it is not set.
const SEED_VARIABLE: &str = "POSTHOUSE_KILL_SEED";
/// How many sends are acknowledged before a kill, at least.
const ACKNOWLEDGED_MIN: u64 = 30;
/// And up to so many more, as chance has it.
const ACKNOWLEDGED_SPREAD: u64 = 300;
/// How long an acknowledgement is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let mut node = node();
    let mut client = node.client();
    client
        .ask(
            "CreateQueue",
            &[("queueName", "q"), ("visibilityTimeout", "43200")],
        )
        .unwrap()
        .success()
        .unwrap();
    for number in 0..50 {
        let body = format!("message {number}");
        client
            .ask("SendMessage", &[("queueName", "q"), ("msgBody", &body)])
            .unwrap()
            .success()
            .unwrap();
    }
    let mut leased = Vec::new();
    for _ in 0..20 {
        let got = client
            .ask("ReceiveMessage", &[("queueName", "q")])
            .unwrap()
            .success()
            .unwrap();
        leased.push((
            got.text("receiptHandle").to_owned(),
            got.text("msgBody").to_owned(),
        ));
    }
    for (handle, _) in &leased[..10] {
        client
            .ask("DeleteMessage", &[("queueName", "q"), ("receiptHandle", handle)])
            .unwrap()
            .success()
            .unwrap();
    }
    node.kill();
    node.launch().unwrap();
    let mut client = node.client();
    let mut rest = BTreeSet::new();
    while let Ok(got) = client
        .ask("ReceiveMessage", &[("queueName", "q")])
        .unwrap()
        .success()
    {
        assert!(rest.insert(got.text("msgBody").to_owned()), "received twice");
    }
    let expected: BTreeSet<String> = (20..50).map(|number| format!("message {number}")).collect();
    assert_eq!(
        rest, expected,
        "leases and deletes were forgotten, or messages lost"
    );
    for (handle, _) in &leased[10..] {
        let deleted = client
            .ask("DeleteMessage", &[("queueName", "q"), ("receiptHandle", handle)])
            .unwrap();
        assert_eq!(deleted.code(), 0, "a receipt handle stopped working");
    }
}

#[test]
fn a_kill_at_any_moment_loses_nothing_acknowledged() {
    let seed = seed();
    println!("run again with {SEED_VARIABLE}={seed} cargo test --test node a_kill_at_any_moment");
    let mut chance = Chance::new(seed);
    let mut node = node();
    node.client()
        .ask(
            "CreateQueue",
            &[("queueName", "q"), ("visibilityTimeout", "43200")],
        )
        .unwrap()
        .success()
        .unwrap();
    let mut acknowledged = BTreeMap::new();
    let mut deleted = BTreeSet::new();
    let mut perhaps_deleted = BTreeSet::new();
    for round in 0..5 {
        let (tell, told) = mpsc::channel();
        let senders: Vec<_> = (0..4)
            .map(|sender| {
                let (mut client, tell) = (node.client(), tell.clone());
                std::thread::spawn(move || send_until_killed(&mut client, round, sender, &tell))
            })
            .collect();
        let mut consumer = node.client();
        let consuming = std::thread::spawn(move || consume_until_killed(&mut consumer));
        // The moment is wherever all of them are when so many sends were acknowledged.
        for _ in 0..ACKNOWLEDGED_MIN + chance.below(ACKNOWLEDGED_SPREAD) {
            told.recv_timeout(PATIENCE)
                .expect("sends are acknowledged as long as the node lives");
        }
        node.kill();
        for sender in senders {
            acknowledged.extend(sender.join().unwrap());
        }
        let consumed = consuming.join().unwrap();
        deleted.extend(consumed.deleted);
        perhaps_deleted.extend(consumed.unanswered);
        node.launch().unwrap();
    }
    let mut client = node.client();
    let mut found = BTreeSet::new();
    loop {
        let got = client
            .ask("BatchReceiveMessage", &[("queueName", "q"), ("numOfMsg", "16")])
            .unwrap();
        if got.code() == 7000 {
            break;
        }
        for message in got.success().unwrap().0["msgInfoList"].as_array().unwrap() {
            let id = message["msgId"].as_str().unwrap().to_owned();
            assert!(!deleted.contains(&id), "a deleted message came back");
            assert!(found.insert(id), "a leased message was handed out again");
        }
    }
    // What was leased in a round and not deleted is hidden still; everything else must be here.
    let queue = client
        .ask("GetQueueAttributes", &[("queueName", "q")])
        .unwrap()
        .success()
        .unwrap();
    let hidden = queue.0["inactiveMsgNum"].as_u64().unwrap() as usize - found.len();
    let lost: Vec<_> = acknowledged
        .keys()
        .filter(|id| !found.contains(*id) && !deleted.contains(*id) && !perhaps_deleted.contains(*id))
        .collect();
    assert!(
        lost.len() <= hidden,
        "{} acknowledged messages are gone, {hidden} are hidden",
        lost.len()
    );
    assert!(
        acknowledged.len() > 100,
        "the senders got {} messages through",
        acknowledged.len()
    );
}

fn send_until_killed(
    client: &mut posthouse_tests::Client,
    round: u64,
    sender: u64,
    tell: &mpsc::Sender<()>,
) -> BTreeMap<String, String> {
    let mut acknowledged = BTreeMap::new();
    for number in 0.. {
        let body = format!("{round}/{sender}/{number}");
        let Ok(answer) = client.ask("SendMessage", &[("queueName", "q"), ("msgBody", &body)]) else {
            break;
        };
        if answer.code() != 0 {
            break;
        }
        acknowledged.insert(answer.text("msgId").to_owned(), body);
        // Nobody counts any more once the node is to be killed.
        let _ = tell.send(());
    }
    acknowledged
}

/// What a consumer got rid of before the node was killed.
#[derive(Default)]
struct Consumed {
    /// Messages whose delete was acknowledged.
    deleted: BTreeSet<String>,
    /// The message whose delete was not answered: it may have been done.
    unanswered: Option<String>,
}

fn consume_until_killed(client: &mut posthouse_tests::Client) -> Consumed {
    let mut consumed = Consumed::default();
    loop {
        let Ok(got) = client.ask(
            "ReceiveMessage",
            &[("queueName", "q"), ("pollingWaitSeconds", "1")],
        ) else {
            return consumed;
        };
        if got.code() == 7000 {
            continue;
        }
        let Ok(got) = got.success() else { return consumed };
        let handle = got.text("receiptHandle");
        let id = got.text("msgId").to_owned();
        match client.ask("DeleteMessage", &[("queueName", "q"), ("receiptHandle", handle)]) {
            Ok(answer) if answer.code() == 0 => {
                consumed.deleted.insert(id);
            }
            Ok(_) | Err(_) => {
                consumed.unanswered = Some(id);
                return consumed;
            }
        }
    }
}

fn seed() -> u64 {
    match std::env::var(SEED_VARIABLE) {
        Ok(text) => text.parse().expect("the seed is a number"),
        Err(_) => SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.subsec_nanos().into()),
    }
}
