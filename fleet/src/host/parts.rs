//! Parts that share a database, a registry, an HTTP router and an end.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use axum::Router;
use bus::Room;
use database::Endpoint;
use database::watch::Watch;
use event_store::tail::Head;
use futures::FutureExt;
use identity::Gate;
use prometheus::Registry;
use read_model::Catalogue;
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use workers::Metrics;
use workers::admin::{self, Admin, Door};
use workers::http::{self, Health};
use workers::lag::{Measurer, samples};
use workers::part::Ended;
use workers::push::{self, Push, Verifier};
use workers::retention::Retention;
use workers::worker::BATCH;

use super::builder::Builder;
use super::error::Error;
use super::event_store::EventStore;
use super::grants::{Duty, needs};
use super::migrations::{migrate, migrations};
use super::pools::Pools;
use super::running::{self, Running};
use super::worker::{TopicWorker, Worker};
use crate::bus_choice::{Bus, Pull};

/// Connections for building generations, and for looking whether there is one to build.
const BUILDING: u32 = 4;

/// Parts that have begun. They go on until their program's token is cancelled; dropped before, they are rolled back where they
/// stand.
pub struct Parts {
    pub(super) catalogue: Catalogue,
    pub(super) endpoint: Endpoint,
    pub(super) applying: PgPool,
    pub(super) building: PgPool,
    pub(super) head: Head,
    pub(super) stop: CancellationToken,
    pub(super) running: Running,
    pool: PgPool,
    registry: Registry,
    pools: Pools,
    metrics: Option<Metrics>,
    lag: bool,
    /// Of what has begun.
    duties: Vec<Duty>,
    _watch: Watch,
}

impl Parts {
    /// For a program whose database is that of `pool`. The parts open connections of their own to it, as the same user:
    /// theirs have deadlines, keep their plans, and are given up when another server becomes the primary.
    pub fn builder(catalogue: &Catalogue, pool: &PgPool) -> Builder {
        Self::at(catalogue, database::beside((*pool.connect_options()).clone()))
    }

    pub(crate) fn at(catalogue: &Catalogue, options: PgConnectOptions) -> Builder {
        Builder::new(catalogue, options)
    }

    async fn start(builder: Builder, endpoint: Endpoint) -> Result<Self, Error> {
        let Builder { catalogue, reading, applying, registry, lag, stop, .. } = builder;
        // A child, because the parts end together, and the program's token is the program's.
        let stop = stop.child_token();
        let watch = endpoint.watch();
        let mut running = Running::new();
        if !builder.pooler_may_lack {
            // With the listener's and the watch's.
            running::refuse_pooler(&endpoint, reading + applying + 2, &mut running, &stop).await?;
        }
        let pool = endpoint.reading(reading);
        let head = Head::default();
        let listening = head.clone().listen(pool.clone(), stop.clone());
        running::spawn(&mut running, "listening to appends", &stop, listening.map(Ok::<_, Infallible>));
        let applying = endpoint.applying(applying);
        let building = endpoint.applying(BUILDING);
        let pools = Pools::register(&registry)?;
        pools.add("reading", &pool);
        pools.add("applying", &applying);
        pools.add("building", &building);
        Ok(Self {
            catalogue,
            endpoint,
            applying,
            building,
            head,
            stop,
            running,
            pool,
            registry,
            pools,
            metrics: None,
            lag,
            duties: Vec::new(),
            _watch: watch,
        })
    }

    /// Brings the database up to date, as `fleet migrate` does: the tables of the event store, of the workers, and of each
    /// read model of the catalogue. Safe in many processes at once. What was done, one line each.
    ///
    /// # Errors
    /// It could not be done; nothing was done then, or all before a migration that cannot be in a transaction.
    pub async fn migrate(&self) -> Result<Vec<String>, Error> {
        migrate(&self.catalogue, &self.pool).await
    }

    /// Begins the worker of a topic, which pulls from the topic's subscription and keeps the read models of the catalogue that
    /// listen to the topic. It waits for the database, for the migrations and for the bus, if they are not there yet.
    ///
    /// # Errors
    /// The address of the event store is none, or the registry has metrics of these names already.
    pub fn worker(&mut self, worker: Worker) -> Result<(), Error> {
        self.begin(worker, None).map(drop)
    }

    /// Begins the worker of a topic whose subscription pushes; the router has its `POST /push`. Without a verifier it believes
    /// whoever can reach it.
    ///
    /// # Errors
    /// As [`worker`](Self::worker).
    pub fn pushed_worker(&mut self, worker: Worker, verifier: Option<Verifier>) -> Result<Router, Error> {
        self.begin(worker, Some(verifier))
    }

    /// The router has what is `pushed`, if something is.
    fn begin(&mut self, worker: Worker, pushed: Option<Option<Verifier>>) -> Result<Router, Error> {
        let Worker { topic, bus, .. } = worker;
        self.duties.push(Duty::Worker(topic.name.to_owned()));
        let metrics = self.metrics()?;
        let projections = self.catalogue.listening_to(topic);
        let names: Vec<_> = projections.iter().map(|projection| projection.name()).collect();
        metrics.begin(topic, &names, pushed.is_some());
        let (sender, deliveries) = mpsc::channel(BATCH);
        let room = Room::new(worker.max_outstanding_bytes);
        let mut subscriptions = vec![bus.dead_letters(topic, room.clone())];
        let router = if let Some(verifier) = pushed {
            let (deliveries, verifier) = (sender.clone(), verifier.map(Arc::new));
            push::router(Push { topic, deliveries, room, verifier, metrics: metrics.clone() })
        } else {
            let pull = Pull { streams: worker.streams, max_outstanding: worker.max_outstanding, room };
            subscriptions.push(bus.subscription(topic, pull));
            Router::new()
        };
        let part = TopicWorker {
            topic,
            projections,
            pool: self.applying.clone(),
            building: self.building.clone(),
            reading: self.pool.clone(),
            head: self.head.clone(),
            metrics,
            event_store: &worker.event_store,
            credentials: worker.credentials,
            sweep_grace: worker.sweep_grace,
            raised: worker.raised,
            throttled: true,
        };
        part.spawn(subscriptions, sender, deliveries, &mut self.running, &self.stop)?;
        Ok(router)
    }

