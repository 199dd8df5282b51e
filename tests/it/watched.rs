//! What `/metrics` shows, and that nobody outside decides how much of it there is.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::refused::GRANT;
use crate::support::{App, http};

/// Every series of a scrape, without its value.
fn series(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect()
}

/// The value of a series that is there.
async fn value(app: &App, name: &str) -> f64 {
    let text = app.metrics().await;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

/// Waits until a series has a value, for a few seconds.
async fn becomes(app: &App, name: &str, wanted: f64) {
    for _ in 0..100 {
        if value(app, name).await == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{name} is {} and not {wanted}", value(app, name).await);
}

/// Everything that a caller can choose, chosen at random.
async fn hostile(app: &App) {
    let jwt = app.access_token("app", "scope=read").await;
    let (_, body) = jwt.split_once('.').unwrap();
    for number in 0..40 {
        let word = format!("w{:x}", rand::random::<u64>());
        let (path, token) = (format!("/{word}/{number}"), format!("{word}.{body}"));
        for method in ["GET", "POST", "BREW", word.as_str()] {
            http::send(&app.public(), method, &path, &[("x-forwarded-for", &word)], b"").await;
            http::send(&app.public(), method, "/oauth2/token", &[], word.as_bytes()).await;
            http::send(&app.operations(), method, &path, &[], b"").await;
        }
        app.token(&word, GRANT).await;
        app.token("app", &format!("grant_type={word}")).await;
        app.token("app", &format!("{GRANT}&scope={word}&resource=https://{word}/")).await;
        app.token("public", &format!("grant_type=refresh_token&refresh_token={word}")).await;
        app.introspect("rs", &token).await;
        app.revoke("app", &token).await;
        app.get(&format!("/oauth2/authorize?client_id={word}&state={word}")).await;
        app.get(&format!("/.well-known/jwks.json?{word}={word}")).await;
    }
}

#[actix_web::test]
async fn the_number_of_series_does_not_grow_with_what_callers_send() {
    // Without limits the same things happen in the first round and in the second.
    let off = ["network", "client", "failures", "failures_per_client"];
    let off = off.map(|budget| format!("limits.{budget} = \"off\"\n")).concat();
    let app = App::with(&off).await;
    hostile(&app).await;
    let before = series(&app.metrics().await);
    hostile(&app).await;
    let after = series(&app.metrics().await);
    let new: Vec<_> = after.difference(&before).collect();
    assert!(new.is_empty(), "{} more, such as {:?}", new.len(), new[0]);
    assert!(after.len() < 2_000, "{} series", after.len());
    app.stop().await;
}

#[actix_web::test]
async fn what_alerts_ask_for_is_there_before_it_has_happened() {
    let app = App::start().await;
    for name in [
        r#"jeton_token_requests_total{grant_type="client_credentials",outcome="granted",reason=""}"#,
        r#"jeton_token_requests_total{grant_type="",outcome="refused",reason="client_auth_failed"}"#,
        r#"jeton_token_requests_total{grant_type="",outcome="refused",reason="database_unavailable"}"#,
        r#"jeton_token_requests_total{grant_type="refresh_token",outcome="refused",reason="refresh_reused"}"#,
        r#"jeton_token_requests_total{grant_type="authorization_code",outcome="refused",reason="code_used"}"#,
        r#"jeton_authorizations_total{outcome="refused",reason="overloaded"}"#,
        r#"jeton_introspections_total{outcome="refused",reason="mirror_stale"}"#,
        r#"jeton_introspections_total{outcome="inactive",reason="token_expired"}"#,
        r#"jeton_refreshes_total{how="healed"}"#,
        r#"jeton_rate_limited_total{budget="network",endpoint="authorize"}"#,
        r#"jeton_apply_file_total{outcome="failed"}"#,
        r#"jeton_key_rotation_errors_total{class="unavailable"}"#,
        r#"jeton_db_errors_total{class="corrupt"}"#,
        r#"jeton_swept_rows_total{table="families"}"#,
        "jeton_notes_dropped_total",
        "jeton_poll_failures_total",
        "jeton_revocations_owed",
    ] {
        assert_eq!(value(&app, name).await, 0.0, "{name}");
    }
    for (name, wanted) in [
        ("jeton_db_up", 1.0),
        ("jeton_database_url_file_usable", 1.0),
        ("jeton_listener_answers", 1.0),
        // The server's own look at its listener may be under way.
        ("jeton_http_requests_in_flight", 0.0),
        // The moment at which every test begins.
        ("jeton_swept_timestamp_seconds", 1_767_225_600.0),
    ] {
        becomes(&app, name, wanted).await;
    }
    let keys = series(&app.metrics().await);
    let signs = |one: &&String| one.starts_with("jeton_signatures_total");
    assert_eq!(keys.iter().filter(signs).count(), 2, "this key and the next: {keys:?}");
    app.stop().await;
}

#[actix_web::test]
async fn a_request_is_in_flight_until_it_is_answered_or_given_up() {
    let app = App::start().await;
    let mut caller = TcpStream::connect(app.public()).await.unwrap();
    let head = "POST /oauth2/token HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\
                content-type: application/x-www-form-urlencoded\r\n\r\ngrant_type=";
    caller.write_all(head.as_bytes()).await.unwrap();
    becomes(&app, "jeton_http_requests_in_flight", 1.0).await;
    drop(caller);
    becomes(&app, "jeton_http_requests_in_flight", 0.0).await;
    app.token("app", GRANT).await;
    becomes(&app, "jeton_http_requests_in_flight", 0.0).await;
    app.stop().await;
}

#[actix_web::test]
async fn acts_on_the_database_are_timed_and_their_failures_counted_by_class() {
    let app = App::start().await;
    let acts = value(&app, "jeton_db_act_duration_seconds_count").await;
    assert!(acts > 0.0);
    app.beat().await;
    assert!(value(&app, "jeton_db_act_duration_seconds_count").await > acts);
    assert_eq!(value(&app, r#"jeton_db_errors_total{class="unavailable"}"#).await, 0.0);
    assert_eq!(value(&app, "jeton_poll_failures_total").await, 0.0);
    app.running.desk.db.close().await;
    app.beat().await;
    assert!(value(&app, r#"jeton_db_errors_total{class="unavailable"}"#).await > 0.0);
    assert!(value(&app, "jeton_poll_failures_total").await > 0.0);
    assert_eq!(value(&app, "jeton_db_up").await, 0.0);
    becomes(&app, "jeton_db_acts_in_flight", 0.0).await;
    app.stop().await;
}

#[actix_web::test]
async fn a_signed_introspection_is_a_signature_of_its_key() {
    let app = App::start().await;
    let token = app.access_token("app", "scope=read").await;
    let signed = async || {
        let text = app.metrics().await;
        let lines = text.lines().filter(|line| line.starts_with("jeton_signatures_total"));
        let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        values.sum::<f64>()
    };
    assert_eq!(signed().await, 1.0);
    app.introspect("rs", &token).await;
    assert_eq!(signed().await, 1.0, "a plain answer is not signed");
    let basic = http::basic("rs", crate::support::SECRET);
    let headers =
        [("authorization", basic.as_str()), ("accept", "application/token-introspection+jwt")];
    assert_eq!(
        app.post("/oauth2/introspect", &headers, &format!("token={token}")).await.status,
        200
    );
    assert_eq!(signed().await, 2.0);
    app.stop().await;
}

#[actix_web::test]
async fn replicas_show_which_version_of_keys_and_clients_they_hold() {
    let issuer = "issuer = \"https://id.example.test\"\n";
    let one = App::with(issuer).await;
    let other = App::beside(&one, issuer).await;
    let name = |part| format!("jeton_mirror_version{{part=\"{part}\"}}");
    let (keys, directory) = (name("keys"), name("directory"));
    one.beat().await;
    for part in [&keys, &directory] {
        assert_eq!(value(&one, part).await, value(&other, part).await, "{part}");
    }
    let before = (value(&one, &keys).await, value(&one, &directory).await);
    one.apply(
        "[[client]]\nid = \"late\"\ngrants = []\nsecret = \"correct-horse-battery-staple\"\n",
    )
    .await;
    assert!(value(&one, &directory).await > before.1);
    becomes(&other, &directory, value(&one, &directory).await).await;
    assert_eq!(value(&other, &keys).await, before.0);
    other.stop().await;
    one.stop().await;
}
