//! The workers: who keeps the read models up to date.
//!
//! In the order of an event's way: a [worker] receives deliveries, [resolves](resolve) each message to an
//! event of the store, and has each of the topic's projections [apply] it: [verdict], heal from the store, fold,
//! one transaction. Then it acknowledges. What the bus loses, a [sweep] finds in the store. What cannot be
//! applied is [parked](dead_letters::park): a [dead letter](dead_letters), about which a person decides and which is
//! [redriven](redrive). A [replay] sends a selection of the store the same way.
//! While a projection is [paused](pause), nothing is applied to it by any of them.
//!
//! The bus says *that* something happened, the store says *what*: correctness never rests on the bus.

pub mod admin;
pub mod apply;
pub mod audit;
pub mod awaited;
pub mod dead_letters;
pub mod doctor;
pub mod fence;
pub mod generations;
pub mod goal;
pub mod grants;
pub mod http;
pub mod inspect;
pub mod invalid;
pub mod lag;
pub mod locks;
pub mod losses;
pub mod object;
pub mod operations;
pub mod part;
pub mod pause;
pub mod push;
pub mod received;
pub mod redrive;
pub mod replay;
pub mod resolve;
pub mod retention;
pub mod retry;
pub mod rows;
pub mod sweep;
pub mod tables;
pub mod tag;
pub mod under_way;
pub mod verdict;
pub mod wait_for;
pub mod watch;
pub mod words;
pub mod worker;

mod fold;
mod lanes;
mod metrics;
#[cfg(test)]
mod orders;

pub use metrics::Metrics;

/// The tables of the workers. Its versions are 1000 and up, so that it can share a database with the event store.
pub fn migrations() -> sqlx::migrate::Migrator {
    let mut migrator = sqlx::migrate!("./migrations");
    migrator.set_ignore_missing(true);
    migrator
}
