//! What Terraform makes is what the program expects: topics and subscriptions, arguments and environment, and a fleet that
//! runs on them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use events::Topic;
use fleet::bus_choice::Pull;
use hcl::{Block, Expression};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::deploy::{agree_with_each_other, probed};
use crate::harness::client::{SAMPLE_EVENTS, load_sample};
use crate::harness::container::{Container, command_line, variables};
use crate::harness::issuer::{self, Issuer};
use crate::harness::terraform::{self, Plan};
use crate::harness::{Database, Fleet, Process, Project, catalogue, expected};
use crate::sample::push_all;

/// Everything is slow when all cores are busy with other tests.
const LIMIT: Duration = Duration::from_secs(300);

/// What a topic's subscription must be, in the words of Pub/Sub's REST API.
fn promised(topic: &Topic, project: &str) -> Value {
    json!({
        "topic": format!("projects/{project}/topics/{}", topic.name),
        "ackDeadlineSeconds": Topic::ACK_DEADLINE_SECONDS,
        "retryPolicy": {
            "minimumBackoff": format!("{}s", Topic::MINIMUM_BACKOFF_SECONDS),
            "maximumBackoff": format!("{}s", Topic::MAXIMUM_BACKOFF_SECONDS),
        },
        "deadLetterPolicy": {
            "deadLetterTopic": format!("projects/{project}/topics/{}", topic.dead_letter()),
            "maxDeliveryAttempts": Topic::MAX_DELIVERY_ATTEMPTS,
        },
    })
}

/// Fails unless the emulator has each topic, its subscription, and its dead letters, as promised.
async fn keeps_the_promise(project: &Project, retention: bool) {
    for &topic in catalogue().topics() {
        let subscription = project.get(&format!("subscriptions/{}", topic.subscription)).await;
        for (field, wanted) in promised(topic, &project.name).as_object().unwrap() {
            assert_eq!(&subscription[field], wanted, "{field} of {}", topic.subscription);
        }
        let dead = project.get(&format!("subscriptions/{}", topic.dead_letter())).await;
        assert_eq!(dead["topic"], format!("projects/{}/topics/{}", project.name, topic.dead_letter()));
        if retention {
            let made = project.get(&format!("topics/{}", topic.name)).await;
            assert_eq!(made["messageRetentionDuration"], days(topic.retention_days), "retention of {topic}");
        }
    }
}

fn days(days: u32) -> String {
    format!("{}s", days * 86_400)
}

#[tokio::test]
async fn what_the_fleet_makes_for_itself_is_what_it_promises() {
    let project = Project::new().await;
    // How long topics keep messages is of no use to a bus that forgets at its end.
    keeps_the_promise(&project, false).await;
}

#[tokio::test]
async fn the_script_for_the_emulator_makes_what_the_fleet_promises_and_may_be_repeated() {
    let project = Project::shared().await;
    for word in ["created ", "exists  "] {
        let output = std::process::Command::new("sh")
            .arg(terraform::root().join("deploy/emulator/topics.sh"))
            .env("PUBSUB_EMULATOR_HOST", &project.emulator)
            .env("GOOGLE_CLOUD_PROJECT", &project.name)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(
            said.lines().filter(|line| line.starts_with(word)).count(),
            4 * catalogue().topics().len(),
            "{said}"
        );
    }
    keeps_the_promise(&project, true).await;
}

/// The blocks of a file, and those within them.
fn blocks(body: &hcl::Body) -> Vec<&Block> {
    body.blocks().flat_map(|block| std::iter::once(block).chain(blocks(block.body()))).collect()
}

/// The expressions of a file, with what they are made of.
fn walk<'a>(expression: &'a Expression, found: &mut Vec<&'a Expression>) {
    found.push(expression);
    match expression {
        Expression::Array(items) => items.iter().for_each(|item| walk(item, found)),
        Expression::Object(fields) => fields.values().for_each(|value| walk(value, found)),
        Expression::FuncCall(call) => call.args.iter().for_each(|argument| walk(argument, found)),
        Expression::Parenthesis(inner) => walk(inner, found),
        Expression::Conditional(choice) => {
            walk(&choice.true_expr, found);
            walk(&choice.false_expr, found);
        }
        Expression::ForExpr(each) => walk(&each.value_expr, found),
        _ => {}
    }
}

fn expressions(body: &hcl::Body) -> Vec<&Expression> {
    let within = blocks(body).into_iter().flat_map(|block| block.body().attributes());
    let mut found = Vec::new();
    body.attributes().chain(within).for_each(|attribute| walk(attribute.expr(), &mut found));
    found
}

#[test]
fn every_variable_that_terraform_sets_is_one_of_the_program() {
    let known = variables();
    let mut set = 0;
    for file in terraform::files(&terraform::root().join("terraform")) {
        let body = terraform::parse(&file);
        let names = expressions(&body).into_iter().flat_map(|expression| match expression {
            Expression::Object(fields) => fields.keys().map(ToString::to_string).collect(),
            Expression::String(text) => vec![text.clone()],
            _ => Vec::new(),
        });
        for name in names.filter(|name| name.starts_with("FLEET_")) {
            assert!(known.contains(&name), "{}: {name} is no variable of the program", file.display());
            set += 1;
        }
    }
    assert!(set > 20, "only {set} found: are they written otherwise now?");
}

