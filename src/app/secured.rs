//! The public server over TLS. Whether a caller speaks HTTP/1.1 or HTTP/2 is agreed on in the handshake,
//! and the same application answers both.

use std::convert::Infallible;
use std::future::ready;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;

use actix_http::HttpService;
use actix_service::IntoServiceFactory;
use actix_web::Error;
use actix_web::body::BoxBody;
use actix_web::dev::{
    AppConfig, Server, ServerHandle, Service, ServiceFactory, ServiceResponse, fn_factory,
    fn_service,
};
use actix_web::rt::net::TcpStream;

use super::servers::{Size, application};
use crate::config;
use crate::error::Exit;
use crate::http::{Connections, Health, Http2, Shared};
use crate::tls::{self, Pair};

/// What each worker thread is given.
#[derive(Clone)]
pub(super) struct Secured {
    pub(super) shared: Arc<Shared>,
    pub(super) health: Arc<Health>,
    pub(super) connections: Arc<Connections>,
    pub(super) pair: Arc<Pair>,
    pub(super) settings: config::Server,
}

impl Secured {
    /// Starts the server.
    pub(super) fn start(self, listener: TcpListener, size: &Size) -> Result<ServerHandle, Exit> {
        let server = Server::build()
            .workers(size.workers)
            .max_concurrent_connections(size.for_each)
            .shutdown_timeout(self.settings.drain_timeout.as_secs().max(1))
            .disable_signals();
        let stopping = server.graceful_shutdown_signal();
        let stopping = move || {
            let stopping = stopping.clone();
            async move { stopping.notified().await }
        };
        let worker = move || {
            let (secured, stopping) = (self.clone(), stopping.clone());
            fn_factory(move || secured.clone().worker(stopping.clone()))
        };
        let server = server.listen("public", listener, worker)?.run();
        let handle = server.handle();
        actix_web::rt::spawn(server);
        Ok(handle)
    }

    /// What answers the connections of one worker thread.
    async fn worker<F>(
        self,
        stopping: impl Fn() -> F + Clone + 'static,
    ) -> Result<impl Service<TcpStream, Response = (), Error = Infallible>, ()>
    where
        F: Future<Output = ()> + 'static,
    {
        let application = application(&self.shared, &self.health).into_factory();
        let application = Rc::new(application.new_service(AppConfig::default()).await?);
        let http1 = Rc::new(http1(self.clone(), Rc::clone(&application), stopping.clone()).await?);
        Ok(fn_service(move |stream: TcpStream| {
            let (secured, stopping) = (self.clone(), stopping.clone());
            let (http1, application) = (Rc::clone(&http1), Rc::clone(&application));
            async move {
                let peer = stream.peer_addr().ok();
                // Answers are small: none waits to be filled up.
                let _ = stream.set_nodelay(true);
                let patience = secured.settings.header_timeout;
                let Some(io) = secured.pair.accept(stream, patience).await else {
                    secured.shared.metrics.tls.handshake_failed();
                    return Ok(());
                };
                if tls::speaks_h2(&io) {
                    let connection = secured.connections.watched(io.get_ref());
                    let clock = secured.shared.service.clock.clone();
                    let http2 = Http2 { io, peer, connection, patience, clock };
                    http2.serve(&*application, stopping()).await;
                } else {
                    // How a connection ends is its caller's business, as without TLS.
                    let _ = http1.call((io, peer)).await;
                }
                Ok(())
            }
        }))
    }
}

async fn http1<S, F>(
    secured: Secured,
    application: Rc<S>,
    stopping: impl Fn() -> F + 'static,
) -> Result<impl Service<(tls::Stream, Option<SocketAddr>)>, ()>
where
    S: Service<actix_http::Request, Response = ServiceResponse<BoxBody>, Error = Error> + 'static,
    F: Future<Output = ()> + 'static,
{
    let Secured { connections, settings, .. } = secured;
    HttpService::build()
        .keep_alive(settings.keep_alive)
        .client_request_timeout(settings.header_timeout)
        .graceful_shutdown_signal(stopping)
        .on_connect_ext(move |io: &tls::Stream, data| connections.opened(io.get_ref(), data))
        .h1(fn_factory(move || ready(Ok::<_, ()>(Rc::clone(&application)))))
        .new_service(())
        .await
}
