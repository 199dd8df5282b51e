//! A new version comes: behind a load balancer, and under load, every replica is replaced, one after
//! the other, again and again. Nobody may notice.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::crowd::Crowd;
use super::report::Report;
use super::world::{World, directory, start};
use super::{has_server, rounds};
use crate::support::TestDatabase;
use crate::support::balancer::{Balancer, Place};
use crate::support::replica::Replica;

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
    let crowd = Crowd::of(&CALLERS, std::slice::from_ref(&balancer.address), &world, &report).await;
    for _ in 0..rounds(1, 15) {
        report.round();
        for _ in 0..REPLICAS {
            fleet.replace_oldest(&report).await;
        }
    }
    for _ in 0..crowd.end(5).await {
        report.outcome("callers made a connection");
    }
    let (told, written) = (report.count("revocation: 200"), world.events("family_revoked").await);
    if told != written {
        report.violation(format!("{told} revocations, of which {written} stand in the trail"));
    }
    world.lost_nothing(&report).await;
    report.end();
}
