//! The optional parameter `settings` of a project: a JSON object.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::amplitude::Region;
use crate::money::currency::Currency;
use crate::money::exchange_rate::{PreferredCurrency, Rate};
use crate::stripe::event_types::{EventTypes, NEGATIVE_REVENUE_TYPES, TypePattern};
use crate::stripe::field_path::{FieldPath, FieldPatterns};

/// The default paths to a user ID inside `data.object`; the first acceptable value wins.
pub const USER_ID_PATHS: [&str; 6] =
    ["metadata.amplitude_id", "metadata.user_id", "customer_email", "customer.email", "receipt_email", "customer"];

/// The default paths if references are followed. The customer's value is the same for all events of a buyer, so it
/// comes before the e-mail addresses on single objects.
pub const USER_ID_PATHS_FOLLOWED: [&str; 8] = [
    "metadata.amplitude_id",
    "metadata.user_id",
    "customer.metadata.amplitude_id",
    "customer.metadata.user_id",
    "customer.email",
    "customer_email",
    "receipt_email",
    "customer",
];

/// The settings of a project. Every key is optional.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `amplitude_region`: `"us"` (default) or `"eu"`.
    pub amplitude_region: Region,
    /// `user_id_paths`: where a user ID is looked for inside `data.object`, in order.
    pub user_id_paths: Vec<FieldPath>,
    /// `references`: `"off"` (default) or `"follow"`.
    pub references: References,
    /// `products`: `"event"` (default) or `"follow"`.
    pub products: ProductsFrom,
    /// `events`: changes to the list of types.
    pub events: EventTypes,
    /// `revenue_from`: `"payments"` (default), `"payment_intents"` or `"application_fees"`.
    pub revenue_from: RevenueFrom,
    /// `refunds`: `"as_events"` (default) or `"negative_revenue"`.
    pub refunds: Refunds,
    /// `preferred_currency`: the target currency of amounts. By default, they are not converted.
    pub preferred_currency: Option<PreferredCurrency>,
    /// `without_user`: `"forward"` (default), `"revenue_only"` or `"ignore"`.
    pub without_user: WithoutUser,
    /// `max_age_days`: events that were created longer before their receipt are ignored, because Amplitude might count
    /// them twice. The default is 7, because Amplitude remembers events for 7 days; 0 is `None`: no limit.
    pub max_age_days: Option<u32>,
    /// `test_events`: `"forward"` (default), `"forward_all"` or `"drop"`.
    pub test_events: TestEvents,
    /// `personal_data`: `"drop"` (default) or `"keep"`.
    pub personal_data: PersonalData,
    /// `drop_properties`: further fields that are removed.
    pub drop_properties: FieldPatterns,
}

/// Whether `user_id_paths` continue through Stripe's API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum References {
    /// They end within the event's object.
    #[default]
    Off,
    /// They may start with the name of another object of the purchase.
    Follow,
}

/// The source of product names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProductsFrom {
    /// The event's own object.
    #[default]
    Event,
    /// Also Stripe's API, for payments and invoices.
    References,
}

/// Which events carry revenue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RevenueFrom {
    /// Every payment: PaymentIntents, and charges without one (the old Charges API).
    #[default]
    Payments,
    /// PaymentIntents only.
    PaymentIntents,
    /// Application fees, for platforms.
    ApplicationFees,
}

/// Whether refunds and disputes subtract from revenue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Refunds {
    /// They are events without revenue.
    #[default]
    AsEvents,
    /// Each subtracts exactly the amount that it newly took back.
    NegativeRevenue,
}

/// What to do with events without a user ID.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WithoutUser {
    /// They are forwarded.
    #[default]
    Forward,
    /// Only those with revenue are, or with revenue of an unknown amount.
    RevenueOnly,
    /// All of them are ignored.
    Ignore,
}

/// What to do with test-mode events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TestEvents {
    /// They are forwarded, except those of connected accounts: live Connect endpoints receive them, and every connected
    /// account can create them.
    #[default]
    Forward,
    /// They are forwarded, including those of connected accounts.
    ForwardAll,
    /// They are ignored.
    Drop,
}

/// What to do with personal data. Credentials are always removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PersonalData {
    /// It is removed.
    #[default]
    Drop,
    /// It is forwarded.
    Keep,
}

