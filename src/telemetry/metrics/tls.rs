//! The metrics of how callers reach us. Those of the certificate are there only where there is one, or
//! an alert on its end would go off wherever there is none.

use prometheus::core::Collector;
use prometheus::{Gauge, IntCounter, IntCounterVec, Opts, Registry};

use super::held::seconds;
use crate::domain::Time;

/// What is counted and shown of TLS, and of its absence.
#[derive(Debug)]
pub struct Tls {
    registry: Registry,
    ends: Gauge,
    reads: IntCounterVec,
    handshakes: IntCounter,
    plain: IntCounter,
}

impl Tls {
    /// The certificate is not shown yet.
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let reads = Opts::new(
            "jeton_tls_reloads_total",
            "Times that a changed certificate was taken, or could not be, by outcome.",
        );
        let handshakes = IntCounter::new(
            "jeton_tls_handshakes_failed_total",
            "Connections that came to nothing before their first request: too old, too slow, not TLS.",
        )?;
        let plain = IntCounter::new(
            "jeton_plain_requests_refused_total",
            "Plain HTTP requests from elsewhere than this machine or a listed proxy.",
        )?;
        registry.register(Box::new(plain.clone()))?;
        let ends = "jeton_tls_certificate_expires_timestamp_seconds";
        Ok(Self {
            registry: registry.clone(),
            ends: Gauge::new(ends, "When the certificate in use ends.")?,
            reads: IntCounterVec::new(reads, &["outcome"])?,
            handshakes,
            plain,
        })
    }

    /// There is a certificate.
    pub fn show(&self, ends: Time) -> Result<(), prometheus::Error> {
        let all: [Box<dyn Collector>; 3] = [
            Box::new(self.ends.clone()),
            Box::new(self.reads.clone()),
            Box::new(self.handshakes.clone()),
        ];
        for outcome in OUTCOMES {
            // An alert on a rise wants the zero before it.
            self.reads.with_label_values(&[outcome]);
        }
        self.ends(ends);
        all.into_iter().try_for_each(|one| self.registry.register(one))
    }

    /// Counts a handshake that failed.
    pub fn handshake_failed(&self) {
        self.handshakes.inc();
    }

    /// Counts a plain request that was refused.
    pub fn refused_plain(&self) {
        self.plain.inc();
    }

    /// When it ends.
    pub fn ends(&self, at: Time) {
        self.ends.set(seconds(at));
    }

    /// Counts a look at files that had changed.
    pub fn read(&self, taken: bool) {
        let [good, bad] = OUTCOMES;
        self.reads.with_label_values(&[if taken { good } else { bad }]).inc();
    }
}

const OUTCOMES: [&str; 2] = ["applied", "failed"];
