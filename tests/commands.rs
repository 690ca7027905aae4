//! What the commands owe whoever types them: names, digits, a name on every deed, and silence when nobody reads on.

use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use fleet::exit::Exit;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use uuid::Uuid;

use crate::harness::client::{append, connect, event};
use crate::harness::terraform::root;
use crate::harness::{Admin, Builder, Database, Fleet, Process, Store, eventually};

const LIMIT: Duration = Duration::from_secs(60);

/// A message that is no event of the store, parked.
pub async fn park(fleet: &Fleet, payload: &str) -> Uuid {
    let id = Uuid::now_v7();
    sqlx::query(
        "insert into parked_events (id, topic, reason, error, message_id, payload, attributes)
         values ($1, 'vocabulary-events', 'undecodable', 'no event', $2, $3, '{\"event_type\": \"PaymentMade\"}')",
    )
    .bind(id)
    .bind(id.to_string())
    .bind(payload.as_bytes())
    .execute(&fleet.database.pool)
    .await
    .unwrap();
    id
}

async fn command(fleet: &Fleet, admin: &str, args: &[&str]) -> Builder {
    let builder = fleet.process(args[0]).await.env("FLEET_HTTP", admin);
    args[1..].iter().fold(builder, |builder, arg| builder.arg(arg))
}

/// Standard output and standard error of a command.
async fn said(fleet: &Fleet, admin: &Process, args: &[&str]) -> (Option<i32>, String) {
    let (status, out, error) = command(fleet, &admin.http(), args).await.output().await;
    (status.code(), out + &error)
}

#[tokio::test]
async fn a_payload_is_shown_digit_for_digit() {
    let fleet = Fleet::new().await;
    let admin = fleet.process("admin").await.start().await;
    let look = ["--payload", "--reason", "TICKET-1", "--actor", "ada"];
    for (payload, shown) in [
        (r#"{"amount":123456789012345678901234567890.10}"#, r#""amount": 123456789012345678901234567890.10"#),
        // More than a double can hold.
        (r#"[1e400,{"b":1,"a":[]}]"#, "1e400,\n    {\n      \"b\": 1,\n      \"a\": []\n    }\n"),
        ("null", r#""payload": null"#),
        ("no JSON", r#""payload_base64": "bm8gSlNPTg==""#),
    ] {
        let id = park(&fleet, payload).await.to_string();
        let args = [&["dead-letters", "show", &id][..], &look].concat();
        let (code, out) = said(&fleet, &admin, &args).await;
        assert_eq!(code, Some(0), "{out}");
        assert!(out.contains(shown), "{payload}: {out}");
        let (_, out) = said(&fleet, &admin, &args[..3]).await;
        assert!(!out.contains("payload\"") && !out.contains("attributes"), "without --payload: {out}");
    }
}

#[tokio::test]
async fn an_answer_that_does_not_end_is_not_kept() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let (mut caller, _) = listener.accept().await.unwrap();
            caller.readable().await.unwrap();
            caller.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[").await.unwrap();
            while caller.write_all(&[b' '; 1 << 16]).await.is_ok() {}
        }
    });
    for args in [&["status"][..], &["dead-letters", "list"], &["healthcheck"]] {
        let mut builder = Process::builder(args[0]).env("FLEET_HTTP", &address);
        for arg in &args[1..] {
            builder = builder.arg(arg);
        }
        let (status, _, error) = builder.output().await;
        // A health check is content with the status.
        let bounded = args[0] == "healthcheck" || !status.success() && error.contains("more than 67108864 bytes");
        assert!(bounded, "{args:?}: {error}");
    }
}

#[tokio::test]
async fn whatever_is_changed_has_the_name_of_who_changed_it() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let worker = fleet.worker("vocabulary-events", &store).await;
    let admin = Admin::of(&worker);
    let letter = park(&fleet, "no JSON").await.to_string();
    let replay = &["replay", "vocabulary", "--reason", "a test"][..];
    let retry = &["dead-letters", "retry", "--all", "--yes", "--reason", "a test"][..];
    let discard =
        |error| ["dead-letters", "discard", &letter, "--error", error, "--reason", "a test"].map(str::to_owned);
    let nobody = [("FLEET_ACTOR", ""), ("USER", ""), ("LOGNAME", " "), ("PATH", "/nowhere")];
    let run = async |args: &[&str], env: &[(&str, &str)]| {
        let builder = command(&fleet, &worker.http(), args).await;
        let (status, out, error) =
            env.iter().fold(builder, |builder, (name, value)| builder.env(name, value)).output().await;
        (status.success(), out + &error)
    };

    let discarding = discard("no event");
    let discarding: Vec<_> = discarding.iter().map(String::as_str).collect();
    for args in [replay, retry, &discarding] {
        let (ok, out) = run(args, &nobody).await;
        assert!(!ok && out.contains("--actor NAME, or set FLEET_ACTOR"), "{args:?}: {out}");
    }
    assert_eq!(admin.operations().await, Vec::<Value>::new(), "nothing was done");
    for counting in [&["replay", "vocabulary", "--dry-run"][..], &["dead-letters", "retry", "--all"]] {
        let (ok, out) = run(counting, &nobody).await;
        assert!(ok, "what changes nothing needs no name: {out}");
    }

    let by = async || admin.operations().await[0]["actor"].as_str().unwrap().to_owned();
    let (ok, out) = run(&[replay, &["--actor", "ada"]].concat(), &[("FLEET_ACTOR", "ben"), ("USER", "cleo")]).await;
    assert!(ok && by().await == "ada", "{out}");
    let (ok, out) = run(replay, &[("FLEET_ACTOR", "ben"), ("USER", "cleo")]).await;
    assert!(ok && by().await == "ben", "{out}");
    let (ok, out) = run(replay, &[("USER", "cleo"), ("LOGNAME", "dora")]).await;
    assert!(ok && by().await == "cleo", "{out}");
    // It is parked again, which is a failure; the decision is recorded all the same.
    let (_, out) = run(retry, &[("USER", ""), ("LOGNAME", "dora")]).await;
    assert!(out.contains("1 parked") && by().await == "dora", "{out}");
    let id = std::process::Command::new("id").arg("-un").output().unwrap().stdout;
    let user = String::from_utf8(id).unwrap().trim().to_owned();
    let seen = admin.get(&format!("/dead-letters/{letter}")).await;
    let discarding = discard(seen["error"].as_str().unwrap());
    let discarding: Vec<_> = discarding.iter().map(String::as_str).collect();
    let (ok, out) = run(&discarding, &[("USER", ""), ("LOGNAME", "")]).await;
    assert!(ok && by().await == user, "{out}");
}

