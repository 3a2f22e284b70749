//! The seven charts of Amplitude's guide to its Stripe source, computed from the events that the local Amplitude accepted.
//!
//! Each chart is one query in its own file, which documents what it counts and the source of the definition. All queries read
//! the table and the views of `schema.sql`, and use only properties that Amplitude charts on a free plan: scalars and arrays
//! of strings.
//! Source: github.com/amplitude/amplitude-docs, content/collections/source-catalog/en/stripe.md

mod database;
mod report;
mod specification;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use amplitude_emulator::AcceptedEvent;
use rusqlite::named_params;
use stripe_amplitude_common::clock::DAY;
use stripe_amplitude_common::money::{Money, shown};
use stripe_amplitude_common::text::count;

use self::database::Database;
use self::report::{Cell, Chart, Report};
use self::specification::{
    AVERAGE_PURCHASES, BIG_SPENDERS, ORDERS_BY_PRODUCT, PURCHASE_FREQUENCY, RETENTION, REVENUE_BY_PRODUCT,
    TOTAL_REVENUE,
};

/// The charts of some events.
pub(crate) struct Charts {
    database: Database,
}

/// The choices of the page's user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// For the charts of a single currency. By default, US dollars if they occur, or else the most frequent currency.
    pub(crate) currency: Option<String>,
    /// The period in which a big spender spends.
    pub(crate) cohort: Window,
}

/// A period of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Window {
    FirstSevenDays,
    Last30Days,
}

/// The charts could not be computed.
#[derive(Debug)]
pub(crate) struct ChartsError(rusqlite::Error);

const DAY_MS: i64 = DAY * 1000;

/// A big spender spends more, in any currency.
const BIG_SPENDER: Money = Money::whole(100);

/// The last bucket has all users with this many purchases or more.
const LAST_BUCKET: u32 = 10;

const WHOLE_UNDER_EACH: &str = "A purchase of several products counts in full under each.";

/// The group of events without a value.
const NONE: &str = "(none)";

const NO_PURCHASE: &str = "No purchase has arrived yet. Send a payment_intent.succeeded, or generate a shop: \
                           cargo cli generate";

