//! What a family costs on disk: a refresh changes its row in place and no index, and the row stays as
//! small as it began.

use std::time::Duration;

use jeton::domain::ClientId;
use jeton::store::advance::{self, Advance};
use jeton::store::families;
use jeton::store::{Db, audit};
use rand::seq::SliceRandom;
use uuid::Uuid;

use crate::support::session::{random_id, signed_in};
use crate::support::{App, database};

const FAMILIES: usize = 1_000;
const FEW: usize = 100;
const ROUNDS: u32 = 30;

/// Families as sign-ins leave them, with what a browser calls itself.
async fn begin(app: &App, count: usize) -> Vec<Uuid> {
    let now = app.clock.now();
    let all: Vec<Uuid> = (0..count).map(|_| audit::row_id(now)).collect();
    let begin = app.running.desk.db.write(async |tx| {
        for id in &all {
            let mut stored = signed_in("spa", random_id(), *id, now);
            stored.user_agent = Some("M".repeat(100));
            stored.network = Some("203.0.113.0/24".to_owned());
            families::add(tx, &stored).await?;
        }
        Ok(())
    });
    begin.await.unwrap();
    all
}

async fn refresh(app: &App, db: &Db, all: &[Uuid], from: u32) {
    let step = |id: &Uuid| Advance {
        id: *id,
        from,
        to: from + 1,
        now: app.clock.now(),
        attempt: rand::random(),
        client: ClientId::parse("spa").unwrap(),
        key_thumbprint: None,
    };
    // Those who refresh at the same moment did not sign in at the same moment.
    let mut all = all.to_vec();
    all.shuffle(&mut rand::rng());
    for some in all.chunks(64) {
        let steps: Vec<_> = some.iter().map(step).collect();
        // As the server does, which has lanes unless a pooler is in the way.
        let taken = match db.lanes().first() {
            Some(lane) => advance::together_on(lane, &steps).await.unwrap(),
            None => advance::together(db, &steps).await.unwrap(),
        };
        assert!(taken.iter().all(|taken| matches!(taken, Ok(Some(_)))), "{taken:?}");
    }
}

#[actix_web::test]
async fn a_refresh_touches_no_index_and_a_family_stays_small() {
    if database::server().is_none() {
        // Only Postgres makes a new version of a row for each change of it.
        println!("on SQLite a row is changed where it lies");
        return;
    }
    let app = App::with_apps("").await;
    let db = &app.running.desk.db;
    // What the planner settles on while a table is small it keeps when the table has grown.
    let first = begin(&app, FEW).await;
    for from in 0..ROUNDS {
        refresh(&app, db, &first, from).await;
    }
    let all = begin(&app, FAMILIES).await;
    for from in 0..ROUNDS {
        refresh(&app, db, &all, from).await;
    }
    // Sessions tell the statistics a second after their last transaction.
    let sum = "select concat(n_tup_upd, ' ', n_tup_hot_upd) from pg_stat_user_tables
               where relname = 'families'";
    let expected = (FEW + FAMILIES) as u64 * u64::from(ROUNDS);
    let mut counted = (0, 0);
    for _ in 0..100 {
        let text = app.database.sql(sum).remove(0);
        let (updates, hot) = text.split_once(' ').unwrap();
        counted = (updates.parse().unwrap(), hot.parse().unwrap());
        if counted.0 >= expected {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (updates, hot) = counted;
    assert_eq!(updates, expected);
    // All of them, on a calm machine. Where a page's old rows are still in somebody's sight, its new
    // ones find no room; with an index on what changes it would be none.
    assert!(hot * 2 >= updates, "{hot} of {updates} without an index");

    // Nobody has counted the table for the planner: it must not look for all rows of the client.
    let others = "select cast(coalesce(sum(idx_tup_read), 0) as text) from pg_stat_user_indexes
                  where relname = 'families' and indexrelname <> 'families_pkey'";
    assert_eq!(app.database.sql(others), ["0"], "rows were looked for by another index");

    let average =
        "select cast(cast(avg(pg_column_size(families.*)) as bigint) as text) from families";
    let bytes: u64 = app.database.sql(average).remove(0).parse().unwrap();
    assert!(bytes <= 400, "{bytes} bytes in a row");
    // Postgres counts when it analyses, so the gauge is about right and never costs a scan.
    app.database.sql("analyze families");
    let stored = jeton::store::native::storage(db).await.unwrap();
    assert_eq!(stored.families, i64::try_from(FEW + FAMILIES).unwrap());
    assert!(app.metrics().await.contains("jeton_families_bytes"));
    println!("{hot} of {updates} changes touched no index; a row has {bytes} bytes");
    app.stop().await;
}
