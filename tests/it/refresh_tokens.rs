//! Refresh tokens at introspection (RFC 7662) and revocation (RFC 7009): their own client's business.

use std::time::Duration;

use jeton::domain::Reason;
use jeton::store::Fault;
use serde_json::json;

use crate::support::refused::assert_refused;
use crate::support::session::{ABSOLUTE, IDLE};
use crate::support::{Answer, App, SECRET, http};

#[track_caller]
fn tokens(answer: &Answer) -> (String, String) {
    let body = answer.json();
    let text = |name: &str| body[name].as_str().unwrap_or_else(|| panic!("{body}")).to_owned();
    (text("refresh_token"), text("access_token"))
}

#[actix_web::test]
async fn a_client_is_told_of_its_own_live_refresh_token() {
    let app = App::with_apps("").await;
    let (subject, first) = app.begin("web").await;
    let now = app.clock.now();
    let family = app.read(&first).family;
    let end = (now + IDLE.min(ABSOLUTE)).seconds();
    let told = app.introspect("web", &first).await.json();
    let expected = json!({
        "active": true, "iss": app.running.issuer.as_str(), "client_id": "web", "sub": subject,
        "sid": family, "scope": "list read write", "iat": now.seconds(), "exp": end,
    });
    assert_eq!(told, expected);
    app.stop().await;
}

