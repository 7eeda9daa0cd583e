//! The header of a sealed body.
//!
//! ```text
//! version  wrapped key's length  wrapped key  nonce
//! 1 byte   2 bytes, big-endian   1–4,081      12 bytes
//! ```
//!
//! Headers are kept for as long as their messages: another layout is another version, and this one stays readable.

const VERSION: u8 = 1;
const NONCE_BYTES: usize = 12;
/// What the contract allows.
const HEADER_BYTES_MAX: usize = 4_096;
const WRAPPED_KEY_BYTES_MAX: usize = HEADER_BYTES_MAX - 1 - 2 - NONCE_BYTES;

/// What opening needs to know.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Header<'a> {
    pub(crate) wrapped_key: &'a [u8],
    pub(crate) nonce: &'a [u8],
}

// === impl Header ===

impl<'a> Header<'a> {
    /// Returns the header's bytes.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, String> {
        if self.nonce.len() != NONCE_BYTES {
            return Err(format!(
                "a nonce of {} bytes, not {NONCE_BYTES}",
                self.nonce.len()
            ));
        }
        let length = self.wrapped_key.len();
        if !(1..=WRAPPED_KEY_BYTES_MAX).contains(&length) {
            return Err(format!(
                "a wrapped key of {length} bytes, not 1 to {WRAPPED_KEY_BYTES_MAX}"
            ));
        }
        let length = u16::try_from(length).map_err(|error| error.to_string())?;
        Ok([
            &[VERSION],
            &length.to_be_bytes()[..],
            self.wrapped_key,
            self.nonce,
        ]
        .concat())
    }

    /// Parses what `encode` made, and nothing else.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let (version, rest) = bytes.split_first().ok_or("the header is empty")?;
        if *version != VERSION {
            return Err(format!("the header has the unknown version {version}"));
        }
        let (length, rest) = rest.split_first_chunk().ok_or("the header is cut short")?;
        let length = usize::from(u16::from_be_bytes(*length));
        if !(1..=WRAPPED_KEY_BYTES_MAX).contains(&length) {
            return Err(format!("the header tells of a wrapped key of {length} bytes"));
        }
        let (wrapped_key, nonce) = rest.split_at_checked(length).ok_or("the header is cut short")?;
        if nonce.len() != NONCE_BYTES {
            return Err(format!("the header has {} bytes for a nonce", nonce.len()));
        }
        Ok(Self { wrapped_key, nonce })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::array::uniform12;
    use proptest::collection::vec;
    use proptest::prelude::*;

    #[test]
    fn version_one_stays_as_it_is() {
        let kept = [&[1, 0, 3, 7, 8, 9][..], &[5; 12]].concat();
        let header = Header {
            wrapped_key: &[7, 8, 9],
            nonce: &[5; 12],
        };
        assert_eq!(header.encode(), Ok(kept.clone()));
        assert_eq!(Header::parse(&kept), Ok(header));
    }

    #[test]
    fn a_header_past_the_contracts_limit_is_refused() {
        let fits = vec![7; WRAPPED_KEY_BYTES_MAX];
        let header = Header {
            wrapped_key: &fits,
            nonce: &[5; 12],
        };
        assert_eq!(header.encode().map(|bytes| bytes.len()), Ok(HEADER_BYTES_MAX));
        let over = vec![7; WRAPPED_KEY_BYTES_MAX + 1];
        assert!(
            Header {
                wrapped_key: &over,
                nonce: &[5; 12]
            }
            .encode()
            .is_err()
        );
        assert!(
            Header {
                wrapped_key: &[],
                nonce: &[5; 12]
            }
            .encode()
            .is_err()
        );
        assert!(
            Header {
                wrapped_key: &[7],
                nonce: &[5; 11]
            }
            .encode()
            .is_err()
        );
    }

    proptest! {
        #[test]
        fn a_header_reads_back_as_written(wrapped_key in vec(any::<u8>(), 1..300), nonce in uniform12(any::<u8>())) {
            let header = Header { wrapped_key: &wrapped_key, nonce: &nonce };
            let bytes = header.encode().expect("within the limits");
            prop_assert_eq!(Header::parse(&bytes), Ok(header));
        }

        #[test]
        fn what_parses_is_what_is_written(mut bytes in vec(any::<u8>(), 0..64), nearly: bool) {
            if nearly && bytes.len() > 2 {
                let length = (bytes.len() as u8).wrapping_sub(15);
                bytes[..3].copy_from_slice(&[VERSION, 0, length]);
            }
            if let Ok(header) = Header::parse(&bytes) {
                prop_assert_eq!(header.encode(), Ok(bytes.clone()));
            }
        }

        #[test]
        fn a_header_cut_short_or_continued_is_refused(wrapped_key in vec(any::<u8>(), 1..64), at in 0usize..64) {
            let bytes = Header { wrapped_key: &wrapped_key, nonce: &[5; 12] }.encode().expect("within the limits");
            let cut = &bytes[..at.min(bytes.len() - 1)];
            prop_assert!(Header::parse(cut).is_err());
            prop_assert!(Header::parse(&[&bytes[..], &[0]].concat()).is_err());
        }
    }
}
