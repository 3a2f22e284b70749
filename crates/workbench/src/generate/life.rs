//! A buyer's purchases while the shop is open: visits, orders, subscriptions, failed payments, refunds.

use std::ops::Range;

use fastrand::Rng;
use stripe_amplitude_common::clock::{DAY, WEEK};

use super::buyer::{Buyer, Habit};
use super::product::{GLOVES, GOGGLES, HELMET, PILOT_PLAN, Product, RIDE, STICKERS, WEEK_PASS};
use super::purchase::{Attempt, Invoice, Line, Period, Proration, Purchase, Refund};
use super::seed::Seed;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;

/// The time from the first event of a purchase to the last of its first attempt, with a margin. Later purchases are omitted,
/// so that nothing happens after the end of the season.
const LONGEST_PURCHASE: i64 = 2 * HOUR;

/// The time that Stripe leaves to change the invoice of a renewal.
const DRAFT: i64 = HOUR;

/// A customer's purchases in a season (Unix seconds), oldest first. The same customer and season give the same purchases.
pub(crate) fn of_customer(buyer: &Buyer, season: Range<i64>) -> Vec<Purchase> {
    let mut life = Life::new(buyer, season);
    let first = life.first_visit();
    match life.rng.u32(0..100) {
        0..17 => life.subscribe(&WEEK_PASS, first, 5),
        17..42 => life.subscribe(&PILOT_PLAN, first, 10),
        42..57 => life.come_back(first, 5 * DAY..9 * DAY, 8),
        57..75 => life.come_back(first, 14 * DAY..35 * DAY, 15),
        _ => life.come_back(first, WEEK..2 * WEEK, 100),
    }
    life.ended()
}

/// A guest's single purchase.
pub(crate) fn of_guest(buyer: &Buyer, season: Range<i64>) -> Vec<Purchase> {
    let mut life = Life::new(buyer, season);
    let at = life.some_time_after(life.season.start);
    life.buy_one_thing(at, &[&STICKERS, &GLOVES, &GOGGLES, &HELMET]);
    life.ended()
}

struct Life<'b> {
    buyer: &'b Buyer,
    rng: Rng,
    season: Range<i64>,
    purchases: Vec<Purchase>,
}

/// How payments fail: the percentage, and the time until the retry.
struct Failures {
    percent: u32,
    again_after: &'static [Range<i64>],
}

/// The buyer tries another card at once.
const AT_THE_SCREEN: Failures = Failures { percent: 8, again_after: &[20..5 * MINUTE, MINUTE..HOUR] };

/// Stripe retries a subscription on other days.
const OF_A_RENEWAL: Failures =
    Failures { percent: 6, again_after: &[2 * DAY..2 * DAY + HOUR, 3 * DAY..3 * DAY + HOUR] };

/// The percentage of retries that fail.
const FAILS_AGAIN: u32 = 35;

impl<'b> Life<'b> {
    fn new(buyer: &'b Buyer, season: Range<i64>) -> Self {
        Self { buyer, rng: buyer.seed.rng(), season, purchases: Vec::new() }
    }

    fn ended(mut self) -> Vec<Purchase> {
        self.purchases.sort_by_key(Purchase::started);
        let invoices = self.purchases.iter_mut().filter_map(|purchase| purchase.invoice.as_mut());
        for (index, invoice) in invoices.enumerate() {
            invoice.number = index + 1;
        }
        self.purchases
    }

    /// The latest second for the start of a purchase.
    fn last(&self) -> i64 {
        self.season.end - LONGEST_PURCHASE
    }

    fn some_time_after(&mut self, earliest: i64) -> i64 {
        self.rng.i64(earliest..=self.last().max(earliest))
    }

    /// Some were customers before the season; they visit in the first week.
    fn first_visit(&mut self) -> i64 {
        let start = self.season.start;
        if self.chance(20) { start + self.rng.i64(0..WEEK - LONGEST_PURCHASE) } else { self.some_time_after(start) }
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.u32(0..100) < percent
    }

