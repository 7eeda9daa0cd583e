//! A deliver plugin: posts the body to a URL with the message's id in a header, or puts it into a queue.
//!
//! It does no I/O: `begin` says what the host is to do, and `resume` is told how that went. A failed attempt is made
//! again after as many times ten seconds as there were attempts; after the fifth it is given up.

use bindings::exports::posthouse::plugin::delivering::{
    Action, Body, Delivery, EndpointKind, EnqueueRequest, Guest, HttpRequest, Outcome, Payload, Response,
    Step,
};

mod bindings {
    wit_bindgen::generate!({ path: "wit", world: "my-world" });
    export!(Plugin);
    use super::Plugin;
}

const ATTEMPTS_MAX: u32 = 5;
const WAIT_MS: u64 = 10_000;
const TIMEOUT_MS: u32 = 5_000;

struct Plugin;

impl Guest for Plugin {
    fn begin(delivery: Delivery, _body: &Body) -> Result<Step, String> {
        Ok(step(match delivery.endpoint_kind {
            EndpointKind::Queue => Action::Enqueue(EnqueueRequest {
                queue: delivery.endpoint,
            }),
            EndpointKind::Http => Action::Http(HttpRequest {
                method: "POST".to_owned(),
                url: delivery.endpoint,
                headers: vec![("x-message-id".to_owned(), delivery.message_id.to_string())],
                body: Payload::Message,
                timeout_ms: TIMEOUT_MS,
            }),
        }))
    }

    fn resume(delivery: Delivery, _state: Vec<u8>, response: Response) -> Result<Step, String> {
        Ok(step(Action::Done(match response {
            Response::Enqueued => Outcome::Acknowledged,
            Response::Http(response) if (200..300).contains(&response.status) => Outcome::Acknowledged,
            Response::Http(response) => failed(&delivery, &format!("status {}", response.status)),
            Response::Failed(reason) => failed(&delivery, &reason),
        })))
    }
}

fn failed(delivery: &Delivery, reason: &str) -> Outcome {
    if delivery.attempt >= ATTEMPTS_MAX {
        return Outcome::Drop(format!("attempt {}: {reason}", delivery.attempt));
    }
    Outcome::RetryAfter(WAIT_MS * u64::from(delivery.attempt))
}

/// What is to be done, with nothing to remember until then: all is told again at each call.
fn step(action: Action) -> Step {
    Step {
        action,
        state: Vec::new(),
    }
}