#[tokio::test]
async fn a_name_that_nobody_has_is_refused_with_the_nearest() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let entry = Uuid::now_v7();
    let created = event("EntryCreated", json!({"entry_id": entry, "spelling": "late"}));
    connect(&store).await.append_events(append("VocabularyEntry", entry, vec![created])).await.unwrap();
    let process = fleet.process("admin").await.start().await;
    for (args, meant) in [
        (&["dead-letters", "list", "--projection", "vocabularry"][..], "vocabulary"),
        (&["dead-letters", "list", "--topic", "vocabulary-event"], "vocabulary-events"),
        (&["dead-letters", "list", "--event-type", "EntryCreatd"], "EntryCreated"),
        (&["dead-letters", "retry", "--projection", "user-directory"], "user_directory"),
        (&["dead-letters", "retry", "--event-type", "entrycreated"], "EntryCreated"),
        (&["replay", "learner_progres", "--dry-run"], "learner_progress"),
        (
            &["replay", "vocabulary", "--dry-run", "--event-type", "EntryCreated", "--event-type", "EntryCreatd"],
            "EntryCreated",
        ),
        (&["refused", "list", "--topic", "progres-events"], "progress-events"),
    ] {
        let (code, out) = said(&fleet, &process, args).await;
        assert_eq!(code, Some(4), "{args:?}: {out}");
        assert!(out.contains(&format!("did you mean {meant}?")), "{args:?}: {out}");
    }
    let (code, out) = said(&fleet, &process, &["dead-letters", "list", "--parked-for", "wrong-data"]).await;
    assert!(code == Some(2) && out.contains("similar value exists: 'wrong_data'"), "{out}");
    let (code, out) = said(&fleet, &process, &["dead-letters", "list", "--projection", "nobody"]).await;
    assert!(code == Some(4) && out.contains("only vocabulary, ") && !out.contains("nothing is parked"), "{out}");

    for known in [
        &["--projection", "vocabulary"][..],
        &["--topic", "progress-events"],
        &["--event-type", "EntryCreated"],
        &["--parked-for", "wrong_data"],
    ] {
        let (code, out) = said(&fleet, &process, &[&["dead-letters", "list"], known].concat()).await;
        assert_eq!((code, &*out), (Some(0), "nothing is parked\n"), "{known:?}");
    }
    let id = park(&fleet, "{}").await.to_string();
    let (code, out) = said(&fleet, &process, &["dead-letters", "list", "--event-type", "PaymentMade"]).await;
    assert!(code == Some(0) && out.contains(&id), "a type that no read model knows is found where it is parked: {out}");
}

