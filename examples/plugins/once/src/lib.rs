//! A filter that lets each message pass once: another that begins with the same line within a time is dropped.
//!
//! So a producer that does not know whether its message came through may send it again, also through another node and after
//! a failover: what has passed is kept in the binding's store, which is stored with the message. The configuration
//! says for how many seconds; five minutes if it is empty.

use bindings::exports::posthouse::plugin::filtering::{Body, Envelope, Guest, Verdict};
use bindings::posthouse::plugin::{config, kv, metrics};

/// What `wit-bindgen` makes of the contract. `export!` is last: it needs to see the type below.
mod bindings {
    wit_bindgen::generate!({ path: "../../../wit", world: "filter-with-kv" });

    export!(Once);
    use super::Once;
}

/// The longest line that is looked at, and the longest key of a store, in bytes.
const NAME_BYTES_MAX: u32 = 256;
const USUAL_SECONDS: u64 = 300;

struct Once;

impl Guest for Once {
    fn filter(_envelope: Envelope, body: &Body) -> Result<Verdict, String> {
        let beginning = body.read(0, NAME_BYTES_MAX + 1);
        let Some(name) = name(&beginning) else {
            return Err("the body does not begin with a line of 1 to 256 bytes of text".to_owned());
        };
        let ttl_ms = seconds(&config::get())?.saturating_mul(1_000);
        // Zero is the version of what is not there.
        match kv::swap(name, 0, &[], Some(ttl_ms)) {
            Ok(true) => Ok(Verdict::Pass),
            Ok(false) => {
                metrics::add("repeated", 1);
                Ok(Verdict::Drop)
            }
            Err(refusal) => Err(format!("what has passed cannot be kept: {refusal:?}")),
        }
    }
}

fn name(beginning: &[u8]) -> Option<&str> {
    let line = beginning.split(|byte| *byte == b'\n').next()?;
    let name = std::str::from_utf8(line).ok()?.trim_end_matches('\r');
    (!name.is_empty() && name.len() <= NAME_BYTES_MAX as usize).then_some(name)
}

fn seconds(configuration: &str) -> Result<u64, String> {
    match configuration.trim() {
        "" => Ok(USUAL_SECONDS),
        text => text
            .parse()
            .map_err(|_| format!("the configuration is to be a number of seconds, not {text}")),
    }
}
