//! Postgres is stopped as if its machine had lost its power, and started again a second later, again
//! and again, while apps refresh every half second.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::apps::{App, Crowd, FORGIVING};
use super::report::Report;
use super::world::{World, directory, start};
use super::{has_server, rounds};
use crate::support::cluster::Cluster;
use crate::support::database::past_the_pooler;

/// An app refreshes so often: a round of this fault.
const EVERY: Duration = Duration::from_millis(500);

/// Postgres is away for so long, and then there for so long.
const AWAY: Duration = Duration::from_secs(1);

/// Every fourth time it is away for longer than a request waits for a connection.
const LONG_AWAY: Duration = Duration::from_secs(3);

/// So many apps of each kind.
const EACH: usize = 8;

/// Stops and starts the server's database until told to stop; leaves it running.
async fn torment(cluster: Arc<Cluster>, report: Report, stop: Rc<std::cell::Cell<bool>>) {
    let blocking = async |act: fn(&Cluster)| {
        let cluster = Arc::clone(&cluster);
        tokio::task::spawn_blocking(move || act(&cluster)).await.unwrap();
    };
    for away in [AWAY, LONG_AWAY, AWAY, AWAY].into_iter().cycle() {
        if stop.get() {
            return;
        }
        report.fault_begins();
        blocking(Cluster::down).await;
        tokio::time::sleep(away).await;
        blocking(Cluster::up).await;
        report.fault_is_over();
        report.outcome("Postgres was stopped and started");
        tokio::time::sleep(AWAY).await;
    }
}

#[actix_web::test]
async fn while_postgres_is_stopped_and_started_apps_get_200_or_503_and_keep_their_sessions() {
    if !has_server("4. Postgres is stopped and started") {
        return;
    }
    let report =
        Report::of("4. Postgres is stopped and started every second, a refresh each 500 ms");
    let directory = directory();
    past_the_pooler("it stops and starts a server of its own");
    let cluster = Arc::new(tokio::task::spawn_blocking(Cluster::start).await.unwrap());
    let server = start(&cluster.url(), directory.path(), "one", &[]).await;
    let world = Rc::new(World::at(&cluster.url(), directory.path()).await);
    let mut apps = Vec::new();
    for client in FORGIVING.iter().copied().cycle().take(FORGIVING.len() * EACH) {
        apps.push(App::begin(&world, client).await);
    }
    // A few that never pause: one of them is always at a commit when the server goes.
    let (at, pause) = (server.public.clone(), Duration::from_millis(5));
    let eager = Crowd::of(&FORGIVING, 1, pause, &world, move || at.clone(), &report).await;
    let stop = Rc::default();
    let torment = torment(Arc::clone(&cluster), report.clone(), Rc::clone(&stop));
    let torment = actix_web::rt::spawn(torment);
    let wanted = rounds(20, 1000);
    let apps = apps.into_iter().enumerate().map(|(n, mut app)| {
        let (world, report) = (Rc::clone(&world), report.clone());
        let address = server.public.clone();
        actix_web::rt::spawn(async move {
            let mut next = Instant::now() + EVERY.mul_f64(rand::random());
            for _ in 0..wanted {
                tokio::time::sleep(next.saturating_duration_since(Instant::now())).await;
                next += EVERY;
                app.refresh(&world, &address, &report).await;
                if n == 0 {
                    report.round();
                }
            }
            app
        })
    });
    let apps: Vec<_> = apps.collect();
    let mut left = Vec::new();
    for app in apps {
        left.push(app.await.unwrap());
    }
    stop.set(true);
    torment.await.unwrap();
    for app in &mut left {
        app.gets_through(&world, &server.public, &report).await;
    }
    eager.end(&world, &server.public, &report).await;
    if report.count(super::apps::NO_ANSWER) > 0 {
        report.violation("the server did not answer".to_owned());
    }
    world.lost_nothing(&report).await;
    report.end();
    drop(server);
    tokio::task::spawn_blocking(move || drop(cluster)).await.unwrap();
}
