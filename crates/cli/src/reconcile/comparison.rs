//! Compares the two sides of a day, event by event. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;
use stripe_amplitude::amplitude::AmplitudeKey;
use stripe_amplitude::forward::IgnoreReason;
use stripe_amplitude::stripe::event_types::EventTypes;

use super::amount::Amount;
use super::day::{AmplitudeDay, Expected, Found, StripeDay, Unusable};
use crate::amplitude::export::LAG;
use crate::amplitude::known::may_be_in;
use crate::clock::HOUR;
use crate::money::Money;
use crate::stripe::event_types::EVENT_TYPES;

/// Which events are compared.
#[derive(Debug)]
pub(crate) struct Scope<'a> {
    pub(crate) types: &'a EventTypes,
    pub(crate) livemode: bool,
    pub(crate) account: Option<&'a str>,
    /// The label of the events.
    pub(crate) source: Option<&'a str>,
}

#[derive(Debug, Default)]
pub(crate) struct Comparison {
    /// By type and currency.
    pub(crate) rows: BTreeMap<(String, Option<String>), Row>,
    /// Ordered by [`Kind`], reason and time.
    pub(crate) differences: Vec<Difference>,
    /// Stripe's events that the settings ignore, by reason.
    pub(crate) ignored: BTreeMap<String, usize>,
    /// Amplitude's events outside the scope, by explanation.
    pub(crate) elsewhere: BTreeMap<String, usize>,
    /// The beginnings of the hours of upload, in Unix seconds, with unreadable lines in the export.
    pub(crate) unreadable: BTreeSet<i64>,
}

/// Both sides of a row of the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Row {
    pub(crate) stripe: Tally,
    pub(crate) amplitude: Tally,
}

/// Events, and the sum of their amounts, if they have any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Tally {
    pub(crate) events: usize,
    pub(crate) sum: Option<Money>,
}

/// An event that differs between the sides.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Difference {
    pub(crate) kind: Kind,
    /// The insert ID, usually Stripe's event ID.
    pub(crate) id: String,
    /// Stripe's ID of the event that would be sent, if it differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) event: Option<String>,
    #[serde(rename = "type")]
    pub(crate) event_type: String,
    /// In UTC.
    pub(crate) time: String,
    /// With today's settings.
    pub(crate) stripe: Option<Amount>,
    /// One for each time that the event counts in Amplitude.
    pub(crate) amplitude: Vec<Option<Amount>>,
    /// Details of the kind.
    pub(crate) reason: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// Amplitude does not have it.
    Missing,
    /// Amplitude does not have it, and it cannot be translated.
    CannotBeSent,
    /// Amplitude does not have it, but the refund that it adds back may never have been subtracted.
    NotAddedBack,
    /// Amplitude may have it, because a line of its export is unreadable.
    CannotTell,
    /// Amplitude counts it more than once.
    Doubled,
    /// Amplitude has other figures than Stripe.
    OtherAmount,
    /// Amplitude has it, but Stripe does not.
    Unknown,
    /// It may be in Amplitude, but not yet in its export.
    PendingExport,
    /// The figures are Stripe's, but were converted with other settings.
    OtherSettings,
    /// Amplitude has it, but today's settings would not send it.
    NotWantedNow,
}

impl Kind {
    pub(crate) const ALL: [Self; 10] = [
        Self::Missing,
        Self::CannotBeSent,
        Self::NotAddedBack,
        Self::CannotTell,
        Self::Doubled,
        Self::OtherAmount,
        Self::Unknown,
        Self::PendingExport,
        Self::OtherSettings,
        Self::NotWantedNow,
    ];

    /// Whether the day is wrong because of it. The others are explained by the time or by changed settings. Events in
    /// Amplitude cannot be changed, so otherwise such a day would stay wrong forever.
    pub(crate) fn is_wrong(self) -> bool {
        match self {
            Self::Missing
            | Self::CannotBeSent
            | Self::NotAddedBack
            | Self::CannotTell
            | Self::Doubled
            | Self::OtherAmount
            | Self::Unknown => true,
            Self::PendingExport | Self::OtherSettings | Self::NotWantedNow => false,
        }
    }

