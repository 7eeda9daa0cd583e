//! What actions say and refuse, by the words of requests.

use posthouse_model::{
    ContentFormat, DeadLetterRule, Endpoint, Incarnation, QueueAttributes, RetryStrategy, bounds,
};

use crate::cmq::form::{Form, encode_onto};
use crate::cmq::{DeadLetterChange, QueueJson};

use super::*;

fn ask_with(text: &str, config: &Config) -> Result<Action, CmqError> {
    let form = Form::parse(text.as_bytes()).expect("few parameters");
    let parameters = Parameters::of(&form);
    Action::parse(parameters.required_text("Action")?, &parameters, config)
}

fn ask(text: &str) -> Result<Action, CmqError> {
    ask_with(text, &Config::default())
}

fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

fn form(pairs: &[(&str, &[u8])]) -> String {
    let mut text = Vec::new();
    for (name, value) in pairs {
        encode_onto(&mut text, name.as_bytes(), value);
    }
    String::from_utf8(text).expect("escaped")
}

#[track_caller]
fn refuses(text: &str, code: u32, module: u32) {
    let refused = ask(text).expect_err(text);
    assert_eq!(
        (refused.code, refused.module),
        (code, module),
        "{text}: {refused}"
    );
}

#[test]
fn actions_are_known_in_any_case() {
    let cleared = ask("Action=ClearSUbscriptionFIlterTags&topicName=t&subscriptionName=s");
    let wanted = Action::ClearSubscriptionFilterTags {
        topic: name("t"),
        subscription: name("s"),
    };
    assert_eq!(cleared, Ok(wanted));
}

#[test]
fn unknown_actions_are_named_shortly() {
    let refused = ask("Action=CreateSubscription").expect_err("not an action");
    assert_eq!(
        refused.message(),
        "(10430)action name CreateSubscription is not existed"
    );
    let long = ask(&format!("Action={}", "x".repeat(10_000))).expect_err("not an action");
    assert!(long.text.len() < 100);
}

#[test]
fn the_tcp_protocol_is_not_spoken() {
    for action in ["QueryQueueRoute&queueName=q", "QueryTopicRoute&topicName=t"] {
        let refused = ask(&format!("Action={action}")).expect_err(action);
        assert_eq!((refused.code, refused.module), (4000, 10430));
        assert!(refused.text.contains("TCP"), "{refused}");
    }
}

#[test]
fn names_are_checked_with_the_code_of_their_kind() {
    for bad in ["", "1a", "a+b", "%C3%BC", &"a".repeat(65)] {
        refuses(&format!("Action=DeleteQueue&queueName={bad}"), 4000, 10020);
        refuses(&format!("Action=DeleteTopic&topicName={bad}"), 4000, 10590);
        refuses(
            &format!("Action=Unsubscribe&topicName=t&subscriptionName={bad}"),
            4000,
            10580,
        );
    }
    refuses("Action=DeleteQueue", 4000, 10390);
    refuses("Action=DeleteTopic", 4000, 10390);
    refuses("Action=Unsubscribe&topicName=t", 4000, 10390);
    refuses("Action=Unsubscribe&subscriptionName=s", 4000, 10390);
}

#[test]
fn a_document_example_with_a_capital_name_works() {
    let topic = name("t");
    assert_eq!(
        ask("Action=DeleteTopic&TopicName=t"),
        Ok(Action::DeleteTopic { topic })
    );
}

