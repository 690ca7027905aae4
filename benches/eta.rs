//! Whether a rebuild ends when it says that it will, while the store goes on.
//!
//! As in `freshness`. A rate makes it last long enough for somebody to ask; the live load and the throttle do the rest.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sqlx::PgPool;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use workers::generations::{self, Eta, Standing};

use crate::freshness::{self, DIRECTORY, LIVE};
use crate::isolation::{request, signed_up};
use crate::numbers::{Gate, Spread};
use crate::server::{Database, Server};
use crate::{Options, isolation};

/// What is asked between these shares of the way counts: before, too little was measured; after, too little is left.
const ASKED: std::ops::Range<f64> = 0.1..0.9;

/// An answer that is wrong by more than this share of what was left was no help.
const WRONG: f64 = 0.15;

/// What was said on the way, and what became of it.
struct Run {
    took: Duration,
    /// Time left that was said : that it was.
    said: Vec<f64>,
}

impl Run {
    /// The share of the answers that was right.
    fn right(&self) -> f64 {
        let right = self.said.iter().filter(|said| (*said - 1.0).abs() <= WRONG).count();
        right as f64 / self.said.len() as f64
    }

    fn right_in_the_middle(&self) -> bool {
        let mut said = self.said.clone();
        said.sort_by(f64::total_cmp);
        (said[said.len() / 2] - 1.0).abs() <= WRONG
    }
}

pub async fn measure(server: &Server, options: Options) -> Result<Vec<Gate>> {
    let users: i64 = crate::variable("FLEET_BENCH_USERS", 20_000)?;
    let lasts: f64 = crate::variable("FLEET_BENCH_ETA_SECONDS", 120.0)?;
    let store = freshness::applied(server, users).await?;
    let mut runs = Vec::new();
    for round in 0..options.rounds {
        eprintln!("eta: round {} of {}", round + 1, options.rounds);
        runs.push(run(server, &store, users as f64 * 22.0 / lasts, Duration::from_secs_f64(lasts * 10.0)).await?);
    }
    server.drop(store).await?;
    println!(
        "| run | s | asked | said : true | of them within {:.0} % |\n| --- | --- | --- | --- | --- |",
        WRONG * 100.0
    );
    for (number, run) in runs.iter().enumerate() {
        println!(
            "| {} | {:.0} | {} | {} | {:.0} % |",
            number + 1,
            run.took.as_secs_f64(),
            run.said.len(),
            Spread::of(run.said.iter().copied()),
            run.right() * 100.0,
        );
    }
    println!();
    let right = runs.iter().filter(|run| run.right_in_the_middle()).count() as f64 / runs.len() as f64;
    let what = format!("rebuilds whose middle answer was right within {:.0} % : all", WRONG * 100.0);
    Ok(vec![Gate { what, at_least: 0.9, reached: Spread::of([right]) }])
}

async fn run(server: &Server, store: &Database, rate: f64, window: Duration) -> Result<Run> {
    let database = server.copy_of(store).await?;
    let pool = database.pool()?;
    let stop = CancellationToken::new();
    let mut parts = JoinSet::new();
    let mut client = isolation::start(&database, &pool, true, &stop, &mut parts).await?;
    let users: Vec<Uuid> = (0..LIVE).map(|_| Uuid::now_v7()).collect();
    for user in &users {
        client.append_events(request(*user, signed_up(*user))).await?;
    }
    let operation = freshness::start(&pool, Some(rate)).await?;
    let began = Instant::now();
    let driving = freshness::drive(&client, &users, window, Some((&pool, operation)));
    let ((), (asked, took)) = tokio::try_join!(driving, ask(&pool, began))?;
    let said = asked.into_iter().map(|(at, seconds)| seconds / (took - at).as_secs_f64());
    drop(client);
    freshness::ended(stop, parts).await?;
    pool.close().await;
    server.drop(database).await?;
    let said: Vec<f64> = said.collect();
    ensure!(!said.is_empty(), "it was over before it could be asked");
    Ok(Run { took, said })
}

/// What it says once a second on its way, with when that was; and when it had caught up.
async fn ask(pool: &PgPool, began: Instant) -> Result<(Vec<(Duration, f64)>, Duration)> {
    let mut said = Vec::new();
    loop {
        let all = generations::list(pool, DIRECTORY, 10).await?;
        let built = all.iter().find(|it| it.standing != Standing::Live).context("nothing is built")?;
        let way = built.position.unwrap_or_default() as f64 / built.head.max(1) as f64;
        match built.eta {
            Some(Eta::CaughtUp) => return Ok((said, began.elapsed())),
            Some(Eta::In { seconds, .. }) if ASKED.contains(&way) => said.push((began.elapsed(), seconds)),
            _ => {}
        }
        sleep(Duration::from_secs(1)).await;
    }
}
