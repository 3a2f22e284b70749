//! An event in the form of Amplitude's HTTP V2 and Batch APIs.

use serde::Serialize;

use super::properties::Properties;
use crate::money::amount::Amount;
use crate::money::currency::Currency;

/// The event's library in Amplitude.
pub const LIBRARY: &str = concat!("stripe-amplitude/", env!("CARGO_PKG_VERSION"));

/// An event for Amplitude. Fields without a value are omitted. So are `ip`, which would record our address, and the
/// platform and place, each of which clears its siblings.
#[derive(Clone, Serialize)]
pub struct Event<'b> {
    /// `[Stripe] ` and Stripe's type.
    pub event_type: String,
    /// Unix milliseconds.
    pub time: i64,
    /// Stripe's event ID: the first rule of deduplication, with `device_id`.
    pub insert_id: String,
    /// 31 bits that differ between events: the second rule.
    pub event_id: u32,
    /// Takes precedence over the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// Always set, so that a repeat stays on its device.
    pub device_id: String,
    /// In major units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revenue: Option<Amount>,
    /// Of the revenue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<Currency>,
    /// Everything else.
    pub event_properties: Properties<'b>,
    /// [`LIBRARY`].
    pub library: &'static str,
}
