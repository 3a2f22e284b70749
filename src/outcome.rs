//! The result of a delivery: its outcome, code and reason.
//!
//! This is the one place that gives every error its code.

use serde::Deserialize;
use thiserror::Error;

use crate::amplitude::AmplitudeKey;
use crate::amplitude::client::{DeliveryError, RejectionReason};
use crate::aws::AwsError;
use crate::code::Code;
use crate::forward::IgnoreReason;
use crate::projects::Unavailable;
use crate::projects::configuration_error::{ConfigurationError, Problem, StripeKeyProblem};
use crate::queue::QueueError;
use crate::stripe::event::EventError;
use crate::stripe::reference::ReferenceKind;
use crate::stripe::references::source::ReferenceError;
use crate::stripe::signature::SignatureError;

/// The outcome of a delivery, or of a message of the redelivery queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The event is in Amplitude.
    Forwarded,
    /// The event is in the redelivery queue, because all events go there first.
    Queued,
    /// The event is in the redelivery queue, because it could not be delivered.
    Deferred,
    /// The event is deliberately not forwarded.
    Ignored,
    /// The request is not a Stripe delivery.
    Refused,
    /// The event is not stored anywhere: it will be delivered again.
    Failed,
    /// The event is a dead letter.
    Dead,
}

impl Outcome {
    /// All outcomes.
    pub const ALL: [Self; 7] =
        [Self::Forwarded, Self::Queued, Self::Deferred, Self::Ignored, Self::Refused, Self::Failed, Self::Dead];

    /// The outcome as text; also the name of its metric.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::Queued => "queued",
            Self::Deferred => "deferred",
            Self::Ignored => "ignored",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Dead => "dead",
        }
    }
}

/// The outcome of a delivery and why, for the response and the log line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The outcome.
    pub outcome: Outcome,
    /// Why, for programs. A forwarded event has none.
    pub code: Option<Code>,
    /// Why, for people. A forwarded event has none.
    pub reason: Option<String>,
}

impl Report {
    /// The event is in Amplitude.
    pub fn forwarded() -> Self {
        Self { outcome: Outcome::Forwarded, code: None, reason: None }
    }

    /// Any other outcome.
    pub fn new(outcome: Outcome, code: Code, reason: impl Into<String>) -> Self {
        Self { outcome, code: Some(code), reason: Some(reason.into()) }
    }
}

/// The event is safe or deliberately ignored. Only these get a 2xx.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Success {
    /// Amplitude accepted the event.
    Forwarded,
    /// The event is in the redelivery queue, where all events go first.
    Queued,
    /// The event is in the redelivery queue, because it could not be delivered.
    Deferred {
        /// Why not.
        code: Code,
        /// Why not.
        reason: String,
    },
    /// The event is deliberately not forwarded.
    Ignored(IgnoreReason),
}

impl From<Success> for Report {
    fn from(success: Success) -> Self {
        match success {
            Success::Forwarded => Self::forwarded(),
            Success::Queued => {
                Self::new(Outcome::Queued, Code::DeliveryQueue, "every event goes to the redelivery queue first")
            }
            Success::Deferred { code, reason } => Self::new(Outcome::Deferred, code, reason),
            Success::Ignored(reason) => Self::new(Outcome::Ignored, (&reason).into(), reason.to_string()),
        }
    }
}

