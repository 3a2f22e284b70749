//! Stripe's webhook signature: `Stripe-Signature: t=<unix seconds>,v1=<hex>[,v1=…][,v0=…]`.
//!
//! The signature is HMAC-SHA256 over the text of `t`, a dot and the raw body; the key is the text of the whole signing
//! secret, `whsec_` included. While a secret is rolled, the header has one `v1` per active secret, and any of them may
//! match. Source: docs.stripe.com/webhooks, "Verify webhook signatures manually".

use std::fmt;
use std::str::Utf8Error;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;
use thiserror::Error;

use super::repair;
use super::source_label::SourceLabel;

/// The name of the header, in lower case.
pub const HEADER: &str = "stripe-signature";

/// Checks a body against its signature and every secret of a project. This is the only way to a [`VerifiedBody`].
///
/// `now` is in Unix seconds. The age is checked after the match, so that only Stripe learns about our clock. The
/// second value is the secret that matched.
///
/// ```
/// # use std::time::Duration;
/// # use stripe_amplitude::stripe::signature::{SignatureError, SignatureHeader, SigningSecret, sign, verify};
/// let secrets = [SigningSecret::new("whsec_EXAMPLE".into(), None)];
/// let (now, tolerance) = (1_720_000_000, Duration::from_secs(300));
/// // Stripe sends the header with the body.
/// let header = sign(&secrets[0], now, b"{}");
/// let header = SignatureHeader::parse(header.as_bytes())?;
///
/// let (body, _secret) = verify(&header, "{}".into(), &secrets, now, tolerance)?;
/// assert_eq!(body.as_bytes(), b"{}");
/// let changed = verify(&header, "{ }".into(), &secrets, now, tolerance);
/// assert_eq!(changed.unwrap_err(), SignatureError::Mismatch);
/// # Ok::<(), SignatureError>(())
/// ```
///
/// # Errors
/// [`SignatureError::Mismatch`], [`SignatureError::TooOld`] or [`SignatureError::TooFarInTheFuture`].
pub fn verify<'s>(
    header: &SignatureHeader<'_>,
    body: Bytes,
    secrets: &'s [SigningSecret],
    now: u64,
    tolerance: Duration,
) -> Result<(VerifiedBody, &'s SigningSecret), SignatureError> {
    let matched = secrets
        .iter()
        .find(|secret| {
            let mac = secret.mac(header.timestamp_text, &body);
            header.signatures.iter().any(|signature| mac.clone().verify_slice(signature).is_ok())
        })
        .ok_or(SignatureError::Mismatch)?;

    let tolerance = tolerance.as_secs();
    if let Some(seconds) = now.checked_sub(header.timestamp).filter(|age| *age > tolerance) {
        return Err(SignatureError::TooOld { seconds, tolerance });
    }
    if let Some(seconds) = header.timestamp.checked_sub(now).filter(|lead| *lead > tolerance) {
        return Err(SignatureError::TooFarInTheFuture { seconds, tolerance });
    }
    Ok((VerifiedBody::trusted(body), matched))
}

/// The header that Stripe would send with this body at this time (Unix seconds).
pub fn sign(secret: &SigningSecret, timestamp: u64, body: &[u8]) -> String {
    let timestamp = timestamp.to_string();
    let signature = secret.mac(&timestamp, body).finalize().into_bytes();
    format!("t={timestamp},v1={}", hex::encode(signature))
}

/// The byte order mark that some programs write at the start of a text in UTF-8.
pub const BYTE_ORDER_MARK: &str = "\u{feff}";

/// A body of certain origin, the only kind of body that can be parsed. [`verify`] returns one for a body that Stripe
/// signed; [`VerifiedBody::trusted`] is for other trusted sources.
#[derive(Clone)]
pub struct VerifiedBody {
    bytes: Bytes,
    /// Parsed instead of the bytes, if the parser rejects them. An event borrows from it.
    repaired: OnceLock<Option<String>>,
}

