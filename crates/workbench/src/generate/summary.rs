//! The totals of a shop, computed from its purchases and not from its events.

use std::collections::BTreeMap;
use std::fmt;

use stripe_amplitude_common::clock::WEEK;
use stripe_amplitude_common::text::count;

use super::buyer::Buyer;
use super::market::Market;
use super::purchase::Purchase;

/// A big spender spends more than this, in cents.
const BIG_SPENDING: i64 = 100 * 100;

/// The totals. Amounts are in minor units, by currency.
#[derive(Debug, Default, PartialEq)]
pub struct Summary {
    pub(crate) events: usize,
    /// Paid purchases.
    pub(crate) purchases: usize,
    /// Purchases that were never paid.
    pub(crate) unpaid: usize,
    pub(crate) revenue: BTreeMap<Market, i64>,
    pub(crate) refunds: usize,
    pub(crate) refunded: BTreeMap<Market, i64>,
    pub(crate) customers: usize,
    pub(crate) guests: usize,
    /// Users who spent more than $100 within seven days of their first event, before refunds.
    pub(crate) big_spenders: usize,
}

impl Summary {
    /// Adds a buyer with all purchases.
    pub(crate) fn add(&mut self, buyer: &Buyer, purchases: &[Purchase]) {
        let market = buyer.market;
        let first = purchases.iter().map(Purchase::started).min().unwrap_or_default();
        let mut early = 0;
        for purchase in purchases {
            self.events += purchase.steps().len();
            let Some(paid) = purchase.paid() else {
                self.unpaid += 1;
                continue;
            };
            let amount = purchase.amount(market);
            self.purchases += 1;
            *self.revenue.entry(market).or_default() += amount;
            if paid < first + WEEK {
                early += amount;
            }
            for refund in &purchase.refunds {
                self.refunds += 1;
                *self.refunded.entry(market).or_default() += refund.amount;
            }
        }
        self.customers += usize::from(!buyer.is_guest());
        self.guests += usize::from(buyer.is_guest());
        self.big_spenders += usize::from(market == Market::Usd && early > BIG_SPENDING);
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (customers, guests) = (count(self.customers, "customer"), count(self.guests, "guest"));
        writeln!(f, "Purchases:     {} by {customers} and {guests}; {} more failed", self.purchases, self.unpaid)?;
        writeln!(f, "Revenue:       {}", amounts(&self.revenue))?;
        writeln!(f, "Refunds:       {}, {} in total", self.refunds, amounts(&self.refunded))?;
        writeln!(f, "Big spenders:  {} who spent more than $100 in their first seven days", self.big_spenders)
    }
}

fn amounts(amounts: &BTreeMap<Market, i64>) -> String {
    let amounts: Vec<_> = amounts.iter().map(|(market, minor_units)| market.amount(*minor_units)).collect();
    if amounts.is_empty() { "nothing".to_owned() } else { amounts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::buyer::{Habit, Identity};
    use crate::generate::product::{HELMET, RIDE};
    use crate::generate::purchase::{Attempt, Line, Refund};
    use crate::generate::seed::Seed;

    fn direct(product: &'static super::super::product::Product, at: i64, succeeded: bool) -> Purchase {
        Purchase {
            seed: Seed::new(1),
            lines: vec![Line { product, quantity: 1, proration: None }],
            invoice: None,
            by_checkout: false,
            attempts: vec![Attempt { at, succeeded }],
            refunds: Vec::new(),
        }
    }

    fn buyer(identity: Identity, market: Market) -> Buyer {
        Buyer { seed: Seed::new(1), number: 1, identity, habit: Habit::Api, market }
    }

    #[test]
    fn totals_are_by_currency_and_weeks_by_user() {
        let mut summary = Summary::default();
        // 89 and 49 dollars: once within the first week, once with the second payment a second too late.
        let mut early = [direct(&RIDE, 0, true), direct(&HELMET, WEEK - 2, true)];
        early[1].refunds = vec![Refund { at: WEEK, amount: 2000, before: 0 }];
        summary.add(&buyer(Identity::User, Market::Usd), &early);
        summary
            .add(&buyer(Identity::Customer, Market::Usd), &[direct(&RIDE, 0, true), direct(&HELMET, WEEK - 1, true)]);
        summary.add(&buyer(Identity::Guest, Market::Jpy), &[direct(&HELMET, 0, true)]);
        summary.add(&buyer(Identity::User, Market::Eur), &[direct(&HELMET, 0, false)]);
        let expected = Summary {
            events: 2 * 5 + 1 + 2,
            purchases: 5,
            unpaid: 1,
            revenue: [(Market::Usd, 2 * 13_800), (Market::Jpy, 7200)].into(),
            refunds: 1,
            refunded: [(Market::Usd, 2000)].into(),
            customers: 3,
            guests: 1,
            big_spenders: 1,
        };
        assert_eq!(summary, expected);
        let text = summary.to_string();
        assert!(text.contains("5 by 3 customers and 1 guest; 1 more failed\n"), "{text}");
        assert!(text.contains("276.00 USD, 7200 JPY\n") && text.contains("1, 20.00 USD in total\n"), "{text}");
    }
}
