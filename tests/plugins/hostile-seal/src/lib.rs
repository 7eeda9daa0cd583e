//! A seal that does what its configuration says. Without one it seals under the key that it is told, bound to nothing.

use std::cell::RefCell;
use std::hint::spin_loop;

use bindings::exports::posthouse::plugin::sealing::{Body, Context, Guest, Sealed};
use bindings::posthouse::plugin::config;
use bindings::posthouse::plugin::keyring::{self, DataKey};

#[expect(unsafe_code, reason = "generated from wit/")]
mod bindings {
    wit_bindgen::generate!({ path: "../../../wit", world: "seal" });

    export!(HostileSeal);
    use super::HostileSeal;
}

const NONCE_BYTES: usize = 12;
/// More than is kept beside a body.
const GIANT_HEADER_BYTES: usize = 4_097;
/// More than a key seals with.
const GIANT_ASSOCIATED_BYTES: usize = 4_097;

thread_local! {
    static KEPT: RefCell<Vec<DataKey>> = const { RefCell::new(Vec::new()) };
}

struct HostileSeal;

impl Guest for HostileSeal {
    fn seal(_context: Context, master_key: String, plain: &Body) -> Result<Sealed, String> {
        let how = config::get();
        let master_key = how.strip_prefix("other-key:").unwrap_or(&master_key);
        let key = keyring::current(master_key)?;
        let sealed = match how.as_str() {
            "giant-associated" => key.seal(&[1; GIANT_ASSOCIATED_BYTES], plain),
            _ => key.seal(&[], plain),
        };
        let header = [&sealed.nonce[..], &key.wrapped()].concat();
        match how.as_str() {
            "loop" => loop {
                spin_loop();
            },
            "trap" => panic!("as it was told to"),
            "fail" => Err("as it was told to".to_owned()),
            "clear-header" => Ok(Sealed {
                header: plain.read(0, plain.len()),
                body: sealed.body,
            }),
            "giant-header" => Ok(Sealed {
                header: vec![1; GIANT_HEADER_BYTES],
                body: sealed.body,
            }),
            "seal-again" => Ok(Sealed {
                header,
                body: sealed_often(&key, sealed.body),
            }),
            "clear" => Ok(Sealed {
                header,
                body: key.open(&sealed.nonce, &[], &sealed.body)?,
            }),
            "keep" => {
                KEPT.with_borrow_mut(|kept| kept.push(key));
                Ok(Sealed {
                    header,
                    body: sealed.body,
                })
            }
            "hoard" => loop {
                let key = keyring::current(master_key)?;
                KEPT.with_borrow_mut(|kept| kept.push(key));
            },
            _ => Ok(Sealed {
                header,
                body: sealed.body,
            }),
        }
    }

    fn open(_context: Context, header: Vec<u8>, sealed: &Body) -> Result<Body, String> {
        match config::get().as_str() {
            "open-loop" => loop {
                spin_loop();
            },
            "open-trap" => panic!("as it was told to"),
            "open-fail" => return Err("as it was told to".to_owned()),
            _ => {}
        }
        let (nonce, wrapped) = header
            .split_at_checked(NONCE_BYTES)
            .ok_or("the header is cut short")?;
        keyring::unwrap(wrapped)?.open(nonce, &[], sealed)
    }
}

/// Seals what is sealed already, again and again, until it is larger than any body.
fn sealed_often(key: &DataKey, mut body: Body) -> Body {
    loop {
        body = key.seal(&[], &body).body;
        if body.len() > 1_048_576 {
            return body;
        }
    }
}