    /// Until the subscription is canceled, with this percentage after each payment, or a payment fails for good. Some
    /// subscribers also buy something else.
    fn subscribe(&mut self, plan: &'static Product, first: i64, cancelled_percent: u32) {
        let subscription = self.next_seed().derive(0);
        let interval = plan.interval.map_or(WEEK, |interval| interval.seconds());
        let mut start = first;
        let mut quantity = 1;
        let mut prorations = Vec::new();
        while start <= self.last() {
            let is_first = start == first;
            let period = Period { subscription, start, end: start + interval, is_first };
            let mut lines = vec![Line { product: plan, quantity, proration: None }];
            lines.append(&mut prorations);
            let failures = if is_first { AT_THE_SCREEN } else { OF_A_RENEWAL };
            let paid = self.pay_invoice(start, lines, Some(period), &failures, 2);
            if !paid || self.chance(cancelled_percent) {
                break;
            }
            // Some raise the quantity within the period; the next invoice has the proration.
            if quantity == 1 && self.chance(6) {
                let left = self.rng.i64(100..900);
                let (at, end) = (period.end - interval * left / 1000, period.end);
                let line = |quantity, is_credit| {
                    let proration = Proration { at, end, left, is_credit };
                    Line { product: plan, quantity, proration: Some(proration) }
                };
                prorations = vec![line(1, true), line(2, false)];
                quantity = 2;
            }
            start += interval;
        }
        if self.chance(35) {
            let at = self.some_time_after(first + HOUR);
            self.buy(at, false);
        }
    }

    /// Repeated purchases with this time in between; this percentage stops after each.
    fn come_back(&mut self, first: i64, after: Range<i64>, enough_percent: u32) {
        let generous = self.chance(28);
        let mut at = first;
        while at <= self.last() {
            self.buy(at, generous && at == first);
            if self.chance(enough_percent) {
                break;
            }
            at += self.rng.i64(after.clone());
        }
    }

    /// An order; a generous one exceeds $100.
    fn buy(&mut self, at: i64, generous: bool) {
        if at > self.last() {
            return;
        }
        if !generous && self.chance(40) {
            return self.buy_one_thing(at, &[&STICKERS, &GLOVES, &GOGGLES, &HELMET, &RIDE]);
        }
        let mut products: Vec<&'static Product> = vec![&STICKERS, &GLOVES, &GOGGLES, &HELMET];
        self.rng.shuffle(&mut products);
        if generous {
            // The cheapest product would not reach $100.
            products.retain(|product| product.id != STICKERS.id);
            products.insert(0, &RIDE);
        }
        let number = if generous { 2 } else { 1 } + usize::from(self.chance(45)) + usize::from(self.chance(15));
        let mut lines: Vec<_> = products.into_iter().take(number).map(one).collect();
        if let Some(line) = lines.last_mut().filter(|_| self.rng.u32(0..100) < 20) {
            line.quantity = 2;
        }
        if self.buyer.habit == Habit::Checkout {
            let attempts = self.attempts(at, &AT_THE_SCREEN);
            return self.add(lines, None, attempts, 5);
        }
        self.pay_invoice(at, lines, None, &AT_THE_SCREEN, 5);
    }

