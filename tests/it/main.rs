//! One test binary. Every test runs on SQLite, and on Postgres where one is given; see `support`.
#![expect(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::format_push_string,
    reason = "tests say what they prove in their names, and end at the first thing that is wrong"
)]

mod apply;
mod architecture;
mod config;
mod hardening;
mod keys;
mod migrations;
mod modes;
mod openapi;
mod outage;
mod readme;
mod replicas;
mod rotation;
mod schedule;
mod smoke;
mod store;
mod support;
