//! The explanation of an event as text.

use std::fmt;

use stripe_amplitude::amplitude::Region;
use stripe_amplitude::amplitude::properties::Property;
use stripe_amplitude::code::Code;
use stripe_amplitude::forward::IgnoreReason;
use stripe_amplitude::projects::parameters::parameter;
use stripe_amplitude::stripe::event_types::{API_VERSION, TYPES};
use stripe_amplitude::stripe::json::Json;
use stripe_amplitude::translate::Unread;
use stripe_amplitude::translate::redaction::Reason;
use stripe_amplitude_common::money::shown;
use stripe_amplitude_common::text::{count, wrap};

use super::{Anchor, Converted, Explanation, Money, PreviewOutcome, Purpose, ReadMade, Reading, Translated, UserId};

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        heading(f, &format!("Event: {}", self.id))?;
        text(f, &self.description())?;
        writeln!(f)?;
        reads(f, &self.reads)?;
        match &self.outcome {
            PreviewOutcome::NotSelected(reason) => ignored(f, reason),
            PreviewOutcome::Unread(reading) => reading.fmt(f),
            PreviewOutcome::WithoutUser(reason, translated) => {
                ignored(f, reason)?;
                writeln!(f)?;
                translated.user.fmt(f)?;
                writeln!(f)?;
                translated.revenue(f)
            }
            PreviewOutcome::Sent(translated) => {
                self.forwarded(f)?;
                writeln!(f)?;
                write!(f, "{translated}")
            }
        }
    }
}

impl Explanation<'_> {
    fn description(&self) -> String {
        let mode = match self.livemode {
            Some(true) => "live mode",
            Some(false) => "test mode",
            None => "live or test mode unknown",
        };
        let version = match self.api_version.as_deref() {
            Some(API_VERSION) => format!("API version {API_VERSION}"),
            Some(version) => format!("API version {version}; the rules were written for {API_VERSION}"),
            None => "API version unknown".to_owned(),
        };
        format!("{}, {}, {mode}, {version}", self.event_type, ago(self.seconds_ago))
    }

    fn forwarded(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        heading(f, "Forwarded")?;
        let why =
            if TYPES.contains(&&*self.event_type) { "is forwarded by default" } else { "is added by `events.add`" };
        let place = match self.region {
            Region::Us => "United States",
            Region::Eu => "European Union",
        };
        text(f, &format!("{} {why}. It goes to Amplitude's data centre in the {place}.", self.event_type))?;
        if self.is_too_old_now {
            text(
                f,
                "This applies on first delivery. Resent now, the event would not be sent right away, because it is older than `max_age_days`.",
            )?;
        }
        if self.livemode == Some(false) {
            let key = parameter::TEST_API_KEY;
            text(
                f,
                &format!(
                    "A test-mode event: if the project has the parameter {key}, it goes to that Amplitude project."
                ),
            )?;
        }
        Ok(())
    }
}

