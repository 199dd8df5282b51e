//! When the rows of families go: a week after their end, a few at a time; and those of living families
//! never, since the row is all that tells a stolen token from a good one.

use std::time::Duration;

use futures_util::future::join_all;
use jeton::clock::Clock;
use jeton::domain::family::RETENTION;
use jeton::domain::{Reason, Time};
use jeton::store::{Db, audit, families};
use uuid::Uuid;

use crate::support::app::{self, START};
use crate::support::session::{ABSOLUTE, APPS, IDLE, random_id, signed_in};
use crate::support::{Answer, App, FIXTURES};

const DAY: Duration = Duration::from_secs(86_400);
const INSTANT: Duration = Duration::from_micros(1);

/// The server is started anew at a later time: the first beat of a server looks for what can go, and
/// then each thirtieth.
async fn anew(app: App, at: Time) -> App {
    let settings = format!("issuer = \"{}\"\n", app.running.issuer.as_str());
    let (clock, database) = (Clock::manual(at), app.stop().await);
    let fixtures = format!("{FIXTURES}{APPS}");
    let running = app::start(&database, &settings, &fixtures, &clock).await.unwrap();
    let app = App { running, clock, database };
    app.beat().await;
    app
}

async fn is_there(app: &App, family: Uuid) -> bool {
    families::get(&app.running.desk.db, family).await.unwrap().is_some()
}

fn next(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    answer.json()["refresh_token"].as_str().unwrap().to_owned()
}

#[actix_web::test]
async fn what_was_revoked_or_came_to_its_end_leaves_a_week_later_and_not_a_moment_before() {
    let app = App::with_apps("").await;
    let (_, revoked) = app.begin("web").await;
    let (_, spent) = app.begin("web").await;
    let [revoked_id, spent_id] = [&revoked, &spent].map(|token| app.read(token).family);
    let app = anew(app, START + DAY).await;
    assert_eq!(app.revoke("web", &revoked).await.status, 200);
    let app = anew(app, START + DAY + RETENTION).await;
    assert!(is_there(&app, revoked_id).await, "a week after it was revoked");
    let app = anew(app, START + DAY + RETENTION + INSTANT).await;
    assert!(!is_there(&app, revoked_id).await, "and a moment later");
    assert!(is_there(&app, spent_id).await);
    // Used until its end: it is not idleness that ends it.
    let lately = (START + ABSOLUTE).micros() - 1;
    app.database.change(&format!("update families set rotated_at = {lately}")).await;
    let app = anew(app, START + ABSOLUTE + RETENTION).await;
    assert!(is_there(&app, spent_id).await, "a week after its end");
    let app = anew(app, START + ABSOLUTE + RETENTION + INSTANT).await;
    assert!(!is_there(&app, spent_id).await, "and a moment later");
    app.stop().await;
}

#[actix_web::test]
async fn what_fell_idle_leaves_a_week_later_however_far_its_last_day_is() {
    let app = App::with_apps("").await;
    let (_, abandoned) = app.begin("web").await;
    let (_, used) = app.begin("web").await;
    let [abandoned_id, used_id] = [&abandoned, &used].map(|token| app.read(token).family);
    let app = anew(app, START + IDLE.checked_sub(INSTANT).unwrap()).await;
    let used = next(&app.refresh("web", &used, "").await);
    let app = anew(app, START + IDLE + RETENTION).await;
    assert!(is_there(&app, abandoned_id).await, "a week after it fell idle");
    // It was asked about in that week, which does not make it younger.
    let answer = app.refresh("web", &abandoned, "").await;
    assert_eq!(answer.error(), (400, "invalid_grant".into()));
    let app = anew(app, START + IDLE + RETENTION + INSTANT).await;
    assert!(!is_there(&app, abandoned_id).await, "and a moment later");
    assert!(is_there(&app, used_id).await, "another of the same age was used");
    let answer = app.refresh("web", &abandoned, "").await;
    assert_eq!(answer.error(), (400, "invalid_grant".into()));
    assert_eq!(app.refusals(Reason::RefreshFamilyLost.name()).await, 0.0, "nothing was lost");
    assert!(app.refusals(Reason::RefreshFamilyUnknown.name()).await > 0.0);
    drop(used);
    app.stop().await;
}

