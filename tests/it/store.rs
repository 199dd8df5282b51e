//! The store on its database: each function's contract, and what a transaction survives.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jeton::app;
use jeton::clock::Clock;
use jeton::domain::{
    Algorithm, AuthMethod, Client, ClientId, ExtraClaims, Reason, Resource, ResourceId, Scope,
    ScopeDefinition, Scopes,
};
use jeton::keys::{self, PrivateKey};
use jeton::manage::apply::{ApplyFile, Options};
use jeton::manage::sessions::Which;
use jeton::secret::{ClientSecret, SecretId};
use jeton::store::applied::{self, AppliedField};
use jeton::store::audit::{self, Action, Event, Filter};
use jeton::store::poll;
use jeton::store::secrets::StoredSecret;
use jeton::store::versions::{self, Part};
use jeton::store::{
    Db, Fault, Open, StoreError, Tx, clients, instance, migrate, native, resources, secrets,
};
use serde_json::json;
use uuid::Uuid;

use crate::support::TestDatabase;
use crate::support::app::START;
use crate::support::database::{loses_races, pooler};
use crate::support::desk::{ISSUER, desk, desk_with};
use crate::support::people::sign_in;

fn client(id: &str) -> Client {
    Client::new(ClientId::parse(id).unwrap(), START)
}

async fn put(tx: &mut Tx, id: &str) -> Result<(), StoreError> {
    clients::put(tx, &client(id)).await
}

async fn ids(db: &Db) -> Vec<String> {
    clients::load(db).await.unwrap().iter().map(|one| one.id.to_string()).collect()
}

#[actix_web::test]
async fn every_statement_prepares_on_its_databases() {
    let database = TestDatabase::new().past_the_pooler("what is prepared is named");
    let db = desk(&database).await.db;
    let mut prepared = 0;
    for statement in jeton::store::all_statements() {
        let outcome = db.prepare(statement).await;
        assert!(outcome.is_ok(), "{}: {outcome:?}", statement.name);
        prepared += 1;
    }
    assert!(prepared > 30, "{prepared}");
    // What does not fit the schema is noticed.
    let wrong = jeton::store::Statement {
        name: "WRONG",
        on: jeton::store::On::Both,
        sql: "select no_such_column from clients",
    };
    assert!(db.prepare(&wrong).await.is_err());
}

/// A plan without an index looks so expensive then that Postgres would compile it: 150 ms of CPU for the
/// poll, every second, on every replica.
#[actix_web::test]
async fn postgres_looks_rows_up_by_an_index_and_compiles_no_statement() {
    let database = TestDatabase::new();
    if !database.is_postgres() {
        return println!("there is nothing of it in SQLite");
    }
    let db = desk(&database).await.db;
    let settings = jeton::store::Statement {
        name: "SETTINGS",
        on: jeton::store::On::Postgres,
        sql: "select current_setting('enable_seqscan'), current_setting('jit')",
    };
    let found = db.write(async |tx| tx.all::<(String, String)>(&settings, &[]).await).await;
    assert_eq!(found.unwrap(), [("off".to_owned(), "off".to_owned())]);
}

