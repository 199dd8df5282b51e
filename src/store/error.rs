//! What can go wrong between us and a database, told apart by what a caller can do about it.

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No connection, no answer in time, or the database is shutting down: nothing was written.
    #[error("the database is out of reach: {0}")]
    Unavailable(String),
    /// The transaction lost a race, again and again; nothing was written.
    #[error("the database is contended: the transaction lost every race")]
    Contended,
    /// A row with this key is there already; nothing was written.
    #[error("a row with this key exists already")]
    Conflict,
    /// The connection broke while the commit was under way: it happened, or it did not. Every act
    /// of ours can be repeated or looked up, so the caller does that.
    #[error("the connection broke during the commit; whether it took effect is unknown")]
    Unknown,
    /// A row holds what no code of ours writes.
    #[error("a row that cannot be: {0}")]
    Corrupt(String),
    /// Anything else the database says.
    #[error("the database refuses: {0}")]
    Fault(String),
}

impl StoreError {
    /// Every class.
    pub const CLASSES: [&str; 6] =
        ["unavailable", "contended", "conflict", "unknown_outcome", "corrupt", "fault"];

    /// A coarse class for the metric.
    pub const fn class(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::Contended => "contended",
            Self::Conflict => "conflict",
            Self::Unknown => "unknown_outcome",
            Self::Corrupt(_) => "corrupt",
            Self::Fault(_) => "fault",
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let sqlx::Error::Database(said) = &error else {
            return match error {
                sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
                    Self::Corrupt(error.to_string())
                }
                // The pool goes on trying where nothing listens, so that it does not tell the two apart.
                sqlx::Error::PoolTimedOut => Self::Unavailable(
                    "nothing answers there, or every connection is in use".to_owned(),
                ),
                sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::Protocol(_)
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed => Self::Unavailable(error.to_string()),
                other => Self::Fault(other.to_string()),
            };
        };
        if said.is_unique_violation() {
            return Self::Conflict;
        }
        let message = said.message().to_owned();
        let code = said.code().unwrap_or_default();
        // SQLite's codes are short numbers whose low byte is the class; Postgres' have five places.
        match code.parse::<u32>().ok().filter(|_| code.len() < 5).map(|number| number & 0xff) {
            // Busy, locked.
            Some(5 | 6) => return Self::Contended,
            // An I/O error, a full disk.
            Some(10 | 13) => return Self::Unavailable(message),
            Some(_) => return Self::Fault(format!("{message} ({code})")),
            None => {}
        }
        match code.as_ref() {
            // Serialization failure, deadlock, lock timeout.
            "40001" | "40P01" | "55P03" => Self::Contended,
            // Connection lost, out of resources, shutting down or starting up, a standby (which is
            // read-only, and not to be read at all where transactions are serializable); and
            // "statement completion unknown", which says the same of a commit.
            code if ["08", "53", "57P", "57014", "25006", "0A000", "40003"]
                .iter()
                .any(|one| code.starts_with(one)) =>
            {
                Self::Unavailable(message)
            }
            // Duplicate and unknown prepared statements: behind a pooler the next statement meets another
            // server, which other clients have given the same names.
            "42P05" | "26000" => Self::Fault(format!("{message} ({code}); {POOLER}")),
            _ => Self::Fault(format!("{message} ({code})")),
        }
    }
}

/// What an operator can do about names that are not ours alone.
const POOLER: &str = "if a pooler in transaction mode (PgBouncer) stands in between, set \
     database.pooler = \"transaction\"";
