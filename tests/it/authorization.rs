//! People sign in: the page, what protects it, and who gets through.

use std::time::Duration;

use futures_util::future::join_all;
use jeton::domain::Username;
use jeton::hashing::Hashing;
use jeton::manage::apply::{ApplyFile, Options};
use jeton::store::users::{self, PasswordHash};
use zeroize::Zeroizing;

use crate::support::app::START;
use crate::support::database::pooler_setting;
use crate::support::http::{self, Answer};
use crate::support::process::{Process, address};
use crate::support::refused::FORM;
use crate::support::replica::ISSUER;
use crate::support::sign_in::{
    AUTHORIZE, PASSWORD, Page, Tokens, add_user_with, form, open, parameter, redeem, redemption,
    request, sent_back, sign_in, weak_hash, with_people,
};
use crate::support::{App, SECRET, TestDatabase};

/// The form was shown again, with this in its alert.
fn assert_shown_again(answer: &Answer, alert: &str) {
    let text = String::from_utf8_lossy(&answer.body);
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(
        text.contains("<form") && text.contains("role=\"alert\"") && text.contains(alert),
        "{text}"
    );
    assert_eq!(answer.header("location"), "");
}

const WRONG: &str = "The username or the password is wrong.";
const STALE: &str = "Please try again.";

#[actix_web::test]
async fn somebody_who_signs_in_goes_back_with_a_code_the_state_and_our_name() {
    let app = with_people("").await;
    let page = open(&app, &request("web", &[])).await;
    let answer = page.allow(&app, " Alice ", PASSWORD).await;
    let (uri, parameters) = sent_back(&answer);
    let names: Vec<_> = parameters.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        (uri.as_str(), names),
        ("https://web.example.test/cb", vec!["tenant", "code", "state", "iss"])
    );
    assert_eq!(parameter(&answer, "tenant").as_deref(), Some("1"), "its own query stays");
    assert_eq!(parameter(&answer, "iss").as_deref(), Some(app.running.issuer.as_str()));
    assert!(parameter(&answer, "code").unwrap().starts_with("jac_"));
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("referrer-policy"), "no-referrer");
    assert!(answer.body.is_empty());
    app.stop().await;
}

#[actix_web::test]
async fn the_page_says_who_asks_for_what_and_escapes_what_others_wrote() {
    let app = with_people("").await;
    let page = open(&app, &request("web", &[("state", "\"><script>alert(1)</script>")])).await;
    let text = page.text();
    assert!(text.contains("Web &#60;&#38; &#34;app&#34;&#39;s&#62;"), "{text}");
    assert!(text.contains("Change your things") && text.contains("<li>read</li>"), "{text}");
    assert!(!text.contains("<script") && !text.contains("<&"), "{text}");
    for needed in [
        "<html lang=\"en\">",
        "<label for=\"username\">",
        "<label for=\"password\">",
        "autocomplete=\"username\"",
        "autocomplete=\"current-password\"",
        "autofocus",
        "name=\"viewport\"",
        "value=\"allow\"",
        "value=\"deny\"",
        "web.example.test",
    ] {
        assert!(text.contains(needed), "{needed}: {text}");
    }
    let own = open(&app, &request("own", &[])).await.text();
    assert!(!own.contains("Change your things") && own.contains(">Sign in<"), "{own}");
    app.stop().await;
}

