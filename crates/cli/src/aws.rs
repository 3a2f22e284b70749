//! What only an operator may do in AWS: write parameters, and look at queues and empty them.

pub(crate) mod error;
pub(crate) mod parameters;
pub(crate) mod queue;
