//! What every role serves: is it alive, is it ready, how is it doing.
//!
//! All of it answers within 2 s whatever becomes of the database, or a probe or a scrape would take silence for the answer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use database::primary::Seen;
use database::{MIGRATE, Migrations, Primary, SILENCE};
use event_store::grants::Grant;
use prometheus::{Registry, TextEncoder};
use read_model::Catalogue;
use sqlx::PgPool;
use tokio::time::timeout;

use crate::Metrics;
use crate::admin::Problem;
use crate::lag::{self, Measurer};
use crate::under_way::{self, UnderWay};

/// How long the database may take to answer what a probe or a scrape asks of it.
const LIMIT: Duration = Duration::from_millis(1500);

/// What was seen longer ago says nothing about now.
const STALE: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub struct Health {
    pool: PgPool,
    primary: Primary,
    migrations: Arc<Migrations>,
    /// What the statements of this process need, and the duties by which a user gets it.
    grants: Arc<(BTreeSet<Grant>, String)>,
    /// Read models that this process writes.
    writes: Arc<Vec<String>>,
    registry: Registry,
    /// Whoever serves lag measures it at every scrape.
    lag: Option<(Metrics, Measurer, Catalogue)>,
    /// All migrations were there once.
    migrated: Arc<AtomicBool>,
}

impl Health {
    pub fn new(pool: PgPool, primary: Primary, migrations: Migrations, registry: Registry) -> Self {
        let (migrations, grants, migrated) = (Arc::new(migrations), Arc::default(), Arc::default());
        Self { pool, primary, migrations, grants, writes: Arc::default(), registry, lag: None, migrated }
    }

    /// Of a role whose user needs this, which `fleet migrate --grant DUTIES` gives to it.
    pub fn needs(self, (grants, duties): (Vec<Grant>, String)) -> Self {
        Self { grants: Arc::new((grants.into_iter().collect(), duties)), ..self }
    }

    /// Of a role that writes these read models.
    pub fn writes(self, projections: Vec<String>) -> Self {
        Self { writes: Arc::new(projections), ..self }
    }

    /// Of a role that measures lag.
    pub fn with_lag(self, metrics: Metrics, catalogue: &Catalogue) -> Self {
        let measurer = Measurer::new(self.pool.clone(), catalogue.projections().to_vec()).within(LIMIT.mul_f64(0.9));
        Self { lag: Some((metrics, measurer, catalogue.clone())), ..self }
    }

    /// Why the role is not ready, if so.
    async fn unready(&self) -> Option<String> {
        let state = self.primary.first(LIMIT).await;
        match state.seen {
            Seen::Nothing => Some(format!("the database does not answer: nothing heard for {} s", LIMIT.as_secs_f32())),
            Seen::Primary(_) if state.at.elapsed() > STALE => {
                Some(format!("nobody has looked at the database for {} s", state.at.elapsed().as_secs()))
            }
            Seen::Primary(_) if self.migrated.load(Ordering::Relaxed) => None,
            Seen::Primary(_) => match timeout(LIMIT, self.lacking()).await {
                Ok(Ok(None)) => {
                    self.migrated.store(true, Ordering::Relaxed);
                    None
                }
                Ok(Ok(lacking)) => lacking,
                Ok(Err(error)) => Some(format!("the database does not answer: {}", database::describe(&error))),
                Err(_) => Some("all connections to the database are in use".to_owned()),
            },
            Seen::Refused(_) | Seen::Away(_) => self.primary.refusal(),
        }
    }

    /// What has to be done in the database before the role can work, if so.
    async fn lacking(&self) -> sqlx::Result<Option<String>> {
        let (grants, duties) = &*self.grants;
        let all = grants.iter().flat_map(|(table, what)| what.split(", ").map(move |what| (*table, what)));
        let (tables, privileges): (Vec<_>, Vec<_>) = all.unzip();
        let may_not = |what: &str| {
            format!("the user of this role may not {what}: run `fleet migrate --grant {duties}` with its name")
        };
        match self.migrations.complete(&self.pool).await {
            Ok(true) => {}
            Ok(false) => return Ok(Some(MIGRATE.to_owned())),
            Err(error) if database::is_forbidden(&error) => return Ok(Some(may_not("read the tables of the fleet"))),
            Err(error) => return Err(error),
        }
        let lacking = sqlx::query_scalar!(
            r#"select format('%s %s', privilege, table_name) as "lacking!"
               from unnest($1::text[], $2::text[]) as wanted (table_name, privilege)
               where not has_table_privilege('public.' || quote_ident(table_name), privilege)
               order by 1
               limit 4"#,
            &tables as &[&str],
            &privileges as &[&str]
        );
        let mut lacking = lacking.fetch_all(&self.pool).await?;
        if lacking.is_empty() && !self.writes.is_empty() {
            let foreign = sqlx::query_scalar!(
                r#"select name from projections
                   where name = any($1)
                   and to_regnamespace(quote_ident(schema_name)) is not null
                   and not has_schema_privilege(schema_name, 'create')
                   order by name
                   limit 4"#,
                self.writes.as_slice()
            );
            let foreign = foreign.fetch_all(&self.pool).await?;
            lacking = foreign.into_iter().map(|name| format!("write {name}")).collect();
        }
        if let Some(last) = lacking.get_mut(3) {
            *last = "and more".to_owned();
        }
        Ok((!lacking.is_empty()).then(|| may_not(&lacking.join(", "))))
    }

