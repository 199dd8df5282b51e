//! Every reason of the closed list, provoked. A reason without a case does not compile.

use std::sync::Arc;
use std::time::Duration;

use jeton::domain::{Reason, Revocation, Target};
use jeton::manage::apply::{ApplyFile, Options};
use jeton::store::revocations;

use crate::support::http::send;
use crate::support::refused::{FORM, GRANT, authorized, form, post};
use crate::support::sign_in::{AUTHORIZE, code, open, redeem, request, with_people};
use crate::support::{App, OTHER, SECRET, app, basic, http};

const INTROSPECT: &str = "/oauth2/introspect";

/// A refresh without its token.
const REFRESH: &str = "grant_type=refresh_token";

/// Provokes a reason, and returns the status of the answer.
async fn provoke(app: &App, reason: Reason) -> u16 {
    let right = basic("app", SECRET);
    let asked = |more: String| async move { app.token("app", &format!("{GRANT}{more}")).await };
    let answer = match reason {
        Reason::TransportPlain => {
            let request = b"GET /.well-known/jwks.json HTTP/1.1\r\nhost: x\r\n\r\n";
            http::raw_from(&http::elsewhere(), &app.public(), request).await.unwrap()
        }
        Reason::UpgradeAsked => {
            let request = b"GET /healthz HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\n\r\n";
            http::raw(&app.public(), request).await.unwrap()
        }
        Reason::PathUnknown => app.get("/nowhere").await,
        Reason::MethodNotAllowed => app.get("/oauth2/token").await,
        Reason::ContentTypeWrong => post(app, &[("content-type", "text/plain")], b"x").await,
        Reason::BodyTooLarge => form(app, &"a".repeat(70_000)).await,
        Reason::BodyTimeout => {
            let half = "POST /oauth2/token HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\
                        content-type: application/x-www-form-urlencoded\r\n\r\nabc";
            http::raw(&app.public(), half.as_bytes()).await.unwrap()
        }
        Reason::BodyMalformed => form(app, "a=%zz").await,
        Reason::ParametersTooMany => form(app, &"a&".repeat(100)).await,
        Reason::ParameterRepeated => authorized(app, &right, "scope=a&scope=b").await,
        Reason::ParameterMalformed => asked("%00".into()).await,
        Reason::ClientAuthMalformed => authorized(app, "Basic !", GRANT).await,
        Reason::ClientAuthSeveral => {
            authorized(app, &right, &format!("{GRANT}&client_secret=x")).await
        }
        Reason::ClientIdMismatch => authorized(app, &right, &format!("{GRANT}&client_id=x")).await,
        Reason::ClientAuthUnsupported => authorized(app, "Bearer x", GRANT).await,
        Reason::ClientAuthMissing => form(app, GRANT).await,
        Reason::ClientUnknown => app.token("nobody", GRANT).await,
        Reason::ClientAuthFailed => app.token_with("app", "wrong-secret-of-app", GRANT).await,
        Reason::ClientAuthMethodWrong => app.token("poster", GRANT).await,
        Reason::ClientDisabled => {
            app.running.desk.disable_client("off", app::START).await.unwrap();
            app.beat().await;
            app.token("off", GRANT).await
        }
        Reason::CallerAnonymous => {
            let signed = ("accept", "application/token-introspection+jwt");
            send(&app.public(), "POST", INTROSPECT, &[FORM, signed], b"token=x").await
        }
        Reason::BearerInvalid => introspect_with(app, "x.y.z").await,
        Reason::BearerScope => {
            let token = here(app).await;
            introspect_with(app, &token).await
        }
        Reason::TokenMissing => http::token(&app.public(), INTROSPECT, "rs", SECRET, "").await,
        Reason::RateLimited => {
            for _ in 0..60 {
                app.token_with("idle", "wrong-secret-of-idle", GRANT).await;
            }
            app.token("idle", GRANT).await
        }
        Reason::GrantMissing => app.token("app", "scope=read").await,
        Reason::GrantUnsupported => app.token("app", "grant_type=password").await,
        Reason::GrantNotAllowed => app.token("idle", GRANT).await,
        Reason::ScopeMalformed => asked("&scope=a++b".into()).await,
        Reason::ScopeNotAllowed => asked("&scope=admin".into()).await,
        Reason::ScopeEmpty => scope_empty(app).await,
        Reason::ResourceMalformed => asked("&resource=x".into()).await,
        Reason::ResourceUnknown => asked("&resource=urn:unknown".into()).await,
        Reason::ResourceSeveral => asked(format!("&resource={OTHER}&resource=urn:x")).await,
        Reason::ResourceMissing => app.token("both", GRANT).await,
        Reason::RefreshMissing => app.token("web", REFRESH).await,
        Reason::RefreshMalformed => app.refresh("web", "x", "").await,
        Reason::RefreshMacInvalid => {
            let (_, token) = app.begin("web").await;
            app.refresh("web", &format!("{}AAAA", &token[..token.len() - 4]), "").await
        }
        Reason::RefreshFamilyUnknown
        | Reason::RefreshFamilyLost
        | Reason::RefreshWrongClient
        | Reason::RefreshWrongKey
        | Reason::RefreshReused
        | Reason::RefreshAhead
        | Reason::RefreshFamilyRevoked
        | Reason::RefreshIdleExpired
        | Reason::RefreshExpired
        | Reason::SubjectDisabled
        | Reason::IssuedBeforeWatermark => changed(app, reason).await,
        Reason::ClientIdMissing
        | Reason::RedirectUriMissing
        | Reason::RedirectUriUnregistered
        | Reason::AuthorizationNotAllowed
        | Reason::ResponseTypeMissing
        | Reason::ResponseTypeUnsupported
        | Reason::ResponseModeUnsupported
        | Reason::RequestObjectUnsupported
        | Reason::RequestUriUnsupported
        | Reason::ChallengeMissing
        | Reason::ChallengeMethodUnsupported
        | Reason::ChallengeMalformed
        | Reason::LoginRequired => authorize(app, reason).await,
        Reason::AccessDenied | Reason::SignInFailed | Reason::FormForeign => {
            let page = open(app, &request("spa", &[])).await;
            match reason {
                Reason::AccessDenied => page.submit(app, &[("answer", "deny")]).await,
                Reason::SignInFailed => page.allow(app, "alice", "a guess").await,
                _ => page.submit_with(app, &[("answer", "deny")], &[]).await,
            }
        }
        Reason::CodeMissing
        | Reason::CodeUnknown
        | Reason::CodeWrongClient
        | Reason::CodeExpired
        | Reason::CodeUsed
        | Reason::RedirectUriMismatch
        | Reason::PkceMissing
        | Reason::PkceMismatch => code_of(app, reason).await,
        Reason::SecretUnknown => {
            app.database
                .change("update client_secrets set pepper_id = 99 where client_id = 'app'")
                .await;
            app.database
                .change(
                    "update versions set number = number + 1, stamp = 7 where part = 'directory'",
                )
                .await;
            app.beat().await;
            app.token("app", GRANT).await
        }
        Reason::DatabaseUnavailable => {
            app.running.desk.db.close().await;
            app.clock.advance(Duration::from_secs(301));
            app.token("app", GRANT).await
        }
        Reason::MirrorStale => {
            app.running.desk.db.close().await;
            app.clock.advance(Duration::from_secs(3));
            app.introspect("rs", "x").await
        }
        Reason::Overloaded => overloaded(app).await,
        Reason::SigningUnavailable => {
            app.running.desk.db.close().await;
            app.clock.advance(Duration::from_secs(100 * 86400));
            app.token("app", GRANT).await
        }
    };
    answer.status
}

