//! A purchase: its lines, its payment attempts, and the events that Stripe sends for it.

use stripe_amplitude_common::clock;

use super::market::Market;
use super::product::Product;
use super::seed::Seed;

/// A purchase, paid or not. Times are in Unix seconds, amounts in minor units of the buyer's currency.
#[derive(Clone, Debug)]
pub(crate) struct Purchase {
    /// The seed of its IDs.
    pub(crate) seed: Seed,
    pub(crate) lines: Vec<Line>,
    /// A payment without an invoice has a single line, unless it was made in Checkout.
    pub(crate) invoice: Option<Invoice>,
    /// Whether it, or its subscription, was made in a checkout session.
    pub(crate) by_checkout: bool,
    /// The first attempt and the retries. Only the last may have succeeded.
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) refunds: Vec<Refund>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    pub(crate) product: &'static Product,
    pub(crate) quantity: i64,
    pub(crate) proration: Option<Proration>,
}

/// A proration: the quantity of a subscription changed within a period.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Proration {
    /// The time of the change.
    pub(crate) at: i64,
    /// The end of the period.
    pub(crate) end: i64,
    /// The remaining part of the period, in thousandths.
    pub(crate) left: i64,
    /// Whether it refunds the old quantity for the remaining time.
    pub(crate) is_credit: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Invoice {
    /// From 1, per buyer.
    pub(crate) number: usize,
    pub(crate) created: i64,
    pub(crate) finalized: i64,
    pub(crate) subscription: Option<Period>,
}

/// A period of a subscription, with an invoice at its start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Period {
    /// The seed of the subscription's ID.
    pub(crate) subscription: Seed,
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) is_first: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    pub(crate) at: i64,
    pub(crate) succeeded: bool,
}

/// A refund.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refund {
    pub(crate) at: i64,
    pub(crate) amount: i64,
    /// The amount refunded before.
    pub(crate) before: i64,
}

/// A step of a purchase, which Stripe reports in an event. Attempts are numbered from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    InvoiceCreated,
    InvoiceFinalized,
    ChargeFailed { attempt: usize },
    PaymentFailed { attempt: usize },
    InvoicePaymentFailed { attempt: usize, next: Option<i64> },
    ChargeSucceeded { attempt: usize },
    PaymentSucceeded { attempt: usize },
    InvoicePaid { attempt: usize },
    InvoicePaymentSucceeded { attempt: usize },
    SessionCompleted { attempt: usize },
    Refunded { attempt: usize, amount: i64, before: i64 },
}

impl Step {
    /// The type of the event.
    pub(crate) fn event_type(self) -> &'static str {
        match self {
            Self::InvoiceCreated => "invoice.created",
            Self::InvoiceFinalized => "invoice.finalized",
            Self::ChargeFailed { .. } => "charge.failed",
            Self::PaymentFailed { .. } => "payment_intent.payment_failed",
            Self::InvoicePaymentFailed { .. } => "invoice.payment_failed",
            Self::ChargeSucceeded { .. } => "charge.succeeded",
            Self::PaymentSucceeded { .. } => "payment_intent.succeeded",
            Self::InvoicePaid { .. } => "invoice.paid",
            Self::InvoicePaymentSucceeded { .. } => "invoice.payment_succeeded",
            Self::SessionCompleted { .. } => "checkout.session.completed",
            Self::Refunded { .. } => "charge.refunded",
        }
    }
}

impl Purchase {
    pub(crate) fn amount(&self, market: Market) -> i64 {
        self.lines.iter().map(|line| line.amount(market)).sum()
    }

    /// The time of its first event.
    pub(crate) fn started(&self) -> i64 {
        let first_attempt = self.attempts.first().map(|attempt| attempt.at);
        self.invoice.as_ref().map(|invoice| invoice.created).or(first_attempt).unwrap_or_default()
    }

    /// The time of payment, if it was paid.
    pub(crate) fn paid(&self) -> Option<i64> {
        self.steps().into_iter().find_map(|(at, step)| matches!(step, Step::PaymentSucceeded { .. }).then_some(at))
    }

