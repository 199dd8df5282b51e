//! What refreshes leave behind: the log that Postgres writes for each, which also is what a standby
//! has to read and a backup has to keep; and what a family takes on disk once it was refreshed often.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use jeton::clock::Clock;
use jeton::domain::ClientId;
use jeton::store::Db;
use jeton::store::advance::{Advance, together_on};
use postgres::{Client, NoTls};
use rand::seq::SliceRandom;
use uuid::Uuid;

use super::families::{flows, signed_in};
use crate::args::Args;
use crate::bench::{Bench, Jeton, TOKEN, WEB};
use crate::database::{Database, with_store};
use crate::load::{self, Outcome, Plan, Source};
use crate::report::{Bound, Report};
use crate::server::Home;

/// So many families are refreshed again and again, each some times a second. Were it more often, a row
/// would get more versions than its page has room for while Postgres' own `analyze` looks at the table,
/// and that would be measured instead.
const FAMILIES: usize = 10_000;

/// So often each is to be refreshed.
const ROTATIONS: u32 = 110;

/// So many go together, as they would under load.
const TOGETHER: usize = 64;

/// The longest time for all of it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the end of Postgres' log is, in bytes from its beginning.
const POSITION: &str = "cast(pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0') as bigint)";

/// The longest wait for Postgres' statistics.
const STATISTICS: Duration = Duration::from_secs(2);

/// Bytes of Postgres' log for each refresh. Just after a checkpoint it is more where families are many:
/// then Postgres writes the whole of each page that changes for the first time (see `growth`).
pub fn log(bench: &Bench, report: &mut Report) {
    let (jeton, connections) = (&bench.jetons[0], bench.args.connections);
    let source = flows(&jeton.home, jeton.database_url(), TOKEN, connections);
    let sql = format!("select {POSITION}, cast((select sum(generation) from families) as bigint)");
    // Both are read at once, so it does not matter that the load goes on meanwhile.
    let (_, before, after) = under_load(bench, jeton, &source, |client| {
        let row = client.query_one(&sql, &[]).unwrap();
        (row.get::<_, i64>(0), row.get::<_, i64>(1))
    });
    let bytes = (after.0 - before.0) as f64 / (after.1 - before.1) as f64;
    report.value("refresh: log for each", bytes, "B", Some(Bound::AtMost(300.0)));
}

/// Bytes of Postgres' log for each refresh of a load, wherever in it that is.
pub fn log_of(bench: &Bench, jeton: &Jeton, source: &Source) -> f64 {
    let sql = format!("select {POSITION}");
    let (outcome, before, after) = under_load(bench, jeton, source, |client| {
        client.query_one(&sql, &[]).unwrap().get::<_, i64>(0)
    });
    (after - before) as f64 / outcome.latencies.count() as f64
}

/// Loads a server, and reads something from its database where the counting begins and ends.
fn under_load<T>(
    bench: &Bench,
    jeton: &Jeton,
    source: &Source,
    read: impl Fn(&mut Client) -> T,
) -> (Outcome, T, T) {
    let client = RefCell::new(Client::connect(jeton.database_url(), NoTls).unwrap());
    let Args { connections, warm, measure, .. } = bench.args;
    let (address, measure) = (jeton.server.address, measure * 2);
    let plan = Plan { address, source, connections, warm, measure, keep: false, pace: None };
    let all = load::run(&plan, || read(&mut client.borrow_mut()));
    assert!(all.0.failures == 0, "{}", all.0.first_failure.unwrap_or_default());
    all
}

/// What a family takes on disk, and how many refreshes touched no index.
pub fn run(bench: &Bench, report: &mut Report) {
    let database = bench.postgres.database();
    Home::new(&database.url).furnish("");
    // What stays behind is the same whether or not anybody waited for the disk.
    database.set("synchronous_commit = off");
    // Rows are found as in a table of millions, or the time is over before enough was refreshed.
    database.set("enable_seqscan = off");
    let families = signed_in(&database.url, FAMILIES);
    database.run("analyze families");
    eprintln!("refresh-storage: refreshing {FAMILIES} families {ROTATIONS} times");
    let made = with_store(&database.url, async |db: &Db| refresh_all(db, families).await);
    report_storage(&database, report, made);
}

/// Refreshes all of them again and again, in an order that is another each time; says how many
/// refreshes that were. It stops when the time is over.
async fn refresh_all(db: &Db, mut families: Vec<Uuid>) -> usize {
    let clock = Clock::system();
    let lane = db.lanes().remove(0);
    let (began, mut made) = (Instant::now(), 0);
    for from in 0..ROTATIONS {
        families.shuffle(&mut rand::rng());
        for some in families.chunks(TOGETHER) {
            if began.elapsed() > PATIENCE {
                return made;
            }
            let steps: Vec<_> = some.iter().map(|id| step(*id, from, &clock)).collect();
            made += together_on(&lane, &steps).await.unwrap().len();
        }
    }
    made
}

fn step(id: Uuid, from: u32, clock: &Clock) -> Advance {
    Advance {
        id,
        from,
        to: from + 1,
        now: clock.now(),
        attempt: rand::random(),
        client: ClientId::parse(WEB).unwrap(),
        key_thumbprint: None,
    }
}

fn report_storage(database: &Database, report: &mut Report, made: usize) {
    let mut client = Client::connect(&database.url, NoTls).unwrap();
    let each = made as f64 / FAMILIES as f64;
    // Less often if the time was over before; then the rest says less.
    let goal = Some(Bound::AtLeast(100.0));
    report.value("refresh-storage: refreshed", each, "times", goal);
    let sizes = "select pg_table_size('families'), pg_indexes_size('families')";
    let row = client.query_one(sizes, &[]).unwrap();
    let per_family = |column| row.get::<_, i64>(column) as f64 / FAMILIES as f64;
    let goal = Some(Bound::AtMost(400.0));
    report.value("refresh-storage: a family's row", per_family(0), "B", goal);
    report.value("refresh-storage: its indexes", per_family(1), "B", None);
    let (updates, hot) = updates(&mut client, i64::try_from(made).unwrap());
    let goal = Some(Bound::AtLeast(99.0));
    let share = hot as f64 / updates as f64 * 100.0;
    report.value("refresh-storage: touched no index", share, "%", goal);
}

/// How many changes of rows Postgres counted, and how many of them touched no index. A connection
/// tells what it did when it ends, at the latest, and that takes a moment.
fn updates(client: &mut Client, expected: i64) -> (i64, i64) {
    let sql = "select n_tup_upd, n_tup_hot_upd from pg_stat_user_tables where relname = 'families'";
    let began = Instant::now();
    loop {
        let row = client.query_one(sql, &[]).unwrap();
        let counted: (i64, i64) = (row.get(0), row.get(1));
        if counted.0 >= expected {
            return counted;
        }
        assert!(began.elapsed() < STATISTICS, "Postgres counted {} of {expected}", counted.0);
        std::thread::sleep(Duration::from_millis(50));
    }
}
