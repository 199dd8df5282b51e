//! Which pages may read what is answered to them: those of the client that asks, and no others.

use std::time::Duration;

use crate::support::refused::FORM;
use crate::support::sign_in::{self, AUTHORIZE, PEOPLE, redemption, request, with_people};
use crate::support::{API, Answer, App, SECRET, basic, http};

const TOKEN: &str = "/oauth2/token";
const REVOKE: &str = "/oauth2/revoke";
const INTROSPECT: &str = "/oauth2/introspect";
const SPA: &str = "https://spa.example.test";
const BRIEF: &str = "https://brief.example.test";

async fn from(app: &App, path: &str, origin: &str, form: &str) -> Answer {
    app.post(path, &[("origin", origin)], form).await
}

async fn preflight(app: &App, path: &str, origin: &str) -> Answer {
    let asked = [
        ("origin", origin),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type"),
    ];
    http::send(&app.public(), "OPTIONS", path, &asked, b"").await
}

/// What an answer says of other origins.
fn shared(answer: &Answer) -> Vec<&str> {
    let all = answer.headers.iter().filter(|(name, _)| name.starts_with("access-control"));
    all.map(|(name, _)| name.as_str()).collect()
}

#[track_caller]
fn readable(answer: &Answer, origin: &str) {
    assert_eq!(answer.header("access-control-allow-origin"), origin, "{answer:?}");
    assert_eq!(answer.header("vary"), "Origin");
    let exposed = answer.header("access-control-expose-headers");
    for name in ["Retry-After", "WWW-Authenticate", "X-Request-Id"] {
        assert!(exposed.contains(name), "{exposed}");
    }
    assert_eq!(shared(answer).len(), 2, "no credentials, nothing else: {answer:?}");
}

#[track_caller]
fn unreadable(answer: &Answer) {
    assert_eq!(shared(answer), Vec::<&str>::new(), "{answer:?}");
    assert_eq!(answer.header("vary"), "Origin");
}

#[actix_web::test]
async fn a_page_of_a_client_without_a_secret_reads_what_it_is_answered_and_what_is_wrong() {
    let app = with_people("[limits]\nfailures = \"1/m burst 3\"\n").await;
    let code = sign_in::code(&app, "spa", &[]).await;
    let form = format!("{}&client_id=spa", redemption("spa", &code, &[]));
    let answer = from(&app, TOKEN, SPA, &form).await;
    assert_eq!(answer.status, 200);
    readable(&answer, SPA);
    let refresh = answer.json()["refresh_token"].as_str().unwrap().to_owned();
    let form = format!("grant_type=refresh_token&refresh_token={refresh}&client_id=spa");
    readable(&from(&app, TOKEN, SPA, &form).await, SPA);

    for (form, status) in [
        ("grant_type=refresh_token&refresh_token=x&client_id=spa", 400),
        ("grant_type=password&client_id=spa", 400),
        // Nobody knows which client it is: then the page of any may see what is wrong.
        ("%zz", 400),
        ("client_id=spa&client_id=spa", 400),
        ("grant_type=refresh_token&client_id=nobody", 401),
        ("grant_type=refresh_token&client_id=web", 401),
    ] {
        let answer = from(&app, TOKEN, SPA, form).await;
        assert_eq!(answer.status, status, "{form}");
        readable(&answer, SPA);
    }
    let form = format!("token={refresh}&client_id=spa");
    let answer = from(&app, REVOKE, SPA, &form).await;
    assert_eq!(answer.status, 200);
    readable(&answer, SPA);
    let answer = from(&app, REVOKE, SPA, "client_id=spa").await;
    assert_eq!(answer.error(), (400, "invalid_request".into()));
    readable(&answer, SPA);
    for _ in 0..3 {
        from(&app, TOKEN, SPA, "grant_type=refresh_token&client_id=nobody").await;
    }
    let answer = from(&app, TOKEN, SPA, "grant_type=refresh_token&client_id=nobody").await;
    assert_eq!(answer.status, 429);
    readable(&answer, SPA);
}

#[actix_web::test]
async fn no_other_page_reads_anything_however_much_its_origin_is_like_one() {
    let app = with_people("").await;
    let form = "grant_type=refresh_token&refresh_token=x&client_id=spa";
    for origin in [
        "https://evil.example",
        "https://spa.example.test.evil.example",
        "https://evil.spa.example.test",
        "http://spa.example.test",
        "https://spa.example.test:8443",
        "https://spa.example.test:443",
        "https://spa.example.test/",
        "https://spa.example.test/cb",
        "https://SPA.example.test",
        "HTTPS://spa.example.test",
        "https://spa.example.test, https://evil.example",
        "null",
        "*",
        "",
        "com.example.app:",
    ] {
        for path in [TOKEN, REVOKE] {
            unreadable(&from(&app, path, origin, form).await);
            unreadable(&from(&app, path, origin, "%zz").await);
            unreadable(&preflight(&app, path, origin).await);
        }
    }
    let evil = [("origin", "https://evil.example"), ("origin", SPA)];
    unreadable(&app.post(TOKEN, &evil, form).await);
}

