//! HTTP/2 and those who abuse it: each connection is bounded, and nobody else notices.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::{sleep, timeout};

use crate::support::tls::{
    GET, HTTP1, HTTP2, WELL, ask, closed, connect, frame, greeting, http2, make, put, served,
    settings,
};
use crate::support::{App, FIXTURES, SECRET, TestDatabase, basic, process, replica};

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// The kinds of frames.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

/// The flags of a frame.
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

async fn secured(server: &str) -> App {
    let database = TestDatabase::new();
    put(database.directory.path(), &make(1, 30));
    let settings = format!("[server]\n{server}{}", settings(database.directory.path()));
    App::on(database, &settings, FIXTURES).await
}

/// Sends these bytes and reads until the server closes: its frames, as kind and payload.
async fn provoke(app: &App, bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut stream = connect(&app.public(), HTTP2).await;
    let _ = stream.write_all(&greeting()).await;
    // A server that has had enough may close before it has read everything.
    let _ = timeout(WELL, stream.write_all(bytes)).await.unwrap();
    frames(&closed(&mut stream).await)
}

fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    while bytes.len() >= 9 {
        let length = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize;
        let end = (9 + length).min(bytes.len());
        found.push((bytes[3], bytes[9..end].to_vec()));
        bytes = &bytes[end..];
    }
    found
}

/// The code with which the server said that it goes (RFC 9113 §7).
fn farewell(frames: &[(u8, Vec<u8>)]) -> u32 {
    let (_, last) = frames.iter().find(|(kind, _)| *kind == GOAWAY).unwrap();
    u32::from_be_bytes(last[4..8].try_into().unwrap())
}

const FLOW_CONTROL_ERROR: u32 = 3;
const ENHANCE_YOUR_CALM: u32 = 11;
const COMPRESSION_ERROR: u32 = 9;

async fn still_serves(app: &App) {
    assert_eq!(served(&mut connect(&app.public(), HTTP1).await).await, 200);
    let caller = http2(&app.public()).await;
    let jwks = ask(&caller, "GET", "/.well-known/jwks.json", &[], b"").await.unwrap();
    assert_eq!(jwks.status, 200);
}

#[actix_web::test]
async fn who_takes_requests_back_as_fast_as_it_makes_them_is_cut_off() {
    let app = secured("").await;
    let mut many = Vec::new();
    for number in 0..2000 {
        let stream = 2 * number + 1;
        many.extend(frame(HEADERS, END_STREAM | END_HEADERS, stream, GET));
        many.extend(frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()));
    }
    assert_eq!(farewell(&provoke(&app, &many).await), ENHANCE_YOUR_CALM);
    still_serves(&app).await;
}

#[actix_web::test]
async fn a_head_without_an_end_is_cut_off() {
    let app = secured("").await;
    let part = frame(CONTINUATION, 0, 1, &[0x40, 1, b'x', 1, b'y'].repeat(3000));
    let empty = frame(CONTINUATION, 0, 1, &[]);
    for more in [part.repeat(200), empty.repeat(100_000)] {
        let head = frame(HEADERS, END_STREAM, 1, GET);
        let last = farewell(&provoke(&app, &[head, more].concat()).await);
        assert!([ENHANCE_YOUR_CALM, COMPRESSION_ERROR].contains(&last), "{last}");
        still_serves(&app).await;
    }
}

#[actix_web::test]
async fn a_head_that_never_goes_on_is_not_waited_for() {
    let app = secured("header_timeout = \"1s\"\nkeep_alive = \"2s\"\n").await;
    provoke(&app, &frame(HEADERS, END_STREAM, 1, GET)).await;
    still_serves(&app).await;
}

#[actix_web::test]
async fn a_hundred_requests_at_once_are_taken_on_one_connection_and_no_more() {
    let app = secured("header_timeout = \"1s\"\nkeep_alive = \"2s\"\n").await;
    // Each waits for its body, which never comes.
    let fields = [b"\x83\x87\x44\x0d/oauth2/token\x41\x01x\x5f\x21", FORM.1.as_bytes()].concat();
    let mut many = Vec::new();
    for number in 0..150 {
        many.extend(frame(HEADERS, END_HEADERS, 2 * number + 1, &fields));
    }
    let said = provoke(&app, &many).await;
    let (_, settings) = said.iter().find(|(kind, _)| *kind == SETTINGS).unwrap();
    let streams = settings.chunks(6).find(|one| one[..2] == [0, 3]).unwrap();
    assert_eq!(streams[2..], 100u32.to_be_bytes(), "it says so");
    let refused = said.iter().filter(|(kind, code)| *kind == RST_STREAM && code[3] == 7).count();
    assert_eq!(refused, 50, "{said:?}");
    still_serves(&app).await;
}

