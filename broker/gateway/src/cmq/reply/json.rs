//! A JSON object that is written as it is told, without a tree of values: bodies are long and replies are many.

use bytes::Bytes;

/// The room that a reply without bodies takes.
const USUAL_BYTES: usize = 256;

/// An object under construction. Field names are ours and need no escapes.
pub(super) struct Object {
    text: Vec<u8>,
}

// === impl Object ===

impl Object {
    pub(super) fn new() -> Object {
        let mut text = Vec::with_capacity(USUAL_BYTES);
        text.push(b'{');
        Object { text }
    }

    /// Adds a number.
    pub(super) fn number(&mut self, name: &str, number: u64) {
        self.begin(name);
        self.digits(number);
    }

    /// Adds a number that clients want as a string.
    pub(super) fn number_text(&mut self, name: &str, number: u64) {
        self.begin(name);
        self.text.push(b'"');
        self.digits(number);
        self.text.push(b'"');
    }

    /// Adds a string.
    pub(super) fn text(&mut self, name: &str, text: &str) {
        self.begin(name);
        self.quoted(text);
    }

    /// Adds bytes as a string. What is not UTF-8 is replaced.
    pub(super) fn bytes(&mut self, name: &str, bytes: &[u8]) {
        self.begin(name);
        self.text.reserve(bytes.len() + 2);
        match std::str::from_utf8(bytes) {
            Ok(text) => self.quoted(text),
            Err(_) => self.quoted(&String::from_utf8_lossy(bytes)),
        }
    }

    /// Adds an array of strings.
    pub(super) fn texts<'a>(&mut self, name: &str, texts: impl IntoIterator<Item = &'a str>) {
        self.begin(name);
        self.text.push(b'[');
        for (at, text) in texts.into_iter().enumerate() {
            if at > 0 {
                self.text.push(b',');
            }
            self.quoted(text);
        }
        self.text.push(b']');
    }

    /// Adds an object.
    pub(super) fn object(&mut self, name: &str, write: impl FnOnce(&mut Object)) {
        self.begin(name);
        self.text.push(b'{');
        write(self);
        self.text.push(b'}');
    }

    /// Adds an array of objects.
    pub(super) fn objects<T>(
        &mut self,
        name: &str,
        elements: impl IntoIterator<Item = T>,
        write: impl Fn(&mut Object, T),
    ) {
        self.begin(name);
        self.text.push(b'[');
        for (at, element) in elements.into_iter().enumerate() {
            if at > 0 {
                self.text.push(b',');
            }
            self.text.push(b'{');
            write(self, element);
            self.text.push(b'}');
        }
        self.text.push(b']');
    }

    /// Returns the object.
    pub(super) fn finish(mut self) -> Bytes {
        self.text.push(b'}');
        Bytes::from(self.text)
    }

    /// Returns the object, to be put into another as a string.
    pub(super) fn finish_text(mut self) -> String {
        self.text.push(b'}');
        String::from_utf8(self.text).expect("only UTF-8 was written")
    }

    fn begin(&mut self, name: &str) {
        if !self.text.ends_with(b"{") {
            self.text.push(b',');
        }
        self.text.push(b'"');
        self.text.extend_from_slice(name.as_bytes());
        self.text.extend_from_slice(b"\":");
    }

    fn digits(&mut self, number: u64) {
        self.text.extend_from_slice(number.to_string().as_bytes());
    }

    fn quoted(&mut self, text: &str) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        self.text.push(b'"');
        let mut rest = text.as_bytes();
        while let Some(at) = first_escape(rest) {
            self.text.extend_from_slice(&rest[..at]);
            match rest[at] {
                b'"' => self.text.extend_from_slice(b"\\\""),
                b'\\' => self.text.extend_from_slice(b"\\\\"),
                b'\n' => self.text.extend_from_slice(b"\\n"),
                b'\r' => self.text.extend_from_slice(b"\\r"),
                b'\t' => self.text.extend_from_slice(b"\\t"),
                control => {
                    self.text.extend_from_slice(b"\\u00");
                    self.text.push(DIGITS[usize::from(control >> 4)]);
                    self.text.push(DIGITS[usize::from(control & 0xf)]);
                }
            }
            rest = &rest[at + 1..];
        }
        self.text.extend_from_slice(rest);
        self.text.push(b'"');
    }
}

/// Returns where the first byte is that needs an escape. Chunks are looked at as a whole first: that compiles to a few
/// instructions for each, and most bodies have nothing to escape.
fn first_escape(bytes: &[u8]) -> Option<usize> {
    const CHUNK_BYTES: usize = 64;
    let is_clean = |chunk: &[u8]| !chunk.iter().fold(false, |any, byte| any | needs_escape(*byte));
    let clean = bytes
        .chunks_exact(CHUNK_BYTES)
        .take_while(|chunk| is_clean(chunk));
    let from = clean.count() * CHUNK_BYTES;
    let rest = bytes[from..].iter().position(|byte| needs_escape(*byte));
    rest.map(|at| from + at)
}

fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}