#[actix_web::test]
async fn nobody_else_is_told_anything_and_what_cannot_be_used_is_inactive() {
    let app = App::with_apps("").await;
    let (_, first) = app.begin("web").await;
    let family = app.read(&first).family;
    for stranger in ["rs", "other-web", "app"] {
        assert!(!app.is_active(stranger, &first).await, "{stranger}");
    }
    let (second, _) = tokens(&app.refresh("web", &first, "").await);
    assert!(!app.is_active("web", &first).await, "it has a successor");
    assert!(app.is_active("web", &second).await);
    assert!(!app.is_active("web", &app.refresh_token(family, 2)).await, "it does not exist yet");
    assert!(!app.is_active("web", "jrt_x").await);
    assert!(!app.is_active("web", &format!("{}AAAA", &second[..second.len() - 4])).await);

    for change in ["idle = 0", "ends_at = 1", "suspended_at = 1", "revoked_at = 1"] {
        let (_, token) = app.begin("web").await;
        assert!(app.is_active("web", &token).await);
        app.database.change(&format!("update families set {change}")).await;
        assert!(!app.is_active("web", &token).await, "{change}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_client_ends_an_authorization_by_any_of_its_refresh_tokens() {
    let app = App::with_apps("").await;
    for generation in 0..3 {
        let (_, first) = app.begin("web").await;
        let family = app.read(&first).family;
        let (second, _) = tokens(&app.refresh("web", &first, "").await);
        let (third, access) = tokens(&app.refresh("web", &second, "").await);
        assert!(app.is_active("rs", &access).await);
        let answer = app.revoke("web", &app.refresh_token(family, generation)).await;
        assert_eq!((answer.status, answer.body.len()), (200, 0));
        assert!(!app.is_active("rs", &access).await && !app.is_active("web", &third).await);
        let answer = app.refresh("web", &third, "").await;
        assert_refused(&answer, 400, "invalid_grant");
        assert_eq!(app.family(family).await.ended_by.as_deref(), Some("client"));
    }
    assert!(app.refusals(Reason::RefreshFamilyRevoked.name()).await >= 3.0);
    app.stop().await;
}

#[actix_web::test]
async fn whoever_is_not_its_client_is_told_that_all_is_done_and_nothing_is() {
    let app = App::with_apps("").await;
    let (_, first) = app.begin("web").await;
    for stranger in ["other-web", "app", "rs"] {
        assert_eq!(app.revoke(stranger, &first).await.status, 200, "{stranger}");
    }
    for junk in ["jrt_x", "jrt_", &format!("{}AAAA", &first[..first.len() - 4])] {
        assert_eq!(app.revoke("web", junk).await.status, 200, "{junk}");
    }
    tokens(&app.refresh("web", &first, "").await);
    app.stop().await;
}

#[actix_web::test]
async fn repeating_a_revocation_changes_nothing_and_a_lost_answer_loses_nothing() {
    let app = App::with_apps("").await;
    for fault in [Fault::CutAfterCommit, Fault::CutBeforeCommit, Fault::LosesRace] {
        let (_, first) = app.begin("web").await;
        app.running.desk.db.inject([fault]);
        for _ in 0..3 {
            assert_eq!(app.revoke("web", &first).await.status, 200, "{fault:?}");
        }
        assert_refused(&app.refresh("web", &first, "").await, 400, "invalid_grant");
    }
    let events = "select action from audit_events where action = 'family_revoked'";
    assert_eq!(app.database.sql(events).len(), 3);
    app.stop().await;
}

#[actix_web::test]
async fn revoking_again_what_is_over_alarms_nobody() {
    let app = App::with_apps("").await;
    let (_, revoked) = app.begin("web").await;
    let (_, over) = app.begin("web").await;
    assert_eq!(app.revoke("web", &revoked).await.status, 200);
    app.database.change("update families set ends_at = 1 where revoked_at is null").await;
    // Acts of others follow, so that the reader stands elsewhere.
    for _ in 0..2 {
        let (_, other) = app.begin("web").await;
        assert_eq!(app.revoke("web", &other).await.status, 200);
        app.advance(Duration::from_secs(1)).await;
        for token in [&revoked, &over] {
            assert_eq!(app.revoke("web", token).await.status, 200);
        }
        app.advance(Duration::from_secs(1)).await;
    }
    let alarms = "select action from audit_events where action = 'revocations_restored'";
    assert_eq!(app.database.sql(alarms).len(), 0, "nothing was lost");
    app.stop().await;
}

#[actix_web::test]
async fn a_hint_that_is_wrong_unknown_or_odd_changes_nothing_about_a_refresh_token() {
    let app = App::with_apps("").await;
    for hint in ["access_token", "id_token", "x", "", "%00", "refresh_token"] {
        let (_, first) = app.begin("web").await;
        let plain = app.introspect("web", &first).await.json();
        assert_eq!(plain["active"], true);
        let (second, access) = tokens(&app.refresh("web", &first, "").await);
        let ask = async |client: &str, path: &str, token: &str| {
            let form = format!("token_type_hint={hint}&token={token}");
            http::token(&app.public(), path, client, SECRET, &form).await
        };
        let told = ask("web", "/oauth2/introspect", &second).await.json();
        assert_eq!(told, plain, "{hint:?}");
        let stranger = ask("rs", "/oauth2/introspect", &second).await;
        assert_eq!(stranger.body, br#"{"active":false}"#, "{hint:?}");
        assert!(app.is_active("rs", &access).await);
        let done = ask("web", "/oauth2/revoke", &second).await;
        assert_eq!((done.status, done.body.len()), (200, 0), "{hint:?}");
        assert_refused(&app.refresh("web", &second, "").await, 400, "invalid_grant");
        assert!(!app.is_active("rs", &access).await, "{hint:?}: nor its access tokens");
        let gone = ask("web", "/oauth2/introspect", &second).await;
        assert_eq!(gone.body, br#"{"active":false}"#, "{hint:?}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_public_client_ends_its_own_authorization() {
    let app = App::with_apps("").await;
    let (_, first) = app.begin("spa").await;
    let form = format!("token={first}&client_id=spa&token_type_hint=refresh_token");
    assert_eq!(app.post("/oauth2/revoke", &[], &form).await.status, 200);
    assert_refused(&app.refresh("spa", &first, "").await, 400, "invalid_grant");
    app.stop().await;
}

#[actix_web::test]
async fn a_signed_answer_speaks_of_refresh_tokens_too() {
    let app = App::with_apps("").await;
    let (_, first) = app.begin("web").await;
    let basic = crate::support::basic("web", SECRET);
    let headers = [
        crate::support::refused::FORM,
        ("authorization", basic.as_str()),
        ("accept", "application/token-introspection+jwt"),
    ];
    let form = format!("token={first}");
    let address = app.public();
    let answer = http::send(&address, "POST", "/oauth2/introspect", &headers, form.as_bytes());
    let answer = answer.await;
    let token = String::from_utf8(answer.body).unwrap();
    let payload = crate::support::forge::payload(&token);
    assert_eq!(payload["token_introspection"]["active"], true);
    assert_eq!(payload["token_introspection"]["client_id"], "web");
    app.stop().await;
}
