//! A seal plugin: each body under a data key of the master key, and the data key, wrapped, beside it.
//!
//! Which master keys may seal is the binding's configuration: names, apart from each other by spaces (`posthouse plugin
//! bind --config "main spare"`); every one when none is given. What was sealed before is opened all the same.
//!
//! Keys never come here: they are lent, and the host does the arithmetic. What was sealed is opened by the very version
//! that sealed it, for as long as it is kept, so a version is kept too, and so is the way it lays a header out.

use bindings::exports::posthouse::plugin::sealing::{Body, Context, Guest, Sealed};
use bindings::posthouse::plugin::{config, keyring};

mod bindings {
    wit_bindgen::generate!({ path: "wit", world: "seal" });
    export!(Plugin);
    use super::Plugin;
}

/// How the header is laid out: this byte, the nonce, and the wrapped key.
const LAYOUT: u8 = 1;
const NONCE_BYTES: usize = 12;

struct Plugin;

impl Guest for Plugin {
    fn seal(context: Context, master_key: String, plain: &Body) -> Result<Sealed, String> {
        if !may_seal(&master_key) {
            return Err(format!("{master_key} is not among the configured keys"));
        }
        let key = keyring::current(&master_key)?;
        let sealed = key.seal(&bound_to(&context), plain);
        Ok(Sealed {
            header: [&[LAYOUT], &sealed.nonce[..], &key.wrapped()].concat(),
            body: sealed.body,
        })
    }

    fn open(context: Context, header: Vec<u8>, sealed: &Body) -> Result<Body, String> {
        let Some((&LAYOUT, rest)) = header.split_first() else {
            return Err("the header is laid out in a way that is not known".to_owned());
        };
        let Some((nonce, wrapped)) = rest.split_at_checked(NONCE_BYTES) else {
            return Err("the header is cut short".to_owned());
        };
        keyring::unwrap(wrapped)?.open(nonce, &bound_to(&context), sealed)
    }
}

fn may_seal(master_key: &str) -> bool {
    let configured = config::get();
    let mut names = configured.split_whitespace().peekable();
    names.peek().is_none() || names.any(|name| name == master_key)
}

/// What a sealed body is bound to: as another message, or in another place, it does not open.
fn bound_to(context: &Context) -> Vec<u8> {
    [
        &context.tenant.to_be_bytes()[..],
        &context.incarnation.to_be_bytes(),
        &context.message_id.to_be_bytes(),
    ]
    .concat()
}
