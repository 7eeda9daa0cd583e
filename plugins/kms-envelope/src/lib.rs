//! The built-in sealing: each body under a data key, and the data key, wrapped, beside it.
//!
//! Keys never enter this guest: it holds handles, and the host does the arithmetic. What it decides is which key
//! seals, what a sealed body is bound to, and how the header is laid out.

mod header;

use bindings::exports::posthouse::plugin::sealing::{Body, Context, Guest, Sealed};
use bindings::posthouse::plugin::keyring;
use header::Header;

#[expect(unsafe_code, reason = "generated from wit/")]
mod bindings {
    wit_bindgen::generate!({ path: "../../wit", world: "seal" });

    export!(KmsEnvelope);
    use super::KmsEnvelope;
}

/// Tenant, incarnation and message id, big-endian.
const ASSOCIATED_BYTES: usize = 4 + 8 + 8;

struct KmsEnvelope;

impl Guest for KmsEnvelope {
    fn seal(context: Context, master_key: String, plain: &Body) -> Result<Sealed, String> {
        let key = keyring::current(&master_key)?;
        let sealed = key.seal(&associated(&context), plain);
        let header = Header {
            wrapped_key: &key.wrapped(),
            nonce: &sealed.nonce,
        }
        .encode()?;
        Ok(Sealed {
            header,
            body: sealed.body,
        })
    }

    fn open(context: Context, header: Vec<u8>, sealed: &Body) -> Result<Body, String> {
        let header = Header::parse(&header)?;
        let key = keyring::unwrap(header.wrapped_key)?;
        key.open(header.nonce, &associated(&context), sealed)
    }
}

/// Returns what a sealed body is bound to: as another message, or in another place, it does not open.
fn associated(context: &Context) -> [u8; ASSOCIATED_BYTES] {
    let mut bytes = [0; ASSOCIATED_BYTES];
    bytes[..4].copy_from_slice(&context.tenant.to_be_bytes());
    bytes[4..12].copy_from_slice(&context.incarnation.to_be_bytes());
    bytes[12..].copy_from_slice(&context.message_id.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_body_is_bound_to_is_laid_out_for_good() {
        let context = Context {
            tenant: 0x0102_0304,
            incarnation: 0x1112_1314_1516_1718,
            message_id: 0x2122_2324_2526_2728,
        };
        let expected = [
            0x01, 0x02, 0x03, 0x04, // tenant
            0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, // incarnation
            0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28, // message id
        ];
        assert_eq!(associated(&context), expected);
    }
}
