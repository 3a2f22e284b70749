//! What becomes of an event, and why. `text` renders it.

pub(crate) mod text;

use std::collections::BTreeMap;

use stripe_amplitude::amplitude;
use stripe_amplitude::amplitude::Region;
use stripe_amplitude::forward::{Decision, IgnoreReason, forward, select};
use stripe_amplitude::money::exchange_rate::{Conversion, MissingRate, Rate};
use stripe_amplitude::money::{amount::Amount, currency::Currency};
use stripe_amplitude::projects::project::AmplitudeConfig;
use stripe_amplitude::settings::References;
use stripe_amplitude::stripe::event::Event;
use stripe_amplitude::stripe::field_path::FieldPath;
use stripe_amplitude::stripe::purchase::Purchase;
use stripe_amplitude::stripe::reference::Reference;
use stripe_amplitude::translate::device;
use stripe_amplitude::translate::redaction::Reason;
use stripe_amplitude::translate::revenue::{NotCounted, Revenue, Rule};
use stripe_amplitude::translate::user::{self, NotAnId};
use stripe_amplitude::translate::{Context, Translation, Unread};

/// What the function makes of an event.
pub struct Explanation<'b> {
    /// Stripe's event ID.
    pub id: String,
    /// Stripe's type.
    pub event_type: String,
    /// Its age in seconds; negative if it is in the future.
    pub seconds_ago: i64,
    /// Live or test mode, if Stripe says.
    pub livemode: Option<bool>,
    /// The API version of the object, if Stripe says.
    pub api_version: Option<String>,
    /// Whether it would be ignored for its age if it arrived now.
    pub is_too_old_now: bool,
    /// The region of the project.
    pub region: Region,
    /// The reads from Stripe's API.
    pub reads: Vec<ReadMade>,
    /// The result.
    pub outcome: PreviewOutcome<'b>,
}

/// What becomes of an event.
pub enum PreviewOutcome<'b> {
    /// Ignored without a translation.
    NotSelected(IgnoreReason),
    /// Ignored because it has no user.
    WithoutUser(IgnoreReason, Box<Translated<'b>>),
    /// An object must be read from Stripe's API first.
    Unread(Box<Reading>),
    /// Sent.
    Sent(Box<Translated<'b>>),
}

/// An event for Amplitude, and how it was derived.
pub struct Translated<'b> {
    /// The event that is sent.
    pub event: amplitude::event::Event<'b>,
    /// The user.
    pub user: UserId,
    /// The source of the device ID.
    pub anchor: Anchor,
    /// The revenue.
    pub money: Money,
    /// The paths of removed fields by reason, in the object's order.
    pub removed: BTreeMap<Reason, Vec<String>>,
    /// Paths of `drop_properties` that matched nothing in this event.
    pub unmatched: Vec<String>,
    /// How many fields exceeded one of Amplitude's limits.
    pub truncated: usize,
}

/// An object that must be read first.
pub struct Reading {
    /// The object, and whether only product names need it.
    pub unread: Unread,
    /// Why it is read.
    pub purpose: Purpose,
    /// As far as known.
    user: UserId,
    is_live: bool,
    /// The parameter with the API key for the read.
    parameter: String,
}

/// Why an object is read.
#[derive(Clone, PartialEq)]
pub enum Purpose {
    /// The payment of a refund or dispute, on which all paths are tried first.
    Payment,
    /// A path of `user_id_paths`.
    Path(FieldPath),
    /// The setting `products`.
    Products,
}

/// An object that was read.
pub struct ReadMade {
    /// Which object.
    pub reference: Reference,
    /// Why it was read.
    pub purpose: Purpose,
    /// Whether it exists, or why the read failed.
    pub result: Result<bool, String>,
}

/// The paths that were tried for the user ID, and their results.
pub struct UserId {
    /// How many of the tried paths were tried on the payment of a refund or dispute.
    of_payment: usize,
    /// The paths without an ID, in order, and why.
    pub passed_over: Vec<(FieldPath, NotAnId)>,
    /// The path with the ID, and the ID.
    pub found: Option<(FieldPath, String)>,
}

/// The source of the device ID.
pub struct Anchor {
    /// The field of the object, or another source.
    pub from: &'static str,
    /// The ID.
    pub id: String,
    /// The kind of the object.
    pub kind: String,
}

/// The revenue of an event.
pub enum Money {
    /// Counted.
    Counted {
        /// Stripe's amount, in major units.
        amount: Amount,
        /// Of the amount.
        currency: Currency,
        /// The rule that gave the amount.
        rule: Rule,
        /// In the preferred currency, if the project has one.
        converted: Option<Converted>,
    },
    /// Not counted.
    NotCounted(NotCounted),
    /// It counts or subtracts an amount that the event lacks.
    Unknown,
}

