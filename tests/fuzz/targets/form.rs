//! Requests of CMQ's API as any bytes: taken apart, read as an action, answered.
//!
//! The input's first byte says how the request came; the rest is its form.

#![no_main]

use libfuzzer_sys::fuzz_target;
use posthouse_gateway::cmq::{API_PATH, CmqError, Config, RawCall, parse, reply};
use posthouse_model::{MessageId, Name};

fuzz_target!(|input: &[u8]| {
    let Some((&way, form)) = input.split_first() else {
        return;
    };
    let (query, body): (&[u8], &[u8]) = if way & 2 == 0 { (b"", form) } else { (form, b"") };
    let raw = RawCall {
        method: if way & 1 == 0 { "POST" } else { "GET" },
        host: (way & 4 == 0).then_some("127.0.0.1:7070"),
        path: API_PATH,
        query,
        body,
    };
    let call = match parse(raw) {
        Ok(call) => call,
        Err(error) => return answered(&error, None),
    };
    let said = call.client_request_id();
    let _ = call.request_client();
    if let Err(error) = call.credentials() {
        answered(&error, said);
    }
    match call.action(&Config::default()) {
        Ok(action) => {
            assert!(action.name().eq_ignore_ascii_case(call.action_name()));
            // A name that came out of a request stays one.
            if let Some((_, name)) = action.subject() {
                assert_eq!(Name::parse(name.as_str()).as_ref(), Ok(name));
            }
            let head = reply::Head {
                request_id: 1,
                client_request_id: said,
            };
            read(&reply::sent(&head, MessageId(1)));
        }
        Err(error) => answered(&error, said),
    }
});

/// Checks that what is said back of a request, with the client's words in it, is still one JSON object with a code.
fn answered(error: &CmqError, client_request_id: Option<u64>) {
    let head = reply::Head {
        request_id: 1,
        client_request_id,
    };
    let answer = read(&reply::error(&head, error));
    assert!(answer["code"].as_u64().is_some_and(|code| code != 0), "{answer}");
}

fn read(answer: &[u8]) -> serde_json::Value {
    serde_json::from_slice(answer).expect("a reply is JSON")
}