impl VerifiedBody {
    /// A body that was not signed just now: from the redelivery queue, to which only our own functions send verified
    /// bodies, or from an operator on the command line.
    pub fn trusted(body: Bytes) -> Self {
        Self { bytes: body, repaired: OnceLock::new() }
    }

    /// The bytes as they were signed.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes as text, without a byte order mark.
    pub(super) fn text(&self) -> Result<&str, Utf8Error> {
        str::from_utf8(&self.bytes).map(|text| text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text))
    }

    /// The text with unpaired surrogates and numbers out of range replaced, if it has any. Only a body that the parser
    /// has rejected is searched for them, once.
    pub(super) fn repaired(&self) -> Option<&str> {
        self.repaired.get_or_init(|| repair::repaired(self.text().ok()?)).as_deref()
    }
}

impl PartialEq for VerifiedBody {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for VerifiedBody {}

impl fmt::Debug for VerifiedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifiedBody({} bytes)", self.bytes.len())
    }
}

/// A signing secret of a webhook endpoint, and its label in the project.
///
/// The secret is wiped on drop and hidden from `Debug`.
#[derive(Debug)]
pub struct SigningSecret {
    secret: SecretString,
    label: Option<SourceLabel>,
}

impl SigningSecret {
    /// The key is the text of the whole secret, `whsec_` included.
    pub fn new(secret: SecretString, label: Option<SourceLabel>) -> Self {
        Self { secret, label }
    }

    /// The Stripe account or endpoint of the secret, if the project has several.
    pub fn label(&self) -> Option<&SourceLabel> {
        self.label.as_ref()
    }

    fn mac(&self, timestamp: &str, body: &[u8]) -> Hmac<Sha256> {
        let key = self.secret.expose_secret().as_bytes();
        // HMAC takes keys of any length.
        #[allow(clippy::expect_used)]
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
        mac.update(timestamp.as_bytes());
        mac.update(b".");
        mac.update(body);
        mac
    }
}

/// A well-formed `Stripe-Signature` header.
#[derive(Clone, PartialEq, Eq)]
pub struct SignatureHeader<'h> {
    timestamp: u64,
    /// The signature covers the text of `t`, so it is kept unchanged.
    timestamp_text: &'h str,
    signatures: Vec<[u8; 32]>,
}

impl<'h> SignatureHeader<'h> {
    /// Reads the values of all `Stripe-Signature` headers of a request; there must be exactly one.
    ///
    /// # Errors
    /// [`SignatureError::NoHeader`], [`SignatureError::Malformed`] or [`SignatureError::NoV1`].
    pub fn from_values(mut values: impl Iterator<Item = &'h [u8]>) -> Result<Self, SignatureError> {
        let value = values.next().ok_or(SignatureError::NoHeader)?;
        if values.next().is_some() {
            return Err(SignatureError::Malformed("there is more than one"));
        }
        Self::parse(value)
    }

    /// Reads one value: `key=value` elements without spaces, split by commas; exactly one `t`, at least one `v1`.
    ///
    /// # Errors
    /// [`SignatureError::Malformed`] or [`SignatureError::NoV1`].
    pub fn parse(value: &'h [u8]) -> Result<Self, SignatureError> {
        let malformed = SignatureError::Malformed;
        let text = str::from_utf8(value).map_err(|_| malformed("it is not text"))?;
        let mut timestamp_text = None;
        let mut has_v1 = false;
        let mut signatures = Vec::new();
        for element in text.split(',') {
            if element.contains(char::is_whitespace) {
                return Err(malformed("it has a space"));
            }
            let (key, value) = element.split_once('=').ok_or(malformed("an element is not key=value"))?;
            match key {
                "t" if timestamp_text.is_some() => return Err(malformed("it has more than one t")),
                "t" => timestamp_text = Some(value),
                "v1" => {
                    has_v1 = true;
                    signatures.extend(decode_signature(value));
                }
                _ => {}
            }
        }
        let timestamp_text = timestamp_text.ok_or(malformed("it has no t"))?;
        let timestamp = parse_timestamp(timestamp_text).ok_or(malformed("t is not a number of Unix seconds"))?;
        if !has_v1 {
            return Err(SignatureError::NoV1);
        }
        Ok(Self { timestamp, timestamp_text, signatures })
    }

