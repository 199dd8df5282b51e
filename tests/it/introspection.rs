//! Introspection of access tokens (RFC 7662), as an outsider sees it.

use std::time::Duration;

use jeton::domain::Algorithm;
use jeton::keys::TokenType;
use jeton::manage::apply::{ApplyFile, Options};
use jeton::manage::describe::ClientDescription;
use jeton::secret::WrittenSecret;
use serde_json::{Value, json};

use crate::support::forge::{self, Forger, form_value, parts};
use crate::support::refused::assert_refused;
use crate::support::sign_in::{Tokens, code, form, redeem, with_people};
use crate::support::{API, Answer, App, FIXTURES, OTHER, SECRET, TestDatabase, app, basic, http};

const PATH: &str = "/oauth2/introspect";

/// The caller says who it is and sends this form.
async fn ask(app: &App, client: &str, form: &str) -> Answer {
    http::token(&app.public(), PATH, client, SECRET, form).await
}

/// What the resource server of the API is told of a token, whatever characters are in it.
async fn told(app: &App, token: &str) -> Answer {
    ask(app, "rs", &format!("token={}", form_value(token))).await
}

/// All that a caller can see of an answer, but for the time and the request's own id.
fn seen(answer: &Answer) -> (u16, Vec<(String, String)>, Vec<u8>) {
    let mut headers = answer.headers.clone();
    headers.retain(|(name, _)| name != "date" && name != "x-request-id");
    headers.sort();
    (answer.status, headers, answer.body.clone())
}

