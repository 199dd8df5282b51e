//! A new version comes: behind a load balancer, and under load, every replica is replaced, one after
//! the other, again and again. Nobody may notice.

use std::cell::Cell;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::report::Report;
use super::world::{World, directory, start};
use super::{has_server, rounds};
use crate::support::balancer::{Balancer, Place};
use crate::support::http::Kept;
use crate::support::replica::Replica;
use crate::support::{Answer, SECRET, TestDatabase, basic};

/// So many serve at any time.
const REPLICAS: usize = 3;

/// Far longer than the balancer takes to notice that a replica is not ready.
const DRAIN_DELAY: &str = "2s";

/// What is asked, by so many callers each. The slow ones send their form up to three seconds after its
/// head: some are in the middle of a request whenever a replica stops.
const CALLERS: [(&str, usize); 6] = [
    ("client credentials", 3),
    ("slow client credentials", 6),
    ("refresh", 3),
    ("introspection", 3),
    ("keys", 2),
    ("revocation", 2),
];

/// The replicas that serve, oldest first, and the place that none of them has.
struct Fleet {
    url: String,
    directory: PathBuf,
    serving: VecDeque<(Place, Replica)>,
    free: Place,
}

impl Fleet {
    async fn start(url: &str, directory: PathBuf) -> Self {
        let (url, serving, free) = (url.to_owned(), VecDeque::new(), Place::free());
        let mut fleet = Self { url, directory, serving, free };
        for _ in 0..REPLICAS {
            let place = Place::free();
            let replica = fleet.replica_at(&place).await;
            fleet.serving.push_back((place, replica));
        }
        fleet
    }

    fn places(&self) -> Vec<Place> {
        let taken = self.serving.iter().map(|(place, _)| place);
        taken.chain([&self.free]).cloned().collect()
    }

    async fn replica_at(&self, place: &Place) -> Replica {
        let settings = [
            ("JETON__SERVER__PUBLIC", place.public.as_str()),
            ("JETON__SERVER__OPERATIONS", place.operations.as_str()),
            ("JETON__SERVER__DRAIN_DELAY", DRAIN_DELAY),
        ];
        start(&self.url, &self.directory, "replica", &settings).await
    }

    /// A new one starts, and when it is ready the oldest is told to stop.
    async fn replace_oldest(&mut self, report: &Report) {
        let new = self.replica_at(&self.free).await;
        let (place, mut old) = self.serving.pop_front().unwrap();
        let told = Instant::now();
        old.process.signal("TERM");
        let status = old.process.ended(Duration::from_secs(40)).await;
        if status == Some(0) {
            report.outcome("a replica was told to stop, and ended with 0");
        } else {
            report.violation(format!("a replica ended with {status:?}"));
        }
        if told.elapsed() < Duration::from_secs(2) {
            report.violation("a replica stopped before the drain delay was over".to_owned());
        }
        self.serving.push_back((std::mem::replace(&mut self.free, place), new));
    }
}

/// Somebody who asks one kind of thing over one connection, as long as that lasts.
struct Caller {
    kind: &'static str,
    kept: Kept,
    world: Rc<World>,
    /// The token that it asks about, or refreshes.
    token: String,
}

impl Caller {
    async fn ask(&mut self) -> Result<(), String> {
        let (request, client, form) = self.request().await;
        let credential = if client.is_empty() {
            String::new()
        } else {
            format!("authorization: {}\r\n", basic(client, SECRET))
        };
        let head = format!("{request} HTTP/1.1\r\n{credential}");
        let answer = self.kept.send(&head, &form).await.map_err(|error| error.to_string())?;
        if answer.status != 200 {
            return Err(answer.status.to_string());
        }
        self.understand(&answer)
    }

