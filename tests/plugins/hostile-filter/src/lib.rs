//! A filter that does what its configuration says to a message whose body begins with `guilty`. Any other passes.

use std::hint::{black_box, spin_loop};

use bindings::exports::posthouse::plugin::filtering::{
    Attribute, Body, Envelope, Guest, Replacement, Verdict,
};
use bindings::posthouse::plugin::{config, log, metrics};

#[expect(unsafe_code, reason = "generated from wit/")]
mod bindings {
    wit_bindgen::generate!({ path: "../../../wit", world: "filter" });

    export!(HostileFilter);
    use super::HostileFilter;
}

const GUILTY_BODY: &[u8] = b"guilty";
/// More than any body may have.
const GIANT_BODY_BYTES: usize = 1_048_577;
/// More than a call may give back.
const GIANT_OUTPUT_BYTES: usize = 9 * 1_048_576;
const MANY_ATTRIBUTES: usize = 10_000;
/// More lines, and longer ones, than are kept of a call.
const MANY_LINES: usize = 1_000;
const LONG_LINE_BYTES: usize = 100_000;
/// More figures than are kept of a version, and than are taken of a call.
const MANY_FIGURES: usize = 1_000;
/// A handle to nothing.
const FORGED_HANDLE: u32 = 12_345;

struct HostileFilter;

impl Guest for HostileFilter {
    fn filter(_envelope: Envelope, body: &Body) -> Result<Verdict, String> {
        if body.read(0, u32::MAX).starts_with(GUILTY_BODY) {
            return misbehave(&config::get(), body);
        }
        Ok(Verdict::Pass)
    }
}

fn misbehave(how: &str, body: &Body) -> Result<Verdict, String> {
    match how {
        "loop" => loop {
            spin_loop();
        },
        "call" => loop {
            black_box(body.len());
        },
        "hoard" => {
            let mut hoard = Vec::new();
            loop {
                hoard.push(black_box(vec![1u8; GIANT_BODY_BYTES]));
            }
        }
        "chatter" => {
            for _ in 0..MANY_LINES {
                log::write(log::Level::Info, &"chatter\n".repeat(LONG_LINE_BYTES / 8));
            }
            Ok(Verdict::Pass)
        }
        "read-past" => {
            let past = [body.read(body.len(), 1), body.read(u32::MAX, u32::MAX)].concat();
            if past.is_empty() {
                Ok(Verdict::Drop)
            } else {
                Err("there were bytes past the end".to_owned())
            }
        }
        "count" => {
            metrics::add("guilty", 1);
            metrics::observe("body_bytes", f64::from(body.len()));
            Ok(Verdict::Pass)
        }
        "count-and-trap" => {
            metrics::add("guilty", 1);
            panic!("as it was told to")
        }
        "count-badly" => {
            metrics::add("no name\"} 1\n", 1);
            metrics::observe("not_a_number", f64::NAN);
            for number in 0..MANY_FIGURES {
                metrics::add(&format!("figure_{number}"), u64::MAX);
            }
            Ok(Verdict::Drop)
        }
        "recurse" => Ok(match recurse(body.len()) {
            0 => Verdict::Drop,
            _ => Verdict::Pass,
        }),
        "forge" => Ok(match forged_len() {
            0 => Verdict::Drop,
            _ => Verdict::Pass,
        }),
        "trap" => panic!("as it was told to"),
        "fail" => Err("as it was told to".to_owned()),
        "fail-long" => Err("as it was told to ".repeat(LONG_LINE_BYTES)),
        "giant-body" => replace(GIANT_BODY_BYTES, Vec::new()),
        "giant-output" => replace(GIANT_OUTPUT_BYTES, Vec::new()),
        "many-attributes" => replace(
            1,
            (0..MANY_ATTRIBUTES)
                .map(|number| attribute(&number.to_string()))
                .collect(),
        ),
        "same-attribute" => replace(1, vec![attribute("same"), attribute("same")]),
        "nameless-attribute" => replace(1, vec![attribute("")]),
        "no-number" => replace(
            1,
            vec![("n".to_owned(), Attribute::Number("not a number".to_owned()))],
        ),
        _ => Ok(Verdict::Drop),
    }
}

/// Calls itself deeper than any stack.
fn recurse(depth: u32) -> u32 {
    let frame = black_box([depth; 64]);
    if frame[0] == u32::MAX {
        return 0;
    }
    recurse(depth.saturating_add(1)).wrapping_add(frame[0])
}

/// Asks for the length of a body that it was never given.
#[expect(unsafe_code, reason = "generated bindings forge no handles")]
fn forged_len() -> u32 {
    #[link(wasm_import_module = "posthouse:plugin/bodies@0.1.0")]
    unsafe extern "C" {
        #[link_name = "[method]body.len"]
        fn body_len(handle: u32) -> u32;
    }
    // SAFETY: a handle that names nothing is the host's to refuse.
    unsafe { body_len(FORGED_HANDLE) }
}

fn replace(body_bytes: usize, attributes: Vec<(String, Attribute)>) -> Result<Verdict, String> {
    Ok(Verdict::Replace(Replacement {
        body: vec![b'x'; body_bytes],
        attributes,
    }))
}

fn attribute(name: &str) -> (String, Attribute) {
    (name.to_owned(), Attribute::Text("value".to_owned()))
}
