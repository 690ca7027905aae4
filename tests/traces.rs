//! Spans: one trace from the caller of an append to the row, the dead letter and its redrive; none lost, and nobody held up.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use tonic::Request;
use uuid::Uuid;

use crate::dead_letters::{BREAK, FIX, execute, letters, mallory};
use crate::harness::client::{SAMPLE_EVENTS, append, connect, email_updated, load_sample, signed_up};
use crate::harness::otlp::{Mood, Received, Receiver};
use crate::harness::{Admin, Fleet, Process, catalogue, eventually, process};

const LIMIT: Duration = Duration::from_secs(60);

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

const APPEND: &str = "fleet.eventstore.v1.EventStore/AppendEvents";
const APPEND_IN_A_STREAM: &str = "fleet.eventstore.v1.EventStore/AppendEventStream";

/// A process that sends its spans there, each of which begins with this chance.
fn traced(builder: process::Builder, receiver: &Receiver, share: &str) -> process::Builder {
    builder.env("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.endpoint).env("OTEL_TRACES_SAMPLER_ARG", share)
}

async fn store(fleet: &Fleet, receiver: &Receiver, share: &str) -> Process {
    let builder = fleet.process("event-store").await.env("FLEET_GRPC_LISTEN", "127.0.0.1:0");
    traced(builder, receiver, share).start().await
}

async fn worker(fleet: &Fleet, receiver: &Receiver, topic: &str, store: &Process) -> Process {
    traced(fleet.worker_builder(topic, store).await, receiver, "0").start().await
}

fn of_name<'a>(spans: &'a [Received], name: &str) -> Vec<&'a Received> {
    spans.iter().filter(|it| it.span.name == name).collect()
}

/// The only one.
fn one<'a>(spans: &'a [Received], name: &str, said: &[(&str, &str)]) -> &'a Received {
    let of_name = of_name(spans, name);
    let fits = |it: &&&Received| said.iter().all(|(key, value)| it.said(key).as_deref() == Some(*value));
    let fitting: Vec<_> = of_name.iter().filter(fits).collect();
    assert_eq!(fitting.len(), 1, "{name} {said:?} of {of_name:#?}");
    fitting[0]
}

fn links(it: &Received, to: &Received) -> bool {
    it.span.links.iter().any(|link| link.span_id == to.span.span_id && link.trace_id == to.span.trace_id)
}

