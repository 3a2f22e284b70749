//! Currency conversion in decimal arithmetic: no float, and rounded once.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::ser::Error as _;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use thiserror::Error;

use crate::money::{amount::Amount, currency::Currency};

/// The setting `preferred_currency`: the target currency of all amounts, and the rates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreferredCurrency {
    /// The target currency.
    pub code: Currency,
    /// How many major units of `code` equal one major unit of another currency.
    pub rates: BTreeMap<Currency, Rate>,
}

/// The conversion of the amounts of an object.
#[derive(Clone, Copy, Debug)]
pub struct Conversion<'r> {
    /// The object's currency.
    pub from: Currency,
    /// The target, if it is another one.
    to: Option<(Currency, &'r Rate)>,
}

impl<'r> Conversion<'r> {
    /// The conversion that the project wants for this currency. Without a preferred currency, none.
    ///
    /// # Errors
    /// If there is no rate for it: no number is better than a wrong one.
    pub fn of(from: Currency, preferred: Option<&'r PreferredCurrency>) -> Result<Self, MissingRate> {
        let to = match preferred {
            Some(preferred) if preferred.code != from => {
                let rate = preferred.rates.get(&from).ok_or(MissingRate { from, to: preferred.code })?;
                Some((preferred.code, rate))
            }
            _ => None,
        };
        Ok(Self { from, to })
    }

    /// The currency of the results of [`Self::amount`].
    pub fn currency(&self) -> Currency {
        self.to.map_or(self.from, |(to, _)| to)
    }

    /// The rate, if amounts are converted.
    pub fn rate(&self) -> Option<&'r Rate> {
        self.to.map(|(_, rate)| rate)
    }

    /// An amount in minor units of `from`, converted.
    pub fn amount(&self, minor_units: i64) -> Amount {
        match self.to {
            None => self.from.amount(minor_units),
            Some((to, rate)) => to.amount(rate.convert(minor_units, self.from.decimals(), to.decimals())),
        }
    }
}

/// The project's settings have no rate for the currency of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("`preferred_currency.rates` has no rate from {from} to {to}; add it, and Stripe's next attempt will succeed")]
pub struct MissingRate {
    /// The currency of the event.
    pub from: Currency,
    /// The preferred currency.
    pub to: Currency,
}

/// An exchange rate between major units: a positive decimal number of up to 16 digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The digits, without the point.
    digits: i128,
    /// How many of them are behind the point.
    decimals: u32,
}

/// With more digits, an amount times a rate could exceed 128 bits: 19 digits of an amount, 16 of a rate, and 3 for the
/// step from a currency without decimals to one with three make 38.
const MOST_DIGITS: usize = 16;

impl Rate {
    /// One multiplication and one division of integers, so that only the result is rounded: half to even.
    fn convert(self, minor_units: i64, from_decimals: u8, to_decimals: u8) -> i128 {
        let numerator = i128::from(minor_units) * self.digits * 10_i128.pow(to_decimals.into());
        let denominator = 10_i128.pow(u32::from(from_decimals) + self.decimals);
        let (quotient, rest) = (numerator / denominator, numerator % denominator);
        let twice = 2 * rest.abs();
        let away_from_zero = twice > denominator || (twice == denominator && quotient % 2 != 0);
        if away_from_zero { quotient + numerator.signum() } else { quotient }
    }
}

impl FromStr for Rate {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        let (whole, rest) = text.split_once('.').unwrap_or((text, "0"));
        let rest = if rest == "0" { "" } else { rest };
        let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
        let empty = whole.is_empty() || text.ends_with('.');
        if empty || !is_number(whole) || !is_number(rest) || whole.len() + rest.len() > MOST_DIGITS {
            return Err(InvalidRate);
        }
        let digits: i128 = format!("{whole}{rest}").parse().map_err(|_| InvalidRate)?;
        let decimals = u32::try_from(rest.len()).map_err(|_| InvalidRate)?;
        if digits == 0 { Err(InvalidRate) } else { Ok(Self { digits, decimals }) }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.digits.to_string();
        let decimals = self.decimals as usize;
        let padded = format!("{digits:0>width$}", width = decimals + 1);
        let (whole, rest) = padded.split_at_checked(padded.len() - decimals).unwrap_or((&padded, ""));
        match rest.trim_end_matches('0') {
            "" => f.write_str(whole),
            rest => write!(f, "{whole}.{rest}"),
        }
    }
}

impl Serialize for Rate {
    /// A number, digit by digit.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.to_string()).map_err(S::Error::custom)?.serialize(serializer)
    }
}

