//! What runs beside the requests: the poll, once a second and whenever a request needs it; the
//! keeper's beat (key schedule, notes, sweeping, metrics); and a look at our own listener.

mod keeper;
mod listener;
mod polling;

pub use keeper::Keeper;
pub use listener::{listener_answers, watch_listener};
pub use polling::Polling;

use std::time::Duration;

/// The beat.
const EVERY: Duration = Duration::from_secs(1);
