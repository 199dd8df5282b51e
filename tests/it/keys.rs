//! Signing keys in the database: a row proves itself or counts for nothing, and what is destroyed
//! is gone.

use std::collections::HashSet;
use std::time::Duration;

use jeton::domain::signing_key::KeyRow;
use jeton::domain::{Algorithm, Stage};
use jeton::keys::{self, PrivateKey, PublicJwk, Signer};
use jeton::manage::{Desk, ManageError};
use jeton::mirror::KeyRing;
use jeton::secret::RootSecrets;
use jeton::secret::file::generate_text;
use jeton::store;
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::symm::Cipher;
use serde_json::Value;

use crate::support::app::START;
use crate::support::desk::{ISSUER, desk};
use crate::support::{API, App, TestDatabase, verify};

const DAY: Duration = Duration::from_secs(86_400);
const PERIOD: Duration = Duration::from_secs(30 * 86_400);

fn just_before(end: Duration) -> Duration {
    end.saturating_sub(Duration::from_secs(1))
}

fn kids(document: &[u8]) -> Vec<String> {
    let value: Value = serde_json::from_slice(document).unwrap();
    value["keys"].as_array().unwrap().iter().map(|k| k["kid"].as_str().unwrap().into()).collect()
}

async fn load(desk: &Desk, before: &KeyRing) -> KeyRing {
    let rows = store::keys::load(&desk.db).await.unwrap();
    KeyRing::load(rows, &desk.secrets.now(), ISSUER, before)
}

/// The kids of the two first keys: the active one and the next.
async fn first_two(desk: &Desk) -> (String, String) {
    desk.maintain(START, true).await.unwrap();
    let rows = store::keys::load(&desk.db).await.unwrap();
    assert_eq!(rows.len(), 2);
    (rows[0].key.kid.clone(), rows[1].key.kid.clone())
}

#[actix_web::test]
async fn a_row_that_was_altered_in_any_column_is_neither_published_nor_used() {
    let hex = if TestDatabase::new().is_postgres() { "decode('ff', 'hex')" } else { "x'ff'" };
    let alterations = [
        "public_jwk = (select public_jwk from signing_keys other where other.epoch = 2)",
        "kid = 'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'",
        "algorithm = 'RS256'",
        "algorithm = 'Ed25519'",
        "epoch = 7",
        "mac = (select mac from signing_keys other where other.epoch = 2)",
        &format!("mac = {hex}"),
        &format!("sealed = {hex}"),
        "sealed = (select sealed from signing_keys other where other.epoch = 2)",
        "sealed = null",
        "secret_id = 200",
    ];
    for alteration in alterations {
        let database = TestDatabase::new();
        let desk = desk(&database).await;
        let (active, next) = first_two(&desk).await;
        let untouched = load(&desk, &KeyRing::default()).await;
        assert_eq!(kids(&untouched.jwks(START).document.plain), [active.clone(), next.clone()]);
        database.sql(&format!("update signing_keys set {alteration} where epoch = 1 returning 1"));

        let ring = load(&desk, &KeyRing::default()).await;
        assert_eq!(kids(&ring.jwks(START).document.plain), vec![next.clone()], "{alteration}");
        for line in Algorithm::ALL {
            assert!(!ring.can_sign(line, START), "{alteration}: signs as {line}");
        }
        let altered = ring.iter().find(|one| one.key.kid != next).unwrap();
        assert!(altered.trouble.is_some(), "{alteration}: no trouble");
        // The other key serves when its hour has come.
        let signer = ring.signer(Algorithm::Es256, START + PERIOD).unwrap();
        assert_eq!(signer.0.kid, next, "{alteration}");
    }
}

