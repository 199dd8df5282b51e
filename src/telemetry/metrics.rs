//! Every metric, in a registry of our own. Labels come from closed sets, so that no caller can make
//! the number of series grow; a client is never a label.

use std::time::Duration;

use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use super::answers::Answers;
use super::tls::Tls;
use crate::domain::{
    AuthMethod, Decision, GrantType, Inactive, Reason, SigningKey, Spent, Stage, Time, Verdict,
};

/// Buckets for what takes from a tenth of a millisecond to seconds.
const BUCKETS: [f64; 14] =
    [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// The metrics of one server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Requests,
    keys: Keys,
    database: Database,
    /// The certificate.
    pub tls: Tls,
}

#[derive(Debug)]
struct Requests {
    http: Answers,
    tokens: IntCounterVec,
    /// Those that were granted, which is what most are: looked up once, and there from the start.
    granted: Vec<(GrantType, IntCounter)>,
    auth: Histogram,
    sign: Histogram,
    refreshes: IntCounterVec,
    introspections: IntCounterVec,
    revocations: IntCounterVec,
    authorizations: IntCounterVec,
    client_auth: Vec<(AuthMethod, IntCounter)>,
    limited: IntCounterVec,
    limited_callers: IntGauge,
    clients: IntGauge,
}

#[derive(Debug)]
struct Keys {
    signatures: IntCounterVec,
    info: IntGaugeVec,
    turn: GaugeVec,
    loaded: Gauge,
    failures: IntCounterVec,
    unusable: IntGauge,
    root_secrets: IntGaugeVec,
    root_secrets_usable: IntGauge,
}

#[derive(Debug)]
struct Database {
    up: IntGauge,
    connections: IntGaugeVec,
    acts: IntGauge,
    families: IntGauge,
    families_bytes: IntGauge,
    restored: IntCounter,
    errors: IntCounterVec,
    applied: IntCounterVec,
    mirror_age: Gauge,
    clock_skew: Gauge,
}

struct Maker(Registry);

impl Maker {
    fn add<C>(&self, made: Result<C, prometheus::Error>) -> Result<C, prometheus::Error>
    where
        C: prometheus::core::Collector + Clone + 'static,
    {
        let collector = made?;
        self.0.register(Box::new(collector.clone()))?;
        Ok(collector)
    }

