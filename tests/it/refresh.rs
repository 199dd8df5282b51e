//! The refresh token grant (RFC 6749 §6): rotation, retries, reuse, and what must change nothing.

use std::time::Duration;

use jeton::domain::Reason;
use jeton::store::Fault;

use crate::support::refused::assert_refused;
use crate::support::session::{ABSOLUTE, IDLE};
use crate::support::{API, Answer, App, OTHER};

/// The refresh token of an answer that must be a success.
#[track_caller]
fn next(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    answer.json()["refresh_token"].as_str().unwrap().to_owned()
}

#[track_caller]
fn access(answer: &Answer) -> String {
    next(answer);
    answer.json()["access_token"].as_str().unwrap().to_owned()
}

/// The answer is the one refusal that everybody gets who is refused, for this reason.
async fn refused(app: &App, answer: &Answer, reason: Reason) {
    assert_refused(answer, 400, "invalid_grant");
    assert!(app.refusals(reason.name()).await >= 1.0, "{reason}");
}

/// How often something stands in the audit trail.
fn events(app: &App, action: &str) -> usize {
    let text = format!("select action from audit_events where action = '{action}'");
    app.database.sql(&text).len()
}

#[actix_web::test]
async fn a_refresh_gives_a_fresh_access_token_and_a_successor() {
    let app = App::with_apps("").await;
    let (subject, first) = app.begin("web").await;
    let family = app.read(&first).family;
    let answer = app.refresh("web", &first, "").await;
    let second = next(&answer);
    assert_ne!(first, second);
    assert_eq!(app.read(&second).generation, 1);
    assert_eq!((answer.header("cache-control"), answer.header("pragma")), ("no-store", "no-cache"));
    let body = answer.json();
    assert_eq!((&body["token_type"], &body["expires_in"]), (&"Bearer".into(), &600.into()));

    let rs = app.introspect("rs", &access(&answer)).await.json();
    assert_eq!(rs["sub"], subject.to_string());
    assert_eq!((&rs["sid"], &rs["client_id"]), (&family.to_string().into(), &"web".into()));
    assert_eq!((&rs["aud"], &rs["scope"]), (&API.into(), &"read write".into()));
    assert_eq!(rs["auth_time"], app.clock.now().seconds());
    let third = next(&app.refresh("web", &second, "").await);
    assert_eq!(app.read(&third).generation, 2);
    app.stop().await;
}

#[actix_web::test]
async fn the_one_before_the_live_one_gets_the_very_same_successor() {
    let app = App::with_apps("").await;
    for client in ["web", "spa", "windowed"] {
        let (_, first) = app.begin(client).await;
        let once = app.refresh(client, &first, "").await;
        let family = app.family(app.read(&first).family).await;
        let again = app.refresh(client, &first, "").await;
        assert_eq!(next(&once), next(&again), "{client}");
        assert_ne!(access(&once), access(&again), "{client}: the access token is a fresh one");
        let unchanged = app.family(app.read(&first).family).await;
        assert_eq!(family, unchanged, "{client}: nothing is written");
        next(&app.refresh(client, &next(&again), "").await);
    }
    app.stop().await;
}

