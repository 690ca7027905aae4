//! `fleet event-store`: gRPC append and read, and a relay for each topic.

use std::convert::Infallible;

use anyhow::{Context, Result};
use axum::Router;
use clap::Args;
use event_store::tail::Head;
use futures::FutureExt;
use identity::Role;
use read_model::Catalogue;
use tokio_util::sync::CancellationToken;
use workers::http::Health;

use super::{Database, Running, migrate, spawn};
use crate::auth::Auth;
use crate::bus_choice::PubSub;
pub use crate::host::event_store::EventStore;
use crate::host::grants::{Duty, needs};
use crate::host::pools::Pools;
use crate::keep::Keep;
use crate::serve::{self, Http};
use crate::telemetry;

/// Good for something here.
const ROLES: [Role; 2] = [Role::Appender, Role::Reader];

#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    pubsub: PubSub,
    #[command(flatten)]
    http: Http,
    #[command(flatten)]
    auth: Auth,
    #[command(flatten)]
    pub telemetry: telemetry::Settings,
    /// host:port of the gRPC service.
    #[arg(long, env = "FLEET_GRPC_LISTEN", default_value = "0.0.0.0:50051")]
    pub grpc: String,
    #[command(flatten)]
    keep: Keep,
    /// Do not relay: another process does.
    #[arg(long, env = "FLEET_NO_RELAY")]
    pub no_relay: bool,
}

pub async fn run(catalogue: &Catalogue, options: Options, stop: CancellationToken) -> Result<()> {
    let endpoint = options.database.url.endpoint()?;
    let connections = options.database.max_connections;
    // One is the listener's.
    let pool = endpoint.serving(connections - 1);
    let retention = options.keep.retention()?;
    let registry = super::registry("event-store")?;
    Pools::register(&registry).context("registering metrics")?.add("serving", &pool);
    let (grpc, grpc_address) = serve::bind(&options.grpc, "--grpc").await?;
    let gate = options.auth.gate(grpc_address, "the event store", &ROLES)?;
    let doors = options.http.bind().await?;
    let http_address = doors.address;
    let relays = (!options.no_relay).then(|| (options.pubsub.bus(), catalogue.topics().to_vec()));

    let mut parts = Running::new();
    // One for writing, one for the watch.
    super::refuse_pooler(&endpoint, connections + 2, &mut parts, &stop).await?;
    let health = Health::new(pool.clone(), endpoint.primary.clone(), migrate::migrations(), registry.clone());
    let duties = [Duty::Append, Duty::Prune].into_iter().chain(relays.is_some().then_some(Duty::Relay));
    let health = health.needs(needs(&duties.collect::<Vec<_>>()));
    spawn(&mut parts, "HTTP", &stop, doors.serve(health, Router::new(), stop.clone()));
    let head = Head::default();
    let listening = head.clone().listen(pool.clone(), stop.clone());
    spawn(&mut parts, "listening to appends", &stop, listening.map(Ok::<_, Infallible>));
    EventStore { endpoint, pool, head, registry, grpc, gate, retention, relays }.spawn(&mut parts, &stop)?;

    tracing::info!(grpc = %grpc_address, http = %http_address, relay = !options.no_relay, "event store: serving");
    Ok(super::wait(parts, stop).await?)
}
