//! `fleet event-store`: gRPC append and read, and a relay for each topic.

use std::convert::Infallible;

use anyhow::{Context, Result};
use clap::Args;
use database::Endpoint;
use event_store::Metrics;
use event_store::append::{self, Appender};
use event_store::relay::Relay;
use event_store::service::Service;
use event_store::tail::Head;
use events::Topic;
use futures::FutureExt;
use prometheus::Registry;
use read_model::Catalogue;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use workers::http::{self, Health};

use super::{Database, migrate, spawn};
use crate::bus_choice::{Bus, PubSub};
use crate::serve::{self, Http};
use crate::telemetry::Log;

#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    pubsub: PubSub,
    #[command(flatten)]
    http: Http,
    #[command(flatten)]
    pub log: Log,
    /// host:port of the gRPC service.
    #[arg(long, env = "FLEET_GRPC_LISTEN", default_value = "0.0.0.0:50051")]
    pub grpc: String,
    /// Do not relay: another process does.
    #[arg(long, env = "FLEET_NO_RELAY")]
    pub no_relay: bool,
}

pub async fn run(catalogue: &Catalogue, options: Options, stop: CancellationToken) -> Result<()> {
    let endpoint = options.database.url.endpoint()?;
    let connections = options.database.max_connections;
    // One is the listener's.
    let pool = endpoint.serving(connections - 1);
    let registry = super::registry("event-store")?;
    let (grpc, grpc_address) = serve::bind(&options.grpc, "--grpc").await?;
    let (listener, http_address) = serve::bind(&options.http.listen, "--http").await?;
    let relays = (!options.no_relay).then(|| (options.pubsub.bus(), catalogue.topics().to_vec()));

    let mut parts = JoinSet::new();
    // One for writing, one for the watch.
    super::refuse_pooler(&endpoint, connections + 2, &mut parts, &stop).await?;
    let health = Health::new(pool.clone(), endpoint.primary.clone(), migrate::migrations(), registry.clone());
    spawn(&mut parts, "HTTP", &stop, serve::http(listener, http::router(health), stop.clone()));
    let head = Head::default();
    EventStore { endpoint, pool, head, registry, grpc, relays }.spawn(&mut parts, &stop)?;

    tracing::info!(grpc = %grpc_address, http = %http_address, relay = !options.no_relay, "event store: serving");
    super::wait(parts, stop).await
}

/// The parts of an event store, for its own process or for `fleet dev`.
pub struct EventStore {
    pub endpoint: Endpoint,
    pub pool: PgPool,
    pub head: Head,
    pub registry: Registry,
    pub grpc: TcpListener,
    /// The topics that are relayed, and to where; `None`: no relay.
    pub relays: Option<(Bus, Vec<&'static Topic>)>,
}

impl EventStore {
    pub fn spawn(self, parts: &mut JoinSet<Result<()>>, stop: &CancellationToken) -> Result<()> {
        let Self { endpoint, pool, head, registry, grpc, relays } = self;
        let metrics = Metrics::register(&registry).context("registering metrics")?;
        let Endpoint { options, primary } = endpoint;
        let config = append::Config { primary: primary.clone(), ..append::Config::new(options) };
        let (appender, writer) = Appender::start(config, head.clone(), metrics.clone());
        let service = Service {
            appender,
            pool: pool.clone(),
            primary,
            head: head.clone(),
            metrics: metrics.clone(),
            stop: stop.clone(),
        };
        spawn(parts, "gRPC", stop, serve::grpc(grpc, service, stop.clone()));
        // Ends when the service, the last holder of the queue, is gone.
        spawn(parts, "the writer of the event store", stop, writer);

        let announcing = head.clone().announce(pool.clone(), stop.clone());
        spawn(parts, "announcing appends", stop, announcing.map(Ok::<_, Infallible>));
        let listening = head.clone().listen(pool.clone(), stop.clone());
        spawn(parts, "listening to appends", stop, listening.map(Ok::<_, Infallible>));
        let Some((bus, topics)) = relays else { return Ok(()) };
        for topic in topics {
            let relay = Relay {
                topic,
                publisher: bus.publisher(topic),
                pool: pool.clone(),
                head: head.clone(),
                metrics: metrics.clone(),
            };
            let name = format!("the relay of {}", topic.name);
            spawn(parts, name, stop, relay.run(stop.clone()).map(Ok::<_, Infallible>));
        }
        Ok(())
    }
}