#[actix_web::test]
async fn the_window_closes_after_its_time_and_as_soon_as_the_successor_is_used() {
    let app = App::with_apps("[refresh]\nwindow = \"30s\"\n").await;
    for client in ["spa", "windowed"] {
        let (_, first) = app.begin(client).await;
        let second = next(&app.refresh(client, &first, "").await);
        app.clock.advance(Duration::from_secs(30));
        assert_eq!(next(&app.refresh(client, &first, "").await), second, "{client}");
        app.clock.advance(Duration::from_millis(1));
        refused(&app, &app.refresh(client, &first, "").await, Reason::RefreshReused).await;

        let (_, first) = app.begin(client).await;
        let second = next(&app.refresh(client, &first, "").await);
        next(&app.refresh(client, &second, "").await);
        refused(&app, &app.refresh(client, &first, "").await, Reason::RefreshReused).await;
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_client_that_proves_who_it_is_may_repeat_until_the_successor_is_used() {
    let app = App::with_apps("").await;
    let (_, first) = app.begin("web").await;
    let second = next(&app.refresh("web", &first, "").await);
    app.advance(Duration::from_secs(13 * 86_400)).await;
    assert_eq!(next(&app.refresh("web", &first, "").await), second);
    next(&app.refresh("web", &second, "").await);
    refused(&app, &app.refresh("web", &first, "").await, Reason::RefreshReused).await;
    app.stop().await;
}

#[actix_web::test]
async fn under_strict_every_repetition_ends_the_family() {
    let app = App::with_apps("").await;
    let (_, first) = app.begin("strict").await;
    let second = next(&app.refresh("strict", &first, "").await);
    refused(&app, &app.refresh("strict", &first, "").await, Reason::RefreshReused).await;
    refused(&app, &app.refresh("strict", &second, "").await, Reason::RefreshFamilyRevoked).await;
    app.stop().await;
}

#[actix_web::test]
async fn an_old_token_ends_the_family_for_both_with_its_access_tokens_and_one_event() {
    let settings = "issuer = \"https://id.example.test\"\n";
    let app = App::with_apps(settings).await;
    let (_, stolen) = app.begin("web").await;
    let family = app.read(&stolen).family;
    let second = next(&app.refresh("web", &stolen, "").await);
    let answer = app.refresh("web", &second, "").await;
    let (live, token) = (next(&answer), access(&answer));
    assert!(app.is_active("rs", &token).await);

    refused(&app, &app.refresh("web", &stolen, "").await, Reason::RefreshReused).await;
    assert!(!app.is_active("rs", &token).await, "obeyed at once where it was noticed");
    for token in [&stolen, &second, &live] {
        refused(&app, &app.refresh("web", token, "").await, Reason::RefreshFamilyRevoked).await;
    }
    assert_eq!(events(&app, "family_reused"), 1);
    assert_eq!(app.family(family).await.ended_by.as_deref(), Some("refresh_reused"));

    // It is durable although the answer was an error: another server on the same database knows.
    let database = app.stop().await;
    let app = App::on(database, settings, crate::support::FIXTURES).await;
    refused(&app, &app.refresh("web", &live, "").await, Reason::RefreshFamilyRevoked).await;
    assert!(!app.is_active("rs", &token).await);
    app.stop().await;
}

#[actix_web::test]
async fn a_request_that_was_overtaken_by_later_ones_is_no_theft_and_the_next_one_is() {
    let app = App::with_apps("").await;
    let (_, first) = app.begin("web").await;
    let family = app.read(&first).family;
    // While this request is on its way, the same app, which gave it up, refreshes twice.
    let later = "update families set generation = 2, rotated_at = rotated_at + 5000";
    app.database.change(later).await;
    let before = app.family(family).await;
    let answer = app.refresh("web", &first, "").await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, "1"));
    assert_eq!(app.family(family).await, before);
    app.clock.advance(Duration::from_millis(5));
    refused(&app, &app.refresh("web", &first, "").await, Reason::RefreshReused).await;
    app.stop().await;
}

#[actix_web::test]
async fn of_many_who_find_a_theft_at_once_one_writes_it() {
    let app = App::with_apps("").await;
    let (_, stolen) = app.begin("web").await;
    let second = next(&app.refresh("web", &stolen, "").await);
    next(&app.refresh("web", &second, "").await);
    let many = (0..20).map(|_| app.refresh("web", &stolen, ""));
    for answer in futures_util::future::join_all(many).await {
        assert_refused(&answer, 400, "invalid_grant");
    }
    assert_eq!(events(&app, "family_reused"), 1);
    app.stop().await;
}

