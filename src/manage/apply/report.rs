//! What `apply` did, or would do.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    /// It is new.
    Created {
        /// `client`, `resource` or `user`.
        kind: &'static str,
        /// Which one.
        id: String,
    },
    /// A field has another value.
    Changed {
        /// `client`, `resource` or `user`.
        kind: &'static str,
        /// Which one.
        id: String,
        /// Which field.
        field: &'static str,
        /// Its value before; never a secret.
        from: Value,
        /// Its value after; never a secret.
        to: Value,
    },
    /// It is gone.
    Deleted {
        /// `client`, `resource` or `user`.
        kind: &'static str,
        /// Which one.
        id: String,
    },
    /// Something to know; nothing was changed.
    Note {
        /// `client`, `resource` or `user`.
        kind: &'static str,
        /// Which one.
        id: String,
        /// What there is to know.
        note: String,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Created { kind, id } => write!(f, "+ {kind} {id}"),
            Self::Deleted { kind, id } => write!(f, "- {kind} {id}"),
            Self::Note { kind, id, note } => write!(f, "! {kind} {id}: {note}"),
            Self::Changed { kind, id, field, from, to } => match (from, to) {
                (Value::Null, Value::Null) => write!(f, "~ {kind} {id}: {field}"),
                _ => write!(f, "~ {kind} {id}: {field}: {from} -> {to}"),
            },
        }
    }
}

/// Everything that `apply` did, or would do.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// The differences, in the order of the file.
    pub changes: Vec<Change>,
    /// How many objects were as they should be.
    pub unchanged: usize,
}

impl Report {
    /// Whether nothing was, or would be, written.
    pub fn is_empty(&self) -> bool {
        !self.changes.iter().any(|change| !matches!(change, Change::Note { .. }))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for change in &self.changes {
            writeln!(f, "{change}")?;
        }
        write!(f, "{} unchanged", self.unchanged)
    }
}