    /// What it sends, and as whom.
    async fn request(&mut self) -> (&'static str, &'static str, String) {
        const TOKEN: &str = "POST /oauth2/token";
        let token = self.token.as_str();
        match self.kind {
            "keys" => ("GET /.well-known/jwks.json", "", String::new()),
            "refresh" => (TOKEN, "web", format!("grant_type=refresh_token&refresh_token={token}")),
            "revocation" => {
                let token = self.world.begin("web").await;
                ("POST /oauth2/revoke", "web", format!("token={token}"))
            }
            "introspection" if !token.is_empty() => {
                ("POST /oauth2/introspect", "rs", format!("token={token}"))
            }
            "slow client credentials" => {
                self.kept.pause = Duration::from_millis(rand::random_range(1..3000));
                (TOKEN, "app", "grant_type=client_credentials&scope=read".to_owned())
            }
            _ => (TOKEN, "app", "grant_type=client_credentials&scope=read".to_owned()),
        }
    }

    /// Whether the answer is what was asked for; what it brings is kept.
    fn understand(&mut self, answer: &Answer) -> Result<(), String> {
        match self.kind {
            "keys" if answer.json()["keys"].as_array().is_some_and(|keys| keys.len() >= 2) => {}
            "revocation" => {}
            "refresh" => {
                let next = answer.json()["refresh_token"].as_str().unwrap().to_owned();
                let (old, new) = (self.world.read(&self.token), self.world.read(&next));
                if (new.family, new.generation) != (old.family, old.generation + 1) {
                    return Err(format!("{old:?} was followed by {new:?}"));
                }
                self.token = next;
            }
            "introspection" if !self.token.is_empty() => {
                if answer.json()["active"] != true {
                    return Err("a good token was inactive".to_owned());
                }
            }
            _ => {
                let token = answer.json()["access_token"].as_str().ok_or("no token")?.to_owned();
                if self.kind == "introspection" {
                    self.token = token;
                }
            }
        }
        Ok(())
    }
}

/// Asks until told to stop; returns how many connections it took.
async fn keep_asking(mut caller: Caller, report: Report, stop: Rc<Cell<bool>>) -> usize {
    while !stop.get() {
        match caller.ask().await {
            Ok(()) => report.outcome(&format!("{}: 200", caller.kind)),
            Err(what) => report.violation(format!("{}: {what}", caller.kind)),
        }
        tokio::time::sleep(Duration::from_millis(rand::random_range(1..30))).await;
    }
    caller.kept.made
}

#[actix_web::test]
async fn all_replicas_are_replaced_under_load_and_no_request_fails() {
    if !has_server("9. all replicas are replaced under load") {
        return;
    }
    let report = Report::of("9. all replicas are replaced, one after the other, behind HAProxy");
    let (database, directory) = (TestDatabase::new(), directory());
    let mut fleet = Fleet::start(&database.url, directory.path().to_owned()).await;
    let balancer = Balancer::start(directory.path(), &fleet.places()).await;
    let world = Rc::new(World::at(&database.url, directory.path()).await);
    let stop = Rc::<Cell<bool>>::default();
    let mut callers = Vec::new();
    for (kind, count) in CALLERS {
        for _ in 0..count {
            let token = if kind == "refresh" { world.begin("web").await } else { String::new() };
            let kept = Kept::to(&balancer.address);
            let caller = Caller { kind, kept, world: Rc::clone(&world), token };
            callers.push(actix_web::rt::spawn(keep_asking(caller, report.clone(), stop.clone())));
        }
    }
    for _ in 0..rounds(1, 15) {
        report.round();
        for _ in 0..REPLICAS {
            fleet.replace_oldest(&report).await;
        }
    }
    stop.set(true);
    for caller in callers {
        for _ in 0..caller.await.unwrap() {
            report.outcome("callers made a connection");
        }
    }
    for (kind, count) in CALLERS {
        if report.count(&format!("{kind}: 200")) < 5 * count {
            report.violation(format!("hardly anybody asked: {kind}"));
        }
    }
    let (told, written) = (report.count("revocation: 200"), world.events("family_revoked").await);
    if told != written {
        report.violation(format!("{told} revocations, of which {written} stand in the trail"));
    }
    world.lost_nothing(&report).await;
    report.end();
}
