//! Connections that only cost: none lasts, and none keeps anybody else from being served.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::support::refused::{FORM, GRANT};
use crate::support::{App, SECRET, TestDatabase, basic, http, replica};

/// As short as it may be.
const SHORT: &str = "[server]\nheader_timeout = \"1s\"\nkeep_alive = \"2s\"\n";

/// Long after that, so that a machine under load is no failure.
const WELL: Duration = Duration::from_secs(15);

async fn app() -> App {
    App::with(SHORT).await
}

async fn connect(address: &str) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

/// Reads until the server closes, and returns what it said. It must close in time.
async fn closed(stream: &mut TcpStream) -> String {
    let mut said = Vec::new();
    let _ = timeout(WELL, stream.read_to_end(&mut said)).await.unwrap();
    String::from_utf8_lossy(&said).into_owned()
}

/// Sends the parts with a pause before each, until the server closes; it must do so before the end.
async fn drip(stream: &mut TcpStream, part: &[u8], pause: Duration, within: Duration) -> String {
    let started = Instant::now();
    let mut said = Vec::new();
    loop {
        assert!(started.elapsed() < within, "still open");
        // A write to a socket that the other side has closed fails the second time.
        if stream.write_all(part).await.is_err() {
            break;
        }
        if let Ok(read) = timeout(pause, stream.read_buf(&mut said)).await
            && read.unwrap_or(0) == 0
        {
            break;
        }
    }
    String::from_utf8_lossy(&said).into_owned()
}

const JWKS: &str = "GET /.well-known/jwks.json HTTP/1.1\r\nhost: x\r\n\r\n";

/// Sends a request for the JWKS and reads the answer, on a connection that stays.
async fn served(stream: &mut TcpStream) {
    stream.write_all(JWKS.as_bytes()).await.unwrap();
    let mut said = [0; 12];
    stream.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"HTTP/1.1 200");
    let mut rest = vec![0; 16_384];
    let _ = timeout(Duration::from_millis(50), stream.read(&mut rest)).await;
}

#[actix_web::test]
async fn a_head_that_does_not_end_is_not_waited_for() {
    let app = app().await;
    for address in [app.public(), app.operations()] {
        let mut silent = connect(&address).await;
        let mut slow = connect(&address).await;
        slow.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nx-more: ").await.unwrap();
        drip(&mut slow, b"a", Duration::from_millis(100), WELL).await;
        closed(&mut silent).await;
    }
}

