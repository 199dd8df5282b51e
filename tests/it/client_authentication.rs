//! Client authentication (RFC 6749 §2.3): what proves who a client is, what does not, and that
//! failing in one way looks like failing in any other.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::support::refused::{FORM, GRANT, assert_refused, authorized, form, post};
use crate::support::{Answer, App, SECRET, app, basic, http};

/// A Basic header of these exact bytes before base64.
fn encoded(pair: &str) -> String {
    format!("Basic {}", STANDARD.encode(pair))
}

/// An answer without what differs between any two answers.
fn comparable(answer: &Answer) -> (u16, Vec<(String, String)>, Vec<u8>) {
    let own = ["date", "x-request-id"];
    let headers = answer.headers.iter().filter(|(name, _)| !own.contains(&name.as_str()));
    let mut headers: Vec<_> = headers.cloned().collect();
    headers.sort();
    (answer.status, headers, answer.body.clone())
}

#[actix_web::test]
async fn a_well_formed_credential_is_accepted_in_every_spelling_that_means_the_same() {
    let app = App::start().await;
    let plain = basic("app", SECRET);
    let (_, token) = plain.split_once(' ').unwrap();
    for header in [
        plain.clone(),
        format!("basic {token}"),
        format!("BASIC {}", token.trim_end_matches('=')),
        encoded(&format!("%61pp:{}", SECRET.replace('-', "%2D"))),
    ] {
        assert_eq!(authorized(&app, &header, GRANT).await.status, 200, "{header}");
    }
    let matching = format!("{GRANT}&client_id=app");
    assert_eq!(authorized(&app, &plain, &matching).await.status, 200);
    let posted = format!("{GRANT}&client_id=poster&client_secret={SECRET}");
    assert_eq!(form(&app, &posted).await.status, 200);
}

#[actix_web::test]
async fn a_malformed_header_is_an_invalid_request_and_never_a_500() {
    let app = App::start().await;
    for header in [
        "Basic".to_owned(),
        "Basic ".to_owned(),
        "Basic !!!".to_owned(),
        format!("Basic  {}", STANDARD.encode("app:x")),
        format!("Basic {} {}", STANDARD.encode("app:x"), STANDARD.encode("app:x")),
        encoded("no-colon"),
        encoded("app%zz:secret"),
        encoded("app:%FF%FE"),
        encoded("app:nul\0"),
        encoded("caf\u{e9}:secret"),
        format!("Basic {}", STANDARD.encode(b"app:\xff\xfe")),
    ] {
        assert_refused(&authorized(&app, &header, GRANT).await, 400, "invalid_request");
    }
    let twice = [FORM, ("authorization", &basic("app", SECRET)), ("authorization", "Basic eDp5")];
    assert_refused(&post(&app, &twice, GRANT.as_bytes()).await, 400, "invalid_request");
}

#[actix_web::test]
async fn two_ways_at_once_or_two_names_are_an_invalid_request() {
    let app = App::start().await;
    let right = basic("app", SECRET);
    for more in [format!("client_secret={SECRET}"), format!("client_id=app&client_secret={SECRET}")]
    {
        let both = format!("{GRANT}&{more}");
        assert_refused(&authorized(&app, &right, &both).await, 400, "invalid_request");
    }
    let other = format!("{GRANT}&client_id=poster");
    assert_refused(&authorized(&app, &right, &other).await, 400, "invalid_request");
}

#[actix_web::test]
async fn every_way_of_failing_gets_one_and_the_same_answer() {
    let app = App::start().await;
    app.running.desk.disable_client("off", app::START).await.unwrap();
    app.beat().await;
    let long = "x".repeat(10_000);
    let posted = |id: &str, secret: &str| format!("{GRANT}&client_id={id}&client_secret={secret}");
    let headers = [
        basic("nobody", SECRET),
        basic("app", "a-secret-that-is-wrong"),
        basic("app", &long),
        basic("app", &format!("{SECRET}:more")),
        basic("app", &SECRET.replace('-', "+")),
        basic("", SECRET),
        basic("app", ""),
        basic("off", SECRET),
        basic("poster", SECRET),
        basic("public", SECRET),
        basic("0190163d-8694-739b-aea5-966c26f8ad91", SECRET),
        "Bearer something".to_owned(),
        "Digest something".to_owned(),
    ];
    let mut answers = Vec::new();
    for header in &headers {
        answers.push(authorized(&app, header, GRANT).await);
    }
    for body in [
        GRANT.to_owned(),
        format!("{GRANT}&client_id=app"),
        format!("{GRANT}&client_id=nobody"),
        format!("{GRANT}&client_secret={SECRET}"),
        posted("nobody", SECRET),
        posted("poster", "a-secret-that-is-wrong"),
        posted("app", SECRET),
        posted("public", SECRET),
    ] {
        answers.push(form(&app, &body).await);
    }
    let first = &answers[0];
    assert_refused(first, 401, "invalid_client");
    let challenge = format!("Basic realm=\"{}\", charset=\"UTF-8\"", app.running.issuer);
    assert_eq!(first.header("www-authenticate"), challenge);
    for answer in &answers {
        assert_eq!(comparable(answer), comparable(first));
    }
}

