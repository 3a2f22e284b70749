//! Why a parameter of a project cannot be used.

use thiserror::Error;

use crate::money::exchange_rate::MissingRate;
use crate::settings::SettingsError;
use crate::stripe::reference::ReferenceKind;

/// A parameter of the project cannot be used. It names the parameter, never its value.
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
    /// It is required and not there.
    #[error("is missing; create it as a SecureString")]
    Missing,
    /// It holds nothing but white space.
    #[error("is empty")]
    Empty,
    /// It should hold a signing secret.
    #[error(
        "holds an API key of Stripe; it takes the signing secret of the webhook endpoint, which starts with whsec_"
    )]
    StripeApiKey,
    /// It should hold a signing secret.
    #[error(
        "holds the ID of a webhook endpoint; it takes the signing secret of that endpoint, which starts with whsec_"
    )]
    EndpointId,
    /// It should hold a signing secret.
    #[error(
        "holds 32 hexadecimal digits, as Amplitude's keys are; it takes the signing secret of the webhook endpoint, which starts with whsec_"
    )]
    AmplitudeKey,
    /// It should hold an API key of Amplitude.
    #[error("holds a key, a secret or an ID of Stripe's; it takes the API key of the Amplitude project")]
    OfStripe,
    /// It should hold a secret or restricted key of Stripe.
    #[error(
        "holds a publishable key of Stripe, which can read nothing; it takes a restricted key, which starts with rk_"
    )]
    PublishableKey,
    /// It should hold a secret or restricted key of Stripe.
    #[error("holds something else than a key of Stripe's API; it takes a restricted key, which starts with rk_")]
    NotAStripeKey,
    /// It should hold a key of test mode.
    #[error("holds a key of live mode; it takes one of test mode, which starts with rk_test_")]
    LiveKey,
    /// It should hold a key of live mode.
    #[error("holds a key of test mode; it takes one of live mode, which starts with rk_live_")]
    TestKey,
    /// The key is what it should be, but an event needs more of it.
    #[error(transparent)]
    StripeKey(StripeKeyProblem),
    /// The quotation marks would be part of the value.
    #[error("is in quotation marks; write it without them")]
    Quoted,
    /// It is `settings`, and cannot be read.
    #[error("cannot be used: {0}")]
    Settings(SettingsError),
    /// It is `settings`, and lacks a rate that an event needs.
    #[error("cannot be used for this event: {0}")]
    MissingRate(MissingRate),
}

/// Why a key of Stripe cannot be used for an event whose references are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum StripeKeyProblem {
    /// There is none.
    #[error(
        "is missing; references are followed, so create it as a SecureString, with a restricted key of the Stripe account that this event comes from"
    )]
    Missing,
    /// 401.
    #[error(
        "is not accepted by Stripe; it was revoked, has expired or is not whole: create a restricted key, and write it"
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
    #[error("does not find the {0} of this event: it is the key of another account, or of another mode")]
    NotFound(ReferenceKind),
}

fn permissions(kind: ReferenceKind) -> String {
    kind.permissions().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