/// A century. A larger number is certainly a mistake.
const MOST_DAYS: u64 = 36_500;

/// How long Amplitude remembers events. Source: Amplitude's HTTP V2 documentation, "Event deduplication".
const DEDUPLICATION_DAYS: u32 = 7;

const KEYS: [&str; 13] = [
    "amplitude_region",
    "user_id_paths",
    "references",
    "products",
    "events",
    "revenue_from",
    "refunds",
    "preferred_currency",
    "without_user",
    "max_age_days",
    "test_events",
    "personal_data",
    "drop_properties",
];

impl Default for Settings {
    fn default() -> Self {
        Self {
            amplitude_region: Region::default(),
            user_id_paths: paths(&USER_ID_PATHS),
            references: References::default(),
            products: ProductsFrom::default(),
            events: EventTypes::default(),
            revenue_from: RevenueFrom::default(),
            refunds: Refunds::default(),
            preferred_currency: None,
            without_user: WithoutUser::default(),
            max_age_days: Some(DEDUPLICATION_DAYS),
            test_events: TestEvents::default(),
            personal_data: PersonalData::default(),
            drop_properties: FieldPatterns::default(),
        }
    }
}

fn paths(paths: &[&str]) -> Vec<FieldPath> {
    paths.iter().filter_map(|path| path.parse().ok()).collect()
}

impl Settings {
    /// Whether anything is read from Stripe's API.
    pub fn follow(&self) -> bool {
        self.references == References::Follow || self.products == ProductsFrom::References
    }

    /// Reads the text of the parameter.
    ///
    /// # Errors
    /// If it is not a JSON object, or has an unknown key or an invalid value. The error names the key, never the value.
    pub fn parse(text: &str) -> Result<Self, SettingsError> {
        let UniqueKeys(settings) = serde_json::from_str(text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            if error.is_data() { SettingsError::Twice { line, column } } else { SettingsError::Json { line, column } }
        })?;
        let Value::Object(settings) = settings else { return Err(SettingsError::NotAnObject) };
        let mut parsed = Self::default();
        for (key, value) in &settings {
            match key.as_str() {
                "amplitude_region" => {
                    parsed.amplitude_region = choice(key, value, [("us", Region::Us), ("eu", Region::Eu)])?;
                }
                "user_id_paths" => {
                    parsed.user_id_paths = list(key, value)?;
                    if parsed.user_id_paths.is_empty() {
                        return Err(expected(key, "a list of one path or more"));
                    }
                }
                "references" => {
                    parsed.references = choice(key, value, [("off", References::Off), ("follow", References::Follow)])?;
                }
                "products" => {
                    parsed.products =
                        choice(key, value, [("event", ProductsFrom::Event), ("follow", ProductsFrom::References)])?;
                }
                "events" => parsed.events = event_types(key, value)?,
                "revenue_from" => {
                    let choices = [
                        ("payments", RevenueFrom::Payments),
                        ("payment_intents", RevenueFrom::PaymentIntents),
                        ("application_fees", RevenueFrom::ApplicationFees),
                    ];
                    parsed.revenue_from = choice(key, value, choices)?;
                }
                "refunds" => {
                    let choices = [("as_events", Refunds::AsEvents), ("negative_revenue", Refunds::NegativeRevenue)];
                    parsed.refunds = choice(key, value, choices)?;
                }
                "preferred_currency" => parsed.preferred_currency = Some(preferred_currency(key, value)?),
                "without_user" => {
                    let choices = [
                        ("forward", WithoutUser::Forward),
                        ("revenue_only", WithoutUser::RevenueOnly),
                        ("ignore", WithoutUser::Ignore),
                    ];
                    parsed.without_user = choice(key, value, choices)?;
                }
                "max_age_days" => {
                    let days = value.as_u64().filter(|days| *days <= MOST_DAYS);
                    let days: Option<u32> = days.and_then(|days| days.try_into().ok());
                    let expected = || expected(key, format!("a whole number of days, 0 (no limit) to {MOST_DAYS}"));
                    parsed.max_age_days = Some(days.ok_or_else(expected)?).filter(|days| *days > 0);
                }
                "test_events" => {
                    let choices = [
                        ("forward", TestEvents::Forward),
                        ("forward_all", TestEvents::ForwardAll),
                        ("drop", TestEvents::Drop),
                    ];
                    parsed.test_events = choice(key, value, choices)?;
                }
                "personal_data" => {
                    parsed.personal_data =
                        choice(key, value, [("drop", PersonalData::Drop), ("keep", PersonalData::Keep)])?;
                }
                "drop_properties" => parsed.drop_properties = list(key, value)?.into(),
                _ => return Err(unknown(key.clone(), &KEYS)),
            }
        }
        if parsed.references == References::Follow && !settings.contains_key("user_id_paths") {
            parsed.user_id_paths = paths(&USER_ID_PATHS_FOLLOWED);
        }
        if parsed.refunds == Refunds::NegativeRevenue {
            parsed.events.needed = &NEGATIVE_REVENUE_TYPES;
        }
        Ok(parsed)
    }
}

