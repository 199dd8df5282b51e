//! What operators act through, on a migrated database and without a server.

use std::sync::Arc;
use std::time::Duration;

use jeton::domain::family::RefreshRules;
use jeton::domain::schedule::Policy;
use jeton::domain::{Algorithm, Issuer, RefreshRetry};
use jeton::manage::Desk;
use jeton::secret::Vault;
use jeton::store::{Db, migrate};

use super::TestDatabase;
use super::app::START;
use super::people::{ABSOLUTE, IDLE};

/// The issuer of such a desk.
pub const ISSUER: &str = "https://id.example.test";

/// A desk on a fresh schema, with no keys yet.
pub async fn desk(database: &TestDatabase) -> Desk {
    let db = database.open().await;
    migrate::migrate(&db, START, |_| {}).await.unwrap();
    desk_with(database, db)
}

/// A desk with this connection.
pub fn desk_with(database: &TestDatabase, db: Db) -> Desk {
    let file = database.directory.path().join("root-secrets");
    Desk {
        db,
        secrets: Arc::new(Vault::open(file, ISSUER).unwrap()),
        issuer: Issuer::parse(ISSUER).unwrap(),
        policy: Policy {
            algorithms: vec![Algorithm::Es256],
            period: Duration::from_secs(30 * 86_400),
            lead: Duration::from_secs(86_400),
            max_age: Duration::from_secs(300),
            skew: Duration::from_secs(300),
            longest_token: Duration::from_secs(3600),
        },
        refresh: RefreshRules {
            idle: IDLE,
            absolute: ABSOLUTE,
            retry: RefreshRetry::Window,
            window: Duration::from_secs(30),
            heal: true,
            announce: false,
        },
        trusted: Duration::from_secs(300),
        revocation_bound: Duration::from_secs(2),
        actor: "test".to_owned(),
    }
}