/// The answer is the one that every inactive token gets, to the byte and to the header.
#[track_caller]
fn assert_inactive(answer: &Answer, why: &str) {
    assert_eq!(answer.status, 200, "{why}");
    assert_eq!(answer.body, br#"{"active":false}"#, "{why}");
    let (_, headers, _) = seen(answer);
    let expected = [
        ("cache-control", "no-store"),
        ("connection", "close"),
        ("content-length", "16"),
        ("content-type", "application/json"),
        ("pragma", "no-cache"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(headers, expected, "{why}");
}

#[actix_web::test]
async fn a_token_is_active_for_its_resource_server_and_its_client_until_it_is_revoked() {
    let app = App::start().await;
    let token = app.access_token("app", "scope=read").await;
    let answer = app.introspect("rs", &token).await.json();
    assert_eq!(answer["active"], true);
    assert_eq!((&answer["client_id"], &answer["scope"]), (&"app".into(), &"read".into()));
    assert!(app.is_active("app", &token).await, "its own client");
    assert!(!app.is_active("other-rs", &token).await, "another resource's server");
    assert!(!app.is_active("narrow", &token).await, "another client of the same resource");
    let other = app.access_token("app", "scope=read").await;
    assert_eq!(app.revoke("app", &token).await.status, 200);
    assert!(!app.is_active("rs", &token).await);
    assert!(app.is_active("rs", &other).await, "only the one token");
}

#[actix_web::test]
async fn what_is_no_token_at_all_is_inactive_and_never_an_error() {
    let app = App::start().await;
    let good = app.access_token("app", "").await;
    let long = |length: usize| "a".repeat(length);
    let all = [
        " ".to_owned(),
        ".".to_owned(),
        "..".to_owned(),
        "x".to_owned(),
        "x.y.z".to_owned(),
        "{\"active\":true}".to_owned(),
        "\0".to_owned(),
        format!("{good}\0"),
        format!("\0{good}"),
        format!("{good}\n"),
        format!("{good}\r\n"),
        format!(" {good}"),
        format!("{good} "),
        format!("{good}\u{e9}"),
        "\u{1F511}".to_owned(),
        "\u{feff}".to_owned() + &good,
        "'; drop table revocations; --".to_owned(),
        long(10_240),
        long(60_000),
        format!("{good}{}", long(10_240)),
        format!("{}.{}.{}", long(10_240), long(10_240), long(10_240)),
        ".".repeat(10_240),
        [parts(&good)[0], &long(14_000), parts(&good)[2]].join("."),
        [parts(&good)[0], parts(&good)[1], &long(14_000)].join("."),
    ];
    for token in &all {
        let shown = token.chars().take(40).collect::<String>();
        assert_inactive(&told(&app, token).await, &format!("{shown:?}… of {}", token.len()));
    }
    let counted =
        app.refusals("token_unknown").await + app.refusals("token_signature_invalid").await;
    let sent = f64::from(u32::try_from(all.len()).unwrap());
    assert!((counted - sent).abs() < 0.1, "{counted}");
    assert!(app.is_active("rs", &good).await);
}

#[actix_web::test]
async fn a_token_that_is_altered_anywhere_is_inactive_even_when_the_genuine_one_was_just_seen() {
    let app = App::start().await;
    let good = app.access_token("app", "scope=read").await;
    assert!(app.is_active("rs", &good).await);
    for at in (0..good.len()).step_by(3) {
        let mut altered = good.clone().into_bytes();
        altered[at] = match altered[at] {
            b'.' => b'-',
            b'A' => b'B',
            _ => b'A',
        };
        let altered = String::from_utf8(altered).unwrap();
        assert_inactive(&told(&app, &altered).await, &format!("byte {at}"));
    }
    let other = app.access_token("app", "scope=write").await;
    let ([header, payload, signature], [_, others, theirs]) = (parts(&good), parts(&other));
    for mixed in [
        [header, others, signature],
        [header, payload, theirs],
        [header, payload, ""],
        [header, "", signature],
        ["", payload, signature],
        [payload, header, signature],
    ] {
        assert_inactive(&told(&app, &mixed.join(".")).await, &format!("{mixed:?}"));
    }
    assert!(app.is_active("rs", &good).await);
}

#[actix_web::test]
async fn a_token_of_another_issuer_or_of_another_key_under_our_kid_is_inactive() {
    let app = App::start().await;
    let another = App::start().await;
    let good = app.access_token("app", "").await;
    assert_inactive(&told(&app, &another.access_token("app", "").await).await, "another issuer's");
    let [header, payload, _] = parts(&good);
    let forged = Forger::new().sign_parts(header, payload);
    assert_inactive(&told(&app, &forged).await, "another key under our header");
    assert!((app.refusals("token_signature_invalid").await - 1.0).abs() < 0.1);
    let mut claims = forge::claims(&app);
    claims["iss"] = "https://elsewhere.example.test".into();
    let signed = forge::signed_by_us(&app, TokenType::Access, claims.to_string().as_bytes());
    assert_inactive(&told(&app, &signed).await, "our key, another issuer");
    assert!((app.refusals("token_claims_invalid").await - 1.0).abs() < 0.1);
}

#[actix_web::test]
async fn every_cause_of_inactivity_gets_the_same_answer_to_the_byte() {
    let app = App::start().await;
    let token = async |client: &str| app.access_token(client, "").await;
    let (revoked, disabled, deleted, expired) =
        (token("app").await, token("off").await, token("narrow").await, token("app").await);
    let wrong_audience = token("rich").await;
    assert_eq!(app.revoke("app", &revoked).await.status, 200);
    let desk = &app.running.desk;
    app.clock.advance(Duration::from_millis(1));
    desk.disable_client("off", app.clock.now()).await.unwrap();
    desk.delete_client("narrow", app.clock.now()).await.unwrap();
    app.beat().await;
    for (token, caller, cause) in [
        ("x", "rs", "token_unknown"),
        (&revoked, "rs", "token_revoked"),
        (&disabled, "rs", "client_disabled"),
        (&deleted, "rs", "client_unknown"),
        (&wrong_audience, "rs", "token_not_for_caller"),
        (&expired, "other-rs", "token_not_for_caller"),
    ] {
        let before = app.refusals(cause).await;
        assert_inactive(&app.introspect(caller, token).await, cause);
        assert!(
            (app.refusals(cause).await - before - 1.0).abs() < 0.1,
            "for another cause: {cause}"
        );
    }
    assert!(app.is_active("rs", &expired).await);
    app.clock.advance(Duration::from_secs(600));
    assert_inactive(&app.introspect("rs", &expired).await, "expired");
    assert!((app.refusals("token_expired").await - 1.0).abs() < 0.1);
}

#[actix_web::test]
async fn a_token_is_active_up_to_its_exp_and_not_at_it() {
    let app = App::start().await;
    let token = app.access_token("app", "").await;
    let exp = app.introspect("rs", &token).await.json()["exp"].as_i64().unwrap();
    assert_eq!(exp, app::START.seconds() + 600);
    app.clock.advance(Duration::from_micros(599_999_999));
    assert!(app.is_active("rs", &token).await);
    app.clock.advance(Duration::from_micros(1));
    assert!(!app.is_active("rs", &token).await);
}

#[actix_web::test]
async fn disabled_is_a_state_and_a_client_that_is_enabled_again_has_its_tokens_back() {
    let app = App::start().await;
    let token = app.access_token("off", "").await;
    app.running.desk.disable_client("off", app.clock.now()).await.unwrap();
    app.beat().await;
    assert_inactive(&app.introspect("rs", &token).await, "disabled");
    app.running.desk.enable_client("off", app.clock.now()).await.unwrap();
    app.beat().await;
    assert!(app.is_active("rs", &token).await);
}

#[actix_web::test]
async fn whoever_is_registered_under_the_name_of_a_deleted_client_does_not_come_into_its_tokens() {
    let app = App::start().await;
    let heir = ClientDescription {
        id: "narrow".to_owned(),
        secret: Some(WrittenSecret::new(SECRET)),
        resources: vec![API.to_owned()],
        ..Default::default()
    };
    for pruned in [false, true] {
        let token = app.access_token("narrow", "").await;
        let bystander = app.access_token("app", "").await;
        app.clock.advance(Duration::from_millis(10));
        let (desk, now) = (&app.running.desk, app.clock.now());
        if pruned {
            let rest = FIXTURES.replacen("id = \"narrow\"", "id = \"another\"", 1);
            let file = ApplyFile::parse(&rest, app.database.directory.path()).unwrap();
            let options = Options { prune: true, ..Options::default() };
            desk.apply(&file, options, now, |_| Ok(())).await.unwrap();
        } else {
            desk.delete_client("narrow", now).await.unwrap();
        }
        app.beat().await;
        assert_inactive(&app.introspect("rs", &token).await, "deleted");
        desk.create_client(&heir, now).await.unwrap();
        app.beat().await;
        assert_inactive(&app.introspect("rs", &token).await, "created again");
        assert_inactive(&app.introspect("narrow", &token).await, "to its heir too");
        assert!(app.is_active("rs", &app.access_token("narrow", "").await).await, "a new one");
        assert!(app.is_active("rs", &bystander).await, "another client's");
        app.clock.advance(Duration::from_secs(1));
    }
    // It is remembered for as long as the longest token may live.
    let ends = "select cast(expires_at - issued_before as text) from revocations";
    assert_eq!(app.database.sql(ends), ["3660000000", "3660000000"]);
}

#[actix_web::test]
async fn a_resource_server_that_is_disabled_learns_nothing() {
    let app = App::start().await;
    let token = app.access_token("app", "").await;
    app.running.desk.disable_client("rs", app.clock.now()).await.unwrap();
    app.beat().await;
    assert_refused(&app.introspect("rs", &token).await, 401, "invalid_client");
}

#[actix_web::test]
async fn token_missing_empty_or_repeated_is_an_invalid_request() {
    let app = App::start().await;
    for form in ["", "token=", "token", "token_type_hint=access_token", "tokens=x", "Token=x"] {
        assert_refused(&ask(&app, "rs", form).await, 400, "invalid_request");
    }
    for form in ["token=x&token=x", "token=x&token=", "token=x&client_id=rs&client_id=rs"] {
        assert_refused(&ask(&app, "rs", form).await, 400, "invalid_request");
    }
}

#[actix_web::test]
async fn of_a_sign_in_with_two_resources_each_resource_server_is_told_its_own_part_of_the_scope() {
    let app = with_people("").await;
    let both = [("resource", API), ("resource", OTHER)];
    let code = code(&app, "two", &both).await;
    let first = Tokens::read(&redeem(&app, "two", &code, &[("resource", API)]).await);
    let next = async |refresh: &str, more: &[(&str, &str)]| {
        let usual = [("grant_type", "refresh_token"), ("refresh_token", refresh)];
        let body = form(&[&usual, more].concat());
        Tokens::read(&crate::support::sign_in::ask(&app, "two", &body).await)
    };
    let second = next(&first.refresh, &[("resource", OTHER)]).await;
    let third = next(&second.refresh, &[("resource", API), ("scope", "read")]).await;
    let fourth = next(&third.refresh, &[("resource", API)]).await;
    for (tokens, entitled, stranger, audience, scope) in [
        (&first, "rs", "other-rs", API, "read write"),
        (&second, "other-rs", "rs", OTHER, "list"),
        (&third, "rs", "other-rs", API, "read"),
        (&fourth, "rs", "other-rs", API, "read write"),
    ] {
        let told = app.introspect(entitled, &tokens.access).await.json();
        assert_eq!((&told["active"], &told["client_id"]), (&true.into(), &"two".into()));
        assert_eq!((&told["aud"], &told["scope"]), (&audience.into(), &scope.into()));
        assert_eq!((&told["sub"], &told["sid"]), (&first.claims["sub"], &first.claims["sid"]));
        assert_inactive(&app.introspect(stranger, &tokens.access).await, scope);
    }
}

#[actix_web::test]
async fn a_hint_that_is_wrong_unknown_or_odd_changes_nothing() {
    let app = App::start().await;
    let token = app.access_token("app", "").await;
    let plain = app.introspect("rs", &token).await;
    assert_eq!(plain.json()["active"], true);
    for hint in ["access_token", "refresh_token", "id_token", "", "%00", "%C3%A9", "a%20b"] {
        let hinted = ask(&app, "rs", &format!("token={token}&token_type_hint={hint}")).await;
        assert_eq!(seen(&hinted), seen(&plain), "{hint:?}");
        let none = ask(&app, "rs", &format!("token=x&token_type_hint={hint}")).await;
        assert_inactive(&none, hint);
    }
}

#[actix_web::test]
async fn only_post_is_answered_and_only_forms_are_read() {
    let app = App::start().await;
    let token = app.access_token("app", "").await;
    let credential = basic("rs", SECRET);
    let authorization = ("authorization", credential.as_str());
    for method in ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let path = format!("{PATH}?token={token}");
        let answer = http::send(&app.public(), method, &path, &[authorization], b"").await;
        assert_eq!((answer.status, answer.header("allow")), (405, "POST"), "{method}");
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    let path = format!("{PATH}?token={token}");
    let queried = app.post(&path, &[authorization], "").await;
    assert_refused(&queried, 400, "invalid_request");
    for kind in ["application/json", "text/plain", "multipart/form-data; boundary=x"] {
        let headers = [authorization, ("content-type", kind)];
        let body = format!("token={token}");
        let answer = http::send(&app.public(), "POST", PATH, &headers, body.as_bytes()).await;
        assert_refused(&answer, 400, "invalid_request");
    }
    for broken in ["token=%FF", "token=%zz", "token=%", "token=%C3"] {
        assert_refused(&ask(&app, "rs", broken).await, 400, "invalid_request");
    }
    assert_refused(&ask(&app, "rs", &"a".repeat(66_000)).await, 413, "invalid_request");
}

#[actix_web::test]
async fn whoever_does_not_prove_who_it_is_gets_a_401_whatever_the_token() {
    let app = App::start().await;
    let good = app.access_token("app", "").await;
    let (wrong, nobody) = (basic("rs", "wrong-secret-of-rs"), basic("nobody", SECRET));
    for token in [good.as_str(), "x"] {
        for (authorization, more) in [
            (None, ""),
            (None, "&client_id=public"),
            (None, "&client_id=app"),
            (None, "&client_id=nobody"),
            (None, "&client_id=rs&client_secret=wrong-secret-of-rs"),
            // Right, but this client is registered for another method.
            (None, "&client_id=rs&client_secret=correct-horse-battery-staple"),
            (Some(wrong.as_str()), ""),
            (Some(nobody.as_str()), ""),
            (Some("Digest x"), ""),
        ] {
            let authorization: Vec<_> =
                authorization.iter().map(|value| ("authorization", *value)).collect();
            let answer = app.post(PATH, &authorization, &format!("token={token}{more}")).await;
            assert_refused(&answer, 401, "invalid_client");
        }
    }
    // Who the caller is comes first: an error about `token` would be an answer to a stranger.
    assert_refused(&app.post(PATH, &[], "").await, 401, "invalid_client");
    let posted = format!("token={good}&client_id=poster&client_secret={SECRET}");
    assert_inactive(
        &app.post(PATH, &[], &posted).await,
        "a client that may, and the token is not its own",
    );
}

#[actix_web::test]
async fn an_answer_has_the_tokens_members_in_their_types_and_no_other() {
    let app = App::start().await;
    let token = app.access_token("app", "scope=read+write").await;
    let answer = app.introspect("rs", &token).await;
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!((answer.header("cache-control"), answer.header("pragma")), ("no-store", "no-cache"));
    let body = answer.json();
    let jti = forge::payload(&token)["jti"].clone();
    let iat = app::START.seconds();
    let expected = json!({
        "active": true, "token_type": "Bearer", "iss": app.running.issuer.as_str(), "aud": API,
        "sub": "app", "client_id": "app", "iat": iat, "exp": iat + 600, "jti": jti,
        "scope": "read write",
    });
    assert_eq!(body, expected);
    let text = String::from_utf8(answer.body).unwrap();
    assert!(text.contains(&format!("\"iat\":{iat},\"exp\":{},", iat + 600)), "{text}");
    let bare = app.access_token("bare", "").await;
    let bare = ask(&app, "bare", &format!("token={bare}")).await.json();
    assert!(bare["active"] == true && bare.get("scope").is_none(), "{bare}");
}

/// Counts the members of the outermost object by reading its text, so that none can hide.
fn members(text: &[u8]) -> Vec<String> {
    struct Names(Vec<String>);
    impl<'de> serde::Deserialize<'de> for Names {
        fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Names;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(
                    self,
                    mut map: A,
                ) -> Result<Names, A::Error> {
                    let mut names = Vec::new();
                    while let Some((name, _)) = map.next_entry::<String, Value>()? {
                        names.push(name);
                    }
                    Ok(Names(names))
                }
            }
            from.deserialize_map(Visitor)
        }
    }
    serde_json::from_slice::<Names>(text).unwrap().0
}

#[actix_web::test]
async fn extra_claims_are_shown_and_no_member_occurs_twice() {
    let app = App::start().await;
    let token = app.access_token("rich", "").await;
    let answer = app.introspect("other-rs", &token).await;
    let body = answer.json();
    assert_eq!((&body["tenant"], &body["tier"]), (&json!("t1"), &json!(2)));
    assert_eq!((&body["roles"], &body["active"]), (&json!(["a", "b"]), &json!(true)));
    let mut names = members(&answer.body);
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count, "{}", String::from_utf8_lossy(&answer.body));
}