/// The event is not safe, so Stripe has to deliver it again.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Failure {
    /// Another path.
    #[error(
        "no such route: expected a path that ends with /stripe/ and the name of a project (1 to 64 of A-Z a-z 0-9 _ -)"
    )]
    Route,
    /// The webhook's path with a trailing slash.
    #[error(
        "no such route: the path ends with a slash; remove it from the URL of the webhook endpoint, so that the path ends with /stripe/ and the name of the project"
    )]
    TrailingSlash,
    /// Another method.
    #[error("method not allowed: Stripe sends webhooks with POST")]
    Method,
    /// The payload is not from a gateway that the function supports.
    #[error("not a request of an HTTP API, a REST API or a Function URL")]
    Unreadable,
    /// A body that is larger than any event.
    #[error("the body is over 4 MiB")]
    TooLarge,
    /// The signature is refused.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The signed body is not an event.
    #[error(transparent)]
    Event(#[from] EventError),
    /// The project does not exist, or cannot be read.
    #[error(transparent)]
    Project(#[from] Unavailable),
    /// A parameter of the project cannot be used.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    /// Amplitude does not have the event.
    #[error("not delivered to Amplitude (key: {}): {error}", .key.parameter())]
    Delivery {
        /// Why.
        error: DeliveryError,
        /// The key that was used.
        key: AmplitudeKey,
    },
    /// An object that the event refers to could not be read, so the user is unknown.
    #[error("the {kind} that the event refers to could not be read from Stripe's API: {error}")]
    Reference {
        /// Which object.
        kind: ReferenceKind,
        /// Why.
        error: ReferenceError,
    },
    /// The event is too old to be sent before a look-up in Amplitude.
    #[error(
        "the event happened more than {days} days before its receipt, and Amplitude might count it twice; it becomes a dead letter, and `redrive` looks it up before sending it"
    )]
    NeedsLookup {
        /// `max_age_days`.
        days: u32,
    },
    /// No time was left to send the event to Amplitude.
    #[error("no time was left to send the event to Amplitude")]
    Deadline,
    /// The redelivery queue could not take the event either.
    #[error("{failure}; and the redelivery queue could not take the event: {error}")]
    NotDeferred {
        /// Why it was not delivered.
        failure: Box<Failure>,
        /// Why it is not in the queue.
        error: QueueError,
    },
    /// A bug.
    #[error("an unexpected error in the function; please report it with the place in its log")]
    Panic,
}

impl Failure {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Route | Self::TrailingSlash => Code::UnknownRoute,
            Self::Method => Code::MethodNotAllowed,
            Self::Unreadable => Code::UnreadableRequest,
            Self::TooLarge => Code::BodyTooLarge,
            Self::Signature(error) => error.into(),
            Self::Event(error) => error.into(),
            Self::Project(unavailable) => unavailable.into(),
            Self::Configuration(error) => error.into(),
            Self::Delivery { error, .. } => error.into(),
            Self::Reference { error: ReferenceError::Rate, .. } => Code::StripeRate,
            Self::Reference { .. } => Code::StripeUnavailable,
            Self::NeedsLookup { .. } => Code::NeedsLookup,
            Self::Deadline => Code::Deadline,
            // Repairing the queue would not deliver the event; repairing the first cause would.
            Self::NotDeferred { failure, .. } => failure.code(),
            Self::Panic => Code::InternalError,
        }
    }

    /// A refusal is the sender's fault; everything else is ours or Amplitude's.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Route
            | Self::TrailingSlash
            | Self::Method
            | Self::Unreadable
            | Self::TooLarge
            | Self::Signature(_)
            | Self::Event(_)
            | Self::Project(Unavailable::Unknown { .. }) => Outcome::Refused,
            Self::Project(_)
            | Self::Configuration(_)
            | Self::Delivery { .. }
            | Self::Reference { .. }
            | Self::NeedsLookup { .. }
            | Self::Deadline
            | Self::Panic => Outcome::Failed,
            Self::NotDeferred { failure, .. } => failure.outcome(),
        }
    }
}

impl From<Result<Success, Failure>> for Report {
    fn from(result: Result<Success, Failure>) -> Self {
        result.map_or_else(|failure| Self::from(&failure), Self::from)
    }
}

impl From<&Failure> for Report {
    fn from(failure: &Failure) -> Self {
        Self::new(failure.outcome(), failure.code(), failure.to_string())
    }
}

impl From<&SignatureError> for Code {
    fn from(error: &SignatureError) -> Self {
        match error {
            SignatureError::NoHeader => Self::SignatureMissing,
            SignatureError::Malformed(_) => Self::SignatureMalformed,
            SignatureError::NoV1 => Self::SignatureWithoutV1,
            SignatureError::Mismatch => Self::SignatureMismatch,
            SignatureError::TooOld { .. } => Self::TimestampTooOld,
            SignatureError::TooFarInTheFuture { .. } => Self::TimestampInFuture,
        }
    }
}