#[tokio::test]
async fn one_trace_goes_from_the_call_to_the_row_and_over_a_dead_letter_to_its_redrive() {
    let receiver = Receiver::start().await;
    let fleet = Fleet::new().await;
    let store = store(&fleet, &receiver, "0").await;
    let mut client = connect(&store).await;
    execute(&fleet, BREAK).await;
    let worker = worker(&fleet, &receiver, "integration-events", &store).await;
    let admin = Admin::of(&worker);

    let user = Uuid::now_v7();
    client.append_events(append("User", user, vec![signed_up(user)])).await.unwrap();
    let mut request = Request::new(append("User", user, vec![mallory(user)]));
    request.metadata_mut().insert("traceparent", format!("00-{TRACE}-{CALLER}-01").parse().unwrap());
    client.append_events(request).await.unwrap();
    let letter = letters(&fleet, &admin, 1).await.remove(0);
    assert_eq!(letter["event_version"], 2);
    execute(&fleet, FIX).await;
    let path = format!("/dead-letters/{}/retry", letter["id"].as_str().unwrap());
    let (status, operation) = admin.post(&path, &json!({})).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{operation}");
    admin.succeeded(&operation).await;
    // Another day, another question: the same read model is built anew and put in the place of the one that is read.
    let (status, plan) = admin.post("/projections/user_directory/generations", &json!({"dry_run": true})).await;
    assert!(status.is_success(), "{plan}");
    let asked = json!({"plan_token": plan["plan_token"], "actor": "ada", "reason": "a trace"});
    let (status, rebuild) = admin.post("/projections/user_directory/generations", &asked).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{rebuild}");

    let redriven = [("fleet.apply.mode", "redrive"), ("fleet.projection.name", "user_directory")];
    eventually("its redrive is told", LIMIT, async || {
        let spans = receiver.spans();
        let told = of_name(&spans, "apply user_directory").into_iter();
        let told =
            told.filter(|it| redriven.iter().all(|(key, value)| it.said(key).as_deref() == Some(*value))).count();
        if told == 1 { Ok(()) } else { Err(format!("{spans:#?}")) }
    })
    .await;
    const ASKED: &str = "POST /admin/v1/projections/{name}/generations";
    eventually("a builder has told of its work", LIMIT, async || {
        let spans = receiver.spans();
        if of_name(&spans, "build user_directory").is_empty() { Err(format!("{spans:#?}")) } else { Ok(()) }
    })
    .await;
    let spans = receiver.spans();
    let built = of_name(&spans, "build user_directory");
    let asked: Vec<_> = of_name(&spans, ASKED);
    let from = asked.iter().filter(|it| built.iter().all(|chunk| chunk.parent() == it.id())).count();
    assert_eq!(
        (asked.len(), from),
        (2, 1),
        "both requests are kept, and the work is the second one's: {built:#?} {asked:#?}"
    );
    let decided =
        one(&spans, "POST /admin/v1/dead-letters/{id}/retry", &[("http.response.status_code", "202")]).clone();

    // Whatever was not of this trace was begun by nobody: its call brought none, and chance had nothing; or it is what a person asked for.
    let (ours, others): (Vec<_>, Vec<_>) = spans.iter().cloned().partition(|it| it.trace_id() == TRACE);
    let of_people: Vec<_> = asked.iter().map(|it| it.trace_id()).chain([decided.trace_id()]).collect();
    let others: Vec<_> = others.into_iter().filter(|it| !of_people.contains(&it.trace_id())).collect();
    assert!(others.iter().all(|it| !it.span.links.is_empty() && it.parent().is_empty()), "{others:#?}");

    let call = one(&ours, APPEND, &[("rpc.grpc.status_code", "0"), ("fleet.event.version", "2")]);
    assert_eq!((call.parent(), &*call.service), (CALLER.to_owned(), "fleet-event-store"));
    let sent = one(&ours, "send integration-events", &[("messaging.destination.name", "integration-events")]);
    assert_eq!(sent.parent(), call.id());
    let received = of_name(&ours, "receive integration-events");
    assert!(!received.is_empty() && received.iter().all(|it| it.parent() == sent.id()), "{received:#?}");
    let here = ("fleet.projection.name", "user_directory");
    let parked = one(&ours, "apply user_directory", &[("fleet.apply.result", "parked"), here]);
    assert_eq!(parked.said("error.type").as_deref(), Some("write_failed"));
    // By the bus, or, if that was slow, from the store.
    let came_by: Vec<_> = received.iter().map(|it| it.id()).chain([call.id()]).collect();
    assert!(came_by.contains(&parked.parent()), "{parked:#?}");
    let redriven = one(&ours, "apply user_directory", &[("fleet.apply.result", "applied"), redriven[0], redriven[1]]);
    assert_eq!((redriven.parent(), &*redriven.service), (call.id(), "fleet-worker"));

    let batches = of_name(&others, "append batch");
    assert!(batches.iter().any(|batch| links(batch, call) && links(call, batch)), "{batches:#?}");
    let batches = of_name(&others, "apply batch");
    assert!(batches.iter().any(|batch| links(redriven, batch)), "{batches:#?}");
    assert!(links(redriven, &decided), "it says whose decision it was");
    assert!(!format!("{ours:?}{others:?}").contains("mallory"), "spans say nothing of what an event says");
}

