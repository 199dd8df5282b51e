//! Log, metrics and traces: what an operator sees. None ever holds a token, a secret or a code.

mod line;
mod metrics;
mod stderr;
#[cfg_attr(not(feature = "otlp"), path = "untraced.rs")]
mod traces;

pub use metrics::{Act, Held, InFlight, Measures, Metrics};
pub use stderr::flush;
pub use traces::{Traces, join, trace_id};

use std::fmt::Display;
use std::io::IsTerminal;

use tracing::Subscriber;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};
use url::Url;

use crate::config::{Log, LogFormat};

/// Whether the settings of the log can be used.
pub fn check_log(log: &Log) -> Result<(), String> {
    filter(log).map(drop)
}

/// What other libraries say and nobody shall read: a parameter of the database's URL that one does not
/// know, with its value, which may be a password; and a line for every head that is no HTTP, at level error
/// and without a word on where it came from, with which anybody could fill the log.
const HUSHED: [&str; 2] = ["sqlx_postgres::options=off", "actix_http=off"];

fn filter(log: &Log) -> Result<EnvFilter, String> {
    let bad = |error: &dyn Display| format!("log.level: {error}; for example: info");
    let mut filter = EnvFilter::try_new(&log.level).map_err(|error| bad(&error))?;
    for hushed in HUSHED {
        filter = filter.add_directive(hushed.parse().map_err(|error: ParseError| bad(&error))?);
    }
    Ok(filter)
}

/// Starts the log, and traces if they are collected. The last of them are sent when what this returns is
/// dropped.
pub fn start(log: &Log, collector: Option<&Url>) -> Result<Option<Traces>, String> {
    match collector {
        Some(collector) => Traces::start(log, collector).map(Some),
        None => start_log(log).map(|()| None),
    }
}

/// Starts the log on standard error: standard output belongs to what commands print.
pub fn start_log(log: &Log) -> Result<(), String> {
    let registry = tracing_subscriber::registry().with(filter(log)?);
    registry.with(written(log)?).try_init().map_err(|error| error.to_string())
}

/// The log as it is written.
fn written<S>(log: &Log) -> Result<Box<dyn Layer<S> + Send + Sync>, String>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let stderr = stderr::Stderr::open().map_err(|error| format!("standard error: {error}"))?;
    let layer = tracing_subscriber::fmt::layer();
    Ok(match log.format {
        LogFormat::Json => layer
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_writer(stderr)
            .boxed(),
        // In colour for a person who watches.
        LogFormat::Text if std::io::stderr().is_terminal() => {
            layer.with_target(false).with_writer(stderr).boxed()
        }
        LogFormat::Text => layer.event_format(line::TextLine).with_writer(stderr).boxed(),
    })
}
