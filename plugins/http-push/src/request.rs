//! The request that carries a message.

use crate::bindings::exports::posthouse::plugin::delivering::{
    Delivery, EndpointKind, Format, HttpRequest, Payload,
};
use crate::json;

/// How long an endpoint has to answer.
const TIMEOUT_MS: u32 = 15_000;

/// Returns the request for a delivery. The body is asked for only if the format shows it to the guest.
pub(crate) fn of(delivery: &Delivery, body: impl FnOnce() -> Vec<u8>) -> Result<HttpRequest, String> {
    match delivery.endpoint_kind {
        EndpointKind::Http => {}
        EndpointKind::Queue => return Err("http-push delivers to URLs, not to queues".to_owned()),
    }
    let payload = match delivery.format {
        Format::Simplified => Payload::Message,
        Format::Json => Payload::Bytes(json::notification(delivery, &body())),
    };
    Ok(HttpRequest {
        method: "POST".to_owned(),
        url: delivery.endpoint.clone(),
        headers: headers(delivery),
        body: payload,
        timeout_ms: TIMEOUT_MS,
    })
}

fn headers(delivery: &Delivery) -> Vec<(String, String)> {
    [
        ("Content-Type", "text/plain".to_owned()),
        ("User-Agent", "Qcloud Notification Service Agent".to_owned()),
        ("x-cmq-request-id", delivery.request_id.to_string()),
        ("x-cmq-message-id", delivery.message_id.to_string()),
        ("x-cmq-message-tag", header_value(&delivery.tags.join(", "))),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// Returns a text as a header can carry it. ASCII stays as it is; the bytes of anything else, and what would break the
/// line and begin another header, are written as a URL would have them.
fn header_value(text: &str) -> String {
    let mut value = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' => value.push(char::from(byte)),
            _ => value.push_str(&format!("%{byte:02X}")),
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::delivery;

    fn header<'a>(request: &'a HttpRequest, asked: &str) -> &'a str {
        let found = request.headers.iter().find(|(name, _)| name == asked);
        &found.expect("the header is sent").1
    }

    #[test]
    fn a_request_has_the_headers_of_cmq() {
        let request = of(&delivery(), Vec::new).expect("a request");
        assert_eq!(request.method, "POST");
        assert_eq!(request.url, "http://audit.example/in");
        assert_eq!(request.timeout_ms, 15_000);
        assert_eq!(header(&request, "Content-Type"), "text/plain");
        assert_eq!(
            header(&request, "User-Agent"),
            "Qcloud Notification Service Agent"
        );
        assert_eq!(header(&request, "x-cmq-request-id"), "14199887");
        assert_eq!(header(&request, "x-cmq-message-id"), "72057594037927937");
        assert_eq!(header(&request, "x-cmq-message-tag"), "new, paid");
    }

    #[test]
    fn a_simplified_push_leaves_the_body_in_the_host() {
        let request = of(&delivery(), || unreachable!("the body was read"));
        assert!(matches!(request.expect("a request").body, Payload::Message));
    }

    #[test]
    fn a_json_push_wraps_the_body() {
        let delivery = Delivery {
            format: Format::Json,
            ..delivery()
        };
        let request = of(&delivery, || b"{\"n\":1}".to_vec()).expect("a request");
        let Payload::Bytes(bytes) = request.body else {
            panic!("the body is not made here")
        };
        let expected = concat!(
            r#"{"TopicOwner":"acme","topicName":"orders","subscriptionName":"audit","#,
            r#""msgId":"72057594037927937","msgBody":"{\"n\":1}","publishTime":1767225600}"#
        );
        assert_eq!(String::from_utf8(bytes).expect("text"), expected);
    }

    #[test]
    fn a_line_break_in_a_tag_begins_no_header() {
        let delivery = Delivery {
            tags: vec!["a\r\nx-admin: 1".to_owned()],
            ..delivery()
        };
        let request = of(&delivery, Vec::new).expect("a request");
        assert_eq!(header(&request, "x-cmq-message-tag"), "a%0D%0Ax-admin: 1");
    }

    #[test]
    fn a_tag_that_is_not_ascii_is_written_as_in_a_url() {
        let delivery = Delivery {
            tags: vec!["50%".to_owned(), "é".to_owned()],
            ..delivery()
        };
        let request = of(&delivery, Vec::new).expect("a request");
        assert_eq!(header(&request, "x-cmq-message-tag"), "50%, %C3%A9");
    }

    #[test]
    fn a_queue_is_not_an_endpoint_for_http() {
        let delivery = Delivery {
            endpoint_kind: EndpointKind::Queue,
            ..delivery()
        };
        assert!(of(&delivery, Vec::new).is_err());
    }
}
