//! Many at once with one refresh token: one advances the family, and nobody ever gets a second
//! branch of it. Each test runs on one replica and on two, with refreshes that go alone and with
//! refreshes that go together.
//!
//! A clock that stands shows what is decided by the row alone. One that runs shows the rest: a request
//! that was on its way before the family went on is told to come again, and whoever comes again is judged.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use futures_util::future::join_all;
use jeton::domain::Reason;

use crate::support::servers::{Pace, Plan, Servers};
use crate::support::session::refresh_at;
use crate::support::{Answer, App};

/// The refresh token of a success.
#[track_caller]
fn successor(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    answer.json()["refresh_token"].as_str().unwrap().to_owned()
}

/// One token is presented so often at once, at all servers in turns.
async fn present(servers: &Servers, many: usize, client: &str, token: &str) -> Vec<Answer> {
    let addresses: Vec<_> = servers.iter().map(App::public).collect();
    let at = |n: usize| refresh_at(&addresses[n % addresses.len()], client, token, "");
    join_all((0..many).map(at)).await
}

/// The request was overtaken, and its client is told to come again. Nothing else may be answered beside
/// success and a refusal.
#[track_caller]
fn is_put_off(answer: &Answer) -> bool {
    assert!(matches!(answer.status, 200 | 400 | 503), "{answer:?}");
    assert!(answer.status != 503 || !answer.header("retry-after").is_empty(), "{answer:?}");
    answer.status == 503
}

