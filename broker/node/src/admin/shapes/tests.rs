//! Shapes survive their JSON, and show no secret.

use posthouse_model::{
    DeadLetterPolicy, DeadLetterRule, Incarnation, Name, QueueAttributes, Quotas, Span, TopicAttributes,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::admin::{AdminCode, AdminError};

fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

/// Asserts that JSON becomes a shape and the same JSON again.
fn trip<T: Serialize + DeserializeOwned>(json: Value) {
    let shape: T = serde_json::from_value(json.clone()).unwrap_or_else(|error| panic!("{json}: {error}"));
    assert_eq!(serde_json::to_value(&shape).expect("JSON"), json);
}

#[test]
fn kept_json_reads_and_writes_as_it_is() {
    trip::<QueueCreate>(json!({
        "name": "orders",
        "settings": {
            "visibility_seconds": 60,
            "dead_letter": { "queue": "dead", "after": { "receives": 5 } },
        },
    }));
    trip::<QueueSettings>(json!({ "remove_dead_letter": true }));
    trip::<TopicCreate>(json!({ "name": "news", "filter_type": "binding_keys", "settings": {} }));
    trip::<SubscriptionCreate>(json!({
        "name": "mail",
        "endpoint": { "url": "https://example.com/in" },
        "settings": { "retry": "exponential_decay", "format": "json", "filter_tags": ["a"] },
    }));
    trip::<SendRequest>(json!({
        "messages": [
            { "body": "text", "attributes": { "colour": { "text": "red" }, "n": { "number": "7" } } },
            { "body_base64": "/wA=" },
        ],
        "delay_seconds": 5,
        "token": "once",
    }));
    trip::<PublishRequest>(json!({ "messages": [{ "body": "x" }], "tags": ["a"], "routing_key": "a.b" }));
    trip::<SentMessages>(json!({ "message_ids": ["18446744073709551615"] }));
    trip::<DeleteRequest>(json!({ "receipt_handles": ["1"] }));
    trip::<AccessKeyCreate>(json!({ "id": "AKIDx", "secret": "s", "root": false }));
    trip::<MasterKeyChange>(json!({ "to": "deletion", "after_seconds": 3600 }));
    trip::<MasterKeyChange>(json!({ "to": "enabled" }));
    trip::<QuotaSettings>(json!({
        "http_requests_per_second": 5,
        "http_hosts": ["*.example.com:443", "192.0.2.7"],
    }));
    trip::<QuotaSettings>(json!({ "any_http_host": true }));
    trip::<SigningKeyCreate>(json!({ "name": "hooks", "algorithm": "ed25519" }));
    trip::<SigningKeyRotate>(json!({ "algorithm": "hmac-sha256" }));
    trip::<BindRequest>(json!({
        "place": { "at": "subscription", "topic": "news", "subscription": "mail" },
        "plugin": "json-filter",
        "version": 7,
        "configuration": "{}",
        "on_failure": "park",
    }));
    trip::<QuarantineRequest>(json!({ "place": { "at": "platform" }, "world": "seal", "reason": "slow" }));
    trip::<SealRequest>(json!({ "master_key": null }));
    trip::<AdminError>(json!({ "code": "may_be_done", "message": "the answer was lost" }));
}

#[test]
fn requests_refuse_fields_that_they_do_not_know() {
    fn refuses<T: DeserializeOwned>(json: Value) {
        assert!(serde_json::from_value::<T>(json.clone()).is_err(), "{json}");
    }
    refuses::<QueueSettings>(json!({ "visibility": 60 }));
    refuses::<QueueCreate>(json!({ "name": "a", "visibility_seconds": 60 }));
    refuses::<SendRequest>(json!({ "messages": [], "delay": 5 }));
    refuses::<PlaceView>(json!({ "at": "queue", "queue": "a", "topic": "b" }));
    refuses::<MasterKeyChange>(json!({ "to": "deletion", "after_seconds": 60, "now": true }));
    refuses::<QuotaSettings>(json!({ "http_hosts": ["https://example.com/in"] }));
    refuses::<SigningKeyRotate>(json!({ "algorithm": "md5" }));
    refuses::<SigningKeyCreate>(json!({ "name": "hooks", "secret": "whsec_AAAA" }));
    refuses::<ReceiveRequest>(json!({ "max": -1 }));
}

#[test]
fn decimals_are_text_and_nothing_else() {
    assert_eq!(
        serde_json::from_str::<Decimal>("\"42\"").expect("a decimal"),
        Decimal(42)
    );
    for json in [
        "42",
        "\"\"",
        "\"-1\"",
        "\"1e3\"",
        "\"18446744073709551616\"",
        "null",
    ] {
        assert!(serde_json::from_str::<Decimal>(json).is_err(), "{json}");
    }
}

#[test]
fn a_body_is_text_where_it_can_be_and_given_once() {
    for body in [b"text".as_slice(), b"", &[0xff, 0x00]] {
        let content = MessageContent::from_bytes(body);
        assert_eq!(content.bytes().expect("a body"), body);
    }
    let both = MessageContent {
        body: Some("a".into()),
        body_base64: Some("YQ==".into()),
        ..Default::default()
    };
    let bad = MessageContent {
        body_base64: Some("!".into()),
        ..Default::default()
    };
    for content in [both, bad, MessageContent::default()] {
        assert_eq!(content.bytes().expect_err("no body").code, AdminCode::Malformed);
    }
}

#[test]
fn attributes_are_checked() {
    let with = |value| MessageContent {
        attributes: [("a".to_owned(), value)].into(),
        ..MessageContent::from_bytes(b"x")
    };
    assert!(
        with(AttributeValue::Number("-1.5e3".into()))
            .model_attributes()
            .is_ok()
    );
    for bad in ["", "one", "inf", "NaN", "+1", "1 "] {
        assert!(
            with(AttributeValue::Number(bad.into()))
                .model_attributes()
                .is_err(),
            "{bad}"
        );
    }
    assert!(
        with(AttributeValue::BinaryBase64("!".into()))
            .model_attributes()
            .is_err()
    );
}

#[test]
fn settings_change_only_what_they_name() {
    let before = QueueAttributes {
        dead_letter: Some(Box::new(DeadLetterPolicy {
            name: name("dead"),
            target: Incarnation(9),
            rule: DeadLetterRule::ReceiveCount { max: 3 },
        })),
        ..QueueAttributes::default()
    };
    let nothing = QueueSettings::default().over(before.clone(), None).expect("good");
    assert_eq!(nothing, before);
    let settings = QueueSettings {
        visibility_seconds: Some(60),
        ..QueueSettings::default()
    };
    let after = settings.over(before.clone(), None).expect("good");
    assert_eq!(
        after,
        QueueAttributes {
            visibility: Span::from_seconds(60),
            ..before.clone()
        }
    );
    let off = QueueSettings {
        remove_dead_letter: true,
        ..QueueSettings::default()
    };
    assert_eq!(off.over(before, None).expect("good").dead_letter, None);
}

#[test]
fn a_dead_letter_queue_needs_to_be_found() {
    let settings = QueueSettings {
        dead_letter: Some(DeadLetter {
            queue: name("dead"),
            after: DeadLetterAfter::Seconds(300),
        }),
        ..QueueSettings::default()
    };
    let missing = settings
        .over(QueueAttributes::default(), None)
        .expect_err("no such queue");
    assert_eq!(missing.code, AdminCode::NotFound);
    let found = settings
        .over(QueueAttributes::default(), Some(Incarnation(9)))
        .expect("good");
    let policy = found.dead_letter.expect("a policy");
    assert_eq!(policy.target, Incarnation(9));
    assert_eq!(DeadLetter::from(&*policy), settings.dead_letter.expect("as set"));
}

#[test]
fn settings_out_of_bounds_are_named() {
    let refused = |settings: QueueSettings| {
        settings
            .over(QueueAttributes::default(), Some(Incarnation(1)))
            .expect_err("refused")
            .message
    };
    let dead = |after| {
        Some(DeadLetter {
            queue: name("dead"),
            after,
        })
    };
    for (settings, field) in [
        (
            QueueSettings {
                visibility_seconds: Some(0),
                ..Default::default()
            },
            "visibility_seconds",
        ),
        (
            QueueSettings {
                body_bytes_max: Some(1_048_577),
                ..Default::default()
            },
            "body_bytes_max",
        ),
        (
            QueueSettings {
                rewind_seconds: Some(345_601),
                ..Default::default()
            },
            "rewind_seconds",
        ),
        (
            QueueSettings {
                dead_letter: dead(DeadLetterAfter::Receives(0)),
                ..Default::default()
            },
            "receives",
        ),
        (
            QueueSettings {
                dead_letter: dead(DeadLetterAfter::Seconds(299)),
                ..Default::default()
            },
            "seconds",
        ),
        (
            QueueSettings {
                dead_letter: dead(DeadLetterAfter::Receives(1)),
                remove_dead_letter: true,
                ..Default::default()
            },
            "remove_dead_letter",
        ),
    ] {
        let message = refused(settings);
        assert!(message.contains(field), "{field}: {message}");
    }
    let topic = TopicSettings {
        retention_seconds: Some(1),
        ..TopicSettings::default()
    };
    assert!(topic.over(TopicAttributes::default()).is_err());
}

#[test]
fn a_subscriptions_endpoint_decides_its_format() {
    let create = |endpoint, format| SubscriptionCreate {
        name: name("mail"),
        endpoint,
        settings: SubscriptionSettings {
            format,
            ..SubscriptionSettings::default()
        },
    };
    let url = || EndpointView::Url("http://example.com/a?b".into());
    let queue = || EndpointView::Queue(name("orders"));
    let format = |create: &SubscriptionCreate| FormatView::from(create.attributes().expect("good").format);
    assert_eq!(format(&create(url(), None)), FormatView::Json);
    assert_eq!(format(&create(queue(), None)), FormatView::Simplified);
    assert!(create(queue(), Some(FormatView::Json)).attributes().is_err());
    let long = format!("http://{}", "a".repeat(500));
    for bad in ["ftp://a", "http://", "example.com", "http://a b", long.as_str()] {
        assert!(
            create(EndpointView::Url(bad.into()), None).attributes().is_err(),
            "{bad}"
        );
    }
}

#[test]
fn quotas_change_only_what_they_name() {
    let settings = QuotaSettings {
        queues: Some(5),
        ..QuotaSettings::default()
    };
    assert_eq!(
        settings.over(Quotas::default()),
        Quotas {
            queues: 5,
            ..Quotas::default()
        }
    );
    assert!(QuotaSettings::default().is_empty() && !settings.is_empty());
}

#[test]
fn secrets_and_bodies_are_not_in_debug_prints() {
    let printed = [
        format!("{:?}", MessageContent::from_bytes(b"hush")),
        format!("{:?}", AttributeValue::Text("hush".into())),
        format!(
            "{:?}",
            AccessKeyCreate {
                secret: Some("hush".into()),
                ..Default::default()
            }
        ),
        format!("{:?}", DataKeyView::new(b"hush", b"wrapped")),
        format!("{:?}", DecryptedKey::new(b"hush")),
    ];
    for text in printed {
        assert!(!text.contains("hush") && !text.contains("aHVzaA"), "{text}");
    }
}