/// JSON without duplicate keys in an object. serde_json would take the last one, and a user with two `refunds` keys
/// would not know which counts.
struct UniqueKeys(Value);

impl<'de> Deserialize<'de> for UniqueKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueKeysVisitor).map(Self)
    }
}

struct UniqueKeysVisitor;

impl<'de> Visitor<'de> for UniqueKeysVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(UniqueKeys(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((key, UniqueKeys(value))) = entries.next_entry::<String, _>()? {
            if object.insert(key, value).is_some() {
                return Err(A::Error::custom("duplicate key"));
            }
        }
        Ok(object.into())
    }
}

fn event_types(key: &str, value: &Value) -> Result<EventTypes, SettingsError> {
    let mut types = EventTypes::default();
    for (inner, value) in object(key, value, "an object: {\"add\": […], \"remove\": […]}")? {
        let path = format!("{key}.{inner}");
        match inner.as_str() {
            "add" => types.add = list::<TypePattern>(&path, value)?,
            "remove" => types.remove = list(&path, value)?,
            _ => return Err(unknown(path, &["events.add", "events.remove"])),
        }
    }
    Ok(types)
}

fn preferred_currency(key: &str, value: &Value) -> Result<PreferredCurrency, SettingsError> {
    const TAKES: &str = "an object: {\"code\": \"USD\", \"rates\": {\"EUR\": \"1.08\"}}";
    const CODE: &str = "a currency's code of three letters: \"USD\"";
    let (mut code, mut rates) = (None, BTreeMap::new());
    for (inner, value) in object(key, value, TAKES)? {
        let path = format!("{key}.{inner}");
        match inner.as_str() {
            "code" => code = Some(value.as_str().and_then(Currency::parse).ok_or_else(|| expected(&path, CODE))?),
            "rates" => {
                for (from, rate) in object(&path, value, "an object: {\"EUR\": \"1.08\"}")? {
                    let from = Currency::parse(from)
                        .ok_or_else(|| expected(&path, "currencies' codes of three letters as keys"))?;
                    let rate: Rate = text(&format!("{path}.{from}"), rate)?;
                    if rates.insert(from, rate).is_some() {
                        return Err(expected(&path, "each currency once"));
                    }
                }
            }
            _ => return Err(unknown(path, &["preferred_currency.code", "preferred_currency.rates"])),
        }
    }
    let code = code.ok_or_else(|| expected(&format!("{key}.code"), CODE))?;
    if rates.contains_key(&code) {
        return Err(expected(&format!("{key}.rates"), "rates of other currencies; the preferred one needs none"));
    }
    Ok(PreferredCurrency { code, rates })
}

fn choice<T: Copy, const N: usize>(key: &str, value: &Value, choices: [(&str, T); N]) -> Result<T, SettingsError> {
    let chosen = choices.iter().find(|(name, _)| value.as_str() == Some(name)).map(|(_, chosen)| *chosen);
    chosen.ok_or_else(|| expected(key, choices.map(|(name, _)| format!("{name:?}")).join(" or ")))
}

fn object<'v>(key: &str, value: &'v Value, what: &str) -> Result<&'v Map<String, Value>, SettingsError> {
    value.as_object().ok_or_else(|| expected(key, what))
}