impl From<&EventError> for Code {
    fn from(error: &EventError) -> Self {
        match error {
            EventError::Json { .. } => Self::MalformedJson,
            EventError::NotAnEvent(_) => Self::NotAnEvent,
            EventError::Thin | EventError::ThinOnly => Self::ThinEvent,
            EventError::EventBridge => Self::EventbridgeEvent,
            EventError::List | EventError::Several => Self::EventList,
            EventError::BareObject { .. } => Self::BareObject,
            EventError::Utf16 => Self::Utf16Body,
            EventError::TooManyValues => Self::TooManyValues,
        }
    }
}

impl From<&IgnoreReason> for Code {
    fn from(reason: &IgnoreReason) -> Self {
        match reason {
            IgnoreReason::EventType => Self::TypeNotSelected,
            IgnoreReason::TestEvent => Self::TestEvent,
            IgnoreReason::ConnectedTestEvent => Self::ConnectedTestEvent,
            IgnoreReason::TooOld { .. } => Self::TooOld,
            IgnoreReason::NoUser => Self::NoUser,
            IgnoreReason::NoUserNoRevenue => Self::NoUserNoRevenue,
        }
    }
}

impl From<&Unavailable> for Code {
    fn from(unavailable: &Unavailable) -> Self {
        match unavailable {
            Unavailable::Unknown { .. } => Self::UnknownProject,
            Unavailable::Unreadable(AwsError::Throttled { .. }) => Self::ParameterStoreThrottled,
            Unavailable::Unreadable(AwsError::AccessDenied { .. }) => Self::ParameterStoreDenied,
            Unavailable::Unreadable(AwsError::Timeout | AwsError::Connection | AwsError::Refused { .. }) => {
                Self::ParameterStoreUnavailable
            }
            Unavailable::Exhausted => Self::TooManyNewProjects,
        }
    }
}

impl From<&ConfigurationError> for Code {
    fn from(error: &ConfigurationError) -> Self {
        match error.problem() {
            Problem::Missing => Self::ParameterMissing,
            Problem::Empty => Self::ParameterEmpty,
            Problem::StripeApiKey
            | Problem::EndpointId
            | Problem::AmplitudeKey
            | Problem::OfStripe
            | Problem::PublishableKey
            | Problem::NotAStripeKey
            | Problem::LiveKey
            | Problem::TestKey
            | Problem::Quoted => Self::ParameterMixedUp,
            Problem::Settings(_) => Self::SettingsInvalid,
            Problem::MissingRate(_) => Self::MissingRate,
            Problem::StripeKey(StripeKeyProblem::Missing) => Self::StripeKeyMissing,
            Problem::StripeKey(StripeKeyProblem::Refused | StripeKeyProblem::AccountRefused) => Self::StripeKeyRefused,
            Problem::StripeKey(StripeKeyProblem::PermissionMissing(_)) => Self::StripePermissionMissing,
            Problem::StripeKey(StripeKeyProblem::NotFound(_)) => Self::StripeObjectNotFound,
        }
    }
}

impl From<&DeliveryError> for Code {
    fn from(error: &DeliveryError) -> Self {
        match error {
            DeliveryError::InvalidApiKey => Self::AmplitudeInvalidKey,
            DeliveryError::InvalidRequest(RejectionReason::Silenced) => Self::AmplitudeSilenced,
            DeliveryError::InvalidRequest(_) => Self::AmplitudeRejected,
            DeliveryError::Forbidden { .. } => Self::AmplitudeForbidden,
            DeliveryError::TooLarge { .. } => Self::AmplitudeTooLarge,
            DeliveryError::Throttled => Self::AmplitudeThrottled,
            DeliveryError::Unavailable { .. } => Self::AmplitudeUnavailable,
            DeliveryError::Unexpected { .. } => Self::AmplitudeUnexpected,
            DeliveryError::NotAmplitude { .. } | DeliveryError::Redirect { .. } => Self::NotAmplitude,
            DeliveryError::Timeout => Self::AmplitudeTimeout,
            DeliveryError::Connect => Self::AmplitudeUnreachable,
            DeliveryError::Broken => Self::AmplitudeConnectionBroken,
            DeliveryError::Tls => Self::AmplitudeUntrusted,
            DeliveryError::Unserializable => Self::Unserializable,
            DeliveryError::Postponed => Self::Deadline,
        }
    }
}
