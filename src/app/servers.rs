//! The HTTP servers.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::middleware::from_fn;
use actix_web::web::Data;
use actix_web::{App, HttpServer};

use crate::error::Exit;
use crate::http::{self, Health, Shared};

/// Starts the public server.
pub(super) fn public(
    listener: TcpListener,
    shared: &Data<Shared>,
    health: &Arc<Health>,
    drain: Duration,
) -> Result<ServerHandle, Exit> {
    let (shared, health) = (shared.clone(), Arc::clone(health));
    let server = HttpServer::new(move || {
        // This runs once on each worker thread.
        health.pulse(std::thread::current().name().unwrap_or("worker"));
        App::new()
            .app_data(shared.clone())
            .wrap(from_fn(http::observe))
            .configure(|config| http::public(config, &shared))
    })
    .shutdown_timeout(drain.as_secs().max(1))
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
) -> Result<ServerHandle, Exit> {
    let health = Data::from(Arc::clone(health));
    let server =
        HttpServer::new(move || App::new().configure(|config| http::operations(config, &health)))
            .workers(1)
            .shutdown_timeout(1)
            .disable_signals()
            .listen(listener)?
            .run();
    let handle = server.handle();
    actix_web::rt::spawn(server);
    Ok(handle)
}
