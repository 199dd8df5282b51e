//! What stands in for `traces.rs` in a binary that was built without the feature `otlp`.

use tracing::Span;
use url::Url;

use crate::config::Log;

/// There are none: settings that ask for them were refused.
#[derive(Debug)]
pub enum Traces {}

impl Traces {
    /// Says what to do about it.
    pub fn start(_: &Log, _: &Url) -> Result<Self, String> {
        Err("this binary was built without traces".to_owned())
    }
}

/// There is no span that could be part of a trace.
pub const fn join(_: &Span, _: &str) {}

/// No span has an id.
pub const fn trace_id(_: &Span) -> Option<String> {
    None
}
