//! Settings: the manual is whole, every problem is named at once, and numbers that collide are told.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use jeton::clock::Clock;
use jeton::config::{DEFAULT, DatabaseUrl, Settings, Sources};
use jeton::domain::Algorithm;
use jeton::secret::file as root_secrets;
use tempfile::TempDir;

use crate::support::app::START;
use crate::support::process::jeton;
use crate::support::{TestDatabase, app};

fn load_in(directory: &Path, text: &str) -> Result<Settings, Vec<String>> {
    let file = directory.join("jeton.toml");
    fs::write(&file, text).unwrap();
    let sources =
        Sources { file: Some(file), data_dir: directory.to_owned(), defaults: Vec::new() };
    Settings::load(&sources).map_err(|problems| problems.0)
}

fn load(text: &str) -> Result<Settings, Vec<String>> {
    load_in(TempDir::new().unwrap().path(), text)
}

/// The only problem with these settings.
fn problem(text: &str) -> String {
    let mut problems = load(text).unwrap_err();
    assert_eq!(problems.len(), 1, "{text}: {problems:?}");
    problems.remove(0)
}

/// Every setting of the manual: its full name, its line, and whether that is commented out.
fn manual() -> Vec<(String, String, bool)> {
    let mut section = String::new();
    let mut all = Vec::new();
    for line in DEFAULT.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = format!("{name}.");
        }
        let own = line.strip_prefix("# ").unwrap_or(line);
        let Some((key, _)) = own.split_once(" = ") else { continue };
        if key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
            all.push((format!("{section}{key}"), own.to_owned(), own != line));
        }
    }
    all
}

#[test]
fn the_manual_holds_every_setting_and_every_setting_is_in_the_manual() {
    let listed: BTreeSet<_> = manual().into_iter().map(|(key, ..)| key).collect();
    // What the code asks for: each `reader.…("key"`.
    let code = include_str!("../../src/config/mod.rs");
    let read: BTreeSet<_> = code
        .split('"')
        .skip(1)
        .step_by(2)
        .filter(|text| {
            *text == "issuer"
                || text.rsplit_once('.').is_some_and(|(section, key)| {
                    let plain = |part: &str| {
                        part.bytes().all(|b| b.is_ascii_lowercase() || b"_.".contains(&b))
                    };
                    !section.is_empty() && !key.is_empty() && plain(section) && plain(key)
                })
        })
        .filter(|text| *text != "jeton.db")
        .map(str::to_owned)
        .collect();
    assert!(read.len() > 20, "{read:?}");
    assert_eq!(listed, read);
}

#[test]
fn the_defaults_are_sound_and_so_is_every_setting_that_the_manual_shows() {
    let settings = load("").unwrap();
    assert_eq!(settings.keys.algorithms, [Algorithm::Es256]);
    assert_eq!(settings.access_token_ttl.as_secs(), 600);
    assert!(settings.issuer.is_none() && settings.database.url.is_sqlite());
    let mut commented = 0;
    for (key, line, is_comment) in manual() {
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("url");
        fs::write(&file, "postgres://u@h/d\n").unwrap();
        let line = match key.as_str() {
            "database.url_file" => format!("url_file = {file:?}"),
            // They go together.
            "server.tls.certificate" => format!("{line}\nkey = \"k\""),
            "server.tls.key" => format!("{line}\ncertificate = \"c\""),
            _ => line,
        };
        let text = match key.rsplit_once('.') {
            Some((section, _)) => format!("[{section}]\n{line}"),
            None => line,
        };
        let loaded = load_in(directory.path(), &text);
        if key == "traces.endpoint" && !cfg!(feature = "otlp") {
            let said = loaded.unwrap_err().join("\n");
            assert!(
                said.contains("traces.endpoint: ") && said.contains("--features otlp"),
                "{said}"
            );
            continue;
        }
        assert!(loaded.is_ok(), "{text}: {loaded:?}");
        commented += usize::from(is_comment);
    }
    assert!(commented > 0);
}

#[test]
fn every_problem_is_named_at_once_by_its_key() {
    let text = r#"
issuer = "http://id.example.com"
colour = "red"
[server]
public = "localhost"
drain_delay = "5"
trusted_proxies = ["10.0.0.0/8", "gateway"]
header_timeout = "slow"
max_connections = 0
[database]
url = "mysql://h/d"
pool = 0
pooler = "session"
[keys]
algorithms = ["ES256", "HS256"]
lead = "a day"
alowed = true
allow_unsafe_timing = "perhaps"
[tokens]
access_token_ttl = ""
[limits]
failures = "often"
network = "5/day"
[log]
format = "xml"
[logs]
level = "info"
"#;
    let problems = load(text).unwrap_err();
    let expected = [
        "issuer",
        "colour",
        "server.public",
        "server.drain_delay",
        "server.trusted_proxies",
        "server.header_timeout",
        "server.max_connections",
        "database.url",
        "database.pool",
        "database.pooler",
        "keys.algorithms",
        "keys.lead",
        "keys.alowed",
        "keys.allow_unsafe_timing",
        "tokens.access_token_ttl",
        "limits.failures",
        "limits.network",
        "log.format",
        "logs.level",
    ];
    for key in expected {
        let named = problems.iter().filter(|one| one.starts_with(&format!("{key}: "))).count();
        assert_eq!(named, 1, "{key}: {problems:#?}");
    }
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    assert!(problem("[keys]\nalgorithms = []").starts_with("keys.algorithms: "));
}

