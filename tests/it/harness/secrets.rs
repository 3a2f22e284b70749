//! Values that must not leak: all secrets, keys, e-mails and user IDs that the tests use. The harness searches every
//! answer and, at its end, every process's output for them, so each test also checks this.

use std::collections::BTreeSet;
use std::sync::{LazyLock, Mutex};

/// The minimum length of a secret. Shorter ones would occur in any text.
const SHORTEST: usize = 6;

/// A value that tests use both as a secret and as ordinary text. Those tests search for it themselves.
const NOT_DISTINCT: &str = "hidden";

/// The length of a signature in hex. Nothing else that is logged has as many digits.
const DIGITS_OF_A_SIGNATURE: usize = 64;

/// The secrets of all stages in this run: none may leak from one stage into another.
static SECRETS: LazyLock<Mutex<BTreeSet<String>>> = LazyLock::new(|| {
    let credentials = ["aws-secret-of-the-function", "aws-token-of-the-function"].map(str::to_owned);
    // The user of the samples.
    let users = ["user_42", "Jenny Rosen"].map(str::to_owned);
    Mutex::new(credentials.into_iter().chain(users).chain(personal_data_of_the_samples()).collect())
});

/// Searches all further output in this run for a secret. A value that is also an ordinary name elsewhere makes other
/// tests fail at random.
pub fn register(secret: &str) {
    let secret = secret.trim();
    if secret.len() >= SHORTEST && secret != NOT_DISTINCT {
        SECRETS.lock().unwrap().insert(secret.to_owned());
    }
}

/// Fails if the text contains a secret.
#[track_caller]
pub fn expect_none_in(what: &str, text: &str) {
    let found: Vec<String> =
        SECRETS.lock().unwrap().iter().filter(|secret| text.contains(secret.as_str())).cloned().collect();
    assert!(found.is_empty(), "{found:?} in {what}:\n{text}");
    let is_digit = |character: char| character.is_ascii_digit() || ('a'..='f').contains(&character);
    let longest = text.split(|character| !is_digit(character)).map(str::len).max();
    assert!(longest < Some(DIGITS_OF_A_SIGNATURE), "a signature in {what}:\n{text}");
}

/// The e-mails and client secrets in the samples.
fn personal_data_of_the_samples() -> impl Iterator<Item = String> {
    let samples = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/events/stripe")).unwrap();
    samples.flat_map(|sample| {
        let sample = std::fs::read_to_string(sample.unwrap().path()).unwrap();
        let texts = sample.split('"').filter(|text| text.contains('@') || text.contains("_secret_"));
        texts.map(str::to_owned).collect::<Vec<_>>()
    })
}
