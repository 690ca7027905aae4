//! Who prunes: a part of every event store, because whatever grows has somebody who appends. Several at once take turns row by row.

use std::time::Duration;

use prometheus::{GaugeVec, IntCounterVec, Opts, Registry};
use sqlx::PgPool;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Retention, Table, batch, count, now};
use crate::retry;

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(3600);

/// Rows of one statement.
const BATCH: i64 = 1000;

/// Of pruning; also shown by tables of which nothing was ever pruned.
#[derive(Debug, Clone)]
pub struct Gauges {
    pruned: IntCounterVec,
    oldest: GaugeVec,
}

impl Gauges {
    /// # Errors
    /// One of the names is in the registry already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let pruned =
            Opts::new("retention_pruned_rows_total", "Rows of bookkeeping that were old, and were pruned here.");
        let oldest = Opts::new(
            "retention_oldest_row_seconds",
            "Age of the oldest row of bookkeeping when it was last looked, once an hour; 0 if there is none.",
        );
        let gauges =
            Self { pruned: IntCounterVec::new(pruned, &["table"])?, oldest: GaugeVec::new(oldest, &["table"])? };
        for table in Table::ALL {
            gauges.pruned.with_label_values(&[table.as_str()]).inc_by(0);
        }
        registry.register(Box::new(gauges.pruned.clone()))?;
        registry.register(Box::new(gauges.oldest.clone()))?;
        Ok(gauges)
    }
}

/// Prunes what is old, in small pieces, for as long as its process lives.
#[derive(Debug, Clone)]
pub struct Pruner {
    pub pool: PgPool,
    pub retention: Retention,
    pub gauges: Gauges,
}

impl Pruner {
    pub async fn run(self, stop: CancellationToken) {
        loop {
            for table in Table::ALL {
                if retry::until_all_done("pruning", &stop, || self.table(table, &stop)).await.is_none() {
                    return;
                }
            }
            if stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_none() {
                return;
            }
        }
    }

    async fn table(&self, table: Table, stop: &CancellationToken) -> sqlx::Result<()> {
        let time = database::with_deadline("pruning", now(&self.pool)).await?;
        let label = &[table.as_str()];
        if let Some(before) = self.retention.before(table, time) {
            let mut all = 0;
            loop {
                let began = Instant::now();
                let pruning = async { batch(&mut *self.pool.acquire().await?, table, before, BATCH).await };
                let pruned = database::with_deadline("pruning", pruning).await?;
                self.gauges.pruned.with_label_values(label).inc_by(pruned);
                all += pruned;
                // As long a pause as the work took: it is never more than half of what somebody could do.
                let pause = stop.run_until_cancelled(tokio::time::sleep(began.elapsed()));
                if pruned < BATCH as u64 || pause.await.is_none() {
                    break;
                }
            }
            if all > 0 {
                tracing::info!(table = table.as_str(), rows = all, "pruned what was old");
            }
        }
        let (_, oldest) =
            database::with_deadline("pruning", count(&self.pool, table, time - chrono::TimeDelta::days(36_500)))
                .await?;
        let age = oldest.map_or(0.0, |oldest| (time - oldest).as_seconds_f64().max(0.0));
        self.gauges.oldest.with_label_values(label).set(age);
        Ok(())
    }
}
