//! Hostile traffic on every door while a fleet works: live work hardly feels it, memory stays bounded, nothing is lost.
//!
//! Twenty seconds of it with every run of the tests; `FLEET_HOSTILE_SECONDS=1800` for half an hour.

use std::collections::HashSet;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use event_store::proto::AppendEventsRequest;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::StreamExt;
use futures::stream;
use reqwest::StatusCode;
use serde_json::json;
use sqlx::PgPool;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::codegen::Service;
use tonic::transport::Channel;
use uuid::Uuid;

use crate::harness::client::{Store, append, connect, event};
use crate::harness::parts::LIMIT;
use crate::harness::{Fleet, Process, eventually};

const APPEND: &str = "/fleet.eventstore.v1.EventStore/AppendEvents";

/// Connections that stay open beside each other, of an attacker who wants all there are.
const CONNECTIONS: usize = 10_000;

/// How much memory a role may have taken at most, in kB: less than the 512 MiB of an instance as Terraform makes it.
const MEMORY: u64 = 500_000;

fn seconds() -> u64 {
    std::env::var("FLEET_HOSTILE_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(20)
}

/// How often each thing was tried.
#[derive(Default)]
struct Tried {
    slow: AtomicU64,
    connections: AtomicU64,
    cancelled: AtomicU64,
    heads: AtomicU64,
    deep: AtomicU64,
    bombs: AtomicU64,
    unfinished: AtomicU64,
}

/// Sends a head, or a body, a byte at a time.
async fn slowly(address: &str, tried: &Tried) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    tried.slow.fetch_add(1, Ordering::Relaxed);
    let head = "POST /admin/v1/replays HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n";
    for byte in head.bytes().chain(std::iter::repeat(b' ')) {
        stream.write_all(&[byte]).await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}

async fn huge_head(address: &str, tried: &Tried) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    tried.heads.fetch_add(1, Ordering::Relaxed);
    let _ = stream
        .write_all(format!("GET /readyz HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "a".repeat(60_000)).as_bytes())
        .await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
    Ok(())
}

async fn deep(address: &str, tried: &Tried) {
    let body = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let request = reqwest::Client::new().post(format!("http://{address}/admin/v1/replays"));
    let request = request.header("content-type", "application/json").timeout(Duration::from_secs(10));
    if let Ok(answer) = request.body(body).send().await {
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    }
    tried.deep.fetch_add(1, Ordering::Relaxed);
}

fn call(body: Body, compressed: bool) -> axum::http::Request<tonic::body::Body> {
    let request = axum::http::Request::post(format!("http://x{APPEND}"));
    let request = request.header("content-type", "application/grpc").header("te", "trailers");
    let request = if compressed { request.header("grpc-encoding", "gzip") } else { request };
    request.body(tonic::body::Body::new(body)).unwrap()
}

fn framed(compressed: bool, length: usize, data: Bytes) -> Bytes {
    let mut frame = vec![u8::from(compressed)];
    frame.extend(u32::try_from(length).unwrap().to_be_bytes());
    frame.extend(data);
    frame.into()
}

/// A hundred kilobytes that would be a hundred megabytes.
fn bomb() -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let zeros = vec![0; 1 << 20];
    for _ in 0..100 {
        encoder.write_all(&zeros).unwrap();
    }
    encoder.finish().unwrap().into()
}

async fn explode(channel: &mut Channel, bomb: &Bytes, tried: &Tried) {
    let body = Body::from(framed(true, bomb.len(), bomb.clone()));
    if std::future::poll_fn(|context| channel.poll_ready(context)).await.is_ok() {
        let _ = tokio::time::timeout(Duration::from_secs(10), channel.call(call(body, true))).await;
    }
    tried.bombs.fetch_add(1, Ordering::Relaxed);
}

/// Nearly all of a message, and then nothing for a while.
async fn withhold(channel: &mut Channel, tried: &Tried) {
    let (length, pieces) = (8 << 20, 127);
    let begun = stream::iter([Ok::<_, std::io::Error>(framed(false, length, Bytes::new()))]);
    let most = stream::iter((0..pieces).map(|_| Ok(Bytes::from(vec![b'x'; 64 << 10]))));
    let body = Body::from_stream(begun.chain(most).chain(stream::pending()));
    if std::future::poll_fn(|context| channel.poll_ready(context)).await.is_ok() {
        tried.unfinished.fetch_add(1, Ordering::Relaxed);
        let _ = tokio::time::timeout(Duration::from_secs(25), channel.call(call(body, false))).await;
    }
}

/// Fifty calls at once that are given up within a millisecond.
async fn cancel(store: &Store, tried: &Tried) {
    let mut calls = Vec::new();
    for _ in 0..50 {
        let mut store = store.clone();
        let request = append("VocabularyEntry", Uuid::now_v7(), vec![]);
        calls.push(async move { drop(store.append_events(request).await) });
    }
    let _ = tokio::time::timeout(Duration::from_millis(1), futures::future::join_all(calls)).await;
    tried.cancelled.fetch_add(50, Ordering::Relaxed);
}

/// Opens connections until there are as many as are wanted, and holds them until there are no more.
async fn hold(addresses: Vec<String>, tried: Arc<Tried>, stop: CancellationToken) {
    let mut held = std::collections::VecDeque::new();
    while !stop.is_cancelled() {
        for address in &addresses {
            if let Ok(Ok(stream)) = tokio::time::timeout(Duration::from_secs(1), TcpStream::connect(address)).await {
                tried.connections.fetch_add(1, Ordering::Relaxed);
                held.push_back(stream);
            }
            if held.len() > CONNECTIONS {
                held.pop_front();
            }
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn attack(
    store: &Process,
    admin: &Process,
    client: Store,
    tried: &Arc<Tried>,
    stop: &CancellationToken,
) -> JoinSet<()> {
    let mut attacks = JoinSet::new();
    let doors = [admin.http(), store.http()];
    let mut every = |pause: u64, work: Box<dyn Fn() -> futures::future::BoxFuture<'static, ()> + Send>| {
        let stop = stop.clone();
        attacks.spawn(async move {
            while stop.run_until_cancelled(work()).await.is_some() {
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
        });
    };
    for index in 0..40 {
        let (address, tried) = (doors[index % 2].clone(), tried.clone());
        every(
            100,
            Box::new(move || {
                let (address, tried) = (address.clone(), tried.clone());
                Box::pin(async move { drop(slowly(&address, &tried).await) })
            }),
        );
    }
    let (address, of) = (doors[0].clone(), tried.clone());
    every(
        50,
        Box::new(move || {
            let (address, tried) = (address.clone(), of.clone());
            Box::pin(async move { drop(huge_head(&address, &tried).await) })
        }),
    );
    let (address, of) = (doors[0].clone(), tried.clone());
    every(
        200,
        Box::new(move || {
            let (address, tried) = (address.clone(), of.clone());
            Box::pin(async move { deep(&address, &tried).await })
        }),
    );
    let of = tried.clone();
    every(
        50,
        Box::new(move || {
            let (client, tried) = (client.clone(), of.clone());
            Box::pin(async move { cancel(&client, &tried).await })
        }),
    );
    let endpoint = fleet::client::endpoint(&store.grpc()).unwrap();
    let (bomb, channel, of) = (bomb(), endpoint.connect_lazy(), tried.clone());
    every(
        500,
        Box::new(move || {
            let (mut channel, bomb, tried) = (channel.clone(), bomb.clone(), of.clone());
            Box::pin(async move { explode(&mut channel, &bomb, &tried).await })
        }),
    );
    for _ in 0..30 {
        let (channel, of) = (endpoint.connect_lazy(), tried.clone());
        every(
            1000,
            Box::new(move || {
                let (mut channel, tried) = (channel.clone(), of.clone());
                Box::pin(async move { withhold(&mut channel, &tried).await })
            }),
        );
    }
    attacks.spawn(hold([doors.to_vec(), vec![store.grpc()]].concat(), tried.clone(), stop.clone()));
    attacks
}

/// Five hundred events a second, of which some are followed to their rows.
struct Live {
    store: Store,
    rows: PgPool,
    appended: HashSet<Uuid>,
}

impl Live {
    fn request(entry: Uuid) -> AppendEventsRequest {
        append("VocabularyEntry", entry, vec![event("EntryCreated", json!({"entry_id": entry, "spelling": "live"}))])
    }

    /// Milliseconds from append to row.
    async fn run(&mut self, time: Duration) -> Vec<f64> {
        let (began, mut delays) = (Instant::now(), Vec::new());
        let mut pace = tokio::time::interval(Duration::from_millis(100));
        while began.elapsed() < time {
            pace.tick().await;
            let entries: Vec<Uuid> = (0..50).map(|_| Uuid::now_v7()).collect();
            let followed = entries[49];
            let sent = entries.iter().map(|&entry| {
                let store = self.store.clone();
                async move {
                    // Whoever is answered that it was refused, or not at all, asks again, as callers do.
                    eventually("it is appended", LIMIT, async || {
                        let (mut store, mut request) = (store.clone(), Self::request(entry));
                        request.idempotency_key = entry.to_string();
                        store.append_events(request).await.map(drop).map_err(|status| status.to_string())
                    })
                    .await;
                }
            });
            let at = Instant::now();
            futures::future::join_all(sent).await;
            self.appended.extend(entries);
            loop {
                let there = "select exists (select from vocabulary.entries where entry_id = $1)";
                let there: bool = sqlx::query_scalar(there).bind(followed).fetch_one(&self.rows).await.unwrap();
                if there {
                    break;
                }
                assert!(at.elapsed() < LIMIT, "an event is not applied");
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            delays.push(at.elapsed().as_secs_f64() * 1000.0);
        }
        delays
    }
}

fn percentile(mut delays: Vec<f64>, share: f64) -> f64 {
    delays.sort_by(f64::total_cmp);
    delays[((delays.len() - 1) as f64 * share).round() as usize]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_traffic_costs_live_work_little_and_loses_nothing() {
    let fleet = Fleet::apart().await;
    let store = fleet.event_store().await;
    let worker = fleet.worker("vocabulary-events", &store).await;
    let admin = fleet.process("admin").await.start().await;
    let mut live = Live { store: connect(&store).await, rows: fleet.database.pool.clone(), appended: HashSet::new() };
    live.run(Duration::from_secs(2)).await;
    let long = seconds();
    let calm = live.run(Duration::from_secs((long / 4).clamp(5, 120))).await;

    let (tried, stop) = (Arc::new(Tried::default()), CancellationToken::new());
    let attacks = attack(&store, &admin, connect(&store).await, &tried, &stop);
    let hostile = live.run(Duration::from_secs(long)).await;
    // Who belongs there is answered meanwhile.
    let ready = reqwest::Client::new().get(format!("http://{}/readyz", admin.http())).timeout(Duration::from_secs(10));
    assert!(ready.send().await.unwrap().status().is_success(), "a probe is answered under attack");
    stop.cancel();
    attacks.join_all().await;

    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let peaks = [&store, &worker, &admin].map(Process::peak_kilobytes);
    let (before, during) = (percentile(calm.clone(), 0.99), percentile(hostile.clone(), 0.99));
    println!(
        "{long} s: {} slow senders, {} connections, {} cancelled calls, {} huge heads, {} deep bodies, {} bombs, {} messages in \
         part; p50 {:.1} to {:.1} ms, p99 {before:.1} to {during:.1} ms ({:.2}); peaks {peaks:?} kB",
        count(&tried.slow),
        count(&tried.connections),
        count(&tried.cancelled),
        count(&tried.heads),
        count(&tried.deep),
        count(&tried.bombs),
        count(&tried.unfinished),
        percentile(calm, 0.5),
        percentile(hostile, 0.5),
        during / before,
    );
    for counter in
        [&tried.slow, &tried.connections, &tried.cancelled, &tried.heads, &tried.deep, &tried.bombs, &tried.unfinished]
    {
        assert!(count(counter) > 10, "each attack was tried");
    }
    assert!(peaks.iter().all(|peak| *peak < MEMORY), "{peaks:?} kB");

    // Nothing is lost, and nothing of an attacker was taken for something.
    let appended = live.appended.len() as i64;
    eventually("all of it is applied", LIMIT, async || {
        match fleet.database.count("select count(*) from vocabulary.vocabulary_entries").await {
            rows if rows == appended => Ok(()),
            rows => Err(format!("{rows} of {appended}")),
        }
    })
    .await;
    assert_eq!(fleet.database.count("select count(*) from events").await, appended);
    assert_eq!(fleet.database.count("select count(*) from parked_events").await, 0);
    let rows: Vec<Uuid> =
        sqlx::query_scalar("select entry_id from vocabulary.entries").fetch_all(&fleet.database.pool).await.unwrap();
    assert_eq!(rows.into_iter().collect::<HashSet<_>>(), live.appended);
}