/// An amount in the project's preferred currency.
pub struct Converted {
    /// In major units.
    pub amount: Amount,
    /// The preferred currency.
    pub currency: Currency,
    /// Major units of it per major unit of the original currency.
    pub rate: Rate,
}

impl<'b> Explanation<'b> {
    /// Follows the handler's steps from the parsed event to the request, and keeps the intermediate results. `received` and
    /// `now` are in Unix seconds.
    ///
    /// # Errors
    /// If the project converts amounts and lacks the rate: the function would respond with 500.
    pub fn of(event: Event<'b>, context: &Context<'_>, received: u64, now: u64) -> Result<Self, MissingRate> {
        Ok(Self {
            id: event.id.to_string(),
            event_type: event.event_type.to_string(),
            seconds_ago: i64::try_from(now).unwrap_or(i64::MAX).saturating_sub(event.created),
            livemode: event.livemode,
            api_version: event.api_version.as_deref().map(str::to_owned),
            is_too_old_now: matches!(select(&event, context, now), Err(IgnoreReason::TooOld { .. })),
            region: context.settings.amplitude_region,
            reads: Vec::new(),
            outcome: outcome(event, context, received)?,
        })
    }

    /// The event that is sent, if any.
    pub fn sent(&self) -> Option<&amplitude::event::Event<'b>> {
        match &self.outcome {
            PreviewOutcome::Sent(translated) => Some(&translated.event),
            PreviewOutcome::NotSelected(_) | PreviewOutcome::WithoutUser(..) | PreviewOutcome::Unread(_) => None,
        }
    }
}

fn outcome<'b>(event: Event<'b>, context: &Context<'_>, received: u64) -> Result<PreviewOutcome<'b>, MissingRate> {
    let (user, purpose) = user_id(&event, context);
    let is_live = event.livemode != Some(false);
    let parameter = AmplitudeConfig::stripe_key_parameter(event.livemode, context.source);
    let anchor = device::anchor(&event, context.project);
    let anchor = Anchor { from: anchor.from, id: anchor.id.to_owned(), kind: event.kind().to_owned() };
    let mut removed: BTreeMap<Reason, Vec<String>> = BTreeMap::new();
    let mut unmatched: Vec<_> = context.settings.drop_properties.as_slice().iter().collect();
    let decision = forward(event, context, received, &mut |path, reason| {
        unmatched.retain(|pattern| !pattern.matches(path));
        removed.entry(reason).or_default().push(path.to_string());
    })?;
    let decision = match decision {
        Decision::Read(_, unread) => {
            return Ok(PreviewOutcome::Unread(Box::new(Reading { unread, purpose, user, is_live, parameter })));
        }
        Decision::Send(translation) => Ok(translation),
        Decision::Ignore(reason, translation) => Err((reason, translation)),
    };
    let translated = |translation: Translation<'b>| {
        let money = money(translation.revenue, context)?;
        let Translation { event, truncated, .. } = translation;
        let unmatched = unmatched.iter().map(ToString::to_string).collect();
        Ok(Box::new(Translated { event, user, anchor, money, removed, unmatched, truncated }))
    };
    Ok(match decision {
        Ok(translation) => PreviewOutcome::Sent(translated(*translation)?),
        Err((reason, Some(translation))) => PreviewOutcome::WithoutUser(reason, translated(*translation)?),
        Err((reason, None)) => PreviewOutcome::NotSelected(reason),
    })
}

/// The user as far as known, and why the next object would be read.
fn user_id(event: &Event<'_>, context: &Context<'_>) -> (UserId, Purpose) {
    let paths = &context.settings.user_id_paths;
    let objects = context.objects.filter(|_| context.settings.references == References::Follow);
    let payment = objects.map(|objects| Purchase::seen_from(&event.object, objects).payment().map(|it| it.is_some()));
    let has_payment = matches!(payment, Some(Ok(true)));
    let mut passed_over = Vec::new();
    let skipped = &mut |path: &FieldPath, reason| passed_over.push((path.clone(), reason));
    let result = user::user(&event.object, objects, paths, skipped);
    let purpose = match (&result, payment) {
        (Ok(_), _) => Purpose::Products,
        (Err(_), Some(Err(_))) => Purpose::Payment,
        // Each path was skipped or needs the read, and all paths may be tried twice.
        (Err(_), _) => passed_over
            .len()
            .checked_rem(paths.len())
            .and_then(|number| paths.get(number))
            .map_or(Purpose::Payment, |path| Purpose::Path(path.clone())),
    };
    let found = result.ok().flatten().map(|user| (user.path, user.id));
    (UserId { of_payment: if has_payment { paths.len() } else { 0 }, passed_over, found }, purpose)
}

