//! A primary and whoever takes over from it.

use rand::Rng;
use rand::rngs::StdRng;
use sqlx::PgPool;
use tokio::task::block_in_place;

use crate::harness::cluster::Cluster;
use crate::harness::proxy::{Proxy, Weather};
use crate::harness::{Database, eventually};

use super::LIMIT;

/// Behind an address at which new connections get the primary, and open ones stay where they are.
pub struct Servers {
    proxy: Proxy,
    primary: Cluster,
    /// Goes on, as servers do which nobody has told, until another takes its place.
    former: Option<Cluster>,
}

impl Servers {
    pub async fn start() -> Self {
        let primary = Cluster::start();
        Self { proxy: Proxy::before(&primary.url).await, primary, former: None }
    }

    /// For the fleet.
    pub fn url(&self) -> &str {
        &self.proxy.url
    }

    /// Of whoever is the primary now.
    pub fn pool(&self) -> PgPool {
        Database::existing(&self.primary.url).pool
    }

    pub fn restart(&self) {
        block_in_place(|| self.primary.restart_immediately());
    }

    /// A standby that has everything is promoted, and the former primary refuses writes, does not know, or falls silent.
    pub async fn change_roles(&mut self, rng: &mut StdRng) {
        let standby = block_in_place(|| self.primary.followed());
        match rng.random_range(0..3) {
            0 => block_in_place(|| self.primary.read_only(true)),
            1 => self.proxy.set(Weather::BlackHole),
            _ => {}
        }
        self.proxy.lead_to(&standby.url);
        block_in_place(|| standby.promote());
        self.proxy.set(Weather::Fair);
        self.former = Some(std::mem::replace(&mut self.primary, standby));
        let pool = self.pool();
        eventually("it can be written", LIMIT, async || {
            let standby: Result<bool, _> = sqlx::query_scalar("select pg_is_in_recovery()").fetch_one(&pool).await;
            if matches!(standby, Ok(false)) { Ok(()) } else { Err(format!("{standby:?}")) }
        })
        .await;
    }
}
