//! Nodes that are new, that listen elsewhere than before, and that hold little: what they answer, and how the others
//! find them.

use serde_json::Value;

use crate::membership::{is_group_on, is_settled_on, node, wait_until};
use crate::{cluster, command, create_queue, done, refusal, send, take, until};

#[test]
fn a_node_that_listens_elsewhere_is_found_by_the_others() {
    let mut cluster = cluster(1);
    create_queue(&mut cluster.node(1).client(), "q");
    wait_until(cluster.node(1), "it is founded", |status| {
        is_settled_on(status, &[1, 2, 3])
    });
    cluster.node_mut(2).kill();
    cluster.move_peer(2);
    cluster.node_mut(2).launch().unwrap();
    let address = cluster.peer_address(2).to_string();
    wait_until(cluster.node(1), "it is found", |status| {
        is_settled_on(status, &[1, 2, 3]) && node(status, 2)["address"] == address.as_str()
    });

    // It counts for one that knew it from before, and for one that is started with where it was.
    cluster.node_mut(3).kill();
    let mut first = cluster.node(1).client();
    send(&mut first, "q", "first");
    cluster.node_mut(3).launch().unwrap();
    wait_until(cluster.node(3), "it is found again", |status| {
        is_settled_on(status, &[1, 2, 3])
    });
    cluster.node_mut(1).kill();
    let mut third = cluster.node(3).client();
    until("it has what two agreed on", || {
        take(&mut third, "q").as_deref() == Some("first")
    });

    // And one that listens elsewhere comes back there without a word.
    cluster.node_mut(1).launch().unwrap();
    cluster.node_mut(2).kill();
    cluster.node_mut(2).launch().unwrap();
    wait_until(cluster.node(1), "it is where it was", |status| {
        is_settled_on(status, &[1, 2, 3])
    });
}

#[test]
fn a_message_is_explained_by_a_node_that_holds_nothing_of_it() {
    let mut cluster = cluster(2);
    for queue in ["plain", "copies"] {
        create_queue(&mut cluster.node(1).client(), queue);
    }
    let client = &mut cluster.node(1).client();
    done(client, "CreateTopic", &[("topicName", "topic")]);
    let subscription = [
        ("topicName", "topic"),
        ("subscriptionName", "to-copies"),
        ("protocol", "queue"),
        ("endpoint", "copies"),
        ("notifyContentFormat", "SIMPLIFIED"),
    ];
    done(client, "Subscribe", &subscription);
    cluster.add().unwrap();
    wait_until(cluster.node(1), "the fourth has joined", |status| {
        node(status, 4)["state"] == "active" && is_group_on(status, None, &[1, 2, 3, 4])
    });
    let fourth = cluster.node(4);
    let id = |answer: &Value| answer["msgId"].as_str().unwrap().to_owned();
    let plain = id(&done(
        &mut fourth.client(),
        "SendMessage",
        &[("queueName", "plain"), ("msgBody", "hello")],
    ));
    let told = command(fourth, &["explain", &plain]);
    assert_eq!(told["places"][0]["name"], "plain", "{told}");
    assert_eq!(told["places"][0]["state"], "waiting", "{told}");
    assert_eq!(told["places"][0]["body_bytes"], 5, "{told}");

    let published = id(&done(
        &mut fourth.client(),
        "PublishMessage",
        &[("topicName", "topic"), ("msgBody", "news")],
    ));
    until("it came by the topic", || {
        let told = command(fourth, &["explain", &published]);
        let places = told["places"].as_array().unwrap().clone();
        let state = |name: &str| {
            let place = places.iter().find(|place| place["name"] == name);
            place.map(|place| place["state"].clone())
        };
        state("topic") == Some("handed over".into()) && state("copies") == Some("waiting".into())
    });
    let told = command(fourth, &["explain", &published]);
    assert_eq!(
        told["decisions"][0]["subscriptions"][0], "to-copies",
        "as its set calls it: {told}"
    );
    // What is told here is what is told where it is, once that has come so far.
    for message in [&plain, &published] {
        let told = command(fourth, &["explain", message]);
        until("all nodes tell the same", || {
            (1..=3).all(|number| command(cluster.node(number), &["explain", message]) == told)
        });
    }
}

#[test]
fn a_node_that_has_not_seen_the_directory_says_that_it_is_starting() {
    let mut cluster = cluster(1);
    for number in 1..=3 {
        cluster.node_mut(number).kill();
    }
    // It knows which cluster it is of, and nothing else; and nobody is there to tell it.
    let kept = cluster.node(2).keep_disk().unwrap();
    std::fs::create_dir(cluster.node(2).data()).unwrap();
    for file in ["FORMAT", "IDENTITY"] {
        std::fs::copy(kept.join(file), cluster.node(2).data().join(file)).unwrap();
    }
    cluster.node_mut(2).launch().unwrap();
    cluster.wait_unready(2).unwrap();
    let answer = cluster.node(2).client().ask("ListQueue", &[]).unwrap();
    assert_eq!(answer.code(), 6000, "{}", answer.0);
    assert!(answer.text("message").contains("starting"), "{}", answer.0);
    let refused = refusal(cluster.node(2), &["queue", "list"]);
    assert!(refused.contains("starting"), "{refused}");

    cluster.node_mut(2).kill();
    cluster.node(2).put_disk(&kept).unwrap();
    for number in 1..=3 {
        cluster.node_mut(number).spawn().unwrap();
    }
    for number in 1..=3 {
        cluster.node_mut(number).wait_serving().unwrap();
    }
    cluster.wait_ready().unwrap();
    done(&mut cluster.node(2).client(), "ListQueue", &[]);
}
