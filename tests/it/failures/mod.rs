//! What a family survives: real servers, real processes and real links, broken again and again while
//! apps refresh as apps do. `make faults` runs all of this at length and prints its tables; without
//! it each fault happens a few times, so that the whole suite tries every one.
//!
//! One rule holds throughout. An app that keeps the newest token it was given, and presents the same
//! one again after a 503 or a lost answer, is never told `invalid_grant`.

mod apps;
mod backup;
mod commit;
mod contention;
mod crowd;
mod disk;
mod kill;
mod outage;
mod password;
mod promotion;
mod report;
mod roll;
mod root_secret;
mod rotation;
pub mod world;

mod answer;

/// How many rounds of a fault: a few, or all of them in `make faults`, in proportion to `ROUNDS`.
fn rounds(few: usize, all: usize) -> usize {
    let Ok(given) = std::env::var("JETON_FAULT_ROUNDS") else { return few };
    let given: usize = given.parse().unwrap_or_else(|_| panic!("ROUNDS is no number: {given}"));
    (all * given).div_ceil(1000)
}

/// Whether this run has a Postgres server; says so if not.
fn has_server(fault: &str) -> bool {
    let has = crate::support::database::server().is_some();
    if !has {
        println!("{fault}: on SQLite there is no server to break");
    }
    has
}
