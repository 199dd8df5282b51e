//! One test binary. Every test runs on SQLite, and on Postgres where one is given; see `support`.
#![expect(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::float_cmp,
    clippy::format_push_string,
    clippy::items_after_statements,
    clippy::print_stdout,
    clippy::too_many_lines,
    reason = "tests say what they prove in their names, and end at the first thing that is wrong"
)]

mod apply;
mod apply_again;
mod apply_people;
mod architecture;
mod authorization;
mod authorization_code;
mod authorization_requests;
mod bearer;
mod client_authentication;
mod client_secrets;
mod client_sign_ins;
mod config;
mod confusion;
mod connections;
mod cors;
mod documents;
mod emergencies;
mod ending_race;
mod every_act;
mod expanding;
mod failures;
mod family_sweep;
mod hardening;
mod http2;
mod introspection;
mod introspection_signed;
mod keys;
mod lanes;
mod limits;
mod log;
mod memory;
mod migrations;
mod mirror;
mod modes;
mod openapi;
mod operations;
mod operator_revokes;
mod outage;
mod outbox;
mod people;
mod plain;
mod pooled;
mod propagation;
mod readme;
mod ready;
mod reasons;
mod recover;
mod refresh;
mod refresh_hostile;
mod refresh_model;
mod refresh_race;
mod refresh_storage;
mod refresh_tokens;
mod replicas;
mod restored;
mod revocation;
mod revoked;
mod root_secrets;
mod runbooks;
mod schedule;
mod schema_versions;
mod sessions;
mod smoke;
mod stopping;
mod store;
mod support;
mod switched;
mod testing_doc;
mod tls;
mod token_endpoint;
mod tokens;
mod tools_audit;
mod tools_config;
mod tools_doctor;
mod tools_help;
mod tools_token;
#[cfg(feature = "otlp")]
mod traces;
mod watched;
