//! The token endpoint as a thing that reads HTTP (RFC 6749 §3.2): whatever arrives, the answer is
//! JSON that no cache keeps, never a 500, and never an echo.

use jeton::domain::{Decision, Endpoint, Issuer, Network, Reason, RequestId};
use jeton::http::{Listener, ROUTES};
use jeton::issue::{Caller, Presented, TokenRequest};

use crate::support::refused::{FORM, GRANT, assert_refused, authorized, form, post};
use crate::support::{Answer, App, SECRET, basic, http};

const METHODS: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"];

fn app_credential() -> String {
    basic("app", SECRET)
}

/// A token request of the client `app` with a body of any bytes.
async fn body(app: &App, body: &[u8]) -> Answer {
    post(app, &[FORM, ("authorization", &app_credential())], body).await
}

#[actix_web::test]
async fn a_verb_that_a_path_does_not_answer_gets_405_with_the_verbs_that_it_does() {
    let app = App::start().await;
    let issuer = Issuer::parse(app.running.issuer.as_str()).unwrap();
    for entry in ROUTES {
        let address = match entry.listener {
            Listener::Public => app.public(),
            Listener::Operations => app.operations(),
        };
        let path = entry.at(&issuer);
        let allow = if path == "/oauth2/token" {
            "OPTIONS, POST".to_owned()
        } else if entry.listener == Listener::Operations {
            "GET, HEAD".to_owned()
        } else if path.starts_with("/.well-known/") {
            "GET, HEAD, OPTIONS".to_owned()
        } else {
            entry.methods.join(", ")
        };
        for method in METHODS.iter().filter(|method| !allow.split(", ").any(|a| a == **method)) {
            let answer = http::send(&address, method, &path, &[], b"").await;
            assert_eq!(
                (answer.status, answer.header("allow")),
                (405, allow.as_str()),
                "{method} {path}"
            );
            assert_eq!(answer.header("cache-control"), "no-store", "{method} {path}");
            if *method != "HEAD" {
                assert_refused(&answer, 405, "invalid_request");
            }
        }
    }
    app.stop().await;
}

#[actix_web::test]
async fn an_unknown_path_gets_a_404_in_json() {
    let app = App::start().await;
    for address in [app.public(), app.operations()] {
        for path in [
            "/",
            "/oauth2",
            "/oauth2/token/",
            "/oauth2//token",
            "/OAuth2/Token",
            "/.well-known/",
            "/.well-known/jwks.json/x",
            "/oauth2/../etc/passwd",
            "/%00",
            "/%ff",
            "/%zz",
            "/%3Cscript%3E",
        ] {
            for method in ["GET", "POST"] {
                let answer = http::send(&address, method, path, &[], b"").await;
                assert_refused(&answer, 404, "not_found");
            }
        }
    }
    app.stop().await;
}

#[actix_web::test]
async fn what_is_not_http_gets_a_400_without_a_word_and_harms_nobody() {
    let app = App::start().await;
    for bad in [
        "GET /<script>h0st1le</script> HTTP/1.1\r\nhost: x\r\n\r\n",
        "h0st1le\r\n\r\n",
        "POST /oauth2/token HTTP/1.1\r\nhost: x\r\nno colon\r\n\r\n",
        "POST /oauth2/token HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        "POST /oauth2/token HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        "POST /oauth2/token HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
    ] {
        let answer = http::raw(&app.public(), bad.as_bytes()).await.unwrap();
        assert_eq!(answer.status, 400, "{bad:?} {answer:?}");
        assert_eq!(String::from_utf8_lossy(&answer.body), "", "{bad:?}");
    }
    assert_eq!(app.token("app", GRANT).await.status, 200);
    app.stop().await;
}

#[actix_web::test]
async fn only_a_form_is_read_whatever_else_the_content_type_says() {
    let app = App::start().await;
    let credential = app_credential();
    let json = br#"{"grant_type":"client_credentials"}"#;
    for kind in [
        "application/json",
        "text/plain",
        "multipart/form-data; boundary=x",
        "application/x-www-form-urlencoded-not",
        "application/x-www-form-urlencoded, application/json",
        "x; application/x-www-form-urlencoded",
        ";",
        "",
    ] {
        let headers = [("content-type", kind), ("authorization", &credential)];
        for body in [&json[..], GRANT.as_bytes()] {
            assert_refused(&post(&app, &headers, body).await, 400, "invalid_request");
        }
    }
    let none = post(&app, &[("authorization", &credential)], GRANT.as_bytes()).await;
    assert_refused(&none, 400, "invalid_request");
    app.stop().await;
}

