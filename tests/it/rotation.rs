//! A rotation under load, seen by the verifier that forgives least: it caches the JWKS for as long
//! as it is told, and when it meets an unknown kid it does not ask again (as Envoy does).

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::replica::{self, Replica};
use crate::support::{TestDatabase, verify};

const FAST: &[(&str, &str)] = &[
    ("JETON__KEYS__PERIOD", "5s"),
    ("JETON__KEYS__LEAD", "4s"),
    ("JETON__KEYS__MAX_AGE", "1s"),
    ("JETON__KEYS__SKEW", "1s"),
    ("JETON__KEYS__ALLOW_UNSAFE_TIMING", "true"),
    ("JETON__TOKENS__ACCESS_TOKEN_TTL", "2s"),
    ("JETON__TOKENS__ACCESS_TOKEN_TTL_MAX", "2s"),
];

struct CachingVerifier {
    jwks: Value,
    until: Instant,
}

impl CachingVerifier {
    async fn fetch(replica: &Replica) -> Self {
        let answer = replica.get("/.well-known/jwks.json").await;
        let age = answer.header("cache-control").rsplit('=').next().unwrap().parse().unwrap();
        Self { jwks: answer.json(), until: Instant::now() + Duration::from_secs(age) }
    }

    async fn check(&mut self, token: &str, replica: &Replica) -> Result<(), String> {
        if Instant::now() >= self.until {
            *self = Self::fetch(replica).await;
        }
        verify::verify(token, &self.jwks).map(drop)
    }
}

#[actix_web::test]
async fn a_rotation_under_load_rejects_no_token_at_a_caching_verifier() {
    let database = TestDatabase::new();
    let replicas =
        [replica::start(&database, "a", FAST).await, replica::start(&database, "b", FAST).await];
    let mut verifier = CachingVerifier::fetch(&replicas[0]).await;
    let mut kids = std::collections::BTreeSet::new();
    let mut recent: Vec<(Instant, String)> = Vec::new();
    let mut checked = 0;
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(17) {
        for (signer, other) in [(0, 1), (1, 0)] {
            let token = replicas[signer].token().await;
            verifier.check(&token, &replicas[other]).await.unwrap();
            recent.push((Instant::now(), token));
            checked += 1;
        }
        recent.retain(|(made, _)| made.elapsed() < Duration::from_millis(1900));
        for (_, token) in &recent {
            verifier.check(token, &replicas[0]).await.unwrap();
        }
        let token = &recent.last().unwrap().1;
        let (header, _) = verify::verify(token, &replicas[0].jwks().await).unwrap();
        kids.insert(header["kid"].to_string());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(kids.len() >= 3, "it rotated {} times", kids.len() - 1);
    assert!(checked > 100, "{checked}");
}
