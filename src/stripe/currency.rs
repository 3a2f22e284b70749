//! Stripe's currencies, and money that is exact.
//!
//! Stripe counts in a currency's minor unit, and differs from ISO 4217: ISK and UGX have two decimals although nothing
//! smaller than a whole unit exists, MGA has none. Source: docs.stripe.com/currencies.

use std::fmt;

use serde::ser::Error as _;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

const NO_DECIMALS: [&str; 15] =
    ["BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"];
const THREE_DECIMALS: [&str; 5] = ["BHD", "JOD", "KWD", "OMR", "TND"];

/// A currency, as its three-letter code in upper case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

impl Currency {
    /// Reads Stripe's code, which is in lower case. Anything but three ASCII letters is no currency.
    pub fn parse(code: &str) -> Option<Self> {
        let letters: [u8; 3] = code.as_bytes().try_into().ok()?;
        letters.iter().all(u8::is_ascii_alphabetic).then(|| Self(letters.map(|letter| letter.to_ascii_uppercase())))
    }

    /// The code in upper case, as Amplitude wants it.
    pub fn code(&self) -> &str {
        // Three ASCII letters are UTF-8; the default is never seen.
        str::from_utf8(&self.0).unwrap_or_default()
    }

    /// How many decimals Stripe's integer amounts in this currency have.
    pub fn decimals(self) -> u8 {
        match self.code() {
            code if NO_DECIMALS.contains(&code) => 0,
            code if THREE_DECIMALS.contains(&code) => 3,
            _ => 2,
        }
    }

    /// An amount of Stripe's, in minor units of this currency.
    pub fn amount(self, minor_units: impl Into<i128>) -> Amount {
        Amount { minor_units: minor_units.into(), decimals: self.decimals() }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

/// An exact amount of money. It prints, and serializes to JSON, as a decimal number of major units without trailing
/// zeros: 1999 minor units with two decimals are `19.99`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount {
    /// Wider than Stripe's integers, because a conversion to another currency may need it.
    minor_units: i128,
    decimals: u8,
}

impl Amount {
    /// Whether nothing is left to count.
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
    /// Digit by digit: a float in between would round large amounts.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.to_string()).map_err(S::Error::custom)?.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn currency(code: &str) -> Currency {
        Currency::parse(code).unwrap()
    }

    #[test]
    fn decimals_are_those_of_stripes_table() {
        let table: serde_json::Value = serde_json::from_str(include_str!("../../tests/data/currencies.json")).unwrap();
        let codes = |name: &str| -> Vec<String> {
            table[name].as_array().unwrap().iter().map(|code| code.as_str().unwrap().to_owned()).collect()
        };
        let zero = codes("zero_decimal");
        let three = codes("three_decimal");
        assert_eq!((zero.len(), three.len()), (NO_DECIMALS.len(), THREE_DECIMALS.len()));
        assert!(zero.iter().all(|code| currency(code).decimals() == 0));
        assert!(three.iter().all(|code| currency(code).decimals() == 3));
        for (code, rule) in table["special"].as_object().unwrap() {
            if let Some(decimals) = rule.get("exponent") {
                assert_eq!(u64::from(currency(code).decimals()), decimals.as_u64().unwrap(), "{code}");
            }
        }
        for code in ["usd", "eur", "gbp", "iqd", "lyd", "clf", "zzz"] {
            assert_eq!(currency(code).decimals(), 2, "{code}");
        }
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

    #[test]
    fn only_three_letters_are_a_currency() {
        for code in ["", "us", "usdc", "u$d", "us1", "é1"] {
            assert_eq!(Currency::parse(code), None, "{code}");
        }
        assert_eq!(currency("uSd").code(), "USD");
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
