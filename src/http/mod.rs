//! HTTP: one file for each endpoint, and each only parses, calls and renders.
//!
//! [`ROUTES`] is every path we answer, on one screen: it builds the application, and a test holds
//! `openapi.yaml` against it in both directions.

mod answer;
mod authorize;
mod browser;
mod connections;
mod cors;
mod credentials;
mod documents;
mod form;
mod forwarded;
mod h2;
mod health;
mod introspect;
mod log;
mod metrics;
mod page;
mod peer;
mod revoke;
mod token;
mod trace;

pub use connections::{Connection, Connections, attend};
pub use h2::Http2;
pub use health::{Health, Heart};
pub use log::SelfCheck;
pub use peer::Proxies;

use std::ops::Deref;
use std::sync::Arc;

use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, Route, http::Method};
use arc_swap::ArcSwapOption;

use crate::domain::schedule::Policy;
use crate::domain::{Issuer, Reason};
use crate::issue::Service;
use crate::mirror::{Directory, Document};
use crate::telemetry::Metrics;

/// What handlers share.
#[derive(Debug)]
pub struct Shared {
    /// The issuer at work.
    pub service: Arc<Service>,
    /// The key schedule, for cache headers.
    pub policy: Policy,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// How the process is.
    pub health: Arc<Health>,
    /// The proxies in front of us.
    pub proxies: Proxies,
    /// Whether the public listener speaks TLS.
    pub tls: bool,
    /// Whether requests are traced.
    pub traced: bool,
    /// Marks our own requests to ourselves.
    pub self_check: SelfCheck,
    /// The metadata document and the directory it was made from.
    pub metadata: ArcSwapOption<(Arc<Directory>, Document)>,
    /// What may stand for a request's path in logs and metrics.
    pub paths: Vec<String>,
}

/// One worker thread's handle of what all of them share. Each request counts itself among its holders, and a
/// counter that two threads write to costs more than many a handler.
#[derive(Debug)]
pub struct Handle(Arc<Shared>);

impl Handle {
    /// One for one thread.
    pub fn new(shared: &Arc<Shared>) -> Data<Self> {
        Data::new(Self(Arc::clone(shared)))
    }
}

impl Deref for Handle {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// Which listener answers a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// Apps and resource servers.
    Public,
    /// Operators: health and metrics.
    Operations,
}

/// Where a path stands, given that an issuer may have a path of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Behind the issuer: `{issuer}{path}`.
    UnderIssuer,
    /// At the root of the host with the issuer's path behind it, as RFC 8414 §3.1 inserts it.
    BeforeIssuerPath,
    /// At the root of the listener.
    Root,
}

/// One route.
#[derive(Clone, Copy)]
pub struct RouteEntry {
    /// The listener.
    pub listener: Listener,
    /// The methods, as the `Allow` header lists them.
    pub methods: &'static [&'static str],
    /// Where the path stands.
    pub place: Place,
    /// The path.
    pub path: &'static str,
    /// Makes the handler for one method.
    handler: fn(Method) -> Route,
}

const DOCUMENT: &[&str] = &["GET", "HEAD", "OPTIONS"];

macro_rules! route {
    ($listener:ident, $methods:expr, $place:ident, $path:literal, $handler:path) => {
        RouteEntry {
            listener: Listener::$listener,
            methods: $methods,
            place: Place::$place,
            path: $path,
            handler: |method| web::method(method).to($handler),
        }
    };
}

/// A path for apps, some of which are pages of other origins.
macro_rules! shared_with_pages {
    ($path:literal, $handler:path) => {
        RouteEntry {
            listener: Listener::Public,
            methods: &["OPTIONS", "POST"],
            place: Place::UnderIssuer,
            path: $path,
            handler: |method| {
                let asks_first = method == Method::OPTIONS;
                let route = web::method(method);
                if asks_first { route.to(cors::preflight) } else { route.to($handler) }
            },
        }
    };
}

