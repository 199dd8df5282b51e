//! TLS in the server: what it speaks, whom it keeps waiting, and how it comes to its next certificate.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use openssl::ssl::SslVersion;
use openssl::symm::Cipher;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::support::refused::GRANT;
use crate::support::tls::{
    HTTP1, HTTP2, Hello, Made, WELL, ask, closed, connect, http2, make, number, put, raw, served,
    settings, try_connect, write_key,
};
use crate::support::{App, FIXTURES, SECRET, TestDatabase, app, basic, http, process, replica};

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// A server with certificate number 1, and these settings of its listener.
async fn secured(server: &str) -> App {
    let database = TestDatabase::new();
    put(database.directory.path(), &make(1, 30));
    let settings = format!("[server]\n{server}{}", settings(database.directory.path()));
    App::on(database, &settings, FIXTURES).await
}

fn directory(app: &App) -> &Path {
    app.database.directory.path()
}

#[actix_web::test]
async fn http_1_and_2_are_spoken_over_tls_1_2_and_1_3_and_nothing_else_is() {
    let app = secured("").await;
    let address = app.public();
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        for protocols in [&b""[..], b"\x08http/1.1", b"\x02h2\x08http/1.1"] {
            for names_host in [true, false] {
                let hello = Hello { version, names_host, protocols };
                let mut stream = connect(&address, hello).await;
                let agreed = stream.ssl().selected_alpn_protocol().unwrap_or_default().to_vec();
                if protocols.len() > 9 {
                    assert_eq!(agreed, b"h2", "the better one is taken");
                } else {
                    assert_eq!(served(&mut stream).await, 200);
                }
            }
        }
    }
    for version in [SslVersion::TLS1, SslVersion::TLS1_1] {
        assert!(try_connect(&address, Hello { version, ..HTTP1 }).await.is_err(), "{version:?}");
    }
    let foreign = Hello { protocols: b"\x04imap", ..HTTP1 };
    assert!(try_connect(&address, foreign).await.is_err(), "nobody is taken for another's caller");
    let plain = http::raw(&address, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(plain.is_err(), "{plain:?}");
    let failed = metric(&app.metrics().await, "jeton_tls_handshakes_failed_total");
    assert_eq!(failed, 4.0, "two that are too old, one for another server, and one without TLS");
}

#[actix_web::test]
async fn no_session_is_resumed_and_old_ciphers_are_not_spoken() {
    let app = secured("").await;
    let mut stream = connect(&app.public(), HTTP1).await;
    served(&mut stream).await;
    // A server that gave a ticket has sent it before its first answer.
    let session = stream.ssl().session().unwrap();
    assert!(session.id().is_empty() || !stream.ssl().session_reused());
    let text = session.to_der().unwrap();
    assert!(text.len() < 400, "there is a ticket in a session of {} bytes", text.len());
    let modern = connect(&app.public(), Hello { version: SslVersion::TLS1_2, ..HTTP1 }).await;
    let cipher = modern.ssl().current_cipher().unwrap().name();
    assert!(cipher.starts_with("ECDHE-ECDSA-") && cipher.contains("GCM"), "{cipher}");
}

#[actix_web::test]
async fn tokens_are_issued_over_both_and_browsers_are_told_to_come_back_over_tls() {
    let app = secured("").await;
    let credential = basic("app", SECRET);
    let request = format!(
        "POST /oauth2/token HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{}: {}\r\n\
         authorization: {credential}\r\ncontent-length: {}\r\n\r\n{GRANT}",
        FORM.0,
        FORM.1,
        GRANT.len()
    );
    let one = raw(&app.public(), HTTP1, request.as_bytes()).await;
    let caller = http2(&app.public()).await;
    let headers = [FORM, ("authorization", credential.as_str())];
    let two = ask(&caller, "POST", "/oauth2/token", &headers, GRANT.as_bytes()).await.unwrap();
    for answer in [&one, &two] {
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("strict-transport-security"), "max-age=31536000");
        assert!(!answer.header("date").is_empty() && !answer.header("x-request-id").is_empty());
        let token = answer.json()["access_token"].as_str().unwrap().to_owned();
        let body = format!("token={token}");
        let credential = basic("rs", SECRET);
        let headers = [FORM, ("authorization", credential.as_str())];
        let told = ask(&caller, "POST", "/oauth2/introspect", &headers, body.as_bytes()).await;
        assert_eq!(told.unwrap().json()["active"], true);
    }
    assert_eq!(one.json()["expires_in"], two.json()["expires_in"]);
    let missing = ask(&caller, "GET", "/nowhere", &[], b"").await.unwrap();
    assert_eq!(missing.status, 404);
    assert_eq!(missing.header("strict-transport-security"), "max-age=31536000");
    let metadata =
        ask(&caller, "GET", "/.well-known/openid-configuration", &[], b"").await.unwrap();
    let issuer = metadata.json()["issuer"].as_str().unwrap().to_owned();
    assert_eq!(issuer, format!("https://{}", app.public()));
}

