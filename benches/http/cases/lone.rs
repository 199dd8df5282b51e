//! A refresh that comes alone: it may take one round trip to the database more than a token that needs
//! none, and little else.

use std::time::Instant;

use postgres::{Client, NoTls};

use super::families::{flows, signed_in};
use crate::bench::{Bench, TOKEN, request_token};
use crate::load::Source;
use crate::measure::{Subject, median};
use crate::report::{Bound, Report};

/// One connection, beside client credentials and the same change of a row by itself.
pub fn run(bench: &Bench, report: &mut Report) {
    let jeton = &bench.jetons[0];
    let refreshes = |path| flows(&jeton.home, jeton.database_url(), path, 1);
    let tokens = jeton.subject(|_, _| Source::cycle(vec![request_token(TOKEN, "es256")]));
    let subjects = [
        jeton.subject(|_, _| refreshes(TOKEN)),
        Subject { label: "client_credentials", ..tokens },
        bench.bare("bare, each alone", |_| refreshes("/refresh/alone")),
    ];
    let measured = bench.measure_at("refresh-lone", &subjects, 1);
    report.add("refresh-lone", &measured, &[]);
    let round_trip = round_trip(jeton.database_url());
    report.value("refresh-lone: one round trip", round_trip, "ms", None);
    let [refresh, token] = [0, 1].map(|at: usize| measured[at].median().p50_ms);
    let share = 100.0 * refresh / (token + round_trip);
    let name = "refresh-lone: of a token and a round trip";
    report.value(name, share, "%", Some(Bound::AtMost(120.0)));
}

/// How long it takes to change one family and to know that it is durable, in milliseconds: half of
/// the times it took less.
fn round_trip(url: &str) -> f64 {
    const OFTEN: usize = 2_000;
    let family = signed_in(url, 1)[0].to_string();
    let mut client = Client::connect(url, NoTls).unwrap();
    let change = client
        .prepare(
            "update families set generation = generation + 1
             where id = cast(cast($1 as text) as uuid) returning generation",
        )
        .unwrap();
    median((0..OFTEN).map(|_| {
        let began = Instant::now();
        client.query_one(&change, &[&family]).unwrap();
        began.elapsed().as_secs_f64() * 1e3
    }))
}
