//! From columns to domain values, for every table alike.

use std::fmt::Display;

use serde_json::Value;

use super::StoreError;
use crate::domain::{ExtraClaims, Invalid, ResourceId, Scope, Scopes};

/// Names a column that holds what no code of ours writes.
pub(super) fn corrupt(table: &str, key: impl Display, column: &str) -> StoreError {
    StoreError::Corrupt(format!("{table} {key}: {column}"))
}

/// Turns one column into its domain value, or names it.
pub(super) fn column<T, E>(
    parsed: Result<T, E>,
    table: &str,
    key: impl Display,
    column: &str,
) -> Result<T, StoreError> {
    parsed.map_err(|_| corrupt(table, key, column))
}

/// The rows that can be read. One that cannot (a newer version wrote it, or a hand) is named in the
/// log and left out: it must not take all the others with it.
pub(super) fn readable<R, T>(rows: Vec<R>) -> Vec<T>
where
    T: TryFrom<R, Error = StoreError>,
{
    let known = |row| {
        let said = |error: &StoreError| tracing::error!(%error, "a row is left out");
        T::try_from(row).inspect_err(said).ok()
    };
    rows.into_iter().filter_map(known).collect()
}

/// The texts of a JSON list.
pub(super) fn texts(value: &Value) -> Result<Vec<&str>, Invalid> {
    let list = value.as_array().ok_or(Invalid("not a list"))?;
    list.iter().map(|item| item.as_str().ok_or(Invalid("not a text"))).collect()
}

/// A JSON list as domain values.
pub(super) fn parsed<T>(
    value: &Value,
    parse: impl Fn(&str) -> Result<T, Invalid>,
) -> Result<Vec<T>, Invalid> {
    texts(value)?.into_iter().map(parse).collect()
}

/// A JSON list as a set of scopes.
pub(super) fn scopes(value: &Value) -> Result<Scopes, Invalid> {
    Ok(parsed(value, Scope::parse)?.into_iter().collect())
}

/// A JSON object as extra claims.
pub(super) fn claims(value: &Value) -> Result<ExtraClaims, Invalid> {
    ExtraClaims::new(value.as_object().ok_or(Invalid("not an object"))?.clone())
}

/// A set of scopes as a JSON list.
pub(super) fn scopes_json(scopes: &Scopes) -> Value {
    scopes.iter().map(|scope| Value::from(scope.as_str())).collect()
}

/// Resource identifiers as a JSON list.
pub(super) fn resources_json(ids: &[ResourceId]) -> Value {
    ids.iter().map(|id| Value::from(id.as_str())).collect()
}
