//! What the fleet needs of its database, and making it so. Safe to do from many places at once.

use database::Migrations;
use read_model::Catalogue;
use sqlx::{Connection, PgConnection, PgPool};
use workers::fence::{self, Established};

use super::error::Error;
use super::grants::{self, Granted};

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
    migrate_for(catalogue, pool, &[]).await
}

/// The same, and gives users of the database what their duties need.
///
/// # Errors
/// As [`migrate`]; also that a user cannot be given it.
pub async fn migrate_for(catalogue: &Catalogue, pool: &PgPool, granted: &[Granted]) -> Result<Vec<String>, Error> {
    grants::check(catalogue, granted)?;
    // A connection of its own: it has no time limits, and ends with its lock.
    let mut connection = pool.acquire().await?.detach();
    grants::exist(&mut connection, granted).await?;
    let mut done = migrations().run(&mut connection, async |connection| establish(catalogue, connection).await).await?;
    if !granted.is_empty() {
        let mut tx = connection.begin().await?;
        done.extend(grants::grant(&mut tx, catalogue, granted).await?);
        tx.commit().await?;
    }
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
