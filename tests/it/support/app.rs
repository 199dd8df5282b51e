//! A real server in this process, on free ports, with a clock that the test drives.

use std::time::Duration;

use jeton::app::{self, ApplySource, Running, Setup};
use jeton::clock::Clock;
use jeton::config::{Settings, Sources};
use jeton::domain::Time;
use jeton::manage::apply::{ApplyFile, Options};

use super::database::pooler_setting;
use super::http::{self, Answer};
use super::{FIXTURES, SECRET, TestDatabase};

/// A running server.
pub struct App {
    /// The server.
    pub running: Running,
    /// Its clock: it stands still unless the test moves it.
    pub clock: Clock,
    /// Its database.
    pub database: TestDatabase,
}

/// Where every test begins: 2026-01-01T00:00:00Z.
pub const START: Time = Time::from_seconds(1_767_225_600);

impl App {
    /// A server with the fixtures.
    pub async fn start() -> Self {
        Self::with("").await
    }

    /// A server with the fixtures and these settings, in TOML.
    pub async fn with(settings: &str) -> Self {
        Self::on(TestDatabase::new(), settings, FIXTURES).await
    }

    /// A server on an existing database.
    pub async fn on(database: TestDatabase, settings: &str, fixtures: &str) -> Self {
        let clock = Clock::manual(START);
        let running = start(&database, settings, fixtures, &clock).await.unwrap();
        Self { running, clock, database }
    }

    /// Another server on the same database and the same clock, as a second replica would be.
    pub async fn beside(one: &Self, settings: &str) -> Self {
        let (database, clock) = (one.database.share(), one.clock.clone());
        let running = start(&database, settings, FIXTURES, &clock).await.unwrap();
        Self { running, clock, database }
    }

    /// The public address.
    pub fn public(&self) -> String {
        self.running.public.to_string()
    }

    /// The operations address.
    pub fn operations(&self) -> String {
        self.running.operations.to_string()
    }

    /// A `GET` at the public listener.
    pub async fn get(&self, path: &str) -> Answer {
        http::send(&self.public(), "GET", path, &[], b"").await
    }

    /// A token request of a client of the fixtures.
    pub async fn token(&self, client: &str, form: &str) -> Answer {
        self.token_with(client, SECRET, form).await
    }

    /// A token request with another secret.
    pub async fn token_with(&self, client: &str, secret: &str, form: &str) -> Answer {
        http::token(&self.public(), "/oauth2/token", client, secret, form).await
    }

    /// The access token that a client of the fixtures gets for the asking.
    pub async fn access_token(&self, client: &str, form: &str) -> String {
        let answer = self.token(client, &format!("grant_type=client_credentials&{form}")).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }

    /// An introspection request of a client of the fixtures.
    pub async fn introspect(&self, client: &str, token: &str) -> Answer {
        let form = format!("token={token}");
        http::token(&self.public(), "/oauth2/introspect", client, SECRET, &form).await
    }

    /// A form to any endpoint with exactly these further headers.
    pub async fn post(&self, path: &str, headers: &[(&str, &str)], form: &str) -> Answer {
        let headers = [&[super::refused::FORM], headers].concat();
        http::send(&self.public(), "POST", path, &headers, form.as_bytes()).await
    }

    /// Registers what a TOML text describes, as an operator does, and waits until it is known.
    pub async fn apply(&self, text: &str) {
        let file = ApplyFile::parse(text, self.database.directory.path()).unwrap();
        let desk = &self.running.desk;
        desk.apply(&file, Options::default(), self.clock.now(), |_| Ok(())).await.unwrap();
        self.beat().await;
    }

    /// Whether a client of the fixtures is told that a token is active.
    pub async fn is_active(&self, client: &str, token: &str) -> bool {
        let answer = self.introspect(client, token).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        let active = answer.json()["active"].as_bool().unwrap();
        assert!(active || answer.body == br#"{"active":false}"#, "{answer:?}");
        active
    }

    /// A revocation request of a client of the fixtures.
    pub async fn revoke(&self, client: &str, token: &str) -> Answer {
        let form = format!("token={token}");
        http::token(&self.public(), "/oauth2/revoke", client, SECRET, &form).await
    }

    /// The text of `/metrics`.
    pub async fn metrics(&self) -> String {
        let answer = http::send(&self.operations(), "GET", "/metrics", &[], b"").await;
        String::from_utf8(answer.body).unwrap()
    }

    /// How often requests about tokens were refused for a reason.
    pub async fn refusals(&self, reason: &str) -> f64 {
        let label = format!("reason=\"{reason}\"");
        let text = self.metrics().await;
        let counters = [
            "jeton_token_requests_total{",
            "jeton_introspections_total{",
            "jeton_authorizations_total{",
            "jeton_revocation_requests_total{",
        ];
        let ours = |line: &&str| counters.iter().any(|counter| line.starts_with(counter));
        let lines = text.lines().filter(ours);
        let counted = lines.filter(|line| line.contains(&label));
        counted.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Moves the clock, and waits until the server's next beat has seen it.
    pub async fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.beat().await;
    }

    /// Waits for two beats of the server: one that may have been under way, and a whole one.
    pub async fn beat(&self) {
        tokio::time::sleep(Duration::from_millis(2200)).await;
    }

    /// Stops the server and gives its database back.
    pub async fn stop(self) -> TestDatabase {
        self.running.stop(std::future::pending()).await;
        self.database
    }
}

/// Settings for a server of a test.
pub fn settings(database: &TestDatabase, text: &str) -> Result<Settings, String> {
    let file = database.directory.path().join("jeton.toml");
    std::fs::write(&file, text).unwrap();
    let free = || "127.0.0.1:0".to_owned();
    let sources = Sources {
        file: Some(file),
        data_dir: database.directory.path().to_owned(),
        defaults: vec![
            ("server.public", free()),
            ("server.operations", free()),
            ("server.drain_delay", "0s".to_owned()),
            ("database.url", database.url.clone()),
            ("database.pooler", pooler_setting().to_owned()),
        ],
    };
    Settings::load(&sources).map_err(|problems| problems.to_string())
}

/// Starts a server, or says why not.
pub async fn start(
    database: &TestDatabase,
    text: &str,
    fixtures: &str,
    clock: &Clock,
) -> Result<Running, String> {
    let settings = settings(database, text)?;
    let apply = vec![ApplySource::Text(fixtures.to_owned(), database.directory.path().to_owned())];
    let setup = Setup { is_dev: false, migrate: true, apply };
    app::start(settings, setup, clock.clone()).await.map_err(|exit| exit.to_string())
}
