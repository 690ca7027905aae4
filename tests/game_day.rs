//! `docs/runbooks/GameDay.md`, done as it says: its commands, in its order, on two releases of a program that differ in a mistake.
//! Whatever the test knows of the fleet a command has said, but for the alert, which it evaluates as Prometheus would.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::Row;
use uuid::Uuid;

use crate::harness::outside::{Change, Outside, Program, Running};
use crate::harness::{eventually, terraform};

const LIMIT: Duration = Duration::from_secs(120);

const PROJECTION: &str = "balances";

/// Money that was given back is added, and a payment that failed is not thought of.
const MISTAKE: [Change; 2] = [
    (
        "src/balances/mod.rs",
        "(payment.customer_id, 0, -payment.cents, 0)",
        "(payment.customer_id, 0, payment.cents, 0)",
    ),
    ("src/balances/mod.rs", "(payment.customer_id, 0, 0, 1)", "unreachable!(\"{}\", payment.customer_id)"),
];

/// A command of the page, and how it ends.
#[derive(Debug)]
struct Step {
    words: Vec<String>,
    code: i32,
    /// What stands behind it.
    comment: String,
}

/// The lines of its blocks that begin with a dollar.
fn steps(page: &str) -> Vec<Step> {
    let mut within = false;
    let mut steps = Vec::new();
    for line in page.lines().map(str::trim) {
        if line.starts_with("```") {
            within = line == "```console";
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| within) {
            let (command, comment) = command.split_once(" # ").unwrap_or((command, ""));
            let code = comment.split_once("exit code ").map_or(0, |(_, code)| code[..1].parse().unwrap());
            steps.push(Step { words: words(command), code, comment: comment.to_owned() });
        }
    }
    steps
}

/// As a shell would take them apart.
fn words(command: &str) -> Vec<String> {
    let quoted = command.split('"').enumerate();
    quoted
        .flat_map(|(index, text)| match index % 2 {
            1 => vec![text.to_owned()],
            _ => text.split_whitespace().map(str::to_owned).collect(),
        })
        .collect()
}

/// What is appended, and what is in the read model when all of it is right: ordered, paid, failed.
type Balances = BTreeMap<Uuid, (i64, i64, i64)>;

fn line(kind: &str, aggregate: Uuid, events: &[(&str, Value)]) -> String {
    let event = |(event_type, data): &(&str, Value)| json!({"event_type": event_type, "event_data": data, "metadata": {}, "occurred_at": "2026-03-01T08:00:00Z"});
    let events: Vec<_> = events.iter().map(event).collect();
    let key = format!("game-day-{aggregate}");
    json!({"aggregate_id": aggregate, "aggregate_type": kind, "idempotency_key": key, "events": events}).to_string()
}

/// Customers who order and pay. Of every three one pays without trouble, one is given some back, and of one a payment fails before
/// it succeeds.
fn requests(customers: usize, right: &mut Balances) -> String {
    let mut lines = Vec::new();
    for index in 0..customers {
        let [customer, order, payment] = [(); 3].map(|()| Uuid::now_v7());
        let paid = |cents: i64| json!({"customer_id": customer, "cents": cents});
        lines.push(line(
            "Order",
            order,
            &[("OrderPlaced", json!({"order_id": order, "customer_id": customer, "total": 900}))],
        ));
        let received = ("PaymentReceived", paid(1000));
        let (events, balance) = match index % 3 {
            0 => (vec![received], (900, 1000, 0)),
            1 => (vec![received, ("PaymentRefunded", paid(100))], (900, 900, 0)),
            _ => (vec![("PaymentFailed", json!({"customer_id": customer})), received], (900, 1000, 1)),
        };
        lines.push(line("Payment", payment, &events));
        right.insert(customer, balance);
    }
    lines.join("\n")
}

async fn read(outside: &Outside) -> Balances {
    let rows = sqlx::query("select customer_id, ordered_cents, paid_cents, failed_payments from balances.balances");
    let rows = rows.fetch_all(&outside.database.pool).await.unwrap();
    rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2), row.get(3)))).collect()
}

