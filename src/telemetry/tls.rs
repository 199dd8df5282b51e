//! The metrics of the certificate. They are there only where there is one, or an alert on its end
//! would go off wherever there is none.

use prometheus::core::Collector;
use prometheus::{Gauge, IntCounterVec, Opts, Registry};

use crate::domain::Time;

/// What is counted and shown of the certificate.
#[derive(Debug)]
pub struct Tls {
    registry: Registry,
    ends: Gauge,
    reads: IntCounterVec,
}

impl Tls {
    /// Not shown yet.
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let reads = Opts::new(
            "jeton_tls_reloads_total",
            "Times that a changed certificate was taken, or could not be, by outcome.",
        );
        let ends = "jeton_tls_certificate_expires_timestamp_seconds";
        Ok(Self {
            registry: registry.clone(),
            ends: Gauge::new(ends, "When the certificate in use ends.")?,
            reads: IntCounterVec::new(reads, &["outcome"])?,
        })
    }

    /// There is a certificate.
    pub fn show(&self, ends: Time) -> Result<(), prometheus::Error> {
        let all: [Box<dyn Collector>; 2] =
            [Box::new(self.ends.clone()), Box::new(self.reads.clone())];
        for outcome in OUTCOMES {
            // An alert on a rise wants the zero before it.
            self.reads.with_label_values(&[outcome]);
        }
        self.ends(ends);
        all.into_iter().try_for_each(|one| self.registry.register(one))
    }

    /// When it ends.
    pub fn ends(&self, at: Time) {
        self.ends.set(super::metrics::seconds(at));
    }

    /// Counts a look at files that had changed.
    pub fn read(&self, taken: bool) {
        let [good, bad] = OUTCOMES;
        self.reads.with_label_values(&[if taken { good } else { bad }]).inc();
    }
}

const OUTCOMES: [&str; 2] = ["applied", "failed"];