#[actix_web::test]
async fn a_client_comes_back_as_it_was_put_and_a_put_never_switches_it_on() {
    let database = TestDatabase::new();
    let db = desk(&database).await.db;
    let scopes = |text| Scopes::parse(text).unwrap();
    let resource = ResourceId::parse("https://api.test/").unwrap();
    let mut full = client("full");
    full.name = "A \u{1F511} \"name\"".to_owned();
    full.auth_method = AuthMethod::SecretPost;
    full.redirect_uris = vec!["https://app.test/cb?a=b".to_owned()];
    full.resources = vec![resource.clone()];
    full.default_resource = Some(resource.clone());
    full.scopes = Some(scopes("a b"));
    full.default_scopes = Some(scopes("a"));
    full.introspects = vec![resource];
    full.access_token_ttl = Some(Duration::from_secs(61));
    full.algorithm = Some(Algorithm::EdDsa);
    full.refresh_idle = Some(Duration::from_secs(3601));
    full.refresh_absolute = Some(Duration::from_secs(7201));
    full.refresh_families = NonZeroU32::new(7);
    full.claims = ExtraClaims::new(json!({"tier": [1, "é"]}).as_object().unwrap().clone()).unwrap();
    db.write(async |tx| {
        put(tx, "plain").await?;
        clients::put(tx, &full).await
    })
    .await
    .unwrap();
    assert_eq!(clients::load(&db).await.unwrap(), [full.clone(), client("plain")]);

    let later = START + Duration::from_secs(5);
    let id = full.id.clone();
    let nobody = ClientId::parse("nobody").unwrap();
    let found = db
        .write(async |tx| {
            let none = clients::set_disabled(tx, &nobody, Some(later), later).await?;
            let one = clients::set_disabled(tx, &id, Some(later), later).await?;
            clients::put(tx, &Client { name: "changed".to_owned(), ..full.clone() }).await?;
            Ok((none, one))
        })
        .await;
    assert_eq!(found.unwrap(), (false, true));
    let stored = clients::load(&db).await.unwrap().remove(0);
    assert_eq!((stored.name.as_str(), stored.disabled_at), ("changed", Some(later)));
}

#[actix_web::test]
async fn secrets_are_listed_oldest_first_expire_are_rekeyed_once_and_go_with_their_client() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    let db = &desk.db;
    let owner = ClientId::parse("owner").unwrap();
    let stored = |seconds| {
        let at = START + Duration::from_secs(seconds);
        let secret = ClientSecret::generate();
        StoredSecret {
            id: audit::row_id(at),
            client: owner.clone(),
            digest: desk.secrets.now().current_pepper().digest(&owner, &secret),
            pepper: desk.secrets.now().current(),
            hint: secret.hint(),
            created_at: at,
            expires_at: None,
            last_used_at: None,
        }
    };
    let (older, newer) = (stored(0), stored(9));
    let orphan = db.write(async |tx| secrets::insert(tx, &older).await).await;
    assert!(orphan.is_err(), "a secret without a client");
    db.write(async |tx| {
        put(tx, "owner").await?;
        secrets::insert(tx, &newer).await?;
        secrets::insert(tx, &older).await
    })
    .await
    .unwrap();
    let again = db.write(async |tx| secrets::insert(tx, &older).await).await;
    assert!(matches!(again, Err(StoreError::Conflict)), "{again:?}");

    let end = START + Duration::from_secs(60);
    let (digest, other) = (newer.digest, SecretId(7));
    let rekeyed = db
        .write(async |tx| {
            secrets::expire(tx, older.id, end).await?;
            secrets::used(tx, newer.id, end).await?;
            let first = secrets::rekey(tx, older.id, older.pepper, other, &digest).await?;
            let second = secrets::rekey(tx, older.id, older.pepper, other, &digest).await?;
            Ok((first, second))
        })
        .await;
    assert_eq!(rekeyed.unwrap(), (true, false));
    let all = secrets::load(db).await.unwrap();
    assert_eq!(all.iter().map(|one| one.id).collect::<Vec<_>>(), [older.id, newer.id]);
    assert_eq!((all[0].expires_at, all[0].pepper), (Some(end), other));
    assert!(all[0].digest.matches(&digest));
    assert_eq!((all[1].last_used_at, all[1].expires_at), (Some(end), None));
    assert!(all[0].is_live(START) && !all[0].is_live(end) && all[1].is_live(end));

    db.write(async |tx| secrets::delete(tx, older.id).await).await.unwrap();
    assert_eq!(secrets::load(db).await.unwrap().len(), 1);
    let gone = db.write(async |tx| clients::delete(tx, &owner).await).await.unwrap();
    let twice = db.write(async |tx| clients::delete(tx, &owner).await).await.unwrap();
    assert_eq!((gone, twice), (true, false));
    assert!(secrets::load(db).await.unwrap().is_empty());
}

