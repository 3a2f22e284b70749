//! The commands, as a user types them.

// Helpers panic like tests do.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod command_line;
mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use command_line::{Serving, cli, file, root, run, run_with, sample};
use common::unread;
use serde_json::{Value, json};
use stripe_amplitude::stripe::signature::{SignatureHeader, SigningSecret, verify};
use stripe_emulator::{Emulator, Fault, Permission};

const EVENT: &str = "events/stripe/payment_intent.succeeded.json";

#[test]
fn demo_succeeds_with_all_events() {
    let (code, out, _) = run(&["demo", "--port", "0"]);
    assert!(out.contains("\n26 of 26 landed as expected.\n"), "{out}");
    let last = out.lines().last().unwrap();
    assert!(last.contains(" landed on user_") && last.contains("references are followed"), "{out}");
    assert_eq!(code, Some(0));
}

#[test]
fn serve_forwards_and_logs() {
    let mut serving = Serving::start(&[]);
    assert!(serving.url.ends_with("/stripe/demo"));
    let (code, out, _) = run(&["send", EVENT, "events/stripe/charge.failed.json", "--to", &serving.url]);
    assert_eq!((code, out.lines().count()), (Some(0), 2), "{out}");
    assert!(out.starts_with(&format!("{EVENT}: 200 {{\"outcome\":\"forwarded\"")), "{out}");
    let line: Value = serde_json::from_str(&serving.line_with("payment_intent.succeeded\"")).unwrap();
    assert_eq!((line["outcome"].as_str(), line["project"].as_str()), (Some("forwarded"), Some("demo")));
}

