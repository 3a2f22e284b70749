//! Warnings about valid paths in `user_id_paths` that are likely mistakes.

use stripe_amplitude::settings::{References, Settings, USER_ID_PATHS};
use stripe_amplitude::stripe::field_path::FieldPath;
use stripe_amplitude::stripe::purchase::Name;

const METADATA: &str = "metadata";

const CLIENT_REFERENCE_ID: &str = "client_reference_id";

/// Fields that only checkout sessions have.
const ONLY_ON_CHECKOUT_SESSIONS: [&str; 2] = [CLIENT_REFERENCE_ID, "customer_details."];

/// Other words for an object of the purchase.
const OTHER_WORDS: [(&str, &str); 4] = [
    ("checkout", "checkout_session"),
    ("session", "checkout_session"),
    ("payment", "payment_intent"),
    ("charge", "payment_intent"),
];

/// Words of two segments for an object of the purchase.
const TWO_SEGMENTS: [(&str, &str, &str); 3] = [
    ("checkout", "session", "checkout_session"),
    ("payment", "intent", "payment_intent"),
    ("payment", "payment_intent", "payment_intent"),
];

/// Fields of Stripe's objects with the ID of another object, which is not followed.
const REFERENCES: [&str; 8] = [
    "charge",
    "latest_charge",
    "latest_invoice",
    "payment",
    "payment_method",
    "default_payment_method",
    "default_source",
    "setup_intent",
];

/// Fields of Stripe's objects that contain an object without an ID.
const WITHOUT_ID: [&str; 11] = [
    "address",
    "billing_details",
    "customer_address",
    "customer_details",
    "customer_shipping",
    "invoice_settings",
    "lines",
    "parent",
    "payment_method_details",
    "shipping",
    "subscription_details",
];

/// Common names for user IDs. Stripe has no such fields outside of metadata.
const KEYS_OF_METADATA: [&str; 4] = ["amplitude_id", "uid", "user_id", "userid"];

/// Maximum edit distance of a typo. It is small enough not to mistake one of Stripe's fields for another word.
pub(super) const MAX_TYPO: usize = 2;

/// Sentences that name the path and the remedy.
pub(super) fn warnings(settings: &Settings) -> Vec<String> {
    let paths = &settings.user_id_paths;
    let mut warnings = Vec::new();
    for (index, path) in paths.iter().enumerate() {
        let earlier = paths.get(..index).unwrap_or_default();
        if earlier.contains(path) {
            continue;
        }
        let wrong = split_users(path, settings)
            .or_else(|| unfollowed(path, settings))
            .or_else(|| mistaken(path, settings))
            .or_else(|| unreached(path, earlier));
        warnings.extend(wrong.map(|wrong| format!("`user_id_paths` has {path}{wrong}")));
    }
    warnings
}

/// Paths that make a buyer two users: one on the checkout session, and another one on everything that follows.
fn split_users(path: &FieldPath, settings: &Settings) -> Option<String> {
    let has = |other: &str| settings.user_id_paths.iter().any(|path| path.as_str() == other);
    let path = path.as_str();
    let on_session = format!("checkout_session.{path}");
    let follows = settings.references == References::Follow;
    if !ONLY_ON_CHECKOUT_SESSIONS.iter().any(|start| path.starts_with(start)) || follows && has(&on_session) {
        return None;
    }
    let with = with_references(settings);
    if has("customer") {
        return Some(format!(
            " and customer: `{path}` is only on checkout sessions, so the payments, invoices and refunds of the same buyer become another user, identified by `customer`, and Amplitude cannot merge them later; write `{on_session}`{with}"
        ));
    }
    (follows && path == CLIENT_REFERENCE_ID).then(|| {
        format!(
            ", which is only on checkout sessions: payments, invoices and refunds of the same buyer do not have it; write `{on_session}`, which also works for them"
        )
    })
}

/// Paths into objects of which an event has only the ID. The default path of this kind is for events with expanded objects.
fn unfollowed(path: &FieldPath, settings: &Settings) -> Option<String> {
    if settings.references == References::Follow || USER_ID_PATHS.contains(&path.as_str()) {
        return None;
    }
    let (_, rest) = Name::of(path)?;
    rest?;
    let name = path.split_first().0;
    Some(format!(
        ", which never finds anything: Stripe's events contain only the ID of the {name}; with \"references\": \"follow\", the {name} is read"
    ))
}