    /// Whether Stripe signs with several secrets, because one of them is being rolled.
    pub fn is_rolling(&self) -> bool {
        self.signatures.len() > 1
    }
}

/// Why a signature is refused. The operator reads the texts in Stripe's dashboard.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SignatureError {
    /// The request has no `Stripe-Signature` header.
    #[error(
        "no signature header: the request has no Stripe-Signature, because it is not from a Stripe webhook endpoint, or a proxy removed the header"
    )]
    NoHeader,
    /// The header is not in Stripe's form; the text explains where.
    #[error("malformed signature header: {0}; Stripe sends one header of the form t=1720000000,v1=…")]
    Malformed(&'static str),
    /// The header has no `v1`, only other schemes.
    #[error("no v1 signature: only the scheme v1 is accepted")]
    NoV1,
    /// No `v1` matches any secret of the project.
    #[error(
        "signature does not match: either the project's stripe-signing-secret is another endpoint's (each endpoint, and each `stripe listen`, has its own whsec_…), or a proxy changed the body, which must arrive byte for byte"
    )]
    Mismatch,
    /// The signature is right, but older than the tolerance.
    #[error(
        "timestamp too old: signed {seconds} s ago, {tolerance} s are allowed; a stored request cannot be replayed, so resend the event from Stripe"
    )]
    TooOld {
        /// The age, in seconds.
        seconds: u64,
        /// The allowed age, in seconds.
        tolerance: u64,
    },
    /// The signature is right, but its time is further in the future than the tolerance.
    #[error(
        "timestamp too far in the future: {seconds} s ahead of our clock, {tolerance} s are allowed; compare the clocks"
    )]
    TooFarInTheFuture {
        /// The difference, in seconds.
        seconds: u64,
        /// The allowed difference, in seconds.
        tolerance: u64,
    },
}

/// Decimal digits only, no sign, no leading zero, at most 12: as Stripe writes it, with no second spelling.
fn parse_timestamp(text: &str) -> Option<u64> {
    let well_formed =
        (1..=12).contains(&text.len()) && !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    well_formed.then(|| text.parse().ok()).flatten()
}

