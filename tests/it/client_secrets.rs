//! The life of a client's secret: two at once, when it was last used, and who guesses at it.

use std::time::Duration;

use crate::support::App;
use crate::support::refused::{GRANT, assert_refused, form};
use crate::support::{SECRET, basic};

const DAY: u64 = 24 * 3600;

async fn rotate(app: &App) -> String {
    let rotated = app.running.desk.rotate_secret("app", app.clock.now()).await.unwrap();
    app.beat().await;
    rotated.client_secret.unwrap().expose().to_owned()
}

async fn works(app: &App, secret: &str) -> bool {
    let answer = app.token_with("app", secret, GRANT).await;
    if answer.status != 200 {
        assert_refused(&answer, 401, "invalid_client");
    }
    answer.status == 200
}

fn runs(app: &App, column: &str) -> Vec<String> {
    let query = "from audit_events where action = 'client_auth_failed_run' order by at, client_id";
    app.database.sql(&format!("select {column} {query}"))
}

#[actix_web::test]
async fn after_a_rotation_both_secrets_work_for_a_day_and_then_only_the_new_one() {
    let app = App::start().await;
    let new = rotate(&app).await;
    assert_ne!(new, SECRET);
    assert!(works(&app, SECRET).await && works(&app, &new).await);
    app.advance(Duration::from_secs(DAY - 1)).await;
    assert!(works(&app, SECRET).await && works(&app, &new).await);
    app.clock.advance(Duration::from_secs(1));
    assert!(!works(&app, SECRET).await && works(&app, &new).await);
    app.stop().await;
}

#[actix_web::test]
async fn a_second_rotation_within_the_day_ends_the_oldest_secret_once_its_successor_is_in_use() {
    let app = App::start().await;
    app.clock.advance(Duration::from_secs(1));
    let second = rotate(&app).await;
    assert!(works(&app, &second).await);
    app.beat().await;
    app.clock.advance(Duration::from_secs(1));
    let third = rotate(&app).await;
    assert!(!works(&app, SECRET).await);
    assert!(works(&app, &second).await && works(&app, &third).await);
    app.advance(Duration::from_secs(DAY)).await;
    assert!(!works(&app, &second).await && works(&app, &third).await);
    app.stop().await;
}

#[actix_web::test]
async fn a_secret_of_one_client_is_worthless_under_the_name_of_another() {
    let app = App::start().await;
    let new = rotate(&app).await;
    assert_refused(&app.token_with("both", &new, GRANT).await, 401, "invalid_client");
    // Nor does it help to move the row: the name is part of what is stored.
    app.database.change("delete from client_secrets where client_id = 'both'").await;
    app.database
        .change("update client_secrets set client_id = 'both' where client_id = 'app'")
        .await;
    app.database.change("update versions set stamp = stamp + 1 where part = 'directory'").await;
    app.beat().await;
    for secret in [new.as_str(), SECRET] {
        assert_refused(&app.token_with("both", secret, GRANT).await, 401, "invalid_client");
    }
    app.stop().await;
}

#[actix_web::test]
async fn the_last_use_of_a_secret_is_noted_once_a_minute() {
    let app = App::start().await;
    let used =
        || app.database.sql("select last_used_at from client_secrets where client_id = 'app'");
    assert_eq!(used(), [""]);
    app.token_with("app", "wrong-wrong-wrong", GRANT).await;
    app.beat().await;
    assert_eq!(used(), [""], "a wrong secret is no use of the right one");

    let first = app.clock.now().micros().to_string();
    app.token("app", GRANT).await;
    app.beat().await;
    assert_eq!(used(), [first.as_str()]);
    app.clock.advance(Duration::from_secs(59));
    app.token("app", GRANT).await;
    app.beat().await;
    assert_eq!(used(), [first.as_str()], "not within the same minute");

    app.clock.advance(Duration::from_secs(1));
    let second = app.clock.now().micros().to_string();
    app.token("app", GRANT).await;
    app.beat().await;
    assert_eq!(used(), [second]);
    app.stop().await;
}

#[actix_web::test]
async fn the_last_uses_are_written_when_the_server_stops() {
    let app = App::start().await;
    let now = app.clock.now().micros().to_string();
    app.token("app", GRANT).await;
    let database = app.stop().await;
    let used = database.sql("select last_used_at from client_secrets where client_id = 'app'");
    assert_eq!(used, [now]);
}

#[actix_web::test]
async fn a_run_of_five_failures_leaves_exactly_one_audit_row() {
    let app = App::start().await;
    for _ in 0..4 {
        app.token_with("app", "wrong", GRANT).await;
    }
    app.beat().await;
    assert!(runs(&app, "action").is_empty(), "four failures are no run");
    let fifth = app.token_with("app", "wrong-wrong-wrong", GRANT).await;
    for _ in 0..20 {
        app.token_with("app", "wrong-wrong-wrong", GRANT).await;
    }
    app.beat().await;
    assert_eq!(runs(&app, "client_id"), ["app"]);
    assert_eq!(runs(&app, "request_id"), [fifth.header("x-request-id")]);
    assert_eq!(runs(&app, "at"), [app.clock.now().micros().to_string()]);

    app.advance(Duration::from_secs(61)).await;
    for _ in 0..5 {
        app.token_with("app", "wrong-wrong-wrong", GRANT).await;
    }
    app.beat().await;
    assert_eq!(runs(&app, "client_id"), ["app", "app"], "a new minute, a new run");
    app.stop().await;
}

#[actix_web::test]
async fn failures_under_made_up_names_are_one_run_that_names_nobody() {
    let app = App::start().await;
    for number in 0..10 {
        app.token_with(&format!("nobody-{number}"), SECRET, GRANT).await;
    }
    app.beat().await;
    assert_eq!(runs(&app, "client_id"), [""]);
    let text = app.database.sql("select detail from audit_events").join("\n");
    assert!(!text.contains("nobody"), "{text}");
    app.stop().await;
}

#[actix_web::test]
async fn success_and_mistakes_of_other_kinds_are_no_failed_authentication() {
    let app = App::start().await;
    for _ in 0..10 {
        app.token("app", GRANT).await;
        app.token("app", "grant_type=foo").await;
        app.token("app", &format!("{GRANT}&scope=nonsense")).await;
        form(&app, &format!("{GRANT}&client_id=%00")).await;
        let both = [("authorization", &*basic("app", "wrong")), ("content-type", "text/plain")];
        crate::support::refused::post(&app, &both, b"").await;
    }
    app.beat().await;
    assert!(runs(&app, "action").is_empty());
    app.stop().await;
}

#[actix_web::test]
async fn no_secret_is_stored_in_the_clear() {
    let app = App::start().await;
    let new = rotate(&app).await;
    let hex = if app.database.is_postgres() { "encode(digest, 'hex')" } else { "hex(digest)" };
    let digests = app.database.sql(&format!("select {hex} from client_secrets"));
    assert!(digests.iter().all(|digest| digest.len() == 64), "{digests:?}");
    for column in ["hint", hex] {
        let stored = app.database.sql(&format!("select {column} from client_secrets")).join("\n");
        assert!(!stored.contains(SECRET) && !stored.contains(&new), "{stored}");
    }
    let audited = app.database.sql("select detail from audit_events").join("\n");
    assert!(!audited.contains(SECRET) && !audited.contains(&new), "{audited}");
    app.stop().await;
}
