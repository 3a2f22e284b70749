//! What never leaves: credentials, links that let their holder see or pay, and personal data.
//!
//! Fields are removed by name and place, never by content, so that [`table`] is the complete list. Nulls are removed as
//! well, because they would only use up Amplitude's property names. The content of `metadata` and `description` is the
//! operator's and stays, unless the setting `drop_properties` names it.

pub mod table;

use std::fmt;
use std::sync::LazyLock;

use rustc_hash::FxHashMap;

use self::table::{PERSONAL_DATA, Rule, credentials};
use crate::settings::{PersonalData, Settings};
use crate::stripe::field_path::{FieldPatterns, Path};
use crate::stripe::json::{Json, Object};

/// Why a field is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Its holder can pay, read or act.
    Credential,
    /// It identifies a person, or says where they live or how to reach them: this kind of personal data.
    PersonalData(&'static str),
    /// The setting `drop_properties` names it.
    DropProperties,
    /// It has no value.
    Null,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credential => f.write_str("a credential: anyone who holds it can pay, read or act"),
            Self::PersonalData(kind) => write!(f, "personal data: {kind}"),
            Self::DropProperties => f.write_str("the setting `drop_properties`"),
            Self::Null => f.write_str("null"),
        }
    }
}

/// The kinds of personal data that are removed.
pub fn kinds_of_personal_data() -> impl Iterator<Item = &'static str> {
    PERSONAL_DATA.iter().map(|(kind, _)| *kind)
}

/// The fields that a project wants removed.
pub(super) struct Redaction<'s> {
    personal_data: PersonalData,
    drop_properties: &'s FieldPatterns,
}

impl<'s> Redaction<'s> {
    pub(super) fn new(settings: &'s Settings) -> Self {
        Self { personal_data: settings.personal_data, drop_properties: &settings.drop_properties }
    }

    /// Removes everything from `data.object` that never leaves. `removed` is called with each field and the reason.
    pub(super) fn redact(&self, object: &mut Object<'_>, removed: &mut impl FnMut(&Path<'_>, Reason)) {
        self.object(object, "", None, Rules::Apply, removed);
    }

    /// Whether `drop_properties` names this path.
    pub(super) fn drops(&self, path: &Path<'_>) -> bool {
        self.drop_properties.matches(path)
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
            (!rests && rule.applies_in(place)).then_some(*reason)
        })
    }
}

/// The table by name: every field of every event is looked up.
static RULES: LazyLock<FxHashMap<&str, Vec<(Rule, Reason)>>> = LazyLock::new(|| {
    let mut by_name: FxHashMap<&str, Vec<_>> = FxHashMap::default();
    for (rule, reason) in rules() {
        by_name.entry(rule.name).or_default().push((rule, reason));
    }
    by_name
});

fn rules() -> impl Iterator<Item = (Rule, Reason)> {
    let personal_data = PERSONAL_DATA.iter().flat_map(|(kind, rules)| rules.iter().map(|rule| (*rule, *kind)));
    let personal_data = personal_data.map(|(rule, kind)| (rule, Reason::PersonalData(kind)));
    credentials().map(|rule| (rule, Reason::Credential)).chain(personal_data)
}

