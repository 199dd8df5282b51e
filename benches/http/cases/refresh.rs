//! Refresh: every connection is an app that goes on with its own sign-in, so each request writes a
//! row that is durable before the answer comes.

use std::path::Path;

use super::families::flows;
use super::storage;
use crate::bench::{Bench, Jeton, SIGNS_IN, TOKEN, WEB, request_token, resource};
use crate::load::Source;
use crate::measure::Subject;
use crate::report::{Goal, Report};
use crate::server::{self, Home, JETON};

/// On Postgres: together, beside each alone, beside tokens that need no database, and beside bare
/// handlers that do the same without any rule. And what it writes to Postgres' log.
pub fn run(bench: &Bench, report: &mut Report) {
    let goals =
        [Goal { of: "client_credentials", share: 0.55 }, Goal { of: "each alone", share: 2.0 }];
    postgres(bench, report, ("refresh", bench.args.connections), &goals);
    storage::log(bench, report);
}

/// The same for four times as many at once.
pub fn many(bench: &Bench, report: &mut Report) {
    let goals =
        [Goal { of: "client_credentials", share: 0.70 }, Goal { of: "each alone", share: 2.0 }];
    postgres(bench, report, ("refresh-256", 4 * bench.args.connections), &goals);
}

fn postgres(
    bench: &Bench,
    report: &mut Report,
    (case, connections): (&str, usize),
    goals: &[Goal],
) {
    let together = &bench.jetons[0];
    let mut alone = Jeton::start("jeton", JETON.as_ref(), bench.postgres);
    alone.restart_with(&[("JETON__REFRESH__BATCHING", "false")]);
    let tokens = together.subject(|_, _| Source::cycle(vec![request_token(TOKEN, "es256")]));
    let families =
        |jeton: &Jeton, path| flows(&jeton.home, jeton.database_url(), path, connections);
    // The bare handlers work on the same table as the first server.
    let bare = |label, path| bench.bare(label, move |_| families(together, path));
    let measured = |jeton| Jeton::subject(jeton, move |_, _| families(jeton, TOKEN));
    let mut subjects: Vec<_> = bench.jetons.iter().map(measured).collect();
    subjects.extend([
        Subject { label: "each alone", ..measured(&alone) },
        Subject { label: "client_credentials", ..tokens },
        bare("bare, each alone", "/refresh/alone"),
        bare("bare, together", "/refresh/together"),
    ]);
    let measured = bench.measure_at(case, &subjects, connections);
    report.add(case, &measured, goals);
}

/// On the embedded database, whose every commit waits for the disk too.
pub fn sqlite(bench: &Bench, report: &mut Report) {
    let directory = tempfile::Builder::new().prefix("jeton-bench-").tempdir().unwrap();
    let url = format!("sqlite:{}", directory.path().join("jeton.db").display());
    let home = Home::of(Path::new(JETON), &url);
    let clients = [server::client("es256", ""), server::client(WEB, SIGNS_IN)].concat();
    home.furnish(&format!("{}{clients}", resource()));
    let server = home.serve(&["--apply", home.path("clients.toml").to_str().unwrap()]);
    let connections = bench.args.connections;
    let subject = |label, requests: Box<dyn Fn(usize) -> Source>| Subject {
        label,
        pid: server.pid(),
        address: server.address,
        requests,
    };
    let token = || Source::cycle(vec![request_token(TOKEN, "es256")]);
    let subjects = [
        subject("jeton", Box::new(|_| flows(&home, &url, TOKEN, connections))),
        subject("client_credentials", Box::new(move |_| token())),
    ];
    let measured = bench.measure("refresh-sqlite", &subjects);
    report.add("refresh-sqlite", &measured, &[Goal { of: "client_credentials", share: 0.5 }]);
}
