//! What a tired person sees: each command on a terminal of 80 and of 120 columns and through a pipe, of a fleet that is well, that is
//! stopped, that is gone, that lacks its tables, and whose database is away.

use std::time::{Duration, Instant};

use fleet::exit::Exit;
use futures::StreamExt;
use futures::stream;
use uuid::Uuid;

use crate::commands::park;
use crate::harness::client::{append, connect, event};
use crate::harness::proxy::{Proxy, Weather};
use crate::harness::{Database, Fleet, Process, eventually};

/// What a command waits for a fleet if nobody says otherwise, and a second: the promise.
const WAIT: Duration = Duration::from_secs(3);

/// How often a command may be late because the machine is busy. One that hangs is late each time.
const TRIES: usize = 4;

/// Runs side by side, most of which wait.
const BESIDE: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum On {
    Terminal(u16),
    Pipe,
}

const ON: [On; 3] = [On::Terminal(80), On::Terminal(120), On::Pipe];

/// Where a fleet is.
#[derive(Debug, Clone)]
struct At {
    http: String,
    grpc: String,
}

/// All commands that ask a fleet something, and how they end if it is well; `None`: it would change something for the next one.
fn commands(letter: &str, aggregate: &str, file: &str) -> Vec<(Vec<String>, Option<Exit>)> {
    let by = "--actor ada --reason test";
    [
        ("status", Some(Exit::Good)),
        ("doctor", Some(Exit::Unhealthy)),
        ("healthcheck", Some(Exit::Good)),
        ("generations vocabulary", Some(Exit::Good)),
        ("dead-letters list", Some(Exit::Good)),
        ("dead-letters list --projection vocabular", Some(Exit::Refused)),
        ("dead-letters show LETTER", Some(Exit::Good)),
        ("dead-letters retry --all", Some(Exit::Good)),
        ("dead-letters discarded", Some(Exit::Good)),
        ("unreadable list", Some(Exit::Good)),
        ("refused list", Some(Exit::Good)),
        ("operations list", Some(Exit::Good)),
        ("operations show LETTER", Some(Exit::Refused)),
        ("operations differences LETTER", Some(Exit::Refused)),
        ("operations follow LETTER", Some(Exit::Refused)),
        ("locks", Some(Exit::Good)),
        ("leases", Some(Exit::Good)),
        ("audit", Some(Exit::Good)),
        ("prune", Some(Exit::Good)),
        ("inspect AGGREGATE", Some(Exit::Good)),
        ("rows vocabulary", Some(Exit::Good)),
        ("rows vocabulary vocabulary_entries BY", Some(Exit::Good)),
        ("wait-for vocabulary --position 1", Some(Exit::Good)),
        ("replay vocabulary --dry-run", Some(Exit::Good)),
        ("rebuild vocabulary --dry-run", Some(Exit::Good)),
        ("promote vocabulary --dry-run", Some(Exit::Refused)),
        ("rollback vocabulary --dry-run", Some(Exit::Refused)),
        ("retire vocabulary --generation 9 --dry-run", Some(Exit::Refused)),
        ("export", Some(Exit::Good)),
        ("import FILE", Some(Exit::Good)),
        ("replay vocabulary BY", None),
        ("rebuild vocabulary BY", None),
        ("verify vocabulary BY", None),
        ("promote vocabulary BY", None),
        ("pause vocabulary BY", None),
        ("resume vocabulary BY", None),
        ("operations stop BY", None),
        ("operations go-on BY", None),
        ("operations rate LETTER 5 BY", None),
        ("prune --yes BY", None),
        ("dead-letters retry LETTER --yes BY", None),
        ("dead-letters discard LETTER --error no BY", None),
    ]
    .map(|(line, exit)| {
        let line = line.replace("LETTER", letter).replace("AGGREGATE", aggregate).replace("FILE", file);
        (line.replace("BY", by).split(' ').map(str::to_owned).collect(), exit)
    })
    .into()
}

/// Exit code, and all that was said.
async fn run(at: &At, args: &[String], on: On, env: &[(&str, &str)]) -> (Option<i32>, String) {
    let builder =
        Process::builder(&args[0]).without("FLEET_WAIT").env("FLEET_HTTP", &at.http).env("FLEET_GRPC", &at.grpc);
    let builder = args[1..].iter().fold(builder, |builder, arg| builder.arg(arg));
    let builder = env.iter().fold(builder, |builder, (name, value)| builder.env(name, value));
    match on {
        On::Terminal(columns) => {
            let (status, shown) = builder.on_terminal(columns).await;
            (status.code(), shown)
        }
        On::Pipe => {
            let (status, out, error) = builder.output().await;
            (status.code(), out + &error)
        }
    }
}

