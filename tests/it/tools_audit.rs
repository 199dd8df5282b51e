//! `jeton audit list`: the trail, filtered.

use std::time::Duration;

use jeton::domain::{ClientId, Reason};
use jeton::store::audit::{self, Action, Event};
use serde_json::{Value, json};

use crate::support::TestDatabase;
use crate::support::app::START;
use crate::support::desk::desk;
use crate::support::process::jeton;
use crate::support::replica;

/// Four events, a minute apart: `app` made, `app` off, a failure of `other`, a key made.
async fn trail(database: &TestDatabase) {
    let db = desk(database).await.db;
    let [app, other] = ["app", "other"].map(|id| ClientId::parse(id).unwrap());
    let at = |minute: u64| START + Duration::from_secs(60 * minute);
    db.write(async |tx| {
        // Not in the order of time: the list sorts.
        let event = Event::new(Action::ClientDisabled, "operator two", at(1));
        audit::add(tx, &Event { client: Some(&app), ..event }).await?;
        let event = Event::new(Action::ClientCreated, "operator one", at(0));
        audit::add(tx, &Event { client: Some(&app), ..event }).await?;
        let event = Event::new(Action::ClientAuthFailedRun, "other", at(2));
        let (reason, request) = (Some(Reason::ClientAuthFailed), Some("r-1"));
        let event = Event { client: Some(&other), reason, request, ..event };
        audit::add(tx, &event).await?;
        let event = Event::new(Action::KeyCreated, "server \u{1b}[2J", at(3));
        audit::add(tx, &Event { kid: Some("k1"), detail: json!({ "epoch": 7 }), ..event }).await
    })
    .await
    .unwrap();
}

struct Run(Option<i32>, String, String);

fn list(database: &TestDatabase, args: &[&str]) -> Run {
    let environment = replica::environment(
        &database.url,
        database.directory.path(),
        &[("JETON__ISSUER", "https://id.example.test")],
    );
    let environment: Vec<_> = environment.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let output = jeton(&[&["audit", "list"], args].concat(), &environment);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run(output.status.code(), text(output.stdout), text(output.stderr))
}

/// The actions that `--json` shows with these filters, in order.
fn actions(database: &TestDatabase, filters: &[&str]) -> Vec<String> {
    let Run(status, out, said) = list(database, &[filters, &["--json"]].concat());
    assert_eq!(status, Some(0), "{filters:?}: {said}");
    let objects = out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    objects.map(|object| object["action"].as_str().unwrap().to_owned()).collect()
}

#[actix_web::test]
async fn the_trail_is_filtered_by_time_client_reason_action_and_request_newest_last() {
    let database = TestDatabase::new();
    trail(&database).await;
    let found = |filters: &str| {
        let filters: Vec<_> = filters.split_whitespace().collect();
        actions(&database, &filters)
    };
    let all = ["client_created", "client_disabled", "client_auth_failed_run", "key_created"];
    assert_eq!(found(""), all);
    assert_eq!(found("--limit 2"), all[2..]);
    assert_eq!(found("--since 2026-01-01T00:01:00Z"), all[1..]);
    assert_eq!(found("--until 2026-01-01T00:01:00Z"), all[..1]);
    assert_eq!(found("--since 2026-01-01T01:01:00+01:00 --until 2026-01-01T00:03:00Z"), all[1..3]);
    assert_eq!(found("--client app"), all[..2]);
    assert_eq!(found("--client app --action client_disabled"), all[1..2]);
    assert_eq!(found("--reason client_auth_failed"), all[2..3]);
    assert_eq!(found("--request r-1"), all[2..3]);
    assert_eq!(found("--action key_created --limit 1"), all[3..]);
    assert!(found("--client app --request r-1").is_empty());
    // What is told relative to now: the trail's year is over, or it has not begun.
    let ago = jeton::clock::Clock::system().now().since(START).as_secs();
    let minutes = format!("--since {}s", ago - 150);
    assert_eq!(found(&minutes), if ago > 150 { &all[3..] } else { &all[4..] });
}

#[actix_web::test]
async fn the_trail_is_a_table_for_people_and_whole_objects_for_programs() {
    let database = TestDatabase::new();
    trail(&database).await;
    let Run(_, out, _) = list(&database, &["--client", "other", "--json"]);
    let object: Value = serde_json::from_str(&out).unwrap();
    let expected = [
        ("at", json!("2026-01-01T00:02:00Z")),
        ("actor", json!("other")),
        ("client", json!("other")),
        ("reason", json!("client_auth_failed")),
        ("request", json!("r-1")),
        ("kid", Value::Null),
        ("detail", json!({})),
    ];
    for (member, value) in expected {
        assert_eq!(object[member], value, "{member}");
    }
    let Run(_, out, _) = list(&database, &[]);
    assert_eq!(out.lines().count(), 5);
    let last = out.lines().last().unwrap();
    assert!(last.contains("k1") && last.contains(r#"{"epoch":7}"#), "{last}");
    assert!(!out.contains('\u{1b}'), "an actor's name steers the terminal");

    let Run(status, out, said) = list(&database, &["--client", "nobody", "--json"]);
    assert_eq!((status, out.as_str()), (Some(0), ""));
    assert!(said.contains("no event matches"), "{said}");
    let Run(status, _, said) = list(&database, &["--since", "yesterday"]);
    assert!(status == Some(2) && said.contains("2h"), "{said}");
}
