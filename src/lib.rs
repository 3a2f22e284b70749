//! An AWS Lambda function that turns Stripe webhooks into Amplitude events.
//!
//! A guided tour, in the direction in which data flows:
//!
//! ```text
//! request → project → verify → parse → select → translate → deliver → answer
//! ```
//!
//! - `lambda` is what both functions do around their work, with the features `lambda` and `gateway`; lambda_http reads the
//!   request that an API Gateway or a Function URL hands over. [`webhook`] is the handler: that line, one call per step.
//! - [`projects`] finds the project that the path names: its signing secrets, Amplitude keys and settings, from a
//!   [`projects::ProjectSource`], through a cache.
//! - [`stripe`] knows Stripe: [`stripe::signature`] verifies, [`stripe::event`] parses, [`stripe::json`] holds what it read, [`stripe::event_types`] lists the
//!   types, [`money::currency`] counts money, [`stripe::api_versions`] knows what later API versions lack.
//! - [`selection`] leaves out what the project does not want.
//! - [`translate`] makes the Amplitude event: who ([`translate::user`]), how much ([`translate::revenue`], in which
//!   currency: [`money::exchange_rate`]), and everything else ([`translate::properties`]) that may leave
//!   ([`translate::redaction`]).
//! - [`amplitude`] knows Amplitude: the shape of an event and the client that delivers it.
//! - [`answer`] turns the outcome into a status and a JSON body; [`record`] tells it in one log line with its metrics.
//! - [`queue`] is where an event waits that could not be delivered; [`redelivery`] is the handler of what waits.
//!
//! `stripe`, `selection`, `translate` and `settings` are pure: no I/O, no clock (`now` is an argument). The rest is a thin
//! shell that knows no rule.

pub mod amplitude;
pub mod answer;
#[cfg(feature = "aws")]
pub mod aws;
#[cfg(feature = "aws")]
pub mod environment;
pub mod http_client;
#[cfg(feature = "gateway")]
pub mod lambda;
#[cfg(feature = "log")]
pub mod log;
pub mod money;
pub mod projects;
pub mod queue;
pub mod record;
pub mod redelivery;
pub mod selection;
pub mod settings;
pub mod stripe;
pub mod translate;
pub mod webhook;
