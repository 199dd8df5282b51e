//! There is no room left to write. On SQLite the disk is a small one of its own and is really filled;
//! on Postgres, which cannot be given one without privileges, every transaction is made read-only,
//! which is what its server answers to a write then, under another code of the same meaning to us.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::apps::{App, FORGIVING, REFUSED_FOR_NOW};
use super::report::Report;
use super::rounds;
use super::world::{World, directory, spawn_under, start};
use crate::support::database::query;
use crate::support::replica::Replica;
use crate::support::{TestDatabase, http};

/// Gives a process a disk of its own with a copy of what was there before; it is gone with it.
const OWN_DISK: [&str; 7] = [
    "unshare",
    "--user",
    "--map-root-user",
    "--mount",
    "sh",
    "-c",
    "mount -t tmpfs -o size=4m none \"$0\" && cp \"$0\".before/* \"$0\" && exec \"$@\"",
];

/// What can be full.
enum Disk {
    /// The disk of a process, seen from outside, and what fills it.
    Own(PathBuf),
    /// A database on a server.
    Database(TestDatabase),
}

impl Disk {
    fn fill(&self) {
        match self {
            Self::Own(root) => {
                let mut room = std::fs::File::create(root.join("filler")).unwrap();
                for size in [65536, 4096, 1] {
                    while std::io::Write::write_all(&mut room, &vec![0; size]).is_ok() {}
                }
            }
            Self::Database(database) => Self::read_only(database, "on"),
        }
    }

    fn empty(&self) {
        match self {
            Self::Own(root) => std::fs::remove_file(root.join("filler")).unwrap(),
            Self::Database(database) => Self::read_only(database, "off"),
        }
    }

    /// It holds for connections that are made after it, so there are only such.
    fn read_only(database: &TestDatabase, how: &str) {
        let (server, name) = database.direct.rsplit_once('/').unwrap();
        let server = format!("{server}/postgres");
        query(&server, &format!("alter database {name} set default_transaction_read_only = {how}"));
        let end = "select pg_terminate_backend(pid) from pg_stat_activity where datname =";
        query(&server, &format!("{end} '{name}'"));
    }
}

/// Whether this machine lets a process have a disk of its own.
fn can_mount(at: &Path) -> bool {
    let (program, args) = OWN_DISK.split_first().unwrap();
    Command::new(program).args(args).arg(at).arg("true").status().is_ok_and(|it| it.success())
}

/// A server on a disk of its own, with what was there before.
async fn on_own_disk(directory: &Path) -> (Replica, Disk) {
    let at = directory.join("disk");
    let wrapper = [&OWN_DISK[..], &[at.to_str().unwrap()]].concat();
    let inside = format!("sqlite:{}", at.join("jeton.db").display());
    let server = Replica::of(spawn_under(&wrapper, &inside, directory, "one", &[])).await;
    let root = PathBuf::from(format!("/proc/{}/root", server.process.id()));
    (server, Disk::Own(root.join(at.strip_prefix("/").unwrap())))
}

/// What does not write goes on.
async fn goes_on(server: &Replica, report: &Report) {
    let token = server.try_token().await.map(|answer| answer.status).unwrap_or_default();
    let keys = server.get("/.well-known/jwks.json").await.status;
    let live = server.health("live").await;
    if (token, keys, live) == (200, 200, 200) {
        report.outcome("client credentials, keys and health: 200");
    } else {
        let all = format!("client credentials {token}, keys {keys}, health {live}");
        report.violation(all);
    }
}

#[actix_web::test]
async fn with_no_room_to_write_refreshes_are_503_the_rest_goes_on_and_it_recovers_by_itself() {
    let directory = directory();
    let path = directory.path();
    let (disk, before) = if crate::support::database::server().is_some() {
        let database = TestDatabase::new();
        let url = database.url.clone();
        (Some(Disk::Database(database)), url)
    } else {
        let before = path.join("disk.before");
        std::fs::create_dir_all(&before).unwrap();
        std::fs::create_dir(path.join("disk")).unwrap();
        (None, format!("sqlite:{}", before.join("jeton.db").display()))
    };
    let report = Report::of("7. there is no room left to write");
    let mut server = start(&before, path, "one", &[]).await;
    let world = World::at(&before, path).await;
    let mut apps = Vec::new();
    for client in FORGIVING.iter().copied().cycle().take(12) {
        apps.push(App::begin(&world, client).await);
    }
    let disk = match disk {
        Some(disk) => disk,
        None if !can_mount(&path.join("disk")) => {
            report.outcome("skipped: this machine gives no disk to a process");
            return report.end();
        }
        None => {
            world.db.close().await;
            server.process.kill();
            let (moved, disk) = on_own_disk(path).await;
            server = moved;
            disk
        }
    };
    for _ in 0..rounds(2, 50) {
        report.round();
        for app in &mut apps {
            app.gets_through(&world, &server.public, &report).await;
        }
        let refused = report.count(REFUSED_FOR_NOW);
        disk.fill();
        for app in &mut apps {
            app.refresh(&world, &server.public, &report).await;
        }
        goes_on(&server, &report).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        goes_on(&server, &report).await;
        if report.count(REFUSED_FOR_NOW) == refused {
            report.violation("nothing was refused: there was room".to_owned());
        }
        disk.empty();
        report.fault_is_over();
        for app in &mut apps {
            app.gets_through(&world, &server.public, &report).await;
        }
    }
    match &disk {
        Disk::Database(_) => world.lost_nothing(&report).await,
        // The trail is on a disk that only the server sees; its metric says the same.
        Disk::Own(_) => {
            let metrics = http::send(&server.operations, "GET", "/metrics", &[], b"").await;
            let metrics = String::from_utf8(metrics.body).unwrap();
            let none =
                |how| metrics.contains(&format!("jeton_refreshes_total{{how=\"{how}\"}} 0\n"));
            assert!(!none("rotated"), "{metrics}");
            if !none("healed") {
                report.violation("tokens were given that were not durable".to_owned());
            }
        }
    }
    report.end();
}
