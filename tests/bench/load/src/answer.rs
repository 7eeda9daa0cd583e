//! Answers of a node, read with as little work as will do: the load program shares its processors.

use anyhow::{Context, bail};

/// The largest answer that is read: a batch of bodies, and room.
pub(crate) const ANSWER_BYTES_MAX: usize = 4 << 20;
/// CMQ's code for a queue with nothing to receive.
const NO_MESSAGE: i64 = 7000;
/// How every success begins.
const SUCCESS: &[u8] = b"{\"code\":0,";

/// Where an answer's body is in what was read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Whole {
    /// Where the body begins.
    pub(crate) body: usize,
    /// Where the answer ends.
    pub(crate) end: usize,
}

/// What was answered to a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Said {
    /// It was done.
    Done,
    /// There was nothing to receive.
    NoMessage,
}

/// Finds the end of the answer that begins the bytes; none until all of it has come.
pub(crate) fn whole(bytes: &[u8]) -> anyhow::Result<Option<Whole>> {
    let Some(head) = find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    if !bytes.starts_with(b"HTTP/1.1 200 ") {
        bail!(
            "the node answered: {}",
            String::from_utf8_lossy(&bytes[..bytes.len().min(1_000)])
        );
    }
    let body = head + 4;
    let length = content_length(&bytes[..head]).context("the answer has no Content-Length")?;
    if length > ANSWER_BYTES_MAX {
        bail!("an answer of {length} bytes");
    }
    let end = body + length;
    Ok((bytes.len() >= end).then_some(Whole { body, end }))
}

/// Returns what a body says, or an error when it says neither of what was expected.
pub(crate) fn said(body: &[u8]) -> anyhow::Result<Said> {
    if body.starts_with(SUCCESS) {
        return Ok(Said::Done);
    }
    let answer: serde_json::Value = serde_json::from_slice(body).context("the answer is no JSON")?;
    match answer["code"].as_i64() {
        Some(0) => Ok(Said::Done),
        Some(NO_MESSAGE) => Ok(Said::NoMessage),
        _ => bail!("refused: {answer}"),
    }
}

/// Returns the receipt handles in a body. Bodies of messages here hold no quotes, so none can be mistaken for one.
pub(crate) fn handles(body: &[u8]) -> Vec<&str> {
    const FIELD: &[u8] = b"\"receiptHandle\":\"";
    let mut handles = Vec::new();
    let mut rest = body;
    while let Some(at) = find(rest, FIELD) {
        rest = &rest[at + FIELD.len()..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        handles.extend(std::str::from_utf8(&rest[..digits]));
        rest = &rest[digits..];
    }
    handles
}

fn content_length(head: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length:";
    let line = head.split(|byte| *byte == b'\n').find(|line| {
        line.get(..NAME.len())
            .is_some_and(|name| name.eq_ignore_ascii_case(NAME))
    })?;
    std::str::from_utf8(&line[NAME.len()..]).ok()?.trim().parse().ok()
}

fn find(bytes: &[u8], sought: &[u8]) -> Option<usize> {
    let (first, others) = sought.split_first()?;
    let mut from = 0;
    while let Some(at) = bytes.get(from..)?.iter().position(|byte| byte == first) {
        let after = from + at + 1;
        if bytes[after..].starts_with(others) {
            return Some(after - 1);
        }
        from = after;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_when_its_last_byte_has_come() {
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\ndate: x\r\n\r\nhello and more";
        let last = bytes.len() - b" and more".len();
        for end in 0..bytes.len() {
            let found = whole(&bytes[..end]).expect("a good answer");
            assert_eq!(found.is_some(), end >= last, "{end}");
        }
        let found = whole(bytes).expect("a good answer").expect("a whole one");
        assert_eq!(&bytes[found.body..found.end], b"hello");
    }

    #[test]
    fn what_is_no_success_of_http_is_an_error() {
        assert!(whole(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n").is_err());
        assert!(whole(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(whole(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n").is_err());
    }

    #[test]
    fn codes_are_told_apart() {
        assert_eq!(
            said(br#"{"code":0,"message":""}"#).expect("a success"),
            Said::Done
        );
        assert_eq!(said(br#"{ "code" : 0 }"#).expect("a success"), Said::Done);
        assert_eq!(
            said(br#"{"code":7000,"message":"(10200)"}"#).expect("known"),
            Said::NoMessage
        );
        assert!(said(br#"{"code":4420}"#).is_err());
        assert!(said(b"{\"code\":0").is_err());
    }

    #[test]
    fn handles_are_found_in_a_batch() {
        let body = br#"{"msgInfoList":[{"receiptHandle":"12","msgBody":"x"},{"receiptHandle":"345"}]}"#;
        assert_eq!(handles(body), ["12", "345"]);
        assert!(handles(b"{}").is_empty());
        assert!(
            handles(br#""receiptHandle":""#)
                .iter()
                .all(|handle| handle.is_empty())
        );
    }
}
