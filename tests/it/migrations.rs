//! The schema is one schema in two dialects.

use std::collections::BTreeSet;
use std::path::Path;

use jeton::store::{all_statements, migrate};

use crate::support::TestDatabase;
use crate::support::desk::desk;

const FOLDERS: [&str; 2] = ["postgres", "sqlite"];

fn folder(name: &str) -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(name);
    let mut files: Vec<_> = std::fs::read_dir(path)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(&path).unwrap())
        })
        .collect();
    files.sort();
    files
}

fn code(line: &str) -> &str {
    line.split_once("--").map_or(line, |(code, _)| code).trim()
}

/// One column, constraint or index: its table, its name, its type, and the rest.
type Part = (String, String, String, String);

/// What a file declares, line by line; anything this does not understand is an error.
fn declared(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut table: Option<String> = None;
    for line in text.lines().map(code).filter(|line| !line.is_empty()) {
        let words: Vec<_> = line.split_whitespace().collect();
        match (&table, &words[..]) {
            (None, ["create", "table", name, "("]) => table = Some((*name).to_owned()),
            (None, ["create", "index" | "unique", ..] | ["insert", "into", ..]) => {
                assert!(line.ends_with(';'), "{line}");
                parts.push((String::new(), String::new(), String::new(), line.to_owned()));
            }
            (None, ["alter", "table", table, "add", "column", name, kind, rest @ ..]) => {
                let rest = rest.join(" ").trim_end_matches(';').to_owned();
                let kind = kind.trim_end_matches(';').to_owned();
                parts.push(((*table).to_owned(), (*name).to_owned(), kind, rest));
            }
            (Some(_), [")" | ");"] | [")", "strict;"] | [")", "with", ..]) => table = None,
            (Some(table), ["primary" | "unique", ..]) => {
                let rest = line.trim_end_matches(',').to_owned();
                parts.push((table.clone(), String::new(), String::new(), rest));
            }
            (Some(table), [name, kind, rest @ ..]) => {
                let kind = kind.trim_end_matches(',').to_owned();
                let rest = rest.join(" ").trim_end_matches(',').to_owned();
                parts.push((table.clone(), (*name).to_owned(), kind, rest));
            }
            other => panic!("not understood: {other:?}"),
        }
    }
    assert!(table.is_none() && !parts.is_empty());
    parts
}

#[test]
fn both_dialects_declare_the_same_tables_columns_and_keys() {
    let [postgres, sqlite] = FOLDERS.map(folder);
    let names =
        |files: &[(String, String)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&postgres), names(&sqlite));
    let steps: Vec<_> = migrate::STEPS.iter().map(|step| format!("{}.sql", step.name)).collect();
    assert_eq!(names(&postgres), steps, "every file is a step");
    for ((name, postgres), (_, sqlite)) in postgres.iter().zip(&sqlite) {
        let kind = |kind: &str| match kind {
            "bigint" | "boolean" => "integer",
            "bytea" | "uuid" => "blob",
            "jsonb" | "text" => "text",
            "" => "",
            other => panic!("{name}: a type without a twin: {other}"),
        };
        let translated: Vec<_> = declared(postgres)
            .into_iter()
            .map(|(table, column, own, rest)| (table, column, kind(&own).to_owned(), rest))
            .collect();
        assert_eq!(translated, declared(sqlite), "{name}");
    }
    for (number, step) in (1..).zip(migrate::STEPS) {
        assert_eq!(step.number, number);
        assert!(step.name.starts_with(&format!("{number:04}_")), "{}", step.name);
    }
}

#[actix_web::test]
async fn the_database_has_what_its_folder_declares() {
    let database = TestDatabase::new();
    desk(&database).await;
    let name = if database.is_postgres() { "postgres" } else { "sqlite" };
    let query = if database.is_postgres() {
        "select table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable
         from information_schema.columns where table_schema = 'public'"
    } else {
        "select t.name || '.' || c.name || ' ' || lower(c.type) || ' ' ||
                case when c.\"notnull\" = 1 then 'NO' else 'YES' end
         from sqlite_schema t, pragma_table_info(t.name) c where t.type = 'table'"
    };
    // Made before the first step, which is written into it.
    let ledger = ["schema_steps.number ", "schema_steps.applied_at "];
    let of_ledger = |one: &String| ledger.iter().any(|column| one.starts_with(column));
    let found: BTreeSet<_> =
        database.sql(query).into_iter().filter(|one| !of_ledger(one)).collect();
    let expected: BTreeSet<_> = folder(name)
        .iter()
        .flat_map(|(_, text)| declared(text))
        .filter(|(_, column, ..)| !column.is_empty())
        .map(|(table, column, kind, rest)| {
            let nullable = if rest.contains("not null") { "NO" } else { "YES" };
            format!("{table}.{column} {kind} {nullable}")
        })
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn every_table_and_column_says_what_a_row_means() {
    for (name, text) in FOLDERS.iter().flat_map(|name| folder(name)) {
        let mut before = "";
        for line in text.lines() {
            let own = code(line);
            if own.starts_with("create table") {
                assert!(before.starts_with("-- "), "{name}: no comment above: {line}");
            }
            let is_column = line.starts_with("    ")
                && !own.starts_with("primary key")
                && !own.starts_with("unique");
            if is_column {
                let comment = line.split_once("-- ").map_or("", |(_, comment)| comment);
                assert!(comment.len() > 3, "{name}: no comment: {line}");
            }
            before = line;
        }
    }
}

#[test]
fn sql_is_in_lower_case_and_free_of_what_a_distributed_database_lacks() {
    const BANNED: [&str; 11] = [
        "serial",
        "bigserial",
        "sequence",
        "nextval",
        "trigger",
        "listen",
        "notify",
        "lock table",
        "pg_advisory",
        "advisory",
        "for update",
    ];
    let files = FOLDERS.iter().flat_map(|name| folder(name)).map(|(name, text)| {
        let code: Vec<_> = text.lines().map(code).collect();
        (name, code.join("\n"))
    });
    let statements =
        all_statements().map(|statement| (statement.name.to_owned(), statement.sql.to_owned()));
    let mut looked = 0;
    for (name, text) in files.chain(statements) {
        assert_eq!(text, text.to_lowercase(), "{name}");
        let words: Vec<_> = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
        // To pass by a row that somebody else holds, in the one statement for which the configuration has
        // a switch (refresh.batching), is not to lock it for what comes next.
        let text =
            format!(" {} ", words.join(" ")).replace(" for update of families skip locked ", " ");
        for banned in BANNED {
            assert!(!text.contains(&format!(" {banned} ")), "{name}: {banned}");
        }
        assert!(!text.contains("advisory"), "{name}");
        looked += 1;
    }
    assert!(looked > 30);
}