    /// Whether sending the event helps and cannot count it twice.
    pub(crate) fn is_repairable(self) -> bool {
        matches!(self, Self::Missing | Self::PendingExport)
    }
}

/// Whether Amplitude's export may lack an event that was forwarded immediately. In Unix seconds.
pub(crate) fn may_be_pending(created: i64, now: i64) -> bool {
    let end_of_the_hour = (created.div_euclid(HOUR) + 1) * HOUR;
    end_of_the_hour + LAG > now
}

impl Comparison {
    /// `now` is in Unix seconds.
    pub(crate) fn of(
        stripe: &StripeDay,
        amplitude: &HashMap<AmplitudeKey, AmplitudeDay>,
        scope: &Scope<'_>,
        now: i64,
    ) -> Self {
        let mut comparison = Self::default();
        for reason in stripe.ignored.values() {
            *comparison.ignored.entry(reason.to_string()).or_default() += 1;
        }
        let found = |id, event: &Expected| amplitude.get(&event.key)?.found.get(id);
        let was_not_subtracted = stripe
            .expected
            .iter()
            .any(|(id, event)| found(id, event).is_some_and(|found| not_subtracted(event, found)));
        for (id, event) in &stripe.expected {
            if let Some(found) = found(id, event) {
                comparison.add_expected(id, event, found);
                continue;
            }
            let mut own_ids = stripe.renamed.iter().filter(|(_, insert_id)| *insert_id == id).map(|(own, _)| own);
            match own_ids.find_map(|own| found(own, event)) {
                Some(found) => comparison.add_renamed(id, event, found),
                None => comparison.add_absent(id, event, amplitude.get(&event.key), now, was_not_subtracted),
            }
        }
        let is_there = |id: &str| amplitude.values().any(|day| day.found.contains_key(id));
        for (id, event) in stripe.unusable.iter().filter(|(id, _)| !is_there(id)) {
            comparison.add_unusable(id, event);
        }
        for (key, day) in amplitude {
            comparison.unreadable.extend(&day.unreadable);
            for (id, found) in &day.found {
                if stripe.expected.get(id).is_none_or(|event| event.key != *key) {
                    comparison.add_unexpected(id, found, stripe, scope);
                }
            }
        }
        let order =
            |Difference { kind, reason, time, id, .. }: &Difference| (*kind, reason.clone(), time.clone(), id.clone());
        comparison.differences.sort_by_cached_key(order);
        comparison
    }

    /// The number of differences of a kind.
    pub(crate) fn count(&self, kind: Kind) -> usize {
        self.differences.iter().filter(|difference| difference.kind == kind).count()
    }

    /// Whether nothing is known to be wrong.
    pub(crate) fn is_right(&self) -> bool {
        !self.differences.iter().any(|difference| difference.kind.is_wrong())
    }

    /// The same after a repair.
    pub(crate) fn is_right_after_repair(&self) -> bool {
        let mut wrong = self.differences.iter().filter(|difference| difference.kind.is_wrong());
        wrong.all(|difference| difference.kind.is_repairable())
    }

    /// The Stripe IDs of events that can be sent, with their insert IDs.
    pub(crate) fn repairable(&self) -> BTreeMap<&str, &str> {
        let repairable = self.differences.iter().filter(|difference| difference.kind.is_repairable());
        repairable.map(|Difference { id, event, .. }| (event.as_ref().unwrap_or(id).as_str(), id.as_str())).collect()
    }

    fn add_expected(&mut self, id: &str, event: &Expected, found: &Found) {
        // If several events share the insert ID, Amplitude may have any.
        let event_type = found.event_type.as_ref().unwrap_or(&event.event_type);
        self.row(event_type, event.amount.as_ref()).stripe.add(event.amount.as_ref());
        if found.amounts.len() > 1 {
            self.differences.push(Difference::of(Kind::Doubled, id, event, found.amounts.clone()));
        }
        if found.amounts.iter().any(|amount| Amount::differs(event.amount.as_ref(), amount.as_ref())) {
            let contradict = event.figures.contradict(&found.figures);
            let kind = if contradict { Kind::OtherAmount } else { Kind::OtherSettings };
            self.differences.push(Difference::of(kind, id, event, found.amounts.clone()));
        }
        self.add_found(event_type, found);
    }

