//! One log line for each request, written when its answer is handed over: who, what, how it ended
//! and why, and where the time went. Of what a caller chose it holds a well-formed trace id, a client
//! that is registered, and well-formed scopes and resources; no path, no query, no other header.
//! Fetches of the public documents are logged at level debug.

use std::time::Instant;

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{
    HeaderName, HeaderValue, STRICT_TRANSPORT_SECURITY, UPGRADE, USER_AGENT,
};
use actix_web::http::{ConnectionType, Method};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpMessage, HttpRequest, HttpResponse};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tracing::{Instrument, Level, Span};

use super::connections::InHand;
use super::{Handle, Shared, answer, trace};
use crate::domain::{Decision, Inactive, Network, Reason, RequestId, Spent, Verdict};
use crate::telemetry;

/// Where we speak TLS ourselves, browsers shall not come without it for a year (RFC 6797). Behind a proxy
/// it is the proxy's word: what else is served under that name only its operator knows. For the same
/// reason other hosts of the domain are left out.
const ONE_YEAR: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// By what a caller tells us which of its requests it means.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A user agent that only this process knows: by it we recognise our own look at our listener.
#[derive(Debug, Clone)]
pub struct SelfCheck(pub String);

impl Default for SelfCheck {
    fn default() -> Self {
        let mark = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>());
        Self(format!("jeton-self-check/{mark}"))
    }
}

impl SelfCheck {
    /// Whether a request is one of our own.
    pub(super) fn made(&self, request: &HttpRequest) -> bool {
        let agent = request.headers().get(USER_AGENT);
        agent.is_some_and(|agent| crate::secret::same(agent.as_bytes(), self.0.as_bytes()))
    }
}

/// Names the request, times it, counts it and logs it, and refuses what comes in the clear from where
/// it must not: before a byte of its body is read, and before anybody looks at its secrets. What only a
/// line needs is looked up when one is written: documents are fetched more often than anything else, and
/// write none.
pub async fn observe(
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let started = Instant::now();
    let mut in_hand = InHand::of(&request);
    let id = RequestId::new(rand::random());
    request.extensions_mut().insert(id);
    let shared = request.app_data::<Data<Handle>>().cloned();
    let Some(shared) = shared else { return next.call(request).await };
    let _in_flight = shared.metrics.in_flight();
    // Neither is ever the caller's own text: labels and fields come from closed sets.
    let route = shared.paths.iter().find(|path| *path == request.path());
    let route = route.map_or("none", String::as_str);
    let method = known_method(request.method().as_str());
    let span = trace::begin(request.request(), &shared, id, (method, route));

    let mut response = match refused_unread(request.request(), &shared) {
        Some(refused) => request.into_response(refused),
        None => next.call(request).instrument(span.clone()).await?,
    };
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    if shared.tls {
        response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, ONE_YEAR);
    }
    // Whoever keeps a connection to us is told with each answer that we are about to stop, and takes the
    // next request elsewhere; otherwise it would come at the moment at which we close the connection,
    // and nobody may simply repeat a POST that was not answered.
    if shared.health.is_draining() {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    let keep_alive = response.response().head().keep_alive();
    in_hand.closing(response.request().version(), !keep_alive);
    let request = response.request();
    let took = started.elapsed();
    let status = response.status().as_u16();
    trace::end(&span, request, status);
    shared.metrics.answered(method, route, status, took);
    if let Some(spent) = request.extensions().get::<Spent>() {
        shared.metrics.limited(spent);
    }
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    Line { id, span: &span, method, route, status, micros }.write(request, &shared);
    Ok(response)
}

/// The answer to a request of which no more than the head may be read: one that comes over plain HTTP from
/// elsewhere than this machine or a listed proxy, or whose body has no end. Our own look at our listener may
/// come from the address that it listens on.
fn refused_unread(request: &HttpRequest, shared: &Shared) -> Option<HttpResponse> {
    let refused = |reason: Reason| Some(answer::refusal(request, &reason.into(), ""));
    let may_be_plain = shared.tls
        || shared.proxies.may_be_plain(request.peer_addr())
        || shared.self_check.made(request);
    if !may_be_plain {
        shared.metrics.tls.refused_plain();
        return refused(Reason::TransportPlain);
    }
    if asks_for_another_protocol(request) {
        return refused(Reason::UpgradeAsked);
    }
    None
}

/// As the HTTP library sees it.
fn asks_for_another_protocol(request: &HttpRequest) -> bool {
    let websocket = |value: &HeaderValue| {
        value.to_str().is_ok_and(|value| value.trim().eq_ignore_ascii_case("websocket"))
    };
    request.method() == Method::CONNECT || request.headers().get_all(UPGRADE).any(websocket)
}

