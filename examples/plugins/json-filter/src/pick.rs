//! Picks fields out of JSON without keeping the rest.
//!
//! A whole document in memory can be thirty times as large as its text. Here a body is read once, and what no path
//! leads to is skipped, so memory is needed for what was asked only.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

/// The most names in a path. Branches are walked by recursion, and a guest's stack is small.
const NAMES_MAX: usize = 64;

/// Where in a body to look: a tree of names, whose branches are paths.
#[derive(Default)]
pub struct Paths {
    root: Branch,
    slots: usize,
}

/// Where what a path leads to is found in [`Fields`].
#[derive(Clone, Copy)]
pub struct Slot(usize);

/// What was found in a body.
pub struct Fields(Vec<Option<Picked>>);

/// A value in a body.
#[derive(Clone, Debug, PartialEq)]
pub enum Picked {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    /// An array or an object; what is in it has paths of its own.
    Compound,
}

#[derive(Default)]
struct Branch {
    below: BTreeMap<String, Branch>,
    slot: Option<usize>,
}

/// Reads the value that a branch leads to.
struct Pick<'a> {
    branch: &'a Branch,
    fields: &'a mut Fields,
}

impl Paths {
    /// Adds a path, and returns where what it leads to will be found.
    pub fn add(&mut self, path: &str) -> Result<Slot, String> {
        let mut branch = &mut self.root;
        if !path.is_empty() {
            let names = path
                .strip_prefix('/')
                .ok_or_else(|| format!("a path begins with `/`, unlike `{path}`"))?;
            if names.split('/').count() > NAMES_MAX {
                return Err(format!("a path has at most {NAMES_MAX} names, unlike `{path}`"));
            }
            for name in names.split('/') {
                branch = branch
                    .below
                    .entry(name.replace("~1", "/").replace("~0", "~"))
                    .or_default();
            }
        }
        let slot = *branch.slot.get_or_insert(self.slots);
        self.slots = self.slots.max(slot + 1);
        Ok(Slot(slot))
    }

    /// Reads a body, and returns what the paths lead to.
    pub fn pick(&self, body: &[u8]) -> Result<Fields, serde_json::Error> {
        let mut fields = Fields(vec![None; self.slots]);
        let mut json = serde_json::Deserializer::from_slice(body);
        Pick {
            branch: &self.root,
            fields: &mut fields,
        }
        .deserialize(&mut json)?;
        json.end()?;
        Ok(fields)
    }
}

impl Fields {
    /// Returns what a path led to.
    pub fn get(&self, slot: Slot) -> Option<&Picked> {
        self.0.get(slot.0)?.as_ref()
    }

    /// Forgets what was found below a branch: if a key stands twice in an object, the last one counts.
    fn forget(&mut self, branch: &Branch) {
        if let Some(slot) = branch.slot {
            self.0[slot] = None;
        }
        for below in branch.below.values() {
            self.forget(below);
        }
    }
}

impl Pick<'_> {
    fn keep(self, value: Picked) {
        if let Some(slot) = self.branch.slot {
            self.fields.0[slot] = Some(value);
        }
    }
}

impl<'de> DeserializeSeed<'de> for Pick<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.fields.forget(self.branch);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Pick<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.keep(Picked::Null);
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.keep(Picked::Bool(value));
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.keep(Picked::Number(value.into()));
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.keep(Picked::Number(value.into()));
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        // JSON has no infinities, so every number that was read is one.
        if let Some(number) = Number::from_f64(value) {
            self.keep(Picked::Number(number));
        }
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        if self.branch.slot.is_some() {
            self.keep(Picked::Text(value.to_owned()));
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        for index in 0.. {
            let below = self.branch.below.get(&index.to_string());
            if !visit_next(below, self.fields, &mut values)? {
                break;
            }
        }
        self.keep(Picked::Compound);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(key) = entries.next_key::<String>()? {
            match self.branch.below.get(&key) {
                Some(branch) => entries.next_value_seed(Pick {
                    branch,
                    fields: &mut *self.fields,
                })?,
                None => {
                    entries.next_value::<IgnoredAny>()?;
                }
            }
        }
        self.keep(Picked::Compound);
        Ok(())
    }
}

/// Reads an array's next element, and returns whether there was one.
fn visit_next<'de, A: SeqAccess<'de>>(
    below: Option<&Branch>,
    fields: &mut Fields,
    values: &mut A,
) -> Result<bool, A::Error> {
    let read = match below {
        Some(branch) => values.next_element_seed(Pick { branch, fields })?.is_some(),
        None => values.next_element::<IgnoredAny>()?.is_some(),
    };
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picked(path: &str, body: &str) -> Option<Picked> {
        let mut paths = Paths::default();
        let slot = paths.add(path).expect("a path");
        paths.pick(body.as_bytes()).expect("JSON").get(slot).cloned()
    }

    fn text(text: &str) -> Option<Picked> {
        Some(Picked::Text(text.to_owned()))
    }

    #[test]
    fn a_path_leads_through_objects_and_arrays() {
        let body = r#"{"a": [{"b": "x"}, {"b": "y"}], "": {"/": "slash", "~": "tilde"}, "0": "zero"}"#;
        assert_eq!(picked("/a/1/b", body), text("y"));
        assert_eq!(picked("/a/2/b", body), None);
        assert_eq!(picked("/a/01/b", body), None);
        assert_eq!(picked("//~1", body), text("slash"));
        assert_eq!(picked("//~0", body), text("tilde"));
        assert_eq!(picked("/0", body), text("zero"));
        assert_eq!(picked("/a", body), Some(Picked::Compound));
        assert_eq!(picked("", body), Some(Picked::Compound));
        assert_eq!(picked("", r#""whole""#), text("whole"));
        assert_eq!(picked("/b", body), None);
    }

    #[test]
    fn several_paths_are_picked_at_once() {
        let mut paths = Paths::default();
        let slots = ["/a", "/a/b", "/c", "/a"].map(|path| paths.add(path).expect("a path"));
        let fields = paths.pick(br#"{"c": null, "a": {"b": "x"}}"#).expect("JSON");
        let found = slots.map(|slot| fields.get(slot).cloned());
        assert_eq!(
            found,
            [
                Some(Picked::Compound),
                text("x"),
                Some(Picked::Null),
                Some(Picked::Compound)
            ]
        );
    }

    #[test]
    fn the_last_of_two_equal_keys_counts() {
        assert_eq!(picked("/a/b", r#"{"a": {"b": "x"}, "a": {"b": "y"}}"#), text("y"));
        assert_eq!(picked("/a/b", r#"{"a": {"b": "x"}, "a": {}}"#), None);
        assert_eq!(picked("/a/b", r#"{"a": {"b": "x"}, "a": 1}"#), None);
    }

    #[test]
    fn a_body_may_be_deeper_than_any_path() {
        let body = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(picked(&"/0".repeat(NAMES_MAX), &body), Some(Picked::Compound));
        assert!(Paths::default().add(&"/0".repeat(NAMES_MAX + 1)).is_err());
    }
}
