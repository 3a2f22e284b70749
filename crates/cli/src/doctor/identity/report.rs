//! What was found, in lines.

use std::fmt;

use stripe_amplitude::stripe::reference::Permission;
use stripe_amplitude::stripe::reference::permission::{
    CHECKOUT_SESSIONS, CUSTOMERS, INVOICES, PAYMENT_INTENTS, SUBSCRIPTIONS,
};

use super::{Disagreement, HANDFUL, Identity, Statistics};
use crate::doctor::finding::Finding;
use crate::stripe::restricted_key;
use crate::terminal::{count, wrap};

/// Rows of the table. Further keys are rare ones.
const MOST_ROWS: usize = 30;

/// Disagreements that are told.
const MOST_TOLD: usize = 5;

/// What is read, if the key may.
const READ: [Permission; 5] = [PAYMENT_INTENTS, CUSTOMERS, INVOICES, SUBSCRIPTIONS, CHECKOUT_SESSIONS];

impl Identity {
    /// What is to be done, or good to know.
    pub(in crate::doctor) fn findings(&self) -> Vec<Finding> {
        if self.payments == 0 {
            let mode = if self.is_test { " in test mode" } else { "" };
            return vec![Finding::skipped(format!("IDs of buyers: there is no payment yet{mode}"))];
        }
        let mut findings = Vec::new();
        for permission in &self.forbidden {
            findings.push(Finding::skipped(format!(
                "the key lacks a permission to read {}, so what is there, and what it leads to, is not counted",
                permission.resource
            )));
        }
        if self.failed > 0 {
            findings.push(Finding::skipped(format!(
                "{} failed again and again; what is there is not counted",
                count(self.failed, "read")
            )));
        }
        findings.extend(self.disagreements.iter().take(MOST_TOLD).map(Disagreement::finding));
        findings.extend(self.places.iter().filter_map(Statistics::shared_finding));
        findings.extend(self.variants_finding());
        findings.extend(self.places.iter().filter_map(Statistics::refused_finding));
        findings.push(self.late_finding());
        if self.no_paths > 0 {
            findings.push(Finding::skipped(format!(
                "{} of metadata with names that no path can lead to",
                count(self.no_paths, "key")
            )));
        }
        findings.push(self.recommendation_finding());
        findings
    }

    fn variants_finding(&self) -> Option<Finding> {
        let (number, example) = &self.variants;
        let example = example.as_ref()?;
        Some(Finding::warning(format!(
            "{} written in more than one way, which differ only by case or by the space around them ({example}): the space is removed, but to Amplitude, another case is another user",
            if *number == 1 { "1 ID is".to_owned() } else { format!("{number} IDs are") }
        )))
    }

    fn late_finding(&self) -> Finding {
        let only = "metadata has no time, so of customers, subscriptions, invoices and sessions it cannot be told when an ID was written";
        let late: Vec<_> = self.places.iter().filter(|one| one.late > 0 && one.place.says_person()).collect();
        match self.compared {
            None => Finding::skipped(format!(
                "whether IDs are written after the payment: the key may not read events (`Events`: Read); {only}"
            )),
            Some(0) => Finding::skipped(format!(
                "whether IDs are written after the payment: no event of these payments is among those of the last 30 days; {only}"
            )),
            Some(number) if late.is_empty() => Finding::ok(format!(
                "the events of {} had the same metadata of the payment as there is now; {only}",
                count(number, "payment")
            )),
            Some(number) => {
                let places: Vec<_> =
                    late.iter().map(|place| format!("{}: {}", place.place, count(place.late, "payment"))).collect();
                Finding::warning(format!(
                    "metadata was written or changed after the event was sent ({}; of {} that could be compared): that event had no such ID, or another one. Write it before the payment is confirmed; {only}",
                    places.join(", "),
                    count(number, "payment")
                ))
            }
        }
    }