impl Charts {
    /// Reads the events of one project, so that equal user IDs are one user.
    ///
    /// # Errors
    /// If the database rejects them.
    pub(crate) fn of<'e>(events: impl IntoIterator<Item = &'e AcceptedEvent>) -> Result<Self, ChartsError> {
        Ok(Self { database: Database::of(events)? })
    }

    /// Computes all charts. `now_ms` is in Unix milliseconds.
    ///
    /// # Errors
    /// If a query fails, for example because a sum is too large.
    pub(crate) fn report(&self, choice: &Choice, now_ms: i64) -> Result<Report, ChartsError> {
        let currencies = self.currencies()?;
        let currency = choice.currency.clone().unwrap_or_else(|| usual(&currencies));
        let charts = vec![
            self.total_revenue()?,
            self.average_purchases()?,
            self.purchase_frequency()?,
            self.retention(now_ms)?,
            self.revenue_by_product(&currency)?,
            self.orders_by_product()?,
            self.big_spenders(&currency, choice.cohort, now_ms)?,
        ];
        let events = self.database.number("SELECT COUNT(*) FROM event")?;
        Ok(Report { events, currency, currencies, charts })
    }

    /// The currencies of revenue.
    fn currencies(&self) -> Result<Vec<String>, ChartsError> {
        let query = "SELECT currency FROM event WHERE currency IS NOT NULL AND revenue IS NOT NULL
            GROUP BY currency ORDER BY COUNT(*) DESC, currency";
        let rows: Vec<(String,)> = self.database.rows(query, &[])?;
        Ok(rows.into_iter().map(|(currency,)| currency).collect())
    }

    fn total_revenue(&self) -> Result<Chart, ChartsError> {
        let rows: Vec<(String, String, Money)> = self.database.rows(include_str!("charts/total_revenue.sql"), &[])?;
        let mut lines: BTreeMap<&str, Vec<Money>> = BTreeMap::new();
        for (_, currency, revenue) in &rows {
            lines.entry(currency).or_default().push(*revenue);
        }
        let weeks = lines.values().map(Vec::len).max().unwrap_or_default();
        let totals = lines.into_iter().map(|(currency, revenue)| shown(Money::sum(revenue), currency));
        let summary = format!("{} in {}, refunds not subtracted.", enumeration(totals), count(weeks, "week"));
        Ok(Chart {
            name: TOTAL_REVENUE.name,
            title: TOTAL_REVENUE.title(&[]),
            in_amplitude: TOTAL_REVENUE.steps(&[]),
            kind: TOTAL_REVENUE.kind,
            columns: TOTAL_REVENUE.columns,
            unit: None,
            summary: unless_empty(&rows, summary, "No revenue yet."),
            empty: rows.is_empty().then(|| NO_PURCHASE.to_owned()),
            rows: rows
                .into_iter()
                .map(|(week, currency, sum)| vec![week.into(), currency.into(), sum.into()])
                .collect(),
        })
    }

    fn average_purchases(&self) -> Result<Chart, ChartsError> {
        let rows: Vec<(String, f64)> = self.database.rows(include_str!("charts/average_purchases.sql"), &[])?;
        let highest = rows.iter().map(|(_, average)| *average).fold(0.0, f64::max);
        let summary = rows
            .last()
            .map(|(week, average)| format!("{average} purchases per buyer in the week of {week} · peak {highest}"));
        Ok(Chart {
            name: AVERAGE_PURCHASES.name,
            title: AVERAGE_PURCHASES.title(&[]),
            in_amplitude: AVERAGE_PURCHASES.steps(&[]),
            kind: AVERAGE_PURCHASES.kind,
            columns: AVERAGE_PURCHASES.columns,
            unit: None,
            summary: summary.unwrap_or_else(|| "No purchases yet.".to_owned()),
            empty: rows.is_empty().then(|| NO_PURCHASE.to_owned()),
            rows: rows.into_iter().map(|(week, average)| vec![week.into(), Cell::Ratio(average)]).collect(),
        })
    }

    fn purchase_frequency(&self) -> Result<Chart, ChartsError> {
        let rows: Vec<(u32, u32)> =
            self.database.rows(include_str!("charts/purchase_frequency.sql"), named_params! {":most": LAST_BUCKET})?;
        let users_of =
            |least: u32| rows.iter().filter(|(purchases, _)| *purchases >= least).map(|(_, users)| users).sum();
        let (users, again): (u32, u32) = (users_of(1), users_of(2));
        let summary = format!("{} purchased, {again} of them more than once.", count(users as usize, "user"));
        let bucket = |purchases: u32| match purchases {
            LAST_BUCKET => format!("{purchases} or more"),
            _ => purchases.to_string(),
        };
        Ok(Chart {
            name: PURCHASE_FREQUENCY.name,
            title: PURCHASE_FREQUENCY.title(&[]),
            in_amplitude: PURCHASE_FREQUENCY.steps(&[]),
            kind: PURCHASE_FREQUENCY.kind,
            columns: PURCHASE_FREQUENCY.columns,
            unit: None,
            summary: unless_empty(&rows, summary, "No purchases yet."),
            empty: rows.is_empty().then(|| NO_PURCHASE.to_owned()),
            rows: rows.iter().map(|(purchases, users)| vec![bucket(*purchases).into(), Cell::Count(*users)]).collect(),
        })
    }

    fn retention(&self, now_ms: i64) -> Result<Chart, ChartsError> {
        let today = now_ms.div_euclid(DAY_MS);
        let rows: Vec<(u32, f64, u32)> =
            self.database.rows(include_str!("charts/retention.sql"), named_params! {":today": today})?;
        let users = self.database.number("SELECT COUNT(DISTINCT user) FROM purchase")?;
        let have_purchased = format!("{} purchased", count(users as usize, "user"));
        let summary = match rows.get(1) {
            Some((_, percent, reached)) => {
                format!(
                    "{percent}% came back in week 1 (of {} whose week 1 has ended; {have_purchased} in total).",
                    count(*reached as usize, "user")
                )
            }
            None => format!("{have_purchased}; no user's week 1 has ended yet."),
        };
        let empty = match users {
            0 => NO_PURCHASE.to_owned(),
            _ => format!(
                "{have_purchased} less than a week ago, so no user's week 0 has ended yet. Come back later, or generate a \
                 shop with a history: cargo cli generate"
            ),
        };
        Ok(Chart {
            name: RETENTION.name,
            title: RETENTION.title(&[]),
            in_amplitude: RETENTION.steps(&[]),
            kind: RETENTION.kind,
            columns: RETENTION.columns,
            unit: Some("%".to_owned()),
            summary: if users == 0 { "No purchases yet.".to_owned() } else { summary },
            empty: rows.is_empty().then_some(empty),
            rows: rows.iter().map(|(n, percent, _)| vec![format!("Week {n}").into(), Cell::Ratio(*percent)]).collect(),
        })
    }

    fn revenue_by_product(&self, currency: &str) -> Result<Chart, ChartsError> {
        let rows: Vec<(String, Money)> =
            self.database.rows(include_str!("charts/revenue_by_product.sql"), named_params! {":currency": currency})?;
        let figures: Vec<_> = rows.iter().map(|(product, sum)| (&**product, shown(sum, currency))).collect();
        let empty = match self.database.number("SELECT COUNT(*) FROM ordered_product")? {
            0 => NO_PURCHASE.to_owned(),
            _ => format!("No purchase in {currency}. Choose another currency."),
        };
        Ok(Chart {
            name: REVENUE_BY_PRODUCT.name,
            title: REVENUE_BY_PRODUCT.title(&[("currency", currency)]),
            in_amplitude: REVENUE_BY_PRODUCT.steps(&[("currency", currency)]),
            kind: REVENUE_BY_PRODUCT.kind,
            columns: REVENUE_BY_PRODUCT.columns,
            unit: Some(currency.to_owned()),
            summary: leader(&figures, &format!("No purchase in {currency} yet.")),
            empty: rows.is_empty().then_some(empty),
            rows: rows.into_iter().map(|(product, sum)| vec![product.into(), sum.into()]).collect(),
        })
    }

    fn orders_by_product(&self) -> Result<Chart, ChartsError> {
        let rows: Vec<(String, u32)> = self.database.rows(include_str!("charts/orders_by_product.sql"), &[])?;
        let figures: Vec<_> =
            rows.iter().map(|(product, orders)| (&**product, count(*orders as usize, "order"))).collect();
        Ok(Chart {
            name: ORDERS_BY_PRODUCT.name,
            title: ORDERS_BY_PRODUCT.title(&[]),
            in_amplitude: ORDERS_BY_PRODUCT.steps(&[]),
            kind: ORDERS_BY_PRODUCT.kind,
            columns: ORDERS_BY_PRODUCT.columns,
            unit: None,
            summary: leader(&figures, "No purchase yet."),
            empty: rows.is_empty().then(|| NO_PURCHASE.to_owned()),
            rows: rows.into_iter().map(|(product, orders)| vec![product.into(), Cell::Count(orders)]).collect(),
        })
    }

    fn big_spenders(&self, currency: &str, cohort: Window, now_ms: i64) -> Result<Chart, ChartsError> {
        let parameters = named_params! {
            ":currency": currency, ":cohort": cohort.name(), ":now": now_ms, ":threshold": BIG_SPENDER,
        };
        let rows: Vec<(String, Money)> = self.database.rows(include_str!("charts/big_spenders.sql"), parameters)?;
        let (when, clause) = match cohort {
            Window::FirstSevenDays => ("in their first seven days", "Within: 7 days of first use"),
            Window::Last30Days => ("in the last 30 days", "During: Last 30 Days"),
        };
        let did = format!("spent more than {} {when}", shown(BIG_SPENDER, currency));
        let sum = Money::sum(rows.iter().map(|(_, spent)| *spent));
        let summary =
            format!("{} {did}: {} together, refunds not subtracted.", count(rows.len(), "user"), shown(sum, currency));
        let threshold = BIG_SPENDER.to_string();
        let chosen = &[("currency", currency), ("threshold", &*threshold), ("when", clause), ("did", &*did)];
        let empty = match self.database.number("SELECT COUNT(*) FROM purchase")? {
            0 => NO_PURCHASE.to_owned(),
            _ => format!("No user {did}. Choose another currency or period."),
        };
        Ok(Chart {
            name: BIG_SPENDERS.name,
            title: BIG_SPENDERS.title(chosen),
            in_amplitude: BIG_SPENDERS.steps(chosen),
            kind: BIG_SPENDERS.kind,
            columns: BIG_SPENDERS.columns,
            unit: Some(currency.to_owned()),
            summary: unless_empty(&rows, summary, &format!("No user {did}.")),
            empty: rows.is_empty().then_some(empty),
            rows: rows.into_iter().map(|(user, spent)| vec![user.into(), spent.into()]).collect(),
        })
    }
}

