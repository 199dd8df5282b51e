//! Builds a server out of settings, runs it, and takes it down in order.

mod prepare;
mod secured;
mod servers;

pub use prepare::{
    COMMAND, check_database, check_schema, claim, data_directory, desk, open, pooler,
    wait_for_database,
};

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use actix_web::dev::ServerHandle;
use actix_web::rt;
use arc_swap::ArcSwapOption;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::config::{self, Settings};
use crate::domain::{Issuer, Time};
use crate::error::Exit;
use crate::hashing::Hashing;
use crate::http::{self, Health, Proxies, SelfCheck, Shared};
use crate::issue::{Crowd, Memory, Rules, Service, Tools};
use crate::jobs::{self, Applying, Keeper, Look, Polling, UrlFile};
use crate::limits::Limits;
use crate::manage::apply::ApplyFile;
use crate::manage::{Desk, ManageError};
use crate::mirror::{Mirror, Poller, Writer};
use crate::store::{Db, StoreError, migrate};
use crate::telemetry::Metrics;
use crate::tls::{self, Pair};

use prepare::patiently;

/// Most password hashes at once, however many cores there are. Each takes 19 MiB, and in a container
/// whose memory is limited and whose CPU is not, one for each core of a large machine would be the end.
const MOST_HASHES: usize = 8;

/// How a server is to be set up.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// It is a development server: its database is marked, and its secrets lie beside it.
    pub is_dev: bool,
    /// Bring the schema up to date first.
    pub migrate: bool,
    /// Apply these before serving.
    pub apply: Vec<ApplySource>,
}

/// Something to apply before serving.
#[derive(Debug, Clone)]
pub enum ApplySource {
    /// A file of the operator's, applied again when it changes.
    File(PathBuf),
    /// Text of our own; relative paths in it start at the directory.
    Text(String, PathBuf),
}

/// A server that runs.
#[derive(Debug)]
pub struct Running {
    /// Who issues.
    pub issuer: Issuer,
    /// Where the public listener is.
    pub public: SocketAddr,
    /// Where health and metrics are.
    pub operations: SocketAddr,
    /// The issuer at work.
    pub service: Arc<Service>,
    /// What acts on the database.
    pub desk: Desk,
    /// How the process is.
    pub health: Arc<Health>,
    settings: Settings,
    public_handle: ServerHandle,
    operations_handle: ServerHandle,
    stop: watch::Sender<bool>,
    keeper: JoinHandle<()>,
    /// What else must never end by itself.
    tasks: Vec<JoinHandle<()>>,
    watcher: JoinHandle<()>,
}

/// Starts a server. The operations listener answers from the first moment; everything else comes
/// once the database, the schema, the secrets and a signing key are there.
pub async fn start(settings: Settings, setup: Setup, clock: Clock) -> Result<Running, Exit> {
    let metrics = Metrics::new(&StoreError::CLASSES);
    let metrics = Arc::new(metrics.map_err(|error| Exit::Failed(error.to_string()))?);
    let health = Arc::new(Health::new(clock.clone(), Arc::clone(&metrics)));
    health.pulse("main");
    let listener = bind("server.operations", settings.server.operations)?;
    let operations = listener.local_addr()?;
    let operations_handle = servers::operations(listener, &health, &settings.server)?;

    let tls = certificate(&settings, &metrics, clock.now())?;
    let began = Instant::now();
    let database = async || database(&settings, &setup, &clock).await;
    let db = patiently(began, database).await?.measured_by(metrics.database.clone());
    let listener = bind("server.public", settings.server.public)?;
    let public = listener.local_addr()?;
    let issuer = prepare::issuer(&settings, public)?;
    patiently(began, async || claim(&db, &issuer, setup.is_dev, clock.now()).await).await?;
    let desk = desk(&settings, db, issuer.clone(), "server")?;

    let mirror = Arc::new(Mirror::default());
    let limits = Arc::new(Limits::new(&settings.limits, &clock));
    let hashing = hashing()?;
    let (mut keeper, mut polling) = keepers(&desk, &mirror, &clock, &metrics, &limits, &hashing);
    patiently(began, async || prepare::first_keys(&keeper, &mut polling).await).await?;
    let apply = async || apply(&setup.apply, &desk, &clock, &mirror, &metrics).await;
    let applying = patiently(began, apply).await?;
    patiently(began, async || Ok(polling.poll().await?)).await?;
    keeper.beat().await;
    warn_of_lost_lines(&mirror, &settings);

    let service = Arc::new(service(&settings, &clock, &mirror, &desk, limits, hashing));
    let self_check = SelfCheck::default();
    let shared = shared(&service, &desk, &health, &settings, &self_check);
    let public_handle = servers::public(listener, &shared, &health, &settings.server, tls.clone())?;
    let path = format!("{}/.well-known/jwks.json", issuer.path());
    let look = Look { address: public, tls: tls.is_some(), path, mark: self_check };
    health.answers(look.answers().await);
    health.start();

    let (stop, stopped) = watch::channel(false);
    let mut tasks = vec![
        rt::spawn(polling.run(stopped.clone())),
        rt::spawn(Writer::run(Arc::clone(&mirror), desk.db.clone(), clock.clone())),
    ];
    tasks.extend(applying.into_iter().map(|one| rt::spawn(one.run(stopped.clone()))));
    tasks.extend(followers(&settings, &desk.db, tls, &metrics, &stopped));
    let keeper = rt::spawn(keeper.run(stopped));
    let watcher = rt::spawn(jobs::watch_listener(Arc::clone(&health), look));
    Ok(Running {
        issuer,
        public,
        operations,
        service,
        desk,
        health,
        settings,
        public_handle,
        operations_handle,
        stop,
        keeper,
        tasks,
        watcher,
    })
}