#[actix_web::test]
async fn nor_is_the_head_of_a_second_request() {
    let app = app().await;
    for address in [app.public(), app.operations()] {
        let mut stream = connect(&address).await;
        stream.write_all(b"GET /x HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        sleep(Duration::from_millis(100)).await;
        stream.write_all(b"G").await.unwrap();
        closed(&mut stream).await;
        let mut stream = connect(&address).await;
        stream.write_all(b"GET /x HTTP/1.1\r\nhost: x\r\n\r\nGET / HTTP/1.1\r\nx: ").await.unwrap();
        drip(&mut stream, b"a", Duration::from_millis(100), WELL).await;
    }
}

#[actix_web::test]
async fn an_idle_connection_serves_until_its_time_is_over_and_is_closed_then() {
    let app = app().await;
    let mut stream = connect(&app.public()).await;
    for _ in 0..10 {
        served(&mut stream).await;
        sleep(Duration::from_millis(400)).await;
    }
    closed(&mut stream).await;
}

#[actix_web::test]
async fn who_does_not_read_is_not_waited_for() {
    let app = app().await;
    let mut stream = connect(&app.public()).await;
    let many = JWKS.repeat(100);
    let started = Instant::now();
    // Answers fill the buffers of both sides, then our requests do, and then nothing moves until the
    // connection is gone.
    loop {
        assert!(started.elapsed() < Duration::from_secs(60), "it never stopped reading");
        let written = timeout(WELL, stream.write_all(many.as_bytes())).await;
        if written.unwrap().is_err() {
            return;
        }
    }
}

#[actix_web::test]
async fn a_body_that_drips_is_not_waited_for_and_neither_is_one_that_nobody_reads() {
    let app = app().await;
    let head = "HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\n";
    let mut slow = connect(&app.public()).await;
    let request = format!("POST /oauth2/token {head}content-length: 5000\r\n\r\n");
    slow.write_all(request.as_bytes()).await.unwrap();
    let endless = async {
        let mut endless = connect(&app.public()).await;
        let request = format!("POST /nowhere {head}transfer-encoding: chunked\r\n\r\n");
        endless.write_all(request.as_bytes()).await.unwrap();
        drip(&mut endless, b"1\r\na\r\n", Duration::from_millis(100), WELL).await
    };
    let slow = drip(&mut slow, b"a", Duration::from_millis(250), Duration::from_secs(16));
    let (slow, endless) = tokio::join!(slow, endless);
    assert!(slow.starts_with("HTTP/1.1 408"), "{slow}");
    assert!(endless.starts_with("HTTP/1.1 404"), "{endless}");
}

#[actix_web::test]
async fn a_crowd_that_is_slow_keeps_nobody_from_being_served() {
    let app = App::with("").await;
    let mut crowd = Vec::new();
    for number in 0..300 {
        let mut stream = connect(&app.public()).await;
        let parts = ["", "GET / HT", "POST /oauth2/token HTTP/1.1\r\ncontent-length: 9\r\n\r\na"];
        stream.write_all(parts[number % 3].as_bytes()).await.unwrap();
        crowd.push(stream);
    }
    let started = Instant::now();
    for _ in 0..10 {
        assert_eq!(app.token("app", GRANT).await.status, 200);
    }
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

#[actix_web::test]
async fn who_comes_when_there_is_no_room_is_served_once_there_is() {
    let app = App::with(&format!("{SHORT}max_connections = 2\n")).await;
    let mut idle = Vec::new();
    for _ in 0..6 {
        idle.push(connect(&app.public()).await);
    }
    let answer = timeout(WELL, app.token("app", GRANT)).await.unwrap();
    assert_eq!(answer.status, 200);
}

#[actix_web::test]
async fn a_thousand_who_come_in_one_moment_need_not_come_again() {
    const AT_ONCE: usize = 1000;
    let database = TestDatabase::new();
    let replica = replica::start(&database, "one", &[]).await;
    // Nobody is taken in meanwhile: whoever finds no room is told nothing, and is not connected
    // however often the kernel tries again.
    replica.process.signal("STOP");
    let mut crowd = JoinSet::new();
    for _ in 0..AT_ONCE {
        crowd.spawn(TcpStream::connect(replica.public.clone()));
    }
    let all = timeout(WELL, crowd.join_all()).await;
    replica.process.signal("CONT");
    let mut all = all.unwrap_or_default();
    assert_eq!(all.iter().filter(|one| one.is_ok()).count(), AT_ONCE, "most were not connected");
    served(all[AT_ONCE - 1].as_mut().unwrap()).await;
}

#[actix_web::test]
async fn who_asks_for_another_protocol_is_refused_and_what_follows_is_nobodys_body() {
    let app = App::start().await;
    // As it would come from a proxy that hands the header on: the second request is somebody else's.
    let next = "GET /.well-known/jwks.json HTTP/1.1\r\nhost: x\r\n\r\n";
    for head in [
        "POST /oauth2/introspect HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\n",
        "POST /oauth2/token HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nUpgrade:  WebSocket \r\n",
        "POST /oauth2/revoke HTTP/1.1\r\nhost: x\r\nupgrade: h2c\r\nupgrade: websocket\r\n",
    ] {
        let form = "content-type: application/x-www-form-urlencoded\r\ncontent-length: 7\r\n";
        let mut stream = connect(&app.public()).await;
        let all = format!("{head}{form}\r\ntoken=x{next}");
        stream.write_all(all.as_bytes()).await.unwrap();
        let began = Instant::now();
        let said = closed(&mut stream).await;
        assert!(said.starts_with("HTTP/1.1 400 ") && said.contains("connection: close"), "{said}");
        assert!(said.contains("\"invalid_request\"") && !said.contains("200 OK"), "{said}");
        assert!(began.elapsed() < Duration::from_secs(5), "the body was waited for");
    }
    // What else there is to change to is left alone, as it always may be (RFC 9110 §7.8).
    let headers = [FORM, ("upgrade", "h2c")];
    let answer = http::send(&app.public(), "POST", "/oauth2/token", &headers, b"").await;
    assert_eq!(answer.error(), (401, "invalid_client".to_owned()));
}

#[actix_web::test]
async fn a_head_that_is_too_large_is_refused_and_the_server_lives() {
    let app = App::start().await;
    let credential = basic("app", SECRET);
    let large = "a".repeat(200_000);
    let headers = [FORM, ("authorization", credential.as_str()), ("x-large", large.as_str())];
    let answer = http::send(&app.public(), "POST", "/oauth2/token", &headers, b"").await;
    assert_eq!(answer.status, 431);
    let many: Vec<_> = (0..200).map(|number| format!("x-{number}")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), "x")).collect();
    let answer = http::send(&app.public(), "GET", "/.well-known/jwks.json", &many, b"").await;
    assert!(matches!(answer.status, 400 | 431), "{answer:?}");
    assert_eq!(app.token("app", GRANT).await.status, 200);
}
