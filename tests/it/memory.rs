//! What a server takes of a machine's memory, beside what the manifests let it have.

use std::fs;

use futures_util::future::join_all;

use crate::support::http::{self, Answer};
use crate::support::process::{Process, address};
use crate::support::replica::environment;
use crate::support::sign_in::{AUTHORIZE, PEOPLE, Page, form, request};
use crate::support::{FIXTURES, TestDatabase};

/// So many passwords at once, each from a network of its own.
const CROWD: u8 = 120;

/// `memory: 320Mi` of a pod's limits, in KiB.
fn limit() -> u64 {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/kubernetes/base/deployment.yaml");
    let text = fs::read_to_string(path).unwrap();
    let (_, limits) = text.split_once("limits:").unwrap();
    let (_, memory) = limits.split_once("memory: ").unwrap();
    memory.split_once("Mi\n").unwrap().0.parse::<u64>().unwrap() * 1024
}

/// The most that a process ever had in memory, in KiB.
fn most_of(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

#[actix_web::test]
async fn a_flood_of_passwords_from_many_networks_stays_within_the_memory_that_the_manifests_give() {
    let database = TestDatabase::new();
    let directory = database.directory.path();
    let people = directory.join("people.toml");
    fs::write(&people, format!("{FIXTURES}{PEOPLE}")).unwrap();
    let settings = [
        ("JETON__SERVER__TRUSTED_PROXIES", "127.0.0.1"),
        ("JETON__LIMITS__FAILURES_PER_CLIENT", "off"),
    ];
    let environment = environment(&database.url, directory, &settings);
    let environment: Vec<_> = environment.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let arguments = ["--migrate", "--apply", people.to_str().unwrap()];
    let mut server = Process::serve(directory, "flooded", &arguments, &environment);
    let public = address(&server.ready().await["public"]);

    let asked = request("spa", &[]);
    let opened = http::send(&public, "GET", &format!("{AUTHORIZE}?{asked}"), &[], b"").await;
    let page = Page::read(opened, "");
    let hidden = page.hidden.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    // Nobody is called so: the work is the same.
    let filled_in = [("username", "mallory"), ("password", "guessed"), ("answer", "allow")];
    let form = form(&hidden.chain(filled_in).collect::<Vec<_>>());
    let guess = async |number: u8| -> Answer {
        let from = format!("198.51.{number}.7");
        let headers = [
            ("cookie", page.cookie.as_str()),
            ("content-type", "application/x-www-form-urlencoded"),
            ("x-forwarded-for", from.as_str()),
            ("x-forwarded-proto", "https"),
        ];
        http::send(&public, "POST", AUTHORIZE, &headers, form.as_bytes()).await
    };
    let answers = join_all((0..CROWD).map(guess)).await;
    let with = |status| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!(with(400) + with(503), usize::from(CROWD), "{}", server.said());
    assert!(with(400) > 0 && with(503) > 0, "{} {}", with(400), with(503));
    let most = most_of(server.id());
    assert!(most < limit(), "{most} KiB of {}", limit());
}
