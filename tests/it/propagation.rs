//! A token that is revoked through one replica is refused by another within two seconds, whatever
//! happens to the other one; and one that cannot know says 503.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::support::http::{send, try_send};
use crate::support::proxy::{Link, Proxy};
use crate::support::refused::FORM;
use crate::support::replica::{self, Replica, environment, fixtures};
use crate::support::{Process, SECRET, TestDatabase, basic};

/// Within this time every replica obeys.
const BOUND: Duration = Duration::from_secs(2);

/// So many tokens are revoked.
const TRIES: usize = 10_000;

/// So many at once.
const AT_ONCE: usize = 1000;

async fn form(address: &str, path: &str, client: &str, body: &str) -> Result<(u16, Vec<u8>), ()> {
    let credential = basic(client, SECRET);
    let headers = [FORM, ("authorization", credential.as_str())];
    let answer = try_send(address, "POST", path, &headers, body.as_bytes()).await;
    answer.map(|answer| (answer.status, answer.body)).map_err(drop)
}

/// The replica that things happen to: where it is at the moment, if anywhere.
struct Victim {
    process: RefCell<Option<Replica>>,
    address: RefCell<String>,
}

impl Victim {
    fn stands_at(&self, replica: Replica) {
        self.address.replace(replica.public.clone());
        self.process.replace(Some(replica));
    }

    fn signal(&self, name: &str) {
        if let Some(replica) = &*self.process.borrow() {
            replica.process.signal(name);
        }
    }
}

/// Lets one thing after the other happen until told to stop.
async fn torment(
    victim: Rc<Victim>,
    link: Option<Proxy>,
    start: impl AsyncFn() -> Replica,
    stop: Rc<Cell<bool>>,
) {
    let mut round = 0u64;
    while !stop.get() {
        // Not random but varied: a run that fails can be read again.
        let pause = Duration::from_millis(400 + (round * 739) % 2600);
        match (round % 5, &link) {
            (0, Some(link)) => link.set(Link::Slow(pause / 2)),
            (1, Some(link)) => link.set(Link::Cut),
            (2, Some(link)) => link.set(Link::Hanging),
            (3, _) => {
                victim.process.replace(None);
                let fresh = start().await;
                victim.stands_at(fresh);
            }
            _ => victim.signal("STOP"),
        }
        tokio::time::sleep(pause).await;
        victim.signal("CONT");
        if let Some(link) = &link {
            link.set(Link::Up);
        }
        tokio::time::sleep(Duration::from_millis(300 + (round * 311) % 1200)).await;
        round += 1;
    }
    // What was in hand when the test ended goes on in peace.
    victim.signal("CONT");
}

/// One try: a token is issued and revoked at one replica; two seconds after the answer, the other
/// one is asked.
async fn attempt(sound: &str, victim: &Victim) -> &'static str {
    let (status, body) =
        form(sound, "/oauth2/token", "app", "grant_type=client_credentials").await.unwrap();
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let token = format!("token={}", body["access_token"].as_str().unwrap());
    // Asked before, so that it is known there and its signature is not looked at again.
    let address = victim.address.borrow().clone();
    let _ = form(&address, "/oauth2/introspect", "rs", &token).await;

    let (status, _) = form(sound, "/oauth2/revoke", "app", &token).await.unwrap();
    assert_eq!(status, 200);
    let acknowledged = Instant::now();
    tokio::time::sleep(BOUND.saturating_sub(acknowledged.elapsed())).await;
    let address = victim.address.borrow().clone();
    match form(&address, "/oauth2/introspect", "rs", &token).await {
        Ok((200, body)) if body == br#"{"active":false}"# => "inactive",
        Ok((200, body)) => panic!("active: {}", String::from_utf8_lossy(&body)),
        Ok((503, _)) => "503",
        Ok((status, body)) => panic!("{status}: {}", String::from_utf8_lossy(&body)),
        Err(()) => "away",
    }
}