#[actix_web::test]
async fn a_resource_comes_back_as_it_was_put() {
    let database = TestDatabase::new();
    let db = desk(&database).await.db;
    let scope = |name, description: Option<&str>| ScopeDefinition {
        name: Scope::parse(name).unwrap(),
        description: description.map(str::to_owned),
    };
    let mut resource = Resource {
        id: ResourceId::parse("urn:example:r").unwrap(),
        scopes: vec![scope("b", Some("Change \"it\"")), scope("a", None)],
        claims: ExtraClaims::default(),
        created_at: START,
        updated_at: START,
    };
    db.write(async |tx| resources::put(tx, &resource).await).await.unwrap();
    assert_eq!(resources::load(&db).await.unwrap(), [resource.clone()]);
    resource.scopes.pop();
    resource.updated_at = START + Duration::from_secs(1);
    db.write(async |tx| resources::put(tx, &resource).await).await.unwrap();
    assert_eq!(resources::load(&db).await.unwrap(), [resource.clone()]);
    let gone = db.write(async |tx| resources::delete(tx, &resource.id).await).await.unwrap();
    let twice = db.write(async |tx| resources::delete(tx, &resource.id).await).await.unwrap();
    assert_eq!((gone, twice), (true, false));
}

#[actix_web::test]
async fn applied_fields_are_replaced_and_forgotten_by_object() {
    let database = TestDatabase::new();
    let db = desk(&database).await.db;
    let field = |id: &str, digest: &str| AppliedField {
        kind: "client".to_owned(),
        object_id: id.to_owned(),
        field: "name".to_owned(),
        digest: digest.to_owned(),
    };
    let left = db
        .write(async |tx| {
            for one in [field("a", "1"), field("b", "1"), field("a", "2")] {
                applied::put(tx, &one).await?;
            }
            let mut both = applied::load_in(tx).await?;
            both.sort_by(|one, other| one.object_id.cmp(&other.object_id));
            assert_eq!(both, [field("a", "2"), field("b", "1")]);
            applied::forget(tx, "client", "a").await?;
            applied::forget(tx, "resource", "b").await?;
            applied::load_in(tx).await
        })
        .await;
    assert_eq!(left.unwrap(), [field("b", "1")]);
}

#[actix_web::test]
async fn the_audit_trail_keeps_every_column_and_lists_the_newest_first() {
    let database = TestDatabase::new();
    let db = desk(&database).await.db;
    let owner = ClientId::parse("owner").unwrap();
    let resource = ResourceId::parse("urn:r").unwrap();
    let later = START + Duration::from_millis(1);
    db.write(async |tx| {
        audit::add(tx, &Event::new(Action::KeyCreated, "early", START)).await?;
        let event = Event::new(Action::ClientAuthFailedRun, "late", later);
        let event = Event {
            reason: Some(Reason::ClientAuthFailed),
            client: Some(&owner),
            resource: Some(&resource),
            kid: Some("kid"),
            request: Some("request"),
            detail: json!({"a": [1]}),
            ..event
        };
        audit::add(tx, &event).await
    })
    .await
    .unwrap();
    let latest = audit::list(&db, &Filter::latest(5)).await.unwrap();
    assert_eq!(latest.iter().map(|one| one.actor.as_str()).collect::<Vec<_>>(), ["late", "early"]);
    let one = &latest[0];
    let texts = [&one.reason, &one.client_id, &one.resource, &one.kid, &one.request_id];
    let texts: Vec<_> = texts.iter().map(|text| text.as_deref().unwrap()).collect();
    assert_eq!(texts, [Reason::ClientAuthFailed.name(), "owner", "urn:r", "kid", "request"]);
    assert_eq!((one.at, &one.detail.0), (later.micros(), &json!({"a": [1]})));
    assert_eq!((latest[1].action.as_str(), &latest[1].reason), ("key_created", &None));
    assert_eq!(audit::list(&db, &Filter::latest(1)).await.unwrap().len(), 1);
}

