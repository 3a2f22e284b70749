//! What never leaves: credentials, links that let their holder see or pay, and personal data.
//!
//! Fields are removed by name and place, never by content, so that the table below says all of it. Nulls go, too: they
//! would only use up Amplitude's property names. The content of `metadata` and `description` is the operator's and stays,
//! unless the setting `drop_properties` names it.

use std::fmt;
use std::sync::LazyLock;

use rustc_hash::FxHashMap;

use crate::settings::{PersonalData, Settings};
use crate::stripe::credentials::CREDENTIALS;
use crate::stripe::field_path::{FieldPattern, Path};
use crate::stripe::json::{Json, Object};

/// Why a field is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Whoever holds it can pay, read or act.
    Credential,
    /// It tells who somebody is, where they live or how to reach them: this kind of it.
    PersonalData(&'static str),
    /// The setting `drop_properties` names it.
    DropProperties,
    /// It has no value.
    Null,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credential => f.write_str("a credential: whoever holds it can pay, read or act"),
            Self::PersonalData(kind) => write!(f, "personal data: {kind}"),
            Self::DropProperties => f.write_str("the setting `drop_properties`"),
            Self::Null => f.write_str("null"),
        }
    }
}

/// A field that is removed, by its name and the place that it stands in. A place is the `object` kind of the JSON object
/// that holds the field (`checkout.session`), or, where that has no kind, the name that leads to it (`billing_details`).
#[derive(Clone, Copy)]
struct Rule {
    name: &'static str,
    place: Place,
}

#[derive(Clone, Copy)]
enum Place {
    Any,
    Only(&'static [&'static str]),
    AnyBut(&'static [&'static str]),
}

const fn anywhere(name: &'static str) -> Rule {
    Rule { name, place: Place::Any }
}