/// Whether the table applies; in the operator's own `metadata`, it does not.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rules {
    Apply,
    Rest,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::table::Place;
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
    fn samples_keep_nothing_sensitive() {
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

    /// Stripe's documented fields of a person, a card and an account, with a mark in every identifying field.
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

    /// Plants fields in every Stripe object of the event, at every depth.
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
    fn planted_fields_are_removed() {
        for mut event in event_types::TYPES.map(sample).into_iter().chain(later_samples()) {
            let (mut object, event_type) = (event["data"]["object"].take(), &event["type"]);
            let kind = object["object"].clone();
            plant(&mut object, &planted());
            // The URL of a checkout session lets its holder pay; the URL of a list is an API path.
            if kind == "checkout.session" {
                object["url"] = json!("https://checkout.stripe.com/PLANTED");
            }
            let left = redacted(&object).to_string();
            let around = left.find("PLANTED").map(|at| &left[at.saturating_sub(80)..at + 10]);
            assert_eq!(around, None, "{event_type}");
            assert!(left.contains("\"country\":\"DE\"") && left.contains("visa"), "{event_type}");
            // Credentials never leave, whatever the settings; the rest can be kept.
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
    fn removals_have_a_reason() {
        let object = json!({
            "client_secret": "s", "receipt_email": "e", "billing_details": {"name": "n", "phone": null, "address": {"line1": "l", "country": "DE"}},
            "lines": {"data": [{"description": "d", "amount": 1}, null]}, "metadata": {"note": "n", "email": "e"},
        });
        let settings =
            Settings::parse(r#"{"drop_properties": ["metadata.note", "lines.data.*.description"]}"#).unwrap();
        let mut removed = Vec::new();
        let mut object = json::tests::object(&object);
        Redaction::new(&settings).redact(&mut object, &mut |path, reason| removed.push((path.to_string(), reason)));
        removed.sort();
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
        assert_eq!(removed, expected.map(|(path, reason)| (path.to_owned(), reason)));
        let left_expected = json!({
            "billing_details": {"address": {"country": "DE"}}, "lines": {"data": [{"amount": 1}]}, "metadata": {"email": "e"},
        });
        assert_eq!(serde_json::to_value(object).unwrap(), left_expected);
    }

    #[test]
    fn other_fields_stay() {
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
    fn the_place_decides_about_names_and_links() {
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

    /// Fields of API versions of 2025 and 2026 that 2024-06-20 does not have.
    #[test]
    fn later_api_versions_are_redacted() {
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
                    "payment_method_details": {"type": "upi", "upi": {}, "payto": {}, "swish": {}},
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
                        "crypto": {"network": "base"}, "nz_bank_account": {"bank_name": "ANZ"},
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

    /// Identifying fields in objects that few projects use.
    #[test]
    fn rare_objects_are_redacted() {
        for (object, left) in [
            (
                json!({"object": "tax_id", "country": "DE", "type": "eu_vat", "value": "P", "verification": {
                    "status": "verified", "verified_address": "P", "verified_name": "P"}}),
                json!({"object": "tax_id", "country": "DE", "type": "eu_vat", "verification": {"status": "verified"}}),
            ),
            (
                json!({
                    "object": "review", "billing_zip": "P", "ip_address": "P", "reason": "rule",
                    "ip_address_location": {"city": "P", "country": "DE", "latitude": 52.5, "longitude": 13.4, "region": "BE"},
                    "session": {"browser": "P", "device": "P", "platform": "P", "version": "P"},
                }),
                json!({"object": "review", "reason": "rule", "ip_address_location": {"country": "DE", "region": "BE"}, "session": {}}),
            ),
            (
                json!({"object": "customer_cash_balance_transaction", "funded": {"bank_transfer": {
                    "reference": "P", "type": "gb_bank_transfer",
                    "eu_bank_transfer": {"bic": "B", "iban_last4": "P", "sender_name": "P"},
                    "gb_bank_transfer": {"account_number_last4": "P", "sender_name": "P", "sort_code": "P"},
                    "jp_bank_transfer": {"sender_bank": "B", "sender_branch": "P", "sender_name": "P"},
                    "us_bank_transfer": {"network": "ach", "sender_name": "P"}}}}),
                json!({"object": "customer_cash_balance_transaction", "funded": {"bank_transfer": {
                    "type": "gb_bank_transfer", "eu_bank_transfer": {"bic": "B"}, "gb_bank_transfer": {},
                    "jp_bank_transfer": {"sender_bank": "B"}, "us_bank_transfer": {"network": "ach"}}}}),
            ),
            (
                json!({"object": "identity.verification_session", "status": "requires_input", "url": "https://example.com/once"}),
                json!({"object": "identity.verification_session", "status": "requires_input"}),
            ),
            (
                json!({"object": "identity.verification_report", "document": {
                    "expiration_date": {"year": 2030}, "issued_date": {"year": 2020}, "issuing_country": "DE", "number": "P",
                    "sex": "female", "status": "verified", "unparsed_place_of_birth": "P"}}),
                json!({"object": "identity.verification_report", "document": {"status": "verified"}}),
            ),
            (
                json!({"object": "person", "full_name_aliases": ["P"], "gender": "female", "nationality": "DE",
                    "political_exposure": "existing", "relationship": {"owner": true, "percent_ownership": 50.5, "title": "P"},
                    "us_cfpb_data": {"race_details": {"race": ["asian"]}}, "verification": {"status": "verified"}}),
                json!({"object": "person", "relationship": {"owner": true}, "verification": {"status": "verified"}}),
            ),
            (
                json!({"object": "source", "type": "ach_credit_transfer", "receiver": {"address": "P", "amount_received": 1},
                    "ach_credit_transfer": {"account_number": "P", "bank_name": "B", "refund_routing_number": "P", "routing_number": "P"},
                    "klarna": {"client_token": "S", "pay_later_redirect_url": "https://example.com/pay", "purchase_country": "DE"},
                    "wechat": {"prepay_id": "S", "qr_code_url": "weixin://S", "statement_descriptor": "Shop"}}),
                json!({"object": "source", "type": "ach_credit_transfer", "receiver": {"amount_received": 1},
                    "ach_credit_transfer": {"bank_name": "B"}, "klarna": {"purchase_country": "DE"},
                    "wechat": {"statement_descriptor": "Shop"}}),
            ),
            (
                json!({"object": "charge", "payment_method_details": {
                    "alipay": {"buyer_id": "P", "transaction_id": "1"},
                    "card": {"brand": "visa", "funding": "credit", "wallet": {"type": "apple_pay"}},
                    "card_present": {"emv_auth_data": "S", "receipt": {"application_cryptogram": "S", "account_type": "credit"}},
                    "link": {"country": "DE", "persistent_token": "S"},
                    "paypal": {"payer_id": "P", "seller_protection": {"status": "eligible"}},
                    "us_bank_account": {"bank_name": "B", "routing_number": "P"}}}),
                json!({"object": "charge", "payment_method_details": {
                    "alipay": {"transaction_id": "1"},
                    "card": {"brand": "visa", "funding": "credit", "wallet": {"type": "apple_pay"}},
                    "card_present": {"receipt": {"account_type": "credit"}},
                    "link": {"country": "DE"}, "paypal": {"seller_protection": {"status": "eligible"}},
                    "us_bank_account": {"bank_name": "B"}}}),
            ),
            (
                json!({"object": "funding_instructions", "bank_transfer": {"country": "MX", "financial_addresses": [
                    {"type": "spei", "spei": {"account_holder_name": "P", "bank_code": "002", "clabe": "P"}},
                    {"type": "sort_code", "sort_code": {"account_number": "P", "sort_code": "P"}}]}}),
                json!({"object": "funding_instructions", "bank_transfer": {"country": "MX", "financial_addresses": [
                    {"type": "spei", "spei": {"bank_code": "002"}}, {"type": "sort_code"}]}}),
            ),
            (
                json!({"object": "subscription", "cancellation_details": {"comment": "P", "feedback": "too_expensive", "reason": "cancellation_requested"}}),
                json!({"object": "subscription", "cancellation_details": {"feedback": "too_expensive", "reason": "cancellation_requested"}}),
            ),
            (
                json!({"object": "mandate", "payment_method_details": {"type": "bacs_debit", "bacs_debit": {
                    "network_status": "accepted", "url": "https://example.com/mandate"}}}),
                json!({"object": "mandate", "payment_method_details": {"type": "bacs_debit", "bacs_debit": {"network_status": "accepted"}}}),
            ),
            (
                json!({"object": "terminal.reader", "action": {"type": "collect_inputs", "collect_inputs": {"inputs": [
                    {"type": "text", "text": {"value": "P"}}, {"type": "signature", "signature": {"value": "file_1"}},
                    {"type": "selection", "selection": {"text": "Red"}}]}}}),
                json!({"object": "terminal.reader", "action": {"type": "collect_inputs", "collect_inputs": {"inputs": [
                    {"type": "text"}, {"type": "signature"}, {"type": "selection", "selection": {"text": "Red"}}]}}}),
            ),
            (
                json!({"object": "payment_intent", "next_source_action": {"authorize_with_url": {"url": "https://example.com"}}, "status": "requires_source_action"}),
                json!({"object": "payment_intent", "status": "requires_source_action"}),
            ),
        ] {
            assert_eq!(redacted(&object), left);
        }
    }

    #[test]
    fn rules_apply_at_any_depth() {
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
    fn metadata_is_not_redacted() {
        let object = json!({"metadata": {"email": "a@example.com", "name": "P"}, "description": "for P"});
        assert_eq!(redacted(&object), object);
    }

    #[test]
    fn nulls_are_removed_and_empty_objects_stay() {
        assert_eq!(redacted(&json!({"a": null, "b": {"c": null}, "d": [null, 1]})), json!({"b": {}, "d": [1]}));
    }
}
