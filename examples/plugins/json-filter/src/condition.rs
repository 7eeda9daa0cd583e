//! Conditions on the fields of a body.

use std::cmp::Ordering;

use serde_json::{Number, Value};

use crate::pick::{Fields, Paths, Picked, Slot};

/// What a body is asked.
pub enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
    Field(Slot, Vec<Test>),
}

/// What one field is asked.
pub enum Test {
    OneOf(Vec<Picked>),
    Above(Number),
    AtLeast(Number),
    Below(Number),
    AtMost(Number),
    StartsWith(String),
    Contains(String),
    Exists(bool),
}

impl Condition {
    /// Parses a condition, and adds the fields that it names to `paths`.
    pub fn parse(condition: &Value, paths: &mut Paths) -> Result<Self, String> {
        let no_condition = || format!("{condition} is not a condition");
        let keys = condition.as_object().ok_or_else(no_condition)?;
        if let Some(field) = keys.get("field") {
            let path = field.as_str().ok_or("`field` wants a path")?;
            let tests = keys.iter().filter(|(key, _)| *key != "field");
            let tests: Vec<_> = tests
                .map(|(key, value)| Test::parse(key, value))
                .collect::<Result<_, _>>()?;
            if tests.is_empty() {
                return Err(format!("the condition on `{path}` has no test"));
            }
            return Ok(Self::Field(paths.add(path)?, tests));
        }
        match keys.iter().next() {
            Some((key, of)) if key == "all" && keys.len() == 1 => {
                Ok(Self::All(parse_list("all", of, paths)?))
            }
            Some((key, of)) if key == "any" && keys.len() == 1 => {
                Ok(Self::Any(parse_list("any", of, paths)?))
            }
            Some((key, of)) if key == "not" && keys.len() == 1 => {
                Ok(Self::Not(Box::new(Self::parse(of, paths)?)))
            }
            _ => Err(no_condition()),
        }
    }

    /// Whether the condition holds for what was found of the fields.
    pub fn holds(&self, fields: &Fields) -> bool {
        match self {
            Self::All(conditions) => conditions.iter().all(|condition| condition.holds(fields)),
            Self::Any(conditions) => conditions.iter().any(|condition| condition.holds(fields)),
            Self::Not(condition) => !condition.holds(fields),
            Self::Field(slot, tests) => tests.iter().all(|test| test.holds(fields.get(*slot))),
        }
    }
}

impl Test {
    fn parse(key: &str, value: &Value) -> Result<Self, String> {
        let number = || {
            value
                .as_number()
                .cloned()
                .ok_or_else(|| format!("`{key}` wants a number, not {value}"))
        };
        let text = || {
            value
                .as_str()
                .map(str::to_owned)
                .ok_or_else(|| format!("`{key}` wants a text, not {value}"))
        };
        match key {
            "equals" => Ok(Self::OneOf(vec![comparable(value)?])),
            "one-of" => {
                let values = value
                    .as_array()
                    .ok_or_else(|| format!("`one-of` wants a list, not {value}"))?;
                Ok(Self::OneOf(
                    values.iter().map(comparable).collect::<Result<_, _>>()?,
                ))
            }
            "above" => number().map(Self::Above),
            "at-least" => number().map(Self::AtLeast),
            "below" => number().map(Self::Below),
            "at-most" => number().map(Self::AtMost),
            "starts-with" => text().map(Self::StartsWith),
            "contains" => text().map(Self::Contains),
            "exists" => value
                .as_bool()
                .map(Self::Exists)
                .ok_or_else(|| format!("`exists` wants true or false, not {value}")),
            _ => Err(format!("there is no test `{key}`")),
        }
    }

    fn holds(&self, field: Option<&Picked>) -> bool {
        if let Self::Exists(wanted) = self {
            return field.is_some() == *wanted;
        }
        match (self, field) {
            (Self::OneOf(values), Some(field)) => values.iter().any(|value| same(value, field)),
            (Self::Above(bound), Some(Picked::Number(field))) => {
                compare(field, bound).is_some_and(Ordering::is_gt)
            }
            (Self::AtLeast(bound), Some(Picked::Number(field))) => {
                compare(field, bound).is_some_and(Ordering::is_ge)
            }
            (Self::Below(bound), Some(Picked::Number(field))) => {
                compare(field, bound).is_some_and(Ordering::is_lt)
            }
            (Self::AtMost(bound), Some(Picked::Number(field))) => {
                compare(field, bound).is_some_and(Ordering::is_le)
            }
            (Self::StartsWith(start), Some(Picked::Text(field))) => field.starts_with(start),
            (Self::Contains(part), Some(Picked::Text(field))) => field.contains(part),
            _ => false,
        }
    }
}

