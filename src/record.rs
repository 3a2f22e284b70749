//! What is known of a request, and its one JSON log line.
//!
//! The line is flat, its names carry their units, and it holds no secret and no personal data. It is also in
//! CloudWatch's embedded metric format.

use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;
use tracing::Level;

use crate::amplitude::AmplitudeKey;
use crate::amplitude::client::{Accepted, DeliveryError};
use crate::code::Code;
use crate::metrics::{Counts, Measures, Metrics};
use crate::money::currency::Currency;
use crate::outcome::{Failure, Outcome, Report};
use crate::projects::name::ProjectName;
use crate::stripe::event::Event;
use crate::stripe::event_types::API_VERSION;
use crate::stripe::field_path::FieldPath;
use crate::stripe::source_label::SourceLabel;
use crate::translate::Translation;
use crate::translate::revenue::Revenue;

/// The output for each line, if it is not standard output.
static OUTPUT: OnceLock<fn() -> Box<dyn Write>> = OnceLock::new();

/// Writes later lines to what `output` returns for each. Only the first call in a process counts.
#[cfg(feature = "log")]
pub(crate) fn write_on(output: fn() -> Box<dyn Write>) {
    let _ = OUTPUT.set(output);
}

/// What is known of a request so far.
#[derive(Debug)]
pub struct Record {
    /// The project in the path.
    pub project: Option<ProjectName>,
    /// Time spent in Parameter Store.
    pub parameter_store: Stopwatch,
    /// The reads from Stripe's API.
    pub stripe: Reads,
    /// Time spent in Amplitude.
    pub amplitude: Stopwatch,
    /// Whether Stripe signs with several secrets.
    pub secret_rolling: bool,
    /// Whether the project that signed is in `WARM_PROJECTS`. Only the response has it, for a caller that can sign.
    pub is_warm: Option<bool>,
    /// How many times the queue has delivered the message.
    pub receive_count: Option<u32>,
    /// How many events of the request Amplitude accepted but did not count. For a request with many events, the record
    /// of the first one has the number.
    pub not_ingested: u64,
    function: Option<String>,
    cold_start: bool,
    request_id: Option<String>,
    source: Option<SourceLabel>,
    event: Option<String>,
    event_type: Option<String>,
    unusual_api_version: Option<String>,
    seconds_behind_stripe: Option<i64>,
    livemode: Option<bool>,
    rules: Rules,
    amplitude_key: Option<AmplitudeKey>,
    attempts: Option<u32>,
    amplitude_code: Option<u16>,
    events_ingested: Option<u64>,
}

/// Which rules of the translation applied.
#[derive(Debug, Default, Serialize)]
struct Rules {
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id_from: Option<FieldPath>,
    /// The rule by which the event carries revenue.
    #[serde(skip_serializing_if = "Option::is_none")]
    revenue_rule: Option<&'static str>,
    /// The event counts as revenue or takes it back, but its amount is unknown. A metric counts these.
    #[serde(skip)]
    unknown_revenue: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    converted_from: Option<Currency>,
    /// Fields over one of Amplitude's limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    truncated_fields: Option<usize>,
}

impl Record {
    /// An empty record of an invocation. `function` is the function's name; `cold_start` is whether this is the first
    /// request of the process.
    pub fn new(function: Option<&str>, request_id: Option<&str>, cold_start: bool) -> Self {
        Self {
            project: None,
            parameter_store: Stopwatch::default(),
            stripe: Reads::default(),
            amplitude: Stopwatch::default(),
            secret_rolling: false,
            is_warm: None,
            receive_count: None,
            not_ingested: 0,
            function: function.map(str::to_owned),
            cold_start,
            request_id: request_id.map(str::to_owned),
            source: None,
            event: None,
            event_type: None,
            unusual_api_version: None,
            seconds_behind_stripe: None,
            livemode: None,
            rules: Rules::default(),
            amplitude_key: None,
            attempts: None,
            amplitude_code: None,
            events_ingested: None,
        }
    }

    /// Records the event, the label of the secret that signed it, and its age at `now` (Unix seconds).
    pub fn event(&mut self, event: &Event<'_>, source: Option<&SourceLabel>, now: u64) {
        self.source = source.cloned();
        self.livemode = event.livemode;
        self.event = Some(event.id.to_string());
        self.event_type = Some(event.event_type.to_string());
        self.unusual_api_version =
            event.api_version.as_deref().filter(|version| *version != API_VERSION).map(str::to_owned);
        self.seconds_behind_stripe = i64::try_from(now).ok().map(|now| now.saturating_sub(event.created));
    }

