//! Tests of the streaming door's requests.

use posthouse_stream::signing::Opening;
use posthouse_stream::{CONSUME_PATH, PUBLISH_PATH};

use super::*;
use crate::cmq::test_hmac::PlainHmac;

fn request() -> PublishRequest {
    PublishRequest {
        id: 7,
        target: Some(publish_request::Target::Queue("orders".to_owned())),
        messages: vec![message(b"one"), message(b"two")],
        delay_seconds: 5,
        token: "t".to_owned(),
        ..PublishRequest::default()
    }
}

fn message(body: &'static [u8]) -> OutgoingMessage {
    OutgoingMessage {
        body: Bytes::from_static(body),
    }
}

fn to_topic() -> PublishRequest {
    PublishRequest {
        target: Some(publish_request::Target::Topic("news".to_owned())),
        delay_seconds: 0,
        tags: vec!["red".to_owned()],
        routing_key: "a.b".to_owned(),
        ..request()
    }
}

fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

#[test]
fn a_request_for_a_queue_is_the_action_of_cmqs_api() {
    let publish = publish(request(), &Config::default()).expect("it is well formed");
    let action = Action::BatchSendMessage {
        queue: name("orders"),
        bodies: vec![Bytes::from_static(b"one"), Bytes::from_static(b"two")],
        delay: Span::from_seconds(5),
    };
    assert_eq!(publish.action, action);
    assert_eq!(publish.token, Some(Token("t".to_owned())));
}

#[test]
fn a_request_for_a_topic_is_the_action_of_cmqs_api() {
    let publish = publish(to_topic(), &Config::default()).expect("it is well formed");
    let action = Action::BatchPublishMessage {
        topic: name("news"),
        bodies: vec![Bytes::from_static(b"one"), Bytes::from_static(b"two")],
        tags: vec![Tag::parse("red").expect("a tag")],
        routing_key: Some(Key::parse("a.b").expect("a key")),
    };
    assert_eq!(publish.action, action);
}

#[test]
fn each_thing_that_is_wrong_has_its_code() {
    type Spoil = fn(&mut PublishRequest);
    let cases: [(Spoil, (u32, u32)); 14] = [
        (|r| r.target = None, (4000, 10_390)),
        (
            |r| r.target = Some(publish_request::Target::Queue("9".to_owned())),
            (4000, 10_020),
        ),
        (
            |r| r.target = Some(publish_request::Target::Topic("9".to_owned())),
            (4000, 10_590),
        ),
        (|r| r.messages.clear(), (4000, 10_390)),
        (
            |r| r.messages = vec![message(b"x"); stream::MESSAGES_MAX + 1],
            (4000, 10_370),
        ),
        (|r| r.messages[1] = message(b""), (4000, 10_120)),
        (|r| r.messages[1].body = vec![0; 1_048_577].into(), (4400, 10_230)),
        (|r| r.messages[1].body = vec![0; 1_048_576].into(), (4470, 10_300)),
        (|r| r.token = "x".repeat(129), (4000, 10_350)),
        (|r| r.tags = vec!["x".repeat(17)], (4000, 10_350)),
        (|r| r.tags = vec!["x".to_owned(); 6], (4000, 10_720)),
        (|r| r.routing_key = "x".repeat(65), (4000, 10_350)),
        (|r| r.routing_key = ["x"; 17].join("."), (4000, 10_691)),
        (|r| r.delay_seconds = 1, (4000, 10_110)),
    ];
    for (number, (spoil, codes)) in cases.into_iter().enumerate() {
        let mut request = to_topic();
        spoil(&mut request);
        if matches!(request.target, Some(publish_request::Target::Queue(_))) {
            request.tags.clear();
            request.routing_key.clear();
        }
        let error = publish(request, &Config::default()).expect_err("it is wrong");
        assert_eq!((error.code, error.module), codes, "case {number}");
    }
}

#[test]
fn a_queue_takes_no_tags_and_no_delay_above_the_longest() {
    let tagged = PublishRequest {
        tags: vec!["red".to_owned()],
        ..request()
    };
    let late = PublishRequest {
        delay_seconds: 3_601,
        ..request()
    };
    for (request, codes) in [(tagged, (4000, 10_110)), (late, (4000, 10_692))] {
        let error = publish(request, &Config::default()).expect_err("it is wrong");
        assert_eq!((error.code, error.module), codes);
    }
}

#[test]
fn a_consumer_may_choose_how_long_messages_stay_hidden() {
    let asked = |visibility_seconds| {
        open(&Open {
            queue: "orders".to_owned(),
            visibility_seconds,
            credit: 1,
        })
    };
    assert_eq!(asked(0).map(|opened| opened.visibility), Ok(None));
    assert_eq!(
        asked(43_200).map(|opened| opened.visibility),
        Ok(Some(Span::from_seconds(43_200)))
    );
    assert_eq!(asked(43_201), Err(CmqError::out_of_range("visibilityTimeout")));
}

#[test]
fn as_many_handles_as_one_command_takes_are_taken() {
    assert!(handles(vec![1; stream::HANDLES_MAX]).is_ok());
    assert_eq!(
        handles(vec![1; stream::HANDLES_MAX + 1]),
        Err(CmqError::batch_size("handles"))
    );
    assert_eq!(handles(Vec::new()), Err(CmqError::lacked("handles")));
}

#[test]
fn nothing_of_what_is_signed_can_be_changed() {
    let opening = Opening {
        id: "AKIDdev".to_owned(),
        timestamp_seconds: 1_700_000_000,
        nonce: "n0nce".to_owned(),
    };
    let sign = |secret: &[u8]| Authorization {
        signature: PlainHmac.sha256(secret, &[opening.text(PUBLISH_PATH).as_bytes()]),
        opening: opening.clone(),
    };
    let check = |authorization: &Authorization, path: &str, seconds: u64| {
        let config = Config::default();
        verify(
            authorization,
            path,
            b"dev",
            &PlainHmac,
            Time::from_seconds(seconds),
            &config,
        )
        .map_err(|error| (error.code, error.module))
    };
    let good = sign(b"dev");
    let wrong = Err((4100, 10_030));
    assert_eq!(check(&good, PUBLISH_PATH, 1_700_000_900), Ok(()));
    assert_eq!(check(&good, PUBLISH_PATH, 1_700_000_901), wrong);
    assert_eq!(check(&good, CONSUME_PATH, 1_700_000_000), wrong);
    assert_eq!(check(&sign(b"deV"), PUBLISH_PATH, 1_700_000_000), wrong);
    let mut other = good.clone();
    other.opening.nonce = "0ther".to_owned();
    assert_eq!(check(&other, PUBLISH_PATH, 1_700_000_000), wrong);
    let mut later = good;
    later.opening.timestamp_seconds += 1;
    assert_eq!(check(&later, PUBLISH_PATH, 1_700_000_000), wrong);
}
