//! Values of a project's parameters.

use secrecy::{ExposeSecret as _, SecretString};
use stripe_amplitude::projects::parameters::{Parameter, parameter};
use stripe_amplitude::settings::Settings;

/// A parameter's value, trimmed as the function trims it. `None` if it is missing or empty.
pub(super) fn value(parameters: &[Parameter], name: &str) -> Option<SecretString> {
    let parameter = parameters.iter().find(|parameter| parameter.name == name)?;
    let value = parameter.value.expose_secret().trim();
    (!value.is_empty()).then(|| value.into())
}

/// The same for a signing secret. The most common mistake is to store an API key instead, which counts as missing.
pub(super) fn signing_secret(parameters: &[Parameter], name: &str) -> Option<SecretString> {
    value(parameters, name).filter(|secret| secret.expose_secret().starts_with("whsec_"))
}

/// The project's settings, or the defaults.
pub(super) fn settings(parameters: &[Parameter], folder: &str) -> Result<Settings, String> {
    let Some(text) = parameters.iter().find(|parameter| parameter.name == parameter::SETTINGS) else {
        return Ok(Settings::default());
    };
    Settings::parse(text.value.expose_secret().trim())
        .map_err(|error| format!("the parameter {folder}/{} is unusable: {error}", parameter::SETTINGS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(parameters: &[(&str, &str)]) -> Vec<Parameter> {
        let parameter = |(name, value): &(&str, &str)| Parameter { name: (*name).to_owned(), value: (*value).into() };
        parameters.iter().map(parameter).collect()
    }

    #[test]
    fn values_are_trimmed() {
        let parameters = parameters(&[("a", " x\n"), ("b", " ")]);
        assert_eq!(value(&parameters, "a").unwrap().expose_secret(), "x");
        assert!(value(&parameters, "b").is_none() && value(&parameters, "c").is_none());
    }

    #[test]
    fn api_key_is_not_a_signing_secret() {
        let parameters = parameters(&[("a", "whsec_x"), ("b", "rk_live_x")]);
        assert!(signing_secret(&parameters, "a").is_some() && signing_secret(&parameters, "b").is_none());
    }

    #[test]
    fn unusable_settings_are_named() {
        assert_eq!(settings(&[], "/f").unwrap(), Settings::default());
        let error = settings(&parameters(&[("settings", "{\"hidden\": 1}")]), "/f/shop").unwrap_err();
        assert!(error.contains("/f/shop/settings is unusable"), "{error}");
    }
}
