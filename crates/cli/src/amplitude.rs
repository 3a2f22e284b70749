//! Amplitude, as the commands for the past meet it.

pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod key_check;
pub(crate) mod known;
pub(crate) mod line;
