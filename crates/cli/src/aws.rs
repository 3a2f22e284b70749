//! What only an operator may do in AWS: write parameters, and read and empty queues.

pub(crate) mod parameters;
pub(crate) mod queue;
