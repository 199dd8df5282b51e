//! Stolen keys and stolen root secrets, on three replicas under load: nothing that is valid is
//! refused, and nothing that is stolen is accepted for longer than the bound.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::http::token;
use crate::support::process::jeton;
use crate::support::replica::{self, Replica, environment};
use crate::support::{SECRET, TestDatabase};

/// Within this time every replica obeys.
const BOUND: Duration = Duration::from_secs(2);

/// What the load knows of the state of the world.
#[derive(Default)]
struct World {
    /// Keys that were declared stolen: before the command began, and after it had ended.
    stolen: RefCell<HashMap<String, (Instant, Instant)>>,
    stop: Cell<bool>,
    counts: RefCell<BTreeMap<&'static str, usize>>,
}

impl World {
    fn count(&self, what: &'static str) {
        *self.counts.borrow_mut().entry(what).or_default() += 1;
    }

    fn steal(&self, kids: &[String], begun: Instant) {
        let ended = Instant::now();
        let mut stolen = self.stolen.borrow_mut();
        stolen.extend(kids.iter().map(|kid| (kid.clone(), (begun, ended))));
    }
}

fn kid_of(token: &str) -> String {
    use base64::Engine;
    let header = token.split('.').next().unwrap();
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(header).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}

/// Gets tokens at each replica in turn, and asks each about all that are at hand.
async fn load(replicas: Rc<Vec<String>>, world: Rc<World>) {
    let mut tokens: Vec<(Instant, String)> = Vec::new();
    let mut round = 0;
    while !world.stop.get() {
        round += 1;
        let at = &replicas[round % replicas.len()];
        let answer =
            token(at, "/oauth2/token", "app", SECRET, "grant_type=client_credentials").await;
        let said = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, 200, "{said}");
        let body = answer.json();
        tokens.push((Instant::now(), body["access_token"].as_str().unwrap().to_owned()));
        tokens.retain(|(made, _)| made.elapsed() < Duration::from_secs(15));
        let (made, asked) = tokens[(round * 31) % tokens.len()].clone();
        examine(&replicas[(round / 3) % replicas.len()], made, &asked, &world).await;
        world.count("tokens");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn examine(at: &str, made: Instant, asked: &str, world: &World) {
    let kid = kid_of(asked);
    let sent = Instant::now();
    let form = format!("token={asked}");
    let answer = token(at, "/oauth2/introspect", "rs", SECRET, &form).await;
    let received = Instant::now();
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    let active = answer.json()["active"] == true;
    let stolen = world.stolen.borrow().get(&kid).copied();
    world.count(if active { "active" } else { "inactive" });
    match stolen {
        None => assert!(active || is_about_to_be(world, &kid, received).await, "refused: {kid}"),
        Some((begun, _)) if received < begun => assert!(active, "refused before the act"),
        Some((_, ended)) => {
            assert!(!active || sent < ended + BOUND, "accepted {:?} late", sent - ended);
            assert!(made < ended + BOUND, "signed with a stolen key");
        }
    }
}

/// Whether the command that declares a key stolen was under way when an answer came.
async fn is_about_to_be(world: &World, kid: &str, received: Instant) -> bool {
    for _ in 0..100 {
        if let Some((begun, _)) = world.stolen.borrow().get(kid) {
            return *begun <= received;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}

struct Operator(Vec<(&'static str, String)>);

impl Operator {
    async fn does(&self, args: &[&str]) -> Value {
        let environment: Vec<_> = self.0.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let args: Vec<String> = ["--json"].iter().chain(args).map(ToString::to_string).collect();
        let environment: Vec<(String, String)> =
            environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        // The load goes on meanwhile, on this thread.
        let done = tokio::task::spawn_blocking(move || {
            let args: Vec<_> = args.iter().map(String::as_str).collect();
            let environment: Vec<_> =
                environment.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            jeton(&args, &environment)
        });
        let done = done.await.unwrap();
        assert!(done.status.success(), "{done:?}");
        serde_json::from_slice(&done.stdout).unwrap()
    }
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
}

#[actix_web::test]
async fn three_replicas_under_load_live_through_every_emergency() {
    let database = TestDatabase::new();
    let mut replicas: Vec<Replica> = Vec::new();
    for name in ["a", "b", "c"] {
        replicas.push(replica::start(&database, name, &[]).await);
    }
    let addresses = Rc::new(replicas.iter().map(|one| one.public.clone()).collect::<Vec<_>>());
    let world = Rc::new(World::default());
    let load = actix_web::rt::spawn(load(Rc::clone(&addresses), Rc::clone(&world)));
    let operator = Operator(environment(&database.url, database.directory.path(), &[]));
    let a_while = || tokio::time::sleep(Duration::from_secs(3));
    a_while().await;

    // A signing key is stolen.
    let keys = operator.does(&["keys", "list"]).await;
    let active = keys.as_array().unwrap().iter().find(|key| key["stage"] == "active").unwrap();
    let kid = active["kid"].as_str().unwrap().to_owned();
    let begun = Instant::now();
    let said = operator.does(&["keys", "compromise", &kid, "--why", "a drill"]).await;
    let stolen = [kid.clone()];
    assert_eq!(texts(&said["compromised"]), stolen);
    world.steal(&stolen, begun);
    a_while().await;
    for replica in &replicas {
        let jwks = replica.get("/.well-known/jwks.json").await;
        let text = String::from_utf8(jwks.body.clone()).unwrap();
        assert!(!text.contains(&kid), "still published: {text}");
        assert_eq!(jwks.json()["keys"].as_array().unwrap().len(), 2, "active and next: {text}");
        assert!(jwks.header("cache-control").contains("max-age=60"), "{jwks:?}");
    }

    // A root secret is added and promoted; every key is sealed anew, and nobody notices.
    let added = operator.does(&["secrets", "add"]).await["added"].to_string();
    tokio::time::sleep(Duration::from_secs(2)).await;
    operator.does(&["secrets", "promote", &added]).await;
    a_while().await;
    let under = |secrets: &Value, id: u64, what: &str| {
        let found = secrets.as_array().unwrap().iter().find(|one| one["id"] == id);
        found.unwrap()[what].as_u64().unwrap()
    };
    let secrets = operator.does(&["secrets", "list"]).await;
    assert_eq!(under(&secrets, 1, "keys"), 0, "{secrets}");
    assert_eq!(under(&secrets, 1, "client_secrets"), 0, "both were used: {secrets}");

    // The old one turns out to be stolen: it takes with it every key that it ever opened.
    let foreseen = operator.does(&["secrets", "compromise", "1", "--dry-run"]).await;
    let begun = Instant::now();
    let said = operator.does(&["secrets", "compromise", "1"]).await;
    let stolen = texts(&said["keys"]["compromised"]);
    assert_eq!(stolen, texts(&foreseen["keys"]["compromised"]));
    assert_eq!(stolen.len(), 2, "the signing and the next key: {said}");
    assert!(texts(&said["clients_without_secret"]).is_empty(), "{said}");
    world.steal(&stolen, begun);
    a_while().await;
    a_while().await;

    world.stop.set(true);
    load.await.unwrap();
    let counts = world.counts.borrow().clone();
    println!("{counts:?}");
    assert!(counts["active"] > 100 && counts["inactive"] > 10, "{counts:?}");
    let file = std::fs::read_to_string(database.directory.path().join("root-secrets")).unwrap();
    assert!(!file.lines().any(|line| line.starts_with("1 ")), "the stolen secret is out of it");
    // Whoever is not sure declares it again, and is not told that the file still holds it.
    let again = operator.does(&["secrets", "compromise", "1"]).await;
    assert!(texts(&again["keys"]["compromised"]).is_empty(), "{again}");
    // A replica that starts now, with the file as it is, opens everything that counts.
    let fresh = replica::start(&database, "d", &[]).await;
    fresh.token().await;
}