/// US dollars, unless only other currencies occur.
fn usual(currencies: &[String]) -> String {
    const DOLLAR: &str = "USD";
    let first = currencies.first().filter(|_| !currencies.iter().any(|currency| currency == DOLLAR));
    first.map_or(DOLLAR, String::as_str).to_owned()
}

fn unless_empty<T>(rows: &[T], summary: String, otherwise: &str) -> String {
    if rows.is_empty() { otherwise.to_owned() } else { summary }
}

/// `a, b and c`
fn enumeration(items: impl Iterator<Item = String>) -> String {
    let items: Vec<_> = items.collect();
    match items.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}

/// The top product's figure. Products without a name do not count.
fn leader(figures: &[(&str, String)], otherwise: &str) -> String {
    let mut products = figures.iter().filter(|(product, _)| *product != NONE);
    let (Some((first, figure)), rest) = (products.next(), products.count()) else {
        return if figures.is_empty() { otherwise } else { "No purchase names a product." }.to_owned();
    };
    format!("Top product: {first}, {figure} ({}). {WHOLE_UNDER_EACH}", count(1 + rest, "product"))
}

impl Window {
    /// As in URLs and queries.
    fn name(self) -> &'static str {
        match self {
            Self::FirstSevenDays => "first_seven_days",
            Self::Last30Days => "last_30_days",
        }
    }
}