const fn only_in(name: &'static str, places: &'static [&'static str]) -> Rule {
    Rule { name, place: Place::Only(places) }
}

const fn anywhere_but_in(name: &'static str, places: &'static [&'static str]) -> Rule {
    Rule { name, place: Place::AnyBut(places) }
}

/// Credentials that are such only in some places; those of [`CREDENTIALS`] are everywhere.
const CREDENTIALS_BY_PLACE: &[Rule] = &[
    only_in("number", &["card", "issuing.card"]),
    only_in("pin", &["issuing.card"]),
    only_in("pdf", &["credit_note", "quote"]),
    only_in(
        "url",
        &["account_link", "billing_portal.session", "checkout.session", "file", "file_link", "recovery", "redirect"],
    ),
];

/// What tells who somebody is, where they live or how to reach them, by kind. Countries, states, brands and statuses stay.
const PERSONAL_DATA: &[(&str, &[Rule])] = &[
    (
        "an e-mail address",
        &[
            anywhere("email"),
            anywhere("customer_email"),
            anywhere("customer_email_address"),
            anywhere("hashed_account_email_address"),
            anywhere("instructions_email"),
            anywhere("payer_email"),
            anywhere("receipt_email"),
            anywhere("support_email"),
            anywhere("verified_email"),
        ],
    ),
    (
        "a telephone number or what stands for one",
        &[
            // Konbini's confirmation number, the names of accounts in PayTo and UPI.
            only_in("confirmation_number", &["konbini"]),
            anywhere("customer_phone"),
            anywhere("pay_id"),
            anywhere("phone"),
            anywhere("phone_last4"),
            anywhere("phone_number"),
            anywhere("support_phone"),
            anywhere("verified_phone"),
            anywhere("verified_phone_last4"),
            anywhere("vpa"),
        ],
    ),
    (
        "the name of a person",
        &[
            // A plain `name` is one, except where it is a thing's.
            anywhere_but_in(
                "name",
                &[
                    "application",
                    "billing.credit_grant",
                    "coupon",
                    "custom_fields",
                    "entitlements.feature",
                    "marketing_features",
                    "merchant_data",
                    "plan",
                    "price",
                    "product",
                    "product_data",
                ],
            ),
            anywhere("account_holder_name"),
            anywhere("business_name"),
            anywhere("buyer_address"),
            anywhere("cardholder_name"),
            anywhere("cashtag"),
            anywhere("customer_name"),
            anywhere("dob"),
            anywhere("first_name"),
            anywhere("first_name_kana"),
            anywhere("first_name_kanji"),
            anywhere("full_name"),
            anywhere("individual_name"),
            anywhere("last_name"),
            anywhere("last_name_kana"),
            anywhere("last_name_kanji"),
            anywhere("maiden_name"),
            anywhere("name_kana"),
            anywhere("name_kanji"),
            anywhere("passenger_name"),
            anywhere("payer_name"),
            anywhere("refund_account_holder_name"),
            anywhere("registered_name"),
            // What is printed on a card below the name of its holder.
            only_in("second_line", &["issuing.card"]),
            anywhere("shipping_first_name"),
            anywhere("shipping_last_name"),
            anywhere("verified_name"),
        ],
    ),
    (
        "what a buyer typed into a checkout's own fields",
        &[only_in("text", &["custom_fields"]), only_in("numeric", &["custom_fields"])],
    ),
    (
        "evidence in a dispute",
        &[
            // Letters, receipts, addresses.
            anywhere("evidence"),
        ],
    ),
    (
        "a part of an address",
        &[
            anywhere("address_city"),
            anywhere("address_line1"),
            anywhere("address_line2"),
            anywhere("address_zip"),
            anywhere("bank_address_city"),
            anywhere("bank_address_line_1"),
            anywhere("bank_address_line_2"),
            anywhere("bank_address_postal_code"),
            anywhere("city"),
            anywhere("from_postal_code"),
            anywhere("line1"),
            anywhere("line2"),
            anywhere("postal_code"),
            anywhere("refund_account_holder_address_city"),
            anywhere("refund_account_holder_address_line1"),
            anywhere("refund_account_holder_address_line2"),
            anywhere("refund_account_holder_address_postal_code"),
            anywhere("shipping_address_zip"),
            anywhere("shipping_from_zip"),
            anywhere("to_postal_code"),
            anywhere("town"),
        ],
    ),
    (
        "a tax or identity number",
        &[
            anywhere("account_tax_ids"),
            anywhere("customer_tax_ids"),
            anywhere("driver_id"),
            anywhere("id_number"),
            anywhere("registration_number"),
            anywhere("ssn_last_4"),
            anywhere("tax_id"),
            anywhere("tax_ids"),
            only_in("vat", &["company_details"]),
        ],
    ),
    (
        "an address on the network",
        &[
            anywhere("client_ip"),
            anywhere("customer_ip"),
            anywhere("customer_purchase_ip"),
            anywhere("ip"),
            anywhere("ip_address"),
            anywhere("user_agent"),
        ],
    ),
    (
        "a fingerprint or digits of a card or bank account",
        &[
            anywhere("account_number"),
            anywhere("device_fingerprint"),
            anywhere("dynamic_last4"),
            anywhere("fingerprint"),
            anywhere("iban"),
            anywhere("iban_last4"),
            anywhere("iin"),
            anywhere("last4"),
            anywhere("primary_account_identifier"),
            // A refund's transaction on a blockchain, as `transaction_hash`.
            only_in("reference", &["crypto"]),
            anywhere("refund_iban"),
            // The last digits of an account in New Zealand.
            only_in("suffix", &["nz_bank_account"]),
            // With it, anybody finds the buyer's wallet.
            anywhere("transaction_hash"),
        ],
    ),
];

/// The kinds of personal data that are removed, in words.
pub fn kinds_of_personal_data() -> impl Iterator<Item = &'static str> {
    PERSONAL_DATA.iter().map(|(kind, _)| *kind)
}

impl Rule {
    fn matches(&self, place: &str) -> bool {
        match self.place {
            Place::Any => true,
            Place::Only(places) => places.contains(&place),
            Place::AnyBut(places) => !places.contains(&place),
        }
    }
}

/// What a project wants removed.
pub(super) struct Redaction<'s> {
    personal_data: PersonalData,
    drop_properties: &'s [FieldPattern],
}

impl<'s> Redaction<'s> {
    pub(super) fn new(settings: &'s Settings) -> Self {
        Self { personal_data: settings.personal_data, drop_properties: &settings.drop_properties }
    }