/// What begins with `args` in a container works on the database: whatever else the program can do would find no way there.
#[test]
fn a_container_may_run_each_role_and_nothing_else() {
    let works_on_the_database =
        |command: &&clap::Command| command.get_arguments().any(|arg| arg.get_env() == Some("DATABASE_URL".as_ref()));
    let program = command_line();
    let roles: BTreeSet<_> =
        program.get_subcommands().filter(works_on_the_database).map(clap::Command::get_name).collect();
    let here = BTreeSet::from(["dev", "schema"]);

    let body = terraform::parse(&terraform::root().join("terraform/modules/container/variables.tf"));
    let args = body.blocks().find(|block| block.labels().iter().any(|label| label.as_str() == "args")).unwrap();
    let condition = expressions(args.body()).into_iter().find_map(|expression| match expression {
        Expression::FuncCall(call) if call.name.name.as_str() == "contains" => call.args.first(),
        _ => None,
    });
    let Some(Expression::Array(allowed)) = condition else { panic!("args is checked otherwise now") };
    let allowed = allowed.iter().map(|role| match role {
        Expression::String(role) => role.as_str(),
        _ => panic!("{role} is no text"),
    });
    assert_eq!(allowed.collect::<BTreeSet<_>>(), roles.difference(&here).copied().collect());
}

/// Terraform, compose and the emulator take their topics from this file.
#[test]
fn the_file_of_topics_is_what_the_program_prints() {
    let printed = std::process::Command::new(env!("CARGO_BIN_EXE_fleet")).args(["topics", "--json"]).output().unwrap();
    assert!(printed.status.success());
    let file = std::fs::read_to_string(terraform::root().join("deploy/topics.json")).unwrap();
    assert_eq!(
        file,
        String::from_utf8(printed.stdout).unwrap(),
        "target/debug/fleet topics --json >deploy/topics.json"
    );
}

#[tokio::test]
async fn what_small_plans_is_accepted_and_carries_the_sample_by_push() {
    let Some(plan) = terraform::plan("small").await else { return };
    carries_the_sample(&plan).await;
}

#[tokio::test]
async fn what_steady_plans_is_accepted_and_carries_the_sample_by_pull() {
    let Some(plan) = terraform::plan("steady").await else { return };
    carries_the_sample(&plan).await;
}

#[tokio::test]
async fn what_large_plans_is_accepted() {
    let Some(plan) = terraform::plan("large").await else { return };
    accepted(&plan).await;
}

#[tokio::test]
async fn nothing_gets_an_image_before_its_migrations_have_succeeded() {
    for name in ["small", "steady"] {
        let Some(environment) = terraform::environment(name).await else { return };
        if !environment.may_be_applied() {
            return;
        }
        let [first, second] = ["1", "2"].map(|tag| format!("europe-west1-docker.pkg.dev/fleet-test/fleet/fleet:{tag}"));
        let job = "module.migrate.google_cloud_run_v2_job.this";

        environment.apply(&first, "exit 1").expect_err("a migration that fails");
        assert_eq!(environment.images().into_values().collect::<Vec<_>>(), [[job]], "{name}");
        environment.apply(&first, "exit 0").expect("the next apply tries again");
        let all = environment.images();
        assert_eq!(all[&first].len(), 7, "{name}: event store, admin, three workers and two jobs are not {all:?}");
        environment.apply(&first, "exit 1").expect("what has been migrated is not migrated again");
        assert_eq!(environment.gcloud().len(), 2, "{name}");

        environment.apply(&second, "exit 1").expect_err("a migration that fails");
        let mixed = environment.images();
        assert_eq!((mixed[&first].len(), &mixed[&second][..]), (6, &[job.to_owned()][..]), "{name}");
        environment.apply(&second, "exit 0").expect("the next apply tries again");
        assert_eq!(environment.images().into_keys().collect::<Vec<_>>(), [second], "{name}");
        for call in environment.gcloud() {
            assert_eq!(call, "run jobs execute fleet-migrate --project=my-project --region=europe-west1 --wait");
        }
    }
}

