//! `fleet dev`: the whole fleet in one process, on a Postgres and a bus that it finds or starts.

mod file;
mod live;
mod sample;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use bus::Room;
use bus::embedded::Embedded;
use bus::google::Google;
use clap::{Args, ValueEnum};
use database::Endpoint;
use event_store::tail::Head;
use local_servers::{DataDir, Emulator, Place, Postgres};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use workers::Metrics;
use workers::admin::{self, Admin};
use workers::http::{self, Health};
use workers::worker::{BATCH, MAX_OUTSTANDING_BYTES};

use crate::bus_choice::{Bus, Pull};
use crate::commands::out;
use crate::roles::event_store::EventStore;
use crate::roles::worker::TopicWorker;
use crate::roles::{self, migrate};
use crate::{Fleet, cli, client, serve, telemetry};

#[derive(Debug, Args)]
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
    /// host:port of a running Pub/Sub emulator to use.
    #[arg(long, env = "PUBSUB_EMULATOR_HOST")]
    pub pubsub_emulator_host: Option<String>,
    /// The project of the topics in the emulator.
    #[arg(long, env = "GOOGLE_CLOUD_PROJECT", default_value = "fleet-dev")]
    pub project: String,
    /// Seconds that the bus has to deliver an event before the sweep takes it from the store.
    #[arg(long, env = "FLEET_SWEEP_GRACE", default_value_t = 10.0)]
    pub sweep_grace: f64,
    /// What is logged: a level, or a list such as info,workers=debug.
    #[arg(long, env = "FLEET_LOG", default_value = "warn")]
    pub log: String,
    /// text for people, json for programs.
    #[arg(long, env = "FLEET_LOG_FORMAT", value_enum, default_value_t = telemetry::Format::Text)]
    pub log_format: telemetry::Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BusKind {
    Emulator,
    Embedded,
}

pub async fn run(fleet: &Fleet, options: Options, stop: CancellationToken) -> Result<()> {
    telemetry::init(&cli::Log { log: options.log.clone(), log_format: options.log_format })?;
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

    let dev = Dev { fleet, options: &options, postgres: &postgres, bus, grpc_address: grpc_address.to_string() };
    let file = file::DevFile {
        database_url: postgres.url(),
        grpc: &dev.grpc_address,
        http: &http_address.to_string(),
        pubsub: file::PubSub {
            kind: if emulator.is_some() { "emulator" } else { "embedded" },
            host: emulator.as_ref().map(Emulator::host),
            project: &options.project,
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
        let given = options.pubsub_emulator_host.as_deref().filter(|host| !host.is_empty());
        match Emulator::resolve(given, place).await {
            Ok(Some(emulator)) => {
                out::line(format!("bus       {}", emulator.choice()))?;
                let google = Google::new(&options.project, Some(emulator.host().to_owned()));
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
    fleet: &'a Fleet,
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
        let catalogue = self.fleet.catalogue();
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

        if let Some(history) = self.fleet.sample().filter(|_| !self.options.no_sample) {
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
        let catalogue = self.fleet.catalogue();
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
                sweep_grace: Duration::try_from_secs_f64(self.options.sweep_grace)
                    .context("--sweep-grace must be seconds, 0 or more")?,
            };
            worker.spawn(subscriptions, sender, deliveries, parts, stop)?;
        }
        Ok(())
    }
}
