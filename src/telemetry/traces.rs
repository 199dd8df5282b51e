//! Traces for whoever collects them (cargo feature `otlp`): each request is a span, and what it waited
//! for are spans within it, in OTLP over HTTP.
//!
//! What else there is to say (sampling, headers, the names of the service) is said in the variables that
//! every OpenTelemetry program reads: `OTEL_TRACES_SAMPLER`, `OTEL_EXPORTER_OTLP_HEADERS`,
//! `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_BSP_…`.

use std::collections::HashMap;
use std::time::Duration;

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Metadata, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::dynamic_filter_fn;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use url::Url;

use super::{filter, written};
use crate::config::Log;

/// So long a process that stops waits for a collector that takes its last spans.
const PATIENCE: Duration = Duration::from_secs(2);

/// The name of the span that a request is.
const REQUEST: &str = "request";

/// Spans on their way to the collector.
#[derive(Debug)]
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Starts the log, and spans beside it. A thread of its own sends them; if the collector is away or
    /// too slow they are dropped, and no request waits.
    pub fn start(log: &Log, collector: &Url) -> Result<Self, String> {
        let failed = |error: String| format!("traces.endpoint: {error}");
        // The path of the protocol: `endpoint` is what other programs have as OTEL_EXPORTER_OTLP_ENDPOINT.
        let endpoint = format!("{}/v1/traces", collector.as_str().trim_end_matches('/'));
        let exporter = SpanExporter::builder().with_http().with_endpoint(endpoint).build();
        let exporter = exporter.map_err(|error| failed(error.to_string()))?;
        let resource = Resource::builder().with_attribute(opentelemetry::KeyValue::new(
            "service.version",
            env!("CARGO_PKG_VERSION"),
        ));
        let resource = match std::env::var_os("OTEL_SERVICE_NAME") {
            Some(_) => resource,
            None => resource.with_service_name("jeton"),
        };
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource.build())
            .build();
        let spans = tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("jeton"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(dynamic_filter_fn(of_a_request));
        tracing_subscriber::registry()
            .with(written(log)?.with_filter(filter(log)?))
            .with(spans)
            .try_init()
            .map_err(|error| error.to_string())?;
        Ok(Self(provider))
    }
}

impl Drop for Traces {
    /// Sends what is left, as long as that takes no longer than a moment.
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown_with_timeout(PATIENCE) {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}

/// Only requests begin a trace: what the background does all day, a poll each second, would bury them. And
/// libraries have spans of their own, which may hold anything.
fn of_a_request<S>(metadata: &Metadata<'_>, context: &Context<'_, S>) -> bool
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    metadata.is_span()
        && metadata.target().starts_with("jeton")
        && (metadata.name() == REQUEST || context.lookup_current().is_some())
}

/// Makes a request's span part of the trace that its caller is in (W3C `traceparent`, which must be
/// well-formed). Whether that one is recorded then decides about ours, too.
pub fn join(span: &Span, traceparent: &str) {
    let carrier = HashMap::from([("traceparent".to_owned(), traceparent.to_owned())]);
    let context = TraceContextPropagator::new().extract(&carrier);
    // A span that nobody records takes no parent.
    let _ = span.set_parent(context);
}

/// The id of the trace that a span is in, if it is recorded.
pub fn trace_id(span: &Span) -> Option<String> {
    let context = span.context();
    let context = context.span().span_context().clone();
    context.is_sampled().then(|| context.trace_id().to_string())
}
