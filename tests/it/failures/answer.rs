//! Between an app and the server the connection is cut, after the commit and before the answer.

use std::io::Write;
use std::time::Duration;

use super::apps::{App, FORGIVING};
use super::report::Report;
use super::rounds;
use super::world::{World, directory, start};
use crate::support::TestDatabase;
use crate::support::proxy::{Link, Proxy};

/// Sends a refresh and resets the connection before the answer is there.
async fn abort(address: &str, app: &App, after: Duration) {
    use base64::Engine;
    let token = &app.token;
    let mut form = format!("grant_type=refresh_token&refresh_token={token}");
    let mut head = String::new();
    if app.client == "spa" {
        form.push_str("&client_id=spa");
    } else {
        let pair = format!("{}:{}", app.client, crate::support::SECRET);
        let pair = base64::engine::general_purpose::STANDARD.encode(pair);
        head = format!("authorization: Basic {pair}\r\n");
    }
    let text = format!(
        "POST /oauth2/token HTTP/1.1\r\nhost: {address}\r\n{head}content-length: {}\r\n\
         content-type: application/x-www-form-urlencoded\r\n\r\n{form}",
        form.len()
    );
    let mut socket = std::net::TcpStream::connect(address).unwrap();
    socket.write_all(text.as_bytes()).unwrap();
    socket.set_nonblocking(true).unwrap();
    let socket = tokio::net::TcpStream::from_std(socket).unwrap();
    tokio::time::sleep(after).await;
    // Closed so, it is reset.
    socket.set_zero_linger().unwrap();
}

/// Waits until the request that was given up has been carried out, unless it never arrived. Were it
/// overtaken by two refreshes of the same app, its token would be one whose successor was used, and
/// the family would end: a known gap, seen when a server stood still for a moment.
async fn settles(world: &World, app: &App, before: u32) {
    for _ in 0..50 {
        if world.family(app.family).await.unwrap().generation > before {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[actix_web::test]
async fn an_app_whose_answers_are_cut_off_goes_on_from_where_the_server_is() {
    let report = Report::of("1. the answer is cut off between server and app");
    let (database, directory) = (TestDatabase::new(), directory());
    let server = start(&database.url, directory.path(), "one", &[]).await;
    let world = World::at(&database.url, directory.path()).await;
    let link = Proxy::to(&server.public).await;
    let mut apps = Vec::new();
    for client in FORGIVING {
        apps.push(App::begin(&world, client).await);
    }
    for round in 0..rounds(20, 1000) {
        report.round();
        for app in &mut apps {
            let before = world.read(&app.token).generation;
            if round % 2 == 0 {
                link.set(Link::Mute);
                if app.refresh(&world, &link.address, &report).await {
                    report.violation("an answer came through a link that carries none".to_owned());
                }
            } else {
                // From before the request is read until after it is answered.
                let after = Duration::from_micros(rand::random_range(0..20_000));
                abort(&server.public, app, after).await;
                settles(&world, app, before).await;
            }
            let row = world.family(app.family).await.unwrap();
            let committed = row.generation > before;
            report.outcome(if committed {
                "cut after the commit"
            } else {
                "cut before the commit"
            });
            if round % 2 == 0 && !committed {
                report.violation("an answer was on its way before its commit".to_owned());
            }
            link.set(Link::Up);
            app.gets_through(&world, &link.address, &report).await;
        }
    }
    if report.count("cut after the commit") == 0 {
        report.violation("nothing was ever cut after the commit".to_owned());
    }
    world.lost_nothing(&report).await;
    report.end();
}