/// A refresh of a family that was changed under the hands of its client.
async fn changed(app: &App, reason: Reason) -> http::Answer {
    let (_, token) = app.begin("web").await;
    let family = app.read(&token).family;
    let (mut client, mut token) = ("web", token);
    let change = match reason {
        Reason::RefreshFamilyUnknown => {
            // So old that it may have been swept.
            token = app.refresh_token(jeton::store::audit::row_id(app::START), 0);
            app.clock.advance(Duration::from_secs(8 * 86_400));
            ""
        }
        Reason::RefreshWrongClient => {
            client = "other-web";
            ""
        }
        Reason::RefreshAhead => {
            token = app.refresh_token(family, 7);
            ""
        }
        Reason::RefreshFamilyLost => "delete from families",
        Reason::RefreshWrongKey => "update families set key_thumbprint = 'x'",
        Reason::RefreshReused => "update families set generation = 2",
        Reason::RefreshFamilyRevoked => "update families set revoked_at = 1",
        Reason::RefreshIdleExpired => "update families set idle = 0",
        Reason::RefreshExpired => "update families set ends_at = 1",
        Reason::SubjectDisabled => "update families set suspended_at = 1",
        _ => {
            app.database.change("update clients set created_at = 9000000000000000").await;
            app.beat().await;
            "update versions set number = number + 1, stamp = 7 where part = 'directory'"
        }
    };
    if !change.is_empty() {
        app.database.change(change).await;
    }
    app.beat().await;
    app.refresh(client, &token, "").await
}

