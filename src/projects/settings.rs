//! The optional parameter `settings` of a project: a JSON object.

use serde_json::Value;
use thiserror::Error;

use crate::amplitude::Region;

/// How a project wants its events. Every key is optional.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `amplitude_region`: `"us"` (default) or `"eu"`.
    pub amplitude_region: Region,
}

impl Settings {
    /// Reads the text of the parameter.
    ///
    /// # Errors
    /// Where it is no JSON object, or has an unknown key or a bad value. The error names the key, never the value.
    pub fn parse(text: &str) -> Result<Self, SettingsError> {
        let settings: Value = serde_json::from_str(text)
            .map_err(|error| SettingsError::Json { line: error.line(), column: error.column() })?;
        let Value::Object(settings) = settings else { return Err(SettingsError::NotAnObject) };
        let mut parsed = Self::default();
        for (key, value) in settings {
            match key.as_str() {
                "amplitude_region" => {
                    parsed.amplitude_region = match value.as_str() {
                        Some("us") => Region::Us,
                        Some("eu") => Region::Eu,
                        _ => return Err(SettingsError::Value { key: "amplitude_region", takes: "\"us\" or \"eu\"" }),
                    };
                }
                _ => return Err(SettingsError::UnknownKey { key, known: "amplitude_region" }),
            }
        }
        Ok(parsed)
    }
}

/// What is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SettingsError {
    /// Not JSON.
    #[error("malformed JSON at line {line}, column {column}")]
    Json {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// JSON, but not an object.
    #[error("it is not a JSON object")]
    NotAnObject,
    /// A key that is not one of ours.
    #[error("the key {key:?} is not known; known: {known}")]
    UnknownKey {
        /// As it stands there.
        key: String,
        /// Those that are.
        known: &'static str,
    },
    /// A key with a value that it does not take.
    #[error("`{key}` has a value that it does not take; it takes {takes}")]
    Value {
        /// The key.
        key: &'static str,
        /// Its values.
        takes: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_optional() {
        assert_eq!(Settings::parse("{}"), Ok(Settings::default()));
        let eu = Settings { amplitude_region: Region::Eu };
        assert_eq!(Settings::parse(r#" {"amplitude_region": "eu"} "#), Ok(eu));
        assert_eq!(Settings::parse(r#"{"amplitude_region": "us"}"#), Ok(Settings::default()));
    }

    #[test]
    fn an_error_names_the_place_or_the_key_and_never_the_value() {
        for (text, words) in [
            ("", "line 1, column 0"),
            ("{\n \"amplitude_region\": hidden}", "line 2, column 22"),
            ("[\"hidden\"]", "not a JSON object"),
            ("\"hidden\"", "not a JSON object"),
            (r#"{"amplitude_regoin": "hidden"}"#, "\"amplitude_regoin\" is not known; known: amplitude_region"),
            (r#"{"amplitude_region": "hidden"}"#, "`amplitude_region` has a value"),
            (r#"{"amplitude_region": "EU"}"#, "it takes \"us\" or \"eu\""),
            (r#"{"amplitude_region": null}"#, "it takes \"us\" or \"eu\""),
        ] {
            let error = Settings::parse(text).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
            assert!(!error.contains("hidden"), "{error}");
        }
    }
}
