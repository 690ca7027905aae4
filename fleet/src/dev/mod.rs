//! `fleet dev`: the whole fleet in one process, on a Postgres and a bus that it finds or starts.

mod file;
mod live;
mod sample;

use std::path::PathBuf;

use anyhow::{Context, Result};
use bus::Room;
use bus::embedded::Embedded;
use bus::google::Google;
use clap::{Args, ValueEnum};
use database::Endpoint;
use event_store::tail::Head;
use local_servers::{DataDir, Emulator, Place, Postgres};
use read_model::Catalogue;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use workers::Metrics;
use workers::admin::{self, Admin};
use workers::http::{self, Health};
use workers::worker::{BATCH, MAX_OUTSTANDING_BYTES};

use crate::bus_choice::{Bus, PubSub, Pull};
use crate::commands::out;
use crate::roles::event_store::EventStore;
use crate::roles::worker::{Grace, TopicWorker};
use crate::roles::{self, migrate};
use crate::telemetry::{self, Log};
use crate::{client, serve};

#[derive(Debug, Args)]
// What goes on is in the live lines; the log is for what goes wrong.
#[command(mut_arg("log", |log| log.default_value("warn")))]
pub struct Options {
    /// Where the private Postgres and everything else is kept.
    #[arg(long, env = "FLEET_DATA_DIR", default_value = ".fleet")]
    pub data_dir: PathBuf,
    /// host:port of health, metrics and admin API.
    #[arg(long, env = "FLEET_HTTP", default_value = client::HTTP)]
    pub http: String,
    /// host:port of the event store's gRPC.
    #[arg(long, env = "FLEET_GRPC", default_value = client::GRPC)]
    pub grpc: String,
    /// Do not load the sample history at the first start.
    #[arg(long)]
    pub no_sample: bool,
    /// emulator (found or started) or embedded (within this process). Default: emulator if there is one.
    #[arg(long, value_enum)]
    pub bus: Option<BusKind>,
    /// A Postgres to use instead of a private one.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
    #[command(flatten)]
    pubsub: PubSub,
    #[command(flatten)]
    grace: Grace,
    #[command(flatten)]
    log: Log,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BusKind {
    Emulator,
    Embedded,
}

pub async fn run(
    catalogue: &Catalogue,
    sample: Option<&'static [u8]>,
    options: Options,
    stop: CancellationToken,
) -> Result<()> {
    telemetry::init(&options.log)?;
    let data_dir = DataDir::lock(&options.data_dir)?;
    let place = Place::DataDir(&data_dir);
    // Bind before anything is started: a port in use is the commonest reason to end at once.
    let (grpc, grpc_address) = serve::bind(&options.grpc, "--grpc").await?;
    let (http, http_address) = serve::bind(&options.http, "--http").await?;

    let starting = async {
        let given = options.database_url.as_deref().filter(|url| !url.is_empty());
        let postgres = Postgres::resolve(given, place).await?;
        out::line(format!("database  {}", postgres.choice()))?;
        let (bus, emulator) = choose_bus(&options, place).await?;
        anyhow::Ok((postgres, bus, emulator))
    };
    let Some(started) = stop.run_until_cancelled(starting).await else { return Ok(()) };
    let (postgres, bus, emulator) = started?;

    let dev =
        Dev { catalogue, sample, options: &options, postgres: &postgres, bus, grpc_address: grpc_address.to_string() };
    let file = file::DevFile {
        database_url: postgres.url(),
        grpc: &dev.grpc_address,
        http: &http_address.to_string(),
        pubsub: file::PubSub {
            kind: if emulator.is_some() { "emulator" } else { "embedded" },
            host: emulator.as_ref().map(Emulator::host),
            project: &options.pubsub.project,
        },
        pid: std::process::id(),
    };
    let bus_died = async {
        match &emulator {
            Some(emulator) => emulator.died().await,
            None => std::future::pending().await,
        }
    };
    // Nothing would ever work again.
    let ended = tokio::select! {
        ended = dev.run(grpc, http, &file, &data_dir, &stop) => ended,
        died = postgres.died() => Err(died.into()),
        died = bus_died => Err(died.into()),
    };

    file::remove(&data_dir);
    if let Some(emulator) = emulator {
        emulator.stop().await?;
    }
    postgres.stop().await?;
    ended?;
    out::line("stopped")
}

async fn choose_bus(options: &Options, place: Place<'_>) -> Result<(Bus, Option<Emulator>)> {
    if options.bus != Some(BusKind::Embedded) {
        match Emulator::resolve(options.pubsub.emulator(), place).await {
            Ok(Some(emulator)) => {
                out::line(format!("bus       {}", emulator.choice()))?;
                let google = Google::new(&options.pubsub.project, Some(emulator.host().to_owned()));
                return Ok((Bus::Google(google), Some(emulator)));
            }
            Ok(None) if options.bus == Some(BusKind::Emulator) => {
                anyhow::bail!(
                    "no Pub/Sub emulator is installed: install it with `gcloud components install pubsub-emulator`, \
                     set PUBSUB_EMULATOR_HOST, or use --bus embedded"
                );
            }
            Err(error) if options.bus == Some(BusKind::Emulator) => return Err(error.into()),
            Ok(None) => {}
            Err(error) => out::complain(format!("fleet: {error}; going on with the bus within this process")),
        }
    }
    out::line("bus       within this process (no Pub/Sub emulator)")?;
    Ok((Bus::Embedded(Embedded::new()), None))
}

struct Dev<'a> {
    catalogue: &'a Catalogue,
    sample: Option<&'static [u8]>,
    options: &'a Options,
    postgres: &'a Postgres,
    bus: Bus,
    grpc_address: String,
}

