//! Upgrade and roll back.

use std::time::Duration;

use jeton::store::migrate::NEWEST;

use super::begun;
use super::book::Book;
use crate::support::TestDatabase;
use crate::support::verify;

#[actix_web::test]
async fn by_the_upgrade_runbook_old_and_new_serve_side_by_side_and_too_old_a_schema_is_refused() {
    let database = TestDatabase::new();
    let mut book = Book::open("upgrade.md", database.directory.path(), &database.url);
    book.aside("[ -e root-secrets ] || jeton secrets generate --out root-secrets");
    let mut early = book.serve("early", &[]);
    assert_eq!(early.ended(Duration::from_secs(20)).await, Some(78), "{}", early.said());
    assert!(early.said().contains("jeton migrate"), "{}", early.said());
    book.aside("jeton migrate");

    let mut old = book.replica("old").await;
    let token = old.token().await;
    let looked = book.follow(0);
    assert!(looked.contains("✓ schema"), "{looked}");
    old.token().await;
    let new = book.replica("new").await;
    book.set("OPERATIONS", &format!("http://{}", new.operations));
    let shown = book.follow(1);
    assert!(shown.contains(env!("CARGO_PKG_VERSION")), "{shown}");
    old.token().await;
    old.process.signal("TERM");
    new.token().await;
    assert_eq!(old.process.ended(Duration::from_secs(20)).await, Some(0));
    verify::verify(&token, &new.jwks().await).unwrap();
    book.close();
}

#[actix_web::test]
async fn before_a_roll_back_the_old_binary_says_whether_the_schema_lets_it_serve() {
    let database = TestDatabase::new();
    let mut book = begun("roll-back.md", &database);
    assert!(book.follow(0).contains("this binary serves"));
    // The newer version only added something, and said so.
    database.sql(&format!("insert into schema_steps values (9000, 0, {NEWEST})"));
    let newer = book.follow(0);
    assert!(newer.contains("is at 9000") && newer.contains("let it go on"), "{newer}");
    book.replica("old").await.token().await;
    // It took something away.
    database.sql("update schema_steps set serves_from = 9000 where number = 9000");
    let newer = book.follow(0);
    assert!(newer.contains("is at 9000") && newer.contains("run a newer jeton"), "{newer}");
    assert!(newer.contains("restore the backup"), "{newer}");
    let mut refused = book.serve("refused", &[]);
    assert_eq!(refused.ended(Duration::from_secs(20)).await, Some(78), "{}", refused.said());
    database.sql("delete from schema_steps where number = 9000 returning 1");
    book.follow(1);
    book.set("JETON__KEYS__OF_THE_NEW_VERSION", "1h");
    let (accepted, said) = book.try_follow(1);
    assert!(!accepted && said.contains("of_the_new_version"), "{said}");
    book.close();
}
