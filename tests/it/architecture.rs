//! Holds the house to its plan: who may use whom, which library lives where, and how large a file
//! may grow.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Each layer, and the layers that it may use. What is not here does not exist.
const LAYERS: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    (
        "cli",
        &[
            "app",
            "clock",
            "config",
            "domain",
            "error",
            "keys",
            "manage",
            "outbound",
            "secret",
            "store",
            "telemetry",
            "tls",
        ],
    ),
    (
        "app",
        &[
            "clock",
            "config",
            "domain",
            "error",
            "hashing",
            "http",
            "issue",
            "jobs",
            "limits",
            "manage",
            "mirror",
            "secret",
            "store",
            "telemetry",
            "tls",
        ],
    ),
    (
        "jobs",
        &[
            "clock",
            "config",
            "domain",
            "hashing",
            "http",
            "limits",
            "manage",
            "mirror",
            "secret",
            "store",
            "telemetry",
            "tls",
        ],
    ),
    ("http", &["clock", "domain", "issue", "limits", "manage", "mirror", "secret", "telemetry"]),
    ("manage", &["clock", "domain", "hashing", "keys", "mirror", "secret", "store", "tls"]),
    ("issue", &["clock", "domain", "hashing", "keys", "limits", "mirror", "secret", "store"]),
    ("mirror", &["clock", "domain", "keys", "secret", "store"]),
    ("store", &["clock", "domain", "secret", "telemetry"]),
    ("keys", &["domain", "secret"]),
    ("limits", &["clock", "config", "domain"]),
    ("telemetry", &["config", "domain"]),
    ("error", &["config", "manage", "secret", "store", "tls"]),
    ("config", &["domain"]),
    ("outbound", &["domain"]),
    ("tls", &["domain", "secret"]),
    ("secret", &["domain"]),
    ("clock", &["domain"]),
    ("hashing", &[]),
    ("domain", &[]),
    ("lib", &[]),
];

/// Libraries that live in certain layers only.
const LIBRARIES: &[(&str, &[&str])] = &[
    ("sqlx", &["store"]),
    ("josekit", &["keys"]),
    ("openssl", &["keys", "tls"]),
    ("tokio_openssl", &["tls"]),
    ("h2", &["http"]),
    ("actix_http", &["http", "app"]),
    ("actix_service", &["app"]),
    ("aws_lc_rs", &["keys"]),
    ("askama", &["http"]),
    ("actix_web", &["http", "app", "cli", "hashing"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("reqwest", &["outbound"]),
    ("config", &["config"]),
    ("toml", &["config", "manage"]),
    ("governor", &["limits"]),
    ("ipnet", &["config", "http"]),
    ("opentelemetry", &["telemetry"]),
    ("opentelemetry_otlp", &["telemetry"]),
    ("opentelemetry_sdk", &["telemetry"]),
    ("prometheus", &["telemetry"]),
    ("tracing_opentelemetry", &["telemetry"]),
    ("tracing_subscriber", &["telemetry"]),
    ("argon2", &["hashing"]),
    ("hkdf", &["secret"]),
    ("hmac", &["secret"]),
    (
        "tokio",
        &["app", "cli", "hashing", "http", "issue", "jobs", "manage", "mirror", "store", "tls"],
    ),
];

fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut open = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(found.len() > 40);
    found
}

/// The layer that a file belongs to: the first part of its path under `src`.
fn layer(path: &Path) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let first = path.strip_prefix(root).unwrap().components().next().unwrap();
    first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// The code of a file without its comments and its tests.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let lines = text.lines().map(|line| line.split("//").next().unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

fn names_after<'a>(text: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    text.match_indices(prefix)
        .map(|(at, _)| {
            let rest = &text[at + prefix.len()..];
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            &rest[..end]
        })
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn every_layer_uses_only_what_stands_below_it() {
    for (path, text) in sources() {
        let own = layer(&path);
        let allowed = LAYERS.iter().find(|(name, _)| *name == own);
        let (_, allowed) = allowed.unwrap_or_else(|| panic!("{own} is no layer of the plan"));
        let code = code(&text);
        assert!(!code.contains("use crate::{\n"), "{}: one `use` for each layer", path.display());
        let mut used = names_after(&code, "crate::");
        used.extend(names_after(&code, "jeton::"));
        for braces in code.match_indices("use crate::{").map(|(at, _)| &code[at + 12..]) {
            let inside = braces.split('}').next().unwrap();
            used.extend(inside.split(',').map(|name| name.trim().split("::").next().unwrap()));
        }
        for name in used.iter().filter(|name| LAYERS.iter().any(|(layer, _)| layer == *name)) {
            assert!(
                *name == own || allowed.contains(name),
                "{} uses {name}, which does not stand below {own}",
                path.display()
            );
        }
    }
}

#[test]
fn every_library_lives_in_its_layers_only() {
    for (path, text) in sources() {
        let (own, code) = (layer(&path), code(&text));
        for (library, homes) in LIBRARIES {
            let used = code.contains(&format!("use {library}::"))
                || code.contains(&format!("::{library}::")) && *library != "config"
                || code.match_indices(&format!("{library}::")).any(|(at, _)| {
                    let before = code[..at].chars().next_back().unwrap_or(' ');
                    *library != "config" && !before.is_alphanumeric() && !"_:".contains(before)
                });
            assert!(!used || homes.contains(&own.as_str()), "{} uses {library}", path.display());
        }
    }
}

#[test]
fn the_domain_is_pure() {
    for (path, text) in sources().into_iter().filter(|(path, _)| layer(path) == "domain") {
        let code = code(&text);
        for word in ["async ", "std::fs", "std::net", "std::env", "Instant", "SystemTime", "rand::"]
        {
            assert!(!code.contains(word), "{}: {word}", path.display());
        }
    }
}

#[test]
fn files_are_small() {
    for (path, text) in sources() {
        let lines = text.lines().count();
        // clap's definitions and the seam to the databases are exempt from the warning, not from
        // the limit.
        assert!(lines <= 500, "{} has {lines} lines: it is several rooms", path.display());
        if lines > 300 {
            println!("{} has {lines} lines: is it one room?", path.display());
        }
    }
}

#[test]
fn statements_are_made_by_the_macro_alone_so_that_all_of_them_are_prepared() {
    for (path, text) in sources().into_iter().filter(|(path, _)| layer(path) == "store") {
        let made = code(&text).replace("impl Statement {", "").matches("Statement {").count();
        let allowed = if path.ends_with("store/mod.rs") { 2 } else { 0 };
        assert!(made <= allowed, "{} makes a statement by hand", path.display());
    }
}