    /// Records which rules of the translation applied.
    pub fn translation(&mut self, translation: &Translation) {
        self.rules = Rules {
            user_id_from: translation.user_id_from.clone(),
            revenue_rule: match &translation.revenue {
                Revenue::Counted { rule, .. } => translation.event.revenue.map(|_| rule.name()),
                Revenue::NotCounted(_) | Revenue::Unknown => None,
            },
            unknown_revenue: translation.revenue == Revenue::Unknown,
            converted_from: translation.converted_from,
            truncated_fields: Some(translation.truncated).filter(|fields| *fields > 0),
        };
    }

    /// Records the result of the delivery to Amplitude, and the key.
    pub fn delivery(&mut self, key: AmplitudeKey, attempts: u32, result: &Result<Accepted, DeliveryError>) {
        self.amplitude_key = Some(key);
        self.attempts = Some(attempts);
        self.amplitude_code = match result {
            Ok(_) => Some(200),
            Err(error) => error.code(),
        };
        self.events_ingested = result.as_ref().ok().and_then(|accepted| accepted.events_ingested);
        self.not_ingested = result.as_ref().map_or(0, |accepted| accepted.not_ingested(1));
    }

    /// Records the result for one event of a request with several, and the key.
    pub fn redelivery(&mut self, key: AmplitudeKey, result: &Result<(), DeliveryError>) {
        self.amplitude_key = Some(key);
        self.amplitude_code = match result {
            Ok(()) => Some(200),
            Err(error) => error.code(),
        };
    }

    /// The ID of the event, once it is known.
    pub fn event_id(&self) -> Option<&str> {
        self.event.as_deref()
    }

    /// The type of the event, once it is known.
    pub fn event_type(&self) -> Option<&str> {
        self.event_type.as_deref()
    }

    /// The path that gave the user ID, if one did.
    pub fn user_id_from(&self) -> Option<&FieldPath> {
        self.rules.user_id_from.as_ref()
    }

    /// Writes the line to standard output, if the log level allows it.
    pub fn write(&self, report: &Report, status: Option<u16>) {
        let level = self.level(report.outcome);
        // Not through tracing, whose formats wrap the fields: CloudWatch's embedded metric format needs the line as it
        // is. It follows tracing's level anyway; without a subscriber, as in tests, nothing is written.
        let enabled = match level {
            Level::ERROR => tracing::enabled!(Level::ERROR),
            Level::WARN => tracing::enabled!(Level::WARN),
            _ => tracing::enabled!(Level::INFO),
        };
        if !enabled {
            return;
        }
        if let Ok(mut line) = serde_json::to_vec(&self.line(level, report, status)) {
            line.push(b'\n');
            // A failure to write the log must not cost the event.
            let _ = match OUTPUT.get() {
                Some(output) => output().write_all(&line),
                None => std::io::stdout().lock().write_all(&line),
            };
        }
    }

    fn level(&self, outcome: Outcome) -> Level {
        match outcome {
            // Usually a repeat, or else a silent loss: Amplitude does not tell them apart.
            Outcome::Forwarded if self.not_ingested > 0 => Level::WARN,
            // Revenue in Amplitude is wrong by this amount.
            Outcome::Forwarded if self.rules.unknown_revenue => Level::WARN,
            Outcome::Forwarded | Outcome::Queued | Outcome::Ignored => Level::INFO,
            Outcome::Deferred | Outcome::Refused => Level::WARN,
            Outcome::Failed | Outcome::Dead => Level::ERROR,
        }
    }

    fn line<'r>(&'r self, level: Level, report: &'r Report, status: Option<u16>) -> Line<'r> {
        let Report { outcome, code, ref reason } = *report;
        let counts = self.counts(outcome);
        let measures = Measures {
            parameter_store_milliseconds: self.parameter_store.milliseconds(),
            stripe_milliseconds: self.stripe.time.milliseconds(),
            amplitude_milliseconds: self.amplitude.milliseconds(),
            seconds_behind_stripe: self.seconds_behind_stripe,
        };
        Line {
            metrics: self.function.is_some().then(|| Metrics::new(&counts, &measures, outcome)),
            level: level.as_str(),
            outcome: outcome.name(),
            status,
            code,
            reason: reason.as_deref(),
            function: self.function.as_deref(),
            request_id: self.request_id.as_deref(),
            receive_count: self.receive_count,
            project: self.project.as_ref().map(ProjectName::as_str),
            source: self.source.as_ref().map(SourceLabel::as_str),
            event: self.event.as_deref(),
            event_type: self.event_type.as_deref(),
            unusual_api_version: self.unusual_api_version.as_deref(),
            livemode: self.livemode,
            rules: &self.rules,
            amplitude_key: self.amplitude_key.map(AmplitudeKey::parameter),
            attempts: self.attempts,
            amplitude_code: self.amplitude_code,
            events_ingested: self.events_ingested,
            stripe_reads: Some(self.stripe.made).filter(|_| self.stripe.any()),
            stripe_reads_shared: Some(self.stripe.shared).filter(|_| self.stripe.any()),
            references_need: self.stripe.missing_test_key.as_deref(),
            measures,
            counts,
        }
    }

