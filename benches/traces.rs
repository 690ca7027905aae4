//! What tracing costs: every event traced, in a process that has one thread; and a receiver that hangs, refuses, or is gone.
//!
//! The whole way, as in `isolation`, in `fleet dev`, which is a process of its own: who traces does so for as long as it lives.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use event_store::proto::event_store_client::EventStoreClient;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;
use uuid::Uuid;

use crate::Options;
use crate::freshness::{drive, lags};
use crate::isolation::{NOTE, email_updated, request, settled, signed_up};
use crate::numbers::{Gate, Spread, percentile, thousands};
use crate::otlp::{Mood, Receiver};
use crate::server::Server;

/// Events appended at once.
const EVENTS: usize = 10_000;

/// How often that is done: once takes two seconds, and a server that looks after itself for a tenth of one is a twentieth of it.
const TIMES: usize = 4;

/// Users to whom they happen.
const USERS: usize = 400;

/// Appends at a time.
const AT_A_TIME: usize = 64;

const APPEND: &str = "fleet.eventstore.v1.EventStore/AppendEvents";

#[derive(Debug, Clone, Copy, PartialEq)]
enum Design {
    Untraced,
    Traced(Mood),
    /// Nobody listens there.
    Gone,
}

const DESIGNS: [Design; 5] = [
    Design::Untraced,
    Design::Traced(Mood::Takes),
    Design::Traced(Mood::Hangs),
    Design::Traced(Mood::Refuses),
    Design::Gone,
];

impl Design {
    fn what(self) -> &'static str {
        match self {
            Self::Untraced => "no spans",
            Self::Traced(Mood::Takes) => "every event traced",
            Self::Traced(Mood::Hangs) => "the receiver hangs",
            Self::Traced(Mood::Refuses) => "the receiver refuses",
            Self::Gone => "the receiver is gone",
        }
    }
}

struct Cell {
    /// From the first append to the last row.
    elapsed: Duration,
    /// Of a steady load, sorted.
    lags: Vec<Duration>,
    /// That the receiver has after the process has ended.
    spans: usize,
    peak_megabytes: u64,
}

/// `fleet dev`, killed when dropped.
struct Fleet {
    child: Child,
    grpc: String,
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Fleet {
    fn start(url: &str, endpoint: Option<&str>) -> Result<Self> {
        let free = || Ok::<_, anyhow::Error>(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string());
        let (http, grpc) = (free()?, free()?);
        let mut command = Command::new(env!("CARGO_BIN_EXE_fleet"));
        command.args([
            "dev",
            "--no-sample",
            "--bus",
            "embedded",
            "--database-url",
            url,
            "--http",
            &http,
            "--grpc",
            &grpc,
        ]);
        command.env("TOKIO_WORKER_THREADS", "1").env("FLEET_LOG", "warn").stdout(Stdio::null()).stderr(Stdio::null());
        if let Some(endpoint) = endpoint {
            command.env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint).env("OTEL_TRACES_SAMPLER_ARG", "1");
        }
        Ok(Self { child: command.spawn().context("starting fleet dev")?, grpc })
    }

    async fn client(&self) -> Result<EventStoreClient<Channel>> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            match fleet::client::endpoint(&self.grpc)?.connect().await {
                Ok(channel) => return Ok(EventStoreClient::new(channel)),
                Err(error) if Instant::now() > deadline => return Err(error).context("fleet dev does not listen"),
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// The most memory that it had, in megabytes.
    fn peak(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? / 1024)
    }

