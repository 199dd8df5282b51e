//! The cases: for each path what is asked, beside which ceiling, and what share of it is the goal.

mod code;
mod documents;
mod families;
mod growth;
mod introspection;
mod lone;
mod pgbench;
mod process;
mod refresh;
mod revocation;
mod storage;
mod token;

use crate::bench::Bench;
use crate::report::Report;

/// A case: measures, and adds to the report.
type Run = fn(&Bench, &mut Report);

/// Every case by name, in the order in which they run.
pub const ALL: &[(&str, Run)] = &[
    ("token", token::run),
    ("jwks", documents::jwks),
    ("metadata", documents::metadata),
    ("introspect-seen", introspection::seen),
    ("introspect-unseen", introspection::unseen),
    ("introspect-million", revocation::million),
    ("revoke", revocation::run),
    ("storm", revocation::storm),
    ("refresh", refresh::run),
    ("refresh-256", refresh::many),
    ("refresh-lone", lone::run),
    ("refresh-pgbench", pgbench::run),
    ("refresh-storage", storage::run),
    ("refresh-sqlite", refresh::sqlite),
    ("refresh-growth", growth::run),
    ("code", code::run),
    ("start", process::start),
    ("memory", process::memory),
];