/// An authorization request that is refused for this reason.
async fn authorize(app: &App, reason: Reason) -> http::Answer {
    let (client, changed) = match reason {
        Reason::ClientIdMissing => ("spa", ("client_id", "")),
        Reason::RedirectUriMissing => ("roaming", ("redirect_uri", "")),
        Reason::RedirectUriUnregistered => ("spa", ("redirect_uri", "https://evil.example/")),
        Reason::AuthorizationNotAllowed => ("machine", ("state", "x")),
        Reason::ResponseTypeMissing => ("spa", ("response_type", "")),
        Reason::ResponseTypeUnsupported => ("spa", ("response_type", "token")),
        Reason::ResponseModeUnsupported => ("spa", ("response_mode", "fragment")),
        Reason::RequestObjectUnsupported => ("spa", ("request", "x")),
        Reason::RequestUriUnsupported => ("spa", ("request_uri", "x")),
        Reason::ChallengeMissing => ("spa", ("code_challenge", "")),
        Reason::ChallengeMethodUnsupported => ("spa", ("code_challenge_method", "")),
        Reason::ChallengeMalformed => ("spa", ("code_challenge", "x")),
        _ => ("spa", ("prompt", "none")),
    };
    if client == "machine" {
        let text = "[[client]]\nid = \"machine\"\nsecret = \"correct-horse-battery-staple\"\n\
                    redirect_uris = [\"https://machine.example.test/cb\"]\n";
        app.apply(text).await;
    }
    app.get(&format!("{AUTHORIZE}?{}", request(client, &[changed]))).await
}

/// A code that is refused for this reason.
async fn code_of(app: &App, reason: Reason) -> http::Answer {
    let code = code(app, "spa", &[]).await;
    let unknown = format!("jac_{}", "A".repeat(43));
    let uri = crate::support::sign_in::redirect_uri("spa");
    match reason {
        Reason::CodeMissing => redeem(app, "spa", "", &[]).await,
        Reason::CodeUnknown => redeem(app, "spa", &unknown, &[]).await,
        Reason::CodeWrongClient => redeem(app, "brief", &code, &[("redirect_uri", &uri)]).await,
        Reason::CodeExpired => {
            app.clock.advance(Duration::from_secs(60));
            redeem(app, "spa", &code, &[]).await
        }
        Reason::CodeUsed => {
            redeem(app, "spa", &code, &[]).await;
            redeem(app, "spa", &code, &[]).await
        }
        Reason::RedirectUriMismatch => redeem(app, "spa", &code, &[("redirect_uri", "")]).await,
        Reason::PkceMissing => redeem(app, "spa", &code, &[("code_verifier", "")]).await,
        _ => redeem(app, "spa", &code, &[("code_verifier", "x")]).await,
    }
}