/// Fails unless the program takes every container of the plan, and every topic and subscription is as promised.
async fn accepted(plan: &Plan) -> Project {
    let containers = plan.containers();
    agree_with_each_other(&containers);
    for role in ["event-store", "admin", "migrate"] {
        assert!(containers.iter().any(|container| container.role() == role), "nothing runs fleet {role}");
    }
    for role in ["event-store", "admin"] {
        let asks = containers.iter().filter(|it| it.role() == role).all(|it| {
            let roles = it.env["FLEET_ROLES"].as_deref().expect("known in the plan");
            identity::Members::parse(roles).is_ok()
                && it.env["FLEET_AUTH"].as_deref().is_none_or(|auth| auth.starts_with("cloud-run,google:"))
        });
        assert!(asks, "{role} would not start, or let in whoever comes");
    }
    let migrate = containers.iter().find(|it| it.role() == "migrate").unwrap();
    let grants: Vec<&str> = migrate.env["FLEET_GRANT"].as_deref().expect("known in the plan").split(',').collect();
    let mut duties = ["append", "relay", "prune", "admin"].map(str::to_owned).to_vec();
    duties.extend(catalogue().topics().iter().map(|topic| format!("worker:{}", topic.name)));
    for duty in duties {
        assert!(
            grants.iter().any(|it| it.rsplit_once('=').is_some_and(|(of, _)| of == duty)),
            "nobody is granted {duty}"
        );
    }
    for &topic in catalogue().topics() {
        let of_topic = |container: &&Container| container.topic().as_deref() == Some(topic.name);
        assert!(containers.iter().any(|it| of_topic(&it)), "no worker for {topic}");
    }
    let project = Project::bare().await;
    for (name, body) in plan.topics() {
        project.put(&format!("topics/{name}"), &body).await;
    }
    let mut kept = 0;
    for mut subscription in plan.subscriptions(&project.name) {
        // The emulator refuses more than 7 days, which was the limit once.
        let retention = subscription.body.as_object_mut().unwrap().remove("messageRetentionDuration");
        for &topic in catalogue().topics() {
            let wanted = if subscription.name == topic.subscription {
                topic.retention_days
            } else if subscription.name == topic.dead_letter() {
                Topic::DEAD_LETTER_RETENTION_DAYS
            } else {
                continue;
            };
            assert_eq!(retention, Some(days(wanted).into()), "retention of {}", subscription.name);
            kept += 1;
        }
        project.put(&format!("subscriptions/{}", subscription.name), &subscription.body).await;
    }
    assert_eq!(kept, 2 * catalogue().topics().len());
    keeps_the_promise(&project, true).await;
    project
}

/// Runs the fleet of a plan: an empty database, the topics and subscriptions of the plan, its migration, its event store and
/// its workers, each with the arguments and the environment of the plan.
async fn carries_the_sample(plan: &Plan) {
    let project = accepted(plan).await;
    let fleet = Fleet { database: Database::empty().await, project };
    let containers = plan.containers();
    let of_role = |role: &str| containers.iter().find(|container| container.role() == role).unwrap();
    let here = |container: &Container| {
        let builder = container.process(&fleet.database).env("PUBSUB_EMULATOR_HOST", &fleet.project.emulator);
        builder.env("GOOGLE_CLOUD_PROJECT", &fleet.project.name)
    };

    let (status, _, said) = here(of_role("migrate")).output().await;
    assert!(status.success(), "{said}");
    let store = here(of_role("event-store")).start().await;
    probed(of_role("event-store"), &store).await;

    let issuer = Issuer::start().await;
    let mut processes: Vec<Process> = Vec::new();
    let mut pushers = JoinSet::new();
    let pushed = Arc::new(AtomicUsize::new(0));
    for &topic in catalogue().topics() {
        let serves = |it: &&Container| it.topic().as_deref() == Some(topic.name) && !it.probes.is_empty();
        let worker = containers.iter().find(serves).unwrap_or_else(|| panic!("no worker for {topic}"));
        // The emulator paces each stream; and the sweep must not do the work that is tested here.
        let mut builder = here(worker).env("FLEET_STREAMS", "8").env("FLEET_SWEEP_GRACE", "3600");
        assert_eq!(worker.env.contains_key("FLEET_GRPC"), topic.adopts_foreign_events, "{topic}");
        if topic.adopts_foreign_events {
            builder = builder.env("FLEET_GRPC", &store.grpc());
        }
        let process = builder.env("FLEET_PUSH_JWKS_URL", &issuer.url).start().await;
        probed(worker, &process).await;
        let subscriptions = plan.subscriptions(&fleet.project.name);
        let subscription = subscriptions.iter().find(|it| it.name == topic.subscription).unwrap();
        if let Some((audience, account)) = &subscription.push {
            // The emulator sends no tokens, so the messages are brought to the worker with one like the subscription's.
            let token = issuer.token("one", &issuer::claims(audience, account));
            let url = format!("http://{}/push", process.http());
            let subscription = fleet
                .project
                .bus()
                .subscription(topic, Pull { streams: 4, max_outstanding: 200, room: bus::Room::new(48 << 20) });
            pushers.spawn(push_all(topic, subscription, url, Some(token), pushed.clone()));
        }
        processes.push(process);
    }
    load_sample(&store).await;
    fleet.database.settled(SAMPLE_EVENTS, LIMIT).await;
    expected::assert_sample(&fleet.database.pool).await;
    let pushes = !pushers.is_empty();
    pushers.abort_all();
    assert_eq!(pushed.load(Ordering::Relaxed) > 20_000, pushes, "as many as there are events, or none");
}