impl Dev<'_> {
    async fn run(
        &self,
        grpc: TcpListener,
        http: TcpListener,
        file: &file::DevFile<'_>,
        data_dir: &DataDir,
        stop: &CancellationToken,
    ) -> Result<()> {
        let url = self.postgres.url();
        let endpoint = roles::endpoint(url)?;
        let pool = endpoint.reading(20);
        let catalogue = self.catalogue;
        migrate::migrate(catalogue, &pool).await?;
        self.bus.ensure(catalogue.topics()).await.context("creating topics and subscriptions")?;

        let mut parts = JoinSet::new();
        let head = Head::default();
        let registry = roles::registry("dev")?;
        let metrics = Metrics::register(&registry).context("registering metrics")?;
        metrics.register_lag(&registry).context("registering metrics")?;
        EventStore {
            endpoint: endpoint.clone(),
            pool: endpoint.serving(20),
            head: head.clone(),
            registry: registry.clone(),
            grpc,
            relays: Some((self.bus.clone(), catalogue.topics().to_vec())),
        }
        .spawn(&mut parts, stop)?;
        self.spawn_workers(&endpoint, &head, &metrics, &mut parts, stop)?;

        let health = Health::new(pool.clone(), endpoint.primary.clone(), migrate::migrations(), registry);
        let health = health.with_lag(metrics, catalogue.projections().to_vec());
        let admin = admin::router(Admin::new(pool.clone(), catalogue.clone()));
        let router = http::router(health).merge(http::guarded(admin, endpoint.primary));
        roles::spawn(&mut parts, "HTTP", stop, serve::http(http, router, stop.clone()));

        file::write(data_dir, file)?;
        let pages = "(/metrics, /healthz, /readyz, /admin/v1/projections)";
        out::line(format!("http      http://{}  {pages}", file.http))?;
        out::line(format!("grpc      {}", file.grpc))?;
        out::line(format!("data      {}", data_dir.path().display()))?;

        if let Some(history) = self.sample.filter(|_| !self.options.no_sample) {
            let loading = sample::load_once(history, &pool, data_dir, &self.grpc_address);
            if let Some(loaded) = stop.run_until_cancelled(loading).await {
                loaded?;
            }
        }
        let (showing, catalogue) = (stop.clone(), catalogue.clone());
        roles::spawn(&mut parts, "the live lines", stop, async move {
            let shown = live::show(pool, catalogue, showing.clone()).await;
            // Whoever watched has gone, as `head` does. A fleet that nobody sees would be found by the next port in use.
            if shown.as_ref().is_err_and(|error| error.is::<out::Closed>()) {
                showing.cancel();
                return Ok(());
            }
            shown
        });
        roles::wait(parts, stop.clone()).await
    }

    fn spawn_workers(
        &self,
        endpoint: &Endpoint,
        head: &Head,
        metrics: &Metrics,
        parts: &mut JoinSet<Result<()>>,
        stop: &CancellationToken,
    ) -> Result<()> {
        let pool = endpoint.applying(20);
        let catalogue = self.catalogue;
        for &topic in catalogue.topics() {
            let (sender, deliveries) = mpsc::channel(BATCH);
            let room = Room::new(MAX_OUTSTANDING_BYTES);
            let live = self.bus.subscription(topic, Pull { streams: 8, max_outstanding: 1000, room: room.clone() });
            let subscriptions = vec![live, self.bus.dead_letters(topic, room)];
            let worker = TopicWorker {
                topic,
                projections: catalogue.listening_to(topic),
                pool: pool.clone(),
                head: head.clone(),
                metrics: metrics.clone(),
                event_store: &self.grpc_address,
                sweep_grace: self.options.grace.time(),
            };
            worker.spawn(subscriptions, sender, deliveries, parts, stop)?;
        }
        Ok(())
    }
}
