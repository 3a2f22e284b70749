//! The parameters of a project: their names, and what each value must look like.

use secrecy::SecretString;

use super::configuration_error::Problem;
use crate::settings::Settings;

/// The names of the parameters below `{prefix}/{project}/`.
pub mod parameter {
    use crate::amplitude::AmplitudeKey;

    /// The signing secret of a webhook endpoint; further ones have a label behind it, after a slash.
    pub const SIGNING_SECRET: &str = "stripe-signing-secret";
    /// The secret that is about to take its place, in a rotation; with the same label, so that events of both are alike.
    pub const NEXT_SIGNING_SECRET: &str = "stripe-signing-secret-next";
    /// A restricted key of Stripe, with which references are followed; with the label of the account's signing secret.
    pub const STRIPE_API_KEY: &str = "stripe-api-key";
    /// The same for test-mode events.
    pub const STRIPE_TEST_API_KEY: &str = "stripe-test-api-key";
    /// The API key of the Amplitude project.
    pub const API_KEY: &str = AmplitudeKey::Main.parameter();
    /// The API key of the Amplitude project for test-mode events, if they have one of their own.
    pub const TEST_API_KEY: &str = AmplitudeKey::Test.parameter();
    /// How the project wants its events.
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

/// Of webhook endpoints, and of event destinations, which is what Stripe's dashboard calls them.
const STRIPE_ENDPOINT_IDS: [&str; 2] = ["we_", "ed_"];

const STRIPE_SIGNING_SECRET: &str = "whsec_";

/// Straight ones, and what word processors make of them.
const QUOTATION_MARKS: [char; 10] = ['"', '\'', '`', '“', '”', '„', '‘', '’', '«', '»'];

/// A signing secret, unless the text is something else that is easily taken for it: that would match no signature, and
/// nobody would know why.
///
/// # Errors
/// What the text is instead.
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

/// Likewise, an API key of Amplitude.
pub(super) fn amplitude_key(text: &str) -> Result<SecretString, Problem> {
    let text = value(text)?;
    let is_of_stripe = [&STRIPE_API_KEYS[..], &STRIPE_ENDPOINT_IDS, &[STRIPE_SIGNING_SECRET]];
    if is_of_stripe.iter().any(|prefixes| begins_with(text, prefixes)) {
        return Err(Problem::OfStripe);
    }
    Ok(text.into())
}

/// Likewise, a key of Stripe's API, of live or of test mode.
///
/// # Errors
/// What the text is instead.
pub fn stripe_key(text: &str, is_live: bool) -> Result<SecretString, Problem> {
    let text = value(text)?;
    if text.starts_with("pk_") {
        return Err(Problem::PublishableKey);
    }
    if begins_with(text, &STRIPE_ENDPOINT_IDS) || text.starts_with(STRIPE_SIGNING_SECRET) || is_amplitude_key(text) {
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

/// The settings of a project, from the text of their parameter.
///
/// # Errors
/// Why it cannot be used.
pub fn parse_settings(text: &str) -> Result<Settings, Problem> {
    match trimmed(text) {
        "" => Err(Problem::Empty),
        // Its last character tells nothing: it may be cut off.
        text if text.starts_with(QUOTATION_MARKS) => Err(Problem::Quoted),
        text => Settings::parse(text).map_err(Problem::Settings),
    }
}

/// The value of a parameter that holds no quotation marks.
fn value(text: &str) -> Result<&str, Problem> {
    match trimmed(text) {
        "" => Err(Problem::Empty),
        // One of them is enough: the other may have been lost on the way.
        text if text.starts_with(QUOTATION_MARKS) || text.ends_with(QUOTATION_MARKS) => Err(Problem::Quoted),
        text => Ok(text),
    }
}

/// Without the white space around it, and without the byte order mark that some programs put before a text.
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
