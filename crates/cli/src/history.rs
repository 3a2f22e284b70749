//! Translates events of the past like the function, with the same core: the same `insert_id`, `device_id` and revenue.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::value::{RawValue, to_raw_value};
use stripe_amplitude::amplitude::AmplitudeKey;
use stripe_amplitude::follow::{self, Decided, Received};
use stripe_amplitude::forward::IgnoreReason;
use stripe_amplitude::outcome::Failure;
use stripe_amplitude::projects::configuration_error::Problem;
use stripe_amplitude::projects::name::ProjectName;
use stripe_amplitude::projects::project::AmplitudeConfig;
use stripe_amplitude::record::Reads;
use stripe_amplitude::stripe::event::{Event, EventError};
use stripe_amplitude::stripe::references::References;
use stripe_amplitude::stripe::references::api::StripeApi;
use stripe_amplitude::stripe::references::source::{ObjectSource, ReferenceError};
use stripe_amplitude::stripe::signature::VerifiedBody;
use stripe_amplitude::stripe::source_label::SourceLabel;
use stripe_amplitude::stripe::{api_versions, event_types};
use tokio::time::{Instant, sleep};

use crate::money::Money;
use crate::stripe::api::{ATTEMPTS, pause};

/// How long a read may wait for its turn, because other events are read at the same time.
const READS_LIMIT: Duration = Duration::from_secs(60 * 60);

/// Translates events of the past for a project.
pub(crate) struct Translator<O = StripeApi> {
    pub(crate) project: ProjectName,
    pub(crate) delivery: AmplitudeConfig,
    /// The label of the signing secret that a webhook would have had.
    pub(crate) source: Option<SourceLabel>,
    references: References<O>,
    reads: AtomicU64,
    notes: Mutex<Notes>,
}

/// Notes that are issued once, and not for each event: fields that newer API versions lack, and references that are not
/// followed.
#[derive(Default)]
struct Notes {
    /// Kinds of objects and versions seen so far.
    seen: HashSet<(String, String)>,
    issued: HashSet<String>,
    waiting: Vec<String>,
}

/// The data of an event that are needed after its translation.
struct Original {
    id: String,
    event_type: String,
    created: i64,
    livemode: Option<bool>,
}

impl Original {
    fn of(event: &Event<'_>) -> Self {
        Self {
            id: event.id.to_string(),
            event_type: event.event_type.to_string(),
            created: event.created,
            livemode: event.livemode,
        }
    }
}

/// What happens to an event.
pub(crate) enum HistoryOutcome {
    /// It goes to Amplitude.
    Sent(Box<Translated>),
    /// The project's settings ignore it. Has the insert ID if that was known only after the translation.
    Ignored(IgnoreReason, Option<String>),
    /// It cannot be translated, with the reason.
    Unusable(String),
    /// It was created outside the requested time range.
    OfAnotherTime,
}

/// An event for Amplitude, with its data for the commands.
pub(crate) struct Translated {
    /// Usually Stripe's event ID, but events that describe the same fact, such as a failed refund, share one.
    pub(crate) insert_id: String,
    /// Whether other events may share the insert ID: it is not Stripe's event ID.
    pub(crate) may_repeat: bool,
    /// Stripe's type.
    pub(crate) event_type: String,
    /// Unix seconds.
    pub(crate) created: i64,
    pub(crate) livemode: Option<bool>,
    /// The key that it is sent with.
    pub(crate) key: AmplitudeKey,
    pub(crate) user_id: Option<String>,
    /// The path that gave the user ID.
    pub(crate) user_id_from: Option<String>,
    pub(crate) device_id: String,
    pub(crate) revenue: Option<(Money, String)>,
    /// As it is sent.
    pub(crate) json: Box<RawValue>,
}

impl<O: ObjectSource> Translator<O> {
    /// `objects`: where to read references, if the project follows any.
    pub(crate) fn new(
        project: ProjectName,
        delivery: AmplitudeConfig,
        source: Option<SourceLabel>,
        objects: O,
    ) -> Self {
        let references = References::of_history(objects);
        Self { project, delivery, source, references, reads: AtomicU64::new(0), notes: Mutex::default() }
    }

    /// Translates an event as Stripe sends it, and reads its references from Stripe's API.
    ///
    /// Ignores the setting `max_age_days`, which is meant for events that arrive late by accident.
    ///
    /// # Errors
    /// A sentence, if an object cannot be read after all retries: the event must not be sent without it.
    pub(crate) async fn translate(&self, body: &Bytes) -> Result<HistoryOutcome, String> {
        self.translate_within(body, &(i64::MIN..i64::MAX)).await
    }

