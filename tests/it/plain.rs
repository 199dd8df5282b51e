//! Plain HTTP: on this machine and for listed proxies, and for nobody else.

use std::time::Duration;

use crate::support::http::{elsewhere, raw_from};
use crate::support::tls::{make, put, settings};
use crate::support::{App, FIXTURES, SECRET, TestDatabase, app, basic, http};

/// A token request whose body never comes.
fn half() -> Vec<u8> {
    let credential = basic("app", SECRET);
    format!(
        "POST /oauth2/token HTTP/1.1\r\nhost: x\r\nauthorization: {credential}\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: 99\r\n\r\n"
    )
    .into_bytes()
}

const JWKS: &[u8] = b"GET /.well-known/jwks.json HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
const REFUSED: &str = "jeton_plain_requests_refused_total ";

#[actix_web::test]
async fn what_comes_in_the_clear_from_elsewhere_is_refused_unread_and_counted() {
    let app = App::start().await;
    let own = elsewhere();
    let begun = std::time::Instant::now();
    let answer = raw_from(&own, &app.public(), &half()).await.unwrap();
    assert_eq!(answer.error(), (403, "invalid_request".to_owned()));
    assert_eq!(answer.header("connection"), "close");
    assert!(begun.elapsed() < Duration::from_secs(9), "the body was waited for");
    let forged =
        b"GET /.well-known/jwks.json HTTP/1.1\r\nhost: x\r\nx-forwarded-for: 127.0.0.1\r\n\
                   user-agent: jeton-self-check/x\r\n\r\n";
    assert_eq!(raw_from(&own, &app.public(), forged).await.unwrap().status, 403);
    let text = app.metrics().await;
    assert!(text.contains(&format!("{REFUSED}2\n")), "{text}");
    let mut refused = text.lines().filter(|line| line.contains("outcome=\"refused\""));
    assert!(refused.all(|line| line.ends_with(" 0")), "nobody looked at what it asks for");
    assert_eq!(app.get("/.well-known/jwks.json").await.status, 200);
    let probe = b"GET /healthz/ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    assert_eq!(raw_from(&own, &app.operations(), probe).await.unwrap().status, 200);
}

#[actix_web::test]
async fn a_listed_proxy_may_speak_plain_http_and_over_tls_anybody_may_come() {
    let own = elsewhere();
    let listed = App::with(&format!("[server]\ntrusted_proxies = [\"{own}\"]\n")).await;
    assert_eq!(raw_from(&own, &listed.public(), JWKS).await.unwrap().status, 200);
    let database = TestDatabase::new();
    put(database.directory.path(), &make(1, 30));
    let text = format!("[server]\npublic = \"0.0.0.0:0\"\n{}", settings(database.directory.path()));
    let secured = App::on(database, &text, FIXTURES).await;
    let address = format!("{own}:{}", secured.running.public.port());
    let answer = crate::support::tls::raw(&address, crate::support::tls::HTTP1, JWKS).await;
    assert_eq!(answer.status, 200);
}

#[actix_web::test]
async fn a_server_that_would_speak_plain_http_to_the_world_does_not_start() {
    let database = TestDatabase::new();
    let clock = jeton::clock::Clock::manual(app::START);
    for public in ["0.0.0.0:0", "[::]:0", "192.0.2.7:0"] {
        let text = format!("[server]\npublic = \"{public}\"\n");
        let refused = app::start(&database, &text, FIXTURES, &clock).await.err().unwrap();
        for part in ["server.public", "set server.tls", "server.trusted_proxies"] {
            assert!(refused.contains(part), "{part}: {refused}");
        }
    }
}

#[actix_web::test]
async fn a_server_that_answers_proxies_alone_is_ready_all_the_same() {
    let own = elsewhere();
    let text = format!(
        "issuer = \"https://localhost\"\n[server]\npublic = \"{own}:0\"\ntrusted_proxies = [\"192.0.2.1\"]\n"
    );
    let app = App::with(&text).await;
    assert_eq!(raw_from(&own, &app.public(), JWKS).await.unwrap().status, 403);
    // Longer than it takes to look at itself three times.
    tokio::time::sleep(Duration::from_secs(16)).await;
    let ready = http::send(&app.operations(), "GET", "/healthz/ready", &[], b"").await;
    assert_eq!(ready.status, 200, "{ready:?}");
}
