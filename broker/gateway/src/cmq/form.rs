//! Form-encoded parameters, decoded once into one buffer.
//!
//! Names and values are ranges of the buffer, so that a body of a megabyte is written once, while it is decoded.
//! Nothing is judged but the number of parameters: a `%` that two hex digits do not follow stands for itself, as
//! the signature then decides.

use std::ops::Range;

use bytes::Bytes;

use super::{CmqError, PARAMETERS_MAX};

/// Decoded parameters, in the order of the request.
#[derive(Debug)]
pub(super) struct Form {
    buffer: Bytes,
    pairs: Vec<Pair>,
}

/// One parameter, as ranges of the buffer.
#[derive(Debug)]
struct Pair {
    name: Range<usize>,
    value: Range<usize>,
}

// === impl Form ===

impl Form {
    /// Decodes a query string or a POST body.
    pub(super) fn parse(text: &[u8]) -> Result<Form, CmqError> {
        let mut buffer = Vec::with_capacity(decoded_len(text));
        let mut pairs = Vec::new();
        let mut left = Some(text);
        while let Some((segment, rest)) = left.map(|text| split_at(b'&', text)) {
            left = rest;
            if segment.is_empty() {
                continue;
            }
            if pairs.len() == PARAMETERS_MAX {
                return Err(CmqError::request_parameters_error()
                    .because(&format!("more than {PARAMETERS_MAX} parameters")));
            }
            let (name, value) = split_at(b'=', segment);
            let name = decode_onto(&mut buffer, name);
            let value = decode_onto(&mut buffer, value.unwrap_or_default());
            pairs.push(Pair { name, value });
        }
        Ok(Form {
            buffer: Bytes::from(buffer),
            pairs,
        })
    }

    /// Returns how many parameters there are.
    pub(super) fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Returns the name of a parameter.
    pub(super) fn name(&self, at: usize) -> &[u8] {
        &self.buffer[self.pairs[at].name.clone()]
    }

    /// Returns the value of a parameter.
    pub(super) fn value(&self, at: usize) -> &[u8] {
        &self.buffer[self.pairs[at].value.clone()]
    }

    /// Returns the value of a parameter to keep. It shares the form's buffer when it is most of it, and is copied
    /// when it is not: a short body must not hold a long request in memory for as long as the body is kept.
    pub(super) fn keep(&self, at: usize) -> Bytes {
        let range = self.pairs[at].value.clone();
        if range.len() * 2 >= self.buffer.len() {
            return self.buffer.slice(range);
        }
        Bytes::copy_from_slice(&self.buffer[range])
    }
}

/// Appends the form-encoding of a parameter, with `&` before it unless it is the first.
pub(super) fn encode_onto(text: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    if !text.is_empty() {
        text.push(b'&');
    }
    escape_onto(text, name);
    text.push(b'=');
    escape_onto(text, value);
}

/// Returns a text up to the first of a sign, and what follows that; none follows where the sign is not.
fn split_at(sign: u8, text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(sign, text) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

/// Returns what the decoded text takes, if every `%` begins an escape. A shorter guess only costs a reallocation.
fn decoded_len(text: &[u8]) -> usize {
    let escapes = memchr::memchr_iter(b'%', text).count();
    text.len().saturating_sub(2 * escapes)
}

fn decode_onto(buffer: &mut Vec<u8>, text: &[u8]) -> Range<usize> {
    let start = buffer.len();
    let mut rest = text;
    while let Some(at) = memchr::memchr2(b'%', b'+', rest) {
        buffer.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        // A run of escapes is decoded here, without looking for the next one each time.
        loop {
            match *rest {
                [b'+', ..] => {
                    buffer.push(b' ');
                    rest = &rest[1..];
                }
                [b'%', high, low, ..] if is_hex(high, low) => {
                    buffer.push(HEX[usize::from(high)] << 4 | HEX[usize::from(low)]);
                    rest = &rest[3..];
                }
                [b'%', ..] => {
                    buffer.push(b'%');
                    rest = &rest[1..];
                }
                _ => break,
            }
        }
    }
    buffer.extend_from_slice(rest);
    start..buffer.len()
}

fn escape_onto(text: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => text.push(*byte),
            b' ' => text.push(b'+'),
            other => {
                text.push(b'%');
                text.push(DIGITS[usize::from(other >> 4)]);
                text.push(DIGITS[usize::from(other & 0xf)]);
            }
        }
    }
}