#[actix_web::test]
async fn an_extra_claim_cannot_pose_as_what_introspection_says() {
    let app = App::start().await;
    for name in ["active", "token_type", "token_introspection", "exp", "username", "cnf"] {
        let text = format!(
            "[[client]]\nid = \"posing\"\nsecret = \"{SECRET}\"\nclaims = {{ {name} = false }}\n"
        );
        let file = ApplyFile::parse(&text, app.database.directory.path());
        let options = Options::default();
        let refused = match file {
            Ok(file) => {
                app.running.desk.apply(&file, options, app::START, |_| Ok(())).await.is_err()
            }
            Err(_) => true,
        };
        assert!(refused, "{name}");
    }
    // A row that an older version or another hand wrote.
    for claims in [r#"{"active":false}"#, r#"{"token_type":"DPoP"}"#] {
        let put = format!("update clients set claims = '{claims}' where id = 'rich'");
        app.database.change(&put).await;
        let told = "update versions set number = number + 1 where part = 'directory'";
        app.database.change(told).await;
        app.beat().await;
        let answer = app.token("rich", "grant_type=client_credentials").await;
        assert_ne!(answer.status, 200, "a token with {claims}");
    }
}

#[actix_web::test]
async fn a_token_of_any_line_is_active_and_stays_so_when_its_key_retires() {
    let lines = "[keys]\nalgorithms = [\"ES256\", \"Ed25519\"]\nperiod = \"30d\"\n";
    let fixtures =
        FIXTURES.replacen("id = \"app\"\n", "id = \"app\"\nalgorithm = \"Ed25519\"\n", 1);
    let app = App::on(TestDatabase::new(), lines, &fixtures).await;
    let token = app.access_token("app", "").await;
    assert_eq!(forge::header(&token)["alg"], "Ed25519");
    assert!(app.is_active("rs", &token).await);
    let keys = app.running.service.mirror.keys();
    let (key, _) = keys.signer(Algorithm::Ed25519, app.clock.now()).unwrap();
    let last = (key.times.sign_until - Duration::from_secs(1)).since(app::START);
    app.advance(last).await;
    let late = app.access_token("app", "").await;
    app.advance(Duration::from_secs(300)).await;
    let kid = |token: &str| forge::header(token)["kid"].clone();
    assert_ne!(kid(&app.access_token("app", "").await), kid(&late), "its key has retired");
    assert!(app.is_active("rs", &late).await);
    assert!(!app.is_active("rs", &token).await, "over long ago");
}