fn ignored(f: &mut fmt::Formatter<'_>, reason: &IgnoreReason) -> fmt::Result {
    heading(f, "Ignored: nothing is sent")?;
    text(f, &sentence(reason))?;
    let code = Code::from(reason);
    text(f, &format!("The function responds with 200, `ignored` and the code `{code}`. Stripe does not retry."))
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { unread: Unread { reference, is_for_products }, purpose, user, is_live, parameter } = self;
        let kind = reference.kind;
        if *is_for_products {
            user.fmt(f)?;
            writeln!(f)?;
            heading(f, "Products: unknown without a read")?;
        } else {
            heading(f, "User ID: unknown without a read")?;
            user.paths(f)?;
        }
        text(f, &format!("GET {}", reference.path()))?;
        let permissions: Vec<_> = kind.permissions().iter().map(ToString::to_string).collect();
        text(
            f,
            &format!(
                "The function reads the {kind} {purpose}. The key in the parameter {parameter} needs {}.",
                permissions.join(", ")
            ),
        )?;
        if !is_live {
            text(f, "A test-mode event: without that parameter, references are not followed.")?;
        }
        text(
            f,
            match purpose {
                Purpose::Payment => {
                    "A refund or dispute has no user itself: all paths are tried on its payment first, then on itself."
                }
                Purpose::Path(_) => {
                    "An acceptable ID there is the user ID. Otherwise, the next path is tried, which may need another read."
                }
                Purpose::Products => "The names and IDs of the products in its lines become event properties.",
            },
        )?;
        text(
            f,
            if *is_for_products {
                "If the read fails, the event is sent anyway, marked with `products_incomplete`."
            } else {
                "If the read fails temporarily, no later path is tried: the event waits in the redelivery queue, or Stripe retries."
            },
        )?;
        text(f, "This preview read nothing. --follow reads it.")
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Payment => f.write_str("to find the user"),
            Self::Path(path) => write!(f, "for the path {path}"),
            Self::Products => f.write_str("for the setting `products`"),
        }
    }
}

/// The reads, their purposes and results.
fn reads(f: &mut fmt::Formatter<'_>, reads: &[ReadMade]) -> fmt::Result {
    if reads.is_empty() {
        return Ok(());
    }
    heading(f, &format!("Read from Stripe's API: {}", count(reads.len(), "object")))?;
    for ReadMade { reference, purpose, result } in reads {
        text(f, &format!("GET {}", reference.path()))?;
        let found = match result {
            Ok(true) => "found",
            Ok(false) => "does not exist, or was deleted",
            Err(why) => why,
        };
        f.write_str(&wrap("    ", 4, &format!("the {}, {purpose}: {found}", reference.kind)))?;
    }
    writeln!(f)
}

impl fmt::Display for Translated<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.user.fmt(f)?;
        writeln!(f)?;
        self.device(f)?;
        writeln!(f)?;
        self.revenue(f)?;
        writeln!(f)?;
        self.removed(f)?;
        if !self.unmatched.is_empty() {
            let paths = self.unmatched.join(", ");
            text(f, &format!("Paths of `drop_properties` that matched nothing in this event: {paths}"))?;
        }
        if self.truncated > 0 {
            writeln!(f)?;
            self.cut(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        heading(f, &format!("User ID: {}", self.found.as_ref().map_or("none", |(_, id)| id)))?;
        self.paths(f)
    }
}

impl UserId {
    /// The tried paths and their results.
    fn paths(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { of_payment, passed_over, found } = self;
        let paths = passed_over.iter().map(|(path, _)| path).chain(found.iter().map(|(path, _)| path));
        let width = paths.map(|path| path.as_str().chars().count()).max().unwrap_or_default();
        let rows = passed_over.iter().map(|(path, reason)| (' ', path, reason.to_string()));
        let rows = rows.chain(found.iter().map(|(path, id)| ('→', path, id.clone())));
        for (number, (mark, path, what)) in rows.enumerate() {
            if *of_payment > 0 && number == 0 {
                text(f, "On its payment, which is tried first because a refund or dispute has no user itself:")?;
            } else if *of_payment > 0 && number == *of_payment {
                text(f, "On itself:")?;
            }
            f.write_str(&wrap(&format!("  {mark} {:width$}  ", path.as_str()), width + 6, &what))?;
        }
        Ok(())
    }
}

