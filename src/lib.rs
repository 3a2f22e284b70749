//! An AWS Lambda function that turns Stripe webhooks into Amplitude events.
//!
//! Data flows one way, and [`webhook`] reads like this line, one call per step:
//!
//! ```text
//! request → project → verify → parse → plan → deliver → respond
//! ```
//!
//! A guided tour:
//!
//! - **The request.** `lambda` (with the features `lambda` and `gateway`) starts the process and reads the payloads of API
//!   Gateway, Function URLs and SQS. `environment` reads the variables.
//! - **The project.** [`projects`] finds the [signing secrets, keys and settings](projects::project) of the project in the
//!   path. They come from a [`projects::source::ProjectSource`], through a cache.
//! - **Verify.** [`stripe::signature::verify`] checks the raw body. Only a
//!   [`VerifiedBody`](stripe::signature::VerifiedBody) can be parsed.
//! - **Parse.** [`stripe::event::Event::parse`] reads the event into [`stripe::json`], which borrows from the body.
//! - **Plan.** [`forward::forward`] decides: ignore the event, read this object from Stripe first, or send this.
//!   [`follow::decide`] reads the objects that the plan asks for, through [`stripe::references`]. The webhook, redelivery,
//!   backfill and preview share both.
//!   - [`translate`] makes the Amplitude event: [`translate::user`] and [`translate::device`] find the user,
//!     [`translate::revenue`] the revenue, and [`translate::properties`] copies what [`translate::redaction`] keeps.
//!   - [`money`] is exact: an [`Amount`](money::amount::Amount) is never a float.
//!   - [`settings`] are the project's choices.
//! - **Deliver.** [`amplitude`] has the shape of an event, Amplitude's limits, and the clients. [`queue`] holds events that
//!   could not be delivered, and [`redelivery`] is its handler.
//! - **Respond.** [`outcome`] gives every result a stable [`code`] and a reason. [`response`] answers Stripe, and [`record`]
//!   writes the log line with its `metrics`.
//!
//! `forward` and everything it uses is pure: no I/O, and no clock (`now` is an argument). The rest is a thin shell without
//! rules of its own.

pub mod amplitude;
pub mod aws;
pub mod back_off;
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