/// Only 64 lower-case hex digits count; Stripe's libraries compare text, so upper case never matched.
fn decode_signature(text: &str) -> Option<[u8; 32]> {
    let mut signature = [0; 32];
    let lower_case = !text.bytes().any(|byte| byte.is_ascii_uppercase());
    (lower_case && hex::decode_to_slice(text, &mut signature).is_ok()).then_some(signature)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use proptest::prelude::*;
    use serde_json::Value;

    use super::super::event::Event;
    use super::*;

    const NOW: u64 = 1_720_000_000;
    const TOLERANCE: Duration = Duration::from_secs(300);

    fn secret(text: &str) -> SigningSecret {
        SigningSecret::new(text.into(), None)
    }

    fn check(header: &str, body: &[u8], secrets: &[SigningSecret], now: u64) -> Result<(), SignatureError> {
        let header = SignatureHeader::parse(header.as_bytes())?;
        verify(&header, Bytes::copy_from_slice(body), secrets, now, TOLERANCE).map(drop)
    }

    #[test]
    fn the_official_vectors_verify_as_recommended() {
        let file: Value = serde_json::from_str(include_str!("../../tests/data/signature-vectors.json")).unwrap();
        let vectors = file["vectors"].as_array().unwrap();
        assert_eq!(vectors.len() as u64, file["count"].as_u64().unwrap());
        for vector in vectors {
            let text = |name: &str| vector[name].as_str().unwrap();
            let body = base64::engine::general_purpose::STANDARD.decode(text("payload_base64")).unwrap();
            let tolerance = vector["tolerance"].as_u64().unwrap_or(u64::MAX);
            let secrets = [secret(text("secret"))];
            let result = SignatureHeader::parse(text("header").as_bytes()).and_then(|header| {
                let now = vector["now"].as_u64().unwrap();
                verify(&header, body.into(), &secrets, now, Duration::from_secs(tolerance)).map(drop)
            });
            let reason = result.err().map(|error| match error {
                SignatureError::NoHeader => "no_header",
                SignatureError::Malformed(_) => "malformed",
                SignatureError::NoV1 => "no_v1",
                SignatureError::Mismatch => "mismatch",
                SignatureError::TooOld { .. } => "too_old",
                SignatureError::TooFarInTheFuture { .. } => "too_new",
            });
            assert_eq!(reason, vector["reason"].as_str(), "{}", text("id"));
        }
    }

    #[test]
    fn there_must_be_exactly_one_header() {
        let one: &[u8] = b"t=1,v1=aa";
        assert_eq!(SignatureHeader::from_values([].into_iter()).err(), Some(SignatureError::NoHeader));
        assert!(SignatureHeader::from_values([one].into_iter()).is_ok());
        let two = SignatureHeader::from_values([one, one].into_iter()).err();
        assert!(matches!(two, Some(SignatureError::Malformed(_))));
    }

    #[test]
    fn a_timestamp_has_one_spelling() {
        for text in ["", "-1", "+1", "01", "0", "1.0", "1e3", " 1", "0x10", "1234567890123", "١"] {
            assert_eq!(parse_timestamp(text), None, "{text}");
        }
        assert_eq!(parse_timestamp("999999999999"), Some(999_999_999_999));
    }

    #[test]
    fn malformed_headers_are_refused() {
        let v1 = "a".repeat(64);
        for header in [
            format!("t=1,t=1,v1={v1}"),
            format!("t=1, v1={v1}"),
            format!("t =1,v1={v1}"),
            format!("t=1,v1={v1},"),
            format!("t=1;v1={v1}"),
            format!("v1={v1}"),
            format!("\u{feff}t=1,v1={v1}"),
        ] {
            assert!(matches!(SignatureHeader::parse(header.as_bytes()), Err(SignatureError::Malformed(_))), "{header}");
        }
        assert!(matches!(SignatureHeader::parse(b"t=1,v1=\xff"), Err(SignatureError::Malformed(_))));
    }

    #[test]
    fn only_64_lower_case_hex_digits_count() {
        let secrets = [secret("whsec_a")];
        let header = sign(&secrets[0], NOW, b"{}");
        let (timestamp, v1) = header.split_once(",v1=").unwrap();
        assert_eq!(check(&header, b"{}", &secrets, NOW), Ok(()));
        for other in [v1.to_uppercase(), format!("{v1}00"), v1[..62].to_owned(), format!("0x{}", &v1[2..])] {
            let header = format!("{timestamp},v1={other}");
            assert_eq!(check(&header, b"{}", &secrets, NOW), Err(SignatureError::Mismatch), "{other}");
        }
        assert_eq!(check(&format!("{timestamp},v0={v1}"), b"{}", &secrets, NOW), Err(SignatureError::NoV1));
    }

    #[test]
    fn any_secret_may_match() {
        let secrets = [
            secret("whsec_a"),
            SigningSecret::new("whsec_ab".into(), Some("eu".parse().unwrap())),
            SigningSecret::new("whsec_c".into(), Some("us".parse().unwrap())),
        ];
        for expected in &secrets {
            let value = sign(expected, NOW, b"body");
            let header = SignatureHeader::parse(value.as_bytes()).unwrap();
            let (body, matched) = verify(&header, Bytes::from_static(b"body"), &secrets, NOW, TOLERANCE).unwrap();
            assert_eq!(matched.label(), expected.label());
            assert_eq!(body.as_bytes(), b"body");
        }
        let stranger = sign(&secret("whsec_"), NOW, b"body");
        assert_eq!(check(&stranger, b"body", &secrets, NOW), Err(SignatureError::Mismatch));
        assert_eq!(check(&stranger, b"body", &[], NOW), Err(SignatureError::Mismatch));
    }

    #[test]
    fn the_tolerance_applies_in_both_directions() {
        let secrets = [secret("whsec_a")];
        let header = sign(&secrets[0], NOW, b"{}");
        assert_eq!(check(&header, b"{}", &secrets, NOW + 300), Ok(()));
        assert_eq!(check(&header, b"{}", &secrets, NOW - 300), Ok(()));
        let too_old = SignatureError::TooOld { seconds: 301, tolerance: 300 };
        assert_eq!(check(&header, b"{}", &secrets, NOW + 301), Err(too_old));
        let too_new = SignatureError::TooFarInTheFuture { seconds: 301, tolerance: 300 };
        assert_eq!(check(&header, b"{}", &secrets, NOW - 301), Err(too_new));
    }

    #[test]
    fn a_wrong_signature_learns_nothing_about_the_clock() {
        let header = sign(&secret("whsec_b"), NOW, b"{}");
        assert_eq!(check(&header, b"{}", &[secret("whsec_a")], NOW + 9_000), Err(SignatureError::Mismatch));
    }

    #[test]
    fn debug_shows_no_secrets() {
        let shown = format!("{:?} {:?}", secret("whsec_hidden"), VerifiedBody::trusted(Bytes::from_static(b"hidden")));
        assert!(!shown.contains("hidden"), "{shown}");
    }

    proptest! {
        #[test]
        fn any_header_and_any_body_never_panic(header: Vec<u8>, body: Vec<u8>) {
            if let Ok(header) = SignatureHeader::parse(&header) {
                prop_assert!(verify(&header, body.into(), &[secret("whsec_a")], NOW, TOLERANCE).is_err());
            }
        }

        #[test]
        fn headers_of_stripes_alphabet_never_panic(header in "[tv01=,a-f 9.-]{0,200}") {
            let _ = SignatureHeader::parse(header.as_bytes());
        }

        #[test]
        fn flipped_bits_do_not_verify(
            body in prop::collection::vec(any::<u8>(), 1..200),
            key in "whsec_[A-Za-z0-9]{1,40}",
            bit in any::<prop::sample::Index>(),
        ) {
            let secrets = [secret(&key)];
            let header = sign(&secrets[0], NOW, &body);
            prop_assert_eq!(check(&header, &body, &secrets, NOW), Ok(()));

            let bit_of_body = bit.index(body.len() * 8);
            let mut changed = body.clone();
            changed[bit_of_body / 8] ^= 1 << (bit_of_body % 8);
            prop_assert_eq!(check(&header, &changed, &secrets, NOW), Err(SignatureError::Mismatch));

            let start = header.find("v1=").unwrap() + 3;
            let mut signature = hex::decode(&header[start..]).unwrap();
            let bit_of_signature = bit.index(256);
            signature[bit_of_signature / 8] ^= 1 << (bit_of_signature % 8);
            let changed = format!("{}{}", &header[..start], hex::encode(signature));
            prop_assert_eq!(check(&changed, &body, &secrets, NOW), Err(SignatureError::Mismatch));
        }
    }

    #[test]
    fn only_rejected_bodies_are_repaired() {
        for (number, is_searched) in [("1", false), ("1e400", true)] {
            let event = format!(
                r#"{{"id": "evt_1", "object": "event", "type": "x", "created": 1, "data": {{"object": {{"a": {number}}}}}}}"#
            );
            let body = VerifiedBody::trusted(event.into());
            Event::parse(&body).unwrap();
            assert_eq!(body.repaired.get().is_some(), is_searched);
        }
    }
}
