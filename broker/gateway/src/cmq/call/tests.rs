//! Requests taken apart, those of the real Python SDK among them.

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::cmq::test_hmac::PlainHmac;

use super::*;

/// A request that the Python SDK made.
struct Captured {
    label: &'static str,
    raw: RawCall<'static>,
}

fn captured() -> Vec<Captured> {
    include_str!("../../../kept/python3-sdk.tsv")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            let [label, method, host, path, query, body] = fields[..] else {
                panic!("six fields: {line}");
            };
            let (query, body) = (query.as_bytes(), body.as_bytes());
            Captured {
                label,
                raw: RawCall {
                    method,
                    host: Some(host),
                    path,
                    query,
                    body,
                },
            }
        })
        .collect()
}

fn post(body: &str) -> Result<Call, CmqError> {
    parse(RawCall {
        method: "POST",
        host: None,
        path: API_PATH,
        query: b"",
        body: body.as_bytes(),
    })
}

#[test]
fn what_the_python_sdk_sends_is_verified_and_understood() {
    let config = Config::default();
    let mut actions = BTreeSet::new();
    for Captured { label, raw } in captured() {
        let call = parse(raw).unwrap_or_else(|refused| panic!("{label}: {refused}"));
        let now = call.credentials().expect("credentials").timestamp;
        assert_eq!(
            call.verify(b"secret", &PlainHmac, now, &config),
            Ok(()),
            "{label}"
        );
        assert!(
            call.verify(b"Secret", &PlainHmac, now, &config).is_err(),
            "{label}"
        );
        assert_eq!(call.request_client(), Some("SDK_Python_1.3"));
        let action = call
            .action(&config)
            .unwrap_or_else(|refused| panic!("{label}: {refused}"));
        assert_eq!(action.name(), call.action_name());
        actions.insert(action.name());
    }
    // All but the two that no SDK calls.
    assert_eq!(actions.len(), 25, "{actions:?}");
}

#[test]
fn a_change_of_any_captured_parameter_is_noticed() {
    let config = Config::default();
    for Captured { label, raw } in captured() {
        let call = parse(raw).expect("a request");
        let now = call.credentials().expect("credentials").timestamp;
        let longer = [raw.body, b"&a=b"].concat();
        let query = if raw.query.is_empty() {
            Vec::new()
        } else {
            [raw.query, b"&a=b"].concat()
        };
        let changed = parse(RawCall {
            query: &query,
            body: &longer,
            ..raw
        })
        .expect("a request");
        let checked = changed.verify(b"secret", &PlainHmac, now, &config);
        assert_eq!(checked, Err(CmqError::authentication_failed()), "{label}");
    }
}

#[test]
fn a_get_that_is_sent_again_with_its_parameters_in_the_body_is_the_same_request() {
    let first = captured()
        .into_iter()
        .find(|captured| captured.raw.method == "GET");
    let raw = first.expect("a GET was captured").raw;
    let again = RawCall {
        query: b"",
        body: raw.query,
        ..raw
    };
    let call = parse(again).expect("a request");
    let now = call.credentials().expect("credentials").timestamp;
    assert_eq!(
        call.verify(b"secret", &PlainHmac, now, &Config::default()),
        Ok(())
    );
}

#[test]
fn only_get_and_post_are_served() {
    let put = RawCall {
        method: "PUT",
        host: None,
        path: API_PATH,
        query: b"",
        body: b"Action=ListQueue",
    };
    let refused = parse(put).expect_err("put");
    assert_eq!(
        refused.message(),
        "(10410)unexpected http PUT only GET or POST is supported"
    );
}

#[test]
fn only_the_api_path_is_served() {
    for path in [
        "/v2/index.php",
        "/",
        "",
        "//v2/index.php",
        "/v2/index.php/v2/index.php",
    ] {
        assert!(is_api_path(path), "{path}");
    }
    for path in ["/v2", "/v2/index.php5", "/admin/v1", "/healthz"] {
        assert!(!is_api_path(path), "{path}");
        let raw = RawCall {
            method: "POST",
            host: None,
            path,
            query: b"",
            body: b"Action=ListQueue",
        };
        assert_eq!(parse(raw).expect_err(path).module, 10000);
    }
}