#[test]
fn queue_attributes_are_taken_as_given() {
    let created = ask(
        "Action=CreateQueue&queueName=q&maxMsgHeapNum=1000000&pollingWaitSeconds=3&visibilityTimeout=4\
         &maxMsgSize=2048&msgRetentionSeconds=60&rewindSeconds=60\
         &deadLetterPolicy=%7B%22deadLetterQueue%22%3A%22d%22%2C%22policy%22%3A0%2C%22maxReceiveCount%22%3A5%7D",
    );
    let change = QueueChange {
        messages_max: Some(1_000_000),
        polling_wait_seconds: Some(3),
        visibility_seconds: Some(4),
        body_bytes_max: Some(2_048),
        retention_seconds: Some(60),
        rewind_seconds: Some(60),
        dead_letter: Some(DeadLetterChange {
            queue: name("d"),
            rule: DeadLetterRule::ReceiveCount { max: 5 },
        }),
    };
    assert_eq!(change.dead_letter_queue(), Some(&name("d")));
    let attributes = change.apply_to(QueueAttributes::default(), Some(Incarnation(9)));
    let attributes = attributes.expect("within bounds");
    assert_eq!(attributes.rewind, Span::from_seconds(60));
    assert_eq!(attributes.dead_letter.expect("a policy").target, Incarnation(9));
    assert_eq!(
        created,
        Ok(Action::CreateQueue {
            queue: name("q"),
            change
        })
    );

    let unchanged = ask("Action=SetQueueAttributes&queueName=q&maxMsgSize=");
    let change = QueueChange::default();
    assert_eq!(
        change.apply_to(QueueAttributes::default(), None),
        Ok(QueueAttributes::default())
    );
    assert_eq!(
        unchanged,
        Ok(Action::SetQueueAttributes {
            queue: name("q"),
            change
        })
    );
}

#[test]
fn listings_have_defaults_and_bounds() {
    let listing = |search: &str, offset, limit| Listing {
        search: search.into(),
        offset,
        limit,
    };
    assert_eq!(ask("Action=ListQueue"), Ok(Action::ListQueue(listing("", 0, 20))));
    assert_eq!(
        ask("Action=ListQueue&searchWord=a&offset=&limit=9999"),
        Ok(Action::ListQueue(listing("a", 0, 50)))
    );
    assert_eq!(
        ask("Action=ListTopic&limit=0"),
        Ok(Action::ListTopic(listing("", 0, 0)))
    );
    let subscriptions = ask("Action=ListSubscriptionByTopic&topicName=t&searchWord+=x&offset+=3&limit+=500");
    let listing = listing("x", 3, 100);
    assert_eq!(
        subscriptions,
        Ok(Action::ListSubscriptionByTopic {
            topic: name("t"),
            listing
        })
    );
    refuses("Action=ListQueue&limit=-1", 4000, 10350);
    refuses("Action=ListQueue&offset=x", 4000, 10360);
}

#[test]
fn a_page_is_a_part_of_what_matches() {
    let names: Vec<Name> = ["alpha", "Beta", "gamma", "betamax", "AlphaBet"].map(name).into();
    let listing = Listing {
        search: "BET".into(),
        offset: 1,
        limit: 1,
    };
    let (total, page) = listing.page(&names, |name| name);
    assert_eq!((total, page), (3, vec![&names[3]]));
    let beyond = Listing {
        search: String::new(),
        offset: 9,
        limit: 1,
    };
    assert_eq!(beyond.page(&names, |name| name), (5, vec![]));
}

#[test]
fn bodies_are_kept_as_bytes() {
    let body: Vec<u8> = (0..=255).collect();
    let sent = ask(&form(&[
        ("Action", b"SendMessage"),
        ("queueName", b"q"),
        ("msgBody", &body),
    ]));
    let wanted = Action::SendMessage {
        queue: name("q"),
        body: Bytes::from(body),
        delay: Span::ZERO,
    };
    assert_eq!(sent, Ok(wanted));
}

#[test]
fn bodies_must_not_be_empty_nor_above_what_any_queue_takes() {
    refuses("Action=SendMessage&queueName=q&msgBody=", 4000, 10120);
    refuses("Action=SendMessage&queueName=q", 4000, 10390);
    refuses("Action=PublishMessage&topicName=t&msgBody=", 4000, 10120);
    refuses(
        "Action=BatchSendMessage&queueName=q&msgBody.1=a&msgBody.2=",
        4000,
        10120,
    );
    let most = "x".repeat(bounds::BATCH_BYTES_MAX);
    assert!(ask(&format!("Action=SendMessage&queueName=q&msgBody={most}")).is_ok());
    refuses(
        &format!("Action=SendMessage&queueName=q&msgBody={most}y"),
        4400,
        10230,
    );
    refuses(
        &format!("Action=BatchSendMessage&queueName=q&msgBody.1=a&msgBody.2={most}"),
        4470,
        10300,
    );
}