/// Runs all of them everywhere, and says of each that is not as it should be what it is.
async fn all(
    at: &At,
    commands: &[(Vec<String>, Option<Exit>)],
    check: impl Fn(&[String], On, Option<i32>, &str) -> Option<String>,
) {
    let runs = commands.iter().flat_map(|(args, _)| ON.map(|on| (args, on)));
    let wrong: Vec<_> = stream::iter(runs)
        .map(async |(args, on)| {
            let mut late = Vec::new();
            for _ in 0..TRIES {
                let began = Instant::now();
                let (code, said) = run(at, args, on, &[]).await;
                if began.elapsed() < WAIT {
                    return check(args, on, code, &said)
                        .map(|wrong| format!("{args:?} on {on:?}: {wrong}: {code:?} {said}"));
                }
                late.push((began.elapsed(), said));
            }
            Some(format!("{args:?} on {on:?} is late: {late:?}"))
        })
        .buffer_unordered(BESIDE)
        .filter_map(async |wrong| wrong)
        .collect()
        .await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// No escapes in a pipe, and on a terminal nothing that is wider than it, but for sentences, which may wrap.
fn fits(on: On, said: &str) -> Option<String> {
    match on {
        On::Pipe => said.contains('\x1b').then(|| "an escape in a pipe".to_owned()),
        On::Terminal(columns) => {
            let table = |line: &&str| line.split("  ").filter(|cell| !cell.trim().is_empty()).count() > 3;
            let wide =
                said.split(['\n', '\r', '\x1b']).filter(table).find(|line| line.chars().count() > columns.into());
            wide.map(|line| format!("wider than {columns}: {line}"))
        }
    }
}

async fn well() -> (Fleet, Process, Process, Process, At, String, String) {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let worker = fleet.worker("vocabulary-events", &store).await;
    let admin = fleet.process("admin").await.start().await;
    let letter = park(&fleet, "no JSON").await.to_string();
    let entry = Uuid::now_v7();
    let created = event("EntryCreated", serde_json::json!({"entry_id": entry, "spelling": "late"}));
    connect(&store).await.append_events(append("VocabularyEntry", entry, vec![created])).await.unwrap();
    fleet.settled("vocabulary-events", 1).await;
    let at = At { http: admin.http(), grpc: store.grpc() };
    (fleet, store, worker, admin, at, letter, entry.to_string())
}

fn file_of_nothing() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "{\"aggregate_id\":\"0195b2c0-0000-7000-8000-000000000001\",\"aggregate_type\":\"Other\",\"idempotency_key\":\"t\",\"events\":[{\"event_type\":\"Made\",\"event_data\":{},\"metadata\":{},\"occurred_at\":\"2026-03-01T08:00:00Z\"}]}\n").unwrap();
    file
}

#[tokio::test]
async fn of_a_fleet_that_is_well_every_command_says_what_there_is_and_fits_the_terminal() {
    let (_fleet, _store, _worker, _admin, at, letter, entry) = well().await;
    let file = file_of_nothing();
    let mut commands = commands(&letter, &entry, file.path().to_str().unwrap());
    commands.retain(|(_, exit)| exit.is_some());
    let expected = commands.clone();
    all(&at, &commands, |args, on, code, said| {
        let exit = expected.iter().find(|(of, _)| of == args).and_then(|(_, exit)| *exit).unwrap();
        if code != Some(exit.code().into()) {
            return Some(format!("not {exit:?}"));
        }
        if said.trim().is_empty() && args[0] != "healthcheck" {
            return Some("says nothing".to_owned());
        }
        fits(on, said)
    })
    .await;
    // The second time, nothing of it is new.
    let again: Vec<_> = ["import", file.path().to_str().unwrap()].map(str::to_owned).into();
    let (_, said) = run(&at, &again, On::Pipe, &[]).await;
    let nobodys = "no read model of this program makes anything of Other Made (1, on no topic)\n";
    assert_eq!(said, format!("imported 1 request: 0 new events, 1 already there\n{nobodys}"));
}

#[tokio::test]
async fn of_a_fleet_that_is_stopped_or_gone_every_command_says_so_within_its_time() {
    let (_fleet, store, _worker, admin, at, letter, entry) = well().await;
    let file = file_of_nothing();
    let commands = commands(&letter, &entry, file.path().to_str().unwrap());
    store.signal("STOP");
    admin.signal("STOP");
    all(&at, &commands, |args, on, code, said| {
        let (exit, wanted) = match &*args[0] {
            "healthcheck" => (Exit::Unhealthy, "has not answered within"),
            _ => (Exit::Unreachable, "it has said nothing for"),
        };
        let right = code == Some(exit.code().into()) && said.contains(wanted);
        if right { fits(on, said) } else { Some(format!("not {exit:?}: {wanted}")) }
    })
    .await;
    // As long as it is told to, and no longer.
    let began = Instant::now();
    let waits: Vec<_> = ["status", "--wait", "4"].map(str::to_owned).into();
    let (code, said) = run(&at, &waits, On::Pipe, &[]).await;
    assert!(code == Some(5) && began.elapsed() > Duration::from_millis(3900), "{:?}: {said}", began.elapsed());
    store.signal("CONT");
    admin.signal("CONT");

    // Bound, so that nobody else gets it, and nobody listens.
    let taken = tokio::net::TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nobody = taken.local_addr().unwrap().to_string();
    let gone = At { http: nobody.clone(), grpc: nobody };
    all(&gone, &commands, |_, on, code, said| {
        let right = code == Some(Exit::Unreachable.code().into()) && said.contains("Connection refused");
        if right { fits(on, said) } else { Some("not Unreachable: Connection refused".to_owned()) }
    })
    .await;
}