    fn counter(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, prometheus::Error> {
        self.add(IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn gauge(&self, name: &str, help: &str) -> Result<Gauge, prometheus::Error> {
        self.add(Gauge::new(name, help))
    }

    fn int_gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.add(IntGauge::new(name, help))
    }

    fn histogram(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<HistogramVec, prometheus::Error> {
        let options = HistogramOpts::new(name, help).buckets(BUCKETS.to_vec());
        self.add(HistogramVec::new(options, labels))
    }
}

impl Requests {
    fn new(make: &Maker) -> Result<Self, prometheus::Error> {
        let phases = make.histogram(
            "jeton_token_phase_duration_seconds",
            "Time spent in each phase of a token request.",
            &["phase"],
        )?;
        let tokens = make.counter(
            "jeton_token_requests_total",
            "Token requests by grant, outcome and reason.",
            &["grant_type", "outcome", "reason"],
        )?;
        let client_auth = make.counter(
            "jeton_client_auth_total",
            "Successful client authentications by method.",
            &["method"],
        )?;
        let granted =
            |grant: GrantType| (grant, tokens.with_label_values(&[grant.name(), "granted", ""]));
        let by = |method: AuthMethod| (method, client_auth.with_label_values(&[method.name()]));
        Ok(Self {
            granted: GrantType::ALL.into_iter().map(granted).collect(),
            client_auth: AuthMethod::ALL.into_iter().map(by).collect(),
            tokens,
            http: Answers::new(make.histogram(
                "jeton_http_request_duration_seconds",
                "Time from reading a request to handing its answer over.",
                &["method", "route", "status"],
            )?),
            refreshes: make.counter(
                "jeton_refreshes_total",
                "Refresh tokens that were exchanged, by how: rotated, retried, healed.",
                &["how"],
            )?,
            introspections: make.counter(
                "jeton_introspections_total",
                "Introspections by outcome and reason.",
                &["outcome", "reason"],
            )?,
            revocations: make.counter(
                "jeton_revocation_requests_total",
                "Revocation requests by outcome and reason.",
                &["outcome", "reason"],
            )?,
            authorizations: make.counter(
                "jeton_authorizations_total",
                "Authorization requests that came to an end, by outcome and reason.",
                &["outcome", "reason"],
            )?,
            auth: phases.with_label_values(&["auth"]),
            sign: phases.with_label_values(&["sign"]),
            limited: make.counter(
                "jeton_rate_limited_total",
                "Requests that were refused because a budget was spent.",
                &["budget", "endpoint"],
            )?,
            limited_callers: make.int_gauge(
                "jeton_rate_limit_callers",
                "Callers whose budgets are not full, in all budgets together.",
            )?,
            clients: make.int_gauge("jeton_clients", "Registered clients.")?,
        })
    }
}

impl Keys {
    fn new(make: &Maker) -> Result<Self, prometheus::Error> {
        let info = Opts::new(
            "jeton_signing_key_info",
            "1 for each key that is not removed yet, with its stage.",
        );
        let turn = Opts::new(
            "jeton_signing_key_turn_timestamp_seconds",
            "When a key is published, activated, retired and removed.",
        );
        Ok(Self {
            signatures: make.counter(
                "jeton_signatures_total",
                "Signatures made, by key.",
                &["kid"],
            )?,
            info: make.add(IntGaugeVec::new(info, &["kid", "alg", "stage"]))?,
            turn: make.add(GaugeVec::new(turn, &["kid", "turn"]))?,
            loaded: make.gauge(
                "jeton_keys_loaded_timestamp_seconds",
                "When the keys were last loaded from the database.",
            )?,
            failures: make.counter(
                "jeton_key_rotation_errors_total",
                "Failures in making, rescheduling or destroying keys.",
                &["class"],
            )?,
            root_secrets: make.add(IntGaugeVec::new(
                Opts::new(
                    "jeton_root_secret_info",
                    "1 for each root secret that this replica holds, and what it does.",
                ),
                &["id", "role"],
            ))?,
            root_secrets_usable: make.int_gauge(
                "jeton_root_secret_file_usable",
                "1 if the root-secret file could be used when it was last read.",
            )?,
            unusable: make.int_gauge(
                "jeton_signing_keys_unusable",
                "Keys whose rows do not prove themselves or cannot be opened here.",
            )?,
        })
    }
}

impl Database {
    fn new(make: &Maker) -> Result<Self, prometheus::Error> {
        let connections = Opts::new("jeton_db_connections", "Connections to the database.");
        Ok(Self {
            up: make.int_gauge("jeton_db_up", "1 if the last poll of the database succeeded.")?,
            connections: make.add(IntGaugeVec::new(connections, &["state"]))?,
            errors: make.counter(
                "jeton_db_errors_total",
                "Failed acts on the database by class.",
                &["class"],
            )?,
            acts: make
                .int_gauge("jeton_revocations_held", "Revocations in memory that still count.")?,
            families: make.int_gauge(
                "jeton_families",
                "About how many families are stored, those that ended lately among them.",
            )?,
            families_bytes: make.int_gauge(
                "jeton_families_bytes",
                "Bytes of families with their indexes; of an embedded database, of all of it.",
            )?,
            restored: make.add(IntCounter::new(
                "jeton_revocations_restored_total",
                "Revocations that the database had lost and that were written again.",
            ))?,
            applied: make.counter(
                "jeton_apply_file_total",
                "Times that the file of serve --apply was applied, or could not be, by outcome.",
                &["outcome"],
            )?,
            mirror_age: make.gauge(
                "jeton_mirror_age_seconds",
                "How old the data in memory is, counted from the last good poll.",
            )?,
            clock_skew: make.gauge(
                "jeton_clock_skew_seconds",
                "How far this machine's clock and the common time are apart.",
            )?,
        })
    }
}

impl Metrics {
    /// A registry with every metric in it.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        let make = Maker(registry.clone());
        let build = Opts::new("jeton_build_info", "Always 1; the labels say what is running.");
        let build = make.add(IntGaugeVec::new(build, &["version"]))?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Ok(Self {
            requests: Requests::new(&make)?,
            keys: Keys::new(&make)?,
            database: Database::new(&make)?,
            tls: Tls::new(&registry)?,
            registry,
        })
    }

    /// The text of a scrape.
    pub fn render(&self) -> Vec<u8> {
        let mut text = Vec::new();
        // Writing to memory cannot fail.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        text
    }

    /// Counts an answered request. `route` is a pattern of ours, never a path of the caller's.
    pub fn answered(&self, method: &'static str, route: &str, status: u16, took: Duration) {
        self.requests.http.add(method, route, status, took);
    }

    /// Counts a decision.
    pub fn decided(&self, decision: &Decision) {
        let Requests { tokens, granted, client_auth, .. } = &self.requests;
        match (decision.grant, decision.refused) {
            (Some(grant), None) => count_known(granted, grant),
            (grant, refused) => {
                let grant = grant.map_or("", GrantType::name);
                let reason = refused.map_or("", Reason::name);
                tokens.with_label_values(&[grant, decision.outcome(), reason]).inc();
            }
        }
        if let Some(method) = decision.authenticated_by {
            count_known(client_auth, method);
            self.requests.auth.observe(Duration::from_micros(decision.auth_micros).as_secs_f64());
        }
        if let Some(how) = decision.refreshed.and_then(|refreshed| refreshed.how) {
            self.requests.refreshes.with_label_values(&[how]).inc();
        }
        if let Some(granted) = &decision.granted {
            self.keys.signatures.with_label_values(&[granted.kid.as_str()]).inc();
            self.requests.sign.observe(Duration::from_micros(decision.sign_micros).as_secs_f64());
        }
    }

    /// Counts an introspection.
    pub fn introspected(&self, decision: &Decision) {
        self.requests.introspections.with_label_values(&ending(decision)).inc();
    }

    /// Counts an authorization request that came to an end.
    pub fn authorized(&self, decision: &Decision) {
        self.requests.authorizations.with_label_values(&ending(decision)).inc();
    }

    /// Counts a revocation request.
    pub fn revoked(&self, decision: &Decision) {
        self.requests.revocations.with_label_values(&ending(decision)).inc();
    }

    /// Counts a request that was refused because a budget was spent.
    pub fn limited(&self, spent: &Spent) {
        let labels = [spent.budget.name(), spent.endpoint.name()];
        self.requests.limited.with_label_values(&labels).inc();
    }

    /// Counts a failure of the key schedule.
    pub fn rotation_failed(&self, class: &str) {
        self.keys.failures.with_label_values(&[class]).inc();
    }

    /// Shows how a poll went.
    pub fn polled(&self, outcome: Result<Duration, &str>) {
        self.database.up.set(i64::from(outcome.is_ok()));
        match outcome {
            Ok(skew) => self.database.clock_skew.set(skew.as_secs_f64()),
            Err(class) => self.database.errors.with_label_values(&[class]).inc(),
        }
    }

    /// Counts a try to apply the file of `serve --apply`.
    pub fn file_applied(&self, applied: bool) {
        let outcome = if applied { "applied" } else { "failed" };
        self.database.applied.with_label_values(&[outcome]).inc();
    }

    /// Counts revocations that had to be written again.
    pub fn restored(&self, acts: usize) {
        self.database.restored.inc_by(acts as u64);
    }

    /// Shows what families take on disk.
    pub fn stored(&self, families: i64, bytes: i64) {
        self.database.families.set(families);
        self.database.families_bytes.set(bytes);
    }

    /// Shows what is in memory.
    pub fn show(&self, held: &Held, now: Time) {
        self.database.mirror_age.set(held.age.as_secs_f64());
        self.database.connections.with_label_values(&["idle"]).set(count(held.idle_connections));
        self.database.connections.with_label_values(&["open"]).set(count(held.open_connections));
        self.database.acts.set(count(held.revocations));
        self.requests.clients.set(count(held.clients));
        self.requests.limited_callers.set(count(held.limited_callers));
        self.keys.loaded.set(seconds(held.keys_loaded));
        self.keys.unusable.set(count(held.key_troubles));
        self.keys.root_secrets_usable.set(i64::from(held.root_secrets_usable));
        self.keys.root_secrets.reset();
        for (at, id) in held.root_secrets.iter().enumerate() {
            let role = if at == 0 { "seals" } else { "opens" };
            self.keys.root_secrets.with_label_values(&[id.to_string().as_str(), role]).set(1);
        }
        self.keys.info.reset();
        self.keys.turn.reset();
        for key in &held.keys {
            let stage = key.stage(now);
            if stage == Stage::Removed {
                continue;
            }
            let kid = key.kid.as_str();
            self.keys.info.with_label_values(&[kid, key.algorithm.name(), stage.name()]).set(1);
            for (turn, at) in [
                ("publish", key.times.publish_at),
                ("activate", key.times.activate_at),
                ("retire", key.times.sign_until),
                ("remove", key.times.remove_at),
            ] {
                self.keys.turn.with_label_values(&[kid, turn]).set(seconds(at));
            }
        }
    }
}

/// What one replica holds in memory, for [`Metrics::show`].
#[derive(Debug)]
pub struct Held {
    /// How old it is.
    pub age: Duration,
    /// Connections to the database that are open.
    pub open_connections: usize,
    /// Those of them that are idle.
    pub idle_connections: usize,
    /// Revocations that still count.
    pub revocations: usize,
    /// Registered clients.
    pub clients: usize,
    /// Callers whose budgets are not full.
    pub limited_callers: usize,
    /// When keys were last loaded.
    pub keys_loaded: Time,
    /// The root secrets by their ids; the first seals.
    pub root_secrets: Vec<u8>,
    /// Whether their file could be used when it was last read.
    pub root_secrets_usable: bool,
    /// The keys.
    pub keys: Vec<SigningKey>,
    /// How many of them cannot be used here.
    pub key_troubles: usize,
}

fn count_known<T: PartialEq + Copy>(known: &[(T, IntCounter)], one: T) {
    if let Some((_, counter)) = known.iter().find(|(other, _)| *other == one) {
        counter.inc();
    }
}

/// How a decision about a token ended, and why.
fn ending(decision: &Decision) -> [&'static str; 2] {
    let refused = decision.refused.map(Reason::name);
    let cause = decision.verdict.and_then(Verdict::cause).map(Inactive::name);
    let outcome = if refused.is_some() { "refused" } else { decision.outcome() };
    [outcome, refused.or(cause).unwrap_or("")]
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit a double exactly")]
pub(super) fn seconds(at: Time) -> f64 {
    at.seconds() as f64
}
