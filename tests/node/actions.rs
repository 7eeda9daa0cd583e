//! Every action of the reference over HTTP: what it answers, what it changes, and its own refusals.

use posthouse_tests::{Client, Connection};
use serde_json::{Value, json};

use crate::node;
use crate::sealing::run;
use crate::steps::{Case, Steps};

/// Fields that some SDK cannot do without.
const QUEUE_NUMBERS: [&str; 14] = [
    "maxMsgHeapNum",
    "pollingWaitSeconds",
    "visibilityTimeout",
    "maxMsgSize",
    "msgRetentionSeconds",
    "rewindSeconds",
    "createTime",
    "lastModifyTime",
    "activeMsgNum",
    "inactiveMsgNum",
    "delayMsgNum",
    "rewindmsgNum",
    "rewindMsgNum",
    "minMsgTime",
];

#[test]
fn a_queue_is_made_told_of_changed_and_deleted() {
    let node = node();
    let mut client = node.client();
    let made = client.done(
        "CreateQueue",
        &[("queueName", "Orders"), ("visibilityTimeout", "40")],
    );
    assert!(made.text("queueId").starts_with("queue-"), "{made:?}");
    let told = client.done("GetQueueAttributes", &[("queueName", "Orders")]);
    for field in QUEUE_NUMBERS {
        assert!(told.0[field].is_u64(), "{field} of {told:?}");
    }
    assert_eq!(
        (&told.0["visibilityTimeout"], &told.0["maxMsgSize"]),
        (&json!(40), &json!(65_536))
    );

    client.create_queue("dead", &[]);
    let policy = r#"{"deadLetterQueue":"dead","policy":1,"maxTimeToLive":"300"}"#;
    let change = [
        ("queueName", "Orders"),
        ("pollingWaitSeconds", "3"),
        ("rewindSeconds", "60"),
        ("deadLetterPolicy", policy),
    ];
    let set = client.done("SetQueueAttributes", &change);
    assert_eq!(set.text("queueId"), made.text("queueId"));
    assert_eq!(
        [
            &set.0["pollingWaitSeconds"],
            &set.0["rewindSeconds"],
            &set.0["visibilityTimeout"]
        ],
        [&json!(3), &json!(60), &json!(40)],
        "what is not given stays"
    );
    let told = client.done("GetQueueAttributes", &[("queueName", "Orders")]);
    let shown: Value = serde_json::from_str(told.text("deadLetterPolicy")).unwrap();
    assert_eq!(shown["deadLetterQueue"], "dead", "{told:?}");
    let sources = client.done("ListDeadLetterSourceQueues", &[("deadLetterQueueName", "dead")]);
    assert_eq!(
        (&sources.0["totalCount"], &sources.0["queueList"][0]["queueName"]),
        (&json!(1), &json!("Orders"))
    );

    assert_eq!(
        codes(&mut client, "UnbindDeadLetterQueue", &[("queueName", "Orders")]),
        (0, 0)
    );
    assert_eq!(
        codes(&mut client, "UnbindDeadLetterQueue", &[("queueName", "Orders")]),
        (4000, 10730)
    );
    let told = client.done("GetQueueAttributes", &[("queueName", "Orders")]);
    assert!(told.0.get("deadLetterPolicy").is_none(), "{told:?}");
    let sources = client.done("ListDeadLetterSourceQueues", &[("deadLetterQueueName", "dead")]);
    assert_eq!(
        (&sources.0["totalCount"], &sources.0["queueList"]),
        (&json!(0), &json!([]))
    );

    client.send("Orders", "x");
    assert_eq!(
        codes(&mut client, "DeleteQueue", &[("queueName", "orders")]),
        (0, 0)
    );
    for (action, parameters) in [
        ("DeleteQueue", &[("queueName", "Orders")][..]),
        ("GetQueueAttributes", &[("queueName", "Orders")]),
        (
            "SetQueueAttributes",
            &[("queueName", "Orders"), ("rewindSeconds", "1")],
        ),
        ("SendMessage", &[("queueName", "Orders"), ("msgBody", "x")]),
        ("ReceiveMessage", &[("queueName", "Orders")]),
        (
            "DeleteMessage",
            &[("queueName", "Orders"), ("receiptHandle", "1")],
        ),
        (
            "RewindQueue",
            &[("queueName", "Orders"), ("startConsumeTime", "1")],
        ),
    ] {
        assert_eq!(codes(&mut client, action, parameters), (4440, 10100), "{action}");
    }
    client.create_queue("Orders", &[]);
    assert_eq!(
        client.look("Orders"),
        7000,
        "a new queue has nothing of the old one"
    );
}

