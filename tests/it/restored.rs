//! Revocations that the database had and has lost: they come back into the outbox and into the rows,
//! before any family goes on from what the database remembers of it.

use std::time::Duration;

use jeton::domain::{Family, Revocation, Target, Time};
use jeton::manage::revoke::What;
use jeton::store::{Fault, revocations};
use uuid::Uuid;

use crate::support::App;

/// The database loses its outbox and whatever else the SQL says.
async fn lose(app: &App, sql: &[&str]) {
    for one in sql {
        app.database.change(one).await;
    }
    app.database.change("delete from revocations").await;
    app.database.change("update revocation_head set v = 0").await;
}

const ROWS: &str = "update families set revoked_at = null, ended_by = null, suspended_at = null,
                    ends_at = authenticated_at + 7776000000000";

/// Somebody is signed in and has refreshed: the subject, the newest token, and the family.
async fn signed_in(app: &App, client: &str) -> (Uuid, String, Uuid) {
    let (subject, first) = app.begin(client).await;
    let answer = app.refresh(client, &first, "").await;
    assert_eq!(answer.status, 200);
    let token = answer.json()["refresh_token"].as_str().unwrap().to_owned();
    let family = app.read(&token).family;
    (subject, token, family)
}

async fn ended_by(app: &App, family: Uuid) -> (Family, Option<String>) {
    let stored = app.family(family).await;
    (stored.family, stored.ended_by)
}

#[actix_web::test]
async fn a_family_whose_end_the_database_lost_is_ended_again_in_its_row() {
    let app = App::with_apps("").await;
    let (_, token, ended) = signed_in(&app, "web").await;
    let (_, _, other) = signed_in(&app, "web").await;
    assert_eq!(app.revoke("web", &token).await.status, 200);
    app.beat().await;
    lose(&app, &[ROWS]).await;
    app.beat().await;
    assert_eq!(ended_by(&app, ended).await.1.as_deref(), Some("revocation_restored"));
    assert_eq!(ended_by(&app, other).await.1, None, "what nobody ended stays");
    let sessions = "select cast(detail as text) from audit_events
                    where action = 'revocations_restored'";
    let detail = app.database.sql(sessions);
    let detail: serde_json::Value = serde_json::from_str(&detail[0]).unwrap();
    assert_eq!((&detail["acts"], &detail["sessions"]), (&1.into(), &1.into()));
    app.stop().await;
}

#[actix_web::test]
async fn a_person_of_whom_all_was_taken_back_in_what_was_lost_is_signed_out_in_every_row() {
    let app = App::with_apps("").await;
    let (subject, token, old) = signed_in(&app, "web").await;
    let (_, _, other) = signed_in(&app, "web").await;
    let before = app.clock.now() + Duration::from_secs(1);
    app.clock.advance(Duration::from_secs(2));
    let younger = jeton::store::audit::row_id(app.clock.now());
    let stored = crate::support::session::signed_in("web", subject, younger, app.clock.now());
    let db = &app.running.desk.db;
    let act = Revocation {
        target: Target::Subject(subject.to_string()),
        issued_before: before,
        expires_at: app.clock.now() + Duration::from_secs(3600),
    };
    db.write(async |tx| {
        jeton::store::families::add(tx, &stored).await?;
        revocations::append(tx, std::slice::from_ref(&act)).await
    })
    .await
    .unwrap();
    app.beat().await;
    lose(&app, &[]).await;
    let first = app.refresh("web", &token, "").await;
    assert_eq!(first.error(), (400, "invalid_grant".to_owned()), "before the rows have it again");
    app.beat().await;
    assert_eq!(ended_by(&app, old).await.1.as_deref(), Some("revocation_restored"));
    for kept in [other, younger] {
        assert_eq!(ended_by(&app, kept).await.1, None);
    }
    let user = jeton::store::users::get(db, subject).await.unwrap().unwrap().user;
    assert_eq!(user.valid_from, before);
    let answer = app.refresh("web", &token, "").await;
    assert_eq!(answer.error(), (400, "invalid_grant".to_owned()));
    app.stop().await;
}

#[actix_web::test]
async fn what_was_taken_back_from_a_client_or_from_all_outlives_the_outbox_again() {
    let column = |app: &App, table: &str, id: &str| -> String {
        let sql = format!("select cast(valid_from as text) from {table} where id = {id}");
        app.database.sql(&sql).pop().unwrap()
    };
    let app = App::with_apps("").await;
    let now: Time = app.clock.now();
    let desk = &app.running.desk;
    desk.revoke(&What::Client("spa".to_owned()), None, now, false).await.unwrap();
    desk.revoke(&What::Everything, None, now, false).await.unwrap();
    app.beat().await;
    let lost = ["update clients set valid_from = null", "update instance set valid_from = null"];
    lose(&app, &lost).await;
    app.beat().await;
    for (table, id) in [("clients", "'spa'"), ("instance", "1")] {
        assert_eq!(column(&app, table, id), now.micros().to_string(), "{table}");
    }
    assert_eq!(column(&app, "clients", "'web'"), "");
    app.stop().await;
}

#[actix_web::test]
async fn no_family_heals_while_the_rows_lack_a_revocation_that_is_known() {
    let app = App::with_apps("").await;
    let (subject, token, family) = signed_in(&app, "web").await;
    let act = Revocation {
        target: Target::Subject(subject.to_string()),
        issued_before: app.clock.now() + Duration::from_secs(1),
        expires_at: app.clock.now() + Duration::from_secs(3600),
    };
    let db = &app.running.desk.db;
    db.write(async |tx| revocations::append(tx, std::slice::from_ref(&act)).await).await.unwrap();
    app.beat().await;
    // Each attempt to write them again fails for a while.
    db.inject([Fault::CutBeforeCommit; 3]);
    lose(&app, &["update families set generation = 0"]).await;
    let mut waited = 0;
    let last = loop {
        let answer = app.refresh("web", &token, "").await;
        if answer.status != 503 {
            break answer;
        }
        waited += 1;
        assert!(waited < 100);
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(waited > 0);
    assert_eq!(last.error(), (400, "invalid_grant".to_owned()));
    assert_eq!(app.family(family).await.family.generation, 0);
    assert!(
        app.database
            .sql("select action from audit_events where action = 'family_healed'")
            .is_empty()
    );
    app.stop().await;
}
