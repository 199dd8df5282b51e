//! People who have signed in, as their rows show it.

use std::time::Duration;

use jeton::domain::{ClientId, Family, ResourceId, Scopes, Time};
use jeton::manage::Desk;
use jeton::store::audit::row_id;
use jeton::store::families::{self, Stored};
use uuid::Uuid;

use super::{API, TestDatabase};

/// How long a family of a test lives without a refresh.
pub const IDLE: Duration = Duration::from_secs(14 * 86_400);

/// How long it lives at most.
pub const ABSOLUTE: Duration = Duration::from_secs(90 * 86_400);

/// A family that somebody began at `birth`.
pub fn family(subject: Uuid, client: &str, birth: Time) -> Stored {
    let family = Family {
        id: row_id(birth),
        generation: 0,
        rotated_at: birth,
        attempt: 1,
        client: ClientId::parse(client).unwrap(),
        subject,
        resources: vec![ResourceId::parse(API).unwrap()],
        scopes: Scopes::parse("read write").unwrap(),
        authenticated_at: birth,
        idle: IDLE,
        ends_at: birth + ABSOLUTE,
        suspended_at: None,
        revoked_at: None,
        key_thumbprint: None,
    };
    let (user_agent, network) = (Some("Browser/1".to_owned()), Some("192.0.2.0/24".to_owned()));
    Stored { family, ended_by: None, user_agent, network }
}

/// Somebody signs in at a client.
pub async fn sign_in(desk: &Desk, subject: Uuid, client: &str, birth: Time) -> Uuid {
    let stored = family(subject, client, birth);
    desk.db.write(async |tx| families::add(tx, &stored).await).await.unwrap();
    stored.family.id
}

/// A family as its row says.
pub async fn stored(desk: &Desk, id: Uuid) -> Stored {
    families::get(&desk.db, id).await.unwrap().unwrap()
}

/// A UUID as the database writes it.
pub fn literal(database: &TestDatabase, id: Uuid) -> String {
    if database.is_postgres() { format!("'{id}'") } else { format!("x'{}'", id.simple()) }
}

/// A code that was sent to a client and not redeemed yet.
pub fn plant_code(database: &TestDatabase, subject: Uuid, used: bool) {
    let digest = format!("{:032x}", rand::random::<u128>());
    let (digest, subject) = if database.is_postgres() {
        (format!("'\\x{digest}'"), literal(database, subject))
    } else {
        (format!("x'{digest}'"), literal(database, subject))
    };
    let used = if used { "1" } else { "null" };
    database.sql(&format!(
        "insert into codes (digest, client_id, subject, redirect_uri, challenge, resources, scopes,
             authenticated_at, expires_at, used_at)
         values ({digest}, 'app', {subject}, 'u', 'c', '', '', 0, 0, {used}) returning 1"
    ));
}
