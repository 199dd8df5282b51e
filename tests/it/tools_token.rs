//! `jeton token`: what a token says, and whether a careful resource server would take it.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jeton::clock::Clock;
use jeton::domain::{Algorithm, Issuer};
use jeton::keys::{PrivateKey, PublicJwk, Signer, TokenType};
use jeton::manage::finding::{Finding, Verdict};
use jeton::manage::token::{Evidence, Expected, Revocation, Token, explain};
use serde_json::{Value, json};

use crate::support::fake::{Fake, ok, status};
use crate::support::process::{address, jeton, jeton_reading};
use crate::support::{API, FIXTURES, Process, SECRET, http};

const ISSUER: &str = "https://id.example.test";

fn now() -> i64 {
    Clock::system().now().seconds()
}

/// Claims that pass.
fn claims(issuer: &str) -> Value {
    let now = now();
    json!({ "iss": issuer, "aud": API, "sub": "app", "client_id": "app", "jti": "1",
            "iat": now - 120, "exp": now + 240 })
}

/// A key, and its entry in a JWKS.
struct Key(Signer, Value);

impl Key {
    fn new(algorithm: Algorithm) -> Self {
        let private = PrivateKey::generate(algorithm).unwrap();
        let signer = Signer::new(&private).unwrap();
        let entry = PublicJwk::of(&private).unwrap().entry(signer.kid(), algorithm);
        Self(signer, serde_json::from_str(&entry).unwrap())
    }

    fn sign(&self, claims: &Value) -> String {
        self.0.sign(TokenType::Access, claims.to_string().as_bytes()).unwrap()
    }
}

/// A token with this header, these claims as they stand, and no signature worth the name.
fn forged(header: &str, claims: &str) -> String {
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.{}", encode(header), encode(claims), encode("not a signature"))
}

fn evidence(jwks: Value) -> Evidence {
    Evidence {
        metadata: Ok("here".to_owned()),
        jwks: Ok(jwks),
        schedule: None,
        revocation: Revocation::NotAsked("nobody asked".to_owned()),
    }
}

fn look(token: &str, evidence: &Evidence, audience: Option<&str>) -> Vec<Finding> {
    let issuer = Issuer::parse(ISSUER).unwrap();
    let expected = Expected { issuer: &issuer, audience };
    let found = explain(&Token::read(token).unwrap(), &expected, evidence, Clock::system().now());
    // Success without a signature that was checked would be the worst of lies.
    let signed = found.iter().any(|one| one.check == "signature" && one.verdict == Verdict::Good);
    let passes = found.iter().all(|one| one.verdict != Verdict::Bad);
    assert!(signed || !passes, "{found:?}");
    found
}

#[track_caller]
fn assert_found(found: &[Finding], check: &str, verdict: Verdict, part: &str) {
    let one = found.iter().find(|one| one.check == check);
    let one = one.unwrap_or_else(|| panic!("no {check}: {found:?}"));
    assert!(one.verdict == verdict && one.what.contains(part), "{verdict:?} {part}: {one:?}");
}

#[test]
fn inspect_shows_what_a_token_says_and_that_nothing_of_it_is_verified() {
    let now = now();
    let claims =
        json!({ "iss": "x", "iat": now - 150, "exp": now + 3600 * 2 + 30, "note": "a\u{1b}b" });
    let token = forged(r#"{"alg":"ES256","typ":"at+jwt"}"#, &claims.to_string());
    let done = jeton_reading(&format!("{token}\n"), &["token", "inspect", "-"], &[]);
    let out = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success() && out.starts_with("NOT VERIFIED"), "{out}");
    for part in ["2m ", "in 2h", "Z, ", r"a\u{1b}b", "at+jwt", "15 bytes, not verified"] {
        assert!(out.contains(part), "{part}: {out}");
    }
    assert!(!out.contains('\u{1b}') && !out.contains(&token));
    let done = jeton_reading(&token, &["token", "inspect", "--json"], &[]);
    let view: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!((&view["verified"], &view["claims"]), (&json!(false), &claims));
    assert_eq!(view["times"][0]["claim"], "iat");
}