impl FromStr for Window {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let windows = [Self::FirstSevenDays, Self::Last30Days];
        let window = windows.into_iter().find(|window| window.name() == text);
        window.ok_or("invalid cohort; expected `first_seven_days` or `last_30_days`")
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Money> for Cell {
    fn from(money: Money) -> Self {
        Self::Money(money)
    }
}

impl From<rusqlite::Error> for ChartsError {
    fn from(error: rusqlite::Error) -> Self {
        Self(error)
    }
}

impl fmt::Display for ChartsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the charts cannot be computed from the events that the local Amplitude has: {}", self.0)
    }
}

impl std::error::Error for ChartsError {}

#[cfg(test)]
mod tests {
    use amplitude_emulator::Endpoint;
    use serde_json::{Value, json};
    use stripe_amplitude::forward::{Decision, forward, unaudited};
    use stripe_amplitude::settings::Settings;
    use stripe_amplitude::stripe::event::Event;
    use stripe_amplitude::translate::Context;

    use stripe_amplitude::stripe::signature::VerifiedBody;

    use super::*;
    use crate::samples::SAMPLES;

    const MINUTE_MS: i64 = 60 * 1000;
    const PAYMENT: &str = "payment_intent.succeeded";
    const PAID: &str = "invoice.payment_succeeded";

    /// Days are counted from Monday, 7 September 2026, which is the 20,703rd after 1 January 1970.
    fn at(day: i64, hour: i64, minute: i64) -> i64 {
        (20_703 + day) * DAY_MS + (hour * 60 + minute) * MINUTE_MS
    }

    /// Monday noon, four weeks later.
    fn now() -> i64 {
        at(28, 12, 0)
    }

    /// An event that the local Amplitude accepted. A device has no user.
    fn accepted(user: &str, time: i64, event_type: &str, more: Value) -> AcceptedEvent {
        let mut event = json!({
            "event_type": format!("[Stripe] {event_type}"), "time": time, "device_id": format!("stripe-{user}"),
            "insert_id": format!("evt_{user}_{time}_{event_type}"),
        });
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let Value::Object(event) = event else { unreachable!() };
        let attributed_user_id = (!user.starts_with("pi_")).then(|| user.to_owned());
        let (endpoint, api_key) = (Endpoint::HttpV2, "key".to_owned());
        AcceptedEvent { event, attributed_user_id, upload_time: time + 1000, endpoint, api_key }
    }

    fn revenue(user: &str, time: i64, event_type: &str, amount: Value, currency: &str) -> AcceptedEvent {
        let properties = json!({"normalized_currency": currency, "stripe_livemode": false});
        let more = json!({"revenue": amount, "currency": currency, "event_properties": properties});
        accepted(user, time, event_type, more)
    }

    fn purchase(user: &str, time: i64, amount: Value, currency: &str) -> AcceptedEvent {
        revenue(user, time, PAYMENT, amount, currency)
    }

    /// A purchase with its products.
    fn order(user: &str, time: i64, amount: Value, currency: &str, names: Value) -> AcceptedEvent {
        let mut order = purchase(user, time, amount, currency);
        order.event["event_properties"]["product_names"] = names;
        order
    }

    fn invoice(user: &str, time: i64, event_type: &str, amount: Value, currency: &str, names: Value) -> AcceptedEvent {
        let mut properties = json!({"normalized_amount_paid": amount, "normalized_currency": currency});
        if !names.is_null() {
            properties["product_names"] = names;
        }
        accepted(user, time, event_type, json!({"event_properties": properties}))
    }