/// The text is not a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a positive decimal number of up to 16 digits, as text: \"1.08\"")]
pub struct InvalidRate;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn currency(code: &str) -> Currency {
        Currency::parse(code).unwrap()
    }

    fn preferred(code: &str, rates: &[(&str, &str)]) -> PreferredCurrency {
        let rates = rates.iter().map(|(code, rate)| (currency(code), rate.parse().unwrap())).collect();
        PreferredCurrency { code: currency(code), rates }
    }

    fn converted(minor_units: i64, from: &str, rate: &str, to: &str) -> String {
        let preferred = preferred(to, &[(from, rate)]);
        let conversion = Conversion::of(currency(from), Some(&preferred)).unwrap();
        format!("{} {}", conversion.amount(minor_units), conversion.currency())
    }

    #[test]
    fn rates_apply_to_major_units_on_both_sides() {
        for (minor_units, from, rate, to, expected) in [
            (1050, "EUR", "1.08", "USD", "11.34 USD"),
            // No decimals to two, and back.
            (1000, "JPY", "0.0067", "USD", "6.7 USD"),
            (1000, "USD", "149.25", "JPY", "1492 JPY"),
            // Three decimals to two, and back.
            (5120, "KWD", "3.25", "USD", "16.64 USD"),
            (1664, "USD", "0.3077", "KWD", "5.12 KWD"),
            // Two decimals, as Stripe counts, although nothing smaller than a whole unit exists.
            (1000, "USD", "137.5", "ISK", "1375 ISK"),
            (500, "ISK", "0.0073", "USD", "0.04 USD"),
            (370_000, "UGX", "0.00027", "USD", "1 USD"),
            (12_345, "HUF", "0.0028", "USD", "0.35 USD"),
            (4500, "MGA", "0.00022", "USD", "0.99 USD"),
            (100, "MGA", "0.00068", "KWD", "0.068 KWD"),
            // Negative, for refunds.
            (-1050, "EUR", "1.08", "USD", "-11.34 USD"),
            (0, "EUR", "1.08", "USD", "0 USD"),
        ] {
            assert_eq!(converted(minor_units, from, rate, to), expected, "{minor_units} {from}");
        }
    }

    #[test]
    fn results_round_half_to_even_once() {
        for (minor_units, rate, expected) in [
            (1, "0.5", "0 USD"),
            (3, "0.5", "0.02 USD"),
            (5, "0.5", "0.02 USD"),
            (7, "0.5", "0.04 USD"),
            (-1, "0.5", "0 USD"),
            (-3, "0.5", "-0.02 USD"),
            (-5, "0.5", "-0.02 USD"),
            // A little more than half rounds up. Rounding 0.0249999 twice, by way of 0.025, would give 0.02 and 0.03.
            (1, "1.500000000000001", "0.02 USD"),
            (1, "2.499999999999999", "0.02 USD"),
            (1, "2.500000000000001", "0.03 USD"),
        ] {
            assert_eq!(converted(minor_units, "EUR", rate, "USD"), expected, "{minor_units} at {rate}");
        }
    }

    #[test]
    fn the_largest_amounts_do_not_overflow() {
        assert_eq!(converted(i64::MAX, "JPY", "9999999999999999", "KWD"), "92233720368547748846627963145224193 KWD");
        assert_eq!(converted(i64::MIN, "JPY", "9999999999999999", "KWD").chars().next(), Some('-'));
    }

    #[test]
    fn other_currencies_need_a_rate() {
        let preferred = preferred("USD", &[("EUR", "1.08")]);
        let same = Conversion::of(currency("usd"), Some(&preferred)).unwrap();
        assert_eq!((same.amount(1999).to_string(), same.rate()), ("19.99".to_owned(), None));
        let none = Conversion::of(currency("gbp"), None).unwrap();
        assert_eq!((none.amount(1999).to_string(), none.currency()), ("19.99".to_owned(), currency("GBP")));
        let missing = Conversion::of(currency("gbp"), Some(&preferred)).unwrap_err();
        assert!(missing.to_string().contains("no rate from GBP to USD"));
    }

    #[test]
    fn a_rate_is_a_positive_decimal_number() {
        for (text, printed) in
            [("1.08", "1.08"), ("0.0067", "0.0067"), ("149", "149"), ("1.0800", "1.08"), ("2.0", "2"), ("10", "10")]
        {
            let rate: Rate = text.parse().unwrap();
            assert_eq!(rate.to_string(), printed);
            assert_eq!(serde_json::to_string(&rate).unwrap(), printed);
        }
        for text in [
            "",
            "0",
            "0.0",
            "0.00",
            "-1",
            "+1",
            "1,08",
            "1e3",
            ".5",
            "1.",
            "1.0.8",
            "NaN",
            " 1",
            "0x1",
            "١",
            "12345678901234567",
            "1.2345678901234567",
        ] {
            assert_eq!(text.parse::<Rate>(), Err(InvalidRate), "{text}");
        }
    }

    proptest! {
        /// Compared with the definition, in plain integers: no other amount in minor units of the target is nearer.
        #[test]
        fn no_other_amount_is_nearer(minor_units: i64, digits in 1_i128..10_i128.pow(16), decimals in 0_u32..17,
                                     from in 0_u8..4, to in 0_u8..4) {
            let rate = Rate { digits, decimals };
            let converted = rate.convert(minor_units, from, to);
            let denominator = 10_i128.pow(u32::from(from) + decimals);
            let exact = i128::from(minor_units) * digits * 10_i128.pow(u32::from(to));
            // The difference is at most half a minor unit; at a half, the amount is even.
            let quotient = exact.div_euclid(denominator);
            let rest = exact.rem_euclid(denominator);
            let nearest = if 2 * rest < denominator { quotient }
                else if 2 * rest > denominator { quotient + 1 }
                else { quotient + quotient.rem_euclid(2) };
            prop_assert_eq!(converted, nearest);
            // A refund subtracts exactly what the payment added.
            if minor_units != i64::MIN {
                prop_assert_eq!(rate.convert(-minor_units, from, to), -converted);
            }
        }
    }
}
