//! Exact amounts of money: integers of minor units, written digit by digit.

use std::fmt;

use serde::ser::Error as _;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// An exact amount of money. It prints, and serializes to JSON, as a decimal number of major units without trailing
/// zeros.
///
/// ```
/// # use stripe_amplitude::money::currency::Currency;
/// let amount = |currency, minor_units| Currency::parse(currency).map(|currency| currency.amount(minor_units).to_string());
/// assert_eq!(amount("usd", 1999).as_deref(), Some("19.99"));
/// assert_eq!(amount("usd", 2000).as_deref(), Some("20"));
/// assert_eq!(amount("jpy", 500).as_deref(), Some("500"));
/// assert_eq!(amount("kwd", 5120).as_deref(), Some("5.12"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount {
    /// Wider than Stripe's integers, because a conversion to another currency may need it.
    minor_units: i128,
    decimals: u8,
}

impl Amount {
    /// An amount in minor units, of a currency with this many decimals.
    pub(super) fn new(minor_units: i128, decimals: u8) -> Self {
        Self { minor_units, decimals }
    }

    /// The amount in thousandths of a major unit, which is exact for every currency of Stripe. `None` if it is too
    /// large.
    pub fn thousandths(self) -> Option<i128> {
        self.minor_units.checked_mul(10_i128.pow(3_u32.checked_sub(self.decimals.into())?))
    }

    /// Whether the amount is zero.
    pub fn is_zero(self) -> bool {
        self.minor_units == 0
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.minor_units < 0 { "-" } else { "" };
        let unit = 10_u128.pow(u32::from(self.decimals));
        let magnitude = self.minor_units.unsigned_abs();
        let (whole, rest) = (magnitude / unit, magnitude % unit);
        if rest == 0 {
            return write!(f, "{sign}{whole}");
        }
        let rest = format!("{rest:0width$}", width = usize::from(self.decimals));
        write!(f, "{sign}{whole}.{}", rest.trim_end_matches('0'))
    }
}

impl Serialize for Amount {
    /// Digit by digit: a float would round large amounts.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.to_string()).map_err(S::Error::custom)?.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::money::currency::Currency;

    fn currency(code: &str) -> Currency {
        Currency::parse(code).unwrap()
    }

    #[test]
    fn amounts_print_in_major_units() {
        for (code, minor_units, printed) in [
            ("usd", 2000, "20"),
            ("usd", 1999, "19.99"),
            ("usd", 1990, "19.9"),
            ("usd", 5, "0.05"),
            ("usd", 0, "0"),
            ("usd", -700, "-7"),
            ("usd", -5, "-0.05"),
            ("jpy", 500, "500"),
            ("mga", 501, "501"),
            ("krw", -1, "-1"),
            ("isk", 500, "5"),
            ("ugx", 500, "5"),
            ("huf", 12_345, "123.45"),
            ("kwd", 5120, "5.12"),
            ("bhd", 1, "0.001"),
            ("usd", 9_007_199_254_740_993, "90071992547409.93"),
            ("usd", i128::from(i64::MIN), "-92233720368547758.08"),
            ("kwd", i128::from(i64::MAX), "9223372036854775.807"),
            ("usd", i128::MIN, "-1701411834604692317316873037158841057.28"),
        ] {
            let amount = currency(code).amount(minor_units);
            assert_eq!(amount.to_string(), printed, "{code} {minor_units}");
            assert_eq!(serde_json::to_string(&amount).unwrap(), printed);
        }
    }

    proptest! {
        #[test]
        fn money_prints_back_exactly_for_every_exponent(minor_units: i64, code in "usd|jpy|kwd|isk") {
            let amount = currency(&code).amount(minor_units);
            let printed = amount.to_string();
            let (whole, rest) = printed.split_once('.').unwrap_or((&printed, ""));
            let digits = format!("{whole}{rest:0<width$}", width = usize::from(amount.decimals));
            prop_assert_eq!(digits.parse::<i64>().unwrap(), minor_units);
            prop_assert!(!rest.ends_with('0'));
        }
    }
}
