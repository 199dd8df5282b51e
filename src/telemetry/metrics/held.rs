//! What one replica holds in memory, shown once a second.

use std::time::Duration;

use prometheus::{Error, Gauge, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::make::Maker;
use crate::domain::{SigningKey, Time};

/// What one replica holds in memory.
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
    /// Whether the database has lost revocations and does not have them back yet.
    pub owed: bool,
    /// Registered clients.
    pub clients: usize,
    /// Callers whose budgets are not full.
    pub limited_callers: usize,
    /// Notes that are not written yet.
    pub notes: usize,
    /// Passwords that are being hashed, and those that wait for it.
    pub hashing: (usize, usize),
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

#[derive(Debug)]
pub(super) struct Replica {
    stock: Stock,
    up: IntGauge,
    answers: IntGauge,
    poll_failures: IntCounter,
    versions: IntGaugeVec,
    connections: IntGaugeVec,
    notes: IntGauge,
    notes_dropped: IntCounter,
    hashing: IntGaugeVec,
    clients: IntGauge,
    limited_callers: IntGauge,
    applied: IntCounterVec,
    age: Gauge,
    clock_skew: Gauge,
}

/// What is stored, and what is deleted again.
#[derive(Debug)]
struct Stock {
    acts: IntGauge,
    owed: IntGauge,
    restored: IntCounter,
    families: IntGauge,
    families_bytes: IntGauge,
    swept: IntCounterVec,
    swept_at: Gauge,
}

impl Stock {
    fn new(make: &Maker) -> Result<Self, Error> {
        let made = Self {
            acts: make
                .count("jeton_revocations_held", "Revocations in memory that still count.")?,
            owed: make.count(
                "jeton_revocations_owed",
                "1 while the database lacks revocations that it had lost.",
            )?,
            restored: make.counter(
                "jeton_revocations_restored_total",
                "Revocations that the database had lost and that were written again.",
            )?,
            families: make.count(
                "jeton_families",
                "About how many families are stored, those that ended lately among them.",
            )?,
            families_bytes: make.count(
                "jeton_families_bytes",
                "Bytes of families with their indexes; of an embedded database, of all of it.",
            )?,
            swept: make.counters(
                "jeton_swept_rows_total",
                "Rows that were deleted because nothing needs them any more.",
                &["table"],
            )?,
            swept_at: make.gauge(
                "jeton_swept_timestamp_seconds",
                "When this replica last found nothing left to delete.",
            )?,
        };
        for table in ["revocations", "codes", "families"] {
            made.swept.with_label_values(&[table]);
        }
        Ok(made)
    }
}

impl Replica {
    pub(super) fn new(make: &Maker) -> Result<Self, Error> {
        let made = Self {
            stock: Stock::new(make)?,
            up: make.count("jeton_db_up", "1 if the last poll of the database succeeded.")?,
            answers: make.count(
                "jeton_listener_answers",
                "1 if the public listener served the JWKS when this process last asked it.",
            )?,
            poll_failures: make.counter(
                "jeton_poll_failures_total",
                "Polls of the database that failed or took too long.",
            )?,
            versions: make.counts(
                "jeton_mirror_version",
                "The version of each part of the data in memory; replicas agree within seconds.",
                &["part"],
            )?,
            connections: make.counts(
                "jeton_db_connections",
                "Connections to the database.",
                &["state"],
            )?,
            notes: make.count(
                "jeton_notes_waiting",
                "Notes (uses of secrets, runs of failures) that are not written yet.",
            )?,
            notes_dropped: make.counter(
                "jeton_notes_dropped_total",
                "Notes that were given up, because the database was away for too long.",
            )?,
            hashing: make.counts(
                "jeton_password_hashes",
                "Passwords that are being hashed, and those that wait for it.",
                &["state"],
            )?,
            clients: make.count("jeton_clients", "Registered clients.")?,
            limited_callers: make.count(
                "jeton_rate_limit_callers",
                "Callers whose budgets are not full, in all budgets together.",
            )?,
            applied: make.counters(
                "jeton_apply_file_total",
                "Times that the file of serve --apply was applied, or could not be, by outcome.",
                &["outcome"],
            )?,
            age: make.gauge(
                "jeton_mirror_age_seconds",
                "How old the data in memory is, counted from the last good poll.",
            )?,
            clock_skew: make.gauge(
                "jeton_clock_skew_seconds",
                "How far this machine's clock and the common time are apart.",
            )?,
        };
        for outcome in ["applied", "failed"] {
            made.applied.with_label_values(&[outcome]);
        }
        Ok(made)
    }

    pub(super) fn polled(&self, outcome: Option<Duration>) {
        self.up.set(i64::from(outcome.is_some()));
        match outcome {
            Some(skew) => self.clock_skew.set(skew.as_secs_f64()),
            None => self.poll_failures.inc(),
        }
    }

    pub(super) fn loaded(&self, part: &str, version: i64) {
        self.versions.with_label_values(&[part]).set(version);
    }

    pub(super) fn listener(&self, answers: bool) {
        self.answers.set(i64::from(answers));
    }

    pub(super) fn file_applied(&self, applied: bool) {
        let outcome = if applied { "applied" } else { "failed" };
        self.applied.with_label_values(&[outcome]).inc();
    }

    pub(super) fn restored(&self, acts: usize) {
        self.stock.restored.inc_by(acts as u64);
    }

    pub(super) fn notes_dropped(&self, notes: usize) {
        self.notes_dropped.inc_by(notes as u64);
    }

    pub(super) fn stored(&self, families: i64, bytes: i64) {
        self.stock.families.set(families);
        self.stock.families_bytes.set(bytes);
    }

    pub(super) fn swept(&self, table: &str, rows: u64) {
        self.stock.swept.with_label_values(&[table]).inc_by(rows);
    }

    pub(super) fn swept_all(&self, now: Time) {
        self.stock.swept_at.set(seconds(now));
    }

    pub(super) fn show(&self, held: &Held) {
        self.age.set(held.age.as_secs_f64());
        self.connections.with_label_values(&["idle"]).set(count(held.idle_connections));
        self.connections.with_label_values(&["open"]).set(count(held.open_connections));
        self.stock.acts.set(count(held.revocations));
        self.stock.owed.set(i64::from(held.owed));
        self.clients.set(count(held.clients));
        self.limited_callers.set(count(held.limited_callers));
        self.notes.set(count(held.notes));
        let (running, waiting) = held.hashing;
        self.hashing.with_label_values(&["running"]).set(count(running));
        self.hashing.with_label_values(&["waiting"]).set(count(waiting));
    }
}

pub(super) fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit a double exactly")]
pub(super) fn seconds(at: Time) -> f64 {
    at.seconds() as f64
}
