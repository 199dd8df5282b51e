//! What crosses the seam between our statements and the two databases: values one way, rows the other.

use serde_json::Value;
use sqlx::FromRow;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

/// The closed set of values that cross the seam.
#[derive(Debug, Clone, Copy)]
pub enum Arg<'a> {
    /// An integer, a time in microseconds.
    Int(i64),
    /// An integer that may be absent.
    OptInt(Option<i64>),
    /// A truth value.
    Bool(bool),
    /// Text.
    Text(&'a str),
    /// Text that may be absent.
    OptText(Option<&'a str>),
    /// Bytes.
    Bytes(&'a [u8]),
    /// Bytes that may be absent.
    OptBytes(Option<&'a [u8]>),
    /// A row id.
    Id(Uuid),
    /// A JSON document.
    Json(&'a Value),
    /// A JSON document that may be absent.
    OptJson(Option<&'a Value>),
    /// Row ids: an array on Postgres, on SQLite a JSON document.
    Ids(&'a [Uuid]),
    /// Integers, likewise.
    Ints(&'a [i64]),
    /// Texts, each of which may be absent, likewise.
    Texts(&'a [Option<&'a str>]),
}

macro_rules! arg_from {
    ($($from:ty => $variant:ident),* $(,)?) => {
        $(impl<'a> From<$from> for Arg<'a> {
            fn from(value: $from) -> Self { Arg::$variant(value) }
        })*
    };
}
arg_from!(i64 => Int, Option<i64> => OptInt, bool => Bool, &'a str => Text,
    Option<&'a str> => OptText, &'a [u8] => Bytes, Option<&'a [u8]> => OptBytes, Uuid => Id,
    &'a Value => Json, Option<&'a Value> => OptJson, &'a [Uuid] => Ids, &'a [i64] => Ints,
    &'a [Option<&'a str>] => Texts);

impl<'a> From<&'a String> for Arg<'a> {
    fn from(text: &'a String) -> Self {
        Arg::Text(text)
    }
}

/// The arguments of one statement.
macro_rules! args {
    ($($value:expr),* $(,)?) => { &[$($crate::store::arg::Arg::from($value)),*][..] };
}
pub(super) use args;

/// A row of portable columns: whatever derives `FromRow` from them fits both databases.
pub trait Row: for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> + Send + Unpin {}
impl<T> Row for T where T: for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> + Send + Unpin
{}

/// Binds arguments to a query, as each of the databases takes them.
macro_rules! bound {
    ($on:ident $query:expr, $persistent:expr, $args:expr) => {
        $crate::store::arg::bound!($on $query.persistent($persistent), $args)
    };
    ($on:ident $query:expr, $args:expr) => {
        $args.iter().fold($query, |query, arg| match *arg {
            Arg::Int(v) => query.bind(v),
            Arg::OptInt(v) => query.bind(v),
            Arg::Bool(v) => query.bind(v),
            Arg::Text(v) => query.bind(v),
            Arg::OptText(v) => query.bind(v),
            Arg::Bytes(v) => query.bind(v),
            Arg::OptBytes(v) => query.bind(v),
            Arg::Id(v) => query.bind(v),
            Arg::Json(v) => query.bind(sqlx::types::Json(v)),
            Arg::OptJson(v) => query.bind(v.map(sqlx::types::Json)),
            Arg::Ids(v) => query.bind($crate::store::arg::list!($on v)),
            Arg::Ints(v) => query.bind($crate::store::arg::list!($on v)),
            Arg::Texts(v) => query.bind($crate::store::arg::list!($on v)),
        })
    };
}

macro_rules! list {
    (Postgres $list:expr) => {
        $list
    };
    (Sqlite $list:expr) => {
        sqlx::types::Json($list)
    };
}
pub(super) use {bound, list};
