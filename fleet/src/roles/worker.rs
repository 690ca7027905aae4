//! `fleet worker --topic T`: applies one topic's events to its projections.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bus::{Delivery, Room, Subscription};
use clap::{Args, ValueEnum};
use event_store::proto::event_store_client::EventStoreClient;
use event_store::tail::Head;
use events::Topic;
use futures::FutureExt;
use read_model::{AnyProjection, Catalogue};
use sqlx::PgPool;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use workers::admin::{self, Admin};
use workers::apply::{Applier, Stride};
use workers::http::{self, Health};
use workers::push::{self, OidcConfig, Push, Verifier};
use workers::resolve::{PATIENCE, Resolver};
use workers::worker::{BATCH, MAX_OUTSTANDING_BYTES, Worker};
use workers::{Metrics, fence, retry};

use super::{Database, migrate, spawn};
use crate::bus_choice::{PubSub, Pull};
use crate::client;
use crate::serve::{self, Http};
use crate::telemetry::Log;

/// Google's keys.
const JWKS: &str = "https://www.googleapis.com/oauth2/v3/certs";

#[derive(Debug, Args)]
pub struct Options {
    /// The topic whose events are applied. The program knows which there are.
    #[arg(long, env = "FLEET_TOPIC")]
    pub topic: String,
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    pubsub: PubSub,
    #[command(flatten)]
    http: Http,
    #[command(flatten)]
    pub log: Log,
    /// host:port (or URL) of the event store's gRPC, for adopting foreign events.
    #[arg(long, env = "FLEET_GRPC", default_value = "127.0.0.1:50051")]
    pub grpc: String,
    /// Pull from the subscription, or take what it pushes to POST /push.
    #[arg(long, env = "FLEET_DELIVERY", value_enum, default_value_t = DeliveryMode::Pull)]
    pub delivery: DeliveryMode,
    /// Pulls side by side. The real service needs 1 to 4, the emulator 8.
    #[arg(long, env = "FLEET_STREAMS", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub streams: u32,
    /// Unsettled messages of each pull at most.
    #[arg(long, env = "FLEET_MAX_OUTSTANDING", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub max_outstanding: u32,
    /// Bytes of unsettled messages at most, of all pulls and pushes together; each may exceed them by one message.
    #[arg(long, env = "FLEET_MAX_OUTSTANDING_BYTES", default_value_t = MAX_OUTSTANDING_BYTES, value_parser = parse_bytes)]
    pub max_outstanding_bytes: usize,
    #[command(flatten)]
    grace: Grace,
    /// The audience that pushed tokens must have: the URL of this service as the subscription knows it.
    #[arg(long, env = "FLEET_PUSH_AUDIENCE")]
    pub push_audience: Option<String>,
    /// The service account that pushed tokens must be of.
    #[arg(long, env = "FLEET_PUSH_SERVICE_ACCOUNT")]
    pub push_service_account: Option<String>,
    /// Where the issuer of pushed tokens publishes its keys.
    #[arg(long, env = "FLEET_PUSH_JWKS_URL", default_value = JWKS)]
    pub push_jwks_url: String,
    /// Take pushes without a token. Only on a loopback address, for the emulator, which sends none.
    #[arg(long, env = "FLEET_PUSH_UNAUTHENTICATED")]
    pub push_unauthenticated: bool,
}

/// How patient the sweep is.
#[derive(Debug, Clone, Copy, Args)]
pub struct Grace {
    /// Seconds that the bus has to deliver an event before the sweep takes it from the store.
    #[arg(long, env = "FLEET_SWEEP_GRACE", default_value_t = 10.0, value_parser = parse_seconds)]
    sweep_grace: f64,
}

impl Grace {
    pub fn time(self) -> Duration {
        Duration::from_secs_f64(self.sweep_grace)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DeliveryMode {
    Pull,
    Push,
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("must be seconds, from 0 to 86400".to_owned()),
    }
}

/// From a megabyte, below which hardly a message fits, to what no instance has.
fn parse_bytes(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(bytes) if (1 << 20..=1 << 32).contains(&bytes) => Ok(bytes),
        _ => Err(format!("must be bytes, from {} to {}", 1_u64 << 20, 1_u64 << 32)),
    }
}

