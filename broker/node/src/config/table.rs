//! Raw values by key, taken out one by one, with everything that is wrong with them noted on the way.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml::Value;

use super::{ConfigError, ConfigErrors, KEYS};

/// How unlike two keys may be, for one to be offered in place of the other.
const SUGGESTION_DISTANCE_MAX: usize = 3;

/// Raw values by key, and what is wrong with them so far.
pub(super) struct Table {
    values: BTreeMap<String, Value>,
    errors: Vec<ConfigError>,
}

// === impl Table ===

impl Table {
    /// Returns the values of a file's text.
    pub(super) fn parse(text: &str) -> Result<Table, ConfigError> {
        let sections: toml::Table = text
            .parse()
            .map_err(|error: toml::de::Error| ConfigError::NotToml {
                reason: error.to_string(),
            })?;
        let mut table = Table {
            values: BTreeMap::new(),
            errors: Vec::new(),
        };
        for (section, value) in sections {
            match value {
                Value::Table(entries) => {
                    for (key, value) in entries {
                        table.values.insert(format!("{section}.{key}"), value);
                    }
                }
                other => {
                    table.values.insert(section, other);
                }
            }
        }
        Ok(table)
    }

    /// Returns what is wrong, if anything is, with keys that nobody asked for.
    pub(super) fn finish(mut self) -> Result<(), ConfigErrors> {
        for key in self.values.keys() {
            let remedy = match nearest_key(key) {
                Some(nearest) => format!("write {nearest}, or leave it out"),
                None => "leave it out".to_owned(),
            };
            self.errors.push(ConfigError::Unknown {
                key: key.clone(),
                remedy,
            });
        }
        if self.errors.is_empty() {
            Ok(())
        } else {
            Err(ConfigErrors(self.errors))
        }
    }

    /// Notes that a value cannot be used.
    pub(super) fn refuse(&mut self, key: &str, problem: impl Into<String>, remedy: impl Into<String>) {
        self.errors.push(ConfigError::Refused {
            key: key.to_owned(),
            problem: problem.into(),
            remedy: remedy.into(),
        });
    }

    /// Notes that a value is needed and absent.
    pub(super) fn missing(&mut self, key: &str, remedy: impl Into<String>) {
        self.errors.push(ConfigError::Missing {
            key: key.to_owned(),
            remedy: remedy.into(),
        });
    }

    /// Takes a text out.
    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        match self.take(key)? {
            Value::String(text) => Some(text),
            other => self.wrong_type(key, &other, "a text in quotes"),
        }
    }

    /// Takes a path out.
    pub(super) fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        let text = self.text(key)?;
        if text.is_empty() {
            self.refuse(key, "is empty", "give a path, or leave it out");
            return None;
        }
        Some(PathBuf::from(text))
    }

    /// Takes a list of texts out.
    pub(super) fn texts(&mut self, key: &'static str, count_max: usize) -> Vec<String> {
        const WANTED: &str = "a list of texts, such as [\"a\", \"b\"]";
        let items = match self.take(key) {
            None => return Vec::new(),
            Some(Value::Array(items)) => items,
            Some(other) => return self.wrong_type(key, &other, WANTED).unwrap_or_default(),
        };
        if items.len() > count_max {
            self.refuse(key, "is too long", format!("give at most {count_max}"));
        }
        let mut texts = Vec::new();
        for item in items {
            match item {
                Value::String(text) => texts.push(text),
                other => {
                    self.wrong_type::<()>(key, &other, WANTED);
                }
            }
        }
        texts
    }

    /// Takes a boolean out.
    pub(super) fn boolean(&mut self, key: &'static str, usual: bool) -> bool {
        match self.take(key) {
            None => usual,
            Some(Value::Boolean(value)) => value,
            Some(other) => self.wrong_type(key, &other, "true or false").unwrap_or(usual),
        }
    }

    /// Takes a whole number out.
    pub(super) fn number<N>(&mut self, key: &'static str, usual: N, range: RangeInclusive<N>) -> N
    where
        N: Copy + PartialOrd + TryFrom<i64> + TryInto<u64>,
    {
        let value = match self.take(key) {
            None => return usual,
            Some(Value::Integer(value)) => value,
            Some(other) => return self.wrong_type(key, &other, "a whole number").unwrap_or(usual),
        };
        if let Ok(number) = N::try_from(value)
            && range.contains(&number)
        {
            return number;
        }
        self.errors.push(ConfigError::OutOfRange {
            key: key.to_owned(),
            value,
            min: (*range.start()).try_into().unwrap_or(0),
            max: (*range.end()).try_into().unwrap_or(u64::MAX),
        });
        usual
    }

    /// Takes a length of time in seconds out.
    pub(super) fn seconds(&mut self, key: &'static str, usual: u64, range: RangeInclusive<u64>) -> Duration {
        Duration::from_secs(self.number(key, usual, range))
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        assert!(KEYS.contains(&key), "{key} is listed in KEYS");
        self.values.remove(key)
    }

    fn wrong_type<T>(&mut self, key: &str, found: &Value, wanted: &str) -> Option<T> {
        self.errors.push(ConfigError::WrongType {
            key: key.to_owned(),
            found: format!("of type {}", found.type_str()),
            wanted: wanted.to_owned(),
        });
        None
    }
}

/// Returns the key that was probably meant: the same name in another section, or a few letters off.
fn nearest_key(written: &str) -> Option<&'static str> {
    let name = written.rsplit('.').next().unwrap_or(written);
    if let Some(key) = KEYS.iter().find(|key| key.split('.').nth(1) == Some(name)) {
        return Some(key);
    }
    let by_distance = KEYS.iter().map(|key| (distance(written, key), *key));
    let (nearest, key) = by_distance.min()?;
    (nearest <= SUGGESTION_DISTANCE_MAX).then_some(key)
}

/// Returns how many letters must be put in, taken out or changed to make one text the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, letter) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in to.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}
