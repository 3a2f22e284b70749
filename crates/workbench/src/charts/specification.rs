//! A table of the charts, and how to build each in Amplitude.
//!
//! `{currency}` and `{threshold}` stand for the reader's choices. Source: Amplitude's guide to its Stripe
//! source, github.com/amplitude/amplitude-docs, content/collections/source-catalog/en/stripe.md

use super::report::Kind;

/// A chart, without its figures.
pub(super) struct Specification {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    /// The choices in Amplitude, in its own words, and notes.
    pub(super) in_amplitude: &'static [&'static str],
    pub(super) kind: Kind,
    /// The columns of the rows: the x axis, the series if there are several, and the y axis.
    pub(super) columns: &'static [&'static str],
}

const PURCHASE: &str = "Event: [Stripe] payment_intent.succeeded";
const ALL_USERS: &str = "Segment: All Users";
const WEEKLY: &str = "Shown as: Line chart, Weekly";
const BARS: &str = "Shown as: Bar chart, all time";
const CALENDAR: &str = "In the project's settings: Time Zone UTC, Weeks Start On Monday";
const TIME_ZONE: &str = "In the project's settings: Time Zone UTC";
const NOT_SUBTRACTED: &str = "Note: refunds and disputes are events of other types, so they are not subtracted here, \
                              even if they carry negative revenue";
const STILL_COUNTED: &str = "Note: refunds are events of other types, so a refunded purchase still counts";
const EACH_PRODUCT: &str = "Note: a purchase of several products counts in full under each, so the products add up to more \
                            than the total; refunds are not subtracted";
const FOLLOWED: &str = "Note: with the setting products: \"follow\", payments have the products of their invoice or \
                        checkout session; without it, they have the description of the payment";

pub(super) const TOTAL_REVENUE: Specification = Specification {
    name: "total_revenue",
    title: "Total revenue",
    in_amplitude: &[
        "Chart: Event Segmentation",
        PURCHASE,
        "Measured as: Property Sum of $revenue",
        "Grouped by: normalized_currency",
        ALL_USERS,
        WEEKLY,
        CALENDAR,
        NOT_SUBTRACTED,
    ],
    kind: Kind::Lines,
    columns: &["Week", "Currency", "Revenue"],
};

pub(super) const AVERAGE_PURCHASES: Specification = Specification {
    name: "average_purchases",
    title: "Average number of purchases per user",
    in_amplitude: &[
        "Chart: Event Segmentation",
        PURCHASE,
        "Measured as: Average",
        ALL_USERS,
        WEEKLY,
        CALENDAR,
        "Note: users without a purchase in a week do not count in that week",
        STILL_COUNTED,
    ],
    kind: Kind::Lines,
    columns: &["Week", "Purchases per user"],
};

pub(super) const PURCHASE_FREQUENCY: Specification = Specification {
    name: "purchase_frequency",
    title: "Distribution of purchase frequency",
    in_amplitude: &[
        "Chart: Event Segmentation",
        PURCHASE,
        "Measured as: Frequency",
        "Customize buckets: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 or more",
        ALL_USERS,
        BARS,
        TIME_ZONE,
        STILL_COUNTED,
    ],
    kind: Kind::Bars,
    columns: &["Purchases", "Users"],
};

pub(super) const RETENTION: Specification = Specification {
    name: "retention",
    title: "N-week retention",
    in_amplitude: &[
        "Chart: Retention Analysis",
        "Starting event: [Stripe] payment_intent.succeeded, Filter by: Historical Count = 1st",
        "Return event: [Stripe] payment_intent.succeeded",
        "Measured as: Return On",
        "Shown as: Retention, Line chart, Weekly, by 24-hour windows (the default)",
        ALL_USERS,
        TIME_ZONE,
        "Note: a user's weeks have seven days each and start on the day of the first purchase, which counts as a return in \
         week 0; a week counts only users whose week has ended",
        STILL_COUNTED,
    ],
    kind: Kind::Lines,
    columns: &["Week after the first purchase", "Users who purchased in it"],
};

pub(super) const REVENUE_BY_PRODUCT: Specification = Specification {
    name: "revenue_by_product",
    title: "Revenue by product",
    in_amplitude: &[
        "Chart: Event Segmentation",
        PURCHASE,
        "Filter by: normalized_currency = {currency}",
        "Measured as: Property Sum of $revenue",
        "Grouped by: product_names",
        ALL_USERS,
        BARS,
        TIME_ZONE,
        EACH_PRODUCT,
        FOLLOWED,
    ],
    kind: Kind::Bars,
    columns: &["Product", "Revenue"],
};

pub(super) const ORDERS_BY_PRODUCT: Specification = Specification {
    name: "orders_by_product",
    title: "Number of orders by product",
    in_amplitude: &[
        "Chart: Event Segmentation",
        PURCHASE,
        "Measured as: Event Totals",
        "Grouped by: product_names",
        ALL_USERS,
        BARS,
        TIME_ZONE,
        "Note: Amplitude's guide measures Uniques, which counts each user once, however often they order",
        EACH_PRODUCT,
        FOLLOWED,
    ],
    kind: Kind::Bars,
    columns: &["Product", "Orders"],
};

/// The title has what the users did; an additional step has the period.
pub(super) const BIG_SPENDERS: Specification = Specification {
    name: "big_spenders",
    title: "Cohort: users who {did}",
    in_amplitude: &[
        "Create: Cohort",
        "Users who performed: [Stripe] payment_intent.succeeded",
        "Where: normalized_currency = {currency}",
        "With: Total sum of property $revenue, greater than {threshold}",
        "{when}",
        "Note: the guide's condition of at least one event follows from the sum",
        NOT_SUBTRACTED,
    ],
    kind: Kind::Users,
    columns: &["User", "Spent"],
};

impl Specification {
    /// The steps, with the reader's choices instead of the names in braces.
    pub(super) fn steps(&self, chosen: &[(&str, &str)]) -> Vec<String> {
        self.in_amplitude.iter().map(|step| filled(step, chosen)).collect()
    }

    pub(super) fn title(&self, chosen: &[(&str, &str)]) -> String {
        filled(self.title, chosen)
    }
}

fn filled(text: &str, chosen: &[(&str, &str)]) -> String {
    let fill = |text: String, (name, value): &(&str, &str)| text.replace(&format!("{{{name}}}"), value);
    chosen.iter().fold(text.to_owned(), fill)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_filled_in() {
        let chosen = [("currency", "EUR"), ("threshold", "100"), ("when", "During: Last 30 Days"), ("did", "spent")];
        for specification in [TOTAL_REVENUE, REVENUE_BY_PRODUCT, BIG_SPENDERS] {
            let steps = specification.steps(&chosen);
            assert!(steps.iter().all(|step| !step.contains('{')), "{steps:?}");
        }
        assert_eq!(BIG_SPENDERS.title(&chosen), "Cohort: users who spent");
    }
}
