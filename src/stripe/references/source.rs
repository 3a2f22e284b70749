//! Where Stripe's objects come from.

use std::convert::Infallible;
use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::stripe::purchase::Found;
use crate::stripe::reference::{Reference, ReferenceKind};

/// Where Stripe's objects are read. A network edge;
/// [`StripeApi`](super::api::StripeApi) is the real one.
pub trait ObjectSource: Send + Sync {
    /// Reads an object once. The caller limits the time.
    fn read(
        &self,
        access: &Access<'_>,
        reference: &Reference,
    ) -> impl Future<Output = Result<Found, ReferenceError>> + Send;

    /// Told of what was answered without a read of its own: from the cache, or by a read that somebody else began. For whoever
    /// shows what an event took.
    fn shared(&self, _: &Reference, _: &Result<Found, ReferenceError>) {}
}

/// Whose objects are read, and with what.
#[derive(Clone, Debug)]
pub struct Access<'a> {
    /// The key, hidden from `Debug`.
    pub key: &'a SecretString,
    /// The whole name of the parameter that holds it.
    pub parameter: String,
    /// The connected account that the objects belong to.
    pub account: Option<String>,
    /// Whether an object that must exist, and does not, is an error of the configuration. In test mode, it may have been
    /// deleted with all other test data.
    pub is_live: bool,
}

/// Why an object could not be read. The texts are ours: Stripe's can hold keys and IDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ReferenceError {
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
    /// No connection, or one that broke.
    #[error("no connection")]
    Connection,
    /// 429.
    #[error("429: too many requests at the moment")]
    TooManyRequests,
    /// Another status than a read is answered with.
    #[error("{0}: it is not available at the moment")]
    Status(u16),
    /// Something else answers.
    #[error("{0}, but not from Stripe: something else answers at this address; look at STRIPE_API_URL and at proxies")]
    NotStripe(u16),
    /// Our own rate is used up.
    #[error("the reads of this second are used up")]
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
    /// Whose rate a read counts against: the connected account's, or that of the key's own.
    pub(super) fn account_asked(&self) -> String {
        let of_the_key = || Sha256::digest(self.key.expose_secret()).iter().map(|byte| format!("{byte:02x}")).collect();
        self.account.clone().unwrap_or_else(of_the_key)
    }

    pub(super) fn scope(&self) -> String {
        format!("{} {}", self.parameter, self.account.as_deref().unwrap_or_default())
    }
}

/// Nothing can be read where there is no key.
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