#[actix_web::test]
async fn a_version_changes_with_each_write_to_its_part_and_with_no_other() {
    let database = TestDatabase::new();
    let db = desk(&database).await.db;
    let clock = jeton::clock::Clock::system();
    let first = poll::poll(&db, &clock, None).await.unwrap();
    let (before, sample) = (first.versions, first.sample);
    assert_eq!(sample.authoritative, database.is_postgres());
    assert!(sample.time.distance(clock.now()) < Duration::from_secs(30), "{sample:?}");
    db.write(async |tx| versions::bump(tx, Part::Keys).await).await.unwrap();
    let after = poll::poll(&db, &clock, None).await.unwrap().versions;
    assert_eq!(after.keys.number, before.keys.number + 1);
    assert_eq!(after.directory, before.directory);
    // A history that was rolled back and went on differently has the same number, and differs.
    database.sql("update versions set number = number - 1 where part = 'keys' returning 1");
    db.write(async |tx| versions::bump(tx, Part::Keys).await).await.unwrap();
    let other = poll::poll(&db, &clock, None).await.unwrap().versions;
    assert_eq!(other.keys.number, after.keys.number);
    assert_ne!(other.keys, after.keys);
}

#[actix_web::test]
async fn of_eight_that_claim_a_database_at_once_one_wins_and_all_agree() {
    let database = TestDatabase::new();
    let db = desk(&database).await.db;
    assert_eq!(instance::load(&db).await.unwrap(), None);
    let claims = (0..8).map(|number| {
        let db = db.clone();
        async move {
            let issuer = format!("https://{number}.test");
            instance::claim(&db, &issuer, number % 2 == 0, START).await.unwrap()
        }
    });
    let seen = futures_util::future::join_all(claims).await;
    assert!(seen.iter().all(|one| *one == seen[0]), "{seen:?}");
    assert_eq!(instance::load(&db).await.unwrap(), Some(seen[0].clone()));
    assert_eq!(database.sql("select count(*) from instance"), ["1"]);
}

#[actix_web::test]
async fn of_two_keys_for_one_place_in_a_line_the_second_is_turned_away() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    desk.maintain(START, true).await.unwrap();
    let first = jeton::store::keys::load(&desk.db).await.unwrap().remove(0);
    let private = PrivateKey::generate(Algorithm::Es256).unwrap();
    let rival = keys::seal(&private, &first.key, &desk.secrets.now(), ISSUER).unwrap();
    let inserted = desk
        .db
        .write(async |tx| {
            jeton::store::keys::lock(tx).await?;
            let place = jeton::store::keys::insert(tx, &rival).await?;
            let mut moved = rival.clone();
            moved.key.epoch = 9;
            let free = jeton::store::keys::insert(tx, &moved).await?;
            moved.key.epoch = 10;
            Ok((place, free, jeton::store::keys::insert(tx, &moved).await?))
        })
        .await;
    assert_eq!(inserted.unwrap(), (false, true, false));
    let kids = database.sql("select kid from signing_keys where epoch = 1");
    assert_eq!(kids, [first.key.kid]);
}

#[actix_web::test]
async fn several_that_maintain_an_empty_issuer_at_once_make_one_set_of_keys() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    let all = (0..4).map(|_| {
        let desk = desk.clone();
        async move { desk.maintain(START, true).await.unwrap().len() }
    });
    let made: usize = futures_util::future::join_all(all).await.into_iter().sum();
    assert_eq!(made, 2);
    assert_eq!(database.sql("select epoch from signing_keys order by epoch"), ["1", "2"]);
    assert_eq!(database.sql("select count(*) from audit_events"), ["2"]);
}

#[actix_web::test]
async fn a_write_that_loses_a_race_is_done_again_and_in_the_end_given_up() {
    let database = TestDatabase::new();
    let db = desk(&database).await.db;
    let tries = AtomicUsize::new(0);
    let act = async |tx: &mut Tx| {
        tries.fetch_add(1, Ordering::SeqCst);
        put(tx, "one").await
    };
    db.inject([Fault::LosesRace; 3]);
    db.write(act).await.unwrap();
    assert_eq!((tries.swap(0, Ordering::SeqCst), ids(&db).await), (4, vec!["one".to_owned()]));
    database.sql("delete from clients returning 1");

    db.inject([Fault::LosesRace; 12]);
    let outcome = db.write(act).await;
    assert!(matches!(outcome, Err(StoreError::Contended)), "{outcome:?}");
    assert_eq!((tries.load(Ordering::SeqCst), ids(&db).await.len()), (12, 0));
}

