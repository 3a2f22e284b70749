//! Any `Stripe-Signature` headers with any body: the project and a second implementation of Stripe's documentation
//! (`src/reference.rs`) agree on whether the body is signed. So nothing panics, and nothing matches that was not signed
//! with one of the secrets.
//!
//! The input is a message (`src/message.rs`) whose lines are the values of the headers. `{a}` in them is the signature by
//! the first secret, whole or damaged, and `{now}` the time (`fill_in` in `src/reference.rs`). Directives: `:secret` (any
//! number of them), `:now` and `:tolerance` in seconds.

#![no_main]

use std::time::Duration;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use stripe_amplitude::stripe::signature::{SignatureHeader, SigningSecret, sign, verify};
use stripe_amplitude_fuzz::abbreviation::expand;
use stripe_amplitude_fuzz::message::Message;
use stripe_amplitude_fuzz::reference::{fill_in, is_signed, signature};

const LARGEST: usize = 2 * 1024 * 1024;

const MOST_HEADERS: usize = 8;

fuzz_target!(|input: &[u8]| {
    let input = expand(input, LARGEST);
    let message = Message::read(&input);
    let number = |name: &str| message.directive(name).and_then(|number| number.parse::<u64>().ok());
    let (now, tolerance) = (number("now").unwrap_or(1_720_000_000), number("tolerance").unwrap_or(300));
    let mut secrets: Vec<String> = message.directives("secret").map(str::to_owned).collect();
    if secrets.is_empty() {
        secrets = vec!["whsec_a".to_owned(), "whsec_b".to_owned()];
    }
    let lines = message.lines.iter().take(MOST_HEADERS);
    let values: Vec<_> = lines.map(|value| fill_in(value, message.body, &secrets, now)).collect();
    let expected = is_signed(&values, message.body, secrets.iter().map(String::as_str), now, tolerance);

    let labelled =
        |(index, text): (usize, &String)| SigningSecret::new(text.as_str().into(), index.to_string().parse().ok());
    let signing: Vec<_> = secrets.iter().enumerate().map(labelled).collect();
    let header = SignatureHeader::from_values(values.iter().map(Vec::as_slice));
    let body = Bytes::copy_from_slice(message.body);
    let result = header.and_then(|header| verify(&header, body, &signing, now, Duration::from_secs(tolerance)));
    match result {
        Ok((body, matched)) => {
            assert!(expected, "a false match");
            assert_eq!(body.as_bytes(), message.body);
            let index: usize =
                matched.label().and_then(|label| label.as_str().parse().ok()).expect("the label of a secret");
            assert!(is_signed(&values, message.body, [&*secrets[index]], now, tolerance), "signed by another secret");
        }
        Err(error) => {
            assert!(!expected, "{error}");
            assert!(!error.to_string().contains("whsec_a"), "{error}");
        }
    }
    let ours = sign(&signing[0], now, message.body);
    assert_eq!(ours, format!("t={now},v1={}", signature(&secrets[0], now.to_string().as_bytes(), message.body)));
});