    /// Four weeks of a small shop.
    fn shop() -> Vec<AcceptedEvent> {
        vec![
            // $60 and $40 in the first seven days, which is $100 and not more; then $25, an hour more than seven days
            // after the first event, and an hour less than seven days after the first purchase.
            accepted("user_0001", at(0, 8, 0), "invoice.created", json!({})),
            order("user_0001", at(0, 10, 0), json!(60), "USD", json!(["Basic plan"])),
            invoice("user_0001", at(0, 10, 0), PAID, json!(60), "USD", json!(["Basic plan"])),
            // Of the same purchase, like the one above, and not to be counted a second time.
            invoice("user_0001", at(0, 10, 0), "invoice.paid", json!(60), "USD", json!(["Basic plan"])),
            order("user_0001", at(5, 10, 0), json!(40), "USD", json!(["Basic plan"])),
            invoice("user_0001", at(5, 10, 0), PAID, json!(40), "USD", json!(["Basic plan"])),
            purchase("user_0001", at(7, 9, 0), json!(25), "USD"),
            // $80 in the first seven days; $30 exactly seven days after the first event, which is too late.
            accepted("user_0002", at(1, 9, 0), "charge.failed", json!({})),
            order("user_0002", at(2, 9, 0), json!(80), "USD", json!(["Basic plan", "Extra seats"])),
            invoice("user_0002", at(2, 9, 0), PAID, json!(80), "USD", json!(["Basic plan", "Extra seats"])),
            purchase("user_0002", at(8, 9, 0), json!(30), "USD"),
            purchase("user_0002", at(17, 9, 0), json!(10), "USD"),
            // 150 euros, of which 50 are refunded, as negative revenue.
            order("user_0003", at(3, 9, 0), json!(150), "EUR", json!(["Team plan"])),
            invoice("user_0003", at(3, 9, 0), PAID, json!(150), "EUR", json!(["Team plan"])),
            revenue("user_0003", at(4, 9, 0), "charge.refunded", json!(-50), "EUR"),
            // 12,000 yen, and a cent more than $100.
            order("user_0004", at(9, 12, 0), json!(12000), "JPY", json!(["Extra seats"])),
            invoice("user_0004", at(9, 12, 0), PAID, json!(12000), "JPY", json!(["Extra seats"])),
            purchase("user_0004", at(9, 12, 1), json!(100.01), "USD"),
            invoice("user_0004", at(9, 12, 1), PAID, json!(100.01), "USD", json!(null)),
            purchase("user_0004", at(16, 13, 0), json!(5), "USD"),
            // A guest, who is a device, in the last minute of a week; and a user in the first of the next.
            purchase("pi_0005", at(20, 23, 59), json!(19.99), "USD"),
            purchase("user_0006", at(21, 0, 0), json!(0.1), "USD"),
            purchase("user_0006", at(22, 9, 0), json!(0.2), "USD"),
        ]
    }

    fn report_of(events: &[AcceptedEvent], currency: Option<&str>, cohort: Window, now_ms: i64) -> Value {
        let choice = Choice { currency: currency.map(str::to_owned), cohort };
        serde_json::to_value(Charts::of(events).unwrap().report(&choice, now_ms).unwrap()).unwrap()
    }

    fn chart(report: &Value, name: &str) -> Value {
        report["charts"].as_array().unwrap().iter().find(|chart| chart["name"] == name).unwrap().clone()
    }

    /// The chart of the shop, four weeks later.
    fn of_the_shop(name: &str, currency: Option<&str>) -> Value {
        chart(&report_of(&shop(), currency, Window::FirstSevenDays, now()), name)
    }

    #[test]
    fn the_report_follows_the_guide() {
        let report = report_of(&shop(), None, Window::FirstSevenDays, now());
        assert_eq!(report["events"], 23);
        // Revenue events: 11 in dollars; the purchase and the refund in euros; 1 in yen.
        assert_eq!((&report["currency"], &report["currencies"]), (&json!("USD"), &json!(["USD", "EUR", "JPY"])));
        let charts = report["charts"].as_array().unwrap();
        let names: Vec<_> = charts.iter().map(|chart| chart["name"].as_str().unwrap()).collect();
        assert_eq!(
            names,
            [
                "total_revenue",
                "average_purchases",
                "purchase_frequency",
                "retention",
                "revenue_by_product",
                "orders_by_product",
                "big_spenders"
            ]
        );
        for chart in charts {
            let columns = chart["columns"].as_array().unwrap().len();
            for row in chart["rows"].as_array().unwrap() {
                assert_eq!(row.as_array().unwrap().len(), columns, "{chart}");
                assert!(row[columns - 1].is_number(), "{chart}");
            }
            assert_eq!(chart["empty"], json!(null), "{chart}");
            assert!(!chart["in_amplitude"].as_array().unwrap().is_empty());
            assert!(!chart["summary"].as_str().unwrap().is_empty());
        }
    }

    #[test]
    fn total_revenue_is_summed_by_week_and_currency() {
        let chart = of_the_shop("total_revenue", None);
        assert_eq!(
            chart["rows"],
            json!([
                // $60 + $40 + $80; €150, from which the refund of 50 is not subtracted.
                ["2026-09-07", "EUR", 150],
                ["2026-09-07", "JPY", 0],
                ["2026-09-07", "USD", 180],
                // $25 + $30 + $100.01.
                ["2026-09-14", "EUR", 0],
                ["2026-09-14", "JPY", 12000],
                ["2026-09-14", "USD", 155.01],
                // $10 + $5 + the guest's $19.99 a minute before midnight.
                ["2026-09-21", "EUR", 0],
                ["2026-09-21", "JPY", 0],
                ["2026-09-21", "USD", 34.99],
                // $0.10 at midnight + $0.20, which are $0.30 and not $0.30000000000000004.
                ["2026-09-28", "EUR", 0],
                ["2026-09-28", "JPY", 0],
                ["2026-09-28", "USD", 0.3],
            ])
        );
        // $180 + $155.01 + $34.99 + $0.30.
        assert_eq!(chart["summary"], "150.00 EUR, 12000 JPY and 370.30 USD in 4 weeks, refunds not subtracted.");
        assert_eq!((&chart["kind"], &chart["unit"]), (&json!("lines"), &json!(null)));
    }

