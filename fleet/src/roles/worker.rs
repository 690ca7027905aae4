//! `fleet worker --topic T`: applies one topic's events to its projections.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use axum::Router;
use clap::{Args, ValueEnum};
use identity::{GOOGLE_KEYS, Gate};
use read_model::Catalogue;
use tokio_util::sync::CancellationToken;
use workers::push::{OidcConfig, Verifier};
use workers::worker::MAX_OUTSTANDING_BYTES;

use super::{Database, until_settled};
use crate::bus_choice::PubSub;
use crate::client::Shown;
pub use crate::host::worker::TopicWorker;
use crate::host::{Parts, Worker};
use crate::serve::Http;
use crate::telemetry;

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
    pub telemetry: telemetry::Settings,
    /// host:port (or URL) of the event store's gRPC, for adopting foreign events.
    #[arg(long, env = "FLEET_GRPC", default_value = "127.0.0.1:50051")]
    pub grpc: String,
    #[command(flatten)]
    shown: Shown,
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
    /// Works until everything that is in the store now is settled, and what people have asked for is done; then ends, with exit
    /// code 1 if it parked something. For jobs.
    #[arg(long, env = "FLEET_UNTIL_SETTLED")]
    pub until_settled: bool,
    /// Seconds after which a worker that is to end does so in any case, with exit code 1.
    #[arg(long = "for", env = "FLEET_FOR", value_name = "SECONDS", value_parser = parse_limit, requires = "until_settled")]
    pub limit: Option<f64>,
    /// The audience that pushed tokens must have: the URL of this service as the subscription knows it.
    #[arg(long, env = "FLEET_PUSH_AUDIENCE")]
    pub push_audience: Option<String>,
    /// The service account that pushed tokens must be of.
    #[arg(long, env = "FLEET_PUSH_SERVICE_ACCOUNT")]
    pub push_service_account: Option<String>,
    /// Where the issuer of pushed tokens publishes its keys.
    #[arg(long, env = "FLEET_PUSH_JWKS_URL", default_value = GOOGLE_KEYS)]
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

fn parse_limit(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (1.0..=604_800.0).contains(&seconds) => Ok(seconds),
        _ => Err("must be seconds, from 1 to 604800".to_owned()),
    }
}

/// From a megabyte, below which hardly a message fits, to what no instance has.
fn parse_bytes(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(bytes) if (1 << 20..=1 << 32).contains(&bytes) => Ok(bytes),
        _ => Err(format!("must be bytes, from {} to {}", 1_u64 << 20, 1_u64 << 32)),
    }
}

pub async fn run(catalogue: &Catalogue, options: Options, stop: CancellationToken) -> Result<ExitCode> {
    let topic = catalogue.topic(&options.topic).with_context(|| format!("there is no topic {:?}", options.topic))?;
    let database = database::options(&options.database.url.database_url).context(super::NO_URL)?;
    let registry = super::registry("worker")?;
    let doors = options.http.bind().await?;
    let address = doors.address;
    let verifier = verifier(&options, address)?;

    let catalogue = catalogue.of(topic);
    let parts = Parts::at(&catalogue, database).connections(options.database.max_connections).registry(registry);
    let mut parts = parts.shutdown(stop).start().await.context("DATABASE_URL")?;
    let worker = Worker {
        streams: options.streams as usize,
        max_outstanding: options.max_outstanding.into(),
        max_outstanding_bytes: options.max_outstanding_bytes,
        sweep_grace: options.grace.time(),
        credentials: options.shown.credentials(),
        ..Worker::of(topic, options.pubsub.bus(), options.grpc)
    };
    let others = match options.delivery {
        DeliveryMode::Pull => {
            parts.worker(worker).context("FLEET_GRPC")?;
            // Whoever is on this machine may as well use it. Beyond, there is `fleet admin`, which asks who comes.
            if address.ip().is_loopback() { parts.admin(Gate::open())? } else { Router::new() }
        }
        DeliveryMode::Push => parts.pushed_worker(worker, verifier).context("FLEET_GRPC")?,
    };
    let (health, stop) = (parts.health()?, parts.stop().clone());
    parts.spawn("HTTP", doors.serve(health, others, stop));
    let settled = options
        .until_settled
        .then(|| until_settled::begin(&mut parts, &catalogue, topic, options.limit))
        .transpose()?;

    tracing::info!(topic = topic.name, http = %address, delivery = ?options.delivery, "worker: working");
    parts.run().await?;
    Ok(settled.map_or(ExitCode::SUCCESS, |settled| settled.exit_code()))
}

fn verifier(options: &Options, address: SocketAddr) -> Result<Option<Verifier>> {
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
            Ok(Some(Verifier::new(config).context("building the token verifier")?))
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
