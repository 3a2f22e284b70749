//! Amplitude's Batch and Export APIs.

pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod key_check;
pub(crate) mod known;
pub(crate) mod line;
