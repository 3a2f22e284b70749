//! The log: JSON lines on standard output.

use std::io::{self, Write};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::record;

/// Starts the log, once per process: our own lines from this level on, those of libraries only from warnings on,
/// because below that they log what they send and receive.
pub fn start(level: LevelFilter) {
    layer(level, io::stdout);
}

/// The same, with `output` for each line, including the log lines of deliveries.
pub fn start_on(level: LevelFilter, output: fn() -> Box<dyn Write>) {
    record::write_on(output);
    layer(level, output);
}

fn layer<W: Write + 'static>(level: LevelFilter, output: fn() -> W) {
    let targets = Targets::new().with_target("stripe_amplitude", level).with_default(level.min(LevelFilter::WARN));
    let lines =
        tracing_subscriber::fmt::layer().json().flatten_event(true).with_current_span(false).with_span_list(false);
    let lines = lines.with_writer(output);
    tracing_subscriber::registry().with(targets).with(lines).init();
    // The message of a panic may hold anything; its location does not.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(place, "a panic: this is a bug");
    }));
}
