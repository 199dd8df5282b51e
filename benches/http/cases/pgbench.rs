//! The database alone: Postgres' own load generator changes rows as a refresh does, one by one and
//! many at once. No server that keeps its families in this database refreshes faster than that.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::time::Duration;

use crate::bench::Bench;
use crate::child::Running;
use crate::database::Database;
use crate::measure::median;
use crate::report::Report;
use crate::server::Home;

/// So many rows there are: one for each connection, or all of them for the one.
const ROWS: usize = 64;

/// How much longer than asked it may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The rows' names: numbers from 0.
const FILL: &str = "insert into families
         (id, generation, rotated_at, attempt, client_id, subject, resources, scopes,
          authenticated_at, idle, ends_at, user_agent, network)
     select cast(lpad(to_hex(n), 32, '0') as uuid), 0, 0, 0, 'web',
            '00000000-0000-0000-0000-000000000000', 'https://api.example.test/', 'read', 0, 0,
            9000000000000000, repeat('u', 60), '192.0.2.0/24'
     from generate_series(0, 63) as n";

/// Each connection changes its own row, whose generation it counts itself.
const ALONE: &str = "\
\\set at :generation * 1000
\\set mark random(1, 9000000000000000000)
update families set generation = generation + 1, rotated_at = :at, attempt = :mark \
where id = cast(lpad(to_hex(cast(:client_id as bigint)), 32, '0') as uuid) \
and generation = :generation \
returning id, generation, subject, resources, scopes, authenticated_at;
\\set generation :generation + 1
";

/// One connection changes all rows, whose names it has from the command line.
const TOGETHER: &str = "\
\\set at :generation * 1000
\\set mark random(1, 9000000000000000000)
update families set generation = generation + 1, rotated_at = :at, attempt = :mark \
from unnest(cast(:ids as uuid[])) as step (id) \
where families.id = step.id and generation = :generation \
returning families.id, generation, subject, resources, scopes, authenticated_at;
\\set generation :generation + 1
";

/// How `pgbench` is called, and how many rows each of its transactions changes.
struct Way {
    label: &'static str,
    script: &'static str,
    clients: &'static str,
    threads: &'static str,
    rows: usize,
}

const WAYS: [Way; 2] = [
    Way { label: "each alone", script: ALONE, clients: "64", threads: "2", rows: 1 },
    Way { label: "64 together", script: TOGETHER, clients: "1", threads: "1", rows: ROWS },
];

/// Both ways in turns.
pub fn run(bench: &Bench, report: &mut Report) {
    let Some(program) = program() else {
        return report.skip("refresh-pgbench", "there is no pgbench");
    };
    if !bench.postgres.is_durable {
        return report.skip("refresh-pgbench", "this Postgres does not wait for its disk");
    }
    let mut rates = WAYS.map(|_| Vec::new());
    for round in 1..=bench.args.rounds {
        for (way, rates) in WAYS.iter().zip(&mut rates) {
            eprint!("refresh-pgbench, {}, round {round} of {}: ", way.label, bench.args.rounds);
            rates.push(rate(bench, &program, way));
        }
    }
    for (way, rates) in WAYS.iter().zip(rates) {
        let case = format!("refresh-pgbench: {}", way.label);
        report.value(&case, median(rates.into_iter()), "rows/s", None);
    }
}

/// Debian keeps it where it keeps the server, which is not on the PATH.
fn program() -> Option<PathBuf> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/postgres");
    let found = Command::new(script).arg("bin").output().ok();
    let beside = found.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let directories = beside.map(PathBuf::from).into_iter().chain(std::env::split_paths(&paths));
    let mut programs = directories.map(|directory| directory.join("pgbench"));
    programs.find(|program| program.is_file())
}

/// Rows that were changed in a second.
fn rate(bench: &Bench, program: &Path, way: &Way) -> f64 {
    let database = bench.postgres.database();
    let home = Home::new(&database.url);
    home.furnish("");
    database.run(FILL);
    database.run("vacuum analyze families");
    // Rows are found as in a table of millions, small though this one is.
    database.set("enable_seqscan = off");
    let script = home.path("refresh.sql");
    std::fs::write(&script, way.script).unwrap();
    // It counts in whole seconds.
    let seconds = bench.args.measure.as_secs_f64().ceil() as u64;
    let mut command = Command::new(program);
    command.args(["--no-vacuum", "--protocol=prepared", "--define=generation=0"]);
    command.args(["--client", way.clients, "--jobs", way.threads]);
    command.arg(format!("--define=ids={{{}}}", ids().join(",")));
    command.arg(format!("--time={seconds}")).arg("--file").arg(&script);
    let patience = Duration::from_secs(seconds) + PATIENCE;
    let (transactions, per_second) = run_to_end(command, &database, patience);
    // An update that finds no row is fast, and pgbench does not mind.
    let changed: i64 = database.ask("select cast(sum(generation) as bigint) from families");
    assert_eq!(usize::try_from(changed), Ok(transactions * way.rows), "some changed no row");
    let rate = per_second * way.rows as f64;
    eprintln!("{rate:.0}/s");
    rate
}

fn ids() -> Vec<String> {
    (0..ROWS).map(|n| format!("00000000-0000-0000-0000-{n:012x}")).collect()
}

/// Runs it to its end, and reads how many transactions it did, and how many in a second.
fn run_to_end(mut command: Command, database: &Database, patience: Duration) -> (usize, f64) {
    command.arg(&database.url).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = Running::start(&mut command);
    // What it writes is short: it never waits for somebody to read it.
    let status = child.wait(patience).unwrap_or_else(|| panic!("pgbench did not end"));
    let output = child.output();
    assert!(status.success(), "pgbench: {status}\n{output}");
    (number(&output, "number of transactions actually processed: "), number(&output, "tps = "))
}

/// The number on the line that begins so.
fn number<T: FromStr>(output: &str, prefix: &str) -> T {
    let rest = output.lines().find_map(|line| line.strip_prefix(prefix));
    let word = rest.and_then(|rest| rest.split_whitespace().next()).unwrap_or_default();
    word.parse().unwrap_or_else(|_| panic!("pgbench did not say \"{prefix}\":\n{output}"))
}