#[actix_web::test]
async fn a_megabyte_of_bodies_is_taken_from_one_connection_before_any_is_answered() {
    let app = secured("header_timeout = \"1s\"\nkeep_alive = \"2s\"\n").await;
    let fields = [b"\x83\x87\x44\x0d/oauth2/token\x41\x01x\x5f\x21", FORM.1.as_bytes()].concat();
    let part = [b'a'; 16_000];
    let begun = |number: u32| {
        let stream = 2 * number + 1;
        [frame(HEADERS, END_HEADERS, stream, &fields), frame(DATA, 0, stream, &part)].concat()
    };
    let mut stream = connect(&app.public(), HTTP2).await;
    stream.write_all(&greeting()).await.unwrap();
    stream.write_all(&(0..60).flat_map(begun).collect::<Vec<_>>()).await.unwrap();
    // All of that was read by now, and none of it makes room.
    sleep(Duration::from_secs(2)).await;
    stream.write_all(&(60..70).flat_map(begun).collect::<Vec<_>>()).await.unwrap();
    assert_eq!(farewell(&frames(&closed(&mut stream).await)), FLOW_CONTROL_ERROR);
    still_serves(&app).await;
}

#[actix_web::test]
async fn bodies_and_heads_have_the_limits_that_they_have_over_http_1() {
    let app = secured("").await;
    let caller = http2(&app.public()).await;
    let credential = basic("app", SECRET);
    let headers = [FORM, ("authorization", credential.as_str())];
    let long = "a".repeat(70_000);
    let answer = ask(&caller, "POST", "/oauth2/token", &headers, long.as_bytes()).await.unwrap();
    assert_eq!(answer.status, 413);
    let field = "a".repeat(40_000);
    let answer = ask(&caller, "GET", "/.well-known/jwks.json", &[("x-long", &field)], b"").await;
    assert_eq!(answer.unwrap().status, 431);
    // What was answered makes room: this is more than one connection may bring at once.
    for _ in 0..40 {
        let body = format!("x={}", "a".repeat(60_000));
        let answer = ask(&caller, "POST", "/oauth2/token", &headers, body.as_bytes()).await;
        assert_eq!(answer.unwrap().status, 400);
    }
    // What was refused cost its own stream only.
    let grant = b"grant_type=client_credentials&scope=read";
    let answer = ask(&caller, "POST", "/oauth2/token", &headers, grant).await.unwrap();
    assert_eq!(answer.status, 200);
    sleep(Duration::from_millis(2500)).await;
    let head = ask(&caller, "HEAD", "/.well-known/jwks.json", &[], b"").await.unwrap();
    assert_eq!((head.status, head.body.len()), (200, 0));
    let etag = head.header("etag").to_owned();
    let held = [("if-none-match", etag.as_str())];
    let again = ask(&caller, "GET", "/.well-known/jwks.json", &held, b"").await.unwrap();
    assert_eq!(again.status, 304);
    still_serves(&app).await;
}

#[actix_web::test]
async fn who_does_not_read_its_answers_is_not_waited_for() {
    let app = secured("header_timeout = \"1s\"\nkeep_alive = \"2s\"\n").await;
    // No room for a single byte of any answer.
    let mut many = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    for number in 0..100 {
        many.extend(frame(HEADERS, END_STREAM | END_HEADERS, 2 * number + 1, GET));
    }
    let said = provoke(&app, &many).await;
    assert!(said.iter().all(|(kind, payload)| *kind != DATA || payload.is_empty()));
    still_serves(&app).await;
}

#[actix_web::test]
async fn who_is_being_answered_is_answered_to_the_end_when_the_server_stops() {
    let database = TestDatabase::new();
    let directory = database.directory.path();
    put(directory, &make(1, 30));
    let [crt, key] = ["tls.crt", "tls.key"].map(|name| directory.join(name).display().to_string());
    let environment = [
        ("JETON__ISSUER", "https://localhost"),
        ("JETON__SERVER__TLS__CERTIFICATE", crt.as_str()),
        ("JETON__SERVER__TLS__KEY", key.as_str()),
    ];
    let mut replica = replica::start(&database, "one", &environment).await;
    let ready: serde_json::Value = replica.process.ready().await;
    assert!(ready["public"].as_str().unwrap().starts_with("https://"), "{ready}");
    assert_eq!(process::address(&ready["public"]), replica.public);
    let mut caller = http2(&replica.public).await;
    let credential = basic("app", SECRET);
    let request = ::http::Request::builder()
        .method("POST")
        .uri("https://localhost/oauth2/token")
        .header(FORM.0, FORM.1)
        .header("authorization", credential);
    let (answer, mut body) = caller.send_request(request.body(()).unwrap(), false).unwrap();
    body.send_data("grant_type=client_".into(), false).unwrap();
    sleep(Duration::from_secs(1)).await;
    replica.process.signal("TERM");
    sleep(Duration::from_millis(700)).await;
    body.send_data("credentials&scope=read".into(), true).unwrap();
    let answer = timeout(WELL, answer).await.unwrap().unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    drop(answer);
    assert_eq!(replica.process.ended(WELL).await, Some(0), "{}", replica.process.said());
}