impl Translated<'_> {
    fn device(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        heading(f, &format!("Device ID: {}", self.event.device_id))?;
        text(f, &format!("From {}. {}", self.anchor, self.anchor.effect()))?;
        if self.user.found.is_some() {
            return Ok(());
        }
        text(
            f,
            "This event has no user, so Amplitude attributes it to the device's latest user, or to an anonymous user, which Amplitude bills.",
        )
    }

    fn revenue(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.money {
            Money::NotCounted(reason) => {
                heading(f, "Revenue: none")?;
                text(f, &sentence(reason))
            }
            Money::Unknown => {
                heading(f, "Revenue: unknown")?;
                text(
                    f,
                    "The event counts or subtracts revenue but lacks the amount. A payment has it in `amount_received`; a refund needs the charge's amounts and the previous `amount_refunded` in `previous_attributes`; a dispute needs its balance transactions. The amount is not guessed; the property `normalized_revenue_unknown` marks the event.",
                )
            }
            Money::Counted { amount, currency, rule, converted } => {
                let (sent, sent_currency) =
                    converted.as_ref().map_or((amount, currency), |converted| (&converted.amount, &converted.currency));
                match self.event.revenue {
                    Some(_) => heading(f, &format!("Revenue: {}", shown(sent, sent_currency.code())))?,
                    None => heading(f, "Revenue: none")?,
                }
                text(f, &sentence(rule))?;
                if let Some(Converted { amount: to, currency: to_currency, rate }) = converted {
                    let little = if to.is_zero() { ", too little to count" } else { "" };
                    let (from, to) = (shown(amount, currency.code()), shown(to, to_currency.code()));
                    text(f, &format!("Converted: {from} at {rate} = {to}{little}."))?;
                }
                Ok(())
            }
        }
    }

    fn removed(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nulls = self.removed.get(&Reason::Null).map_or(0, Vec::len);
        let fields: usize = self.removed.values().map(Vec::len).sum();
        if fields == 0 {
            heading(f, "Removed: nothing")?;
            return text(f, "No field is null or has to be removed.");
        }
        heading(f, &format!("Removed: {}", count(fields, "field")))?;
        for (reason, paths) in self.removed.iter().filter(|(reason, _)| **reason != Reason::Null) {
            text(f, &capitalized(reason))?;
            f.write_str(&wrap("    ", 4, &paths.join(", ")))?;
        }
        if nulls > 0 {
            text(f, &format!("Null, which would only use up property names: {}", count(nulls, "field")))?;
        }
        Ok(())
    }

    fn cut(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        heading(f, &format!("Cut: {}", count(self.truncated, "field")))?;
        let Some(Property::Json(Json::List(paths))) = self.event.event_properties.get("stripe_truncated") else {
            return Ok(());
        };
        text(
            f,
            "These fields exceed one of Amplitude's limits (1024 characters, 40 levels of nesting, 1 MB per request). The property `stripe_truncated` lists them:",
        )?;
        for path in paths {
            f.write_str(&wrap("    ", 6, path.as_str().unwrap_or_default()))?;
        }
        match self.truncated.saturating_sub(paths.len()) {
            0 => Ok(()),
            more => f.write_str(&wrap("    ", 4, &format!("and {more} more, which it omits"))),
        }
    }
}

impl fmt::Display for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, id, .. } = self;
        match *from {
            "the project" => write!(f, "the name of the project, {id}"),
            "the event's account" => write!(f, "the event's `account`, {id}"),
            field => write!(f, "`{field}` of the {}, {id}", self.kind()),
        }
    }
}

impl Anchor {
    /// The effect of this device ID.
    fn effect(&self) -> String {
        let what = if self.from == "id" { self.kind() } else { self.from };
        let share = |what: &str| format!("All events of this {what}, and all repeats, have this device ID");
        let attributed = "an event without a user is attributed to";
        match what {
            "payment_intent" => format!("{}: {attributed} the payer.", share("payment")),
            "charge" => format!("{}: {attributed} the payer.", share("charge")),
            "customer" | "cardholder" => format!("{}: {attributed} the latest user of the {what}.", share(what)),
            // An account in the role of the customer.
            "customer_account" => format!("{}: {attributed} the latest user of the customer.", share("customer")),
            "account" | "the event's account" => format!("{}.", share("account")),
            "the project" => {
                "The event belongs to nothing known, so all such events of the project share this device ID.".to_owned()
            }
            kind => format!("The event belongs to no payment or customer. {}.", share(kind)),
        }
    }

