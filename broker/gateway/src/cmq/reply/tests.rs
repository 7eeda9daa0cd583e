//! Replies as the SDKs read them, byte for byte where it is short.

use posthouse_model::{DeadLetterPolicy, Key, PluginVersion, Span, Tag};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const HEAD: Head = Head {
    request_id: 14_534_664_555,
    client_request_id: None,
};

fn text(reply: &Bytes) -> &str {
    std::str::from_utf8(reply).expect("replies are UTF-8")
}

fn value(reply: &Bytes) -> Value {
    serde_json::from_slice(reply).expect("replies are JSON")
}

fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

fn message(body: &[u8]) -> Received<'_> {
    Received {
        message: MessageId(345_346),
        handle: ReceiptHandle(283_748_239_349_283),
        body,
        tags: &[],
        enqueued: Time::from_millis(1_462_351_990_999),
        first_received: Time::from_seconds(1_462_351_991),
        visible_again: Time::from_seconds(1_462_352_021),
        receive_count: 1,
        parking: None,
    }
}

#[test]
fn the_envelope_has_all_three_fields() {
    let wanted = r#"{"code":0,"message":"","requestId":"14534664555"}"#;
    assert_eq!(text(&ok(&HEAD)), wanted);
    let wanted = r#"{"code":7000,"message":"(10200)no message","requestId":"14534664555"}"#;
    assert_eq!(text(&error(&HEAD, &CmqError::no_message())), wanted);
    let head = Head {
        client_request_id: Some(12),
        ..HEAD
    };
    let wanted = r#"{"code":0,"message":"","requestId":"14534664555","clientRequestId":12}"#;
    assert_eq!(text(&ok(&head)), wanted);
}

#[test]
fn errors_that_say_back_what_a_client_sent_are_still_json() {
    let reply = error(&HEAD, &CmqError::unknown_action("\"}\\\n\u{1}\u{fc}"));
    let wanted = "(10430)action name \"}\\\n\u{1}\u{fc} is not existed";
    assert_eq!(value(&reply)["message"], wanted);
}

#[test]
fn made_things_have_string_ids() {
    assert_eq!(value(&queue(&HEAD, Incarnation(99)))["queueId"], "queue-0000002r");
    assert_eq!(value(&topic(&HEAD, Incarnation(99)))["topicId"], "topic-0000002r");
    let subscription = subscribed(&HEAD, Incarnation(99), SubscriptionId(1));
    assert_eq!(value(&subscription)["subscriptionId"], "subsc-0000002r0001");
}

#[test]
fn lists_are_arrays_even_when_empty() {
    let empty = queue_list(&HEAD, 0, []);
    let wanted = r#"{"code":0,"message":"","requestId":"14534664555","totalCount":0,"queueList":[]}"#;
    assert_eq!(text(&empty), wanted);
    assert_eq!(value(&topic_list(&HEAD, 0, []))["topicList"], json!([]));
    assert_eq!(
        value(&subscription_list(&HEAD, 0, []))["subscriptionList"],
        json!([])
    );
    assert_eq!(value(&batch_sent(&HEAD, &[]))["msgList"], json!([]));
    assert_eq!(value(&batch_received(&HEAD, []))["msgInfoList"], json!([]));
}

#[test]
fn lists_tell_ids_and_names_and_the_count_of_all() {
    let (a, b) = (name("alpha"), name("beta"));
    let queues = queue_list(&HEAD, 7, [(Incarnation(1), &a), (Incarnation(2), &b)]);
    assert_eq!(
        value(&queues),
        json!({"code": 0, "message": "", "requestId": "14534664555", "totalCount": 7, "queueList": [
            {"queueId": "queue-00000001", "queueName": "alpha"},
            {"queueId": "queue-00000002", "queueName": "beta"},
        ]})
    );
    let topics = topic_list(&HEAD, 1, [(Incarnation(1), &a)]);
    assert_eq!(
        value(&topics)["topicList"],
        json!([{"topicId": "topic-00000001", "topicName": "alpha"}])
    );
}