#[tokio::test]
async fn the_api_itself_says_which_name_was_meant() {
    let fleet = Fleet::new().await;
    let process = fleet.process("admin").await.start().await;
    let admin = Admin::of(&process);
    for (path, field, meant) in [
        ("/dead-letters?projection=vocabularry", "projection", "vocabulary"),
        ("/dead-letters?topic=progress-event", "topic", "progress-events"),
        ("/dead-letters?reason=wrong-data", "query", "wrong_data"),
        ("/dead-letters?projecton=vocabulary", "query", "projection"),
        ("/refused?topic=progress-event", "topic", "progress-events"),
    ] {
        let (status, problem) = admin.ask(path).await;
        assert_eq!((status, &problem["errors"][0]["field"]), (StatusCode::BAD_REQUEST, &json!(field)), "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(&format!("did you mean {meant}?")), "{problem}");
    }
    for (path, body, field, meant) in [
        ("/replays", json!({"projection": "vocabularry"}), "projection", "vocabulary"),
        ("/replays", json!({"projection": "vocabulary", "kind": "repare"}), "kind", "repair"),
        ("/replays", json!({"projection": "vocabulary", "selektion": {}}), "selektion", "selection"),
        ("/dead-letter-batches", json!({"filter": {"projection": "vocabularry"}}), "filter.projection", "vocabulary"),
        ("/dead-letter-batches", json!({"filter": {"topic": "progress-event"}}), "filter.topic", "progress-events"),
        ("/dead-letter-batches", json!({"filter": {"reason": "wrong-data"}}), "filter.reason", "wrong_data"),
    ] {
        let (status, problem) = admin.post(path, &body).await;
        assert_eq!((status, &problem["errors"][0]["field"]), (StatusCode::BAD_REQUEST, &json!(field)), "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(&format!("did you mean {meant}?")), "{problem}");
    }
    let (status, problem) = admin.ask("/projections/vocabularry").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(problem["detail"].as_str().unwrap().contains("did you mean vocabulary?"), "{problem}");
    let (_, problem) =
        admin.post("/replays", &json!({"projection": "vocabulary", "selection": {"event_types": ["X"]}})).await;
    assert_eq!(problem["errors"][0]["field"], "selection.event_types", "{problem}");
    assert_eq!(admin.operations().await, Vec::<Value>::new(), "nothing is written");
}

#[tokio::test]
async fn who_asks_at_the_wrong_port_is_told_which_it_is() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    for (args, variable, address, said) in [
        (
            &["status"][..],
            "FLEET_HTTP",
            store.grpc(),
            "what answers there is gRPC: FLEET_HTTP is the address of the HTTP port",
        ),
        (
            &["export"],
            "FLEET_GRPC",
            store.http(),
            "what answers there is HTTP: FLEET_GRPC is the address of the gRPC port",
        ),
    ] {
        let asked = fleet.process(args[0]).await.env(variable, &address).env("FLEET_WAIT", "1");
        let (status, _, error) = asked.output().await;
        assert!(status.code() == Some(Exit::Unreachable.code().into()) && error.contains(said), "{args:?}: {error}");
    }
}

#[tokio::test]
async fn what_is_lacking_is_named_and_nothing_that_need_not_be_said() {
    let fleet = Fleet::new().await;
    for (args, lacking, usage) in [
        (&["promote", "vocabulary"][..], "--reason <REASON>", "Usage: fleet promote [OPTIONS] <PROJECTION>"),
        (&["pause", "vocabulary"], "--reason <REASON>", "Usage: fleet pause [OPTIONS] --reason <REASON> <PROJECTION>"),
        (&["operations", "stop"], "--reason <REASON>", "Usage: fleet operations stop [OPTIONS] --reason <REASON>"),
        (&["prune", "--yes"], "--reason <REASON>", "Usage: fleet prune [OPTIONS]"),
        (&["replay"], "<PROJECTION>", "Usage: fleet replay [OPTIONS] <PROJECTION>"),
    ] {
        let process = command(&fleet, "127.0.0.1:1", args).await.env("FLEET_ACTOR", "ada");
        let (status, _, error) = process.output().await;
        assert_eq!(status.code(), Some(Exit::Usage.code().into()), "{error}");
        assert!(error.contains(lacking) && error.lines().any(|line| line == usage), "{args:?}: {error}");
    }
}

#[tokio::test]
async fn a_reader_that_has_gone_is_no_error_for_any_command() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let entry = Uuid::now_v7();
    let created = event("EntryCreated", json!({"entry_id": entry, "spelling": "late"}));
    connect(&store).await.append_events(append("VocabularyEntry", entry, vec![created])).await.unwrap();
    let worker = fleet.worker("vocabulary-events", &store).await;
    let id = park(&fleet, "{}").await.to_string();
    for args in [
        &["status"][..],
        &["status", "--watch"],
        &["status", "--json"],
        &["dead-letters", "list"],
        &["dead-letters", "list", "--json"],
        &["dead-letters", "show", &id],
        &["dead-letters", "retry", "--all"],
        &["unreadable", "list"],
        &["refused", "list"],
        &["operations", "list"],
        &["audit"],
        &["openapi"],
        &["completion", "bash"],
        &["replay", "vocabulary", "--dry-run"],
        &["replay", "vocabulary", "--actor", "ada"],
        &["export"],
    ] {
        let builder = command(&fleet, &worker.http(), args).await.env("FLEET_GRPC", &store.grpc());
        let (status, error) = builder.unread().await;
        assert_eq!((status.code(), &*error), (Some(0), ""), "{args:?}");
    }
    // Nobody reads what goes wrong either.
    let builder = command(&fleet, &worker.http(), &["replay", "nothing"]).await;
    assert_eq!(builder.unheard().await.code(), Some(4));
}