/// What is known of a request besides its answer.
struct About<'a> {
    trace: Option<&'a str>,
    /// Where it came from, if that was asked already.
    network: Option<Network>,
    reason: Option<&'static str>,
    budget: Option<&'static str>,
}

struct Line<'a> {
    id: RequestId,
    span: &'a Span,
    method: &'static str,
    route: &'a str,
    status: u16,
    micros: u64,
}

impl Line<'_> {
    fn write(&self, request: &HttpRequest, shared: &Shared) {
        let Line { id, span, method, route, status, micros } = self;
        let extensions = request.extensions();
        let decision = extensions.get::<Decision>();
        // Verifiers fetch keys and metadata all day: the metric counts that, and a line for each
        // would be most of the log.
        let quiet =
            decision.is_none() && *status < 400 && matches!(*method, "GET" | "HEAD" | "OPTIONS");
        if (quiet && !tracing::enabled!(Level::DEBUG)) || shared.self_check.made(request) {
            return;
        }
        let callers = || request.headers().get("traceparent").and_then(trace_id);
        let trace = telemetry::trace_id(span).or_else(callers);
        let (id, trace) = (id.as_str(), trace.as_deref());
        if quiet {
            tracing::debug!(request = id, trace, method, route, status, micros, "answered");
            return;
        }
        let about = About {
            trace,
            network: extensions.get::<Network>().copied(),
            reason: extensions.get::<Reason>().map(|reason| reason.name()),
            budget: extensions.get::<Spent>().map(|spent| spent.budget.name()),
        };
        let network = about.network.unwrap_or_else(|| shared.proxies.caller(request));
        let network = tracing::field::display(network);
        let About { reason, budget, .. } = about;
        if let Some(decision) = decision {
            return self.decided(decision, &about, network);
        }
        tracing::info!(
            request = id,
            trace,
            network,
            method,
            route,
            status,
            reason,
            budget,
            micros,
            "answered"
        );
    }

    fn decided(&self, decision: &Decision, about: &About<'_>, network: impl tracing::Value) {
        let Line { id, method, route, status, micros, .. } = self;
        let About { trace, reason, budget, .. } = about;
        let id = id.as_str();
        let granted = decision.granted.as_ref();
        let token = decision.token.as_ref();
        let refreshed = decision.refreshed;
        let cause = decision.verdict.and_then(Verdict::cause);
        tracing::info!(
            request = id,
            trace,
            network,
            method,
            route,
            status,
            outcome = decision.outcome(),
            reason,
            budget,
            client = decision.client.as_ref().map(tracing::field::display),
            authenticated_by = decision.authenticated_by.map(tracing::field::display),
            grant = decision.grant.map(tracing::field::display),
            asked_scope = decision.asked_scopes.as_ref().map(tracing::field::display),
            asked_resource = decision.asked_resource.as_ref().map(tracing::field::display),
            scope = granted.map(|granted| tracing::field::display(&granted.scopes)),
            audience = granted.map(|granted| tracing::field::display(&granted.audience)),
            limited_by = granted.map(|granted| granted.limited_by.join(" ")),
            family = refreshed.map(|refreshed| tracing::field::display(refreshed.family)),
            generation = refreshed.map(|refreshed| refreshed.generation),
            refresh = refreshed.and_then(|refreshed| refreshed.how),
            jti = granted.map(|granted| tracing::field::display(granted.token_id)),
            kid = granted.map(|granted| granted.kid.as_str()),
            cause = cause.map(Inactive::name),
            token = token.map(|token| tracing::field::display(token.id)),
            token_client = token.map(|token| token.client.as_str()),
            lifetime = granted.map(|granted| granted.lifetime.as_secs()),
            auth_micros = decision.auth_micros,
            sign_micros = decision.sign_micros,
            micros,
            "decided"
        );
    }
}

/// The trace id of a W3C `traceparent` header, if it is well-formed and not all zeros.
fn trace_id(header: &HeaderValue) -> Option<String> {
    let mut parts = header.to_str().ok()?.split('-');
    let (version, trace, parent) = (parts.next()?, parts.next()?, parts.next()?);
    let hex = |text: &str, length| {
        text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let flags = parts.next()?;
    let sound = hex(version, 2) && version != "ff" && hex(parent, 16) && hex(flags, 2);
    (sound && hex(trace, 32) && trace.bytes().any(|b| b != b'0')).then(|| trace.to_owned())
}

fn known_method(method: &str) -> &'static str {
    const METHODS: [&str; 9] =
        ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"];
    METHODS.into_iter().find(|known| *known == method).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_well_formed_traceparent_is_taken_over() {
        let read = |text: &str| trace_id(&HeaderValue::from_str(text).unwrap());
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(read(good).as_deref(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-x-00f067aa0ba902b7-01",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