    #[test]
    fn average_purchases_are_those_of_the_users_who_purchased_in_the_week() {
        let chart = of_the_shop("average_purchases", None);
        assert_eq!(
            chart["rows"],
            json!([
                // User 1 twice, users 2 and 3 once: 4 / 3.
                ["2026-09-07", 1.33],
                // User 4 twice, in two currencies, users 1 and 2 once: 4 / 3.
                ["2026-09-14", 1.33],
                // Users 2 and 4, and the guest, once: 3 / 3.
                ["2026-09-21", 1.0],
                // User 6 twice: 2 / 1.
                ["2026-09-28", 2.0],
            ])
        );
        assert_eq!(chart["summary"], "2 purchases per buyer in the week of 2026-09-28 · peak 2");
    }

    #[test]
    fn a_week_without_purchases_is_0() {
        let events =
            [purchase("user_0001", at(0, 0, 0), json!(1), "USD"), purchase("user_0001", at(14, 0, 0), json!(2), "USD")];
        let report = report_of(&events, None, Window::FirstSevenDays, now());
        assert_eq!(
            chart(&report, "total_revenue")["rows"],
            json!([["2026-09-07", "USD", 1], ["2026-09-14", "USD", 0], ["2026-09-21", "USD", 2]])
        );
        assert_eq!(
            chart(&report, "average_purchases")["rows"],
            json!([["2026-09-07", 1.0], ["2026-09-14", 0.0], ["2026-09-21", 1.0]])
        );
    }

    #[test]
    fn frequency_counts_users_by_purchases() {
        let chart = of_the_shop("purchase_frequency", None);
        // Once: user 3 and the guest. Twice: user 6. Three times: users 1, 2 and 4.
        assert_eq!(chart["rows"], json!([["1", 2], ["2", 1], ["3", 3]]));
        assert_eq!(chart["summary"], "6 users purchased, 4 of them more than once.");
    }

    #[test]
    fn the_last_bucket_is_ten_or_more() {
        let often =
            |user: &'static str, times: i64| (0..times).map(move |n| purchase(user, at(0, 0, n), json!(1), "USD"));
        let events: Vec<_> =
            often("user_0001", 10).chain(often("user_0002", 12)).chain(often("user_0003", 8)).collect();
        let report = report_of(&events, None, Window::FirstSevenDays, now());
        assert_eq!(
            chart(&report, "purchase_frequency")["rows"],
            json!([
                ["1", 0],
                ["2", 0],
                ["3", 0],
                ["4", 0],
                ["5", 0],
                ["6", 0],
                ["7", 0],
                ["8", 1],
                ["9", 0],
                ["10 or more", 2],
            ])
        );
    }

    #[test]
    fn retention_counts_ended_weeks() {
        let chart = of_the_shop("retention", None);
        // It is day 28. The first purchases were on days 0 (user 1), 2 (user 2), 3 (user 3), 9 (user 4), 20 (the guest)
        // and 21 (user 6), so that 4, 3, 3, 2, 1 and 1 weeks are over for them.
        assert_eq!(
            chart["rows"],
            json!([
                // All six, by their first purchase.
                ["Week 0", 100.0],
                // Over for users 1 to 4. User 1 purchased on day 7, the first of week 1, although it was not yet seven
                // times 24 hours later; user 4 seven days after day 9. User 2's day 8 is the last of week 0. 2 / 4.
                ["Week 1", 50.0],
                // Over for users 1, 2 and 3. User 2 purchased on day 17, which is the fifteenth after day 2. 1 / 3.
                ["Week 2", 33.3],
                // Over for user 1, who did not.
                ["Week 3", 0.0],
            ])
        );
        assert_eq!(
            chart["summary"],
            "50% came back in week 1 (of 4 users whose week 1 has ended; 6 users purchased in total)."
        );
        assert_eq!(chart["unit"], "%");
    }

    #[test]
    fn weeks_end_with_their_last_day() {
        let retention = |now_ms| chart(&report_of(&shop()[..4], None, Window::FirstSevenDays, now_ms), "retention");
        // User 1's week 0 is days 0 to 6.
        let on_its_last_day = retention(at(6, 23, 59));
        assert_eq!(on_its_last_day["rows"], json!([]));
        assert_eq!(on_its_last_day["summary"], "1 user purchased; no user's week 1 has ended yet.");
        assert!(on_its_last_day["empty"].as_str().unwrap().starts_with("1 user purchased less than a week ago"));
        assert_eq!(retention(at(7, 0, 0))["rows"], json!([["Week 0", 100.0]]));
    }

