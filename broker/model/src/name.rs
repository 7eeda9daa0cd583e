//! Names and keys that clients choose, parsed once into types that cannot be wrong.
//!
//! Rules are CMQ's: 1 to 64 characters, first a letter, the rest letters, digits, `-` and `_`. Queue and topic
//! names are unique whatever their case, so a name has a folded form beside the one that was written.
//!
//! Each is encoded as its text. Names stand in what is decided about each message, and in each answer about a queue: a
//! copy shares the text.

use std::fmt;
use std::sync::Arc;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest name of a queue, topic or subscription, in characters.
pub const NAME_CHARS_MAX: usize = 64;
/// The longest tag, in characters.
pub const TAG_CHARS_MAX: usize = 16;
/// The longest routing or binding key, in bytes.
pub const KEY_BYTES_MAX: usize = 64;
/// The most words in a routing or binding key.
pub const KEY_WORDS_MAX: usize = 16;

/// The name of a queue, topic, subscription, tenant, plugin, master key or signing key.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Name(Arc<str>);

/// A tag on a message, or in a subscription's filter.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Tag(String);

/// A routing key (on a message) or binding key (on a subscription): words joined by dots.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Key(String);

/// Why a text is no name, tag or key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("must not be empty")]
    Empty,
    /// Longer than its kind may be.
    #[error("must not be longer than {max}")]
    TooLong {
        /// The longest allowed.
        max: usize,
    },
    /// Does not begin with a letter.
    #[error("must begin with a letter")]
    FirstNotLetter,
    /// Holds something other than letters, digits, `-` and `_`.
    #[error("may hold only letters, digits, `-` and `_`")]
    Character,
    /// More words than a key may have.
    #[error("must not have more than {max} words")]
    TooManyWords {
        /// The most allowed.
        max: usize,
    },
}

// === impl Name ===

impl Name {
    /// Returns the name, if the text is one.
    pub fn parse(text: &str) -> Result<Name, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > NAME_CHARS_MAX {
            return Err(NameError::TooLong { max: NAME_CHARS_MAX });
        }
        if !text.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return Err(NameError::FirstNotLetter);
        }
        if !text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        {
            return Err(NameError::Character);
        }
        Ok(Name(text.into()))
    }

    /// Returns the name as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the form under which names are unique.
    pub fn folded(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

// === impl Tag ===

impl Tag {
    /// Returns the tag, if the text is one.
    pub fn parse(text: &str) -> Result<Tag, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.chars().count() > TAG_CHARS_MAX {
            return Err(NameError::TooLong { max: TAG_CHARS_MAX });
        }
        Ok(Tag(text.to_owned()))
    }

    /// Returns the tag's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

// === impl Key ===

impl Key {
    /// Returns the key, if the text is one. Words may be empty: `a..b` has three.
    pub fn parse(text: &str) -> Result<Key, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > KEY_BYTES_MAX {
            return Err(NameError::TooLong { max: KEY_BYTES_MAX });
        }
        if text.split('.').count() > KEY_WORDS_MAX {
            return Err(NameError::TooManyWords { max: KEY_WORDS_MAX });
        }
        Ok(Key(text.to_owned()))
    }

    /// Returns the key's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! text_conversions {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;

                impl Visitor<'_> for Text {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("a string")
                    }

                    fn visit_str<E: Error>(self, text: &str) -> Result<$name, E> {
                        $name::parse(text).map_err(E::custom)
                    }
                }

                deserializer.deserialize_str(Text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.as_str().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_conversions!(Name);
text_conversions!(Tag);
text_conversions!(Key);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rule() {
        assert!(Name::parse("a").is_ok());
        assert!(Name::parse(&"a".repeat(64)).is_ok());
        assert_eq!(Name::parse(""), Err(NameError::Empty));
        assert_eq!(Name::parse(&"a".repeat(65)), Err(NameError::TooLong { max: 64 }));
        assert_eq!(Name::parse("1a"), Err(NameError::FirstNotLetter));
        assert_eq!(Name::parse("a b"), Err(NameError::Character));
        assert_eq!(Name::parse("aé"), Err(NameError::Character));
    }

    #[test]
    fn texts_are_encoded_as_such_and_parsed_when_they_are_read() {
        let encoded = postcard::to_allocvec(&("orders", "red", "a.b")).expect("encodes");
        let parsed = (
            Name::parse("orders").expect("a name"),
            Tag::parse("red").expect("a tag"),
            Key::parse("a.b").expect("a key"),
        );
        assert_eq!(postcard::to_allocvec(&parsed).expect("encodes"), encoded);
        assert_eq!(postcard::from_bytes::<(Name, Tag, Key)>(&encoded), Ok(parsed));
        for wrong in ["", "1a", "a b"] {
            let encoded = postcard::to_allocvec(wrong).expect("encodes");
            assert!(postcard::from_bytes::<Name>(&encoded).is_err(), "{wrong:?}");
        }
        assert!(postcard::from_bytes::<Name>(&[2, 0xff, 0xfe]).is_err(), "no text");
    }

    #[test]
    fn keys_have_at_most_sixteen_words() {
        assert!(Key::parse(&["a"; 16].join(".")).is_ok());
        assert_eq!(
            Key::parse(&["a"; 17].join(".")),
            Err(NameError::TooManyWords { max: 16 })
        );
    }
}
