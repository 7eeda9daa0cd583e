//! How admin requests are signed, and how signatures are checked: HMAC-SHA256 with an access key's secret.
//!
//! The signed text says what is asked for and when, in five lines:
//!
//! ```text
//! POSTHOUSE-HMAC-SHA256
//! <seconds since 1970>
//! <METHOD>
//! <path and query as sent>
//! <SHA-256 of the body, hexadecimal>
//! ```
//!
//! The signature goes in `Authorization`, the body's digest in [`CONTENT_DIGEST_HEADER`], so that a signature
//! is checked before any of the body is read. A request can be sent again by whoever sees it while its time is
//! near enough: use TLS where others can see.

use std::time::Duration;

use posthouse_keyring::{hmac_sha256, sha256, verify_equal};
use posthouse_stream::signing::parse_hexadecimal;

use super::shapes::hexadecimal;

/// What an access key's id is, and how long, at every door.
pub use posthouse_stream::signing::{ID_BYTES_MAX as ACCESS_KEY_ID_BYTES_MAX, is_access_key_id};

/// The scheme in `Authorization`, and the signed text's first line.
pub const SCHEME: &str = "POSTHOUSE-HMAC-SHA256";
/// The header with the body's SHA-256 in hexadecimal.
pub const CONTENT_DIGEST_HEADER: &str = "x-posthouse-content-sha256";

/// The longest `Authorization`, in bytes.
const AUTHORIZATION_BYTES_MAX: usize = 512;

/// SHA-256 of a body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ContentDigest([u8; 32]);

/// What a signature is made over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Signed<'a> {
    /// The method, in capitals.
    pub method: &'a str,
    /// Path and query, as sent.
    pub target: &'a str,
    /// The body's digest.
    pub content: ContentDigest,
}

/// What a request says of who signed it and when. Nothing is known to be true before [`Self::is_by`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Authorization {
    /// The access key's id.
    pub id: String,
    /// When it was signed, in seconds since 1970.
    pub timestamp_seconds: u64,
    signature: [u8; 32],
}

/// Why a request is taken to be from nobody.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AuthError {
    /// There is no `Authorization` header.
    #[error("the request is not signed: it has no Authorization header")]
    Unsigned,
    /// It is of another form.
    #[error("Authorization must be `{SCHEME} id=…,timestamp=…,signature=…`")]
    Malformed,
    /// The body's digest is absent or of another form.
    #[error("{CONTENT_DIGEST_HEADER} must be the body's SHA-256 as 64 hexadecimal digits")]
    NoDigest,
    /// It was signed too long ago, or is yet to be.
    #[error(
        "the request's time is {skew_seconds} s from the server's, over the {max_seconds} s allowed; set the clock"
    )]
    Skewed {
        /// How far the two are apart.
        skew_seconds: u64,
        /// How far they may be.
        max_seconds: u64,
    },
    /// The id is unknown or the signature is not by its secret: which one is not told.
    #[error("the access key is unknown or the signature is wrong")]
    Wrong,
    /// The key is disabled.
    #[error("the access key is disabled")]
    Disabled,
    /// The body is not the one that was signed.
    #[error("the body is not the one that was signed")]
    OtherBody,
}

// === impl ContentDigest ===

impl ContentDigest {
    /// Returns the digest of a body.
    pub fn of(body: &[u8]) -> ContentDigest {
        ContentDigest(sha256(body))
    }

    /// Returns the digest that a header's text names.
    ///
    /// # Errors
    ///
    /// Refuses what is not 64 hexadecimal digits.
    pub fn parse(text: &str) -> Result<ContentDigest, AuthError> {
        parse_hexadecimal(text)
            .map(ContentDigest)
            .ok_or(AuthError::NoDigest)
    }
}

impl std::fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hexadecimal(&self.0))
    }
}

// === impl Signed ===

impl Signed<'_> {
    fn text(&self, timestamp_seconds: u64) -> String {
        format!(
            "{SCHEME}\n{timestamp_seconds}\n{}\n{}\n{}",
            self.method, self.target, self.content
        )
    }
}

// === impl Authorization ===

impl Authorization {
    /// Signs a request.
    pub fn sign(id: &str, secret: &[u8], timestamp_seconds: u64, request: &Signed<'_>) -> Authorization {
        let signature = hmac_sha256(secret, request.text(timestamp_seconds).as_bytes());
        Authorization {
            id: id.to_owned(),
            timestamp_seconds,
            signature,
        }
    }

    /// Returns what the header's text says.
    ///
    /// # Errors
    ///
    /// Refuses another form, and fields that are missing, unknown or given twice.
    pub fn parse(header: &str) -> Result<Authorization, AuthError> {
        if header.len() > AUTHORIZATION_BYTES_MAX {
            return Err(AuthError::Malformed);
        }
        let fields = header
            .strip_prefix(SCHEME)
            .and_then(|rest| rest.strip_prefix(' '));
        let (mut id, mut timestamp, mut signature) = (None, None, None);
        for field in fields.ok_or(AuthError::Malformed)?.split(',') {
            let (name, value) = field.trim().split_once('=').ok_or(AuthError::Malformed)?;
            let place = match name {
                "id" => &mut id,
                "timestamp" => &mut timestamp,
                "signature" => &mut signature,
                _ => return Err(AuthError::Malformed),
            };
            if place.replace(value).is_some() {
                return Err(AuthError::Malformed);
            }
        }
        Authorization::checked(id, timestamp, signature).ok_or(AuthError::Malformed)
    }

