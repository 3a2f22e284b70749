//! What must stay home: every secret, key, e-mail and user ID that the tests use. The harness looks for them in whatever
//! a process has written when it ends, and in every answer; so each test of a run is a test of this, too.

use std::collections::BTreeSet;
use std::sync::{LazyLock, Mutex};

/// Shorter ones would be found in any text.
const SHORTEST: usize = 6;

/// What tests call some of their secrets, and other things, too. They look for it themselves.
const NOT_DISTINCT: &str = "hidden";

/// A signature in hex has so many digits; nothing else that is written has.
const DIGITS_OF_A_SIGNATURE: usize = 64;

/// The secrets of all stages of this run, because nothing may go from one into another.
static SECRETS: LazyLock<Mutex<BTreeSet<String>>> = LazyLock::new(|| {
    let credentials = ["aws-secret-of-the-function", "aws-token-of-the-function"].map(str::to_owned);
    // The user of the samples.
    let users = ["user_42", "Jenny Rosen"].map(str::to_owned);
    Mutex::new(credentials.into_iter().chain(users).chain(personal_data_of_the_samples()).collect())
});

/// Looks for this secret from now on, in whatever any test of the run writes: a value that is also a name somewhere else
/// makes another test fail, now and then.
pub fn keep(secret: &str) {
    let secret = secret.trim();
    if secret.len() >= SHORTEST && secret != NOT_DISTINCT {
        SECRETS.lock().unwrap().insert(secret.to_owned());
    }
}

/// Fails where the text holds a secret.
#[track_caller]
pub fn expect_none_in(what: &str, text: &str) {
    let found: Vec<String> =
        SECRETS.lock().unwrap().iter().filter(|secret| text.contains(secret.as_str())).cloned().collect();
    assert!(found.is_empty(), "{found:?} in {what}:\n{text}");
    let is_digit = |character: char| character.is_ascii_digit() || ('a'..='f').contains(&character);
    let longest = text.split(|character| !is_digit(character)).map(str::len).max();
    assert!(longest < Some(DIGITS_OF_A_SIGNATURE), "a signature in {what}:\n{text}");
}

/// Their e-mails, and the secrets of their clients.
fn personal_data_of_the_samples() -> impl Iterator<Item = String> {
    let samples = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/events/stripe")).unwrap();
    samples.flat_map(|sample| {
        let sample = std::fs::read_to_string(sample.unwrap().path()).unwrap();
        let texts = sample.split('"').filter(|text| text.contains('@') || text.contains("_secret_"));
        texts.map(str::to_owned).collect::<Vec<_>>()
    })
}