#[test]
fn batches_have_one_to_sixteen_elements() {
    let batch = |action: &str, parameter: &str, count: usize| {
        let elements: Vec<String> = (0..count).map(|n| format!("&{parameter}.{n}=1")).collect();
        format!("Action={action}&queueName=q&topicName=t{}", elements.concat())
    };
    for (action, parameter) in [
        ("BatchSendMessage", "msgBody"),
        ("BatchPublishMessage", "msgBody"),
        ("BatchDeleteMessage", "receiptHandle"),
    ] {
        refuses(&batch(action, parameter, 0), 4000, 10390);
        assert!(ask(&batch(action, parameter, 1)).is_ok());
        assert!(ask(&batch(action, parameter, 16)).is_ok());
        refuses(&batch(action, parameter, 17), 4000, 10370);
        refuses(
            &format!("{}&{parameter}.5=1", batch(action, parameter, 2)),
            4000,
            10380,
        );
    }
}

#[test]
fn delays_are_within_what_is_configured() {
    assert!(ask("Action=SendMessage&queueName=q&msgBody=x&delaySeconds=3600").is_ok());
    refuses(
        "Action=SendMessage&queueName=q&msgBody=x&delaySeconds=3601",
        4000,
        10692,
    );
    refuses(
        "Action=SendMessage&queueName=q&msgBody=x&delaySeconds=-1",
        4000,
        10692,
    );
    refuses(
        "Action=BatchSendMessage&queueName=q&msgBody.1=x&delaySeconds=3601",
        4000,
        10692,
    );
    let config = Config {
        delay_max: Span::from_seconds(6_048_000),
        ..Config::default()
    };
    let sent = ask_with(
        "Action=SendMessage&queueName=q&msgBody=x&delaySeconds=6048000",
        &config,
    );
    let wanted = Action::SendMessage {
        queue: name("q"),
        body: Bytes::from_static(b"x"),
        delay: Span::from_seconds(6_048_000),
    };
    assert_eq!(sent, Ok(wanted));
}

#[test]
fn waits_are_brought_into_range() {
    for (given, seconds) in [
        ("", None),
        ("&pollingWaitSeconds=", None),
        ("&pollingWaitSeconds=0", Some(0)),
        ("&pollingWaitSeconds=30", Some(30)),
        ("&pollingWaitSeconds=30000", Some(30)),
        ("&pollingWaitSeconds=-5", Some(0)),
        ("&UserpollingWaitSeconds=7000", None),
    ] {
        let wait = seconds.map(Span::from_seconds);
        assert_eq!(
            ask(&format!("Action=ReceiveMessage&queueName=q{given}")),
            Ok(Action::ReceiveMessage {
                queue: name("q"),
                wait
            })
        );
        assert_eq!(
            ask(&format!(
                "Action=BatchReceiveMessage&queueName=q&numOfMsg=16{given}"
            )),
            Ok(Action::BatchReceiveMessage {
                queue: name("q"),
                max: 16,
                wait
            })
        );
    }
}

#[test]
fn one_to_sixteen_are_received() {
    refuses("Action=BatchReceiveMessage&queueName=q", 4000, 10390);
    for count in ["0", "17", "-1", "65537"] {
        let text = format!("Action=BatchReceiveMessage&queueName=q&numOfMsg={count}");
        refuses(&text, 4000, 10350);
    }
}