    /// The counts of this line. The project is not a dimension: strangers could create metrics by requesting projects.
    fn counts(&self, outcome: Outcome) -> Counts {
        let without_user = outcome == Outcome::Forwarded && self.rules.user_id_from.is_none();
        [
            (outcome.name(), 1),
            ("cold_start", self.cold_start.into()),
            ("not_ingested", self.not_ingested),
            ("secret_rolling", self.secret_rolling.into()),
            ("stripe_reads_failed", self.stripe.failed.into()),
            ("unknown_revenue", self.rules.unknown_revenue.into()),
            ("without_user", without_user.into()),
        ]
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .collect()
    }
}

/// The reads for an event.
#[derive(Debug, Default)]
pub struct Reads {
    /// Requests to Stripe's API.
    pub made: u32,
    /// Objects from the cache, or from a read for another event.
    pub shared: u32,
    /// Reads that failed.
    pub failed: u32,
    /// The time of all reads.
    pub time: Stopwatch,
    /// The missing parameter because of which references are not followed: the test key of a test-mode event's project.
    pub missing_test_key: Option<String>,
    /// Why the products are incomplete: no event fails for that.
    pub without_products: Option<Failure>,
}

impl Reads {
    fn any(&self) -> bool {
        self.made + self.shared > 0
    }
}

/// Whether a process has served a request. The first one waits for the start.
#[derive(Debug, Default)]
pub(crate) struct ColdStart(AtomicBool);

impl ColdStart {
    /// True the first time, and false afterwards.
    pub(crate) fn take(&self) -> bool {
        !self.0.swap(true, Ordering::Relaxed)
    }
}

/// Adds up durations. `None` until something is measured.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stopwatch(Option<Duration>);

impl Stopwatch {
    /// Adds the time until the future is ready.
    pub async fn time<F: Future>(&mut self, future: F) -> F::Output {
        let start = Instant::now();
        let output = future.await;
        self.0 = Some(self.0.unwrap_or_default() + start.elapsed());
        output
    }

    fn milliseconds(self) -> Option<u128> {
        self.0.map(|duration| duration.as_millis())
    }
}

