//! The operations listener: health for whoever restarts and routes, and metrics.

use crate::support::refused::{GRANT, assert_refused};
use crate::support::{Answer, App, http};

const HEALTH: [&str; 3] = ["/healthz/startup", "/healthz/live", "/healthz/ready"];

async fn look(app: &App, path: &str) -> Answer {
    http::send(&app.operations(), "GET", path, &[], b"").await
}

#[actix_web::test]
async fn a_server_that_has_started_is_live_and_ready() {
    let app = App::start().await;
    for path in HEALTH {
        let answer = look(&app, path).await;
        assert_eq!((answer.status, &answer.json()["status"]), (200, &"ok".into()), "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        let head = http::send(&app.operations(), "HEAD", path, &[], b"").await;
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn draining_turns_readiness_red_and_nothing_else() {
    let app = App::start().await;
    app.running.health.drain();
    let statuses =
        [look(&app, HEALTH[0]).await, look(&app, HEALTH[1]).await, look(&app, HEALTH[2]).await];
    assert_eq!(statuses.map(|answer| answer.status), [200, 200, 503]);
    assert_eq!(app.token("app", GRANT).await.status, 200);
    app.stop().await;
}

#[actix_web::test]
async fn without_its_database_the_server_stays_ready_and_goes_on_serving() {
    let app = App::start().await;
    app.running.desk.db.close().await;
    app.beat().await;
    for path in HEALTH {
        assert_eq!(look(&app, path).await.status, 200, "{path}");
    }
    assert_eq!(app.get("/.well-known/jwks.json").await.status, 200);
    assert_eq!(app.token("app", GRANT).await.status, 200);
    assert!(app.metrics().await.contains("jeton_db_up 0"));
    app.stop().await;
}

#[actix_web::test]
async fn each_listener_answers_only_its_own_paths() {
    let app = App::start().await;
    for path in ["/healthz/startup", "/healthz/live", "/healthz/ready", "/metrics"] {
        assert_refused(&app.get(path).await, 404, "not_found");
    }
    for path in ["/.well-known/jwks.json", "/oauth2/token", "/.well-known/openid-configuration"] {
        assert_refused(&look(&app, path).await, 404, "not_found");
    }
    app.stop().await;
}

#[actix_web::test]
async fn metrics_count_what_happened_and_never_what_a_caller_named() {
    let app = App::start().await;
    for _ in 0..3 {
        app.token("app", GRANT).await;
    }
    app.token("made-up-name", GRANT).await;
    app.get("/made-up-path").await;
    http::send(&app.public(), "BREW", "/oauth2/token", &[], b"").await;
    let answer = look(&app, "/metrics").await;
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4");
    assert_eq!(answer.header("cache-control"), "no-store");
    let text = String::from_utf8(answer.body).unwrap();
    let granted = text.lines().find(|line| {
        line.starts_with("jeton_token_requests_total{grant_type=\"client_credentials\"")
            && line.contains("granted")
    });
    assert!(granted.is_some_and(|line| line.ends_with(" 3")), "{text}");
    assert!(!text.contains("made-up") && !text.contains("BREW") && !text.contains("\"app\""));
    assert_eq!(app.refusals("client_unknown").await, 1.0);
    app.stop().await;
}

#[actix_web::test]
async fn a_thread_that_has_not_turned_for_ten_seconds_is_stuck_and_only_liveness_says_so() {
    let app = App::start().await;
    // Every pulse is now eleven seconds old, as if all threads had hung; a second later they beat.
    app.clock.advance(std::time::Duration::from_secs(11));
    assert_eq!(look(&app, "/healthz/live").await.status, 503);
    assert_eq!(look(&app, "/healthz/ready").await.status, 200);
    app.beat().await;
    assert_eq!(look(&app, "/healthz/live").await.status, 200);
    app.stop().await;
}