/// Paths that are misspelt, or cannot find an ID.
fn mistaken(path: &FieldPath, settings: &Settings) -> Option<String> {
    let segments = segments(path.as_str());
    let (first, behind) = segments.split_first()?;
    let Some((name, _)) = Name::of(path) else {
        if let Some((name, taken)) = meant(first, behind) {
            let behind = behind.get(taken..).unwrap_or_default();
            let perhaps = joined(name, &corrected(behind).unwrap_or_else(|| behind.join(".")));
            let written = joined(first, &segments.get(1..=taken).unwrap_or_default().join("."));
            return Some(format!(
                ", but `{written}` is not an object of the purchase; did you mean `{perhaps}`{}?",
                with_references(settings)
            ));
        }
        return in_object("", &segments);
    };
    in_object(first, behind).or_else(|| {
        if name != Name::CheckoutSession && behind == [CLIENT_REFERENCE_ID] {
            return Some(format!(
                ", but the {first} has no such field: only checkout sessions have it; write `checkout_session.{CLIENT_REFERENCE_ID}`"
            ));
        }
        let (field, further) = behind.split_first()?;
        if further.is_empty() {
            return None;
        }
        let only = format!(", but the {first} contains only the ID of the {field}, which is not followed");
        if Name::ALL.iter().any(|(name, _)| name == field) {
            return Some(format!("{only}; write `{}`", behind.join(".")));
        }
        let is_reference = REFERENCES.contains(field);
        is_reference.then(|| match meant(field, further).or((*field == "latest_invoice").then_some(("invoice", 0))) {
            Some((name, _)) => format!("{only}; did you mean `{}`?", joined(name, &further.join("."))),
            None => format!("{only}; use a field of the {first} itself"),
        })
    })
}

/// What is wrong with the part of a path inside an object. Without a name, it is the event's own object.
fn in_object(name: &str, segments: &[&str]) -> Option<String> {
    if let Some(corrected) = corrected(segments) {
        let wrong = segments.iter().find(|segment| is_near_metadata(segment)).unwrap_or(&"");
        return Some(format!(
            ", but Stripe's objects have no field `{wrong}`; did you mean `{}`?",
            joined(name, &corrected)
        ));
    }
    let path = joined(name, &segments.join("."));
    match segments {
        [before @ .., METADATA] if !before.contains(&METADATA) => {
            Some(format!(", but `{path}` is not an ID: add the key, such as `{path}.user_id`"))
        }
        [.., last] if WITHOUT_ID.contains(last) && !segments.contains(&METADATA) => {
            Some(format!(", but `{path}` is not an ID: it is an object without one; name one of its fields"))
        }
        [key] if KEYS_OF_METADATA.contains(key) => Some(format!(
            ", but Stripe's objects have no field `{key}`; did you mean `{}`?",
            joined(name, &format!("{METADATA}.{key}"))
        )),
        _ => None,
    }
}

/// Paths that are never used, or only rarely.
fn unreached(path: &FieldPath, earlier: &[FieldPath]) -> Option<String> {
    let has = |name: &str| earlier.iter().any(|path| path.as_str() == name);
    if has("id") {
        return Some(", which is never used: `id` precedes it, and every object has one".to_owned());
    }
    let name = Name::of(path).and_then(|(_, rest)| rest.map(|_| path.split_first().0));
    if let Some(name) = name.filter(|name| has(name)) {
        return Some(format!(
            ", which is never used: `{name}` precedes it, and is found whenever the {name} is; put `{name}` after it"
        ));
    }
    if !has("customer") {
        return None;
    }
    if let Some(name) = name.filter(|name| ["subscription", "invoice"].contains(name)) {
        return Some(format!(
            ", which is never used: `customer` precedes it, and every {name} has a customer; put `customer` after it"
        ));
    }
    let segments = segments(path.as_str());
    let is_of_the_app = segments.contains(&METADATA) || segments.last() == Some(&CLIENT_REFERENCE_ID);
    is_of_the_app.then(|| {
        ", which is used only without a customer: `customer` precedes it, and nearly always finds an ID; put `customer` after it".to_owned()
    })
}

/// The parts of a path. Everything after `metadata` is one key.
fn segments(path: &str) -> Vec<&str> {
    let mut segments = Vec::new();
    let mut rest = Some(path);
    while let Some(text) = rest {
        let (segment, behind) = text.split_once('.').map_or((text, None), |(one, behind)| (one, Some(behind)));
        segments.push(segment);
        rest = behind;
        if segment == METADATA {
            segments.extend(rest.take());
        }
    }
    segments
}