#[test]
fn handles_are_decimal_and_a_batch_keeps_malformed_ones_apart() {
    let handle = ReceiptHandle(u64::MAX);
    assert_eq!(
        ask("Action=DeleteMessage&queueName=q&receiptHandle=18446744073709551615"),
        Ok(Action::DeleteMessage {
            queue: name("q"),
            handle
        })
    );
    for bad in ["abc", "-1", "%2B1", "18446744073709551616", "%00"] {
        refuses(
            &format!("Action=DeleteMessage&queueName=q&receiptHandle={bad}"),
            4000,
            10470,
        );
    }
    refuses("Action=DeleteMessage&queueName=q&receiptHandle=", 4000, 10390);
    let batch = ask("Action=BatchDeleteMessage&queueName=q&receiptHandle.1=5&receiptHandle.2=%ffx");
    let handles = vec![
        GivenHandle::Handle(ReceiptHandle(5)),
        GivenHandle::Malformed("\u{fffd}x".into()),
    ];
    assert_eq!(
        batch,
        Ok(Action::BatchDeleteMessage {
            queue: name("q"),
            handles
        })
    );
}

#[test]
fn rewinding_needs_a_time() {
    let to = Time::from_seconds(1_700_000_000);
    assert_eq!(
        ask("Action=RewindQueue&queueName=q&startConsumeTime=1700000000"),
        Ok(Action::RewindQueue { queue: name("q"), to })
    );
    refuses("Action=RewindQueue&queueName=q", 4000, 10390);
    // What the C++ SDK sends.
    refuses("Action=RewindQueue&queueName=q&startConsumeTime=%07", 4000, 10360);
    refuses("Action=RewindQueue&queueName=q&startConsumeTime=-1", 4000, 10680);
}

#[test]
fn dead_letter_sources_are_listed_by_the_dead_letter_queue() {
    let listing = Listing {
        search: String::new(),
        offset: 0,
        limit: 20,
    };
    assert_eq!(
        ask("Action=ListDeadLetterSourceQueues&deadLetterQueueName=d"),
        Ok(Action::ListDeadLetterSourceQueues {
            queue: name("d"),
            listing
        })
    );
    refuses("Action=ListDeadLetterSourceQueues", 4000, 10390);
    assert_eq!(
        ask("Action=UnbindDeadLetterQueue&queueName=q"),
        Ok(Action::UnbindDeadLetterQueue { queue: name("q") })
    );
}

#[test]
fn topics_choose_by_tags_unless_said() {
    for (given, filter_type) in [
        ("", FilterType::Tags),
        ("&filterType=1", FilterType::Tags),
        ("&filterType=2", FilterType::BindingKeys),
    ] {
        let attributes = TopicAttributes {
            filter_type,
            ..TopicAttributes::default()
        };
        let created = ask(&format!("Action=CreateTopic&topicName=t{given}"));
        assert_eq!(
            created,
            Ok(Action::CreateTopic {
                topic: name("t"),
                attributes
            })
        );
    }
    refuses("Action=CreateTopic&topicName=t&filterType=3", 4000, 10350);
    refuses("Action=CreateTopic&topicName=t&maxMsgSize=1023", 4000, 10350);
    refuses("Action=CreateTopic&topicName=t&maxMsgSize=1048577", 4000, 10350);
}

#[test]
fn what_is_published_has_tags_and_a_routing_key_or_none() {
    let tag = |text: &str| Tag::parse(text).expect("a tag");
    let plain = Action::PublishMessage {
        topic: name("t"),
        body: Bytes::from_static(b"x"),
        tags: vec![],
        routing_key: None,
    };
    assert_eq!(
        ask("Action=PublishMessage&topicName=t&msgBody=x&routingKey="),
        Ok(plain)
    );
    let batch = Action::BatchPublishMessage {
        topic: name("t"),
        bodies: vec![Bytes::from_static(b"x"), Bytes::from_static(b"y")],
        tags: vec![tag("b"), tag("a")],
        routing_key: Some(Key::parse("k.*.#").expect("a key")),
    };
    let text = "Action=BatchPublishMessage&topicName=t&msgBody.0=x&msgBody.1=y&msgTag.1=a&msgTag.0=b&routingKey=k.*.%23";
    assert_eq!(ask(text), Ok(batch));
}

