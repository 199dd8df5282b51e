//! The process itself: how soon it serves, and how much memory it holds.

use std::time::Instant;

use crate::bench::{Bench, request_token, resource};
use crate::load::{self, Plan, Source};
use crate::machine;
use crate::measure::median;
use crate::report::{Bound, Report};
use crate::server::{Home, client};

/// From the spawn to the first token, on a database that has everything.
pub fn start(bench: &Bench, report: &mut Report) {
    let database = bench.postgres.database();
    let home = Home::new(&database.url);
    home.furnish(&format!("{}{}", resource(), client("es256", "")));
    drop(home.serve(&["--apply", home.path("clients.toml").to_str().unwrap()]));
    let took = (0..bench.args.rounds * 3).map(|_| {
        let began = Instant::now();
        let server = home.serve(&[]);
        load::fetch(server.address, vec![request_token("/oauth2/token", "es256")], 1);
        began.elapsed().as_secs_f64() * 1e3
    });
    report.value("start to first token", median(took), "ms", Some(Bound::AtMost(100.0)));
}

/// Idle, and with ten thousand clients that all ask for tokens.
pub fn memory(bench: &Bench, report: &mut Report) {
    const CLIENTS: usize = 10_000;
    let database = bench.postgres.database();
    let home = Home::new(&database.url);
    let id = |number| format!("client-{number}");
    home.furnish(&format!("{}{}", resource(), client("first", "")));
    let apply = home.path("clients.toml");
    let apply = ["--apply", apply.to_str().unwrap()];
    drop(home.serve(&apply));
    let idle = home.serve(&[]);
    let used = machine::memory(idle.pid(), "VmRSS");
    report.value("memory, idle", used, "MB", Some(Bound::AtMost(30.0)));
    drop(idle);

    eprintln!("memory: registering {CLIENTS} clients");
    let all: String = (0..CLIENTS).map(|number| client(&id(number), "")).collect();
    std::fs::write(home.path("clients.toml"), format!("{}{all}", resource())).unwrap();
    drop(home.serve(&apply));
    let server = home.serve(&[]);
    let requests = (0..CLIENTS).map(|number| request_token("/oauth2/token", &id(number)));
    let source = Source::cycle(requests.collect());
    let (warm, measure) = (bench.args.warm, bench.args.measure * 2);
    let (address, connections) = (server.address, bench.args.connections);
    let plan =
        Plan { address, source: &source, connections, warm, measure, keep: false, pace: None };
    let (outcome, (), ()) = load::run(&plan, || ());
    assert!(outcome.failures == 0, "{}", outcome.first_failure.unwrap_or_default());
    let used = machine::memory(server.pid(), "VmHWM");
    report.value("memory, 10,000 clients, under load", used, "MB", Some(Bound::AtMost(64.0)));
}
