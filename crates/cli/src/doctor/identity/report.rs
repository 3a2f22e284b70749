//! Prints the findings.

use std::fmt;

use stripe_amplitude::stripe::reference::Permission;
use stripe_amplitude::stripe::reference::permission::{
    CHECKOUT_SESSIONS, CUSTOMERS, INVOICES, PAYMENT_INTENTS, SUBSCRIPTIONS,
};

use super::place::{Kind, MAX_ADDRESSES};
use super::{Disagreement, Identity, Statistics};
use crate::doctor::finding::Finding;
use crate::stripe::restricted_key;
use crate::terminal::{count, wrap};

/// Maximum rows of the table. Further keys are rare.
const MAX_ROWS: usize = 30;

/// Maximum disagreements in the report.
const MAX_DISAGREEMENTS: usize = 5;

/// All permissions that are used.
const READ: [Permission; 5] = [PAYMENT_INTENTS, CUSTOMERS, INVOICES, SUBSCRIPTIONS, CHECKOUT_SESSIONS];

impl Identity {
    pub(in crate::doctor) fn findings(&self) -> Vec<Finding> {
        if self.payments == 0 {
            let mode = if self.is_test { " in test mode" } else { "" };
            return vec![Finding::skipped(format!("IDs of buyers: there is no payment yet{mode}"))];
        }
        let mut findings = Vec::new();
        for permission in &self.forbidden {
            findings.push(Finding::skipped(format!(
                "the key may not read {}, so IDs there, and on objects that they refer to, are not counted",
                permission.resource
            )));
        }
        if self.failed > 0 {
            findings.push(Finding::skipped(format!(
                "{} failed after all retries; IDs there are not counted",
                count(self.failed, "read")
            )));
        }
        findings.extend(self.disagreements.iter().take(MAX_DISAGREEMENTS).map(Disagreement::finding));
        findings.extend(self.places.iter().filter_map(Statistics::shared_finding));
        findings.extend(self.variants_finding());
        findings.extend(self.places.iter().filter_map(Statistics::refused_finding));
        findings.push(self.late_finding());
        if self.no_paths > 0 {
            findings.push(Finding::skipped(format!(
                "{} with names that no path can express",
                count(self.no_paths, "metadata key")
            )));
        }
        findings.push(self.recommendation_finding());
        findings
    }

    fn variants_finding(&self) -> Option<Finding> {
        let (number, example) = &self.variants;
        let example = example.as_ref()?;
        Some(Finding::warning(format!(
            "{} written in several ways that differ only in case or surrounding space ({example}): the space is removed, but for Amplitude, another case is another user",
            if *number == 1 { "1 ID is".to_owned() } else { format!("{number} IDs are") }
        )))
    }

    fn late_finding(&self) -> Finding {
        let only = "metadata has no timestamps, so this is unknown for customers, subscriptions, invoices and sessions";
        let late: Vec<_> = self.places.iter().filter(|one| one.late > 0 && one.place.suggests_person()).collect();
        match self.compared {
            None => Finding::skipped(format!(
                "whether IDs are written after the payment: the key may not read events (`Events`: Read); {only}"
            )),
            Some(0) => Finding::skipped(format!(
                "whether IDs are written after the payment: these payments have no events in the last 30 days; {only}"
            )),
            Some(number) if late.is_empty() => Finding::ok(format!(
                "the events of {} had the payment's current metadata; {only}",
                count(number, "payment")
            )),
            Some(number) => {
                let places: Vec<_> =
                    late.iter().map(|place| format!("{}: {}", place.place, count(place.late, "payment"))).collect();
                Finding::warning(format!(
                    "metadata was written or changed after the event was sent ({}; {} compared), so the event had no ID or another one. Write it before the payment is confirmed; {only}",
                    places.join(", "),
                    count(number, "payment")
                ))
            }
        }
    }