fn joined(name: &str, rest: &str) -> String {
    let dot = if name.is_empty() || rest.is_empty() { "" } else { "." };
    format!("{name}{dot}{rest}")
}

fn with_references(settings: &Settings) -> &'static str {
    if settings.references == References::Follow { "" } else { ", with \"references\": \"follow\"" }
}

/// The name of the object that is probably meant, and how many segments after the first one belong to it.
fn meant(first: &str, behind: &[&str]) -> Option<(&'static str, usize)> {
    let two = TWO_SEGMENTS.iter().find(|(one, two, _)| *one == first && behind.first() == Some(two));
    if let Some((.., name)) = two {
        return Some((name, 1));
    }
    // Valid in old API versions: charges.data.0.billing_details.email.
    if behind.first() == Some(&"data") || (REFERENCES.contains(&first) && behind.is_empty()) {
        return None;
    }
    let singular = first.strip_suffix("_id").unwrap_or(first);
    let singular = singular.strip_suffix('s').unwrap_or(singular);
    if let Some((_, name)) = OTHER_WORDS.iter().find(|(word, _)| *word == singular) {
        return Some((name, 0));
    }
    let without_underscores = |text: &str| text.replace('_', "");
    let names = Name::ALL.iter().map(|(name, _)| *name);
    let distance = |name: &str| strsim::levenshtein(&without_underscores(singular), &without_underscores(name));
    let nearest = names.min_by_key(|name| distance(name))?;
    (distance(nearest) <= MAX_TYPO).then_some((nearest, 0))
}

/// The segments with a misspelt `metadata` corrected.
fn corrected(segments: &[&str]) -> Option<String> {
    let metadata = segments.iter().position(|segment| *segment == METADATA).unwrap_or(segments.len());
    let wrong = segments.iter().take(metadata).position(|segment| is_near_metadata(segment))?;
    let mut corrected = segments.to_vec();
    *corrected.get_mut(wrong)? = METADATA;
    if wrong + 1 == corrected.len() {
        corrected.push("user_id");
    }
    Some(corrected.join("."))
}

