//! The README tells the truth: its commands exist, its files are accepted, its answers are ours.

use std::path::Path;

use jeton::config::{Settings, Sources};

use crate::support::App;
use crate::support::process::jeton;

const README: &str = include_str!("../../README.md");

/// The fenced blocks of one language.
fn blocks(language: &str) -> Vec<&'static str> {
    let open = format!("```{language}\n");
    README.split(open.as_str()).skip(1).map(|rest| rest.split("\n```").next().unwrap()).collect()
}

#[test]
fn every_command_of_the_readme_is_understood() {
    let blocks = [blocks("sh"), blocks("console")].concat();
    let lines = blocks.iter().flat_map(|block| block.lines());
    let mut seen = 0;
    for line in lines {
        let line = line.trim_start_matches("$ ").trim_start_matches("target/debug/");
        let Some(arguments) = line.strip_prefix("jeton ") else { continue };
        let arguments = arguments.split(" #").next().unwrap();
        let arguments = arguments.split(" <").next().unwrap();
        let mut arguments: Vec<_> = arguments.split_whitespace().collect();
        // What clap does not know it refuses before it comes to the help.
        arguments.push("--help");
        let done = jeton(&arguments, &[]);
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
        seen += 1;
    }
    assert!(seen >= 6, "{seen}");
}

#[test]
fn every_make_target_of_the_readme_exists() {
    let makefile = include_str!("../../Makefile");
    let words: Vec<_> = README.split(['`', '\n']).filter(|w| w.starts_with("make ")).collect();
    assert!(words.len() >= 3);
    for word in words {
        let target = word.split_whitespace().nth(1).unwrap();
        assert!(makefile.contains(&format!("\n{target}:")), "{word}");
    }
}

#[test]
fn whatever_the_documents_have_one_write_is_not_committed_by_a_slip() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![root.join("README.md"), root.join("deploy/README.md")];
    let runbooks = std::fs::read_dir(root.join("docs/runbooks")).unwrap();
    files.extend(runbooks.map(|entry| entry.unwrap().path()));
    let texts: Vec<_> = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let ignored = |name: &str| {
        let fits = |pattern: &str| match pattern.split_once('*') {
            Some((head, tail)) => name.starts_with(head) && name.ends_with(tail),
            None => name == pattern,
        };
        include_str!("../../.gitignore").lines().filter(|line| !line.is_empty()).any(fits)
    };
    let mut seen = 0;
    for line in texts.iter().flat_map(|text| text.lines()) {
        let Some((_, target)) = line.rsplit_once(" > ") else { continue };
        let target = target.split_whitespace().next().unwrap_or_default();
        // A bare name lies where one stands: in the checkout, if that is where the manifests are.
        let is_name = |byte: u8| byte.is_ascii_lowercase() || b"-.".contains(&byte);
        if line.starts_with('>') || target.is_empty() || !target.bytes().all(is_name) {
            continue;
        }
        assert!(ignored(target), "git would take {target:?} of {line:?}");
        seen += 1;
    }
    assert!(seen >= 5, "{seen}");
}

#[test]
fn every_file_of_the_readme_is_accepted() {
    let files = blocks("toml");
    let (clients, settings): (Vec<_>, Vec<_>) =
        files.iter().partition(|file| file.contains("[[client]]"));
    assert_eq!((clients.len(), settings.len()), (2, 2));
    for file in clients {
        jeton::manage::apply::ApplyFile::parse(file, Path::new(".")).unwrap();
    }
    let directory = tempfile::tempdir().unwrap();
    let url = directory.path().join("url");
    std::fs::write(&url, "postgres://localhost/jeton").unwrap();
    let file = directory.path().join("jeton.toml");
    let load = |text: &str| {
        let text = text.replace("/etc/jeton/database-url", url.to_str().unwrap());
        std::fs::write(&file, text).unwrap();
        let sources = Sources { file: Some(file.clone()), ..Sources::default() };
        Settings::load(&sources).unwrap()
    };
    assert!(load(settings[1]).server.tls.is_some());
    let read = load(settings[0]);
    assert!(!read.database.url.is_sqlite());
    assert_eq!(read.issuer.unwrap().as_str(), "https://id.example.com");
}

#[actix_web::test]
async fn the_readme_quotes_our_real_answers() {
    let app = App::start().await;
    let answer = app.token("app", "grant_type=client_credentials&scope=admin").await;
    let text = String::from_utf8(answer.body).unwrap();
    assert!(README.contains(&text), "{text}");
    let token = app.access_token("app", "scope=read").await;
    let claims = token.split('.').nth(1).unwrap().to_owned();
    let claims = {
        use base64::Engine;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).unwrap()
    };
    let claims: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&claims).unwrap();
    let quoted: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(blocks("json")[0]).unwrap();
    assert_eq!(claims.keys().collect::<Vec<_>>(), quoted.keys().collect::<Vec<_>>());
}
