//! Replicas: several processes on one database.

use std::path::Path;

use serde_json::Value;

use super::database::pooler_setting;
use super::http::{self, Answer};
use super::process::{Process, address};
use super::{SECRET, TestDatabase};

/// The issuer that all replicas of a test share; none of them listens there.
pub const ISSUER: &str = "http://127.0.0.1:8080";

/// One API, the client `app`, and `rs`, which introspects.
pub const PLAIN: &str = r#"
[[resource]]
id = "https://api.example.test/"
scopes = ["read", "write"]

[[client]]
id = "app"
secret = "correct-horse-battery-staple"
resources = ["https://api.example.test/"]

[[client]]
id = "rs"
secret = "correct-horse-battery-staple"
grants = []
introspects = ["https://api.example.test/"]
"#;

/// A replica that serves.
pub struct Replica {
    /// The process.
    pub process: Process,
    /// Its public address.
    pub public: String,
    /// Its operations address.
    pub operations: String,
}

/// The environment of a replica on a database; `more` wins.
pub fn environment(
    url: &str,
    directory: &Path,
    more: &[(&str, &str)],
) -> Vec<(&'static str, String)> {
    let secrets = directory.join("root-secrets").display().to_string();
    let mut all = vec![
        ("JETON__ISSUER", ISSUER.to_owned()),
        ("JETON__DATABASE__URL", url.to_owned()),
        ("JETON__DATABASE__POOLER", pooler_setting().to_owned()),
        ("JETON__SECRETS__FILE", secrets),
        ("JETON__SERVER__PUBLIC", "127.0.0.1:0".to_owned()),
        ("JETON__SERVER__OPERATIONS", "127.0.0.1:0".to_owned()),
        ("JETON__SERVER__DRAIN_DELAY", "0s".to_owned()),
    ];
    for (key, value) in more {
        let key: &'static str = Box::leak((*key).to_owned().into_boxed_str());
        all.retain(|(other, _)| *other != key);
        all.push((key, (*value).to_owned()));
    }
    if all.iter().any(|(key, _)| *key == "JETON__DATABASE__URL_FILE") {
        all.retain(|(key, _)| *key != "JETON__DATABASE__URL");
    }
    all
}

/// The file with the fixtures, for `--apply`.
pub fn fixtures(directory: &Path) -> String {
    let file = directory.join("fixtures.toml");
    std::fs::write(&file, PLAIN).unwrap();
    file.display().to_string()
}

/// Starts a replica's process without waiting for it.
pub fn spawn(database: &TestDatabase, name: &str, more: &[(&str, &str)]) -> Process {
    spawn_on(&database.url, database.directory.path(), name, more)
}

/// The same on any database.
pub fn spawn_on(url: &str, directory: &Path, name: &str, more: &[(&str, &str)]) -> Process {
    let environment = environment(url, directory, more);
    let environment: Vec<_> = environment.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let fixtures = fixtures(directory);
    Process::serve(directory, name, &["--migrate", "--apply", &fixtures], &environment)
}

/// Starts a replica and waits until it serves.
pub async fn start(database: &TestDatabase, name: &str, more: &[(&str, &str)]) -> Replica {
    Replica::of(spawn(database, name, more)).await
}

impl Replica {
    /// Waits until a process serves.
    pub async fn of(mut process: Process) -> Self {
        let ready = process.ready().await;
        Self {
            public: address(&ready["public"]),
            operations: address(&ready["operations"]),
            process,
        }
    }

    /// A token request of the client `app`.
    pub async fn try_token(&self) -> std::io::Result<Answer> {
        let credential = http::basic("app", SECRET);
        let headers = [
            ("authorization", credential.as_str()),
            ("content-type", "application/x-www-form-urlencoded"),
        ];
        let form = b"grant_type=client_credentials&scope=read";
        http::try_send(&self.public, "POST", "/oauth2/token", &headers, form).await
    }

    /// An access token of the client `app`.
    pub async fn token(&self) -> String {
        let answer = self.try_token().await.unwrap();
        assert_eq!(answer.status, 200, "{}", self.process.said());
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }

    /// A document at the public listener.
    pub async fn get(&self, path: &str) -> Answer {
        http::send(&self.public, "GET", path, &[], b"").await
    }

    /// The JWKS.
    pub async fn jwks(&self) -> Value {
        self.get("/.well-known/jwks.json").await.json()
    }

    /// The status of a health check.
    pub async fn health(&self, check: &str) -> u16 {
        http::send(&self.operations, "GET", &format!("/healthz/{check}"), &[], b"").await.status
    }
}
