//! Jeton, a standalone OAuth 2 token issuer: the map of the house.
//!
//! ```text
//! main ─ cli ─ app ─ jobs       wiring: the only place that knows everything
//!    │
//!  http/      one file for each endpoint: parse, call, render
//!    │
//!  manage/    what operators do, as functions that return views
//!  issue/     one file for each thing the issuer does; reads like the RFC
//!    │
//!  mirror/    what a replica holds in memory, and the poller that keeps it fresh
//!    │  ├──────────┐
//!  store/   SQL   keys/   signing, sealing, JWKs
//!    └──────┬──────┘
//!  clock, secret, tls, hashing, error, config, limits, telemetry, outbound     leaves
//!    │
//!  domain/    the words, and every decision that needs nothing but them
//! ```
//!
//! A layer uses what stands below it; `tests/it/architecture.rs` holds the house to that.

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod error;
pub mod hashing;
pub mod http;
pub mod issue;
pub mod jobs;
pub mod keys;
pub mod limits;
pub mod manage;
pub mod mirror;
pub mod outbound;
pub mod secret;
pub mod store;
pub mod telemetry;
pub mod tls;
