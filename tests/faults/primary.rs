//! The server behind the connections is no longer the primary, or there is none.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use bus::Chaos;
use event_store::proto::GetHeadRequest;
use fleet::roles;
use reqwest::StatusCode;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::Code;
use uuid::Uuid;

use crate::harness::client::{append, connect, signed_up};
use crate::harness::cluster::Cluster;
use crate::harness::parts::LIMIT;
use crate::harness::proxy::{Proxy, Weather};
use crate::harness::{Broker, Database, Fleet, Process, Project, Store, catalogue, eventually, full_size};
use crate::oracle;

/// By when everybody has noticed. The design says 3.5 s; a busy machine takes longer.
const NOTICED: Duration = Duration::from_secs(8);

/// How long a probe or a scrape may take: 2 s, on an idle machine.
const ANSWERED: Duration = Duration::from_secs(4);

/// Status and text, in time.
async fn get(process: &Process, path: &str) -> (StatusCode, String) {
    let asking = async {
        let answer = reqwest::get(format!("http://{}/{path}", process.http())).await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    };
    let asked = tokio::time::timeout(ANSWERED, asking).await;
    asked.unwrap_or_else(|_| panic!("/{path} does not answer within {ANSWERED:?}: {:?}", process.logged().last()))
}

async fn ready(process: &Process) {
    eventually("it is ready", LIMIT, async || match get(process, "readyz").await {
        (StatusCode::OK, _) => Ok(()),
        (status, text) => Err(format!("{status}: {text}")),
    })
    .await;
}

async fn unready(process: &Process, reason: &str) {
    eventually("it is not ready", LIMIT, async || match get(process, "readyz").await {
        (StatusCode::SERVICE_UNAVAILABLE, text) if text.contains(reason) => Ok(()),
        (status, text) => Err(format!("{status}: {text}")),
    })
    .await;
}

/// Users sign up, one after the other; the last position that was acknowledged.
struct Load {
    acknowledged: Arc<AtomicI64>,
    stop: CancellationToken,
    /// All that were acknowledged.
    users: AbortOnDropHandle<Vec<Uuid>>,
}

impl Load {
    fn start(mut store: Store) -> Self {
        let acknowledged = Arc::<AtomicI64>::default();
        let stop = CancellationToken::new();
        let (last, stopped) = (acknowledged.clone(), stop.clone());
        let users = tokio::spawn(async move {
            let mut users = Vec::new();
            while !stopped.is_cancelled() {
                let user = Uuid::now_v7();
                let mut request = append("User", user, vec![signed_up(user)]);
                request.idempotency_key = user.to_string();
                // Until it is acknowledged, or it is over.
                loop {
                    match store.append_events(request.clone()).await {
                        Ok(answer) => {
                            users.push(user);
                            last.store(answer.into_inner().events[0].position, Ordering::SeqCst);
                            break;
                        }
                        Err(refusal) => {
                            assert_eq!(refusal.code(), Code::Unavailable, "an outage is nobody's fault: {refusal}");
                            if stopped.is_cancelled() {
                                break;
                            }
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                    }
                }
            }
            users
        });
        Self { acknowledged, stop, users: AbortOnDropHandle::new(users) }
    }

    fn last(&self) -> i64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    async fn reaches(&self, position: i64) {
        eventually("appends succeed", LIMIT, async || {
            let last = self.last();
            if last >= position { Ok(()) } else { Err(format!("{last} of {position}")) }
        })
        .await;
    }

    async fn end(self) -> Vec<Uuid> {
        self.stop.cancel();
        self.users.await.unwrap()
    }
}

/// The sum of a metric's series, if there are any.
fn metric(text: &str, name: &str) -> Option<f64> {
    let lines = text.lines().filter(|line| line.starts_with(name));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).reduce(|sum, value| sum + value)
}

/// What becomes of the old primary.
#[derive(Debug, PartialEq)]
enum Before {
    Demoted,
    /// It takes whatever is written to it.
    Unaware,
    /// What was asked of it has no answer, and connections to it have no end.
    Silent,
}