#[test]
fn a_token_in_an_argument_is_refused_and_not_repeated() {
    let token = forged(r#"{"alg":"ES256"}"#, "{}");
    let jwe = "eyJhbGciOiJub25lIn0";
    for args in [
        vec!["token", "inspect", &token],
        vec!["token", "inspect", "-", &token],
        vec!["token", "inspect", "opaque-handle"],
        vec!["token", "explain", "--issuer", ISSUER, &token],
        vec!["token", "explain", &token],
        vec!["token", &token],
        vec!["token", "inspect", "--token", jwe],
        vec![jwe],
        vec!["revoke", "jrt_canary"],
    ] {
        let done = jeton(&args, &[]);
        let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
        assert!(matches!(done.status.code(), Some(1 | 2)), "{args:?}: {said}");
        assert!(said.contains("never an argument"), "{args:?}: {said}");
        assert!(!said.contains("eyJ") && !said.contains("opaque-handle"), "{said}");
        assert!(!said.contains("jrt_"), "{said}");
    }
}

#[test]
fn what_is_no_token_is_refused_with_the_reason() {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let (object, list) = (part("{}"), part("[]"));
    let twice = part(r#"{"alg":"ES256","alg":"none"}"#);
    let deep = part(&format!("{{\"a\":{}1{}}}", "[".repeat(5000), "]".repeat(5000)));
    let huge = part(r#"{"exp":1e400}"#);
    for (text, why) in [
        ("handle".to_owned(), "no parts"),
        (format!("{object}.{object}"), "three parts"),
        (format!("{object}.{object}.a.a.a"), "encrypted"),
        (format!("{object}=.{object}.AA"), "header is not base64url"),
        (format!("{object}.{object}.A+"), "signature is not base64url"),
        (format!("{object}.{object}.AB"), "signature is not base64url"),
        (format!("{object}. {object}.AA"), "claims is not base64url"),
        (format!("{object}.{list}.AA"), "claims is not a JSON object"),
        (format!("{list}.{object}.AA"), "header is not a JSON object"),
        (format!("{twice}.{object}.AA"), "header names a member twice"),
        (format!("{object}.{deep}.AA"), "claims is not a JSON object"),
        (format!("{object}.{huge}.AA"), "claims is not a JSON object"),
        (format!("{object}.{}.AA", URL_SAFE_NO_PAD.encode([255])), "claims is not a JSON object"),
    ] {
        let said = Token::read(&text).unwrap_err();
        assert!(said.contains(why), "{why}: {said}");
        let done = jeton_reading(&text, &["token", "explain", "-", "--issuer", ISSUER], &[]);
        let out = String::from_utf8(done.stdout).unwrap();
        assert_eq!(done.status.code(), Some(1));
        assert!(out.starts_with("✗ form") && out.contains("? signature"), "{out}");
    }
    let done = jeton_reading(&"a".repeat(70_000), &["token", "inspect", "-"], &[]);
    assert!(String::from_utf8_lossy(&done.stderr).contains("64 KiB"));
    assert_eq!(jeton_reading("", &["token", "inspect", "-"], &[]).status.code(), Some(1));
}

#[test]
fn a_token_of_each_algorithm_passes_and_one_that_was_altered_does_not() {
    for algorithm in Algorithm::ALL {
        let key = Key::new(algorithm);
        let other = Key::new(algorithm);
        let jwks = evidence(json!({ "keys": [7, other.1, { "kid": 7 }, key.1] }));
        let token = key.sign(&claims(ISSUER));
        let found = look(&token, &jwks, Some(API));
        let wrong = found.iter().find(|one| !matches!(one.verdict, Verdict::Good));
        assert_eq!(wrong.map(|one| one.check), Some("revocation"), "{algorithm}: {found:?}");

        let (head, signature) = token.rsplit_once('.').unwrap();
        let body = URL_SAFE_NO_PAD.encode(json!({ "iss": ISSUER, "sub": "root" }).to_string());
        let altered = format!("{}.{body}.{signature}", head.split('.').next().unwrap());
        assert_found(&look(&altered, &jwks, None), "signature", Verdict::Bad, "altered");
        let cut = format!("{head}.");
        assert_found(&look(&cut, &jwks, None), "signature", Verdict::Bad, "");
        // Another key under this key's name.
        let mut swapped = other.1.clone();
        swapped["kid"] = key.1["kid"].clone();
        let found = look(&token, &evidence(json!({ "keys": [swapped] })), None);
        assert_found(&found, "signature", Verdict::Bad, "not this key's");
    }
}

#[test]
fn an_algorithm_that_anybody_could_sign_with_is_refused() {
    let key = Key::new(Algorithm::Es256);
    let jwks = evidence(json!({ "keys": [key.1] }));
    let kid = key.0.kid();
    for (alg, why) in [
        (r#""none""#, "nobody signed"),
        (r#""NoNe""#, "nobody signed"),
        (r#""HS256""#, "both sides know"),
        (r#""RS512""#, "none of ES256"),
        ("7", "names none"),
        ("null", "names none"),
    ] {
        let token = forged(&format!(r#"{{"alg":{alg},"kid":"{kid}"}}"#), "{}");
        let found = look(&token, &jwks, None);
        assert_found(&found, "algorithm", Verdict::Bad, why);
        assert_found(&found, "signature", Verdict::Unknown, "no algorithm");
    }
    // A key is for the algorithm that the JWKS says.
    let token = forged(&format!(r#"{{"alg":"RS256","kid":"{kid}"}}"#), "{}");
    assert_found(&look(&token, &jwks, None), "signature", Verdict::Bad, "another algorithm");
    let mut silent = key.1.clone();
    silent.as_object_mut().unwrap().remove("alg");
    let jwks = evidence(json!({ "keys": [silent] }));
    assert_found(&look(&token, &jwks, None), "signature", Verdict::Bad, "none of this algorithm");
}

#[test]
fn the_type_the_issuer_and_the_audience_are_compared() {
    let jwks = evidence(json!({ "keys": [] }));
    for (header, verdict, why) in [
        (r#"{"typ":"at+jwt"}"#, Verdict::Good, "at+jwt"),
        (r#"{"typ":"Application/AT+JWT"}"#, Verdict::Good, "at+jwt"),
        (r#"{"typ":"JWT"}"#, Verdict::Bad, "not at+jwt"),
        (r#"{"typ":"application/"}"#, Verdict::Bad, "not at+jwt"),
        (r#"{"typ":"ä+jwt-ääääääääääää"}"#, Verdict::Bad, "not at+jwt"),
        (r#"{"typ":7}"#, Verdict::Bad, "not a text"),
        ("{}", Verdict::Bad, "there is none"),
    ] {
        assert_found(&look(&forged(header, "{}"), &jwks, None), "type", verdict, why);
    }
    let critical = look(&forged(r#"{"crit":["b64"],"b64":false}"#, "{}"), &jwks, None);
    assert_found(&critical, "crit", Verdict::Bad, "must be understood");
    for (claims, verdict, why) in [
        (json!({ "iss": ISSUER }), Verdict::Good, ISSUER),
        (json!({ "iss": format!("{ISSUER}/") }), Verdict::Bad, "byte for byte"),
        (json!({ "iss": [ISSUER] }), Verdict::Bad, "not a text"),
        (json!({}), Verdict::Bad, "names none"),
    ] {
        let found = look(&forged("{}", &claims.to_string()), &jwks, None);
        assert_found(&found, "issuer", verdict, why);
    }
    for (aud, expected, verdict, why) in [
        (json!(API), Some(API), Verdict::Good, API),
        (json!(["x", API]), Some(API), Verdict::Good, API),
        (json!("https://api.example.test"), Some(API), Verdict::Bad, "byte for byte"),
        (json!([]), Some(API), Verdict::Bad, "byte for byte"),
        (json!([API, 7]), Some(API), Verdict::Bad, "neither"),
        (json!({}), Some(API), Verdict::Bad, "neither"),
        (json!(API), None, Verdict::Unknown, "--audience"),
    ] {
        let found = look(&forged("{}", &json!({ "aud": aud }).to_string()), &jwks, expected);
        assert_found(&found, "audience", verdict, why);
    }
}

#[test]
fn times_that_are_no_times_give_an_answer_and_never_a_panic() {
    let jwks = evidence(json!({ "keys": [] }));
    let (past, soon, later) = (now() - 150, now() + 30, now() + 3600);
    for (claim, value, verdict, why) in [
        ("exp", later.to_string(), Verdict::Good, "in "),
        ("exp", past.to_string(), Verdict::Bad, "has expired: "),
        ("exp", "1e300".to_owned(), Verdict::Bad, "not a whole number"),
        ("exp", format!("{later}.5"), Verdict::Bad, "not a whole number"),
        ("exp", "18446744073709551615".to_owned(), Verdict::Bad, "between 1970 and 9999"),
        ("exp", "9223372036854775807".to_owned(), Verdict::Bad, "between 1970 and 9999"),
        ("exp", "-9223372036854775808".to_owned(), Verdict::Bad, "between 1970 and 9999"),
        ("exp", "99999999999999999999999999".to_owned(), Verdict::Bad, "not a whole number"),
        ("exp", format!("\"{later}\""), Verdict::Bad, "a text"),
        ("exp", "null".to_owned(), Verdict::Bad, "not a number"),
        ("iat", past.to_string(), Verdict::Good, "2m "),
        ("iat", soon.to_string(), Verdict::Unknown, "ahead of ours"),
        ("iat", later.to_string(), Verdict::Bad, "from the future"),
        ("iat", "-1".to_owned(), Verdict::Bad, "between 1970 and 9999"),
        ("nbf", past.to_string(), Verdict::Good, "ago"),
        ("nbf", soon.to_string(), Verdict::Bad, "not yet"),
        ("nbf", "[]".to_owned(), Verdict::Bad, "not a number"),
    ] {
        let token = forged("{}", &format!(r#"{{"{claim}":{value}}}"#));
        assert_found(&look(&token, &jwks, None), claim, verdict, why);
        let shown = jeton_reading(&token, &["token", "inspect", "-"], &[]);
        assert!(shown.status.success(), "{claim} {value}: {shown:?}");
    }
    let none = look(&forged("{}", "{}"), &jwks, None);
    assert_found(&none, "exp", Verdict::Bad, "does not say");
    assert_found(&none, "iat", Verdict::Bad, "does not say");
    assert!(none.iter().all(|one| one.check != "nbf"));
}

#[test]
fn a_key_is_explained_by_its_stage_and_a_missing_one_by_what_may_have_happened() {
    let key = Key::new(Algorithm::Es256);
    let (token, kid) = (key.sign(&claims(ISSUER)), key.0.kid());
    let jwks = json!({ "keys": [key.1] });
    for (stage, verdict, part) in [
        ("active", Verdict::Good, "signs now, and stops in 59m"),
        ("retiring", Verdict::Good, "leaves the JWKS in 1h 59m"),
        ("published", Verdict::Bad, "signed nothing yet, signs in 29m"),
        ("mystery", Verdict::Good, "in the JWKS"),
    ] {
        let schedule = json!({ "keys": [{ "kid": kid, "stage": stage, "activate_at": now() + 1799,
            "sign_until": now() + 3599, "remove_at": now() + 7199 }] });
        let with = Evidence { schedule: Some(schedule), ..evidence(jwks.clone()) };
        assert_found(&look(&token, &with, None), "key", verdict, part);
    }
    for broken in [json!({ "keys": 7 }), json!({ "keys": [7, { "kid": kid, "stage": [] }] })] {
        let with = Evidence { schedule: Some(broken), ..evidence(jwks.clone()) };
        assert_found(&look(&token, &with, None), "key", Verdict::Good, "in the JWKS");
    }
    let missing = look(&token, &evidence(json!({ "keys": [] })), None);
    assert_found(&missing, "key", Verdict::Bad, "withdrawn as stolen");
    let mut old = claims(ISSUER);
    old["exp"] = json!(now() - 5);
    let expired = look(&key.sign(&old), &evidence(json!({ "keys": [] })), None);
    assert_found(&expired, "key", Verdict::Bad, "the token has expired");
    assert_found(&look(&token, &evidence(json!([])), None), "key", Verdict::Bad, "no list");
    let away = Evidence { jwks: Err("nobody answers".to_owned()), ..evidence(json!({})) };
    assert_found(&look(&token, &away, None), "key", Verdict::Bad, "nobody answers");
    assert_found(&look(&token, &away, None), "signature", Verdict::Unknown, "nobody answers");
    // Without a kid every key is tried; with a strange one none.
    let nameless = forged(r#"{"alg":"ES256"}"#, "{}");
    let found = look(&nameless, &evidence(jwks.clone()), None);
    assert_found(&found, "key", Verdict::Unknown, "are tried");
    assert_found(&look(&nameless, &evidence(json!({ "keys": [] })), None), "key", Verdict::Bad, "");
    let strange = forged(r#"{"alg":"ES256","kid":{"a":1}}"#, "{}");
    assert_found(&look(&strange, &evidence(jwks), None), "key", Verdict::Bad, "not a text");
}

/// Runs `token explain` and gives its status and its output.
fn run(token: &str, issuer: &str, more: &[&str]) -> (Option<i32>, String) {
    let args = [&["token", "explain", "-", "--issuer", issuer][..], more].concat();
    // A proxy in the environment must not be asked.
    let env = [("http_proxy", "http://127.0.0.1:1"), ("HTTP_PROXY", "http://127.0.0.1:1")];
    let done = jeton_reading(token, &args, &env);
    let out = String::from_utf8([done.stdout, done.stderr].concat()).unwrap();
    let signature = token.rsplit('.').next().unwrap();
    assert!(signature.is_empty() || !out.contains(signature), "the token is shown: {out}");
    (done.status.code(), out)
}

/// The line of one check.
fn line(out: &str, check: &str) -> String {
    let found = out.lines().find(|line| line[line.find(' ').unwrap()..].trim().starts_with(check));
    found.unwrap_or_else(|| panic!("no {check}: {out}")).to_owned()
}

#[actix_web::test]
async fn a_token_of_a_running_server_is_explained_over_http() {
    let directory = tempfile::tempdir().unwrap();
    let fixtures = directory.path().join("test.toml");
    std::fs::write(&fixtures, FIXTURES).unwrap();
    let args = ["--ephemeral", "--apply", fixtures.to_str().unwrap()];
    let mut process = Process::serve(directory.path(), "explained", &args, &[]);
    let ready = process.ready().await;
    let (issuer, server) = (ready["issuer"].as_str().unwrap(), address(&ready["public"]));
    let answer =
        http::token(&server, "/oauth2/token", "app", SECRET, "grant_type=client_credentials").await;
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    let (status, out) = run(&token, issuer, &["--audience", API]);
    assert_eq!(status, Some(0), "{out}");
    assert!(line(&out, "key").contains("is active"), "{out}");
    assert!(line(&out, "signature").starts_with('✓'), "{out}");
    assert!(line(&out, "revocation").starts_with('?'), "{out}");
    // Our own introspection answers a resource server, and denies everything to another.
    let secret = directory.path().join("secret");
    std::fs::write(&secret, SECRET).unwrap();
    for (client, sign, code) in [("rs", '✓', 0), ("other-rs", '✗', 1)] {
        let more = ["--client", client, "--secret-file", secret.to_str().unwrap()];
        let (status, out) = run(&token, issuer, &more);
        assert_eq!(status, Some(code), "{out}");
        assert!(line(&out, "revocation").starts_with(sign), "{out}");
    }
    let (status, out) = run(&token, issuer, &["--audience", "https://other.test/"]);
    assert_eq!(status, Some(1));
    assert!(line(&out, "audience").starts_with('✗'), "{out}");
    let (status, out) = run(&token, "https://id.invalid", &[]);
    assert_eq!(status, Some(1));
    assert!(line(&out, "metadata").starts_with('✗') && line(&out, "issuer").starts_with('✗'));
    let (_, out) = run(&token, issuer, &["--json"]);
    let end = out.rfind(']').unwrap();
    let found: Vec<Value> = serde_json::from_str(&out[..=end]).unwrap();
    assert!(found.iter().any(|one| one["check"] == "signature" && one["verdict"] == "good"));
}

#[test]
fn revocation_is_asked_of_the_issuers_introspection_with_the_clients_secret() {
    let key = Key::new(Algorithm::Es256);
    let jwks = json!({ "keys": [key.1] }).to_string();
    for (answer, sign, part, code) in [
        (ok(r#"{"active":true}"#), '✓', "is active", 0),
        (ok(r#"{"active":false}"#), '✗', "not active", 1),
        (ok(r#"{"active":"yes"}"#), '?', "does not say", 0),
        (ok("yes"), '?', "not JSON", 0),
        (status("401 Unauthorized"), '?', "status 401", 0),
        (status("302 Found\r\nlocation: http://127.0.0.1:1/"), '?', "status 302", 0),
    ] {
        let jwks = jwks.clone();
        // An issuer with a path: RFC 8414 puts the well-known part before it.
        let fake = Fake::start(|url| {
            let metadata =
                json!({ "issuer": format!("{url}/t/1"), "jwks_uri": format!("{url}/keys"),
                "introspection_endpoint": format!("{url}/introspect") })
                .to_string();
            Box::new(move |path| match path {
                "/.well-known/oauth-authorization-server/t/1" => ok(&metadata),
                "/keys" => ok(&jwks),
                "/introspect" => answer.clone(),
                _ => status("404 Not Found"),
            })
        });
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret");
        std::fs::write(&file, "s e:c\n").unwrap();
        let issuer = format!("{}/t/1", fake.url);
        let token = key.sign(&claims(&issuer));
        let more = ["--client", "a b", "--secret-file", file.to_str().unwrap()];
        let (status, out) = run(&token, &issuer, &more);
        assert_eq!(status, Some(code), "{out}");
        let said = line(&out, "revocation");
        assert!(said.starts_with(sign) && said.contains(part), "{said}");
        let asked = fake.asked.lock().unwrap();
        let (head, body) = asked.iter().find(|(head, _)| head.starts_with("POST")).unwrap();
        let basic = format!("authorization: Basic {}\r\n", STANDARD.encode("a+b:s+e%3Ac"));
        assert!(head.contains(&basic), "{head}");
        let form = format!("token={token}&token_type_hint=access_token");
        assert_eq!(String::from_utf8_lossy(body), form);
    }
}

#[test]
fn nothing_is_sent_where_the_metadata_of_another_issuer_leads() {
    let key = Key::new(Algorithm::Es256);
    let jwks = json!({ "keys": [key.1] }).to_string();
    let fake = Fake::start(|url| {
        let metadata =
            json!({ "issuer": "https://other.example", "jwks_uri": format!("{url}/keys"),
            "introspection_endpoint": format!("{url}/introspect") })
            .to_string();
        Box::new(move |path| match path {
            "/.well-known/oauth-authorization-server" => ok(&metadata),
            _ => ok(&jwks),
        })
    });
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    std::fs::write(&file, "secret").unwrap();
    let token = key.sign(&claims(&fake.url));
    let more = ["--client", "a", "--secret-file", file.to_str().unwrap()];
    let (status, out) = run(&token, &fake.url, &more);
    assert_eq!(status, Some(1), "{out}");
    assert!(line(&out, "metadata").contains("https://other.example"), "{out}");
    assert!(line(&out, "signature").starts_with('?'), "{out}");
    let asked = fake.asked.lock().unwrap();
    assert_eq!(asked.len(), 1, "{asked:?}");
}

#[test]
fn a_server_that_redirects_floods_or_babbles_is_told_and_not_followed() {
    let flood = "a".repeat(2 * 1024 * 1024);
    for (answer, part) in [
        (status("301 Moved Permanently\r\nlocation: /keys"), "status 301"),
        (ok(&flood), "larger than 1 MiB"),
        (ok("<html>"), "not JSON"),
        (ok("[]"), "names no issuer"),
        (status("500 Internal Server Error"), "status 500"),
        ("nonsense".to_owned(), "metadata"),
    ] {
        let fake = Fake::start(|_| Box::new(move |_| answer.clone()));
        let (status, out) = run(&forged("{}", "{}"), &fake.url, &[]);
        assert_eq!(status, Some(1));
        let said = line(&out, "metadata");
        assert!(said.starts_with('✗') && said.contains(part), "{part}: {said}");
    }
    // Metadata that leads to plain http elsewhere.
    let fake = Fake::start(|url| {
        let metadata = json!({ "issuer": url, "jwks_uri": "http://192.0.2.1/keys" }).to_string();
        Box::new(move |_| ok(&metadata))
    });
    let (status, out) = run(&forged("{}", "{}"), &fake.url, &[]);
    assert_eq!(status, Some(1));
    assert!(line(&out, "key").contains("must be https"), "{out}");
}
