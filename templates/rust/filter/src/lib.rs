//! A filter: keeps out what carries a tag, and takes the blanks around a body away.
//!
//! The tag is the binding's configuration (`posthouse plugin bind --config draft`); it is `test` when none is given.

use bindings::exports::posthouse::plugin::filtering::{Body, Envelope, Guest, Replacement, Verdict};
use bindings::posthouse::plugin::{config, log};

mod bindings {
    wit_bindgen::generate!({ path: "wit", world: "my-world" });
    export!(Plugin);
    use super::Plugin;
}

struct Plugin;

impl Guest for Plugin {
    fn filter(envelope: Envelope, body: &Body) -> Result<Verdict, String> {
        let unwanted = configured();
        if envelope.tags.contains(&unwanted) {
            log::write(log::Level::Info, &format!("{} is tagged {unwanted}", envelope.id));
            return Ok(Verdict::Drop);
        }
        let bytes = body.read(0, body.len());
        let trimmed = bytes.trim_ascii();
        // No body may be empty: one that is nothing but blanks keeps them.
        if trimmed.len() == bytes.len() || trimmed.is_empty() {
            return Ok(Verdict::Pass);
        }
        Ok(Verdict::Replace(Replacement {
            body: trimmed.to_vec(),
            attributes: envelope.attributes,
        }))
    }
}

fn configured() -> String {
    let tag = config::get();
    if tag.is_empty() { "test".to_owned() } else { tag }
}
