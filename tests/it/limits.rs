//! Limits: who guesses is slowed down, and nobody else; what comes often is told when to come back;
//! and no caller says where it comes from, unless a proxy of ours says it.

use std::time::Duration;

use crate::support::http::{self, Answer};
use crate::support::refused::{FORM, GRANT, assert_refused};
use crate::support::{App, SECRET, TestDatabase, basic, replica};

/// The tests' own proxy is the only one: whoever it names is the caller.
const PROXY: &str = "[server]\ntrusted_proxies = [\"127.0.0.1\"]\n";

async fn app(limits: &str) -> App {
    App::with(&format!("{PROXY}[limits]\n{limits}\n")).await
}

/// A token request of a caller behind the proxy.
async fn from(app: &App, network: &str, client: &str, secret: &str) -> Answer {
    let credential = basic(client, secret);
    let headers = [FORM, ("authorization", credential.as_str()), ("x-forwarded-for", network)];
    http::send(&app.public(), "POST", "/oauth2/token", &headers, GRANT.as_bytes()).await
}

fn seconds(answer: &Answer) -> u64 {
    assert_refused(answer, 429, "temporarily_unavailable");
    answer.header("retry-after").parse().unwrap()
}

async fn limited(app: &App, budget: &str) -> f64 {
    let line = format!("jeton_rate_limited_total{{budget=\"{budget}\",endpoint=\"token\"}} ");
    let text = app.metrics().await;
    text.lines().find_map(|one| one.strip_prefix(&line)?.parse().ok()).unwrap_or(0.0)
}

const A: &str = "192.0.2.1";
const B: &str = "198.51.100.1";

#[actix_web::test]
async fn a_stranger_who_fails_for_ever_in_a_clients_name_is_stopped_and_the_client_is_not() {
    let app = app("").await;
    let mut statuses = Vec::new();
    for _ in 0..70 {
        statuses.push(from(&app, A, "app", "a-guess-of-a-stranger").await.status);
    }
    assert_eq!(statuses, [vec![401; 60], vec![429; 10]].concat());
    assert!((limited(&app, "failures_per_client").await - 10.0).abs() < 0.1);
    for _ in 0..100 {
        assert_eq!(from(&app, B, "app", SECRET).await.status, 200);
    }
    // Where the stranger is, the right secret gets the same answer as a wrong one: a guess that
    // would have been right shows in nothing.
    let (right, wrong) =
        (from(&app, A, "app", SECRET).await, from(&app, A, "app", "another-guess").await);
    assert_eq!((right.status, &right.body), (429, &wrong.body));
    assert_eq!(right.header("retry-after"), wrong.header("retry-after"));
    // In other names it may still try, until the network's patience is over too.
    assert_eq!(from(&app, A, "narrow", SECRET).await.status, 200);
}

#[actix_web::test]
async fn a_network_that_fails_in_many_names_is_stopped_whatever_it_tries_next() {
    let app = app("failures = \"1/s burst 10\"").await;
    for number in 0..10 {
        assert_eq!(from(&app, A, &format!("made-up-{number}"), "x").await.status, 401);
    }
    let refused = from(&app, A, "made-up-10", "x").await;
    assert_eq!(seconds(&refused), 1);
    assert_eq!(from(&app, A, "app", SECRET).await.status, 429);
    assert_eq!(from(&app, B, "app", SECRET).await.status, 200);
    assert!((limited(&app, "failures").await - 2.0).abs() < 0.1);
    assert!((app.refusals("rate_limited").await - 2.0).abs() < 0.1);
}

#[actix_web::test]
async fn unknown_clients_and_known_ones_are_stopped_after_the_same_number_of_failures() {
    let app = app("failures = \"off\"\nfailures_per_client = \"1/m burst 3\"").await;
    for client in ["app", "nobody", "public", "poster"] {
        let mut statuses = Vec::new();
        for _ in 0..5 {
            statuses.push(from(&app, A, client, "x-wrong-secret").await.status);
        }
        assert_eq!(statuses, [401, 401, 401, 429, 429], "{client}");
    }
}

#[actix_web::test]
async fn what_succeeds_spends_no_patience() {
    let app = app("failures = \"1/h burst 2\"\nfailures_per_client = \"1/h burst 2\"").await;
    for _ in 0..20 {
        assert_eq!(from(&app, A, "app", SECRET).await.status, 200);
    }
    assert_eq!(app.running.service.limits.held(), 0, "who never failed is not remembered");
    assert_eq!(from(&app, A, "app", "wrong-secret-of-app").await.status, 401);
    assert_eq!(from(&app, A, "app", SECRET).await.status, 200);
}

