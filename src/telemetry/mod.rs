//! Log and metrics: what an operator sees. Neither ever holds a token, a secret or a code.

mod line;
mod metrics;
mod stderr;

pub use metrics::{Act, Held, InFlight, Measures, Metrics};
pub use stderr::flush;

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Log, LogFormat};

/// Whether the settings of the log can be used.
pub fn check_log(log: &Log) -> Result<(), String> {
    filter(log).map(drop)
}

fn filter(log: &Log) -> Result<EnvFilter, String> {
    EnvFilter::try_new(&log.level).map_err(|error| format!("log.level: {error}; for example: info"))
}

/// Starts the log on standard error: standard output belongs to what commands print.
pub fn start_log(log: &Log) -> Result<(), String> {
    let registry = tracing_subscriber::registry().with(filter(log)?);
    let stderr = stderr::Stderr::open().map_err(|error| format!("standard error: {error}"))?;
    let started = match log.format {
        LogFormat::Json => registry
            .with(
                tracing_subscriber::fmt::layer()
                    .json()
                    .flatten_event(true)
                    .with_current_span(false)
                    .with_span_list(false)
                    .with_writer(stderr),
            )
            .try_init(),
        // In colour for a person who watches.
        LogFormat::Text if std::io::stderr().is_terminal() => registry
            .with(tracing_subscriber::fmt::layer().with_target(false).with_writer(stderr))
            .try_init(),
        LogFormat::Text => registry
            .with(tracing_subscriber::fmt::layer().event_format(line::TextLine).with_writer(stderr))
            .try_init(),
    };
    started.map_err(|error| error.to_string())
}
