//! What is in the store and can be given to nobody: written down by the reader that met it, counted, and passed.
//!
//! A row here is a finding and not a decision. No reader waits for it or needs it; it is for people, who list the
//! [findings](list) and look at one [in part](contents).

mod contents;
mod findings;

use sqlx::PgPool;

pub use contents::{Contents, Member, Members, contents, defies};
pub use findings::{Error, Finding, Unnamed, Which, find, list};

use crate::Metrics;
use crate::read::Unreadable;

/// Writes the findings down, each once, and counts the new ones. On a connection of its own: what its caller is in the
/// middle of may fail without taking the findings with it.
///
/// # Errors
/// The database is away. The reader must not pass what is not written down.
pub(crate) async fn record(pool: &PgPool, metrics: &Metrics, found: &[Unreadable]) -> sqlx::Result<()> {
    for event in found {
        let new = sqlx::query!(
            "insert into unreadable_events (
                 position, event_id, aggregate_id, event_version, aggregate_type, event_type, bytes, reason
             )
             values ($1, $2, $3, $4, $5, $6, $7, $8)
             on conflict (position) do nothing",
            event.position.0,
            event.event_id.0,
            event.aggregate_id.0,
            event.version.0,
            event.aggregate_type,
            event.event_type,
            event.bytes,
            event.reason
        )
        .execute(pool)
        .await?
        .rows_affected();
        if new > 0 {
            metrics.unreadable_events.inc();
            tracing::error!(
                position = event.position.0,
                event_id = %event.event_id,
                aggregate_id = %event.aggregate_id,
                event_type = event.event_type,
                bytes = event.bytes,
                reason = event.reason,
                "an event of the store cannot be read; readers pass it"
            );
        }
    }
    Ok(())
}
