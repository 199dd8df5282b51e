//! The authorization endpoint as a thing that reads requests (RFC 6749 §4.1.1, RFC 7636, RFC 8707,
//! RFC 9207, RFC 9700): what is told to the person, what to the client, and where a browser is never
//! sent.

use crate::support::http::{self, Answer};
use crate::support::refused::FORM;
use crate::support::sign_in::{
    AUTHORIZE, CHALLENGE, PASSWORD, Page, Tokens, VERIFIER, ask, open, parameter, redemption,
    request, sent_back, with_people,
};
use crate::support::{API, App, OTHER};

/// Asks with a request in the query.
async fn ask_for(app: &App, request: &str) -> Answer {
    app.get(&format!("{AUTHORIZE}?{request}")).await
}

/// The answer is a page that ends here.
fn assert_page(answer: &Answer, what: &str) {
    let text = String::from_utf8_lossy(&answer.body);
    assert_eq!(answer.status, 400, "{what}: {answer:?}");
    assert_eq!(answer.header("location"), "", "{what}");
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert!(text.contains("For the developer") && !text.contains("<form"), "{what}: {text}");
    assert!(text.contains(answer.header("x-request-id")), "{what}");
}

/// The answer sends the browser back to a client with this error.
fn assert_error(answer: &Answer, app: &App, error: &str, what: &str) {
    let (_, parameters) = sent_back(answer);
    let find =
        |name: &str| parameters.iter().find(|(other, _)| other == name).map(|(_, v)| v.as_str());
    assert_eq!(find("error"), Some(error), "{what}: {parameters:?}");
    assert_eq!(find("iss"), Some(app.running.issuer.as_str()), "{what}");
    assert_eq!(find("code"), None, "{what}");
    let said = find("error_description").unwrap();
    assert!(said.bytes().all(|b| matches!(b, 0x20..=0x21 | 0x23..=0x5B | 0x5D..=0x7E)), "{said}");
    assert_eq!(answer.header("cache-control"), "no-store", "{what}");
    assert_eq!(answer.header("referrer-policy"), "no-referrer", "{what}");
}

#[actix_web::test]
async fn a_bad_client_or_redirect_uri_gets_a_page_and_never_a_redirect() {
    let app = with_people("").await;
    app.running.desk.disable_client("brief", app.clock.now()).await.unwrap();
    app.beat().await;
    for client in ["", "nobody", "<script>", "\0", "é", "brief", "app"] {
        let answer = ask_for(&app, &request(client, &[("client_id", client)])).await;
        assert_page(&answer, client);
    }
    for uri in [
        "https://spa.example.test/cb/",
        "https://spa.example.test/cb?",
        "https://spa.example.test/cb?a=b",
        "https://spa.example.test/cb#x",
        "https://spa.example.test:444/cb",
        "https://spa.example.test/CB",
        "https://spa.example.test@evil.example/cb",
        "https://a@spa.example.test/cb",
        "http://spa.example.test/cb",
        "https://evil.example/",
        "//evil.example/",
        "javascript:alert(1)",
        "\"><script>alert(1)</script>",
        "\0",
    ] {
        let answer = ask_for(&app, &request("spa", &[("redirect_uri", uri)])).await;
        assert_page(&answer, uri);
        assert!(!String::from_utf8_lossy(&answer.body).contains("evil"), "nothing is reflected");
    }
    let twice = format!("{}&redirect_uri=https%3A%2F%2Fspa.example.test%2Fcb", request("spa", &[]));
    assert_page(&ask_for(&app, &twice).await, "two redirect URIs");
    assert_page(
        &ask_for(&app, &format!("{}&client_id=spa", request("spa", &[]))).await,
        "two clients",
    );
    assert_page(&ask_for(&app, &request("roaming", &[("redirect_uri", "")])).await, "none of two");
    assert_page(&ask_for(&app, &format!("{}&x=%zz", request("spa", &[]))).await, "malformed");
    assert_eq!(app.refusals("redirect_uri_unregistered").await, 15.0);
    assert_eq!(app.refusals("client_disabled").await, 1.0);
    app.stop().await;
}

#[actix_web::test]
async fn on_this_machine_any_port_will_do_and_elsewhere_only_the_registered_one() {
    let app = with_people("").await;
    for port in ["", ":1", ":8765", ":65535"] {
        let uri = format!("http://127.0.0.1{port}/cb");
        let page = open(&app, &request("roaming", &[("redirect_uri", &uri)])).await;
        let answer = page.allow(&app, "alice", PASSWORD).await;
        assert_eq!(sent_back(&answer).0, uri, "to the port that was asked for");
        let code = parameter(&answer, "code").unwrap();
        let form = redemption("roaming", &code, &[("redirect_uri", &uri)]);
        assert_eq!(ask(&app, "roaming", &form).await.status, 200);
    }
    for uri in [
        "http://127.0.0.1.evil.example/cb",
        "http://127.0.0.1:80@evil.example/cb",
        "http://127.0.0.1:8765/cb/",
        "http://127.0.0.2/cb",
        "http://localhost/cb",
        "https://127.0.0.1/cb",
        "https://roaming.example.test:8443/cb",
    ] {
        assert_page(&ask_for(&app, &request("roaming", &[("redirect_uri", uri)])).await, uri);
    }
    app.stop().await;
}

