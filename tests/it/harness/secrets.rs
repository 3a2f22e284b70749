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

/// The secrets and the output of all stages in this run: no secret may leak from one stage into another.
static RUN: LazyLock<Mutex<Run>> = LazyLock::new(|| {
    let credentials = ["aws-secret-of-the-function", "aws-token-of-the-function"].map(str::to_owned);
    // The user of the samples.
    let users = ["user_42", "Jenny Rosen"].map(str::to_owned);
    let secrets = credentials.into_iter().chain(users).chain(personal_data_of_the_samples()).collect();
    Mutex::new(Run { secrets, outputs: Vec::new() })
});

/// Fails if an output of this run contains the secret, whether it was written before or is written later. A value that is
/// also an ordinary name elsewhere therefore fails in every order of the tests.
#[track_caller]
pub fn register(secret: &str) {
    let secret = secret.trim();
    if secret.len() >= SHORTEST && secret != NOT_DISTINCT {
        let found = RUN.lock().unwrap().register(secret);
        assert!(found.is_none(), "{secret} was in {}", found.unwrap_or_default());
    }
}

/// Fails if the text contains a secret.
#[track_caller]
pub fn expect_none_in(what: &str, text: &str) {
    let found = RUN.lock().unwrap().find_in(what, text);
    assert!(found.is_empty(), "{found:?} in {what}:\n{text}");
    let is_digit = |character: char| character.is_ascii_digit() || ('a'..='f').contains(&character);
    let longest = text.split(|character| !is_digit(character)).map(str::len).max();
    assert!(longest < Some(DIGITS_OF_A_SIGNATURE), "a signature in {what}:\n{text}");
}

#[derive(Default)]
struct Run {
    secrets: BTreeSet<String>,
    /// What each output was, and its text.
    outputs: Vec<(String, String)>,
}

impl Run {
    /// Adds a secret; returns an earlier output that contains it.
    fn register(&mut self, secret: &str) -> Option<String> {
        if !self.secrets.insert(secret.to_owned()) {
            return None;
        }
        let found = self.outputs.iter().find(|(_, text)| text.contains(secret));
        found.map(|(what, text)| format!("{what}:\n{text}"))
    }

    /// Adds an output; returns the secrets in it.
    fn find_in(&mut self, what: &str, text: &str) -> Vec<String> {
        self.outputs.push((what.to_owned(), text.to_owned()));
        self.secrets.iter().filter(|secret| text.contains(secret.as_str())).cloned().collect()
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_found_in_any_order() {
        let mut run = Run::default();
        assert_eq!(run.register("key-of-one"), None);
        assert_eq!(run.find_in("an answer", "with key-of-one"), ["key-of-one"]);
        assert_eq!(run.find_in("a log", "with key-of-two"), [""; 0]);
        assert_eq!(run.register("key-of-two"), Some("a log:\nwith key-of-two".to_owned()));
    }
}