    fn recommendation_finding(&self) -> Finding {
        if !self.forbidden.is_empty() {
            return Finding::skipped(format!(
                "where the IDs of buyers are cannot be told, and nothing is recommended: the key lacks {}. Add that in Stripe's dashboard (Developers, API keys), and run this again. In all, it reads {}",
                restricted_key::in_words(&self.forbidden),
                READ.map(|permission| permission.resource).join(", ")
            ));
        }
        let Some(recommendation) = &self.recommendation else {
            return Finding::warning(
                "no place holds what looks like the ID of a person. Write the ID that the app sends to Amplitude into the customer's metadata (`user_id`), before the first payment; with Checkout, into `client_reference_id`, too",
            );
        };
        let mut words = format!(
            "recommended, for {} ({}) of the payments",
            percent(recommendation.covered, self.payments),
            recommendation.covered
        );
        if let Some(at_present) = self.at_present {
            words.push_str(&format!("; by the present settings, {}", percent(at_present, self.payments)));
        }
        words.push_str(&format!(
            ". It takes {:.1} reads for the event of a payment on average, {} at the most, less what is in the cache, and one more for a refund or a dispute. The key needs {}. It changes whose the next events are, and Amplitude cannot merge IDs later. It follows best with the redelivery queue",
            recommendation.reads as f64 / self.payments.max(1) as f64,
            recommendation.most_reads,
            recommendation.permissions
        ));
        if !recommendation.others.is_empty() {
            words.push_str(&format!(
                ". Not in it, because the IDs there are others, or add nothing: {}. Take the ones that the app sends to Amplitude",
                recommendation.others.join(", ")
            ));
        }
        Finding::ok(words)
    }

    /// For the parameter `settings`, ready to be written.
    pub(in crate::doctor) fn line(&self) -> Option<&str> {
        let recommendation = self.recommendation.as_ref().filter(|_| self.forbidden.is_empty());
        recommendation.map(|recommendation| recommendation.line.as_str())
    }
}

impl fmt::Display for Identity {
    /// What stands where, with the shares of the payments and of those that bear revenue.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let payments = count(self.payments, "payment");
        writeln!(f, "{payments}, of which {} bear revenue:", self.revenue)?;
        for Statistics { place, kind, payments, revenue, ids, example, .. } in
            self.places.iter().filter(|place| place.payments > 0).take(MOST_ROWS)
        {
            let shares = format!(
                "{:>6} of all, {:>6} of revenue",
                percent(*payments, self.payments),
                percent(*revenue, self.revenue)
            );
            let what = format!("{place}: {}, such as {example}; {kind}", count(*ids, "ID"));
            f.write_str(&wrap(&format!("  {shares}  "), 35, &what))?;
        }
        let rest = self.places.iter().filter(|place| place.payments > 0).count().saturating_sub(MOST_ROWS);
        if rest > 0 {
            writeln!(f, "  and {rest} more that fewer payments have")?;
        }
        Ok(())
    }
}

impl Disagreement {
    fn finding(&self) -> Finding {
        let Self { one, other, agree, differ, example: (payment, id, other_id) } = self;
        if *agree == 0 {
            return Finding::warning(format!(
                "{one} and {other} never agree ({}, such as {payment}: {id} and {other_id}): they hold two kinds of IDs; take the one that the app sends to Amplitude",
                count(*differ, "payment")
            ));
        }
        Finding::warning(format!(
            "{one} and {other} have different IDs for {} of {}, such as {payment}: {id} and {other_id}; of one buyer that makes two users, where not every event has the first",
            count(*differ, "payment"),
            agree + differ
        ))
    }
}

impl Statistics {
    fn shared_finding(&self) -> Option<Finding> {
        // Of a colour or a plan, nobody thinks that it is a person.
        if self.shared == 0 || !(self.kind == super::Kind::Person || self.place.says_person()) {
            return None;
        }
        Some(Finding::warning(format!(
            "{}: {} shared by more than {HANDFUL} buyers each, one by {}: a tenant or a constant, and not a person; as a user ID, it makes one user of all of them",
            self.place,
            if self.shared == 1 { "1 ID is".to_owned() } else { format!("{} IDs are", self.shared) },
            self.most_buyers
        )))
    }

    fn refused_finding(&self) -> Option<Finding> {
        if self.refused.is_empty() || !(self.kind == super::Kind::Person || self.place.says_person()) {
            return None;
        }
        let reasons: Vec<_> = self.refused.iter().map(|(reason, number)| format!("{number} {reason}")).collect();
        Some(Finding::warning(format!(
            "{}: values that are no user IDs are skipped: {}",
            self.place,
            reasons.join(", ")
        )))
    }
}

fn percent(part: usize, all: usize) -> String {
    if all == 0 { "–".to_owned() } else { format!("{:.0} %", 100.0 * part as f64 / all as f64) }
}