    fn kind(&self) -> &str {
        if self.kind.is_empty() { "object" } else { &self.kind }
    }
}

fn heading(f: &mut fmt::Formatter<'_>, heading: &str) -> fmt::Result {
    f.write_str(&wrap("", 2, heading))
}

fn text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str(&wrap("  ", 2, text))
}

/// The library's messages continue a sentence; this makes each a sentence.
fn sentence(words: &impl fmt::Display) -> String {
    format!("{}.", capitalized(words))
}

pub(crate) fn capitalized(words: &impl fmt::Display) -> String {
    let words = words.to_string();
    let mut characters = words.chars();
    let first = characters.next().map(|first| first.to_uppercase().to_string());
    format!("{}{}", first.unwrap_or_default(), characters.as_str())
}

fn ago(seconds: i64) -> String {
    match seconds {
        i64::MIN..0 => "in the future".to_owned(),
        0..60 => "just now".to_owned(),
        60..3_600 => format!("{} ago", spell(seconds / 60, "minute")),
        3_600..86_400 => format!("{} ago", spell(seconds / 3_600, "hour")),
        86_400.. => format!("{} ago", spell(seconds / 86_400, "day")),
    }
}

fn spell(number: i64, noun: &str) -> String {
    count(usize::try_from(number).unwrap_or(usize::MAX), noun)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};
    use stripe_amplitude::settings::Settings;
    use stripe_amplitude::stripe::purchase::{Found, Objects};
    use stripe_amplitude::stripe::reference::{Reference, ReferenceKind};
    use stripe_amplitude::translate::Context;

    use super::super::tests::{NOW, explained, parsed, sample};
    use super::*;

    /// The text on one line.
    fn explained_text(settings: &str, envelope: &Value) -> String {
        let text = explained(settings, envelope).unwrap().to_string();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_payment_is_explained() {
        let text = explained("{}", &sample("payment_intent.succeeded")).unwrap().to_string();
        let expected = "\
Event: evt_3PgcEx0014B7WZ01zgkW1Test
  payment_intent.succeeded, 903 days ago, test mode, API version 2024-06-20

Forwarded
  payment_intent.succeeded is forwarded by default. It goes to Amplitude's data centre in the United
  States.
  This applies on first delivery. Resent now, the event would not be sent right away, because it is
  older than `max_age_days`.
  A test-mode event: if the project has the parameter amplitude-test-api-key, it goes to that
  Amplitude project.

User ID: user_42
    metadata.amplitude_id  missing
  → metadata.user_id       user_42

Device ID: stripe-pi_3PgafuB7WZ01zgkW1kJo3Sjx
  From `id` of the payment_intent, pi_3PgafuB7WZ01zgkW1kJo3Sjx. All events of this payment, and all
  repeats, have this device ID: an event without a user is attributed to the payer.

Revenue: 20.00 USD
  What the payment received: `amount_received`.

Removed: 24 fields
  A credential: anyone who holds it can pay, read or act
    client_secret
  Personal data: an e-mail address
    receipt_email
  Null, which would only use up property names: 22 fields
";
        assert_eq!(text, expected);
    }

    #[test]
    fn skipped_paths_have_a_reason() {
        let mut envelope = sample("charge.failed");
        envelope["data"]["object"]["metadata"] = json!({"user_id": "undefined"});
        let guest = explained_text("{}", &envelope);
        for words in [
            "User ID: none",
            "metadata.amplitude_id missing",
            "metadata.user_id on Amplitude's list of refused IDs",
            "receipt_email null",
            "no user, so Amplitude attributes it to the device's latest user",
        ] {
            assert!(guest.contains(words), "{words}: {guest}");
        }
        let named = explained_text("{}", &sample("payment_intent.succeeded"));
        assert!(!named.contains("customer_email") && !named.contains("has no user, so"), "{named}");
    }

    /// With the objects that were read so far.
    fn reading(settings: &str, envelope: &Value, read: &[(Reference, Found)]) -> Option<(Purpose, Reference, String)> {
        let (project, settings) = ("demo".parse().unwrap(), Settings::parse(settings).unwrap());
        let mut objects = Objects::default();
        read.iter().for_each(|(reference, found)| objects.insert(reference.clone(), found.clone()));
        let context = Context {
            project: &project,
            source: None,
            settings: &settings,
            has_test_key: false,
            objects: Some(&objects),
        };
        let explanation = Explanation::of(parsed(envelope), &context, 1, NOW).unwrap();
        let words = explanation.to_string();
        assert!(words.lines().all(|line| line.chars().count() <= 100), "{words}");
        let PreviewOutcome::Unread(reading) = explanation.outcome else { return None };
        Some((reading.purpose, reading.unread.reference, words.split_whitespace().collect::<Vec<_>>().join(" ")))
    }

    #[test]
    fn a_read_names_its_path() {
        let settings = r#"{"references": "follow", "user_id_paths": ["metadata.id", "customer.metadata.id", "invoice.metadata.id"]}"#;
        let mut refund = sample("charge.refunded");
        refund["created"] = json!(1);
        refund["data"]["object"] = json!({"object": "refund", "id": "re_1", "payment_intent": "pi_1"});
        let of = |kind, id: &str| Reference { kind, id: id.to_owned() };
        let payment = of(ReferenceKind::PaymentIntent, "pi_1");
        let customer = of(ReferenceKind::Customer, "cus_1");
        let object = |value: Value| {
            let json: Json<'_> = serde_json::from_str(&value.to_string()).map(Json::into_owned).unwrap();
            Found::Object(Arc::new(json))
        };
        let (purpose, reference, words) = reading(settings, &refund, &[]).unwrap();
        assert!(purpose == Purpose::Payment && reference == payment, "{words}");
        assert!(words.contains("all paths are tried on its payment first"), "{words}");
        let found = object(json!({"object": "payment_intent", "id": "pi_1", "customer": "cus_1", "invoice": "in_1"}));
        let mut read = vec![(payment, found)];
        let (purpose, reference, words) = reading(settings, &refund, &read).unwrap();
        assert!(purpose == Purpose::Path("customer.metadata.id".parse().unwrap()) && reference == customer, "{words}");
        assert!(words.contains("stripe-test-api-key") && words.contains("rak_customer_read"), "{words}");
        read.push((customer, Found::Nothing));
        let (purpose, reference, _) = reading(settings, &refund, &read).unwrap();
        assert!(purpose == Purpose::Path("invoice.metadata.id".parse().unwrap()));
        read.push((reference, Found::Nothing));
        assert!(reading(settings, &refund, &read).is_none());
    }

    #[test]
    fn a_read_for_products_does_not_block_the_event() {
        let mut invoice = sample("invoice.paid");
        invoice["created"] = json!(1);
        let (purpose, reference, words) = reading(r#"{"products": "follow"}"#, &invoice, &[]).unwrap();
        assert!(purpose == Purpose::Products && reference.kind == ReferenceKind::InvoiceLines);
        assert!(words.contains("User ID: ") && words.contains("`products_incomplete`"), "{words}");
    }

    #[test]
    fn ignored_events_have_reason_and_code() {
        let mut old = sample("charge.refunded");
        old["created"] = json!(NOW - 8 * 24 * 60 * 60);
        for (settings, envelope, code, named) in [
            (r#"{"events": {"remove": ["charge.*"]}}"#, &old, "type_not_selected", "`events`"),
            (r#"{"test_events": "drop"}"#, &old, "test_event", "`test_events`"),
            // An ignored event needs no rate.
            (r#"{"test_events": "drop", "preferred_currency": {"code": "EUR"}}"#, &old, "test_event", "`test_events`"),
            (r#"{"without_user": "revenue_only"}"#, &sample("charge.failed"), "no_user_no_revenue", "customer null"),
        ] {
            let explanation = explained(settings, envelope).unwrap();
            assert!(explanation.sent().is_none());
            let text = explained_text(settings, envelope);
            let code = format!("The function responds with 200, `ignored` and the code `{code}`");
            for words in [named, "Ignored: nothing is sent", &code] {
                assert!(text.contains(words), "{words}: {text}");
            }
            assert!(!text.contains("is attributed to"), "{text}");
        }
    }

    #[test]
    fn unmatched_paths_are_listed() {
        let text = explained_text(
            r#"{"drop_properties": ["metadata.order_id", "metadata.no.such key", "description"]}"#,
            &sample("charge.refunded"),
        );
        assert!(text.contains("matched nothing in this event: metadata.no.such key"), "{text}");
    }

    #[test]
    fn revenue_is_explained_with_its_rule_and_its_conversion() {
        let payment = sample("payment_intent.succeeded");
        let mut yen = payment.clone();
        yen["data"]["object"]["currency"] = json!("jpy");
        let in_dollars = r#"{"preferred_currency": {"code": "USD", "rates": {"JPY": "0.0067"}}}"#;
        let too_little = r#"{"preferred_currency": {"code": "USD", "rates": {"JPY": "0.000001"}}}"#;
        let negative = r#"{"refunds": "negative_revenue"}"#;
        let refund = sample("charge.refunded");
        let mut unknown = refund.clone();
        unknown["data"]["previous_attributes"] = json!(null);
        for (settings, envelope, expected) in [
            ("{}", &yen, &["Revenue: 2000 JPY", "What the payment received"][..]),
            (in_dollars, &yen, &["Revenue: 13.40 USD", "Converted: 2000 JPY at 0.0067 = 13.40 USD."]),
            (in_dollars, &payment, &["Revenue: 20.00 USD What the payment received: `amount_received`. Removed"]),
            (too_little, &yen, &["Revenue: none", "at 0.000001 = 0.00 USD, too little to count"]),
            (negative, &refund, &["Revenue: -5.00 USD", "max(0, 500 − 0) − max(0, 0 − 0)"]),
            (negative, &unknown, &["Revenue: unknown", "the property `normalized_revenue_unknown` marks the event"]),
            ("{}", &refund, &["Revenue: none", "The setting `refunds` is \"as_events\"."]),
            ("{}", &sample("charge.succeeded"), &["Revenue: none", "only one of them counts"]),
        ] {
            let text = explained_text(settings, envelope);
            assert!(expected.iter().all(|words| text.contains(words)), "{expected:?}: {text}");
        }
        assert!(explained(r#"{"preferred_currency": {"code": "EUR"}}"#, &payment).is_err());
    }

    #[test]
    fn device_ids_have_a_source() {
        let event = |object: Value| {
            json!({"id": "evt_1", "object": "event", "type": "payment_intent.succeeded", "created": 1,
                "data": {"object": object}})
        };
        for (object, words) in [
            (
                json!({"object": "payment_intent", "id": "pi_1"}),
                "`id` of the payment_intent, pi_1. All events of this payment",
            ),
            (
                json!({"object": "charge", "id": "ch_1", "payment_intent": "pi_1"}),
                "`payment_intent` of the charge, pi_1. All events of this payment",
            ),
            (
                json!({"object": "refund", "id": "re_1", "charge": "ch_1"}),
                "`charge` of the refund, ch_1. All events of this charge",
            ),
            (json!({"object": "charge", "id": "ch_1"}), "`id` of the charge, ch_1. All events of this charge"),
            (
                json!({"object": "invoice", "id": "in_1", "customer": "cus_1"}),
                "is attributed to the latest user of the customer",
            ),
            (
                json!({"object": "invoice", "id": "in_1", "customer": null, "customer_account": "acct_1"}),
                "`customer_account` of the invoice, acct_1. All events of this customer, and all repeats, have this device ID: an event without a user is attributed to the latest user of the customer.",
            ),
            (json!({"object": "customer", "id": "cus_1"}), "`id` of the customer, cus_1. All events of this customer"),
            (
                json!({"object": "issuing.card", "id": "ic_1", "cardholder": "ich_1"}),
                "the latest user of the cardholder",
            ),
            (json!({"object": "application_fee", "account": "acct_1"}), "All events of this account"),
            (
                json!({"object": "invoice", "id": "in_1"}),
                "The event belongs to no payment or customer. All events of this invoice",
            ),
            (json!({"object": "balance"}), "the name of the project, demo."),
            (json!({"id": "x_1"}), "`id` of the object, x_1."),
        ] {
            let text = explained_text("{}", &event(object));
            assert!(text.contains(words), "{words}: {text}");
        }
        let mut connected = event(json!({"object": "balance"}));
        connected["account"] = json!("acct_1");
        assert!(explained_text("{}", &connected).contains("the event's `account`, acct_1. All events of this account"));
    }

    #[test]
    fn a_customer_account_counts_as_customer() {
        let invoice = include_str!("../../../../tests/data/cases/customer-account/invoice.json");
        let text = explained_text("{}", &serde_json::from_str(invoice).unwrap());
        assert!(text.contains("From `customer_account` of the invoice"), "{text}");
        assert!(text.contains("All events of this customer"), "{text}");
        assert!(!text.contains("no payment or customer"), "{text}");
    }

    #[test]
    fn removed_fields_are_grouped_by_reason() {
        let dropped = explained_text(r#"{"drop_properties": ["metadata.order_id"]}"#, &sample("charge.refunded"));
        for words in [
            "The setting `drop_properties` metadata.order_id",
            "Personal data: an e-mail address billing_details.email, receipt_email",
            "Null, which would only use up property names: 33 fields",
        ] {
            assert!(dropped.contains(words), "{words}: {dropped}");
        }
        let nothing = explained_text("{}", &sample("balance.available"));
        assert!(nothing.contains("Removed: nothing") && !nothing.contains("Null,"), "{nothing}");
    }

    #[test]
    fn cut_fields_are_listed() {
        let mut envelope = sample("payment_intent.succeeded");
        let some: serde_json::Map<_, _> =
            (10..35).map(|number| (format!("note{number}"), json!("x".repeat(2000)))).collect();
        envelope["data"]["object"]["metadata"] = Value::Object(some);
        let cut = explained_text("{}", &envelope);
        assert!(cut.contains("Cut: 25 fields These fields exceed one of Amplitude's limits"), "{cut}");
        assert!(cut.ends_with("metadata.note28 metadata.note29 and 5 more, which it omits"), "{cut}");
        assert!(!explained_text("{}", &sample("payment_intent.succeeded")).contains("Cut"));
    }

    #[test]
    fn mode_version_and_age_are_described() {
        let mut envelope = sample("payment_intent.succeeded");
        (envelope["livemode"], envelope["api_version"]) = (json!(true), json!("2025-03-31.basil"));
        envelope["created"] = json!(NOW - 3600);
        let live = explained_text(r#"{"amplitude_region": "eu"}"#, &envelope);
        for words in ["1 hour ago, live mode, API version 2025-03-31.basil; the rules were", "the European Union."] {
            assert!(live.contains(words), "{words}: {live}");
        }
        assert!(!live.contains("test"), "{live}");
        envelope["type"] = json!("payment_intent.processing");
        let added = explained_text(r#"{"events": {"add": ["payment_intent.*"]}}"#, &envelope);
        assert!(added.contains("payment_intent.processing is added by `events.add`."), "{added}");
        for (seconds, words) in [(-1, "in the future"), (59, "just now"), (120, "2 minutes ago"), (86_400, "1 day ago")]
        {
            assert_eq!(ago(seconds), words);
        }
    }
}
