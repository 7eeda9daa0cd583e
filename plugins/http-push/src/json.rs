//! The body of a push in the format JSON.
//!
//! What is not UTF-8 in a message is replaced by U+FFFD, since JSON has no other way to carry it. Room is made once,
//! before anything is written: escaped text can be six times as long, and a guest has little memory and time.

use crate::bindings::exports::posthouse::plugin::delivering::Delivery;

const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Room for all of a notification but its texts.
const FRAME_BYTES: usize = 256;

/// Returns a message as JSON shows it to an endpoint.
pub(crate) fn notification(delivery: &Delivery, body: &[u8]) -> Vec<u8> {
    let owner = delivery.topic_owner.as_bytes();
    let topic = delivery.topic.as_bytes();
    let subscription = delivery.subscription.as_bytes();
    let texts: usize = [owner, topic, subscription, body]
        .into_iter()
        .map(bytes_max_as_json)
        .sum();

    let mut json = Vec::with_capacity(FRAME_BYTES + texts);
    json.extend_from_slice(b"{\"TopicOwner\":");
    push_string(&mut json, owner);
    json.extend_from_slice(b",\"topicName\":");
    push_string(&mut json, topic);
    json.extend_from_slice(b",\"subscriptionName\":");
    push_string(&mut json, subscription);
    json.extend_from_slice(b",\"msgId\":");
    push_string(&mut json, delivery.message_id.to_string().as_bytes());
    json.extend_from_slice(b",\"msgBody\":");
    push_string(&mut json, body);
    json.extend_from_slice(b",\"publishTime\":");
    json.extend_from_slice((delivery.published_ms / 1_000).to_string().as_bytes());
    json.push(b'}');
    json
}

/// Returns the most bytes that a text takes inside a JSON string.
fn bytes_max_as_json(text: &[u8]) -> usize {
    text.iter().map(|&byte| byte_max_as_json(byte)).sum()
}

fn byte_max_as_json(byte: u8) -> usize {
    match byte {
        0x80.. => char::REPLACEMENT_CHARACTER.len_utf8(),
        _ if needs_escape(byte) => "\\u0000".len(),
        _ => 1,
    }
}

fn push_string(json: &mut Vec<u8>, text: &[u8]) {
    json.push(b'"');
    for chunk in text.utf8_chunks() {
        push_escaped(json, chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            json.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    json.push(b'"');
}

fn push_escaped(json: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|&byte| needs_escape(byte)) {
        json.extend_from_slice(&rest[..at]);
        push_escape(json, rest[at]);
        rest = &rest[at + 1..];
    }
    json.extend_from_slice(rest);
}

fn push_escape(json: &mut Vec<u8>, byte: u8) {
    match byte {
        b'"' | b'\\' => json.extend_from_slice(&[b'\\', byte]),
        b'\n' => json.extend_from_slice(b"\\n"),
        b'\r' => json.extend_from_slice(b"\\r"),
        b'\t' => json.extend_from_slice(b"\\t"),
        _ => {
            let [high, low] = [byte >> 4, byte & 0xf].map(|digit| HEX_DIGITS[usize::from(digit)]);
            json.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
        }
    }
}

/// Whether JSON forbids a byte in a string.
fn needs_escape(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\' | 0..=0x1f)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn string(text: &[u8]) -> Vec<u8> {
        let mut json = Vec::new();
        push_string(&mut json, text);
        json
    }

    fn read(json: &[u8]) -> String {
        serde_json::from_slice(json).expect("a JSON string")
    }

    proptest! {
        #[test]
        fn any_text_reads_back_as_written(text in any::<String>()) {
            prop_assert_eq!(read(&string(text.as_bytes())), text);
        }

        #[test]
        fn ascii_reads_back_as_written(text in vec(0u8..128, 0..64)) {
            prop_assert_eq!(read(&string(&text)).into_bytes(), text);
        }

        #[test]
        fn what_is_not_text_is_replaced(text in vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(read(&string(&text)), String::from_utf8_lossy(&text));
        }

        #[test]
        fn no_text_takes_more_room_than_was_made(text in vec(any::<u8>(), 0..64)) {
            prop_assert!(string(&text).len() <= bytes_max_as_json(&text) + 2);
        }
    }
}
