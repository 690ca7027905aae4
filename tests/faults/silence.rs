//! A server that never answers, at each statement of the fleet in turn.

use std::collections::BTreeSet;
use std::io::Cursor;
use std::time::Duration;

use bus::Chaos;
use fleet::commands::import;
use fleet::{client, roles};
use indicatif::ProgressBar;
use rand::Rng;
use uuid::Uuid;

use crate::generations::{ask_to_rebuild, finished};
use crate::harness::cluster::Cluster;
use crate::harness::parts::consistent;
use crate::harness::proxy::{Proxy, Weather};
use crate::harness::{Broker, Database, Fleet, Project, catalogue, eventually, full_size};
use crate::histories::History;
use crate::oracle;
use crate::sample::seeded;

/// Everything is slow when all cores are busy with other tests.
const LIMIT: Duration = Duration::from_secs(120);

/// Without a new statement for so long, all that could come has come.
const QUIET: Duration = Duration::from_secs(2);

/// Each round gets one statement further in everything that has several; at full size there are as many as it takes.
const ROUNDS: usize = 6;

/// How statements begin that are asked for a reason which may be gone when the work is done again.
const ON_OCCASION: [&str; 5] = [
    // A listener says goodbye when it is given up.
    "UNLISTEN *",
    // A batch goes back to before an event that could not be written. A batch of one need not.
    "ROLLBACK TO SAVEPOINT",
    // Events that were missing are read by their names.
    "with found as ( select *, sum(coalesce(data_bytes,",
    // Whoever waits is told of what was appended, and looks by itself all the same.
    "select pg_notify(",
    // What is not settled is counted, as long as something is not.
    "select count(*) as \"events!\", extract(epoch from clock_timestamp() - min(event.created_at))",
];

/// Waits until no statement has come for a while that was new. All that have come.
async fn quiet(proxy: &Proxy) -> BTreeSet<String> {
    let mut seen = proxy.statements().len();
    loop {
        tokio::time::sleep(QUIET).await;
        let all = proxy.statements();
        if all.len() == seen {
            return all.into_keys().collect();
        }
        seen = all.len();
    }
}

fn short(statement: &str) -> String {
    let lines = statement.lines().map(str::trim).filter(|line| !line.starts_with("--"));
    lines.collect::<Vec<_>>().join(" ").chars().take(100).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_statement_has_no_answer_it_is_asked_again_once_the_primary_has_changed() {
    let cluster = Cluster::start();
    let direct = Database::existing(&cluster.url);
    roles::migrate::migrate(catalogue(), &direct.pool).await.unwrap();
    let proxy = Proxy::before(&cluster.url).await;
    let broker = Broker::start(Chaos::new(1)).await;
    let fleet = Fleet { database: Database::existing(&proxy.url), project: Project::of(&broker) };
    let stores = [fleet.event_store().await];
    let workers = fleet.workers(&stores[0]).await;
    let mut rng = seeded();
    let mut history = History::of(rng.random(), 400).poison(7, 0.02);
    for line in &mut history.lines {
        // The writer asks again after every change.
        line.idempotency_key.get_or_insert_with(|| Uuid::from_u128(rng.random()).to_string());
    }
    ask_to_rebuild(&direct.pool, "learner_progress", 2).await.unwrap();

    proxy.set(Weather::HoleOfEachStatement);
    cluster.restart_immediately();
    let (at, file) = (client::EventStore::at(&stores[0].grpc()), history.ndjson());
    // An import gives up when the store is away for long. Whoever started it starts it again.
    let importing = tokio::spawn(async move {
        loop {
            match import::import(&at, Cursor::new(file.clone()), &ProgressBar::hidden()).await {
                Err(away) => println!("imported anew: {away}"),
                Ok(imported) => break imported,
            }
        }
    });
    let mut before = BTreeSet::new();
    let rounds = if full_size() { usize::MAX } else { ROUNDS };
    for round in 0..rounds {
        let all = quiet(&proxy).await;
        println!("round {round}: {} statements", all.len());
        if all.len() == before.len() {
            break;
        }
        before = all;
        if round + 1 < rounds {
            tokio::task::block_in_place(|| cluster.restart_immediately());
        }
    }
    // Before the last change, or what is swallowed after it would wait for another.
    proxy.set(Weather::Fair);
    tokio::task::block_in_place(|| cluster.restart_immediately());
    eventually("all is asked again", LIMIT, async || {
        let statements = proxy.statements();
        let once = before.iter().filter(|text| statements[*text] == 1).map(|text| short(text));
        let once: Vec<_> = once.filter(|text| !ON_OCCASION.iter().any(|it| text.starts_with(it))).collect();
        if once.is_empty() { Ok(()) } else { Err(format!("{once:#?}")) }
    })
    .await;
    // Somebody else may have asked the same. A listener's connection is open until its goodbye is answered.
    eventually("nobody waits for an answer", LIMIT, async || {
        let waiting = proxy.waited_for();
        let waiting: Vec<_> = waiting.iter().filter(|text| !text.contains("LISTEN")).map(|text| short(text)).collect();
        if waiting.is_empty() { Ok(()) } else { Err(format!("{waiting:#?}")) }
    })
    .await;

    let imported = tokio::time::timeout(LIMIT, importing).await.expect("the import ends");
    assert_eq!(imported.unwrap().refused, 0);
    direct.settled(history.events() as i64, LIMIT).await;
    let held = history.held();
    let check = async || {
        oracle::assert_equal_but(&direct.pool, &held).await;
        consistent(&direct.pool).await;
    };
    check().await;
    assert_eq!(finished(&direct.pool, LIMIT, check).await, 2, "promoted and taken back");
    drop(workers);
}
