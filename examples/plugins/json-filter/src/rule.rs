//! The configuration: a condition, and what becomes of a body that is not JSON.

use serde_json::{Map, Value};

use crate::condition::Condition;
use crate::pick::Paths;

/// What the binding was configured to do.
pub struct Rule {
    when: Condition,
    /// The fields that `when` names.
    paths: Paths,
    not_json: NotJson,
}

/// What becomes of a message.
#[derive(Debug, PartialEq)]
pub enum Decision {
    Pass,
    Drop,
    Fail(String),
}

enum NotJson {
    Drop,
    Pass,
    Fail,
}

impl Rule {
    /// Parses a configuration, or says what is wrong with it.
    pub fn parse(configuration: &str) -> Result<Self, String> {
        let configuration: Map<String, Value> = serde_json::from_str(configuration)
            .map_err(|error| format!("the configuration is not a JSON object: {error}"))?;
        let mut when = None;
        let mut not_json = NotJson::Drop;
        let mut paths = Paths::default();
        for (key, value) in &configuration {
            match (key.as_str(), value.as_str()) {
                ("when", _) => when = Some(Condition::parse(value, &mut paths)?),
                ("not-json", Some("drop")) => not_json = NotJson::Drop,
                ("not-json", Some("pass")) => not_json = NotJson::Pass,
                ("not-json", Some("fail")) => not_json = NotJson::Fail,
                ("not-json", _) => {
                    return Err(format!(
                        "`not-json` is \"drop\", \"pass\" or \"fail\", not {value}"
                    ));
                }
                _ => return Err(format!("the configuration has no key `{key}`")),
            }
        }
        let when = when.ok_or("the configuration has no `when`")?;
        Ok(Self {
            when,
            paths,
            not_json,
        })
    }

    /// Decides about a message by its body.
    pub fn decide(&self, body: &[u8]) -> Decision {
        match (self.paths.pick(body), &self.not_json) {
            (Ok(fields), _) if self.when.holds(&fields) => Decision::Pass,
            (Ok(_), _) | (Err(_), NotJson::Drop) => Decision::Drop,
            (Err(_), NotJson::Pass) => Decision::Pass,
            (Err(error), NotJson::Fail) => Decision::Fail(format!("the body is not JSON: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(configuration: &str, body: &str) -> Decision {
        Rule::parse(configuration)
            .expect("a rule")
            .decide(body.as_bytes())
    }

    #[test]
    fn a_message_passes_if_its_body_satisfies_the_condition() {
        let rule = r#"{"when": {"field": "/price", "above": 100}}"#;
        assert_eq!(decide(rule, r#"{"price": 100.5}"#), Decision::Pass);
        assert_eq!(decide(rule, r#"{"price": 100}"#), Decision::Drop);
        assert_eq!(decide(rule, r#"{"cost": 101}"#), Decision::Drop);
    }

    #[test]
    fn what_is_not_json_meets_what_was_configured_for_it() {
        for (not_json, expected) in [
            ("", Decision::Drop),
            (r#","not-json":"drop""#, Decision::Drop),
            (r#","not-json":"pass""#, Decision::Pass),
        ] {
            let rule = format!(r#"{{"when": {{"field": "", "exists": true}} {not_json}}}"#);
            for body in ["", "{", "plain text", "{} {}", "\u{1}"] {
                assert_eq!(decide(&rule, body), expected, "{body:?}");
            }
        }
        let rule = r#"{"when": {"field": "", "exists": true}, "not-json": "fail"}"#;
        assert!(
            matches!(decide(rule, "{"), Decision::Fail(reason) if reason.starts_with("the body is not JSON"))
        );
    }

    #[test]
    fn a_wrong_configuration_is_refused_with_the_reason() {
        for (configuration, reason) in [
            ("", "not a JSON object"),
            ("[]", "not a JSON object"),
            ("{}", "no `when`"),
            (
                r#"{"when": {"field": "/a", "exists": true}, "else": 1}"#,
                "no key `else`",
            ),
            (
                r#"{"when": {"field": "/a", "exists": true}, "not-json": "keep"}"#,
                "`not-json` is",
            ),
            (r#"{"when": {"field": "/a"}}"#, "has no test"),
            (r#"{"when": {"field": "a", "exists": true}}"#, "begins with `/`"),
            (
                r#"{"when": {"field": "/a", "above": "1"}}"#,
                "`above` wants a number",
            ),
            (r#"{"when": {"field": "/a", "equals": []}}"#, "no text, number"),
            (
                r#"{"when": {"field": "/a", "one-of": 1}}"#,
                "`one-of` wants a list",
            ),
            (
                r#"{"when": {"field": "/a", "contains": 1}}"#,
                "`contains` wants a text",
            ),
            (
                r#"{"when": {"field": "/a", "exists": 1}}"#,
                "`exists` wants true or false",
            ),
            (r#"{"when": {"field": "/a", "like": "b"}}"#, "no test `like`"),
            (r#"{"when": {"above": 1}}"#, "is not a condition"),
            (r#"{"when": {"all": [], "any": []}}"#, "is not a condition"),
            (r#"{"when": {"all": {}}}"#, "`all` wants a list"),
        ] {
            let refused = Rule::parse(configuration)
                .err()
                .unwrap_or_else(|| panic!("{configuration} was taken"));
            assert!(refused.contains(reason), "{configuration}: {refused}");
        }
    }
}