    /// The steps with their times, in order. Within the same second, causes precede effects.
    pub(crate) fn steps(&self) -> Vec<(i64, Step)> {
        let mut steps = Vec::with_capacity(6);
        if let Some(invoice) = &self.invoice {
            steps.push((invoice.created, Step::InvoiceCreated));
            steps.push((invoice.finalized, Step::InvoiceFinalized));
        }
        for (attempt, &Attempt { at, succeeded }) in self.attempts.iter().enumerate() {
            let next = self.attempts.get(attempt + 1).map(|next| next.at);
            if succeeded {
                steps.push((at, Step::ChargeSucceeded { attempt }));
                steps.push((at + 1, Step::PaymentSucceeded { attempt }));
            } else {
                steps.push((at, Step::ChargeFailed { attempt }));
                steps.push((at, Step::PaymentFailed { attempt }));
            }
            match (&self.invoice, succeeded) {
                (Some(_), true) => {
                    steps.push((at + 2, Step::InvoicePaid { attempt }));
                    steps.push((at + 2, Step::InvoicePaymentSucceeded { attempt }));
                }
                (Some(_), false) => steps.push((at + 1, Step::InvoicePaymentFailed { attempt, next })),
                (None, _) => {}
            }
            if succeeded && self.session_seed().is_some() && !self.is_renewal() {
                steps.push((at + 3, Step::SessionCompleted { attempt }));
            }
        }
        let attempt = self.attempts.len().saturating_sub(1);
        for &Refund { at, amount, before } in &self.refunds {
            steps.push((at, Step::Refunded { attempt, amount, before }));
        }
        steps
    }

    pub(crate) fn payment_id(&self) -> String {
        self.seed.id("pi")
    }

    /// Each attempt is a separate charge of the same payment.
    pub(crate) fn charge_id(&self, attempt: usize) -> String {
        self.seed.derive(attempt as u64).id("ch")
    }

    /// The subscription period that it pays.
    pub(crate) fn period(&self) -> Option<Period> {
        self.invoice.as_ref()?.subscription
    }

    /// Whether Stripe creates it automatically, without the buyer.
    pub(crate) fn is_renewal(&self) -> bool {
        self.period().is_some_and(|period| !period.is_first)
    }

    /// The checkout session of the purchase, or for a renewal, of the subscription.
    pub(crate) fn session_id(&self) -> Option<String> {
        self.session_seed().map(|seed| seed.id("cs_test"))
    }

    fn session_seed(&self) -> Option<Seed> {
        let seed = self.period().map_or(self.seed, |period| period.subscription);
        self.by_checkout.then_some(seed)
    }

    pub(crate) fn invoice_id(&self) -> String {
        self.seed.id("in")
    }

    /// The payment's description: Stripe's with an invoice, otherwise the app's with the product.
    pub(crate) fn description(&self, market: Market) -> Option<String> {
        match &self.invoice {
            Some(Invoice { subscription: Some(period), .. }) => {
                Some(if period.is_first { "Subscription creation" } else { "Subscription update" }.to_owned())
            }
            Some(Invoice { subscription: None, .. }) => Some("Payment for Invoice".to_owned()),
            None if self.by_checkout => None,
            None => self.lines.first().map(|line| line.description(market)),
        }
    }
}

impl Line {
    pub(crate) fn amount(&self, market: Market) -> i64 {
        let whole = self.quantity * self.product.price(market);
        match self.proration {
            None => whole,
            Some(Proration { left, is_credit, .. }) => whole * left / 1000 * if is_credit { -1 } else { 1 },
        }
    }

    /// Stripe's generated description.
    pub(crate) fn description(&self, market: Market) -> String {
        let Some(Proration { at, is_credit, .. }) = self.proration else {
            return self.product.description(self.quantity, market);
        };
        let what = if is_credit { "Unused" } else { "Remaining" };
        let quantity = if self.quantity == 1 { String::new() } else { format!("{} × ", self.quantity) };
        format!("{what} time on {quantity}{} after {}", self.product.name, clock::show_day(at))
    }
}

impl Period {
    pub(crate) fn subscription_id(&self) -> String {
        self.subscription.id("sub")
    }

