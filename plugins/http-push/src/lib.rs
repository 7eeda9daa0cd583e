//! The built-in push to URLs, as CMQ does it: one POST an attempt, and any 2xx is an acknowledgement.

mod json;
mod request;
mod retry;
#[cfg(test)]
mod sample;

use bindings::exports::posthouse::plugin::delivering::{
    Action, Body, Delivery, Guest, Outcome, Response, Step,
};

#[expect(unsafe_code, reason = "generated from wit/")]
mod bindings {
    wit_bindgen::generate!({ path: "../../wit", world: "deliver" });

    export!(HttpPush);
    use super::HttpPush;
}

struct HttpPush;

impl Guest for HttpPush {
    fn begin(delivery: Delivery, body: &Body) -> Result<Step, String> {
        let request = request::of(&delivery, || body.read(0, body.len()))?;
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

/// Everything that an attempt needs to know is told again at each call, so nothing is kept between them.
fn step(action: Action) -> Step {
    Step {
        action,
        state: Vec::new(),
    }
}
