//! Why a parameter of a project cannot be used.

use thiserror::Error;

use crate::money::exchange_rate::MissingRate;
use crate::settings::SettingsError;
use crate::stripe::reference::ReferenceKind;

/// A parameter of the project cannot be used. The error names the parameter, never its value.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the parameter {folder}/{name} {problem}")]
pub struct ConfigurationError {
    pub(super) folder: String,
    pub(super) name: String,
    pub(super) problem: Problem,
}

impl ConfigurationError {
    /// The name of the parameter, below the project's folder.
    pub fn parameter(&self) -> &str {
        &self.name
    }

    /// What is wrong with the parameter.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }
}

/// What is wrong with a parameter.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Problem {
    /// It is required and missing.
    #[error("is missing; create it as a SecureString")]
    Missing,
    /// It is blank.
    #[error("is empty")]
    Empty,
    /// An API key instead of a signing secret.
    #[error("holds a Stripe API key; expected the signing secret of the webhook endpoint, which starts with whsec_")]
    StripeApiKey,
    /// An endpoint ID instead of a signing secret.
    #[error(
        "holds the ID of a webhook endpoint; expected the signing secret of that endpoint, which starts with whsec_"
    )]
    EndpointId,
    /// An Amplitude key instead of a signing secret.
    #[error(
        "holds 32 hexadecimal digits, like an Amplitude key; expected the signing secret of the webhook endpoint, which starts with whsec_"
    )]
    AmplitudeKey,
    /// A Stripe key, secret or ID instead of an Amplitude key.
    #[error("holds a Stripe key, secret or ID; expected the API key of the Amplitude project")]
    OfStripe,
    /// A publishable key instead of a restricted or secret one.
    #[error("holds a publishable Stripe key, which cannot read; expected a restricted key, which starts with rk_")]
    PublishableKey,
    /// Another value instead of a restricted or secret key.
    #[error("does not hold a Stripe API key; expected a restricted key, which starts with rk_")]
    NotAStripeKey,
    /// A live key instead of a test key.
    #[error("holds a live-mode key; expected a test-mode key, which starts with rk_test_")]
    LiveKey,
    /// A test key instead of a live key.
    #[error("holds a test-mode key; expected a live-mode key, which starts with rk_live_")]
    TestKey,
    /// The key is well-formed, but cannot be used for an event.
    #[error(transparent)]
    StripeKey(StripeKeyProblem),
    /// The value includes quotation marks.
    #[error("is in quotation marks; store it without them")]
    Quoted,
    /// `settings` is invalid.
    #[error("cannot be used: {0}")]
    Settings(SettingsError),
    /// `settings` lacks a rate that an event needs.
    #[error("cannot be used for this event: {0}")]
    MissingRate(MissingRate),
}

/// Why a Stripe key cannot be used for an event whose references are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum StripeKeyProblem {
    /// It is missing.
    #[error(
        "is missing; references are followed, so create it as a SecureString with a restricted key of the Stripe account that this event comes from"
    )]
    Missing,
    /// 401.
    #[error(
        "is not accepted by Stripe, because it was revoked, has expired or is incomplete; create a restricted key and store it"
    )]
    Refused,
    /// 403.
    #[error("lacks a permission to read the {0}: in Stripe's dashboard, give the restricted key {permissions}", permissions = permissions(*.0))]
    PermissionMissing(ReferenceKind),
    /// 403, of a connected account.
    #[error(
        "has no access to the connected account that this event comes from; the account may have been disconnected"
    )]
    AccountRefused,
    /// 404.
    #[error("does not find the {0} of this event, because it is the key of another account or mode")]
    NotFound(ReferenceKind),
}

fn permissions(kind: ReferenceKind) -> String {
    kind.permissions().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