#[actix_web::test]
async fn a_commit_whose_answer_is_lost_is_reported_as_unknown_and_never_repeated() {
    let database = TestDatabase::new();
    let db = desk(&database).await.db;
    for (fault, there) in [(Fault::CutBeforeCommit, 0), (Fault::CutAfterCommit, 1)] {
        db.inject([fault]);
        let tries = AtomicUsize::new(0);
        let outcome = db
            .write(async |tx| {
                tries.fetch_add(1, Ordering::SeqCst);
                put(tx, "one").await
            })
            .await;
        assert!(matches!(outcome, Err(StoreError::Unknown)), "{fault:?}: {outcome:?}");
        assert_eq!((tries.into_inner(), ids(&db).await.len()), (1, there), "{fault:?}");
    }
    db.write(async |tx| put(tx, "two").await).await.unwrap();
    assert_eq!(ids(&db).await, ["one", "two"]);
}

#[actix_web::test]
async fn an_act_that_fails_leaves_nothing_behind() {
    let database = TestDatabase::new();
    let db = desk(&database).await.db;
    let outcome: Result<(), _> = db
        .write(async |tx| {
            put(tx, "one").await?;
            Err(StoreError::Fault("enough".to_owned()))
        })
        .await;
    assert!(matches!(outcome, Err(StoreError::Fault(_))), "{outcome:?}");
    assert!(ids(&db).await.is_empty());
}

#[actix_web::test]
async fn two_transactions_that_cross_both_take_effect() {
    let database = TestDatabase::new();
    let db = desk(&database).await.db;
    db.write(async |tx| {
        put(tx, "a").await?;
        put(tx, "b").await
    })
    .await
    .unwrap();
    // On Postgres both hold one row before they ask for the other, and one is chosen to lose. On
    // SQLite there is one writer, and the second waits for the first.
    let meets = db.is_postgres();
    let meeting = tokio::sync::Barrier::new(2);
    let tries = AtomicUsize::new(0);
    let cross = async |first: &str, second: &str, at: u64| {
        let (first, second) = (ClientId::parse(first).unwrap(), ClientId::parse(second).unwrap());
        let since = START + Duration::from_secs(at);
        let own = AtomicUsize::new(0);
        db.write(async |tx| {
            tries.fetch_add(1, Ordering::SeqCst);
            clients::set_disabled(tx, &first, Some(since), since).await?;
            if meets && own.fetch_add(1, Ordering::SeqCst) == 0 {
                meeting.wait().await;
            }
            clients::set_disabled(tx, &second, Some(since), since).await
        })
        .await
    };
    let (one, other) = tokio::join!(cross("a", "b", 1), cross("b", "a", 2));
    assert!(one.unwrap() && other.unwrap());
    let tries = tries.into_inner();
    // Where transactions are serializable the loser may have begun again before the winner was done.
    assert!(tries == if meets { 3 } else { 2 } || loses_races() && tries == 4, "{tries} tries");
    let since: Vec<_> =
        clients::load(&db).await.unwrap().iter().map(|one| one.disabled_at).collect();
    assert_eq!(since[0], since[1], "both rows are from the one that came last");
}

#[actix_web::test]
async fn a_database_that_is_closed_is_unavailable_and_says_so() {
    let database = TestDatabase::new();
    let db = desk(&database).await.db;
    db.close().await;
    let read = clients::load(&db).await;
    assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
    let write = db.write(async |tx| put(tx, "one").await).await;
    assert!(matches!(write, Err(StoreError::Unavailable(_))), "{write:?}");
}

#[actix_web::test]
async fn names_that_a_pooler_mixes_up_make_the_error_name_the_setting() {
    let database = TestDatabase::new().past_the_pooler("it changes what new connections are told");
    if !database.is_postgres() {
        println!("there is no pooler in front of SQLite");
        return;
    }
    let name = database.url.rsplit('/').next().unwrap();
    database.sql(&format!("alter database {name} set search_path = public, pg_catalog"));
    for code in ["42P05", "26000"] {
        database.sql(&format!(
            "create or replace function clock_timestamp() returns timestamptz language plpgsql
             as $$ begin raise exception using errcode = '{code}'; end $$"
        ));
        let db = database.open().await;
        let error = native::server_time(&db, &Clock::system()).await.unwrap_err().to_string();
        assert!(error.contains(code) && error.contains("database.pooler"), "{error}");
    }
}