#[tokio::test]
async fn fleet_dev_ends_quietly_when_nobody_reads_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut dev = tokio::process::Command::new(env!("CARGO_BIN_EXE_fleet"))
        .args([
            "dev",
            "--http",
            "127.0.0.1:0",
            "--grpc",
            "127.0.0.1:0",
            "--bus",
            "embedded",
            "--no-sample",
            "--data-dir",
        ])
        .arg(dir.path())
        .env_remove("DATABASE_URL")
        // That Postgres ends with it is no news.
        .env("FLEET_LOG", "off")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let grpc = eventually("it is up", Duration::from_secs(120), async || {
        let file = std::fs::read(dir.path().join("dev.json")).map_err(|error| error.to_string())?;
        let file: Value = serde_json::from_slice(&file).map_err(|error| error.to_string())?;
        Ok(file["grpc"].as_str().unwrap().to_owned())
    })
    .await;
    drop(dev.stdout.take());
    // It learns of it by what it has to say next: how far the read models are.
    let dev = Mutex::new(dev);
    let status = eventually("it ends", LIMIT, async || {
        if let Some(status) = dev.lock().unwrap().try_wait().unwrap() {
            return Ok(status);
        }
        if let Ok(channel) = fleet::client::endpoint(&grpc).unwrap().connect().await {
            let entry = Uuid::now_v7();
            let created = event("EntryCreated", json!({"entry_id": entry, "spelling": "late"}));
            let _ = Store::new(channel.into()).append_events(append("VocabularyEntry", entry, vec![created])).await;
        }
        Err("it runs".to_owned())
    })
    .await;
    let mut dev = dev.into_inner().unwrap();
    let mut error = String::new();
    dev.stderr.take().unwrap().read_to_string(&mut error).await.unwrap();
    assert_eq!((status.code(), &*error), (Some(0), ""));
    assert!(!dir.path().join("dev.json").exists(), "a fleet that has ended is nowhere");

    let unread = Process::builder("dev")
        .env("FLEET_LOG", "off")
        .arg("--data-dir")
        .arg(dir.path().to_str().unwrap())
        .env("FLEET_HTTP", "127.0.0.1:0");
    let (status, error) = unread.env("FLEET_GRPC", "127.0.0.1:0").arg("--bus").arg("embedded").unread().await;
    assert_eq!((status.code(), &*error), (Some(0), ""), "nobody has read a word");
}