/// B is promoted; whoever connects anew gets B, and what is open stays with A.
async fn fail_over(a_is: Before) {
    let a = Cluster::start();
    let b = a.followed();
    let database = Database::existing(&a.url);
    roles::migrate::migrate(catalogue(), &database.pool).await.unwrap();
    database.pool.close().await;
    let proxy = Proxy::before(&a.url).await;
    let broker = Broker::start(Chaos::new(1)).await;
    let fleet = Fleet { database: Database::existing(&proxy.url), project: Project::of(&broker) };
    let store = fleet.event_store().await;
    let worker = fleet.worker("integration-events", &store).await;
    let admin = fleet.process("admin").await.start().await;
    let mut client = connect(&store).await;
    let load = Load::start(connect(&store).await);
    let events = if full_size() { 2000 } else { 200 };
    load.reaches(events).await;

    match a_is {
        Before::Demoted => a.read_only(true),
        Before::Unaware => {}
        Before::Silent => {
            proxy.set(Weather::BlackHole);
            // Whoever asks it something from now on waits for ever; who does not, still could.
            for _ in 0..5 {
                proxy.swallowed().await;
            }
        }
    }
    proxy.lead_to(&b.url);
    b.promote();
    proxy.set(Weather::Fair);
    let promoted = Instant::now();
    let before = load.last();
    let applied = tokio::spawn(applied(b.url.clone(), before, promoted));
    // Whatever is said from now on is of B, once everybody has noticed.
    let enough = NOTICED + Duration::from_secs(if full_size() { 30 } else { 4 });
    while promoted.elapsed() < enough {
        let (noticed, known) = (promoted.elapsed() > NOTICED, load.last());
        let head = client.get_head(GetHeadRequest {}).await;
        let (_, metrics) = get(&admin, "metrics").await;
        let (status, text) = get(&admin, "readyz").await;
        if noticed {
            let head = head.expect("there is a primary").into_inner().position;
            assert!(head >= known, "GetHead says {head} when {known} is acknowledged");
            // A busy machine may not have measured in time.
            if let Some(lag) = metric(&metrics, "projection_lag_events") {
                let head = metric(&metrics, "eventstore_head_position").unwrap();
                assert!(head >= known as f64, "lag of {lag} is of {head} events when {known} are acknowledged");
            }
            assert_eq!((status, text.as_str()), (StatusCode::OK, "ready\n"));
        }
    }
    eventually("lag is measured", LIMIT, async || {
        metric(&get(&admin, "metrics").await.1, "projection_lag_events").ok_or_else(|| "it is not".to_owned())
    })
    .await;
    let applied = applied.await.unwrap();
    println!("all that was acknowledged before the promotion is applied {applied:?} after it");
    load.reaches(before + events).await;
    let users = load.end().await;

    let after = Database::existing(&b.url);
    let acknowledged: i64 = sqlx::query_scalar("select count(*) from events where aggregate_id = any($1)")
        .bind(&users)
        .fetch_one(&after.pool)
        .await
        .unwrap();
    assert_eq!(acknowledged, users.len() as i64, "nothing that was acknowledged is lost");
    eventually("everything is applied", LIMIT, async || {
        let behind = "select count(*) from events
                      where not exists (select from user_directory.users where user_id = aggregate_id)
                      or not exists (select from learning_time.learners where user_id = aggregate_id)";
        match after.count(behind).await {
            0 => Ok(()),
            behind => Err(format!("{behind} are not, {:?}", worker.logged().last())),
        }
    })
    .await;
    oracle::assert_equal(&after.pool).await;
    for process in [&store, &worker, &admin] {
        ready(process).await;
    }
}

/// How long after the promotion everything up to a position is applied there.
async fn applied(url: String, position: i64, promoted: Instant) -> Duration {
    let after = Database::existing(&url);
    // Not on a machine that is busy with other tests.
    let limit = if full_size() { Duration::from_secs(15) } else { LIMIT };
    eventually("what was acknowledged before is applied", limit, async || {
        let behind = "select count(*) from events
                      where position <= $1
                      and (not exists (select from user_directory.users where user_id = aggregate_id)
                          or not exists (select from learning_time.learners where user_id = aggregate_id))";
        match sqlx::query_scalar::<_, i64>(behind).bind(position).fetch_one(&after.pool).await {
            Ok(0) => Ok(()),
            behind => Err(format!("{behind:?}")),
        }
    })
    .await;
    promoted.elapsed()
}

#[tokio::test]
async fn after_a_failover_to_a_promoted_standby_everybody_goes_on_there() {
    fail_over(Before::Demoted).await;
}

#[tokio::test]
async fn a_primary_that_does_not_know_of_its_successor_is_left_all_the_same() {
    fail_over(Before::Unaware).await;
}

#[tokio::test]
async fn a_primary_that_has_fallen_silent_holds_up_nobody_once_it_has_a_successor() {
    fail_over(Before::Silent).await;
}

