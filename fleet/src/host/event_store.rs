//! The parts of an event store.

use std::convert::Infallible;

use database::Endpoint;
use event_store::Metrics;
use event_store::append::{self, Appender};
use event_store::relay::Relay;
use event_store::service::Service;
use event_store::tail::Head;
use events::Topic;
use futures::FutureExt;
use identity::Gate;
use prometheus::Registry;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use workers::retention::{Gauges, Pruner, Retention};

use super::error::Error;
use super::running::{Running, spawn};
use crate::bus_choice::Bus;
use crate::serve;

/// An event store, for its own process or beside other parts.
pub struct EventStore {
    /// For the one connection that writes.
    pub endpoint: Endpoint,
    /// For all others.
    pub pool: PgPool,
    /// What is appended raises it.
    pub head: Head,
    /// Where its metrics are registered.
    pub registry: Registry,
    /// Where gRPC is served.
    pub grpc: TcpListener,
    /// Who may call it.
    pub gate: Gate,
    /// How long its bookkeeping and that of the workers is kept: it prunes both.
    pub retention: Retention,
    /// The topics that are relayed, and to where; `None`: no relay.
    pub relays: Option<(Bus, Vec<&'static Topic>)>,
}

impl EventStore {
    /// Begins it. It announces what it appends; to listen to what others append is another part.
    ///
    /// # Errors
    /// The registry has metrics of these names already.
    pub fn spawn(self, parts: &mut Running, stop: &CancellationToken) -> Result<(), Error> {
        let Self { endpoint, pool, head, registry, grpc, gate, retention, relays } = self;
        let metrics = Metrics::register(&registry)?;
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
        spawn(parts, "gRPC", stop, serve::grpc(grpc, service, gate, metrics.clone(), stop.clone()));
        // Ends when the service, the last holder of the queue, is gone.
        spawn(parts, "the writer of the event store", stop, writer);

        let announcing = head.clone().announce(pool.clone(), stop.clone());
        spawn(parts, "announcing appends", stop, announcing.map(Ok::<_, Infallible>));
        let pruner = Pruner { pool: pool.clone(), retention, gauges: Gauges::register(&registry)? };
        spawn(parts, "pruning", stop, pruner.run(stop.clone()).map(Ok::<_, Infallible>));
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
