//! HTTP/2, within limits.
//!
//! The HTTP library serves HTTP/2 too, but lets each connection open streams without end and send
//! 16 MB of headers on each, and offers no way to say otherwise. So we drive `h2` ourselves, and hand
//! each request to the same application that HTTP/1 goes to.
//!
//! What one connection can make us hold: [`STREAMS`] requests with [`HEADERS`] each, and [`BODIES`]. Whoever
//! takes requests back faster than they are looked at, or never ends a head, is cut off by `h2` itself;
//! whoever has no request in hand for too long by [`Connections`](super::Connections).

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use actix_http::error::PayloadError;
use actix_http::{BoxedPayloadStream, Payload, Request};
use actix_web::body::{self, BodySize, BoxBody, MessageBody};
use actix_web::dev::{Response, Service, ServiceResponse};
use actix_web::http::header::{
    CONNECTION, CONTENT_LENGTH, DATE, HeaderValue, HttpDate, TRANSFER_ENCODING, UPGRADE,
};
use actix_web::http::{Method, StatusCode};
use actix_web::{Error, HttpMessage, HttpResponse};
use bytes::Bytes;
use futures_util::stream;
use h2::RecvStream;
use h2::server::{Builder, SendResponse};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::connections::Connection;
use crate::clock::Clock;
use crate::domain::Time;

/// Requests at once on one connection: as few as RFC 9113 §6.5.2 recommends.
const STREAMS: u32 = 100;

/// Bytes of a request's head: several times what any request of ours needs.
const HEADERS: u32 = 16 * 1024;

/// Bytes of a request's body that are taken: more than any form may have, so that one that is too long is
/// seen to be so.
const BODY: u32 = 96 * 1024;

/// Bytes of bodies on one connection whose requests are not answered yet. Who sends a hundred forms slowly
/// waits for its own.
const BODIES: u32 = 1024 * 1024;

/// One connection, and what is known of it.
#[derive(Debug)]
pub struct Http2<T> {
    /// What it speaks through.
    pub io: T,
    /// The other end.
    pub peer: Option<SocketAddr>,
    /// What watches over it.
    pub connection: Option<Arc<Connection>>,
    /// How long it may take to begin.
    pub patience: Duration,
    /// The time, for the answers.
    pub clock: Clock,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Http2<T> {
    /// Answers requests until the connection ends. When the server stops, no new request is taken,
    /// and those under way come to their end.
    pub async fn serve<S, B>(self, service: &S, stop: impl Future<Output = ()>)
    where
        S: Service<Request, Response = ServiceResponse<B>, Error = Error>,
        S::Future: 'static,
        B: MessageBody + 'static,
    {
        let mut builder = Builder::new();
        builder.max_concurrent_streams(STREAMS).max_header_list_size(HEADERS);
        builder.initial_window_size(BODY).initial_connection_window_size(BODIES);
        let begun = timeout(self.patience, builder.handshake::<_, Bytes>(self.io)).await;
        let Ok(Ok(mut requests)) = begun else { return };
        let (mut stop, mut stopping) = (pin!(stop), false);
        loop {
            let next = tokio::select! {
                next = requests.accept() => next,
                () = &mut stop, if !stopping => {
                    stopping = true;
                    requests.graceful_shutdown();
                    continue;
                }
            };
            let Some(Ok((request, respond))) = next else { return };
            let is_head = request.method() == Method::HEAD;
            let call = service.call(taken_in(request, self.peer, self.connection.as_ref()));
            actix_web::rt::spawn(answer(call, respond, is_head, self.clock.clone()));
        }
    }
}

/// A request as the application knows it.
fn taken_in(
    request: http::Request<RecvStream>,
    peer: Option<SocketAddr>,
    connection: Option<&Arc<Connection>>,
) -> Request {
    let (parts, body) = request.into_parts();
    let payload: BoxedPayloadStream = Box::pin(stream::unfold(body, |mut body| async {
        // What was taken makes room for more when the request is answered, and not before: we hold it.
        let chunk = body.data().await?.map_err(|_| PayloadError::Incomplete(None));
        Some((chunk, body))
    }));
    let mut request = Request::with_payload(Payload::Stream { payload });
    let head = request.head_mut();
    head.uri = parts.uri;
    head.method = parts.method;
    head.version = parts.version;
    head.headers = parts.headers.into();
    head.peer_addr = peer;
    if let Some(connection) = connection {
        request.extensions_mut().insert(Arc::clone(connection));
    }
    request
}

/// Sends the answer. Nothing is to be done for a caller that has gone, or has taken its request back.
async fn answer<B: MessageBody + 'static>(
    call: impl Future<Output = Result<ServiceResponse<B>, Error>>,
    mut respond: SendResponse<Bytes>,
    is_head: bool,
    clock: Clock,
) {
    let done = tokio::select! {
        done = call => done,
        _ = poll_fn(|cx| respond.poll_reset(cx)) => return,
    };
    let response: Response<BoxBody> = match done {
        Ok(response) => Response::from(response).map_into_boxed_body(),
        Err(error) => HttpResponse::from_error(error).into(),
    };
    let (response, body) = response.into_parts();
    let head = head(&response, body.size(), clock.now());
    let body = body::to_bytes(body).await.unwrap_or_default();
    let is_over = is_head || body.is_empty();
    let Ok(mut stream) = respond.send_response(head, is_over) else { return };
    let mut rest = if is_over { Bytes::new() } else { body };
    while !rest.is_empty() {
        stream.reserve_capacity(rest.len());
        let Some(Ok(room)) = poll_fn(|cx| stream.poll_capacity(cx)).await else { return };
        let part = rest.split_to(room.min(rest.len()));
        if stream.send_data(part, rest.is_empty()).is_err() {
            return;
        }
    }
}

fn head(response: &Response<()>, size: BodySize, now: Time) -> http::Response<()> {
    let mut head = http::Response::new(());
    *head.status_mut() = response.status();
    // Connections are not what HTTP/2 speaks of in headers (RFC 9113 §8.2.2).
    let ours = |name: &_| ![CONNECTION, TRANSFER_ENCODING, UPGRADE, CONTENT_LENGTH].contains(name);
    for (name, value) in response.headers().iter().filter(|(name, _)| ours(name)) {
        head.headers_mut().append(name, value.clone());
    }
    let bodiless = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&response.status());
    if let (BodySize::Sized(length), false) = (size, bodiless) {
        head.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    let micros = u64::try_from(now.micros()).unwrap_or_default();
    let now = HttpDate::from(SystemTime::UNIX_EPOCH + Duration::from_micros(micros));
    if let Ok(now) = HeaderValue::from_str(&now.to_string()) {
        head.headers_mut().insert(DATE, now);
    }
    head
}
