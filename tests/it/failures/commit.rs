//! Between the server and its database the connection is lost while a commit is under way: it
//! happened, or it did not, and nobody says which.
//!
//! Under `strict` the rule is this. The server looks at the row, by the mark that it wrote with the
//! commit: if that can be read the app gets its token. If it cannot, the app gets 503, and may
//! present the token again; then it gets a successor if the commit had not happened, and loses the
//! family if it had. That is counted, and it is no violation: to `strict` a predecessor is a theft.

use std::rc::Rc;
use std::time::Duration;

use jeton::store::Fault;

use super::apps::{Crowd, EVERY};
use super::report::Report;
use super::world::{World, directory, start};
use super::{has_server, rounds};
use crate::support::proxy::{Link, Proxy};
use crate::support::session::refresh_at;
use crate::support::{App as Server, TestDatabase};

/// The same database by way of a link.
async fn through_link(url: &str) -> (Proxy, String) {
    let parsed = url::Url::parse(url).unwrap();
    let target = format!("{}:{}", parsed.host_str().unwrap(), parsed.port().unwrap());
    let link = Proxy::to(&target).await;
    let url = url.replace(&target, &link.address);
    (link, url)
}

#[actix_web::test]
async fn connections_to_the_database_are_cut_at_any_moment_and_nobody_is_logged_out() {
    if !has_server("2. connections to the database are cut") {
        return;
    }
    for batching in ["false", "true"] {
        let name = format!("2. connections to the database are cut, batching {batching}");
        let report = Report::of(&name);
        let (database, directory) = (TestDatabase::new(), directory());
        let (link, url) = through_link(&database.url).await;
        let settings = [("JETON__REFRESH__BATCHING", batching)];
        let server = start(&url, directory.path(), "one", &settings).await;
        let world = Rc::new(World::at(&database.url, directory.path()).await);
        let address = server.public.clone();
        let at = move || address.clone();
        let pause = Duration::from_millis(10);
        let crowd = Crowd::of(&EVERY, 4, pause, &world, at, &report).await;
        for round in 0..rounds(20, 500) {
            report.round();
            report.fault_begins();
            // Either what is asked is lost, or only what is answered.
            link.set(if round % 2 == 0 { Link::Cut } else { Link::Mute });
            tokio::time::sleep(Duration::from_millis(rand::random_range(1..40))).await;
            link.set(Link::Up);
            report.fault_is_over();
            tokio::time::sleep(Duration::from_millis(rand::random_range(20..160))).await;
        }
        crowd.end(&world, &server.public, &report).await;
        world.lost_nothing(&report).await;
        report.end();
    }
}

/// What one refresh meets: it tries so often, and after a commit of its own it tries no more.
fn faults() -> Vec<Fault> {
    let before = [Fault::CutBeforeCommit, Fault::LosesRace];
    let count = rand::random_range(0..=2);
    let mut met: Vec<_> = (0..count).map(|_| before[rand::random_range(0..2)]).collect();
    met.extend(rand::random::<bool>().then_some(Fault::CutAfterCommit));
    met
}

#[actix_web::test]
async fn a_commit_whose_outcome_is_unknown_costs_no_policy_a_token_while_the_row_can_be_read() {
    for batching in [false, true] {
        let name = format!("2. a commit's outcome is unknown, batching {batching}");
        let report = Report::of(&name);
        let server = Server::with_apps(&format!("[refresh]\nbatching = {batching}\n")).await;
        let address = server.public();
        let mut apps = Vec::new();
        for client in EVERY {
            apps.push((client, server.begin(client).await.1));
        }
        for _ in 0..rounds(20, 1000) {
            report.round();
            for (client, token) in &mut apps {
                let met = faults();
                server.running.desk.db.inject(met.iter().copied());
                let answer = refresh_at(&address, client, token, "").await;
                report.outcome(&format!("{} after {} faults", answer.status, met.len()));
                if answer.status == 200 {
                    let next = answer.json()["refresh_token"].as_str().unwrap().to_owned();
                    if server.read(&next).generation != server.read(token).generation + 1 {
                        report.violation(format!("{client} skipped one after {met:?}"));
                    }
                    *token = next;
                } else {
                    report.violation(format!(
                        "{client} was answered {} after {met:?}",
                        answer.status
                    ));
                }
            }
        }
        server.stop().await;
        report.end();
    }
}
