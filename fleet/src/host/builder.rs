//! What parts are given before they begin.

use prometheus::Registry;
use read_model::Catalogue;
use sqlx::postgres::PgConnectOptions;
use tokio_util::sync::CancellationToken;

/// Given what the program has of its own; [`start`](Self::start) makes [`Parts`](super::Parts) of it.
#[derive(Debug)]
#[must_use = "nothing begins before `start`"]
pub struct Builder {
    pub(super) catalogue: Catalogue,
    pub(super) options: PgConnectOptions,
    pub(super) reading: u32,
    pub(super) applying: u32,
    pub(super) pooler_may_lack: bool,
    pub(super) registry: Registry,
    pub(super) lag: bool,
    pub(super) stop: CancellationToken,
}

impl Builder {
    pub(super) fn new(catalogue: &Catalogue, options: PgConnectOptions) -> Self {
        let builder = Self {
            catalogue: catalogue.clone(),
            options,
            reading: 0,
            applying: 0,
            pooler_may_lack: false,
            registry: Registry::new(),
            lag: false,
            stop: CancellationToken::new(),
        };
        builder.connections(12)
    }

    /// So many connections at most are opened, beside those of the program's own pool, four while a generation is built, and one
    /// every 1.5 s, for a moment, by which it is seen who the primary is. At least 4, 12 unless something else is said; an event
    /// store has its own.
    pub fn connections(mut self, connections: u32) -> Self {
        let connections = connections.max(4);
        // One is the listener's.
        self.reading = connections / 2 - 1;
        self.applying = connections - connections / 2;
        self
    }

    /// On a database that was just started for this process and has no pooler.
    pub(crate) fn pools(self, reading: u32, applying: u32) -> Self {
        Self { reading, applying, pooler_may_lack: true, ..self }
    }

    /// Where the parts' metrics are registered, for a program that shows its own beside them. Without it they have a registry
    /// of their own.
    pub fn registry(self, registry: Registry) -> Self {
        Self { registry, ..self }
    }

    /// Lag is measured from the store, at each scrape of `/metrics`, of all read models of the catalogue, and kept every ten seconds
    /// in the table `lag_samples`, which the user of the database has to own, or to have the duty `admin` for. One process of a
    /// fleet does that: `fleet admin`, where there is one.
    pub fn measure_lag(self) -> Self {
        Self { lag: true, ..self }
    }

    /// The parts end when this is cancelled. It is only listened to: they never cancel it.
    pub fn shutdown(self, stop: CancellationToken) -> Self {
        Self { stop, ..self }
    }
}
