//! People who are signed in: families as the authorization code grant would leave them, without the
//! pages that lead there.

use std::time::Duration;

use jeton::domain::family::Family;
use jeton::domain::{ClientId, ResourceId, Scopes, Time, Username};
use jeton::secret::RefreshToken;
use jeton::store::families::{self, Stored};
use jeton::store::{audit, users};
use uuid::Uuid;

use super::http::{self, Answer};
use super::refused::FORM;
use super::{API, App, FIXTURES, OTHER, SECRET, TestDatabase};

/// Apps that people sign in to: `web` (a secret), `other-web` (another one), `spa` (no secret),
/// `strict`, and `windowed`.
pub const APPS: &str = r#"
[[client]]
id = "web"
secret = "correct-horse-battery-staple"
grants = ["authorization_code", "refresh_token"]
redirect_uris = ["https://web.example.test/cb"]
resources = ["https://api.example.test/", "https://other.example.test/v1"]
default_resource = "https://api.example.test/"

[[client]]
id = "other-web"
secret = "correct-horse-battery-staple"
grants = ["authorization_code", "refresh_token"]
redirect_uris = ["https://other-web.example.test/cb"]
resources = ["https://api.example.test/"]

[[client]]
id = "spa"
auth_method = "none"
grants = ["authorization_code", "refresh_token"]
redirect_uris = ["https://spa.example.test/cb"]
resources = ["https://api.example.test/"]

[[client]]
id = "strict"
secret = "correct-horse-battery-staple"
grants = ["authorization_code", "refresh_token"]
redirect_uris = ["https://strict.example.test/cb"]
resources = ["https://api.example.test/"]
refresh_retry = "strict"

[[client]]
id = "windowed"
secret = "correct-horse-battery-staple"
grants = ["authorization_code", "refresh_token"]
redirect_uris = ["https://windowed.example.test/cb"]
resources = ["https://api.example.test/"]
refresh_retry = "window"
"#;

/// How long a family of a test may lie idle, and how long it may live.
pub const IDLE: Duration = Duration::from_secs(14 * 86_400);
pub const ABSOLUTE: Duration = Duration::from_secs(90 * 86_400);

impl App {
    /// A server whose fixtures have the apps above.
    pub async fn with_apps(settings: &str) -> Self {
        Self::with_apps_on(TestDatabase::new(), settings).await
    }

    /// The same on a database that is there.
    pub async fn with_apps_on(database: TestDatabase, settings: &str) -> Self {
        Self::on(database, settings, &format!("{FIXTURES}{APPS}")).await
    }

    /// Somebody signs in to an app: the subject, and the first refresh token.
    pub async fn begin(&self, client: &str) -> (Uuid, String) {
        let (subject, family) = (random_id(), audit::row_id(self.clock.now()));
        self.begin_as(client, subject, family).await;
        (subject, self.refresh_token(family, 0))
    }

    /// The same with names of the test's choice.
    pub async fn begin_as(&self, client: &str, subject: Uuid, family: Uuid) {
        let now = self.clock.now();
        let stored = signed_in(client, subject, family, now);
        let name = Username::parse(&format!("user-{subject}")).unwrap();
        let db = &self.running.desk.db;
        db.write(async |tx| {
            users::add(tx, subject, &name, None, now).await?;
            families::add(tx, &stored).await
        })
        .await
        .unwrap();
    }

    /// A refresh token of a family, of whatever generation.
    pub fn refresh_token(&self, family: Uuid, generation: u32) -> String {
        let token = RefreshToken { family, generation };
        token.seal(&self.running.desk.secrets.now()).expose().to_owned()
    }

    /// What a refresh token says.
    pub fn read(&self, token: &str) -> RefreshToken {
        let text = jeton::secret::TokenText::new(token);
        RefreshToken::open(&text, &self.running.desk.secrets.now()).unwrap()
    }

    /// A refresh, as the client does it.
    pub async fn refresh(&self, client: &str, token: &str, more: &str) -> Answer {
        refresh_at(&self.public(), client, token, more).await
    }

    /// A family's row, as it is now.
    pub async fn family(&self, id: Uuid) -> Stored {
        families::get(&self.running.desk.db, id).await.unwrap().unwrap()
    }
}

/// A refresh at any server.
pub async fn refresh_at(address: &str, client: &str, token: &str, more: &str) -> Answer {
    try_refresh_at(address, client, token, more).await.unwrap()
}

/// The same, at a server that may be away.
pub async fn try_refresh_at(
    address: &str,
    client: &str,
    token: &str,
    more: &str,
) -> std::io::Result<Answer> {
    let form = format!("grant_type=refresh_token&refresh_token={token}{more}");
    if client == "spa" {
        let form = format!("{form}&client_id=spa");
        return http::try_send(address, "POST", "/oauth2/token", &[FORM], form.as_bytes()).await;
    }
    let credential = http::basic(client, SECRET);
    let headers = [FORM, ("authorization", credential.as_str())];
    http::try_send(address, "POST", "/oauth2/token", &headers, form.as_bytes()).await
}

/// A family as it begins.
pub fn signed_in(client: &str, subject: Uuid, id: Uuid, now: Time) -> Stored {
    let resource = |id: &str| ResourceId::parse(id).unwrap();
    let (resources, scopes) = match client {
        "web" => (vec![resource(API), resource(OTHER)], "list read write"),
        _ => (vec![resource(API)], "read write"),
    };
    Stored {
        family: Family {
            id,
            generation: 0,
            rotated_at: now,
            attempt: rand::random(),
            client: ClientId::parse(client).unwrap(),
            subject,
            resources,
            scopes: Scopes::parse(scopes).unwrap(),
            authenticated_at: now,
            idle: IDLE,
            ends_at: now + ABSOLUTE,
            suspended_at: None,
            revoked_at: None,
            key_thumbprint: None,
        },
        ended_by: None,
        user_agent: None,
        network: None,
    }
}

/// A subject.
pub fn random_id() -> Uuid {
    uuid::Builder::from_random_bytes(rand::random()).into_uuid()
}
