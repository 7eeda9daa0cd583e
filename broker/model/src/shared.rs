//! Bytes that are decoded as parts of what they are decoded from: a body of an entry is no copy.
//!
//! serde knows bytes that are borrowed, and bytes that are copied, but none that are counted. So who decodes says for that
//! time what from, and fields which name [`deserialize`] look whether their bytes lie in it. What is decoded is the same
//! either way; only where its bytes are kept differs.

use std::cell::RefCell;
use std::fmt;

use bytes::Bytes;
use serde::Deserializer;
use serde::de::Visitor;

thread_local! {
    /// What this thread decodes from, if it can be shared.
    static SOURCE: RefCell<Option<Bytes>> = const { RefCell::new(None) };
}

/// Decodes from bytes whose parts may be kept: what is decoded keeps all of them in memory.
pub fn decode_from<R>(source: &Bytes, decode: impl FnOnce(&[u8]) -> R) -> R {
    /// Puts back what was there, also after a panic.
    struct Before(Option<Bytes>);
    impl Drop for Before {
        fn drop(&mut self) {
            SOURCE.set(self.0.take());
        }
    }
    let _before = Before(SOURCE.replace(Some(source.clone())));
    decode(source)
}

/// Decodes bytes: a part of what [`decode_from`] was given, or a copy where they are not.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    deserializer.deserialize_bytes(Part)
}

struct Part;

impl<'de> Visitor<'de> for Part {
    type Value = Bytes;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("bytes")
    }

    fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Bytes, E> {
        Ok(SOURCE.with_borrow(|source| {
            let source = source.as_ref().filter(|source| lies_in(bytes, source));
            source.map_or_else(|| Bytes::copy_from_slice(bytes), |source| source.slice_ref(bytes))
        }))
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
        Ok(Bytes::copy_from_slice(bytes))
    }

    fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
        Ok(Bytes::from(bytes))
    }
}

fn lies_in(part: &[u8], whole: &[u8]) -> bool {
    let (part, whole) = (part.as_ptr_range(), whole.as_ptr_range());
    whole.start <= part.start && part.end <= whole.end
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Body, Message, MessageId};

    fn encoded() -> Bytes {
        let message = Message::plain(MessageId(1), Bytes::from_static(b"a body"));
        Bytes::from(postcard::to_allocvec(&message).expect("encodes"))
    }

    fn body(bytes: &[u8]) -> Bytes {
        let message: Message = postcard::from_bytes(bytes).expect("decodes");
        match message.body {
            Body::Clear(body) => body,
            Body::Sealed(_) => panic!("not sealed"),
        }
    }

    #[test]
    fn a_body_is_a_part_of_what_it_is_decoded_from() {
        let source = encoded();
        let shared = decode_from(&source, body);
        assert_eq!(shared, "a body");
        assert!(lies_in(&shared, &source));
    }

    #[test]
    fn a_body_of_other_bytes_is_a_copy() {
        let (source, other) = (encoded(), encoded());
        for copied in [body(&source), decode_from(&other, |_| body(&source))] {
            assert_eq!(copied, "a body");
            assert!(!lies_in(&copied, &source));
        }
    }

    #[test]
    fn what_is_decoded_after_a_panic_is_a_copy() {
        let source = encoded();
        let panicked = std::panic::catch_unwind(|| decode_from(&source, |_| panic!("on purpose")));
        assert!(panicked.is_err());
        assert!(!lies_in(&body(&source), &source));
    }
}