#[test]
fn queue_attributes_have_every_field_that_an_sdk_reads() {
    let attributes = QueueAttributes {
        dead_letter: Some(Box::new(DeadLetterPolicy {
            name: name("dead"),
            target: Incarnation(3),
            rule: DeadLetterRule::Age {
                max: Span::from_seconds(300),
            },
        })),
        rewind: Span::from_seconds(60),
        ..QueueAttributes::default()
    };
    let name = name("orders");
    let view = QueueView {
        queue: Incarnation(1),
        name: &name,
        attributes: &attributes,
        counts: QueueCounts {
            active: 1,
            leased: 2,
            delayed: 3,
            rewindable: 4,
            oldest: Some(Time::from_millis(1_500_000_000_999)),
        },
        created: Time::from_seconds(1_400_000_000),
        modified: Time::from_seconds(1_400_000_001),
    };
    let wanted = concat!(
        r#"{"code":0,"message":"","requestId":"14534664555","#,
        r#""queueId":"queue-00000001","queueName":"orders","#,
        r#""maxMsgHeapNum":100000000,"pollingWaitSeconds":0,"visibilityTimeout":30,"#,
        r#""maxMsgSize":65536,"msgRetentionSeconds":345600,"rewindSeconds":60,"#,
        r#""deadLetterPolicy":"{\"deadLetterQueue\":\"dead\",\"policy\":1,\"maxTimeToLive\":300}","#,
        r#""createTime":1400000000,"lastModifyTime":1400000001,"#,
        r#""activeMsgNum":1,"inactiveMsgNum":2,"delayMsgNum":3,"#,
        r#""rewindmsgNum":4,"rewindMsgNum":4,"minMsgTime":1500000000}"#,
    );
    assert_eq!(text(&queue_attributes(&HEAD, &view)), wanted);

    let plain = QueueAttributes::default();
    let counts = QueueCounts::default();
    let empty = value(&queue_attributes(
        &HEAD,
        &QueueView {
            attributes: &plain,
            counts,
            ..view
        },
    ));
    assert_eq!(empty["minMsgTime"], 0);
    assert_eq!(empty.get("deadLetterPolicy"), None);

    let set = value(&queue_set(&HEAD, Incarnation(1), &plain));
    assert_eq!(
        set,
        json!({"code": 0, "message": "", "requestId": "14534664555", "queueId": "queue-00000001",
            "maxMsgHeapNum": 100_000_000, "pollingWaitSeconds": 0, "visibilityTimeout": 30,
            "maxMsgSize": 65_536, "msgRetentionSeconds": 345_600, "rewindSeconds": 0})
    );
}

#[test]
fn sent_messages_have_string_ids_in_order() {
    assert_eq!(
        value(&sent(&HEAD, MessageId(u64::MAX)))["msgId"],
        "18446744073709551615"
    );
    let batch = batch_sent(&HEAD, &[MessageId(2), MessageId(1)]);
    assert_eq!(value(&batch)["msgList"], json!([{"msgId": "2"}, {"msgId": "1"}]));
}

#[test]
fn a_received_message_has_string_ids_and_times_in_seconds() {
    let wanted = concat!(
        r#"{"code":0,"message":"","requestId":"14534664555","msgBody":"hello \"world\"","#,
        r#""msgId":"345346","receiptHandle":"283748239349283","enqueueTime":1462351990,"#,
        r#""firstDequeueTime":1462351991,"nextVisibleTime":1462352021,"dequeueCount":1}"#,
    );
    assert_eq!(text(&received(&HEAD, &message(b"hello \"world\""))), wanted);
    let tags = ["gold".to_owned()];
    let tagged = Received {
        tags: &tags,
        ..message(b"x")
    };
    assert_eq!(value(&received(&HEAD, &tagged))["msgTag"], json!(["gold"]));
    let batch = value(&batch_received(&HEAD, [message(b"a"), message(b"b")]));
    assert_eq!(batch["msgInfoList"][0]["msgBody"], "a");
    assert_eq!(batch["msgInfoList"][1]["receiptHandle"], "283748239349283");
    assert_eq!(batch["msgInfoList"][1].as_object().expect("an object").len(), 7);
}

#[test]
fn a_parked_message_says_which_plugin_failed_on_it_and_how() {
    let parking = Parking {
        world: World::Filter,
        version: PluginVersion(9),
        digest: Some([0xab; 32]),
        subscription: None,
        attempt: 2,
        trap: "the plugin trapped".to_owned(),
        backtrace: "inner at 0x1\n".to_owned(),
    };
    let parked = Received {
        parking: Some(&parking),
        ..message(b"x")
    };
    let wanted = json!({
        "world": "filter",
        "version": "9",
        "digest": "ab".repeat(32),
        "attempt": 2,
        "trap": "the plugin trapped",
        "backtrace": "inner at 0x1\n",
    });
    assert_eq!(value(&received(&HEAD, &parked))["parked"], wanted);
}

#[test]
fn what_is_not_utf_8_is_replaced() {
    let reply = received(&HEAD, &message(b"a\xff\xfeb\xc3\xbc"));
    assert_eq!(value(&reply)["msgBody"], "a\u{fffd}\u{fffd}b\u{fc}");
}