    fn checked(id: Option<&str>, timestamp: Option<&str>, signature: Option<&str>) -> Option<Authorization> {
        let id = id.filter(|id| is_access_key_id(id))?.to_owned();
        let timestamp_seconds = timestamp?.parse().ok()?;
        Some(Authorization {
            id,
            timestamp_seconds,
            signature: parse_hexadecimal(signature?)?,
        })
    }

    /// Checks that the request was signed near enough to now.
    ///
    /// # Errors
    ///
    /// Says how far off it is.
    pub fn check_time(&self, now_seconds: u64, skew_max: Duration) -> Result<(), AuthError> {
        let skew_seconds = now_seconds.abs_diff(self.timestamp_seconds);
        let max_seconds = skew_max.as_secs();
        if skew_seconds > max_seconds {
            return Err(AuthError::Skewed {
                skew_seconds,
                max_seconds,
            });
        }
        Ok(())
    }

    /// Returns whether the request was signed with this secret.
    pub fn is_by(&self, secret: &[u8], request: &Signed<'_>) -> bool {
        let expected = hmac_sha256(secret, request.text(self.timestamp_seconds).as_bytes());
        verify_equal(&expected, &self.signature)
    }
}

/// The header's text.
impl std::fmt::Display for Authorization {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let signature = hexadecimal(&self.signature);
        write!(
            f,
            "{SCHEME} id={},timestamp={},signature={signature}",
            self.id, self.timestamp_seconds
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST_BODY: &[u8] = b"{\"name\":\"orders\"}";

    fn request() -> Signed<'static> {
        Signed {
            method: "POST",
            target: "/admin/v1/queues?tenant=shop",
            content: ContentDigest::of(REQUEST_BODY),
        }
    }

    fn signed() -> Authorization {
        Authorization::sign("AKIDdev", b"dev", 1_700_000_000, &request())
    }

    #[test]
    fn what_is_signed_is_recognised_after_a_trip_through_its_header() {
        let parsed = Authorization::parse(&signed().to_string()).expect("a header");
        assert_eq!(parsed, signed());
        assert!(parsed.is_by(b"dev", &request()));
    }

    #[test]
    fn a_kept_signature_stays_valid() {
        // Computed with Python's hmac module; clients in other languages rely on it.
        let header = "POSTHOUSE-HMAC-SHA256 id=AKIDdev,timestamp=1700000000,signature=\
                      526bbe16847614d28535d71af2f6eb2f342002b48580d7010b645a2a2ffe1360";
        assert_eq!(signed().to_string(), header);
    }

    #[test]
    fn nothing_of_a_request_can_be_changed() {
        let other_body = Signed {
            content: ContentDigest::of(b"{}"),
            ..request()
        };
        let other_target = Signed {
            target: "/admin/v1/queues?tenant=other",
            ..request()
        };
        let other_method = Signed {
            method: "PUT",
            ..request()
        };
        for changed in [other_body, other_target, other_method] {
            assert!(!signed().is_by(b"dev", &changed), "{changed:?}");
        }
        assert!(!signed().is_by(b"deV", &request()));
        let later = Authorization {
            timestamp_seconds: 1_700_000_001,
            ..signed()
        };
        assert!(!later.is_by(b"dev", &request()));
    }

    #[test]
    fn old_and_early_requests_are_refused() {
        let minute = Duration::from_secs(60);
        assert_eq!(signed().check_time(1_700_000_060, minute), Ok(()));
        assert_eq!(signed().check_time(1_699_999_940, minute), Ok(()));
        let skewed = AuthError::Skewed {
            skew_seconds: 61,
            max_seconds: 60,
        };
        assert_eq!(signed().check_time(1_700_000_061, minute), Err(skewed));
        assert_eq!(signed().check_time(1_699_999_939, minute), Err(skewed));
    }

    #[test]
    fn headers_of_another_form_are_refused() {
        let good = signed().to_string();
        let signature = good.rsplit_once('=').expect("fields").1;
        for header in [
            String::new(),
            "Basic QUtJRGRldjpkZXY=".to_owned(),
            SCHEME.to_owned(),
            format!("{good},id=other"),
            format!("{good}0"),
            format!("{SCHEME} id=,timestamp=1,signature={signature}"),
            format!("{SCHEME} id=a,timestamp=-1,signature={signature}"),
            format!("{SCHEME} id=a,signature={signature}"),
            format!("{SCHEME} id=a,timestamp=1,signature=zz"),
            format!(
                "{SCHEME} id={},timestamp=1,signature={signature}",
                "a".repeat(129)
            ),
        ] {
            assert_eq!(
                Authorization::parse(&header),
                Err(AuthError::Malformed),
                "{header}"
            );
        }
        assert_eq!(
            ContentDigest::parse("é".repeat(32).as_str()),
            Err(AuthError::NoDigest)
        );
    }
}
