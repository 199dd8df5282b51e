//! A standby takes over that lacks the last commits. What it lacks is what apps and operators were
//! told had happened: refreshes, sign-ins, and the ends of sign-ins.

use std::path::Path;
use std::time::{Duration, Instant};

use jeton::store::users;

use super::apps::{App, EVERY};
use super::report::Report;
use super::world::{World, directory, start};
use super::{has_server, rounds};
use crate::support::cluster::{Cluster, url_at};
use crate::support::database::{past_the_pooler, query};
use crate::support::process::jeton;
use crate::support::proxy::{Link, Proxy};
use crate::support::replica::{Replica, environment};
use crate::support::session::try_refresh_at;
use crate::support::{SECRET, http};

/// Within this time every replica obeys what another did.
const BOUND: Duration = Duration::from_secs(2);

/// A primary with a standby that follows it later than it answers, and the way to whichever serves.
struct Pair {
    primary: Cluster,
    standby: Cluster,
    following: Proxy,
    way: Proxy,
}

impl Pair {
    async fn start() -> Self {
        past_the_pooler("it promotes a standby of its own");
        let primary = blocking(Cluster::start).await;
        let following = Proxy::to(&primary.address()).await;
        let link = following.address.clone();
        let standby = blocking(move || Cluster::standby_of(&link)).await;
        let way = Proxy::to(&primary.address()).await;
        Self { primary, standby, following, way }
    }

    fn url(&self) -> String {
        url_at(&self.way.address)
    }

    /// Waits until the standby has everything, and lets it have nothing more.
    async fn stop_following(&self) {
        let at = ask(&self.primary, "select pg_current_wal_lsn()").await;
        let has = format!("select pg_last_wal_replay_lsn() >= '{at}'::pg_lsn");
        while ask(&self.standby, &has).await != "t" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.following.set(Link::Cut);
    }

    /// The primary is lost, and the standby takes its place.
    async fn promote(self) -> (Cluster, Proxy) {
        let Self { primary, standby, way, .. } = self;
        blocking(move || drop(primary)).await;
        assert_eq!(ask(&standby, "select pg_promote()").await, "t");
        way.lead_to(&standby.address());
        (standby, way)
    }
}

async fn blocking<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(act).await.unwrap()
}

async fn ask(cluster: &Cluster, sql: &str) -> String {
    // A standby serves nobody who wants to be serializable, as a whole run may want to be.
    let url =
        format!("{}?options=-cdefault_transaction_isolation=read%5C%20committed", cluster.url());
    let sql = sql.to_owned();
    blocking(move || query(&url, &sql)).await.pop().unwrap()
}

