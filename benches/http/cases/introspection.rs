//! Introspection of tokens that were asked about before, and of tokens that were not.

use crate::bench::{Bench, CHECKER, TOKEN, about, tokens};
use crate::load::Source;
use crate::report::{Goal, Report};

const PATH: &str = "/oauth2/introspect";

/// So many different tokens are asked about again and again.
const SEEN: usize = 1000;

/// More tokens in a second than any server here can be asked about for the first time.
const UNSEEN_PER_SECOND: usize = 45_000;

/// Tokens seen before, beside a hash and a look into a table in memory.
pub fn seen(bench: &Bench, report: &mut Report) {
    if !bench.offers("introspection_endpoint") {
        return report.skip("introspect-seen", "the metadata has no introspection_endpoint");
    }
    let mut subjects = bench.jetons(|server, _| {
        Source::cycle(about(&tokens(server, TOKEN, "es256", SEEN), PATH, CHECKER))
    });
    subjects.push(bench.bare("lookup", bare(bench, "/introspect/seen")));
    let measured = bench.measure("introspect-seen", &subjects);
    report.add("introspect-seen", &measured, &[Goal { of: "lookup", share: 0.80 }]);
}

/// Tokens never seen before, beside a verification each time.
pub fn unseen(bench: &Bench, report: &mut Report) {
    if !bench.offers("introspection_endpoint") {
        return report.skip("introspect-unseen", "the metadata has no introspection_endpoint");
    }
    let mut subjects = bench.jetons(|server, seconds| {
        let count = seconds * UNSEEN_PER_SECOND;
        Source::once(about(&tokens(server, TOKEN, "es256", count), PATH, CHECKER))
    });
    subjects.push(bench.bare("verify, aws-lc-rs", bare(bench, "/introspect/aws-lc")));
    subjects.push(bench.bare("verify, josekit", bare(bench, "/introspect/josekit")));
    let measured = bench.measure("introspect-unseen", &subjects);
    report.add("introspect-unseen", &measured, &[Goal { of: "verify, aws-lc-rs", share: 0.90 }]);
}

/// Requests to a bare handler. Those that verify do so each time, so a few tokens will do.
fn bare<'a>(bench: &'a Bench, path: &'a str) -> impl Fn(usize) -> Source + 'a {
    move |_| {
        let tokens = tokens(&bench.ceiling, "/token/ours/ES256", "es256", SEEN);
        Source::cycle(about(&tokens, path, CHECKER))
    }
}
