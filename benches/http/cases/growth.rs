//! Growth: whether a refresh gets slower when there are a hundred times as many sign-ins. Whoever
//! comes next may be any of them, so most rows are not in the database's memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jeton::clock::Clock;
use jeton::domain::token::birth_of;
use jeton::secret::RootSecrets;
use uuid::Uuid;

use super::families::{NETWORK, USER_AGENT, request, secrets};
use super::storage::log_of;
use crate::bench::{Bench, Jeton, TOKEN, WEB};
use crate::load::Source;
use crate::measure::Subject;
use crate::report::{Goal, Report};
use crate::server::{JETON, RESOURCE};

const CASE: &str = "refresh-growth";

const MILLION: u64 = 1_000_000;

/// Families of the server beside.
const FEW: u64 = 100_000;

/// So many are inserted by one statement.
const AT_ONCE: u64 = 500_000;

/// The longest time to fill one database.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// The first family began so long ago, in milliseconds, …
const AGE: i64 = 3 * 86_400_000;

/// … the last one so long after it …
const SPAN: i64 = 2 * 86_400_000;

/// … and the client was there before all of them.
const BEFORE: i64 = 86_400_000;

/// Many millions of families, beside a hundred thousand on a server of their own.
pub fn run(bench: &Bench, report: &mut Report) {
    if !bench.args.names(CASE) {
        return report.skip(CASE, "it fills the disk for minutes, so its whole name must be given");
    }
    let millions = if bench.args.quick { 1 } else { 10 };
    let connections = bench.args.connections as u64;
    let (Some(few), Some(many)) =
        (Grown::new(bench, FEW, connections), Grown::new(bench, millions * MILLION, connections))
    else {
        return report.skip(CASE, "the database could not be filled in time");
    };
    report.value(&format!("{CASE}: families"), many.families as f64 / 1e6, "million", None);
    let subjects =
        [many.subject("jeton"), Subject { label: "100,000 families", ..few.subject("few") }];
    let measured = bench.measure(CASE, &subjects);
    report.add(CASE, &measured, &[Goal { of: "100,000 families", share: 0.80 }]);
    // The most that it can be: hardly any page changed before since this checkpoint.
    many.jeton.database().run("checkpoint");
    let bytes = log_of(bench, &many.jeton, &many.refreshes());
    report.value(&format!("{CASE}: log for each, at first"), bytes, "B", None);
}

/// A server with many families.
struct Grown {
    jeton: Jeton,
    families: u64,
    connections: u64,
    /// When the first family began, in milliseconds.
    first: i64,
    secrets: RootSecrets,
    /// For each connection the generations of its families that were refreshed.
    live: Arc<Vec<Mutex<HashMap<u64, u32>>>>,
}

impl Grown {
    /// A server whose client is older than all families, which then are inserted; `None` if that takes
    /// too long.
    fn new(bench: &Bench, families: u64, connections: u64) -> Option<Self> {
        let first = Clock::system().now().micros() / 1000 - AGE;
        let mut jeton = Jeton::start("jeton", JETON.as_ref(), bench.postgres);
        // What began before its client did, or before that was last changed, is looked at twice.
        let before = (first - BEFORE) * 1000;
        jeton.restart_after(&format!(
            "update clients set created_at = {before}, updated_at = {before}, valid_from = {before};
             update resources set created_at = {before}, updated_at = {before}"
        ));
        let secrets = secrets(&jeton.home);
        let live = Arc::new((0..connections).map(|_| Mutex::default()).collect());
        let grown = Self { jeton, families, connections, first, secrets, live };
        grown.fill().then_some(grown)
    }

    /// Inserts the families; false if it takes too long.
    fn fill(&self) -> bool {
        let database = self.jeton.database();
        let began = Instant::now();
        // An index over random values is built in a fraction of the time once they are all there. No
        // refresh changes it.
        database.run("drop index families_by_subject");
        for from in (0..self.families).step_by(AT_ONCE as usize) {
            if began.elapsed() > PATIENCE {
                return false;
            }
            eprintln!("{CASE}: {from} of {} families", self.families);
            database.run(&self.insert(from, (from + AT_ONCE).min(self.families) - 1));
        }
        eprintln!("{CASE}: {} families, in {:.0?}", self.families, began.elapsed());
        database.run("create index families_by_subject on families (subject)");
        database.run("vacuum analyze families");
        database.run("checkpoint");
        self.assert_ids();
        true
    }

    fn insert(&self, from: u64, to: u64) -> String {
        let Self { families, first, .. } = self;
        format!(
            "insert into families
                 (id, generation, rotated_at, attempt, client_id, subject, resources, scopes,
                  authenticated_at, idle, ends_at, user_agent, network)
             select cast(lpad(to_hex(born), 12, '0') || '70008' || lpad(to_hex(n), 15, '0') as uuid),
                    0, born * 1000, 0, '{WEB}', cast(md5(cast(n as text)) as uuid), '{RESOURCE}',
                    'read', born * 1000, cast(14 * 86400 as bigint) * 1000000,
                    (born + cast(90 * 86400 as bigint) * 1000) * 1000, '{USER_AGENT}', '{NETWORK}'
             from (select n, {first} + n * {SPAN} / {families} as born
                   from generate_series(cast({from} as bigint), {to}) as n) as one"
        )
    }

    /// That the last family has the name that we think it has, and a birth in the past.
    fn assert_ids(&self) {
        let last = "select cast(id as text) from families order by id desc limit 1";
        let last: Uuid = self.jeton.database().ask::<String>(last).parse().unwrap();
        assert_eq!(last, name(self.families - 1, self.families, self.first));
        assert!(birth_of(last).is_some_and(|born| born < Clock::system().now()));
    }

    fn subject(&self, label: &'static str) -> Subject<'_> {
        Subject { label, ..self.jeton.subject(|_, _| self.refreshes()) }
    }

    /// Each connection refreshes one of its own families at random. Which generation each has is known
    /// from before: every refresh was answered.
    fn refreshes(&self) -> Source {
        let Self { families, connections, first, .. } = *self;
        let (secrets, live) = (self.secrets.clone(), Arc::clone(&self.live));
        Source::each(move |connection, _| {
            let number = rand::random_range(0..families / connections) * connections;
            let number = number + connection as u64;
            let mut live = live[connection].lock().unwrap();
            let generation = live.entry(number).or_default();
            let request = request(TOKEN, &secrets, name(number, families, first), *generation);
            *generation += 1;
            request
        })
    }
}

/// The name of a family by its number, as the database makes it too: its birth, then its number.
fn name(number: u64, families: u64, first: i64) -> Uuid {
    let born = first.cast_unsigned() + number * SPAN.cast_unsigned() / families;
    // Its version is 7, its variant begins with binary 10.
    Uuid::from_u128(u128::from(born) << 80 | 0x7 << 76 | 0b10 << 62 | u128::from(number))
}