#[test]
fn an_action_must_be_named() {
    assert_eq!(post("a=b").expect_err("none"), CmqError::lacked("Action"));
    assert_eq!(post("Action=").expect_err("empty"), CmqError::lacked("Action"));
}

#[test]
fn a_client_request_id_is_said_back_if_it_is_a_number() {
    let id = |text: &str| {
        post(&format!("Action=x&clientRequestId={text}"))
            .expect("ok")
            .client_request_id()
    };
    assert_eq!(id("12"), Some(12));
    assert_eq!(id("18446744073709551615"), Some(u64::MAX));
    for text in ["", "a", "-1", "%2B1", "18446744073709551616"] {
        assert_eq!(id(text), None, "{text}");
    }
}

#[test]
fn long_hosts_and_paths_are_refused() {
    let host = "h".repeat(HOST_BYTES_MAX + 1);
    let path = format!("{}{API_PATH}", "/".repeat(PATH_BYTES_MAX));
    let raw = RawCall {
        method: "POST",
        host: Some(&host),
        path: "/",
        query: b"",
        body: b"Action=x",
    };
    assert_eq!(parse(raw).expect_err("host").module, 10000);
    let raw = RawCall {
        path: &path,
        host: None,
        ..raw
    };
    assert_eq!(parse(raw).expect_err("path").module, 10000);
}

/// Mostly what a request looks like, so that the parts behind the form are reached.
fn any_form() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        "[a-zA-Z]{1,8}",
        "(msgBody|receiptHandle|msgTag|filterTag|bindingKey)\\.[0-9a]{1,3}",
        "(queueName|topicName|subscriptionName|endpoint|protocol|numOfMsg|delaySeconds|limit)",
        "(deadLetterPolicy|deadLetterQueueName|maxMsgSize|startConsumeTime|Timestamp|Signature)",
    ];
    let value = prop_oneof![
        "[a-z]{0,8}",
        "-?[0-9]{1,20}",
        "\\PC{0,20}",
        "(%[0-9a-f]{2}|%|\\+){0,8}"
    ];
    let action = prop::sample::select(vec![
        "CreateQueue",
        "SetQueueAttributes",
        "RewindQueue",
        "SendMessage",
        "BatchSendMessage",
        "ReceiveMessage",
        "BatchReceiveMessage",
        "DeleteMessage",
        "BatchDeleteMessage",
        "ListDeadLetterSourceQueues",
        "CreateTopic",
        "SetTopicAttributes",
        "PublishMessage",
        "BatchPublishMessage",
        "Subscribe",
        "SetSubscriptionAttributes",
        "ListSubscriptionByTopic",
    ]);
    (action, prop::collection::vec((name, value), 0..12)).prop_map(|(action, pairs)| {
        let mut form = format!("Action={action}&SecretId=a&Nonce=1&queueName=q&topicName=t");
        for (name, value) in pairs {
            form.push_str(&format!("&{name}={value}"));
        }
        form
    })
}

proptest! {
    #[test]
    fn arbitrary_requests_never_panic(
        query in prop::collection::vec(any::<u8>(), 0..100),
        body in prop::collection::vec(any::<u8>(), 0..100),
        path in "\\PC{0,20}(/v2/index\\.php)?",
        host in proptest::option::of("\\PC{0,20}"),
        get in any::<bool>(),
    ) {
        let method = if get { "GET" } else { "POST" };
        let _ = parse(RawCall { method, host: host.as_deref(), path: &path, query: &query, body: &body });
    }

    #[test]
    fn likely_requests_never_panic(form in any_form()) {
        if let Ok(call) = post(&form) {
            let _ = call.action(&Config::default());
            let _ = call.verify(b"secret", &PlainHmac, Time::from_seconds(1), &Config::default());
        }
    }
}