    /// Measured now and of the primary, or not at all: what an old server says would be a lie.
    async fn measure(
        &self,
        measurer: &Measurer,
        catalogue: &Catalogue,
    ) -> Result<(lag::Report, Option<UnderWay>), String> {
        let before = self.primary.first(LIMIT).await;
        if let Some(reason) = self.primary.refusal() {
            return Err(reason);
        }
        // Lag does not wait for the others to be known.
        let under_way = async { timeout(LIMIT.mul_f64(0.9), under_way::look(&self.pool, catalogue)).await };
        let (report, under_way) = tokio::join!(timeout(LIMIT, measurer.report()), under_way);
        let report = match report {
            Ok(report) => report.map_err(|error| error.to_string())?,
            Err(_) => return Err(format!("not within {} s", LIMIT.as_secs_f32())),
        };
        let under_way = match under_way {
            Ok(Ok(under_way)) => Some(under_way),
            Ok(Err(error)) => {
                tracing::warn!(error = database::describe(&error), "relays and operations could not be measured");
                None
            }
            Err(_) => {
                tracing::warn!("relays and operations could not be measured in time");
                None
            }
        };
        if self.primary.refusal().is_some() || self.primary.changes() != before.changes() {
            return Err("the primary has changed meanwhile".to_owned());
        }
        Ok((report, under_way))
    }
}

/// `/healthz` and `/readyz`, which say nothing of what the fleet does.
pub fn probes(health: Health) -> Router {
    Router::new().route("/healthz", get(|| async { "ok\n" })).route("/readyz", get(ready)).with_state(health)
}

/// `/metrics`, which says how much of it.
pub fn metrics(health: Health) -> Router {
    Router::new().route("/metrics", get(scraped)).with_state(health)
}

/// Has routes answer at once, with the reason, while the database cannot be worked with, and when that begins meanwhile.
pub fn guarded(router: Router, primary: Primary) -> Router {
    async fn guard(State(primary): State<Primary>, request: Request, next: Next) -> Response {
        match primary.refusal() {
            Some(reason) => Problem::unavailable(reason).into_response(),
            None => {
                let answering = async { Ok::<_, sqlx::Error>(next.run(request).await) };
                let answered = timeout(SILENCE, primary.unless_changed(answering)).await;
                match answered.unwrap_or_else(|_| Err(database::timed_out("answering"))) {
                    Ok(response) => response,
                    Err(error) => Problem::unavailable(database::describe(&error)).into_response(),
                }
            }
        }
    }
    router.layer(middleware::from_fn_with_state(primary, guard))
}

/// Ready means: the database answers, is the primary, and has its tables. It does not depend on the bus or on lag, or an
/// outage would stop the very processes that have to catch up.
async fn ready(State(health): State<Health>) -> Response {
    match timeout(LIMIT, health.unready()).await {
        Ok(None) => "ready\n".into_response(),
        Ok(Some(reason)) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer in time\n").into_response(),
    }
}

async fn scraped(State(health): State<Health>) -> Response {
    if let Some((metrics, measurer, catalogue)) = &health.lag {
        let measured = timeout(LIMIT, health.measure(measurer, catalogue)).await;
        let measured = measured.unwrap_or_else(|_| Err("the database does not answer in time".to_owned()));
        match &measured {
            // The watch has said so.
            Err(_) if health.primary.refusal().is_some() => {}
            Err(error) => tracing::warn!(error, "lag could not be measured"),
            Ok(_) => {}
        }
        let (report, under_way) = measured.ok().unzip();
        metrics.observe_lag(report.as_ref());
        metrics.observe_under_way(under_way.flatten().as_ref());
    }
    match TextEncoder::new().encode_to_string(&health.registry.gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}