#[test]
fn what_queues_refuse_has_the_codes_of_the_reference() {
    let node = node();
    let mut client = node.client();
    client.create_queue("q", &[("maxMsgSize", "1024"), ("msgRetentionSeconds", "60")]);
    client.create_queue("dead", &[]);
    let large = "x".repeat(1_025);
    let megabyte = "x".repeat(600_000);
    let policy = |queue: &str| format!(r#"{{"deadLetterQueue":"{queue}","policy":0,"maxReceiveCount":1}}"#);
    let (to_dead, to_source, to_none) = (policy("dead"), policy("source"), policy("none"));
    client.create_queue("source", &[("deadLetterPolicy", &to_dead)]);
    let cases: [Case; 14] = [
        ("SendMessage", &[("msgBody", &large)], (4400, 10230)),
        (
            "SendMessage",
            &[("msgBody", "x"), ("delaySeconds", "3601")],
            (4000, 10692),
        ),
        (
            "BatchSendMessage",
            &[("msgBody.1", "x"), ("msgBody.2", &large)],
            (4400, 10230),
        ),
        (
            "BatchSendMessage",
            &[("msgBody.1", &megabyte), ("msgBody.2", &megabyte)],
            (4470, 10300),
        ),
        ("SetQueueAttributes", &[("rewindSeconds", "61")], (4000, 10700)),
        (
            "SetQueueAttributes",
            &[("deadLetterPolicy", &to_none)],
            (4000, 10730),
        ),
        ("SetQueueAttributes", &[("deadLetterPolicy", "{")], (4000, 10360)),
        (
            "SetQueueAttributes",
            &[("deadLetterPolicy", &to_source)],
            (4000, 10350),
        ),
        ("BatchReceiveMessage", &[], (4000, 10390)),
        ("BatchReceiveMessage", &[("numOfMsg", "17")], (4000, 10350)),
        ("DeleteMessage", &[("receiptHandle", "no-number")], (4000, 10470)),
        ("DeleteMessage", &[("receiptHandle", "12345")], (4430, 10260)),
        (
            "BatchDeleteMessage",
            &[("receiptHandle.0", "1"), ("receiptHandle.1", "x")],
            (6020, 10290),
        ),
        ("RewindQueue", &[("startConsumeTime", "1")], (6050, 10670)),
    ];
    for (action, parameters, expected) in cases {
        let parameters = [&[("queueName", "q")], parameters].concat();
        assert_eq!(
            codes(&mut client, action, &parameters),
            expected,
            "{action} {parameters:?}"
        );
    }
    assert_eq!(client.look("q"), 7000, "a refused call stored something");
    let told = client.done("GetQueueAttributes", &[("queueName", "q")]);
    assert_eq!(told.0["rewindSeconds"], 0);
}

#[test]
fn a_batch_of_handles_that_are_all_good_is_deleted_with_code_0() {
    let node = node();
    let mut client = node.client();
    client.create_queue("q", &[]);
    let batch = [
        ("queueName", "q"),
        ("msgBody.0", "a"),
        ("msgBody.1", "b"),
        ("delaySeconds", "0"),
    ];
    client.done("BatchSendMessage", &batch);
    let got = client.done("BatchReceiveMessage", &[("queueName", "q"), ("numOfMsg", "2")]);
    let handle = |at: usize| got.0["msgInfoList"][at]["receiptHandle"].as_str().unwrap();
    for field in [
        "enqueueTime",
        "firstDequeueTime",
        "nextVisibleTime",
        "dequeueCount",
    ] {
        assert!(got.0["msgInfoList"][1][field].is_u64(), "{field} of {got:?}");
    }
    let handles = [
        ("queueName", "q"),
        ("receiptHandle.1", handle(0)),
        ("receiptHandle.2", handle(1)),
    ];
    assert_eq!(codes(&mut client, "BatchDeleteMessage", &handles), (0, 0));
    assert_eq!(codes(&mut client, "BatchDeleteMessage", &handles), (6020, 10290));
}

#[test]
fn a_delayed_message_is_counted_as_such_and_hidden_until_its_time() {
    let node = node();
    let mut client = node.client();
    client.create_queue("q", &[]);
    client.done(
        "SendMessage",
        &[("queueName", "q"), ("msgBody", "later"), ("delaySeconds", "2")],
    );
    let told = client.done("GetQueueAttributes", &[("queueName", "q")]);
    assert_eq!(
        (&told.0["delayMsgNum"], &told.0["activeMsgNum"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(client.look("q"), 7000);
    let got = client.receive("q");
    let visible_after = got.0["firstDequeueTime"].as_u64().unwrap() - got.0["enqueueTime"].as_u64().unwrap();
    assert!(visible_after >= 1, "{got:?}");
}

#[test]
fn a_topic_and_its_subscriptions_are_made_told_of_changed_and_removed() {
    let node = node();
    let mut client = node.client();
    client.create_queue("q", &[("visibilityTimeout", "43200")]);
    let made = client.done("CreateTopic", &[("topicName", "news"), ("maxMsgSize", "2048")]);
    assert!(made.text("topicId").starts_with("topic-"), "{made:?}");
    let none = client.done("ListSubscriptionByTopic", &[("topicName", "news")]);
    assert_eq!(
        (&none.0["totalCount"], &none.0["subscriptionList"]),
        (&json!(0), &json!([]))
    );

    let subscribe = [
        ("topicName", "news"),
        ("subscriptionName", "s"),
        ("protocol", "QUEUE"),
        ("endpoint", "q"),
        ("notifyStrategy", "BACKOFF_RETRY"),
        ("filterTag.0", "sport"),
    ];
    let subscribed = client.done("Subscribe", &subscribe);
    assert!(
        subscribed.text("subscriptionId").starts_with("subsc-"),
        "{subscribed:?}"
    );
    assert_eq!(codes(&mut client, "Subscribe", &subscribe), (4490, 10470));
    let names = [("topicName", "news"), ("subscriptionName", "s")];
    let told = client.done("GetSubscriptionAttributes", &names);
    assert!(
        told.0["topicOwner"].is_string() && told.0["msgCount"].is_u64(),
        "{told:?}"
    );
    for (field, expected) in [
        ("protocol", json!("queue")),
        ("protocal", json!("queue")),
        ("endpoint", json!("q")),
        ("notifyStrategy", json!("BACKOFF_RETRY")),
        ("notifyContentFormat", json!("SIMPLIFIED")),
        ("filterTag", json!(["sport"])),
        ("filterTags", json!(["sport"])),
        ("bindingKey", json!([])),
    ] {
        assert_eq!(told.0[field], expected, "{field}");
    }
    let changed = [
        &names[..],
        &[
            ("notifyStrategy", "EXPONENTIAL_DECAY_RETRY"),
            ("filterTag.1", "art"),
        ],
    ]
    .concat();
    client.done("SetSubscriptionAttributes", &changed);
    let told = client.done("GetSubscriptionAttributes", &names);
    assert_eq!(
        (&told.0["notifyStrategy"], &told.0["filterTag"]),
        (&json!("EXPONENTIAL_DECAY_RETRY"), &json!(["art"]))
    );
    let batch = [
        ("topicName", "news"),
        ("msgBody.1", "a"),
        ("msgBody.2", "b"),
        ("msgTag.1", "art"),
    ];
    let sent = client.done("BatchPublishMessage", &batch);
    // Deliveries overtake each other; the ids are answered in the order of the request.
    let mut sent: Vec<(&str, &str)> = ["a", "b"]
        .into_iter()
        .zip(sent.0["msgList"].as_array().unwrap())
        .map(|(body, one)| (body, one["msgId"].as_str().unwrap()))
        .collect();
    for _ in 0..2 {
        let got = client.receive("q");
        assert_eq!(got.0["msgTag"], json!(["art"]));
        sent.retain(|one| *one != (got.text("msgBody"), got.text("msgId")));
    }
    assert_eq!(sent, []);
    client.done("ClearSUbscriptionFIlterTags", &names);
    client.publish("news", "untagged", &[]);
    assert_eq!(client.receive("q").text("msgBody"), "untagged");
    let listed = client.done(
        "ListSubscriptionByTopic",
        &[("topicName", "news"), ("searchWord", "S")],
    );
    assert_eq!(listed.0["subscriptionList"][0]["endpoint"], "q");

    client.done(
        "SetTopicAttributes",
        &[("topicName", "news"), ("maxMsgSize", "1024")],
    );
    let told = client.done("GetTopicAttributes", &[("topicName", "news")]);
    for (field, expected) in [
        ("maxMsgSize", 1_024),
        ("filterType", 1),
        ("msgRetentionSeconds", 86_400),
        ("msgCount", 0),
    ] {
        assert_eq!(told.0[field], expected, "{field}");
    }
    assert!(
        told.0["createTime"].is_u64() && told.0["lastModifyTime"].is_u64(),
        "{told:?}"
    );
    let large = "x".repeat(1_025);
    assert_eq!(
        codes(
            &mut client,
            "PublishMessage",
            &[("topicName", "news"), ("msgBody", &large)]
        ),
        (4400, 10230)
    );
    assert_eq!(
        codes(&mut client, "DeleteTopic", &[("topicName", "news")]),
        (4000, 10540)
    );
    client.done("Unsubscribe", &names);
    assert_eq!(codes(&mut client, "Unsubscribe", &names), (4000, 10560));
    assert_eq!(
        codes(&mut client, "GetSubscriptionAttributes", &names),
        (4000, 10560)
    );
    assert_eq!(
        codes(
            &mut client,
            "PublishMessage",
            &[("topicName", "news"), ("msgBody", "x")]
        ),
        (6030, 10650)
    );
    // As one example of the documents spells it.
    assert_eq!(
        codes(&mut client, "DeleteTopic", &[("TopicName", "news")]),
        (0, 0)
    );
    for action in ["DeleteTopic", "GetTopicAttributes", "ListSubscriptionByTopic"] {
        assert_eq!(
            codes(&mut client, action, &[("topicName", "news")]),
            (4440, 10600),
            "{action}"
        );
    }
}

#[test]
fn what_subscribing_refuses_has_the_codes_of_the_reference() {
    let node = node();
    let mut client = node.client();
    client.create_topic("t", &[]);
    client.create_topic("keys", &[("filterType", "2")]);
    client.create_queue("q", &[]);
    let long = format!("http://127.0.0.1/{}", "x".repeat(500));
    let cases: [Case; 9] = [
        ("t", &[("protocol", "queue"), ("endpoint", "none")], (4000, 10630)),
        ("t", &[("protocol", "smtp"), ("endpoint", "q")], (4000, 10510)),
        ("t", &[("protocol", "http"), ("endpoint", "q")], (4000, 10500)),
        ("t", &[("protocol", "http"), ("endpoint", &long)], (4000, 10500)),
        (
            "t",
            &[("protocol", "http"), ("endpoint", "http://a b/")],
            (4510, 10570),
        ),
        (
            "t",
            &[
                ("protocol", "queue"),
                ("endpoint", "q"),
                ("notifyStrategy", "NEVER"),
            ],
            (4000, 10520),
        ),
        (
            "t",
            &[
                ("protocol", "queue"),
                ("endpoint", "q"),
                ("notifyContentFormat", "XML"),
            ],
            (4000, 10530),
        ),
        ("keys", &[("protocol", "queue"), ("endpoint", "q")], (4000, 10710)),
        ("none", &[("protocol", "queue"), ("endpoint", "q")], (4440, 10600)),
    ];
    for (topic, parameters, expected) in cases {
        let parameters = [&[("topicName", topic), ("subscriptionName", "s")], parameters].concat();
        assert_eq!(
            codes(&mut client, "Subscribe", &parameters),
            expected,
            "{parameters:?}"
        );
    }
    let listed = client.done("ListSubscriptionByTopic", &[("topicName", "t")]);
    assert_eq!(listed.0["totalCount"], 0, "a refused call changed something");
    let route = [("topicName", "keys"), ("msgBody", "x")];
    assert_eq!(codes(&mut client, "PublishMessage", &route), (4000, 10700));
    assert_eq!(codes(&mut client, "QueryTopicRoute", &route), (4000, 10430));
}

#[test]
fn an_account_has_only_as_many_queues_and_topics_as_its_quota_says() {
    let node = node();
    run(
        &node,
        &["tenant", "quota", "dev", "--queues", "1", "--topics", "1"],
    );
    let mut client = node.client();
    client.create_queue("q", &[]);
    assert_eq!(
        codes(&mut client, "CreateQueue", &[("queueName", "q2")]),
        (4450, 10220)
    );
    client.create_topic("t", &[]);
    assert_eq!(
        codes(&mut client, "CreateTopic", &[("topicName", "t2")]),
        (4450, 10610)
    );
    client.done("DeleteQueue", &[("queueName", "q")]);
    client.create_queue("q2", &[]);
}

#[test]
fn a_call_that_is_repeated_under_its_token_is_done_once() {
    let node = node();
    let mut client = node.client();
    client.create_queue("q", &[]);
    client.create_topic("t", &[]);
    client.subscribe_queue("t", "q", &[]);
    let mut connection = Connection::open(node.address()).unwrap();
    let mut post = |action: &str, parameters: &[(&str, &[u8])], token: &str| -> Value {
        let form = client.form(action, parameters);
        let header = format!("x-posthouse-token: {token}\r\n");
        let host = node.address().to_string();
        connection
            .request("POST", "/v2/index.php", &host, &header, &form)
            .unwrap();
        serde_json::from_slice(&connection.answer().unwrap().body).unwrap()
    };
    let send: [(&str, &[u8]); 2] = [("queueName", b"q"), ("msgBody", b"sent")];
    let first = post("SendMessage", &send, "one");
    assert_eq!(first["code"], 0, "{first}");
    assert_eq!(post("SendMessage", &send, "one")["msgId"], first["msgId"]);
    assert_ne!(post("SendMessage", &send, "two")["msgId"], first["msgId"]);
    let publish: [(&str, &[u8]); 2] = [("topicName", b"t"), ("msgBody", b"published")];
    let first = post("PublishMessage", &publish, "one");
    assert_eq!(post("PublishMessage", &publish, "one")["msgId"], first["msgId"]);
    assert_eq!(post("SendMessage", &send, "")["code"], 4000);
    let mut bodies: Vec<String> = (0..3)
        .map(|_| client.receive("q").text("msgBody").to_owned())
        .collect();
    bodies.sort();
    assert_eq!(bodies, ["published", "sent", "sent"]);
    assert_eq!(client.look("q"), 7000);
}

fn codes(client: &mut Client, action: &str, parameters: &[(&str, &str)]) -> (i64, i64) {
    client.ask(action, parameters).unwrap().codes()
}
