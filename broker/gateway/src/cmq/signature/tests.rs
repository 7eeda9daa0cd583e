//! Every text that a client may have signed, and what none of them signs.

use posthouse_model::Span;
use proptest::prelude::*;

use crate::cmq::test_hmac::PlainHmac;
use crate::cmq::{CmqError, Config, Digest, Hmac, RawCall, Signer, parse};

use super::*;

const SECRET: &[u8] = b"secret";
const NOW: u64 = 1_534_154_812;

#[test]
fn the_published_vectors_hold() {
    let key = b"pPgfLipfEXZ7VcRzhAMIyPaU7UbQyFFx";
    let text = |method: &str| {
        format!(
            "POSTcmq-queue-gz.api.tencentyun.com/v2/index.php?Action=SendMessage&\
             Nonce=2889712707386595659&RequestClient=SDK_Python_1.3&\
             SecretId=AKIDPcYDclDJCn8D0Xypa4f3pKYUCVYLn3zT&SignatureMethod={method}&\
             Timestamp=1534154812&clientRequestId=1231231231&delaySeconds=0&msgBody=msg&\
             queueName=test1"
        )
    };
    let sha1 = PlainHmac.sha1(key, &[text("HmacSHA1").as_bytes()]);
    assert_eq!(STANDARD.encode(sha1), "C16WEtEXsD5v5tnaUMLAbZewXhI=");
    let sha256 = PlainHmac.sha256(key, &[text("HmacSHA256").as_bytes()]);
    assert_eq!(
        STANDARD.encode(sha256),
        "7aNNVzszJftqWPLvvnHU3lDznBYFPof7ACkTD3OJUu4="
    );

    for (method, signature) in [
        ("HmacSHA1", "C16WEtEXsD5v5tnaUMLAbZewXhI%3D"),
        ("HmacSHA256", "7aNNVzszJftqWPLvvnHU3lDznBYFPof7ACkTD3OJUu4%3D"),
    ] {
        let body = format!(
            "queueName=test1&msgBody=msg&delaySeconds=0&clientRequestId=1231231231&\
             Action=SendMessage&Timestamp=1534154812&SignatureMethod={method}&\
             SecretId=AKIDPcYDclDJCn8D0Xypa4f3pKYUCVYLn3zT&RequestClient=SDK_Python_1.3&\
             Signature={signature}&Nonce=2889712707386595659"
        );
        let call = parse(RawCall {
            method: "POST",
            host: Some("cmq-queue-gz.api.tencentyun.com"),
            path: API_PATH,
            query: b"",
            body: body.as_bytes(),
        })
        .expect("a request");
        let now = Time::from_seconds(NOW);
        assert_eq!(call.verify(key, &PlainHmac, now, &Config::default()), Ok(()));
        let other = call.verify(b"another key", &PlainHmac, now, &Config::default());
        assert_eq!(other, Err(CmqError::authentication_failed()));
        assert_eq!(call.client_request_id(), Some(1_231_231_231));
    }
}

/// A request made of parameters and a text that somebody signed for it.
struct Request<'a> {
    method: &'a str,
    host: &'a str,
    path: &'a str,
    parameters: &'a str,
    signed: &'a str,
    digest: Digest,
}

const COMMON: &str = "Action=SendMessage&Nonce=1&SecretId=AKID&Timestamp=1534154812";

impl Request<'_> {
    /// Returns what checking it answers: `parameters` and `signed` follow the common ones.
    fn check(&self, config: &Config) -> Result<(), CmqError> {
        let signature = STANDARD.encode(self.digest.sign(&PlainHmac, SECRET, &[self.signed.as_bytes()]));
        let mut form = format!("{COMMON}{}", self.parameters).into_bytes();
        super::super::form::encode_onto(&mut form, b"Signature", signature.as_bytes());
        let (query, body) = if self.method == "GET" {
            (&form[..], &b""[..])
        } else {
            (&b""[..], &form[..])
        };
        let raw = RawCall {
            method: self.method,
            host: Some(self.host),
            path: self.path,
            query,
            body,
        };
        parse(raw)?.verify(SECRET, &PlainHmac, Time::from_seconds(NOW), config)
    }

    fn passes(&self) -> bool {
        self.check(&Config::default()).is_ok()
    }
}

fn signed(prefix: &str, suffix: &str) -> String {
    format!("{prefix}?{COMMON}{suffix}")
}

fn usual<'a>(parameters: &'a str, signed: &'a str) -> Request<'a> {
    Request {
        method: "POST",
        host: "h:1",
        path: API_PATH,
        parameters,
        signed,
        digest: Digest::Sha1,
    }
}

#[test]
fn values_are_signed_decoded_and_empty_ones_too() {
    let text = signed("POSTh:1/v2/index.php", "&msgBody=a b+\u{fc}&routingKey=");
    assert!(usual("&routingKey=&msgBody=a+b%2B%C3%BC", &text).passes());
    let text = signed("POSTh:1/v2/index.php", "&msgBody=a b");
    assert!(usual("&msgBody=a%20b", &text).passes());
}

