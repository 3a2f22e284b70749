//! The function's handler on this machine, and the browser's view of it: which events land in Amplitude, and why.
//!
//! [`Workbench`] passes each request to the function's own handler and records the request, the response, the calls to
//! Stripe's API and the request to Amplitude. [`server::serve`] puts it behind an HTTP server with a page.
//!
//! A delivery goes through these modules in this order:
//!
//! - [`server`], `guard`, `api`: accepts requests, rejects those of other pages, routes the rest
//! - `signed`: signs the events that the page sends
//! - [`workbench`](Workbench): calls the handler
//! - `reads`: records what the handler reads from Stripe's API
//! - `exchange`: records what it sends to Amplitude
//! - `log`: keeps all deliveries; `credential` hides what nobody may see
//! - [`explanation`], `note`: explain the event, as text and at single fields
//! - `charts`: computes what Amplitude would chart
//! - `page`: the files of the page
//!
//! [`generate`] makes up a shop whose events fill the charts, and [`samples`] has one event of every type.

mod api;
mod charts;
mod credential;
mod exchange;
pub mod explanation;
pub mod generate;
mod guard;
pub mod listener;
mod log;
mod note;
mod page;
mod problem;
mod projects;
mod reads;
pub mod samples;
pub mod server;
mod signed;
mod workbench;

pub use self::projects::Projects;
pub use self::workbench::{Amplitude, Stripe, Workbench};
