//! What runs beside the requests: the poll, once a second and whenever a request needs it; the
//! keeper's beat (key schedule, notes, sweeping, metrics); a look at our own listener; and one at
//! files that may change: that of `serve --apply`, the certificate, and the database's URL.

mod applying;
mod certificates;
mod database_url;
mod keeper;
mod listener;
mod polling;

pub use applying::{Applying, apply};
pub use certificates::renew;
pub use database_url::UrlFile;
pub use keeper::Keeper;
pub use listener::{Look, watch_listener};
pub use polling::Polling;

use std::time::Duration;

/// The beat.
const EVERY: Duration = Duration::from_secs(1);
