//! An older backup is restored: more is lost than the last refresh, and no server remembers any of it.

use std::rc::Rc;

use super::apps::{App, EVERY};
use super::report::Report;
use super::rounds;
use super::world::{Mortal, World, directory};
use crate::support::TestDatabase;
use crate::support::process::jeton;
use crate::support::replica::environment;
use crate::support::session::try_refresh_at;

/// So many refreshes of an app are lost at most.
const MOST: usize = 4;

/// Who is further ahead than one refresh is refused, and nothing changes.
async fn are_refused(apps: &[App], world: &World, address: &str, report: &Report) {
    for app in apps {
        let row = world.family(app.family).await.unwrap();
        let by = world.read(&app.token).generation - row.generation;
        if by < 2 {
            continue;
        }
        let answer = try_refresh_at(address, app.client, &app.token, "").await.unwrap();
        let after = world.family(app.family).await.unwrap();
        if answer.status != 400 || after != row {
            report
                .violation(format!("{} ahead by {by} was answered {}", app.client, answer.status));
        }
        report.outcome("ahead by more than one: refused, nothing changed");
    }
}

#[actix_web::test]
async fn after_an_older_backup_was_restored_an_operators_word_lets_everybody_go_on() {
    let report = Report::of("6. an older backup is restored");
    for _ in 0..rounds(1, 20) {
        report.round();
        round(&report).await;
    }
    report.end();
}

async fn round(report: &Report) {
    let (database, directory) = (TestDatabase::new(), directory());
    let server = Mortal::on(&database.url, directory.path(), &[]).await;
    let world = Rc::new(World::at(&database.url, directory.path()).await);
    let mut apps = Vec::new();
    for client in EVERY.iter().copied().cycle().take(EVERY.len() * 5) {
        apps.push(App::begin(&world, client).await);
    }
    for app in &mut apps {
        app.gets_through(&world, &server.address(), report).await;
    }
    world.db.close().await;
    server.kill();
    let backup = database.back_up();
    let until = jeton::clock::Clock::system().now().rfc3339();
    assert!(server.live(&[]).await);
    let world = World::at(&database.url, directory.path()).await;
    for (n, app) in apps.iter_mut().enumerate() {
        for _ in 0..=n / EVERY.len() % MOST {
            app.gets_through(&world, &server.address(), report).await;
        }
    }
    world.db.close().await;
    server.kill();
    database.restore(&backup);
    assert!(server.live(&[]).await);
    let world = World::at(&database.url, directory.path()).await;

    let recover = |args: &[&str]| {
        let environment = environment(&database.url, directory.path(), &[]);
        let environment: Vec<_> = environment.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let done = jeton(&[&["recover"], args].concat(), &environment);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    are_refused(&apps, &world, &server.address(), report).await;
    recover(&["--lost-since", &until, "--dry-run"]);
    are_refused(&apps, &world, &server.address(), report).await;
    recover(&["--lost-since", &until]);
    report.fault_is_over();
    for app in &mut apps {
        app.gets_through(&world, &server.address(), report).await;
        app.gets_through(&world, &server.address(), report).await;
    }
    recover(&["--close"]);
    let healed = world.events("family_healed").await;
    if healed != apps.len() {
        report.violation(format!("{healed} rows say healed, of {}", apps.len()));
    }
    for app in &mut apps {
        app.token = world.token(app.family, world.read(&app.token).generation + 2);
    }
    are_refused(&apps, &world, &server.address(), report).await;
    world.db.close().await;
    server.kill();
}
