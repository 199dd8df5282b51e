//! What the cases share: one server with a client for each algorithm, and the ceiling.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::args::Args;
use crate::database::{Database, Postgres};
use crate::load::{self, Source};
use crate::measure::{self, Measured, Subject};
use crate::server::{self, Home, JETON, RESOURCE, SECRET, Server};

/// The algorithms, with the clients that use them.
pub const CLIENTS: [(&str, &str); 4] =
    [("ES256", "es256"), ("Ed25519", "ed25519"), ("RS256", "rs256"), ("PS256", "ps256")];

/// The resource server that asks about tokens.
pub const CHECKER: &str = "checker";

/// The client that people sign in to.
pub const WEB: &str = "web";

/// Where it wants them back.
pub const REDIRECT_URI: &str = "https://web.example.test/cb";

/// What it may do.
pub const SIGNS_IN: &str = "grants = [\"authorization_code\", \"refresh_token\"]\n\
                            redirect_uris = [\"https://web.example.test/cb\"]";

/// Everything the cases need.
pub struct Bench {
    /// What is to be done.
    pub args: Args,
    /// The Postgres server of this run.
    pub postgres: &'static Postgres,
    /// The measured servers: this build, and perhaps another.
    pub jetons: Vec<Jeton>,
    /// The bare handlers.
    pub ceiling: Server,
    /// The metadata of this build: what it can do.
    metadata: Value,
}

/// A furnished server of one build.
pub struct Jeton {
    label: &'static str,
    /// The process.
    pub server: Server,
    /// Where it lives.
    pub home: Home,
    database: Database<'static>,
}

impl Bench {
    /// Starts all servers.
    pub fn new(args: Args) -> Self {
        // It lives as long as the process does.
        let postgres: &'static Postgres = Box::leak(Box::new(Postgres::find()));
        let other = args.other.as_deref().map(|binary| ("jeton, other", binary));
        let builds = [Some(("jeton", Path::new(JETON))), other].into_iter().flatten();
        let jetons: Vec<_> =
            builds.map(|(label, binary)| Jeton::start(label, binary, postgres)).collect();
        let Jeton { server, home, database, .. } = &jetons[0];
        let get = |path| load::fetch(server.address, vec![request_get(path)], 1).remove(0);
        for (path, file) in [(JWKS, "jwks"), (METADATA, "metadata")] {
            std::fs::write(home.path(file), get(path)).unwrap();
        }
        let metadata = serde_json::from_slice(&get(METADATA)).unwrap();
        std::fs::write(home.path("database"), &database.url).unwrap();
        let ceiling = server::ceiling(&home.path(""));
        Self { args, postgres, jetons, ceiling, metadata }
    }

    /// Whether the metadata of the measured server has a member.
    pub fn offers(&self, member: &str) -> bool {
        self.metadata.get(member).is_some()
    }

    /// The measured servers as subjects; `requests` is asked for the requests of one measurement,
    /// which takes so many seconds at most.
    pub fn jetons<'a>(
        &'a self,
        requests: impl Fn(&'a Server, usize) -> Source + Copy + 'a,
    ) -> Vec<Subject<'a>> {
        self.jetons.iter().map(|jeton| jeton.subject(requests)).collect()
    }

    /// A bare handler as a subject.
    pub fn bare<'a>(
        &self,
        label: &'static str,
        requests: impl Fn(usize) -> Source + 'a,
    ) -> Subject<'a> {
        let Server { address, .. } = self.ceiling;
        Subject { label, pid: self.ceiling.pid(), address, requests: Box::new(requests) }
    }

    /// Measures subjects in turns.
    pub fn measure(&self, case: &str, subjects: &[Subject]) -> Vec<Measured> {
        self.measure_at(case, subjects, self.args.connections)
    }

    /// The same with another number of connections.
    pub fn measure_at(
        &self,
        case: &str,
        subjects: &[Subject],
        connections: usize,
    ) -> Vec<Measured> {
        let mut args = self.args.clone();
        args.connections = connections;
        measure::measure(case, subjects, &args, self.postgres.postmaster)
    }
}

impl Jeton {
    /// Starts a server of some build.
    pub fn start(label: &'static str, binary: &Path, postgres: &'static Postgres) -> Self {
        let database = postgres.database();
        let home = Home::of(binary, &database.url);
        let clients = CLIENTS
            .map(|(algorithm, id)| server::client(id, &format!("algorithm = \"{algorithm}\"")));
        let checker = server::client(CHECKER, &format!("introspects = [\"{RESOURCE}\"]"));
        let web = server::client(WEB, SIGNS_IN);
        home.furnish(&format!("{}{}{checker}{web}", resource(), clients.concat()));
        let server = home.serve(&["--apply", home.path("clients.toml").to_str().unwrap()]);
        Self { label, server, home, database }
    }

    /// Starts it again with other settings.
    pub fn restart_with(&mut self, settings: &[(&str, &str)]) {
        self.server.stop();
        self.home.set(settings);
        self.server = self.home.serve(&[]);
    }

    /// Its database.
    pub const fn database(&self) -> &Database<'static> {
        &self.database
    }

    /// Where that is.
    pub fn database_url(&self) -> &str {
        &self.database.url
    }

    /// Stops the server, changes its database, and starts it again.
    pub fn restart_after(&mut self, sql: &str) {
        self.server.stop();
        self.database.run(sql);
        self.server = self.home.serve(&[]);
    }

    /// It as a subject.
    pub fn subject<'a>(
        &'a self,
        requests: impl Fn(&'a Server, usize) -> Source + 'a,
    ) -> Subject<'a> {
        let Self { label, server, .. } = self;
        let requests = Box::new(move |seconds| requests(server, seconds));
        Subject { label, pid: server.pid(), address: server.address, requests }
    }
}

/// The resource of every token, as `jeton apply` reads it.
pub fn resource() -> String {
    format!("[[resource]]\nid = \"{RESOURCE}\"\nscopes = [\"read\", \"write\"]\n\n")
}

/// Where the JWKS is.
pub const JWKS: &str = "/.well-known/jwks.json";
/// Where the metadata is.
pub const METADATA: &str = "/.well-known/oauth-authorization-server";
/// Where tokens are.
pub const TOKEN: &str = "/oauth2/token";

/// A `GET`, as bytes.
pub fn request_get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: id.example.test\r\n\r\n").into_bytes()
}

/// A form posted by a client, as bytes.
pub fn request_post(path: &str, client: &str, form: &str) -> Vec<u8> {
    let credential = STANDARD.encode(format!("{client}:{SECRET}"));
    let length = form.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: id.example.test\r\nauthorization: Basic {credential}\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {length}\r\n\r\n{form}"
    )
    .into_bytes()
}

/// A token request, as bytes.
pub fn request_token(path: &str, client: &str) -> Vec<u8> {
    request_post(path, client, "grant_type=client_credentials&scope=read")
}

/// So many tokens of a server.
pub fn tokens(server: &Server, path: &str, client: &str, count: usize) -> Vec<String> {
    let requests = vec![request_token(path, client); count];
    let token = |body: Vec<u8>| {
        let answer: Value = serde_json::from_slice(&body).unwrap();
        answer["access_token"].as_str().unwrap().to_owned()
    };
    load::fetch(server.address, requests, 64.min(count)).into_iter().map(token).collect()
}

/// Requests that each say something about one of these tokens.
pub fn about(tokens: &[String], path: &str, client: &str) -> Vec<Vec<u8>> {
    tokens.iter().map(|token| request_post(path, client, &format!("token={token}"))).collect()
}
