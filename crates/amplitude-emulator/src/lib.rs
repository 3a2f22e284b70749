//! A local Amplitude to test against: the HTTP V2, Batch and Export endpoints with their documented rules and
//! responses, and with injected faults.
//!
//! The modules follow a request from its bytes to the response:
//!
//! - `rules`: the format of valid requests. Pure, with the source of each rule.
//! - `store`: the processing of valid events: throttling, deduplication, attribution. No clock.
//! - `export`: the export of accepted events. Pure, no clock.
//! - `fault`: faults that can be injected.
//! - `server`: the HTTP surface, and the control API under `/emulator/`.
//! - `tls`: certificates.
//!
//! ```
//! use amplitude_emulator::{Configuration, Emulator, Fault};
//! use tokio::net::TcpListener;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let emulator = Emulator::new(Configuration::default());
//! let listener = TcpListener::bind("127.0.0.1:0").await?;
//! let address = listener.local_addr()?;
//! tokio::spawn(emulator.clone().serve(listener));
//!
//! emulator.inject(Fault::answer(503), 1);
//! // … point the client under test at http://{address}/2/httpapi …
//! assert!(emulator.events().is_empty());
//! // … and export the accepted events from http://{address}/api/2/export …
//! # let _ = address;
//! # Ok(())
//! # }
//! ```

mod export;
mod fault;
mod rules;
mod server;
mod store;
pub mod tls;

pub use fault::{Fault, FaultyAnswer};
pub use rules::Endpoint;
pub use server::{Configuration, Emulator, RequestCounts};
pub use store::{AcceptedEvent, Throttle};
