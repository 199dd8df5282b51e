//! `jeton doctor`

use std::path::Path;

use super::Global;
use super::findings;
use crate::app;
use crate::clock::Clock;
use crate::config::{self, Settings};
use crate::error::Exit;
use crate::manage::doctor::{self, Subject};
use crate::manage::finding::Finding;
use crate::store::Db;
use crate::telemetry;

pub(super) async fn run(global: &Global) -> Result<(), Exit> {
    findings::show(global, &examine(global).await)
}

async fn examine(global: &Global) -> Vec<Finding> {
    const CHECK: &str = "configuration";
    let settings = match Settings::load(&global.sources(Vec::new())) {
        Ok(settings) => settings,
        Err(problems) => {
            let remedy = "set it right; config/default.toml explains every setting";
            let bad = |problem| Finding::bad(CHECK, problem).remedy(remedy);
            let mut found: Vec<_> = problems.0.into_iter().map(bad).collect();
            found.extend(doctor::nothing("the configuration has problems"));
            return found;
        }
    };
    let mut found = vec![match telemetry::start_log(&settings.log) {
        Ok(()) => Finding::good(CHECK, "every setting is sound"),
        Err(problem) => Finding::bad(CHECK, problem),
    }];
    let sqlite = settings.database.url.expose().strip_prefix("sqlite:").map(Path::new);
    let database = open(&settings.database, sqlite).await;
    let subject = Subject {
        database,
        sqlite,
        pooler: app::pooler(&settings.database),
        data_dir: &global.data_dir,
        secrets_file: &settings.secrets_file,
        tls: settings.server.tls.as_ref().map(|files| (&*files.certificate, &*files.key)),
        issuer: settings.issuer.clone(),
        policy: &settings.keys,
        refresh: settings.refresh,
    };
    found.extend(doctor::examine(&subject, &Clock::system()).await);
    if let Ok(db) = &subject.database {
        db.close().await;
    }
    found
}

/// Opens the database, and never makes one.
async fn open(database: &config::Database, sqlite: Option<&Path>) -> Result<Db, String> {
    if let Some(path) = sqlite.filter(|path| !path.exists()) {
        return Err(format!("there is no file {}", path.display()));
    }
    // The look for a pooler takes two at once.
    let database = config::Database { pool: database.pool.max(2), ..database.clone() };
    app::open(&database).await.map_err(|exit| exit.to_string())
}
