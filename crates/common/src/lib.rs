//! What the command line and the workbench share: text and amounts as people read them, times, private files, and
//! deliveries to a webhook endpoint.

pub mod clock;
pub mod demo;
pub mod endpoint;
pub mod http;
pub mod money;
pub mod private_file;
pub mod text;