#[actix_web::test]
async fn a_stranger_can_neither_use_nor_end_another_clients_family() {
    let app = App::with_apps("").await;
    let (_, first) = app.begin("web").await;
    let family = app.read(&first).family;
    let second = next(&app.refresh("web", &first, "").await);
    let third = next(&app.refresh("web", &second, "").await);
    let before = app.family(family).await;
    for token in [&first, &second, &third] {
        for stranger in ["other-web", "spa"] {
            let answer = app.refresh(stranger, token, "").await;
            refused(&app, &answer, Reason::RefreshWrongClient).await;
        }
    }
    assert_eq!(app.family(family).await, before);
    assert_eq!(events(&app, "family_reused"), 0);
    next(&app.refresh("web", &third, "").await);
    app.stop().await;
}

#[actix_web::test]
async fn a_family_bound_to_a_key_is_neither_used_nor_ended_without_it() {
    let app = App::with_apps("").await;
    let (_, first) = app.begin("spa").await;
    let family = app.read(&first).family;
    let second = next(&app.refresh("spa", &first, "").await);
    let third = next(&app.refresh("spa", &second, "").await);
    app.database.change("update families set key_thumbprint = 'somebody else has it'").await;
    let before = app.family(family).await;
    for token in [&first, &second, &third] {
        refused(&app, &app.refresh("spa", token, "").await, Reason::RefreshWrongKey).await;
    }
    assert_eq!(app.family(family).await, before);
    app.stop().await;
}

#[actix_web::test]
async fn what_is_refused_for_its_scope_or_resource_costs_no_token() {
    let app = App::with_apps("").await;
    let (_, first) = app.begin("web").await;
    let family = app.read(&first).family;
    let before = app.family(family).await;
    for (more, error, reason) in [
        ("&scope=read+admin".to_owned(), "invalid_scope", Reason::ScopeNotAllowed),
        ("&scope=list".to_owned(), "invalid_scope", Reason::ScopeNotAllowed),
        ("&scope=a++b".to_owned(), "invalid_scope", Reason::ScopeMalformed),
        ("&resource=urn:example:bare".to_owned(), "invalid_target", Reason::ResourceUnknown),
        ("&resource=x".to_owned(), "invalid_target", Reason::ResourceMalformed),
        (format!("&resource={API}&resource={OTHER}"), "invalid_target", Reason::ResourceSeveral),
    ] {
        let answer = app.refresh("web", &first, &more).await;
        assert_refused(&answer, 400, error);
        assert!(app.refusals(reason.name()).await >= 1.0, "{reason}");
        assert_eq!(app.family(family).await, before, "{more}");
    }
    next(&app.refresh("web", &first, "").await);
    app.stop().await;
}

#[actix_web::test]
async fn a_narrowed_request_narrows_its_access_token_and_never_the_family() {
    let app = App::with_apps("").await;
    let (_, first) = app.begin("web").await;
    let answer = app.refresh("web", &first, "&scope=read").await;
    assert_eq!(answer.json()["scope"], "read");
    let answer = app.refresh("web", &next(&answer), "").await;
    assert_eq!(answer.json()["scope"], "read write");
    // The other resource of the grant, under another spelling of its name.
    let more = "&resource=HTTPS://OTHER.example.test/v1";
    let answer = app.refresh("web", &next(&answer), more).await;
    assert_eq!(answer.json()["scope"], "list");
    let rs = app.introspect("other-rs", &access(&answer)).await.json();
    assert_eq!(rs["aud"], OTHER);
    let answer = app.refresh("web", &next(&answer), "").await;
    assert_eq!(answer.json()["scope"], "read write");
    app.stop().await;
}

#[actix_web::test]
async fn two_who_ask_at_once_for_different_things_each_get_what_they_asked_for() {
    let app = App::with_apps("").await;
    let (_, first) = app.begin("web").await;
    let other = format!("&resource={OTHER}");
    let (read, list) =
        tokio::join!(app.refresh("web", &first, "&scope=read"), app.refresh("web", &first, &other));
    assert_eq!(next(&read), next(&list));
    assert_eq!((&read.json()["scope"], &list.json()["scope"]), (&"read".into(), &"list".into()));
    app.stop().await;
}