fn money(revenue: Revenue, context: &Context<'_>) -> Result<Money, MissingRate> {
    let (minor_units, currency, rule) = match revenue {
        Revenue::Counted { minor_units, currency, rule } => (minor_units, currency, rule),
        Revenue::NotCounted(reason) => return Ok(Money::NotCounted(reason)),
        Revenue::Unknown => return Ok(Money::Unknown),
    };
    let conversion = Conversion::of(currency, context.settings.preferred_currency.as_ref())?;
    let converted = conversion.rate().map(|rate| Converted {
        amount: conversion.amount(minor_units),
        currency: conversion.currency(),
        rate: *rate,
    });
    Ok(Money::Counted { amount: currency.amount(minor_units), currency, rule, converted })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use stripe_amplitude::forward::unaudited;
    use stripe_amplitude::settings::Settings;
    use stripe_amplitude::stripe::signature::VerifiedBody;

    use super::*;
    use crate::samples::SAMPLES;

    pub(super) const NOW: u64 = 1_800_000_000;

    pub(super) fn sample(event_type: &str) -> Value {
        let sample = SAMPLES.iter().find(|sample| sample.event_type == event_type).unwrap();
        serde_json::from_str(sample.json).unwrap()
    }

    /// Leaks the body, so that the event has a static lifetime.
    pub(super) fn parsed(envelope: &Value) -> Event<'static> {
        let body = VerifiedBody::trusted(envelope.to_string().into_bytes().into());
        Event::parse(Box::leak(Box::new(body))).unwrap()
    }

    /// As if it was received at once.
    pub(super) fn explained(settings: &str, envelope: &Value) -> Result<Explanation<'static>, MissingRate> {
        explained_at(settings, envelope, envelope["created"].as_u64().unwrap())
    }

    pub(super) fn explained_at(
        settings: &str,
        envelope: &Value,
        received: u64,
    ) -> Result<Explanation<'static>, MissingRate> {
        let (project, settings) = ("demo".parse().unwrap(), Settings::parse(settings).unwrap());
        Explanation::of(
            parsed(envelope),
            &Context { project: &project, source: None, settings: &settings, has_test_key: false, objects: None },
            received,
            NOW,
        )
    }

    #[test]
    fn explanations_match_the_function() {
        let project = "demo".parse().unwrap();
        for text in ["{}", r#"{"refunds": "negative_revenue", "user_id_paths": ["customer"]}"#] {
            let settings = Settings::parse(text).unwrap();
            for sample in &SAMPLES {
                let envelope: Value = serde_json::from_str(sample.json).unwrap();
                let context = Context {
                    project: &project,
                    source: None,
                    settings: &settings,
                    has_test_key: false,
                    objects: None,
                };
                let happened = envelope["created"].as_u64().unwrap();
                let decision = forward(parsed(&envelope), &context, happened, &mut unaudited);
                let Ok(Decision::Send(expected)) = decision else { panic!("{}", sample.event_type) };
                let explanation = explained(text, &envelope).unwrap();
                let PreviewOutcome::Sent(translated) = &explanation.outcome else { panic!("{}", sample.event_type) };
                let json = |event| serde_json::to_string(event).unwrap();
                assert_eq!(json(&translated.event), json(&expected.event));
                let (path, id) = translated.user.found.clone().unzip();
                assert_eq!((path, id), (expected.user_id_from, expected.event.user_id), "{}", sample.event_type);
                assert_eq!(translated.event.device_id, format!("stripe-{}", translated.anchor.id));
                let counted = match &translated.money {
                    Money::Counted { amount, currency, .. } => Some((*amount, *currency)),
                    _ => None,
                };
                assert_eq!(counted, expected.event.revenue.zip(expected.event.currency), "{}", sample.event_type);
                let rendered = explanation.to_string();
                assert!(rendered.lines().all(|line| line.chars().count() <= 100), "{rendered}");
            }
        }
    }

    #[test]
    fn old_events_are_ignored() {
        let mut old = sample("charge.refunded");
        old["created"] = json!(NOW - 8 * 24 * 60 * 60);
        let explanation = explained_at("{}", &old, NOW).unwrap();
        assert!(matches!(explanation.outcome, PreviewOutcome::NotSelected(IgnoreReason::TooOld { days: 7 })));
        assert!(explained_at(r#"{"max_age_days": 0}"#, &old, NOW).unwrap().sent().is_some());
    }
}