#[actix_web::test]
async fn one_flipped_bit_of_what_is_sealed_spoils_the_row() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    first_two(&desk).await;
    let rows = store::keys::load(&desk.db).await.unwrap();
    let length = rows[0].material.sealed.as_ref().unwrap().len();
    for at in (0..length).step_by(7).chain([length - 1]) {
        let mut row = rows[0].clone();
        row.material.sealed.as_mut().unwrap()[at] ^= 1;
        let opened = keys::open(&row, &desk.secrets.now(), ISSUER, None);
        assert!(opened.is_err(), "byte {at} of what is sealed");
    }
    // Sealed for one issuer, it opens for no other.
    assert!(keys::open(&rows[0], &desk.secrets.now(), ISSUER, None).is_ok());
    assert!(keys::open(&rows[0], &desk.secrets.now(), "https://other.test", None).is_err());
}

#[actix_web::test]
async fn a_key_that_a_database_writer_plants_is_never_published() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    first_two(&desk).await;
    let row = store::keys::load(&desk.db).await.unwrap().remove(0);
    let theirs = RootSecrets::parse(&generate_text(), ISSUER).unwrap();
    let private = PrivateKey::generate(Algorithm::Es256).unwrap();
    let mut schedule = row.key.clone();
    schedule.epoch = 3;
    let mut planted: KeyRow = keys::seal(&private, &schedule, &theirs, ISSUER).unwrap();
    for secret_id in [row.material.secret_id, 200] {
        planted.material.secret_id = secret_id;
        planted.key.epoch += 1;
        let kid = planted.key.kid.clone();
        desk.db
            .write(async |tx| {
                store::keys::lock(tx).await?;
                store::keys::insert(tx, &planted).await
            })
            .await
            .unwrap();
        let ring = load(&desk, &KeyRing::default()).await;
        assert!(ring.find(&kid).is_some(), "it was not planted");
        let shown = kids(&ring.jwks(START).document.plain);
        assert!(!shown.contains(&kid) && shown.len() == 2, "{secret_id}: {shown:?}");
        let schedule = ring.schedule_document(ISSUER, &desk.policy, START);
        assert!(!kids(&schedule.document.plain).contains(&kid));
        database.sql(&format!("delete from signing_keys where kid = '{kid}' returning 1"));
    }
}

#[actix_web::test]
async fn a_key_once_opened_stays_open_without_its_root_secret() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    let (active, _) = first_two(&desk).await;
    let open = load(&desk, &KeyRing::default()).await;
    let rows = store::keys::load(&desk.db).await.unwrap();
    let text = generate_text().replacen('1', "9", 1);
    let other = RootSecrets::parse(&text, ISSUER).unwrap();

    let without = KeyRing::load(rows.clone(), &other, ISSUER, &KeyRing::default());
    assert!(!without.can_sign(Algorithm::Es256, START));
    assert!(without.iter().all(|one| one.trouble.as_ref().unwrap().contains("root secret 1")));

    let after = KeyRing::load(rows.clone(), &other, ISSUER, &open);
    assert_eq!(after.signer(Algorithm::Es256, START).unwrap().0.kid, active);
    assert_eq!(kids(&after.jwks(START).document.plain).len(), 2);

    // That it is stolen is believed even of a row that cannot be checked here.
    let mut stolen = rows;
    for row in &mut stolen {
        row.key.compromised_at = Some(START);
    }
    let after = KeyRing::load(stolen, &other, ISSUER, &open);
    assert!(!after.can_sign(Algorithm::Es256, START));
    assert!(kids(&after.jwks(START).document.plain).is_empty());
}

