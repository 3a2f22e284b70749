//! The commands, as a user types them.

// As in the function's `tests/it`: a helper, like a test, stops where it meets what it does not expect.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use stripe_amplitude::stripe::signature::{SignatureHeader, SigningSecret, verify};

fn cli(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stripe-amplitude-cli"));
    // Neither the developer's secret nor a proxy shall matter.
    command.args(arguments).current_dir(root()).env_clear();
    command
}

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = cli(arguments).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// `serve`, on a free port, until this is dropped.
struct Serving {
    process: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    url: String,
}

impl Serving {
    fn start(arguments: &[&str]) -> Self {
        let mut process = cli(&[&["serve", "--port", "0"], arguments].concat()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        let url = first.strip_prefix("Serving ").unwrap().to_owned();
        Self { process, lines, url }
    }

    fn line_with(&mut self, text: &str) -> String {
        self.lines.by_ref().map(Result::unwrap).find(|line| line.contains(text)).unwrap()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const EVENT: &str = "events/stripe/payment_intent.succeeded.json";

#[test]
fn demo_succeeds_with_all_events() {
    let (code, out, _) = run(&["demo", "--port", "0"]);
    assert!(out.ends_with("26 of 26 landed as expected.\n"), "{out}");
    assert_eq!(code, Some(0));
}

#[test]
fn what_is_sent_to_serve_is_forwarded_and_logged() {
    let mut serving = Serving::start(&[]);
    assert!(serving.url.ends_with("/stripe/demo"));
    let (code, out, _) = run(&["send", EVENT, "events/stripe/charge.failed.json", "--to", &serving.url]);
    assert_eq!((code, out.lines().count()), (Some(0), 2), "{out}");
    assert!(out.starts_with(&format!("{EVENT}: 200 {{\"outcome\":\"forwarded\"")), "{out}");
    let line: Value = serde_json::from_str(&serving.line_with("payment_intent.succeeded\"")).unwrap();
    assert_eq!((line["outcome"].as_str(), line["project"].as_str()), (Some("forwarded"), Some("demo")));
}

#[test]
fn a_refused_event_is_shown_and_the_exit_code_says_so() {
    let serving = Serving::start(&[]);
    let (code, out, _) = run(&["send", EVENT, "--to", &serving.url, "--secret", "whsec_other"]);
    assert_eq!(code, Some(1));
    assert!(out.contains("400") && out.contains("signature does not match"), "{out}");
}

#[test]
fn standard_input_is_an_event_too() {
    let serving = Serving::start(&[]);
    let mut send = cli(&["send", "-", "--created", "keep", "--to", &serving.url])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    send.stdin.take().unwrap().write_all(&std::fs::read(root().join(EVENT)).unwrap()).unwrap();
    let output = send.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn projects_come_from_a_file() {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("projects.toml");
    let shop = "[shop]\nstripe-signing-secret = \"whsec_shop\"\namplitude-api-key = \"key\"\n";
    std::fs::write(&file, shop).unwrap();
    let serving = Serving::start(&["--projects", file.to_str().unwrap()]);
    assert!(serving.url.ends_with("/stripe/shop"));
    let (code, out, _) = run(&["send", EVENT, "--to", &serving.url, "--secret", "whsec_shop"]);
    assert_eq!(code, Some(0), "{out}");
}

#[test]
fn mistakes_are_told_on_standard_error_with_what_to_do() {
    for (arguments, code, words) in [
        (&["send", "no-such-file.json"][..], 1, "no-such-file.json"),
        (&["send", "Cargo.toml"], 1, "Cargo.toml: it is not JSON"),
        (&["send", EVENT, "--to", "http://127.0.0.1:1/"], 1, "cannot be reached"),
        (&["send", EVENT, "--to", "nonsense"], 1, "nonsense is not a URL"),
        (&["send"], 2, "EVENT.json"),
        (&["serve", "--projects", "no-such-file.toml"], 1, "no-such-file.toml"),
        (&["serve", "--amplitude", "there"], 2, "`emulator`, `real` or a URL"),
        (&["serve", "--parameter-store"], 1, if cfg!(feature = "aws") { "AWS_REGION" } else { "cli-aws" }),
        (&["invocation", EVENT, "--project", "a/b"], 2, "1 to 64"),
        (&["invocation", EVENT, "--rest", "--function-url"], 2, "--function-url"),
        (&["nonsense"], 2, "nonsense"),
    ] {
        let (exit, out, err) = run(arguments);
        assert_eq!(exit, Some(code), "{arguments:?}: {err}");
        assert!(err.contains(words) && out.is_empty(), "{arguments:?}: {err}");
    }
}

#[test]
fn a_port_that_is_taken_is_named() {
    let serving = Serving::start(&[]);
    let port = serving.url.split([':', '/']).nth(4).unwrap();
    let (code, _, err) = run(&["demo", "--port", port]);
    assert_eq!(code, Some(1));
    assert!(err.contains(&format!("port {port} cannot be used")) && err.contains("PORT=3001"), "{err}");
}

#[test]
fn an_invocation_is_signed_now_for_its_project() {
    for (flags, header) in
        [(&[][..], "stripe-signature"), (&["--rest"], "Stripe-Signature"), (&["--function-url"], "stripe-signature")]
    {
        let arguments = [&["invocation", EVENT, "--project", "shop", "--secret", "whsec_shop"], flags].concat();
        let (code, out, _) = run(&arguments);
        assert_eq!(code, Some(0));
        let invocation: Value = serde_json::from_str(&out).unwrap();
        let path = invocation.get("rawPath").or(invocation.get("path")).unwrap();
        assert_eq!(path, "/stripe/shop");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let signature = SignatureHeader::parse(invocation["headers"][header].as_str().unwrap().as_bytes()).unwrap();
        let body = invocation["body"].as_str().unwrap().to_owned();
        let secrets = [SigningSecret::new("whsec_shop".into(), None)];
        let tolerance = std::time::Duration::from_secs(60);
        assert!(verify(&signature, body.into(), &secrets, now.as_secs(), tolerance).is_ok());
    }
}

#[test]
fn completions_are_printed() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, out, _) = run(&["completions", shell]);
        assert_eq!(code, Some(0));
        assert!(out.contains("invocation"), "{shell}");
    }
}
