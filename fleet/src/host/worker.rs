//! The parts of a worker.

use std::sync::Arc;
use std::time::Duration;

use bus::{Delivery, Subscription};
use event_store::proto::event_store_client::EventStoreClient;
use event_store::tail::Head;
use events::Topic;
use identity::{Channel, Credentials};
use read_model::AnyProjection;
use sqlx::PgPool;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::transport::{ClientTlsConfig, Endpoint};
use workers::apply::{Applier, Stride};
use workers::generations::{Generations, Raised};
use workers::resolve::{PREDECESSOR_WAIT, Resolver};
use workers::worker::{self, MAX_OUTSTANDING_BYTES};
use workers::{Metrics, fence, retry};

use super::error::Error;
use super::running::{Running, spawn};
use crate::bus_choice::Bus;
use crate::serve;

/// The worker of a topic, as it is to be begun by [`Parts::worker`](super::Parts::worker).
#[derive(Debug, Clone)]
pub struct Worker {
    /// Of the catalogue.
    pub topic: &'static Topic,
    /// Where its messages come from.
    pub bus: Bus,
    /// host:port or URL of the event store's gRPC, where foreign events are appended.
    pub event_store: String,
    /// What is shown to the event store there.
    pub credentials: Credentials,
    /// Pulls side by side. The real service needs 1 to 4, the emulator 8.
    pub streams: usize,
    /// Unsettled messages of each pull at most.
    pub max_outstanding: i64,
    /// Bytes of unsettled messages at most, of all pulls and pushes together; each may exceed them by one message.
    pub max_outstanding_bytes: usize,
    /// How long the bus has to deliver an event before the sweep takes it from the store.
    pub sweep_grace: Duration,
    /// What happens by itself when the `VERSION` of a read model was raised.
    pub raised: Raised,
}

impl Worker {
    /// With the settings that a worker has unless somebody says something else.
    pub fn of(topic: &'static Topic, bus: Bus, event_store: impl Into<String>) -> Self {
        Self {
            topic,
            bus,
            event_store: event_store.into(),
            credentials: Credentials::default(),
            streams: 2,
            max_outstanding: 2000,
            max_outstanding_bytes: MAX_OUTSTANDING_BYTES,
            sweep_grace: Duration::from_secs(10),
            raised: Raised::Built,
        }
    }
}

/// What a worker is made of.
pub struct TopicWorker<'a> {
    /// Whose events it applies.
    pub topic: &'static Topic,
    /// The read models that listen to the topic.
    pub projections: Vec<&'static dyn AnyProjection>,
    /// For applying.
    pub pool: PgPool,
    /// For building generations that are not live.
    pub building: PgPool,
    /// For looking.
    pub reading: PgPool,
    /// How far the store is known to go.
    pub head: Head,
    /// What it counts.
    pub metrics: Metrics,
    /// host:port of the event store's gRPC.
    pub event_store: &'a str,
    /// What is shown there.
    pub credentials: Credentials,
    /// How long the bus has to deliver an event before the sweep takes it from the store.
    pub sweep_grace: Duration,
    /// What happens by itself when the version of a read model was raised.
    pub raised: Raised,
    /// Whether building a read model anew rests for live work.
    pub throttled: bool,
}

impl TopicWorker<'_> {
    /// Begins it, on what `subscriptions` bring into `sender` and on whatever else comes as `deliveries`.
    ///
    /// # Errors
    /// The address of the event store is none.
    pub fn spawn(
        self,
        subscriptions: Vec<Arc<dyn Subscription>>,
        sender: mpsc::Sender<Delivery>,
        deliveries: mpsc::Receiver<Delivery>,
        parts: &mut Running,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        let Self {
            topic,
            projections,
            pool,
            building,
            reading,
            head,
            metrics,
            event_store,
            credentials,
            sweep_grace,
            raised,
            throttled,
        } = self;
        let channel = Channel::new(endpoint(event_store)?.connect_lazy(), credentials);
        let resolver = Resolver {
            topic,
            projections: projections.clone(),
            pool: pool.clone(),
            store: EventStoreClient::new(channel),
            metrics: metrics.clone(),
            patience: PREDECESSOR_WAIT,
            stride: Stride::default(),
        };
        let name = format!("the worker of {}", topic.name);
        let stopped = stop.clone();
        spawn(parts, name, stop, async move {
            let stop = stopped;
            let mut appliers = Vec::new();
            for projection in projections {
                // Waits for the migration, when everything starts at once.
                let look = || fence::check(&pool, projection, topic);
                match retry::until_done("looking at a projection", &stop, look).await {
                    None => return Ok(()),
                    Some(Ok(())) => {}
                    // Its events stay in the store until a generation of this code is live; the others do not wait for it.
                    Some(Err(fence::Error::Version { live, ours, .. })) if raised.builds(live, ours) => {
                        let projection = projection.name();
                        let then = raised.says();
                        tracing::info!(
                            projection,
                            "built by version {live} of its code, this is version {ours}: {then}"
                        );
                    }
                    Some(Err(version)) => {
                        tracing::error!(projection = projection.name(), error = %version, "not written by this code");
                    }
                }
                appliers.push(Applier::new(projection, topic, pool.clone(), metrics.clone()));
            }
            // Builders must not wait for connections that live work has, nor the reverse.
            let generations = Generations {
                appliers: appliers.iter().map(|live| Applier { pool: building.clone(), ..live.clone() }).collect(),
                head: head.clone(),
                reading,
                raised,
                throttled,
            };
            let worker = worker::Worker { resolver, appliers, head, sweep_grace, generations };
            worker.run(subscriptions, deliveries, sender, stop).await
        });
        Ok(())
    }
}

/// The gRPC endpoint at `host:port` or at a URL, over TLS at one of https.
///
/// # Errors
/// It is neither.
pub fn endpoint(address: &str) -> Result<Endpoint, Error> {
    let url = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    let secured = url.starts_with("https://");
    let mut endpoint = Endpoint::from_shared(url).map_err(|_| Error::Address(address.to_owned()))?;
    if secured {
        let roots = ClientTlsConfig::new().with_native_roots();
        endpoint = endpoint.tls_config(roots).map_err(|_| Error::Address(address.to_owned()))?;
    }
    Ok(endpoint
        .connect_timeout(Duration::from_secs(5))
        .tcp_nodelay(true)
        .http2_keep_alive_interval(serve::KEEPALIVE)
        .keep_alive_timeout(serve::KEEPALIVE_ANSWER))
}
