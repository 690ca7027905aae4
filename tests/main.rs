//! The fleet as a whole: real processes, a real Postgres, Google's Pub/Sub emulator. One test binary.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]
#![expect(clippy::disallowed_methods, reason = "a test waits for its transactions to begin")]

mod harness;
mod histories;
mod oracle;
#[path = "../fuzz/src/lib.rs"]
mod properties;

mod admin_api;
mod adoption;
mod alerts;
mod arrows;
mod artifacts;
mod bad_input;
mod bad_messages;
mod canary;
mod clean_end;
mod commands;
mod corpus;
mod dead_letters;
mod deploy;
mod dev;
mod doctor;
mod doors;
mod engine;
// Kill points are in debug builds only.
#[cfg(debug_assertions)]
mod faults;
mod follow_one_event;
mod game_day;
mod generations;
mod grpc;
mod host;
mod hostile;
mod import_export;
mod lateness;
mod laws;
mod migrations;
#[cfg(debug_assertions)]
mod model;
mod observability;
mod operations;
mod outage;
mod outside;
#[cfg(debug_assertions)]
mod pauses;
mod plans;
mod poolers;
mod push;
mod reading;
mod redrives;
mod replays;
mod restore;
mod retention;
mod rows;
mod sample;
mod schema;
mod soak;
mod sweep;
mod tables;
mod terminal;
mod terraform;
mod traces;
mod unreadable;
mod until_settled;
mod upgrade;
mod users;
mod wait_for;
mod writers;