    #[test]
    fn product_revenue_is_in_one_currency() {
        // Basic plan: $60 + $40 of user 1, and $80 of user 2, which also counts under Extra seats. The others name no
        // product.
        let chart = of_the_shop("revenue_by_product", None);
        assert_eq!(chart["rows"], json!([["(none)", 190.3], ["Basic plan", 180], ["Extra seats", 80]]));
        assert_eq!(chart["summary"], format!("Top product: Basic plan, 180.00 USD (2 products). {WHOLE_UNDER_EACH}"));
        assert_eq!((&chart["kind"], &chart["unit"]), (&json!("bars"), &json!("USD")));
        assert_eq!(of_the_shop("revenue_by_product", Some("EUR"))["rows"], json!([["Team plan", 150]]));
        assert_eq!(of_the_shop("revenue_by_product", Some("JPY"))["rows"], json!([["Extra seats", 12000]]));
        let none = of_the_shop("revenue_by_product", Some("GBP"));
        assert_eq!(
            (&none["rows"], none["empty"].as_str().unwrap()),
            (&json!([]), "No purchase in GBP. Choose another currency.")
        );
    }

    #[test]
    fn orders_count_purchases() {
        let chart = of_the_shop("orders_by_product", Some("EUR"));
        // Basic plan: user 1 twice and user 2. Extra seats: user 2, and user 4 in yen.
        assert_eq!(chart["rows"], json!([["(none)", 8], ["Basic plan", 3], ["Extra seats", 2], ["Team plan", 1]]));
        assert_eq!(chart["summary"], format!("Top product: Basic plan, 3 orders (3 products). {WHOLE_UNDER_EACH}"));
    }

    #[test]
    fn big_spenders_spent_more_than_100_in_their_first_seven_days() {
        // User 1: 60 + 40 = 100, and 25 too late. User 2: 80, and 30 exactly seven days after the failed charge. User
        // 4: 100.01, and 5 a week later.
        let chart = of_the_shop("big_spenders", None);
        assert_eq!(chart["rows"], json!([["user_0004", 100.01]]));
        assert_eq!(
            chart["summary"],
            "1 user spent more than 100.00 USD in their first seven days: 100.01 USD together, refunds not subtracted."
        );
        assert_eq!((&chart["kind"], &chart["unit"]), (&json!("users"), &json!("USD")));
        // The refund of 50 is an event of another type.
        assert_eq!(of_the_shop("big_spenders", Some("EUR"))["rows"], json!([["user_0003", 150]]));
        assert_eq!(of_the_shop("big_spenders", Some("JPY"))["rows"], json!([["user_0004", 12000]]));
    }

    #[test]
    fn big_spenders_spent_more_than_100_in_the_last_30_days() {
        let rows =
            |now_ms| chart(&report_of(&shop(), None, Window::Last30Days, now_ms), "big_spenders")["rows"].clone();
        // All of it: user 1 spent 60 + 40 + 25, user 2 80 + 30 + 10, user 4 100.01 + 5.
        assert_eq!(rows(now()), json!([["user_0001", 125], ["user_0002", 120], ["user_0004", 105.01]]));
        // User 1's first 60 are exactly 30 days ago, and a minute later more than that.
        assert_eq!(rows(at(30, 10, 0))[0], json!(["user_0001", 125]));
        assert_eq!(rows(at(30, 10, 1)), json!([["user_0002", 120], ["user_0004", 105.01]]));
        // What has not happened yet does not count: user 1's 40 and 25, user 4 altogether.
        assert_eq!(rows(at(5, 9, 59)), json!([]));
    }

    #[test]
    fn without_events_every_chart_says_what_to_do_next() {
        let report = report_of(&[], None, Window::FirstSevenDays, now());
        assert_eq!(
            (&report["events"], &report["currency"], &report["currencies"]),
            (&json!(0), &json!("USD"), &json!([]))
        );
        for chart in report["charts"].as_array().unwrap() {
            assert_eq!(chart["rows"], json!([]), "{chart}");
            assert!(chart["empty"].as_str().unwrap().contains("cargo cli generate"), "{chart}");
        }
    }

