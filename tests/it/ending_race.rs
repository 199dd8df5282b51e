//! What takes access away, at the same time as what gives it: whatever was given on the way is worth
//! nothing as soon as the taking was acknowledged. On one replica and on two, alone and together.

use std::time::Duration;

use futures_util::future::join_all;
use jeton::domain::{Challenge, ClientId, ResourceId, Scopes, Username};
use jeton::secret::{code_digest, new_code};
use jeton::store::codes::{self, Code};
use jeton::store::users;
use uuid::Uuid;

use crate::support::database::loses_races;
use crate::support::refused::assert_refused;
use crate::support::servers::{Pace, Plan, Servers};
use crate::support::session::random_id;
use crate::support::sign_in::{CHALLENGE, Tokens, redeem, redirect_uri};
use crate::support::{API, App};

/// Rounds of each race.
const ROUNDS: usize = 12;

/// A moment of chance, so that either side is first now and then.
async fn moment() {
    tokio::time::sleep(Duration::from_micros(rand::random_range(0..6_000))).await;
}

/// No replica refreshes this any more. Replicas' clocks may be a moment apart, so whoever is told to come
/// again does.
async fn assert_dead(servers: &Servers, client: &str, refresh: &str, what: &str) {
    for app in servers.iter() {
        let mut answer = app.refresh(client, refresh, "").await;
        for _ in 0..5 {
            if answer.status != 503 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
            answer = app.refresh(client, refresh, "").await;
        }
        assert_eq!(answer.error(), (400, "invalid_grant".to_owned()), "{what}");
    }
}

/// No replica calls any of these active, two beats after it was acknowledged.
async fn assert_inactive(servers: &Servers, access: &[String]) {
    servers[0].beat().await;
    for app in servers.iter() {
        for token in access {
            assert!(!app.is_active("rs", token).await);
        }
    }
}

fn plans() -> impl Iterator<Item = Plan> {
    [Pace::Still, Pace::Real].into_iter().flat_map(Plan::all)
}

#[actix_web::test]
async fn a_revocation_that_races_refreshes_leaves_nothing_alive() {
    for plan in plans() {
        let servers = plan.start().await;
        let (mut access, mut before) = (Vec::new(), 0);
        for round in 0..ROUNDS {
            let (_, first) = servers[0].begin("web").await;
            // By the token that is being refreshed, at the replica that refreshes it and at the other.
            let refreshes = (0..8).map(async |n| {
                moment().await;
                servers.nth(n).refresh("web", &first, "").await
            });
            let revoke = async {
                moment().await;
                servers.nth(round).revoke("web", &first).await
            };
            let (revoked, answers) = tokio::join!(revoke, join_all(refreshes));
            assert_eq!(revoked.status, 200);
            assert!(answers.iter().all(|one| matches!(one.status, 200 | 400 | 503)), "{answers:?}");
            let given = answers.iter().filter(|answer| answer.status == 200).map(Tokens::read);
            let given: Vec<_> = given.collect();
            for tokens in &given {
                assert_dead(&servers, "web", &tokens.refresh, &format!("{round}, {plan:?}")).await;
            }
            assert_dead(&servers, "web", &first, "what was revoked").await;
            before += usize::from(!given.is_empty());
            access.extend(given.into_iter().map(|tokens| tokens.access));
        }
        println!("{before} of {ROUNDS} revocations came after a refresh, {plan:?}");
        assert_inactive(&servers, &access).await;
        servers.stop().await;
    }
}

#[actix_web::test]
async fn once_an_account_is_acknowledged_to_be_off_nothing_of_it_is_refreshed_whatever_raced_with_it()
 {
    for plan in plans() {
        let servers = plan.start().await;
        let mut access = Vec::new();
        for round in 0..ROUNDS {
            let (subject, first) = servers[0].begin("web").await;
            let (live, subject) = (std::cell::RefCell::new(first), subject.to_string());
            let is_off = std::cell::Cell::new(false);
            // An app at each of four tabs goes on for as long as it is given anything.
            let refreshes = (0..4).map(async |n| {
                let mut given = Vec::new();
                loop {
                    let (token, late) = (live.borrow().clone(), is_off.get());
                    let answer = servers.nth(n).refresh("web", &token, "").await;
                    assert!(
                        !(late && answer.status == 200),
                        "{round}, {plan:?}: sent when it was off"
                    );
                    match answer.status {
                        200 => {
                            let tokens = Tokens::read(&answer);
                            live.replace(tokens.refresh.clone());
                            given.push(tokens);
                        }
                        400 => return given,
                        status => assert_eq!(status, 503),
                    }
                }
            });
            let disable = async {
                moment().await;
                let app = servers.nth(round);
                let now = app.clock.now();
                let view = app.running.desk.disable_user(&subject, now).await.unwrap();
                is_off.set(true);
                view
            };
            let (view, given) = tokio::join!(disable, join_all(refreshes));
            assert!(view.disabled);
            for tokens in given.iter().flatten() {
                assert_dead(&servers, "web", &tokens.refresh, &format!("{round}, {plan:?}")).await;
            }
            access.extend(given.into_iter().flatten().map(|tokens| tokens.access));
        }
        println!("{} access tokens were given meanwhile, {plan:?}", access.len());
        assert_inactive(&servers, &access).await;
        servers.stop().await;
    }
}

