//! `jeton revoke`: what operators take back, and what they are told.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use jeton::domain::ClientId;
use jeton::manage::describe::ClientDescription;
use jeton::manage::revoke::What;
use jeton::secret::TokenText;

use crate::support::process::JETON;
use crate::support::replica::{self, environment};
use crate::support::{API, App, FIXTURES, OTHER, TestDatabase};

#[actix_web::test]
async fn everything_of_a_client_or_a_resource_or_all_is_taken_back_and_nothing_else() {
    let app = App::start().await;
    let desk = &app.running.desk;
    for (what, left) in [
        (What::Client("app".to_owned()), [false, true, true]),
        (What::Resource(API.to_owned()), [false, false, true]),
        (What::Everything, [false, false, false]),
    ] {
        let tokens = [
            app.access_token("app", "").await,
            app.access_token("narrow", "").await,
            app.access_token("rich", "").await,
        ];
        app.clock.advance(Duration::from_millis(1));
        let now = app.clock.now();
        let dry = desk.revoke(&what, None, now, true).await.unwrap();
        assert_eq!(dry.obeyed_within, None);
        app.beat().await;
        for (token, rs) in tokens.iter().zip(["rs", "rs", "other-rs"]) {
            assert!(app.is_active(rs, token).await, "{what:?}: a dry run does nothing");
        }
        let done = desk.revoke(&what, None, now, false).await.unwrap();
        assert_eq!(done.obeyed_within.as_deref(), Some("2s"));
        app.beat().await;
        for ((token, rs), active) in tokens.iter().zip(["rs", "rs", "other-rs"]).zip(left) {
            assert_eq!(app.is_active(rs, token).await, active, "{what:?} {rs}");
        }
    }
    let acts = app.database.sql("select kind from revocations order by v");
    assert_eq!(acts, ["client", "resource", "everything"]);
    let trail = "select action from audit_events where action = 'tokens_revoked'";
    assert_eq!(app.database.sql(trail).len(), 3, "one for each act, none for a dry run");
}

#[actix_web::test]
async fn only_what_was_issued_before_the_given_instant_is_taken_back() {
    let app = App::start().await;
    let (old, start) = (app.access_token("app", "").await, app.clock.now());
    app.clock.advance(Duration::from_secs(60));
    let young = app.access_token("app", "").await;
    let before = start + Duration::from_secs(30);
    let (desk, now) = (&app.running.desk, app.clock.now());
    let what = What::Client("app".to_owned());
    let view = desk.revoke(&what, Some(before), now, false).await.unwrap();
    let longest = before + Duration::from_secs(3600);
    assert_eq!(view.accepted_without_asking_until, longest.rfc3339());
    app.beat().await;
    assert!(!app.is_active("rs", &old).await);
    assert!(app.is_active("rs", &young).await);
    let ahead = now + Duration::from_secs(1);
    assert!(desk.revoke(&what, Some(ahead), now, false).await.is_err(), "what is yet to be issued");
    for unknown in [What::Client("nobody".to_owned()), What::Resource("urn:none".to_owned())] {
        assert!(desk.revoke(&unknown, None, now, false).await.is_err(), "{unknown:?}");
    }
    assert!(app.is_active("rs", &young).await);
    assert!(!app.access_token("both", &format!("resource={OTHER}")).await.is_empty());
}

#[actix_web::test]
async fn what_is_taken_back_of_a_client_or_of_everybody_stays_so_for_refresh_tokens() {
    let app = App::start().await;
    let (desk, mirror) = (&app.running.desk, &app.running.service.mirror);
    let id = ClientId::parse("app").unwrap();
    let held = || mirror.directory().client(&id).unwrap().client.valid_from;
    let registered = app.clock.now();
    assert_eq!((held(), mirror.directory().valid_from()), (Some(registered), None));
    app.clock.advance(Duration::from_secs(100));
    let now = app.clock.now();
    let (first, second) = (now - Duration::from_secs(50), now - Duration::from_secs(20));
    let what = What::Client("app".to_owned());
    desk.revoke(&what, Some(first), now, true).await.unwrap();
    desk.revoke(&What::Everything, Some(first), now, true).await.unwrap();
    app.beat().await;
    assert_eq!((held(), mirror.directory().valid_from()), (Some(registered), None), "a dry run");

    desk.revoke(&what, Some(second), now, false).await.unwrap();
    app.beat().await;
    assert_eq!((held(), mirror.directory().valid_from()), (Some(second), None));
    desk.revoke(&What::Everything, Some(first), now, false).await.unwrap();
    app.beat().await;
    assert_eq!((held(), mirror.directory().valid_from()), (Some(second), Some(first)));
    // An earlier instant takes nothing more back, and a description says nothing about it.
    desk.revoke(&what, Some(first), now, false).await.unwrap();
    app.apply(&FIXTURES.replace("id = \"app\"", "id = \"app\"\nname = \"A\"")).await;
    assert_eq!(held(), Some(second));

    // Another client of the same name begins with nothing.
    desk.delete_client("app", now).await.unwrap();
    let again = ClientDescription { id: "app".to_owned(), ..ClientDescription::default() };
    desk.create_client(&again, now).await.unwrap();
    app.beat().await;
    assert_eq!(held(), Some(now));
}

#[actix_web::test]
async fn one_token_is_taken_back_and_what_is_none_of_ours_is_refused() {
    let app = App::start().await;
    let (one, other) = (app.access_token("app", "").await, app.access_token("app", "").await);
    let (desk, now) = (&app.running.desk, app.clock.now());
    for foreign in ["", "garbage", &format!("{one}x"), &one[..one.len() - 1]] {
        let what = What::Token(TokenText::new(foreign));
        let said = desk.revoke(&what, None, now, false).await.unwrap_err().to_string();
        assert!(said.contains("no key of ours"), "{said}");
        assert!(!format!("{what:?}").contains("garbage"), "never shown");
    }
    desk.revoke(&What::Token(TokenText::new(&one)), None, now, false).await.unwrap();
    app.beat().await;
    assert!(!app.is_active("rs", &one).await);
    assert!(app.is_active("rs", &other).await);
}

#[actix_web::test]
async fn the_command_reads_a_token_from_standard_input_and_repeats_it_nowhere() {
    let database = TestDatabase::new();
    let replica = replica::start(&database, "one", &[]).await;
    let token = replica.token().await;
    let mut command = Command::new(JETON)
        .args(["revoke", "--token-stdin"])
        .envs(environment(&database.url, database.directory.path(), &[]))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    command.stdin.take().unwrap().write_all(format!("{token}\n").as_bytes()).unwrap();
    let done = command.wait_with_output().unwrap();
    assert!(done.status.success(), "{done:?}");
    let said = String::from_utf8([done.stdout, done.stderr].concat()).unwrap();
    assert!(said.contains("revoked: the token") && !said.contains(&token), "{said}");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let form = format!("token={token}");
    let secret = crate::support::SECRET;
    let seen =
        crate::support::http::token(&replica.public, "/oauth2/introspect", "rs", secret, &form);
    assert_eq!(seen.await.body, br#"{"active":false}"#);
}