#[tokio::test]
async fn an_exit_code_says_what_became_of_a_command() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let worker = fleet.worker("vocabulary-events", &store).await;
    let at = worker.http();
    let letter = park(&fleet, "no JSON").await.to_string();
    let unknown = Uuid::now_v7().to_string();
    // A database that has none of the tables: whoever looks at it is not ready.
    let empty = Database::empty().await.url;
    let unready = fleet.process("admin").await.env("DATABASE_URL", &empty).start().await;
    let away = "127.0.0.1:1";
    let at_once = &["--wait", "0"][..];
    let by = &["--actor", "ada", "--reason", "a test"][..];
    for (exit, http, args) in [
        (Exit::Good, &*at, &["status"][..]),
        (Exit::Good, &at, &["healthcheck"]),
        (Exit::Good, &at, &["operations", "list"]),
        (Exit::Good, away, &["topics"]),
        (Exit::Failure, &at, &[&["dead-letters", "retry", &letter, "--yes"][..], by].concat()),
        (Exit::Failure, away, &["import", "/nowhere.ndjson"]),
        (Exit::Usage, &at, &["status", "--what"]),
        (Exit::Usage, &at, &["dead-letters", "retry"]),
        (Exit::Usage, "::not an address::", &["status"]),
        (Exit::Unhealthy, &unready.http(), &["healthcheck"]),
        (Exit::Refused, &at, &["operations", "show", &unknown]),
        (Exit::Refused, &at, &["replay", "nothing", "--dry-run"]),
        (Exit::Refused, &at, &[&["dead-letters", "discard", &letter, "--error", "another"][..], by].concat()),
        (Exit::Unreachable, away, &[&["status"][..], at_once].concat()),
        (Exit::Unreachable, away, &["healthcheck"]),
        (Exit::Unreachable, away, &["export", "--wait", "0", "--grpc", away]),
    ] {
        let (status, out, error) = command(&fleet, http, args).await.output().await;
        assert_eq!(status.code(), Some(exit.code().into()), "{args:?}: {out}{error}");
        assert!(exit == Exit::Good || !error.is_empty() || !out.is_empty(), "{args:?} says nothing");
    }
    let (status, out, _) = Process::builder("--help").output().await;
    assert!(status.success() && out.contains(&Exit::help()), "{out}");
}

#[test]
fn no_command_asks_anything_of_whoever_types_it() {
    // Who has no terminal cannot answer. Standard input is read where it is named as the file, and nowhere else.
    let mut folders = vec![root().join("fleet/src")];
    let mut readers = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path if std::fs::read_to_string(&path).unwrap().contains("io::stdin()") => readers.push(path),
                _ => {}
            }
        }
    }
    assert_eq!(readers, [root().join("fleet/src/commands/import.rs")]);
}

#[tokio::test]
async fn a_shell_completes_commands_and_the_programs_own_names() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let (status, script, error) = Process::builder("completion").arg(shell).output().await;
        assert!(status.success(), "{error}");
        assert!(script.contains("dead-letters") && script.contains("vocabulary-events"), "{shell}: {script}");
        let file = dir.path().join(shell);
        std::fs::write(&file, script).unwrap();
        let checked = std::process::Command::new(shell).arg("-n").arg(&file).output();
        match checked {
            Ok(checked) => assert!(checked.status.success(), "{shell}: {}", String::from_utf8_lossy(&checked.stderr)),
            Err(_) => assert_ne!(shell, "bash", "there is a bash wherever these tests run"),
        }
    }
    let complete = "source \"$1\"; COMP_WORDS=(fleet dead-letters ''); COMP_CWORD=2; \
                    _fleet fleet '' dead-letters; echo \"${COMPREPLY[*]}\"";
    let bash = std::process::Command::new("bash").args(["-c", complete, "-"]).arg(dir.path().join("bash")).output();
    let said = String::from_utf8(bash.unwrap().stdout).unwrap();
    assert!(said.contains("list") && said.contains("retry") && said.contains("discard"), "{said}");
}