    /// Takes out of `data.object` what never leaves. `removed` is told what goes, and why.
    pub(super) fn redact(&self, object: &mut Object<'_>, removed: &mut impl FnMut(&Path<'_>, Reason)) {
        self.object(object, "", None, Rules::Apply, removed);
    }

    /// Whether `drop_properties` names this path.
    pub(super) fn drops(&self, path: &Path<'_>) -> bool {
        self.drop_properties.iter().any(|pattern| pattern.matches(path))
    }

    fn object(
        &self,
        object: &mut Object<'_>,
        name_to_it: &str,
        above: Option<&Path<'_>>,
        rules: Rules,
        removed: &mut impl FnMut(&Path<'_>, Reason),
    ) {
        let kind = object.get("object").and_then(Json::text);
        let place = kind.as_deref().unwrap_or(name_to_it);
        object.retain(|name, value| {
            let path = Path::key(above, name);
            let by_rule = || if rules == Rules::Apply { self.reason(name, value, place) } else { None };
            let by_setting = || self.drops(&path).then_some(Reason::DropProperties);
            if let Some(reason) = by_rule().or_else(by_setting) {
                removed(&path, reason);
                return false;
            }
            let rules = if name == "metadata" { Rules::Rest } else { rules };
            self.value(value, name, &path, rules, removed);
            true
        });
    }

    fn value(
        &self,
        value: &mut Json<'_>,
        name_to_it: &str,
        path: &Path<'_>,
        rules: Rules,
        removed: &mut impl FnMut(&Path<'_>, Reason),
    ) {
        match value {
            Json::Object(object) => self.object(object, name_to_it, Some(path), rules, removed),
            Json::List(items) => {
                let mut index = 0;
                items.retain_mut(|item| {
                    let path = Path::index(path, index);
                    index += 1;
                    let reason = if item.is_null() && rules == Rules::Apply {
                        Some(Reason::Null)
                    } else {
                        self.drops(&path).then_some(Reason::DropProperties)
                    };
                    if let Some(reason) = reason {
                        removed(&path, reason);
                        return false;
                    }
                    self.value(item, name_to_it, &path, rules, removed);
                    true
                });
            }
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) => {}
        }
    }

    fn reason(&self, name: &str, value: &Json<'_>, place: &str) -> Option<Reason> {
        if value.is_null() {
            return Some(Reason::Null);
        }
        let rules = RULES.get(name)?;
        rules.iter().find_map(|(rule, reason)| {
            let rests = self.personal_data == PersonalData::Keep && *reason != Reason::Credential;
            (!rests && rule.matches(place)).then_some(*reason)
        })
    }
}

/// The tables by name: every field of every event is looked up.
static RULES: LazyLock<FxHashMap<&str, Vec<(Rule, Reason)>>> = LazyLock::new(|| {
    let mut by_name: FxHashMap<&str, Vec<_>> = FxHashMap::default();
    for (rule, reason) in rules() {
        by_name.entry(rule.name).or_default().push((rule, reason));
    }
    by_name
});

fn rules() -> impl Iterator<Item = (Rule, Reason)> {
    let credentials = CREDENTIALS.into_iter().map(anywhere).chain(CREDENTIALS_BY_PLACE.iter().copied());
    let personal_data = PERSONAL_DATA.iter().flat_map(|(kind, rules)| rules.iter().map(|rule| (*rule, *kind)));
    let personal_data = personal_data.map(|(rule, kind)| (rule, Reason::PersonalData(kind)));
    credentials.map(|rule| (rule, Reason::Credential)).chain(personal_data)
}

