//! What runs beside the requests: the poll, once a second and whenever a request needs it; the
//! keeper's beat (key schedule, notes, sweeping, metrics); a look at our own listener; and one at
//! files that may change: that of `serve --apply`, and the certificate.

mod applying;
mod certificates;
mod keeper;
mod listener;
mod polling;

pub use applying::{Applying, apply};
pub use certificates::renew;
pub use keeper::Keeper;
pub use listener::{Look, watch_listener};
pub use polling::Polling;

use std::time::Duration;

/// The beat.
const EVERY: Duration = Duration::from_secs(1);
