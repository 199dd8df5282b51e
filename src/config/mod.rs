//! Settings: read from all sources, checked as a whole, and told apart from wishes.
//!
//! `config/default.toml` is the manual and the lowest layer. Unknown keys are refused, because a
//! misspelt setting that is silently ignored is a security setting that is off; and every problem
//! is reported at once, because restarting to find the next one is no way to spend a night.

mod check;
mod rate;
mod reader;
mod show;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use url::Url;
use zeroize::Zeroizing;

use crate::domain::family::RefreshRules;
use crate::domain::schedule::Policy;
use crate::domain::{Algorithm, Issuer, RefreshRetry};
pub use rate::Rate;
use reader::Reader;

pub use show::{Origin, Setting};

/// The text of `config/default.toml`.
pub const DEFAULT: &str = include_str!("../../config/default.toml");

/// Everything that is wrong with the configuration.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(|problem| format!("  - {problem}")).collect::<Vec<_>>().join("\n"))]
pub struct Problems(pub Vec<String>);

/// Where settings come from, apart from the built-in defaults and the environment.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file of `--config`.
    pub file: Option<PathBuf>,
    /// The directory for the embedded database and the root secrets.
    pub data_dir: PathBuf,
    /// Defaults of a mode (`--dev`, `--ephemeral`), which everything else wins over.
    pub defaults: Vec<(&'static str, String)>,
}

/// A database URL; it may hold a password.
#[derive(Clone)]
pub struct DatabaseUrl(Zeroizing<String>);

/// How a database's URL begins, …
const SCHEMES: [&str; 3] = ["postgres://", "postgresql://", "sqlite:"];
/// … and what whoever wrote another is told.
const NO_SCHEME: &str = "it begins with postgres:// or sqlite:";

impl DatabaseUrl {
    /// The embedded database of a data directory.
    pub fn embedded(data_dir: &Path) -> Self {
        Self(Zeroizing::new(format!("sqlite:{}", data_dir.join("jeton.db").display())))
    }

    /// The URL in a file.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map(Zeroizing::new);
        let text = text.map_err(|error| format!("{}: {error}", path.display()))?;
        let url = Self(Zeroizing::new(text.trim().to_owned()));
        let known = SCHEMES.iter().any(|scheme| url.0.starts_with(scheme));
        if known { Ok(url) } else { Err(NO_SCHEME.to_owned()) }
    }

    /// Whether another URL leads to the same database in the same way, for whoever we are there.
    pub fn differs_in_who_we_are_alone(&self, other: &Self) -> bool {
        let place = |url: &Self| {
            let mut url = Url::parse(&url.0).ok()?;
            let rest: Vec<_> = url.query_pairs().into_owned().collect();
            let rest =
                rest.iter().filter(|(name, _)| !["user", "password"].contains(&name.as_str()));
            url.query_pairs_mut().clear().extend_pairs(rest);
            url.set_username("").ok()?;
            url.set_password(None).ok()?;
            Some(url)
        };
        place(self).is_some_and(|one| place(other) == Some(one))
    }

    /// The URL itself, for the driver.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it is an embedded database.
    pub fn is_sqlite(&self) -> bool {
        self.0.starts_with("sqlite:")
    }
}

impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.is_sqlite() {
            "DatabaseUrl(sqlite…)"
        } else {
            "DatabaseUrl(postgres…)"
        })
    }
}

/// Form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object for each line.
    Json,
}

/// Settings that were checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The issuer; commands that only look at a database can do without.
    pub issuer: Option<Issuer>,
    /// Listeners and draining.
    pub server: Server,
    /// The database.
    pub database: Database,
    /// The root-secret file.
    pub secrets_file: PathBuf,
    /// Key lines and their schedule.
    pub keys: Policy,
    /// Whether the schedule's limits are lifted.
    pub unsafe_timing: bool,
    /// How long an access token lives by default.
    pub access_token_ttl: Duration,
    /// Refresh tokens.
    pub refresh: RefreshRules,
    /// Whether refreshes that come together share a commit.
    pub refresh_batching: bool,
    /// How old may be what is known of revocations when a token is called active.
    pub revocation_max_staleness: Duration,
    /// Room for tokens whose signature was checked before, in bytes.
    pub introspection_cache: u64,
    /// How long clients in memory may be trusted without a database.
    pub clients_max_staleness: Duration,
    /// How often callers may call.
    pub limits: Limits,
    /// The log.
    pub log: Log,
    /// The collector of traces, if they are collected.
    pub traces: Option<Url>,
}