#[test]
fn names_are_sorted_by_byte_before_underlines_become_dots() {
    // `a_b` sorts behind `aZ` and is signed as `a.b`, which would sort before it.
    let text = signed(
        "POSTh:1/v2/index.php",
        "&aZ=2&a.b=1&msgBody.1=x&msgBody.10=z&msgBody.2=y",
    );
    assert!(usual("&msgBody.2=y&msgBody.10=z&msgBody.1=x&a_b=1&aZ=2", &text).passes());
    let text = signed("POSTh:1/v2/index.php", "&a.b=1&aZ=2");
    assert!(!usual("&a_b=1&aZ=2", &text).passes());
}

#[test]
fn a_post_may_leave_out_values_that_begin_with_at_and_a_get_may_not() {
    let kept = signed("POSTh:1/v2/index.php", "&msgBody=@x&queueName=q");
    let left_out = signed("POSTh:1/v2/index.php", "&queueName=q");
    let parameters = "&queueName=q&msgBody=%40x";
    assert!(usual(parameters, &kept).passes());
    assert!(usual(parameters, &left_out).passes());
    let left_out = left_out.replacen("POST", "GET", 1);
    assert!(
        !Request {
            method: "GET",
            ..usual(parameters, &left_out)
        }
        .passes()
    );
    let kept = kept.replacen("POST", "GET", 1);
    assert!(
        Request {
            method: "GET",
            ..usual(parameters, &kept)
        }
        .passes()
    );
}

#[test]
fn what_is_not_an_at_value_is_never_left_out() {
    let without = signed("POSTh:1/v2/index.php", "&queueName=q");
    assert!(!usual("&queueName=q&msgBody=x", &without).passes());
    assert!(!usual("&queueName=q&msgBody=x&other=%40", &without).passes());
}

#[test]
fn a_default_port_may_be_signed_and_not_sent() {
    for (host, signed_host, passes) in [
        ("h", "h", true),
        ("h", "h:80", true),
        ("h", "h:443", true),
        ("h", "h:8080", false),
        ("h:81", "h:80", false),
        ("h:81", "h:81:80", false),
        ("[::1]", "[::1]:80", true),
        ("[::1]:81", "[::1]:81", true),
    ] {
        let text = signed(&format!("POST{signed_host}/v2/index.php"), "");
        assert_eq!(
            Request {
                host,
                ..usual("", &text)
            }
            .passes(),
            passes,
            "{host} {signed_host}"
        );
    }
}

#[test]
fn a_rewritten_host_passes_only_where_it_is_configured() {
    let text = signed("POSTpublic.example/v2/index.php", "");
    let request = usual("", &text);
    assert!(!request.passes());
    let config = Config {
        hosts: vec!["public.example".into()],
        ..Config::default()
    };
    assert_eq!(request.check(&config), Ok(()));
}

#[test]
fn the_path_may_be_the_one_asked_or_the_plain_one() {
    for (path, signed_path, passes) in [
        ("/v2/index.php", "/v2/index.php", true),
        ("//v2/index.php", "//v2/index.php", true),
        ("//v2/index.php", "/v2/index.php", true),
        ("/v2/index.php/v2/index.php", "/v2/index.php", true),
        ("/", "/", true),
        ("", "/", true),
        ("/v2/index.php", "//v2/index.php", false),
        ("/v2/index.php", "/", false),
    ] {
        let text = signed(&format!("POSTh:1{signed_path}"), "");
        assert_eq!(
            Request {
                path,
                ..usual("", &text)
            }
            .passes(),
            passes,
            "{path} {signed_path}"
        );
    }
}

#[test]
fn the_method_is_signed() {
    let text = signed("GETh:1/v2/index.php", "");
    assert!(!usual("", &text).passes());
    assert!(
        Request {
            method: "GET",
            ..usual("", &text)
        }
        .passes()
    );
}

#[test]
fn the_digest_is_named_and_sha1_if_it_is_not() {
    for (given, digest, passes) in [
        ("HmacSHA256", Digest::Sha256, true),
        ("HmacSHA256", Digest::Sha1, false),
        ("sha256", Digest::Sha256, true),
        ("HmacSHA1", Digest::Sha1, true),
        ("sha1", Digest::Sha1, true),
        ("", Digest::Sha1, true),
        ("anything", Digest::Sha1, true),
        ("anything", Digest::Sha256, false),
    ] {
        let parameters = format!("&SignatureMethod={given}");
        let text = format!(
            "POSTh:1/v2/index.php?Action=SendMessage&Nonce=1&SecretId=AKID&SignatureMethod={given}&Timestamp=1534154812"
        );
        assert_eq!(
            Request {
                digest,
                ..usual(&parameters, &text)
            }
            .passes(),
            passes,
            "{given} {digest:?}"
        );
    }
}

