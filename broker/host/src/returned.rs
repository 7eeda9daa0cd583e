//! What guests answer, checked and turned into the broker's words. Pure: an answer in, a value or a fault out.
//!
//! The engine has bounded how much there is of an answer; here it is bounded in what it means.

use std::collections::BTreeMap;

use bytes::Bytes;
use posthouse_keyring::wrapped_under;
use posthouse_model::{Attribute, Name, Span, SubscriptionId, bounds};

use crate::{
    call::{Action, Filtered, HttpRequest, Outcome, Payload, RouteTable, Sealed, Step},
    config::{OUTPUT_BYTES_MAX, SEAL_GROWTH_BYTES_MAX, SEAL_HEADER_BYTES_MAX, STATE_BYTES_MAX},
    contract::{delivering, filtering, types},
    copied::repeats_body,
    fault::GuestFault,
    text,
};

/// Attributes of a message.
const ATTRIBUTES_MAX: usize = 64;
/// An attribute's name, in bytes.
const ATTRIBUTE_NAME_BYTES_MAX: usize = 256;
/// All attributes of a message, names and values, in bytes.
const ATTRIBUTES_BYTES_MAX: usize = 262_144;
/// A number as it is written, in bytes.
const NUMBER_BYTES_MAX: usize = 128;
/// A URL, in bytes.
const URL_BYTES_MAX: usize = 2_048;
/// Headers of a request.
const HEADERS_MAX: usize = 64;
/// All headers of a request, names and values, in bytes.
const HEADERS_BYTES_MAX: usize = 16_384;
/// How long a request may wait for its answer.
const TIMEOUT_MAX: Span = Span::from_seconds(60);
/// How long an attempt may be put off.
const RETRY_AFTER_MAX: Span = Span::from_seconds(*bounds::RETENTION_SECONDS.end());
/// Why a message was given up, in bytes.
const REASON_BYTES_MAX: usize = 1_024;
/// What a request may ask.
const METHODS: [&str; 7] = ["POST", "PUT", "PATCH", "GET", "HEAD", "DELETE", "OPTIONS"];
/// Headers that frame a request, which is the host's to do.
const FRAMING_HEADERS: [&str; 9] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "upgrade",
    "expect",
];

/// Returns the subscriptions that a router matched for each of `asked` messages.
pub(crate) fn routed(
    table: &RouteTable,
    asked: usize,
    answer: Vec<Vec<u32>>,
) -> Result<Vec<Vec<SubscriptionId>>, GuestFault> {
    if answer.len() != asked {
        return nonsense(format!("{} answers for {asked} messages", answer.len()));
    }
    answer
        .into_iter()
        .map(|positions| matched(table, positions))
        .collect()
}

fn matched(table: &RouteTable, mut positions: Vec<u32>) -> Result<Vec<SubscriptionId>, GuestFault> {
    positions.sort_unstable();
    let mut ids = Vec::with_capacity(positions.len().min(table.subscriptions.len()));
    let mut last = None;
    for position in positions {
        if last == Some(position) {
            return nonsense(format!("position {position} twice for one message"));
        }
        last = Some(position);
        let Some(subscription) = table.subscriptions.get(position as usize) else {
            return nonsense(format!(
                "position {position} of {} subscriptions",
                table.subscriptions.len()
            ));
        };
        ids.push(subscription.id);
    }
    Ok(ids)
}

/// Returns what a filter said.
pub(crate) fn filtered(verdict: filtering::Verdict) -> Result<Filtered, GuestFault> {
    match verdict {
        filtering::Verdict::Pass => Ok(Filtered::Pass),
        filtering::Verdict::Drop => Ok(Filtered::Drop),
        filtering::Verdict::Replace(replacement) => {
            let bytes_max = *bounds::BODY_BYTES.end();
            if replacement.body.len() as u64 > bytes_max {
                return nonsense(format!("a body of {} bytes", replacement.body.len()));
            }
            if replacement.body.is_empty() {
                return nonsense("an empty body".to_owned());
            }
            let attributes = attributes(replacement.attributes)?;
            Ok(Filtered::Replace {
                body: Bytes::from(replacement.body),
                attributes,
            })
        }
    }
}

fn attributes(answer: Vec<(String, types::Attribute)>) -> Result<BTreeMap<String, Attribute>, GuestFault> {
    if answer.len() > ATTRIBUTES_MAX {
        return nonsense(format!("{} attributes", answer.len()));
    }
    let mut bytes = 0;
    let mut attributes = BTreeMap::new();
    for (name, value) in answer {
        if name.is_empty() || name.len() > ATTRIBUTE_NAME_BYTES_MAX {
            return nonsense(format!("an attribute's name of {} bytes", name.len()));
        }
        bytes += name.len();
        let value = match value {
            types::Attribute::Text(text) => {
                bytes += text.len();
                Attribute::Text(text)
            }
            types::Attribute::Number(number) => {
                bytes += number.len();
                if !is_decimal(&number) {
                    return nonsense("an attribute's number that is none".to_owned());
                }
                Attribute::Number(number)
            }
            types::Attribute::Binary(value) => {
                bytes += value.len();
                Attribute::Binary(Bytes::from(value))
            }
        };
        if bytes > ATTRIBUTES_BYTES_MAX {
            return nonsense(format!("more than {ATTRIBUTES_BYTES_MAX} bytes of attributes"));
        }
        if attributes.insert(name, value).is_some() {
            return nonsense("an attribute twice".to_owned());
        }
    }
    Ok(attributes)
}

/// Returns whether a text is a decimal number: a sign, digits with a point among them, an exponent.
fn is_decimal(text: &str) -> bool {
    text.len() <= NUMBER_BYTES_MAX
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E'))
        && text.parse::<f64>().is_ok()
}