fn parse_list(key: &str, conditions: &Value, paths: &mut Paths) -> Result<Vec<Condition>, String> {
    let conditions = conditions
        .as_array()
        .ok_or_else(|| format!("`{key}` wants a list of conditions"))?;
    conditions
        .iter()
        .map(|condition| Condition::parse(condition, paths))
        .collect()
}

fn comparable(value: &Value) -> Result<Picked, String> {
    match value {
        Value::Null => Ok(Picked::Null),
        Value::Bool(value) => Ok(Picked::Bool(*value)),
        Value::Number(value) => Ok(Picked::Number(value.clone())),
        Value::String(value) => Ok(Picked::Text(value.clone())),
        Value::Array(_) | Value::Object(_) => Err(format!("{value} is no text, number, true, false or null")),
    }
}

fn same(left: &Picked, right: &Picked) -> bool {
    match (left, right) {
        (Picked::Number(left), Picked::Number(right)) => compare(left, right).is_some_and(Ordering::is_eq),
        _ => left == right,
    }
}

/// Compares whole numbers as such, so that the largest ones stay apart, and others as floating point.
fn compare(left: &Number, right: &Number) -> Option<Ordering> {
    match (left.as_i128(), right.as_i128()) {
        (Some(left), Some(right)) => Some(left.cmp(&right)),
        _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(condition: &str, body: &str) -> bool {
        let condition = serde_json::from_str(condition).expect("JSON");
        let mut paths = Paths::default();
        let condition = Condition::parse(&condition, &mut paths).expect("a condition");
        condition.holds(&paths.pick(body.as_bytes()).expect("JSON"))
    }

    #[test]
    fn each_test_holds_where_it_says() {
        for (test, holding, failing) in [
            (
                r#""equals": "x""#,
                &[r#""x""#][..],
                &[r#""X""#, "null", r#"["x"]"#][..],
            ),
            (r#""equals": 1"#, &["1", "1.0"], &["2", r#""1""#, "true"]),
            (r#""equals": null"#, &["null"], &["0", r#""""#]),
            (r#""equals": true"#, &["true"], &["false", "1"]),
            (r#""one-of": ["x", 2]"#, &[r#""x""#, "2"], &[r#""y""#, r#""2""#]),
            (r#""one-of": []"#, &[], &["1"]),
            (r#""above": 2"#, &["2.5", "3"], &["2", "-3", r#""3""#]),
            (r#""at-least": 2"#, &["2", "2.0"], &["1.9"]),
            (r#""below": -1.5"#, &["-2"], &["-1.5", "0"]),
            (r#""at-most": -1.5"#, &["-2", "-1.5"], &["0"]),
            (
                r#""above": 9007199254740992"#,
                &["9007199254740993"],
                &["9007199254740992"],
            ),
            (
                r#""starts-with": "ab""#,
                &[r#""abc""#, r#""ab""#],
                &[r#""a""#, r#""cab""#, "1"],
            ),
            (r#""contains": "b""#, &[r#""abc""#], &[r#""ac""#, r#"["b"]"#]),
            (r#""exists": true"#, &["null", "{}", "[]"], &[]),
            (r#""exists": false"#, &[], &["null"]),
            (r#""above": 1, "below": 3"#, &["2"], &["1", "3"]),
        ] {
            let condition = format!(r#"{{"field": "/f", {test}}}"#);
            for value in holding {
                assert!(
                    holds(&condition, &format!(r#"{{"f": {value}}}"#)),
                    "{test} fails for {value}"
                );
            }
            for value in failing {
                assert!(
                    !holds(&condition, &format!(r#"{{"f": {value}}}"#)),
                    "{test} holds for {value}"
                );
            }
            assert_eq!(
                holds(&condition, "{}"),
                test.ends_with("false"),
                "{test} of nothing"
            );
        }
    }

    #[test]
    fn conditions_combine() {
        let body = r#"{"a": 1, "b": 2}"#;
        for (condition, expected) in [
            (
                r#"{"all": [{"field": "/a", "equals": 1}, {"field": "/b", "equals": 2}]}"#,
                true,
            ),
            (
                r#"{"all": [{"field": "/a", "equals": 1}, {"field": "/b", "equals": 1}]}"#,
                false,
            ),
            (
                r#"{"any": [{"field": "/a", "equals": 2}, {"field": "/b", "equals": 2}]}"#,
                true,
            ),
            (r#"{"any": [{"field": "/a", "equals": 2}]}"#, false),
            (r#"{"not": {"field": "/c", "exists": true}}"#, true),
            (r#"{"not": {"any": [{"field": "/a", "equals": 1}]}}"#, false),
            (r#"{"all": []}"#, true),
            (r#"{"any": []}"#, false),
        ] {
            assert_eq!(holds(condition, body), expected, "{condition}");
        }
    }
}