#[actix_web::test]
async fn callers_are_told_apart_as_they_are_without_tls() {
    let database = TestDatabase::new();
    put(database.directory.path(), &make(1, 30));
    let settings = format!(
        "[server]\ntrusted_proxies = [\"127.0.0.1\"]\n{}[limits]\nfailures_per_client = \
         \"1/m burst 1\"\n",
        settings(database.directory.path())
    );
    let app = App::on(database, &settings, FIXTURES).await;
    let caller = http2(&app.public()).await;
    let wrong = basic("app", "a-secret-that-is-wrong");
    // Over the one and over the other protocol.
    let failed = async |from: &str, http1: bool| {
        if http1 {
            let request = format!(
                "POST /oauth2/token HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{}: {}\r\n\
                 authorization: {wrong}\r\nx-forwarded-for: {from}\r\ncontent-length: {}\r\n\r\n\
                 {GRANT}",
                FORM.0,
                FORM.1,
                GRANT.len()
            );
            return raw(&app.public(), HTTP1, request.as_bytes()).await.status;
        }
        let headers = [FORM, ("authorization", wrong.as_str()), ("x-forwarded-for", from)];
        let answer = ask(&caller, "POST", "/oauth2/token", &headers, GRANT.as_bytes()).await;
        answer.unwrap().status
    };
    for (http1, from, status) in [
        (true, "203.0.113.1", 401),
        (false, "203.0.113.1", 429),
        (false, "203.0.113.2", 401),
        (true, "203.0.113.2", 429),
    ] {
        assert_eq!(failed(from, http1).await, status, "{from}");
    }
}

#[actix_web::test]
async fn where_tls_is_somebody_elses_browsers_are_told_nothing_of_it() {
    let app = App::start().await;
    let answer = app.get("/.well-known/jwks.json").await;
    assert_eq!((answer.status, answer.header("strict-transport-security")), (200, ""));
    assert!(!app.metrics().await.contains("jeton_tls_"));
}

