//! What is not an access token of ours and tries to pass for one (RFC 8725): every case is inactive
//! at introspection, opens nothing as a Bearer token, and revokes nothing.

use jeton::domain::Algorithm;
use jeton::keys::TokenType;
use serde_json::{Value, json};

use crate::support::forge::{self, Forger, encode, form_value, parts};
use crate::support::{API, App, SECRET};

const PATH: &str = "/oauth2/introspect";

/// A server whose introspection endpoint takes tokens of `app`, and serves them to `app`. So one
/// good token is good in every way that is tried here.
async fn start() -> App {
    let app = App::start().await;
    let url = app.running.issuer.url(PATH);
    app.apply(&format!(
        "[[resource]]\nid = \"{url}\"\nscopes = [\"introspect\"]\n\
         [[client]]\nid = \"asker\"\nsecret = \"{SECRET}\"\nresources = [\"{url}\"]\n\
         introspects = [\"{url}\", \"{API}\"]\n"
    ))
    .await;
    app
}

/// The claims of a token that is good in every way, to be spoilt.
fn claims(app: &App) -> Value {
    let mut claims = forge::claims(app);
    claims["aud"] = app.running.issuer.url(PATH).into();
    claims["scope"] = "introspect".into();
    claims["client_id"] = "asker".into();
    claims["sub"] = "asker".into();
    claims
}

/// How a token fares: whether introspection calls it active, and whether it opens the endpoint.
async fn fares(app: &App, token: &str) -> (bool, bool) {
    let active = app.is_active("asker", &form_value(token)).await;
    let bearer = format!("Bearer {token}");
    let visible = token.bytes().all(|byte| (0x21..=0x7E).contains(&byte));
    if !visible {
        return (active, false);
    }
    let answer = app.post(PATH, &[("authorization", &bearer)], "token=x").await;
    match answer.status {
        200 => return (active, true),
        // What has characters that no token has is a malformed header.
        400 => assert_eq!(answer.error().1, "invalid_request"),
        _ => {
            assert_eq!(answer.error(), (401, "invalid_token".to_owned()));
            assert!(answer.header("www-authenticate").starts_with("Bearer "), "{answer:?}");
        }
    }
    (active, false)
}

async fn assert_none_passes(app: &App, forged: &[(String, String)]) {
    for (why, token) in forged {
        assert_eq!(fares(app, token).await, (false, false), "{why}: {token:.200}");
    }
    let still = app.database.sql("select kind from revocations");
    for (why, token) in forged {
        let answer = app.revoke("asker", &form_value(token)).await;
        assert_eq!((answer.status, answer.body.len()), (200, 0), "{why}");
    }
    assert_eq!(app.database.sql("select kind from revocations"), still, "a row for a forgery");
}

fn named(why: impl Into<String>, token: impl Into<String>) -> (String, String) {
    (why.into(), token.into())
}

