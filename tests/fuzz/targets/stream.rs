//! The streaming door's requests as any bytes: decoded, signed metadata read, made into what the broker does.
//!
//! The input's first byte says which request it is.

#![no_main]

use libfuzzer_sys::fuzz_target;
use posthouse_gateway::cmq::{Action, Config};
use posthouse_gateway::stream;
use posthouse_model::{Name, Span, bounds};
use posthouse_stream::bounds::{BODIES_BYTES_MAX, HANDLES_MAX, MESSAGES_MAX};
use posthouse_stream::signing::Authorization;
use posthouse_stream::{ConsumeRequest, PublishRequest, consume_request};
use prost::Message;

fuzz_target!(|input: &[u8]| {
    let Some((&kind, bytes)) = input.split_first() else {
        return;
    };
    match kind % 3 {
        0 => {
            if let Ok(request) = PublishRequest::decode(bytes) {
                published(request);
            }
        }
        1 => {
            if let Ok(ConsumeRequest {
                request: Some(request),
            }) = ConsumeRequest::decode(bytes)
            {
                consumed(request);
            }
        }
        _ => {
            if let Ok(text) = std::str::from_utf8(bytes)
                && let Ok(authorization) = Authorization::parse(text)
            {
                // What is read can be written, and read again as the same.
                let written = authorization.to_string();
                assert_eq!(Authorization::parse(&written), Ok(authorization));
            }
        }
    }
});

/// Checks that what a publish request becomes is within the bounds that the broker counts on.
fn published(request: PublishRequest) {
    let config = Config::default();
    let Ok(stream::Publish { action, token }) = stream::publish(request, &config) else {
        return;
    };
    if let Some(token) = token {
        assert!((1..=bounds::TOKEN_BYTES_MAX).contains(&token.0.len()));
    }
    let (name, bodies) = match action {
        Action::BatchSendMessage { queue, bodies, delay } => {
            assert!(delay <= config.delay_max);
            (queue, bodies)
        }
        Action::BatchPublishMessage {
            topic, bodies, tags, ..
        } => {
            assert!(tags.len() <= bounds::TAGS_MAX);
            (topic, bodies)
        }
        other => panic!("{} publishes nothing", other.name()),
    };
    assert_eq!(Name::parse(name.as_str()).as_ref(), Ok(&name));
    assert!((1..=MESSAGES_MAX).contains(&bodies.len()));
    assert!(bodies.iter().all(|body| !body.is_empty()));
    assert!(bodies.iter().map(|body| body.len()).sum::<usize>() <= BODIES_BYTES_MAX);
}

/// Checks the same of what a consumer says.
fn consumed(request: consume_request::Request) {
    let longest = Span::from_seconds(*bounds::VISIBILITY_SECONDS.end());
    let handles = match request {
        consume_request::Request::Open(open) => {
            if let Ok(opened) = stream::open(&open) {
                assert_eq!(Name::parse(opened.queue.as_str()).as_ref(), Ok(&opened.queue));
                assert!(opened.visibility.is_none_or(|span| span <= longest));
            }
            return;
        }
        consume_request::Request::Credit(_) => return,
        consume_request::Request::Ack(ack) => ack.handles,
        consume_request::Request::Nack(nack) => {
            if let Ok(span) = stream::delay(nack.delay_seconds) {
                assert!(span <= longest);
            }
            nack.handles
        }
        consume_request::Request::Extend(extend) => {
            if let Ok(span) = stream::visibility(extend.visibility_seconds) {
                assert!(span != Span::ZERO && span <= longest);
            }
            extend.handles
        }
    };
    if let Ok(handles) = stream::handles(handles) {
        assert!((1..=HANDLES_MAX).contains(&handles.len()));
    }
}
