//! JWKS and metadata, beside a handler that answers with the same bytes and the same headers.

use crate::bench::{Bench, JWKS, METADATA, request_get};
use crate::load::Source;
use crate::report::{Goal, Report};

/// The JWKS.
pub fn jwks(bench: &Bench, report: &mut Report) {
    document("jwks", (JWKS, "/jwks"), bench, report);
}

/// The metadata.
pub fn metadata(bench: &Bench, report: &mut Report) {
    document("metadata", (METADATA, "/metadata"), bench, report);
}

fn document(case: &str, paths: (&str, &str), bench: &Bench, report: &mut Report) {
    let source = |path| Source::cycle(vec![request_get(path)]);
    let mut subjects = bench.jetons(|_, _| source(paths.0));
    subjects.push(bench.bare("static", |_| source(paths.1)));
    let measured = bench.measure(case, &subjects);
    report.add(case, &measured, &[Goal { of: "static", share: 0.95 }]);
}