#[actix_web::test]
async fn a_public_client_is_known_and_may_not_use_client_credentials() {
    let app = App::start().await;
    let answer = form(&app, &format!("{GRANT}&client_id=public")).await;
    assert_refused(&answer, 400, "unauthorized_client");
}

#[actix_web::test]
async fn a_disabled_client_is_refused_until_it_is_enabled_again() {
    let app = App::start().await;
    let desk = &app.running.desk;
    for (enabled, status) in [(false, 401), (true, 200)] {
        let done = if enabled {
            desk.enable_client("off", app::START).await
        } else {
            desk.disable_client("off", app::START).await
        };
        assert_eq!(done.unwrap().disabled, !enabled);
        app.beat().await;
        assert_eq!(app.token("off", GRANT).await.status, status);
    }
}

#[actix_web::test]
async fn both_secrets_work_for_a_day_after_a_rotation_and_then_only_the_new_one() {
    let app = App::start().await;
    let rotated = app.running.desk.rotate_secret("app", app::START).await.unwrap();
    let new = rotated.client_secret.unwrap();
    app.beat().await;
    for (secret, hours, status) in [
        (SECRET, 0, 200),
        (new.expose(), 0, 200),
        (SECRET, 23, 200),
        (SECRET, 2, 401),
        (new.expose(), 0, 200),
    ] {
        app.clock.advance(Duration::from_secs(hours * 3600));
        app.beat().await;
        assert_eq!(app.token_with("app", secret, GRANT).await.status, status, "{hours}");
    }
}

#[actix_web::test]
async fn five_failures_in_a_minute_are_one_row_in_the_audit_trail() {
    let app = App::start().await;
    for _ in 0..9 {
        app.token_with("app", "a-secret-that-is-wrong", GRANT).await;
        app.token_with("nobody", "a-secret-that-is-wrong", GRANT).await;
    }
    app.beat().await;
    let rows = app.database.sql(
        "select coalesce(client_id, 'nobody') from audit_events
         where action = 'client_auth_failed_run' order by client_id",
    );
    let mut rows = rows;
    rows.sort();
    assert_eq!(rows, ["app", "nobody"]);
}

#[actix_web::test]
async fn the_use_of_a_secret_is_noted_to_the_minute() {
    let app = App::start().await;
    let used =
        || app.database.sql("select last_used_at from client_secrets where client_id = 'app'");
    assert_eq!(used(), [""]);
    app.token("app", GRANT).await;
    app.beat().await;
    let first = used();
    assert_eq!(first, [app::START.micros().to_string()]);
    app.clock.advance(Duration::from_secs(30));
    app.token("app", GRANT).await;
    app.beat().await;
    assert_eq!(used(), first);
    app.clock.advance(Duration::from_secs(31));
    app.token("app", GRANT).await;
    app.beat().await;
    assert_ne!(used(), first);
}

#[actix_web::test]
async fn a_secret_moves_to_the_present_pepper_when_it_is_next_used() {
    let issuer = "issuer = \"http://127.0.0.1:8080\"\n";
    let database = App::with(issuer).await.stop().await;
    // The operator puts a new root secret first and keeps the old one to open with.
    let file = database.directory.path().join("root-secrets");
    let old = std::fs::read_to_string(&file).unwrap();
    let new = jeton::secret::file::generate_text().replacen("1 ", "2 ", 1);
    std::fs::write(&file, format!("{new}{old}")).unwrap();
    let app = App::on(database, issuer, crate::support::FIXTURES).await;
    let pepper = "select pepper_id from client_secrets where client_id = 'app'";
    assert_eq!(app.database.sql(pepper), ["1"]);
    for _ in 0..2 {
        app.clock.advance(Duration::from_secs(61));
        assert_eq!(app.token("app", GRANT).await.status, 200);
        app.beat().await;
        assert_eq!(app.database.sql(pepper), ["2"]);
    }
    let request = http::send(&app.public(), "GET", "/.well-known/jwks.json", &[], b"").await;
    assert_eq!(request.status, 200);
}
