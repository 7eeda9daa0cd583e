//! What was acknowledged survives a kill, and what was deleted does not come back.

use std::collections::{BTreeMap, BTreeSet};

use crate::node;

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
        let senders: Vec<_> = (0..4)
            .map(|sender| {
                let mut client = node.client();
                std::thread::spawn(move || send_until_killed(&mut client, round, sender))
            })
            .collect();
        let mut consumer = node.client();
        let consuming = std::thread::spawn(move || consume_until_killed(&mut consumer));
        // The moment is wherever the senders are when this many were consumed or the time is up.
        std::thread::park_timeout(std::time::Duration::from_millis(300 + 170 * round));
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
