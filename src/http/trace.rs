//! A request as a span, for whoever collects traces. Like a log line it holds nothing of what the caller
//! chose but what was recognised.

use actix_web::{HttpMessage, HttpRequest};
use tracing::Span;
use tracing::field::Empty;

use super::Shared;
use crate::domain::{Decision, Reason, RequestId};
use crate::telemetry;

/// Begins the span, as a part of the trace that the caller says it is in. Our own look at our listener
/// has none.
pub(super) fn begin(
    request: &HttpRequest,
    shared: &Shared,
    id: RequestId,
    (method, route): (&str, &str),
) -> Span {
    if !shared.traced || shared.self_check.made(request) {
        return Span::none();
    }
    let span = tracing::trace_span!(
        "request",
        otel.kind = "server",
        otel.name = Empty,
        otel.status_code = Empty,
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty,
        request_id = Empty,
        client = Empty,
        grant = Empty,
        reason = Empty,
    );
    span.record("otel.name", format!("{method} {route}"));
    span.record("request_id", id.as_str());
    let parent = request.headers().get("traceparent");
    if let Some(parent) = parent.and_then(|parent| parent.to_str().ok()) {
        telemetry::join(&span, parent);
    }
    span
}

/// Notes how it ended.
pub(super) fn end(span: &Span, request: &HttpRequest, status: u16) {
    if span.is_disabled() {
        return;
    }
    span.record("http.response.status_code", i64::from(status));
    if status >= 500 {
        span.record("otel.status_code", "ERROR");
    }
    let extensions = request.extensions();
    if let Some(decision) = extensions.get::<Decision>() {
        span.record("client", decision.client.as_ref().map(tracing::field::display));
        span.record("grant", decision.grant.map(tracing::field::display));
    }
    if let Some(reason) = extensions.get::<Reason>() {
        span.record("reason", reason.name());
    }
}
