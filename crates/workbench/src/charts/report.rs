//! The charts as JSON for the page.

use serde::Serialize;

use stripe_amplitude_common::money::Money;

/// All charts of the events of a project.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// The number of events of all types.
    pub(crate) events: u32,
    /// The currency of the charts of a single currency.
    pub(crate) currency: String,
    /// All currencies, the one with the most revenue events first.
    pub(crate) currencies: Vec<String>,
    pub(crate) charts: Vec<Chart>,
}

/// A chart, with the steps to build it in Amplitude.
#[derive(Debug, Serialize)]
pub(crate) struct Chart {
    pub(crate) name: &'static str,
    pub(crate) title: String,
    /// The choices in Amplitude, in its own words, and notes.
    pub(crate) in_amplitude: Vec<String>,
    pub(crate) kind: Kind,
    /// The columns of the rows: the x axis, the series if there are several, and the y axis.
    pub(crate) columns: &'static [&'static str],
    /// The unit of the y axis.
    pub(crate) unit: Option<String>,
    pub(crate) rows: Vec<Vec<Cell>>,
    /// The main figures in a sentence.
    pub(crate) summary: String,
    /// What to do if there are no rows.
    pub(crate) empty: Option<String>,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Lines,
    Bars,
    /// A table of users.
    Users,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum Cell {
    Text(String),
    Count(u32),
    /// An average or a percentage, rounded.
    Ratio(f64),
    Money(Money),
}