#[actix_web::test]
async fn what_else_is_wrong_is_told_to_the_client_with_its_state_and_our_name() {
    let app = with_people("").await;
    let plain = VERIFIER;
    for (changed, error) in [
        (&[("response_type", "")][..], "invalid_request"),
        (&[("response_type", "token")], "unsupported_response_type"),
        (&[("response_type", "code token")], "unsupported_response_type"),
        (&[("response_type", "none")], "unsupported_response_type"),
        (&[("response_mode", "fragment")], "invalid_request"),
        (&[("response_mode", "form_post")], "invalid_request"),
        (&[("code_challenge", "")], "invalid_request"),
        (&[("code_challenge_method", "")], "invalid_request"),
        (&[("code_challenge_method", "plain"), ("code_challenge", plain)], "invalid_request"),
        (&[("code_challenge_method", "s256")], "invalid_request"),
        (&[("code_challenge", "short")], "invalid_request"),
        (&[("scope", "admin")], "invalid_scope"),
        (&[("scope", "read  write")], "invalid_scope"),
        (&[("scope", "read\"")], "invalid_scope"),
        (&[("scope", "list")], "invalid_scope"),
        (&[("resource", "x")], "invalid_target"),
        (&[("resource", "https://api.example.test/#x")], "invalid_target"),
        (&[("resource", OTHER)], "invalid_target"),
        (&[("resource", API), ("resource", "urn:unknown")], "invalid_target"),
        (&[("prompt", "none")], "login_required"),
        (&[("request", "eyJ")], "request_not_supported"),
        (&[("request_uri", "https://evil.example/")], "request_uri_not_supported"),
        (&[("scope", "read"), ("scope", "read")], "invalid_request"),
        (&[("code_challenge", CHALLENGE), ("code_challenge", CHALLENGE)], "invalid_request"),
    ] {
        let what = format!("{changed:?}");
        let answer = ask_for(&app, &request("spa", changed)).await;
        assert_error(&answer, &app, error, &what);
        assert_eq!(parameter(&answer, "state").as_deref(), Some("xyz"), "{what}");
        assert_eq!(sent_back(&answer).0, "https://spa.example.test/cb", "{what}");
    }
    let none = ask_for(&app, &request("two", &[])).await;
    assert_error(&none, &app, "invalid_target", "no default resource");
    app.stop().await;
}

#[actix_web::test]
async fn a_client_that_may_not_use_the_grant_is_told_so() {
    let app = with_people("").await;
    app.apply(
        "[[client]]\nid = \"machine\"\nsecret = \"correct-horse-battery-staple\"\n\
         redirect_uris = [\"https://machine.example.test/cb\"]\n\
         resources = [\"https://api.example.test/\"]\n",
    )
    .await;
    let answer = ask_for(&app, &request("machine", &[])).await;
    assert_error(&answer, &app, "unauthorized_client", "machine");
    app.stop().await;
}

#[actix_web::test]
async fn a_state_comes_back_byte_for_byte_and_of_two_neither() {
    let app = with_people("").await;
    for state in ["&=%+é", "a b", "<\"'>&amp;", "%26", "\u{1F511}", &"x".repeat(4000)] {
        let page = open(&app, &request("spa", &[("state", state)])).await;
        for answer in [
            page.allow(&app, "alice", PASSWORD).await,
            page.submit(&app, &[("answer", "deny")]).await,
            ask_for(&app, &request("spa", &[("state", state), ("scope", "admin")])).await,
        ] {
            assert_eq!(parameter(&answer, "state").as_deref(), Some(state));
        }
    }
    let none = open(&app, &request("spa", &[("state", "")])).await;
    assert_eq!(parameter(&none.allow(&app, "alice", PASSWORD).await, "state"), None);
    let twice = ask_for(&app, &format!("{}&state=other", request("spa", &[]))).await;
    assert_error(&twice, &app, "invalid_request", "two states");
    assert_eq!(parameter(&twice, "state"), None);
    for state in ["a\nb", "a\r\nb", "\0", "\u{7f}"] {
        let answer = ask_for(&app, &request("spa", &[("state", state)])).await;
        assert_error(&answer, &app, "invalid_request", "what a form would change");
    }
    app.stop().await;
}

