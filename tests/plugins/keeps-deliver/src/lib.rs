//! Posts messages, and counts in the binding's store how many were taken and how many were not.

use bindings::exports::posthouse::plugin::delivering::{
    Action, Body, Delivery, Guest, HttpRequest, Outcome, Payload, Response, Step,
};
use bindings::posthouse::plugin::kv;

#[expect(unsafe_code, reason = "generated from wit/")]
mod bindings {
    wit_bindgen::generate!({ path: "../../../wit", world: "deliver-with-kv" });

    export!(KeepsDeliver);
    use super::KeepsDeliver;
}

/// What it fails on.
const GONE: u16 = 410;
const TIMEOUT_MS: u32 = 5_000;

struct KeepsDeliver;

impl Guest for KeepsDeliver {
    fn begin(delivery: Delivery, _body: &Body) -> Result<Step, String> {
        // Let go of: only the call that answers `done` writes.
        count("begun")?;
        Ok(Step {
            action: Action::Http(HttpRequest {
                method: "POST".to_owned(),
                url: delivery.endpoint,
                headers: Vec::new(),
                body: Payload::Message,
                timeout_ms: TIMEOUT_MS,
            }),
            state: Vec::new(),
        })
    }

    fn resume(_delivery: Delivery, _state: Vec<u8>, response: Response) -> Result<Step, String> {
        let outcome = match response {
            Response::Http(answer) if (200..300).contains(&answer.status) => {
                count("taken")?;
                Outcome::Acknowledged
            }
            Response::Http(answer) if answer.status == GONE => {
                return Err(format!("gone after {} were taken", kept("taken")?));
            }
            _ => {
                count("refused")?;
                Outcome::RetryAfter(100)
            }
        };
        Ok(Step {
            action: Action::Done(outcome),
            state: Vec::new(),
        })
    }
}

fn count(key: &str) -> Result<(), String> {
    let count = kept(key)? + 1;
    kv::put(key, count.to_string().as_bytes(), None).map_err(refused)
}

fn kept(key: &str) -> Result<u64, String> {
    let held = kv::get(key).map_err(refused)?;
    let text = held.and_then(|entry| String::from_utf8(entry.value).ok());
    Ok(text.and_then(|text| text.parse().ok()).unwrap_or_default())
}

fn refused(refusal: kv::Refusal) -> String {
    format!("refused: {refusal:?}")
}
