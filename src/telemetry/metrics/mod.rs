//! Every metric, in a registry of our own. Labels come from closed sets, so that no caller can make
//! the number of series grow; a client is never a label.

mod answers;
mod database;
mod held;
mod keys;
mod make;
mod requests;
mod tls;

pub use database::{Act, Measures};
pub use held::Held;
pub use requests::InFlight;

use std::time::Duration;

use prometheus::{Encoder, Error, IntCounter, Registry, TextEncoder};

use self::held::Replica;
use self::keys::Keys;
use self::make::Maker;
use self::requests::Requests;
use self::tls::Tls;
use super::stderr;
use crate::domain::{Decision, Spent, Time};

/// The metrics of one server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Requests,
    keys: Keys,
    replica: Replica,
    lines_dropped: IntCounter,
    /// What its database is to be measured by.
    pub database: Measures,
    /// The certificate.
    pub tls: Tls,
}

impl Metrics {
    /// A registry with every metric in it. `classes` are those of errors of the database.
    pub fn new(classes: &[&str]) -> Result<Self, Error> {
        let registry = Registry::new();
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        let make = Maker(registry.clone());
        let build = make.counts(
            "jeton_build_info",
            "Always 1; the labels say what is running.",
            &["version"],
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Ok(Self {
            requests: Requests::new(&make)?,
            keys: Keys::new(&make, classes)?,
            replica: Replica::new(&make)?,
            lines_dropped: make.counter(
                "jeton_log_lines_dropped_total",
                "Lines of the log that were given up, because whoever reads it was too slow.",
            )?,
            database: Measures::new(&make, classes)?,
            tls: Tls::new(&registry)?,
            registry,
        })
    }

    /// The text of a scrape.
    pub fn render(&self) -> Vec<u8> {
        self.lines_dropped.inc_by(stderr::dropped());
        let mut text = Vec::new();
        // Writing to memory cannot fail.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        text
    }

    /// Counts an answered request. `route` is a pattern of ours, never a path of the caller's.
    pub fn answered(&self, method: &'static str, route: &str, status: u16, took: Duration) {
        self.requests.answered(method, route, status, took);
    }

    /// A request is under way, for as long as what this returns.
    pub fn in_flight(&self) -> InFlight<'_> {
        self.requests.in_flight()
    }

    /// Counts a decision.
    pub fn decided(&self, decision: &Decision) {
        self.requests.decided(decision);
        if let Some(granted) = &decision.granted {
            self.keys.signed(&granted.kid);
        }
    }

    /// Counts an introspection, and the key that signed the answer, if one did.
    pub fn introspected(&self, decision: &Decision, signed_by: Option<&str>) {
        self.requests.introspected(decision);
        if let Some(kid) = signed_by {
            self.keys.signed(kid);
        }
    }

    /// Counts an authorization request that came to an end.
    pub fn authorized(&self, decision: &Decision) {
        self.requests.authorized(decision);
    }

    /// Counts a revocation request.
    pub fn revoked(&self, decision: &Decision) {
        self.requests.revoked(decision);
    }

    /// Counts a request that was refused because a budget was spent.
    pub fn limited(&self, spent: &Spent) {
        self.requests.limited(spent);
    }

    /// Counts a failure of the key schedule.
    pub fn rotation_failed(&self, class: &str) {
        self.keys.rotation_failed(class);
    }

    /// Shows how a poll went: how far the clocks are apart, if it succeeded.
    pub fn polled(&self, outcome: Option<Duration>) {
        self.replica.polled(outcome);
    }

    /// Shows the version of a part of what is in memory.
    pub fn loaded(&self, part: &str, version: i64) {
        self.replica.loaded(part, version);
    }

    /// Shows whether the public listener answered.
    pub fn listener(&self, answers: bool) {
        self.replica.listener(answers);
    }

    /// Counts a try to apply the file of `serve --apply`.
    pub fn file_applied(&self, applied: bool) {
        self.replica.file_applied(applied);
    }

    /// Counts revocations that had to be written again.
    pub fn restored(&self, acts: usize) {
        self.replica.restored(acts);
    }

    /// Counts notes that were given up.
    pub fn notes_dropped(&self, notes: usize) {
        self.replica.notes_dropped(notes);
    }

    /// Shows what families take on disk.
    pub fn stored(&self, families: i64, bytes: i64) {
        self.replica.stored(families, bytes);
    }

    /// Counts rows of a table of ours that were deleted.
    pub fn swept(&self, table: &str, rows: u64) {
        self.replica.swept(table, rows);
    }

    /// Shows that nothing is left to delete.
    pub fn swept_all(&self, now: Time) {
        self.replica.swept_all(now);
    }

    /// Shows what is in memory.
    pub fn show(&self, held: &Held, now: Time) {
        self.replica.show(held);
        self.keys.show(held, now);
    }
}
