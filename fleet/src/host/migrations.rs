//! What the fleet needs of its database, and making it so. Safe to do from many places at once.

use database::Migrations;
use read_model::Catalogue;
use sqlx::{Connection, PgConnection, PgPool};
use workers::fence::{self, Established};

use super::error::Error;

/// The table by which an installation is known.
const LANDMARK: &str = "event_store_head";

/// What this fleet needs of its database.
pub fn migrations() -> Migrations {
    let [store, workers] = [event_store::migrations(), workers::migrations()];
    Migrations::new(store.iter().chain(workers.iter()).cloned(), LANDMARK)
}

/// The tables of the event store, of the workers, and of each projection; what was done, one line each.
///
/// # Errors
/// Nothing was done, or all before a migration that cannot be in a transaction.
pub async fn migrate(catalogue: &Catalogue, pool: &PgPool) -> Result<Vec<String>, Error> {
    // A connection of its own: it has no time limits, and ends with its lock.
    let mut connection = pool.acquire().await?.detach();
    let done = migrations().run(&mut connection, async |connection| establish(catalogue, connection).await).await?;
    connection.close().await?;
    Ok(done)
}

async fn establish(catalogue: &Catalogue, connection: &mut PgConnection) -> Result<Vec<String>, Error> {
    let mut done = Vec::new();
    for projection in catalogue.projections() {
        let name = projection.name();
        let established = fence::establish(connection, *projection).await;
        let Established { projection, topics } =
            established.map_err(|cause| Error::Projection { projection: name, cause })?;
        if projection {
            done.push(format!("projection {name}"));
        } else {
            done.extend(topics.iter().map(|topic| format!("projection {name} listens to {topic}")));
        }
    }
    Ok(done)
}