#[test]
fn tags_and_routing_keys_have_bounds() {
    let publish = |marks: &str| format!("Action=PublishMessage&topicName=t&msgBody=x{marks}");
    let tags = |count: usize| {
        (1..=count)
            .map(|n| format!("&msgTag.{n}=t{n}"))
            .collect::<String>()
    };
    assert!(ask(&publish(&tags(5))).is_ok());
    refuses(&publish(&tags(6)), 4000, 10720);
    assert!(ask(&publish(&format!("&msgTag.1={}", "%C3%BC".repeat(16)))).is_ok());
    refuses(&publish(&format!("&msgTag.1={}", "a".repeat(17))), 4000, 10350);
    refuses(&publish("&msgTag.1=%ff"), 4000, 10360);
    assert!(ask(&publish(&format!("&routingKey={}", vec!["a"; 16].join(".")))).is_ok());
    refuses(
        &publish(&format!("&routingKey={}", vec!["a"; 17].join("."))),
        4000,
        10691,
    );
    assert!(ask(&publish(&format!("&routingKey={}", "a".repeat(64)))).is_ok());
    refuses(&publish(&format!("&routingKey={}", "a".repeat(65))), 4000, 10350);
}

fn subscribe(rest: &str) -> String {
    format!("Action=Subscribe&topicName=t&subscriptionName=s{rest}")
}

fn subscribed(rest: &str) -> SubscriptionAttributes {
    match ask(&subscribe(rest)) {
        Ok(Action::Subscribe { attributes, .. }) => attributes,
        other => panic!("{rest}: {other:?}"),
    }
}

#[test]
fn a_subscription_has_the_documented_defaults() {
    assert_eq!(
        subscribed("&protocol=HTTP&endpoint=http://h/p?q%3D1"),
        SubscriptionAttributes {
            endpoint: Endpoint::Http("http://h/p?q=1".into()),
            retry: RetryStrategy::ExponentialDecay,
            format: ContentFormat::Json,
            filter_tags: vec![],
            binding_keys: vec![],
        }
    );
    let queue = subscribed("&protocol=queue&endpoint=orders&notifyStrategy=BACKOFF_RETRY");
    assert_eq!(queue.endpoint, Endpoint::Queue(name("orders")));
    assert_eq!(queue.retry, RetryStrategy::Backoff);
    assert_eq!(queue.format, ContentFormat::Simplified);
}

#[test]
fn the_sdks_unasked_json_is_simplified_for_queues_unless_refused() {
    let rest = "&protocol=queue&endpoint=orders&notifyContentFormat=JSON";
    assert_eq!(subscribed(rest).format, ContentFormat::Simplified);
    let strict = Config {
        queue_json: QueueJson::Refused,
        ..Config::default()
    };
    let refused = ask_with(&subscribe(rest), &strict).expect_err("strict");
    assert_eq!(refused, CmqError::queue_format_not_simplified());
    let rest = "&protocol=http&endpoint=http://h&notifyContentFormat=SIMPLIFIED";
    assert_eq!(subscribed(rest).format, ContentFormat::Simplified);
}

#[test]
fn filters_come_as_arrays_under_either_spelling() {
    let rest = "&protocol=queue&endpoint=q&filterTag.0=a&filterTag.1=b&bindindKey.1=x.%23";
    let attributes = subscribed(rest);
    assert_eq!(attributes.filter_tags.len(), 2);
    assert_eq!(attributes.binding_keys, [Key::parse("x.#").expect("a key")]);
    let rest = "&protocol=queue&endpoint=q&bindingKey.1=y";
    assert_eq!(subscribed(rest).binding_keys, [Key::parse("y").expect("a key")]);
}