    /// It is told to end, and has as long for it as it wants.
    async fn end(mut self) -> Result<()> {
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.child.try_wait()?.is_none() {
            ensure!(Instant::now() < deadline, "it does not end");
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

pub async fn measure(server: &Server, options: Options) -> Result<Vec<Gate>> {
    let mut cells: Vec<Vec<Cell>> = DESIGNS.iter().map(|_| Vec::new()).collect();
    for round in 0..options.rounds {
        // Each is first as often as any other: a server that was idle is not the one that was busy.
        for turn in 0..DESIGNS.len() {
            let which = (round + turn) % DESIGNS.len();
            let (design, cells) = (&DESIGNS[which], &mut cells[which]);
            eprintln!("traces: round {} of {}, {}", round + 1, options.rounds, design.what());
            cells.push(cell(server, *design, options.window * 5).await.with_context(|| design.what())?);
        }
    }
    println!(
        "| spans | events/s | untraced : this | p50 ms | p99 ms | p99, untraced : this | spans received | MB at most |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    let untraced = &cells[0];
    let seconds = |cell: &Cell| 1.0 / cell.elapsed.as_secs_f64();
    let p99 = |cell: &Cell| 1.0 / percentile(&cell.lags, 99).as_secs_f64();
    for (design, ours) in DESIGNS.iter().zip(&cells) {
        let milliseconds =
            |percent| Spread::of(ours.iter().map(|cell| percentile(&cell.lags, percent).as_secs_f64() * 1e3)).median;
        println!(
            "| {} | {} | {} | {:.1} | {:.1} | {} | {} | {} |",
            design.what(),
            thousands(Spread::of(ours.iter().map(|cell| (EVENTS * TIMES) as f64 / cell.elapsed.as_secs_f64())).median),
            Spread::of_ratios(ours, untraced, seconds),
            milliseconds(50),
            milliseconds(99),
            Spread::of_ratios(ours, untraced, p99),
            thousands(ours.iter().map(|cell| cell.spans as f64).fold(f64::INFINITY, f64::min)),
            ours.iter().map(|cell| cell.peak_megabytes).max().unwrap_or_default(),
        );
    }
    println!();
    let gate = |what: &str, at_least, reached| Gate { what: what.to_owned(), at_least, reached };
    let mut gates = vec![gate(
        "every event traced, one thread: time untraced : traced",
        0.91,
        Spread::of_ratios(&cells[1], untraced, seconds),
    )];
    for (design, ours) in DESIGNS.iter().zip(&cells).skip(2) {
        let what = format!("{}: p99 lag untraced : this", design.what());
        gates.push(gate(&what, 0.83, Spread::of_ratios(ours, untraced, p99)));
    }
    Ok(gates)
}

async fn cell(server: &Server, design: Design, window: Duration) -> Result<Cell> {
    let database = server.empty().await?;
    let pool = database.pool()?;
    sqlx::raw_sql(NOTE).execute(&pool).await?;
    let receiver = Receiver::start().await;
    if let Design::Traced(mood) = design {
        receiver.set(mood);
    }
    let endpoint = match design {
        Design::Untraced => None,
        Design::Traced(_) => Some(receiver.endpoint.clone()),
        Design::Gone => Some("http://127.0.0.1:9".to_owned()),
    };
    let fleet = Fleet::start(&database.url, endpoint.as_deref())?;
    let client = fleet.client().await?;
    let users: Vec<Uuid> = (0..USERS).map(|_| Uuid::now_v7()).collect();
    for user in &users {
        client.clone().append_events(request(*user, signed_up(*user))).await?;
    }
    settled(&pool).await?;

    let began = Instant::now();
    let mut appends = JoinSet::new();
    for number in 0..EVENTS * TIMES {
        if appends.len() >= AT_A_TIME {
            appends.join_next().await.context("none")??;
        }
        let (mut client, user) = (client.clone(), users[number % USERS]);
        let event = email_updated(user, &format!("user{number}@example.org"));
        appends.spawn(async move { client.append_events(request(user, event)).await.map(drop).expect("it is taken") });
    }
    while let Some(appended) = appends.join_next().await {
        appended?;
    }
    let first = settled(&pool).await?;
    let elapsed = began.elapsed();
    drive(&client, &users, window, None).await?;
    let last = settled(&pool).await?;
    let lags = lags(&pool, first, last).await?;
    let peak_megabytes = fleet.peak().unwrap_or_default();
    drop(client);
    fleet.end().await?;
    if design == Design::Traced(Mood::Takes) {
        let calls = receiver.count(APPEND);
        ensure!(calls == last as usize, "{calls} of {last} calls have arrived");
    }
    pool.close().await;
    server.drop(database).await?;
    Ok(Cell { elapsed, lags, spans: receiver.spans().len(), peak_megabytes })
}
