//! SQL, and nothing else: the only place that imports sqlx.
//!
//! Each statement is written once, in SQL that Postgres and SQLite both understand, and is
//! registered by the `statements!` macro so that one test can prepare every one of them on its
//! databases. Functions take a [`Db`] to read and a [`Tx`] to write; rows become domain values
//! here, and a row that cannot be is named, never guessed at.

pub mod advance;
pub mod applied;
mod arg;
pub mod audit;
pub mod clients;
pub mod codes;
pub mod db;
pub mod doctor;
mod error;
mod failpoint;
pub mod families;
pub mod instance;
pub mod keys;
mod lane;
pub mod migrate;
pub mod native;
mod open;
pub mod poll;
pub mod resources;
pub mod revocations;
pub mod root_secrets;
pub mod secrets;
pub mod sessions;
pub mod users;
mod value;
pub mod versions;

pub use db::{Db, Tx};
pub use error::StoreError;
pub use failpoint::Fault;
pub use lane::Lane;
pub use open::{Open, Pooler, check_url};
use tracing::Span;

/// Which databases a statement is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// The same text serves both.
    Both,
    /// Only Postgres; it has a twin for SQLite.
    Postgres,
    /// Only SQLite; it has a twin for Postgres.
    Sqlite,
}

/// One SQL statement of ours.
#[derive(Debug, Clone, Copy)]
pub struct Statement {
    /// Its name in errors and tests.
    pub name: &'static str,
    /// Where it runs.
    pub on: On,
    /// The text, with `$1`-style parameters.
    pub sql: &'static str,
}

impl Statement {
    /// What it takes, for whoever collects traces. The text holds no values: those are parameters.
    fn span(&self, database: &'static str) -> Span {
        tracing::trace_span!(
            "statement",
            otel.kind = "client",
            otel.name = self.name,
            db.system.name = database,
            db.query.text = self.sql,
        )
    }
}

/// Defines statements as constants and lists them all in `STATEMENTS`.
macro_rules! statements {
    ($($name:ident on $on:ident = $sql:literal;)*) => {
        $(const $name: $crate::store::Statement = $crate::store::Statement {
            name: stringify!($name),
            on: $crate::store::On::$on,
            sql: $sql,
        };)*
        pub(super) const STATEMENTS: &[$crate::store::Statement] = &[$($name,)*];
    };
}
use statements;

/// Every statement of the store.
pub fn all_statements() -> impl Iterator<Item = &'static Statement> {
    [
        advance::STATEMENTS,
        applied::STATEMENTS,
        audit::STATEMENTS,
        clients::STATEMENTS,
        codes::STATEMENTS,
        doctor::STATEMENTS,
        families::STATEMENTS,
        instance::STATEMENTS,
        keys::STATEMENTS,
        migrate::STATEMENTS,
        native::STATEMENTS,
        poll::STATEMENTS,
        resources::STATEMENTS,
        revocations::STATEMENTS,
        root_secrets::STATEMENTS,
        secrets::STATEMENTS,
        sessions::STATEMENTS,
        users::STATEMENTS,
        versions::STATEMENTS,
    ]
    .into_iter()
    .flatten()
}
