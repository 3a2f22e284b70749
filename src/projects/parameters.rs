//! The parameters of a project: their names, and what each value must look like.

use secrecy::SecretString;

use super::configuration_error::Problem;
use crate::settings::Settings;

/// The names of the parameters below `{prefix}/{project}/`.
pub mod parameter {
    use crate::amplitude::AmplitudeKey;

    /// The signing secret of a webhook endpoint. Others have a label at the end, after a slash.
    pub const SIGNING_SECRET: &str = "stripe-signing-secret";
    /// The successor of a signing secret during a rotation. It has the same label, so that events are the same under
    /// both.
    pub const NEXT_SIGNING_SECRET: &str = "stripe-signing-secret-next";
    /// A restricted Stripe key to follow references with. It has the label of the account's signing secret.
    pub const STRIPE_API_KEY: &str = "stripe-api-key";
    /// The same for test-mode events.
    pub const STRIPE_TEST_API_KEY: &str = "stripe-test-api-key";
    /// The API key of the Amplitude project.
    pub const API_KEY: &str = AmplitudeKey::Main.parameter();
    /// The API key of the Amplitude project for test-mode events, if they go to another project.
    pub const TEST_API_KEY: &str = AmplitudeKey::Test.parameter();
    /// The project's settings.
    pub const SETTINGS: &str = "settings";
}

/// A parameter of a project.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Its name below the project's folder, for example `stripe-signing-secret/eu`.
    pub name: String,
    /// Its value, hidden from `Debug`.
    pub value: SecretString,
}

const STRIPE_API_KEYS: [&str; 3] = ["sk_", "rk_", "pk_"];

/// The IDs of webhook endpoints, and of event destinations, their name in Stripe's dashboard.
const STRIPE_ENDPOINT_IDS: [&str; 2] = ["we_", "ed_"];

const STRIPE_SIGNING_SECRET: &str = "whsec_";

/// Straight ones, and those of word processors.
const QUOTATION_MARKS: [char; 10] = ['"', '\'', '`', '“', '”', '„', '‘', '’', '«', '»'];

/// Checks a signing secret. A value that is easily confused with one would match no signature, without an explanation.
///
/// # Errors
/// If the text is another kind of value.
pub fn signing_secret(text: &str) -> Result<SecretString, Problem> {
    let text = value(text)?;
    if begins_with(text, &STRIPE_API_KEYS) {
        return Err(Problem::StripeApiKey);
    }
    if begins_with(text, &STRIPE_ENDPOINT_IDS) {
        return Err(Problem::EndpointId);
    }
    if is_amplitude_key(text) {
        return Err(Problem::AmplitudeKey);
    }
    Ok(text.into())
}

/// Checks an API key of Amplitude.
///
/// # Errors
/// What the text is instead.
pub fn amplitude_key(text: &str) -> Result<SecretString, Problem> {
    let text = value(text)?;
    let is_of_stripe = [&STRIPE_API_KEYS[..], &STRIPE_ENDPOINT_IDS, &[STRIPE_SIGNING_SECRET]];
    if is_of_stripe.iter().any(|prefixes| begins_with(text, prefixes)) {
        return Err(Problem::OfStripe);
    }
    Ok(text.into())
}

/// Checks a key of Stripe's API, of live or test mode.
///
/// # Errors
/// If the text is another kind of value.
pub fn stripe_key(text: &str, is_live: bool) -> Result<SecretString, Problem> {
    let text = value(text)?;
    if text.starts_with("pk_") {
        return Err(Problem::PublishableKey);
    }
    let is_another = begins_with(text, &STRIPE_ENDPOINT_IDS) || text.starts_with(STRIPE_SIGNING_SECRET);
    // No header can hold a line break, and no key has a space.
    if is_another || is_amplitude_key(text) || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Problem::NotAStripeKey);
    }
    match is_live {
        true if begins_with(text, &["sk_test_", "rk_test_"]) => Err(Problem::TestKey),
        false if begins_with(text, &["sk_live_", "rk_live_"]) => Err(Problem::LiveKey),
        _ => Ok(text.into()),
    }
}

/// Amplitude's keys are 32 hexadecimal digits.
fn is_amplitude_key(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Reads the settings of a project from the text of their parameter.
///
/// # Errors
/// If they are invalid.
pub fn parse_settings(text: &str) -> Result<Settings, Problem> {
    match trimmed(text) {
        "" => Err(Problem::Empty),
        // The last character is not checked: the text may be truncated.
        text if text.starts_with(QUOTATION_MARKS) => Err(Problem::Quoted),
        text => Settings::parse(text).map_err(Problem::Settings),
    }
}

/// The value of a parameter that holds no quotation marks.
fn value(text: &str) -> Result<&str, Problem> {
    match trimmed(text) {
        "" => Err(Problem::Empty),
        // One of them is enough: the other may have been lost.
        text if text.starts_with(QUOTATION_MARKS) || text.ends_with(QUOTATION_MARKS) => Err(Problem::Quoted),
        text => Ok(text),
    }
}

/// Removes the surrounding white space, and the byte order mark that some programs write.
fn trimmed(text: &str) -> &str {
    text.trim_matches(|character: char| character.is_whitespace() || character == '\u{feff}')
}

fn begins_with(text: &str, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| text.starts_with(prefix))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn parameters(parameters: &[(&str, &str)]) -> Vec<Parameter> {
        let parameter = |(name, value): &(&str, &str)| Parameter { name: (*name).to_owned(), value: (*value).into() };
        parameters.iter().map(parameter).collect()
    }

    pub(crate) const COMPLETE: [(&str, &str); 2] = [("stripe-signing-secret", "whsec_a"), ("amplitude-api-key", "key")];
}