#[actix_web::test]
async fn a_family_ends_when_it_is_idle_and_each_refresh_begins_that_time_anew() {
    let app = App::with_apps("").await;
    let (_, first) = app.begin("web").await;
    let almost = IDLE.checked_sub(Duration::from_micros(1)).unwrap();
    app.advance(almost).await;
    let second = next(&app.refresh("web", &first, "").await);
    app.advance(almost).await;
    let third = next(&app.refresh("web", &second, "").await);
    app.advance(IDLE).await;
    refused(&app, &app.refresh("web", &third, "").await, Reason::RefreshIdleExpired).await;
    app.stop().await;
}

#[actix_web::test]
async fn no_refresh_moves_the_end_of_a_family_and_no_access_token_outlives_it() {
    let app = App::with_apps("").await;
    let (_, mut token) = app.begin("web").await;
    let end = app.clock.now() + ABSOLUTE;
    for _ in 0..9 {
        app.advance(Duration::from_secs(9 * 86_400)).await;
        token = next(&app.refresh("web", &token, "").await);
    }
    let left = end.since(app.clock.now());
    app.advance(left.checked_sub(Duration::from_secs(60)).unwrap()).await;
    let answer = app.refresh("web", &token, "").await;
    assert_eq!(answer.json()["expires_in"], 60);
    app.clock.advance(Duration::from_secs(60));
    refused(&app, &app.refresh("web", &next(&answer), "").await, Reason::RefreshExpired).await;
    app.stop().await;
}

#[actix_web::test]
async fn a_commit_whose_answer_is_lost_is_found_again_under_every_policy() {
    let app = App::with_apps("").await;
    for client in ["web", "spa", "windowed", "strict"] {
        for fault in [Fault::CutAfterCommit, Fault::CutBeforeCommit, Fault::LosesRace] {
            let (_, first) = app.begin(client).await;
            app.running.desk.db.inject([fault]);
            let second = next(&app.refresh(client, &first, "").await);
            assert_eq!(app.read(&second).generation, 1, "{client}, {fault:?}");
            next(&app.refresh(client, &second, "").await);
        }
    }
    assert_eq!(events(&app, "family_reused"), 0);
    app.stop().await;
}

#[actix_web::test]
async fn a_theft_is_durable_even_if_the_answer_to_its_commit_is_lost() {
    let app = App::with_apps("").await;
    for fault in [Fault::CutAfterCommit, Fault::CutBeforeCommit, Fault::LosesRace] {
        let (_, first) = app.begin("strict").await;
        let second = next(&app.refresh("strict", &first, "").await);
        // The first commit is that of the vain attempt to rotate.
        app.running.desk.db.inject([fault]);
        let answer = app.refresh("strict", &first, "").await;
        assert!(matches!(answer.status, 400 | 503), "{fault:?}: {}", answer.status);
        if answer.status == 503 {
            assert_refused(&app.refresh("strict", &first, "").await, 400, "invalid_grant");
        }
        refused(&app, &app.refresh("strict", &second, "").await, Reason::RefreshFamilyRevoked)
            .await;
    }
    assert_eq!(events(&app, "family_reused"), 3);
    app.stop().await;
}

#[actix_web::test]
async fn a_family_whose_last_refresh_the_database_lost_goes_on_and_it_is_audited() {
    let app = App::with_apps("").await;
    let (_, first) = app.begin("strict").await;
    let second = next(&app.refresh("strict", &first, "").await);
    // A standby took over that had not seen the last commit.
    app.database.change("update families set generation = 0").await;
    let third = next(&app.refresh("strict", &second, "").await);
    assert_eq!(app.read(&third).generation, 2);
    assert_eq!(events(&app, "family_healed"), 1);
    next(&app.refresh("strict", &third, "").await);
    app.stop().await;
}

#[actix_web::test]
async fn a_family_that_memory_knows_to_be_revoked_does_not_heal() {
    let app = App::with_apps("").await;
    let (_, first) = app.begin("strict").await;
    let second = next(&app.refresh("strict", &first, "").await);
    refused(&app, &app.refresh("strict", &first, "").await, Reason::RefreshReused).await;
    app.database
        .change("update families set generation = 0, revoked_at = null, ended_by = null")
        .await;
    refused(&app, &app.refresh("strict", &second, "").await, Reason::RefreshFamilyRevoked).await;
    assert_eq!(events(&app, "family_healed"), 0);
    app.stop().await;
}