#[tokio::test]
async fn whatever_is_shown_can_be_had_as_json() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let worker = fleet.worker("vocabulary-events", &store).await;
    let letter = park(&fleet, "no JSON").await.to_string();
    let lines = tempfile::NamedTempFile::new().unwrap();
    let lines = lines.path().to_str().unwrap();
    let by = &["--actor", "ada", "--reason", "a test"][..];
    for (args, field) in [
        (&["status"][..], "projections"),
        (&["topics"], ""),
        (&["dead-letters", "list"], "id"),
        (&["dead-letters", "show", &letter], "id"),
        (&["dead-letters", "retry", "--all"], "plan_token"),
        (&[&["dead-letters", "retry", "--all", "--yes"][..], by].concat(), "state"),
        (&["replay", "vocabulary", "--dry-run"], "selected"),
        (&[&["replay", "vocabulary"][..], by].concat(), "state"),
        (&["operations", "list"], "state"),
        (&["audit"], "action"),
        (&["import", lines], "events"),
    ] {
        let builder = command(&fleet, &worker.http(), args).await.env("FLEET_GRPC", &store.grpc());
        let (status, out, error) = builder.arg("--json").output().await;
        assert!(matches!(status.code(), Some(0 | 1)), "{args:?}: {error}");
        let shown: Vec<Value> =
            serde_json::Deserializer::from_str(&out).into_iter().collect::<Result<_, _>>().unwrap_or_else(|error| {
                panic!("{args:?}: {error}: {out}");
            });
        assert!(
            !shown.is_empty() && shown.iter().all(|it| field.is_empty() || it.get(field).is_some()),
            "{args:?}: {out}"
        );
    }
}

/// Who has several fleets on his machine does not speak to another one than that of his folder.
#[tokio::test]
async fn commands_speak_to_the_fleet_of_their_folder_unless_they_are_told_another() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join(".fleet")).unwrap();
    let dev = json!({"http": "127.0.0.1:7", "grpc": "127.0.0.1:9", "pid": 1, "database_url": "", "pubsub": {}});
    std::fs::write(folder.path().join(".fleet/dev.json"), dev.to_string()).unwrap();
    for (command, says) in [
        (&["status"][..], "no fleet answers at 127.0.0.1:7 "),
        (&["doctor"], "no fleet answers at 127.0.0.1:7 "),
        (&["operations", "list"], "no fleet answers at 127.0.0.1:7 "),
        (&["rows", "vocabulary"], "no fleet answers at 127.0.0.1:7 "),
        (&["export"], "no event store answers at 127.0.0.1:9 "),
        (&["status", "--http", "127.0.0.1:11"], "no fleet answers at 127.0.0.1:11 "),
        (&["operations", "--http", "127.0.0.1:11", "list"], "no fleet answers at 127.0.0.1:11 "),
        (&["status", "--http", "8081"], "did you mean 127.0.0.1:8081?"),
    ] {
        let builder = Process::builder(command[0]).without("FLEET_HTTP").without("FLEET_GRPC").within(folder.path());
        let builder = command[1..].iter().fold(builder, |it, arg| it.arg(arg)).env("FLEET_WAIT", "0");
        let (status, out, error) = builder.output().await;
        assert!(!status.success() && error.contains(says), "{command:?}: {out}{error}");
    }
    // Nor to one that happens to be at the usual place, when that of the folder has ended.
    std::fs::remove_file(folder.path().join(".fleet/dev.json")).unwrap();
    for (command, says) in [("status", "start it (for development: `"), ("export", "say where it is, in FLEET_GRPC")] {
        let builder = Process::builder(command).without("FLEET_HTTP").without("FLEET_GRPC").within(folder.path());
        let (status, out, error) = builder.env("FLEET_WAIT", "0").output().await;
        let ended = error.contains("dev` of this folder, which has a .fleet, does not run; ");
        assert!(status.code() == Some(5) && ended && error.contains(says), "{command}: {out}{error}");
    }
}
