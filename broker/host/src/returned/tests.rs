//! What guests return, however odd, becomes an answer or a fault.

use posthouse_model::{FilterType, Incarnation};
use proptest::prelude::*;

use super::*;
use crate::call::RouteSubscription;

fn table(subscriptions: u64) -> RouteTable {
    let subscriptions = (0..subscriptions).map(|number| RouteSubscription {
        id: SubscriptionId(100 + number),
        name: format!("s{number}"),
        filter_tags: Vec::new(),
        binding_keys: Vec::new(),
    });
    RouteTable {
        key: (Incarnation(1), 1),
        filter_type: FilterType::Tags,
        subscriptions: subscriptions.collect(),
    }
}

fn request(change: impl FnOnce(&mut delivering::HttpRequest)) -> Result<Step, GuestFault> {
    let mut request = delivering::HttpRequest {
        method: "POST".to_owned(),
        url: "http://example.com/in".to_owned(),
        headers: vec![("X-Id".to_owned(), "7".to_owned())],
        body: delivering::Payload::Message,
        timeout_ms: 5_000,
    };
    change(&mut request);
    step(delivering::Step {
        action: delivering::Action::Http(request),
        state: Vec::new(),
    })
}

fn replaced(attributes: Vec<(&str, types::Attribute)>) -> Result<Filtered, GuestFault> {
    let attributes = attributes
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    filtered(filtering::Verdict::Replace(filtering::Replacement {
        body: vec![1],
        attributes,
    }))
}

#[test]
fn positions_become_subscriptions_in_order() {
    let routed = routed(&table(3), 2, vec![vec![2, 0], vec![]]);
    assert_eq!(
        routed,
        Ok(vec![vec![SubscriptionId(100), SubscriptionId(102)], vec![]])
    );
}

#[test]
fn positions_that_are_none_or_repeated_are_nonsense() {
    for answer in [
        vec![vec![3]],
        vec![vec![1, 0, 1]],
        vec![],
        vec![vec![], vec![]],
        vec![vec![u32::MAX]],
    ] {
        let routed = routed(&table(3), 1, answer.clone());
        assert!(matches!(routed, Err(GuestFault::Nonsense(_))), "{answer:?}");
    }
}

#[test]
fn a_request_within_its_bounds_is_taken_with_its_header_names_folded() {
    let step = request(|_| {}).expect("it is within its bounds");
    let Action::Http(request) = step.action else {
        panic!("{step:?}")
    };
    assert_eq!(request.headers, [("x-id".to_owned(), "7".to_owned())]);
    assert_eq!(request.timeout, Span::from_seconds(5));
}

#[test]
fn a_request_waits_a_minute_at_most() {
    let step = request(|request| request.timeout_ms = u32::MAX).expect("the time-out is cut");
    assert!(matches!(step.action, Action::Http(request) if request.timeout == Span::from_seconds(60)));
}

#[test]
fn a_request_that_breaks_its_frame_is_nonsense() {
    let broken: [fn(&mut delivering::HttpRequest); 11] = [
        |request| request.method = "CONNECT".to_owned(),
        |request| request.method = "POST / HTTP/1.1\r\n".to_owned(),
        |request| request.url = "file:///etc/passwd".to_owned(),
        |request| request.url = "http://".to_owned(),
        |request| request.url = "http://a/\r\nX: y".to_owned(),
        |request| request.url = format!("http://{}", "a".repeat(URL_BYTES_MAX)),
        |request| request.headers = vec![("Host".to_owned(), "b".to_owned())],
        |request| request.headers = vec![("Proxy-Authorization".to_owned(), "b".to_owned())],
        |request| request.headers = vec![("a b".to_owned(), "c".to_owned())],
        |request| request.headers = vec![("a".to_owned(), "b\r\nc: d".to_owned())],
        |request| request.headers = vec![("a".to_owned(), "b".repeat(HEADERS_BYTES_MAX))],
    ];
    for (number, change) in broken.into_iter().enumerate() {
        assert!(
            matches!(request(change), Err(GuestFault::Nonsense(_))),
            "{number}"
        );
    }
}

#[test]
fn a_state_over_its_bound_is_nonsense() {
    let with_state = |bytes| {
        let action = delivering::Action::Done(delivering::Outcome::Acknowledged);
        step(delivering::Step {
            action,
            state: vec![0; bytes],
        })
    };
    assert!(with_state(STATE_BYTES_MAX).is_ok());
    assert!(with_state(STATE_BYTES_MAX + 1).is_err());
}

