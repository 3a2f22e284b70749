//! Currencies, and how prices are written in them.

use fastrand::Rng;
use stripe_amplitude::money::currency::Currency;

use stripe_amplitude_common::money::shown;

/// A currency that the shop sells in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Market {
    Usd,
    Eur,
    Gbp,
    /// Has no decimals.
    Jpy,
}

impl Market {
    /// Most customers pay in dollars.
    pub(crate) fn random(rng: &mut Rng) -> Self {
        match rng.u32(0..100) {
            0..62 => Self::Usd,
            62..82 => Self::Eur,
            82..90 => Self::Gbp,
            _ => Self::Jpy,
        }
    }

    /// Stripe's code.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Usd => "usd",
            Self::Eur => "eur",
            Self::Gbp => "gbp",
            Self::Jpy => "jpy",
        }
    }

    /// Formats an amount in minor units: `19.99 USD`.
    pub(crate) fn amount(self, minor_units: i64) -> String {
        match Currency::parse(self.code()) {
            Some(currency) => shown(currency.amount(minor_units), currency.code()),
            None => format!("{minor_units} {}", self.code()),
        }
    }

    /// Formats a price as in Stripe's line descriptions: `$29.00`.
    pub(crate) fn price(self, minor_units: i64) -> String {
        let symbol = match self {
            Self::Usd => '$',
            Self::Eur => '€',
            Self::Gbp => '£',
            Self::Jpy => return format!("¥{minor_units}"),
        };
        format!("{symbol}{}.{:02}", minor_units / 100, minor_units % 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_the_currencys_decimals() {
        assert_eq!(Market::Usd.amount(1990), "19.90 USD");
        assert_eq!(Market::Jpy.amount(1990), "1990 JPY");
        assert_eq!(Market::Eur.price(2905), "€29.05");
        assert_eq!(Market::Jpy.price(3900), "¥3900");
    }
}
