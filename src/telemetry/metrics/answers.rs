//! How long answers took. Every request adds to it, and finding a histogram by its labels takes longer
//! than adding to it, so those that were used before are found by comparing.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus::{Histogram, HistogramVec};

/// The histogram of all answers.
#[derive(Debug)]
pub(super) struct Answers {
    all: HistogramVec,
    /// One for each method, route and status that occurred: some dozens.
    used: ArcSwap<Vec<Used>>,
}

#[derive(Debug, Clone)]
struct Used {
    method: &'static str,
    route: String,
    status: u16,
    histogram: Histogram,
}

impl Answers {
    /// Labelled by method, route and status.
    pub(super) fn new(all: HistogramVec) -> Self {
        Self { all, used: ArcSwap::default() }
    }

    /// Adds an answer.
    pub(super) fn add(&self, method: &'static str, route: &str, status: u16, took: Duration) {
        let same = |one: &&Used| one.status == status && one.method == method && one.route == route;
        if let Some(known) = self.used.load().iter().find(same) {
            return known.histogram.observe(took.as_secs_f64());
        }
        let labels = [method, route, &status.to_string()];
        let histogram = self.all.with_label_values(&labels);
        histogram.observe(took.as_secs_f64());
        let used = Used { method, route: route.to_owned(), status, histogram };
        // Two threads that do so at once add it twice: the second one is never used.
        self.used.rcu(|before| Arc::new(before.iter().chain([&used]).cloned().collect::<Vec<_>>()));
    }
}
