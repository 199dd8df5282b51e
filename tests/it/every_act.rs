//! Every kind of act, between two real processes: what is taken back through one replica, or by an
//! operator's command, is refused by every replica within two seconds, also while somebody else's act has
//! taken its number and commits late.

use std::time::{Duration, Instant};

use jeton::clock::Clock;
use jeton::domain::{TokenId, Username};
use jeton::secret::{RefreshToken, Vault};
use jeton::store::{Db, audit, families, users};
use uuid::Uuid;

use crate::support::process::{Process, jeton};
use crate::support::replica::{ISSUER, Replica, environment};
use crate::support::session::{APPS, random_id, signed_in, try_refresh_at};
use crate::support::sign_in::Tokens;
use crate::support::{API, Answer, FIXTURES, SECRET, TestDatabase, http};

/// Within this time every replica obeys.
const BOUND: Duration = Duration::from_secs(2);

/// What is done, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    /// A client takes one access token back.
    Token,
    /// A client takes a sign-in back by its refresh token.
    Family,
    /// An operator takes one back.
    Session,
    /// A person is deleted.
    Subject,
    /// A person's account is switched off.
    Disabled,
    /// And on again.
    Enabled,
    Client,
    Resource,
    Everything,
}

const ACTS: [Act; 9] = [
    Act::Token,
    Act::Family,
    Act::Session,
    Act::Subject,
    Act::Disabled,
    Act::Enabled,
    Act::Client,
    Act::Resource,
    Act::Everything,
];

/// Somebody who is signed in.
#[derive(Debug)]
struct Person {
    family: Uuid,
    subject: String,
    tokens: Tokens,
}

struct World {
    one: Replica,
    other: Replica,
    db: Db,
    vault: Vault,
    environment: Vec<(&'static str, String)>,
    database: TestDatabase,
}

impl World {
    async fn new() -> Self {
        let database = TestDatabase::new();
        let directory = database.directory.path();
        let fixtures = directory.join("apply.toml");
        std::fs::write(&fixtures, format!("{FIXTURES}{APPS}")).unwrap();
        let environment = environment(&database.url, directory, &[]);
        let env: Vec<_> = environment.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let args = ["--migrate", "--apply", fixtures.to_str().unwrap()];
        let one = Replica::of(Process::serve(directory, "one", &args, &env)).await;
        let other = Replica::of(Process::serve(directory, "other", &args, &env)).await;
        let vault = Vault::open(directory.join("root-secrets"), ISSUER).unwrap();
        Self { one, other, db: database.open().await, vault, environment, database }
    }

    fn replicas(&self) -> [&Replica; 2] {
        [&self.one, &self.other]
    }

    /// Somebody signs in to `web`, whose first refresh is at the other replica.
    async fn sign_in(&self) -> Person {
        let (subject, now) = (random_id(), Clock::system().now());
        let stored = signed_in("web", subject, audit::row_id(now), now);
        let name = Username::parse(&format!("user-{subject}")).unwrap();
        let begin = self.db.write(async |tx| {
            users::add(tx, subject, &name, None, now).await?;
            families::add(tx, &stored).await
        });
        begin.await.unwrap();
        let family = stored.family.id;
        let token = RefreshToken { family, generation: 0 }.seal(&self.vault.now());
        let refreshed = refresh(&self.other, token.expose()).await;
        Person { family, subject: subject.to_string(), tokens: Tokens::read(&refreshed) }
    }

    /// Does it, and returns when that is acknowledged.
    async fn carry_out(&self, act: Act, about: &Person) {
        let taken = match act {
            Act::Token => &about.tokens.access,
            Act::Family => &about.tokens.refresh,
            _ => return self.command(act, about).await,
        };
        let form = format!("token={taken}");
        let answer = http::token(&self.one.public, "/oauth2/revoke", "web", SECRET, &form).await;
        assert_eq!(answer.status, 200, "{act:?}: {}", self.one.process.said());
    }

