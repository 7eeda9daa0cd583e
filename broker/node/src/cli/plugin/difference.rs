//! What a plugin answered, beside what it should have.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::case_values::FAIL;

/// Its value is compared in full: what is not named is not there.
const WHOLE: &str = "attributes";

/// An answer that is not the one expected.
#[derive(Debug, Serialize)]
pub(super) struct Difference {
    /// Which answer of the case.
    pub(super) at: String,
    expected: Value,
    answered: Value,
    /// More about the answer that is not compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

// === impl Difference ===

impl Difference {
    /// Compares an answer with what is expected, which may leave out parts of objects that do not matter.
    pub(super) fn of(
        at: impl Into<String>,
        expected: &Value,
        answered: Value,
        note: Option<String>,
    ) -> Option<Difference> {
        if fails_as_expected(expected, &answered) {
            return None;
        }
        let answered = only_what_is_named(expected, answered);
        (*expected != answered).then(|| Difference {
            at: at.into(),
            expected: expected.clone(),
            answered,
            note,
        })
    }

    /// Compares what there is by name with all that is expected to be there: parts may be left out of each, but none of them.
    pub(super) fn of_all(at: impl Into<String>, expected: &Value, found: Value) -> Option<Difference> {
        let answered = match (expected, found) {
            (Value::Object(expected), Value::Object(found)) => found
                .into_iter()
                .map(|(name, value)| {
                    let value = match expected.get(&name) {
                        Some(expected) => only_what_is_named(expected, value),
                        None => value,
                    };
                    (name, value)
                })
                .collect(),
            (_, found) => found,
        };
        (*expected != answered).then(|| Difference {
            at: at.into(),
            expected: expected.clone(),
            answered,
            note: None,
        })
    }

    /// Compares an answer with what a case says of it: what is expected, or else nothing but that the plugin does not fail, as it
    /// did where the case was recorded.
    pub(super) fn of_recorded(
        at: impl Into<String>,
        (expected, failed): (Option<&Value>, Option<&str>),
        answered: Value,
        note: Option<String>,
    ) -> Option<Difference> {
        if let Some(expected) = expected {
            return Difference::of(at, expected, answered, note);
        }
        let told = answered.get(FAIL)?;
        let recorded = failed.map(|failed| match told.as_str() == Some(failed) {
            true => "as it did where this was recorded".to_owned(),
            false => format!("where this was recorded: {failed}"),
        });
        let note = [recorded, note]
            .into_iter()
            .flatten()
            .reduce(|a, b| format!("{a}\n{b}"));
        Some(Difference {
            at: at.into(),
            expected: Value::from("no failure"),
            answered,
            note,
        })
    }

    /// Returns the lines that both have, those only expected after `-`, and those only answered after `+`.
    pub(super) fn lines(&self) -> Vec<String> {
        let (expected, answered) = (pretty(&self.expected), pretty(&self.answered));
        let (expected, answered): (Vec<&str>, Vec<&str>) =
            (expected.lines().collect(), answered.lines().collect());
        let mut lines = merged(&expected, &answered);
        lines.extend(
            self.note
                .iter()
                .flat_map(|note| note.lines())
                .map(|line| format!("  {line}")),
        );
        lines
    }
}

fn fails_as_expected(expected: &Value, answered: &Value) -> bool {
    match (expected.get(FAIL), answered.get(FAIL)) {
        (Some(Value::String(words)), Some(Value::String(told))) => told.contains(words.as_str()),
        _ => false,
    }
}

/// Returns an answer without what the expectation leaves out of its objects.
fn only_what_is_named(expected: &Value, answered: Value) -> Value {
    let (Value::Object(expected), Value::Object(mut answered)) = (expected, answered.clone()) else {
        return answered;
    };
    let mut kept = Map::new();
    // Another kind of answer is shown as it is.
    if !expected.is_empty() && !expected.keys().any(|name| answered.contains_key(name)) {
        return Value::Object(answered);
    }
    for (name, expected) in expected {
        if let Some(value) = answered.remove(name) {
            let value = if name == WHOLE {
                value
            } else {
                only_what_is_named(expected, value)
            };
            kept.insert(name.clone(), value);
        }
    }
    Value::Object(kept)
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).expect("a value has text keys and no failing parts")
}

