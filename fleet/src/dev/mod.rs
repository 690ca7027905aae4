//! `fleet dev`: the whole fleet in one process, on a Postgres and a bus that it finds or starts.

mod file;
mod live;
mod sample;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use bus::embedded::Embedded;
use bus::google::Google;
use clap::{Args, ValueEnum};
use local_servers::{DataDir, Emulator, Place, Postgres};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::bus_choice::Bus;
use crate::host::{Parts, Worker};
use crate::{Fleet, cli, client, roles, serve, telemetry};

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
        println!("database  {}", postgres.choice());
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
    if ended.is_ok() {
        println!("stopped");
    }
    ended
}

async fn choose_bus(options: &Options, place: Place<'_>) -> Result<(Bus, Option<Emulator>)> {
    if options.bus != Some(BusKind::Embedded) {
        let given = options.pubsub_emulator_host.as_deref().filter(|host| !host.is_empty());
        match Emulator::resolve(given, place).await {
            Ok(Some(emulator)) => {
                println!("bus       {}", emulator.choice());
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
            Err(error) => eprintln!("fleet: {error}; going on with the bus within this process"),
        }
    }
    println!("bus       within this process (no Pub/Sub emulator)");
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
        let database = database::options(url).context("the URL of the database")?;
        let catalogue = self.fleet.catalogue();
        let parts = Parts::at(catalogue, database).pools(20, 20).registry(roles::registry("dev")?).measure_lag();
        let mut parts = parts.shutdown(stop.clone()).start().await?;
        parts.migrate().await?;
        self.bus.ensure(catalogue.topics()).await.context("creating topics and subscriptions")?;
        parts.event_store(grpc, Some(self.bus.clone()), 20)?;
        for &topic in catalogue.topics() {
            parts.worker(Worker {
                streams: 8,
                max_outstanding: 1000,
                sweep_grace: Duration::try_from_secs_f64(self.options.sweep_grace)
                    .context("--sweep-grace must be seconds, 0 or more")?,
                ..Worker::of(topic, self.bus.clone(), &*self.grpc_address)
            })?;
        }
        let (pool, ending) = (parts.pool().clone(), parts.stop().clone());
        let router = parts.router()?;
        parts.spawn("HTTP", serve::http(http, router, ending.clone()));

        file::write(data_dir, file)?;
        println!("http      http://{}  (/metrics, /healthz, /readyz, /admin/v1/projections)", file.http);
        println!("grpc      {}", file.grpc);
        println!("data      {}", data_dir.path().display());

        if let Some(history) = self.fleet.sample().filter(|_| !self.options.no_sample) {
            let loading = sample::load_once(history, &pool, data_dir, &self.grpc_address);
            if let Some(loaded) = stop.run_until_cancelled(loading).await {
                loaded?;
            }
        }
        parts.spawn("the live lines", live::show(pool, catalogue.clone(), ending));
        Ok(parts.run().await?)
    }
}
