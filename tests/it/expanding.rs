//! Steps of the schema only expand it, so that servers of the version before go on while they are
//! applied. CONTRIBUTING says why; this says no.

use std::collections::BTreeSet;

use jeton::store::migrate::{OLDEST, STEPS};

/// Made before there was a release: nobody had a table to wait for.
const BEFORE_ANY_RELEASE: [&str; 2] = [
    "create index audit_events_by_client on audit_events (client_id, at)",
    "create index audit_events_by_request on audit_events (request_id)",
];

/// The statements of a step, on one line each, without comments.
fn statements(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| line.split("--").next().unwrap());
    let text = lines.collect::<Vec<_>>().join(" ").to_lowercase();
    let whole = text.split(';').map(|one| one.split_whitespace().collect::<Vec<_>>().join(" "));
    whole.filter(|one| !one.is_empty()).collect()
}

/// The word at a place.
fn word(statement: &str, at: usize) -> &str {
    statement.split([' ', '(']).nth(at).unwrap_or_default()
}

/// The step that a contracting step belongs to: `-- contract of step 4: …` is its first line.
fn contracts(text: &str) -> Option<i64> {
    text.strip_prefix("-- contract of step ")?.split(':').next()?.parse().ok()
}

/// What is wrong with a step that lets binaries serve from `serves_from` on, given the oldest schema that
/// this binary serves.
fn wrong(number: i64, serves_from: i64, text: &str, oldest: i64) -> Vec<String> {
    let mut found = Vec::new();
    if !(1..=number).contains(&serves_from) {
        found.push(format!("no binary of schema {serves_from} could be asked about it"));
    }
    if let Some(of) = contracts(text) {
        if of >= number || of > oldest {
            found.push(format!("contracts {of} before all know it"));
        }
        // Whoever knows no more than that step reads what is taken away here.
        if serves_from <= of {
            found.push(format!("lets binaries of schema {serves_from} go on, which it breaks"));
        }
        return found;
    }
    let mut made = BTreeSet::new();
    for statement in statements(text) {
        let fine = match (word(&statement, 0), word(&statement, 1)) {
            ("create", "table") => made.insert(word(&statement, 2).to_owned()),
            ("insert", "into") => made.contains(word(&statement, 2)),
            ("alter", "table") => adds_a_column(&statement),
            ("create", "index" | "unique") => {
                let table = statement.split(" on ").nth(1).unwrap_or_default();
                made.contains(word(table, 0)) || BEFORE_ANY_RELEASE.contains(&statement.as_str())
            }
            _ => false,
        };
        if !fine {
            found.push(statement);
        }
    }
    found
}

/// Whether a statement adds a column that servers of the version before need not know, and that no row
/// has to be rewritten or looked at for.
fn adds_a_column(statement: &str) -> bool {
    let adds = word(statement, 3) == "add" && word(statement, 4) == "column";
    let default = statement.split(" default ").nth(1);
    let known_to_all = !statement.contains("not null") || default.is_some();
    let constant = default.is_none_or(|value| !value.contains('('));
    let free = [" unique", " references ", " check", " primary key", " generated "];
    // Postgres takes several actions in one statement.
    let alone = !statement.contains(',');
    adds && alone && known_to_all && constant && !free.iter().any(|word| statement.contains(word))
}

#[test]
fn every_step_only_expands_the_schema() {
    for step in STEPS {
        for text in [step.postgres, step.sqlite] {
            let found = wrong(step.number, step.serves_from, text, OLDEST);
            assert!(found.is_empty(), "{}: {found:?}", step.name);
        }
    }
}

#[test]
fn both_databases_take_the_same_steps() {
    for step in STEPS {
        let shape = |text: &str| {
            let shape = |one: &String| {
                let words =
                    one.split([' ', '(']).take(if one.starts_with("alter") { 6 } else { 3 });
                words.collect::<Vec<_>>().join(" ")
            };
            statements(text).iter().map(shape).collect::<Vec<_>>()
        };
        assert_eq!(shape(step.postgres), shape(step.sqlite), "{}", step.name);
        assert_eq!(contracts(step.postgres), contracts(step.sqlite), "{}", step.name);
    }
    for dialect in ["postgres", "sqlite"] {
        let folder = format!("{}/migrations/{dialect}", env!("CARGO_MANIFEST_DIR"));
        let files = std::fs::read_dir(folder).unwrap().map(|one| one.unwrap().file_name());
        let files: BTreeSet<_> = files.map(|name| name.into_string().unwrap()).collect();
        let steps: BTreeSet<_> = STEPS.iter().map(|step| format!("{}.sql", step.name)).collect();
        assert_eq!(files, steps);
    }
}

#[test]
fn whatever_would_stop_the_servers_of_the_version_before_is_refused() {
    for fine in [
        "create table t (id bigint primary key not null); create index t_by on t (id);",
        "create table t (id bigint); insert into t (id) values (1);",
        "alter table users add column nickname text;",
        "alter table users add column kind text not null default 'person';",
        "-- contract of step 3: nothing reads it since 0.2\nalter table users drop column kind;",
    ] {
        assert_eq!(wrong(4, 4, fine, 3), Vec::<String>::new(), "{fine}");
    }
    for bad in [
        "drop table users;",
        "alter table users drop column username;",
        "alter table users rename column username to name;",
        "alter table users rename to people;",
        "alter table users alter column username type bytea;",
        "alter table users alter column password_hash set not null;",
        "alter table users add column kind text not null;",
        "alter table users add column kind text, drop column username;",
        "alter table users add column kind text default 'x', alter column username set not null;",
        "alter table users add column at bigint not null default random();",
        "alter table users add column kind text unique;",
        "alter table users add column kind text check (kind <> '');",
        "create index users_by_name on users (username);",
        "create unique index users_by_name on users (username);",
        "update users set username = lower(username);",
        "delete from codes;",
        "insert into users (id) values (1);",
        "truncate codes;",
        "-- contract of step 4: too early\nalter table users drop column kind;",
        "-- contract of step 9: a step to come\nalter table users drop column kind;",
    ] {
        assert_ne!(wrong(4, 4, bad, 3), Vec::<String>::new(), "{bad}");
    }
}

#[test]
fn a_step_that_takes_something_away_lets_nobody_go_on_who_reads_it() {
    let expands = "alter table users add column nickname text;";
    let contracts =
        "-- contract of step 4: nothing reads it since 0.3\nalter table users drop column kind;";
    for (serves_from, text) in [(6, expands), (3, expands), (6, contracts), (5, contracts)] {
        assert_eq!(wrong(6, serves_from, text, 4), Vec::<String>::new(), "{serves_from}: {text}");
    }
    for (serves_from, text) in
        [(7, expands), (0, expands), (7, contracts), (4, contracts), (3, contracts)]
    {
        assert_eq!(wrong(6, serves_from, text, 4).len(), 1, "{serves_from}: {text}");
    }
    // One that does not say that it contracts has no way to be anything but an expansion.
    let silent = "alter table users drop column kind;";
    assert_eq!(wrong(6, 6, silent, 4), [silent.trim_end_matches(';')]);
}
