//! The user ID of an event.

use thiserror::Error;

use crate::amplitude::limits::LONGEST_STRING;
use crate::stripe::event::id_of;
use crate::stripe::field_path::FieldPath;
use crate::stripe::json::{Json, Object};
use crate::stripe::purchase::{Name, Objects, Purchase};
use crate::stripe::reference::Reference;

/// IDs that Amplitude rejects with 400, in any case. Source: Amplitude's HTTP V2 documentation.
const REFUSED_IDS: [&str; 13] = [
    "anonymous",
    "nil",
    "none",
    "null",
    "n/a",
    "na",
    "undefined",
    "unknown",
    "{}",
    "lmy47d",
    "0",
    "-1",
    "00000000-0000-0000-0000-000000000000",
];

/// Texts that programs write if an ID is missing, compared without regard to case.
const ACCIDENTS: [&str; 6] = ["nan", "true", "false", "infinity", "-infinity", "+infinity"];

/// Prefixes and suffixes of such texts: a JavaScript object, and an unrendered template.
const ACCIDENTAL_WRAPPERS: [(&str, &str); 2] = [("[object ", "]"), ("{", "}")];

/// Template placeholders that were not filled in, anywhere in the text.
const PLACEHOLDERS: [(&str, &str); 6] =
    [("{{", "}}"), ("{%", "%}"), ("${", "}"), ("#{", "}"), ("%{", "}"), ("<%", "%>")];

/// A user ID and its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The user ID for Amplitude.
    pub id: String,
    /// One of the project's paths.
    pub path: FieldPath,
    /// The objects of Stripe's API that will give this ID for a while: those on the path. An object is not among them
    /// if an earlier path expects the app to write an ID there.
    pub through: Vec<Reference>,
}

/// The user of an object, from the first path with an acceptable value. `skipped` is called with each path before that
/// one, and the reason; [`no_audit`] does nothing.
///
/// With `objects`, paths continue through the purchase's other objects, and for a refund or dispute, all paths are
/// tried on its payment first. Paths are tried one by one, so nothing is read that an earlier path makes unnecessary.
///
/// # Errors
/// The object that must be read first.
pub fn user(
    object: &Object<'_>,
    objects: Option<&Objects>,
    paths: &[FieldPath],
    skipped: &mut impl FnMut(&FieldPath, NotAnId),
) -> Result<Option<User>, Reference> {
    let Some(objects) = objects else {
        return first(paths, skipped, |path| Ok((value(path.find(object)), Vec::new())));
    };
    let mut purchase = Purchase::seen_from(object, objects);
    if let Some(payment) = purchase.payment()?
        && let Some(mut user) = user_of(payment, objects, paths, skipped)?
    {
        user.through.extend_from_slice(purchase.used());
        return Ok(Some(user));
    }
    user_of(object, objects, paths, skipped)
}

/// For callers that do not need the skipped paths.
pub fn no_audit(_: &FieldPath, _: NotAnId) {}

fn user_of(
    object: &Object<'_>,
    objects: &Objects,
    paths: &[FieldPath],
    skipped: &mut impl FnMut(&FieldPath, NotAnId),
) -> Result<Option<User>, Reference> {
    first(paths, skipped, |path| {
        let mut purchase = Purchase::seen_from(object, objects);
        Ok((id_at(path, object, &mut purchase)?, purchase.used().to_vec()))
    })
}

/// The first path at which `look` finds an ID.
fn first(
    paths: &[FieldPath],
    skipped: &mut impl FnMut(&FieldPath, NotAnId),
    look: impl Fn(&FieldPath) -> Result<(Result<String, NotAnId>, Vec<Reference>), Reference>,
) -> Result<Option<User>, Reference> {
    let mut without_id = Vec::new();
    for path in paths {
        match look(path)? {
            (Ok(id), mut through) => {
                if !is_of_the_app(path) {
                    through.retain(|reference| !without_id.contains(reference));
                }
                return Ok(Some(User { id, path: path.clone(), through }));
            }
            (Err(reason), through) => {
                without_id.extend(through);
                skipped(path, reason);
            }
        }
    }
    Ok(None)
}

/// Whether apps write there, and Stripe does not.
fn is_of_the_app(path: &FieldPath) -> bool {
    let inside = Name::of(path).and_then(|(_, rest)| rest).unwrap_or(path).as_str();
    inside.starts_with("metadata.") || inside == "client_reference_id"
}

