//! The root-secret file in the life of a server: read again when it changes, and never a reason to
//! stop.

use std::fs;
use std::time::Duration;

use jeton::secret::{SecretId, file};

use crate::support::App;
use crate::support::desk::desk;
use crate::support::refused::GRANT;
use crate::support::{SECRET, TestDatabase};

fn path(database: &TestDatabase) -> std::path::PathBuf {
    database.directory.path().join("root-secrets")
}

async fn held(app: &App) -> Vec<String> {
    let text = app.metrics().await;
    let lines = text.lines().filter_map(|line| line.strip_prefix("jeton_root_secret_info"));
    lines.map(str::to_owned).collect()
}

#[actix_web::test]
async fn a_server_takes_over_a_changed_file_and_seals_its_keys_under_what_was_promoted() {
    let app = App::start().await;
    let file = path(&app.database);
    let token = app.access_token("app", "").await;
    assert_eq!(held(&app).await, ["{id=\"1\",role=\"seals\"} 1"]);
    file::add(&file, SecretId(2)).unwrap();
    app.beat().await;
    let both = ["{id=\"1\",role=\"seals\"} 1", "{id=\"2\",role=\"opens\"} 1"];
    assert_eq!(held(&app).await, both);
    file::promote(&file, SecretId(2)).unwrap();
    app.beat().await;
    app.beat().await;
    let under = "select distinct secret_id || ' ' || sealed_before from signing_keys";
    assert_eq!(app.database.sql(under), ["2 1"], "sealed anew, and where it was is remembered");
    // A client secret moves when it is used, and not before.
    assert_eq!(app.token("app", GRANT).await.status, 200);
    app.beat().await;
    let moved = "select client_id from client_secrets where pepper_id = 2";
    assert_eq!(app.database.sql(moved), ["app"]);
    assert!(app.is_active("rs", &token).await, "what was signed before still counts");
}

#[actix_web::test]
async fn a_file_that_breaks_stops_nothing_and_is_reported_until_it_is_mended() {
    let app = App::start().await;
    let file = path(&app.database);
    let good = fs::read_to_string(&file).unwrap();
    for bad in ["", "1 short\n", "2 !!!!\n"] {
        fs::write(&file, bad).unwrap();
        app.beat().await;
        assert!(app.metrics().await.contains("jeton_root_secret_file_usable 0"), "{bad:?}");
        assert_eq!(app.token_with("app", SECRET, GRANT).await.status, 200, "{bad:?}");
    }
    fs::remove_file(&file).unwrap();
    app.beat().await;
    assert_eq!(app.token("app", GRANT).await.status, 200, "the file is gone");
    fs::write(&file, &good).unwrap();
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    app.beat().await;
    assert!(app.metrics().await.contains("jeton_root_secret_file_usable 1"));
    assert_eq!(app.token("app", GRANT).await.status, 200);
}

#[actix_web::test]
async fn sealing_anew_stops_anywhere_and_goes_on_later() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    let now = crate::support::app::START;
    desk.maintain(now, true).await.unwrap();
    file::add(&path(&database), SecretId(2)).unwrap();
    file::promote(&path(&database), SecretId(2)).unwrap();
    assert!(desk.secrets.reread().unwrap());
    desk.secrets.settle();
    // The second of the two transactions is cut before its commit.
    desk.db.inject([jeton::store::Fault::LosesRace]);
    desk.reseal(now).await.unwrap();
    desk.db.inject([jeton::store::Fault::CutAfterCommit]);
    let _ = desk.reseal(now).await;
    desk.reseal(now).await.unwrap();
    let rows = jeton::store::keys::load(&desk.db).await.unwrap();
    for row in &rows {
        assert_eq!((row.material.secret_id, row.material.sealed_before.as_slice()), (2, &[1][..]));
        let secrets = desk.secrets.now();
        let opened = jeton::keys::open(row, &secrets, crate::support::desk::ISSUER, None).unwrap();
        assert!(opened.signer.is_some());
    }
    assert_eq!(desk.reseal(now).await.unwrap(), 0, "there is nothing left to do");
}