#[test]
fn a_signature_that_is_no_base64_or_too_short_fails() {
    for signature in ["", "%25%25", "QUJD", "@"] {
        let body = format!("{COMMON}&Signature={signature}");
        let raw = RawCall {
            method: "POST",
            host: Some("h"),
            path: API_PATH,
            query: b"",
            body: body.as_bytes(),
        };
        let call = parse(raw).expect("a request");
        let refused = call
            .verify(SECRET, &PlainHmac, Time::from_seconds(NOW), &Config::default())
            .expect_err("no signature");
        let expected = if signature.is_empty() {
            (4000, 10390)
        } else {
            (4100, 10030)
        };
        assert_eq!((refused.code, refused.module), expected, "{signature}");
    }
}

#[test]
fn what_a_signature_needs_must_be_given() {
    for missing in ["Nonce", "SecretId", "Timestamp", "Signature"] {
        let all = format!("{COMMON}&Signature=QUJD");
        let some: Vec<&str> = all.split('&').filter(|pair| !pair.starts_with(missing)).collect();
        let body = some.join("&");
        let raw = RawCall {
            method: "POST",
            host: None,
            path: "/",
            query: b"",
            body: body.as_bytes(),
        };
        let refused = parse(raw).expect("a request").credentials().expect_err(missing);
        assert_eq!(refused, CmqError::lacked(missing));
    }
}

#[test]
fn timestamps_may_be_as_far_away_as_configured() {
    let text = signed("POSTh:1/v2/index.php", "");
    let request = usual("", &text);
    let form = {
        let signature = STANDARD.encode(PlainHmac.sha1(SECRET, &[text.as_bytes()]));
        let mut form = COMMON.as_bytes().to_vec();
        super::super::form::encode_onto(&mut form, b"Signature", signature.as_bytes());
        form
    };
    let raw = RawCall {
        method: "POST",
        host: Some(request.host),
        path: API_PATH,
        query: b"",
        body: &form,
    };
    let call = parse(raw).expect("a request");
    let config = Config {
        skew: Span::from_seconds(900),
        ..Config::default()
    };
    for (now, passes) in [
        (NOW, true),
        (NOW - 900, true),
        (NOW + 900, true),
        (NOW - 901, false),
        (NOW + 901, false),
    ] {
        let checked = call.verify(SECRET, &PlainHmac, Time::from_seconds(now), &config);
        assert_eq!(checked.is_ok(), passes, "{now}");
    }
    let late = call.verify(SECRET, &PlainHmac, Time::from_seconds(NOW + 901), &config);
    let late = late.expect_err("too late");
    assert_eq!((late.code, late.module), (4100, 10030));
    assert!(late.text.contains("901 s away"), "{late}");
}

#[test]
fn every_way_that_is_tried_is_one_of_few() {
    struct Counting(std::cell::Cell<usize>);
    impl Hmac for Counting {
        fn sha1(&self, _: &[u8], _: &[&[u8]]) -> [u8; 20] {
            self.0.set(self.0.get() + 1);
            [0; 20]
        }
        fn sha256(&self, _: &[u8], _: &[&[u8]]) -> [u8; 32] {
            self.0.set(self.0.get() + 1);
            [0; 32]
        }
        fn equal(&self, _: &[u8], _: &[u8]) -> bool {
            false
        }
    }
    let tries = |host, path, parameters: &str| {
        let body = format!("{COMMON}&Signature=QUJD{parameters}");
        let raw = RawCall {
            method: "POST",
            host: Some(host),
            path,
            query: b"",
            body: body.as_bytes(),
        };
        let counting = Counting(std::cell::Cell::new(0));
        let call = parse(raw).expect("a request");
        let config = Config::default();
        call.verify(SECRET, &counting, Time::from_seconds(NOW), &config)
            .expect_err("never equal");
        counting.0.get()
    };
    assert_eq!(tries("h:1", API_PATH, ""), 1);
    assert_eq!(tries("h", API_PATH, ""), 3);
    assert_eq!(tries("h", "/", "&msgBody=%40"), 12);
}

proptest! {
    #[test]
    fn what_is_signed_is_verified(
        body in prop::collection::vec(any::<u8>(), 0..300),
        name in "[a-zA-Z_.0-9]{1,12}",
        get in any::<bool>(),
        sha256 in any::<bool>(),
    ) {
        let digest = if sha256 { Digest::Sha256 } else { Digest::Sha1 };
        let method = if get { "GET" } else { "POST" };
        let signer = Signer { secret_id: "AKID", secret: SECRET, digest, method, host: "h", path: API_PATH };
        let now = Time::from_seconds(NOW);
        let odd = format!("x{name}");
        let form = signer.form(&PlainHmac, "SendMessage", &[("msgBody", &body), (&odd, b"1")], now, 5);
        let (query, posted) = if get { (&form[..], &b""[..]) } else { (&b""[..], &form[..]) };
        let raw = RawCall { method, host: Some("h"), path: API_PATH, query, body: posted };
        let call = parse(raw).expect("a request");
        prop_assert_eq!(call.verify(SECRET, &PlainHmac, now, &Config::default()), Ok(()));
        prop_assert!(call.verify(b"secres", &PlainHmac, now, &Config::default()).is_err());
    }
}