/// Every path that we answer.
pub const ROUTES: &[RouteEntry] = &[
    RouteEntry {
        listener: Listener::Public,
        methods: &["GET", "POST"],
        place: Place::UnderIssuer,
        path: "/oauth2/authorize",
        handler: |method| {
            let route = web::method(method.clone());
            if method == Method::GET { route.to(authorize::get) } else { route.to(authorize::post) }
        },
    },
    shared_with_pages!("/oauth2/token", token::post),
    route!(Public, &["POST"], UnderIssuer, "/oauth2/introspect", introspect::post),
    shared_with_pages!("/oauth2/revoke", revoke::post),
    route!(Public, DOCUMENT, UnderIssuer, "/.well-known/jwks.json", documents::jwks),
    route!(Public, DOCUMENT, UnderIssuer, "/.well-known/jwks-schedule", documents::schedule),
    route!(Public, DOCUMENT, UnderIssuer, "/.well-known/openid-configuration", documents::metadata),
    route!(
        Public,
        DOCUMENT,
        BeforeIssuerPath,
        "/.well-known/openid-configuration",
        documents::metadata
    ),
    route!(
        Public,
        DOCUMENT,
        BeforeIssuerPath,
        "/.well-known/oauth-authorization-server",
        documents::metadata
    ),
    route!(Operations, &["GET", "HEAD"], Root, "/healthz/startup", health::startup),
    route!(Operations, &["GET", "HEAD"], Root, "/healthz/live", health::live),
    route!(Operations, &["GET", "HEAD"], Root, "/healthz/ready", health::ready),
    route!(Operations, &["GET", "HEAD"], Root, "/metrics", metrics::get),
];

impl RouteEntry {
    /// The absolute path for an issuer.
    pub fn at(&self, issuer: &Issuer) -> String {
        match self.place {
            Place::UnderIssuer => format!("{}{}", issuer.path(), self.path),
            Place::BeforeIssuerPath => format!("{}{}", self.path, issuer.path()),
            Place::Root => self.path.to_owned(),
        }
    }
}

/// The public application.
pub fn public(config: &mut ServiceConfig, shared: &Data<Handle>) {
    config.app_data(shared.clone());
    mount(config, Listener::Public, Some(&shared.service.rules.issuer));
}

/// The operations application. It answers before there is anything else to answer.
pub fn operations(config: &mut ServiceConfig, health: &Data<Health>) {
    config.app_data(health.clone());
    mount(config, Listener::Operations, None);
}

/// The paths of the public listener.
pub fn public_paths(issuer: &Issuer) -> Vec<String> {
    let public = ROUTES.iter().filter(|entry| entry.listener == Listener::Public);
    public.map(|entry| entry.at(issuer)).collect()
}

fn mount(config: &mut ServiceConfig, listener: Listener, issuer: Option<&Issuer>) {
    let mut mounted = Vec::new();
    for entry in ROUTES.iter().filter(|entry| entry.listener == listener) {
        let path = issuer.map_or_else(|| entry.path.to_owned(), |issuer| entry.at(issuer));
        // For an issuer without a path two places are one and the same.
        if mounted.contains(&path) {
            continue;
        }
        let mut resource = web::resource(path.as_str());
        for method in entry.methods {
            if let Ok(method) = Method::from_bytes(method.as_bytes()) {
                resource = resource.route((entry.handler)(method));
            }
        }
        let allow = entry.methods.join(", ");
        let refuse = move |request: HttpRequest| {
            let response = answer::method_not_allowed(&request, &allow);
            async move { response }
        };
        config.service(resource.default_service(web::to(refuse)));
        mounted.push(path);
    }
    config.default_service(web::to(nothing_here));
}

async fn nothing_here(request: HttpRequest) -> HttpResponse {
    answer::refusal(&request, &Reason::PathUnknown.into(), "")
}

pub use log::observe;
