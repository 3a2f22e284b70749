//! Keys that the commands need. They come from the environment or from the terminal, never from an argument, which other
//! users of the machine can see and the shell's history keeps.

use std::io::IsTerminal as _;

use secrecy::{ExposeSecret as _, SecretString};
use stripe_amplitude::amplitude::AmplitudeKey;
use stripe_amplitude::projects::configuration_error::Problem;
use stripe_amplitude::projects::parameters;
use stripe_amplitude::stripe::signature::SigningSecret;

use crate::terminal::{self, wrap};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    /// The variable that holds it.
    pub(crate) variable: &'static str,
    /// What it is, for messages.
    pub(crate) meaning: &'static str,
}

/// What is easily mistaken for a Stripe API key, by prefix.
const MISTAKEN_FOR_A_KEY: [(&str, &str); 2] = [
    ("pk_", "a publishable key (pk_…), which cannot read anything"),
    ("whsec_", "the signing secret of a webhook endpoint (whsec_…), which is not a Stripe API key"),
];

/// The key of the Stripe account.
pub(crate) const STRIPE: Key = Key {
    variable: "STRIPE_SECRET_KEY",
    meaning: "the secret key (sk_…) or a restricted key (rk_…) of the Stripe account",
};

/// The Stripe key with which the function follows references.
pub(crate) const STRIPE_RESTRICTED: Key = Key {
    variable: "STRIPE_RESTRICTED_KEY",
    meaning: "the restricted key (rk_…) of the Stripe account for the function",
};

/// The API key of the Amplitude project, for sending events.
pub(crate) const AMPLITUDE: Key =
    Key { variable: "AMPLITUDE_API_KEY", meaning: "the API key of the Amplitude project (Settings, Projects)" };

/// The secret key of the Amplitude project, for the Export API.
pub(crate) const AMPLITUDE_SECRET: Key =
    Key { variable: "AMPLITUDE_SECRET_KEY", meaning: "the secret key of the Amplitude project" };

/// The same for a separate Amplitude project for test-mode events.
pub(crate) const AMPLITUDE_TEST_SECRET: Key = Key {
    variable: "AMPLITUDE_TEST_SECRET_KEY",
    meaning: "the secret key of the Amplitude project for test-mode events",
};

/// The signing secret from `--secret` or the environment.
///
/// # Errors
/// A sentence, if it is something else. It does not contain the text.
pub(crate) fn signing_secret(text: &str) -> Result<SigningSecret, String> {
    let secret = parameters::signing_secret(text);
    let secret = secret.map_err(|problem| format!("--secret (or STRIPE_SIGNING_SECRET) {problem}"))?;
    Ok(SigningSecret::new(secret, None))
}

impl Key {
    /// The secret key of the Amplitude project that this API key belongs to.
    pub(crate) fn amplitude_secret(key: AmplitudeKey) -> Self {
        match key {
            AmplitudeKey::Main => AMPLITUDE_SECRET,
            AmplitudeKey::Test => AMPLITUDE_TEST_SECRET,
        }
    }

    /// From the environment, if set.
    pub(crate) fn given(self) -> Option<SecretString> {
        let text = std::env::var(self.variable).ok()?;
        let text = text.trim();
        (!text.is_empty()).then(|| text.into())
    }

    /// The same, but rejects what is easily mistaken for the key.
    ///
    /// # Errors
    /// A sentence that says what it is. It does not contain the text.
    pub(crate) fn given_and_checked(self) -> Result<Option<SecretString>, String> {
        self.given().map(|key| self.checked(key)).transpose()
    }

    fn checked(self, key: SecretString) -> Result<SecretString, String> {
        let Self { variable, meaning } = self;
        let text = key.expose_secret();
        let is_of_stripe = [STRIPE.variable, STRIPE_RESTRICTED.variable].contains(&variable);
        let is = if is_of_stripe {
            let mistaken = MISTAKEN_FOR_A_KEY.iter().find(|(start, _)| text.starts_with(start));
            mistaken.map(|(_, is)| *is)
        } else {
            match parameters::amplitude_key(text) {
                Ok(_) => None,
                Err(Problem::OfStripe) => Some("a key, a secret or an ID of Stripe's"),
                Err(problem) => return Err(format!("{variable} {problem}")),
            }
        };
        is.map_or(Ok(()), |is| Err(format!("{variable} holds {is}; expected {meaning}")))?;
        Ok(key)
    }

    /// From the environment or the terminal.
    ///
    /// # Errors
    /// A sentence, if there is none, or it is not a key.
    pub(crate) fn required(self) -> Result<SecretString, String> {
        if let Some(key) = self.given() {
            return self.checked(key);
        }
        let missing = || self.missing();
        if !std::io::stdin().is_terminal() {
            return Err(missing());
        }
        self.typed("")?.ok_or_else(missing).and_then(|key| self.checked(key))
    }

    /// A message that the variable is not set.
    pub(crate) fn missing(self) -> String {
        let Self { variable, meaning } = self;
        format!("{variable} is not set; expected {meaning}")
    }

    /// The same for an optional key: `None` without a terminal, or if nothing is typed. `purpose` is printed before the
    /// prompt.
    ///
    /// # Errors
    /// A sentence, if the terminal cannot be read.
    pub(crate) fn offered(self, purpose: &str) -> Result<Option<SecretString>, String> {
        match self.given() {
            None if std::io::stdin().is_terminal() => {
                terminal::tell(&wrap("", 0, purpose));
                self.typed(", or press Enter to skip")
            }
            given => Ok(given),
        }
    }

    fn typed(self, or: &str) -> Result<Option<SecretString>, String> {
        let Self { variable, meaning } = self;
        terminal::tell(&format!("{variable} is not set.\n"));
        let typed = rpassword::prompt_password(format!("Type or paste {meaning}{or}; it is not shown: "));
        let typed = typed.map_err(|error| error.to_string())?;
        let typed = typed.trim();
        Ok((!typed.is_empty()).then(|| typed.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistaken_key_is_named_and_not_shown() {
        let checked = |key: Key, text: &str| key.checked(text.into()).map(drop);
        for (text, words) in [("pk_live_hidden", "a publishable key (pk_…)"), ("whsec_hidden", "the signing secret")]
        {
            let error = checked(STRIPE, text).unwrap_err();
            let start = format!("STRIPE_SECRET_KEY holds {words}");
            assert!(error.starts_with(&start) && error.contains("sk_…") && !error.contains("hidden"), "{error}");
        }
        assert!(checked(STRIPE, "sk_test_x").is_ok() && checked(STRIPE, "rk_live_x").is_ok());
    }

    /// They would be sent to Amplitude.
    #[test]
    fn stripe_keys_are_not_taken_for_amplitudes() {
        for key in [AMPLITUDE, AMPLITUDE_SECRET, AMPLITUDE_TEST_SECRET] {
            let Key { variable, meaning } = key;
            let checked = |text: &str| key.checked(text.into()).map(drop);
            for text in ["sk_live_hidden", "rk_live_hidden", "pk_live_hidden", "whsec_hidden", "we_hidden"] {
                let error = format!("{variable} holds a key, a secret or an ID of Stripe's; expected {meaning}");
                assert_eq!(checked(text), Err(error));
            }
            assert_eq!(checked("'hidden'"), Err(format!("{variable} is in quotation marks; store it without them")));
            assert_eq!(checked("0123456789abcdef0123456789abcdef"), Ok(()));
        }
    }
}
