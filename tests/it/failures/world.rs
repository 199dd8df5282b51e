//! Where faults happen: a database, servers on it, and a look past them at the rows.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jeton::clock::Clock;
use jeton::domain::{Family, Username};
use jeton::secret::{RefreshToken, RootSecrets, TokenText, file};
use jeton::store::{Db, Open, Pooler, audit, families, users};
use uuid::Uuid;

use super::report::Report;
use crate::support::database::pooler;
use crate::support::replica::{ISSUER, Replica, environment};
use crate::support::session::{APPS, random_id, signed_in};
use crate::support::{FIXTURES, Process};

/// A look past the servers.
pub struct World {
    /// The database, by a way that no fault touches.
    pub db: Db,
    secrets: RefCell<Arc<RootSecrets>>,
}

impl World {
    /// Looks at a database whose schema is there.
    pub async fn at(url: &str, directory: &Path) -> Self {
        Self::by(url, directory, pooler()).await
    }

    /// The same by way of whatever pooler.
    pub async fn by(url: &str, directory: &Path, pooler: Pooler) -> Self {
        let open = Open { url, connections: 8, pooler };
        let db = Db::open(&open).await.unwrap();
        let secrets = file::load(&directory.join("root-secrets"), ISSUER).unwrap();
        Self { db, secrets: RefCell::new(Arc::new(secrets)) }
    }

    /// Knows the root secrets that are in the file now.
    pub fn reread(&self, directory: &Path) {
        let secrets = file::load(&directory.join("root-secrets"), ISSUER).unwrap();
        self.secrets.replace(Arc::new(secrets));
    }

    /// Somebody signs in to an app: the first refresh token.
    pub async fn begin(&self, client: &str) -> String {
        let now = Clock::system().now();
        let (subject, family) = (random_id(), audit::row_id(now));
        let stored = signed_in(client, subject, family, now);
        let name = Username::parse(&format!("user-{subject}")).unwrap();
        let write = || {
            self.db.write(async |tx| {
                users::add(tx, subject, &name, None, now).await?;
                families::add(tx, &stored).await
            })
        };
        // The database may be on its way back.
        let started = Instant::now();
        while write().await.is_err() {
            if self.family(family).await.is_some() {
                break;
            }
            assert!(started.elapsed() < Duration::from_secs(20), "the database is away");
        }
        self.token(family, 0)
    }

    /// A refresh token of whatever generation.
    pub fn token(&self, family: Uuid, generation: u32) -> String {
        RefreshToken { family, generation }.seal(&self.secrets.borrow()).expose().to_owned()
    }

    /// What a refresh token says.
    pub fn read(&self, token: &str) -> RefreshToken {
        RefreshToken::open(&TokenText::new(token), &self.secrets.borrow()).unwrap()
    }

    /// A family's row, as soon as the database can be asked.
    pub async fn family(&self, id: Uuid) -> Option<Family> {
        let started = Instant::now();
        loop {
            match families::get(&self.db, id).await {
                Ok(stored) => return stored.map(|stored| stored.family),
                Err(error) => assert!(started.elapsed() < Duration::from_secs(20), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// How often something stands in the audit trail.
    pub async fn events(&self, action: &str) -> usize {
        let filter = audit::Filter { action: Some(action), ..audit::Filter::latest(100_000) };
        let started = Instant::now();
        loop {
            match audit::list(&self.db, &filter).await {
                Ok(found) => return found.len(),
                Err(error) => assert!(started.elapsed() < Duration::from_secs(20), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Where the database kept everything nothing may heal: a family that does was given a token that
    /// was not durable.
    pub async fn lost_nothing(&self, report: &Report) {
        let healed = self.events("family_healed").await;
        if healed > 0 {
            report.violation(format!("{healed} tokens were given that were not durable"));
        }
        self.db.close().await;
    }
}

/// A directory with a root-secret file in it.
pub fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    file::generate(&directory.path().join("root-secrets")).unwrap();
    directory
}

/// Starts a server with the apps, without waiting for it.
pub fn spawn(url: &str, directory: &Path, name: &str, more: &[(&str, &str)]) -> Process {
    spawn_under(&[], url, directory, name, more)
}

/// The same by way of a command that becomes the server.
pub fn spawn_under(
    wrapper: &[&str],
    url: &str,
    directory: &Path,
    name: &str,
    more: &[(&str, &str)],
) -> Process {
    let fixtures = directory.join("apps.toml");
    if !fixtures.exists() {
        std::fs::write(&fixtures, format!("{FIXTURES}{APPS}")).unwrap();
    }
    let environment = environment(url, directory, more);
    let environment: Vec<_> = environment.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let args = ["--migrate", "--apply", &fixtures.display().to_string()];
    Process::serve_under(wrapper, directory, name, &args, &environment)
}

/// A server with the apps.
pub async fn start(url: &str, directory: &Path, name: &str, more: &[(&str, &str)]) -> Replica {
    Replica::of(spawn(url, directory, name, more)).await
}

/// A server that dies and is started again, elsewhere each time: where it is now, if anywhere.
#[derive(Clone)]
pub struct Mortal(Rc<Life>);

struct Life {
    url: String,
    directory: PathBuf,
    settings: Vec<(&'static str, &'static str)>,
    replica: RefCell<Option<Replica>>,
    address: RefCell<String>,
}

impl Mortal {
    /// One that is alive.
    pub async fn on(
        url: &str,
        directory: &Path,
        settings: &[(&'static str, &'static str)],
    ) -> Self {
        let mortal = Self(Rc::new(Life {
            url: url.to_owned(),
            directory: directory.to_owned(),
            settings: settings.to_vec(),
            replica: RefCell::new(None),
            address: RefCell::default(),
        }));
        assert!(mortal.live(&[]).await, "it does not start");
        mortal
    }

    /// Where it is, or was last.
    pub fn address(&self) -> String {
        self.0.address.borrow().clone()
    }

    /// Kills it.
    pub fn kill(&self) {
        self.0.replica.replace(None);
    }

    /// Starts it again with a few more settings; false if that was its end, too.
    pub async fn live(&self, more: &[(&str, &str)]) -> bool {
        let settings: Vec<_> =
            self.0.settings.iter().copied().chain(more.iter().copied()).collect();
        let mut process = spawn(&self.0.url, &self.0.directory, "mortal", &settings);
        if process.try_ready().await.is_none() {
            return false;
        }
        let replica = Replica::of(process).await;
        self.0.address.replace(replica.public.clone());
        self.0.replica.replace(Some(replica));
        true
    }

    /// Waits until it has died by itself, but not for long.
    pub async fn died(&self, within: Duration) -> bool {
        let started = Instant::now();
        while started.elapsed() < within {
            let ended =
                self.0.replica.borrow_mut().as_mut().is_none_or(|it| it.process.has_ended());
            if ended {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        false
    }
}
