//! Stripe's currencies.
//!
//! Stripe counts in a currency's minor unit, and differs from ISO 4217: ISK and UGX have two decimals although they
//! have no minor unit, MGA has none. Source: docs.stripe.com/currencies.

use std::fmt;

use serde::{Serialize, Serializer};

use super::amount::Amount;

const NO_DECIMALS: [&str; 15] =
    ["BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"];
const THREE_DECIMALS: [&str; 5] = ["BHD", "JOD", "KWD", "OMR", "TND"];

/// A currency, as its three-letter code in upper case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

impl Currency {
    /// Reads Stripe's code, which is in lower case. Only three ASCII letters are a currency.
    pub fn parse(code: &str) -> Option<Self> {
        let letters: [u8; 3] = code.as_bytes().try_into().ok()?;
        letters.iter().all(u8::is_ascii_alphabetic).then(|| Self(letters.map(|letter| letter.to_ascii_uppercase())))
    }

    /// The code in upper case, as Amplitude expects it.
    pub fn code(&self) -> &str {
        // Three ASCII letters are UTF-8; the default is never used.
        str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The number of decimals in Stripe's integer amounts.
    pub fn decimals(self) -> u8 {
        match self.code() {
            code if NO_DECIMALS.contains(&code) => 0,
            code if THREE_DECIMALS.contains(&code) => 3,
            _ => 2,
        }
    }

    /// An amount from Stripe, in minor units of this currency.
    pub fn amount(self, minor_units: impl Into<i128>) -> Amount {
        Amount::new(minor_units.into(), self.decimals())
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

#[cfg(test)]
mod tests {
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
    fn only_three_letters_are_a_currency() {
        for code in ["", "us", "usdc", "u$d", "us1", "é1"] {
            assert_eq!(Currency::parse(code), None, "{code}");
        }
        assert_eq!(currency("uSd").code(), "USD");
    }
}