/// An operator's command on the database.
async fn operate(url: &str, directory: &Path, args: &[&str]) {
    let environment = environment(url, directory, &[]);
    let args: Vec<_> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let done = blocking(move || {
        let environment: Vec<_> = environment.iter().map(|(k, v)| (*k, v.as_str())).collect();
        jeton(&args.iter().map(String::as_str).collect::<Vec<_>>(), &environment)
    })
    .await;
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// How many requests a server refused for a reason.
async fn refusals(server: &Replica, reason: &str) -> f64 {
    let answer = http::send(&server.operations, "GET", "/metrics", &[], b"").await;
    let text = String::from_utf8(answer.body).unwrap();
    let label = format!("reason=\"{reason}\"");
    let of = |line: &&str| line.starts_with("jeton_token_requests_total{") && line.contains(&label);
    text.lines().filter(of).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

async fn some(world: &World, each: usize) -> Vec<App> {
    let mut apps = Vec::new();
    for client in EVERY.iter().copied().cycle().take(EVERY.len() * each) {
        apps.push(App::begin(world, client).await);
    }
    apps
}

async fn all_refresh(apps: &mut [App], world: &World, address: &str, report: &Report) {
    for app in apps {
        app.gets_through(world, address, report).await;
    }
}

/// Apps whose sign-in was ended in what was lost, each by another act.
async fn end(apps: &[App], world: &World, url: &str, directory: &Path, address: &str) {
    for (n, app) in apps.iter().enumerate() {
        let client = app.client;
        let subject = world.family(app.family).await.unwrap().subject;
        match n % 3 {
            0 => {
                let family = app.family.to_string();
                operate(url, directory, &["session", "revoke", "--family", &family]).await;
            }
            1 => operate(url, directory, &["user", "disable", &format!("user-{subject}")]).await,
            // A theft: the token that was the first of all is presented again.
            _ => {
                let first = world.token(app.family, 0);
                let answer = try_refresh_at(address, client, &first, "").await.unwrap();
                assert_eq!(answer.error(), (400, "invalid_grant".to_owned()), "{client}");
            }
        }
    }
    // Signing out is an act of the app itself.
    let gone = &apps[0];
    if gone.client == "web" {
        let form = format!("token={}", gone.token);
        let answer = http::token(address, "/oauth2/revoke", "web", SECRET, &form).await;
        assert_eq!(answer.status, 200);
    }
}

/// Who was switched off in what was lost is switched off again, and no sign-in has ended by that.
async fn switched_off(apps: &[App], world: &World, report: &Report) {
    for app in apps.iter().skip(1).step_by(3) {
        let family = world.family(app.family).await.unwrap();
        if family.suspended_at.is_some() && family.revoked_at.is_none() {
            report.outcome("switched off in what was lost: suspended again");
        } else {
            report.violation(format!("{} is not suspended: {family:?}", app.client));
        }
        let account = users::get(&world.db, family.subject).await.unwrap().unwrap();
        if account.user.disabled_at.is_none() {
            report.violation(format!("the account of {} is on", app.client));
        }
    }
}

/// What was ended in what was lost stays so, from the first moment on.
async fn stays_ended(apps: &[App], address: &str, since: Instant, report: &Report) {
    for (n, app) in apps.iter().enumerate() {
        let Ok(answer) = try_refresh_at(address, app.client, &app.token, "").await else {
            report.violation("the server did not answer".to_owned());
            continue;
        };
        match answer.status {
            400 => report.outcome("ended in what was lost: refused"),
            503 => report.outcome("ended in what was lost: 503"),
            status => {
                let after = since.elapsed();
                report.violation(format!("{n}: an ended sign-in got {status} after {after:?}"));
            }
        }
    }
}

/// Who must be told that the sign-in is over, and nothing changes by that.
async fn refused(apps: &[App], servers: &[Replica], reason: &str, report: &Report) {
    for app in apps {
        for server in servers {
            let before = refusals(server, reason).await;
            let answer = try_refresh_at(&server.public, app.client, &app.token, "").await.unwrap();
            let counted = refusals(server, reason).await - before;
            if answer.status == 400 && counted > 0.5 {
                report.outcome(reason);
            } else {
                let status = answer.status;
                report.violation(format!("{} instead of {reason}: {status}", app.client));
            }
        }
    }
}

#[actix_web::test]
async fn a_standby_without_the_last_commits_takes_over_and_what_survived_heals_and_what_ended_stays()
 {
    if !has_server("5. a standby without the last commits takes over") {
        return;
    }
    let report = Report::of("5. a standby without the last commits takes over");
    for _ in 0..rounds(1, 6) {
        report.round();
        round(&report).await;
    }
    report.end();
}

async fn round(report: &Report) {
    let (directory, pair) = (directory(), Pair::start().await);
    let (url, path) = (pair.url(), directory.path());
    let servers = [start(&url, path, "one", &[]).await, start(&url, path, "other", &[]).await];
    let address = servers[0].public.clone();
    let world = World::at(&pair.primary.url(), path).await;
    let mut calm = some(&world, 2).await;
    let mut behind = some(&world, 6).await;
    let mut far_behind = some(&world, 1).await;
    let mut ended = some(&world, 3).await;
    for apps in [&mut calm, &mut behind, &mut far_behind, &mut ended] {
        all_refresh(apps, &world, &address, report).await;
        all_refresh(apps, &world, &address, report).await;
    }
    pair.stop_following().await;

    // What follows is lost.
    all_refresh(&mut behind, &world, &address, report).await;
    for _ in 0..3 {
        all_refresh(&mut far_behind, &world, &address, report).await;
    }
    let unborn = some(&world, 1).await;
    end(&ended, &world, &url, path, &address).await;
    // Every server has read of it.
    tokio::time::sleep(BOUND).await;
    world.db.close().await;
    let (standby, _way) = pair.promote().await;
    let since = Instant::now();
    report.fault_is_over();
    let world = World::at(&standby.url(), path).await;

    // The very first thing that happens.
    for server in &servers {
        stays_ended(&ended, &server.public, since, report).await;
    }
    for (n, app) in behind.iter_mut().chain(&mut calm).enumerate() {
        app.gets_through(&world, &servers[n % 2].public, report).await;
    }
    let healed = world.events("family_healed").await;
    report.outcome(&format!("healed and audited: {healed} of {}", behind.len()));
    if healed != behind.len() {
        report.violation(format!("{healed} rows say healed, of {}", behind.len()));
    }
    tokio::time::sleep(BOUND.saturating_sub(since.elapsed())).await;
    refused(&unborn, &servers, "refresh_family_lost", report).await;
    refused(&far_behind, &servers, "refresh_ahead", report).await;
    for app in &far_behind {
        if world.family(app.family).await.unwrap().generation != 2 {
            report.violation("a token from a lost future changed the row".to_owned());
        }
    }
    switched_off(&ended, &world, report).await;
    if world.events("revocations_restored").await == 0 {
        report.violation("that revocations were written again is not audited".to_owned());
    }
    // Nobody remembers any more but the rows.
    drop(servers);
    let fresh = start(&url, path, "fresh", &[]).await;
    stays_ended(&ended, &fresh.public, since, report).await;
    for app in behind.iter_mut().chain(&mut calm) {
        app.gets_through(&world, &fresh.public, report).await;
    }
    world.db.close().await;
    drop(fresh);
    blocking(move || drop(standby)).await;
}