/// A code that a person allowed `spa` this very moment.
async fn allow(app: &App, subject: Uuid) -> String {
    let (code, now) = (new_code(), app.clock.now());
    let stored = Code {
        client: ClientId::parse("spa").unwrap(),
        subject,
        redirect_uri: redirect_uri("spa"),
        challenge: Challenge::parse(CHALLENGE).unwrap(),
        resources: vec![ResourceId::parse(API).unwrap()],
        scopes: Scopes::parse("read write").unwrap(),
        authenticated_at: now,
        expires_at: now + Duration::from_secs(60),
        used_at: None,
        family: None,
        user_agent: None,
        network: None,
    };
    let digest = code_digest(&code).unwrap();
    let db = &app.running.desk.db;
    db.write(async |tx| codes::add(tx, &digest, &stored).await).await.unwrap();
    code.expose().to_owned()
}

/// Somebody with no password, as codes do not ask for one.
async fn somebody(app: &App) -> Uuid {
    let (id, now) = (random_id(), app.clock.now());
    let name = Username::parse(&format!("user-{id}")).unwrap();
    let db = &app.running.desk.db;
    assert!(db.write(async |tx| users::add(tx, id, &name, None, now).await).await.unwrap());
    id
}

#[actix_web::test]
async fn once_an_account_is_acknowledged_to_be_off_no_code_of_it_is_redeemed_whatever_raced_with_it()
 {
    for plan in plans() {
        let servers = plan.start_with_people().await;
        let (mut access, mut redeemed) = (Vec::new(), 0);
        for round in 0..ROUNDS {
            let subject = somebody(&servers[0]).await;
            let all: Vec<_> = join_all((0..8).map(|_| allow(&servers[0], subject))).await;
            let is_off = std::cell::Cell::new(false);
            let exchanges = all.iter().enumerate().map(async |(n, code)| {
                moment().await;
                let late = is_off.get();
                let answer = redeem(servers.nth(n), "spa", code, &[]).await;
                assert!(!(late && answer.status == 200), "{round}, {plan:?}: sent when it was off");
                answer
            });
            let disable = async {
                moment().await;
                let desk = &servers.nth(round).running.desk;
                let now = servers.nth(round).clock.now();
                desk.disable_user(&subject.to_string(), now).await.unwrap();
                is_off.set(true);
            };
            let ((), answers) = tokio::join!(disable, join_all(exchanges));
            for (n, (answer, code)) in answers.iter().zip(&all).enumerate() {
                if answer.status == 200 {
                    let tokens = Tokens::read(answer);
                    assert_dead(&servers, "spa", &tokens.refresh, &format!("{plan:?}")).await;
                    access.push(tokens.access);
                    redeemed += 1;
                } else {
                    // Who lost race after race is told to come again, which it does below.
                    if !(answer.status == 503 && loses_races()) {
                        assert_refused(answer, 400, "invalid_grant");
                    }
                    // Neither here nor there, and not when the account is on again either.
                    let again = redeem(servers.nth(n + 1), "spa", code, &[]).await;
                    assert_refused(&again, 400, "invalid_grant");
                }
            }
            let unused = "select cast(count(*) as text) from codes where used_at is null";
            assert_eq!(servers[0].database.sql(unused), ["0"], "{round}, {plan:?}");
        }
        println!("{redeemed} of {} codes were redeemed before, {plan:?}", 8 * ROUNDS);
        assert_inactive(&servers, &access).await;
        servers.stop().await;
    }
}