    /// An expected event that the export has under Stripe's ID instead of the insert ID: it was sent while it added nothing
    /// back, and refunds subtracted nothing.
    fn add_renamed(&mut self, id: &str, event: &Expected, found: &Found) {
        self.row(&event.event_type, event.amount.as_ref()).stripe.add(event.amount.as_ref());
        let reason = Some("sent as separate events, without the revenue that they add back now".to_owned());
        let difference = Difference::of(Kind::OtherSettings, id, event, found.amounts.clone());
        self.differences.push(Difference { reason, ..difference });
    }

    /// An expected event that is not in the export. `was_not_subtracted`: whether Amplitude has refunds that did not
    /// subtract what they would subtract now.
    fn add_absent(
        &mut self,
        id: &str,
        event: &Expected,
        day: Option<&AmplitudeDay>,
        now: i64,
        was_not_subtracted: bool,
    ) {
        self.row(&event.event_type, event.amount.as_ref()).stripe.add(event.amount.as_ref());
        let unreadable = day.and_then(|day| day.unreadable.last()).filter(|hour| may_be_in(**hour, event.created));
        let (kind, reason) = match unreadable {
            Some(hour) => (Kind::CannotTell, Some(unreadable_line(*hour))),
            // It is unknown which refund a reversal belongs to, so it may belong to one of those.
            None if was_not_subtracted && id.ends_with(REVERSED) => (Kind::NotAddedBack, None),
            None if may_be_pending(event.latest, now) => (Kind::PendingExport, None),
            None => (Kind::Missing, None),
        };
        self.differences.push(Difference { reason, ..Difference::of(kind, id, event, Vec::new()) });
    }

    fn add_unusable(&mut self, id: &str, event: &Unusable) {
        self.row(&event.event_type, None).stripe.add(None);
        self.differences.push(Difference {
            kind: Kind::CannotBeSent,
            id: id.to_owned(),
            event: None,
            event_type: event.event_type.clone(),
            time: crate::clock::show(event.created),
            stripe: None,
            amplitude: Vec::new(),
            reason: Some(event.reason.clone()),
        });
    }

    /// An event that Amplitude has, but that is not expected under this key.
    fn add_unexpected(&mut self, id: &str, found: &Found, stripe: &StripeDay, scope: &Scope<'_>) {
        let (kind, reason) = match explain(id, found, stripe, scope) {
            Explanation::Elsewhere(what) => return *self.elsewhere.entry(what).or_default() += found.amounts.len(),
            Explanation::NotWantedNow(reason) => (Kind::NotWantedNow, Some(reason)),
            Explanation::None => (Kind::Unknown, None),
        };
        let event_type = found.event_type.as_deref().unwrap_or(UNREADABLE_TYPE);
        let mut differ = |kind, reason| {
            self.differences.push(Difference {
                kind,
                id: id.to_owned(),
                event: None,
                event_type: event_type.to_owned(),
                time: found.time.split('.').next().unwrap_or_default().to_owned(),
                stripe: None,
                amplitude: found.amounts.clone(),
                reason,
            });
        };
        differ(kind, reason);
        if found.amounts.len() > 1 {
            differ(Kind::Doubled, None);
        }
        self.add_found(event_type, found);
    }

    fn add_found(&mut self, event_type: &str, found: &Found) {
        for amount in &found.amounts {
            self.row(event_type, amount.as_ref()).amplitude.add(amount.as_ref());
        }
    }

    fn row(&mut self, event_type: &str, amount: Option<&Amount>) -> &mut Row {
        let currency = amount.and_then(|amount| amount.currency.clone());
        self.rows.entry((event_type.to_owned(), currency)).or_default()
    }
}

impl Difference {
    /// A difference of an expected event.
    fn of(kind: Kind, id: &str, event: &Expected, amplitude: Vec<Option<Amount>>) -> Self {
        Self {
            kind,
            id: id.to_owned(),
            event: (event.id != id).then(|| event.id.clone()),
            event_type: event.event_type.clone(),
            time: crate::clock::show(event.created),
            stripe: event.amount.clone(),
            amplitude,
            reason: None,
        }
    }
}