/// One thread each, which the export may not take from the work.
#[tokio::test]
async fn no_span_of_a_process_with_one_thread_is_lost_also_at_its_end() {
    let receiver = Receiver::start().await;
    let fleet = Fleet::new().await;
    let one_thread = |builder: process::Builder| builder.env("TOKIO_WORKER_THREADS", "1");
    let builder = fleet.process("event-store").await.env("FLEET_GRPC_LISTEN", "127.0.0.1:0");
    let mut store = traced(one_thread(builder), &receiver, "1").start().await;
    let mut workers = Vec::new();
    for topic in catalogue().topics() {
        let builder = fleet.worker_builder(topic.name, &store).await;
        workers.push(traced(one_thread(builder), &receiver, "0").start().await);
    }
    let requests = load_sample(&store).await.requests as usize;
    for topic in catalogue().topics() {
        fleet.settled(topic.name, SAMPLE_EVENTS).await;
    }
    for process in workers.iter_mut().chain([&mut store]) {
        process.terminate();
        assert!(process.ended(LIMIT).await.success());
    }

    assert_eq!(receiver.count(APPEND_IN_A_STREAM), requests);
    let spans = receiver.spans();
    let mut applied = 0;
    for projection in catalogue().projections() {
        let name = format!("apply {}", projection.name());
        let told = of_name(&spans, &name);
        let mut ids: Vec<_> = told.iter().filter_map(|it| it.said("fleet.event.id")).collect();
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all, "{name}: each event is applied once");
        applied += all;
    }
    let settled: i64 = sqlx::query_scalar("select sum(version) from projected_aggregates")
        .fetch_one(&fleet.database.pool)
        .await
        .unwrap();
    assert_eq!(applied as i64, settled, "each event that is in a read model was told");
}

#[tokio::test]
async fn a_receiver_that_hangs_refuses_or_is_gone_holds_up_nothing_and_is_named_once() {
    let receiver = Receiver::start().await;
    receiver.set(Mood::Hangs);
    let fleet = Fleet::new().await;
    let mut store = store(&fleet, &receiver, "1").await;
    let mut client = connect(&store).await;
    let user = Uuid::now_v7();
    client.append_events(append("User", user, vec![signed_up(user)])).await.unwrap();
    let warned = |store: &Process| store.logged().iter().filter(|line| line.contains("spans do not go out")).count();
    eventually("it is said", LIMIT, async || if warned(&store) == 1 { Ok(()) } else { Err(String::new()) }).await;

    receiver.set(Mood::Refuses);
    load_sample(&store).await;
    eventually("what is refused is counted", LIMIT, async || {
        let text = reqwest::get(format!("http://{}/metrics", store.http())).await.unwrap().text().await.unwrap();
        let of = |result: &str| {
            let line = format!("trace_spans_total{{result=\"{result}\"}} ");
            text.lines().find_map(|it| it.strip_prefix(&line)).and_then(|it| it.parse::<u64>().ok()).unwrap()
        };
        let (ended, exported, failed) = (of("ended"), of("exported"), of("failed"));
        if ended > 40_000 && exported == 0 && failed > 1000 {
            Ok(())
        } else {
            Err(format!("{ended} {exported} {failed}"))
        }
    })
    .await;
    assert_eq!(warned(&store), 1, "{:#?}", store.logged());

    receiver.set(Mood::Takes);
    eventually("they go out again", LIMIT, async || {
        let event = email_updated(user, "a@example.org");
        client.clone().append_events(append("User", user, vec![event])).await.unwrap();
        if receiver.count(APPEND) > 0 { Ok(()) } else { Err(String::new()) }
    })
    .await;
    assert!(store.logged().iter().any(|line| line.contains("spans go out again")), "{:#?}", store.logged());

    drop(receiver);
    client.append_events(append("User", user, vec![email_updated(user, "b@example.org")])).await.unwrap();
    let began = Instant::now();
    store.terminate();
    assert!(store.ended(LIMIT).await.success());
    assert!(began.elapsed() < Duration::from_secs(9), "it ended after {:?}", began.elapsed());
}

#[tokio::test]
async fn without_a_receiver_nothing_is_traced_and_a_callers_trace_is_kept() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let text = reqwest::get(format!("http://{}/metrics", store.http())).await.unwrap().text().await.unwrap();
    assert!(!text.contains("trace_spans_total"), "{text}");
    let user = Uuid::now_v7();
    let mut client = connect(&store).await;
    client.append_events(append("User", user, vec![signed_up(user)])).await.unwrap();
    let metadata: Value =
        sqlx::query_scalar("select metadata from events").fetch_one(&fleet.database.pool).await.unwrap();
    assert_eq!(metadata, json!({"schema_version": 2}));
}