#[test]
fn a_batch_delete_tells_which_failed() {
    let good = (GivenHandle::Handle(ReceiptHandle(1)), Ok(()));
    let old = (
        GivenHandle::Handle(ReceiptHandle(2)),
        Err(CmqError::invalid_handle()),
    );
    let bad = (
        GivenHandle::Malformed("x\"".into()),
        Err(CmqError::malformed_handle()),
    );
    assert_eq!(batch_deleted(&HEAD, std::slice::from_ref(&good)), ok(&HEAD));
    let partly = value(&batch_deleted(&HEAD, &[good, old.clone(), bad.clone()]));
    let errors = json!([
        {"code": 4430, "message": "(10260)receipt handle is invalid", "receiptHandle": "2"},
        {"code": 4000, "message": "(10470)receiptHandle error", "receiptHandle": "x\""},
    ]);
    assert_eq!(
        partly,
        json!({"code": 6010, "message": "(10150)delete message partially failed",
            "requestId": "14534664555", "errorList": errors})
    );
    let all = value(&batch_deleted(&HEAD, &[old, bad]));
    assert_eq!(all["code"], 6020);
    assert_eq!(all["message"], "(10290)batch delete message failed");
    assert_eq!(all["errorList"], errors);
}

#[test]
fn topic_attributes_have_every_field_that_an_sdk_reads() {
    let name = name("prices");
    let attributes = TopicAttributes {
        filter_type: FilterType::BindingKeys,
        ..TopicAttributes::default()
    };
    let view = TopicView {
        topic: Incarnation(1),
        name: &name,
        attributes: &attributes,
        messages: 5,
        created: Time::from_seconds(1),
        modified: Time::from_seconds(2),
    };
    assert_eq!(
        value(&topic_attributes(&HEAD, &view)),
        json!({"code": 0, "message": "", "requestId": "14534664555", "topicId": "topic-00000001",
            "topicName": "prices", "msgCount": 5, "maxMsgSize": 65_536,
            "msgRetentionSeconds": 86_400, "filterType": 2, "createTime": 1, "lastModifyTime": 2})
    );
}

#[test]
fn subscription_attributes_have_every_spelling() {
    let name = name("sub");
    let attributes = SubscriptionAttributes {
        endpoint: Endpoint::Http("http://h/".into()),
        retry: RetryStrategy::Backoff,
        format: ContentFormat::Simplified,
        filter_tags: vec![Tag::parse("a").expect("a tag"), Tag::parse("b").expect("a tag")],
        binding_keys: vec![Key::parse("x.#").expect("a key")],
    };
    let view = SubscriptionView {
        topic: Incarnation(1),
        subscription: SubscriptionId(2),
        name: &name,
        owner: TenantId(4),
        attributes: &attributes,
        backlog: 6,
        created: Time::from_seconds(1),
        modified: Time::from_seconds(2),
    };
    assert_eq!(
        value(&subscription_attributes(&HEAD, &view)),
        json!({"code": 0, "message": "", "requestId": "14534664555",
            "subscriptionId": "subsc-000000010002", "subscriptionName": "sub", "topicOwner": "4",
            "msgCount": 6, "protocol": "http", "protocal": "http", "endpoint": "http://h/",
            "notifyStrategy": "BACKOFF_RETRY", "notifyContentFormat": "SIMPLIFIED",
            "filterTag": ["a", "b"], "filterTags": ["a", "b"],
            "bindingKey": ["x.#"], "bindindKey": ["x.#"], "createTime": 1, "lastModifyTime": 2})
    );
    let bare = SubscriptionAttributes {
        endpoint: Endpoint::Queue(Name::parse("orders").expect("a name")),
        filter_tags: vec![],
        binding_keys: vec![],
        ..attributes.clone()
    };
    let bare = SubscriptionView {
        attributes: &bare,
        ..view
    };
    for field in ["filterTag", "filterTags", "bindingKey", "bindindKey"] {
        assert_eq!(
            value(&subscription_attributes(&HEAD, &bare))[field],
            json!([]),
            "{field}"
        );
    }
    assert_eq!(
        value(&subscription_list(&HEAD, 2, [view, bare]))["subscriptionList"],
        json!([
            {"subscriptionId": "subsc-000000010002", "subscriptionName": "sub",
             "protocol": "http", "endpoint": "http://h/"},
            {"subscriptionId": "subsc-000000010002", "subscriptionName": "sub",
             "protocol": "queue", "endpoint": "orders"},
        ])
    );
}

proptest! {
    #[test]
    fn a_body_reads_back_as_sent(body in "[a-z]{0,150}(\\PC|[\u{0}-\u{1f}\"\\\\\u{7f}\u{2028}]){0,100}") {
        let reply = received(&HEAD, &message(body.as_bytes()));
        let read = value(&reply);
        prop_assert_eq!(read["msgBody"].as_str(), Some(body.as_str()));
    }

    #[test]
    fn any_body_makes_json(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let reply = received(&HEAD, &message(&body));
        let lossy = String::from_utf8_lossy(&body);
        let read = value(&reply);
        prop_assert_eq!(read["msgBody"].as_str(), Some(&*lossy));
    }
}
