//! `jeton recover`: after a backup was restored, sign-ins go on that are ahead of the database, and
//! without an operator's word nobody does.

use std::time::Duration;

use jeton::domain::Reason;
use jeton::domain::revocation::MARGIN;
use uuid::Uuid;

use crate::support::database::pooler_setting;
use crate::support::process::jeton;
use crate::support::session::refresh_at;
use crate::support::{Answer, App};

/// A family whose row is so many refreshes behind, and the newest token that its app holds.
async fn behind(app: &App, client: &str, by: u32) -> (Uuid, String) {
    let (_, first) = app.begin(client).await;
    let family = app.read(&first).family;
    (family, app.refresh_token(family, by))
}

async fn ahead(app: &App, answer: &Answer) {
    assert_eq!(answer.error(), (400, "invalid_grant".to_owned()));
    assert!(app.refusals(Reason::RefreshAhead.name()).await >= 1.0);
}

#[track_caller]
fn generation(app: &App, answer: &Answer) -> u32 {
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    app.read(answer.json()["refresh_token"].as_str().unwrap()).generation
}

#[actix_web::test]
async fn without_an_operators_word_a_token_from_a_lost_future_never_changes_a_row() {
    let app = App::with_apps("").await;
    let clients = ["web", "spa", "windowed", "strict"];
    for n in 0..100 {
        let client = clients[n % clients.len()];
        let by = if n < 8 { u32::MAX } else { rand::random_range(2..=u32::MAX) };
        let (family, token) = behind(&app, client, by).await;
        let before = app.family(family).await;
        let more = ["", "&scope=read", "&scope=nothing"][n % 3];
        ahead(&app, &app.refresh(client, &token, more).await).await;
        assert_eq!(app.family(family).await, before, "{client} was {by} ahead");
    }
    assert!(
        app.database.sql("select action from audit_events where action like 'family_%'").is_empty()
    );
    app.stop().await;
}

