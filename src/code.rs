//! The stable codes of responses, log lines and queue messages.
//!
//! A code explains an outcome to programs: dashboards, alarms, `redrive --code`. The reason beside it is a sentence for
//! people and may change; a code may not. `docs/codes.md` lists all codes with their remedies.

use std::fmt;

use serde::{Serialize, Serializer};

macro_rules! codes {
    ($($(#[$comment:meta])* $name:ident = $text:literal,)*) => {
        /// Why an event was ignored, refused, deferred or not delivered.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[$comment])* $name,)*
        }

        impl Code {
            /// All codes, in the order of `docs/codes.md`.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The code as text.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

codes! {
    // Refused: the request is not a Stripe event for one of our projects.
    /// The path does not end in `/stripe/{project}`.
    UnknownRoute = "unknown_route",
    /// Any method except `POST`.
    MethodNotAllowed = "method_not_allowed",
    /// The payload is not from a gateway that the function supports.
    UnreadableRequest = "unreadable_request",
    /// The body is over 4 MiB.
    BodyTooLarge = "body_too_large",
    /// The body has more than 500,000 JSON values.
    TooManyValues = "too_many_values",
    /// No `Stripe-Signature` header.
    SignatureMissing = "signature_missing",
    /// A `Stripe-Signature` header in another form than Stripe's.
    SignatureMalformed = "signature_malformed",
    /// No `v1` in the header.
    SignatureWithoutV1 = "signature_without_v1",
    /// No signature matches a secret of the project.
    SignatureMismatch = "signature_mismatch",
    /// The signature matches, but is older than the tolerance.
    TimestampTooOld = "timestamp_too_old",
    /// The signature matches, but its time is too far ahead of our clock.
    TimestampInFuture = "timestamp_in_future",
    /// There are no parameters for the project.
    UnknownProject = "unknown_project",
    /// The body is not JSON.
    MalformedJson = "malformed_json",
    /// The body is JSON, but not an event.
    NotAnEvent = "not_an_event",
    /// A thin event, which carries no object.
    ThinEvent = "thin_event",
    /// An event in the form of Amazon EventBridge.
    EventbridgeEvent = "eventbridge_event",
    /// Several events at once.
    EventList = "event_list",
    /// A Stripe object without the event around it.
    BareObject = "bare_object",
    /// The body is UTF-16.
    Utf16Body = "utf16_body",

    // Ignored: by the project's settings.
    /// The type is not on the project's list.
    TypeNotSelected = "type_not_selected",
    /// A test-mode event.
    TestEvent = "test_event",
    /// A test-mode event of a connected account, for a project without a test key.
    ConnectedTestEvent = "connected_test_event",
    /// Older than `max_age_days`.
    TooOld = "too_old",
    /// No path gave a user ID.
    NoUser = "no_user",
    /// No path gave a user ID, and the event carries no revenue.
    NoUserNoRevenue = "no_user_no_revenue",

    // Queued: every event goes to the queue first.
    /// `DELIVERY=queue`.
    DeliveryQueue = "delivery_queue",

    // Failed or deferred: the project's parameters.
    /// A required parameter is missing.
    ParameterMissing = "parameter_missing",
    /// A parameter is empty.
    ParameterEmpty = "parameter_empty",
    /// A parameter holds the wrong kind of value, such as an API key instead of a signing secret, or quotation marks.
    ParameterMixedUp = "parameter_mixed_up",
    /// The parameter `settings` cannot be used.
    SettingsInvalid = "settings_invalid",
    /// `preferred_currency.rates` lacks the rate for this event.
    MissingRate = "missing_rate",

    // Failed: Parameter Store.
    /// Parameter Store's rate limit is reached.
    ParameterStoreThrottled = "parameter_store_throttled",
    /// The function's role may not read the parameters.
    ParameterStoreDenied = "parameter_store_denied",
    /// Parameter Store is unreachable, or returns another error.
    ParameterStoreUnavailable = "parameter_store_unavailable",
    /// Too many projects are requested that this process has not loaded yet.
    TooManyNewProjects = "too_many_new_projects",

    // Failed or deferred: Amplitude.
    /// Amplitude does not know the API key.
    AmplitudeInvalidKey = "amplitude_invalid_key",
    /// Amplitude rejects the event.
    AmplitudeRejected = "amplitude_rejected",
    /// The event or its device is silenced in Amplitude.
    AmplitudeSilenced = "amplitude_silenced",
    /// Amplitude's firewall refuses the request.
    AmplitudeForbidden = "amplitude_forbidden",
    /// The event is larger than Amplitude's limit.
    AmplitudeTooLarge = "amplitude_too_large",
    /// Too many events for a user, a device or the plan.
    AmplitudeThrottled = "amplitude_throttled",
    /// Amplitude returns 500, 502, 503 or 504.
    AmplitudeUnavailable = "amplitude_unavailable",
    /// Amplitude times out.
    AmplitudeTimeout = "amplitude_timeout",
    /// There is no connection to Amplitude.
    AmplitudeUnreachable = "amplitude_unreachable",
    /// The connection to Amplitude broke.
    AmplitudeConnectionBroken = "amplitude_connection_broken",
    /// The certificate of the server is not trusted.
    AmplitudeUntrusted = "amplitude_untrusted",
    /// A status that Amplitude does not document.
    AmplitudeUnexpected = "amplitude_unexpected",
    /// A server other than Amplitude answers.
    NotAmplitude = "not_amplitude",
    /// Amplitude has failed recently, so no request is sent to it for a while.
    BreakerOpen = "breaker_open",
    /// No time was left to send the event.
    Deadline = "deadline",
    /// Older than `max_age_days`, and waiting for a look-up in Amplitude.
    NeedsLookup = "needs_lookup",
    /// The event cannot be written as JSON.
    Unserializable = "unserializable",

    // Failed or deferred: Stripe's API.
    /// An object that the event refers to cannot be read from Stripe's API now.
    StripeUnavailable = "stripe_unavailable",
    /// The rate limit for reads is reached.
    StripeRate = "stripe_rate",
    /// References are followed, and there is no Stripe key for this event.
    StripeKeyMissing = "stripe_key_missing",
    /// Stripe does not accept the key, or not for the connected account.
    StripeKeyRefused = "stripe_key_refused",
    /// The key lacks a permission.
    StripePermissionMissing = "stripe_permission_missing",
    /// Stripe does not know an object that the event refers to.
    StripeObjectNotFound = "stripe_object_not_found",

    // Failed: the redelivery queue and the function itself.
    /// A message in the queue that names no project: another program sent it.
    ForeignMessage = "foreign_message",
    /// A bug.
    InternalError = "internal_error",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_in_snake_case() {
        let mut codes: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        for code in &codes {
            assert!(
                code.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'),
                "{code}"
            );
        }
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Code::ALL.len());
    }

    #[test]
    fn the_documented_codes_are_in_use() {
        let documented: Vec<_> = include_str!("../docs/codes.md")
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
            .map(|(code, _)| code)
            .collect();
        let codes: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(documented, codes);
    }
}
