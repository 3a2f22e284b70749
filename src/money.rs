//! Money as Stripe counts it: currencies, exact amounts, and their conversion.

pub mod amount;
pub mod currency;
pub mod exchange_rate;
