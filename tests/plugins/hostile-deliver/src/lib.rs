//! A delivery that does what its configuration says, in `begin` or, if that begins with `resume-`, in `resume`.
//! Without one it posts the message and takes any answer for an acknowledgement.

use std::hint::spin_loop;

use bindings::exports::posthouse::plugin::delivering::{
    Action, Body, Delivery, EnqueueRequest, Guest, HttpRequest, Outcome, Payload, Response, Step,
};
use bindings::posthouse::plugin::config;

#[expect(unsafe_code, reason = "generated from wit/")]
mod bindings {
    wit_bindgen::generate!({ path: "../../../wit", world: "deliver" });

    export!(HostileDeliver);
    use super::HostileDeliver;
}

/// More than is kept between two steps.
const GIANT_STATE_BYTES: usize = 4_097;
/// More than a request may carry.
const GIANT_PAYLOAD_BYTES: usize = 9 * 1_048_576;
const MANY_HEADERS: usize = 1_000;
const LONG_TEXT_BYTES: usize = 1_048_576;

struct HostileDeliver;

impl Guest for HostileDeliver {
    fn begin(delivery: Delivery, _body: &Body) -> Result<Step, String> {
        let mut request = post(&delivery.endpoint);
        match config::get().as_str() {
            "loop" => never_come_back(),
            "trap" => panic!("as it was told to"),
            "fail" => return Err("as it was told to".to_owned()),
            "giant-state" => {
                return Ok(Step {
                    action: Action::Http(request),
                    state: vec![1; GIANT_STATE_BYTES],
                });
            }
            "giant-payload" => request.body = Payload::Bytes(vec![b'x'; GIANT_PAYLOAD_BYTES]),
            "many-headers" => request.headers = vec![header("x-many", "1"); MANY_HEADERS],
            "long-header" => request.headers = vec![header("x-long", &"1".repeat(LONG_TEXT_BYTES))],
            "line-in-header" => request.headers = vec![header("x-tag", "a\r\nx-admin: 1")],
            "line-in-header-name" => request.headers = vec![header("x-tag: a\r\nx-admin", "1")],
            "frames-request" => request.headers = vec![header("Transfer-Encoding", "chunked")],
            "other-host" => request.headers = vec![header("Host", "metadata.internal")],
            "line-in-method" => request.method = "POST / HTTP/1.1\r\nx-admin: 1\r\n\r\nGET".to_owned(),
            "connect" => request.method = "CONNECT".to_owned(),
            "metadata" => request.url = "http://169.254.169.254/latest/meta-data/".to_owned(),
            "file" => request.url = "file:///etc/passwd".to_owned(),
            "no-url" => request.url = "http://[".to_owned(),
            "long-url" => request.url = format!("http://example.com/{}", "a".repeat(LONG_TEXT_BYTES)),
            "for-ever" => request.timeout_ms = u32::MAX,
            "other-queue" => {
                return Ok(step(Action::Enqueue(EnqueueRequest {
                    queue: "../other".to_owned(),
                })));
            }
            _ => {}
        }
        Ok(step(Action::Http(request)))
    }

    fn resume(delivery: Delivery, _state: Vec<u8>, _response: Response) -> Result<Step, String> {
        let outcome = match config::get().as_str() {
            "resume-loop" => never_come_back(),
            "resume-trap" => panic!("as it was told to"),
            "resume-fail" => return Err("as it was told to".to_owned()),
            "resume-again" => return Ok(step(Action::Http(post(&delivery.endpoint)))),
            "resume-at-once" => Outcome::RetryAfter(0),
            "resume-never" => Outcome::RetryAfter(u64::MAX),
            "resume-long-drop" => Outcome::Drop("dropped ".repeat(LONG_TEXT_BYTES / 8)),
            _ => Outcome::Acknowledged,
        };
        Ok(step(Action::Done(outcome)))
    }
}

fn step(action: Action) -> Step {
    Step {
        action,
        state: Vec::new(),
    }
}

fn post(url: &str) -> HttpRequest {
    HttpRequest {
        method: "POST".to_owned(),
        url: url.to_owned(),
        headers: Vec::new(),
        body: Payload::Message,
        timeout_ms: 1_000,
    }
}

fn header(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn never_come_back() -> ! {
    loop {
        spin_loop();
    }
}