    pub(crate) fn item_id(&self) -> String {
        self.subscription.id("si")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::product::{GLOVES, HELMET, PILOT_PLAN};

    fn line(product: &'static Product, quantity: i64) -> Line {
        Line { product, quantity, proration: None }
    }

    fn purchase(invoice: bool, attempts: &[(i64, bool)], refunds: &[(i64, i64, i64)]) -> Purchase {
        Purchase {
            seed: Seed::new(1),
            lines: vec![line(&HELMET, 1), line(&GLOVES, 2)],
            by_checkout: false,
            invoice: invoice.then_some(Invoice { number: 1, created: 100, finalized: 101, subscription: None }),
            attempts: attempts.iter().map(|&(at, succeeded)| Attempt { at, succeeded }).collect(),
            refunds: refunds.iter().map(|&(at, amount, before)| Refund { at, amount, before }).collect(),
        }
    }

    fn steps_of(purchase: &Purchase) -> Vec<(i64, &'static str)> {
        purchase.steps().into_iter().map(|(at, step)| (at, step.event_type())).collect()
    }

    #[test]
    fn a_paid_invoice_has_six_events() {
        let paid = purchase(true, &[(103, true)], &[]);
        let expected = [
            (100, "invoice.created"),
            (101, "invoice.finalized"),
            (103, "charge.succeeded"),
            (104, "payment_intent.succeeded"),
            (105, "invoice.paid"),
            (105, "invoice.payment_succeeded"),
        ];
        assert_eq!(steps_of(&paid), expected);
        assert_eq!((paid.paid(), paid.amount(Market::Usd)), (Some(104), 4900 + 2 * 1999));
    }

    #[test]
    fn failure_success_and_refund_are_events() {
        let direct = purchase(false, &[(103, false), (160, true)], &[(900, 500, 0), (950, 100, 500)]);
        let expected = [
            (103, "charge.failed"),
            (103, "payment_intent.payment_failed"),
            (160, "charge.succeeded"),
            (161, "payment_intent.succeeded"),
            (900, "charge.refunded"),
            (950, "charge.refunded"),
        ];
        assert_eq!(steps_of(&direct), expected);
        assert_ne!(direct.charge_id(0), direct.charge_id(1));
        let refunded = Step::Refunded { attempt: 1, amount: 100, before: 500 };
        assert_eq!(direct.steps().last(), Some(&(950, refunded)));
    }

    #[test]
    fn descriptions_match_stripes() {
        assert_eq!(line(&PILOT_PLAN, 2).description(Market::Usd), "2 × Pilot plan (at $29.00 / month)");
        let prorated = |quantity, is_credit| Line {
            proration: Some(Proration { at: 1_791_763_200, end: 1_792_972_800, left: 500, is_credit }),
            ..line(&PILOT_PLAN, quantity)
        };
        assert_eq!(prorated(1, true).description(Market::Usd), "Unused time on Pilot plan after 12 Oct 2026");
        assert_eq!(prorated(2, false).description(Market::Usd), "Remaining time on 2 × Pilot plan after 12 Oct 2026");
        assert_eq!((prorated(1, true).amount(Market::Usd), prorated(2, false).amount(Market::Usd)), (-1450, 2900));
    }

    #[test]
    fn renewals_share_the_checkout_session() {
        let subscription = |start: i64, is_first| {
            let period = Period { subscription: Seed::new(2), start, end: start + 100, is_first };
            let invoice = Invoice { number: 1, created: start, finalized: start, subscription: Some(period) };
            Purchase { invoice: Some(invoice), by_checkout: true, ..purchase(true, &[(start, true)], &[]) }
        };
        let (first, renewal) = (subscription(100, true), subscription(200, false));
        assert_eq!(steps_of(&first).last(), Some(&(103, "checkout.session.completed")));
        assert_eq!(steps_of(&renewal).last(), Some(&(202, "invoice.payment_succeeded")));
        assert!(first.session_id().is_some() && first.session_id() == renewal.session_id());
        let order = Purchase { by_checkout: true, ..purchase(false, &[(100, false)], &[]) };
        assert_eq!(steps_of(&order).len(), 2, "the session is not complete");
    }

    #[test]
    fn a_failed_invoice_has_the_next_attempt() {
        let unpaid = purchase(true, &[(103, false), (503, false)], &[]);
        let failures: Vec<_> = unpaid.steps().into_iter().filter(|(at, _)| [104, 504].contains(at)).collect();
        let failed = |attempt, next| Step::InvoicePaymentFailed { attempt, next };
        assert_eq!(failures, [(104, failed(0, Some(503))), (504, failed(1, None))]);
        assert_eq!(unpaid.paid(), None);
    }
}