#[actix_web::test]
async fn a_token_from_a_lost_future_is_refused_and_changes_nothing() {
    let app = App::with_apps("").await;
    let (_, first) = app.begin("web").await;
    let family = app.read(&first).family;
    let before = app.family(family).await;
    for generation in [2, 3, u32::MAX] {
        let ahead = app.refresh_token(family, generation);
        refused(&app, &app.refresh("web", &ahead, "").await, Reason::RefreshAhead).await;
    }
    assert_eq!(app.family(family).await, before);
    next(&app.refresh("web", &first, "").await);
    app.stop().await;
}

#[actix_web::test]
async fn healing_may_be_switched_off() {
    let app = App::with_apps("[refresh]\nheal = false\n").await;
    let (_, first) = app.begin("web").await;
    let ahead = app.refresh_token(app.read(&first).family, 1);
    refused(&app, &app.refresh("web", &ahead, "").await, Reason::RefreshAhead).await;
    app.stop().await;
}

#[actix_web::test]
async fn a_family_that_the_database_lost_has_a_reason_of_its_own() {
    let app = App::with_apps("").await;
    let young = jeton::store::audit::row_id(app.clock.now());
    let token = app.refresh_token(young, 0);
    refused(&app, &app.refresh("web", &token, "").await, Reason::RefreshFamilyLost).await;
    app.clock.advance(Duration::from_secs(8 * 86_400));
    app.beat().await;
    refused(&app, &app.refresh("web", &token, "").await, Reason::RefreshFamilyUnknown).await;
    app.stop().await;
}

#[actix_web::test]
async fn the_last_number_of_all_has_no_successor() {
    let app = App::with_apps("").await;
    let (_, first) = app.begin("web").await;
    let family = app.read(&first).family;
    app.database.change("update families set generation = 4294967295").await;
    let last = app.refresh_token(family, u32::MAX);
    refused(&app, &app.refresh("web", &last, "").await, Reason::RefreshExpired).await;
    app.stop().await;
}

#[actix_web::test]
async fn what_is_no_refresh_token_of_ours_never_reaches_the_database() {
    let app = App::with_apps("").await;
    let (_, genuine) = app.begin("web").await;
    for (token, reason) in [
        ("x".to_owned(), Reason::RefreshMalformed),
        (genuine.replace("jrt_", "jat_"), Reason::RefreshMalformed),
        (format!("{genuine}A"), Reason::RefreshMalformed),
        (genuine[..genuine.len() - 2].to_owned(), Reason::RefreshMalformed),
        (format!("{}AAAA", &genuine[..genuine.len() - 4]), Reason::RefreshMacInvalid),
    ] {
        refused(&app, &app.refresh("web", &token, "").await, reason).await;
    }
    let answer = app.token("web", "grant_type=refresh_token").await;
    assert_refused(&answer, 400, "invalid_request");
    next(&app.refresh("web", &genuine, "").await);
    app.stop().await;
}

#[actix_web::test]
async fn while_a_person_is_switched_off_nothing_is_refreshed_and_then_it_goes_on() {
    let app = App::with_apps("").await;
    let (subject, first) = app.begin("web").await;
    let db = &app.running.desk.db;
    let now = app.clock.now();
    let suspend = async |since| {
        db.write(async |tx| jeton::store::families::suspend(tx, subject, since).await).await
    };
    assert_eq!(suspend(Some(now)).await.unwrap(), 1);
    refused(&app, &app.refresh("web", &first, "").await, Reason::SubjectDisabled).await;
    suspend(None).await.unwrap();
    next(&app.refresh("web", &first, "").await);
    app.stop().await;
}