#[actix_web::test]
async fn who_waits_as_long_as_retry_after_says_gets_through_and_not_a_second_earlier() {
    let app = app("failures_per_client = \"6/m burst 2\"\nclient = \"2/m burst 2\"").await;
    for _ in 0..2 {
        from(&app, A, "app", "wrong-secret-of-app").await;
    }
    app.clock.advance(Duration::from_millis(3300));
    let wait = seconds(&from(&app, A, "app", SECRET).await);
    assert_eq!(wait, 7);
    app.clock.advance(Duration::from_secs(wait - 1));
    assert_eq!(seconds(&from(&app, A, "app", SECRET).await), 1);
    app.clock.advance(Duration::from_secs(1));
    assert_eq!(from(&app, A, "app", SECRET).await.status, 200);
    assert_eq!(from(&app, A, "app", SECRET).await.status, 200);
    let wait = seconds(&from(&app, A, "app", SECRET).await);
    assert_eq!(wait, 30);
    app.clock.advance(Duration::from_secs(wait));
    assert_eq!(from(&app, A, "app", SECRET).await.status, 200);
}

#[actix_web::test]
async fn only_a_client_itself_spends_its_budget_and_it_has_one_wherever_it_is() {
    let app = app("client = \"1/s burst 3\"").await;
    for _ in 0..10 {
        assert_eq!(from(&app, A, "app", "wrong-secret-of-app").await.status, 401);
    }
    for network in [A, B, "203.0.113.1"] {
        assert_eq!(from(&app, network, "app", SECRET).await.status, 200);
    }
    assert_eq!(seconds(&from(&app, B, "app", SECRET).await), 1);
    assert!((limited(&app, "client").await - 1.0).abs() < 0.1);
    assert_eq!(from(&app, B, "both", "wrong-secret-of-both").await.status, 401);
    assert_ne!(from(&app, B, "both", SECRET).await.status, 429, "each client has its own");
}

#[actix_web::test]
async fn nobody_spends_a_public_clients_budget_from_another_network() {
    let app = app("client = \"1/s burst 1\"").await;
    let public = async |network: &str| {
        let headers = [FORM, ("x-forwarded-for", network)];
        let form = format!("{GRANT}&client_id=public");
        http::send(&app.public(), "POST", "/oauth2/token", &headers, form.as_bytes()).await.status
    };
    assert_ne!(public(A).await, 429);
    assert_eq!(public(A).await, 429);
    assert_ne!(public(B).await, 429);
}

#[actix_web::test]
async fn a_networks_requests_are_counted_before_anything_is_read() {
    let app = app("network = \"1/s burst 2\"").await;
    for _ in 0..2 {
        assert_eq!(from(&app, A, "app", SECRET).await.status, 200);
    }
    for body in ["content-length: 50000\r\n\r\nabc", "transfer-encoding: chunked\r\n\r\n1\r\na\r\n"]
    {
        let unread = format!(
            "POST /oauth2/token HTTP/1.1\r\nhost: x\r\nx-forwarded-for: {A}\r\n\
             content-type: application/x-www-form-urlencoded\r\n{body}"
        );
        let answer = http::raw(&app.public(), unread.as_bytes()).await.unwrap();
        assert_eq!(seconds(&answer), 1);
        assert_eq!(answer.header("connection"), "close", "the rest of the body is no request");
    }
    assert_eq!(from(&app, B, "app", SECRET).await.status, 200);
    app.clock.advance(Duration::from_secs(1));
    assert_eq!(from(&app, A, "app", SECRET).await.status, 200);
}

#[actix_web::test]
async fn keys_metadata_and_health_are_never_limited() {
    let app = app("network = \"1/h burst 1\"\nfailures = \"1/h burst 1\"").await;
    let credential = basic("app", "wrong-secret-of-app");
    for _ in 0..3 {
        let headers = [FORM, ("authorization", credential.as_str())];
        http::send(&app.public(), "POST", "/oauth2/token", &headers, GRANT.as_bytes()).await;
    }
    for _ in 0..20 {
        assert_eq!(app.get("/.well-known/jwks.json").await.status, 200);
        assert_eq!(app.get("/.well-known/openid-configuration").await.status, 200);
        let live = http::send(&app.operations(), "GET", "/healthz/live", &[], b"").await;
        assert_eq!(live.status, 200);
    }
}

