//! Signatures in the manner of Standard Webhooks: who receives a push can tell that it comes from here, that nothing of
//! it was changed, and when it was sent.

use crate::bindings::posthouse::plugin::signer::{Algorithm, Signature};

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// What a signature is over, beside the body.
pub(crate) struct Webhook {
    /// The message, the same in every attempt: a receiver that knows it has seen it.
    pub(crate) id: u64,
    /// When this attempt is made, in seconds since 1970.
    pub(crate) sent_seconds: u64,
}

// === impl Webhook ===

impl Webhook {
    /// Returns what stands before the body in what is signed.
    pub(crate) fn prefix(&self) -> Vec<u8> {
        format!("{}.{}.", self.id, self.sent_seconds).into_bytes()
    }

    /// Returns the headers that a receiver checks a body by.
    pub(crate) fn headers(&self, signatures: &[Signature]) -> [(String, String); 3] {
        let signatures: Vec<String> = signatures.iter().map(shown).collect();
        [
            ("webhook-id".to_owned(), self.id.to_string()),
            ("webhook-timestamp".to_owned(), self.sent_seconds.to_string()),
            ("webhook-signature".to_owned(), signatures.join(" ")),
        ]
    }
}

fn shown(signature: &Signature) -> String {
    let version = match signature.algorithm {
        Algorithm::HmacSha256 => "v1",
        Algorithm::Ed25519 => "v1a",
    };
    format!("{version},{}", base64(&signature.bytes))
}

/// Returns bytes in base64, with padding.
fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let mut three = [0; 3];
        three[..group.len()].copy_from_slice(group);
        let [first, second, third] = three.map(u32::from);
        let bits = first << 16 | second << 8 | third;
        for place in 0..4 {
            if place > group.len() {
                text.push('=');
                continue;
            }
            let digit = (bits >> (18 - 6 * place)) & 0x3f;
            text.push(char::from(DIGITS[digit as usize]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_gives_the_values_of_rfc_4648() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }

    #[test]
    fn each_signature_stands_behind_its_version_newest_first() {
        let webhook = Webhook {
            id: 72_057_594_037_927_937,
            sent_seconds: 1_767_225_600,
        };
        assert_eq!(webhook.prefix(), b"72057594037927937.1767225600.");
        let signatures = [
            Signature {
                algorithm: Algorithm::Ed25519,
                bytes: b"foobar".to_vec(),
            },
            Signature {
                algorithm: Algorithm::HmacSha256,
                bytes: b"foob".to_vec(),
            },
        ];
        let [id, timestamp, signature] = webhook.headers(&signatures);
        assert_eq!(id, ("webhook-id".to_owned(), "72057594037927937".to_owned()));
        assert_eq!(
            timestamp,
            ("webhook-timestamp".to_owned(), "1767225600".to_owned())
        );
        let expected = "v1a,Zm9vYmFy v1,Zm9vYg==".to_owned();
        assert_eq!(signature, ("webhook-signature".to_owned(), expected));
    }
}