    /// The same for events created in a time range, in Unix seconds.
    pub(crate) async fn translate_within(&self, body: &Bytes, created: &Range<i64>) -> Result<HistoryOutcome, String> {
        let body = VerifiedBody::trusted(body.clone());
        let mut attempts = 0;
        loop {
            let event = match Event::parse(&body) {
                Ok(event) => event,
                Err(error) => return Ok(HistoryOutcome::Unusable(explain_for_file(&error))),
            };
            if !created.contains(&event.created) {
                return Ok(HistoryOutcome::OfAnotherTime);
            }
            self.note_removed_fields(&event);
            let original = Original::of(&event);
            let received = Received {
                project: &self.project,
                source: self.source.as_ref(),
                at: u64::try_from(original.created).unwrap_or_default(),
                is_looked_up: false,
            };
            let mut reads = Reads::default();
            let deadline = Instant::now() + READS_LIMIT;
            let decided = follow::decide(event, received, &self.delivery, &self.references, &mut reads, deadline).await;
            self.reads.fetch_add(reads.made.into(), Ordering::Relaxed);
            self.note_missing_test_key(reads.missing_test_key);
            attempts += 1;
            let failure = match (decided, reads.without_products) {
                (Ok(decided), None) => return Ok(self.outcome(decided, original)),
                (Err(Failure::Configuration(error)), _) if matches!(error.problem(), Problem::MissingRate(_)) => {
                    return Ok(HistoryOutcome::Unusable(error.to_string()));
                }
                (Ok(decided), Some(failure)) if !may_be_read_later(&failure) && !is_configuration(&failure) => {
                    self.note_once(format!("{failure}; the event is marked with `products_incomplete`"));
                    return Ok(self.outcome(decided, original));
                }
                (Err(failure), _) | (Ok(_), Some(failure)) => failure,
            };
            if attempts >= ATTEMPTS || !may_be_read_later(&failure) {
                return Err(format!("{}: {failure}", original.id));
            }
            sleep(pause(attempts)).await;
        }
    }

    fn outcome(&self, decided: Decided<'_>, original: Original) -> HistoryOutcome {
        let translation = match decided {
            Decided::Send(translation) => translation,
            Decided::Ignore(reason, translation) => {
                return HistoryOutcome::Ignored(reason, translation.map(|translation| translation.event.insert_id));
            }
        };
        let Original { id, event_type, created, livemode } = original;
        let event = &translation.event;
        let json = match to_raw_value(event) {
            Ok(json) => json,
            Err(error) => return HistoryOutcome::Unusable(error.to_string()),
        };
        let revenue = match (event.revenue, event.currency) {
            (Some(amount), Some(currency)) => Money::exact(amount).map(|money| (money, currency.to_string())),
            _ => None,
        };
        HistoryOutcome::Sent(Box::new(Translated {
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
        }))
    }

    /// The number of reads from Stripe's API so far.
    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Takes the notes that have not been printed.
    pub(crate) fn take_notes(&self) -> Vec<String> {
        std::mem::take(&mut self.notes().waiting)
    }

    fn note_removed_fields(&self, event: &Event<'_>) {
        let Some(version) = event.api_version.as_deref().filter(|version| *version > event_types::API_VERSION) else {
            return;
        };
        let mut notes = self.notes();
        if notes.seen.insert((event.kind().to_owned(), version.to_owned())) {
            for note in api_versions::removed_fields(event.kind(), version).map(ToString::to_string) {
                if notes.issued.insert(note.clone()) {
                    notes.waiting.push(note);
                }
            }
        }
    }

    fn note_missing_test_key(&self, missing_test_key: Option<String>) {
        if let Some(parameter) = missing_test_key {
            let folder = self.delivery.folder();
            self.note_once(format!(
                "references of test-mode events are not followed, because the parameter {folder}/{parameter} is missing"
            ));
        }
    }

