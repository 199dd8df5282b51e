//! Codes: what a sign-in costs once the person has agreed. Each exchange looks a code up, and spends it,
//! begins a family and writes it down for the audit in one commit.

use std::time::Duration;

use jeton::clock::Clock;
use jeton::domain::{Challenge, ClientId, ResourceId, Scopes, Time, Username};
use jeton::secret::{TokenText, code_digest, new_code};
use jeton::store::codes::{self, Code};
use jeton::store::{Db, users};
use url::form_urlencoded::Serializer;
use uuid::Uuid;

use super::families::{NETWORK, USER_AGENT};
use crate::bench::{Bench, REDIRECT_URI, TOKEN, WEB, request_post, request_token};
use crate::database::with_store;
use crate::load::Source;
use crate::measure::Subject;
use crate::report::Report;
use crate::server::RESOURCE;

/// More codes in a second than can be exchanged.
const PER_SECOND: usize = 4000;

/// So long a code lives.
const LIFE: Duration = Duration::from_secs(60);

/// So many people sign in in turn: an exchange holds its person's row until it is committed.
const PEOPLE: usize = 1000;

/// So many codes go into one commit.
const AT_ONCE: usize = 1000;

/// What every client knows the answer with (RFC 7636 appendix B).
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

/// Each code once, beside tokens that need no database.
pub fn run(bench: &Bench, report: &mut Report) {
    if !bench.offers("authorization_endpoint") {
        return report.skip("code", "the metadata has no authorization_endpoint");
    }
    let jeton = &bench.jetons[0];
    let url = jeton.database_url();
    let people = with_store(url, add_people);
    let exchanges = |seconds: usize| {
        let codes =
            with_store(url, async |db: &Db| add_codes(db, &people, seconds * PER_SECOND).await);
        Source::once(codes.iter().map(request).collect())
    };
    let tokens = jeton.subject(|_, _| Source::cycle(vec![request_token(TOKEN, "es256")]));
    let subjects = [
        jeton.subject(|_, seconds| exchanges(seconds)),
        Subject { label: "client_credentials", ..tokens },
    ];
    let measured = bench.measure("code", &subjects);
    report.add("code", &measured, &[]);
}

fn request(code: &TokenText) -> Vec<u8> {
    let form = Serializer::new(String::new())
        .append_pair("grant_type", "authorization_code")
        .append_pair("code", code.expose())
        .append_pair("redirect_uri", REDIRECT_URI)
        .append_pair("code_verifier", VERIFIER)
        .finish();
    request_post(TOKEN, WEB, &form)
}

/// People with no password: they have signed in already.
async fn add_people(db: &Db) -> Vec<Uuid> {
    let now = Clock::system().now();
    let people: Vec<Uuid> = (0..PEOPLE).map(|_| Uuid::now_v7()).collect();
    let added = db.write(async |tx| {
        for (number, id) in people.iter().enumerate() {
            let name = Username::parse(&format!("person-{number}")).unwrap();
            users::add(tx, *id, &name, None, now).await?;
        }
        Ok(())
    });
    added.await.unwrap();
    people
}

/// Codes as the consent page would have made them just now.
async fn add_codes(db: &Db, people: &[Uuid], count: usize) -> Vec<TokenText> {
    let clock = Clock::system();
    let all: Vec<TokenText> = (0..count).map(|_| new_code()).collect();
    let mut people = people.iter().cycle();
    for some in all.chunks(AT_ONCE) {
        let now = clock.now();
        let stored: Vec<_> = some
            .iter()
            .zip(&mut people)
            .map(|(code, person)| (code_digest(code).unwrap(), allowed(*person, now)))
            .collect();
        let added = db.write(async |tx| {
            for (digest, code) in &stored {
                codes::add(tx, digest, code).await?;
            }
            Ok(())
        });
        added.await.unwrap();
    }
    all
}

fn allowed(subject: Uuid, now: Time) -> Code {
    Code {
        client: ClientId::parse(WEB).unwrap(),
        subject,
        redirect_uri: REDIRECT_URI.to_owned(),
        challenge: Challenge::of(VERIFIER).unwrap(),
        resources: vec![ResourceId::parse(RESOURCE).unwrap()],
        scopes: Scopes::parse("read").unwrap(),
        authenticated_at: now,
        expires_at: now + LIFE,
        used_at: None,
        family: None,
        user_agent: Some(USER_AGENT.to_owned()),
        network: Some(NETWORK.to_owned()),
    }
}