#[test]
fn what_is_wrong_with_a_subscription_is_told() {
    let many = |parameter: &str| {
        let elements: String = (1..=6).map(|n| format!("&{parameter}.{n}=x{n}")).collect();
        subscribe(&format!("&protocol=queue&endpoint=q{elements}"))
    };
    let http = |endpoint: &str| subscribe(&format!("&protocol=http&endpoint={endpoint}"));
    let queue = |rest: &str| subscribe(&format!("&protocol=queue&endpoint=q{rest}"));
    refuses(&subscribe("&endpoint=q"), 4000, 10390);
    refuses(&subscribe("&protocol=queue"), 4000, 10390);
    refuses(&subscribe("&protocol=sms&endpoint=q"), 4000, 10510);
    refuses(&subscribe("&protocol=queue&endpoint=1q"), 4000, 10500);
    for bad in [
        "ftp://h",
        "h",
        "http:/h",
        "http://",
        "http:///p",
        "https://?q",
        "http://%23",
    ] {
        refuses(&http(bad), 4000, 10500);
    }
    assert!(ask(&http("https://h")).is_ok());
    refuses(&http("http://h/a+b"), 4510, 10570);
    refuses(&http("http://h/%0d%0aX:+y"), 4510, 10570);
    let most = format!("http://h/{}", "p".repeat(500 - 9));
    assert!(ask(&http(&most)).is_ok());
    refuses(&http(&format!("{most}p")), 4000, 10500);
    refuses(&queue("&notifyStrategy=NEVER"), 4000, 10520);
    refuses(&queue("&notifyContentFormat=XML"), 4000, 10530);
    refuses(&many("filterTag"), 4000, 10490);
    refuses(&many("bindingKey"), 4000, 10680);
    refuses(&queue(&format!("&filterTag.1={}", "a".repeat(17))), 4000, 10350);
    refuses(&queue(&format!("&bindingKey.1={}", "a".repeat(65))), 4000, 10350);
    refuses(
        &queue(&format!("&bindingKey.1={}", vec!["a"; 17].join("."))),
        4000,
        10691,
    );
}

#[test]
fn a_changed_subscription_keeps_what_is_not_named() {
    let current = subscribed("&protocol=queue&endpoint=q&filterTag.1=a&bindingKey.1=k");
    let config = Config::default();
    let change = |rest: &str| {
        let text = format!("Action=SetSubscriptionAttributes&topicName=t&subscriptionName+=s{rest}");
        match ask(&text) {
            Ok(Action::SetSubscriptionAttributes { change, .. }) => {
                change.apply_to(current.clone(), &config).expect("in bounds")
            }
            other => panic!("{rest}: {other:?}"),
        }
    };
    assert_eq!(change(""), current);
    // PHP sends these along; they cannot be changed.
    assert_eq!(change("&protocol=http&endpoint=http://h"), current);
    assert_eq!(change("&notifyContentFormat=JSON"), current);
    let changed = change("&notifyStrategy=BACKOFF_RETRY&filterTag.1=b&filterTag.2=c");
    assert_eq!(changed.retry, RetryStrategy::Backoff);
    assert_eq!(changed.filter_tags.len(), 2);
    assert_eq!(changed.binding_keys, current.binding_keys);
}

#[test]
fn a_topic_that_chooses_by_keys_needs_them() {
    let by = |filter_type| TopicAttributes {
        filter_type,
        ..TopicAttributes::default()
    };
    let key = Key::parse("a").expect("a key");
    let (tags, keys) = (by(FilterType::Tags), by(FilterType::BindingKeys));
    assert_eq!(check_routing_key(&tags, None), Ok(()));
    assert_eq!(check_routing_key(&keys, Some(&key)), Ok(()));
    assert_eq!(
        check_routing_key(&keys, None),
        Err(CmqError::lacked_routing_key())
    );
    let without = subscribed("&protocol=queue&endpoint=q");
    let with = subscribed("&protocol=queue&endpoint=q&bindingKey.1=a");
    assert_eq!(check_binding_keys(&tags, &without), Ok(()));
    assert_eq!(check_binding_keys(&keys, &with), Ok(()));
    assert_eq!(
        check_binding_keys(&keys, &without),
        Err(CmqError::lacked_binding_key())
    );
}

#[test]
fn an_action_tells_what_it_is_on() {
    let queue = ask("Action=DeleteQueue&queueName=q").expect("an action");
    assert_eq!(queue.subject(), Some((Kind::Queue, &name("q"))));
    let topic = ask("Action=Unsubscribe&topicName=t&subscriptionName=s").expect("an action");
    assert_eq!(topic.subject(), Some((Kind::Topic, &name("t"))));
    assert_eq!(ask("Action=ListTopic").expect("an action").subject(), None);
}