#[actix_web::test]
async fn what_our_key_signed_with_good_claims_passes_or_this_file_would_prove_nothing() {
    let app = start().await;
    let made = forge::signed_by_us(&app, TokenType::Access, claims(&app).to_string().as_bytes());
    assert_eq!(fares(&app, &made).await, (true, true));
    let issued = app.access_token("asker", "").await;
    assert_eq!(fares(&app, &issued).await, (true, true));
    let (forger, kid) = Forger::trusted(&app).await;
    let header = format!(r#"{{"typ":"at+jwt","alg":"ES256","kid":"{kid}"}}"#);
    assert_eq!(
        forge::header(&issued).as_object().unwrap().keys().collect::<Vec<_>>(),
        ["typ", "alg", "kid"]
    );
    assert_eq!(fares(&app, &forger.sign(&header, &claims(&app).to_string())).await, (true, true));
}

#[actix_web::test]
async fn no_other_algorithm_and_no_made_up_signature_passes() {
    let app = start().await;
    let claims = claims(&app).to_string();
    let payload = encode(&claims);
    let ours = app.access_token("asker", "").await;
    let [our_header, _, our_signature] = parts(&ours);
    let kid = forge::header(&ours)["kid"].as_str().unwrap().to_owned();
    let mut all = Vec::new();
    for alg in ["none", "None", "NONE", "nOnE", "", "ES256"] {
        for typ in ["at+jwt", "JWT"] {
            let header = json!({"typ": typ, "alg": alg, "kid": kid}).to_string();
            for signature in ["", "AA", our_signature] {
                let token = format!("{}.{payload}.{signature}", encode(&header));
                all.push(named(format!("alg {alg:?} typ {typ} signature {signature:?}"), token));
            }
        }
    }
    all.push(named("no alg", format!("{}.{payload}.", encode(r#"{"typ":"at+jwt"}"#))));
    // HMAC keyed with what everybody knows of our key.
    let jwks = app.get("/.well-known/jwks.json").await;
    let entry = jwks.json()["keys"][0].clone();
    let jwk = josekit::jwk::Jwk::from_map(entry.as_object().unwrap().clone()).unwrap();
    let pair = josekit::jwk::alg::ec::EcKeyPair::from_jwk(&jwk);
    let spki = josekit::jws::ES256.verifier_from_jwk(&jwk).map(drop);
    assert!(spki.is_ok() && pair.is_err(), "the JWKS holds public halves only");
    let x = forge::decode(entry["x"].as_str().unwrap());
    let y = forge::decode(entry["y"].as_str().unwrap());
    let point = [&[4], x.as_slice(), y.as_slice()].concat();
    let (pem, der) = forge::public_pem(&x, &y);
    for (what, key) in [
        ("PEM", pem.clone()),
        ("PEM without its last line break", pem.trim_ascii_end().to_vec()),
        ("DER", der),
        ("JWK", entry.to_string().into_bytes()),
        ("JWKS", jwks.body.clone()),
        ("point", point),
        ("x", x.clone()),
        ("kid", kid.clone().into_bytes()),
        ("issuer", app.running.issuer.as_str().as_bytes().to_vec()),
    ] {
        let header = json!({"typ": "at+jwt", "alg": "HS256", "kid": kid}).to_string();
        for header in [encode(&header), our_header.to_owned()] {
            let input = format!("{header}.{payload}");
            let mac = encode(forge::hmac(&key, input.as_bytes()));
            all.push(named(format!("HS256 with our {what}"), format!("{input}.{mac}")));
        }
    }
    // Signatures that a careless verifier of ECDSA takes for valid.
    let order = forge::decode("_____wAAAAD__________7zm-q2nF56E87nKwvxjJVE");
    let one = [&[0; 31][..], &[1]].concat();
    for (what, signature) in [
        ("r = s = 0", vec![0; 64]),
        ("r = s = 0xff…", vec![0xff; 64]),
        ("r = s = n", [order.clone(), order.clone()].concat()),
        ("r = s = 1", [one.clone(), one.clone()].concat()),
        ("r = 0, s = 1", [vec![0; 32], one.clone()].concat()),
        ("r = 1, s = 0", [one, vec![0; 32]].concat()),
        ("empty", vec![]),
        ("one byte", vec![0]),
        ("63 bytes", vec![0; 63]),
        ("65 bytes", vec![0; 65]),
        ("ours and a zero", [forge::decode(our_signature), vec![0]].concat()),
        ("DER of zeros", vec![0x30, 6, 2, 1, 0, 2, 1, 0]),
        ("8 KB", vec![1; 8192]),
    ] {
        all.push(named(what, format!("{our_header}.{payload}.{}", encode(signature))));
    }
    assert_none_passes(&app, &all).await;
}

#[actix_web::test]
async fn no_key_that_a_token_brings_or_points_to_is_used() {
    let app = start().await;
    let forger = Forger::new();
    let jwk = forger.public_jwk();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    let visited = actix_web::rt::spawn(async move { listener.accept().await.is_ok() });
    let kid = app.get("/.well-known/jwks.json").await.json()["keys"][0]["kid"].clone();
    let claims = claims(&app).to_string();
    let mut all = Vec::new();
    for (what, more) in [
        ("jwk", json!({"jwk": jwk})),
        ("jwk and our kid", json!({"jwk": jwk, "kid": kid})),
        ("jku", json!({"jku": url, "kid": kid})),
        ("x5u", json!({"x5u": url, "kid": kid})),
        ("x5c", json!({"x5c": ["MIIB"], "kid": kid})),
        ("our kid", json!({"kid": kid})),
        ("no kid", json!({})),
        ("kid a number", json!({"kid": 1})),
        ("kid a list", json!({"kid": [kid]})),
        ("kid null", json!({"kid": null})),
        ("kid of a path", json!({"kid": "../../../../../../dev/null"})),
        ("kid of SQL", json!({"kid": "x' union select '' --"})),
        ("kid of a shell", json!({"kid": "$(id)|`id`;&"})),
        ("kid with NUL", json!({"kid": format!("{}\0", kid.as_str().unwrap())})),
        ("kid with a blank", json!({"kid": format!("{} ", kid.as_str().unwrap())})),
        ("kid of 10 KB", json!({"kid": "k".repeat(10_240)})),
        ("kid of a URL", json!({"kid": url})),
        ("kid empty", json!({"kid": ""})),
    ] {
        let mut header = json!({"typ": "at+jwt", "alg": "ES256"});
        header.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all.push(named(what, forger.sign(&header.to_string(), &claims)));
    }
    assert_none_passes(&app, &all).await;
    assert!(!visited.is_finished(), "it looked where a token told it to");
    visited.abort();
}

#[actix_web::test]
async fn a_genuine_signature_under_any_header_but_our_own_is_worth_nothing() {
    let app = start().await;
    // The worst that can be: whoever makes these holds a key that we trust.
    let (forger, kid) = Forger::trusted(&app).await;
    let claims = claims(&app).to_string();
    let other = app.get("/.well-known/jwks.json").await.json()["keys"][0]["kid"].clone();
    let right = format!(r#"{{"typ":"at+jwt","alg":"ES256","kid":"{kid}"}}"#);
    let with = |more: &str| format!("{},{more}}}", right.strip_suffix('}').unwrap());
    let typed = |typ: &str| right.replacen("at+jwt", typ, 1);
    let nested = forger.sign(&right, &claims);
    let mut all = vec![
        named("unknown crit", forger.sign(&with(r#""crit":["exp"],"exp":1"#), &claims)),
        named("empty crit", forger.sign(&with(r#""crit":[]"#), &claims)),
        named("crit b64", forger.sign(&with(r#""b64":false,"crit":["b64"]"#), &claims)),
        named("b64 alone", forger.sign(&with(r#""b64":false"#), &claims)),
        named(
            "unencoded payload",
            forger.sign_parts(&encode(with(r#""b64":false,"crit":["b64"]"#)), &claims),
        ),
        named("alg twice, none last", forger.sign(&with(r#""alg":"none""#), &claims)),
        named("typ twice", forger.sign(&with(r#""typ":"at+jwt""#), &claims)),
        named("kid twice", forger.sign(&with(&format!(r#""kid":"{kid}""#)), &claims)),
        named("cty", forger.sign(&with(r#""cty":"JWT""#), &nested)),
        named("nested", forger.sign(&right, &nested)),
        named("nested as a string", forger.sign(&right, &format!("\"{nested}\""))),
        named("zip", forger.sign(&with(r#""zip":"DEF""#), &claims)),
        named("an unknown member", forger.sign(&with(r#""x":1"#), &claims)),
        named(
            "the kid of another key of ours",
            forger.sign(&right.replacen(&kid, other.as_str().unwrap(), 1), &claims),
        ),
        named("no typ", forger.sign(&format!(r#"{{"alg":"ES256","kid":"{kid}"}}"#), &claims)),
        named(
            "another order",
            forger.sign(&format!(r#"{{"alg":"ES256","typ":"at+jwt","kid":"{kid}"}}"#), &claims),
        ),
        named("a blank in it", forger.sign(&right.replacen(':', ": ", 1), &claims)),
        named("a blank after it", forger.sign(&format!("{right} "), &claims)),
        named("an escape in it", forger.sign(&right.replacen("typ", "t\\u0079p", 1), &claims)),
        named("a BOM", forger.sign(&format!("\u{feff}{right}"), &claims)),
        named("a list", forger.sign(&format!("[{right}]"), &claims)),
    ];
    for typ in [
        "JWT",
        "jwt",
        "",
        "at+JWT",
        "AT+JWT",
        "application/at+jwt",
        "at+jwt ",
        "id+jwt",
        "logout+jwt",
        "dpop+jwt",
        "token-introspection+jwt",
        "client-authentication+jwt",
        "oauth-authz-req+jwt",
        "statuslist+jwt",
        "secevent+jwt",
        "rt+jwt",
    ] {
        all.push(named(format!("typ {typ:?}"), forger.sign(&typed(typ), &claims)));
    }
    for alg in
        ["ES384", "ES512", "ES256K", "RS256", "PS256", "EdDSA", "Ed25519", "HS256", "none", "es256"]
    {
        all.push(named(
            format!("alg {alg}"),
            forger.sign(&right.replacen("ES256", alg, 1), &claims),
        ));
    }
    assert_none_passes(&app, &all).await;
    assert_eq!(fares(&app, &nested).await, (true, true), "the one that is right");
}

#[actix_web::test]
async fn only_the_one_compact_form_passes() {
    let app = start().await;
    let good = app.access_token("asker", "").await;
    let [header, payload, signature] = parts(&good);
    let spelt = |part: &str| {
        let standard = part.replace('-', "+").replace('_', "/");
        vec![
            format!("{part}="),
            format!("{part}=="),
            format!("{part}\n"),
            format!(" {part}"),
            format!("{part}\t"),
            format!("{}\n{}", &part[..4], &part[4..]),
            format!("{}.{}", &part[..4], &part[4..]),
            format!("{part}A"),
            format!("{part}%3D"),
            if standard == part { String::new() } else { standard },
        ]
    };
    let mut all = Vec::new();
    for other in spelt(header) {
        all.push(named("header", format!("{other}.{payload}.{signature}")));
    }
    for other in spelt(payload) {
        all.push(named("payload", format!("{header}.{other}.{signature}")));
    }
    for other in spelt(signature) {
        all.push(named("signature", format!("{header}.{payload}.{other}")));
    }
    // 64 bytes leave four bits unused in the last character: each signature has 16 spellings.
    let last = signature.chars().last().unwrap();
    for other in ["A", "B", "C", "D", "Q", "g", "w", "x", "h", "R"] {
        let whole = format!("{}{other}", &signature[..signature.len() - 1]);
        if !other.starts_with(last) {
            all.push(named("another last character", format!("{header}.{payload}.{whole}")));
        }
    }
    let json = json!({"payload": payload, "protected": header, "signature": signature});
    let general =
        json!({"payload": payload, "signatures": [{"protected": header, "signature": signature}]});
    for (why, token) in [
        ("trailing dot", format!("{good}.")),
        ("trailing dots", format!("{good}...")),
        ("leading dot", format!(".{good}")),
        ("doubled dots", good.replace('.', "..")),
        ("five parts", format!("{good}.{payload}.{signature}")),
        ("JWE", format!("{header}..{payload}.{signature}.AAAA")),
        ("four parts", format!("{good}.{signature}")),
        ("two parts", format!("{header}.{payload}")),
        ("detached payload", format!("{header}..{signature}")),
        ("JSON serialization", json.to_string()),
        ("general JSON serialization", general.to_string()),
        ("twice", format!("{good}{good}")),
        ("twice, with a comma", format!("{good},{good}")),
        ("twice, with a blank", format!("{good} {good}")),
        ("with its scheme", format!("Bearer {good}")),
        ("quoted", format!("\"{good}\"")),
        ("upper case", good.to_uppercase()),
        ("NUL", format!("{good}\0")),
    ] {
        all.push(named(why, token));
    }
    assert_none_passes(&app, &all).await;
    assert_eq!(fares(&app, &good).await, (true, true));
}

#[actix_web::test]
async fn our_own_header_over_another_kind_or_another_keys_signature_is_worth_nothing() {
    let app = start().await;
    let (forger, kid) = Forger::trusted(&app).await;
    let ours = app.access_token("asker", "").await;
    let claims = claims(&app).to_string();
    let [header, payload, _] = parts(&ours);
    let theirs = encode(format!(r#"{{"typ":"at+jwt","alg":"ES256","kid":"{kid}"}}"#));
    let by_us = forge::signed_by_us(&app, TokenType::Access, claims.as_bytes());
    let [_, by_us_payload, by_us_signature] = parts(&by_us);
    let keys = app.running.service.mirror.keys();
    let (_, signer) = keys.signer(Algorithm::Es256, app.clock.now()).unwrap();
    let answer = signer.sign(TokenType::Introspection, claims.as_bytes()).unwrap();
    let [_, answer_payload, answer_signature] = parts(&answer);
    assert_none_passes(
        &app,
        &[
            named("signed by another key of ours", forger.sign_parts(header, payload)),
            named("the other way round", [&theirs, by_us_payload, by_us_signature].join(".")),
            named("a signed answer", answer.clone()),
            named("a signed answer's rest", [header, answer_payload, answer_signature].join(".")),
        ],
    )
    .await;
}

#[actix_web::test]
async fn claims_that_we_never_write_make_no_token_even_under_our_own_signature() {
    let app = start().await;
    let good = claims(&app);
    let (now, text) = (app.clock.now().seconds(), good.to_string());
    let raw = |name: &str, value: &str| {
        let old = format!("\"{name}\":{}", good[name]);
        assert!(text.contains(&old));
        text.replacen(&old, &format!("\"{name}\":{value}"), 1)
    };
    let without = |name: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(name);
        claims.to_string()
    };
    let more = |member: &str| format!("{},{member}}}", text.strip_suffix('}').unwrap());
    let mut all = Vec::new();
    for name in ["exp", "iat"] {
        for value in [
            "1e300",
            "-1e300",
            "1e19",
            "1e400",
            "18446744073709551615",
            "18446744073709551616",
            "9223372036854775808",
            "-9223372036854775809",
            "99999999999999999999999999999999",
            "1800000000.5",
            "1800000000.0",
            "1.8e9",
            "\"1800000000\"",
            "\"\"",
            "null",
            "true",
            "[1]",
            "{}",
            "NaN",
            "Infinity",
            "01800000000",
            "0x6b49d200",
            "",
        ] {
            all.push((format!("{name} = {value}"), raw(name, value)));
        }
    }
    for value in ["0", "-1", "-9223372036854775808", &now.to_string()] {
        all.push((format!("exp = {value}"), raw("exp", value)));
    }
    for name in ["iss", "aud", "sub", "client_id", "iat", "exp", "jti"] {
        all.push((format!("{name} missing"), without(name)));
        all.push((format!("{name} null"), raw(name, "null")));
        all.push((format!("{name} a list"), raw(name, &format!("[{}]", good[name]))));
        all.push((format!("{name} a number of no kind"), raw(name, "1.5")));
        all.push((format!("{name} twice"), more(&format!("\"{name}\":{}", good[name]))));
    }
    all.extend([
        (
            "exp twice, the last is good".to_owned(),
            raw("exp", &format!("1,\"exp\":{}", good["exp"])),
        ),
        ("exp twice by an escape".to_owned(), more(&format!("\"e\\u0078p\":{}", now + 9999))),
        ("jti of another form".to_owned(), raw("jti", "\"AAAA\"")),
        ("jti of SQL".to_owned(), raw("jti", "\"' or 1=1 --\"")),
        ("scope a list".to_owned(), raw("scope", "[\"introspect\"]")),
        ("sid no UUID".to_owned(), more("\"sid\":\"x\"")),
        ("another issuer".to_owned(), raw("iss", "\"https://evil.example.test\"")),
        (
            "an issuer that begins like ours".to_owned(),
            raw("iss", &format!("\"{}.evil.test\"", app.running.issuer.as_str())),
        ),
        ("a client that is not there".to_owned(), raw("client_id", "\"nobody\"")),
        ("a client with NUL".to_owned(), raw("client_id", "\"asker\\u0000\"")),
        ("not closed".to_owned(), text.strip_suffix('}').unwrap().to_owned()),
        ("more behind it".to_owned(), format!("{text}{text}")),
        ("a blank before".to_owned(), format!(" {text}")),
        ("a list".to_owned(), format!("[{text}]")),
        ("a string".to_owned(), "\"x\"".to_owned()),
        ("nothing".to_owned(), String::new()),
        ("empty".to_owned(), "{}".to_owned()),
    ]);
    let tokens: Vec<_> = all
        .iter()
        .map(|(why, payload)| {
            named(why, forge::signed_by_us(&app, TokenType::Access, payload.as_bytes()))
        })
        .collect();
    assert_none_passes(&app, &tokens).await;
    for bytes in [&b"\xff"[..], b"{\"iss\":\"\xff\"}", b"\xfe\xff\0{\0}", b"\x1f\x8b\x08"] {
        let token = forge::signed_by_us(&app, TokenType::Access, bytes);
        assert_eq!(fares(&app, &token).await, (false, false), "{bytes:?}");
    }
    let broken = [text.as_bytes(), b"\xff"].concat();
    let token = forge::signed_by_us(&app, TokenType::Access, &broken);
    assert_eq!(fares(&app, &token).await, (false, false));
}

#[actix_web::test]
async fn the_largest_numbers_that_are_integers_do_no_harm() {
    let app = start().await;
    for exp in [i64::MAX, i64::MAX - 1, 9_007_199_254_740_993, 253_402_300_800] {
        for iat in [0, i64::MAX, i64::MIN, -1] {
            let mut claims = claims(&app);
            claims["exp"] = exp.into();
            claims["iat"] = iat.into();
            let token = forge::signed_by_us(&app, TokenType::Access, claims.to_string().as_bytes());
            let answer = app.introspect("asker", &token).await;
            assert_eq!(answer.status, 200, "{exp} {iat}");
            assert_eq!(app.revoke("asker", &token).await.status, 200, "{exp} {iat}");
            assert!(!app.is_active("asker", &token).await, "{exp} {iat}");
        }
    }
    assert_eq!(app.token("app", "grant_type=client_credentials").await.status, 200);
}
