//! Revocation: how many acts a second become durable, and what many of them cost everybody else.

use crate::bench::{Bench, CHECKER, Jeton, TOKEN, about, tokens};
use crate::load::{self, Plan, Source};
use crate::machine;
use crate::report::{Goal, Report};
use crate::server::Server;

/// More tokens in a second than can be revoked.
const PER_SECOND: usize = 25_000;

/// So many are asked for in each second of a storm.
const STORM: u32 = 10_000;

/// So many tokens are asked about again and again.
const SEEN: usize = 1000;

/// Each token once, beside a verification and one insert: committed by itself, or with all that come
/// together.
pub fn run(bench: &Bench, report: &mut Report) {
    if is_impossible(bench, "revoke", report) {
        return;
    }
    let mut subjects =
        bench.jetons(|server, seconds| acts(server, TOKEN, "/oauth2/revoke", seconds));
    for (label, path) in [("verify, insert", "/revoke"), ("the same, together", "/revoke/together")]
    {
        subjects.push(
            bench.bare(label, move |seconds| {
                acts(&bench.ceiling, "/token/ours/ES256", path, seconds)
            }),
        );
    }
    let measured = bench.measure("revoke", &subjects);
    report.add("revoke", &measured, &[]);
}

/// A storm: so many acts a second are asked for, whatever becomes of them, while others introspect.
pub fn storm(bench: &Bench, report: &mut Report) {
    if is_impossible(bench, "storm", report) {
        return;
    }
    let server = &bench.jetons[0].server;
    let (warm, measure) = (bench.args.warm, bench.args.measure * 4);
    let seconds = (warm + measure).as_secs_f64().ceil() as usize;
    let acts = acts(server, TOKEN, "/oauth2/revoke", seconds);
    let asking = introspections(server);
    let (address, connections) = (server.address, bench.args.connections);
    let load = |source, pace| {
        let plan = Plan { address, source, connections, warm, measure, keep: false, pace };
        let (outcome, (), ()) = load::run(&plan, || ());
        assert!(outcome.failures == 0, "{:?}", outcome.first_failure);
        outcome
    };
    let calm = load(&asking, None);
    let (revoked, asked) = std::thread::scope(|scope| {
        let storm = scope.spawn(|| load(&acts, Some(STORM)));
        let asked = load(&asking, None);
        (storm.join().unwrap(), asked)
    });
    let rate = |outcome: &load::Outcome| outcome.latencies.count() as f64 / outcome.seconds;
    let p99 = |outcome: &load::Outcome| outcome.latencies.quantile(0.99);
    report.value(&format!("storm: {STORM} revocations/s asked, done"), rate(&revoked), "/s", None);
    report.value("storm: p99 of those since due", p99(&revoked), "ms", None);
    report.value("storm: introspections meanwhile", rate(&asked), "/s", None);
    report.value("storm: p99 of those", p99(&asked), "ms", None);
    report.value("storm: introspections without it", rate(&calm), "/s", None);
}

/// Introspection with a million revocations that still count, beside a server with few.
pub fn million(bench: &Bench, report: &mut Report) {
    if is_impossible(bench, "introspect-million", report) {
        return;
    }
    eprintln!("introspect-million: filling the database");
    let mut full = Jeton::start("jeton", crate::server::JETON.as_ref(), bench.postgres);
    full.restart_after(
        "insert into revocations (id, v, stamp, kind, key, issued_before, expires_at)
         select gen_random_uuid(), n, n, 'token',
                rtrim(translate(encode(decode(md5(n::text), 'hex'), 'base64'), '+/', '-_'), '='),
                0, cast(extract(epoch from now()) * 1000000 as bigint) + 3600000000
         from generate_series(1, 1000000) as n;
         update revocation_head set v = 1000000",
    );
    let memory = machine::memory(full.server.pid(), "VmRSS");
    report.value("memory, a million revocations", memory, "MB", None);
    let few = bench.jetons(|server, _| introspections(server)).remove(0);
    let few = crate::measure::Subject { label: "few revocations", ..few };
    let subjects = [full.subject(|server, _| introspections(server)), few];
    let measured = bench.measure("introspect-million", &subjects);
    let goals = [Goal { of: "few revocations", share: 0.95 }];
    report.add("introspect-million", &measured, &goals);
}

fn acts(server: &Server, from: &str, to: &str, seconds: usize) -> Source {
    let tokens = tokens(server, from, "es256", seconds * PER_SECOND);
    Source::once(about(&tokens, to, "es256"))
}

fn introspections(server: &Server) -> Source {
    Source::cycle(about(&tokens(server, TOKEN, "es256", SEEN), "/oauth2/introspect", CHECKER))
}

fn is_impossible(bench: &Bench, case: &str, report: &mut Report) -> bool {
    let why = if !bench.offers("revocation_endpoint") {
        "the metadata has no revocation_endpoint"
    } else if !bench.postgres.is_durable {
        "this Postgres does not wait for its disk"
    } else {
        return false;
    };
    report.skip(case, why);
    true
}