#[test]
fn refused_event_fails() {
    let serving = Serving::start(&[]);
    let (code, out, _) = run(&["send", EVENT, "--to", &serving.url, "--secret", "whsec_other"]);
    assert_eq!(code, Some(1));
    assert!(out.contains("400") && out.contains(r#""code":"signature_mismatch""#), "{out}");
}

#[test]
fn send_reads_standard_input() {
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
    let shop = "[shop]\nstripe-signing-secret = \"whsec_shop\"\namplitude-api-key = \"key\"\n";
    let serving = Serving::start(&["--projects", &file("projects.toml", shop)]);
    assert!(serving.url.ends_with("/stripe/shop"));
    let (code, out, _) = run(&["send", EVENT, "--to", &serving.url, "--secret", "whsec_shop"]);
    assert_eq!(code, Some(0), "{out}");
}

#[test]
fn printed_sample_command_works() {
    let shop = "[shop]\nstripe-signing-secret = \"whsec_shop\"\namplitude-api-key = \"key\"\n";
    let path = file("sample.toml", shop);
    let mut serving = Serving::start(&["--projects", &path]);
    let line = serving.line_with("To send a sample: ");
    let command: Vec<_> = line.strip_prefix("To send a sample: cargo cli ").unwrap().split(' ').collect();
    let (code, out, err) = run(&command);
    assert_eq!(code, Some(0), "{line}: {out}{err}");
    // The error for a missing project lists the existing ones.
    let other = serving.url.replace("/shop", "/shp");
    let (_, out, _) = run(&["send", EVENT, "--to", &other]);
    assert!(out.contains("no such project: ") && out.contains("sample.toml has no [shp]; it has shop"), "{out}");
    // So does the error for a URL without a project.
    let (code, _, err) = run(&["send", EVENT, "--to", &serving.url.replace("stripe/shop", "")]);
    assert!(code == Some(1) && err.contains("/stripe/demo"), "{err}");
}

#[test]
fn serve_rejects_an_unusable_project() {
    let path = file("wrong.toml", "[shop]\nstripe-signing-secret = \"whsec_shop\"\nstripe_api_key = \"rk_live_1\"\n");
    let (code, out, err) = run(&["serve", "--port", "0", "--projects", &path]);
    assert_eq!((code, &*out), (Some(1), ""));
    assert!(err.contains("wrong.toml: [shop] has `stripe_api_key`") && err.contains("`stripe-api-key`?"), "{err}");
}

#[test]
fn serve_loads_objects_from_a_file() {
    let (event, _) = following();
    let customer = json!({"id": "cus_1", "object": "customer", "metadata": {"user_id": "user_9"}});
    let objects = file("objects-for-serve.ndjson", &format!("{customer}\n"));
    let mut serving = Serving::start(&["--objects", &objects]);
    serving.line_with("The local Stripe knows only objects from events; add objects with --objects FILE");
    let (code, out, _) = run(&["send", &event, "--to", &serving.url]);
    assert!(code == Some(0) && out.contains("\"user_id_from\":\"customer.metadata.user_id\""), "{out}");
    let broken = file("no-objects.ndjson", "{}\n");
    let (code, _, err) = run(&["serve", "--port", "0", "--objects", &broken]);
    assert!(code == Some(1) && err.contains("no-objects.ndjson, line 1: "), "{err}");
    let (code, _, err) = run(&["serve", "--port", "0", "--objects", &objects, "--stripe", "real"]);
    assert!(code == Some(2) && err.contains("--stripe local"), "{err}");
}

#[test]
fn usage_errors_are_on_standard_error() {
    for (arguments, code, words) in [
        (&["send", "no-such-file.json"][..], 1, "no-such-file.json"),
        (&["send", "Cargo.toml"], 1, "Cargo.toml: malformed JSON"),
        (&["send", EVENT, "--to", "http://127.0.0.1:1/"], 1, "cannot be reached"),
        (&["send", EVENT, "--to", "http://a:hidden@127.0.0.1:1/x"], 1, "http://127.0.0.1:1/x cannot be reached"),
        (&["send", EVENT, "--to", "nonsense"], 1, "nonsense is not a URL"),
        (&["send"], 2, "EVENT.json"),
        (&["generate", "--users", "0"], 2, "1..=100000"),
        (&["generate", "--users", "100001"], 2, "1..=100000"),
        (&["generate", "--weeks", "105"], 2, "1..=104"),
        (&["generate", "--seed", "one"], 2, "--seed"),
        (&["generate", "--users", "1", "--to", "http://127.0.0.1:1/"], 1, "cannot be reached"),
        (&["generate", "--users", "1", "--to", "http://a:hidden@127.0.0.1:1/x"], 1, "http://127.0.0.1:1/x cannot"),
        (&["generate", "--users", "1", "--to", "nonsense"], 1, "nonsense is not a URL"),
        (&["serve", "--projects", "no-such-file.toml"], 1, "no-such-file.toml"),
        (&["serve", "--amplitude", "there"], 2, "`emulator`, `real` or a URL"),
        (&["serve", "--stripe", "there"], 2, "`local`, `real` or a URL"),
        (
            &["serve", "--amplitude", "http://api.example.com/2/httpapi"],
            2,
            "an https URL, or an http URL of this machine",
        ),
        (&["serve", "--stripe", "http://api.example.com"], 2, "an https URL, or an http URL of this machine"),
        (&["serve", "--parameter-store"], 1, if cfg!(feature = "aws") { "AWS_REGION" } else { "the feature `aws`" }),
        (&["invocation", EVENT, "--project", "a/b"], 2, "1 to 64"),
        (&["invocation", EVENT, "--rest", "--function-url"], 2, "--function-url"),
        (&["preview", "no-such-file.json"], 1, "no-such-file.json"),
        (&["preview", "Cargo.toml"], 1, "Cargo.toml: the function would respond with 400, `malformed_json`"),
        (&["preview", "Cargo.toml", "--created", "now"], 1, "Cargo.toml: malformed JSON"),
        (
            &["send", EVENT, "--secret", "we_hidden"],
            1,
            "--secret (or STRIPE_SIGNING_SECRET) holds the ID of a webhook endpoint",
        ),
        (&["preview", EVENT, "--settings", "no-such-file.json"], 1, "no-such-file.json"),
        (&["preview", EVENT, "--settings", "Cargo.toml"], 1, "Cargo.toml: malformed JSON at line 1"),
        (&["preview", "-", "--settings", "-"], 2, "cannot both come from standard input"),
        (&["preview", EVENT, "--project", "a/b"], 2, "1 to 64"),
        (&["preview", EVENT, "--source", "a/b"], 2, "invalid label"),
        (&["preview"], 2, "EVENT.json"),
        (&["settings", "check"], 2, "FILE"),
        (&["settings", "check", "no-such-file.json"], 1, "no-such-file.json"),
        (&["settings", "check", "Cargo.toml"], 1, "Cargo.toml: malformed JSON at line 1"),
        (&["nonsense"], 2, "nonsense"),
    ] {
        let (exit, out, err) = run(arguments);
        assert_eq!(exit, Some(code), "{arguments:?}: {err}");
        assert!(err.contains(words) && out.is_empty(), "{arguments:?}: {err}");
    }
}

#[test]
fn taken_port_is_named() {
    let serving = Serving::start(&[]);
    let port = serving.url.split([':', '/']).nth(4).unwrap();
    let (code, _, err) = run(&["demo", "--port", port]);
    assert_eq!(code, Some(1));
    assert!(err.contains(&format!("port {port} cannot be used")) && err.contains("PORT=3001"), "{err}");
}

#[test]
fn invocation_is_signed() {
    for (flags, header) in
        [(&[][..], "stripe-signature"), (&["--rest"], "Stripe-Signature"), (&["--function-url"], "stripe-signature")]
    {
        let arguments = [&["invocation", EVENT, "--project", "shop", "--secret", "whsec_shop"], flags].concat();
        let (code, out, _) = run(&arguments);
        assert_eq!(code, Some(0));
        let invocation: Value = serde_json::from_str(&out).unwrap();
        let path = invocation.get("rawPath").or(invocation.get("path")).unwrap();
        assert_eq!(path, "/stripe/shop");
        let now = since_the_epoch();
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

#[cfg(unix)]
#[test]
fn closed_output_ends_quietly() {
    let serving = Serving::start(&[]);
    let settings = file("enough.json", "{}");
    for arguments in [
        &["--help"][..],
        &["help", "backfill"],
        &["--version"],
        &["completions", "bash"],
        &["invocation", EVENT],
        &["preview", EVENT],
        &["preview", EVENT, "--request"],
        &["settings", "check", &settings],
        &["send", EVENT, "--to", &serving.url],
        &["generate", "--users", "2", "--weeks", "1", "--to", &serving.url],
        &["demo", "--port", "0"],
        &["serve", "--port", "0"],
    ] {
        // The exit code of a closed pipe.
        assert_eq!(unread(&mut cli(arguments)), (Some(141), String::new()), "{arguments:?}");
    }
    // The same for a closed standard error.
    let (errors, closed) = std::io::pipe().unwrap();
    drop(errors);
    for (arguments, code) in [(&["send"][..], 2), (&["preview", "no-such-file.json"], 1)] {
        let closed = closed.try_clone().unwrap();
        assert_eq!(cli(arguments).stderr(closed).status().unwrap().code(), Some(code), "{arguments:?}");
    }
}

#[cfg(unix)]
#[test]
fn serve_ends_when_its_log_is_closed() {
    let mut process = cli(&["serve", "--port", "0"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    let url = first.strip_prefix("Serving ").unwrap();
    // It logs after its last line, which is empty.
    lines.by_ref().map(Result::unwrap).take_while(|line| !line.is_empty()).for_each(drop);
    drop(lines);
    run(&["send", EVENT, "--to", url]);
    let start = Instant::now();
    let ended = loop {
        match process.try_wait().unwrap() {
            None if start.elapsed() < Duration::from_secs(10) => std::thread::sleep(Duration::from_millis(20)),
            ended => break ended,
        }
    };
    let _ = process.kill();
    let mut error = String::new();
    process.stderr.take().unwrap().read_to_string(&mut error).unwrap();
    assert_eq!((ended.and_then(|ended| ended.code()), &*error), (Some(141), ""));
}

#[test]
fn generated_revenue_matches_the_summary() {
    let mut serving = Serving::start(&[]);
    let amplitude = serving.amplitude();
    let shop = ["generate", "--users", "12", "--weeks", "3", "--seed", "5", "--to", &serving.url];
    let (code, out, err) = run(&shop);
    assert_eq!((code, &*err), (Some(0), ""), "{out}");

    let accepted = serving.accepted(&amplitude);
    let number = accepted.len();
    assert!(out.starts_with(&format!("{number} of {number} events sent in ")), "{out}");
    let mut revenue: BTreeMap<String, i64> = BTreeMap::new();
    let mut payments = 0;
    for accepted in &accepted {
        let event = &accepted["event"];
        if let Some(amount) = event["revenue"].as_f64() {
            payments += 1;
            let currency = event["currency"].as_str().unwrap();
            let decimals = if currency == "JPY" { 1.0 } else { 100.0 };
            *revenue.entry(currency.to_owned()).or_default() += (amount * decimals).round() as i64;
        }
    }
    assert!(out.contains(&format!("\nPurchases:     {payments} by 12 customers and 1 guest;")), "{out}");
    let line = out.lines().find_map(|line| line.strip_prefix("Revenue:       ")).unwrap();
    let told = line.split(", ").map(|amount| {
        let (amount, currency) = amount.split_once(' ').unwrap();
        let decimals = if currency == "JPY" { 1.0 } else { 100.0 };
        (currency.to_owned(), (amount.parse::<f64>().unwrap() * decimals).round() as i64)
    });
    assert_eq!(told.collect::<BTreeMap<_, _>>(), revenue);

    // Most users are found by reference; only guests have an e-mail address.
    let users: BTreeSet<_> = accepted.iter().filter_map(|accepted| accepted["event"]["user_id"].as_str()).collect();
    assert!(
        users.len() >= 10 && !users.iter().any(|user| user.starts_with("user_") && user.contains('@')),
        "{users:?}"
    );

    // The same again: only repeats.
    let (code, again, _) = run(&shop);
    assert_eq!((code, again.split_once("\n\n").unwrap().1), (Some(0), out.split_once("\n\n").unwrap().1));
    assert_eq!(serving.accepted(&amplitude).len(), accepted.len());
}

#[test]
fn generate_summarizes_user_ids() {
    let serving = Serving::start(&[]);
    let (_, followed, _) = run(&["generate", "--users", "5", "--weeks", "2", "--to", &serving.url]);
    assert!(
        followed.contains("\nUser IDs: ") && followed.contains("checkout_session.client_reference_id"),
        "{followed}"
    );
    let shop = "[demo]\nstripe-signing-secret = \"whsec_demo\"\namplitude-api-key = \"key\"\nsettings = { max_age_days = 0 }\n";
    let serving = Serving::start(&["--projects", &file("not-followed.toml", shop)]);
    let (code, out, err) = run(&["generate", "--users", "5", "--weeks", "2", "--to", &serving.url]);
    assert!(code == Some(0) && err.is_empty(), "{err}");
    let line = out.split_once("\nUser IDs: ").unwrap().1;
    assert!(line.contains(" from customer,") && line.contains("user_id_paths"), "{out}");
}

#[test]
fn generated_objects_are_written_to_a_file() {
    let serving = Serving::start(&[]);
    let file = std::env::temp_dir().join(format!("stripe-amplitude-objects-{}.ndjson", std::process::id()));
    let path = file.to_str().unwrap();
    let shop = ["generate", "--users", "12", "--weeks", "3", "--objects", path, "--to", &serving.url];
    let (code, out, _) = run(&shop);
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(code, Some(0), "{out}");
    let objects: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: BTreeSet<_> = objects.iter().map(|object| object["object"].as_str().unwrap()).collect();
    for kind in ["charge", "checkout.session", "customer", "invoice", "payment_intent", "product", "subscription"] {
        assert!(kinds.contains(kind), "{kinds:?}");
    }
}

#[test]
fn serve_reads_references_from_the_chosen_stripe() {
    let stripe = stripe_emulator::Emulator::start().unwrap();
    stripe.allow("rk_test_of_shop", &stripe_emulator::Permission::ALL);
    stripe
        .put(json!({"id": "cus_1", "object": "customer", "livemode": false, "metadata": {"user_id": "user_7"}}))
        .unwrap();
    let projects = file(
        "stripe",
        r#"
        [shop]
        stripe-signing-secret = "whsec_demo"
        stripe-test-api-key = "rk_test_of_shop"
        amplitude-api-key = "key"
        settings = { references = "follow", max_age_days = 0 }
        "#,
    );
    let mut event: Value = serde_json::from_str(&std::fs::read_to_string(root().join(EVENT)).unwrap()).unwrap();
    event["data"]["object"]["metadata"] = json!({});
    event["data"]["object"]["customer"] = json!("cus_1");
    let event = file("by-reference", &event.to_string());
    let user_id_from = |stripe: &str| {
        let mut serving = Serving::start(&["--projects", &projects, "--stripe", stripe]);
        run(&["send", &event, "--to", &serving.url]);
        let line: Value = serde_json::from_str(&serving.line_with(r#""outcome""#)).unwrap();
        line["user_id_from"].as_str().unwrap().to_owned()
    };
    assert_eq!(user_id_from(stripe.url()), "customer.metadata.user_id");
    assert_eq!(stripe.count("GET", "/v1/customers/cus_1"), 1);
    // The local Stripe knows only the event.
    assert_eq!(user_id_from("local"), "receipt_email");
    assert_eq!(stripe.count("GET", "/v1/customers/cus_1"), 1);
}

#[test]
fn generate_stops_at_a_refusal() {
    let serving = Serving::start(&[]);
    let shop = ["generate", "--users", "200", "--weeks", "2", "--secret", "whsec_other", "--to", &serving.url];
    let (code, out, err) = run(&shop);
    assert_eq!(code, Some(1), "{out}");
    assert!(err.starts_with("error: 400 {") && err.contains(r#""code":"signature_mismatch""#), "{err}");
    assert_eq!(err.matches("error: ").count(), 1, "{err}");
    assert!(out.starts_with("0 of ") && !out.contains("Revenue"), "{out}");
}

/// An Amplitude that records request bodies.
fn amplitude() -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/2/httpapi", listener.local_addr().unwrap());
    let (bodies, received) = channel();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut reader = BufReader::new(connection.unwrap());
            let head: Vec<_> =
                reader.by_ref().lines().map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
            let length =
                head.iter().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            let mut body = vec![0; length.unwrap()];
            reader.read_exact(&mut body).unwrap();
            bodies.send(String::from_utf8(body).unwrap()).unwrap();
            let answer = r#"{"code":200,"events_ingested":1}"#;
            let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", answer.len());
            reader.get_mut().write_all(format!("{head}{answer}").as_bytes()).unwrap();
        }
    });
    (url, received)
}

/// Removes the spaces between JSON's tokens, and nothing else.
fn without_spaces(json: &str) -> String {
    let (mut in_text, mut escaped) = (false, false);
    let kept = json.chars().filter(|character| {
        let starts_or_ends = *character == '"' && !escaped;
        escaped = in_text && *character == '\\' && !escaped;
        in_text ^= starts_or_ends;
        in_text || !character.is_whitespace()
    });
    kept.collect()
}

const REFUNDS: &str = r#"{"refunds": "negative_revenue"}"#;

fn since_the_epoch() -> std::time::Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap()
}

#[test]
fn preview_equals_the_sent_request() {
    let (amplitude, received) = amplitude();
    let projects = |settings: &str| {
        format!(
            "[shop]\n'stripe-signing-secret/eu' = 'whsec_shop'\namplitude-api-key = 'key'\nsettings = '{settings}'\n"
        )
    };
    let recent = |event_type: &str, change: &dyn Fn(&mut Value)| {
        sample(event_type, |event| {
            event["created"] = since_the_epoch().as_secs().into();
            change(event);
        })
    };
    let payment = |minor_units: i64, currency: &str| {
        recent("payment_intent.succeeded", &|event| {
            event["data"]["object"]["amount_received"] = minor_units.into();
            event["data"]["object"]["currency"] = currency.into();
        })
    };
    let dollars = r#"{"preferred_currency": {"code": "USD", "rates": {"EUR": "1.0800000001"}}}"#;
    for (settings, event, digits) in [
        ("{}", payment(2000, "usd"), "\"revenue\":20,"),
        ("{}", payment(1999, "usd"), "\"revenue\":19.99,"),
        ("{}", payment(10, "usd"), "\"revenue\":0.1,"),
        ("{}", payment(9_007_199_254_740_993, "usd"), "\"revenue\":90071992547409.93,"),
        ("{}", payment(9_223_372_036_854_775_807, "kwd"), "\"revenue\":9223372036854775.807,"),
        (dollars, payment(9_007_199_254_740_993, "eur"), "\"normalized_rate\":1.0800000001,"),
        (REFUNDS, recent("charge.refunded", &|_| {}), "\"revenue\":-5,"),
        ("{}", recent("invoice.paid", &|_| {}), "\"stripe_source\":\"eu\""),
    ] {
        let serving =
            Serving::start(&["--projects", &file("preview.toml", &projects(settings)), "--amplitude", &amplitude]);
        let event = file("preview.json", &event);
        let (code, out, _) =
            run(&["send", &event, "--created", "keep", "--to", &serving.url, "--secret", "whsec_shop"]);
        assert_eq!(code, Some(0), "{out}");
        let sent = received.recv().unwrap();

        let settings = file("preview-settings.json", settings);
        let preview = ["preview", &event, "--settings", &settings, "--project", "shop", "--source", "eu"];
        let (code, out, err) = run(&[&preview[..], &["--request"]].concat());
        assert_eq!((code, &*err), (Some(0), ""));
        let body = out.strip_suffix('\n').unwrap();
        assert_eq!(body.replace("\"<amplitude-api-key>\"", "\"key\""), sent);
        assert!(body.contains(digits), "{body}");

        let (code, out, _) = run(&preview);
        assert_eq!(code, Some(0));
        let (pretty, _) = out.split_once("\n\n").unwrap().1.split_once("\n\nEvent: ").unwrap();
        assert_eq!(without_spaces(pretty), body);
    }
}

#[test]
fn preview_explains_the_request() {
    let (code, out, _) = run(&["preview", EVENT]);
    assert_eq!(code, Some(0));
    let start = "POST https://api2.amplitude.com/2/httpapi\nContent-Type: application/json\n\n\
        {\n  \"api_key\": \"<amplitude-api-key>\",\n";
    assert!(out.starts_with(start), "{out}");
    for words in [
        "\nForwarded\n",
        "amplitude-test-api-key",
        "\nUser ID: user_42\n",
        "\nDevice ID: stripe-pi_",
        "\nRevenue: 20.00 USD\n",
        "\nRemoved: ",
    ] {
        assert!(out.contains(words), "{words}: {out}");
    }
    let europe = file("preview-eu.json", r#"{"amplitude_region": "eu"}"#);
    let (_, out, _) = run(&["preview", EVENT, "--settings", &europe]);
    assert!(out.starts_with("POST https://api.eu.amplitude.com/2/httpapi\n"), "{out}");
}

/// A payment whose customer has the user ID.
fn following() -> (String, String) {
    let payment = sample("payment_intent.succeeded", |event| {
        event["livemode"] = true.into();
        let object = &mut event["data"]["object"];
        (object["customer"], object["invoice"], object["metadata"]) = ("cus_1".into(), Value::Null, json!({}));
    });
    let settings = r#"{"references": "follow", "user_id_paths": ["metadata.id", "customer.metadata.id", "customer"]}"#;
    (file("following.json", &payment), file("following-settings.json", settings))
}

#[test]
fn preview_lists_reads() {
    let (event, settings) = following();
    let (code, out, _) = run(&["preview", &event, "--settings", &settings]);
    assert_eq!(code, Some(0));
    for words in [
        "unknown without a read",
        "metadata.id  missing",
        "GET /v1/customers/cus_1\n",
        "for the path customer.metadata.id",
        "stripe-api-key",
        "rak_customer_read",
    ] {
        assert!(out.contains(words), "{words}: {out}");
    }
    assert!(!out.contains("POST "), "{out}");
    assert!(out.starts_with("The request depends on a read") && out.contains("--follow"), "{out}");
    let (code, out, err) = run(&["preview", &event, "--settings", &settings, "--request"]);
    assert!(code == Some(0) && out.is_empty() && err.starts_with("The request depends on a read"), "{err}");
}

#[test]
fn preview_can_follow_references() {
    let (event, settings) = following();
    let stripe = Emulator::start().unwrap();
    let key = "rk_live_51OfThePreview";
    stripe.allow(key, &Permission::ALL);
    let run = |event: &str, key: &str| {
        let mut command = cli(&["preview", event, "--settings", &settings, "--follow"]);
        let output = command.env("STRIPE_API_URL", stripe.url()).env("STRIPE_RESTRICTED_KEY", key).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    stripe.put(json!({"id": "cus_1", "object": "customer", "metadata": {"id": "user_7"}})).unwrap();
    let (code, out, _) = run(&event, key);
    assert_eq!(code, Some(0));
    for words in ["\"user_id\": \"user_7\"", "User ID: user_7", "GET /v1/customers/cus_1\n", ": found\n"] {
        assert!(out.contains(words), "{words}: {out}");
    }
    assert_eq!(stripe.counts(), [("GET /v1/customers/cus_1".to_owned(), 1)].into());
    // The payment of a refund is read first.
    let refund = json!({"id": "evt_1", "object": "event", "type": "charge.refunded", "created": 1, "livemode": true,
        "data": {"object": {"object": "refund", "id": "re_1", "payment_intent": "pi_1"}}});
    stripe.put(json!({"id": "pi_1", "object": "payment_intent", "customer": "cus_1", "invoice": null})).unwrap();
    let (code, out, err) = run(&file("following-refund.json", &refund.to_string()), key);
    assert_eq!(code, Some(0), "{err}");
    let places = ["GET /v1/payment_intents/pi_1", "GET /v1/customers/cus_1", "On its payment", "User ID: user_7"];
    assert!(places.iter().all(|words| out.contains(words)), "{out}");
    let fails = |key: &str, words: &str| {
        let (code, _, err) = run(&event, key);
        assert!(code == Some(1) && err.contains(words) && !err.contains(key), "{words}: {err}");
    };
    fails("rk_test_1", "STRIPE_RESTRICTED_KEY holds a test-mode key");
    stripe.allow("rk_live_51Weak", &[Permission::PaymentIntentRead]);
    fails("rk_live_51Weak", "rak_customer_read");
    stripe.fail(1, Fault::Unavailable);
    fails(key, "could not be read");
    stripe.remove("cus_1");
    fails(key, "another account");
    let (code, _, err) = self::run(&["preview", &event, "--follow"]);
    assert!(code == Some(1) && err.contains("--follow requires settings") && !err.contains("warning: "), "{err}");
    let off = file("not-following.json", r#"{"user_id_paths": ["customer.metadata.id", "customer"]}"#);
    let (code, _, err) = self::run(&["preview", &event, "--settings", &off, "--follow"]);
    assert!(code == Some(1) && err.contains("warning: `user_id_paths` has customer.metadata.id"), "{err}");
}

#[test]
fn preview_request_can_be_piped() {
    let (code, out, _) = run(&["preview", EVENT, "--request"]);
    let request: Value = serde_json::from_str(&out).unwrap();
    let event = &request["events"][0];
    assert_eq!((code, &request["options"]["min_id_length"]), (Some(0), &1.into()));
    for (field, expected) in [
        ("event_type", Value::from("[Stripe] payment_intent.succeeded")),
        ("time", 1_721_948_600_000_i64.into()),
        ("insert_id", "evt_3PgcEx0014B7WZ01zgkW1Test".into()),
        ("user_id", "user_42".into()),
        ("device_id", "stripe-pi_3PgafuB7WZ01zgkW1kJo3Sjx".into()),
        ("revenue", 20.into()),
        ("currency", "USD".into()),
    ] {
        assert_eq!(event[field], expected, "{field}");
    }
    let (_, now, _) = run(&["preview", EVENT, "--request", "--created", "now"]);
    let now: Value = serde_json::from_str(&now).unwrap();
    assert!(now["events"][0]["time"].as_i64() > event["time"].as_i64());
}

#[test]
fn preview_of_a_refund() {
    let refunds = file("preview-refunds.json", REFUNDS);
    let (code, out, _) = run(&["preview", "events/stripe/charge.refunded.json", "--settings", &refunds]);
    assert_eq!(code, Some(0));
    assert!(
        out.contains("\"revenue\": -5,") && out.contains("\nRevenue: -5.00 USD\n  What was newly refunded"),
        "{out}"
    );

    let unknown = sample("charge.refunded", |event| event["data"]["previous_attributes"] = Value::Null);
    let (code, out, _) = run_with(&unknown, &["preview", "-", "--settings", &refunds]);
    assert_eq!(code, Some(0));
    assert!(!out.contains("\"revenue\"") && out.contains("\"normalized_revenue_unknown\": true"), "{out}");
    assert!(out.contains("\nRevenue: unknown\n"), "{out}");
}

#[test]
fn preview_of_an_ignored_event() {
    let other = sample("charge.refunded", |event| event["type"] = "customer.created".into());
    let (code, out, _) = run_with(&other, &["preview", "-"]);
    assert_eq!(code, Some(0));
    assert!(out.starts_with("Event: ") && out.contains("\nIgnored: nothing is sent\n"), "{out}");
    assert!(out.contains("`type_not_selected`") && out.contains("`events`") && !out.contains("POST"), "{out}");
    // Only a request is printed to a pipe.
    let (code, out, err) = run_with(&other, &["preview", "-", "--request"]);
    assert_eq!((code, &*out), (Some(0), ""));
    assert!(err.contains("`type_not_selected`"), "{err}");

    // `max_age_days` is not applied to an old event.
    let (code, out, err) = run(&["preview", EVENT]);
    assert_eq!((code, &*err), (Some(0), ""));
    assert!(out.contains("\nForwarded\n") && out.contains("`max_age_days`"), "{out}");
    let (_, out, _) = run(&["preview", EVENT, "--created", "now"]);
    assert!(out.contains("\nForwarded\n") && !out.contains("max_age_days"), "{out}");
}

#[test]
fn preview_fails_like_the_function() {
    let euros = file("preview-euros.json", r#"{"preferred_currency": {"code": "EUR", "rates": {"JPY": "0.0061"}}}"#);
    let (code, out, err) = run(&["preview", EVENT, "--settings", &euros]);
    assert_eq!((code, &*out), (Some(1), ""));
    assert!(err.contains(EVENT) && err.contains("500, `missing_rate`") && err.contains("from USD to EUR"), "{err}");

    let thin =
        file("thin.json", r#"{"id": "evt_1", "object": "v2.core.event", "type": "v1.billing.meter.no_meter_found"}"#);
    let (code, out, err) = run(&["preview", &thin]);
    assert_eq!((code, &*out), (Some(1), ""));
    assert!(err.contains("thin.json") && err.contains("400, `thin_event`"), "{err}");
    let (code, _, err) = run_with("{}", &["preview", "-"]);
    assert!(
        code == Some(1) && err.contains("standard input: the function would respond with 400, `not_an_event`"),
        "{err}"
    );

    let large = file("large.json", &" ".repeat(4 * 1024 * 1024 + 1));
    let (code, _, err) = run(&["preview", &large]);
    assert!(code == Some(1) && err.contains("413, `body_too_large`"), "{err}");
}

#[test]
fn every_command_names_other_documents() {
    let serving = Serving::start(&[]);
    let event = std::fs::read_to_string(root().join(EVENT)).unwrap();
    let value: Value = serde_json::from_str(&event).unwrap();
    let wrapper = serde_json::json!({"version": "0", "detail-type": value["type"], "detail": value}).to_string();
    for (what, text, code, words) in [
        (
            "thin",
            r#"{"id": "evt_1", "object": "v2.core.event", "type": "v2.core.x"}"#,
            "thin_event",
            "remove this type",
        ),
        ("eventbridge", &wrapper, "eventbridge_event", "an EventBridge event"),
        ("list", &format!(r#"{{"object": "list", "data": [{event}]}}"#), "event_list", "a list of events"),
        ("several", &event.repeat(2), "event_list", "several JSON objects"),
        ("bare", r#"{"id": "ch_1", "object": "charge", "created": 1}"#, "bare_object", "of the kind `charge`"),
    ] {
        let path = file(&format!("named-{what}.json"), text);
        let (_, out, err) = run(&["preview", &path]);
        assert!(out.is_empty() && err.contains("the function would respond with 400") && err.contains(words), "{err}");
        for command in ["preview", "send", "invocation"] {
            let (exit, out, err) = run(&[command, &path, "--created", "now"]);
            assert_eq!((exit, &*out), (Some(1), ""));
            assert!(err.contains(&path) && err.contains(words), "{err}");
        }
        let (exit, out, _) = run(&["send", &path, "--created", "keep", "--to", &serving.url]);
        assert!(exit == Some(1) && out.contains(words) && out.contains(&format!("\"code\":\"{code}\"")), "{out}");
        let (exit, _, err) = run(&["settings", "check", &path]);
        assert!(exit == Some(1) && err.contains("not the settings of a project"), "{err}");
    }
    for (what, text) in [
        ("mark", format!("\u{feff}{event}")),
        ("half", event.replace("user_42", r"user_42 \ud83d")),
        ("number", event.replace("\"livemode\"", "\"new\": 1e400, \"livemode\"")),
    ] {
        let path = file(&format!("odd-{what}.json"), &text);
        for created in ["keep", "now"] {
            let (exit, out, err) = run(&["preview", &path, "--created", created]);
            assert!(exit == Some(0) && out.contains("\nForwarded\n"), "{out}{err}");
            let (exit, out, err) = run(&["send", &path, "--created", created, "--to", &serving.url]);
            assert!(exit == Some(0) && out.contains("forwarded"), "{out}{err}");
        }
    }
}

#[test]
fn preview_and_check_need_no_network() {
    // In a network namespace without a loopback, if the kernel permits.
    let alone = ["unshare", "--map-root-user", "--net", "env"];
    let (program, flags) = alone.split_first().unwrap();
    let lets_us = Command::new(program).args(flags).output().is_ok_and(|output| output.status.success());
    let flags = if lets_us { flags } else { &[] };
    let settings = file("no-network.json", "{}");
    for arguments in [&["preview", EVENT][..], &["preview", EVENT, "--request"], &["settings", "check", &settings]] {
        let command = cli(arguments);
        let mut wrapped = Command::new(if lets_us { program } else { "env" });
        wrapped.args(flags).arg(command.get_program()).args(arguments).current_dir(root());
        let output = wrapped.output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    }
}

#[test]
fn settings_are_explained() {
    let path = file("settings-default.json", "{}");
    let (code, out, err) = run(&["settings", "check", &path]);
    assert_eq!((code, &*err), (Some(0), ""));
    assert!(out.starts_with(&format!("{path} is valid.\n")) && !out.contains("warning"), "{out}");
    let keys: Vec<_> = out.lines().filter(|line| line.ends_with(" (the default)")).collect();
    let expected = [
        "amplitude_region: \"us\"",
        "user_id_paths: 6 paths",
        "references: \"off\"",
        "products: \"event\"",
        "events: 26 types",
        "revenue_from: \"payments\"",
        "refunds: \"as_events\"",
        "preferred_currency: none",
        "without_user: \"forward\"",
        "max_age_days: 7",
        "test_events: \"forward\"",
        "personal_data: \"drop\"",
        "drop_properties: none",
    ];
    assert_eq!(keys, expected.map(|key| format!("{key} (the default)")));

    let some = r#"{"refunds": "negative_revenue", "preferred_currency": {"code": "USD", "rates": {"EUR": "1.08"}},
        "events": {"add": ["charge.dispute.*"], "remove": ["charge.updated"]}}"#;
    let (code, out, _) = run_with(some, &["settings", "check", "-"]);
    assert_eq!(code, Some(0));
    for words in [
        "standard input is valid.\n",
        "\nrefunds: \"negative_revenue\"\n",
        "charge.dispute.*: every type that begins with this",
        "EUR at 1.08: 10.00 EUR become 10.80 USD",
        "\nwithout_user: \"forward\" (the default)\n",
    ] {
        assert!(out.contains(words), "{words}: {out}");
    }
}

#[test]
fn settings_check_warns() {
    let text = format!(
        r#"{{"events": {{"remove": ["custmer.created"]}}, "max_age_days": 30, "personal_data": "keep"}}{}"#,
        " ".repeat(4096)
    );
    let (code, out, _) = run_with(&text, &["settings", "check", "-"]);
    assert_eq!(code, Some(0));
    assert!(out.starts_with("standard input is valid, with 4 warnings at the end.\n"), "{out}");
    let warnings = out.lines().filter(|line| line.starts_with("warning: "));
    for (warning, words) in warnings.zip(["custmer.created", "`max_age_days` is 30", "`personal_data`", "bytes"]) {
        assert!(warning.contains(words), "{warning}");
    }
}

#[test]
fn settings_check_rejects_invalid_settings() {
    let path = file("settings-invalid.json", r#"{"refunds": "negative"}"#);
    let (code, out, err) = run(&["settings", "check", &path]);
    assert_eq!((code, &*out), (Some(1), ""));
    assert!(err.starts_with(&format!("error: {path}: `refunds` ")), "{err}");
    let (code, _, err) = run_with(&format!("{{}}{}", " ".repeat(8192)), &["settings", "check", "-"]);
    assert!(code == Some(1) && err.contains("standard input: it has 8194 bytes"), "{err}");
}

/// Everything that may document a command: pages, help texts, and output.
fn documents() -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    let folders =
        ["docs", "src", "crates/cli/src", "crates/amplitude-emulator", "crates/stripe-emulator/src", "events"];
    let mut folders: Vec<_> = folders.map(|name| root().join(name)).into();
    files.extend(std::fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path()));
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    let is_text = |path: &std::path::PathBuf| {
        path.is_file()
            && path
                .extension()
                .is_some_and(|end| ["md", "rs", "yaml", "toml", "html", "js"].iter().any(|text| end == *text))
    };
    files.retain(is_text);
    files
}

#[test]
fn documented_commands_have_no_keys_in_arguments() {
    let documents = documents();
    assert!(documents.len() > 100, "{documents:?}");
    let mut written = 0;
    for path in documents {
        let text = std::fs::read_to_string(&path).unwrap().replace("\\\n", " ");
        for line in text.lines() {
            let place = format!("{}: {line}", path.display());
            if line.contains("put-parameter") && (line.contains("SecureString") || line.contains("$type")) {
                written += 1;
                assert!(line.contains("--value file://"), "{place}");
            }
            for key in [
                "--secret whsec_",
                "--secret 'whsec_",
                "_KEY=rk_",
                "_KEY=sk_",
                "_KEY='",
                "_SECRET=whsec_",
                "-u \"$",
                "-u sk_live",
                "-u rk_",
            ] {
                assert!(!line.contains(key), "{place}");
            }
        }
    }
    assert!(written >= 7, "{written}");
}

#[test]
fn serve_truncates_unsigned_requests() {
    let serving = Serving::start(&[]);
    let address = serving.url.strip_prefix("http://").unwrap().strip_suffix("/stripe/demo").unwrap();
    let body = format!("{{\"client_secret\": \"shown\", \"x\": \"{}\"}}", "x".repeat(1_000_000));
    let long = "y".repeat(9000);
    let head = format!(
        "POST /stripe/demo HTTP/1.1\r\nhost: {address}\r\nuser-agent: {long}\r\nstripe-signature: t=1,v1={long}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    assert_eq!(status_of(address, &format!("{head}{body}")), 400);
    let mut connection = TcpStream::connect(address).unwrap();
    let request = format!("GET /workbench/deliveries/1 HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    let kept: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(kept["summary"]["code"], "signature_mismatch");
    let length = kept["stripe"].to_string().len();
    assert!((4000..8000).contains(&length) && !answer.contains("shown"), "{length}");
}

/// Sends a request, and returns the response's status.
fn status_of(address: &str, request: &str) -> u16 {
    let mut connection = TcpStream::connect(address).unwrap();
    connection.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    BufReader::new(connection).read_line(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn foreign_pages_are_rejected() {
    let mut serving = Serving::start(&[]);
    let amplitude = serving.amplitude();
    let line = serving.line_with("References are read from a local Stripe: ");
    let stripe = line.rsplit_once(' ').unwrap().1.to_owned();
    let workbench = serving.url.strip_suffix("/stripe/demo").unwrap().to_owned();
    let own = ["/", "/workbench/about", "/workbench/deliveries", "/workbench/live", "/workbench/none", "/none"];
    let of_amplitude = ["/2/httpapi", "/batch", "/api/2/export?start=20260101T00&end=20260101T01", "/emulator/events"];
    for (url, paths) in
        [(&workbench, &own[..]), (&amplitude, &of_amplitude), (&stripe, &["/v1/customers/cus_1", "/v1/events"])]
    {
        let address = url.strip_prefix("http://").unwrap();
        for path in paths {
            let ask = |headers: &str| {
                status_of(address, &format!("GET {path} HTTP/1.1\r\n{headers}\r\nconnection: close\r\n\r\n"))
            };
            let ours = format!("host: {address}");
            assert_ne!(ask(&ours), 403, "{path}");
            assert_eq!(ask("host: shop.example.com"), 403, "{path}");
            assert_eq!(ask(&format!("{ours}\r\norigin: http://shop.example.com")), 403, "{path}");
        }
    }
    // A tunnel may reach the webhook, but a page may not.
    let address = workbench.strip_prefix("http://").unwrap();
    let post = |headers: &str| {
        status_of(address, &format!("POST /stripe/demo HTTP/1.1\r\n{headers}\r\ncontent-length: 2\r\n\r\n{{}}"))
    };
    assert_eq!(post("host: tunnel.example.com"), 400);
    assert_eq!(post(&format!("host: {address}\r\norigin: http://shop.example.com")), 403);
}

#[test]
fn preview_of_an_ignored_event_succeeds() {
    let ignored =
        file("ignored.json", &sample("payment_intent.succeeded", |event| event["type"] = "customer.created".into()));
    for event in [EVENT, &ignored] {
        let (code, _, err) = run(&["preview", event]);
        assert_eq!((code, &*err), (Some(0), ""), "{event}");
    }
}
