//! Keys that the commands need. They come from the environment or from the terminal, never from an argument, which other
//! users of the machine can see and the shell remembers.

use std::io::IsTerminal as _;

use secrecy::SecretString;
use stripe_amplitude::amplitude::AmplitudeKey;
use stripe_amplitude::projects::parameters;
use stripe_amplitude::stripe::signature::SigningSecret;

/// A key that a command needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    /// The variable that holds it.
    pub(crate) variable: &'static str,
    /// What it is, for whoever is asked for it.
    pub(crate) meaning: &'static str,
}

/// Of Stripe's API.
pub(crate) const STRIPE: Key = Key {
    variable: "STRIPE_SECRET_KEY",
    meaning: "the secret key (sk_…) or a restricted key (rk_…) of the Stripe account",
};

/// Of Stripe's API, as a project has it in its parameter `stripe-api-key`.
pub(crate) const STRIPE_OF_A_PROJECT: Key = Key {
    variable: "STRIPE_API_KEY",
    meaning: "the restricted key (rk_…) that the project has, or shall have, in stripe-api-key",
};

/// Of Amplitude's project, which events are sent with.
pub(crate) const AMPLITUDE: Key =
    Key { variable: "AMPLITUDE_API_KEY", meaning: "the API key of the Amplitude project (Settings, Projects)" };

/// Of Amplitude's Export API, with the API key.
pub(crate) const AMPLITUDE_SECRET: Key =
    Key { variable: "AMPLITUDE_SECRET_KEY", meaning: "the secret key of the Amplitude project" };

/// The same, of the Amplitude project for test-mode events, if they have one of their own.
pub(crate) const AMPLITUDE_TEST_SECRET: Key = Key {
    variable: "AMPLITUDE_TEST_SECRET_KEY",
    meaning: "the secret key of the Amplitude project of test-mode events",
};

/// The signing secret that a command was given as `--secret`, or in the environment.
///
/// # Errors
/// A sentence, where it is something else. It does not hold the text.
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

    /// From the environment, if it is there.
    pub(crate) fn given(self) -> Option<SecretString> {
        let text = std::env::var(self.variable).ok()?;
        let text = text.trim();
        (!text.is_empty()).then(|| text.into())
    }

    /// From the environment, or from whoever sits at the terminal.
    ///
    /// # Errors
    /// A sentence, where there is neither.
    pub(crate) fn required(self) -> Result<SecretString, String> {
        let Self { variable, meaning } = self;
        if let Some(key) = self.given() {
            return Ok(key);
        }
        let missing = || format!("{variable} is not set; it takes {meaning}");
        if !std::io::stdin().is_terminal() {
            return Err(missing());
        }
        eprintln!("{variable} is not set.");
        let typed = rpassword::prompt_password(format!("Type or paste {meaning}; it is not shown: "));
        let typed = typed.map_err(|error| error.to_string())?;
        let typed = typed.trim();
        if typed.is_empty() { Err(missing()) } else { Ok(typed.into()) }
    }
}