    async fn command(&self, act: Act, about: &Person) {
        let family = about.family.to_string();
        let args: &[&str] = match act {
            Act::Token | Act::Family => return,
            Act::Session => &["session", "revoke", "--family", &family],
            Act::Subject => &["user", "delete", &about.subject],
            Act::Disabled => &["user", "disable", &about.subject],
            Act::Enabled => &["user", "enable", &about.subject],
            Act::Client => &["revoke", "--client", "web"],
            Act::Resource => &["revoke", "--resource", API],
            Act::Everything => &["revoke", "--all"],
        };
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        let environment = self.environment.clone();
        let run = move || {
            let args: Vec<_> = args.iter().map(String::as_str).collect();
            let environment: Vec<_> = environment.iter().map(|(k, v)| (*k, v.as_str())).collect();
            jeton(&args, &environment)
        };
        let done = tokio::task::spawn_blocking(run).await.unwrap();
        assert!(done.status.success(), "{act:?}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// Somebody else's transaction, which is about nobody: it takes its number and commits so much later.
    /// Returns once the number is taken.
    async fn commits_late(&self, after: Duration) -> std::thread::JoinHandle<()> {
        let token = TokenId::new(Clock::system().now(), rand::random());
        let ends = Clock::system().now().micros() + 3_600_000_000;
        let (id, stamp) = (Uuid::from_u128(rand::random()), rand::random::<i64>());
        let id = crate::support::people::literal(&self.database, id);
        let act = [
            "update revocation_head set v = v + 1".to_owned(),
            format!(
                "insert into revocations (id, v, stamp, kind, key, issued_before, expires_at)
                 select {id}, v, {stamp}, 'token', '{token}', 0, {ends} from revocation_head"
            ),
        ];
        self.database.hold(act.to_vec(), after).await
    }
}

async fn refresh(at: &Replica, token: &str) -> Answer {
    let answer = try_refresh_at(&at.public, "web", token, "").await;
    answer.unwrap_or_else(|error| panic!("{error}: {}", at.process.said()))
}

/// Whether a replica calls a token active; `None` if it does not know at the moment.
async fn active(at: &Replica, token: &str) -> Option<bool> {
    let form = format!("token={token}");
    let answer = http::token(&at.public, "/oauth2/introspect", "rs", SECRET, &form).await;
    match answer.status {
        200 => Some(answer.json()["active"] == true),
        503 => None,
        other => panic!("{other}: {}", at.process.said()),
    }
}

/// Asks every replica until all say so, or the promised instant is there. Whoever is asked after that
/// must say so.
async fn all_say(world: &World, token: &str, expected: bool, acknowledged: Instant, what: &str) {
    loop {
        let is_last = acknowledged.elapsed() >= BOUND;
        let mut said = Vec::new();
        for replica in world.replicas() {
            said.push(active(replica, token).await);
        }
        if said.iter().all(|said| *said == Some(expected)) {
            return;
        }
        // Who does not know says so, and is asked again.
        let wrong = said.contains(&Some(!expected));
        assert!(!(is_last && wrong), "{what}: {said:?} after {:?}", acknowledged.elapsed());
        assert!(acknowledged.elapsed() < 10 * BOUND, "{what}: nobody knows");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Whether a refresh token is worth anything after this.
const fn spares_refresh(act: Act) -> bool {
    matches!(act, Act::Token | Act::Resource | Act::Enabled)
}

async fn one_case(world: &World, act: Act, is_late: bool) {
    let what = format!("{act:?}, {}", if is_late { "others late" } else { "others in time" });
    let (about, bystander) = (world.sign_in().await, world.sign_in().await);
    if act == Act::Enabled {
        world.carry_out(Act::Disabled, &about).await;
        all_say(world, &about.tokens.access, false, Instant::now(), &what).await;
    } else {
        all_say(world, &about.tokens.access, true, Instant::now(), &what).await;
    }
    // Births are told apart by the millisecond.
    tokio::time::sleep(Duration::from_millis(5)).await;
    let mut holders = Vec::new();
    if is_late {
        holders.push(world.commits_late(Duration::from_millis(700)).await);
    }
    world.carry_out(act, &about).await;
    let acknowledged = Instant::now();
    if is_late {
        // Whoever comes later holds nobody's act up.
        holders.push(world.commits_late(Duration::from_millis(1_500)).await);
    }
    all_say(world, &about.tokens.access, act == Act::Enabled, acknowledged, &what).await;
    let spared = !matches!(act, Act::Client | Act::Resource | Act::Everything);
    all_say(world, &bystander.tokens.access, spared, acknowledged, &what).await;
    for holder in holders {
        holder.join().unwrap();
    }
    let mut live = about.tokens.refresh;
    for replica in world.replicas() {
        let answer = refresh(replica, &live).await;
        if spares_refresh(act) {
            let tokens = Tokens::read(&answer);
            assert_eq!(active(replica, &tokens.access).await, Some(true), "{what}: born after it");
            live = tokens.refresh;
        } else {
            assert_eq!(answer.error(), (400, "invalid_grant".to_owned()), "{what}");
        }
    }
}

#[actix_web::test]
async fn whatever_the_act_every_replica_obeys_within_two_seconds_also_behind_a_late_commit() {
    let world = World::new().await;
    for is_late in [false, true] {
        for act in ACTS {
            one_case(&world, act, is_late).await;
        }
    }
}