/// The value at a path that may start with the name of an object of the purchase.
fn id_at(
    path: &FieldPath,
    object: &Object<'_>,
    purchase: &mut Purchase<'_>,
) -> Result<Result<String, NotAnId>, Reference> {
    let Some((name, rest)) = Name::of(path) else { return Ok(value(path.find(object))) };
    let Some(rest) = rest else {
        return Ok(purchase.id(name)?.ok_or(NotAnId::Missing).and_then(acceptable));
    };
    if name == Name::Subscription
        && let Some(key) = rest.as_str().strip_prefix("metadata.")
        && let Some(metadata) = purchase.snapshot_of_subscription()?
        && let Ok(id) = value(metadata.get(key))
    {
        return Ok(Ok(id));
    }
    Ok(value(purchase.object(name)?.and_then(|object| rest.find(object))))
}

/// Why a value is not a user ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotAnId {
    /// It is missing.
    #[error("missing")]
    Missing,
    /// It is null.
    #[error("null")]
    Null,
    /// Neither text nor an integer, nor an object with an `id`.
    #[error("neither text nor an integer")]
    Kind,
    /// It is blank.
    #[error("empty")]
    Empty,
    /// Amplitude would return 400.
    #[error("on Amplitude's list of refused IDs")]
    Refused,
    /// A common accident of programs, such as `[object Object]`, or an unrendered template.
    #[error("a placeholder that a program wrote by accident")]
    Accident,
    /// Over Amplitude's limit.
    #[error("over 1024 characters")]
    TooLong,
}

/// A value that can be a user ID: text or an integer, or an expanded object with an `id`. Amplitude accepts only
/// strings: it would return 200 for a number and drop it.
fn value(value: Option<&Json<'_>>) -> Result<String, NotAnId> {
    match value.ok_or(NotAnId::Missing)? {
        Json::Null => Err(NotAnId::Null),
        Json::Text(text) => acceptable(text),
        Json::Number(number) if !number.is_f64() => acceptable(&number.to_string()),
        expanded @ Json::Object(_) => acceptable(id_of(Some(expanded)).ok_or(NotAnId::Kind)?),
        _ => Err(NotAnId::Kind),
    }
}

fn acceptable(id: &str) -> Result<String, NotAnId> {
    let id = id.trim();
    if id.is_empty() {
        Err(NotAnId::Empty)
    } else if REFUSED_IDS.iter().any(|refused| id.eq_ignore_ascii_case(refused)) {
        Err(NotAnId::Refused)
    } else if is_accident(id) {
        Err(NotAnId::Accident)
    } else if id.chars().count() > LONGEST_STRING {
        Err(NotAnId::TooLong)
    } else {
        Ok(id.to_owned())
    }
}