#[tokio::test]
async fn of_a_fleet_without_tables_or_database_every_command_says_which_and_what_to_do() {
    let fleet = Fleet::new().await;
    let empty = Database::empty().await;
    let file = file_of_nothing();
    let id = Uuid::now_v7().to_string();
    let commands = commands(&id, &id, file.path().to_str().unwrap());
    let start = async |url: &str| {
        let store = fleet.process("event-store").await.env("DATABASE_URL", url).env("FLEET_GRPC_LISTEN", "127.0.0.1:0");
        let (store, admin) = (store.start().await, fleet.process("admin").await.env("DATABASE_URL", url).start().await);
        let at = At { http: admin.http(), grpc: store.grpc() };
        (store, admin, at)
    };
    let (_store, _admin, at) = start(&empty.url).await;
    all(&at, &commands, |args, on, code, said| {
        // Who waits for whom can be said of any database.
        let right = args[0] == "locks" || matches!(code, Some(3 | 5)) && said.contains("fleet migrate");
        if right { fits(on, said) } else { Some("does not say fleet migrate".to_owned()) }
    })
    .await;

    let proxy = Proxy::before(&fleet.database.url).await;
    let (_store, _admin, at) = start(&proxy.url).await;
    for weather in [Weather::Down, Weather::BlackHole] {
        proxy.set(weather.clone());
        let ready: Vec<_> = ["healthcheck".to_owned()].into();
        eventually("the database is away", Duration::from_secs(60), async || {
            let (code, said) = run(&at, &ready, On::Pipe, &[]).await;
            if code == Some(3) { Ok(()) } else { Err(said) }
        })
        .await;
        all(&at, &commands, |args, on, code, said| {
            // The doctor may have been told by a connection that was just being made.
            let right = matches!(code, Some(3 | 5)) && (said.contains("database") || args[0] == "doctor");
            if right { fits(on, said) } else { Some(format!("{weather:?}: does not say that the database is away")) }
        })
        .await;
    }
}

#[tokio::test]
async fn a_watch_says_what_is_old_and_goes_on_when_the_fleet_is_back() {
    let fleet = Fleet::new().await;
    let mut admin = fleet.process("admin").await.start().await;
    let listen = admin.http();
    for no_color in [false, true] {
        let builder = Process::builder("status").without("FLEET_WAIT").env("FLEET_HTTP", &listen).arg("--watch");
        let builder = builder.env("TERM", "xterm-256color").without("NO_COLOR");
        let watch = if no_color { builder.env("NO_COLOR", "1") } else { builder }.watch(100);
        let current = |frame: &str| frame.contains("observed at") && !frame.contains("NOT CURRENT");
        watch.frame("what is", current).await;
        admin.signal("STOP");
        let old = watch.frame("what was", |frame| frame.contains("NOT CURRENT: this was so at ")).await;
        assert!(old.contains("observed at") && old.contains("it has said nothing for"), "{old}");
        assert_eq!(old.contains("\x1b[2m"), !no_color, "{old:?}");
        admin.signal("CONT");
        watch.frame("what is again", current).await;
        admin.kill();
        watch.frame("who is gone", |frame| frame.contains("NOT CURRENT") && frame.contains("Connection refused")).await;
        admin = fleet.process("admin").await.env("FLEET_HTTP_LISTEN", &listen).start().await;
        watch.frame("what is after a restart", current).await;
    }
}

#[tokio::test]
async fn a_command_that_is_interrupted_says_what_goes_on_without_it() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let admin = fleet.process("admin").await.start().await;
    // Nobody is there to do it.
    let builder = Process::builder("replay").env("FLEET_HTTP", &admin.http()).arg("vocabulary");
    let replay = builder.arg("--reason").arg("test").arg("--actor").arg("ada").watch(100);
    replay.frame("what was asked for", |shown| shown.contains("operation ")).await;
    replay.interrupt();
    let (code, said) = replay.ended().await;
    assert!(
        code == Some(130) && said.contains("(repair) goes on without this command: `fleet operations follow "),
        "{said}"
    );
    drop(store);
}