/// Refuses files of [server.tls] that a server would refuse at its start.
pub fn check_certificate(settings: &config::Server) -> Result<(), Exit> {
    let inspect = |files: &config::Tls| tls::inspect(&files.certificate, &files.key);
    Ok(settings.tls.as_ref().map(inspect).transpose().map(drop)?)
}

/// The certificate of the public listener, if it is to have one. One that is over is served all the
/// same: a server that runs takes the next one a second after it comes, and one that refused to start
/// would have to be started again by somebody.
fn certificate(
    settings: &Settings,
    metrics: &Metrics,
    now: Time,
) -> Result<Option<Arc<Pair>>, Exit> {
    let Some(files) = &settings.server.tls else { return Ok(None) };
    let pair = Pair::open(&files.certificate, &files.key)?;
    let ends = pair.certificate().ends;
    metrics.tls.show(ends).map_err(|error| Exit::Failed(error.to_string()))?;
    if ends <= now {
        let (ends, file) = (ends.rfc3339(), files.certificate.display());
        tracing::error!(%ends, %file, "the certificate is over; put a new one in its place");
    }
    Ok(Some(Arc::new(pair)))
}

/// What follows files that may change under the server: the database's URL and the certificate.
fn followers(
    settings: &Settings,
    db: &Db,
    tls: Option<Arc<Pair>>,
    metrics: &Arc<Metrics>,
    stopped: &watch::Receiver<bool>,
) -> impl Iterator<Item = JoinHandle<()>> + use<> {
    let database = &settings.database;
    let file = database.url_file.clone().filter(|_| db.is_postgres());
    let measures = metrics.database.clone();
    let file = file.map(|path| UrlFile::new(db.clone(), path, database.url.clone(), measures));
    let file = file.map(|file| rt::spawn(file.follow(stopped.clone())));
    let renew = |pair| jobs::renew(pair, Arc::clone(metrics), stopped.clone());
    file.into_iter().chain(tls.map(|pair| rt::spawn(renew(pair))))
}

/// The database, once it answers, is ours, and has a schema that we know.
async fn database(settings: &Settings, setup: &Setup, clock: &Clock) -> Result<Db, Exit> {
    let db = prepare::open(&settings.database).await?;
    wait_for_database(&db, clock, prepare::START).await?;
    // First: what a later step took away, nothing that follows could read.
    prepare::check_not_newer(&db).await?;
    prepare::check_owner(&db, settings.issuer.as_ref(), setup.is_dev).await?;
    if setup.migrate {
        migrate::migrate(&db, clock.now(), |step| {
            tracing::info!(step = step.name, "the schema was brought up to date");
        })
        .await?;
    }
    check_schema(&db).await?;
    Ok(db)
}

impl Running {
    /// The scheme that the public listener speaks.
    pub const fn scheme(&self) -> &'static str {
        self.settings.server.scheme()
    }

    /// Takes the server down in order: not ready, a while for load balancers to notice, no new
    /// connections, requests under way to their end, the last notes written. `hurry` leaves out
    /// the waiting.
    pub async fn stop(self, hurry: impl Future<Output = ()>) {
        self.health.drain();
        let orderly = async {
            tokio::time::sleep(self.settings.server.drain_delay).await;
            self.public_handle.stop(true).await;
        };
        tokio::select! {
            () = orderly => {}
            () = hurry => self.public_handle.stop(false).await,
        }
        self.watcher.abort();
        let _ = self.stop.send(true);
        let patience = Duration::from_secs(5);
        if tokio::time::timeout(patience, self.keeper).await.is_err() {
            tracing::warn!("the last notes could not be written in time");
        }
        self.tasks.iter().for_each(JoinHandle::abort);
        self.operations_handle.stop(false).await;
        // A database that is away does not keep us.
        let _ = tokio::time::timeout(patience, self.desk.db.close()).await;
    }

    /// Waits for one of our tasks to end by itself, which none should.
    pub async fn failed(&self) -> Exit {
        while !self.tasks.iter().chain([&self.keeper]).any(JoinHandle::is_finished) {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        Exit::Failed("a task that keeps memory fresh stopped; this is a defect".to_owned())
    }
}