/// The suffix of the insert ID of an event that adds a refund back.
const REVERSED: &str = ":reversed";

/// Whether Amplitude has a refund that subtracts nothing, although it would now: it was sent with other settings.
fn not_subtracted(event: &Expected, found: &Found) -> bool {
    let subtracts = |amount: Option<&Amount>| amount.is_some_and(|amount| amount.money.is_negative());
    subtracts(event.amount.as_ref()) && found.amounts.iter().any(|amount| !subtracts(amount.as_ref()))
}

/// Instead of a type that the export lacks.
const UNREADABLE_TYPE: &str = "(unreadable type)";

fn unreadable_line(hour: i64) -> String {
    format!("Amplitude's export has an unreadable line in the hour from {}", crate::clock::show(hour))
}

impl Tally {
    fn add(&mut self, amount: Option<&Amount>) {
        self.events += 1;
        if let Some(Amount { money, .. }) = amount {
            self.sum = Some(Money::sum(self.sum.into_iter().chain([*money])));
        }
    }
}

enum Explanation {
    /// It is outside the scope.
    Elsewhere(String),
    NotWantedNow(String),
    None,
}

/// Why Amplitude may have an unexpected event.
fn explain(id: &str, found: &Found, stripe: &StripeDay, scope: &Scope<'_>) -> Explanation {
    let Scope { types, livemode, account, source } = scope;
    if let Some(reason) = stripe.ignored.get(id) {
        return Explanation::NotWantedNow(reason.to_string());
    }
    if let Some(insert_id) = stripe.renamed.get(id) {
        return Explanation::NotWantedNow(format!("their insert ID would be {insert_id}"));
    }
    if let Some(Unusable { reason, .. }) = stripe.unusable.get(id) {
        return Explanation::NotWantedNow(format!("they cannot be sent: {reason}"));
    }
    if let Some(Expected { key, .. }) = stripe.expected.get(id) {
        return Explanation::NotWantedNow(format!(
            "they would go to another Amplitude project, with the key in {}",
            key.parameter()
        ));
    }
    let elsewhere = Explanation::Elsewhere;
    if found.livemode.is_some_and(|mode| mode != *livemode) {
        let mode = if *livemode { "test" } else { "live" };
        return elsewhere(format!("from {mode} mode: compare with a {mode}-mode key of Stripe"));
    }
    if found.account.as_deref() != *account {
        return elsewhere(match &found.account {
            Some(account) => format!("from a connected account: compare with --account {account}"),
            None => "from the key's own account: compare without --account".to_owned(),
        });
    }
    if found.source.as_deref() != *source {
        return elsewhere(match &found.source {
            Some(source) => {
                format!("with the label `{source}`: compare with --source {source} and the key of its account")
            }
            None => "without a label: compare without --source".to_owned(),
        });
    }
    let Some(event_type) = &found.event_type else { return Explanation::None };
    if !types.contains(event_type) {
        return Explanation::NotWantedNow(IgnoreReason::EventType.to_string());
    }
    if !EVENT_TYPES.contains(&event_type.as_str()) {
        return elsewhere(format!(
            "of a type that this version does not know, so it was not requested from Stripe: {event_type}"
        ));
    }
    Explanation::None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::amplitude::line::Content;
    use crate::clock::DAY;
    use crate::reconcile::amount::Figures;

    const TYPE: &str = "payment_intent.succeeded";

    /// The day is long over.
    const NOW: i64 = 1_800_000_000;
    const CREATED: i64 = NOW - 3 * DAY;

    fn dollars(number: i64) -> Option<Amount> {
        Some(Amount { money: Money::whole(number), currency: Some("USD".to_owned()) })
    }

    fn figures(minor_units: i64) -> Figures {
        let properties = json!({"amount": minor_units}).as_object().unwrap().clone();
        Figures::of(&Content { properties, ..Content::default() })
    }

    fn expected(created: i64) -> Expected {
        let (event_type, key) = (TYPE.to_owned(), AmplitudeKey::Main);
        let id = "evt_1".to_owned();
        Expected { id, event_type, created, latest: created, key, amount: dollars(20), figures: figures(2000) }
    }

    fn found(amounts: &[i64]) -> Found {
        Found {
            event_type: Some(TYPE.to_owned()),
            time: "2027-01-12 08:00:00.000000".to_owned(),
            amounts: amounts.iter().map(|number| dollars(*number)).collect(),
            figures: figures(2000),
            livemode: Some(true),
            ..Found::default()
        }
    }

    fn compare(
        expected: &[(&str, Expected)],
        found: &[(&str, Found)],
        change: impl FnOnce(&mut StripeDay),
    ) -> Comparison {
        compare_with(expected, found, &[], change)
    }

    /// With these hours unreadable.
    fn compare_with(
        expected: &[(&str, Expected)],
        found: &[(&str, Found)],
        unreadable: &[i64],
        change: impl FnOnce(&mut StripeDay),
    ) -> Comparison {
        let own = |(id, event): &(&str, Expected)| {
            let id = (*id).to_owned();
            (id.clone(), Expected { id, ..event.clone() })
        };
        let mut stripe = StripeDay { expected: expected.iter().map(own).collect(), ..StripeDay::default() };
        change(&mut stripe);
        let found = found.iter().map(|(id, event)| ((*id).to_owned(), event.clone())).collect();
        let day = AmplitudeDay { found, unreadable: unreadable.iter().copied().collect() };
        let scope = Scope { types: &EventTypes::default(), livemode: true, account: None, source: None };
        Comparison::of(&stripe, &[(AmplitudeKey::Main, day)].into(), &scope, NOW)
    }

    fn kinds(comparison: &Comparison) -> Vec<(Kind, &str)> {
        comparison.differences.iter().map(|difference| (difference.kind, difference.id.as_str())).collect()
    }

    #[test]
    fn identical_days_match() {
        let comparison = compare(&[("evt_1", expected(CREATED))], &[("evt_1", found(&[20]))], |_| {});
        assert!(comparison.is_right() && comparison.differences.is_empty());
        let row = comparison.rows[&(TYPE.to_owned(), Some("USD".to_owned()))];
        let tally = Tally { events: 1, sum: Some(Money::whole(20)) };
        assert_eq!(row, Row { stripe: tally, amplitude: tally });
    }

    #[test]
    fn recent_missing_event_is_pending() {
        let young = NOW - 2 * HOUR;
        let comparison = compare(&[("evt_old", expected(CREATED)), ("evt_young", expected(young))], &[], |_| {});
        assert_eq!(kinds(&comparison), [(Kind::Missing, "evt_old"), (Kind::PendingExport, "evt_young")]);
        assert!(!comparison.is_right());
        assert_eq!(comparison.repairable(), [("evt_old", "evt_old"), ("evt_young", "evt_young")].into());
        assert!(compare(&[("evt_young", expected(young))], &[], |_| {}).is_right());
        // An hour is complete two hours after its end.
        let hour = 1_799_996_400;
        for (created, now, is_pending) in [
            (hour, hour + HOUR + LAG - 1, true),
            (hour, hour + HOUR + LAG, false),
            (hour + HOUR - 1, hour + HOUR + LAG, false),
            (hour + HOUR, hour + HOUR + LAG, true),
        ] {
            assert_eq!(may_be_pending(created, now), is_pending, "{created} {now}");
        }
    }

    #[test]
    fn unreadable_line_may_be_the_event() {
        let hour = CREATED.div_euclid(HOUR) * HOUR;
        let events = [("evt_1", expected(CREATED)), ("evt_2", expected(CREATED)), ("evt_later", expected(hour + HOUR))];
        let comparison = compare_with(&events, &[("evt_2", found(&[20]))], &[hour], |_| {});
        assert_eq!(kinds(&comparison), [(Kind::Missing, "evt_later"), (Kind::CannotTell, "evt_1")]);
        let reason = comparison.differences[1].reason.as_deref().unwrap();
        assert!(reason.contains(&crate::clock::show(hour)), "{reason}");
        assert_eq!(comparison.repairable(), [("evt_later", "evt_later")].into());
        assert!(!comparison.is_right() && !comparison.is_right_after_repair());
        assert_eq!(comparison.unreadable, [hour].into());
        // An event that was found is not affected.
        assert!(compare_with(&events[1..2], &[("evt_2", found(&[20]))], &[hour], |_| {}).is_right());
    }

    #[test]
    fn events_with_a_shared_insert_id_are_one() {
        let mut event = expected(CREATED);
        event.event_type = "charge.refund.updated".to_owned();
        let day = |change: &dyn Fn(&mut Expected)| {
            let mut event = event.clone();
            change(&mut event);
            StripeDay { expected: [("re_1:reversed".to_owned(), event)].into(), ..StripeDay::default() }
        };
        for event_type in [Some("charge.refund.updated"), Some("refund.failed"), None] {
            let there = Found { event_type: event_type.map(str::to_owned), ..found(&[20]) };
            let comparison = compare(&[], &[("re_1:reversed", there)], |stripe| *stripe = day(&|_| {}));
            assert!(comparison.is_right() && comparison.differences.is_empty(), "{comparison:?}");
            assert_eq!(comparison.rows.len(), 1, "{comparison:?}");
            assert!(comparison.rows.values().all(|row| row.stripe == row.amplitude), "{comparison:?}");
        }
        // If Amplitude has none, the first one is sent.
        let comparison = compare(&[], &[], |stripe| *stripe = day(&|_| {}));
        assert_eq!(kinds(&comparison), [(Kind::Missing, "re_1:reversed")]);
        assert_eq!(comparison.repairable(), [("evt_1", "re_1:reversed")].into());
        // The last one may be pending.
        let comparison = compare(&[], &[], |stripe| *stripe = day(&|event| event.latest = NOW));
        assert_eq!(kinds(&comparison), [(Kind::PendingExport, "re_1:reversed")]);
    }

    #[test]
    fn refund_that_was_not_subtracted_is_not_added_back() {
        let refund = Expected { amount: dollars(-20), ..expected(CREATED) };
        let reversal = |created| ("re_1:reversed", expected(created));
        let events = |created| [("evt_refund", refund.clone()), ("evt_2", expected(CREATED)), reversal(created)];
        // Sent as an event, a refund has its main amount, or none.
        for as_event in [found(&[20]), Found { amounts: vec![None], ..found(&[]) }] {
            let there = [("evt_refund", as_event)];
            for created in [CREATED, NOW - 2 * HOUR] {
                let comparison = compare(&events(created), &there, |_| {});
                let expected = [
                    (Kind::Missing, "evt_2"),
                    (Kind::NotAddedBack, "re_1:reversed"),
                    (Kind::OtherSettings, "evt_refund"),
                ];
                assert_eq!(kinds(&comparison), expected);
                assert_eq!(comparison.repairable(), [("evt_2", "evt_2")].into());
                assert!(!comparison.is_right() && !comparison.is_right_after_repair());
            }
        }
        // A refund that subtracts, at any rate, is added back, as is a refund of another day.
        for there in [&[("evt_refund", found(&[-21]))][..], &[]] {
            let comparison = compare(&events(CREATED), there, |_| {});
            assert!(kinds(&comparison).contains(&(Kind::Missing, "re_1:reversed")), "{comparison:?}");
        }
        // Another rate of a payment says nothing about refunds.
        let comparison =
            compare(&[reversal(CREATED), ("evt_2", expected(CREATED))], &[("evt_2", found(&[21]))], |_| {});
        assert_eq!(kinds(&comparison), [(Kind::Missing, "re_1:reversed"), (Kind::OtherSettings, "evt_2")]);
    }

    #[test]
    fn event_under_its_old_insert_id_is_not_sent_again() {
        let rename = |stripe: &mut StripeDay| {
            for own in ["evt_first", "evt_last"] {
                stripe.renamed.insert(own.to_owned(), "re_1:reversed".to_owned());
            }
        };
        let reversal = [("re_1:reversed", expected(CREATED))];
        for own in ["evt_first", "evt_last"] {
            let comparison = compare(&reversal, &[(own, found(&[20]))], rename);
            assert_eq!(kinds(&comparison), [(Kind::OtherSettings, "re_1:reversed"), (Kind::NotWantedNow, own)]);
            assert!(comparison.is_right() && comparison.repairable().is_empty());
        }
        let comparison = compare(&reversal, &[("evt_other", found(&[20]))], rename);
        assert_eq!(kinds(&comparison), [(Kind::Missing, "re_1:reversed"), (Kind::Unknown, "evt_other")]);
        let both = [("evt_first", found(&[20])), ("re_1:reversed", found(&[20]))];
        assert_eq!(kinds(&compare(&reversal, &both, rename)), [(Kind::NotWantedNow, "evt_first")]);
    }

    #[test]
    fn doubled_event_is_wrong() {
        let comparison = compare(&[("evt_1", expected(CREATED))], &[("evt_1", found(&[20, 20]))], |_| {});
        assert_eq!(kinds(&comparison), [(Kind::Doubled, "evt_1")]);
        let row = comparison.rows[&(TYPE.to_owned(), Some("USD".to_owned()))];
        assert_eq!((row.stripe.sum, row.amplitude.sum), (Some(Money::whole(20)), Some(Money::whole(40))));
    }

    #[test]
    fn other_amount_is_wrong_unless_settings_explain_it() {
        let comparison = compare(&[("evt_1", expected(CREATED))], &[("evt_1", found(&[21]))], |_| {});
        assert_eq!(kinds(&comparison), [(Kind::OtherSettings, "evt_1")]);
        assert!(comparison.is_right());
        let other = Found { figures: figures(2100), ..found(&[21]) };
        let comparison = compare(&[("evt_1", expected(CREATED))], &[("evt_1", other)], |_| {});
        assert_eq!(kinds(&comparison), [(Kind::OtherAmount, "evt_1")]);
        assert!(!comparison.is_right());
    }

    #[test]
    fn additional_events_are_explained() {
        let test_mode = Found { livemode: Some(false), ..found(&[1]) };
        let connected = Found { account: Some("acct_2".to_owned()), ..found(&[1]) };
        let labelled = Found { source: Some("eu".to_owned()), ..found(&[1]) };
        let of_type = |name: &str| Found { event_type: Some(name.to_owned()), ..found(&[1]) };
        for (event, kind, words) in [
            (found(&[1]), Some(Kind::Unknown), ""),
            (test_mode, None, "test mode"),
            (connected, None, "--account acct_2"),
            (labelled, None, "--source eu"),
            (of_type("customer.created"), Some(Kind::NotWantedNow), "the setting `events`"),
        ] {
            let comparison = compare(&[], &[("evt_1", event)], |_| {});
            let reason = comparison.elsewhere.keys().next().cloned();
            let reason = reason.or_else(|| comparison.differences.first()?.reason.clone()).unwrap_or_default();
            assert_eq!(comparison.differences.first().map(|difference| difference.kind), kind, "{reason}");
            assert!(reason.contains(words), "{reason}");
        }
        let comparison = compare(&[], &[("evt_1", found(&[1]))], |stripe| {
            stripe.ignored.insert("evt_1".to_owned(), IgnoreReason::NoUser);
        });
        assert_eq!(kinds(&comparison), [(Kind::NotWantedNow, "evt_1")]);
        assert!(comparison.is_right());
        assert_eq!(comparison.ignored.values().sum::<usize>(), 1);
    }

    #[test]
    fn unusable_event_is_wrong_unless_amplitude_has_it() {
        let add = |stripe: &mut StripeDay| {
            let event_type = TYPE.to_owned();
            let unusable = Unusable { event_type, created: CREATED, reason: "no rate".to_owned() };
            stripe.unusable.insert("evt_1".to_owned(), unusable);
        };
        let comparison = compare(&[], &[], add);
        assert_eq!(kinds(&comparison), [(Kind::CannotBeSent, "evt_1")]);
        assert!(!comparison.is_right() && comparison.repairable().is_empty());
        let comparison = compare(&[], &[("evt_1", found(&[20]))], add);
        assert_eq!(kinds(&comparison), [(Kind::NotWantedNow, "evt_1")]);
    }
}