#[actix_web::test]
async fn what_a_stolen_root_secret_vouches_for_counts_for_nothing() {
    let app = App::start().await;
    let file = path(&app.database);
    let stolen = fs::read_to_string(&file).unwrap();
    let rows = jeton::store::keys::load(&app.running.desk.db).await.unwrap();
    file::add(&file, SecretId(2)).unwrap();
    file::promote(&file, SecretId(2)).unwrap();
    app.beat().await;
    app.beat().await;
    let token = app.access_token("app", "").await;
    assert!(app.is_active("rs", &token).await);
    app.beat().await;
    let desk = &app.running.desk;
    let now = app.clock.now();
    let mistyped = desk.compromise_secret(SecretId(99), now, false).await.unwrap_err();
    assert!(mistyped.to_string().contains("99"), "{mistyped}");
    let view = desk.compromise_secret(SecretId(1), now, false).await.unwrap();
    assert_eq!(view.keys.compromised.len(), 2, "both were sealed under it once");
    assert!(view.clients_without_secret.contains(&"poster".to_owned()), "it never called");
    app.beat().await;
    assert!(!app.is_active("rs", &token).await, "signed with a key that it opened");
    assert_eq!(app.token("poster", GRANT).await.status, 401, "its secret is gone");
    // Whoever holds the stolen secret and can write to the database plants a key, and a client
    // secret, and gains nothing by it.
    let theirs = jeton::secret::RootSecrets::parse(&stolen, app.running.issuer.as_str()).unwrap();
    let private = jeton::keys::PrivateKey::generate(jeton::domain::Algorithm::Es256).unwrap();
    let mut schedule = rows[0].key.clone();
    schedule.epoch = 99;
    let issuer = app.running.issuer.as_str();
    let planted = jeton::keys::seal(&private, &schedule, &theirs, issuer).unwrap();
    desk.db
        .write(async |tx| {
            jeton::store::keys::lock(tx).await?;
            jeton::store::keys::insert(tx, &planted).await
        })
        .await
        .unwrap();
    app.beat().await;
    let jwks = app.get("/.well-known/jwks.json").await.json().to_string();
    assert!(!jwks.contains(&planted.key.kid), "{jwks}");
    assert!(desk.promote_root_secret(SecretId(1), now).await.is_err(), "it never seals again");
    assert_eq!(desk.add_root_secret(now).await.unwrap(), SecretId(3), "its id is used up");
    // It can leave the file, since nothing is under it but what was planted.
    app.database.change("delete from signing_keys where epoch = 99").await;
    desk.drop_root_secret(SecretId(1), now).await.unwrap();
    app.advance(Duration::from_secs(1)).await;
    assert_eq!(app.token("rs", GRANT).await.status, 400, "authenticated, but it has no grant");
}

#[actix_web::test]
async fn what_is_still_needed_is_not_dropped_and_what_seals_is_not_given_up() {
    let app = App::start().await;
    let desk = &app.running.desk;
    let now = app.clock.now();
    let added = desk.add_root_secret(now).await.unwrap();
    assert_eq!(added, SecretId(2));
    app.beat().await;
    let said = desk.drop_root_secret(SecretId(1), now).await.unwrap_err().to_string();
    assert!(said.contains("promote another one first"), "{said}");
    let said = desk.compromise_secret(SecretId(1), now, false).await.unwrap_err().to_string();
    assert!(said.contains("secrets add") && said.contains("secrets promote"), "{said}");
    desk.promote_root_secret(SecretId(2), now).await.unwrap();
    app.beat().await;
    app.beat().await;
    let said = desk.drop_root_secret(SecretId(1), now).await.unwrap_err().to_string();
    assert!(said.contains("client secrets are still under root secret 1"), "{said}");
    assert!(desk.drop_root_secret(SecretId(7), now).await.is_err());
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(path(&app.database)).unwrap());
    assert_eq!(mode & 0o777, 0o600, "its rights survive every change");
}

#[actix_web::test]
async fn a_replica_whose_file_has_the_stolen_secret_in_front_brings_nothing_under_it() {
    let app = App::start().await;
    let file = path(&app.database);
    let old_order = {
        file::add(&file, SecretId(2)).unwrap();
        fs::read_to_string(&file).unwrap()
    };
    file::promote(&file, SecretId(2)).unwrap();
    app.beat().await;
    app.beat().await;
    let now = app.clock.now();
    app.running.desk.compromise_secret(SecretId(1), now, false).await.unwrap();
    // An orchestrator that lags brings the file back as it was: 1 stands first, and 2 behind it.
    fs::write(&file, old_order).unwrap();
    app.beat().await;
    app.beat().await;
    app.beat().await;
    let under = "select distinct secret_id from signing_keys";
    assert_eq!(app.database.sql(under), ["2"], "nothing goes back under the stolen one");
    let keys = app.get("/.well-known/jwks.json").await.json();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 2);
    app.running.desk.create_client(&description("late"), now).await.unwrap();
    let pepper = "select pepper_id from client_secrets where client_id = 'late'";
    assert_eq!(app.database.sql(pepper), ["2"]);
}

fn description(id: &str) -> jeton::manage::describe::ClientDescription {
    jeton::manage::describe::ClientDescription {
        id: id.to_owned(),
        secret: Some(jeton::secret::WrittenSecret::new(SECRET)),
        ..Default::default()
    }
}

#[actix_web::test]
async fn files_that_differ_between_replicas_move_nothing_to_and_fro() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    let now = crate::support::app::START;
    desk.maintain(now, true).await.unwrap();
    let file = path(&database);
    file::add(&file, SecretId(2)).unwrap();
    let behind = fs::read_to_string(&file).unwrap();
    file::promote(&file, SecretId(2)).unwrap();
    assert!(desk.secrets.reread().unwrap());
    assert_eq!(desk.reseal(now).await.unwrap(), 2);
    // Another replica, whose file still has the old order.
    fs::write(&file, behind).unwrap();
    let other = crate::support::desk::desk_with(&database, database.open().await);
    assert_eq!(other.secrets.now().current(), SecretId(1));
    assert_eq!(other.reseal(now).await.unwrap(), 0);
}