    #[test]
    fn the_default_currency_is_dollars_or_the_most_frequent() {
        let currency =
            |events: &[AcceptedEvent]| report_of(events, None, Window::FirstSevenDays, now())["currency"].clone();
        let [euro, yen] =
            [("EUR", 1), ("JPY", 2)].map(|(code, day)| purchase("user_0001", at(day, 0, 0), json!(1), code));
        assert_eq!(currency(&[euro.clone(), yen.clone(), yen.clone()]), "JPY");
        let dollars = purchase("user_0001", at(0, 0, 0), json!(1), "USD");
        assert_eq!(currency(&[euro.clone(), yen.clone(), yen, dollars]), "USD");
        // An invoice is no revenue.
        let invoice = invoice("user_0001", at(0, 0, 0), PAID, json!(1), "USD", json!(["Basic plan"]));
        assert_eq!(currency(&[euro, invoice]), "EUR");
    }

    #[test]
    fn what_is_odd_counts_as_little_as_it_can() {
        let events = [
            // Without an amount it is a purchase, and no revenue.
            accepted("user_0001", at(0, 0, 0), PAYMENT, json!({})),
            purchase("user_0001", at(1, 0, 0), json!(1e300), "USD"),
            // Out of any calendar.
            purchase("user_0001", i64::MAX - 1000, json!(1), "USD"),
            // A product twice in one purchase is one order of it, and no list is none.
            order("user_0001", at(0, 0, 0), json!(1), "USD", json!(["Basic plan", "Basic plan"])),
            order("user_0001", at(0, 0, 0), json!(1), "USD", json!([{"name": "Basic plan"}])),
            order("user_0001", at(0, 0, 0), json!(1), "USD", json!([])),
        ];
        let report = report_of(&events, None, Window::Last30Days, now());
        assert_eq!(chart(&report, "average_purchases")["rows"], json!([["2026-09-07", 5.0]]));
        assert_eq!(chart(&report, "orders_by_product")["rows"], json!([["(none)", 5], ["Basic plan", 1]]));
    }

    #[test]
    fn charts_read_the_functions_events() {
        let settings = Settings::parse(r#"{"refunds": "negative_revenue"}"#).unwrap();
        let project = "demo".parse().unwrap();
        let events: Vec<_> = SAMPLES
            .iter()
            .map(|sample| {
                let body = VerifiedBody::trusted(sample.json.as_bytes().to_vec().into());
                let context = Context {
                    project: &project,
                    source: None,
                    settings: &settings,
                    has_test_key: false,
                    objects: None,
                };
                let event = Event::parse(&body).unwrap();
                let happened = event.created.try_into().unwrap();
                let decision = forward(event, &context, happened, &mut unaudited).unwrap();
                let Decision::Send(translation) = decision else { panic!("{}", sample.event_type) };
                let Value::Object(event) = serde_json::to_value(&translation.event).unwrap() else { unreachable!() };
                let attributed_user_id = translation.event.user_id.clone();
                let (upload_time, endpoint, api_key) = (now(), Endpoint::HttpV2, "key".to_owned());
                AcceptedEvent { event, attributed_user_id, upload_time, endpoint, api_key }
            })
            .collect();
        let report = report_of(&events, None, Window::FirstSevenDays, now());
        let rows = |name| chart(&report, name)["rows"].clone();
        // The samples are of Thursday, 25 July 2024; the refund among them is not subtracted.
        assert_eq!(rows("total_revenue"), json!([["2024-07-22", "USD", 20]]));
        assert_eq!(rows("revenue_by_product"), json!([["Order 6735", 20]]));
        assert_eq!(rows("orders_by_product"), json!([["Order 6735", 1]]));
        assert_eq!(rows("purchase_frequency"), json!([["1", 1]]));
    }

    #[test]
    fn a_cohort_is_chosen_by_its_name() {
        for window in [Window::FirstSevenDays, Window::Last30Days] {
            assert_eq!(window.name().parse(), Ok(window));
        }
        assert!("week".parse::<Window>().is_err());
    }

    #[test]
    fn many_events_are_no_problem() {
        let events: Vec<_> = (0..20_000)
            .map(|n| match n % 4 {
                0 | 1 => purchase(
                    &format!("user_{:04}", n % 500),
                    at(n % 84, 0, 0),
                    json!(n),
                    ["USD", "EUR"][n as usize % 2],
                ),
                2 => invoice(
                    &format!("user_{:04}", n % 500),
                    at(n % 84, 0, 0),
                    PAID,
                    json!(n),
                    "USD",
                    json!(["Basic plan", format!("Product {}", n % 20)]),
                ),
                _ => accepted(&format!("user_{:04}", n % 500), at(n % 84, 0, 0), "charge.succeeded", json!({})),
            })
            .collect();
        let choice = Choice { currency: None, cohort: Window::FirstSevenDays };
        let report = Charts::of(&events).unwrap().report(&choice, at(84, 0, 0)).unwrap();
        assert_eq!(report.events, 20_000);
        assert!(report.charts.iter().all(|chart| !chart.rows.is_empty()));
    }
}
