//! Whether the time of a refusal reveals how much of a forged signature is right. If it did, a stranger could guess the
//! signature of a body byte by byte.
//!
//! `cargo bench --no-default-features --bench refusal_timing` measures `signature::verify` with signatures that share 0,
//! 1, 16 and 31 leading bytes with the right one, in random order, and compares each class with the first by Welch's
//! t-test. The control, a comparison that stops at the first byte that differs, shows that the method would notice.
//! Method: Reparaz, Balasch and Verbauwhede, "Dude, is my code constant time?", 2017.
//!
//! It is not part of CI, because a busy machine disturbs it. It exits with 1 only if the difference is beyond doubt.

// A measurement that fails must stop, and nothing here is a public API.
#![allow(clippy::expect_used, clippy::indexing_slicing, missing_docs)]

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use stripe_amplitude::stripe::signature::{self, SignatureHeader, SigningSecret};

const SECRET: &str = "whsec_of_the_bench";
const TIMESTAMP: u64 = 1_720_000_000;
const BODY: &[u8] = br#"{"id":"evt_1","object":"event","type":"charge.succeeded","created":1720000000}"#;

/// How many leading bytes of the signature are right.
const CLASSES: [usize; 4] = [0, 1, 16, 31];

/// Forged signatures of each class. Their other bytes are random, so that no class is a single pattern.
const FORGERIES: usize = 256;

/// Measurements of each class.
const SAMPLES: usize = 1_000_000;

/// Fewer measurements give no verdict.
const ENOUGH_SAMPLES: usize = 100_000;

/// Measurements above this quantile were interrupted by other work, and are ignored.
const KEPT: f64 = 0.90;

/// Beyond doubt. Values above 4.5 are worth a second run.
const LEAKS_FROM: f64 = 10.0;

fn main() -> ExitCode {
    let secrets = [SigningSecret::new(SECRET.into(), None)];
    let right = signature::sign(&secrets[0], TIMESTAMP, BODY);
    let right = right.split_once(",v1=").map(|(_, hex)| hex::decode(hex)).expect("it has a v1").expect("it is hex");
    let forgeries = CLASSES.map(|class| -> Vec<Vec<u8>> { (0..FORGERIES).map(|_| forge(&right, class)).collect() });

    let texts = forgeries.clone().map(|class| -> Vec<String> {
        class.iter().map(|forged| format!("t={TIMESTAMP},v1={}", hex::encode(forged))).collect()
    });
    let headers = texts.each_ref().map(|class| -> Vec<SignatureHeader<'_>> {
        class.iter().map(|text| SignatureHeader::parse(text.as_bytes()).expect("it is well-formed")).collect()
    });
    let body = Bytes::from_static(BODY);
    let tolerance = Duration::from_secs(300);
    let verify = measure(&headers, |header| {
        let refused = signature::verify(header, body.clone(), &secrets, TIMESTAMP, tolerance);
        assert!(refused.is_err());
    });
    let worst = report("signature::verify", &verify);

    let timestamp = TIMESTAMP.to_string();
    let control = measure(&forgeries, |forged| {
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("HMAC takes keys of any length");
        for part in [timestamp.as_bytes(), b".", BODY] {
            mac.update(part);
        }
        assert!(!stops_at_the_first_difference(&mac.finalize().into_bytes(), forged));
    });
    let noticed = report("control: stops at the first byte that differs", &control) > LEAKS_FROM;

    let enough = verify.iter().all(|class| class.len() >= ENOUGH_SAMPLES);
    match (enough, worst > LEAKS_FROM, noticed) {
        (true, true, _) => {
            println!("verdict: the time of a refusal tells how much of the signature is right");
            return ExitCode::FAILURE;
        }
        (true, false, true) => println!("verdict: no difference, and the method would have noticed one"),
        _ => println!("verdict: none; this machine is too busy to tell"),
    }
    ExitCode::SUCCESS
}

/// A signature with exactly this many right leading bytes.
fn forge(right: &[u8], class: usize) -> Vec<u8> {
    let (kept, wrong) = right.split_at(class);
    let mut forged = kept.to_vec();
    forged.extend(wrong.iter().enumerate().map(|(position, byte)| match position {
        0 => byte ^ fastrand::u8(1..),
        _ => fastrand::u8(..),
    }));
    forged
}

/// Nanoseconds of each class, measured in random order.
fn measure<T: Clone>(forgeries: &[Vec<T>; CLASSES.len()], mut refuse: impl FnMut(&T)) -> [Vec<f64>; CLASSES.len()] {
    let mut times = CLASSES.map(|_| Vec::with_capacity(SAMPLES + SAMPLES / 100));
    // The first few thousand warm the caches.
    for round in 0..SAMPLES * CLASSES.len() + 10_000 {
        let class = fastrand::usize(..CLASSES.len());
        // A copy in the place of the previous one, because the place in memory affects the time.
        let forged = black_box(forgeries[class][fastrand::usize(..FORGERIES)].clone());
        let start = Instant::now();
        refuse(&forged);
        let elapsed = start.elapsed();
        if round >= 10_000 {
            times[class].push(elapsed.as_secs_f64() * 1e9);
        }
    }
    let mut all: Vec<f64> = times.iter().flatten().copied().collect();
    let cut = (all.len() as f64 * KEPT) as usize;
    let limit = *all.select_nth_unstable_by(cut, f64::total_cmp).1;
    times.map(|class| class.into_iter().filter(|time| *time <= limit).collect())
}

/// Prints the classes, and returns the largest |t|.
fn report(name: &str, times: &[Vec<f64>; CLASSES.len()]) -> f64 {
    println!("{name}");
    let first = Summary::of(&times[0]);
    let mut worst: f64 = 0.0;
    for (class, times) in CLASSES.iter().zip(times) {
        let summary = Summary::of(times);
        let t = summary.welch(&first);
        worst = worst.max(t.abs());
        println!("  {class:>2} leading bytes: mean {:8.2} ns, {:>7} samples, t = {t:+.2}", summary.mean, times.len());
    }
    worst
}

struct Summary {
    mean: f64,
    /// The variance of the mean.
    variance: f64,
}

impl Summary {
    fn of(times: &[f64]) -> Self {
        let count = times.len() as f64;
        let mean = times.iter().sum::<f64>() / count;
        let squares: f64 = times.iter().map(|time| (time - mean).powi(2)).sum();
        Self { mean, variance: squares / (count - 1.0) / count }
    }

    fn welch(&self, other: &Self) -> f64 {
        (self.mean - other.mean) / (self.variance + other.variance).sqrt()
    }
}

#[inline(never)]
fn stops_at_the_first_difference(one: &[u8], other: &[u8]) -> bool {
    one.iter().zip(other).all(|(one, other)| black_box(one) == black_box(other))
}
