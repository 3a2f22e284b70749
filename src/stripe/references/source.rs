//! The source of Stripe's objects.

use std::convert::Infallible;
use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::stripe::purchase::Found;
use crate::stripe::reference::{Reference, ReferenceKind};

/// A source of Stripe's objects. A network edge;
/// [`StripeApi`](super::api::StripeApi) is the real one.
pub trait ObjectSource: Send + Sync {
    /// Reads an object once. The caller limits the time.
    fn read(
        &self,
        access: &Access<'_>,
        reference: &Reference,
    ) -> impl Future<Output = Result<Found, ReferenceError>> + Send;

    /// Called for results without a read of their own: from the cache, or from another event's read. For callers that
    /// show the reads of an event.
    fn shared(&self, _: &Reference, _: &Result<Found, ReferenceError>) {}
}

/// The account of the objects, and the key.
#[derive(Clone, Debug)]
pub struct Access<'a> {
    /// The key, hidden from `Debug`.
    pub key: &'a SecretString,
    /// The full name of its parameter.
    pub parameter: String,
    /// The connected account that the objects belong to.
    pub account: Option<String>,
    /// Whether a missing object that must exist is a configuration error. In test mode, it may have been deleted with
    /// all other test data.
    pub is_live: bool,
}

/// Why an object could not be read. The texts are ours: Stripe's can hold keys and IDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ReferenceError {
    /// No response in time.
    #[error("timed out")]
    Timeout,
    /// No connection, or one that broke.
    #[error("no connection")]
    Connection,
    /// 429.
    #[error("429: too many requests")]
    TooManyRequests,
    /// An unexpected status.
    #[error("{0}: Stripe is unavailable")]
    Status(u16),
    /// The response is not from Stripe.
    #[error("{0}, but not from Stripe: another server answers at this address; check STRIPE_API_URL and proxies")]
    NotStripe(u16),
    /// Our own rate limit is reached.
    #[error("the rate limit for reads is reached")]
    Rate,
    /// 401.
    #[error("the key is not accepted")]
    KeyRefused,
    /// 403.
    #[error("the key lacks a permission to read the {0}")]
    PermissionMissing(ReferenceKind),
    /// 403, of a connected account.
    #[error("the key has no access to the connected account")]
    AccountRefused,
    /// 404, of an object that must exist.
    #[error("the {0} is not found")]
    NotFound(ReferenceKind),
}

impl Access<'_> {
    /// The account whose rate a read counts against: the connected one, or the key's own.
    pub(super) fn account_asked(&self) -> String {
        let of_the_key = || Sha256::digest(self.key.expose_secret()).iter().map(|byte| format!("{byte:02x}")).collect();
        self.account.clone().unwrap_or_else(of_the_key)
    }

    pub(super) fn scope(&self) -> String {
        format!("{} {}", self.parameter, self.account.as_deref().unwrap_or_default())
    }
}

/// Without a key, nothing can be read.
impl ObjectSource for Infallible {
    async fn read(&self, _: &Access<'_>, _: &Reference) -> Result<Found, ReferenceError> {
        match *self {}
    }
}

impl<O: ObjectSource> ObjectSource for Arc<O> {
    async fn read(&self, access: &Access<'_>, reference: &Reference) -> Result<Found, ReferenceError> {
        O::read(self, access, reference).await
    }

    fn shared(&self, reference: &Reference, result: &Result<Found, ReferenceError>) {
        O::shared(self, reference, result);
    }
}