pub async fn run(catalogue: &Catalogue, options: Options, stop: CancellationToken) -> Result<()> {
    let topic = catalogue.topic(&options.topic).with_context(|| format!("there is no topic {:?}", options.topic))?;
    let connections = options.database.max_connections;
    let endpoint = options.database.url.endpoint()?;
    // One is the listener's.
    let pool = endpoint.reading(connections / 2 - 1);
    let registry = super::registry("worker")?;
    let metrics = Metrics::register(&registry).context("registering metrics")?;
    let (listener, address) = serve::bind(&options.http.listen, "--http").await?;
    let verifier = verifier(&options, address)?;

    let catalogue = catalogue.of(topic);
    let (sender, deliveries) = mpsc::channel(BATCH);
    let room = Room::new(options.max_outstanding_bytes);
    let health = Health::new(pool.clone(), endpoint.primary.clone(), migrate::migrations(), registry);
    let admin = admin::router(Admin::new(pool.clone(), catalogue.clone()));
    let mut router = http::router(health).merge(http::guarded(admin, endpoint.primary.clone()));
    if options.delivery == DeliveryMode::Push {
        let (deliveries, room) = (sender.clone(), room.clone());
        let push = Push { topic, deliveries, room, verifier, metrics: metrics.clone() };
        router = router.merge(push::router(push));
    }
    let mut parts = JoinSet::new();
    super::refuse_pooler(&endpoint, connections + 1, &mut parts, &stop).await?;
    spawn(&mut parts, "HTTP", &stop, serve::http(listener, router, stop.clone()));

    let head = Head::default();
    let listening = head.clone().listen(pool, stop.clone());
    spawn(&mut parts, "listening to appends", &stop, listening.map(Ok::<_, Infallible>));
    let bus = options.pubsub.bus();
    let mut subscriptions = vec![bus.dead_letters(topic, room.clone())];
    if options.delivery == DeliveryMode::Pull {
        let pull = Pull { streams: options.streams as usize, max_outstanding: options.max_outstanding.into(), room };
        subscriptions.push(bus.subscription(topic, pull));
    }
    let applying = endpoint.applying(connections - connections / 2);
    let part = TopicWorker {
        topic,
        projections: catalogue.projections().to_vec(),
        pool: applying,
        head,
        metrics,
        event_store: &options.grpc,
        sweep_grace: options.grace.time(),
    };
    part.spawn(subscriptions, sender, deliveries, &mut parts, &stop)?;

    tracing::info!(topic = topic.name, http = %address, delivery = ?options.delivery, "worker: working");
    super::wait(parts, stop).await
}

/// The parts of a worker, for its own process or for `fleet dev`.
pub struct TopicWorker<'a> {
    pub topic: &'static Topic,
    pub projections: Vec<&'static dyn AnyProjection>,
    pub pool: PgPool,
    pub head: Head,
    pub metrics: Metrics,
    /// host:port of the event store's gRPC.
    pub event_store: &'a str,
    pub sweep_grace: Duration,
}

impl TopicWorker<'_> {
    pub fn spawn(
        self,
        subscriptions: Vec<Arc<dyn Subscription>>,
        sender: mpsc::Sender<Delivery>,
        deliveries: mpsc::Receiver<Delivery>,
        parts: &mut JoinSet<Result<()>>,
        stop: &CancellationToken,
    ) -> Result<()> {
        let Self { topic, projections, pool, head, metrics, event_store, sweep_grace } = self;
        let channel = client::endpoint(event_store)?.connect_lazy();
        let resolver = Resolver {
            topic,
            projections: projections.clone(),
            pool: pool.clone(),
            store: EventStoreClient::new(channel),
            metrics: metrics.clone(),
            patience: PATIENCE,
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
                    Some(Ok(())) => {
                        appliers.push(Applier::new(projection, topic, pool.clone(), metrics.clone()));
                    }
                    // Its events stay in the store; the topic's other projections must not wait for it.
                    Some(Err(version)) => tracing::error!(projection = projection.name(), error = %version, "left out"),
                }
            }
            let worker = Worker { resolver, appliers, head, sweep_grace };
            worker.run(subscriptions, deliveries, sender, stop).await
        });
        Ok(())
    }
}

fn verifier(options: &Options, address: SocketAddr) -> Result<Option<Arc<Verifier>>> {
    if options.delivery == DeliveryMode::Pull {
        return Ok(None);
    }
    match (&options.push_audience, &options.push_service_account) {
        (Some(audience), Some(service_account)) => {
            let config = OidcConfig {
                audience: audience.clone(),
                service_account: service_account.clone(),
                jwks_url: options.push_jwks_url.clone(),
            };
            Ok(Some(Arc::new(Verifier::new(config).context("building the token verifier")?)))
        }
        (None, None) if options.push_unauthenticated && address.ip().is_loopback() => Ok(None),
        (None, None) if options.push_unauthenticated => {
            bail!("FLEET_PUSH_UNAUTHENTICATED needs a loopback address, not {address}: anybody could push")
        }
        _ => bail!(
            "push delivery needs FLEET_PUSH_AUDIENCE and FLEET_PUSH_SERVICE_ACCOUNT, so that only the subscription can push"
        ),
    }
}
