//! What is deployed speaks the program's language: the compose file here, Terraform's plans in `terraform.rs`, and the probes
//! of both.

use std::collections::BTreeMap;
use std::time::Duration;

use fleet::client::endpoint;
use serde_json::Value;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::container::{Container, Probe};
use crate::harness::{Fleet, Process, catalogue, eventually, terraform};

/// What every role answers to whoever asks whether it is ready, and whether it is alive.
const PROBED: [&str; 2] = ["/readyz", "/healthz"];

/// The YAML of a file, with what stands for the deployment's own filled in as `envsubst` does, and merges applied.
fn yaml(path: &str, own: &[(&str, &str)]) -> Value {
    let text = std::fs::read_to_string(terraform::root().join(path)).unwrap();
    let filled = own.iter().fold(text, |text, (name, value)| text.replace(&format!("${{{name}}}"), value));
    let mut yaml: serde_yaml_ng::Value =
        serde_yaml_ng::from_str(&filled).unwrap_or_else(|error| panic!("{path}: {error}"));
    // One time for what is merged, and one for what that merges.
    yaml.apply_merge().unwrap();
    yaml.apply_merge().unwrap();
    serde_json::to_value(yaml).unwrap()
}

/// The services of the compose file that run the image.
fn compose() -> BTreeMap<String, Container> {
    let file =
        yaml("docker-compose.yml", &[("POSTGRES_PASSWORD:-fleet-dev", "fleet-dev"), ("FLEET_LOG:-info", "info")]);
    let ours = file["services"].as_object().unwrap().iter().filter(|(_, service)| service["image"] == "fleet:compose");
    let container = |(name, service): (&String, &Value)| {
        let words = service["command"].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned());
        let variables = service["environment"].as_object().unwrap().iter();
        // A number in YAML is a text in an environment.
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let env = variables.map(|(name, value)| (name.clone(), Some(text(value)))).collect();
        let args = words.collect();
        (name.clone(), Container { of: name.clone(), args, env, exposed: None, probes: Vec::new() })
    };
    ours.map(container).collect()
}

/// Fails unless the program takes each container as it is described, its probes ask where it listens, and no two containers
/// of one resource want one port.
pub fn agree_with_each_other(containers: &[Container]) {
    assert!(!containers.is_empty(), "nothing runs the image");
    let mut taken: BTreeMap<(&str, u16), &str> = BTreeMap::new();
    for container in containers {
        let (http, grpc) = container.listens();
        for port in [http, grpc, container.metrics()].into_iter().flatten() {
            let other = taken.insert((&container.of, port), container.role());
            assert_eq!(other, None, "{}: port {port} is wanted twice", container.of);
        }
        if let Some(exposed) = container.exposed {
            assert!([http, grpc].contains(&Some(exposed)), "{}: nothing listens on {exposed}", container.of);
        }
        for Probe { port, path } in &container.probes {
            assert_eq!(http, Some(*port), "{}: {path} is asked elsewhere", container.of);
            assert!(PROBED.contains(&path.as_str()), "{}: {path}", container.of);
        }
    }
}

/// Fails unless the running process answers the probes of its container.
pub async fn probed(container: &Container, process: &Process) {
    for probe in &container.probes {
        answered(process, &probe.path).await;
    }
}

async fn answered(process: &Process, path: &str) {
    eventually(&format!("{path} is answered"), Duration::from_secs(30), async || {
        let answer =
            reqwest::get(format!("http://{}{path}", process.http())).await.map_err(|error| error.to_string())?;
        if answer.status().is_success() { Ok(()) } else { Err(answer.text().await.unwrap_or_default()) }
    })
    .await;
}

#[test]
fn the_program_takes_what_the_compose_file_gives_it_and_every_topic_has_a_worker() {
    let containers = compose();
    agree_with_each_other(&containers.values().cloned().collect::<Vec<_>>());
    assert_eq!(containers.len(), 3 + catalogue().topics().len(), "{containers:?}");
    for &topic in catalogue().topics() {
        assert!(containers.values().any(|it| it.topic().as_deref() == Some(topic.name)), "no worker for {topic}");
    }
    for role in ["event-store", "admin", "migrate"] {
        assert!(containers.values().any(|container| container.role() == role), "nothing runs fleet {role}");
    }
}

#[tokio::test]
async fn every_role_answers_whoever_asks_for_its_health_or_its_metrics() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let worker = fleet.worker("progress-events", &store).await;
    let pushed = fleet.worker_builder("progress-events", &store).await.env("FLEET_DELIVERY", "push");
    let pushed = pushed.env("FLEET_PUSH_UNAUTHENTICATED", "true").start().await;
    let admin = fleet.process("admin").await.start().await;
    for process in [&store, &worker, &pushed, &admin] {
        // Cloud Run asks the first two, a collector the third, and compose asks by `fleet healthcheck`.
        for path in PROBED.into_iter().chain(["/metrics"]) {
            answered(process, path).await;
        }
        let (status, _, said) = Process::builder("healthcheck").env("FLEET_HTTP", &process.http()).output().await;
        assert!(status.success(), "{said}");
    }
    let mut client = HealthClient::new(endpoint(&store.grpc()).unwrap().connect_lazy());
    let answer = client.check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(answer.into_inner().status(), ServingStatus::Serving, "clients of gRPC ask so");
}

#[test]
fn the_health_checks_of_the_compose_file_run_what_is_in_the_image() {
    let file = yaml("docker-compose.yml", &[]);
    let image = std::fs::read_to_string(terraform::root().join("deploy/Dockerfile")).unwrap();
    for (name, container) in compose() {
        let check = &file["services"][&name]["healthcheck"];
        if container.role() == "migrate" {
            assert_eq!(check["disable"], true, "{name} ends");
            continue;
        }
        let words: Vec<&str> = check["test"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
        let [kind, program, arguments @ ..] = words.as_slice() else { panic!("{name}: {words:?}") };
        assert_eq!(*kind, "CMD", "the image has no shell");
        assert!(image.contains(&format!("ENTRYPOINT [{program:?}]")), "{program} is not what the image runs");
        let of = name.clone();
        let args = arguments.iter().map(|&word| word.to_owned()).collect();
        // Without a flag it asks where a role listens without one.
        Container { of, args, env: BTreeMap::new(), exposed: None, probes: Vec::new() }.parsed();
    }
}