    fn recommendation_finding(&self) -> Finding {
        if !self.forbidden.is_empty() {
            return Finding::skipped(format!(
                "no recommendation is possible: the key lacks {}. Add the permission in Stripe's dashboard (Developers, API keys), and run doctor again. In total, it reads {}",
                restricted_key::in_words(&self.forbidden),
                READ.map(|permission| permission.resource).join(", ")
            ));
        }
        let Some(recommendation) = &self.recommendation else {
            return Finding::warning(
                "no place has values that look like IDs of persons. Before the first payment, write the ID that the app sends to Amplitude into the customer's metadata (`user_id`), and with Checkout also into `client_reference_id`",
            );
        };
        let mut words = format!(
            "recommended, for {} ({}) of the payments",
            percent(recommendation.covered, self.payments),
            recommendation.covered
        );
        if let Some(at_present) = self.at_present {
            words.push_str(&format!("; with the current settings, {}", percent(at_present, self.payments)));
        }
        words.push_str(&format!(
            ". A payment event needs {:.1} reads on average and at most {}, or fewer with the cache; refunds and disputes need one more. The key needs {}. This changes the user IDs of new events, and Amplitude cannot merge IDs later. Use it with the redelivery queue",
            recommendation.reads as f64 / self.payments.max(1) as f64,
            recommendation.most_reads,
            recommendation.permissions
        ));
        if !recommendation.others.is_empty() {
            words.push_str(&format!(
                ". Not included, because the IDs there differ or add nothing: {}. Use the IDs that the app sends to Amplitude",
                recommendation.others.join(", ")
            ));
        }
        Finding::ok(words)
    }

    /// JSON for the parameter `settings`.
    pub(in crate::doctor) fn line(&self) -> Option<&str> {
        let recommendation = self.recommendation.as_ref().filter(|_| self.forbidden.is_empty());
        recommendation.map(|recommendation| recommendation.line.as_str())
    }
}

impl fmt::Display for Identity {
    /// The places, with their shares of all payments and of those with revenue.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let payments = count(self.payments, "payment");
        writeln!(f, "{payments}, {} with revenue:", self.revenue)?;
        for Statistics { place, kind, payments, revenue, ids, example, .. } in
            self.places.iter().filter(|place| place.payments > 0).take(MAX_ROWS)
        {
            let shares = format!(
                "{:>6} of all, {:>6} of revenue",
                percent(*payments, self.payments),
                percent(*revenue, self.revenue)
            );
            let what = format!("{place}: {}, such as {example}; {kind}", count(*ids, "ID"));
            f.write_str(&wrap(&format!("  {shares}  "), 35, &what))?;
        }
        let rest = self.places.iter().filter(|place| place.payments > 0).count().saturating_sub(MAX_ROWS);
        if rest > 0 {
            writeln!(f, "  and {rest} rarer ones")?;
        }
        Ok(())
    }
}

impl Disagreement {
    fn finding(&self) -> Finding {
        let Self { one, other, agree, differ, example: (payment, id, other_id) } = self;
        if *agree == 0 {
            return Finding::warning(format!(
                "{one} and {other} never agree ({}, such as {payment}: {id} and {other_id}): they hold different kinds of IDs; use the one that the app sends to Amplitude",
                count(*differ, "payment")
            ));
        }
        Finding::warning(format!(
            "{one} and {other} have different IDs for {} of {}, such as {payment}: {id} and {other_id}; one buyer becomes two users unless every event has the first ID",
            count(*differ, "payment"),
            agree + differ
        ))
    }
}

impl Statistics {
    fn shared_finding(&self) -> Option<Finding> {
        // Nobody would mistake a colour or a plan for a person.
        if self.shared == 0 || !(self.kind == Kind::Person || self.place.suggests_person()) {
            return None;
        }
        Some(Finding::warning(format!(
            "{}: {} shared by more than {MAX_ADDRESSES} buyers, one by {}: a tenant or a constant, not a person; as a user ID, it would make them all one user",
            self.place,
            if self.shared == 1 { "1 ID is".to_owned() } else { format!("{} IDs are", self.shared) },
            self.most_buyers
        )))
    }

    fn refused_finding(&self) -> Option<Finding> {
        if self.refused.is_empty() || !(self.kind == Kind::Person || self.place.suggests_person()) {
            return None;
        }
        let reasons: Vec<_> = self.refused.iter().map(|(reason, number)| format!("{number} {reason}")).collect();
        Some(Finding::warning(format!(
            "{}: values that are not user IDs are skipped: {}",
            self.place,
            reasons.join(", ")
        )))
    }
}

fn percent(part: usize, all: usize) -> String {
    if all == 0 { "–".to_owned() } else { format!("{:.0} %", 100.0 * part as f64 / all as f64) }
}