fn list<T: FromStr<Err: Display>>(key: &str, value: &Value) -> Result<Vec<T>, SettingsError> {
    let items = value.as_array().ok_or_else(|| expected(key, "a list of texts: [\"…\", \"…\"]"))?;
    items.iter().enumerate().map(|(index, item)| text(&format!("{key}[{index}]"), item)).collect()
}

fn text<T: FromStr<Err: Display>>(key: &str, value: &Value) -> Result<T, SettingsError> {
    let text = value.as_str().ok_or_else(|| expected(key, "text in quotation marks"))?;
    text.parse().map_err(|error: T::Err| expected(key, error.to_string()))
}

fn expected(key: &str, what: impl Into<String>) -> SettingsError {
    SettingsError::Value { key: key.to_owned(), expected: what.into() }
}

fn unknown(key: String, known: &[&'static str]) -> SettingsError {
    let distance = |other: &str| strsim::levenshtein(&key.to_lowercase(), other);
    // A few letters: a wrong suggestion would mislead.
    let nearest = known.iter().copied().min_by_key(|other| distance(other));
    let nearest = nearest.filter(|other| distance(other) <= other.len() / 3);
    SettingsError::UnknownKey { key, nearest, known: known.join(", ") }
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map(|nearest| format!(" (did you mean {nearest:?}?)")).unwrap_or_default()
}

/// What is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SettingsError {
    /// Not JSON.
    #[error("malformed JSON at line {line}, column {column}")]
    Json {
        /// Starts at 1.
        line: usize,
        /// Starts at 1.
        column: usize,
    },
    /// A duplicate key in an object.
    #[error("duplicate key in an object, before line {line}, column {column}")]
    Twice {
        /// Starts at 1.
        line: usize,
        /// Starts at 1.
        column: usize,
    },
    /// JSON, but not an object.
    #[error("it is not a JSON object")]
    NotAnObject,
    /// An unknown key.
    #[error("unknown setting {key:?}{}; known: {known}", suggestion(*.nearest))]
    UnknownKey {
        /// The key, with the keys that lead to it.
        key: String,
        /// The most similar known key.
        nearest: Option<&'static str>,
        /// The known keys.
        known: String,
    },
    /// A key with an invalid value.
    #[error("`{key}` has an invalid value; expected {expected}")]
    Value {
        /// The key, with the keys that lead to it.
        key: String,
        /// The expected values.
        expected: String,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_similar_known_key_is_suggested() {
        for (settings, expected) in [
            (r#"{"user_id_path": []}"#, Some("user_id_paths")),
            (r#"{"user-id-paths": []}"#, Some("user_id_paths")),
            (r#"{"Refunds": 1}"#, Some("refunds")),
            (r#"{"refernces": 1}"#, Some("references")),
            (r#"{"evnets": 1}"#, Some("events")),
            (r#"{"events": {"ad": []}}"#, Some("events.add")),
            (r#"{"preferred_currency": {"rate": 1}}"#, Some("preferred_currency.rates")),
            (r#"{"x": 1}"#, None),
            (r#"{"timezone": 1}"#, None),
        ] {
            let Err(SettingsError::UnknownKey { nearest, .. }) = Settings::parse(settings) else {
                panic!("{settings}")
            };
            assert_eq!(nearest, expected, "{settings}");
        }
    }

    #[test]
    fn every_key_is_optional() {
        assert_eq!(Settings::parse("{}"), Ok(Settings::default()));
        let eu = Settings { amplitude_region: Region::Eu, ..Settings::default() };
        assert_eq!(Settings::parse(r#" {"amplitude_region": "eu"} "#), Ok(eu));
        assert_eq!(Settings::default().user_id_paths.len(), USER_ID_PATHS.len());
    }

    #[test]
    fn following_references_changes_the_default_paths() {
        let paths_of = |settings| {
            let settings = Settings::parse(settings).unwrap();
            settings.user_id_paths.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(paths_of(r#"{"references": "off"}"#), USER_ID_PATHS);
        assert_eq!(paths_of(r#"{"references": "follow"}"#), USER_ID_PATHS_FOLLOWED);
        assert_eq!(paths_of(r#"{"products": "follow"}"#), USER_ID_PATHS);
        assert_eq!(
            paths_of(r#"{"references": "follow", "user_id_paths": ["invoice.metadata.x"]}"#),
            ["invoice.metadata.x"]
        );
    }

    #[test]
    fn every_documented_value_is_accepted() {
        let whole = json!({
            "amplitude_region": "eu",
            "user_id_paths": ["metadata.uid", "lines.data.0.metadata.user_id"],
            "references": "follow",
            "products": "follow",
            "events": {"add": ["customer.subscription.*", "refund.created"], "remove": ["charge.updated"]},
            "revenue_from": "application_fees",
            "refunds": "negative_revenue",
            "preferred_currency": {"code": "usd", "rates": {"EUR": "1.08", "jpy": "0.0067"}},
            "without_user": "revenue_only",
            "max_age_days": 30,
            "test_events": "drop",
            "personal_data": "keep",
            "drop_properties": ["metadata.*", "description"],
        });
        let settings = Settings::parse(&whole.to_string()).unwrap();
        let currency = |code| Currency::parse(code).unwrap();
        assert_eq!(
            settings,
            Settings {
                amplitude_region: Region::Eu,
                user_id_paths: vec!["metadata.uid".parse().unwrap(), "lines.data.0.metadata.user_id".parse().unwrap()],
                references: References::Follow,
                products: ProductsFrom::References,
                events: EventTypes {
                    add: vec!["customer.subscription.*".parse().unwrap(), "refund.created".parse().unwrap()],
                    remove: vec!["charge.updated".parse().unwrap()],
                    needed: &NEGATIVE_REVENUE_TYPES,
                },
                revenue_from: RevenueFrom::ApplicationFees,
                refunds: Refunds::NegativeRevenue,
                preferred_currency: Some(PreferredCurrency {
                    code: currency("USD"),
                    rates: [(currency("EUR"), "1.08".parse().unwrap()), (currency("JPY"), "0.0067".parse().unwrap())]
                        .into(),
                }),
                without_user: WithoutUser::RevenueOnly,
                max_age_days: Some(30),
                test_events: TestEvents::Drop,
                personal_data: PersonalData::Keep,
                drop_properties: vec!["metadata.*".parse().unwrap(), "description".parse().unwrap()].into(),
            }
        );
        assert_eq!(KEYS.iter().filter(|key| whole.get(**key).is_none()).count(), 0);
        assert_eq!(Settings::parse(r#"{"max_age_days": 0}"#).unwrap().max_age_days, None);
        for (text, expected) in [
            (r#"{"test_events": "forward_all"}"#, TestEvents::ForwardAll),
            (r#"{"test_events": "drop"}"#, TestEvents::Drop),
        ] {
            assert_eq!(Settings::parse(text).unwrap().test_events, expected);
        }
        for (text, expected) in [
            (r#"{"without_user": "ignore"}"#, WithoutUser::Ignore),
            (r#"{"without_user": "forward"}"#, WithoutUser::Forward),
        ] {
            assert_eq!(Settings::parse(text).unwrap().without_user, expected);
        }
        for text in [
            r#"{"amplitude_region": "us"}"#,
            r#"{"revenue_from": "payments"}"#,
            r#"{"refunds": "as_events"}"#,
            r#"{"max_age_days": 7}"#,
            r#"{"test_events": "forward"}"#,
            r#"{"personal_data": "drop"}"#,
            r#"{"events": {}, "drop_properties": []}"#,
        ] {
            assert_eq!(Settings::parse(text), Ok(Settings::default()), "{text}");
        }
    }

    #[test]
    fn errors_name_the_key_but_never_the_value() {
        for (text, words) in [
            ("", "line 1, column 0"),
            ("{\n \"amplitude_region\": hidden}", "line 2, column 22"),
            (
                r#"{"refunds": "hidden", "refunds": "as_events"}"#,
                "duplicate key in an object, before line 1, column 45",
            ),
            (r#"{"preferred_currency": {"code": "USD", "rates": {"EUR": "1", "EUR": "2"}}}"#, "duplicate key"),
            ("[\"hidden\"]", "not a JSON object"),
            ("\"hidden\"", "not a JSON object"),
            (
                r#"{"amplitude_regoin": "hidden"}"#,
                "unknown setting \"amplitude_regoin\" (did you mean \"amplitude_region\"?); known: amplitude_region, user_id_paths",
            ),
            (r#"{"amplitude_region": "hidden"}"#, "`amplitude_region` has an invalid value"),
            (r#"{"amplitude_region": "EU"}"#, "expected \"us\" or \"eu\""),
            (r#"{"amplitude_region": null}"#, "expected \"us\" or \"eu\""),
            (r#"{"user_id_paths": "hidden"}"#, "`user_id_paths` has an invalid value; expected a list"),
            (r#"{"user_id_paths": []}"#, "one path or more"),
            (r#"{"user_id_paths": ["metadata.a", 7]}"#, "`user_id_paths[1]` has an invalid value"),
            (
                r#"{"user_id_paths": ["data.object.hidden"]}"#,
                "`user_id_paths[0]` has an invalid value; expected a path inside",
            ),
            (r#"{"user_id_paths": ["hidden[0]"]}"#, "as its index"),
            (r#"{"user_id_paths": ["hidden.*"]}"#, "without *"),
            (r#"{"events": ["hidden.x"]}"#, "`events` has an invalid value; expected an object"),
            (
                r#"{"events": {"ad": []}}"#,
                "unknown setting \"events.ad\" (did you mean \"events.add\"?); known: events.add, events.remove",
            ),
            (
                r#"{"events": {"add": ["charge.pending", "Hidden.x"]}}"#,
                "`events.add[1]` has an invalid value; expected an event type",
            ),
            (r#"{"events": {"remove": ["hidden"]}}"#, "`events.remove[0]`"),
            (
                r#"{"events": {"add": ["issusing_transaction.created"]}}"#,
                "Stripe's spelling, which is issuing_transaction.created",
            ),
            (r#"{"refunds": true}"#, "expected \"as_events\" or \"negative_revenue\""),
            (r#"{"preferred_currency": "hidden"}"#, "`preferred_currency` has an invalid value; expected an object"),
            (r#"{"preferred_currency": {"rates": {}}}"#, "`preferred_currency.code`"),
            (r#"{"preferred_currency": {"code": "hidden"}}"#, "`preferred_currency.code`"),
            (r#"{"preferred_currency": {"code": "USD", "rate": {}}}"#, "unknown setting \"preferred_currency.rate\""),
            (r#"{"preferred_currency": {"code": "USD", "rates": {"hidden": "1"}}}"#, "`preferred_currency.rates`"),
            (
                r#"{"preferred_currency": {"code": "USD", "rates": {"EUR": 1.08}}}"#,
                "`preferred_currency.rates.EUR` has an invalid value; expected text in quotation marks",
            ),
            (
                r#"{"preferred_currency": {"code": "USD", "rates": {"EUR": "1,08"}}}"#,
                "`preferred_currency.rates.EUR` has an invalid value; expected a positive decimal number",
            ),
            (r#"{"preferred_currency": {"code": "USD", "rates": {"EUR": "1", "eur": "2"}}}"#, "each currency once"),
            (r#"{"preferred_currency": {"code": "USD", "rates": {"usd": "1"}}}"#, "rates of other currencies"),
            (r#"{"without_user": "hidden"}"#, "\"forward\" or \"revenue_only\" or \"ignore\""),
            (r#"{"max_age_days": -1}"#, "a whole number of days, 0 (no limit) to 36500"),
            (r#"{"revenue_from": "hidden"}"#, "\"payments\" or \"payment_intents\" or \"application_fees\""),
            (r#"{"max_age_days": 1.5}"#, "`max_age_days`"),
            (r#"{"max_age_days": "7"}"#, "`max_age_days`"),
            (r#"{"max_age_days": 36501}"#, "`max_age_days`"),
            (r#"{"test_events": "hidden"}"#, "\"forward\" or \"forward_all\" or \"drop\""),
            (r#"{"personal_data": "hidden"}"#, "\"drop\" or \"keep\""),
            (r#"{"drop_properties": "hidden"}"#, "`drop_properties` has an invalid value"),
            (r#"{"drop_properties": ["hidden_*"]}"#, "a whole segment"),
        ] {
            let error = Settings::parse(text).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
            assert!(!error.to_lowercase().contains("hidden"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_never_panics(text: String) {
            let _ = Settings::parse(&text);
        }
    }
}
