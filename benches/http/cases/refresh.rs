//! Refresh: every connection is an app that goes on with its own sign-in, so each request writes a
//! row that is durable before the answer comes.

use std::path::Path;
use std::time::Duration;

use jeton::clock::Clock;
use jeton::domain::{ClientId, Family, ResourceId, Scopes};
use jeton::secret::{RefreshToken, RootSecrets, file};
use jeton::store::families::{self, Stored};
use jeton::store::{Db, Open, Pooler, audit};
use uuid::Uuid;

use crate::bench::{Bench, Jeton, REFRESHES, TOKEN, WEB, request_post, request_token, resource};
use crate::load::Source;
use crate::measure::Subject;
use crate::report::{Goal, Report};
use crate::server::{self, Home, JETON, RESOURCE};

const ISSUER: &str = "https://id.example.test";

/// On Postgres: together, beside each alone, and beside tokens that need no database.
pub fn run(bench: &Bench, report: &mut Report) {
    let goals =
        [Goal { of: "client_credentials", share: 0.55 }, Goal { of: "each alone", share: 2.0 }];
    postgres(bench, report, ("refresh", bench.args.connections), &goals);
}

/// The same for four times as many at once.
pub fn many(bench: &Bench, report: &mut Report) {
    let goals =
        [Goal { of: "client_credentials", share: 0.70 }, Goal { of: "each alone", share: 2.0 }];
    postgres(bench, report, ("refresh-256", 4 * bench.args.connections), &goals);
}

fn postgres(
    bench: &Bench,
    report: &mut Report,
    (case, connections): (&str, usize),
    goals: &[Goal],
) {
    if !bench.args.wants(case) {
        return;
    }
    let together = &bench.jetons[0];
    let mut alone = Jeton::start("jeton", JETON.as_ref(), bench.postgres);
    alone.restart_with(&[("JETON__REFRESH__BATCHING", "false")]);
    let tokens = together.subject(|_, _| Source::cycle(vec![request_token(TOKEN, "es256")]));
    let families = |jeton: &Jeton| flows(&jeton.home, jeton.database_url(), connections);
    let subjects = [
        together.subject(|_, _| families(together)),
        Subject { label: "each alone", ..alone.subject(|_, _| families(&alone)) },
        Subject { label: "client_credentials", ..tokens },
    ];
    let measured = bench.measure_at(case, &subjects, connections);
    report.add(case, &measured, goals);
}

/// On the embedded database, whose every commit waits for the disk too.
pub fn sqlite(bench: &Bench, report: &mut Report) {
    if !bench.args.wants("refresh-sqlite") {
        return;
    }
    let directory = tempfile::Builder::new().prefix("jeton-bench-").tempdir().unwrap();
    let url = format!("sqlite:{}", directory.path().join("jeton.db").display());
    let home = Home::of(Path::new(JETON), &url);
    let clients = [server::client("es256", ""), server::client(WEB, REFRESHES)].concat();
    home.furnish(&format!("{}{clients}", resource()));
    let server = home.serve(&["--apply", home.path("clients.toml").to_str().unwrap()]);
    let connections = bench.args.connections;
    let subject = |label, requests: Box<dyn Fn(usize) -> Source>| Subject {
        label,
        pid: server.pid(),
        address: server.address,
        requests,
    };
    let token = || Source::cycle(vec![request_token(TOKEN, "es256")]);
    let families = {
        let (url, secrets) = (url.clone(), home.path("root-secrets"));
        move || begin(&url, &secrets, connections)
    };
    let subjects = [
        subject("jeton", Box::new(move |_| families())),
        subject("client_credentials", Box::new(move |_| token())),
    ];
    let measured = bench.measure("refresh-sqlite", &subjects);
    report.add("refresh-sqlite", &measured, &[Goal { of: "client_credentials", share: 0.5 }]);
}

fn flows(home: &Home, url: &str, connections: usize) -> Source {
    begin(url, &home.path("root-secrets"), connections)
}

/// Begins a family for each connection, and makes its tokens in turn: a client would read each from
/// the answer before, and each is the one that this makes.
fn begin(url: &str, secrets: &Path, connections: usize) -> Source {
    let secrets: RootSecrets = file::load(secrets, ISSUER).unwrap();
    let families: Vec<Uuid> = signed_in(url, connections);
    Source::each(move |connection, generation| {
        let token = RefreshToken { family: families[connection], generation };
        let token = token.seal(&secrets);
        let form = format!("grant_type=refresh_token&refresh_token={}", token.expose());
        request_post(TOKEN, WEB, &form)
    })
}

fn signed_in(url: &str, count: usize) -> Vec<Uuid> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let now = Clock::system().now();
    let new = |id| Stored {
        family: Family {
            id,
            generation: 0,
            rotated_at: now,
            attempt: 0,
            client: ClientId::parse(WEB).unwrap(),
            subject: Uuid::nil(),
            resources: vec![ResourceId::parse(RESOURCE).unwrap()],
            scopes: Scopes::parse("read").unwrap(),
            authenticated_at: now,
            idle: Duration::from_secs(86_400),
            ends_at: now + Duration::from_secs(864_000),
            suspended_at: None,
            revoked_at: None,
            key_thumbprint: None,
        },
        ended_by: None,
        user_agent: Some("Mozilla/5.0 (X11; Linux x86_64) a usual browser of these days".into()),
        network: Some("192.0.2.0/24".into()),
    };
    let families: Vec<Uuid> = (0..count).map(|_| audit::row_id(now)).collect();
    runtime.block_on(async {
        let open = Open { url, connections: 1, pooler: Pooler::None };
        let db = Db::open(&open).await.unwrap();
        db.write(async |tx| {
            for id in &families {
                families::add(tx, &new(*id)).await?;
            }
            Ok(())
        })
        .await
        .unwrap();
        db.close().await;
    });
    families
}
