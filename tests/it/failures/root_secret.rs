//! The root secret is changed in the steps of the README, under load, on replicas each of which has a file
//! of its own that changes when it changes, as pods have.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::crowd::Crowd;
use super::report::Report;
use super::world::{World, directory, start};
use super::{has_server, rounds};
use crate::support::process::jeton;
use crate::support::replica::{PLAIN, Replica, environment};
use crate::support::session::refresh_at;
use crate::support::{TestDatabase, http};

const NAMES: [&str; 3] = ["a", "b", "c"];

/// Beside `app` and `rs`, whom people sign in to. Everybody who is registered calls: a client secret moves
/// when it is used, so each must be.
const WEB: &str = r#"
[[resource]]
id = "https://other.example.test/v1"
scopes = ["list"]

[[client]]
id = "web"
secret = "correct-horse-battery-staple"
grants = ["authorization_code", "refresh_token"]
redirect_uris = ["https://web.example.test/cb"]
resources = ["https://api.example.test/", "https://other.example.test/v1"]
default_resource = "https://api.example.test/"
"#;

const CALLERS: [(&str, usize); 5] = [
    ("client credentials", 3),
    ("refresh", 6),
    ("introspection", 3),
    ("keys", 3),
    ("revocation", 3),
];

/// Enough answers of a kind that each of its callers has had some.
const A_WHILE: usize = 60;

/// The operator's file, and the replicas with theirs.
struct Place {
    database: TestDatabase,
    directory: tempfile::TempDir,
    replicas: Vec<Replica>,
}

impl Place {
    async fn new() -> Self {
        let (database, directory) = (TestDatabase::new(), directory());
        std::fs::write(directory.path().join("apps.toml"), format!("{PLAIN}{WEB}")).unwrap();
        let mut place = Self { database, directory, replicas: Vec::new() };
        for name in NAMES {
            place.bring(name);
            let file = place.file(name);
            let own = [("JETON__SECRETS__FILE", file.to_str().unwrap())];
            let replica = start(&place.database.url, place.directory.path(), name, &own).await;
            place.replicas.push(replica);
        }
        place
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(format!("root-secrets-{name}"))
    }

    /// Brings the operator's file to a replica, all at once.
    fn bring(&self, name: &str) {
        let new = self.directory.path().join("new");
        std::fs::copy(self.directory.path().join("root-secrets"), &new).unwrap();
        std::fs::rename(new, self.file(name)).unwrap();
    }

    /// Brings it to one replica after the other, and waits until each shows these secrets. Meanwhile some have
    /// it and some do not.
    async fn spread<const N: usize>(&self, crowd: &Crowd, shown: [String; N]) {
        let shown = BTreeSet::from(shown);
        for (name, replica) in NAMES.into_iter().zip(&self.replicas) {
            self.bring(name);
            let started = Instant::now();
            while held(replica).await != shown {
                let late = started.elapsed() > Duration::from_secs(20);
                assert!(!late, "{shown:?}: {}", replica.process.said());
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            crowd.goes_on(A_WHILE / 3).await;
        }
    }

    /// What the operator does, with the operator's file.
    async fn operator(&self, args: &[&str]) -> Value {
        let environment = environment(&self.database.url, self.directory.path(), &[]);
        let args: Vec<String> = ["--json"].iter().chain(args).map(ToString::to_string).collect();
        let run = move || {
            let environment: Vec<_> = environment.iter().map(|(k, v)| (*k, v.as_str())).collect();
            jeton(&args.iter().map(String::as_str).collect::<Vec<_>>(), &environment)
        };
        let done = tokio::task::spawn_blocking(run).await.unwrap();
        assert!(done.status.success(), "{done:?}");
        serde_json::from_slice(&done.stdout).unwrap()
    }

    /// Waits until nothing is under a root secret any more.
    async fn is_empty(&self, id: u64) {
        let started = Instant::now();
        loop {
            let secrets = self.operator(&["secrets", "list"]).await;
            let one = secrets.as_array().unwrap().iter().find(|one| one["id"] == id).unwrap();
            if one["keys"] == 0 && one["client_secrets"] == 0 {
                return;
            }
            assert!(started.elapsed() < Duration::from_secs(30), "{secrets}");
        }
    }
}

/// The root secrets that a replica says it has.
async fn held(replica: &Replica) -> BTreeSet<String> {
    let answer = http::send(&replica.operations, "GET", "/metrics", &[], b"").await;
    let text = String::from_utf8(answer.body).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix("jeton_root_secret_info"));
    lines.map(str::to_owned).collect()
}

fn shown(id: u64, role: &str) -> String {
    format!("{{id=\"{id}\",role=\"{role}\"}} 1")
}

#[actix_web::test]
async fn the_root_secret_is_changed_in_its_steps_under_load_and_no_request_fails() {
    if !has_server("13. the root secret is changed") {
        return;
    }
    let report =
        Report::of("13. the root secret is added, promoted and dropped, a file for each replica");
    let place = Place::new().await;
    let world = Rc::new(World::at(&place.database.url, place.directory.path()).await);
    let addresses: Vec<_> = place.replicas.iter().map(|one| one.public.clone()).collect();
    // Somebody who does not come back before it is over.
    let away = world.begin("web").await;
    let crowd = Crowd::of(&CALLERS, &addresses, &world, &report).await;
    crowd.goes_on(A_WHILE).await;
    let changes = u64::try_from(rounds(1, 10)).unwrap();
    for old in 1..=changes {
        report.round();
        let added = place.operator(&["secrets", "add"]).await["added"].as_u64().unwrap();
        assert_eq!(added, old + 1);
        world.reread(place.directory.path());
        place.spread(&crowd, [shown(old, "seals"), shown(added, "opens")]).await;
        report.outcome("added, on every replica");
        place.operator(&["secrets", "promote", &added.to_string()]).await;
        place.spread(&crowd, [shown(old, "opens"), shown(added, "seals")]).await;
        world.reread(place.directory.path());
        report.outcome("promoted, on every replica");
        // Whoever refreshes has a token under the new one then.
        crowd.goes_on(A_WHILE).await;
        place.is_empty(old).await;
        place.operator(&["secrets", "drop", &old.to_string()]).await;
        place.spread(&crowd, [shown(added, "seals")]).await;
        crowd.goes_on(A_WHILE).await;
        report.outcome("dropped, on every replica");
    }
    crowd.end(20).await;
    // What is under a secret that is gone cannot be told from what is under one that is yet to come.
    let late = refresh_at(&addresses[0], "web", &away, "").await;
    assert_eq!(late.status, 503, "{late:?}");
    for replica in &place.replicas {
        let said = replica.process.said();
        assert!(!said.contains("\"level\":\"ERROR\""), "{said}");
    }
    world.lost_nothing(&report).await;
    report.end();
}