#[actix_web::test]
async fn a_client_that_is_switched_off_or_says_nothing_of_itself_is_no_client() {
    let app = App::with_apps("").await;
    let (_, first) = app.begin("web").await;
    let form = format!("grant_type=refresh_token&refresh_token={first}");
    let answer = crate::support::refused::form(&app, &form).await;
    assert_refused(&answer, 401, "invalid_client");
    app.running.desk.disable_client("web", app.clock.now()).await.unwrap();
    app.beat().await;
    assert_refused(&app.refresh("web", &first, "").await, 401, "invalid_client");
    app.running.desk.enable_client("web", app.clock.now()).await.unwrap();
    app.beat().await;
    next(&app.refresh("web", &first, "").await);
    app.stop().await;
}

#[actix_web::test]
async fn a_client_that_took_a_deleted_ones_name_inherits_no_family() {
    let app = App::with_apps("").await;
    let (_, first) = app.begin("web").await;
    app.running.desk.delete_client("web", app.clock.now()).await.unwrap();
    app.clock.advance(Duration::from_secs(2 * 3600));
    app.beat().await;
    app.apply(crate::support::session::APPS).await;
    // Apply leaves alone what an operator deleted; the operator makes it anew.
    let again = app.running.desk.client("web").await;
    if again.is_err() {
        let description = jeton::manage::describe::ClientDescription {
            id: "web".to_owned(),
            secret: Some(jeton::secret::WrittenSecret::new(crate::support::SECRET)),
            grants: Some(vec!["refresh_token".to_owned(), "authorization_code".to_owned()]),
            redirect_uris: vec!["https://web.example.test/cb".to_owned()],
            resources: vec![API.to_owned()],
            ..Default::default()
        };
        app.running.desk.create_client(&description, app.clock.now()).await.unwrap();
        app.beat().await;
    }
    refused(&app, &app.refresh("web", &first, "").await, Reason::IssuedBeforeWatermark).await;
    app.stop().await;
}

#[actix_web::test]
async fn a_refresh_token_is_nowhere_in_the_database() {
    let app = App::with_apps("").await;
    let (_, first) = app.begin("web").await;
    let second = next(&app.refresh("web", &first, "").await);
    let database = app.stop().await;
    let columns = "client_id || resources || scopes || coalesce(ended_by, '')";
    let families = database.sql(&format!("select {columns} from families"));
    let events = database.sql("select cast(detail as text) from audit_events");
    assert!(!families.is_empty() && !events.is_empty());
    let all = [families, events].concat().join("\n");
    for token in [first, second] {
        assert!(!all.contains("jrt_") && !all.contains(&token[60..]), "{all}");
    }
}

#[actix_web::test]
async fn where_it_is_configured_clients_are_told_when_it_all_ends() {
    let app = App::with_apps("[refresh]\nannounce = true\n").await;
    let (_, first) = app.begin("web").await;
    app.advance(Duration::from_secs(3600)).await;
    let body = app.refresh("web", &first, "").await.json();
    assert_eq!(body["refresh_token_timeout"], IDLE.as_secs());
    assert_eq!(body["authorization_expires_in"], ABSOLUTE.as_secs() - 3600);
    let metadata = app.get("/.well-known/oauth-authorization-server").await.json();
    let kinds = metadata["refresh_token_expiration_types_supported"].as_array().unwrap();
    assert_eq!(kinds, &["authorization", "credential"]);
    app.stop().await;
    let app = App::with_apps("").await;
    let (_, first) = app.begin("web").await;
    let body = app.refresh("web", &first, "").await.json();
    assert!(body.get("refresh_token_timeout").or(body.get("authorization_expires_in")).is_none());
    app.stop().await;
}

#[actix_web::test]
async fn the_metric_says_how_tokens_were_exchanged() {
    let app = App::with_apps("").await;
    let (_, first) = app.begin("web").await;
    next(&app.refresh("web", &first, "").await);
    next(&app.refresh("web", &first, "").await);
    let metrics = app.metrics().await;
    assert!(metrics.contains("jeton_refreshes_total{how=\"rotated\"} 1"), "{metrics}");
    assert!(metrics.contains("jeton_refreshes_total{how=\"retried\"} 1"), "{metrics}");
    app.stop().await;
}