    /// Begins an event store: gRPC append and read on `listener`, behind `gate`, and a relay of each topic to `bus`, if there is
    /// one. It opens so many connections to the database, and one for writing.
    /// It also forgets bookkeeping that is old, after the days that `fleet event-store` has by default.
    ///
    /// # Errors
    /// The registry has metrics of these names already.
    pub fn event_store(
        &mut self,
        listener: TcpListener,
        gate: Gate,
        bus: Option<Bus>,
        connections: u32,
    ) -> Result<(), Error> {
        let pool = self.endpoint.serving(connections);
        self.pools.add("serving", &pool);
        self.duties.extend([Duty::Append, Duty::Prune]);
        self.duties.extend(bus.is_some().then_some(Duty::Relay));
        let part = EventStore {
            endpoint: self.endpoint.clone(),
            pool,
            head: self.head.clone(),
            registry: self.registry.clone(),
            grpc: listener,
            gate,
            retention: Retention::default(),
            relays: bus.map(|bus| (bus, self.catalogue.topics().to_vec())),
        };
        part.spawn(&mut self.running, &self.stop)
    }

    /// `/healthz`, `/readyz`, `/metrics`, and, behind `gate`, the admin API below `/admin/v1`. An open gate asks nobody who they
    /// are: only where nobody but operators gets to.
    ///
    /// # Errors
    /// The registry has metrics already that these have.
    pub fn router(&mut self, gate: Gate) -> Result<Router, Error> {
        let health = self.health()?;
        Ok(http::probes(health.clone()).merge(http::metrics(health)).merge(self.admin(gate)?))
    }

    /// The admin API below `/admin/v1`, behind `gate`.
    pub(crate) fn admin(&mut self, gate: Gate) -> Result<Router, Error> {
        let admin = Admin::new(self.pool.clone(), self.catalogue.clone(), self.stop.clone());
        let door = Door { gate, primary: self.endpoint.primary.clone(), metrics: self.metrics()? };
        Ok(admin::router(admin, door))
    }

    /// The read models that the workers which have begun write.
    fn written(&self) -> Vec<String> {
        let works = |topic: &str| self.duties.iter().any(|duty| matches!(duty, Duty::Worker(of) if of == topic));
        let all = self.catalogue.projections().iter();
        let written = all.filter(|projection| projection.topics().iter().any(|topic| works(topic.name)));
        written.map(|projection| projection.name().to_owned()).collect()
    }

    /// How the parts are.
    pub(crate) fn health(&mut self) -> Result<Health, Error> {
        let mut health =
            Health::new(self.pool.clone(), self.endpoint.primary.clone(), migrations(), self.registry.clone())
                .needs(needs(&self.duties))
                .writes(self.written());
        if self.lag {
            let metrics = self.metrics()?;
            metrics.register_lag(&self.registry)?;
            let measurer = Measurer::new(self.pool.clone(), self.catalogue.projections().to_vec());
            let sampling =
                samples::keep_all(self.pool.clone(), measurer, self.endpoint.primary.clone(), self.stop.clone());
            self.spawn("samples of the lag", sampling.map(Ok::<_, Infallible>));
            health = health.with_lag(metrics, &self.catalogue);
        }
        Ok(health)
    }

    /// Waits for the end: that of the program, whose token was cancelled, or that of a part, which nobody had asked for.
    ///
    /// # Errors
    /// The part that failed, or panicked. The others have ended too.
    pub async fn run(self) -> Result<(), Ended> {
        running::wait(self.running, self.stop).await
    }

    /// Registered once, however many workers there are.
    pub(crate) fn metrics(&mut self) -> Result<Metrics, Error> {
        if let Some(metrics) = &self.metrics {
            return Ok(metrics.clone());
        }
        Ok(self.metrics.insert(Metrics::register(&self.registry)?).clone())
    }

    /// The pool for reading and administering.
    pub(crate) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// The pool for building generations that are not live.
    pub(crate) fn building(&self) -> &PgPool {
        &self.building
    }

    /// How far the store is known to go.
    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    /// Cancelled when the parts are to end.
    pub(crate) fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Adds a part of the caller's own.
    pub(crate) fn spawn<E: fmt::Display + 'static>(
        &mut self,
        name: &'static str,
        work: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        running::spawn(&mut self.running, name, &self.stop, work);
    }
}

impl Builder {
    /// Begins to watch the database, which need not be there yet.
    ///
    /// # Errors
    /// A pooler stands before Postgres with which the parts could not work.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub async fn start(self) -> Result<Parts, Error> {
        let endpoint = Endpoint::of(self.options.clone());
        Parts::start(self, endpoint).await
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts")
            .field("catalogue", &self.catalogue)
            .field("running", &self.running.len())
            .finish_non_exhaustive()
    }
}