fn is_near_metadata(segment: &str) -> bool {
    segment != METADATA && (segment == "meta" || strsim::levenshtein(segment, METADATA) <= MAX_TYPO)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};

    use super::*;

    fn warned(references: &str, paths: &[&str]) -> Vec<String> {
        let settings = json!({"references": references, "user_id_paths": paths}).to_string();
        warnings(&Settings::parse(&settings).unwrap())
    }

    #[test]
    fn useless_path_has_a_suggestion() {
        for (path, words) in [
            (
                "customers.metadata.user_id",
                "`customers` is not an object of the purchase; did you mean `customer.metadata.user_id`",
            ),
            ("custmer.metadata.user_id", "did you mean `customer.metadata.user_id`"),
            ("customer_id", "did you mean `customer`"),
            (
                "checkout.session.client_reference_id",
                "`checkout.session` is not an object of the purchase; did you mean `checkout_session.client_reference_id`",
            ),
            ("checkout.metadata.user_id", "did you mean `checkout_session.metadata.user_id`"),
            ("checkoutsession.metadata.user_id", "did you mean `checkout_session.metadata.user_id`"),
            ("subscriptions.metadata.user_id", "did you mean `subscription.metadata.user_id`"),
            ("session.client_reference_id", "did you mean `checkout_session.client_reference_id`"),
            ("sessions.meta_data.user_id", "did you mean `checkout_session.metadata.user_id`"),
            ("payment.metadata.user_id", "did you mean `payment_intent.metadata.user_id`"),
            ("payment.intent.metadata.user_id", "did you mean `payment_intent.metadata.user_id`"),
            ("charge.metadata.user_id", "did you mean `payment_intent.metadata.user_id`"),
            ("paymentintent.metadata.user_id", "did you mean `payment_intent.metadata.user_id`"),
            ("payment_intents.metadata.user_id", "did you mean `payment_intent.metadata.user_id`"),
            ("client_reference_id", "write `checkout_session.client_reference_id`"),
            ("customer.metadata", "`customer.metadata` is not an ID: add the key, such as `customer.metadata.user_id`"),
            ("checkout_session.metadata", "such as `checkout_session.metadata.user_id`"),
            ("metadata", "such as `metadata.user_id`"),
            ("customer.address", "`customer.address` is not an ID: it is an object"),
            ("customer.meta_data.user_id", "no field `meta_data`; did you mean `customer.metadata.user_id`"),
            ("meta.user_id", "no field `meta`; did you mean `metadata.user_id`"),
            ("customer.user_id", "no field `user_id`; did you mean `customer.metadata.user_id`"),
            ("customer.client_reference_id", "write `checkout_session.client_reference_id`"),
            (
                "subscription.customer.metadata.user_id",
                "contains only the ID of the customer, which is not followed; write `customer.metadata.user_id`",
            ),
            ("subscription.latest_invoice.metadata.user_id", "did you mean `invoice.metadata.user_id`"),
            ("payment_intent.payment_method.metadata.user_id", "use a field of the payment_intent itself"),
        ] {
            let warnings = warned("follow", &[path]);
            assert_eq!(warnings.len(), 1, "{path}: {warnings:?}");
            let start = format!("`user_id_paths` has {path},");
            assert!(warnings[0].starts_with(&start) && warnings[0].contains(words), "{warnings:?}");
        }
    }

    #[test]
    fn useful_paths_have_no_warning() {
        let paths = [
            "metadata.user_id",
            "metadata.metadata",
            "customer.metadata.meta_data",
            "customer.metadata.address",
            "lines.data.0.metadata.user_id",
            "charges.data.0.billing_details.email",
            "invoice.subscription_details.metadata.user_id",
            "checkout_session.client_reference_id",
            "client_reference_id",
            "checkout_session.customer_details.email",
            "invoice.subscription",
            "payment_intent.latest_charge",
            "charge",
            "payment_intent.receipt_email",
            "cardholder",
            "customer",
        ];
        assert_eq!(warned("follow", &paths), Vec::<String>::new());
    }

    #[test]
    fn stripes_fields_are_no_mistakes() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../events/stripe");
        let mut fields = 0;
        for file in fs::read_dir(folder).unwrap() {
            let text = fs::read_to_string(file.unwrap().path()).unwrap();
            let event: Value = serde_json::from_str(&text).unwrap();
            for field in event["data"]["object"].as_object().unwrap().keys() {
                assert_eq!(meant(field, &[]).filter(|(name, _)| name != field), None, "{field}");
                assert!(!is_near_metadata(field), "{field}");
                fields += 1;
            }
        }
        assert!(fields > 500, "{fields}");
    }

    #[test]
    fn following_is_suggested_if_references_are_off() {
        for (path, words) in [
            ("customer.metadata", "contain only the ID of the customer; with \"references\": \"follow\""),
            ("customers.metadata.id", "did you mean `customer.metadata.id`, with \"references\": \"follow\""),
            ("metadata", "such as `metadata.user_id`"),
        ] {
            let warnings = warned("off", &[path]);
            assert!(warnings.len() == 1 && warnings[0].contains(words), "{path}: {warnings:?}");
        }
    }

    #[test]
    fn session_field_has_a_suggestion() {
        for (references, end) in [
            ("off", "write `checkout_session.client_reference_id`, with \"references\": \"follow\""),
            ("follow", "write `checkout_session.client_reference_id`"),
        ] {
            let warnings = warned(references, &["client_reference_id", "customer"]);
            assert!(warnings.len() == 1 && warnings[0].ends_with(end), "{warnings:?}");
        }
        // Without references, the path of the session finds nothing.
        let paths = ["client_reference_id", "checkout_session.client_reference_id", "customer"];
        assert_eq!((warned("off", &paths).len(), warned("follow", &paths).len()), (2, 0));
    }

    #[test]
    fn path_after_a_certain_id_is_never_used() {
        for (paths, words) in [
            (&["customer", "customer.metadata.user_id"][..], Some("is never used: `customer` precedes it")),
            (&["customer", "subscription.metadata.user_id"], Some("every subscription has a customer")),
            (&["invoice", "invoice.metadata.user_id"], Some("is never used: `invoice` precedes")),
            (&["id", "receipt_email"], Some("is never used: `id` precedes")),
            (&["customer", "metadata.user_id"], Some("used only without a customer")),
            (&["customer", "checkout_session.client_reference_id"], Some("used only without a customer")),
            // A guest has no customer.
            (&["customer", "receipt_email"], None),
            (&["customer.metadata.user_id", "customer"], None),
        ] {
            let warnings = warned("follow", paths);
            assert_eq!(warnings.len(), usize::from(words.is_some()), "{paths:?}: {warnings:?}");
            assert!(words.is_none_or(|words| warnings[0].contains(words)), "{warnings:?}");
        }
    }
}