    /// A payment without an invoice.
    fn buy_one_thing(&mut self, at: i64, products: &[&'static Product]) {
        let lines = self.rng.choice(products).map(|product| one(product));
        let attempts = self.attempts(at, &AT_THE_SCREEN);
        self.add(lines.into_iter().collect(), None, attempts, 5);
    }

    /// Returns whether it was paid.
    fn pay_invoice(
        &mut self,
        created: i64,
        lines: Vec<Line>,
        subscription: Option<Period>,
        failures: &Failures,
        refunded_percent: u32,
    ) -> bool {
        let is_renewal = subscription.is_some_and(|period| !period.is_first);
        let finalized = created + if is_renewal { DRAFT + self.rng.i64(0..MINUTE) } else { self.rng.i64(0..3) };
        let first_attempt = finalized + self.rng.i64(1..4);
        let attempts = self.attempts(first_attempt, failures);
        let paid = attempts.last().is_some_and(|attempt| attempt.succeeded);
        // The number is set once all invoices are known.
        let invoice = Invoice { number: 0, created, finalized, subscription };
        self.add(lines, Some(invoice), attempts, refunded_percent);
        paid
    }

    fn add(&mut self, lines: Vec<Line>, invoice: Option<Invoice>, attempts: Vec<Attempt>, refunded_percent: u32) {
        let seed = self.next_seed();
        let by_checkout = self.buyer.habit == Habit::Checkout;
        let mut purchase = Purchase { seed, lines, invoice, by_checkout, attempts, refunds: Vec::new() };
        if let Some(paid) = purchase.paid().filter(|_| self.rng.u32(0..100) < refunded_percent) {
            purchase.refunds = self.refunds(paid, purchase.amount(self.buyer.market));
        }
        self.purchases.push(purchase);
    }

    /// The seed of the next purchase.
    fn next_seed(&self) -> Seed {
        self.buyer.seed.derive(self.purchases.len() as u64)
    }

    fn attempts(&mut self, first: i64, failures: &Failures) -> Vec<Attempt> {
        let mut attempts = vec![Attempt { at: first, succeeded: !self.chance(failures.percent) }];
        let mut at = first;
        for again_after in failures.again_after {
            at += self.rng.i64(again_after.clone());
            if attempts.last().is_some_and(|attempt| attempt.succeeded) || at > self.last() {
                break;
            }
            attempts.push(Attempt { at, succeeded: !self.chance(FAILS_AGAIN) });
        }
        attempts
    }

    /// The full amount, a part, or a part and later the rest.
    fn refunds(&mut self, paid: i64, amount: i64) -> Vec<Refund> {
        let part = if self.chance(50) { amount } else { amount * self.rng.i64(20..60) / 100 };
        let mut refunds = Vec::new();
        let mut before = 0;
        let mut at = paid;
        for amount in [part, amount - part] {
            at += self.rng.i64(HOUR..10 * DAY);
            if amount == 0 || at > self.last() || (before > 0 && self.chance(60)) {
                break;
            }
            refunds.push(Refund { at, amount, before });
            before += amount;
        }
        refunds
    }
}

fn one(product: &'static Product) -> Line {
    Line { product, quantity: 1, proration: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::buyer::Identity;
    use crate::generate::market::Market;

    const START: i64 = 1_700_000_000;

    fn lives(weeks: i64) -> impl Iterator<Item = (Buyer, Vec<Purchase>)> {
        (1..=400).map(move |number| {
            let seed = Seed::new(7).derive(number.into());
            let habit = if number % 2 == 0 { Habit::Checkout } else { Habit::Api };
            let buyer = Buyer { seed, number, identity: Identity::User, habit, market: Market::Jpy };
            let purchases = of_customer(&buyer, START..START + weeks * WEEK);
            (buyer, purchases)
        })
    }

    #[test]
    fn everyone_buys_within_the_season() {
        for weeks in [1, 3, 12] {
            for (buyer, purchases) in lives(weeks) {
                assert!(!purchases.is_empty(), "{buyer:?}");
                for (at, step) in purchases.iter().flat_map(Purchase::steps) {
                    assert!((START..START + weeks * WEEK).contains(&at), "{step:?} of {buyer:?}");
                }
            }
        }
    }

    #[test]
    fn purchases_are_paid_and_refunded_at_most_once() {
        for (buyer, purchases) in lives(12) {
            for purchase in &purchases {
                let succeeded: Vec<_> = purchase.attempts.iter().map(|attempt| attempt.succeeded).collect();
                let failed_before = succeeded.split_last().is_some_and(|(_, before)| !before.contains(&true));
                assert!(failed_before, "{purchase:?}");
                let mut before = 0;
                for refund in &purchase.refunds {
                    assert_eq!(refund.before, before);
                    assert!(purchase.paid().is_some_and(|paid| paid < refund.at) && refund.amount > 0);
                    before += refund.amount;
                }
                assert!(before <= purchase.amount(buyer.market), "{purchase:?}");
                assert!(
                    purchase.invoice.is_some() || purchase.by_checkout || purchase.lines.len() == 1,
                    "{purchase:?}"
                );
                assert!(purchase.amount(buyer.market) > 0, "{purchase:?}");
            }
        }
    }

    #[test]
    fn steps_are_in_order() {
        for (_, purchases) in lives(12) {
            for purchase in purchases {
                let times: Vec<_> = purchase.steps().into_iter().map(|(at, _)| at).collect();
                assert!(times.is_sorted(), "{purchase:?}");
            }
        }
    }

    #[test]
    fn a_season_has_every_kind_of_purchase() {
        let all: Vec<_> = lives(12).map(|(_, purchases)| purchases).collect();
        let count = |condition: fn(&Purchase) -> bool| all.iter().flatten().filter(|p| condition(p)).count();
        let renewals = count(|purchase| {
            purchase.invoice.as_ref().and_then(|invoice| invoice.subscription).is_some_and(|period| !period.is_first)
        });
        assert!(renewals > 300, "{renewals}");
        assert!(count(|purchase| purchase.attempts.len() > 1 && purchase.paid().is_some()) > 10);
        assert!(count(|purchase| purchase.paid().is_none()) > 5);
        assert!(count(|purchase| purchase.refunds.len() == 1) > 10);
        assert!(count(|purchase| purchase.refunds.len() == 2) > 1);
        assert!(count(|purchase| purchase.lines.iter().any(|line| line.proration.is_some())) > 5);
        assert!(count(|purchase| purchase.invoice.is_none()) > 100);
        assert!(count(|purchase| purchase.lines.len() > 1) > 50);
        assert!(all.iter().filter(|purchases| purchases.len() == 1).count() > 80);
    }
}