    fn note_once(&self, note: String) {
        let mut notes = self.notes();
        if notes.issued.insert(note.clone()) {
            notes.waiting.push(note);
        }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether retrying may help. Stripe would refuse the same request again.
fn may_be_read_later(failure: &Failure) -> bool {
    match failure {
        Failure::Reference { error: ReferenceError::Status(status), .. } => *status >= 500,
        Failure::Reference { error, .. } => !matches!(error, ReferenceError::NotStripe(_)),
        _ => false,
    }
}

fn is_configuration(failure: &Failure) -> bool {
    matches!(failure, Failure::Configuration(_) | Failure::Reference { error: ReferenceError::NotStripe(_), .. })
}

/// Why a document is not an event. It comes from a file, so the library's advice, which is for webhooks, would not fit.
fn explain_for_file(error: &EventError) -> String {
    match error {
        EventError::List => {
            "not a Stripe event but a list of events; split it with `jq -c '.data[]'`, or an array with `jq -c '.[]'`"
                .to_owned()
        }
        EventError::EventBridge => {
            "not a Stripe event but an EventBridge event; extract Stripe's event with `jq -c .detail`".to_owned()
        }
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use serde_json::{Value, json};
    use stripe_amplitude::projects::parameters::Parameter;
    use stripe_amplitude::projects::project::Project;
    use stripe_amplitude::stripe::purchase::Found;
    use stripe_amplitude::stripe::reference::{Reference, ReferenceKind};
    use stripe_amplitude::stripe::references::source::Access;

    use super::*;

    /// Fails several times, and then finds nothing.
    struct Failing {
        times: usize,
        error: ReferenceError,
        reads: AtomicUsize,
    }

    impl ObjectSource for Failing {
        async fn read(&self, _: &Access<'_>, _: &Reference) -> Result<Found, ReferenceError> {
            let before = self.reads.fetch_add(1, Ordering::Relaxed);
            if before < self.times { Err(self.error) } else { Ok(Found::Nothing) }
        }
    }

    /// The outcome of an event of a customer, the number of reads, and the notes.
    async fn translated(
        settings: &str,
        event: &Value,
        times: usize,
        error: ReferenceError,
    ) -> (Result<Option<String>, String>, u64, Vec<String>) {
        let parameter = |name: &str, value: &str| Parameter { name: name.to_owned(), value: value.into() };
        let parameters = vec![
            parameter("stripe-signing-secret", "whsec_a"),
            parameter("stripe-api-key", "rk_live_1"),
            parameter("amplitude-api-key", "key"),
            parameter("settings", settings),
        ];
        let delivery = Project::from_parameters(parameters, "/p/shop").delivery.unwrap();
        let objects = Failing { times, error, reads: AtomicUsize::new(0) };
        let translator = Translator::new("shop".parse().unwrap(), delivery, None, objects);
        let outcome = translator.translate(&event.to_string().into()).await;
        let outcome = outcome.map(|outcome| {
            if let HistoryOutcome::Sent(event) = outcome { event.user_id_from } else { panic!("it is sent") }
        });
        (outcome, translator.reads(), translator.take_notes())
    }

    fn payment(livemode: bool) -> Value {
        json!({"id": "evt_1", "object": "event", "type": "payment_intent.succeeded", "created": 1, "livemode": livemode,
            "data": {"object": {"object": "payment_intent", "id": "pi_1", "customer": "cus_1", "invoice": "in_1"}}})
    }

    const BY_CUSTOMER: &str = r#"{"references": "follow", "user_id_paths": ["customer.metadata.id", "customer"]}"#;
    const WITH_PRODUCTS: &str = r#"{"products": "follow", "user_id_paths": ["customer"]}"#;

    #[tokio::test(start_paused = true)]
    async fn temporary_read_failures_are_retried() {
        use ReferenceError::*;
        let customer = ReferenceKind::Customer;
        let lower = || Ok(Some("customer".to_owned()));
        for (times, error, reads, is_read) in [
            (8, TooManyRequests, 9, true),
            (8, Status(503), 9, true),
            (8, Timeout, 9, true),
            (9, Status(503), 9, false),
            (1, Status(400), 1, false),
            (1, NotStripe(200), 1, false),
            (1, KeyRefused, 1, false),
            (1, PermissionMissing(customer), 1, false),
            (1, NotFound(customer), 1, false),
        ] {
            let (outcome, made, _) = translated(BY_CUSTOMER, &payment(true), times, error).await;
            assert_eq!(made, reads, "{error:?}");
            match is_read {
                true => assert_eq!(outcome, lower(), "{error:?}"),
                false => assert!(outcome.unwrap_err().starts_with("evt_1: "), "{error:?}"),
            }
        }
        let (outcome, ..) = translated(BY_CUSTOMER, &payment(true), 1, PermissionMissing(customer)).await;
        let sentence = outcome.unwrap_err();
        assert!(sentence.contains("/p/shop/stripe-api-key") && sentence.contains("rak_customer_read"), "{sentence}");
    }

    #[tokio::test(start_paused = true)]
    async fn product_reads_are_retried_or_noted() {
        use ReferenceError::*;
        for (error, reads, is_sent, notes) in [
            (Status(503), 2, true, 0),
            (Status(400), 1, true, 1),
            (PermissionMissing(ReferenceKind::InvoiceLines), 1, false, 0),
        ] {
            let (outcome, made, found) = translated(WITH_PRODUCTS, &payment(true), 1, error).await;
            assert_eq!((made, outcome.is_ok(), found.len()), (reads, is_sent, notes), "{error:?} {found:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn missing_test_key_is_noted() {
        let (outcome, reads, notes) = translated(BY_CUSTOMER, &payment(false), 0, ReferenceError::Timeout).await;
        assert_eq!((outcome, reads), (Ok(Some("customer".to_owned())), 0));
        assert!(notes.len() == 1 && notes[0].contains("/p/shop/stripe-test-api-key"), "{notes:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_read_without_references() {
        let settings = r#"{"user_id_paths": ["customer.metadata.id", "customer"]}"#;
        let (outcome, reads, notes) = translated(settings, &payment(true), 1, ReferenceError::KeyRefused).await;
        assert_eq!((outcome, reads, notes), (Ok(Some("customer".to_owned())), 0, Vec::new()));
    }
}
