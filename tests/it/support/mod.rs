//! What tests stand on: a fresh database, a real server, a real process, a plain HTTP client.
//!
//! Without `JETON_TEST_DATABASE_URL` every test has a SQLite file of its own; with it, a fresh
//! Postgres database of its own. `make test` runs everything both ways.

pub mod app;
pub mod balancer;
pub mod cluster;
pub mod database;
pub mod desk;
pub mod fake;
pub mod forge;
pub mod http;
pub mod people;
pub mod pooler;
pub mod process;
pub mod proxy;
pub mod refused;
pub mod replica;
pub mod servers;
pub mod session;
pub mod sign_in;
pub mod tls;
pub mod verifiers;
pub mod verify;

pub use app::App;
pub use database::TestDatabase;
pub use http::{Answer, basic};
pub use process::Process;

/// The API of the fixtures.
pub const API: &str = "https://api.example.test/";

/// Another API, which only some clients may use.
pub const OTHER: &str = "https://other.example.test/v1";

/// The secret of every client of the fixtures.
pub const SECRET: &str = "correct-horse-battery-staple";

/// Clients and resources for most tests:
/// `app` (Basic, one resource), `poster` (form), `both` (two resources, no default), `narrow` (only
/// `read`), `public` (no secret), `idle` (no grant), `off` (to be disabled), `bare` (a resource
/// without scopes), `rich` (extra claims), `rs` and `other-rs` (the resource servers of the two).
pub const FIXTURES: &str = r#"
[[resource]]
id = "https://api.example.test/"
scopes = ["read", { name = "write", description = "Change your things" }]

[[resource]]
id = "https://other.example.test/v1"
scopes = ["list"]
claims = { tenant = "t1", tier = 1 }

[[resource]]
id = "urn:example:bare"

[[client]]
id = "app"
secret = "correct-horse-battery-staple"
resources = ["https://api.example.test/"]

[[client]]
id = "poster"
secret = "correct-horse-battery-staple"
auth_method = "client_secret_post"
resources = ["https://api.example.test/"]

[[client]]
id = "both"
secret = "correct-horse-battery-staple"
resources = ["https://api.example.test/", "https://other.example.test/v1"]

[[client]]
id = "narrow"
secret = "correct-horse-battery-staple"
resources = ["https://api.example.test/"]
scopes = ["read"]
access_token_ttl = "2m"

[[client]]
id = "public"
auth_method = "none"
resources = ["https://api.example.test/"]

[[client]]
id = "idle"
secret = "correct-horse-battery-staple"
grants = []
resources = ["https://api.example.test/"]

[[client]]
id = "off"
secret = "correct-horse-battery-staple"
resources = ["https://api.example.test/"]

[[client]]
id = "bare"
secret = "correct-horse-battery-staple"
resources = ["urn:example:bare"]

[[client]]
id = "rich"
secret = "correct-horse-battery-staple"
resources = ["https://other.example.test/v1"]
claims = { tier = 2, roles = ["a", "b"] }

[[client]]
id = "rs"
secret = "correct-horse-battery-staple"
grants = []
introspects = ["https://api.example.test/"]

[[client]]
id = "other-rs"
secret = "correct-horse-battery-staple"
grants = []
introspects = ["https://other.example.test/v1"]
"#;
