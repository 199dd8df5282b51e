//! The HTTP servers.

use std::net::TcpListener;
use std::sync::Arc;
use std::thread::available_parallelism;

use actix_web::body::BoxBody;
use actix_web::dev::{ServerHandle, ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::middleware::from_fn;
use actix_web::web::Data;
use actix_web::{App, Error, HttpServer};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::secured::Secured;
use crate::config;
use crate::error::Exit;
use crate::http::{self, Connections, Handle, Health, Shared};
use crate::tls::Pair;

/// Most connections of probes, scrapers and operators.
const OPERATIONS: usize = 256;

/// How many connections a server takes, and on how many threads.
pub(super) struct Size {
    pub(super) workers: usize,
    /// The library counts for each worker.
    pub(super) for_each: usize,
}

/// The public application on one worker thread.
pub(super) fn application(
    shared: &Arc<Shared>,
    health: &Arc<Health>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<BoxBody>,
        Error = Error,
        InitError = (),
    > + use<>,
> {
    health.pulse(std::thread::current().name().unwrap_or("worker"));
    let shared = Handle::new(shared);
    App::new()
        .app_data(shared.clone())
        .wrap(from_fn(http::observe))
        .configure(|config| http::public(config, &shared))
}

/// Starts the public server.
pub(super) fn public(
    listener: TcpListener,
    shared: &Arc<Shared>,
    health: &Arc<Health>,
    settings: &config::Server,
    tls: Option<Arc<Pair>>,
) -> Result<ServerHandle, Exit> {
    let (shared, health) = (Arc::clone(shared), Arc::clone(health));
    let connections = Connections::new(settings.header_timeout, settings.keep_alive);
    connections.watch();
    let most = usize::try_from(settings.max_connections).unwrap_or(usize::MAX);
    room_for_files(most);
    let workers = available_parallelism().map_or(1, usize::from).min(most).max(1);
    let size = Size { workers, for_each: most / workers };
    if let Some(pair) = tls {
        let settings = settings.clone();
        return Secured { shared, health, connections, pair, settings }.start(listener, &size);
    }
    let server = HttpServer::new(move || application(&shared, &health))
        .workers(size.workers)
        .max_connections(size.for_each)
        .client_request_timeout(settings.header_timeout)
        .keep_alive(settings.keep_alive)
        .on_connect(move |stream, data| connections.opened(stream, data))
        .shutdown_timeout(settings.drain_timeout.as_secs().max(1))
        .disable_signals()
        .listen(listener)?
        .run();
    let handle = server.handle();
    actix_web::rt::spawn(server);
    Ok(handle)
}

/// Starts the operations server.
pub(super) fn operations(
    listener: TcpListener,
    health: &Arc<Health>,
    settings: &config::Server,
) -> Result<ServerHandle, Exit> {
    let health = Data::from(Arc::clone(health));
    let connections = Connections::new(settings.header_timeout, settings.keep_alive);
    connections.watch();
    let server = HttpServer::new(move || {
        App::new().wrap(from_fn(http::attend)).configure(|config| http::operations(config, &health))
    })
    .workers(1)
    .max_connections(OPERATIONS)
    .client_request_timeout(settings.header_timeout)
    .keep_alive(settings.keep_alive)
    .on_connect(move |stream, data| connections.opened(stream, data))
    .shutdown_timeout(1)
    .disable_signals()
    .listen(listener)?
    .run();
    let handle = server.handle();
    actix_web::rt::spawn(server);
    Ok(handle)
}

/// Takes as many file descriptors as so many connections need, two for each. Many systems give a
/// process a thousand and let it ask for more; when they run out, nothing is accepted, not even a
/// probe.
fn room_for_files(connections: usize) {
    const REST: u64 = 1024;
    let connections = u64::try_from(connections).unwrap_or(u64::MAX);
    let needed = connections.saturating_mul(2).saturating_add(REST);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // `None` is without limit.
    if current.is_none_or(|current| current >= needed) {
        return;
    }
    let current = maximum.map_or(needed, |maximum| maximum.min(needed));
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(current), maximum });
    if raised.is_err() || current < needed {
        tracing::warn!(
            needed,
            granted = current,
            "server.max_connections needs more open files than this process may have; raise its \
             limit (ulimit -n, LimitNOFILE=) or lower the setting"
        );
    }
}
