//! The server is killed at random moments, under load, and at the very moments of a commit.

use std::rc::Rc;
use std::time::Duration;

use super::apps::{Crowd, EVERY};
use super::report::Report;
use super::rounds;
use super::world::{Mortal, World, directory};
use crate::support::TestDatabase;

/// How it dies in a round: by a signal, or by itself just before or just after a commit.
fn death(round: usize) -> Option<String> {
    let commit = rand::random_range(1..40);
    match round % 3 {
        0 => None,
        1 => Some(format!("before-commit:{commit}")),
        _ => Some(format!("after-commit:{commit}")),
    }
}

#[actix_web::test]
async fn a_server_that_is_killed_at_any_moment_and_started_again_logs_nobody_out() {
    for batching in ["false", "true"] {
        let name = format!("3. the server is killed, batching {batching}");
        let report = Report::of(&name);
        let (database, directory) = (TestDatabase::new(), directory());
        // It takes a busy machine a while to start the server as often as it may die in its start, and who
        // comes again after the window is logged out by design.
        let settings = [("JETON__REFRESH__BATCHING", batching), ("JETON__REFRESH__WINDOW", "10m")];
        let server = Mortal::on(&database.url, directory.path(), &settings).await;
        let world = Rc::new(World::at(&database.url, directory.path()).await);
        let at = {
            let server = server.clone();
            move || server.address()
        };
        let pause = Duration::from_millis(5);
        let crowd = Crowd::of(&EVERY, 4, pause, &world, at, &report).await;
        for round in 0..rounds(4, 60) {
            report.round();
            tokio::time::sleep(Duration::from_millis(rand::random_range(50..400))).await;
            report.fault_begins();
            server.kill();
            let death = death(round);
            let failpoint = death.as_deref().map(|at| ("JETON_FAILPOINT", at));
            if let Some((name, at)) = failpoint {
                // It may not get through its start.
                if server.live(&[(name, at)]).await && server.died(Duration::from_secs(5)).await {
                    report.outcome("the server died at a commit");
                }
                server.kill();
            }
            while !server.live(&[]).await {}
            report.fault_is_over();
        }
        crowd.end(&world, &server.address(), &report).await;
        server.kill();
        world.lost_nothing(&report).await;
        report.end();
    }
}