#[test]
fn every_algorithm_makes_a_key_that_signs_what_a_verifier_accepts() {
    let now = START;
    for algorithm in Algorithm::ALL {
        let private = PrivateKey::generate(algorithm).unwrap();
        let public = PublicJwk::of(&private).unwrap();
        let signer = Signer::new(&private).unwrap();
        let claims = format!(r#"{{"iat":{}}}"#, now.seconds());
        let token = signer.sign(keys::TokenType::Access, claims.as_bytes()).unwrap();
        let entry = public.entry(&public.thumbprint(), algorithm);
        let jwks: Value = serde_json::from_str(&format!(r#"{{"keys":[{entry}]}}"#)).unwrap();
        let (header, claims) = verify::verify(&token, &jwks).unwrap();
        assert_eq!(header["alg"], algorithm.name());
        assert_eq!(claims["iat"], now.seconds());
        assert!(jwks["keys"][0].get("d").is_none(), "a private member is published");
        // Another key of the same kind does not verify it.
        let other = PublicJwk::of(&PrivateKey::generate(algorithm).unwrap()).unwrap();
        let entry = other.entry(&public.thumbprint(), algorithm);
        let jwks = serde_json::from_str(&format!(r#"{{"keys":[{entry}]}}"#)).unwrap();
        assert!(verify::verify(&token, &jwks).is_err(), "{algorithm}");
    }
}

#[actix_web::test]
async fn a_private_half_is_gone_from_the_database_once_it_has_signed_its_last() {
    let app = App::start().await;
    let private_halves = || {
        app.database.sql(
            "select case when sealed is null then 'gone' else 'there' end
             from signing_keys order by epoch",
        )
    };
    assert_eq!(private_halves(), ["there", "there"]);
    let first = verify_one(&app).await;
    app.advance(PERIOD + Duration::from_secs(299)).await;
    assert_eq!(private_halves(), ["there", "there", "there"]);
    app.advance(Duration::from_secs(1)).await;
    assert_eq!(private_halves(), ["gone", "there", "there"]);
    // Its successor signs, and it is still published for what it has signed.
    let second = verify_one(&app).await;
    assert_ne!(first, second);
    let shown = kids(&app.get("/.well-known/jwks.json").await.body);
    assert!(shown.contains(&first), "{shown:?}");
    assert_eq!(shown[0], second, "the active key comes first");
    let destroyed = app
        .database
        .sql("select kid from audit_events where action = 'key_destroyed' and actor = 'server'");
    assert_eq!(destroyed, vec![first.clone()]);
    // After the longest token, the oldest cache and the skew it leaves.
    app.advance(Duration::from_secs(3900)).await;
    assert!(!kids(&app.get("/.well-known/jwks.json").await.body).contains(&first));
    app.stop().await;
}

/// The kid of a fresh token that verifies.
async fn verify_one(app: &App) -> String {
    let token = app.access_token("app", "").await;
    let jwks = app.get("/.well-known/jwks.json").await.json();
    let (header, claims) = verify::verify(&token, &jwks).unwrap();
    assert_eq!(claims["aud"], API);
    header["kid"].as_str().unwrap().to_owned()
}

#[actix_web::test]
async fn a_replica_without_its_database_goes_on_to_the_next_key_and_no_further() {
    let app = App::with("clients.max_staleness = \"9999d\"").await;
    let first = verify_one(&app).await;
    app.running.desk.db.close().await;
    assert_eq!(verify_one(&app).await, first);
    app.advance(PERIOD).await;
    let second = verify_one(&app).await;
    assert_ne!(first, second);
    // There is no third: it refuses rather than sign with a key whose time is over.
    app.advance(just_before(PERIOD)).await;
    assert_eq!(verify_one(&app).await, second);
    app.advance(Duration::from_secs(1)).await;
    let refused = app.token("app", "grant_type=client_credentials").await;
    assert_eq!(refused.error(), (503, "temporarily_unavailable".to_owned()));
    assert!(app.refusals("signing_unavailable").await >= 1.0);
    let jwks = app.get("/.well-known/jwks.json").await;
    assert_eq!((jwks.status, kids(&jwks.body)), (200, vec![second]));
    app.stop().await;
}

#[actix_web::test]
async fn an_operator_rotates_holds_and_releases_and_each_act_is_in_the_audit_trail() {
    let app = App::start().await;
    let first = verify_one(&app).await;
    let desk = &app.running.desk;
    app.advance(DAY).await;
    desk.rotate(Algorithm::Es256, app.clock.now()).await.unwrap();
    assert_eq!(verify_one(&app).await, first);
    app.advance(Duration::from_secs(10)).await;
    let second = verify_one(&app).await;
    assert_ne!(first, second);
    let again = desk.rotate(Algorithm::Es256, app.clock.now()).await;
    assert!(again.is_ok(), "{again:?}");
    // The third has had no lead yet, so it comes no sooner than a day later.
    app.advance(just_before(DAY)).await;
    assert_eq!(verify_one(&app).await, second);

    desk.hold(&first, true, app.clock.now()).await.unwrap();
    app.advance(PERIOD * 2).await;
    let shown = kids(&app.get("/.well-known/jwks.json").await.body);
    assert!(shown.contains(&first) && !shown.contains(&second), "{shown:?}");
    desk.hold(&first, false, app.clock.now()).await.unwrap();
    app.beat().await;
    assert!(!kids(&app.get("/.well-known/jwks.json").await.body).contains(&first));
    desk.compromise_key(&first, None, app.clock.now()).await.unwrap();
    let stolen = desk.hold(&first, true, app.clock.now()).await.unwrap_err();
    assert!(stolen.to_string().contains("never comes back"), "{stolen}");
    let nobody = desk.hold("nobody", true, app.clock.now()).await;
    assert!(matches!(nobody, Err(ManageError::NotFound { .. })), "{nobody:?}");

    let trail = |action: &str| {
        app.database.sql(&format!("select kid from audit_events where action = '{action}'"))
    };
    assert_eq!((trail("key_held"), trail("key_released")), (vec![first.clone()], vec![first]));
    assert!(trail("key_rescheduled").contains(&second));
    assert!(trail("key_created").len() >= 3);
    app.stop().await;
}

#[actix_web::test]
async fn an_imported_key_is_the_first_to_sign_and_on_a_running_issuer_it_queues() {
    let pem = |key: PKey<openssl::pkey::Private>| key.private_key_to_pem_pkcs8().unwrap();
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let one = || pem(PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap());
    let (first, later) = (one(), one());
    let read = |pem: &[u8]| PrivateKey::from_pem(pem, Algorithm::Es256).unwrap();

    let database = TestDatabase::new();
    let desk = desk(&database).await;
    let kid = desk.import_key(read(&first), Algorithm::Es256, START).await.unwrap();
    let ring = load(&desk, &KeyRing::default()).await;
    assert_eq!(ring.signer(Algorithm::Es256, START).unwrap().0.kid, kid);
    assert_eq!(ring.iter().count(), 2, "and a next key beside it");
    let twice = desk.import_key(read(&first), Algorithm::Es256, START).await;
    assert!(matches!(twice, Err(ManageError::Exists { .. })), "{twice:?}");

    let queued = desk.import_key(read(&later), Algorithm::Es256, START).await.unwrap();
    let ring = load(&desk, &KeyRing::default()).await;
    let key = &ring.find(&queued).unwrap().key;
    assert_eq!((key.epoch, key.times.activate_at), (3, START + PERIOD * 2));
    assert_eq!(key.stage(START + Duration::from_secs(10)), Stage::Published);
    assert_eq!(ring.signer(Algorithm::Es256, START).unwrap().0.kid, kid);
    let imported = database.sql("select kid from audit_events where action = 'key_imported'");
    assert_eq!(imported.into_iter().collect::<HashSet<_>>(), HashSet::from([kid, queued]));

    let other = desk.import_key(read(&one()), Algorithm::Rs256, START).await;
    assert!(other.unwrap_err().to_string().contains("keys.algorithms"));
}

#[actix_web::test]
async fn an_import_that_loses_its_place_to_another_leaves_no_trace() {
    for _ in 0..5 {
        let database = TestDatabase::new();
        let desk = desk(&database).await;
        let import = || {
            let key = PrivateKey::generate(Algorithm::Es256).unwrap();
            let kid = PublicJwk::of(&key).unwrap().thumbprint();
            let desk = desk.clone();
            async move { (kid, desk.import_key(key, Algorithm::Es256, START).await) }
        };
        let outcomes = tokio::join!(import(), import(), import());
        let there = database.sql("select kid from signing_keys");
        let imported = database.sql("select kid from audit_events where action = 'key_imported'");
        let outcomes = [outcomes.0, outcomes.1, outcomes.2];
        assert!(outcomes.iter().any(|(_, outcome)| outcome.is_ok()), "{outcomes:?}");
        for (kid, outcome) in &outcomes {
            assert_eq!(outcome.is_ok(), there.contains(kid), "{outcome:?}");
            assert_eq!(outcome.is_ok(), imported.contains(kid), "{outcome:?}");
        }
    }
}

#[test]
fn a_key_is_imported_in_every_usual_form_and_refused_in_every_unusable_one() {
    let ec = |curve| {
        let group = EcGroup::from_curve_name(curve).unwrap();
        EcKey::generate(&group).unwrap()
    };
    let p256 = ec(Nid::X9_62_PRIME256V1);
    let rsa = |bits| Rsa::generate(bits).unwrap();
    let rsa_2048 = rsa(2048);
    let ed25519 = PKey::generate_ed25519().unwrap();
    let sec1 = p256.private_key_to_pem().unwrap();
    let pkcs1 = rsa_2048.private_key_to_pem().unwrap();
    let rsa_pkcs8 = PKey::from_rsa(rsa_2048.clone()).unwrap().private_key_to_pem_pkcs8().unwrap();
    let ec_pkcs8 = PKey::from_ec_key(p256.clone()).unwrap().private_key_to_pem_pkcs8().unwrap();
    let ed_pkcs8 = ed25519.private_key_to_pem_pkcs8().unwrap();
    let usual = [
        (&sec1, Algorithm::Es256),
        (&ec_pkcs8, Algorithm::Es256),
        (&pkcs1, Algorithm::Rs256),
        (&rsa_pkcs8, Algorithm::Rs256),
        (&pkcs1, Algorithm::Ps256),
        (&ed_pkcs8, Algorithm::Ed25519),
        (&ed_pkcs8, Algorithm::EdDsa),
    ];
    for (pem, algorithm) in usual {
        let key = PrivateKey::from_pem(pem, algorithm).unwrap();
        assert!(
            Signer::new(&key).unwrap().sign(keys::TokenType::Access, b"{}").is_ok(),
            "{algorithm}"
        );
    }
    let encrypted =
        ed25519.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"secret").unwrap();
    let no_pem = "not an unencrypted private key in PEM form";
    let unsuited = "does not suit the algorithm";
    let refused = [
        (encrypted, Algorithm::Ed25519, no_pem),
        (ed25519.public_key_to_pem().unwrap(), Algorithm::Ed25519, no_pem),
        (b"garbage".to_vec(), Algorithm::Es256, no_pem),
        (Vec::new(), Algorithm::Es256, no_pem),
        (sec1[..sec1.len() / 2].to_vec(), Algorithm::Es256, no_pem),
        (ec(Nid::SECP384R1).private_key_to_pem().unwrap(), Algorithm::Es256, unsuited),
        (rsa(1024).private_key_to_pem().unwrap(), Algorithm::Rs256, unsuited),
        (pkcs1, Algorithm::Es256, unsuited),
        (sec1, Algorithm::Rs256, unsuited),
    ];
    for (pem, algorithm, why) in refused {
        let said = PrivateKey::from_pem(&pem, algorithm).unwrap_err().to_string();
        assert!(said.contains(why), "{algorithm}: {said}");
    }
}