/// An introspection request with an access token in place of a credential.
async fn introspect_with(app: &App, token: &str) -> http::Answer {
    let bearer = format!("Bearer {token}");
    let headers = [FORM, ("authorization", bearer.as_str())];
    send(&app.public(), "POST", INTROSPECT, &headers, b"token=x").await
}

/// An access token for the introspection endpoint that lacks its scope.
async fn here(app: &App) -> String {
    let url = app.running.issuer.url(INTROSPECT);
    let text = format!(
        "[[resource]]\nid = \"{url}\"\nscopes = [\"other\"]\n\
         [[client]]\nid = \"asker\"\nsecret = \"{SECRET}\"\nresources = [\"{url}\"]\n"
    );
    let file = ApplyFile::parse(&text, app.database.directory.path()).unwrap();
    let apply = app.running.desk.apply(&file, Options::default(), app::START, |_| Ok(()));
    apply.await.unwrap();
    app.beat().await;
    app.access_token("asker", "").await
}

/// More revocations than wait at once, while the database holds the first of them up.
async fn overloaded(app: &App) -> http::Answer {
    let act = move |n: u32| Revocation {
        target: Target::Subject(n.to_string()),
        issued_before: app::START,
        expires_at: app::START + Duration::from_secs(60),
    };
    let token = app.access_token("app", "").await;
    let db = app.running.desk.db.clone();
    // From its number to its commit an act keeps all the others waiting.
    let holding = actix_web::rt::spawn(async move {
        db.write(async |tx| {
            revocations::append(tx, &[act(0)]).await?;
            tokio::time::sleep(Duration::from_secs(2)).await;
            Ok(())
        })
        .await
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    // Of the first round the writer takes some at once; the second fills that room.
    let mut handing_in = Vec::new();
    for _ in 0..2 {
        let service = Arc::clone(&app.running.service);
        handing_in.push(actix_web::rt::spawn(async move {
            let writer = &service.mirror.writer;
            futures_util::future::join_all((1..10_000).map(|n| writer.write(act(n)))).await
        }));
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let answer = app.revoke("app", &token).await;
    holding.await.unwrap().unwrap();
    for round in handing_in {
        round.await.unwrap();
    }
    answer
}

/// A client whose default scopes belong to another resource than the one it asks for.
async fn scope_empty(app: &App) -> http::Answer {
    let description = jeton::manage::describe::ClientDescription {
        id: "modest".to_owned(),
        secret: Some(jeton::secret::WrittenSecret::new(SECRET)),
        resources: vec![crate::support::API.to_owned(), OTHER.to_owned()],
        default_scopes: Some(vec!["read".to_owned()]),
        ..Default::default()
    };
    app.running.desk.create_client(&description, app::START).await.unwrap();
    app.beat().await;
    app.token("modest", &format!("{GRANT}&resource={OTHER}")).await
}

/// Provokes a reason on a server of its own, and holds the answer and the metric against the list.
async fn hold(reason: Reason) {
    let patient = "[clients]\nmax_staleness = \"9999d\"\n";
    let settings = if reason == Reason::SigningUnavailable { patient } else { "" };
    let app = with_people(settings).await;
    let status = provoke(&app, reason).await;
    assert_eq!(status, reason.public().status, "{reason}");
    // These are refused before there is a token request to count.
    let early = [
        Reason::TransportPlain,
        Reason::UpgradeAsked,
        Reason::PathUnknown,
        Reason::MethodNotAllowed,
    ];
    if !early.contains(&reason) {
        assert!((app.refusals(reason.name()).await - 1.0).abs() < 0.1, "{reason}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn every_reason_can_be_provoked_and_is_counted_under_its_name() {
    for some in Reason::ALL.chunks(8) {
        futures_util::future::join_all(some.iter().map(|reason| hold(*reason))).await;
    }
}