#[actix_web::test]
async fn in_ten_thousand_tries_no_revoked_token_is_active_elsewhere_after_two_seconds() {
    let database = TestDatabase::new();
    let sound = replica::start(&database, "sound", &[]).await;
    let mut url = database.url.clone();
    let mut link = None;
    if database.is_postgres() {
        let parsed = url::Url::parse(&url).unwrap();
        let target = format!("{}:{}", parsed.host_str().unwrap(), parsed.port().unwrap());
        let proxy = Proxy::to(&target).await;
        url = url.replace(&target, &proxy.address);
        link = Some(proxy);
    }
    let directory = database.directory.path().to_owned();
    let start = async move || {
        let environment = environment(&url, &directory, &[]);
        let environment: Vec<_> = environment.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let args = ["--migrate", "--apply", &fixtures(&directory)];
        Replica::of(Process::serve(&directory, "victim", &args, &environment)).await
    };
    let victim =
        Rc::new(Victim { process: RefCell::new(None), address: RefCell::new(String::new()) });
    victim.stands_at(start().await);
    let stop = Rc::new(Cell::new(false));
    let torment = actix_web::rt::spawn(torment(Rc::clone(&victim), link, start, Rc::clone(&stop)));

    let outcomes: Rc<RefCell<BTreeMap<&str, usize>>> = Rc::default();
    let left = Rc::new(Cell::new(TRIES));
    let workers = (0..AT_ONCE).map(|_| {
        let (left, outcomes) = (Rc::clone(&left), Rc::clone(&outcomes));
        let (victim, sound) = (Rc::clone(&victim), sound.public.clone());
        actix_web::rt::spawn(async move {
            while left.get() > 0 {
                left.set(left.get() - 1);
                let outcome = attempt(&sound, &victim).await;
                *outcomes.borrow_mut().entry(outcome).or_default() += 1;
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.unwrap();
    }
    stop.set(true);
    torment.await.unwrap();
    let outcomes = outcomes.borrow();
    println!("{TRIES} tries: {outcomes:?}");
    assert_eq!(outcomes.values().sum::<usize>(), TRIES);
    assert!(outcomes["inactive"] > TRIES / 4, "{outcomes:?}");
    if database.is_postgres() {
        assert!(outcomes.get("503").is_some_and(|count| *count > 0), "{outcomes:?}");
    }
}

/// The library that gives a process another wall clock; `tests/setup test` installs it.
fn faketime() -> String {
    let found = std::process::Command::new("find")
        .args(["/usr/lib", "/usr/local/lib", "-name", "libfaketime.so.1"])
        .output()
        .unwrap();
    let found = String::from_utf8(found.stdout).unwrap();
    let library = found.lines().next().map(str::to_owned);
    library.unwrap_or_else(|| panic!("libfaketime is missing: run tests/setup test"))
}

#[actix_web::test]
async fn a_replica_whose_clock_is_set_an_hour_off_obeys_all_the_same() {
    let database = TestDatabase::new();
    let sound = replica::start(&database, "sound", &[]).await;
    let offset = database.directory.path().join("offset");
    std::fs::write(&offset, "+0s").unwrap();
    let fake = [
        ("LD_PRELOAD", faketime()),
        ("FAKETIME_TIMESTAMP_FILE", offset.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ];
    let fake: Vec<_> = fake.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let victim = replica::start(&database, "victim", &fake).await;
    for step in ["+3600s", "-3600s", "+10s", "-10s", "+0s"] {
        std::fs::write(&offset, step).unwrap();
        tokio::time::sleep(Duration::from_millis(1500)).await;
        if step.ends_with("3600s") {
            let metrics = send(&victim.operations, "GET", "/metrics", &[], b"").await.body;
            let metrics = String::from_utf8(metrics).unwrap();
            let skew = metrics.lines().find_map(|l| l.strip_prefix("jeton_clock_skew_seconds "));
            let skew: f64 = skew.unwrap().parse().unwrap();
            assert!(skew > 3000.0, "its clock was set: {skew}");
        }
        let active = async |at: &Replica, token: &str| {
            let form = format!("token={token}");
            let (status, body) =
                self::form(&at.public, "/oauth2/introspect", "rs", &form).await.unwrap();
            assert_eq!(status, 200, "{step}: {}", at.process.said());
            body != br#"{"active":false}"#
        };
        for (issuer, other) in [(&sound, &victim), (&victim, &sound)] {
            let token = issuer.token().await;
            assert!(active(other, &token).await, "{step}: not over, and not from the future");
            let form = format!("token={token}");
            let (status, _) =
                self::form(&issuer.public, "/oauth2/revoke", "app", &form).await.unwrap();
            assert_eq!(status, 200, "{step}");
            tokio::time::sleep(BOUND).await;
            assert!(!active(other, &token).await, "{step}: revoked");
        }
    }
}
