//! Events of the past, as the function would have translated them: the same core, and so the same `insert_id`, the same
//! `device_id`, the same revenue.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde_json::value::{RawValue, to_raw_value};
use stripe_amplitude::amplitude::AmplitudeKey;
use stripe_amplitude::forward::{Decision, IgnoreReason, forward, unaudited};
use stripe_amplitude::projects::name::ProjectName;
use stripe_amplitude::projects::parameters::DeliverySettings;
use stripe_amplitude::stripe::event::{Event, EventError};
use stripe_amplitude::stripe::signature::VerifiedBody;
use stripe_amplitude::stripe::{api_versions, event_types};
use stripe_amplitude::translate::Context;

use crate::money::Money;

/// Translates events of the past for a project.
pub(crate) struct Translator {
    pub(crate) project: ProjectName,
    pub(crate) delivery: DeliverySettings,
    /// The label of the signing secret under which a webhook would have come.
    pub(crate) source: Option<String>,
    notes: Mutex<Notes>,
}

/// What newer API versions do not have, which is told once for each field, and not for each event.
#[derive(Default)]
struct Notes {
    /// Kinds of objects and versions that have been looked at.
    seen: HashSet<(String, String)>,
    told: HashSet<String>,
    waiting: Vec<String>,
}

/// What becomes of an event.
pub(crate) enum Fate {
    /// It goes to Amplitude.
    Sent(Box<Translated>),
    /// The project does not want it. The insert ID is there where the event had to be translated to know that.
    Ignored(IgnoreReason, Option<String>),
    /// It cannot be translated, and why.
    Unusable(String),
    /// It did not happen in the time that is asked for.
    OfAnotherTime,
}

/// An event for Amplitude, and what is worth knowing of it.
pub(crate) struct Translated {
    /// What Amplitude knows it by: most often Stripe's ID, but all events that tell of the same, such as a refund that
    /// failed, have the same.
    pub(crate) insert_id: String,
    /// Whether other events may have the same: it is not Stripe's ID.
    pub(crate) may_repeat: bool,
    /// Stripe's type.
    pub(crate) event_type: String,
    /// Unix seconds.
    pub(crate) created: i64,
    /// By which it goes to the main key or to the test key.
    pub(crate) livemode: Option<bool>,
    /// The key that it goes to.
    pub(crate) key: AmplitudeKey,
    pub(crate) user_id: Option<String>,
    /// The path that gave it.
    pub(crate) user_id_from: Option<String>,
    pub(crate) device_id: String,
    pub(crate) revenue: Option<(Money, String)>,
    /// As it is sent.
    pub(crate) json: Box<RawValue>,
}

impl Translator {
    pub(crate) fn new(project: ProjectName, delivery: DeliverySettings, source: Option<String>) -> Self {
        Self { project, delivery, source, notes: Mutex::default() }
    }

    /// Translates an event as Stripe has it.
    ///
    /// The setting `max_age_days` does not count: it is there for what comes late by mistake.
    pub(crate) fn translate(&self, body: &Bytes) -> Fate {
        self.translate_within(body, &(i64::MIN..i64::MAX))
    }

    /// The same for what happened in a time, in Unix seconds.
    pub(crate) fn translate_within(&self, body: &Bytes, created: &Range<i64>) -> Fate {
        self.try_translate(body, created).unwrap_or_else(|fate| fate)
    }

    fn try_translate(&self, body: &Bytes, created: &Range<i64>) -> Result<Fate, Fate> {
        let body = VerifiedBody::trusted(body.clone());
        let event = Event::parse(&body).map_err(|error| Fate::Unusable(of_a_file(&error)))?;
        if !created.contains(&event.created) {
            return Err(Fate::OfAnotherTime);
        }
        self.tell_what_vanished(&event);
        let (event_type, created) = (event.event_type.to_string(), event.created);
        let livemode = event.livemode;
        let id = event.id.to_string();
        let context = Context {
            project: &self.project,
            source: self.source.as_deref(),
            settings: &self.delivery.settings,
            has_test_key: self.delivery.has_test_key(),
            objects: None,
        };
        let happened = u64::try_from(created).unwrap_or_default();
        let decision = forward(event, &context, happened, &mut unaudited)
            .map_err(|missing| Fate::Unusable(self.delivery.without_rate(missing).to_string()))?;
        let translation = match decision {
            Decision::Send(translation) => translation,
            Decision::Ignore(reason, translation) => {
                return Err(Fate::Ignored(reason, translation.map(|translation| translation.event.insert_id)));
            }
            // Without objects, nothing can be read.
            Decision::Read(..) => return Err(Fate::OfAnotherTime),
        };
        let event = &translation.event;
        let json = to_raw_value(event).map_err(|error| Fate::Unusable(error.to_string()))?;
        let revenue = match (event.revenue, event.currency) {
            (Some(amount), Some(currency)) => Money::exact(amount).map(|money| (money, currency.to_string())),
            _ => None,
        };
        Ok(Fate::Sent(Box::new(Translated {
            insert_id: event.insert_id.clone(),
            may_repeat: event.insert_id != id,
            event_type,
            created,
            livemode,
            key: self.delivery.destination(livemode).key,
            user_id: event.user_id.clone(),
            user_id_from: translation.user_id_from.as_ref().map(ToString::to_string),
            device_id: event.device_id.clone(),
            revenue,
            json,
        })))
    }

    /// What there is to tell, and has not been told, of fields that are gone in newer API versions.
    pub(crate) fn take_notes(&self) -> Vec<String> {
        std::mem::take(&mut self.notes().waiting)
    }

    fn tell_what_vanished(&self, event: &Event<'_>) {
        let Some(version) = event.api_version.as_deref().filter(|version| *version > event_types::API_VERSION) else {
            return;
        };
        let mut notes = self.notes();
        if notes.seen.insert((event.kind().to_owned(), version.to_owned())) {
            for note in api_versions::vanished(event.kind(), version).map(ToString::to_string) {
                if notes.told.insert(note.clone()) {
                    notes.waiting.push(note);
                }
            }
        }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why something is no event. Of Stripe's lists that is never so: it comes from a file, and the library's advice is for a
/// webhook.
fn of_a_file(error: &EventError) -> String {
    match error {
        EventError::List => {
            "not a Stripe event but a list of events; a file has one after the other: `jq -c '.data[]'`, or `jq -c '.[]'` of an array, makes it so"
                .to_owned()
        }
        EventError::EventBridge => {
            "not a Stripe event but an EventBridge event, which has Stripe's event in `detail`: `jq -c .detail` takes it out"
                .to_owned()
        }
        error => error.to_string(),
    }
}
