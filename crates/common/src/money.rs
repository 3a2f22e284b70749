//! Amounts of money that can be added exactly.

use std::fmt;

#[cfg(feature = "rusqlite")]
use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use serde::{Serialize, Serializer};
use serde_json::Value;
use stripe_amplitude::money::amount::Amount;
use stripe_amplitude::money::currency::Currency;

/// Thousandths of a currency's major unit, because Stripe's currencies have at most three decimals. An integer, so that sums
/// are exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Money(i64);

const THOUSANDTHS: i64 = 1000;

/// A hundred billion major units: more than any payment, but ninety thousand of them can be added, and a float represents
/// them exactly.
const MOST: i64 = 100_000_000_000 * THOUSANDTHS;

impl Money {
    /// A number of major units.
    pub const fn whole(major_units: i64) -> Self {
        Self(major_units * THOUSANDTHS)
    }

    /// The amount in an event for Amplitude, if it is valid.
    ///
    /// JSON decimals are parsed as the nearest float. Rounding to thousandths restores the exact amount.
    pub fn of(number: &Value) -> Option<Self> {
        let thousandths = match number.as_i64() {
            Some(whole) => whole.checked_mul(THOUSANDTHS)?,
            None => (number.as_f64()? * THOUSANDTHS as f64).round() as i64,
        };
        (-MOST..=MOST).contains(&thousandths).then_some(Self(thousandths))
    }

    /// The exact amount; `None` above the maximum.
    pub fn exact(amount: Amount) -> Option<Self> {
        let thousandths = i64::try_from(amount.thousandths()?).ok()?;
        (-MOST..=MOST).contains(&thousandths).then_some(Self(thousandths))
    }

    /// Below zero.
    pub fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// The sum, which saturates on overflow.
    pub fn sum(amounts: impl IntoIterator<Item = Self>) -> Self {
        Self(amounts.into_iter().fold(0, |sum, Self(amount)| sum.saturating_add(amount)))
    }
}

impl fmt::Display for Money {
    /// Major units with the necessary decimals: `20`, `19.99`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let thousandths = self.0.unsigned_abs();
        let divisor = THOUSANDTHS.unsigned_abs();
        let (whole, rest) = (thousandths / divisor, thousandths % divisor);
        if rest == 0 {
            return write!(f, "{sign}{whole}");
        }
        write!(f, "{sign}{whole}.{}", format!("{rest:03}").trim_end_matches('0'))
    }
}

/// Formats an amount with the decimals of its currency: `20.00 USD`, `2000 JPY`.
pub fn shown(amount: impl fmt::Display, currency: &str) -> String {
    format!("{} {currency}", figure(amount, Some(currency)))
}

/// The same without the currency. An amount in an unknown currency has the necessary decimals; no amount loses any.
pub fn figure(amount: impl fmt::Display, currency: Option<&str>) -> String {
    let amount = amount.to_string();
    let decimals = currency.and_then(Currency::parse).map_or(0, |currency| usize::from(currency.decimals()));
    let (whole, rest) = amount.split_once('.').unwrap_or((&amount, ""));
    if decimals == 0 && rest.is_empty() { whole.to_owned() } else { format!("{whole}.{rest:0<decimals$}") }
}

impl Serialize for Money {
    /// A number of major units.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 % THOUSANDTHS == 0 {
            return serializer.serialize_i64(self.0 / THOUSANDTHS);
        }
        // The shortest decimal of the nearest float is the exact amount.
        serializer.serialize_f64(self.0 as f64 / THOUSANDTHS as f64)
    }
}

#[cfg(feature = "rusqlite")]
impl ToSql for Money {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.into())
    }
}

#[cfg(feature = "rusqlite")]
impl FromSql for Money {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        i64::column_result(value).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn amounts_are_exact() {
        for (sent, text) in [
            (json!(20), "20"),
            (json!(19.99), "19.99"),
            (json!(-5.4), "-5.4"),
            (json!(0.001), "0.001"),
            (json!(1.005), "1.005"),
            (json!(99_999_999_999.999), "99999999999.999"),
            (json!(12000), "12000"),
            (json!(-0.05), "-0.05"),
        ] {
            let money = Money::of(&sent).unwrap();
            assert_eq!((money.to_string().as_str(), serde_json::to_value(money).unwrap()), (text, sent));
        }
        // As floats, they are 0.30000000000000004.
        let sum = Money::sum([json!(0.1), json!(0.2)].iter().filter_map(Money::of));
        assert_eq!(serde_json::to_string(&sum).unwrap(), "0.3");
    }

    #[test]
    fn amounts_have_the_currencys_decimals() {
        for (amount, currency, text) in [
            (json!(20), "USD", "20.00 USD"),
            (json!(19.9), "EUR", "19.90 EUR"),
            (json!(-5.4), "USD", "-5.40 USD"),
            (json!(2000), "JPY", "2000 JPY"),
            (json!(7), "KWD", "7.000 KWD"),
            (json!(1.005), "KWD", "1.005 KWD"),
            (json!(5), "ISK", "5.00 ISK"),
            // Extra decimals are not hidden.
            (json!(13.4), "JPY", "13.4 JPY"),
            (json!(0.001), "USD", "0.001 USD"),
        ] {
            assert_eq!(shown(Money::of(&amount).unwrap(), currency), text);
        }
        assert_eq!(shown(Currency::parse("usd").unwrap().amount(2000), "USD"), "20.00 USD");
        assert_eq!((figure(Money::whole(5), None), figure(Money::whole(5), Some("EUR"))), ("5".into(), "5.00".into()));
    }

    #[test]
    fn invalid_amounts_are_rejected() {
        for sent in [json!(null), json!("20"), json!(i64::MAX), json!(u64::MAX), json!(1e300), json!(-1e12), json!([])]
        {
            assert_eq!(Money::of(&sent), None, "{sent}");
        }
    }
}