#[test]
fn numbers_that_collide_are_both_named() {
    for (text, parts) in [
        ("[keys]\nlead = \"59m\"", &["keys.lead (59m)", "1h"][..]),
        ("[keys]\nmax_age = \"6h 1s\"", &["keys.max_age (6h 1s)", "keys.lead (1day)"]),
        ("[keys]\nperiod = \"23h\"", &["keys.period (23h)", "keys.lead (1day)"]),
        (
            "[tokens]\naccess_token_ttl = \"61m\"",
            &["tokens.access_token_ttl (1h 1m)", "tokens.access_token_ttl_max (1h)"],
        ),
        (
            "[tokens]\naccess_token_ttl_max = \"25h\"",
            &["tokens.access_token_ttl_max (1day 1h)", "1day"],
        ),
        ("[tokens]\naccess_token_ttl = \"0s\"", &["tokens.access_token_ttl", "1s"]),
        ("[keys]\nalgorithms = [\"RS256\", \"RS256\"]", &["keys.algorithms", "RS256", "twice"]),
        (
            "[server]\npublic = \"127.0.0.1:1\"\noperations = \"127.0.0.1:1\"",
            &["server.public", "server.operations", "127.0.0.1:1"],
        ),
    ] {
        let said = problem(text);
        assert!(parts.iter().all(|part| said.contains(part)), "{text}: {said}");
    }
    // The limits themselves are allowed.
    for text in [
        "[keys]\nlead = \"1h\"",
        "[keys]\nmax_age = \"6h\"",
        "[keys]\nperiod = \"1d\"",
        "[tokens]\naccess_token_ttl = \"1h\"",
        "[tokens]\naccess_token_ttl_max = \"24h\"",
    ] {
        let loaded = load(text);
        assert!(loaded.is_ok(), "{text}: {loaded:?}");
    }
}

#[test]
fn a_list_of_trusted_proxies_that_means_something_else_than_it_says_is_refused() {
    let list = |text: &str| format!("[server]\ntrusted_proxies = [{text:?}]");
    for (text, part) in [
        ("proxy.example.com", "no network"),
        ("10.0.0.0/33", "no network"),
        ("10.0.0.5/8", "write 10.0.0.0/8"),
        ("2001:db8::1/32", "write 2001:db8::/32"),
        ("::ffff:10.0.0.1", "IPv4"),
        ("::ffff:10.0.0.0/104", "IPv4"),
        ("0.0.0.0/0", "everybody"),
        ("::/0", "everybody"),
    ] {
        let said = problem(&list(text));
        assert!(said.starts_with("server.trusted_proxies: ") && said.contains(part), "{said}");
    }
    for text in ["10.0.0.0/8", "10.0.0.5", "2001:db8::/32", "2001:db8::1"] {
        assert_eq!(load(&list(text)).unwrap().server.trusted_proxies.len(), 1, "{text}");
    }
    assert!(load("[server]\ntrusted_proxies = []").unwrap().server.trusted_proxies.is_empty());
    for key in ["header_timeout", "keep_alive"] {
        let said = problem(&format!("[server]\n{key} = \"0s\""));
        assert!(said.contains(&format!("server.{key}")) && said.contains("1s"), "{said}");
    }
}

#[test]
fn unsafe_timing_is_for_loopback_issuers_only() {
    let with = |issuer: &str| {
        format!("{issuer}\n[keys]\nlead = \"4s\"\nperiod = \"10s\"\nallow_unsafe_timing = true")
    };
    for issuer in ["", "issuer = \"http://localhost:8080\"", "issuer = \"http://127.0.0.1:1\""] {
        let loaded = load(&with(issuer));
        assert!(loaded.is_ok(), "{issuer}: {loaded:?}");
    }
    let said = problem(&with("issuer = \"https://id.example.com\""));
    assert!(said.contains("keys.allow_unsafe_timing") && said.contains("loopback"), "{said}");
}

