//! Sign-ins as a database has them, and the requests of those who go on with theirs.

use std::time::Duration;

use jeton::clock::Clock;
use jeton::domain::{ClientId, Family, ResourceId, Scopes};
use jeton::secret::{RefreshToken, RootSecrets, file};
use jeton::store::families::{self, Stored};
use jeton::store::{Db, audit};
use uuid::Uuid;

use crate::bench::{WEB, request_post};
use crate::database::with_store;
use crate::load::Source;
use crate::server::{Home, ISSUER, RESOURCE};

/// What browsers call themselves.
pub const USER_AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64) a usual browser of these days";

/// Where people come from.
pub const NETWORK: &str = "192.0.2.0/24";

/// So many sign-ins go into one commit.
const AT_ONCE: usize = 1000;

/// What makes the tokens of the server that lives there.
pub fn secrets(home: &Home) -> RootSecrets {
    file::load(&home.path("root-secrets"), ISSUER).unwrap()
}

/// A refresh, as bytes.
pub fn request(path: &str, secrets: &RootSecrets, family: Uuid, generation: u32) -> Vec<u8> {
    let token = RefreshToken { family, generation }.seal(secrets);
    let form = format!("grant_type=refresh_token&refresh_token={}", token.expose());
    request_post(path, WEB, &form)
}

/// Begins a family for each connection, and makes its tokens in turn: a client would read each from
/// the answer before, and each is the one that this makes.
pub fn flows(home: &Home, url: &str, path: &'static str, connections: usize) -> Source {
    let secrets = secrets(home);
    let families = signed_in(url, connections);
    Source::each(move |connection, generation| {
        request(path, &secrets, families[connection], generation)
    })
}

/// Begins so many families.
pub fn signed_in(url: &str, count: usize) -> Vec<Uuid> {
    let now = Clock::system().now();
    let new = |id| Stored {
        family: Family {
            id,
            generation: 0,
            rotated_at: now,
            attempt: 0,
            client: ClientId::parse(WEB).unwrap(),
            subject: Uuid::nil(),
            resources: vec![ResourceId::parse(RESOURCE).unwrap()],
            scopes: Scopes::parse("read").unwrap(),
            authenticated_at: now,
            idle: Duration::from_secs(86_400),
            ends_at: now + Duration::from_secs(864_000),
            suspended_at: None,
            revoked_at: None,
            key_thumbprint: None,
        },
        ended_by: None,
        user_agent: Some(USER_AGENT.to_owned()),
        network: Some(NETWORK.to_owned()),
    };
    let families: Vec<Uuid> = (0..count).map(|_| audit::row_id(now)).collect();
    with_store(url, async |db: &Db| {
        for some in families.chunks(AT_ONCE) {
            let begun = db.write(async |tx| {
                for id in some {
                    families::add(tx, &new(*id)).await?;
                }
                Ok(())
            });
            begun.await.unwrap();
        }
    });
    families
}