#[actix_web::test]
async fn the_page_loads_nothing_is_framed_by_nobody_and_kept_nowhere() {
    let app = with_people("").await;
    let loopback = request("roaming", &[("redirect_uri", "http://127.0.0.1:8765/cb")]);
    for (request, targets) in [
        (request("spa", &[]), "'self' https:"),
        (loopback, "'self' https: http://127.0.0.1:* http://localhost:*"),
    ] {
        let page = open(&app, &request).await;
        let answer = &page.answer;
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
        assert!(policy.contains(&format!("; form-action {targets}; ")), "{policy}");
        assert!(policy.ends_with("frame-ancestors 'none'; base-uri 'none'"), "{policy}");
        for (name, value) in [
            ("x-frame-options", "DENY"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
            ("content-type", "text/html; charset=utf-8"),
        ] {
            assert_eq!(answer.header(name), value);
        }
        let cookie = answer.header("set-cookie");
        assert!(cookie.starts_with("jeton-form="), "{cookie}");
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
        assert!(cookie.contains("Path=/") && !cookie.contains("Secure"), "{cookie}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn on_https_the_cookie_is_one_that_nobody_else_can_plant() {
    let settings = "issuer = \"https://id.example.test\"\n";
    let app = with_people(settings).await;
    let page = open(&app, &request("spa", &[])).await;
    let cookie = page.answer.header("set-cookie");
    assert!(cookie.starts_with("__Host-jeton-form=") && cookie.contains("Secure"), "{cookie}");
    let answer = page.allow(&app, "alice", PASSWORD).await;
    assert_eq!(parameter(&answer, "iss").as_deref(), Some("https://id.example.test"));
    app.stop().await;
}

#[actix_web::test]
async fn behind_an_issuers_path_the_form_finds_its_way() {
    let fixtures = format!("{}{}", crate::support::FIXTURES, crate::support::sign_in::PEOPLE);
    let settings = "issuer = \"http://127.0.0.1:8080/t/1\"\n";
    let app = App::on(TestDatabase::new(), settings, &fixtures).await;
    let answer = app.get(&format!("/t/1{AUTHORIZE}?{}", request("spa", &[]))).await;
    let text = String::from_utf8(answer.body).unwrap();
    assert!(text.contains("action=\"/t/1/oauth2/authorize\""), "{text}");
    app.stop().await;
}

#[actix_web::test]
async fn somebody_who_says_no_goes_back_without_a_code() {
    let app = with_people("").await;
    let page = open(&app, &request("spa", &[])).await;
    for filled_in in [
        &[("answer", "deny")][..],
        &[("username", "alice"), ("password", PASSWORD), ("answer", "deny")],
    ] {
        let answer = page.submit(&app, filled_in).await;
        assert_eq!(parameter(&answer, "error").as_deref(), Some("access_denied"));
        assert_eq!(parameter(&answer, "code"), None);
    }
    assert_eq!(app.database.sql("select count(*) from codes"), ["0"]);
    app.stop().await;
}

#[actix_web::test]
async fn whoever_cannot_sign_in_sees_the_same_page_whatever_the_cause() {
    let app = with_people("").await;
    add_user_with(&app, "nopassword", None).await;
    add_user_with(&app, "broken", Some(&PasswordHash("no hash".to_owned()))).await;
    let off = crate::support::sign_in::add_user(&app, "off").await;
    let now = app.clock.now();
    let db = &app.running.service.db;
    db.write(async |tx| users::set_disabled(tx, off, Some(now), now).await).await.unwrap();
    let page = open(&app, &request("spa", &[])).await;
    let mut texts = Vec::new();
    for (name, password) in [
        ("alice", "mistaken"),
        ("alice", ""),
        ("nobody", PASSWORD),
        ("off", PASSWORD),
        ("nopassword", PASSWORD),
        ("broken", PASSWORD),
        ("not a name\0", PASSWORD),
    ] {
        let answer = page.allow(&app, name, password).await;
        assert_shown_again(&answer, WRONG);
        let text = String::from_utf8(answer.body).unwrap();
        assert!(password.is_empty() || !text.contains(password), "the password is not shown");
        texts.push(text.replace(&format!("name=\"username\" value=\"{name}\""), ""));
    }
    let first = texts[0].clone();
    assert!(texts.iter().all(|text| *text == first), "{texts:#?}");
    assert!(app.refusals("sign_in_failed").await > 6.0);
    // The page that is shown again works.
    let again = Page::read(page.allow(&app, "alice", "wrong").await, &page.cookie);
    assert!(parameter(&again.allow(&app, "alice", PASSWORD).await, "code").is_some());
    app.stop().await;
}

#[actix_web::test]
async fn a_form_from_another_browser_or_another_request_signs_nobody_in() {
    let app = with_people("").await;
    let page = open(&app, &request("spa", &[])).await;
    let other = open(&app, &request("spa", &[])).await;
    let filled_in = [("username", "alice"), ("password", PASSWORD), ("answer", "allow")];
    for cookie in [other.cookie.as_str(), "", "jeton-form=x", "other=1", "jeton-form="] {
        let answer = page.submit_with(&app, &filled_in, &[("cookie", cookie)]).await;
        assert_shown_again(&answer, STALE);
    }
    for (name, value) in [("state", "other"), ("scope", "read"), ("form_seal", "x")] {
        let mut bent = page.clone();
        bent.hidden.retain(|(other, _)| other != name);
        bent.hidden.push((name.to_owned(), value.to_owned()));
        assert_shown_again(&bent.allow(&app, "alice", PASSWORD).await, STALE);
    }
    let denied = page.submit_with(&app, &[("answer", "deny")], &[]).await;
    assert_shown_again(&denied, STALE);
    assert_eq!(app.refusals("form_foreign").await, 9.0);
    assert_eq!(app.database.sql("select count(*) from codes"), ["0"]);
    // What is shown then works, without a detour through the client.
    let answer = page.submit_with(&app, &filled_in, &[]).await;
    let again = Page::read(answer, "");
    assert!(parameter(&again.allow(&app, "alice", PASSWORD).await, "code").is_some());
    app.stop().await;
}

#[actix_web::test]
async fn what_the_browser_says_of_where_the_form_was_is_heard() {
    let app = with_people("").await;
    let page = open(&app, &request("spa", &[])).await;
    let issuer = app.running.issuer.as_str();
    let filled_in = [("username", "alice"), ("password", PASSWORD)];
    for (headers, ours) in [
        (&[("sec-fetch-site", "same-origin"), ("origin", "null")][..], true),
        (&[("sec-fetch-site", "none")], true),
        (&[("origin", issuer)], true),
        (&[("origin", "null")], true),
        (&[], true),
        (&[("sec-fetch-site", "cross-site"), ("origin", issuer)], false),
        (&[("sec-fetch-site", "same-site")], false),
        (&[("origin", "https://evil.example")], false),
    ] {
        let headers = [&[("cookie", page.cookie.as_str())], headers].concat();
        let answer = page.submit_with(&app, &filled_in, &headers).await;
        assert_eq!(answer.status == 303, ours, "{headers:?}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn the_request_is_judged_anew_when_the_form_comes_back() {
    let app = with_people("").await;
    let page = open(&app, &request("spa", &[])).await;
    app.running.desk.disable_client("spa", app.clock.now()).await.unwrap();
    app.beat().await;
    let answer = page.allow(&app, "alice", PASSWORD).await;
    assert_eq!((answer.status, answer.header("location")), (400, ""));
    assert!(!String::from_utf8_lossy(&answer.body).contains("<form"));
    app.stop().await;
}

#[actix_web::test]
async fn whoever_guesses_is_stopped_where_they_are_and_the_person_gets_in_from_elsewhere() {
    let settings = "[server]\ntrusted_proxies = [\"127.0.0.1/32\"]\n\
                    [limits]\nfailures_per_client = \"1/m burst 3\"\n";
    let app = with_people(settings).await;
    crate::support::sign_in::add_user(&app, "bob").await;
    let page = open(&app, &request("spa", &[])).await;
    let from = async |network: &str, name: &str, password: &str| {
        let headers = [("cookie", page.cookie.as_str()), ("x-forwarded-for", network)];
        page.submit_with(&app, &[("username", name), ("password", password)], &headers).await
    };
    for _ in 0..3 {
        assert_eq!(from("192.0.2.1", "alice", "guess").await.status, 400);
    }
    let refused = from("192.0.2.1", "ALICE", PASSWORD).await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, "60"), "the right one too");
    assert_eq!(from("192.0.2.1", "bob", PASSWORD).await.status, 303);
    assert_eq!(from("192.0.2.2", "alice", PASSWORD).await.status, 303);
    app.clock.advance(Duration::from_secs(60));
    assert_eq!(from("192.0.2.1", "alice", PASSWORD).await.status, 303);
    // A name that is nobody's is stopped after as many.
    for status in [400, 400, 400, 429] {
        assert_eq!(from("192.0.2.3", "nobody", "guess").await.status, status);
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_run_of_wrong_passwords_is_in_the_audit_trail_without_what_was_typed() {
    let app = with_people("").await;
    let page = open(&app, &request("spa", &[])).await;
    for name in ["alice", "hunter2"] {
        for _ in 0..6 {
            page.allow(&app, name, "hunter3").await;
        }
    }
    app.beat().await;
    let rows = "select actor || cast(detail as text) from audit_events
                where action = 'sign_in_failed_run'";
    let rows = app.database.sql(rows);
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert!(
        rows.iter().all(|row| row.starts_with("somebody") && !row.contains("hunter")),
        "{rows:?}"
    );
    app.stop().await;
}

#[actix_web::test]
async fn a_flood_of_passwords_is_told_to_come_back_and_nobody_is_taken_for_wrong() {
    let app = with_people("[limits]\nfailures = \"off\"\nfailures_per_client = \"off\"\n").await;
    let page = open(&app, &request("spa", &[])).await;
    let answers = join_all((0..120).map(|_| page.allow(&app, "alice", PASSWORD))).await;
    let busy: Vec<_> = answers.iter().filter(|answer| answer.status == 503).collect();
    assert!(answers.iter().all(|answer| [303, 503].contains(&answer.status)));
    assert!(!busy.is_empty() && busy.len() < 120, "{}", busy.len());
    assert!(busy.iter().all(|answer| answer.header("retry-after") == "1"));
    app.stop().await;
}

#[actix_web::test]
async fn a_hash_of_less_work_is_made_anew_when_its_password_is_at_hand() {
    let app = with_people("").await;
    let weak = PasswordHash(weak_hash());
    let carol = add_user_with(&app, "carol", Some(&weak)).await;
    let page = open(&app, &request("spa", &[])).await;
    assert_eq!(page.allow(&app, "carol", "wrong").await.status, 400);
    let stored =
        async || users::get(&app.running.service.db, carol).await.unwrap().unwrap().password;
    assert!(stored().await.unwrap() == weak, "not by a wrong one");
    for _ in 0..2 {
        assert_eq!(page.allow(&app, "carol", PASSWORD).await.status, 303);
        let hash = stored().await.unwrap().0;
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_code_that_is_stored_while_the_answer_is_lost_is_the_one_that_is_sent() {
    use jeton::store::Fault;
    for fault in [Fault::CutAfterCommit, Fault::CutBeforeCommit] {
        let app = with_people("").await;
        let page = open(&app, &request("spa", &[])).await;
        app.running.service.db.inject([fault]);
        let code = parameter(&page.allow(&app, "alice", PASSWORD).await, "code").unwrap();
        assert_eq!(redeem(&app, "spa", &code, &[]).await.status, 200, "{fault:?}");
        app.stop().await;
    }
}

#[actix_web::test]
async fn what_is_kept_of_a_device_is_short_and_bends_no_terminal() {
    let app = with_people("").await;
    let page = open(&app, &request("spa", &[])).await;
    let agent = format!("Browser\t{}", "x".repeat(200));
    let headers = [("cookie", page.cookie.as_str()), ("user-agent", agent.as_str())];
    let filled_in = [("username", "alice"), ("password", PASSWORD)];
    let answer = page.submit_with(&app, &filled_in, &headers).await;
    redeem(&app, "spa", &parameter(&answer, "code").unwrap(), &[]).await;
    let kept = app.database.sql("select user_agent from families");
    assert_eq!(kept, [format!("Browser{}", "x".repeat(93))]);
    assert_eq!(app.database.sql("select network from families"), ["127.0.0.0/24"]);
    app.stop().await;
}

#[actix_web::test]
async fn everybody_who_signs_in_begins_a_family_of_their_own() {
    let app = with_people("").await;
    let one = sign_in(&app, "spa").await;
    let other = sign_in(&app, "spa").await;
    assert_ne!(one.claims["sid"], other.claims["sid"]);
    assert_eq!(one.claims["sub"], other.claims["sub"]);
    assert_ne!(one.refresh, other.refresh);
    app.stop().await;
}

#[actix_web::test]
async fn a_form_that_is_no_form_or_too_large_gets_a_page() {
    let app = with_people("").await;
    let text = [("content-type", "text/plain")];
    let answer = http::send(&app.public(), "POST", AUTHORIZE, &text, b"x").await;
    assert_eq!((answer.status, answer.header("content-type")), (400, "text/html; charset=utf-8"));
    let large = form(&[("x", &"a".repeat(70_000))]);
    let answer = http::send(&app.public(), "POST", AUTHORIZE, &[FORM], large.as_bytes()).await;
    assert_eq!((answer.status, answer.header("connection")), (413, "close"));
    app.stop().await;
}

#[actix_web::test]
async fn what_may_not_be_registered_is_named_by_its_key() {
    let app = with_people("").await;
    let desk = &app.running.desk;
    for (uris, what) in [
        ("[]", "authorization_code"),
        ("[\"http://app.example/cb\"]", "http is for"),
        ("[\"https://*.app.example/cb\"]", "wildcard"),
        ("[\"myapp:/cb\"]", "domain name"),
        ("[\"https://app.example/#x\"]", "fragment"),
        ("[\"https://a@app.example/\"]", "user name"),
    ] {
        let text = format!(
            "[[client]]\nid = \"new\"\nauth_method = \"none\"\ngrants = [\"authorization_code\"]\n\
             redirect_uris = {uris}\n"
        );
        let file = ApplyFile::parse(&text, app.database.directory.path()).unwrap();
        let refused = desk.apply(&file, Options::default(), app.clock.now(), |_| Ok(())).await;
        let said = refused.unwrap_err().to_string();
        assert!(said.contains("redirect_uris: ") && said.contains(what), "{said}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn no_log_holds_a_password_a_code_a_token_or_what_was_typed_for_a_name() {
    let database = TestDatabase::new();
    let directory = database.directory.path();
    let fixtures = format!("{}{}", crate::support::FIXTURES, crate::support::sign_in::PEOPLE);
    let apply = directory.join("fixtures.toml");
    std::fs::write(&apply, fixtures).unwrap();
    let directory = directory.to_str().unwrap();
    let args = ["--data-dir", directory, "--migrate", "--apply", apply.to_str().unwrap()];
    let env = [
        ("JETON__ISSUER", ISSUER),
        ("JETON__SERVER__PUBLIC", "127.0.0.1:0"),
        ("JETON__SERVER__OPERATIONS", "127.0.0.1:0"),
        ("JETON__DATABASE__URL", database.url.as_str()),
        ("JETON__DATABASE__POOLER", pooler_setting()),
        ("JETON__LOG__LEVEL", "trace"),
    ];
    let mut process = Process::serve(database.directory.path(), "people", &args, &env);
    let address = address(&process.ready().await["public"]);
    let db = database.open().await;
    let hash = Hashing::new(1).unwrap().hash(Zeroizing::new(PASSWORD.to_owned())).await.unwrap();
    let (id, alice) = (uuid::Uuid::max(), Username::parse("alice").unwrap());
    let hash = PasswordHash(hash);
    let add = db.write(async |tx| users::add(tx, id, &alice, Some(&hash), START).await).await;
    assert!(add.unwrap());

    let path = format!("{AUTHORIZE}?{}", request("spa", &[]));
    let page = Page::read(http::send(&address, "GET", &path, &[], b"").await, "");
    let sent = async |name: &str, password: &str| {
        let hidden = page.hidden.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let body: Vec<_> = hidden.chain([("username", name), ("password", password)]).collect();
        let headers = [FORM, ("cookie", page.cookie.as_str())];
        http::send(&address, "POST", AUTHORIZE, &headers, form(&body).as_bytes()).await
    };
    assert_eq!(sent("typed-a-password-here", "guessed-wrongly").await.status, 400);
    let code = parameter(&sent("alice", PASSWORD).await, "code").unwrap();
    let post = async |path: &str, body: &str| {
        let body = format!("{body}&client_id=spa");
        http::send(&address, "POST", path, &[FORM], body.as_bytes()).await
    };
    let answer = post("/oauth2/token", &redemption("spa", &code, &[])).await;
    let tokens = Tokens::read(&answer);
    // A life of refresh tokens: used, repeated, narrowed, forged, stolen; and of another that is asked
    // about and revoked.
    let refresh = async |token: &str, more: &str| {
        let form = format!("grant_type=refresh_token&refresh_token={token}{more}");
        post("/oauth2/token", &form).await
    };
    let second = Tokens::read(&refresh(&tokens.refresh, "").await);
    let again = Tokens::read(&refresh(&tokens.refresh, "").await);
    let third = Tokens::read(&refresh(&second.refresh, "&scope=read").await);
    let forged = format!("{}AAAA", &third.refresh[..third.refresh.len() - 4]);
    for refused in [&forged, &tokens.refresh, &third.refresh] {
        assert_eq!(refresh(refused, "").await.status, 400);
    }
    let (family, now) = (jeton::store::audit::row_id(START), jeton::clock::Clock::system().now());
    let stored = crate::support::session::signed_in("web", id, family, now);
    db.write(async |tx| jeton::store::families::add(tx, &stored).await).await.unwrap();
    let vault = jeton::secret::Vault::open(database.directory.path().join("root-secrets"), ISSUER);
    let vault = vault.unwrap().now();
    let owned = jeton::secret::RefreshToken { family, generation: 0 }.seal(&vault);
    let owned = owned.expose();
    for path in ["/oauth2/introspect", "/oauth2/revoke"] {
        let form = format!("token={owned}&token_type_hint=refresh_token");
        assert_eq!(http::token(&address, path, "web", SECRET, &form).await.status, 200);
        assert_eq!(post(path, &format!("token={}", third.refresh)).await.status / 100, {
            if path.ends_with("revoke") { 2 } else { 4 }
        });
    }

    let said = process.said();
    for event in
        ["sign_in_failed", "authorized", "refresh_reused", "refresh_mac_invalid", "retried"]
    {
        assert!(said.contains(event), "{event}: {said}");
    }
    let encoded = form(&[("", PASSWORD)]);
    let all = [&tokens, &second, &again, &third];
    let signatures = all.map(|tokens| tokens.access.rsplit('.').next().unwrap());
    // Neither whole nor without what its scanners know it by, nor its secret half alone.
    let refreshes: Vec<_> = all.iter().map(|tokens| tokens.refresh.as_str()).collect();
    let refreshes = [&refreshes[..], &[owned, &forged]].concat();
    let halves = refreshes.iter().map(|token| &token[token.len() - 40..]);
    let halves: Vec<_> = halves.chain(signatures).collect();
    let secrets = [
        PASSWORD,
        &encoded[1..],
        "guessed-wrongly",
        "typed-a-password-here",
        SECRET,
        &code,
        crate::support::sign_in::VERIFIER,
        page.cookie.split_once('=').unwrap().1,
        &hash.0,
    ];
    for secret in secrets.into_iter().chain(halves) {
        assert!(!said.contains(secret), "{secret}: {said}");
    }
}