#[actix_web::test]
async fn case_and_parameters_of_the_content_type_do_not_matter() {
    let app = App::start().await;
    let credential = app_credential();
    for kind in [
        "application/x-www-form-urlencoded; charset=UTF-8",
        "application/x-www-form-urlencoded;charset=utf-8",
        "Application/X-WWW-Form-URLencoded",
        "application/x-www-form-urlencoded ; x=y",
        "  application/x-www-form-urlencoded",
    ] {
        let headers = [("content-type", kind), ("authorization", &credential)];
        let answer = post(&app, &headers, GRANT.as_bytes()).await;
        assert_eq!(answer.status, 200, "{kind:?} {answer:?}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_compressed_body_is_refused_and_not_misread() {
    let app = App::start().await;
    let credential = app_credential();
    for coding in ["gzip", "deflate", "br", "identity, gzip"] {
        let headers = [FORM, ("authorization", &credential), ("content-encoding", coding)];
        assert_refused(&post(&app, &headers, GRANT.as_bytes()).await, 400, "invalid_request");
    }
    let headers = [FORM, ("authorization", &credential), ("content-encoding", "Identity")];
    assert_eq!(post(&app, &headers, GRANT.as_bytes()).await.status, 200);
    app.stop().await;
}

#[actix_web::test]
async fn a_parameter_that_may_occur_once_and_occurs_twice_is_refused() {
    let app = App::start().await;
    for twice in [
        "grant_type=client_credentials&grant_type=client_credentials",
        "grant_type=client_credentials&grant_type=",
        "grant_type=client_credentials&grant%5Ftype=client_credentials",
        "grant_type=client_credentials&scope=read&scope=read",
        "grant_type=client_credentials&scope=&scope=read",
        "grant_type=client_credentials&client_id=app&client_id=app",
    ] {
        assert_refused(&authorized(&app, &app_credential(), twice).await, 400, "invalid_request");
    }
    let twice = format!("{GRANT}&client_id=poster&client_secret={SECRET}&client_secret={SECRET}");
    assert_refused(&form(&app, &twice).await, 400, "invalid_request");
    app.stop().await;
}

#[actix_web::test]
async fn parameters_that_nobody_knows_are_ignored_even_twice() {
    let app = App::start().await;
    for unknown in
        ["audience=a", "audience=a&audience=b", "=&=x&&", "Scope=nonsense", "x=%00%C3%A9"]
    {
        let answer = app.token("app", &format!("{GRANT}&{unknown}")).await;
        assert_eq!(
            (answer.status, &answer.json()["scope"]),
            (200, &"read write".into()),
            "{unknown}"
        );
    }
    app.stop().await;
}

#[actix_web::test]
async fn an_empty_parameter_is_an_absent_one() {
    let app = App::start().await;
    let plain = app.token("app", GRANT).await.json();
    for empty in
        ["scope=", "scope", "resource=", "resource=&resource=", "client_id=", "client_secret="]
    {
        let answer = app.token("app", &format!("{GRANT}&{empty}")).await;
        assert_eq!((answer.status, &answer.json()["scope"]), (200, &plain["scope"]), "{empty}");
    }
    for empty in ["grant_type=", "grant_type", "", "scope=read"] {
        assert_refused(&app.token("app", empty).await, 400, "invalid_request");
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_grant_type_that_is_not_served_is_unsupported() {
    let app = App::start().await;
    for other in ["foo", "password", "Client_Credentials", "client_credentials+", "implicit"] {
        let answer = app.token("app", &format!("grant_type={other}")).await;
        assert_refused(&answer, 400, "unsupported_grant_type");
    }
    app.stop().await;
}

#[actix_web::test]
async fn characters_that_no_parameter_can_hold_are_refused_and_never_a_500() {
    let app = App::start().await;
    for bad in ["%00", "a%00b", "%0A", "%0D%0A", "%7F", "%1b", "%C3%A9", "%E2%82%AC", "\u{e9}"] {
        for name in ["grant_type", "client_id", "client_secret"] {
            let parameters = if name == "grant_type" { String::new() } else { format!("{GRANT}&") };
            let answer = form(&app, &format!("{parameters}{name}={bad}")).await;
            assert_refused(&answer, 400, "invalid_request");
        }
        for (name, error) in [("scope", "invalid_scope"), ("resource", "invalid_target")] {
            let answer = app.token("app", &format!("{GRANT}&{name}={bad}")).await;
            assert_refused(&answer, 400, error);
        }
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_body_that_is_no_well_formed_form_is_refused() {
    let app = App::start().await;
    for bad in [
        &b"grant_type=client_credentials&x=%"[..],
        b"grant_type=client_credentials&x=%4",
        b"grant_type=client_credentials&x=%zz",
        b"grant_type=client_credentials&%zz=x",
        b"grant_type=client_credentials&x=%+1",
        b"grant_type=client_credentials&x=%FF",
        b"grant_type=client_credentials&x=\xff",
        b"grant_type=client_credentials&x=%ED%A0%80",
        b"grant_type=client_credentials&x=%C0%80",
        b"\xff\xfe\x00",
    ] {
        assert_refused(&body(&app, bad).await, 400, "invalid_request");
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_body_of_a_mebibyte_is_refused_with_and_without_a_length() {
    let app = App::start().await;
    let big = [GRANT.as_bytes(), b"&x=", &vec![b'a'; 1024 * 1024]].concat();
    let answer = body(&app, &big).await;
    assert_refused(&answer, 413, "invalid_request");
    assert_eq!(answer.header("connection"), "close");

    let chunk = [b"10000\r\n", &vec![b'a'; 0x10000][..], b"\r\n"].concat();
    let head = format!(
        "POST /oauth2/token HTTP/1.1\r\nhost: x\r\nauthorization: {}\r\ncontent-type: {}\r\n\
         transfer-encoding: chunked\r\n\r\n",
        app_credential(),
        FORM.1
    );
    let chunked = [head.as_bytes(), &chunk.repeat(16), b"0\r\n\r\n"].concat();
    let answer = http::raw(&app.public(), &chunked).await.unwrap();
    assert_refused(&answer, 413, "invalid_request");
    assert_eq!(app.refusals("body_too_large").await, 2.0);
    app.stop().await;
}

#[actix_web::test]
async fn the_largest_body_is_read_and_one_byte_more_is_not() {
    let app = App::start().await;
    let of = |size: usize| {
        let mut form = format!("{GRANT}&x=").into_bytes();
        form.resize(size, b'a');
        form
    };
    assert_eq!(body(&app, &of(64 * 1024)).await.status, 200);
    assert_refused(&body(&app, &of(64 * 1024 + 1)).await, 413, "invalid_request");
    app.stop().await;
}

#[actix_web::test]
async fn a_length_that_is_announced_too_large_is_refused_before_anything_is_sent() {
    let app = App::start().await;
    let head = format!(
        "POST /oauth2/token HTTP/1.1\r\nhost: x\r\ncontent-type: {}\r\ncontent-length: 99999999999\r\n\r\n",
        FORM.1
    );
    let answer = http::raw(&app.public(), head.as_bytes()).await.unwrap();
    assert_refused(&answer, 413, "invalid_request");
    app.stop().await;
}

#[actix_web::test]
async fn a_chunked_form_is_read_like_any_other() {
    let app = App::start().await;
    let request = format!(
        "POST /oauth2/token HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: {}\r\n\
         content-type: {}\r\ntransfer-encoding: chunked\r\n\r\nb\r\ngrant_type=\r\n12\r\n\
         client_credentials\r\n0\r\n\r\n",
        app_credential(),
        FORM.1
    );
    let answer = http::raw(&app.public(), request.as_bytes()).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    app.stop().await;
}

#[actix_web::test]
async fn twenty_thousand_parameters_are_refused_and_sixty_four_are_read() {
    let app = App::start().await;
    let many = format!("{GRANT}{}", "&a".repeat(20_000));
    assert_refused(&app.token("app", &many).await, 400, "invalid_request");
    assert_eq!(app.refusals("parameters_too_many").await, 1.0);
    let most = format!("{GRANT}{}", "&a".repeat(63));
    assert_eq!(app.token("app", &most).await.status, 200);
    assert_refused(&app.token("app", &format!("{most}&a")).await, 400, "invalid_request");
    app.stop().await;
}

#[actix_web::test]
async fn what_stands_in_the_query_is_ignored_secrets_above_all() {
    let app = App::start().await;
    for (id, query) in [
        ("poster", format!("client_id=poster&client_secret={SECRET}&{GRANT}")),
        ("poster", format!("client_secret={SECRET}")),
        ("app", format!("client_id=app&client_secret={SECRET}")),
    ] {
        let path = format!("/oauth2/token?{query}");
        for body in [GRANT.to_owned(), format!("{GRANT}&client_id={id}")] {
            let answer = http::send(&app.public(), "POST", &path, &[FORM], body.as_bytes()).await;
            assert_refused(&answer, 401, "invalid_client");
        }
    }
    let credential = app_credential();
    let headers = [FORM, ("authorization", credential.as_str())];
    let ask = async |query: &str, body: &str| {
        let path = format!("/oauth2/token?{query}");
        http::send(&app.public(), "POST", &path, &headers, body.as_bytes()).await
    };
    let answer = ask("scope=read&resource=x&grant_type=foo&client_id=other", GRANT).await;
    assert_eq!((answer.status, &answer.json()["scope"]), (200, &"read write".into()));
    assert_refused(&ask(GRANT, "").await, 400, "invalid_request");
    app.stop().await;
}

#[actix_web::test]
async fn nothing_hostile_comes_back() {
    const MARK: &str = "h0st1le";
    let app = App::start().await;
    let encoded = [
        "%22h0st1le%22",
        "h0st1le%5C",
        "%3Cscript%3Eh0st1le%3C%2Fscript%3E",
        "h0st1le%0D%0ASet-Cookie%3A+h0st1le",
        "h0st1le'+or+1%3D1--",
        "https%3A%2F%2Fh0st1le.test%2F",
        "h0st1le",
    ];
    let mut answers = Vec::new();
    for value in encoded {
        for name in ["grant_type", "scope", "resource", "client_id", "client_secret", value] {
            let rest = if name == "grant_type" { String::new() } else { format!("&{GRANT}") };
            let hostile = format!("{name}={value}{rest}");
            answers.push(form(&app, &hostile).await);
            answers.push(authorized(&app, &app_credential(), &hostile).await);
        }
        let path = format!("/{value}?{value}={value}");
        for (method, path) in [("POST", path.as_str()), ("GET", &path), ("DELETE", "/oauth2/token")]
        {
            answers.push(
                http::send(&app.public(), method, path, &[("x-request-id", MARK)], b"").await,
            );
        }
    }
    for header in ["Bearer h0st1le", "h0st1le", "Basic h0st1le", &basic("h0st1le", "\"<script>")] {
        answers.push(authorized(&app, header, GRANT).await);
    }
    for answer in answers {
        let status = answer.status;
        let body = String::from_utf8_lossy(&answer.body).to_lowercase();
        assert!(!body.contains(MARK) && !body.contains("<script"), "{body}");
        let headers = format!("{:?}", answer.headers).to_lowercase();
        assert!(!headers.contains(MARK) && !headers.contains("set-cookie"), "{headers}");
        if status != 200 {
            assert_refused(&answer, status, answer.json()["error"].as_str().unwrap());
            assert!((400..500).contains(&status), "{answer:?}");
        }
    }
    app.stop().await;
}

#[actix_web::test]
async fn every_answer_has_a_request_id_of_its_own() {
    let app = App::start().await;
    let mut ids = std::collections::HashSet::new();
    for _ in 0..5 {
        for answer in
            [app.token("app", GRANT).await, app.token("app", "").await, app.get("/no").await]
        {
            let id = answer.header("x-request-id").to_owned();
            assert_eq!(id.len(), 16, "{answer:?}");
            assert!(ids.insert(id));
        }
    }
    app.stop().await;
}

/// What waits for an answer is moved and kept as a whole, with room for all that it may ever wait for.
#[actix_web::test]
async fn a_request_for_a_token_carries_no_room_for_what_it_does_not_do() {
    let app = App::start().await;
    let service = &app.running.service;
    let request = TokenRequest {
        presented: Presented::Nothing,
        grant_type: Some("client_credentials"),
        scope: None,
        resources: Vec::new(),
        code: None,
        code_verifier: None,
        redirect_uri: None,
        refresh_token: None,
    };
    let caller = Caller {
        network: Network::V4([127, 0, 0, 1]),
        endpoint: Endpoint::Token,
        request_id: RequestId::new([0; 12]),
    };
    let mut decision = Decision::default();
    let waiting = service.token(&request, &caller, service.clock.now(), &mut decision);
    assert!(size_of_val(&waiting) < 1024, "{} bytes", size_of_val(&waiting));
    assert_eq!(waiting.await.unwrap_err().reason, Reason::ClientAuthMissing);
    app.stop().await;
}