#[derive(Serialize)]
struct Line<'r> {
    #[serde(rename = "_aws", skip_serializing_if = "Option::is_none")]
    metrics: Option<Metrics>,
    level: &'static str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<Code>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    receive_count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<&'r str>,
    /// The label of the signing secret that matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none", rename = "type")]
    event_type: Option<&'r str>,
    /// If it is not the version for which the rules were written.
    #[serde(skip_serializing_if = "Option::is_none", rename = "api_version")]
    unusual_api_version: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    livemode: Option<bool>,
    #[serde(flatten)]
    rules: &'r Rules,
    /// The parameter with the Amplitude key that was used.
    #[serde(skip_serializing_if = "Option::is_none")]
    amplitude_key: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    amplitude_code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    events_ingested: Option<u64>,
    /// Requests to Stripe's API.
    #[serde(skip_serializing_if = "Option::is_none")]
    stripe_reads: Option<u32>,
    /// Objects of Stripe's API that needed no request.
    #[serde(skip_serializing_if = "Option::is_none")]
    stripe_reads_shared: Option<u32>,
    /// The missing parameter because of which references of this test-mode event are not followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    references_need: Option<&'r str>,
    #[serde(flatten)]
    measures: Measures,
    #[serde(flatten)]
    counts: Counts,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::*;
    use crate::queue::attribute;

    fn line(record: &Record, outcome: Outcome) -> Value {
        let report = Report { outcome, code: Some(Code::TypeNotSelected), reason: Some("x".to_owned()) };
        serde_json::to_value(record.line(record.level(outcome), &report, Some(200))).unwrap()
    }

    #[test]
    fn every_metric_has_a_value_and_a_unit() {
        let mut record = with_everything();
        record.seconds_behind_stripe = Some(-1);
        for outcome in Outcome::ALL {
            let line = line(&record, outcome);
            let directive = &line["_aws"]["CloudWatchMetrics"][0];
            assert_eq!(directive["Namespace"], "stripe-amplitude");
            assert_eq!(directive["Dimensions"], json!([["function"]]));
            assert_eq!(line["function"], "function");
            let metrics = directive["Metrics"].as_array().unwrap();
            assert!(metrics.len() >= 7, "{line}");
            assert_eq!(line["not_ingested"], 7);
            for metric in metrics {
                let name = metric["Name"].as_str().unwrap();
                assert!(line[name].is_number(), "{name} in {line}");
                let unit = match name {
                    _ if name.ends_with("_milliseconds") => "Milliseconds",
                    _ if name.starts_with("seconds_") => "Seconds",
                    _ => "Count",
                };
                assert_eq!(metric["Unit"], unit, "{name}");
            }
        }
    }

    #[test]
    fn without_a_function_name_there_are_no_metrics() {
        let line = line(&Record::new(None, None, false), Outcome::Refused);
        assert_eq!(line.get("_aws"), None);
        assert_eq!(line["refused"], 1);
    }

    #[test]
    fn uncounted_events_are_a_warning() {
        for (events_ingested, level, not_ingested) in
            [(Some(1), "INFO", None), (Some(0), "WARN", Some(1)), (None, "INFO", None)]
        {
            let mut record = Record::new(None, None, false);
            record.delivery(AmplitudeKey::Main, 1, &Ok(Accepted { events_ingested }));
            let line = line(&record, Outcome::Forwarded);
            assert_eq!(line["level"], level, "{line}");
            assert_eq!(line.get("not_ingested").and_then(Value::as_u64), not_ingested, "{line}");
            assert_eq!(line.get("events_ingested").and_then(Value::as_u64), events_ingested, "{line}");
        }
        // In a request with many events.
        let mut record = Record::new(None, None, false);
        record.redelivery(AmplitudeKey::Main, &Ok(()));
        record.not_ingested = 12;
        let first = line(&record, Outcome::Forwarded);
        assert_eq!((&first["level"], &first["not_ingested"]), (&json!("WARN"), &json!(12)));
    }

    #[test]
    fn only_forwarded_events_count_as_without_user() {
        let record = Record::new(None, None, false);
        assert_eq!(line(&record, Outcome::Forwarded)["without_user"], 1);
        assert_eq!(line(&record, Outcome::Refused).get("without_user"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stopwatch_adds_up() {
        let mut stopwatch = Stopwatch::default();
        assert_eq!(stopwatch.milliseconds(), None);
        for _ in 0..2 {
            stopwatch.time(tokio::time::sleep(Duration::from_millis(20))).await;
        }
        assert_eq!(stopwatch.milliseconds(), Some(40));
    }

    /// Dashboards, alarms, queries and scripts rely on these names. They are part of the contract: list a change in
    /// CHANGELOG.md.
    #[test]
    fn the_contract_names_are_stable() {
        let codes = [
            "unknown_route",
            "method_not_allowed",
            "unreadable_request",
            "body_too_large",
            "too_many_values",
            "signature_missing",
            "signature_malformed",
            "signature_without_v1",
            "signature_mismatch",
            "timestamp_too_old",
            "timestamp_in_future",
            "unknown_project",
            "malformed_json",
            "not_an_event",
            "thin_event",
            "eventbridge_event",
            "event_list",
            "bare_object",
            "utf16_body",
            "type_not_selected",
            "test_event",
            "connected_test_event",
            "too_old",
            "no_user",
            "no_user_no_revenue",
            "delivery_queue",
            "parameter_missing",
            "parameter_empty",
            "parameter_mixed_up",
            "settings_invalid",
            "missing_rate",
            "parameter_store_throttled",
            "parameter_store_denied",
            "parameter_store_unavailable",
            "too_many_new_projects",
            "amplitude_invalid_key",
            "amplitude_rejected",
            "amplitude_silenced",
            "amplitude_forbidden",
            "amplitude_too_large",
            "amplitude_throttled",
            "amplitude_unavailable",
            "amplitude_timeout",
            "amplitude_unreachable",
            "amplitude_connection_broken",
            "amplitude_untrusted",
            "amplitude_unexpected",
            "not_amplitude",
            "breaker_open",
            "deadline",
            "needs_lookup",
            "unserializable",
            "stripe_unavailable",
            "stripe_rate",
            "stripe_key_missing",
            "stripe_key_refused",
            "stripe_permission_missing",
            "stripe_object_not_found",
            "foreign_message",
            "internal_error",
        ];
        assert_eq!(Code::ALL.iter().map(|code| code.as_str()).collect::<Vec<_>>(), codes);
        let outcomes = ["forwarded", "queued", "deferred", "ignored", "refused", "failed", "dead"];
        assert_eq!(Outcome::ALL.map(Outcome::name), outcomes);
        assert_eq!(attribute::ALL, ["project", "source", "received", "code", "reason", "looked_up"]);

        // With every field of a line. Each outcome counts another metric.
        let with_user = with_everything();
        let mut without_user = with_everything();
        without_user.rules.user_id_from = None;
        let mut fields = BTreeSet::new();
        let mut metrics = BTreeSet::new();
        for record in [&with_user, &without_user] {
            for outcome in Outcome::ALL {
                let line = line(record, outcome);
                fields.extend(line.as_object().unwrap().keys().cloned());
                for metric in line["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().unwrap() {
                    let text = |name: &str| metric[name].as_str().unwrap().to_owned();
                    metrics.insert((text("Name"), text("Unit")));
                }
            }
        }
        let fields: Vec<_> = fields.iter().map(String::as_str).collect();
        assert_eq!(
            fields,
            [
                "_aws",
                "amplitude_code",
                "amplitude_key",
                "amplitude_milliseconds",
                "api_version",
                "attempts",
                "code",
                "cold_start",
                "converted_from",
                "dead",
                "deferred",
                "event",
                "events_ingested",
                "failed",
                "forwarded",
                "function",
                "ignored",
                "level",
                "livemode",
                "not_ingested",
                "outcome",
                "parameter_store_milliseconds",
                "project",
                "queued",
                "reason",
                "receive_count",
                "references_need",
                "refused",
                "request_id",
                "revenue_rule",
                "seconds_behind_stripe",
                "secret_rolling",
                "source",
                "status",
                "stripe_milliseconds",
                "stripe_reads",
                "stripe_reads_failed",
                "stripe_reads_shared",
                "truncated_fields",
                "type",
                "unknown_revenue",
                "user_id_from",
                "without_user",
            ]
        );
        let metrics: Vec<_> = metrics.iter().map(|(name, unit)| (name.as_str(), unit.as_str())).collect();
        assert_eq!(
            metrics,
            [
                ("amplitude_milliseconds", "Milliseconds"),
                ("cold_start", "Count"),
                ("dead", "Count"),
                ("deferred", "Count"),
                ("failed", "Count"),
                ("forwarded", "Count"),
                ("ignored", "Count"),
                ("not_ingested", "Count"),
                ("parameter_store_milliseconds", "Milliseconds"),
                ("queued", "Count"),
                ("refused", "Count"),
                ("seconds_behind_stripe", "Seconds"),
                ("secret_rolling", "Count"),
                ("stripe_milliseconds", "Milliseconds"),
                ("stripe_reads_failed", "Count"),
                ("unknown_revenue", "Count"),
                ("without_user", "Count"),
            ]
        );
    }

    /// Without `..`, so that a new field must be set here.
    fn with_everything() -> Record {
        Record {
            project: Some("demo".parse().unwrap()),
            parameter_store: Stopwatch(Some(Duration::from_millis(3))),
            stripe: Reads {
                made: 2,
                shared: 1,
                failed: 1,
                time: Stopwatch(Some(Duration::from_millis(70))),
                missing_test_key: Some("stripe-test-api-key".to_owned()),
                without_products: None,
            },
            amplitude: Stopwatch(Some(Duration::from_millis(90))),
            secret_rolling: true,
            is_warm: Some(false),
            receive_count: Some(1),
            not_ingested: 7,
            function: Some("function".to_owned()),
            cold_start: true,
            request_id: Some("request".to_owned()),
            source: Some("germany".parse().unwrap()),
            event: Some("evt_1".to_owned()),
            event_type: Some("charge.succeeded".to_owned()),
            unusual_api_version: Some("2025-09-30.clover".to_owned()),
            seconds_behind_stripe: Some(1),
            livemode: Some(true),
            rules: Rules {
                user_id_from: Some("metadata.user_id".parse().unwrap()),
                revenue_rule: Some("received"),
                unknown_revenue: true,
                converted_from: Some(Currency::parse("EUR").unwrap()),
                truncated_fields: Some(1),
            },
            amplitude_key: Some(AmplitudeKey::Main),
            attempts: Some(1),
            amplitude_code: Some(200),
            events_ingested: Some(1),
        }
    }
}
