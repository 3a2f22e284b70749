//! What the page shows: the charts, as JSON.

use serde::Serialize;

use stripe_amplitude_common::money::Money;

/// All charts of the events of a project.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// How many events there are, of all types.
    pub(crate) events: u32,
    /// The one that charts of a single currency are in.
    pub(crate) currency: String,
    /// Those that occur, the one with the most revenue events first.
    pub(crate) currencies: Vec<String>,
    pub(crate) charts: Vec<Chart>,
}

/// A chart, with what it takes to build it in Amplitude.
#[derive(Debug, Serialize)]
pub(crate) struct Chart {
    pub(crate) name: &'static str,
    pub(crate) title: String,
    /// What to choose in Amplitude, in its own words, and what to know of it.
    pub(crate) in_amplitude: Vec<String>,
    pub(crate) kind: Kind,
    /// Of the rows: the x axis and the y axis; the series between them where there are several.
    pub(crate) columns: &'static [&'static str],
    /// Of the y axis.
    pub(crate) unit: Option<String>,
    pub(crate) rows: Vec<Vec<Cell>>,
    /// One sentence with the main figures.
    pub(crate) summary: String,
    /// What to do next, where there are no rows.
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
