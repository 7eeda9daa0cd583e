//! Requests as a client signs them, for tools, examples and tests.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use posthouse_model::Time;

use super::form::encode_onto;
use super::signature::signed_name;
use super::{Digest, Hmac};

/// What the requests of one client are signed with.
#[derive(Clone, Copy)]
pub struct Signer<'a> {
    /// The access key.
    pub secret_id: &'a str,
    /// Its secret.
    pub secret: &'a [u8],
    /// What to sign with.
    pub digest: Digest,
    /// `GET` or `POST`.
    pub method: &'a str,
    /// The text of the `Host` header.
    pub host: &'a str,
    /// The path asked for.
    pub path: &'a str,
}

// === impl Signer ===

impl Signer<'_> {
    /// Returns the signed form of an action: the body of a POST, or the query of a GET.
    pub fn form(
        &self,
        hmac: &dyn Hmac,
        action: &str,
        parameters: &[(&str, &[u8])],
        now: Time,
        nonce: u64,
    ) -> Vec<u8> {
        let timestamp = now.seconds().to_string();
        let nonce = nonce.to_string();
        let mut pairs: Vec<(&str, &[u8])> = vec![
            ("Action", action.as_bytes()),
            ("SecretId", self.secret_id.as_bytes()),
            ("Timestamp", timestamp.as_bytes()),
            ("Nonce", nonce.as_bytes()),
            ("SignatureMethod", self.digest.method().as_bytes()),
            ("RequestClient", b"posthouse"),
        ];
        pairs.extend_from_slice(parameters);
        pairs.sort_by_key(|(name, _)| name.as_bytes());

        let names: Vec<_> = pairs
            .iter()
            .map(|(name, _)| signed_name(name.as_bytes()))
            .collect();
        let mut parts = vec![
            self.method.as_bytes(),
            self.host.as_bytes(),
            self.path.as_bytes(),
            b"?",
        ];
        for (at, (name, (_, value))) in names.iter().zip(&pairs).enumerate() {
            if at > 0 {
                parts.push(b"&");
            }
            parts.extend([&name[..], b"=", value]);
        }
        let signature = STANDARD.encode(self.digest.sign(hmac, self.secret, &parts));

        let mut form = Vec::new();
        for (name, value) in &pairs {
            encode_onto(&mut form, name.as_bytes(), value);
        }
        encode_onto(&mut form, b"Signature", signature.as_bytes());
        form
    }
}

/// Never shows the secret.
impl std::fmt::Debug for Signer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signer({} at {})", self.secret_id, self.host)
    }
}