fn shared(
    service: &Arc<Service>,
    desk: &Desk,
    health: &Arc<Health>,
    settings: &Settings,
    self_check: &SelfCheck,
) -> Arc<Shared> {
    Arc::new(Shared {
        service: Arc::clone(service),
        policy: desk.policy.clone(),
        metrics: Arc::clone(&health.metrics),
        health: Arc::clone(health),
        proxies: Proxies::new(settings.server.trusted_proxies.clone()),
        tls: settings.server.tls.is_some(),
        traced: settings.traces.is_some(),
        self_check: self_check.clone(),
        metadata: ArcSwapOption::empty(),
        paths: http::public_paths(&desk.issuer),
    })
}

/// Names the clients whose key line was taken out of the configuration while they still use it.
fn warn_of_lost_lines(mirror: &Mirror, settings: &Settings) {
    for client in mirror.directory().clients_outside(&settings.keys.algorithms) {
        tracing::warn!(
            %client,
            "its algorithm is not among keys.algorithms: it gets no token once the last key of \
             that line has ended"
        );
    }
}

fn keepers(
    desk: &Desk,
    mirror: &Arc<Mirror>,
    clock: &Clock,
    metrics: &Arc<Metrics>,
    limits: &Arc<Limits>,
    hashing: &Hashing,
) -> (Keeper, Polling) {
    let poller = Poller::new(
        desk.db.clone(),
        clock.clone(),
        Arc::clone(mirror),
        Arc::clone(&desk.secrets),
        desk.issuer.as_str(),
    );
    let keeper = Keeper {
        desk: desk.clone(),
        mirror: Arc::clone(mirror),
        clock: clock.clone(),
        metrics: Arc::clone(metrics),
        limits: Arc::clone(limits),
        hashing: hashing.clone(),
        suspected: Vec::new(),
        looked_at: uuid::Uuid::nil(),
        beats: 0,
    };
    (keeper, Polling::new(poller, Arc::clone(mirror), Arc::clone(metrics)))
}

fn hashing() -> Result<Hashing, Exit> {
    let hashes = available_parallelism().map_or(1, usize::from).min(MOST_HASHES);
    Hashing::new(hashes).map_err(|error| Exit::Failed(error.to_string()))
}

fn service(
    settings: &Settings,
    clock: &Clock,
    mirror: &Arc<Mirror>,
    desk: &Desk,
    limits: Arc<Limits>,
    hashing: Hashing,
) -> Service {
    Service {
        rules: Rules {
            issuer: desk.issuer.clone(),
            algorithms: settings.keys.algorithms.clone(),
            access_token_ttl: settings.access_token_ttl,
            access_token_ttl_max: settings.keys.longest_token,
            directory_max_age: settings.clients_max_staleness,
            revocation_max_age: settings.revocation_max_staleness,
            refresh: settings.refresh,
        },
        clock: clock.clone(),
        db: desk.db.clone(),
        tools: Arc::new(Tools::new(settings.refresh_batching, &desk.db, mirror, clock)),
        // Less than half of those who may be in the pool or wait for it.
        signing_in: Crowd::new(4 * hashing.parallel()),
        hashing,
        mirror: Arc::clone(mirror),
        secrets: Arc::clone(&desk.secrets),
        examined: Memory::new(settings.introspection_cache),
        limits,
    }
}

/// Applies everything, and returns what keeps the operator's files applied.
async fn apply(
    sources: &[ApplySource],
    desk: &Desk,
    clock: &Clock,
    mirror: &Arc<Mirror>,
    metrics: &Arc<Metrics>,
) -> Result<Vec<Applying>, Exit> {
    let refused = |error: ManageError| match error {
        ManageError::Store(error) => Exit::from(error),
        mistakes => Exit::Refused(format!("--apply: {mistakes}")),
    };
    let mut kept = Vec::new();
    for source in sources {
        match source {
            ApplySource::File(path) => {
                let begun = Applying::begin(path.clone(), desk, clock, mirror, metrics).await;
                kept.push(begun.map_err(refused)?);
            }
            ApplySource::Text(text, base) => {
                let file = ApplyFile::parse(text, base).map_err(refused)?;
                jobs::apply(desk, &file, clock).await.map_err(refused)?;
            }
        }
    }
    Ok(kept)
}

/// So many may have connected without being taken in yet; the kernel may allow fewer.
const BACKLOG: i32 = 4096;

fn bind(key: &str, address: SocketAddr) -> Result<TcpListener, Exit> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        // The standard library has room for 128. Of more who come at once, after a restart of what
        // stands in front, the rest are overheard and try again a second later.
        rustix::net::listen(&listener, BACKLOG)?;
        Ok(listener)
    });
    bound.map_err(|error| {
        let variable = key.replace('.', "__").to_uppercase();
        Exit::Refused(format!(
            "{key}: cannot listen on {address}: {error}; choose another address in the \
             configuration or with JETON__{variable}"
        ))
    })
}
