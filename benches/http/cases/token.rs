//! client_credentials, for each algorithm.

use crate::bench::{Bench, CLIENTS, TOKEN, request_token};
use crate::load::Source;
use crate::measure::Measured;
use crate::report::{Goal, Report};

/// The bare handler that signs as Jeton does.
const OURS: (&str, &str) = ("ours", "bare, our signer");

/// The bare handlers that sign otherwise, with what Jeton does not use for that algorithm.
const OTHERS: [(&str, &[(&str, &str)]); 4] = [
    ("ES256", &[("openssl", "bare, OpenSSL"), ("josekit", "bare, josekit")]),
    ("Ed25519", &[("josekit", "bare, josekit")]),
    ("RS256", &[("aws-lc", "bare, aws-lc-rs")]),
    ("PS256", &[("aws-lc", "bare, aws-lc-rs")]),
];

/// Each algorithm beside the bare handler with our signer, and with others.
pub fn run(bench: &Bench, report: &mut Report) {
    for ((algorithm, client), (_, others)) in CLIENTS.into_iter().zip(OTHERS) {
        let case = format!("token-{algorithm}");
        if !bench.args.wants(&case) {
            continue;
        }
        let source = |path: &str| Source::cycle(vec![request_token(path, client)]);
        let mut subjects = bench.jetons(move |_, _| source(TOKEN));
        for (signer, label) in [OURS].iter().chain(others) {
            let path = format!("/token/{signer}/{algorithm}");
            subjects.push(bench.bare(label, move |_| source(&path)));
        }
        let measured = bench.measure(&case, &subjects);
        let goals = [Goal { of: OURS.1, share: 0.85 }, Goal { of: best(&measured), share: 0.75 }];
        // The goals are about the default algorithm; the others are only shown.
        report.add(&case, &measured, if algorithm == "ES256" { &goals } else { &[] });
    }
}

/// The bare handler that was fastest.
fn best(measured: &[Measured]) -> &'static str {
    let bare = measured.iter().filter(|one| one.label.starts_with("bare"));
    bare.max_by(|a, b| a.median().rate.total_cmp(&b.median().rate)).unwrap().label
}