/// Returns what a deliver plugin wants done.
pub(crate) fn step(step: delivering::Step) -> Result<Step, GuestFault> {
    if step.state.len() > STATE_BYTES_MAX {
        return nonsense(format!("a state of {} bytes", step.state.len()));
    }
    let action = match step.action {
        delivering::Action::Http(request) => Action::Http(http_request(request)?),
        delivering::Action::Enqueue(request) => Action::Enqueue(queue_name(&request.queue)?),
        delivering::Action::Done(outcome) => Action::Done(done(outcome)?),
    };
    Ok(Step {
        action,
        state: Bytes::from(step.state),
    })
}

fn queue_name(name: &str) -> Result<Name, GuestFault> {
    Name::parse(name).or_else(|error| nonsense(format!("a queue's name that {error}")))
}

fn done(outcome: delivering::Outcome) -> Result<Outcome, GuestFault> {
    match outcome {
        delivering::Outcome::Acknowledged => Ok(Outcome::Acknowledged),
        delivering::Outcome::RetryAfter(millis) => {
            let span = Span::from_millis(millis);
            if span > RETRY_AFTER_MAX {
                return nonsense(format!("a retry after {millis} ms"));
            }
            Ok(Outcome::RetryAfter(span))
        }
        delivering::Outcome::Drop(reason) => Ok(Outcome::Drop(text::cut(reason, REASON_BYTES_MAX))),
    }
}

fn http_request(request: delivering::HttpRequest) -> Result<HttpRequest, GuestFault> {
    if !METHODS.contains(&request.method.as_str()) {
        return nonsense("a method that is none of the contract's".to_owned());
    }
    if !is_url(&request.url) {
        return nonsense("a URL that is none, or not http or https".to_owned());
    }
    let body = match request.body {
        delivering::Payload::Message => Payload::Message,
        delivering::Payload::Bytes(bytes) if bytes.len() <= OUTPUT_BYTES_MAX => {
            Payload::Bytes(Bytes::from(bytes))
        }
        delivering::Payload::Bytes(bytes) => return nonsense(format!("a request of {} bytes", bytes.len())),
    };
    Ok(HttpRequest {
        method: request.method,
        url: request.url,
        headers: headers(request.headers)?,
        body,
        timeout: Span::from_millis(u64::from(request.timeout_ms)).min(TIMEOUT_MAX),
    })
}

fn is_url(url: &str) -> bool {
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"));
    url.len() <= URL_BYTES_MAX
        && rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', '?', '#']))
        && url.bytes().all(|byte| byte.is_ascii_graphic())
}

fn headers(answer: Vec<(String, String)>) -> Result<Vec<(String, String)>, GuestFault> {
    if answer.len() > HEADERS_MAX {
        return nonsense(format!("{} headers", answer.len()));
    }
    let mut bytes = 0;
    let mut headers = Vec::with_capacity(answer.len());
    for (name, value) in answer {
        bytes += name.len() + value.len();
        if bytes > HEADERS_BYTES_MAX {
            return nonsense(format!("more than {HEADERS_BYTES_MAX} bytes of headers"));
        }
        let name = name.to_ascii_lowercase();
        if name.is_empty() || !name.bytes().all(is_token) {
            return nonsense("a header's name that is none".to_owned());
        }
        if FRAMING_HEADERS.contains(&name.as_str()) || name.starts_with("proxy-") {
            return nonsense(format!("the header {name}, which is the host's"));
        }
        if !value
            .bytes()
            .all(|byte| byte.is_ascii_graphic() || byte == b' ' || byte == b'\t')
        {
            return nonsense(format!("a value of the header {name} that is none"));
        }
        headers.push((name, value));
    }
    Ok(headers)
}

/// Returns whether a byte may stand in a header's name (RFC 9110, `tchar`).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Returns what a seal plugin made of a plain body. `wrapped`: the data key that it sealed with, as it may be kept.
pub(crate) fn sealed(
    plain: &[u8],
    wrapped: &[u8],
    header: Vec<u8>,
    ciphertext: Bytes,
) -> Result<Sealed, GuestFault> {
    if header.len() > SEAL_HEADER_BYTES_MAX {
        return nonsense(format!("a header of {} bytes", header.len()));
    }
    if ciphertext.len() > plain.len() + SEAL_GROWTH_BYTES_MAX {
        return nonsense(format!("{} sealed bytes for {}", ciphertext.len(), plain.len()));
    }
    // The wrapped key names the master key, as a body may: it is the host's, and says nothing of the body.
    if without(&header, wrapped)
        .iter()
        .any(|own| repeats_body(own, plain))
    {
        return nonsense("a header that repeats the body".to_owned());
    }
    Ok(Sealed {
        header: Bytes::from(header),
        ciphertext,
        key: wrapped_under(wrapped),
    })
}

/// Returns what stands before and after the first place of a part.
fn without<'a>(bytes: &'a [u8], part: &[u8]) -> [&'a [u8]; 2] {
    let at = match part.is_empty() {
        true => None,
        false => bytes.windows(part.len()).position(|found| found == part),
    };
    match at {
        Some(at) => [&bytes[..at], &bytes[at + part.len()..]],
        None => [bytes, &[]],
    }
}

/// Returns what a seal plugin opened.
pub(crate) fn opened(sealed_bytes: usize, plain: Bytes) -> Result<Bytes, GuestFault> {
    if plain.len() > sealed_bytes {
        return nonsense(format!("{} opened bytes for {sealed_bytes}", plain.len()));
    }
    Ok(plain)
}

fn nonsense<T>(what: String) -> Result<T, GuestFault> {
    Err(GuestFault::Nonsense(what))
}

#[cfg(test)]
mod tests;