/// Listeners and draining.
#[derive(Debug, Clone)]
pub struct Server {
    /// The public listener.
    pub public: SocketAddr,
    /// Health and metrics.
    pub operations: SocketAddr,
    /// The certificate and key of the public listener; without them it speaks plain HTTP.
    pub tls: Option<Tls>,
    /// The proxies in front of us, whose word about the caller's address counts.
    pub trusted_proxies: Vec<IpNet>,
    /// Most connections at once.
    pub max_connections: u32,
    /// How long a caller may take to send the head of a request.
    pub header_timeout: Duration,
    /// How long a connection may lie idle between two requests.
    pub keep_alive: Duration,
    /// How long to serve on after readiness has turned red.
    pub drain_delay: Duration,
    /// How long to wait for requests under way.
    pub drain_timeout: Duration,
}

/// The files of a certificate and its key.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Certificates in PEM, the server's own first.
    pub certificate: PathBuf,
    /// Its key in PEM.
    pub key: PathBuf,
}

/// How often callers may call; `None` is without limit.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// Failed client authentications for each network.
    pub failures: Option<Rate>,
    /// The same for each network and client.
    pub failures_per_client: Option<Rate>,
    /// Requests for each network and endpoint.
    pub network: Option<Rate>,
    /// Requests for each authenticated client and endpoint.
    pub client: Option<Rate>,
}

/// The database.
#[derive(Debug, Clone)]
pub struct Database {
    /// Where it is.
    pub url: DatabaseUrl,
    /// The file that it came from, if it did; it may change.
    pub url_file: Option<PathBuf>,
    /// Most connections to Postgres.
    pub pool: u32,
    /// Whether a pooler in transaction mode stands in between.
    pub transaction_pooler: bool,
}

/// The log.
#[derive(Debug, Clone)]
pub struct Log {
    /// Its form.
    pub format: LogFormat,
    /// Which events, in the syntax of tracing's `EnvFilter`.
    pub level: String,
}

impl Settings {
    /// Reads every source and checks the whole.
    pub fn load(sources: &Sources) -> Result<Self, Problems> {
        Ok(Self::explain(sources)?.0)
    }

    /// The same, with every setting as it is in effect and where it comes from.
    pub fn explain(sources: &Sources) -> Result<(Self, Vec<Setting>), Problems> {
        let mut reader = Reader::new(sources)?;
        let issuer =
            reader.optional("issuer", |text| Issuer::parse(text).map_err(|e| e.to_string()));
        let server = Server::read(&mut reader);
        let url_file = reader.optional("database.url_file", |path| Ok(PathBuf::from(path)));
        let database = Database {
            url: database_url(&mut reader, url_file.as_deref(), &sources.data_dir),
            url_file,
            pool: reader.number("database.pool"),
            transaction_pooler: reader.choice("database.pooler", &["none", "transaction"])
                == "transaction",
        };
        let secrets_file = reader
            .optional("secrets.file", |text| Ok(PathBuf::from(text)))
            .unwrap_or_else(|| sources.data_dir.join("root-secrets"));
        let algorithms = reader
            .list("keys.algorithms", |text| text.parse::<Algorithm>().map_err(|e| e.to_string()));
        let keys = Policy {
            algorithms,
            period: reader.duration("keys.period"),
            lead: reader.duration("keys.lead"),
            max_age: reader.duration("keys.max_age"),
            skew: reader.duration("keys.skew"),
            longest_token: reader.duration("tokens.access_token_ttl_max"),
        };
        let unsafe_timing = reader.flag("keys.allow_unsafe_timing");
        let access_token_ttl = reader.duration("tokens.access_token_ttl");
        let refresh = refresh(&mut reader);
        let refresh_batching = reader.flag("refresh.batching");
        let revocation_max_staleness = reader.duration("revocation.max_staleness");
        let introspection_cache = u64::from(reader.number("introspection.cache")) << 20;
        let clients_max_staleness = reader.duration("clients.max_staleness");
        let limits = Limits::read(&mut reader);
        let log = Log::read(&mut reader);
        let traces = reader.optional("traces.endpoint", collector);
        let settings = Self {
            issuer,
            server,
            database,
            secrets_file,
            keys,
            unsafe_timing,
            access_token_ttl,
            refresh,
            refresh_batching,
            revocation_max_staleness,
            introspection_cache,
            clients_max_staleness,
            limits,
            log,
            traces,
        };
        let found = reader.finish(|problems| check::whole(&settings, problems))?;
        let found = show::effective(&settings, found);
        Ok((settings, found))
    }
}