#[actix_web::test]
async fn unknown_parameters_are_ignored_and_empty_ones_are_absent() {
    let app = with_people("").await;
    for more in
        ["x=1&x=2", "nonce=n&ui_locales=de&login_hint=a", "scope=&resource=&prompt=", "=&&x"]
    {
        let page = open(&app, &format!("{}&{more}", request("spa", &[]))).await;
        assert!(page.hidden.iter().all(|(name, _)| name != "nonce" && name != "x"));
        let answer = page.allow(&app, "alice", PASSWORD).await;
        assert!(parameter(&answer, "code").is_some(), "{more}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn what_is_asked_for_is_what_the_tokens_cover() {
    let app = with_people("").await;
    for (changed, scope) in [
        (&[("scope", "read")][..], "read"),
        (&[("scope", "write read write")], "read write"),
        (&[], "read write"),
        (&[("resource", "HTTPS://API.example.test")], "read write"),
        (&[("resource", API), ("resource", API), ("scope", "write")], "write"),
    ] {
        let page = open(&app, &request("spa", changed)).await;
        let code = parameter(&page.allow(&app, "alice", PASSWORD).await, "code").unwrap();
        let tokens = Tokens::read(&ask(&app, "spa", &redemption("spa", &code, &[])).await);
        assert_eq!((&tokens.claims["scope"], &tokens.claims["aud"]), (&scope.into(), &API.into()));
    }
    let both = [("resource", API), ("resource", OTHER), ("scope", "list read")];
    let page = open(&app, &request("two", &both)).await;
    let code = parameter(&page.allow(&app, "alice", PASSWORD).await, "code").unwrap();
    let form = redemption("two", &code, &[("resource", OTHER)]);
    let tokens = Tokens::read(&ask(&app, "two", &form).await);
    assert_eq!(tokens.answer["scope"], "list");
    let rows = app.database.sql("select scopes from families where client_id = 'two'");
    assert_eq!(rows, ["list read"], "the family keeps all of it");
    app.stop().await;
}

#[actix_web::test]
async fn a_request_may_also_be_posted_and_is_no_answer_to_a_form() {
    let app = with_people("").await;
    let sound =
        request("spa", &[("username", "alice"), ("password", PASSWORD), ("answer", "allow")]);
    let answer = app.post(AUTHORIZE, &[], &sound).await;
    assert_eq!(answer.status, 200);
    let page = Page::read(answer, "");
    assert!(!page.text().contains("alice"), "whoever posts fills nothing in");
    assert!(parameter(&page.allow(&app, "alice", PASSWORD).await, "code").is_some());
    let bad = app.post(AUTHORIZE, &[], &request("spa", &[("scope", "admin")])).await;
    assert_error(&bad, &app, "invalid_scope", "posted");
    assert_page(&app.post(AUTHORIZE, &[], "client_id=nobody").await, "posted");
    let path = format!("{AUTHORIZE}?{}", request("spa", &[]));
    let answer = http::send(&app.public(), "POST", &path, &[FORM], b"").await;
    assert_page(&answer, "the query of a POST is not read");
    app.stop().await;
}

#[actix_web::test]
async fn no_other_site_reads_an_answer_and_no_other_verb_gets_one() {
    let app = with_people("").await;
    let path = format!("{AUTHORIZE}?{}", request("spa", &[]));
    let origin = [("origin", "https://evil.example"), ("access-control-request-method", "POST")];
    for method in ["OPTIONS", "GET", "POST", "HEAD"] {
        let answer = http::send(&app.public(), method, &path, &origin, b"").await;
        let shared = answer.headers.iter().any(|(name, _)| name.starts_with("access-control"));
        assert!(!shared, "{method}: {answer:?}");
        if matches!(method, "OPTIONS" | "HEAD") {
            assert_eq!((answer.status, answer.header("allow")), (405, "GET, POST"));
        }
    }
    app.stop().await;
}

#[actix_web::test]
async fn while_the_database_is_away_people_are_asked_to_wait() {
    let app = with_people("").await;
    let page = open(&app, &request("spa", &[])).await;
    app.running.desk.db.close().await;
    let answer = page.allow(&app, "alice", PASSWORD).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, "1"));
    app.clock.advance(std::time::Duration::from_secs(301));
    let answer = ask_for(&app, &request("spa", &[])).await;
    assert_eq!((answer.status, answer.header("location")), (503, ""));
    assert_eq!(app.refusals("database_unavailable").await, 2.0);
}

#[actix_web::test]
async fn a_network_that_asks_too_often_gets_a_page_that_says_how_long_to_wait() {
    let app = with_people("[limits]\nnetwork = \"1/m burst 2\"\n").await;
    for _ in 0..2 {
        assert_eq!(ask_for(&app, &request("spa", &[])).await.status, 200);
    }
    let answer = ask_for(&app, &request("spa", &[])).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, "60"));
    assert!(String::from_utf8_lossy(&answer.body).contains("Wait 60 seconds"));
    app.stop().await;
}
