//! `jeton config`: what is wrong with the settings, and which are in effect.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::process::jeton;

struct Run {
    status: Option<i32>,
    out: String,
    said: String,
}

fn run(directory: &TempDir, args: &[&str], env: &[(&str, &str)]) -> Run {
    let data = directory.path().join("data").display().to_string();
    let args = [&["--data-dir", data.as_str(), "config"], args].concat();
    let output = jeton(&args, env);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run { status: output.status.code(), out: text(output.stdout), said: text(output.stderr) }
}

fn file(directory: &TempDir, text: &str) -> String {
    let path = directory.path().join("jeton.toml");
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// The value and the source of one setting in `show --json`.
fn setting(out: &str, key: &str) -> (Value, String) {
    let all: Vec<Value> = serde_json::from_str(out).unwrap();
    let found = all.iter().find(|one| one["key"] == key).unwrap_or_else(|| panic!("{key}: {out}"));
    (found["value"].clone(), found["source"].as_str().unwrap().to_owned())
}

#[test]
fn check_says_ok_or_names_every_problem_of_every_source_with_status_78() {
    let directory = TempDir::new().unwrap();
    let good = file(&directory, "issuer = \"https://id.example.com\"\n");
    let done = run(&directory, &["check", "--config", &good], &[]);
    assert_eq!((done.status, done.out.as_str()), (Some(0), "ok\n"), "{}", done.said);
    assert!(!directory.path().join("data").exists(), "looking makes nothing");

    let bad = file(&directory, "[keys]\nlead = \"soon\"\n[servr]\nx = 1\n");
    let env = [
        ("JETON__DATABASE__POOL", "many"),
        ("JETON__DATABASE__URL_FILE", "/nonexistent/url"),
        ("JETON__NONSENSE", "1"),
    ];
    let done = run(&directory, &["check", "--config", &bad], &env);
    assert_eq!((done.status, done.out.as_str()), (Some(78), ""));
    let keys = ["keys.lead: ", "servr.x: ", "database.pool: ", "database.url_file: ", "nonsense: "];
    for key in keys {
        assert!(done.said.contains(key), "{key}: {}", done.said);
    }
    let done = run(&directory, &["check", "--json", "--config", &bad], &env);
    let told: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!((done.status, &told["ok"]), (Some(78), &false.into()));
    assert_eq!(told["problems"].as_array().unwrap().len(), keys.len(), "{told}");
}

#[test]
fn check_refuses_what_serve_would_refuse() {
    let directory = TempDir::new().unwrap();
    let nameless = run(&directory, &["check"], &[]);
    assert_eq!(nameless.status, Some(78));
    assert!(nameless.said.contains("`issuer` is missing"), "{}", nameless.said);
    assert_eq!(run(&directory, &["check", "--dev"], &[]).status, Some(0));
    assert_eq!(run(&directory, &["check", "--ephemeral"], &[]).status, Some(0));
    let open = [("JETON__SERVER__PUBLIC", "0.0.0.0:8080")];
    assert_eq!(run(&directory, &["check", "--dev"], &open).status, Some(78));
    // An ephemeral server has its own database, whatever the environment says.
    let elsewhere = [("JETON__DATABASE__URL", "postgres://db.example/d")];
    assert_eq!(run(&directory, &["check", "--ephemeral"], &elsewhere).status, Some(0));
    assert_eq!(run(&directory, &["check", "--dev"], &elsewhere).status, Some(78));
    for url in ["postgres://u:hidden@127.0.0.1:notaport/n", "postgres://127.0.0.1/n?sslmode=zzz"] {
        let named = [("JETON__ISSUER", "https://id.example.com"), ("JETON__DATABASE__URL", url)];
        let done = run(&directory, &["check"], &named);
        assert!(done.status == Some(78) && done.said.contains("database.url"), "{}", done.said);
        assert!(!done.said.contains("hidden") && !done.out.contains("hidden"));
        let served = jeton(&["serve"], &named);
        let said = String::from_utf8_lossy(&served.stderr).into_owned();
        assert!(served.status.code() == Some(78) && said.contains("database.url is"), "{said}");
    }
    let log = [("JETON__ISSUER", "https://id.example.com"), ("JETON__LOG__LEVEL", "a=b=c")];
    let done = run(&directory, &["check"], &log);
    assert!(done.status == Some(78) && done.said.contains("log.level"), "{}", done.said);
}

#[test]
fn show_names_the_source_that_won() {
    let directory = TempDir::new().unwrap();
    let config = file(
        &directory,
        "issuer = \"https://id.example.com\"\n[keys]\nlead = \"2h\"\nmax_age = \"1m\"\n\
         algorithms = [\"RS256\", \"ES256\"]\n[server]\ndrain_delay = \"1s\"\n",
    );
    let args = ["show", "--json", "--ephemeral", "--config", &config];
    let env = [("JETON__KEYS__LEAD", "3h"), ("JETON__SECRETS__FILE", "/run/root")];
    let done = run(&directory, &args, &env);
    assert_eq!(done.status, Some(0), "{}", done.said);
    let shown = |key| setting(&done.out, key);
    assert_eq!(shown("keys.lead"), ("3h".into(), "environment".into()));
    assert_eq!(shown("keys.max_age"), ("1m".into(), "file".into()));
    assert_eq!(shown("keys.algorithms"), ("RS256, ES256".into(), "file".into()));
    assert_eq!(shown("server.drain_delay"), ("1s".into(), "file".into()));
    assert_eq!(shown("server.public"), ("127.0.0.1:0".into(), "mode".into()));
    assert_eq!(shown("keys.period"), ("30d".into(), "default".into()));
    assert_eq!(shown("secrets.file"), ("/run/root".into(), "environment".into()));
    assert_eq!(shown("database.url_file"), (Value::Null, "default".into()));
    assert_eq!(shown("database.url"), ("sqlite:<temporary>/jeton.db".into(), "mode".into()));
    let all: Vec<Value> = serde_json::from_str(&done.out).unwrap();
    let listed = jeton::config::DEFAULT.lines().filter(|line| {
        let key = line.trim_start_matches("# ").split(" = ").next().unwrap_or_default();
        line.contains(" = ") && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
    });
    assert_eq!(all.len(), listed.count(), "every setting of the manual is shown");

    let dev = run(&directory, &["show", "--json", "--dev"], &[]);
    let issuer = setting(&dev.out, "issuer");
    assert_eq!(issuer, ("http://localhost:8080".into(), "mode".into()));
    let derived = format!("sqlite:{}/data/jeton.db", directory.path().display());
    assert_eq!(setting(&dev.out, "database.url"), (derived.into(), "default".into()));
    let table = run(&directory, &["show", "--config", &config], &[]).out;
    let line = table.lines().find(|line| line.starts_with("keys.lead ")).unwrap();
    assert!(line.contains("2h") && line.ends_with(&format!("file {config}")), "{line}");
}

#[test]
fn show_never_shows_the_password_of_the_database() {
    let directory = TempDir::new().unwrap();
    let url = "postgres://u:hunter2@db.example/d?password=hunter3";
    let by_file = directory.path().join("url");
    fs::write(&by_file, url).unwrap();
    let by_file = by_file.display().to_string();
    for (key, value) in [("JETON__DATABASE__URL", url), ("JETON__DATABASE__URL_FILE", &by_file)] {
        for more in [&["show"][..], &["show", "--json"], &["check"]] {
            let env = [(key, value), ("JETON__ISSUER", "https://id.example.com")];
            let done = run(&directory, more, &env);
            assert_eq!(done.status, Some(0), "{}", done.said);
            assert!(!format!("{}{}", done.out, done.said).contains("hunter"), "{}", done.out);
            assert!(more[0] == "check" || done.out.contains("postgres://u:***@db.example/d?"));
        }
    }
    let out = run(&directory, &["show", "--json"], &[("JETON__DATABASE__URL_FILE", &by_file)]).out;
    assert_eq!(setting(&out, "database.url").1, "environment");
}