#[test]
fn a_retry_is_put_off_no_longer_than_anything_is_kept() {
    let after = |millis| done(delivering::Outcome::RetryAfter(millis));
    assert_eq!(after(1), Ok(Outcome::RetryAfter(Span::from_millis(1))));
    assert!(after(RETRY_AFTER_MAX.millis() + 1).is_err());
}

#[test]
fn a_number_is_decimal() {
    let number = |text: &str| replaced(vec![("n", types::Attribute::Number(text.to_owned()))]).is_ok();
    for text in ["0", "-1.5", "+2", "1e9", ".5"] {
        assert!(number(text), "{text}");
    }
    for text in [
        "",
        "x",
        "NaN",
        "inf",
        "1 ",
        "--1",
        "1e",
        &"1".repeat(NUMBER_BYTES_MAX + 1),
    ] {
        assert!(!number(text), "{text}");
    }
}

#[test]
fn attributes_have_bounds_and_are_named_once() {
    let text = |bytes: usize| types::Attribute::Text("a".repeat(bytes));
    assert!(replaced(vec![("a", text(1)), ("b", text(1))]).is_ok());
    assert!(replaced(vec![("a", text(1)), ("a", text(1))]).is_err());
    assert!(replaced(vec![("", text(1))]).is_err());
    assert!(replaced(vec![("a", text(ATTRIBUTES_BYTES_MAX))]).is_err());
}

#[test]
fn what_is_sealed_and_opened_has_bounds() {
    let header = |bytes| vec![0; bytes];
    assert!(sealed(b"", b"", header(SEAL_HEADER_BYTES_MAX), Bytes::new()).is_ok());
    assert!(sealed(b"", b"", header(SEAL_HEADER_BYTES_MAX + 1), Bytes::new()).is_err());
    let grown = Bytes::from(vec![0; SEAL_GROWTH_BYTES_MAX + 1]);
    assert!(sealed(b"", b"", Vec::new(), grown.clone()).is_err());
    assert!(sealed(b"a", b"", Vec::new(), grown).is_ok());
    assert!(opened(3, Bytes::from_static(b"abc")).is_ok());
    assert!(opened(2, Bytes::from_static(b"abc")).is_err());
}

#[test]
fn a_header_repeats_nothing_of_the_body_but_what_the_wrapped_key_says() {
    let plain = b"sealed under the key customers-of-the-north";
    let wrapped = b"\x01key customers-of-the-north\x02\x03";
    let told = |header: &[&[u8]]| sealed(plain, wrapped, header.concat(), Bytes::new()).is_ok();
    assert!(told(&[wrapped, b"nonce"]));
    assert!(told(&[b"nonce", wrapped]));
    assert!(!told(&[wrapped, b"customers-of-the-north"]));
    assert!(!told(&[b"sealed under the", wrapped]));
    assert!(!told(&[plain]));
}

proptest! {
    #[test]
    fn whatever_a_router_answers_is_a_set_of_the_tables_subscriptions_or_nonsense(
        subscriptions in 0_u64..6,
        asked in 0_usize..4,
        answer in prop::collection::vec(prop::collection::vec(0_u32..8, 0..6), 0..4),
    ) {
        let table = table(subscriptions);
        if let Ok(routed) = routed(&table, asked, answer) {
            prop_assert_eq!(routed.len(), asked);
            for ids in routed {
                prop_assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
                prop_assert!(ids.iter().all(|id| table.subscriptions.iter().any(|known| known.id == *id)));
            }
        }
    }

    #[test]
    fn whatever_a_deliver_plugin_answers_frames_no_request(
        method in ".{0,8}", url in "(https?://)?.{0,20}", name in ".{0,12}", value in ".{0,12}",
    ) {
        let step = request(|request| {
            request.method = method;
            request.url = url;
            request.headers = vec![(name, value)];
        });
        if let Ok(Step { action: Action::Http(request), .. }) = step {
            let texts = [&request.method, &request.url, &request.headers[0].0, &request.headers[0].1];
            prop_assert!(texts.iter().all(|text| text.is_ascii() && !text.contains(['\r', '\n', '\0'])));
        }
    }
}
