//! What the binding's configuration says: nothing, or a JSON object.

use serde::Deserialize;

/// What the binding's configuration says.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// The tenant's signing key that pushes are signed with; none are not signed.
    pub(crate) sign: Option<String>,
}

// === impl Settings ===

impl Settings {
    /// Reads a configuration. Nothing at all is nothing set.
    pub(crate) fn parse(configuration: &str) -> Result<Settings, String> {
        if configuration.trim().is_empty() {
            return Ok(Settings::default());
        }
        serde_json::from_str(configuration).map_err(|error| {
            format!("the configuration is not like {{\"sign\":\"NAME-OF-A-SIGNING-KEY\"}}: {error}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_signed_unless_a_key_is_named() {
        for configuration in ["", " \n", "{}", r#"{"sign":null}"#] {
            assert_eq!(Settings::parse(configuration), Ok(Settings { sign: None }));
        }
        let named = Settings::parse(r#"{"sign":"hooks"}"#).expect("it makes sense");
        assert_eq!(named.sign.as_deref(), Some("hooks"));
    }

    #[test]
    fn a_configuration_that_makes_no_sense_is_an_error_that_says_what_would() {
        for configuration in ["hooks", "[]", r#"{"sing":"hooks"}"#, r#"{"sign":1}"#] {
            let error = Settings::parse(configuration).expect_err(configuration);
            assert!(error.contains(r#"{"sign":"#), "{error}");
        }
    }
}