fn is_hex(high: u8, low: u8) -> bool {
    (HEX[usize::from(high)] | HEX[usize::from(low)]) < 16
}

/// The value of each hex digit, 255 for what is none.
const HEX: [u8; 256] = {
    let mut table = [0xff; 256];
    let mut digit = 0;
    while digit < 10 {
        table[b'0' as usize + digit] = digit as u8;
        digit += 1;
    }
    let mut letter = 0;
    while letter < 6 {
        table[b'a' as usize + letter] = 10 + letter as u8;
        table[b'A' as usize + letter] = 10 + letter as u8;
        letter += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(text: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let form = Form::parse(text).expect("few parameters");
        (0..form.len())
            .map(|at| (form.name(at).to_vec(), form.value(at).to_vec()))
            .collect()
    }

    fn pair(name: &str, value: &[u8]) -> (Vec<u8>, Vec<u8>) {
        (name.as_bytes().to_vec(), value.to_vec())
    }

    #[test]
    fn plus_and_percent_twenty_are_spaces() {
        assert_eq!(
            decoded(b"a=x+y%20z&b=%2B"),
            [pair("a", b"x y z"), pair("b", b"+")]
        );
    }

    #[test]
    fn empty_values_and_missing_signs_count_and_empty_segments_do_not() {
        assert_eq!(
            decoded(b"&a=&&b&=c&d=e=f&"),
            [pair("a", b""), pair("b", b""), pair("", b"c"), pair("d", b"e=f"),]
        );
    }

    #[test]
    fn a_percent_without_two_digits_stands_for_itself() {
        assert_eq!(
            decoded(b"a=%&b=%4&c=%zz&d=%%41"),
            [
                pair("a", b"%"),
                pair("b", b"%4"),
                pair("c", b"%zz"),
                pair("d", b"%A"),
            ]
        );
    }

    #[test]
    fn values_may_be_any_bytes() {
        assert_eq!(decoded(b"a=%00%0d%0A%ff"), [pair("a", b"\0\r\n\xff")]);
    }

    #[test]
    fn parameters_are_counted() {
        let most = vec!["a=1"; PARAMETERS_MAX].join("&");
        assert_eq!(decoded(most.as_bytes()).len(), PARAMETERS_MAX);
        let refused = Form::parse(format!("{most}&a=1").as_bytes()).expect_err("one too many");
        assert_eq!((refused.code, refused.module), (4000, 10110));
    }

    #[test]
    fn a_body_that_is_most_of_the_form_is_not_copied_and_a_short_one_is() {
        let form = Form::parse(b"a=1&body=0123456789").expect("two parameters");
        let kept = form.keep(1);
        assert_eq!(kept.as_ptr(), form.value(1).as_ptr());
        let kept = form.keep(0);
        assert_ne!(kept.as_ptr(), form.value(0).as_ptr());
        assert_eq!(&kept[..], b"1");
    }

    #[test]
    fn the_buffer_of_an_escaped_body_is_no_larger_than_what_it_says() {
        let text = [&b"a="[..], &b"%41".repeat(1_000)].concat();
        assert_eq!(decoded_len(&text), 1_002);
        assert_eq!(decoded(&text)[0].1, b"A".repeat(1_000));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(text in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = Form::parse(&text);
        }

        #[test]
        fn a_form_reads_back_as_written(
            pairs in prop::collection::vec(
                (prop::collection::vec(any::<u8>(), 0..20), prop::collection::vec(any::<u8>(), 0..200)),
                0..20,
            ),
        ) {
            let mut text = Vec::new();
            for (name, value) in &pairs {
                encode_onto(&mut text, name, value);
            }
            prop_assert_eq!(decoded(&text), pairs);
        }
    }
}
