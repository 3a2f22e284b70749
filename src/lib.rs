//! An AWS Lambda function that turns Stripe webhooks into Amplitude events.
//!
//! A guided tour, in the direction in which data flows:
//!
//! ```text
//! request → project → verify → parse → plan → deliver → answer
//! ```
//!
//! - `lambda` is what both functions do around their work, with the features `lambda` and `gateway`; lambda_http reads the
//!   request that an API Gateway or a Function URL hands over. [`webhook`] is the handler: that line, one call per step.
//! - [`projects`] finds the project that the path names: its [signing secrets, Amplitude keys](projects::project) and
//!   [`settings`], from a [`projects::source::ProjectSource`], through a cache.
//! - [`stripe`] knows Stripe: [`stripe::signature`] verifies, [`stripe::event`] parses into [`stripe::json`],
//!   [`stripe::event_types`] lists the types, [`stripe::field_path`] leads to a field, [`stripe::api_versions`] knows which
//!   fields later API versions lack, [`stripe::purchase`] finds the other objects of a purchase.
//! - [`forward`] decides: ignore the event, read this object first, or send this. [`follow`] reads the objects that it asks
//!   for, through [`stripe::references`]. Webhook, redelivery, backfill and preview share both.
//! - [`translate`] makes the Amplitude event: who ([`translate::user`], [`translate::device`]), how much
//!   ([`translate::revenue`]), and everything else ([`translate::properties`]) that may leave ([`translate::redaction`]).
//! - [`money`] counts exactly, and converts.
//! - [`amplitude`] knows Amplitude: the shape of an event, its limits, and the clients that deliver it.
//! - [`outcome`] says what became of a delivery and why, with a stable [`code`]; [`response`] answers Stripe, [`record`]
//!   writes the log line, whose metrics are in `metrics`.
//! - [`queue`] holds events that could not be delivered; [`redelivery`] is its handler.
//!
//! `forward` and all that it uses is pure: no I/O, no clock (`now` is an argument). The rest is a thin shell that knows no
//! rule.

pub mod amplitude;
pub mod aws;
mod back_off;
mod clock;
pub mod code;
#[cfg(feature = "aws")]
pub mod environment;
pub mod follow;
pub mod forward;
pub mod http_client;
#[cfg(feature = "gateway")]
pub mod lambda;
#[cfg(feature = "log")]
pub mod logging;
mod metrics;
pub mod money;
pub mod outcome;
pub mod projects;
pub mod queue;
pub mod record;
pub mod redelivery;
pub mod response;
pub mod settings;
pub mod stripe;
pub mod translate;
pub mod webhook;
