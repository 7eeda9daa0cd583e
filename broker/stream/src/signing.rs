//! How a stream is signed when it opens: HMAC-SHA256 with an access key's secret, in the metadata `authorization`.
//!
//! The signed text says who opens what and when, in five lines:
//!
//! ```text
//! POSTHOUSE-STREAM-HMAC-SHA256
//! <access key id>
//! <seconds since 1970>
//! <nonce>
//! <path of the method>
//! ```
//!
//! The arithmetic is the caller's. As with the other doors, whoever sees the metadata can open a stream with them while
//! their time is near enough: use TLS where others can see.

/// The scheme in `authorization`, and the signed text's first line.
pub const SCHEME: &str = "POSTHOUSE-STREAM-HMAC-SHA256";
/// The metadata with the signature.
pub const AUTHORIZATION: &str = "authorization";

/// The longest access key id, in bytes.
pub const ID_BYTES_MAX: usize = 128;
/// The longest nonce, in bytes.
const NONCE_BYTES_MAX: usize = 64;
/// The longest `authorization`, in bytes.
const AUTHORIZATION_BYTES_MAX: usize = 512;

/// Who opens a stream, and when.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Opening {
    /// The access key's id.
    pub id: String,
    /// When, in seconds since 1970.
    pub timestamp_seconds: u64,
    /// A text of the client's choice, 1 to 64 letters and digits.
    pub nonce: String,
}

/// What `authorization` says. Nothing of it is known to be true before the signature was checked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Authorization {
    /// Who, and when.
    pub opening: Opening,
    /// HMAC-SHA256 of [`Opening::text`].
    pub signature: [u8; 32],
}

/// The metadata is not of the form that it must have.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{AUTHORIZATION} must be `{SCHEME} id=…,timestamp=…,nonce=…,signature=…`")]
pub struct Malformed;

// === impl Opening ===

impl Opening {
    /// Returns the text that is signed to open a stream of a method, named by its path.
    pub fn text(&self, path: &str) -> String {
        let Opening {
            id,
            timestamp_seconds,
            nonce,
        } = self;
        format!("{SCHEME}\n{id}\n{timestamp_seconds}\n{nonce}\n{path}")
    }
}

// === impl Authorization ===

impl Authorization {
    /// Returns what the metadata's text says.
    ///
    /// # Errors
    ///
    /// Refuses another form, and fields that are missing, unknown or given twice.
    pub fn parse(text: &str) -> Result<Authorization, Malformed> {
        if text.len() > AUTHORIZATION_BYTES_MAX {
            return Err(Malformed);
        }
        let fields = text.strip_prefix(SCHEME).and_then(|rest| rest.strip_prefix(' '));
        let (mut id, mut timestamp, mut nonce, mut signature) = (None, None, None, None);
        for field in fields.ok_or(Malformed)?.split(',') {
            let (name, value) = field.trim().split_once('=').ok_or(Malformed)?;
            let place = match name {
                "id" => &mut id,
                "timestamp" => &mut timestamp,
                "nonce" => &mut nonce,
                "signature" => &mut signature,
                _ => return Err(Malformed),
            };
            if place.replace(value).is_some() {
                return Err(Malformed);
            }
        }
        let id = id.filter(|id| is_access_key_id(id)).ok_or(Malformed)?;
        let nonce = nonce.filter(|nonce| is_nonce(nonce)).ok_or(Malformed)?;
        let timestamp_seconds = timestamp.and_then(|text| text.parse().ok());
        Ok(Authorization {
            opening: Opening {
                id: id.to_owned(),
                timestamp_seconds: timestamp_seconds.ok_or(Malformed)?,
                nonce: nonce.to_owned(),
            },
            signature: signature.and_then(parse_hexadecimal).ok_or(Malformed)?,
        })
    }
}

/// The metadata's text.
impl std::fmt::Display for Authorization {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Opening {
            id,
            timestamp_seconds,
            nonce,
        } = &self.opening;
        write!(
            f,
            "{SCHEME} id={id},timestamp={timestamp_seconds},nonce={nonce},signature="
        )?;
        for byte in self.signature {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// Returns whether a text can be an access key's id: what metadata and headers can carry between their commas.
pub fn is_access_key_id(text: &str) -> bool {
    let printable = text
        .bytes()
        .all(|c| c.is_ascii_graphic() && !matches!(c, b',' | b'='));
    !text.is_empty() && text.len() <= ID_BYTES_MAX && printable
}

fn is_nonce(text: &str) -> bool {
    let plain = text.bytes().all(|c| c.is_ascii_alphanumeric());
    !text.is_empty() && text.len() <= NONCE_BYTES_MAX && plain
}

/// Returns the 32 bytes that 64 hexadecimal digits name, of signatures and digests.
pub fn parse_hexadecimal(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    let mut bytes = [0; 32];
    if digits.len() != 2 * bytes.len() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed() -> Authorization {
        Authorization {
            opening: Opening {
                id: "AKIDdev".to_owned(),
                timestamp_seconds: 1_700_000_000,
                nonce: "n0nce".to_owned(),
            },
            signature: [0xa5; 32],
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        assert_eq!(Authorization::parse(&signed().to_string()), Ok(signed()));
    }

    #[test]
    fn the_signed_text_stays_as_clients_in_other_languages_write_it() {
        let text = signed().opening.text(crate::PUBLISH_PATH);
        let kept =
            "POSTHOUSE-STREAM-HMAC-SHA256\nAKIDdev\n1700000000\nn0nce\n/posthouse.stream.v1.Stream/Publish";
        assert_eq!(text, kept);
    }

    #[test]
    fn texts_of_another_form_are_refused() {
        let good = signed().to_string();
        let signature = "a5".repeat(32);
        for text in [
            String::new(),
            SCHEME.to_owned(),
            format!("{good}0"),
            format!("{good},id=other"),
            format!("{good},more=1"),
            good.replace("nonce=n0nce", "nonce="),
            good.replace("nonce=n0nce", "nonce=a-b"),
            good.replace("nonce=n0nce", &format!("nonce={}", "a".repeat(65))),
            good.replace("id=AKIDdev", "id="),
            good.replace("timestamp=1700000000", "timestamp=-1"),
            good.replace("timestamp=1700000000,", ""),
            good.replace(&signature, &"é".repeat(32)),
            good.replace("id=AKIDdev", &format!("id={}", "a".repeat(600))),
        ] {
            assert_eq!(Authorization::parse(&text), Err(Malformed), "{text}");
        }
    }
}
