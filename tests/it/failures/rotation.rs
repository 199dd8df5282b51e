//! Keys change every ten seconds, at three replicas that are killed at any moment, and verifiers of every
//! kind check what any of them signs by what any other of them publishes.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::report::Report;
use super::rounds;
use super::world::Mortal;
use crate::support::balancer::Place;
use crate::support::replica::fixtures;
use crate::support::verifiers::{MODELS, Verifier};
use crate::support::{SECRET, TestDatabase, http, verify};

/// A lead of six seconds stands for an hour (see `verifiers`): keys last an hour and forty minutes, tokens
/// forty minutes.
const TIMING: [(&str, &str); 7] = [
    ("JETON__KEYS__PERIOD", "10s"),
    ("JETON__KEYS__LEAD", "6s"),
    ("JETON__KEYS__MAX_AGE", "1s"),
    ("JETON__KEYS__SKEW", "1s"),
    ("JETON__KEYS__ALLOW_UNSAFE_TIMING", "true"),
    ("JETON__TOKENS__ACCESS_TOKEN_TTL", "4s"),
    ("JETON__TOKENS__ACCESS_TOKEN_TTL_MAX", "4s"),
];

/// A key signs for so long.
const PERIOD: usize = 10;

/// So long is a token good.
const LIFE: Duration = Duration::from_secs(4);

/// A token is shown to verifiers for so long: until shortly before its end.
const SHOWN: Duration = Duration::from_millis(3700);

/// So many verifiers of each kind, which fetch at different moments.
const EACH: usize = 2;

/// Three replicas on one database, one of which may be dead.
struct Replicas(Vec<(Mortal, TestDatabase)>);

impl Replicas {
    async fn start(database: &TestDatabase) -> Self {
        let mut all = Vec::new();
        for _ in 0..3 {
            // Where one of them was, nobody else must be while it is dead.
            let Place { public, operations } = Place::free();
            let at = [
                ("JETON__SERVER__PUBLIC", public.leak() as &str),
                ("JETON__SERVER__OPERATIONS", operations.leak()),
            ];
            let settings = [&TIMING[..], &at].concat();
            let own = database.share();
            let directory = own.directory.path();
            // Clients whose tokens live as long as all others.
            std::fs::rename(fixtures(directory), directory.join("apps.toml")).unwrap();
            let replica = Mortal::on(&own.url, directory, &settings).await;
            all.push((replica, own));
        }
        Self(all)
    }

    fn any(&self) -> &Mortal {
        &self.0[rand::random_range(0..self.0.len())].0
    }

    /// A token of whichever comes first.
    async fn token(&self, report: &Report) -> Option<String> {
        let form = b"grant_type=client_credentials&scope=read";
        let credential = http::basic("app", SECRET);
        let kind = "application/x-www-form-urlencoded";
        let headers = [("authorization", credential.as_str()), ("content-type", kind)];
        let address = self.any().address();
        let answer =
            http::try_send(&address, "POST", "/oauth2/token", &headers, form).await.ok()?;
        if answer.status != 200 {
            report.violation(format!("a replica that lives was asked for a token: {answer:?}"));
            return None;
        }
        answer.json()["access_token"].as_str().map(str::to_owned)
    }

    /// What any of them publishes; a verifier tries again where one is dead, as a load balancer would.
    async fn jwks(&self) -> Option<Value> {
        for _ in 0..20 {
            let address = self.any().address();
            let path = "/.well-known/jwks.json";
            if let Ok(answer) = http::try_send(&address, "GET", path, &[], b"").await {
                assert_eq!(answer.status, 200, "a replica that lives publishes its keys");
                return Some(answer.json());
            }
        }
        None
    }

    /// Kills one after the other, and starts each again, until told to stop.
    async fn torment(&self, report: &Report, stop: &Cell<bool>) {
        while !stop.get() {
            let victim = self.any();
            victim.kill();
            report.outcome("a replica was killed and started again");
            pause(0..2000).await;
            while !victim.live(&[]).await {}
            pause(500..4000).await;
        }
    }
}

async fn pause(millis: std::ops::Range<u64>) {
    tokio::time::sleep(Duration::from_millis(rand::random_range(millis))).await;
}

/// Shows each of these tokens to a verifier, at about its birth, again and again, and at its end.
async fn show(
    verifier: &Verifier,
    tokens: &RefCell<Vec<(Instant, String)>>,
    replicas: &Replicas,
    report: &Report,
    stop: &Cell<bool>,
) {
    let name = verifier.model.name;
    while !stop.get() {
        verifier.beat(async || replicas.jwks().await).await;
        let shown = {
            let tokens = tokens.borrow();
            let newest = tokens.last().cloned();
            let oldest = tokens.iter().find(|(made, _)| made.elapsed() < SHOWN).cloned();
            [newest, oldest]
        };
        for (made, token) in shown.into_iter().flatten() {
            match verifier.check(&token, async || replicas.jwks().await).await {
                Ok(()) => report.outcome(&format!("{name}: a token was accepted")),
                // On a busy machine a look may take until the token is over; then this is right.
                Err(_) if made.elapsed() >= LIFE => report.outcome("a look came too late"),
                Err(why) => {
                    let age = made.elapsed();
                    report.violation(format!("{name} rejected a token of {age:?}: {why}"));
                }
            }
        }
        pause(20..120).await;
    }
}

#[actix_web::test]
async fn while_keys_rotate_and_replicas_are_killed_no_verifier_rejects_a_token() {
    let report = Report::of("10. keys rotate every 10 s, and replicas are killed");
    let database = TestDatabase::new();
    let replicas = Replicas::start(&database).await;
    let seconds = rounds(25, 300);
    let (tokens, stop) = (RefCell::new(Vec::new()), Cell::new(false));
    let verifiers: Vec<_> =
        (0..EACH).flat_map(|_| MODELS).map(|model| Rc::new(Verifier::of(model))).collect();
    let kids = RefCell::new(BTreeSet::new());
    let ask = async {
        let until = Instant::now() + Duration::from_secs(seconds as u64);
        while Instant::now() < until {
            if let Some(token) = replicas.token(&report).await {
                kids.borrow_mut().insert(verify::header(&token)["kid"].to_string());
                report.outcome("a token was issued");
                tokens.borrow_mut().push((Instant::now(), token));
            }
            tokens.borrow_mut().retain(|(made, _)| made.elapsed() < SHOWN);
            pause(20..80).await;
        }
        stop.set(true);
    };
    let shown = verifiers.iter().map(|one| show(one, &tokens, &replicas, &report, &stop));
    tokio::join!(ask, replicas.torment(&report, &stop), futures_util::future::join_all(shown),);
    for _ in 1..kids.borrow().len() {
        report.round();
    }
    let rotations = kids.borrow().len() - 1;
    if rotations + 1 < seconds / PERIOD {
        report.violation(format!("only {rotations} rotations in {seconds} s"));
    }
    for (what, least) in [
        ("a token was issued", seconds * 2),
        ("a replica was killed and started again", seconds / 10),
    ] {
        if report.count(what) < least {
            report.violation(format!("{what} only {} times", report.count(what)));
        }
    }
    for model in MODELS {
        let accepted = format!("{}: a token was accepted", model.name);
        if report.count(&accepted) < seconds * 5 {
            report.violation(format!("{accepted} only {} times", report.count(&accepted)));
        }
    }
    report.end();
}