#[actix_web::test]
async fn a_living_family_stays_for_all_its_life_and_a_token_of_its_first_day_still_ends_it() {
    let mut app = App::with_apps("").await;
    let (_, first) = app.begin("web").await;
    let family = app.read(&first).family;
    let (mut live, mut now) = (first.clone(), START);
    // As rarely as can be: each time almost all of what it may lie idle has passed.
    while now + IDLE < START + ABSOLUTE {
        now = now + IDLE.checked_sub(INSTANT).unwrap();
        app = anew(app, now).await;
        assert!(is_there(&app, family).await);
        live = next(&app.refresh("web", &live, "").await);
    }
    assert_eq!(app.read(&live).generation, 6);
    let stolen = app.refresh("web", &first, "").await;
    assert_eq!(stolen.error(), (400, "invalid_grant".into()));
    assert_eq!(app.refusals(Reason::RefreshReused.name()).await, 1.0);
    let honest = app.refresh("web", &live, "").await;
    assert_eq!(honest.error(), (400, "invalid_grant".into()), "it is over for both");
    // What tells that stays for its week.
    let app = anew(app, now + RETENTION).await;
    let ended = families::get(&app.running.desk.db, family).await.unwrap().unwrap();
    assert_eq!(ended.ended_by.as_deref(), Some(Reason::RefreshReused.name()));
    let app = anew(app, now + RETENTION + INSTANT).await;
    assert!(!is_there(&app, family).await);
    app.stop().await;
}

/// Families as people leave them: one after the other, some of them ended.
async fn begin(db: &Db, count: usize, ended_at: Option<Time>) -> Vec<Uuid> {
    let begun = |_| {
        let mut stored = signed_in("web", random_id(), audit::row_id(START), START);
        stored.family.ends_at = ended_at.unwrap_or(stored.family.ends_at);
        stored.family.revoked_at = ended_at;
        stored
    };
    let all: Vec<_> = (0..count).map(begun).collect();
    let add = db.write(async |tx| {
        for stored in &all {
            families::add(tx, stored).await?;
        }
        Ok(())
    });
    add.await.unwrap();
    all.iter().map(|stored| stored.family.id).collect()
}

#[actix_web::test]
async fn a_sweep_takes_a_few_of_those_that_ended_first_and_no_sweep_takes_more_at_once() {
    let app = App::with_apps("").await;
    let db = &app.running.desk.db;
    let (early, late) = (START + DAY, START + DAY + INSTANT);
    let first = begin(db, 600, Some(early)).await;
    let second = begin(db, 600, Some(late)).await;
    let living = begin(db, 20, None).await;
    let left = async |ids: &[Uuid]| {
        let all = join_all(ids.iter().map(|id| families::get(db, *id))).await;
        all.into_iter().filter(|one| one.as_ref().unwrap().is_some()).count()
    };
    assert_eq!(families::sweep(db, early).await.unwrap(), 0, "not at their end");
    assert_eq!(families::sweep(db, late).await.unwrap(), 500);
    assert_eq!((left(&first).await, left(&second).await), (100, 600));
    assert_eq!(families::sweep(db, late).await.unwrap(), 100);
    assert_eq!(families::sweep(db, late).await.unwrap(), 0);
    assert_eq!(families::sweep(db, late + INSTANT).await.unwrap(), 500);
    assert_eq!(families::sweep(db, late + INSTANT).await.unwrap(), 100);
    assert_eq!((left(&first).await, left(&second).await), (0, 0));
    assert_eq!(left(&living).await, 20);
    app.stop().await;
}

#[actix_web::test]
async fn those_that_fell_idle_are_looked_for_a_page_at_a_time_from_the_eldest_on() {
    let app = App::with_apps("").await;
    let db = &app.running.desk.db;
    let all = begin(db, 1_200, None).await;
    let lately = (START + DAY).micros();
    app.database.change(&format!("update families set rotated_at = {lately}")).await;
    let abandoned = [all[0], all[499], all[500], all[1_199]];
    for id in abandoned {
        let id = crate::support::people::literal(&app.database, id);
        let back = format!("update families set rotated_at = {} where id = {id}", START.micros());
        app.database.change(&back).await;
    }
    let over = START + IDLE;
    let sweep = async |after, ended_before| {
        let page = families::sweep_idle(db, after, ended_before).await.unwrap();
        (page.swept, page.next)
    };
    assert_eq!(sweep(Uuid::nil(), over).await.0, 0, "not at their end");
    let mut after = Uuid::nil();
    let mut swept = Vec::new();
    loop {
        let (rows, next) = sweep(after, over + INSTANT).await;
        swept.push(rows);
        let Some(next) = next else { break };
        assert!(next > after);
        after = next;
    }
    assert_eq!(swept.iter().sum::<u64>(), 4);
    assert_eq!(swept.len(), 3, "1,200 rows are three pages: {swept:?}");
    let left = app.database.sql("select count(*) from families");
    assert_eq!(left, ["1196"]);
    // Who signed in after that is not even looked at.
    let young = families::sweep_idle(db, Uuid::nil(), START).await.unwrap();
    assert_eq!((young.swept, young.next), (0, None));
    app.stop().await;
}