#[tokio::test]
async fn while_there_is_no_primary_nothing_is_ready_measured_or_read_and_nothing_is_parked() {
    let a = Cluster::start();
    let database = Database::existing(&a.url);
    roles::migrate::migrate(catalogue(), &database.pool).await.unwrap();
    let fleet = Fleet { database, project: Project::of(&Broker::start(Chaos::new(1)).await) };
    let store = fleet.event_store().await;
    let worker = fleet.worker("integration-events", &store).await;
    let admin = fleet.process("admin").await.start().await;
    let mut client = connect(&store).await;
    let load = Load::start(connect(&store).await);
    load.reaches(50).await;
    a.read_only(true);
    for process in [&store, &worker, &admin] {
        unready(process, "read-only").await;
    }
    let refused = client.get_head(GetHeadRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert!(refused.message().contains("read-only"), "{refused}");
    let (_, metrics) = get(&admin, "metrics").await;
    assert_eq!(metric(&metrics, "projection_lag_events"), None, "what is not known is not shown");
    assert!(metric(&metrics, "fleet_build_info").is_some(), "everything else is");
    let (status, text) = get(&admin, "admin/v1/projections").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(text.contains("read-only"), "{text}");

    a.read_only(false);
    for process in [&store, &worker, &admin] {
        ready(process).await;
    }
    load.reaches(load.last() + 50).await;
    let users = load.end().await;
    fleet.database.pool.close().await;
    let after = Database::existing(&a.url);
    eventually("everything is applied", LIMIT, async || {
        let applied = after.count("select count(*) from user_directory.users").await;
        if applied >= users.len() as i64 { Ok(()) } else { Err(format!("{applied} of {}", users.len())) }
    })
    .await;
    assert_eq!(after.count("select count(*) from parked_events").await, 0, "an outage is no data's fault");
    oracle::assert_equal(&after.pool).await;
}

#[tokio::test]
async fn whatever_becomes_of_the_database_probes_and_scrapes_are_answered_at_once() {
    let database = Database::new().await;
    let proxy = Proxy::before(&database.url).await;
    let project = Project::of(&Broker::start(Chaos::new(1)).await);
    let fleet = Fleet { database: Database::existing(&proxy.url), project };
    let admin = fleet.process("admin").await.start().await;
    let store = fleet.event_store().await;
    ready(&admin).await;
    ready(&store).await;
    eventually("lag is measured", LIMIT, async || {
        metric(&get(&admin, "metrics").await.1, "projection_lag_events").ok_or_else(|| "it is not".to_owned())
    })
    .await;
    proxy.set(Weather::BlackHole);
    // From the first moment on, when nobody has noticed yet.
    let silent = Instant::now();
    while silent.elapsed() < NOTICED {
        for process in [&admin, &store] {
            get(process, "readyz").await;
            get(process, "metrics").await;
        }
    }
    for process in [&admin, &store] {
        unready(process, "does not answer").await;
    }
    let (_, metrics) = get(&admin, "metrics").await;
    assert_eq!(metric(&metrics, "projection_lag_events"), None);
    assert!(metric(&metrics, "fleet_build_info").is_some());
    let (status, _) = get(&admin, "admin/v1/projections").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    proxy.set(Weather::Fair);
    ready(&admin).await;
    ready(&store).await;
}

#[tokio::test]
async fn a_database_at_which_nobody_listens_is_said_to_refuse_connections() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("postgres://fleet@{nobody}/fleet");
    let project = Project::of(&Broker::start(Chaos::new(1)).await);
    let fleet = Fleet { database: Database::existing(&url), project };
    let admin = fleet.process("admin").await.start().await;
    let (status, text) = get(&admin, "readyz").await;
    assert_eq!(
        (status, text.as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer: connection refused\n")
    );
    let (_, problem) = get(&admin, "admin/v1/projections").await;
    assert!(problem.contains("connection refused"), "{problem}");
    let status = fleet.process("status").await.env("FLEET_HTTP", &admin.http()).arg("--wait").arg("0");
    let (_, _, said) = status.output().await;
    assert!(said.contains("connection refused") && !said.contains("start one"), "{said}");
    let (status, _, error) = Process::builder("migrate").env("DATABASE_URL", &url).output().await;
    assert!(!status.success());
    assert!(error.contains("connection refused") && !error.contains("pool timed out"), "{error}");
}

#[tokio::test]
async fn one_outage_is_one_warning_and_one_line_when_it_is_over() {
    let database = Database::new().await;
    let proxy = Proxy::before(&database.url).await;
    let project = Project::of(&Broker::start(Chaos::new(1)).await);
    let fleet = Fleet { database: Database::existing(&proxy.url), project };
    let store = fleet.event_store().await;
    let worker = fleet.worker("integration-events", &store).await;
    let admin = fleet.process("admin").await.start().await;
    for process in [&store, &worker, &admin] {
        ready(process).await;
    }
    let load = Load::start(connect(&store).await);
    load.reaches(20).await;
    proxy.set(Weather::Down);
    for process in [&store, &worker, &admin] {
        unready(process, "does not answer").await;
    }
    let cuts = proxy.cuts();
    eventually("everybody has failed again and again", LIMIT, async || {
        if proxy.cuts() > cuts + 20 { Ok(()) } else { Err(format!("{} times", proxy.cuts() - cuts)) }
    })
    .await;
    proxy.set(Weather::Fair);
    for process in [&store, &worker, &admin] {
        ready(process).await;
    }
    load.reaches(load.last() + 20).await;
    load.end().await;
    for process in [&store, &worker, &admin] {
        let log = process.logged();
        let lines = |what: &str| log.iter().filter(|line| line.contains(what)).count();
        assert_eq!((lines("\"WARNING\""), lines("\"ERROR\"")), (1, 0), "{log:#?}");
        assert_eq!((lines("the database does not answer"), lines("there again")), (1, 1), "{log:#?}");
    }
}
