//! What is in a token and who may have which (RFC 9068, RFC 6749 §3.3 and §4.4, RFC 8707).

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::refused::assert_refused;
use crate::support::{API, Answer, App, FIXTURES, OTHER, TestDatabase, app, verify};

/// What a client gets for these further parameters.
async fn ask(app: &App, client: &str, more: &str) -> Answer {
    app.token(client, &format!("grant_type=client_credentials{more}")).await
}

/// The verified claims of the token that a client gets for these parameters.
async fn claims(app: &App, client: &str, more: &str) -> Value {
    let answer = ask(app, client, more).await;
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    let jwks = app.get("/.well-known/jwks.json").await.json();
    verify::verify(answer.json()["access_token"].as_str().unwrap(), &jwks).unwrap().1
}

#[actix_web::test]
async fn a_token_has_the_claims_of_rfc_9068_and_no_others() {
    let app = App::start().await;
    let mut claims = claims(&app, "app", "&scope=read").await;
    let jti = claims.as_object_mut().unwrap().remove("jti").unwrap();
    assert_eq!(jti.as_str().unwrap().len(), 22);
    let iat = app::START.seconds();
    let expected = json!({
        "iss": app.running.issuer.as_str(), "aud": API, "sub": "app", "client_id": "app",
        "iat": iat, "exp": iat + 600, "scope": "read",
    });
    assert_eq!(claims, expected);
    assert!(claims["iat"].is_i64() && claims["exp"].is_i64());
}

#[actix_web::test]
async fn the_answer_has_the_members_of_rfc_6749_and_never_a_refresh_token() {
    let app = App::start().await;
    let body = ask(&app, "app", "").await.json();
    let members: BTreeSet<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, BTreeSet::from(["access_token", "token_type", "expires_in", "scope"]));
    assert_eq!((&body["token_type"], &body["expires_in"]), (&json!("Bearer"), &json!(600)));
}

#[actix_web::test]
async fn no_two_tokens_share_a_jti() {
    let app = App::start().await;
    let mut seen = BTreeSet::new();
    for _ in 0..300 {
        let token = app.access_token("app", "").await;
        let part = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
        let claims: Value = serde_json::from_slice(&part).unwrap();
        assert!(seen.insert(claims["jti"].as_str().unwrap().to_owned()));
    }
}

#[actix_web::test]
async fn scopes_are_a_set_and_all_of_them_are_granted_or_none() {
    let app = App::start().await;
    for (asked, granted) in [
        ("", "read write"),
        ("&scope=", "read write"),
        ("&scope=write+read", "read write"),
        ("&scope=read+read", "read"),
        ("&scope=write", "write"),
    ] {
        let body = ask(&app, "app", asked).await.json();
        assert_eq!(body["scope"], granted, "{asked}");
        assert_eq!(claims(&app, "app", asked).await["scope"], granted);
    }
    for asked in [
        "Read",
        "admin",
        "list",
        "read+admin",
        "read++write",
        "+read",
        "read+",
        "read%09write",
        "%22read%22",
        "re%5Cad",
        "openid",
        "jeton%3Aadmin",
    ] {
        assert_refused(&ask(&app, "app", &format!("&scope={asked}")).await, 400, "invalid_scope");
    }
    assert_refused(&ask(&app, "narrow", "&scope=write").await, 400, "invalid_scope");
    assert_eq!(ask(&app, "narrow", "").await.json()["scope"], "read");
}

#[actix_web::test]
async fn a_resource_without_scopes_gives_tokens_without_scope() {
    let app = App::start().await;
    assert!(ask(&app, "bare", "").await.json().get("scope").is_none());
    assert!(claims(&app, "bare", "").await.get("scope").is_none());
    assert_refused(&ask(&app, "bare", "&scope=read").await, 400, "invalid_scope");
}

#[actix_web::test]
async fn defaults_are_what_the_registration_says() {
    let fixtures = format!(
        "{FIXTURES}\n[[client]]\nid = \"modest\"\nsecret = \"correct-horse-battery-staple\"\n\
         resources = [\"{API}\", \"{OTHER}\"]\ndefault_resource = \"{API}\"\n\
         default_scopes = [\"read\"]\n"
    );
    let app = App::on(TestDatabase::new(), "", &fixtures).await;
    let granted = claims(&app, "modest", "").await;
    assert_eq!((&granted["aud"], &granted["scope"]), (&json!(API), &json!("read")));
    let asked = claims(&app, "modest", "&scope=write").await;
    assert_eq!(asked["scope"], "write");
    // Its default scopes mean nothing to the other resource, so nothing is left.
    let other = ask(&app, "modest", &format!("&resource={OTHER}")).await;
    assert_refused(&other, 400, "invalid_scope");
}

#[actix_web::test]
async fn a_token_is_for_exactly_one_resource_that_the_client_may_use() {
    let app = App::start().await;
    assert_eq!(claims(&app, "both", &format!("&resource={OTHER}")).await["aud"], OTHER);
    for spelling in
        ["https://api.example.test/", "https://api.example.test", "HTTPS://API.example.TEST/"]
    {
        let twice = format!("&resource={spelling}&resource={API}");
        for more in [format!("&resource={spelling}"), twice] {
            assert_eq!(claims(&app, "both", &more).await["aud"], API, "{more}");
        }
    }
    for refused in [
        String::new(),
        format!("&resource={API}&resource={OTHER}"),
        "&resource=https%3A%2F%2Fapi.example.test%2F%23fragment".to_owned(),
        "&resource=%2Frelative".to_owned(),
        "&resource=api".to_owned(),
        "&resource=https://unknown.example.test/".to_owned(),
        "&resource=urn:example:bare".to_owned(),
        format!("&resource={OTHER}/"),
        "&resource=https://other.example.test/V1".to_owned(),
    ] {
        assert_refused(&ask(&app, "both", &refused).await, 400, "invalid_target");
    }
    let foreign = ask(&app, "app", &format!("&resource={OTHER}")).await;
    assert_refused(&foreign, 400, "invalid_target");
}

