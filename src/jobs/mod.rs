//! What runs beside the requests: the poll, once a second and whenever a request needs it; the
//! keeper's beat (key schedule, notes, sweeping, metrics); a look at our own listener; and one at the
//! file of `serve --apply`.

mod applying;
mod keeper;
mod listener;
mod polling;

pub use applying::{Applying, apply};
pub use keeper::Keeper;
pub use listener::{listener_answers, watch_listener};
pub use polling::Polling;

use std::time::Duration;

/// The beat.
const EVERY: Duration = Duration::from_secs(1);
