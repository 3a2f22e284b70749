//! Amplitude, as the commands for the past meet it.

pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod known;
pub(crate) mod line;
