//! The database, as its callers meet it: how long it takes, how it fails, who waits for it.

use std::time::Instant;

use prometheus::{Error, Histogram, IntCounterVec, IntGauge, Opts};

use super::make::{Maker, histogram};

/// What one database is measured by. Cheap to clone; all clones count together.
#[derive(Debug, Clone)]
pub struct Measures(Option<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    took: Histogram,
    under_way: IntGauge,
    errors: IntCounterVec,
    url_usable: IntGauge,
}

impl Measures {
    /// Measures nothing: a command's database, which nobody scrapes.
    pub const fn none() -> Self {
        Self(None)
    }

    pub(super) fn new(make: &Maker, classes: &[&str]) -> Result<Self, Error> {
        let errors = Opts::new("jeton_db_errors_total", "Failed acts on the database by class.");
        let inner = Inner {
            took: make.add(histogram(
                "jeton_db_act_duration_seconds",
                "Time of one act on the database: its wait for a connection, its statements, its commit.",
            ))?,
            under_way: make.count(
                "jeton_db_acts_in_flight",
                "Acts on the database that are under way or wait for a connection.",
            )?,
            errors: make.add(IntCounterVec::new(errors, &["class"]))?,
            url_usable: make.count(
                "jeton_database_url_file_usable",
                "0 while the file of the database's URL says something that does not lead into it.",
            )?,
        };
        inner.url_usable.set(1);
        for class in classes {
            inner.errors.with_label_values(&[class]);
        }
        Ok(Self(Some(inner)))
    }

    /// Whether the file of the database's URL says what leads into it.
    pub fn url_file(&self, usable: bool) {
        if let Some(inner) = &self.0 {
            inner.url_usable.set(i64::from(usable));
        }
    }

    /// An act begins.
    pub fn begin(&self) -> Act<'_> {
        let inner = self.0.as_ref();
        if let Some(inner) = inner {
            inner.under_way.inc();
        }
        Act { inner, began: Instant::now() }
    }
}

/// An act that is under way, until it is dropped: also where whoever wanted it has left.
#[derive(Debug)]
pub struct Act<'a> {
    inner: Option<&'a Inner>,
    began: Instant,
}

impl Act<'_> {
    /// It failed.
    pub fn failed(&self, class: &str) {
        if let Some(inner) = self.inner {
            inner.errors.with_label_values(&[class]).inc();
        }
    }
}

impl Drop for Act<'_> {
    fn drop(&mut self) {
        if let Some(inner) = self.inner {
            inner.under_way.dec();
            inner.took.observe(self.began.elapsed().as_secs_f64());
        }
    }
}
