//! The built-in push to URLs, as CMQ does it: one POST an attempt, and any 2xx is an acknowledgement.
//!
//! Bound with the configuration `{"sign":"NAME"}` it signs each push with the tenant's signing key of that name, in the
//! manner of Standard Webhooks.

mod json;
mod request;
mod retry;
#[cfg(test)]
mod sample;
mod settings;
mod webhook;

use std::sync::OnceLock;

use bindings::exports::posthouse::plugin::delivering::{
    Action, Body, Delivery, Guest, HttpRequest, Outcome, Payload, Response, Step,
};
use bindings::posthouse::plugin::{config, signer};
use settings::Settings;
use webhook::Webhook;

#[expect(unsafe_code, reason = "generated from wit/")]
mod bindings {
    wit_bindgen::generate!({ path: "../../wit", world: "deliver" });

    export!(HttpPush);
    use super::HttpPush;
}

/// What the configuration says, read once in an instance.
static SETTINGS: OnceLock<Result<Settings, String>> = OnceLock::new();

struct HttpPush;

impl Guest for HttpPush {
    fn begin(delivery: Delivery, body: &Body) -> Result<Step, String> {
        let settings = SETTINGS
            .get_or_init(|| Settings::parse(&config::get()))
            .as_ref()
            .map_err(Clone::clone)?;
        let mut request = request::of(&delivery, || body.read(0, body.len()))?;
        if let Some(key) = &settings.sign {
            sign(key, &delivery, body, &mut request)?;
        }
        Ok(step(Action::Http(request)))
    }

    fn resume(delivery: Delivery, _state: Vec<u8>, response: Response) -> Result<Step, String> {
        let outcome = match response {
            Response::Http(response) if (200..300).contains(&response.status) => Outcome::Acknowledged,
            Response::Http(response) => {
                retry::after_failure(&delivery, &format!("status {}", response.status))
            }
            Response::Failed(reason) => retry::after_failure(&delivery, &reason),
            Response::Enqueued => {
                return Err("a request for HTTP was answered by a queue".to_owned());
            }
        };
        Ok(step(Action::Done(outcome)))
    }
}

/// Adds what a receiver checks the request by, over the bytes that it will carry.
fn sign(key: &str, delivery: &Delivery, body: &Body, request: &mut HttpRequest) -> Result<(), String> {
    let webhook = Webhook {
        id: delivery.message_id,
        sent_seconds: delivery.published_ms.saturating_add(delivery.age_ms) / 1_000,
    };
    let signatures = match &request.body {
        Payload::Message => signer::sign(key, &webhook.prefix(), body)?,
        Payload::Bytes(bytes) => signer::sign_bytes(key, &webhook.prefix(), bytes)?,
    };
    request.headers.extend(webhook.headers(&signatures));
    Ok(())
}

/// Everything that an attempt needs to know is told again at each call, so nothing is kept between them.
fn step(action: Action) -> Step {
    Step {
        action,
        state: Vec::new(),
    }
}