/// What is said to a token when nothing overlaps: clocks of replicas may be a moment apart, so whoever is
/// told to come again does.
async fn judged(app: &App, client: &str, token: &str) -> Answer {
    for _ in 0..5 {
        let answer = app.refresh(client, token, "").await;
        if !is_put_off(&answer) {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    panic!("put off again and again, though nothing overlaps");
}

fn invalid_grant() -> (u16, String) {
    (400, "invalid_grant".to_owned())
}

fn thefts(app: &App) -> usize {
    app.database.sql("select action from audit_events where action = 'family_reused'").len()
}

#[actix_web::test]
async fn of_many_who_refresh_at_once_one_advances_and_all_get_the_identical_successor() {
    for plan in Plan::all(Pace::Still) {
        let servers = plan.start().await;
        for many in [2, 16, 100] {
            for client in ["web", "spa"] {
                let (_, mut token) = servers[0].begin(client).await;
                let family = servers[0].read(&token).family;
                for round in 1..4 {
                    let answers = present(&servers, many, client, &token).await;
                    let successors: HashSet<_> = answers.iter().map(successor).collect();
                    assert_eq!(successors.len(), 1, "{many} of {client}, {plan:?}");
                    token = successors.into_iter().next().unwrap();
                    assert_eq!(servers[0].read(&token).generation, round);
                    assert_eq!(servers[0].family(family).await.family.generation, round);
                }
            }
        }
        servers.stop().await;
    }
}

#[actix_web::test]
async fn of_many_who_refresh_at_once_by_a_clock_that_runs_one_advances_and_nobody_is_logged_out() {
    for plan in Plan::all(Pace::Real) {
        let servers = plan.start().await;
        for many in [2, 16, 100] {
            for client in ["web", "spa"] {
                let (_, mut token) = servers[0].begin(client).await;
                let family = servers[0].read(&token).family;
                for round in 1..4 {
                    let answers = present(&servers, many, client, &token).await;
                    let (late, given): (Vec<_>, Vec<_>) =
                        answers.iter().partition(|answer| is_put_off(answer));
                    let successors: HashSet<_> = given.into_iter().map(successor).collect();
                    assert_eq!(successors.len(), 1, "{many} of {client}, {plan:?}: {late:?}");
                    // Who was put off comes again, and gets what the others got.
                    let again = successor(&judged(&servers[1], client, &token).await);
                    token = successors.into_iter().next().unwrap();
                    assert_eq!(again, token);
                    assert_eq!(servers[0].family(family).await.family.generation, round);
                }
            }
        }
        assert_eq!(thefts(&servers[0]), 0);
        servers.stop().await;
    }
}

#[actix_web::test]
async fn of_many_who_refresh_at_once_under_strict_at_most_one_gets_it_and_the_family_ends() {
    for plan in Plan::all(Pace::Still) {
        let servers = plan.start().await;
        let one = &servers[0];
        for many in [2, 16, 100] {
            let (_, token) = one.begin("strict").await;
            let answers = present(&servers, many, "strict", &token).await;
            let (won, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|one| one.status == 200);
            // Whoever is about to get it when another ends the family does not get it.
            assert!(won.len() <= 1, "{many}, {plan:?}");
            assert!(lost.iter().all(|answer| answer.error() == invalid_grant()));
            let live = one.refresh_token(one.read(&token).family, 1);
            assert!(won.iter().all(|answer| successor(answer) == live));
            assert_eq!(one.refresh("strict", &live, "").await.error(), invalid_grant());
        }
        assert_eq!(thefts(one), 3);
        servers.stop().await;
    }
}

#[actix_web::test]
async fn under_strict_by_a_clock_that_runs_at_most_one_gets_it_and_whoever_comes_again_ends_it() {
    for plan in Plan::all(Pace::Real) {
        let servers = plan.start().await;
        let one = &servers[0];
        for (ended, many) in (1..).zip([2, 16, 100]) {
            let (_, token) = one.begin("strict").await;
            let family = one.read(&token).family;
            let answers = present(&servers, many, "strict", &token).await;
            let won = answers.iter().filter(|answer| answer.status == 200);
            let live = one.refresh_token(family, 1);
            assert!(won.clone().count() <= 1, "{many}, {plan:?}");
            assert!(won.clone().all(|answer| successor(answer) == live));
            let refused = answers.iter().filter(|answer| !is_put_off(answer));
            let is_over = refused.clone().count() > won.clone().count();
            // Of two, one may meet a disk that hangs; of more, not all.
            assert!(is_over || many == 2, "{many}, {plan:?}");
            let row = one.family(family).await;
            assert_eq!(row.family.revoked_at.is_some(), is_over, "{many}, {plan:?}");
            assert_eq!(row.family.generation, 1);
            // Without anything that overlaps the same token is a used one.
            assert_eq!(judged(&servers[1], "strict", &token).await.error(), invalid_grant());
            for app in servers.iter() {
                assert_eq!(judged(app, "strict", &live).await.error(), invalid_grant());
            }
            assert_eq!(thefts(one), ended);
        }
        servers.stop().await;
    }
}

/// Tabs of one browser: each refreshes the newest token that any of them was given, so often, and writes
/// down what it is told.
async fn tabs(servers: &Servers, first: &str, refreshes: usize) -> (Vec<(String, Answer)>, String) {
    let newest = RefCell::new(first.to_owned());
    let (told, left) = (RefCell::new(Vec::new()), Cell::new(refreshes));
    let tab = async |n: usize| {
        while left.get() > 0 {
            left.set(left.get() - 1);
            let token = newest.borrow().clone();
            let answer = servers.nth(n).refresh("web", &token, "").await;
            if answer.status == 200 {
                let next = successor(&answer);
                let held = servers[0].read(&newest.borrow()).generation;
                if servers[0].read(&next).generation > held {
                    newest.replace(next);
                }
            }
            told.borrow_mut().push((token, answer));
        }
    };
    join_all((0..8).map(tab)).await;
    (told.into_inner(), newest.into_inner())
}

#[actix_web::test]
async fn tabs_that_refresh_over_each_other_by_a_clock_that_runs_never_have_two_live_branches() {
    for plan in Plan::all(Pace::Real) {
        let servers = plan.start().await;
        let one = &servers[0];
        for _ in 0..5 {
            let (_, first) = one.begin("web").await;
            let family = one.read(&first).family;
            let (told, newest) = tabs(&servers, &first, 60).await;
            let mut given = BTreeSet::from([0]);
            for (presented, answer) in &told {
                is_put_off(answer);
                if answer.status == 200 {
                    let (from, to) = (one.read(presented), one.read(&successor(answer)));
                    assert_eq!((to.family, to.generation), (family, from.generation + 1));
                    given.insert(to.generation);
                }
            }
            let row = one.family(family).await;
            // One line, without a gap: nobody was given anything beside it. Whoever takes the last step
            // when another ends the family is not given it.
            let last = *given.last().unwrap();
            assert_eq!(given.len(), last as usize + 1, "{given:?}");
            let not_given = row.family.generation - last;
            let is_over = row.family.revoked_at.is_some();
            assert!(not_given <= u32::from(is_over), "{plan:?}: {not_given} steps for nobody");
            let refused = told.iter().filter(|(_, answer)| answer.status == 400).count();
            // A request that stood in line for longer than two refreshes take is a late one, not an
            // overlapped one; then it is over for all, and not only for that tab.
            assert_eq!(is_over, refused > 0, "{plan:?}");
            if refused > 0 {
                assert_eq!(row.ended_by.as_deref(), Some(Reason::RefreshReused.name()));
            }
            // Whatever was given out before is worth nothing beside the newest, and ends it.
            let old = one.refresh_token(family, last.saturating_sub(2));
            assert_eq!(judged(&servers[1], "web", &old).await.error(), invalid_grant());
            for app in servers.iter() {
                assert_eq!(judged(app, "web", &newest).await.error(), invalid_grant());
            }
        }
        assert_eq!(thefts(one), 5, "one for each family");
        servers.stop().await;
    }
}

#[actix_web::test]
async fn by_a_clock_that_runs_a_token_two_or_more_generations_old_ends_the_family_wherever_it_comes()
 {
    for plan in Plan::all(Pace::Real) {
        let servers = plan.start().await;
        for behind in [2, 3, 10] {
            let (_, first) = servers[0].begin("web").await;
            let mut live = first.clone();
            for _ in 0..behind {
                live = successor(&servers[0].refresh("web", &live, "").await);
            }
            assert_eq!(judged(&servers[1], "web", &first).await.error(), invalid_grant());
            for app in servers.iter() {
                assert_eq!(judged(app, "web", &live).await.error(), invalid_grant(), "{behind}");
            }
        }
        assert_eq!(thefts(&servers[0]), 3);
        servers.stop().await;
    }
}

#[actix_web::test]
async fn a_token_ten_generations_old_ends_the_family_even_if_a_rotation_overlaps() {
    for plan in Plan::all(Pace::Still) {
        let servers = plan.start().await;
        let (_, stolen) = servers[0].begin("web").await;
        let family = servers[0].read(&stolen).family;
        // While the thief's request is on its way the owner refreshes, as if by a clock that runs.
        let later = "update families set generation = 10, rotated_at = rotated_at + 5000";
        servers[0].database.change(later).await;
        let theft = servers[1].refresh("web", &stolen, "").await;
        assert_eq!(theft.error(), invalid_grant(), "{plan:?}");
        let live = servers[0].refresh_token(family, 10);
        assert_eq!(servers[0].refresh("web", &live, "").await.error(), invalid_grant());
        assert_eq!(thefts(&servers[0]), 1);
        servers.stop().await;
    }
}

#[actix_web::test]
async fn a_thief_with_an_old_token_does_not_get_away_because_its_owner_never_stops_refreshing() {
    for plan in Plan::all(Pace::Real) {
        let servers = plan.start().await;
        let (_, stolen) = servers[0].begin("web").await;
        let is_over = Cell::new(false);
        let owner = async {
            let (mut live, mut refreshes) = (stolen.clone(), 0);
            loop {
                let answer = servers.nth(refreshes).refresh("web", &live, "").await;
                refreshes += 1;
                if answer.status == 400 {
                    is_over.set(true);
                    return refreshes;
                }
                if answer.status == 200 {
                    live = successor(&answer);
                }
                assert!(refreshes < 2_000, "the thief is never noticed");
            }
        };
        let thief = async {
            let family = servers[0].read(&stolen).family;
            while servers[0].family(family).await.family.generation < 12 {
                tokio::task::yield_now().await;
            }
            for n in 0.. {
                let answer = servers.nth(n).refresh("web", &stolen, "").await;
                assert_ne!(answer.status, 200);
                if answer.status == 400 || is_over.get() {
                    return n;
                }
            }
            0
        };
        let (refreshes, tries) = tokio::join!(owner, thief);
        assert_eq!(tries, 0, "{plan:?}: the first theft is one, after {refreshes} refreshes");
        assert_eq!(thefts(&servers[0]), 1);
        servers.stop().await;
    }
}

#[actix_web::test]
async fn a_stolen_old_token_beside_the_live_one_gets_nothing_of_the_others_answer() {
    for plan in Plan::all(Pace::Still) {
        let servers = plan.start().await;
        let one = &servers[0];
        let address = one.public();
        for _ in 0..10 {
            let (_, stolen) = one.begin("web").await;
            let second = successor(&one.refresh("web", &stolen, "").await);
            let live = successor(&one.refresh("web", &second, "").await);
            // Others keep the server busy, so that these two share a commit.
            let crowd = join_all((0..20).map(|_| one.begin("web"))).await;
            let crowd = crowd.iter().map(|(_, token)| refresh_at(&address, "web", token, ""));
            let (theft, honest, crowd) = tokio::join!(
                refresh_at(&address, "web", &stolen, ""),
                refresh_at(&address, "web", &live, ""),
                join_all(crowd)
            );
            assert_eq!(theft.error(), invalid_grant());
            assert!(crowd.iter().all(|answer| answer.status == 200));
            // The owner came first, or the theft did: either way the family is over now.
            let newest = if honest.status == 200 { successor(&honest) } else { live };
            let after = servers[1].refresh("web", &newest, "").await;
            assert_eq!(after.error(), invalid_grant());
        }
        servers.stop().await;
    }
}

#[actix_web::test]
async fn a_stranger_in_the_same_commit_neither_gains_nor_spoils_anything() {
    for replicas in [1, 2] {
        let servers = Plan { replicas, batching: true, pace: Pace::Still }.start().await;
        let address = servers[0].public();
        for _ in 0..10 {
            let tokens = join_all((0..30).map(|_| servers[0].begin("web"))).await;
            let all = tokens.iter().flat_map(|(_, token)| {
                [
                    refresh_at(&address, "other-web", token, ""),
                    refresh_at(&address, "web", token, ""),
                ]
            });
            for pair in join_all(all).await.chunks(2) {
                assert_eq!(pair[0].error(), invalid_grant());
                assert_eq!(pair[1].status, 200);
            }
        }
        servers.stop().await;
    }
}