#[test]
fn the_database_is_named_once_and_its_password_is_never_shown() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("url");
    fs::write(&file, "postgres://u:hunter2@h/d\n").unwrap();
    let by_file = format!("[database]\nurl_file = {file:?}");
    let settings = load_in(directory.path(), &by_file).unwrap();
    assert_eq!(settings.database.url.expose(), "postgres://u:hunter2@h/d");
    assert!(!format!("{settings:?}").contains("hunter2"), "{settings:?}");
    let url: DatabaseUrl = settings.database.url;
    assert!(!format!("{url:?}").contains("hunter2"));

    let both = format!("{by_file}\nurl = \"postgres://u:hunter2@h/d\"");
    let problems = load_in(directory.path(), &both).unwrap_err();
    assert!(problems[0].contains("database.url_file") && problems.len() == 1, "{problems:?}");
    let missing = problem("[database]\nurl_file = \"/nonexistent/url\"");
    assert!(missing.starts_with("database.url_file: /nonexistent/url"), "{missing}");
    for (other, alone) in [
        ("postgres://v:other@h/d", true),
        ("postgres://h/d?user=v&password=other", true),
        ("postgres://u:hunter2@i/d", false),
        ("postgres://u:hunter2@h:1/d", false),
        ("postgres://u:hunter2@h/e", false),
        ("postgres://u:hunter2@h/d?sslmode=disable", false),
        ("sqlite:/d", false),
    ] {
        fs::write(&file, other).unwrap();
        let other = DatabaseUrl::read(&file).unwrap();
        assert_eq!(url.differs_in_who_we_are_alone(&other), alone, "{other:?}");
    }
    let unknown = problem("[database]\nurl = \"mysql://u:hunter2@h/d\"");
    assert!(unknown.starts_with("database.url: ") && !unknown.contains("hunter2"), "{unknown}");
}

#[test]
fn the_environment_sets_what_the_manual_lists_and_a_wrong_name_ends_the_command() {
    let directory = TempDir::new().unwrap();
    let data = directory.path().to_str().unwrap();
    let migrate = |env: &[(&str, &str)]| {
        let output = jeton(&["--data-dir", data, "migrate"], env);
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), said)
    };
    let (status, _, said) = migrate(&[
        ("JETON__KEYS__LEAD", "5m"),
        ("JETON__KEYS__ALGORITHMS", "ES256,RS256"),
        ("JETON__DATABASE__POOL", "many"),
        ("JETON__KEYS__LAED", "1h"),
    ]);
    assert_eq!(status, Some(78), "{said}");
    assert!(said.contains("database.pool: ") && said.contains("keys.laed: "), "{said}");
    assert!(!said.contains("algorithms"), "a list with a comma is a list: {said}");
    let (status, _, said) = migrate(&[("JETON__KEYS__LEAD", "5m")]);
    assert!(status == Some(78) && said.contains("keys.lead (5m)"), "{said}");
    // What Kubernetes makes up for a Service of our name is no setting.
    let database = format!("sqlite:{data}/own.db");
    let (status, out, said) = migrate(&[
        ("JETON_PORT", "tcp://10.0.0.1:8080"),
        ("JETON_SERVICE_HOST", "10.0.0.1"),
        ("JETON__DATABASE__URL", &database),
    ]);
    assert_eq!(status, Some(0), "{said}");
    assert!(out.contains("applied 0001"), "{out}");
    assert!(directory.path().join("own.db").exists());
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("own.toml");
    fs::write(&file, "[keys]\nlead = \"10m\"\n").unwrap();
    let (file, data) = (file.to_str().unwrap(), directory.path().to_str().unwrap());
    let args = ["--data-dir", data, "--config", file, "migrate"];
    let by_file = String::from_utf8(jeton(&args, &[]).stderr).unwrap();
    assert!(by_file.contains("keys.lead (10m)"), "{by_file}");
    let env = [("JETON__KEYS__LEAD", "20m")];
    let by_environment = String::from_utf8(jeton(&args, &env).stderr).unwrap();
    assert!(by_environment.contains("keys.lead (20m)"), "{by_environment}");
}

#[actix_web::test]
async fn a_root_secret_file_that_protects_nothing_is_refused_and_not_quoted() {
    let database = TestDatabase::new();
    let file = database.directory.path().join("root-secrets");
    let good = fs::read_to_string(&file).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(root_secrets::load(&file, "https://i").is_ok());
    let again = root_secrets::generate(&file);
    assert!(again.is_err(), "an existing file is never overwritten");
    assert_eq!(fs::read_to_string(&file).unwrap(), good);

    let refused = |text: &str, mode: u32, why: &str| {
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let said = root_secrets::load(&file, "https://i").unwrap_err().to_string();
        assert!(said.contains(why), "{why}: {said}");
        let secret = text.trim().rsplit(' ').next().unwrap();
        assert!(secret.is_empty() || !said.contains(secret), "{said}");
    };
    for mode in [0o604, 0o602, 0o644] {
        refused(&good, mode, "chmod 600");
    }
    refused("", 0o600, "holds no secret");
    refused("# only a comment\n\n", 0o600, "holds no secret");
    refused(&format!("1 {}", "A".repeat(43)), 0o600, "sample");
    refused("1 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", 0o600, "sample");
    refused(&format!("{good}{good}"), 0o600, "line 2");
    refused(&good.replacen("1 ", "256 ", 1), 0o600, "line 1");

    fs::remove_file(&file).unwrap();
    let clock = Clock::manual(START);
    let said = app::start(&database, "", "", &clock).await.err().unwrap();
    assert!(said.contains("no root-secret file") && said.contains("secrets generate"), "{said}");
}
