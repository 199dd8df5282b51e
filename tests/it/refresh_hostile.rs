//! What a hostile review found: refreshes, revocations and sign-ins that cross each other, and what
//! is held up meanwhile.

use std::time::{Duration, Instant};

use jeton::domain::{Revocation, Target};
use jeton::manage::apply::{ApplyFile, Options};
use jeton::manage::revoke::What;
use jeton::secret::{Password, SecretId};
use jeton::store::revocations;
use jeton::store::users::{self, PasswordHash};
use tokio::io::AsyncWriteExt;

use crate::support::app::START;
use crate::support::refused::{FORM, assert_refused};
use crate::support::sign_in::{Tokens, code, redeem, sign_in, with_people};
use crate::support::{API, Answer, App, OTHER, TestDatabase, basic};

#[track_caller]
fn next(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    answer.json()["refresh_token"].as_str().unwrap().to_owned()
}

#[actix_web::test]
async fn whoever_hangs_up_while_a_sign_in_is_revoked_has_revoked_it() {
    let app = App::with_apps("").await;
    let (_, token) = app.begin("web").await;
    let db = app.running.service.db.clone();
    // Somebody else writes meanwhile, so that the revocation waits inside the database.
    let holding = actix_web::rt::spawn(async move {
        db.write(async |tx| {
            let target = Target::Family(uuid::Uuid::nil());
            let expires_at = START + Duration::from_secs(60);
            let act = Revocation { target, issued_before: START, expires_at };
            revocations::append(tx, &[act]).await?;
            tokio::time::sleep(Duration::from_millis(800)).await;
            Ok(())
        })
        .await
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let body = format!("token={token}");
    let request = format!(
        "POST /oauth2/revoke HTTP/1.1\r\nhost: x\r\nauthorization: {}\r\ncontent-type: {}\r\n\
         content-length: {}\r\n\r\n{body}",
        basic("web", crate::support::SECRET),
        FORM.1,
        body.len()
    );
    let mut stream = tokio::net::TcpStream::connect(app.public()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.set_zero_linger().unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(stream);
    holding.await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_refused(&app.refresh("web", &token, "").await, 400, "invalid_grant");
    app.stop().await;
}

#[actix_web::test]
async fn a_registration_that_shrank_costs_nobody_a_refresh_token() {
    let app = App::with_apps("").await;
    let (_, token) = app.begin("spa").await;
    let family = app.read(&token).family;
    let before = app.family(family).await;
    app.clock.advance(Duration::from_secs(1));
    let spa = |resource: &str| {
        format!(
            "[[client]]\nid = \"spa\"\nauth_method = \"none\"\n\
             grants = [\"authorization_code\", \"refresh_token\"]\n\
             redirect_uris = [\"https://spa.example.test/cb\"]\nresources = [\"{resource}\"]\n"
        )
    };
    let resources = "[[resource]]\nid = \"https://other.example.test/v1\"\nscopes = [\"list\"]\n\
                     claims = { tenant = \"t1\", tier = 1 }\n\
                     [[resource]]\nid = \"https://api.example.test/\"\n\
                     scopes = [\"read\", { name = \"write\", description = \"Change your things\" }]\n";
    app.apply(&format!("{resources}{}", spa(OTHER))).await;
    assert_refused(&app.refresh("spa", &token, "").await, 400, "invalid_target");
    assert_eq!(app.family(family).await, before, "nothing was spent");
    app.apply(&format!("{resources}{}", spa(API))).await;
    app.advance(Duration::from_secs(60)).await;
    next(&app.refresh("spa", &token, "").await);
    app.stop().await;
}

#[actix_web::test]
async fn what_was_allowed_before_an_act_is_dead_however_late_it_is_fetched() {
    for everything in [false, true] {
        let app = with_people("").await;
        let code = code(&app, "spa", &[]).await;
        app.clock.advance(Duration::from_millis(5));
        let what = if everything { What::Everything } else { What::Client("spa".to_owned()) };
        app.running.desk.revoke(&what, None, app.clock.now(), false).await.unwrap();
        app.clock.advance(Duration::from_millis(5));
        // This replica has not heard of it yet.
        let answer = redeem(&app, "spa", &code, &[]).await;
        app.beat().await;
        if answer.status == 200 {
            let tokens = Tokens::read(&answer);
            assert!(!app.is_active("rs", &tokens.access).await);
            let again = app.refresh("spa", &tokens.refresh, "").await;
            assert_refused(&again, 400, "invalid_grant");
        } else {
            assert_refused(&answer, 400, "invalid_grant");
        }
        app.stop().await;
    }
}

#[actix_web::test]
async fn a_password_that_was_changed_meanwhile_proves_nothing_any_more() {
    let app = with_people("").await;
    let desk = &app.running.desk;
    let name = jeton::domain::Username::parse("alice").unwrap();
    let account = users::by_name(&desk.db, &name).await.unwrap().unwrap();
    let (id, proof) = (account.user.id, account.password.unwrap());
    let opens = async |proof: &PasswordHash| {
        desk.db.write(async |tx| users::still_opens(tx, id, proof).await).await.unwrap()
    };
    assert!(opens(&proof).await);
    let chosen = Password::choose("another password of alice").unwrap();
    desk.set_password("alice", Some(chosen), false, app.clock.now()).await.unwrap();
    assert!(!opens(&proof).await, "it was checked against what is gone");
    let account = users::by_name(&desk.db, &name).await.unwrap().unwrap();
    let proof = account.password.unwrap();
    assert!(opens(&proof).await);
    desk.disable_user("alice", app.clock.now()).await.unwrap();
    assert!(!opens(&proof).await, "the account is switched off");
    app.stop().await;
}

#[actix_web::test]
async fn whoever_signs_in_while_an_operator_is_about_to_end_it_is_ended_too() {
    let app = with_people("").await;
    let desk = &app.running.desk;
    let began = app.clock.now();
    app.clock.advance(Duration::from_secs(5));
    let tokens = sign_in(&app, "spa").await;
    assert!(app.is_active("rs", &tokens.access).await);
    // The operator's command began before that, and comes to the database only now.
    desk.disable_user("alice", began).await.unwrap();
    app.beat().await;
    assert!(!app.is_active("rs", &tokens.access).await);
    app.stop().await;
}

#[actix_web::test]
async fn whoever_signs_in_while_a_file_with_another_password_is_applied_is_ended_too() {
    let app = with_people("").await;
    let text = "[[user]]\nusername = \"alice\"\npassword = \"another password of alice\"\n";
    let file = ApplyFile::parse(text, app.database.directory.path()).unwrap();
    let began = app.clock.now();
    app.clock.advance(Duration::from_secs(5));
    let tokens = sign_in(&app, "spa").await;
    // It took so long to hash what the file says.
    app.running.desk.apply(&file, Options::default(), began, |_| Ok(())).await.unwrap();
    app.beat().await;
    assert!(!app.is_active("rs", &tokens.access).await);
    assert_refused(&app.refresh("spa", &tokens.refresh, "").await, 400, "invalid_grant");
    app.stop().await;
}

#[actix_web::test]
async fn a_stolen_root_secret_ends_every_sign_in_also_one_that_was_refreshed_since() {
    let app = App::with_apps("").await;
    let (_, first) = app.begin("spa").await;
    let desk = &app.running.desk;
    let now = app.clock.now();
    let file = app.database.directory.path().join("root-secrets");
    jeton::secret::file::add(&file, SecretId(2)).unwrap();
    jeton::secret::file::promote(&file, SecretId(2)).unwrap();
    app.beat().await;
    let second = next(&app.refresh("spa", &first, "").await);
    app.clock.advance(Duration::from_secs(1));
    desk.compromise_secret(SecretId(1), now + Duration::from_secs(1), false).await.unwrap();
    app.beat().await;
    let (_, later) = app.begin("spa").await;
    for token in [&first, &second] {
        assert_refused(&app.refresh("spa", token, "").await, 400, "invalid_grant");
    }
    next(&app.refresh("spa", &later, "").await);
    app.stop().await;
}

#[actix_web::test]
async fn a_refresh_that_names_no_resource_is_for_the_one_that_the_code_was_for() {
    let app = App::with_apps("").await;
    let (_, token) = app.begin("web").await;
    // The grant names the other resource first; the client's default is the same as ever.
    let turned = format!("update families set resources = '{OTHER} {API}'");
    app.database.change(&turned).await;
    let answer = app.refresh("web", &token, "").await;
    next(&answer);
    let access = answer.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(app.introspect("rs", &access).await.json()["aud"], API);
    app.stop().await;
}

#[actix_web::test]
async fn after_a_resource_was_taken_back_a_refresh_gives_tokens_that_count() {
    let app = App::with_apps("").await;
    let (_, token) = app.begin("web").await;
    let answer = app.refresh("web", &token, "").await;
    let access = |answer: &Answer| answer.json()["access_token"].as_str().unwrap().to_owned();
    let before = access(&answer);
    app.clock.advance(Duration::from_secs(1));
    let what = What::Resource(API.to_owned());
    app.running.desk.revoke(&what, None, app.clock.now(), false).await.unwrap();
    app.beat().await;
    assert!(!app.is_active("rs", &before).await);
    app.clock.advance(Duration::from_secs(1));
    let after = app.refresh("web", &next(&answer), "").await;
    assert!(app.is_active("rs", &access(&after)).await);
    app.stop().await;
}

#[actix_web::test]
async fn lone_refreshes_that_wait_for_rows_keep_nobody_from_the_next_group() {
    let database = TestDatabase::new().past_the_pooler("it needs four connections at once");
    let app = App::with_apps_on(database, "").await;
    let db = app.running.service.db.clone();
    if !db.is_postgres() {
        println!("on SQLite there are no rows to hold");
        app.stop().await;
        return;
    }
    let (_, free) = app.begin("spa").await;
    let mut held = Vec::new();
    // As many as there are groups at once.
    for _ in 0..2 {
        held.push(app.begin("spa").await.1);
    }
    let families: Vec<_> = held.iter().map(|token| app.read(token).family).collect();
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    let released = tokio::sync::Mutex::new(Some(released));
    let holding = actix_web::rt::spawn(async move {
        db.write(async |tx| {
            for family in &families {
                let why = jeton::domain::Reason::RefreshFamilyRevoked;
                jeton::store::families::end(tx, *family, why, START).await?;
            }
            if let Some(released) = released.lock().await.take() {
                let _ = released.await;
            }
            // It never happened.
            Err::<(), _>(jeton::store::StoreError::Conflict)
        })
        .await
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut waiting = Vec::new();
    for token in held {
        let address = app.public();
        waiting.push(actix_web::rt::spawn(async move {
            crate::support::session::refresh_at(&address, "spa", &token, "").await.status
        }));
        // Each by itself: of two that come together neither waits for a row.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    next(&app.refresh("spa", &free, "").await);
    assert!(waiting.iter().all(|one| !one.is_finished()), "the one waited for the others");
    let _ = release.send(());
    assert!(holding.await.unwrap().is_err());
    for one in waiting {
        assert_eq!(one.await.unwrap(), 200, "what was waited for was to be had in the end");
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_row_that_somebody_holds_holds_nobody_else_up_and_logs_nobody_out() {
    for batching in [false, true] {
        let app = App::with_apps(&format!("[refresh]\nbatching = {batching}\n")).await;
        let (_, held) = app.begin("spa").await;
        let family = app.read(&held).family;
        let db = app.running.service.db.clone();
        if !db.is_postgres() {
            // SQLite has one writer, and no rows to hold.
            println!("on SQLite there are no rows to hold");
            app.stop().await;
            continue;
        }
        let holding = actix_web::rt::spawn(async move {
            db.write(async |tx| {
                jeton::store::families::end(
                    tx,
                    family,
                    jeton::domain::Reason::RefreshFamilyRevoked,
                    START,
                )
                .await?;
                tokio::time::sleep(Duration::from_secs(4)).await;
                // It never happened.
                Err::<(), _>(jeton::store::StoreError::Conflict)
            })
            .await
        });
        tokio::time::sleep(Duration::from_millis(300)).await;
        let began = Instant::now();
        let waiting = app.refresh("spa", &held, "");
        let crowd = async {
            let mut crowd = Vec::new();
            for _ in 0..12 {
                crowd.push(app.begin("spa").await.1);
            }
            let mut longest = Duration::ZERO;
            for _ in 0..5 {
                let asked = Instant::now();
                let all = crowd.iter().map(|token| app.refresh("spa", token, ""));
                crowd = futures_util::future::join_all(all).await.iter().map(next).collect();
                longest = longest.max(asked.elapsed());
            }
            longest
        };
        let (refused, longest) = tokio::join!(waiting, crowd);
        assert_eq!(refused.status, 503, "{batching}: the row was not to be had");
        assert!(longest < Duration::from_secs(3), "{batching}: others waited {longest:?}");
        assert!(began.elapsed() < Duration::from_secs(12));
        assert!(holding.await.unwrap().is_err());
        // The one who was refused comes again, later than the window is long.
        app.advance(Duration::from_secs(60)).await;
        next(&app.refresh("spa", &held, "").await);
        app.stop().await;
    }
}

#[actix_web::test]
async fn one_network_cannot_take_every_place_at_the_sign_in_page() {
    use crate::support::sign_in::{PASSWORD, open, request};
    let app = with_people("").await;
    let pages = futures_util::future::join_all(
        (0..60).map(async |_| open(&app, &request("spa", &[])).await),
    );
    let pages = pages.await;
    let all = pages.iter().map(|page| page.allow(&app, "alice", PASSWORD));
    let answers = futures_util::future::join_all(all).await;
    let of = |status| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!(of(303) + of(503), answers.len());
    assert!(of(303) > 0 && of(503) > 0, "{} in, {} told to come again", of(303), of(503));
    let busy = answers.iter().find(|answer| answer.status == 503).unwrap();
    assert_eq!(busy.header("retry-after"), "1");
    assert_eq!(
        open(&app, &request("spa", &[])).await.allow(&app, "alice", PASSWORD).await.status,
        303
    );
    app.stop().await;
}

#[actix_web::test]
async fn of_many_whose_old_hash_is_renewed_at_once_nobody_is_told_that_the_password_is_wrong() {
    use crate::support::sign_in::{PASSWORD, add_user_with, open, request, weak_hash};
    let app = with_people("").await;
    add_user_with(&app, "bob", Some(&PasswordHash(weak_hash()))).await;
    let page = open(&app, &request("spa", &[])).await;
    let all = (0..4).map(|_| page.allow(&app, "bob", PASSWORD));
    for answer in futures_util::future::join_all(all).await {
        assert_eq!(answer.status, 303);
    }
    app.stop().await;
}