/// What the expression of an alert begins with, a gauge that is compared with a number, on what the admin exports now.
async fn fires(running: &Running, alert: &str) -> bool {
    let rules = std::fs::read_to_string(terraform::root().join("deploy/prometheus/alerts.yaml")).unwrap();
    let rules: serde_yaml_ng::Value = serde_yaml_ng::from_str(&rules).unwrap();
    let groups = rules["groups"].as_sequence().unwrap().iter();
    let mut rules = groups.flat_map(|group| group["rules"].as_sequence().unwrap());
    let rule = rules.find(|rule| rule["alert"] == alert).unwrap();
    let expression = rule["expr"].as_str().unwrap().lines().next().unwrap();
    let (gauge, limit) = expression.strip_prefix("max by (topic, projection) (").unwrap().split_once(") > ").unwrap();
    let url = format!("http://{}/metrics", running.admin.http());
    let exported = reqwest::get(url).await.unwrap().text().await.unwrap();
    let of_gauge = exported.lines().filter(|line| line.starts_with(&format!("{gauge}{{")));
    of_gauge.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).any(|value| value > limit.parse().unwrap())
}

/// What a command has said as JSON: a value, or one for each line.
fn parsed(out: &str) -> Result<Vec<Value>, String> {
    serde_json::Deserializer::from_str(out)
        .into_iter()
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{error}: {out}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_on_call_gets_a_spoilt_projection_right_by_what_the_page_says() {
    let page = std::fs::read_to_string(terraform::root().join("docs/runbooks/GameDay.md")).unwrap();
    let good = Program::built("orders-one", &[]).await;
    let bad = Program::built("orders-bad", &MISTAKE).await;
    let outside = Outside::of(&good).await;
    let mut running = outside.start(&good).await;
    let folder = tempfile::tempdir().unwrap();
    let (before, file) = (folder.path().join("before.ndjson"), folder.path().join("game-day.ndjson"));
    let mut right = Balances::new();
    std::fs::write(&before, requests(30, &mut right)).unwrap();
    std::fs::write(&file, requests(60, &mut right)).unwrap();
    let (status, out, error) = running.command(&good, &["import", before.to_str().unwrap()]).await;
    assert!(status.success(), "{out}{error}");

    let mut spoilt = None;
    let mut done = Vec::new();
    for step in steps(&page) {
        if step.words[0] == "terraform" {
            let release = if step.comment.contains("with the mistake") { &bad } else { &good };
            outside.migrate(release).await;
            let next = outside.start(release).await;
            std::mem::replace(&mut running, next).stop().await;
            done.push(step.comment);
            continue;
        }
        let words: Vec<_> = step.words[1..]
            .iter()
            .map(|word| match &**word {
                "PROJECTION" => PROJECTION.to_owned(),
                "game-day.ndjson" => file.to_str().unwrap().to_owned(),
                "GENERATION" => spoilt.clone().expect("the page has looked before"),
                word => word.to_owned(),
            })
            .chain(["--json".to_owned()])
            .collect();
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let said = eventually(&format!("{words:?} ends as the page says"), LIMIT, async || {
            let (status, out, error) = running.command(&good, &words).await;
            if status.code() != Some(step.code) {
                return Err(format!("{status}: {out}{error}"));
            }
            let said = parsed(&out)?;
            let is = match (words[0], &*step.comment) {
                ("doctor", comment) => {
                    said[0]["runbook"].as_str() == comment.split_once(": ").map(|(_, runbook)| runbook)
                }
                ("dead-letters", "nothing is parked") => said.is_empty(),
                ("dead-letters", _) => !said.is_empty(),
                _ => true,
            };
            if is { Ok(said) } else { Err(out) }
        })
        .await;
        match words[0] {
            "doctor" if step.code == 3 => {
                eventually("the alert fires", LIMIT, async || {
                    if fires(&running, "ParkedEvents").await { Ok(()) } else { Err("it does not".to_owned()) }
                })
                .await;
            }
            "verify" => assert_eq!(said[0]["result"]["equal"], step.code == 0, "{said:?}"),
            "generations" => {
                let previous = said[0].as_array().unwrap().iter().find(|it| it["standing"] == "previous").unwrap();
                spoilt = Some(previous["generation"].to_string());
            }
            "audit" => {
                let actions: Vec<_> = said.iter().filter_map(|entry| entry["action"].as_str()).collect();
                for action in ["rebuild.start", "generation.promote"] {
                    assert!(actions.contains(&action), "{actions:?}");
                }
            }
            _ => {}
        }
        done.push(words[0].to_owned());
    }
    println!("{done:?}");
    assert_eq!(done.len(), 16, "{done:?}");
    assert!(!fires(&running, "ParkedEvents").await);
    assert_eq!(read(&outside).await, right, "everything that was appended is in the read model, once");
    running.stop().await;
}