#[actix_web::test]
async fn while_recovery_is_open_a_family_goes_on_from_wherever_its_app_is_and_it_is_audited() {
    let app = App::with_apps("").await;
    let desk = &app.running.desk;
    for client in ["web", "spa", "windowed", "strict"] {
        let (family, token) = behind(&app, client, 7).await;
        let backup = app.clock.now();
        app.clock.advance(Duration::from_secs(90));
        let now = app.clock.now();
        let dry = desk.recover(backup, now, true).await.unwrap();
        assert!(!dry.done && dry.sessions >= 1);
        ahead(&app, &app.refresh(client, &token, "").await).await;

        desk.recover(now, now, false).await.unwrap();
        // A typo costs nothing here either.
        let typo = app.refresh(client, &token, "&scope=nothing").await;
        assert_eq!(typo.error(), (400, "invalid_scope".to_owned()));
        assert_eq!(app.family(family).await.family.generation, 0);
        let answer = app.refresh(client, &token, "").await;
        assert_eq!(generation(&app, &answer), 8, "{client}");
        // An older token of the time that was lost is as old as it ever was.
        let old = app.refresh(client, &app.refresh_token(family, 4), "").await;
        assert_eq!(old.error(), (400, "invalid_grant".to_owned()));
        assert!(app.family(family).await.family.revoked_at.is_some(), "{client}");

        desk.close_recovery(now).await.unwrap();
        let (_, token) = behind(&app, client, 7).await;
        ahead(&app, &app.refresh(client, &token, "").await).await;
    }
    for (action, count) in [("recovery_opened", 4), ("recovery_closed", 4), ("family_healed", 4)] {
        let sql = format!("select action from audit_events where action = '{action}'");
        assert_eq!(app.database.sql(&sql).len(), count, "{action}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_row_that_was_refreshed_after_the_backup_is_none_of_the_backup() {
    let app = App::with_apps("").await;
    let desk = &app.running.desk;
    let (family, token) = behind(&app, "web", 7).await;
    let (edge, at_the_edge) = behind(&app, "web", 7).await;
    let backup = app.clock.now();
    app.clock.advance(MARGIN);
    for id in [edge, family] {
        let first = app.refresh_token(id, 0);
        assert_eq!(generation(&app, &app.refresh("web", &first, "").await), 1);
        app.clock.advance(Duration::from_micros(1));
    }
    desk.recover(backup, app.clock.now(), false).await.unwrap();
    let before = app.family(family).await;
    ahead(&app, &app.refresh("web", &token, "").await).await;
    assert_eq!(app.family(family).await, before);
    assert_eq!(generation(&app, &app.refresh("web", &at_the_edge, "").await), 8);
    app.stop().await;
}

#[actix_web::test]
async fn recovery_brings_no_dead_family_back_and_no_strangers_in() {
    let app = App::with_apps("").await;
    let desk = &app.running.desk;
    let (family, token) = behind(&app, "web", 7).await;
    desk.recover(app.clock.now(), app.clock.now(), false).await.unwrap();
    let stranger = app.refresh("other-web", &token, "").await;
    assert_eq!(stranger.error(), (400, "invalid_grant".to_owned()));
    let last = app.refresh("web", &app.refresh_token(family, u32::MAX), "").await;
    ahead(&app, &last).await;
    let gone = app.revoke("web", &app.refresh_token(family, 3)).await;
    assert_eq!(gone.status, 200);
    let ended = app.refresh("web", &token, "").await;
    assert_eq!(ended.error(), (400, "invalid_grant".to_owned()));
    assert_eq!(app.family(family).await.family.generation, 0);
    app.stop().await;
}

#[actix_web::test]
async fn of_many_who_are_ahead_at_once_all_get_the_one_successor_of_the_furthest() {
    for batching in [false, true] {
        let app = App::with_apps(&format!("[refresh]\nbatching = {batching}\n")).await;
        let now = app.clock.now();
        app.running.desk.recover(now, now, false).await.unwrap();
        let (family, token) = behind(&app, "web", 7).await;
        let address = app.public();
        let all = (0..32).map(|_| refresh_at(&address, "web", &token, ""));
        for answer in futures_util::future::join_all(all).await {
            assert_eq!(generation(&app, &answer), 8);
        }
        assert_eq!(app.family(family).await.family.generation, 8);
        app.stop().await;
    }
}

#[actix_web::test]
async fn the_command_opens_and_closes_and_says_what_it_concerns() {
    let app = App::with_apps("").await;
    behind(&app, "web", 7).await;
    let database = app.stop().await;
    let secrets = database.directory.path().join("root-secrets").display().to_string();
    let environment = [
        ("JETON__DATABASE__URL", database.url.as_str()),
        ("JETON__DATABASE__POOLER", pooler_setting()),
        ("JETON__SECRETS__FILE", &secrets),
    ];
    let run = |args: &[&str]| {
        let done = jeton(&[&["recover"], args].concat(), &environment);
        let text = [done.stdout, done.stderr].concat();
        (done.status.success(), String::from_utf8(text).unwrap())
    };
    let stored = || database.sql("select cast(lost_since as text) from instance").pop().unwrap();
    let at = "2026-01-01T00:00:00Z";
    let (done, said) = run(&["--lost-since", at, "--dry-run"]);
    // That one has been idle for too long since.
    assert!(done && said.contains("would let 0 sessions go on"), "{said}");
    assert_eq!(stored(), "");
    let (done, said) = run(&["--lost-since", at]);
    assert!(done && said.contains("jeton recover --close"), "{said}");
    assert_eq!(stored(), crate::support::app::START.micros().to_string());
    let (done, said) = run(&["--close"]);
    assert!(done && said.contains("closed"), "{said}");
    assert_eq!(stored(), "");
    for wrong in [&["--close"][..], &[], &["--lost-since", "2999-01-01T00:00:00Z"]] {
        assert!(!run(wrong).0, "{wrong:?}");
    }
}
