//! Back up and restore; a root secret that is lost.

use std::time::Duration;

use super::begun;
use super::book::Book;
use crate::support::{SECRET, TestDatabase, http};

/// A backup, or on SQLite, where there is no program for it, a copy of the files.
fn back_up(book: &Book, database: &TestDatabase) {
    if database.is_postgres() {
        book.follow(0);
    } else {
        book.leave_out(0);
        book.aside("mkdir copy; cp -p jeton.db* copy/");
    }
}

fn restore(book: &Book, database: &TestDatabase) {
    if database.is_postgres() {
        book.follow(1);
    } else {
        book.leave_out(1);
        book.aside("rm jeton.db*; cp -p copy/* .");
    }
}

#[actix_web::test]
async fn what_was_backed_up_comes_back_and_recovery_is_open_until_it_is_closed() {
    let database = TestDatabase::new().past_the_pooler("a dump is restored at the server itself");
    let mut book = begun("back-up-and-restore.md", &database);
    let mut server = book.replica("server").await;
    server.token().await;
    server.process.signal("TERM");
    assert_eq!(server.process.ended(Duration::from_secs(20)).await, Some(0));
    back_up(&book, &database);
    book.aside("jeton client create late --resource https://api.example.test/");
    book.aside("jeton client show late");
    restore(&book, &database);
    assert!(book.follow(2).contains("✓ secret ids"));
    assert!(!book.aside("jeton client list").contains("late"), "it came after the backup");
    book.replica("again").await.token().await;

    book.set("LOST_SINCE", "2h");
    let opened = book.follow(3);
    assert!(
        opened.contains("Nothing was done") && opened.contains("open: what was learned"),
        "{opened}"
    );
    assert!(book.aside("jeton doctor || true").contains("! recovery"));
    assert!(book.follow(4).contains("closed"));
    assert!(book.aside("jeton doctor || true").contains("✓ recovery"));
    book.close();
}

#[actix_web::test]
async fn whoever_lost_the_root_secret_goes_on_with_new_keys_and_new_client_secrets() {
    let database = TestDatabase::new();
    let book = begun("lost-root-secret.md", &database);
    let mut server = book.replica("server").await;
    server.token().await;
    server.process.signal("TERM");
    assert_eq!(server.process.ended(Duration::from_secs(20)).await, Some(0));
    std::fs::remove_file(book.path.join("root-secrets")).unwrap();

    assert!(book.follow(0).contains("gone"));
    let mut refused = book.serve("refused", &[]);
    assert_eq!(refused.ended(Duration::from_secs(20)).await, Some(78), "{}", refused.said());
    let stolen = book.aside("! jeton secrets compromise 1");
    assert!(stolen.contains("jeton secrets lost 1"), "{stolen}");
    assert!(book.aside("jeton doctor || true").contains("jeton help secrets lost"));
    let held = book.aside("! jeton secrets lost 2");
    assert!(held.contains("is not lost"), "{held}");
    let given_up = book.follow(1);
    assert!(given_up.contains("2 signing keys and 2 client secrets would be gone"), "{given_up}");
    assert!(given_up.contains("2 signing keys and 2 client secrets are gone"), "{given_up}");
    assert!(given_up.contains("app") && given_up.contains("rs"), "{given_up}");
    assert!(book.aside("! jeton secrets lost 1").contains("there is no secret"), "once is enough");

    let mut server = book.serve("again", &[]);
    let ready = server.ready().await;
    let public = ready["public"].as_str().unwrap().trim_start_matches("http://");
    let looked = book.follow(2);
    assert!(looked.contains("✓ secret ids") && looked.contains("✓ keys"), "{looked}");
    let ask = async |secret: &str| {
        http::token(public, "/oauth2/token", "app", secret, "grant_type=client_credentials").await
    };
    assert_eq!(ask(SECRET).await.status, 401);
    let shown = book.follow(3);
    let secret = shown.lines().find_map(|line| line.strip_prefix("client_secret")).unwrap();
    let secret = secret.trim().to_owned();
    super::until("the new secret is known", async || ask(&secret).await.status == 200).await;
    book.close();
}
