//! The products.

use stripe_amplitude_common::clock::{DAY, WEEK};

use super::market::Market;

/// A product and its price in every market.
#[derive(Debug)]
pub(crate) struct Product {
    pub(crate) id: &'static str,
    pub(crate) name: &'static str,
    /// The billing interval of a subscription.
    pub(crate) interval: Option<Interval>,
    /// In minor units, including tax.
    prices: Prices,
}

#[derive(Debug)]
struct Prices {
    usd: i64,
    eur: i64,
    gbp: i64,
    jpy: i64,
}

/// The billing interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interval {
    Week,
    Month,
}

impl Interval {
    /// Stripe's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Week => "week",
            Self::Month => "month",
        }
    }

    /// In seconds. A month has thirty days here, which makes no difference in the charts.
    pub(crate) fn seconds(self) -> i64 {
        match self {
            Self::Week => WEEK,
            Self::Month => 30 * DAY,
        }
    }
}

impl Product {
    /// In minor units.
    pub(crate) fn price(&self, market: Market) -> i64 {
        match market {
            Market::Usd => self.prices.usd,
            Market::Eur => self.prices.eur,
            Market::Gbp => self.prices.gbp,
            Market::Jpy => self.prices.jpy,
        }
    }

    /// Stripe's ID of the price in this market.
    pub(crate) fn price_id(&self, market: Market) -> String {
        format!("{}_{}", self.id.replacen("prod", "price", 1), market.code())
    }

    /// Stripe's description of an invoice line with this quantity.
    pub(crate) fn description(&self, quantity: i64, market: Market) -> String {
        match self.interval {
            Some(interval) => {
                let price = market.price(self.price(market));
                format!("{quantity} × {} (at {price} / {})", self.name, interval.name())
            }
            None => self.name.to_owned(),
        }
    }
}

/// All products.
pub(crate) static PRODUCTS: [&Product; 7] = [&WEEK_PASS, &PILOT_PLAN, &STICKERS, &GLOVES, &GOGGLES, &HELMET, &RIDE];

pub(crate) static WEEK_PASS: Product = Product {
    id: "prod_DemoWeekPass",
    name: "Week pass",
    interval: Some(Interval::Week),
    prices: Prices { usd: 700, eur: 690, gbp: 600, jpy: 1050 },
};

pub(crate) static PILOT_PLAN: Product = Product {
    id: "prod_DemoPilotPlan",
    name: "Pilot plan",
    interval: Some(Interval::Month),
    prices: Prices { usd: 2900, eur: 2700, gbp: 2350, jpy: 4300 },
};

pub(crate) static STICKERS: Product = Product {
    id: "prod_DemoStickers",
    name: "Sticker sheet",
    interval: None,
    prices: Prices { usd: 499, eur: 450, gbp: 399, jpy: 750 },
};

pub(crate) static GLOVES: Product = Product {
    id: "prod_DemoGloves",
    name: "Launch gloves",
    interval: None,
    prices: Prices { usd: 1999, eur: 1899, gbp: 1650, jpy: 2980 },
};

pub(crate) static GOGGLES: Product = Product {
    id: "prod_DemoGoggles",
    name: "Goggles",
    interval: None,
    prices: Prices { usd: 2450, eur: 2290, gbp: 1999, jpy: 3600 },
};

pub(crate) static HELMET: Product = Product {
    id: "prod_DemoHelmet",
    name: "Helmet",
    interval: None,
    prices: Prices { usd: 4900, eur: 4590, gbp: 3990, jpy: 7200 },
};

pub(crate) static RIDE: Product = Product {
    id: "prod_DemoRide",
    name: "Rocket ride",
    interval: None,
    prices: Prices { usd: 8900, eur: 8490, gbp: 7400, jpy: 13_200 },
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_match_stripes() {
        assert_eq!(PILOT_PLAN.description(1, Market::Usd), "1 × Pilot plan (at $29.00 / month)");
        assert_eq!(WEEK_PASS.description(1, Market::Jpy), "1 × Week pass (at ¥1050 / week)");
        assert_eq!(HELMET.description(2, Market::Eur), "Helmet");
        assert_eq!(HELMET.price_id(Market::Eur), "price_DemoHelmet_eur");
    }
}