/// Merges two texts by their longest common run of lines.
fn merged(expected: &[&str], answered: &[&str]) -> Vec<String> {
    // common[i][j]: how many lines the rest of one from i and the rest of the other from j have in common.
    let mut common = vec![vec![0_usize; answered.len() + 1]; expected.len() + 1];
    for i in (0..expected.len()).rev() {
        for j in (0..answered.len()).rev() {
            common[i][j] = if expected[i] == answered[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut lines = Vec::new();
    while i < expected.len() || j < answered.len() {
        if i < expected.len() && j < answered.len() && expected[i] == answered[j] {
            lines.push(format!("  {}", expected[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == answered.len() || (i < expected.len() && common[i + 1][j] >= common[i][j + 1]) {
            lines.push(format!("- {}", expected[i]));
            i += 1;
        } else {
            lines.push(format!("+ {}", answered[j]));
            j += 1;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn difference(expected: Value, answered: Value) -> Option<Difference> {
        Difference::of("answer", &expected, answered, None)
    }

    #[test]
    fn what_is_left_out_of_an_object_is_not_compared() {
        let answered = json!({ "http": { "method": "POST", "headers": { "a": "1", "b": "2" } } });
        for expected in [
            json!({ "http": {} }),
            json!({ "http": { "headers": { "b": "2" } } }),
            answered.clone(),
        ] {
            assert!(difference(expected, answered.clone()).is_none());
        }
        let found = difference(json!({ "http": { "headers": { "b": "3" } } }), answered);
        let lines = found.expect("they differ").lines();
        assert!(lines.contains(&"-       \"b\": \"3\"".to_owned()), "{lines:?}");
        assert!(lines.contains(&"+       \"b\": \"2\"".to_owned()), "{lines:?}");
        assert!(!lines.iter().any(|line| line.contains("POST")), "{lines:?}");
    }

    #[test]
    fn of_all_that_is_there_nothing_may_be_left_out_but_parts() {
        let found = json!({ "a": { "value": "1", "ttl_ms": 5 }, "b": null });
        let differs = |expected: Value| Difference::of_all("all", &expected, found.clone()).is_some();
        assert!(!differs(found.clone()));
        assert!(!differs(json!({ "a": { "value": "1" }, "b": null })));
        assert!(differs(json!({})));
        assert!(differs(json!({ "a": { "value": "1" } })));
        assert!(differs(json!({ "a": { "value": "2" }, "b": null })));
        assert!(differs(json!({ "a": { "value": "1" }, "b": null, "c": null })));
        assert!(differs(json!("a")));
    }

    #[test]
    fn attributes_are_compared_in_full() {
        let answered = json!({ "replace": { "attributes": { "a": "1", "b": "2" } } });
        assert!(difference(json!({ "replace": { "attributes": { "a": "1" } } }), answered).is_some());
    }

    #[test]
    fn a_failure_is_expected_by_some_of_its_words() {
        let failed = json!({ "fail": "the plugin failed: no such field" });
        assert!(difference(json!({ "fail": "no such" }), failed.clone()).is_none());
        assert!(difference(json!({ "fail": "time" }), failed.clone()).is_some());
        let found = difference(json!("pass"), failed).expect("they differ");
        assert_eq!(found.lines()[0], "- \"pass\"");
    }

    #[test]
    fn without_an_expectation_any_answer_will_do_but_a_failure() {
        let recorded = (None, Some("the plugin failed: x"));
        assert!(Difference::of_recorded("answer", recorded, json!("drop"), None).is_none());
        let lines = |failed: &str| {
            let found = Difference::of_recorded("answer", recorded, json!({ "fail": failed }), None);
            found.expect("it fails").lines()
        };
        let again = lines("the plugin failed: x");
        assert_eq!(again[0], "- \"no failure\"");
        assert_eq!(
            again.last().map(String::as_str),
            Some("  as it did where this was recorded")
        );
        let otherwise = lines("the plugin used up its time");
        assert_eq!(
            otherwise.last().map(String::as_str),
            Some("  where this was recorded: the plugin failed: x")
        );
    }

    #[test]
    fn an_answer_of_another_kind_is_shown_as_it_is() {
        let answered = json!({ "done": "acknowledged" });
        let found = difference(json!({ "enqueue": "parcels" }), answered).expect("they differ");
        assert!(found.lines().iter().any(|line| line.contains("acknowledged")));
    }

    #[test]
    fn common_lines_stand_once() {
        assert_eq!(
            merged(&["a", "b", "c"], &["a", "x", "c"]),
            ["  a", "- b", "+ x", "  c"]
        );
        assert_eq!(merged(&[], &["x"]), ["+ x"]);
        assert_eq!(merged(&["x"], &[]), ["- x"]);
    }
}