#[actix_web::test]
async fn extra_claims_come_from_the_resource_and_the_client_and_the_client_wins() {
    let app = App::start().await;
    let claims = claims(&app, "rich", "").await;
    assert_eq!((&claims["tenant"], &claims["tier"]), (&json!("t1"), &json!(2)));
    assert_eq!(claims["roles"], json!(["a", "b"]));
    assert_eq!(claims["sub"], "rich");
}

#[actix_web::test]
async fn a_client_may_have_a_life_span_of_its_own_and_the_maximum_still_holds() {
    let app = App::start().await;
    let answer = ask(&app, "narrow", "").await.json();
    assert_eq!(answer["expires_in"], 120);
    let claims = claims(&app, "narrow", "").await;
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 120);
    // The operator lowers the maximum below what the client was given.
    let database = app.stop().await;
    let lower = "issuer = \"http://127.0.0.1:8080\"\n[tokens]\naccess_token_ttl = \"1m\"\n\
                 access_token_ttl_max = \"1m\"\n";
    let fixtures = FIXTURES.replace("access_token_ttl = \"2m\"", "");
    drop(database);
    let app = App::on(TestDatabase::new(), lower, &fixtures).await;
    assert_eq!(ask(&app, "narrow", "").await.json()["expires_in"], 60);
}

#[actix_web::test]
async fn each_algorithm_signs_with_a_key_of_its_own_and_kids_are_thumbprints() {
    let algorithms = ["ES256", "RS256", "PS256", "Ed25519", "EdDSA"];
    let settings = format!("[keys]\nalgorithms = {algorithms:?}\n");
    let client = |name: &&str| {
        format!(
            "[[client]]\nid = \"c-{name}\"\nsecret = \"correct-horse-battery-staple\"\n\
             resources = [\"{API}\"]\nalgorithm = \"{name}\"\n"
        )
    };
    let clients = algorithms.iter().map(client).collect::<Vec<_>>().join("\n");
    let app = App::on(TestDatabase::new(), &settings, &format!("{FIXTURES}\n{clients}")).await;
    let answer = app.get("/.well-known/jwks.json").await;
    let text = String::from_utf8(answer.body.clone()).unwrap();
    for private in ["\"d\"", "\"p\"", "\"q\"", "\"dp\"", "\"dq\"", "\"qi\"", "\"oth\"", "\"k\""] {
        assert!(!text.contains(private), "{private}");
    }
    let jwks = answer.json();
    let keys = jwks["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 2 * algorithms.len());
    for key in keys {
        let members: &[&str] = match key["kty"].as_str().unwrap() {
            "EC" => &["crv", "kty", "x", "y"],
            "RSA" => &["e", "kty", "n"],
            _ => &["crv", "kty", "x"],
        };
        let pairs: Vec<_> =
            members.iter().map(|name| format!("\"{name}\":{}", key[*name])).collect();
        let canonical = format!("{{{}}}", pairs.join(","));
        assert_eq!(key["kid"], URL_SAFE_NO_PAD.encode(Sha256::digest(canonical)));
        assert_eq!(key["use"], "sig");
    }
    let mut kids = BTreeSet::new();
    for (place, name) in algorithms.iter().enumerate() {
        let token = app.access_token(&format!("c-{name}"), "").await;
        let (header, _) = verify::verify(&token, &jwks).unwrap();
        assert_eq!((&header["alg"], &header["typ"]), (&json!(name), &json!("at+jwt")));
        assert!(kids.insert(header["kid"].to_string()));
        // The active keys stand first.
        assert!(keys[..algorithms.len()].iter().any(|key| key["kid"] == header["kid"]), "{place}");
    }
}

#[actix_web::test]
async fn a_token_of_another_issuer_or_with_a_bent_header_does_not_verify() {
    let (one, two) = (App::start().await, App::start().await);
    let token = one.access_token("app", "").await;
    let jwks = one.get("/.well-known/jwks.json").await.json();
    let foreign = two.get("/.well-known/jwks.json").await.json();
    assert!(verify::verify(&token, &jwks).is_ok());
    assert!(verify::verify(&token, &foreign).is_err());
    let parts: Vec<_> = token.split('.').collect();
    let kid = jwks["keys"][0]["kid"].as_str().unwrap();
    for alg in ["none", "HS256", "RS256"] {
        let header = json!({ "typ": "at+jwt", "alg": alg, "kid": kid }).to_string();
        let bent = format!("{}.{}.{}", URL_SAFE_NO_PAD.encode(header), parts[1], parts[2]);
        assert!(verify::verify(&bent, &jwks).is_err(), "{alg}");
    }
    let zeros = format!("{}.{}.{}", parts[0], parts[1], URL_SAFE_NO_PAD.encode([0; 64]));
    assert!(verify::verify(&zeros, &jwks).is_err());
}