/// Whether the table applies, or, in the operator's own `metadata`, rests.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rules {
    Apply,
    Rest,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::stripe::event::tests::{later_samples, sample};
    use crate::stripe::event_types;
    use crate::stripe::json;

    fn redacted_with(settings: &str, object: &Value) -> Value {
        let settings = Settings::parse(settings).unwrap();
        let mut object = json::tests::object(object);
        Redaction::new(&settings).redact(&mut object, &mut |_, _| {});
        serde_json::to_value(object).unwrap()
    }

    fn redacted(object: &Value) -> Value {
        redacted_with("{}", object)
    }

    fn all_rules() -> impl Iterator<Item = Rule> {
        rules().map(|(rule, _)| rule)
    }

    #[test]
    fn nothing_sensitive_of_any_sample_is_left() {
        for event in event_types::TYPES.map(sample).into_iter().chain(later_samples()) {
            let event_type = &event["type"];
            let left = redacted(&event["data"]["object"]).to_string();
            for sensitive in [
                "@example.com",
                "Jenny",
                "Rosen",
                "_secret_",
                "https://pay.stripe.com",
                "https://invoice.stripe.com",
                "4242",
                "0002",
                "AOB934RVNwzk6xtn",
                "Fake St",
                "Apt 3",
                "90210",
                "94107",
                "Beverly Hills",
                "+1800",
            ] {
                assert!(!left.contains(sensitive), "{event_type}: {sensitive}");
            }
        }
    }

    /// What Stripe documents of a person, a card and an account, with a mark in every field that tells who somebody is.
    fn planted() -> Value {
        let address = json!({"city": "PLANTED", "country": "DE", "line1": "PLANTED", "line2": "PLANTED", "postal_code": "PLANTED", "state": "BY"});
        let person = json!({"address": address, "email": "PLANTED@example.com", "name": "PLANTED", "phone": "PLANTED"});
        let card = json!({
            "brand": "visa", "country": "DE", "cvc_check": "pass", "fingerprint": "PLANTED", "iin": "PLANTED", "last4": "PLANTED",
            "dynamic_last4": "PLANTED", "number": "PLANTED", "cvc": "PLANTED",
        });
        let method = json!({
            "id": "pm_1", "object": "payment_method", "type": "card", "billing_details": person,
            "card": {"brand": "visa", "fingerprint": "PLANTED", "last4": "PLANTED",
                "wallet": {"type": "link", "dynamic_last4": "PLANTED",
                    "masterpass": {"billing_address": address, "email": "PLANTED", "name": "PLANTED", "shipping_address": address}}},
            "sepa_debit": {"bank_code": "x", "fingerprint": "PLANTED", "last4": "PLANTED", "country": "DE"},
            "us_bank_account": {"account_holder_type": "individual", "fingerprint": "PLANTED", "last4": "PLANTED"},
            "paypal": {"payer_email": "PLANTED", "payer_name": "PLANTED", "verified_email": "PLANTED", "verified_name": "PLANTED"},
            "link": {"email": "PLANTED"}, "cashapp": {"cashtag": "PLANTED", "buyer_id": "x"},
            "ideal": {"bank": "ing", "iban_last4": "PLANTED", "verified_name": "PLANTED"},
            "acss_debit": {"fingerprint": "PLANTED", "last4": "PLANTED"},
            "klarna": {"dob": {"day": "PLANTED", "month": "PLANTED", "year": "PLANTED"}},
        });
        json!({
            "client_secret": "PLANTED_secret_", "secret": "PLANTED", "receipt_url": "https://pay.stripe.com/PLANTED",
            "hosted_invoice_url": "https://invoice.stripe.com/PLANTED", "invoice_pdf": "https://PLANTED",
            "next_action": {"type": "redirect_to_url", "redirect_to_url": {"url": "https://PLANTED"}},
            "hosted_voucher_url": "https://PLANTED",
            "billing_details": person, "customer_details": {"address": address, "email": "PLANTED", "name": "PLANTED",
                "phone": "PLANTED", "tax_exempt": "none", "tax_ids": [{"type": "eu_vat", "value": "PLANTED"}]},
            "customer": {"id": "cus_1", "object": "customer", "address": address, "email": "PLANTED", "name": "PLANTED",
                "phone": "PLANTED", "shipping": {"address": address, "name": "PLANTED", "phone": "PLANTED"}},
            "customer_address": address, "customer_email": "PLANTED", "customer_name": "PLANTED", "customer_phone": "PLANTED",
            "customer_shipping": {"address": address, "name": "PLANTED", "phone": "PLANTED"},
            "customer_tax_ids": [{"type": "eu_vat", "value": "PLANTED"}], "receipt_email": "PLANTED",
            "shipping": {"address": address, "carrier": "DHL", "name": "PLANTED", "phone": "PLANTED"},
            "shipping_details": {"address": address, "name": "PLANTED"},
            "payment_method_details": {"type": "card", "card": card, "card_present": {"cardholder_name": "PLANTED", "last4": "PLANTED",
                "fingerprint": "PLANTED"}, "sepa_debit": {"fingerprint": "PLANTED", "last4": "PLANTED"},
                "paypal": {"payer_email": "PLANTED", "payer_id": "x", "payer_name": "PLANTED"}},
            "last_payment_error": {"code": "card_declined", "payment_method": method,
                "payment_intent": {"id": "pi_1", "object": "payment_intent", "client_secret": "PLANTED"}},
            "last_setup_error": {"payment_method": method}, "payment_method": method,
            "card": {"object": "issuing.card", "last4": "PLANTED", "number": "PLANTED", "cvc": "PLANTED", "cardholder": {
                "object": "issuing.cardholder", "billing": {"address": address}, "email": "PLANTED", "name": "PLANTED",
                "phone_number": "PLANTED", "individual": {"first_name": "PLANTED", "last_name": "PLANTED", "dob": {"day": "PLANTED"}}}},
            "custom_fields": [{"key": "k", "type": "text", "text": {"value": "PLANTED"}}],
            "evidence": {"customer_name": "PLANTED", "customer_communication": "PLANTED"},
            "online": {"ip_address": "PLANTED", "user_agent": "PLANTED"},
        })
    }

    /// Plants in every object of the event that is Stripe's, at every depth.
    fn plant(value: &mut Value, planted: &Value) {
        match value {
            Value::Object(object) => {
                for (name, value) in object.iter_mut() {
                    if name != "metadata" {
                        plant(value, planted);
                    }
                }
                object.extend(planted.as_object().unwrap().clone());
            }
            Value::Array(items) => items.iter_mut().for_each(|item| plant(item, planted)),
            _ => {}
        }
    }

    #[test]
    fn nothing_that_is_planted_anywhere_in_any_sample_leaves() {
        for mut event in event_types::TYPES.map(sample).into_iter().chain(later_samples()) {
            let (mut object, event_type) = (event["data"]["object"].take(), &event["type"]);
            let kind = object["object"].clone();
            plant(&mut object, &planted());
            // The link of a checkout session is one that lets its holder pay; the one of a list is an address of the API.
            if kind == "checkout.session" {
                object["url"] = json!("https://checkout.stripe.com/PLANTED");
            }
            let left = redacted(&object).to_string();
            let around = left.find("PLANTED").map(|at| &left[at.saturating_sub(80)..at + 10]);
            assert_eq!(around, None, "{event_type}");
            assert!(left.contains("\"country\":\"DE\"") && left.contains("visa"), "{event_type}");
            // Credentials never leave, whatever the settings say; the rest does on demand.
            let kept = redacted_with(r#"{"personal_data": "keep"}"#, &object).to_string();
            assert!(kept.contains("PLANTED@example.com"));
            for credential in
                ["PLANTED_secret_", "pay.stripe.com", "invoice.stripe.com", "checkout.stripe.com", "https://PLANTED"]
            {
                assert!(!kept.contains(credential), "{event_type} {credential}");
            }
        }
    }

    #[test]
    fn what_goes_is_told_with_the_reason() {
        let object = json!({
            "client_secret": "s", "receipt_email": "e", "billing_details": {"name": "n", "phone": null, "address": {"line1": "l", "country": "DE"}},
            "lines": {"data": [{"description": "d", "amount": 1}, null]}, "metadata": {"note": "n", "email": "e"},
        });
        let settings =
            Settings::parse(r#"{"drop_properties": ["metadata.note", "lines.data.*.description"]}"#).unwrap();
        let mut told = Vec::new();
        let mut object = json::tests::object(&object);
        Redaction::new(&settings).redact(&mut object, &mut |path, reason| told.push((path.to_string(), reason)));
        told.sort();
        let personal = Reason::PersonalData;
        let expected = [
            ("billing_details.address.line1", personal("a part of an address")),
            ("billing_details.name", personal("the name of a person")),
            ("billing_details.phone", Reason::Null),
            ("client_secret", Reason::Credential),
            ("lines.data.0.description", Reason::DropProperties),
            ("lines.data.1", Reason::Null),
            ("metadata.note", Reason::DropProperties),
            ("receipt_email", personal("an e-mail address")),
        ];
        assert_eq!(told, expected.map(|(path, reason)| (path.to_owned(), reason)));
        let left_expected = json!({
            "billing_details": {"address": {"country": "DE"}}, "lines": {"data": [{"amount": 1}]}, "metadata": {"email": "e"},
        });
        assert_eq!(serde_json::to_value(object).unwrap(), left_expected);
    }

    #[test]
    fn what_is_not_personal_stays() {
        let authorization = redacted(&sample("issuing_authorization.created")["data"]["object"]);
        assert_eq!(authorization["merchant_data"]["name"], "Rocket Rides");
        assert_eq!(authorization["merchant_data"]["country"], "US");
        assert_eq!(authorization["card"]["cardholder"]["billing"]["address"], json!({"country": "US", "state": "CA"}));
        assert_eq!(authorization["verification_data"]["address_postal_code_check"], "match");
        let charge = redacted(&sample("charge.succeeded")["data"]["object"]);
        assert_eq!(charge["payment_method_details"]["card"]["brand"], "visa");
        assert_eq!(charge["payment_method_details"]["card"]["checks"]["cvc_check"], "pass");
        let invoice = redacted(&sample("invoice.paid")["data"]["object"]);
        assert_eq!(invoice["number"], "4A1B2C3D-0001");
        assert_eq!(invoice["account_name"], "Rocket Rides");
    }

    #[test]
    fn names_and_links_are_told_apart_by_their_place() {
        let object = json!({
            "object": "checkout.session",
            "url": "https://example.com/pay",
            "success_url": "https://example.com/success",
            "after_expiration": {"recovery": {"enabled": true, "url": "https://example.com/recover"}},
            "shipping": {"name": "P", "address": {"line1": "S", "country": "DE"}},
            "customer": {"object": "customer", "id": "cus_1", "name": "P"},
            "line_items": {"object": "list", "url": "/v1/x", "data": [{"price": {"object": "price", "product": {"object": "product", "name": "Pro", "url": "https://example.com/pro"}}}]},
            "custom_fields": [{"key": "k", "type": "text", "text": {"value": "P"}}, {"key": "l", "dropdown": {"value": "red"}}],
            "card": {"number": "4000", "cvc": "123", "exp_year": 2030},
        });
        assert_eq!(
            redacted(&object),
            json!({
                "object": "checkout.session",
                "success_url": "https://example.com/success",
                "after_expiration": {"recovery": {"enabled": true}},
                "shipping": {"address": {"country": "DE"}},
                "customer": {"object": "customer", "id": "cus_1"},
                "line_items": {"object": "list", "url": "/v1/x", "data": [{"price": {"object": "price", "product": {"object": "product", "name": "Pro", "url": "https://example.com/pro"}}}]},
                "custom_fields": [{"key": "k", "type": "text"}, {"key": "l", "dropdown": {"value": "red"}}],
                "card": {"exp_year": 2030},
            })
        );
    }

    /// Fields that API versions of 2025 and 2026 have, and 2024-06-20 has not.
    #[test]
    fn the_shapes_of_later_api_versions_lose_theirs_too() {
        for (object, left) in [
            (
                json!({
                    "object": "checkout.session",
                    "collected_information": {
                        "business_name": "P", "individual_name": "P",
                        "shipping_details": {"name": "P", "address": {"line1": "S", "country": "DE"}},
                    },
                    "customer_details": {"business_name": "P", "individual_name": "P", "address": {"country": "DE"}},
                    "presentment_details": {"presentment_amount": 1000, "presentment_currency": "eur"},
                }),
                json!({
                    "object": "checkout.session",
                    "collected_information": {"shipping_details": {"address": {"country": "DE"}}},
                    "customer_details": {"address": {"country": "DE"}},
                    "presentment_details": {"presentment_amount": 1000, "presentment_currency": "eur"},
                }),
            ),
            (
                json!({
                    "object": "invoice",
                    "confirmation_secret": {"client_secret": "S", "type": "payment_intent"},
                    "payments": {"object": "list", "data": [{"payment": {"payment_intent": "pi_1", "type": "payment_intent"}}]},
                    "total_taxes": [{"amount": 100}],
                }),
                json!({
                    "object": "invoice",
                    "confirmation_secret": {"type": "payment_intent"},
                    "payments": {"object": "list", "data": [{"payment": {"payment_intent": "pi_1", "type": "payment_intent"}}]},
                    "total_taxes": [{"amount": 100}],
                }),
            ),
            (
                json!({
                    "object": "payment_intent",
                    "amount_details": {"shipping": {"amount": 500, "from_postal_code": "P", "to_postal_code": "P"}},
                    "payment_method_options": {"konbini": {"confirmation_number": "P", "expires_after_days": 3}},
                }),
                json!({
                    "object": "payment_intent",
                    "amount_details": {"shipping": {"amount": 500}},
                    "payment_method_options": {"konbini": {"expires_after_days": 3}},
                }),
            ),
            (
                json!({
                    "object": "charge",
                    "payment_method_details": {
                        "type": "upi", "upi": {"vpa": "P"}, "payto": {"pay_id": "P", "bsb_number": "1"},
                        "swish": {"fingerprint": "F", "verified_phone_last4": "1234"},
                    },
                }),
                json!({
                    "object": "charge",
                    "payment_method_details": {"type": "upi", "upi": {}, "payto": {"bsb_number": "1"}, "swish": {}},
                }),
            ),
            (
                json!({
                    "object": "charge",
                    "payment_method_details": {
                        "crypto": {"buyer_address": "P", "network": "base", "transaction_hash": "P"},
                        "nz_bank_account": {"bank_name": "ANZ", "branch_code": "1", "last4": "P", "suffix": "P"},
                        "custom": {"display_name": "Voucher"}, "pix": {"mandate": "mandate_1"},
                    },
                }),
                json!({
                    "object": "charge",
                    "payment_method_details": {
                        "crypto": {"network": "base"}, "nz_bank_account": {"bank_name": "ANZ", "branch_code": "1"},
                        "custom": {"display_name": "Voucher"}, "pix": {"mandate": "mandate_1"},
                    },
                }),
            ),
            (
                json!({
                    "object": "payment_intent",
                    "payment_method_options": {"billie": {"reference": "6735", "company_details": {
                        "registered_address": {"line1": "P", "town": "P", "country": "DE"}, "registered_name": "P",
                        "registration_number": "P", "registration_type": "hrb", "vat": "P",
                    }}},
                }),
                json!({
                    "object": "payment_intent",
                    "payment_method_options": {"billie": {"reference": "6735", "company_details": {
                        "registered_address": {"country": "DE"}, "registration_type": "hrb",
                    }}},
                }),
            ),
            (
                json!({
                    "object": "refund",
                    "destination_details": {"crypto": {"reference": "P"}, "card": {"reference": "1", "type": "refund"}},
                }),
                json!({"object": "refund", "destination_details": {"crypto": {}, "card": {"reference": "1", "type": "refund"}}}),
            ),
            (
                json!({"object": "payment_record", "payment_method_details": {"card": {"three_d_secure": {"cryptogram": "S", "result": "authenticated"}}}}),
                json!({"object": "payment_record", "payment_method_details": {"card": {"three_d_secure": {"result": "authenticated"}}}}),
            ),
            (
                json!({"object": "account", "settings": {"paypay_payments": {"site": {"in_development": {"password": "S"}}}}}),
                json!({"object": "account", "settings": {"paypay_payments": {"site": {"in_development": {}}}}}),
            ),
            (
                json!({"object": "billing.credit_grant", "name": "Welcome"}),
                json!({"object": "billing.credit_grant", "name": "Welcome"}),
            ),
        ] {
            assert_eq!(redacted(&object), left);
        }
    }

    #[test]
    fn every_rule_removes_at_any_depth_and_inside_arrays() {
        for rule in all_rules() {
            let place = match rule.place {
                Place::Any => "somewhere",
                Place::Only(places) => places[0],
                Place::AnyBut(_) => "billing_details",
            };
            let object = json!({"a": [{"b": {"object": place, rule.name: "planted", "kept": 1}}]});
            assert_eq!(redacted(&object), json!({"a": [{"b": {"object": place, "kept": 1}}]}), "{}", rule.name);
        }
    }

    #[test]
    fn metadata_is_the_operators() {
        let object = json!({"metadata": {"email": "a@example.com", "name": "P"}, "description": "for P"});
        assert_eq!(redacted(&object), object);
    }

    #[test]
    fn nulls_are_left_out_and_empty_objects_stay() {
        assert_eq!(redacted(&json!({"a": null, "b": {"c": null}, "d": [null, 1]})), json!({"b": {}, "d": [1]}));
    }
}
