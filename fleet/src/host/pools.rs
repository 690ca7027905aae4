//! How many connections each pool has open, and how many of them are in use: asked of the pools at each scrape.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGaugeVec, Opts, Registry};
use sqlx::PgPool;

/// The pools of a process, of which its registry shows the numbers. Cheap to clone.
#[derive(Clone)]
pub struct Pools {
    pools: Arc<Mutex<Vec<(&'static str, PgPool)>>>,
    connections: IntGaugeVec,
    most: IntGaugeVec,
}

impl Pools {
    /// # Errors
    /// One of the names is in the registry already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let pools = Self {
            pools: Arc::default(),
            connections: IntGaugeVec::new(
                Opts::new("db_pool_connections", "Connections of a pool to Postgres: in use, and idle."),
                &["pool", "state"],
            )?,
            most: IntGaugeVec::new(
                Opts::new("db_pool_max_connections", "Connections that a pool opens at most; beyond them one waits."),
                &["pool"],
            )?,
        };
        registry.register(Box::new(pools.clone()))?;
        Ok(pools)
    }

    /// Its numbers are shown from now on.
    pub fn add(&self, name: &'static str, pool: &PgPool) {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner).push((name, pool.clone()));
    }
}

impl Collector for Pools {
    fn desc(&self) -> Vec<&Desc> {
        [self.connections.desc(), self.most.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        for (name, pool) in self.pools.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let (open, idle) = (i64::from(pool.size()), pool.num_idle() as i64);
            // The two are not read at once.
            self.connections.with_label_values(&[*name, "in_use"]).set((open - idle).max(0));
            self.connections.with_label_values(&[*name, "idle"]).set(idle);
            self.most.with_label_values(&[*name]).set(pool.options().get_max_connections().into());
        }
        [self.connections.collect(), self.most.collect()].concat()
    }
}

impl fmt::Debug for Pools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pools").finish_non_exhaustive()
    }
}
