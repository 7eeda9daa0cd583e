//! A push that differs from the built-in in its header, its body and its retry: whatever is seen of these at an
//! endpoint was decided here.
//!
//! The configuration is the wait before another attempt, in milliseconds; 7,000 if there is none.

use bindings::exports::posthouse::plugin::delivering::{
    Action, Body, Delivery, Guest, HttpRequest, Outcome, Payload, Response, Step,
};
use bindings::posthouse::plugin::config;

#[expect(unsafe_code, reason = "generated from wit/")]
mod bindings {
    wit_bindgen::generate!({ path: "../../../wit", world: "deliver" });

    export!(AlteredHttpPush);
    use super::AlteredHttpPush;
}

const RETRY_MS: u64 = 7_000;
const TIMEOUT_MS: u32 = 5_000;

struct AlteredHttpPush;

impl Guest for AlteredHttpPush {
    fn begin(delivery: Delivery, body: &Body) -> Result<Step, String> {
        let begun = [
            format!("altered {}: ", delivery.message_id).into_bytes(),
            body.read(0, body.len()),
        ];
        let request = HttpRequest {
            method: "PUT".to_owned(),
            url: delivery.endpoint,
            headers: vec![("x-altered".to_owned(), delivery.attempt.to_string())],
            body: Payload::Bytes(begun.concat()),
            timeout_ms: TIMEOUT_MS,
        };
        Ok(Step {
            action: Action::Http(request),
            state: b"begun".to_vec(),
        })
    }

    fn resume(_delivery: Delivery, state: Vec<u8>, response: Response) -> Result<Step, String> {
        if state != b"begun" {
            return Err("the state is not the one that was kept".to_owned());
        }
        let outcome = match response {
            Response::Http(response) if response.status == 200 => Outcome::Acknowledged,
            Response::Http(_) | Response::Failed(_) => Outcome::RetryAfter(retry_ms()),
            Response::Enqueued => return Err("a request for HTTP was answered by a queue".to_owned()),
        };
        Ok(Step {
            action: Action::Done(outcome),
            state: Vec::new(),
        })
    }
}

fn retry_ms() -> u64 {
    config::get().parse().unwrap_or(RETRY_MS)
}
