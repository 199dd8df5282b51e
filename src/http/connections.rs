//! Connections that only cost: a head that never ends, an answer that is never read.
//!
//! actix-web waits for the head of the first request only so long, and for the next request on an
//! idle connection only so long. But of the second head one byte is enough to stop the clock, and who
//! does not read is waited for without end. So there is one rule more, for every connection: between
//! two requests it has so much time, and then it is shut. Over HTTP/2 several may be in hand at once.

use std::any::Any;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use actix_web::body::MessageBody;
use actix_web::dev::{Extensions, ServiceRequest, ServiceResponse};
use actix_web::http::Version;
use actix_web::middleware::Next;
use actix_web::rt::net::TcpStream as ActixStream;
use actix_web::{Error, HttpMessage};

/// A request is in hand: there is no end.
const BUSY: u64 = u64::MAX;

/// How long a caller may go on sending a body that was refused unread: so long that it has read the
/// answer. For a chunked body the HTTP library itself would wait for its end.
const LINGER: Duration = Duration::from_secs(2);

/// The connections of one listener.
#[derive(Debug)]
pub struct Connections {
    /// How long one may be without a request in hand.
    patience: Duration,
    start: Instant,
    open: Mutex<Vec<Weak<Connection>>>,
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    /// A second handle on the socket: the first one is deep inside the HTTP library.
    socket: TcpStream,
    start: Instant,
    patience: Duration,
    /// Requests in hand.
    in_hand: AtomicUsize,
    /// When it is shut, in milliseconds from the start, or [`BUSY`].
    end: AtomicU64,
}

/// That a request is in hand, until it is dropped: also where the request is given up halfway.
#[derive(Debug)]
pub(super) struct InHand {
    connection: Option<Arc<Connection>>,
    closing: bool,
}

impl Connections {
    /// None yet. Whoever takes all of `keep_alive` before the first byte of a head still has
    /// `header_timeout` for the rest of it.
    pub fn new(header_timeout: Duration, keep_alive: Duration) -> Arc<Self> {
        let patience = header_timeout + keep_alive;
        Arc::new(Self { patience, start: Instant::now(), open: Mutex::default() })
    }

    /// Watches over a connection that the HTTP library has just opened.
    pub fn opened(&self, stream: &dyn Any, data: &mut Extensions) {
        let stream = stream.downcast_ref::<ActixStream>();
        if let Some(connection) = stream.and_then(|stream| self.watched(stream)) {
            data.insert(connection);
        }
    }

    /// Watches over a connection. Without a file descriptor to spare it goes unwatched; then nothing
    /// more is accepted either.
    pub fn watched(&self, stream: &impl AsFd) -> Option<Arc<Connection>> {
        let socket = stream.as_fd().try_clone_to_owned().ok()?;
        let connection = Connection {
            socket: TcpStream::from(socket),
            start: self.start,
            patience: self.patience,
            in_hand: AtomicUsize::new(0),
            end: AtomicU64::new(BUSY),
        };
        connection.idle(self.patience);
        let connection = Arc::new(connection);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.push(Arc::downgrade(&connection));
        Some(connection)
    }

    /// Shuts what has been without a request for too long, for as long as the listener lives.
    pub fn watch(self: &Arc<Self>) {
        let interval = (self.patience / 4).clamp(Duration::from_millis(50), Duration::from_secs(1));
        let connections = Arc::downgrade(self);
        actix_web::rt::spawn(async move {
            while let Some(connections) = connections.upgrade() {
                connections.sweep();
                drop(connections);
                tokio::time::sleep(interval).await;
            }
        });
    }

    fn sweep(&self) {
        let now = millis(self.start.elapsed());
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|connection| {
            let Some(connection) = connection.upgrade() else { return false };
            let keep = now <= connection.end.load(Ordering::Relaxed);
            if !keep {
                // The HTTP library sees an end, or an error, and drops the connection.
                let _ = connection.socket.shutdown(Shutdown::Both);
            }
            keep
        });
        if open.capacity() / 4 > open.len() {
            open.shrink_to_fit();
        }
    }
}

impl InHand {
    /// A request has come.
    pub(super) fn of(request: &ServiceRequest) -> Self {
        let connection = request.conn_data::<Arc<Connection>>().cloned();
        // With HTTP/2, which we drive ourselves, it comes with each request.
        let connection = connection.or_else(|| request.extensions().get().cloned());
        if let Some(connection) = &connection {
            connection.in_hand.fetch_add(1, Ordering::Relaxed);
            connection.end.store(BUSY, Ordering::Relaxed);
        }
        Self { connection, closing: false }
    }

    /// The answer may be one that ends the connection. Over HTTP/2 it ends the request's stream alone.
    pub(super) fn closing(&mut self, version: Version, closing: bool) {
        self.closing = closing && version < Version::HTTP_2;
    }
}

impl Connection {
    fn idle(&self, patience: Duration) {
        self.end.store(millis(self.start.elapsed() + patience), Ordering::Relaxed);
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        let Some(connection) = &self.connection else { return };
        if connection.in_hand.fetch_sub(1, Ordering::Relaxed) == 1 {
            let patience = connection.patience;
            connection.idle(if self.closing { patience.min(LINGER) } else { patience });
        }
    }
}

/// For a listener without [`observe`](super::observe): says when a request is in hand.
pub async fn attend<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let _in_hand = InHand::of(&request);
    next.call(request).await
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(BUSY - 1)
}
