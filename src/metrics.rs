//! CloudWatch's embedded metric format: which members of the log line are metrics. It needs no agent and no call.
//!
//! Source: Amazon CloudWatch's documentation, "Specification: Embedded metric format".

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::outcome::Outcome;

/// The member `_aws` of a log line, which names the line's metrics.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Metrics {
    timestamp: u64,
    cloud_watch_metrics: [MetricDirective; 1],
}

impl Metrics {
    pub(crate) fn new(counts: &Counts, measures: &Measures, outcome: Outcome) -> Self {
        // An event that is ignored or refused may be of any age.
        let has_lag = !matches!(outcome, Outcome::Ignored | Outcome::Refused);
        let measured = [
            ("parameter_store_milliseconds", "Milliseconds", measures.parameter_store_milliseconds.is_some()),
            ("stripe_milliseconds", "Milliseconds", measures.stripe_milliseconds.is_some()),
            ("amplitude_milliseconds", "Milliseconds", measures.amplitude_milliseconds.is_some()),
            ("seconds_behind_stripe", "Seconds", has_lag && measures.seconds_behind_stripe.is_some()),
        ];
        let measured =
            measured.into_iter().filter_map(|(name, unit, is_there)| is_there.then_some(Metric { name, unit }));
        let counted = counts.keys().map(|name| Metric { name, unit: "Count" });
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            timestamp: u64::try_from(now.as_millis()).unwrap_or_default(),
            cloud_watch_metrics: [MetricDirective {
                namespace: "stripe-amplitude",
                dimensions: [["function"]],
                metrics: counted.chain(measured).collect(),
            }],
        }
    }
}

/// What a log line counts, by the name of the metric.
pub(crate) type Counts = BTreeMap<&'static str, u64>;

/// What a log line measures. The names are those of the metrics and carry their units.
#[derive(Serialize)]
pub(crate) struct Measures {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parameter_store_milliseconds: Option<u128>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stripe_milliseconds: Option<u128>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) amplitude_milliseconds: Option<u128>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seconds_behind_stripe: Option<i64>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct MetricDirective {
    namespace: &'static str,
    /// The function alone: strangers could create metrics by sending any other value.
    dimensions: [[&'static str; 1]; 1],
    metrics: Vec<Metric>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metric {
    name: &'static str,
    unit: &'static str,
}
