//! The runbooks are true: their commands are run as they stand, on real servers and databases.

mod book;
mod losses;
mod versions;

use std::time::Duration;

use self::book::{Book, blocks, directory};
use crate::support::cluster::Cluster;
use crate::support::process::jeton;
use crate::support::{TestDatabase, database, http};

/// A book on a database of its own, with a root secret and a schema.
fn begun(name: &str, database: &TestDatabase) -> Book {
    let book = Book::open(name, database.directory.path(), &database.url);
    book.aside("[ -e root-secrets ] || jeton secrets generate --out root-secrets");
    book.aside("jeton migrate");
    book
}

#[test]
fn every_command_of_a_runbook_is_understood_and_every_link_leads_somewhere() {
    let mut seen = 0;
    for entry in std::fs::read_dir(directory()).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for line in blocks(&text, "sh").iter().flat_map(|block| block.lines()) {
            let Some(command) = line.trim().strip_prefix("jeton ") else { continue };
            let command = command.split(" ||").next().unwrap().split(" >").next().unwrap();
            // In place of a variable, what passes for a time as well as for a name.
            let filled = command.split_whitespace().map(|word| match word.strip_prefix("\"$") {
                Some(_) => "2h",
                None => word,
            });
            let mut words: Vec<_> = filled.collect();
            if let Some(quoted) = words.iter().position(|word| word.starts_with('\'')) {
                words.truncate(quoted + 1);
            }
            // What clap does not know it refuses before it comes to the help.
            words.push("--help");
            let done = jeton(&words, &[]);
            assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
            seen += 1;
        }
        for link in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path.clone() } else { directory().join(file) };
            let there = std::fs::read_to_string(&target);
            let there = there.unwrap_or_else(|_| panic!("{}: {link}", path.display()));
            let heads = there.lines().filter_map(|line| line.strip_prefix("## "));
            let mut anchors = heads.map(|head| head.to_lowercase().replace(' ', "-"));
            assert!(anchor.is_empty() || anchors.any(|one| one == anchor), "{link}");
        }
    }
    assert!(seen > 40, "{seen}");
}

#[actix_web::test]
async fn whoever_follows_install_gets_a_token() {
    let database = TestDatabase::new();
    std::fs::remove_file(database.directory.path().join("root-secrets")).ok();
    let mut book = Book::open("install.md", database.directory.path(), &database.url);
    book.follow(0);
    let looked = book.follow(1);
    assert!(
        looked.contains("nobody's yet") && looked.contains("root-secrets has mode 600"),
        "{looked}"
    );
    std::fs::write(book.path.join("clients.toml"), book.file("toml")).unwrap();
    assert!(book.follow(2).contains("+ client first"));
    let mut server = book.serve("server", &[]);
    let ready = server.ready().await;
    book.set("PUBLIC", ready["public"].as_str().unwrap());
    let said = book.follow(3);
    assert!(said.contains("\"keys\"") && said.contains("\"access_token\""), "{said}");
    assert!(
        !server.said().contains(&std::fs::read_to_string(book.path.join("first.secret")).unwrap())
    );
    book.close();
}

#[actix_web::test]
async fn a_stolen_key_and_then_a_stolen_root_secret_count_for_nothing_once_the_runbook_was_followed()
 {
    let database = TestDatabase::new();
    let mut book = begun("compromised-key.md", &database);
    let server = book.replica("server").await;
    let token = server.token().await;
    let kid = kid(&token);
    assert!(is_active(&server.public, &token).await);

    assert!(book.follow(0).contains(&kid));
    book.set("KID", &kid);
    assert!(book.follow(1).contains("go-oidc"));
    until("the token is inactive", async || !is_active(&server.public, &token).await).await;
    until("another key signs", async || self::kid(&server.token().await) != kid).await;
    assert!(!server.jwks().await.to_string().contains(&kid));
    let after = book.follow(2);
    assert!(after.contains("compromised") && after.contains("found in a bucket"), "{after}");

    let second = server.token().await;
    book.follow(3);
    until("the replica holds the new root secret", async || {
        let text = metrics(&server.operations).await;
        text.contains(r#"jeton_root_secret_info{id="2",role="opens"} 1"#)
    })
    .await;
    let declared = book.follow(4);
    assert!(declared.contains("need") && declared.contains("app"), "{declared}");
    until("its keys are replaced", async || {
        !server.jwks().await.to_string().contains(&self::kid(&second))
    })
    .await;
    // Keys and clients are two parts of memory, and either may come first.
    until("the client's secret is gone", async || server.try_token().await.unwrap().status == 401)
        .await;
    let looked = book.follow(5);
    assert!(looked.contains("app") && looked.contains("✓ secret ids"), "{looked}");
    book.close();
}

#[actix_web::test]
async fn after_a_failover_by_the_runbook_servers_go_on_with_what_the_standby_had() {
    if database::server().is_none() {
        // SQLite is a file: there is no standby. `make test` runs this test on Postgres.
        println!("on SQLite there is no standby");
        return;
    }
    let cluster = Cluster::start();
    let directory = tempfile::tempdir().unwrap();
    let mut book = Book::open("database-failover.md", directory.path(), &cluster.url());
    book.aside("jeton secrets generate --out root-secrets && jeton migrate");
    let server = book.replica("server").await;
    let kid_before = kid(&server.token().await);
    let standby = Cluster::standby_of(&cluster.address());
    cluster.down();
    assert!(book.follow(0).contains("✗ database"));
    assert_eq!(server.try_token().await.unwrap().status, 200, "from memory");
    book.set("STANDBY_URL", &standby.url());
    assert_eq!(book.follow(1).split_whitespace().collect::<Vec<_>>(), ["t", "f"]);
    let looked = book.follow(2);
    assert!(looked.contains("✓ writing") && looked.contains("✓ keys"), "{looked}");
    assert!(looked.contains("no synchronous standby"), "{looked}");
    server.process.signal("TERM");
    let next = book.replica("next").await;
    assert_eq!(kid(&next.token().await), kid_before, "the keys are those of before");
    assert!(book.follow(3).contains("client_created"));
    book.close();
}

/// Waits until something holds, for ten seconds.
async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    for _ in 0..100 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not within ten seconds: {what}");
}

/// The key that signed a token.
fn kid(token: &str) -> String {
    use base64::Engine;
    let header = token.split('.').next().unwrap();
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(header).unwrap();
    let header: serde_json::Value = serde_json::from_slice(&header).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}

async fn is_active(address: &str, token: &str) -> bool {
    let form = format!("token={token}");
    let answer =
        http::token(address, "/oauth2/introspect", "rs", crate::support::SECRET, &form).await;
    answer.json()["active"].as_bool().unwrap()
}

async fn metrics(address: &str) -> String {
    let answer = http::send(address, "GET", "/metrics", &[], b"").await;
    String::from_utf8(answer.body).unwrap()
}
