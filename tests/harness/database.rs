//! A migrated database for each test, copied from a template.

use std::time::{Duration, Instant};

use events::Position;
use fleet::host::{Duty, Granted};
use fleet::roles;
use local_servers::{Place, Postgres};
use sqlx::PgPool;
use tokio::sync::OnceCell;
use uuid::Uuid;
use workers::lag::{self, Report};

use super::catalogue;

pub struct Database {
    /// As the owner of everything in it.
    pub url: String,
    pub pool: PgPool,
    /// Whether each role has a user of its own in it.
    pub granted: bool,
}

/// A user of Postgres for each role, as `fleet migrate --grant` has them.
pub fn user_of(role: &str, topic: Option<&str>) -> Option<String> {
    match (role, topic) {
        ("event-store", _) => Some("fleet_event_store".to_owned()),
        ("admin", _) => Some("fleet_admin".to_owned()),
        (_, Some(topic)) => Some(format!("fleet_{}", topic.replace('-', "_"))),
        _ => None,
    }
}

fn granted() -> Vec<Granted> {
    let store = user_of("event-store", None).unwrap();
    let mut all: Vec<Granted> = [Duty::Append, Duty::Relay, Duty::Prune]
        .map(|duty| Granted { duty, user: store.clone() })
        .into_iter()
        .chain([Granted { duty: Duty::Admin, user: user_of("admin", None).unwrap() }])
        .collect();
    for topic in catalogue().topics() {
        let user = user_of("worker", Some(topic.name)).unwrap();
        all.push(Granted { duty: Duty::Worker(topic.name.to_owned()), user });
    }
    let reader = "fleet_consumer".to_owned();
    all.push(Granted { duty: Duty::Reader("vocabulary".to_owned()), user: reader });
    all
}

/// Migrates a database with a user for each role, whose password is the owner's.
pub async fn migrate(pool: &PgPool, url: &str) {
    let granted = granted();
    for Granted { user, .. } in &granted {
        let password = password_of(url).unwrap_or_default();
        let create = format!(
            "do $$ begin create role {user} login password '{password}';
             exception when duplicate_object or unique_violation then alter role {user} login password '{password}';
             end $$"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(create)).execute(pool).await.unwrap();
    }
    roles::migrate::migrate_for(catalogue(), pool, &granted).await.unwrap();
}

struct Cluster {
    postgres: Postgres,
    template: String,
    /// Who may make schemas in a copy of the template: the copy does not know.
    makers: String,
}

async fn cluster() -> &'static Cluster {
    static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
    let start = async || {
        let given = std::env::var("DATABASE_URL").ok().filter(|url| !url.is_empty());
        let postgres = Postgres::resolve(given.as_deref(), Place::Throwaway).await.unwrap();
        let template = unique("template");
        let url = postgres.create_database(&template, None).await.unwrap();
        let pool = roles::pool(&url, 2).unwrap();
        migrate(&pool, &url).await;
        let makers = sqlx::query_scalar(
            "select string_agg(quote_ident(rolname), ', ')
             from pg_database, aclexplode(datacl) as privilege, pg_roles
             where datname = current_database() and privilege_type = 'CREATE' and pg_roles.oid = grantee",
        );
        let makers = makers.fetch_one(&pool).await.unwrap();
        // A template is copied only while nobody is connected to it.
        pool.close().await;
        Cluster { postgres, template, makers }
    };
    CLUSTER.get_or_init(start).await
}

fn password_of(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    let (who, _) = rest.split_once('@')?;
    who.split_once(':').map(|(_, password)| password.to_owned())
}

fn unique(name: &str) -> String {
    format!("fleet_{name}_{}", Uuid::now_v7().simple())
}

impl Database {
    pub async fn new() -> Self {
        let cluster = cluster().await;
        let name = unique("test");
        let url = cluster.postgres.create_database(&name, Some(&cluster.template)).await.unwrap();
        let pool = roles::pool(&url, 6).unwrap();
        let grant = format!("grant create on database {name} to {}", cluster.makers);
        sqlx::raw_sql(sqlx::AssertSqlSafe(grant)).execute(&pool).await.unwrap();
        Self { url, pool, granted: true }
    }

    /// The URL with which a role reaches it: as a user who may do what that role does, and no more.
    pub fn url_of(&self, role: &str, topic: Option<&str>) -> String {
        match user_of(role, topic) {
            Some(user) if self.granted => self.url_as(&user),
            _ => self.url.clone(),
        }
    }

    /// The URL with which a user reaches it.
    pub fn url_as(&self, user: &str) -> String {
        let (scheme, rest) = self.url.split_once("://").unwrap();
        let (who, place) = rest.split_once('@').unwrap();
        let password = who.split_once(':').map(|(_, password)| format!(":{password}")).unwrap_or_default();
        format!("{scheme}://{user}{password}@{place}")
    }

    /// One that is there already.
    pub fn existing(url: &str) -> Self {
        Self { url: url.to_owned(), pool: roles::pool(url, 6).unwrap(), granted: false }
    }

    /// The URL of a copy of it, as of now. Its own pool is of no use afterwards.
    pub async fn copied(&self) -> String {
        let name = self.url.rsplit('/').next().unwrap().split('?').next().unwrap().to_owned();
        self.pool.close().await;
        let server = roles::pool(cluster().await.postgres.url(), 1).unwrap();
        // Nobody may be connected to what is copied.
        sqlx::query("select pg_terminate_backend(pid) from pg_stat_activity where datname = $1")
            .bind(&name)
            .execute(&server)
            .await
            .unwrap();
        cluster().await.postgres.create_database(&unique("copy"), Some(&name)).await.unwrap()
    }

    /// Gone at once, for a test that makes many.
    pub async fn drop(self) {
        self.pool.close().await;
        let name = self.url.rsplit('/').next().unwrap().split('?').next().unwrap().to_owned();
        let pool = roles::pool(cluster().await.postgres.url(), 1).unwrap();
        let sql = format!("drop database {name} with (force)");
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&pool).await.unwrap();
    }

    /// A database without any table.
    pub async fn empty() -> Self {
        let url = cluster().await.postgres.create_database(&unique("empty"), None).await.unwrap();
        let pool = roles::pool(&url, 6).unwrap();
        Self { url, pool, granted: false }
    }

    /// Its URL without the password, and the password; `None` if there is none.
    pub fn without_password(&self) -> Option<(String, String)> {
        let (before, after) = self.url.split_once('@')?;
        let (user, password) = before.rsplit_once(':')?;
        (!password.starts_with('/')).then(|| (format!("{user}@{after}"), password.to_owned()))
    }

    pub async fn head(&self) -> Position {
        event_store::read::head(&self.pool).await.unwrap()
    }

    pub async fn lag(&self) -> Report {
        lag::report(&self.pool, catalogue().projections()).await.unwrap()
    }

    /// Waits until every projection has settled the whole store, which must reach `head`: as long as any of them gets on, and
    /// `limit` longer.
    pub async fn settled(&self, head: i64, limit: Duration) -> Report {
        let mut best = (i64::MAX, Instant::now());
        loop {
            let report = self.lag().await;
            let store = report.store.head_position;
            let reached = |status: &lag::Status| status.settled_position >= head && status.lag_events == 0;
            if store >= head && report.projections.iter().all(reached) {
                return report;
            }
            // It falls with what is settled, and never for ever.
            let left = report.projections.iter().map(|it| it.lag_events - it.settled_position).sum();
            if left < best.0 {
                best = (left, Instant::now());
            }
            assert!(best.1.elapsed() < limit, "nothing gets on: head {store} of {head}, {:?}", report.projections);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.unwrap()
    }
}