/// Waits until new connections are shown this certificate, however they come.
async fn shown(address: &str, wanted: &str) {
    let until = Instant::now() + WELL;
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        for hello in [HTTP1, HTTP2] {
            for names_host in [true, false] {
                let hello = Hello { version, names_host, ..hello };
                while number(&connect(address, hello).await) != wanted {
                    assert!(Instant::now() < until, "certificate {wanted} never came");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

fn metric(text: &str, name: &str) -> f64 {
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

const ENDS: &str = "jeton_tls_certificate_expires_timestamp_seconds";
const TAKEN: &str = "jeton_tls_reloads_total{outcome=\"applied\"}";
const FAILED: &str = "jeton_tls_reloads_total{outcome=\"failed\"}";

#[actix_web::test]
async fn a_new_certificate_is_shown_to_who_comes_while_who_is_there_goes_on() {
    let app = secured("").await;
    let mut before = connect(&app.public(), HTTP1).await;
    let before2 = http2(&app.public()).await;
    assert_eq!((served(&mut before).await, number(&before).as_str()), (200, "1"));
    let ends = metric(&app.metrics().await, ENDS);
    put(directory(&app), &make(2, 60));
    shown(&app.public(), "2").await;
    assert_eq!(served(&mut before).await, 200);
    let jwks = ask(&before2, "GET", "/.well-known/jwks.json", &[], b"").await.unwrap();
    assert_eq!(jwks.status, 200);
    let text = app.metrics().await;
    assert!(metric(&text, ENDS) >= ends + 29.0 * 86_400.0, "{text}");
    assert_eq!((metric(&text, TAKEN), metric(&text, FAILED)), (1.0, 0.0));
}

#[actix_web::test]
async fn a_pair_that_does_not_fit_changes_nothing_and_is_told_once() {
    let database = TestDatabase::new();
    let directory = database.directory.path();
    put(directory, &make(1, 30));
    let [crt, key] = ["tls.crt", "tls.key"].map(|name| directory.join(name).display().to_string());
    let environment = [
        ("JETON__ISSUER", "https://localhost"),
        ("JETON__SERVER__TLS__CERTIFICATE", crt.as_str()),
        ("JETON__SERVER__TLS__KEY", key.as_str()),
    ];
    let replica = replica::start(&database, "one", &environment).await;
    let metrics = async || {
        let answer = http::send(&replica.operations, "GET", "/metrics", &[], b"").await;
        String::from_utf8(answer.body).unwrap()
    };
    let mut failed = 0.0;
    for bad in [&b"no certificate"[..], &make(7, 30).certificate, b""] {
        fs::write(&crt, bad).unwrap();
        failed += 1.0;
        let until = Instant::now() + WELL;
        while metric(&metrics().await, FAILED) < failed {
            assert!(Instant::now() < until, "it was not noticed: {}", replica.process.said());
            sleep(Duration::from_millis(100)).await;
        }
        // Two more looks at what has not changed.
        sleep(Duration::from_millis(2500)).await;
        assert_eq!(metric(&metrics().await, FAILED), failed);
        assert_eq!(number(&connect(&replica.public, HTTP2).await), "1");
    }
    let said = replica.process.said();
    assert_eq!(said.matches("the one before stays in use").count(), 3, "{said}");
    assert!(said.contains("is not that of the first certificate"), "{said}");
    assert!(!said.contains("PRIVATE"), "{said}");
    put(directory, &make(3, 30));
    shown(&replica.public, "3").await;
}

#[actix_web::test]
async fn a_certificate_that_is_over_or_names_another_does_not_take_the_server_out() {
    let database = TestDatabase::new();
    put(database.directory.path(), &make(1, -1));
    let settings = settings(database.directory.path());
    let app = App::on(database, &settings, FIXTURES).await;
    // Longer than it takes to look at itself three times.
    sleep(Duration::from_secs(16)).await;
    let ready = http::send(&app.operations(), "GET", "/healthz/ready", &[], b"").await;
    assert_eq!(ready.status, 200, "{ready:?}");
}

#[actix_web::test]
async fn a_bad_pair_is_a_clear_word_at_the_start() {
    let database = TestDatabase::new();
    let directory = database.directory.path();
    let good = make(1, 30);
    let locked = good.secret.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"x");
    let locked = Made { key: locked.unwrap(), ..make(1, 30) };
    let clock = jeton::clock::Clock::manual(app::START);
    let start = async || {
        let begun = app::start(&database, &settings(directory), FIXTURES, &clock).await;
        begun.unwrap_err()
    };
    assert!(start().await.contains("tls.crt"), "nothing is there");
    put(directory, &Made { certificate: b"nonsense".to_vec(), ..make(1, 30) });
    assert!(start().await.contains("no certificate in PEM"));
    put(directory, &Made { key: make(2, 30).key, ..make(1, 30) });
    assert!(start().await.contains("is not that of the first certificate"));
    put(directory, &Made { certificate: good.certificate.clone(), ..locked });
    assert!(start().await.contains("without a passphrase"));
    put(directory, &good);
    fs::set_permissions(directory.join("tls.key"), Permissions::from_mode(0o644)).unwrap();
    assert!(start().await.contains("chmod o="));
    write_key(&directory.join("tls.key"), &good.key);
    let alone = settings(directory).lines().take(2).collect::<Vec<_>>().join("\n");
    let begun = app::start(&database, &alone, FIXTURES, &clock).await.err().unwrap();
    assert!(begun.contains("it and server.tls.certificate go together"), "{begun}");
    let plain = format!("issuer = \"http://localhost\"\n{}", settings(directory));
    let begun = app::start(&database, &plain, FIXTURES, &clock).await.err().unwrap();
    assert!(begun.contains("write https"), "{begun}");
    fs::remove_file(directory.join("tls.key")).unwrap();
    let check = process::jeton(
        &["config", "check", "--json"],
        &[
            ("JETON__ISSUER", "https://localhost"),
            ("JETON__SERVER__TLS__CERTIFICATE", directory.join("tls.crt").to_str().unwrap()),
            ("JETON__SERVER__TLS__KEY", directory.join("tls.key").to_str().unwrap()),
        ],
    );
    let said = String::from_utf8(check.stdout).unwrap();
    assert!(check.status.code() == Some(78) && said.contains("tls.key"), "{said}");
}

#[actix_web::test]
async fn nobody_is_waited_for_who_does_not_shake_hands_or_asks_for_nothing_then() {
    let app = secured("header_timeout = \"1s\"\nkeep_alive = \"2s\"\n").await;
    let address = app.public();
    let mut silent = TcpStream::connect(&address).await.unwrap();
    let mut halfway = TcpStream::connect(&address).await.unwrap();
    // The head of a handshake's record that announces more than ever comes.
    halfway.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await.unwrap();
    let mut shaken = connect(&address, HTTP1).await;
    let mut second = connect(&address, HTTP1).await;
    assert_eq!(served(&mut second).await, 200);
    second.write_all(b"G").await.unwrap();
    let mut greeted = connect(&address, HTTP2).await;
    let idle = http2(&address).await;
    let jwks = ask(&idle, "GET", "/.well-known/jwks.json", &[], b"").await.unwrap();
    assert_eq!(jwks.status, 200);
    for stream in [&mut silent, &mut halfway] {
        let mut said = Vec::new();
        let read = tokio::io::AsyncReadExt::read_to_end(stream, &mut said);
        let _ = tokio::time::timeout(WELL, read).await.unwrap();
    }
    for stream in [&mut shaken, &mut second, &mut greeted] {
        closed(stream).await;
    }
    let until = Instant::now() + WELL;
    while idle.clone().ready().await.is_ok() {
        assert!(Instant::now() < until, "it is waited for");
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(served(&mut connect(&address, HTTP1).await).await, 200);
}
