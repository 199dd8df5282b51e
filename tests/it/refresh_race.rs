//! Many at once with one refresh token: one advances the family, and nobody ever gets a second
//! branch of it. Each test runs with refreshes that go alone and with refreshes that go together.

use std::collections::HashSet;

use futures_util::future::join_all;

use crate::support::session::refresh_at;
use crate::support::{Answer, App};

const ALONE: &str = "issuer = \"https://id.example.test\"\n[refresh]\nbatching = false\n";
const TOGETHER: &str = "issuer = \"https://id.example.test\"\n[refresh]\nbatching = true\n";

/// Two servers on one database.
async fn two(settings: &str) -> (App, App) {
    let one = App::with_apps(settings).await;
    let other = App::beside(&one, settings).await;
    (one, other)
}

/// The refresh token of a success.
#[track_caller]
fn successor(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    answer.json()["refresh_token"].as_str().unwrap().to_owned()
}

#[actix_web::test]
async fn of_many_who_refresh_at_once_one_advances_and_all_get_the_identical_successor() {
    for settings in [ALONE, TOGETHER] {
        let (one, other) = two(settings).await;
        let addresses = [one.public(), other.public()];
        for many in [2, 16, 100] {
            for client in ["web", "spa"] {
                let (_, mut token) = one.begin(client).await;
                let family = one.read(&token).family;
                for round in 1..4 {
                    let all = (0..many)
                        .map(|n| refresh_at(&addresses[n % addresses.len()], client, &token, ""));
                    let answers = join_all(all).await;
                    let successors: HashSet<_> = answers.iter().map(successor).collect();
                    assert_eq!(successors.len(), 1, "{many} of {client}");
                    token = successors.into_iter().next().unwrap();
                    assert_eq!(one.read(&token).generation, round);
                    assert_eq!(one.family(family).await.family.generation, round);
                }
            }
        }
        other.stop().await;
        one.stop().await;
    }
}

#[actix_web::test]
async fn of_many_who_refresh_at_once_under_strict_at_most_one_gets_it_and_the_family_ends() {
    for settings in [ALONE, TOGETHER] {
        let (one, other) = two(settings).await;
        let addresses = [one.public(), other.public()];
        for many in [2, 16, 100] {
            let (_, token) = one.begin("strict").await;
            let all = (0..many).map(|n| refresh_at(&addresses[n % 2], "strict", &token, ""));
            let answers = join_all(all).await;
            let (won, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|one| one.status == 200);
            // Whoever is about to get it when another ends the family does not get it.
            assert!(won.len() <= 1, "{many}");
            assert!(lost.iter().all(|answer| answer.error() == (400, "invalid_grant".into())));
            let live = one.refresh_token(one.read(&token).family, 1);
            assert!(won.iter().all(|answer| successor(answer) == live));
            let again = one.refresh("strict", &live, "").await;
            assert_eq!(again.error(), (400, "invalid_grant".into()));
        }
        let events = "select action from audit_events where action = 'family_reused'";
        assert_eq!(one.database.sql(events).len(), 3);
        other.stop().await;
        one.stop().await;
    }
}

#[actix_web::test]
async fn a_stolen_old_token_beside_the_live_one_gets_nothing_of_the_others_answer() {
    for settings in [ALONE, TOGETHER] {
        let (one, other) = two(settings).await;
        let addresses = [one.public(), other.public()];
        for _ in 0..10 {
            let (_, stolen) = one.begin("web").await;
            let second = successor(&one.refresh("web", &stolen, "").await);
            let live = successor(&one.refresh("web", &second, "").await);
            // Others keep both servers busy, so that these two share a commit.
            let crowd = join_all((0..20).map(|_| one.begin("web"))).await;
            let crowd = crowd.iter().map(|(_, token)| refresh_at(&addresses[0], "web", token, ""));
            let (theft, honest, crowd) = tokio::join!(
                refresh_at(&addresses[0], "web", &stolen, ""),
                refresh_at(&addresses[0], "web", &live, ""),
                join_all(crowd)
            );
            assert_eq!(theft.error(), (400, "invalid_grant".into()));
            assert!(crowd.iter().all(|answer| answer.status == 200));
            // The owner came first, or the theft did: either way the family is over now.
            let newest = if honest.status == 200 { successor(&honest) } else { live };
            let after = refresh_at(&addresses[1], "web", &newest, "").await;
            assert_eq!(after.error(), (400, "invalid_grant".into()));
        }
        other.stop().await;
        one.stop().await;
    }
}

#[actix_web::test]
async fn a_stranger_in_the_same_commit_neither_gains_nor_spoils_anything() {
    let (one, other) = two(TOGETHER).await;
    for _ in 0..10 {
        let tokens = join_all((0..30).map(|_| one.begin("web"))).await;
        let address = one.public();
        let all = tokens.iter().flat_map(|(_, token)| {
            [refresh_at(&address, "other-web", token, ""), refresh_at(&address, "web", token, "")]
        });
        for pair in join_all(all).await.chunks(2) {
            assert_eq!(pair[0].error(), (400, "invalid_grant".into()));
            assert_eq!(pair[1].status, 200);
        }
    }
    other.stop().await;
    one.stop().await;
}