/// Where traces go.
fn collector(text: &str) -> Result<Url, String> {
    if !cfg!(feature = "otlp") {
        return Err(
            "this binary was built without traces; build it with `--features otlp`".to_owned()
        );
    }
    let url = Url::parse(text).ok().filter(|url| {
        let bare = url.query().is_none() && url.fragment().is_none();
        matches!(url.scheme(), "http" | "https") && bare && url.username().is_empty()
    });
    // Whoever needs a password puts it into OTEL_EXPORTER_OTLP_HEADERS: settings are shown.
    url.filter(|url| url.password().is_none()).ok_or_else(|| {
        "write an http or https URL without a user and a query, such as http://localhost:4318"
            .to_owned()
    })
}

fn refresh(reader: &mut Reader) -> RefreshRules {
    let words = RefreshRetry::ALL.map(RefreshRetry::name);
    RefreshRules {
        idle: reader.duration("refresh.idle"),
        absolute: reader.duration("refresh.absolute"),
        // The words are the policies' names, so that it parses.
        retry: reader.choice("refresh.retry", &words).parse().unwrap_or(RefreshRetry::Window),
        window: reader.duration("refresh.window"),
        heal: reader.flag("refresh.heal"),
        announce: reader.flag("refresh.announce"),
    }
}

impl Log {
    fn read(reader: &mut Reader) -> Self {
        Self {
            format: match reader.choice("log.format", &["text", "json"]).as_str() {
                "json" => LogFormat::Json,
                _ => LogFormat::Text,
            },
            level: reader.text("log.level"),
        }
    }
}

impl Server {
    /// The scheme that the public listener speaks.
    pub const fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    fn read(reader: &mut Reader) -> Self {
        Self {
            public: reader.address("server.public"),
            operations: reader.address("server.operations"),
            tls: Tls::read(reader),
            trusted_proxies: reader.list_or_none("server.trusted_proxies", reader::network),
            max_connections: reader.number("server.max_connections"),
            header_timeout: reader.duration("server.header_timeout"),
            keep_alive: reader.duration("server.keep_alive"),
            drain_delay: reader.duration("server.drain_delay"),
            drain_timeout: reader.duration("server.drain_timeout"),
        }
    }
}

impl Tls {
    fn read(reader: &mut Reader) -> Option<Self> {
        let [certificate, key] = ["server.tls.certificate", "server.tls.key"]
            .map(|key| reader.optional(key, |text| Ok(PathBuf::from(text))));
        match (certificate, key) {
            (Some(certificate), Some(key)) => Some(Self { certificate, key }),
            (None, None) => None,
            _ => {
                reader.problem("server.tls.key", "it and server.tls.certificate go together");
                None
            }
        }
    }
}

impl Limits {
    fn read(reader: &mut Reader) -> Self {
        Self {
            failures: reader.rate("limits.failures"),
            failures_per_client: reader.rate("limits.failures_per_client"),
            network: reader.rate("limits.network"),
            client: reader.rate("limits.client"),
        }
    }
}

fn database_url(reader: &mut Reader, file: Option<&Path>, data_dir: &Path) -> DatabaseUrl {
    let url = reader.optional("database.url", |text| Ok(Zeroizing::new(text.to_owned())));
    match (url, file) {
        (Some(_), Some(_)) => {
            reader.problem("database.url", "it and database.url_file are both set; keep one");
        }
        (Some(url), None) if SCHEMES.iter().any(|scheme| url.starts_with(scheme)) => {
            return DatabaseUrl(url);
        }
        (Some(_), None) => reader.problem("database.url", NO_SCHEME),
        (None, Some(file)) => match DatabaseUrl::read(file) {
            Ok(url) => return url,
            Err(problem) => reader.problem("database.url_file", problem),
        },
        (None, None) => {}
    }
    DatabaseUrl::embedded(data_dir)
}