#[actix_web::test]
async fn a_page_reads_its_own_client_s_answers_and_never_those_of_one_with_a_secret() {
    let app = with_people("").await;
    let form = "grant_type=refresh_token&refresh_token=x";
    readable(&from(&app, TOKEN, BRIEF, &format!("{form}&client_id=brief")).await, BRIEF);
    unreadable(&from(&app, TOKEN, BRIEF, &format!("{form}&client_id=spa")).await);
    let credential = basic("web", SECRET);
    for origin in ["https://web.example.test", SPA] {
        let headers = [("origin", origin), ("authorization", credential.as_str())];
        for path in [TOKEN, REVOKE] {
            unreadable(&app.post(path, &headers, form).await);
        }
    }
    unreadable(&preflight(&app, TOKEN, "https://web.example.test").await);
}

#[actix_web::test]
async fn a_preflight_is_answered_to_pages_of_clients_alone() {
    let app = with_people("").await;
    for path in [TOKEN, REVOKE] {
        for origin in [SPA, BRIEF] {
            let answer = preflight(&app, path, origin).await;
            assert_eq!((answer.status, answer.body.len()), (204, 0));
            assert_eq!(answer.header("access-control-allow-origin"), origin);
            assert_eq!(answer.header("access-control-allow-methods"), "POST");
            assert_eq!(answer.header("access-control-allow-headers"), "Content-Type");
            assert_eq!(answer.header("access-control-max-age"), "7200");
            assert_eq!(answer.header("vary"), "Origin");
            assert_eq!(shared(&answer).len(), 4, "no credentials: {answer:?}");
        }
        let answer = preflight(&app, path, "https://evil.example").await;
        assert_eq!((answer.status, answer.header("allow")), (204, "OPTIONS, POST"));
        unreadable(&answer);
    }
    // It survives the loss of the database, as the answer that says so does.
    app.running.desk.db.close().await;
    app.advance(Duration::from_secs(600)).await;
    assert_eq!(preflight(&app, TOKEN, SPA).await.header("access-control-allow-origin"), SPA);
    let answer = from(&app, TOKEN, SPA, "grant_type=refresh_token&client_id=spa").await;
    assert_eq!(answer.status, 503);
    readable(&answer, SPA);
}

#[actix_web::test]
async fn where_no_page_has_anything_to_read_none_may() {
    let app = with_people("").await;
    let path = format!("{AUTHORIZE}?{}", request("spa", &[]));
    for answer in [
        preflight(&app, AUTHORIZE, SPA).await,
        preflight(&app, INTROSPECT, SPA).await,
        http::send(&app.public(), "GET", &path, &[("origin", SPA)], b"").await,
        from(&app, AUTHORIZE, SPA, &request("spa", &[])).await,
        from(&app, INTROSPECT, SPA, "token=x&client_id=spa").await,
        http::send(&app.public(), "GET", TOKEN, &[("origin", SPA)], b"").await,
    ] {
        assert_eq!(shared(&answer), Vec::<&str>::new(), "{answer:?}");
    }
    // Whoever is no page gets the answer as it always was.
    for path in [TOKEN, REVOKE] {
        let answer = http::send(&app.public(), "POST", path, &[FORM], b"client_id=spa").await;
        assert!(shared(&answer).is_empty() && answer.header("vary").is_empty(), "{answer:?}");
    }
}

#[actix_web::test]
async fn on_this_machine_the_port_of_a_page_does_not_count_as_in_its_redirect_uri() {
    let app = with_people("").await;
    let form = "grant_type=refresh_token&client_id=own";
    for origin in ["http://localhost:3000", "http://localhost:5173", "http://localhost"] {
        readable(&from(&app, TOKEN, origin, form).await, origin);
    }
    for origin in ["http://127.0.0.1:3000", "https://localhost:3000", "http://localhost:3000/"] {
        unreadable(&from(&app, TOKEN, origin, form).await);
    }
}

#[actix_web::test]
async fn what_is_registered_otherwise_is_read_by_other_pages() {
    let app = with_people("").await;
    let moved = format!(
        "[[client]]\nid = \"spa\"\nauth_method = \"none\"\ngrants = [\"authorization_code\"]\n\
         redirect_uris = [\"https://moved.example.test/cb\"]\nresources = [\"{API}\"]\n"
    );
    assert!(PEOPLE.contains("https://spa.example.test/cb"));
    app.apply(&moved).await;
    let form = "grant_type=refresh_token&client_id=spa";
    unreadable(&from(&app, TOKEN, SPA, form).await);
    unreadable(&preflight(&app, TOKEN, SPA).await);
    let moved = "https://moved.example.test";
    readable(&from(&app, TOKEN, moved, form).await, moved);
    assert_eq!(preflight(&app, TOKEN, moved).await.header("access-control-allow-origin"), moved);
}