#[actix_web::test]
async fn what_an_unlisted_peer_says_about_itself_changes_nothing() {
    let app = App::with("[limits]\nfailures = \"1/h burst 3\"\n").await;
    let mut statuses = Vec::new();
    for number in 0..5 {
        statuses
            .push(from(&app, &format!("192.0.2.{number}"), "app", "a-wrong-guess").await.status);
    }
    assert_eq!(statuses, [401, 401, 401, 429, 429]);
    // A peer with another address is another caller, without any header.
    let request = format!(
        "POST /oauth2/token HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: {}\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{GRANT}",
        basic("app", SECRET),
        GRANT.len()
    );
    let answer = http::raw_from("127.0.0.2", &app.public(), request.as_bytes()).await.unwrap();
    assert_eq!(answer.status, 200);
}

#[actix_web::test]
async fn a_listed_proxys_chain_is_read_from_the_right() {
    let app = app("failures = \"1/h burst 1\"").await;
    assert_eq!(from(&app, A, "app", "a-wrong-guess").await.status, 401);
    for tale in ["203.0.113.9", "127.0.0.1", "unknown", "\"", "for=203.0.113.9"] {
        let chain = format!("{tale}, {A}");
        assert_eq!(from(&app, &chain, "app", SECRET).await.status, 429, "{tale}");
        assert_eq!(from(&app, &format!("{chain}, 127.0.0.1"), "app", SECRET).await.status, 429);
    }
    assert_eq!(from(&app, &format!("{A}, {B}"), "app", SECRET).await.status, 200);
}

#[actix_web::test]
async fn an_ipv6_slash_64_shares_one_budget_and_its_neighbour_has_another() {
    let app = app("failures = \"1/h burst 2\"").await;
    for host in ["2001:db8:0:1::1", "[2001:db8:0:1:ffff::2]:4711"] {
        assert_eq!(from(&app, host, "app", "a-wrong-guess").await.status, 401);
    }
    assert_eq!(from(&app, "2001:db8:0:1::3", "app", SECRET).await.status, 429);
    assert_eq!(from(&app, "2001:db8:0:2::1", "app", SECRET).await.status, 200);
}

#[actix_web::test]
async fn callers_whose_budgets_are_full_again_are_forgotten() {
    let app = app("failures = \"1/s burst 60\"").await;
    for number in 1..=9 {
        from(&app, &format!("192.0.2.{number}"), "nobody", "x").await;
    }
    assert_eq!(app.running.service.limits.held(), 18);
    app.clock.advance(Duration::from_secs(60));
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert_eq!(app.running.service.limits.held(), 0);
}

#[actix_web::test]
async fn the_log_says_which_budget_is_spent_and_names_nobodys_address() {
    let database = TestDatabase::new();
    let proxies = [("JETON__SERVER__TRUSTED_PROXIES", "127.0.0.1,10.0.0.0/8")];
    let mut replica = replica::start(&database, "one", &proxies).await;
    let credential = basic("app", "a-guess-of-a-stranger");
    let chain = "192.0.2.77, 10.0.0.5";
    let headers = [FORM, ("authorization", credential.as_str()), ("x-forwarded-for", chain)];
    for _ in 0..70 {
        http::send(&replica.public, "POST", "/oauth2/token", &headers, GRANT.as_bytes()).await;
    }
    replica.process.signal("TERM");
    replica.process.ended(Duration::from_secs(10)).await;
    let said = replica.process.said();
    let refused = said.lines().find(|line| line.contains("rate_limited")).unwrap_or_default();
    assert!(refused.contains("failures_per_client"), "{said}");
    assert!(refused.contains("192.0.2.0/24") && !said.contains("192.0.2.77"), "{refused}");
}

#[actix_web::test]
async fn a_run_of_failures_is_audited_with_the_network_that_it_came_from() {
    let app = app("").await;
    for _ in 0..6 {
        from(&app, "192.0.2.77", "app", "a-wrong-guess").await;
    }
    app.beat().await;
    let detail = "select detail from audit_events where action = 'client_auth_failed_run'";
    let rows = app.database.sql(detail);
    assert!(rows.len() == 1 && rows[0].contains("192.0.2.0/24"), "{rows:?}");
}
