//! `fleet dev`: the whole fleet in one process, on a Postgres and a bus that it finds or starts.

mod file;
mod live;
mod sample;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bus::embedded::Embedded;
use bus::google::Google;
use clap::{Args, ValueEnum};
use identity::Gate;
use local_servers::{DataDir, Emulator, Place, Postgres};
use read_model::{AnyProjection, Catalogue};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection, PgPool};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use workers::generations::shape;

use crate::bus_choice::{Bus, PubSub};
use crate::commands::out;
use crate::exit::Exit;
use crate::host::{Parts, Raised, Worker};
use crate::roles::worker::Grace;
use crate::telemetry;
use crate::{client, roles, serve};

#[derive(Debug, Args)]
// What goes on is in the live lines; the log is for what goes wrong, and for a raised VERSION that is built and put in place.
#[command(mut_arg("log", |log| log.default_value("warn,workers::generations::automatic=info,workers::generations::promote=info")))]
pub struct Options {
    /// Where the private Postgres and everything else is kept.
    #[arg(long, env = "FLEET_DATA_DIR", default_value = client::FOLDER)]
    pub data_dir: PathBuf,
    /// host:port of health, metrics and admin API.
    #[arg(long, env = "FLEET_HTTP", default_value = client::HTTP)]
    pub http: String,
    /// host:port of the event store's gRPC.
    #[arg(long, env = "FLEET_GRPC", default_value = client::GRPC)]
    pub grpc: String,
    /// Begin anew: drop the private Postgres, with all events in it, before anything is started.
    #[arg(long)]
    pub fresh: bool,
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
    telemetry: telemetry::Settings,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BusKind {
    Emulator,
    Embedded,
}

/// How long the database may take to let somebody in, and an emulator to listen.
const REACHED: Duration = Duration::from_secs(10);

pub async fn run(
    catalogue: &Catalogue,
    sample: Option<&'static [u8]>,
    options: Options,
    stop: CancellationToken,
) -> Result<()> {
    let _telemetry = telemetry::begin("dev", &options.telemetry)?;
    let data_dir = DataDir::lock(&options.data_dir)?;
    let place = Place::DataDir(&data_dir);
    // Bind before anything is started: a port in use is the commonest reason to end at once.
    let (grpc, http) = (serve::bind(&options.grpc, "--grpc").await, serve::bind(&options.http, "--http").await);
    let ((grpc, grpc_address), (http, http_address)) = match (grpc, http) {
        (Err(grpc), Err(http)) => bail!("{http:#}; and {grpc:#}"),
        (grpc, http) => (grpc?, http?),
    };
    for address in [grpc_address, http_address] {
        ensure!(
            address.ip().is_loopback(),
            "fleet dev lets in whoever reaches {address}, and so listens on loopback addresses only; the roles ask who comes"
        );
    }

    if options.fresh {
        ensure!(
            options.database_url.as_deref().is_none_or(str::is_empty),
            "--fresh drops the private Postgres of the data folder, and DATABASE_URL names another one: unset it, or leave --fresh out"
        );
        let dropped = data_dir.clear(&[sample::DONE, file::NAME]).await?;
        let what = if dropped { "dropped the old Postgres" } else { "there was nothing to drop" };
        out::line(format!("fresh     {what} in {}", data_dir.path().display()))?;
    }

    let starting = async {
        let given = options.database_url.as_deref().filter(|url| !url.is_empty());
        let postgres = Postgres::resolve(given, place).await?;
        if given.is_some() {
            reachable(&database::options(postgres.url()).context("--database-url")?).await?;
        }
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
    let mut why = "as --bus embedded says";
    if options.bus != Some(BusKind::Embedded) {
        if let Some(host) = options.pubsub.emulator() {
            listens(host).await?;
        }
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
            Ok(None) => why = "Google's Pub/Sub emulator is not installed: gcloud components install pubsub-emulator",
            Err(error) => {
                out::complain(format!("fleet: {error}"));
                why = "Google's Pub/Sub emulator did not start: see above";
            }
        }
    }
    out::line(format!("bus       within this process ({why})"))?;
    Ok((Bus::Embedded(Embedded::new()), None))
}

/// Whoever has named an emulator that is not there is told so, and not what could not be created in it a minute later.
async fn listens(host: &str) -> Result<()> {
    let deadline = Instant::now() + REACHED;
    loop {
        let why = match tokio::time::timeout(REACHED, TcpStream::connect(host)).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("nothing heard within {} s", REACHED.as_secs()),
        };
        if Instant::now() >= deadline {
            return Err(Exit::Unreachable
                .because(format!("no Pub/Sub emulator answers at {host} ({why}); see --pubsub-emulator-host")));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Whoever has named a database that nobody answers at is told so, and not what his pools lack then.
async fn reachable(database: &PgConnectOptions) -> Result<()> {
    let why = match tokio::time::timeout(REACHED, PgConnection::connect_with(database)).await {
        Ok(Ok(connection)) => return Ok(connection.close().await?),
        Ok(Err(error)) => database::describe(&error),
        Err(_) => format!("nothing heard for {} s", REACHED.as_secs()),
    };
    Err(Exit::Unreachable.because(format!("the database does not answer: {why}; see --database-url")))
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
        let database = database::options(url).context("the URL of the database")?;
        let catalogue = self.catalogue;
        let parts = Parts::at(catalogue, database).pools(20, 20).registry(roles::registry("dev")?).measure_lag();
        let mut parts = parts.shutdown(stop.clone()).start().await?;
        parts.migrate().await?;
        self.bus.ensure(catalogue.topics()).await.context("creating topics and subscriptions")?;
        parts.event_store(grpc, Gate::open(), Some(self.bus.clone()), 20)?;
        for &topic in catalogue.topics() {
            parts.worker(Worker {
                streams: 8,
                max_outstanding: 1000,
                sweep_grace: self.options.grace.time(),
                raised: Raised::Promoted,
                ..Worker::of(topic, self.bus.clone(), &*self.grpc_address)
            })?;
        }
        let (pool, ending) = (parts.pool().clone(), parts.stop().clone());
        let router = parts.router(Gate::open())?;
        parts.spawn("HTTP", serve::http(http, router, ending.clone()));

        file::write(data_dir, file)?;
        let pages = "(/metrics, /healthz, /readyz, /admin/v1/projections)";
        out::line(format!("http      http://{}  {pages}", file.http))?;
        out::line(format!("grpc      {}", file.grpc))?;
        out::line(format!("data      {}", data_dir.path().display()))?;
        let hidden = self.options.data_dir != Path::new(client::FOLDER);
        if let Some(variables) = file.variables(hidden) {
            let which = if hidden { "need" } else { "in other folders need" };
            out::line(format!("commands  {which}: {variables}"))?;
        }

        if let Some(history) = self.sample.filter(|_| !self.options.no_sample) {
            let loading = sample::load_once(history, &pool, data_dir, &self.grpc_address);
            if let Some(loaded) = stop.run_until_cancelled(loading).await {
                loaded?;
            }
        }
        for projection in catalogue.projections() {
            of_its_tables(&pool, *projection).await;
        }
        out::line(format!("\n{}\n", live::MEANING))?;
        let catalogue = catalogue.clone();
        parts.spawn("the live lines", async move {
            let shown = live::show(pool, catalogue, ending.clone()).await;
            // Whoever watched has gone, as `head` does. A fleet that nobody sees would be found by the next port in use.
            if shown.as_ref().is_err_and(|error| error.is::<out::Closed>()) {
                ending.cancel();
                return Ok(());
            }
            shown
        });
        Ok(parts.run().await?)
    }
}

/// An author who changes the tables and forgets the version would look for a mistake elsewhere.
async fn of_its_tables(pool: &PgPool, projection: &dyn AnyProjection) {
    let name = projection.name();
    match database::with_deadline("comparing tables", shape::differs(pool, projection)).await {
        Ok(different) if different.is_empty() => {}
        Ok(different) => tracing::warn!(
            projection = name,
            different,
            "its tables are not those that it was built with: raise its VERSION, or begin anew with --fresh"
        ),
        Err(error) => {
            tracing::warn!(projection = name, error = database::describe(&error), "its tables cannot be made");
        }
    }
}