#[actix_web::test]
async fn a_replica_that_has_not_heard_of_a_theft_seals_nothing_under_what_was_stolen() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    let now = crate::support::app::START;
    desk.maintain(now, true).await.unwrap();
    let file = path(&database);
    file::add(&file, SecretId(2)).unwrap();
    let lagging = fs::read_to_string(&file).unwrap();
    file::promote(&file, SecretId(2)).unwrap();
    assert!(desk.secrets.reread().unwrap());
    desk.compromise_secret(SecretId(1), now, false).await.unwrap();
    // Its file has 1 in front, and it has polled nothing yet.
    fs::write(&file, lagging).unwrap();
    let other = crate::support::desk::desk_with(&database, database.open().await);
    assert_eq!(other.secrets.now().current(), SecretId(1));
    assert_eq!(other.reseal(now).await.unwrap(), 0);
    other.maintain(now + Duration::from_secs(40 * 86_400), true).await.unwrap();
    let under = "select distinct secret_id from signing_keys";
    assert_eq!(database.sql(under), ["2"], "nothing goes under the stolen one");
}

#[actix_web::test]
async fn a_database_that_forgets_a_theft_is_told_again() {
    let app = App::start().await;
    let token = app.access_token("app", "").await;
    let desk = &app.running.desk;
    let before = jeton::store::keys::load(&desk.db).await.unwrap();
    let stolen = before[0].clone();
    desk.compromise_key(&stolen.key.kid, None, app.clock.now()).await.unwrap();
    app.beat().await;
    assert!(!app.is_active("rs", &token).await);
    // A standby that had not seen it takes over: the row is as it was, its MAC is right, and the act
    // is not there.
    desk.db
        .write(async |tx| {
            jeton::store::keys::lock(tx).await?;
            jeton::store::keys::update(tx, &stolen).await
        })
        .await
        .unwrap();
    app.database.change("delete from revocations").await;
    app.beat().await;
    assert!(!app.is_active("rs", &token).await, "memory does not forget");
    let jwks = app.get("/.well-known/jwks.json").await.json().to_string();
    assert!(!jwks.contains(&stolen.key.kid), "{jwks}");
    app.beat().await;
    let kept = "select kid from signing_keys where compromised_at is not null";
    let expected = [stolen.key.kid];
    assert_eq!(app.database.sql(kept), expected);
    let acts = "select key from revocations where kind = 'kid'";
    assert_eq!(app.database.sql(acts), expected);
}

#[actix_web::test]
async fn a_key_that_has_left_the_jwks_makes_nothing_active_whatever_its_tokens_say() {
    let app = App::start().await;
    let keys = app.running.service.mirror.keys();
    let now = app.clock.now();
    let (key, signer) = keys.signer(jeton::domain::Algorithm::Es256, now).unwrap();
    let claims = serde_json::json!({
        "iss": app.running.issuer.as_str(), "aud": crate::support::API, "sub": "app",
        "client_id": "app", "iat": now.seconds(), "exp": now.seconds() + 400 * 86_400,
        "jti": jeton::domain::TokenId::new(now, [1; 9]).to_string(),
    });
    let forged =
        signer.sign(jeton::keys::TokenType::Access, claims.to_string().as_bytes()).unwrap();
    assert!(app.is_active("rs", &forged).await, "while the key is shown");
    let gone = key.times.remove_at.since(now) + Duration::from_secs(1);
    app.advance(gone).await;
    assert!(
        !app.is_active("rs", &forged).await,
        "an old backup and a stolen secret open such keys"
    );
}

#[actix_web::test]
async fn two_who_add_a_root_secret_at_once_get_two_ids_and_lose_neither() {
    let database = TestDatabase::new();
    let one = desk(&database).await;
    let two = crate::support::desk::desk_with(&database, database.open().await);
    let now = crate::support::app::START;
    let (a, b) =
        futures_util::future::join(one.add_root_secret(now), two.add_root_secret(now)).await;
    let mut ids = [a.unwrap().0, b.unwrap().0];
    ids.sort_unstable();
    assert_eq!(ids, [2, 3]);
    let set = file::load(&path(&database), "https://i").unwrap();
    assert_eq!(set.ids().len(), 3);
    let trail = database.sql("select action from audit_events where action like 'root_secret%'");
    assert_eq!(trail.len(), 2, "each is in the trail");
}

#[actix_web::test]
async fn a_file_whose_rights_are_mended_is_taken_over() {
    use std::os::unix::fs::PermissionsExt;
    let app = App::start().await;
    let file = path(&app.database);
    file::add(&file, SecretId(2)).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    app.beat().await;
    assert_eq!(held(&app).await.len(), 1, "open to all: not used");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    app.beat().await;
    assert_eq!(held(&app).await.len(), 2);
}