#[actix_web::test]
async fn a_token_whose_key_turns_out_stolen_is_inactive_even_if_it_was_checked_before() {
    let app = App::start().await;
    let (seen_before, unseen) =
        (app.access_token("app", "").await, app.access_token("app", "").await);
    assert!(app.is_active("rs", &seen_before).await);
    let kid = forge::header(&unseen)["kid"].as_str().unwrap().to_owned();
    let stolen = format!("update signing_keys set compromised_at = 1 where kid = '{kid}'");
    app.database.change(&stolen).await;
    let told = "update versions set number = number + 1 where part = 'keys'";
    app.database.change(told).await;
    app.beat().await;
    for token in [&seen_before, &unseen] {
        assert_inactive(&app.introspect("rs", token).await, "its key is stolen");
        assert_eq!(app.revoke("app", token).await.status, 200);
    }
    assert!(app.refusals("key_compromised").await > 0.9);
}

#[actix_web::test]
async fn the_names_of_other_resources_are_no_key_to_their_tokens() {
    let app = App::start().await;
    let token = app.access_token("both", &format!("resource={OTHER}")).await;
    assert!(app.is_active("other-rs", &token).await);
    assert!(app.is_active("both", &token).await, "its own client");
    assert!(!app.is_active("rs", &token).await);
    let wider = ask(&app, "rs", &format!("token={token}&resource={OTHER}&client_id=rs")).await;
    assert_inactive(&wider, "the audience is not the caller's to choose");
}
