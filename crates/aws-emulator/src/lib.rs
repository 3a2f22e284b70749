//! A local AWS for rehearsals and tests: the calls to Parameter Store, SQS and STS that stripe-amplitude's commands and
//! functions make, with AWS's documented rules and error codes.
//!
//! - [`parameter_store`]: `GetParametersByPath`, `PutParameter`, `DeleteParameter`.
//! - [`queue`]: `CreateQueue`, `GetQueueUrl`, `GetQueueAttributes`, `SetQueueAttributes`, `SendMessage`, `ReceiveMessage`,
//!   `DeleteMessage`, `DeleteMessageBatch`, `ChangeMessageVisibilityBatch`.
//! - [`service`]: the dispatch of requests, and `GetCallerIdentity`.
//!
//! Nothing is encrypted, and any credentials are accepted: use it on this machine only. Other calls are answered with
//! `UnknownOperationException`.

pub mod error;
pub mod parameter_store;
pub mod queue;
pub mod server;
pub mod service;

pub use self::server::Emulator;