fn is_accident(id: &str) -> bool {
    let is_wrapped = |(start, end): &(&str, &str)| id.len() > start.len() && id.starts_with(start) && id.ends_with(end);
    let holds = |(start, end): &(&str, &str)| id.split_once(start).is_some_and(|(_, behind)| behind.contains(end));
    ACCIDENTS.iter().any(|accident| id.eq_ignore_ascii_case(accident))
        || ACCIDENTAL_WRAPPERS.iter().any(is_wrapped)
        || PLACEHOLDERS.iter().any(holds)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::settings::USER_ID_PATHS;
    use crate::stripe::event::tests::sample;
    use crate::stripe::event_types;
    use crate::stripe::json;
    use crate::stripe::reference::ReferenceKind;
    use crate::stripe::references::tests::found;

    fn user_at(object: &Value, paths: &[&str]) -> Option<(String, String)> {
        let paths: Vec<FieldPath> = paths.iter().map(|path| path.parse().unwrap()).collect();
        let user = user(&json::tests::object(object), None, &paths, &mut no_audit).unwrap();
        user.map(|user| (user.id, user.path.to_string()))
    }

    fn user_of(object: Value) -> Option<(String, &'static str)> {
        let (id, found) = user_at(&object, &USER_ID_PATHS)?;
        Some((id, USER_ID_PATHS.into_iter().find(|path| *path == found).unwrap()))
    }

    #[test]
    fn the_first_acceptable_path_wins() {
        let mut object = json!({
            "metadata": {"amplitude_id": "a", "user_id": "u"},
            "customer_email": "invoice@example.com",
            "customer": {"id": "cus_1", "email": "customer@example.com"},
            "receipt_email": "receipt@example.com",
        });
        for (expected, path, key) in [
            ("a", "metadata.amplitude_id", "/metadata/amplitude_id"),
            ("u", "metadata.user_id", "/metadata/user_id"),
            ("invoice@example.com", "customer_email", "/customer_email"),
            ("customer@example.com", "customer.email", "/customer/email"),
            ("receipt@example.com", "receipt_email", "/receipt_email"),
            ("cus_1", "customer", "/customer"),
        ] {
            assert_eq!(user_of(object.clone()), Some((expected.to_owned(), path)));
            *object.pointer_mut(key).unwrap() = Value::Null;
        }
        assert_eq!(user_of(object), None);
    }

    #[test]
    fn paths_work_in_every_api_version() {
        for (object, expected) in [
            // 2024-06-20.
            (
                json!({"object": "invoice", "metadata": {}, "subscription_details": {"metadata": {"user_id": "s"}}, "customer_email": "i@example.com", "customer": "cus_1"}),
                ("i@example.com", "customer_email"),
            ),
            // From 2025-03-31 on, the subscription is below `parent`.
            (
                json!({"object": "invoice", "metadata": null, "parent": {"subscription_details": {"metadata": {"user_id": "s"}, "subscription": "sub_1"}, "type": "subscription_details"}, "customer_email": null, "customer": "cus_1"}),
                ("cus_1", "customer"),
            ),
            // 2026: accounts may replace customers.
            (
                json!({"object": "payment_intent", "metadata": {"user_id": "u"}, "customer": null, "customer_account": "acct_1"}),
                ("u", "metadata.user_id"),
            ),
            (
                json!({"object": "payment_intent", "metadata": {}, "customer": null, "customer_account": "acct_1"}),
                ("acct_1", "customer"),
            ),
        ] {
            assert_eq!(user_of(object), Some((expected.0.to_owned(), expected.1)));
        }
    }

    #[test]
    fn rejected_ids_are_skipped() {
        for refused in [
            json!("anonymous"),
            json!("Anonymous"),
            json!("NULL"),
            json!("n/A"),
            json!("Undefined"),
            json!("unknown"),
            json!("None"),
            json!("nil"),
            json!("na"),
            json!("{}"),
            json!("LMY47D"),
            json!("0"),
            json!("-1"),
            json!(0),
            json!(-1),
            json!(""),
            json!("  "),
            json!("\t\n"),
            json!("00000000-0000-0000-0000-000000000000"),
            json!("[object Object]"),
            json!("-Infinity"),
            json!("#{user.id}"),
            json!("user_#{id}"),
            json!("user-${id}"),
            json!("u-<%= id %>"),
            json!("%{id}-1"),
            json!("user {% if id %}"),
            json!("[object Promise]"),
            json!("NaN"),
            json!("true"),
            json!("False"),
            json!("{{user.id}}"),
            json!("user-{{ id }}"),
            json!("${user.id}"),
            json!("<%= user.id %>"),
            json!("{CHECKOUT_SESSION_ID}"),
            json!("%{user_id}"),
            json!("x".repeat(1025)),
            json!(null),
            json!(true),
            json!(1.5),
            json!(["u"]),
            json!({}),
            json!({"id": 7}),
        ] {
            let object = json!({"metadata": {"user_id": refused}, "customer": "cus_1"});
            assert_eq!(user_of(object), Some(("cus_1".to_owned(), "customer")), "{refused}");
        }
    }

    #[test]
    fn other_ids_are_accepted() {
        for (value, id) in [
            (json!("u"), "u"),
            (json!("  user 1 "), "user 1"),
            (json!(42), "42"),
            (json!(-2), "-2"),
            (json!(u64::MAX), "18446744073709551615"),
            (json!("ünïcödé"), "ünïcödé"),
            (json!("é".repeat(1024)), &*"é".repeat(1024)),
            (json!("00"), "00"),
            (json!("nana"), "nana"),
            (json!("trueman"), "trueman"),
            (json!("[object"), "[object"),
            (json!("a{b}"), "a{b}"),
        ] {
            let object = json!({"metadata": {"user_id": value}});
            assert_eq!(user_of(object), Some((id.to_owned(), "metadata.user_id")));
        }
    }

    #[test]
    fn customers_have_four_forms() {
        for (customer, expected) in [
            (json!("cus_1"), Some(("cus_1", "customer"))),
            (json!(null), None),
            (
                json!({"id": "cus_1", "object": "customer", "email": "a@example.com"}),
                Some(("a@example.com", "customer.email")),
            ),
            (json!({"id": "cus_1", "object": "customer", "email": null}), Some(("cus_1", "customer"))),
            (json!({"id": "cus_1", "object": "customer", "deleted": true}), Some(("cus_1", "customer"))),
        ] {
            let found = user_of(json!({"customer": customer, "metadata": null}));
            assert_eq!(found, expected.map(|(id, path)| (id.to_owned(), path)), "{customer}");
        }
    }

    #[test]
    fn projects_can_change_the_paths() {
        let session = &sample("checkout.session.completed")["data"]["object"];
        let invoice = &sample("invoice.paid")["data"]["object"];
        let charge = &sample("charge.succeeded")["data"]["object"];
        let mut guest = charge.clone();
        (guest["metadata"], guest["customer"], guest["receipt_email"]) = (json!({}), json!(null), json!(null));
        for (object, paths, expected) in [
            (session, &["customer_details.email"][..], Some(("jenny.rosen@example.com", "customer_details.email"))),
            (session, &["metadata.nobody", "client_reference_id"], Some(("user_42", "client_reference_id"))),
            (
                &guest,
                &["metadata.user_id", "billing_details.email"],
                Some(("jenny.rosen@example.com", "billing_details.email")),
            ),
            (
                invoice,
                &["subscription_details.metadata.user_id"],
                Some(("user_42", "subscription_details.metadata.user_id")),
            ),
            (invoice, &["lines.data.0.price.product"], Some(("prod_QXg1hqf4jFNsqG", "lines.data.0.price.product"))),
            (invoice, &["lines.data.9.price.product", "lines.data", "lines"], None),
            (charge, &["metadata.uid"], None),
        ] {
            let expected = expected.map(|(id, path)| (id.to_owned(), path.to_owned()));
            assert_eq!(user_at(object, paths), expected, "{paths:?}");
        }
    }

    #[test]
    fn skipped_paths_have_a_reason() {
        let object =
            json!({"a": null, "b": true, "c": " ", "d": "NULL", "e": "x".repeat(1025), "f": {"id": 7}, "g": "u"});
        let paths: Vec<FieldPath> = "x a b c d e f g".split(' ').map(|path| path.parse().unwrap()).collect();
        let mut skipped = Vec::new();
        let user = user(&json::tests::object(&object), None, &paths, &mut |_, reason| skipped.push(reason)).unwrap();
        use NotAnId::*;
        assert_eq!(skipped, [Missing, Null, Kind, Empty, Refused, TooLong, Kind]);
        assert_eq!(user.unwrap().id, "u");
    }

    #[test]
    fn every_sample_has_the_expected_user() {
        for event_type in event_types::TYPES {
            let expected = match event_type {
                "application_fee.created" | "application_fee.refunded" | "balance.available" => None,
                "charge.failed" | "payment_intent.canceled" => None,
                "charge.captured" => Some(("jenny-amp-1".to_owned(), "metadata.amplitude_id")),
                "checkout.session.async_payment_failed" => Some(("cus_QXg1o8vcGmoR32".to_owned(), "customer")),
                _ => Some(("user_42".to_owned(), "metadata.user_id")),
            };
            assert_eq!(user_of(sample(event_type)["data"]["object"].clone()), expected, "{event_type}");
        }
    }

    /// The customer has an e-mail address, and the app may still write its ID there.
    #[test]
    fn only_stable_results_are_kept() {
        let object = json::tests::object(&json!({"object": "charge", "id": "ch_1", "customer": "cus_1"}));
        let reference = Reference { kind: ReferenceKind::Customer, id: "cus_1".to_owned() };
        for (paths, customer, from, is_kept) in [
            (&["customer.metadata.user_id", "customer.email"][..], json!({"email": "a@example.com"}), 1, false),
            (&["customer.email"], json!({"email": "a@example.com"}), 0, true),
            (&["customer.metadata.uid", "customer.metadata.user_id"], json!({"metadata": {"user_id": "u"}}), 1, true),
            (&["customer.metadata.user_id", "customer"], json!({}), 1, false),
        ] {
            let mut objects = Objects::default();
            objects.insert(reference.clone(), found(&customer));
            let parsed: Vec<FieldPath> = paths.iter().map(|path| path.parse().unwrap()).collect();
            let user = user(&object, Some(&objects), &parsed, &mut no_audit).unwrap().unwrap();
            assert_eq!((user.path.as_str(), user.through.contains(&reference)), (paths[from], is_kept), "{paths:?}");
        }
    }
}