#[actix_web::test]
async fn one_connection_is_enough_for_every_verb() {
    let database = TestDatabase::new();
    desk(&database).await;
    let open = Open { url: &database.url, connections: 1, pooler: pooler() };
    let desk = desk_with(&database, Db::open(&open).await.unwrap());
    desk.maintain(START, true).await.unwrap();
    let file = ApplyFile::parse(
        "[[client]]\nid = \"one\"\nsecret = \"sixteen-or-more-letters\"\n\
         [[user]]\nusername = \"alice\"\npassword = \"twelve letters\"",
        database.directory.path(),
    );
    desk.apply(&file.unwrap(), Options::default(), START, |_| Ok(())).await.unwrap();
    desk.rotate_secret("one", START).await.unwrap();
    desk.disable_client("one", START).await.unwrap();
    desk.delete_client("one", START).await.unwrap();
    desk.create_user("bob", None, None, START).await.unwrap();
    desk.disable_user("bob", START).await.unwrap();
    desk.set_password("bob", None, false, START).await.unwrap();
    desk.enable_user("bob", START).await.unwrap();
    sign_in(&desk, Uuid::nil(), "one", START).await;
    let all = Which::default();
    desk.sessions(&all, 10, START).await.unwrap();
    desk.revoke_sessions(&all, START, false).await.unwrap();
    desk.delete_user("bob", START).await.unwrap();
    desk.users(START).await.unwrap();
}

#[actix_web::test]
async fn a_schema_that_this_binary_does_not_know_is_refused_with_the_remedy() {
    let database = TestDatabase::new();
    let db = database.open().await;
    let said = app::check_schema(&db).await.unwrap_err();
    assert!(said.to_string().contains("jeton migrate") && said.status() == 78, "{said}");
    let all = (0..6).map(|_| {
        let db = db.clone();
        async move {
            let mut applied = 0;
            migrate::migrate(&db, START, |_| applied += 1).await.unwrap();
            applied
        }
    });
    let applied: usize = futures_util::future::join_all(all).await.into_iter().sum();
    assert_eq!(applied, migrate::STEPS.len(), "each step is applied once, by one of six");
    app::check_schema(&db).await.unwrap();
    assert_eq!(migrate::version(&db).await.unwrap(), migrate::NEWEST);
    database.sql("insert into schema_steps (number, applied_at) values (999, 0) returning 1");
    let said = app::check_schema(&db).await.unwrap_err();
    assert!(said.to_string().contains("newer jeton") && said.status() == 78, "{said}");
    assert!(said.to_string().contains("999"), "{said}");
}

#[actix_web::test]
async fn a_read_that_loses_a_race_is_done_again_and_one_that_loses_every_race_says_so() {
    let database = TestDatabase::new().past_the_pooler("it changes what new connections are told");
    if !database.is_postgres() {
        println!("on SQLite a read loses no race");
        return;
    }
    let name = database.url.rsplit('/').next().unwrap();
    database.sql(&format!("alter database {name} set search_path = public, pg_catalog"));
    // What a sequence has given stays given, also where the rest is rolled back.
    database.sql(
        "create sequence races;
         create function clock_timestamp() returns timestamptz language plpgsql as $$ begin
             if nextval('races') in (1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15) then
                 raise exception using errcode = '40001';
             end if;
             return pg_catalog.clock_timestamp();
         end $$",
    );
    let (db, clock) = (database.open().await, Clock::system());
    native::server_time(&db, &clock).await.unwrap();
    let lost = native::server_time(&db, &clock).await;
    assert!(matches!(lost, Err(StoreError::Contended)), "{lost:?}");
    native::server_time(&db, &clock).await.unwrap();
}
