//! `fleet admin`: the admin API of the whole fleet, and the measuring of lag.

use std::convert::Infallible;

use anyhow::{Context, Result};
use clap::Args;
use futures::FutureExt;
use identity::Role;
use read_model::Catalogue;
use tokio_util::sync::CancellationToken;
use workers::Metrics;
use workers::admin::{self, Admin, Door};
use workers::http::Health;
use workers::lag::{Measurer, samples};

use super::{Database, migrate};
use crate::auth::Auth;
use crate::host::grants::{Duty, needs};
use crate::host::pools::Pools;
use crate::serve::Http;
use crate::telemetry;

/// Good for something here.
const ROLES: [Role; 3] = [Role::Viewer, Role::Operator, Role::PayloadReader];

#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    http: Http,
    #[command(flatten)]
    auth: Auth,
    #[command(flatten)]
    pub telemetry: telemetry::Settings,
}

pub async fn run(catalogue: &Catalogue, options: Options, stop: CancellationToken) -> Result<()> {
    let endpoint = options.database.url.endpoint()?;
    let connections = options.database.max_connections;
    let pool = endpoint.reading(connections);
    let registry = super::registry("admin")?;
    let metrics = Metrics::register(&registry).context("registering metrics")?;
    metrics.register_lag(&registry).context("registering metrics")?;
    Pools::register(&registry).context("registering metrics")?.add("reading", &pool);
    let doors = options.http.bind().await?;
    let address = doors.address;
    let gate = options.auth.gate(address, "the admin API", &ROLES)?;

    let measurer = Measurer::new(pool.clone(), catalogue.projections().to_vec());
    let sampling = samples::keep_all(pool.clone(), measurer, endpoint.primary.clone(), stop.clone());
    let health = Health::new(pool.clone(), endpoint.primary.clone(), migrate::migrations(), registry);
    let health = health.needs(needs(&[Duty::Admin]));
    let health = health.with_lag(metrics.clone(), catalogue);
    let door = Door { gate, primary: endpoint.primary.clone(), metrics };
    let admin = admin::router(Admin::new(pool, catalogue.clone(), stop.clone()), door);
    let mut parts = super::Running::new();
    super::refuse_pooler(&endpoint, connections + 1, &mut parts, &stop).await?;
    super::spawn(&mut parts, "samples of the lag", &stop, sampling.map(Ok::<_, Infallible>));
    super::spawn(&mut parts, "HTTP", &stop, doors.serve(health, admin, stop.clone()));
    tracing::info!(http = %address, "admin: serving");
    Ok(super::wait(parts, stop).await?)
}
