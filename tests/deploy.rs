//! What is deployed without Terraform speaks the program's language: the files for Cloud Run, the compose file, and the
//! probes of all.

use std::collections::BTreeMap;
use std::path::PathBuf;

use fleet::roles::worker::endpoint;
use serde_json::Value;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::container::{self, Container, Probe};
use crate::harness::{Fleet, Process, catalogue, eventually, terraform};

fn folder() -> PathBuf {
    terraform::root().join("deploy/cloud-run")
}

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

/// A file of Cloud Run for one topic.
fn cloud_run(file: &str, topic: &str) -> (Value, Vec<Container>) {
    let name = format!("fleet-worker-{}", topic.trim_end_matches("-events"));
    let own = [
        ("PROJECT", "some-project"),
        ("REGION", "europe-west1"),
        ("IMAGE", "some-image"),
        ("SQL_INSTANCE", "some-project:europe-west1:fleet"),
        ("SECRET_VERSION", "1"),
        ("TOPIC", topic),
        ("NAME", &name),
    ];
    let resource = yaml(&format!("deploy/cloud-run/{file}"), &own);
    assert!(!resource.to_string().contains("${"), "{file}: nobody fills in all of it: {resource}");
    let containers = container::of_cloud_run(file, &resource, "some-image");
    (resource, containers)
}

/// Every file of Cloud Run that runs the image, filled in for each topic.
fn all_of_cloud_run() -> Vec<(String, Value, Vec<Container>)> {
    let mut files: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|file| file.ends_with(".yaml") && file != "run-monitoring.yaml")
        .collect();
    files.sort();
    assert_eq!(files.len(), 7, "{files:?}");
    let filled = files.into_iter().flat_map(|file| {
        let topics =
            catalogue().topics().iter().copied().map(move |topic| (file.clone(), cloud_run(&file, topic.name)));
        topics.map(|(file, (resource, containers))| (file, resource, containers))
    });
    filled.collect()
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
        for port in [http, grpc].into_iter().flatten() {
            let other = taken.insert((&container.of, port), container.role());
            assert_eq!(other, None, "{}: port {port} is wanted twice", container.of);
        }
        if let Some(exposed) = container.exposed {
            assert!([http, grpc].contains(&Some(exposed)), "{}: nothing listens on {exposed}", container.of);
        }
        for probe in &container.probes {
            match probe {
                Probe::Http { port, .. } => assert_eq!(http, Some(*port), "{}: {probe:?}", container.of),
                Probe::Grpc { port } => assert_eq!(grpc, Some(*port), "{}: {probe:?}", container.of),
            }
        }
    }
}

/// Fails unless the running process answers the probes of its container.
pub async fn probed(container: &Container, process: &Process) {
    for probe in &container.probes {
        eventually(
            &format!("{}: {probe:?} is answered", container.of),
            std::time::Duration::from_secs(30),
            async || match probe {
                Probe::Http { path, .. } => {
                    let answer = reqwest::get(format!("http://{}{path}", process.http())).await;
                    let answer = answer.and_then(reqwest::Response::error_for_status);
                    answer.map(drop).map_err(|error| error.to_string())
                }
                Probe::Grpc { .. } => {
                    let mut client = HealthClient::new(endpoint(&process.grpc()).unwrap().connect_lazy());
                    let answer =
                        client.check(HealthCheckRequest::default()).await.map_err(|error| error.to_string())?;
                    match answer.into_inner().status() {
                        ServingStatus::Serving => Ok(()),
                        other => Err(format!("{other:?}")),
                    }
                }
            },
        )
        .await;
    }
}

#[test]
fn the_program_takes_what_the_files_for_cloud_run_give_it() {
    for (_, _, containers) in all_of_cloud_run() {
        agree_with_each_other(&containers);
    }
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

#[test]
fn who_pulls_or_relays_never_sleeps_and_has_its_cpu() {
    for (file, resource, containers) in all_of_cloud_run() {
        let template = &resource["spec"]["template"]["metadata"]["annotations"];
        if resource["kind"] == "Service" {
            // The sweep, the relay and the measuring of lag work between requests.
            assert_eq!(template["run.googleapis.com/cpu-throttling"], "false", "{file}");
            let pushed = containers.iter().any(|it| it.args.windows(2).any(|pair| pair == ["--delivery", "push"]));
            assert_eq!(template["autoscaling.knative.dev/minScale"], if pushed { "0" } else { "1" }, "{file}");
        }
        if resource["kind"] == "WorkerPool" {
            let pool = &resource["metadata"]["annotations"];
            assert_ne!(pool["run.googleapis.com/manualInstanceCount"], "0", "{file}");
        }
    }
}

#[test]
fn a_push_may_take_as_long_as_the_subscription_waits() {
    let (resource, _) = cloud_run("worker-push.yaml", "progress-events");
    assert_eq!(resource["spec"]["template"]["spec"]["timeoutSeconds"], events::Topic::ACK_DEADLINE_SECONDS);
}

#[test]
fn the_collector_scrapes_where_admin_listens_and_often_enough_for_the_alerts() {
    let monitoring = yaml("deploy/cloud-run/run-monitoring.yaml", &[]);
    assert_eq!(monitoring["kind"], "RunMonitoring");
    let (_, containers) = cloud_run("admin.yaml", "progress-events");
    let endpoint = &monitoring["spec"]["endpoints"][0];
    assert_eq!(endpoint["port"].as_u64(), containers[0].listens().0.map(u64::from));
    assert_eq!((&endpoint["path"], &endpoint["interval"]), (&"/metrics".into(), &"30s".into()));
}

#[tokio::test]
async fn every_probe_is_answered_by_the_role_that_it_probes() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let worker = fleet.worker("progress-events", &store).await;
    let pushed = fleet.worker_builder("progress-events", &store).await.env("FLEET_DELIVERY", "push");
    let pushed = pushed.env("FLEET_PUSH_UNAUTHENTICATED", "true").start().await;
    let admin = fleet.process("admin").await.start().await;
    let mut asked = 0;
    for (_, _, containers) in all_of_cloud_run() {
        for container in &containers {
            match container.role() {
                "event-store" => probed(container, &store).await,
                "admin" => probed(container, &admin).await,
                "worker" => {
                    probed(container, &worker).await;
                    probed(container, &pushed).await;
                }
                "migrate" => assert_eq!(container.probes, [], "a job is not probed"),
                other => panic!("who probes {other}?"),
            }
            asked += container.probes.len();
        }
    }
    assert!(asked > 30, "{asked}");

    // Metrics are scraped, and compose asks `fleet healthcheck`.
    for process in [&store, &worker, &pushed, &admin] {
        reqwest::get(format!("http://{}/metrics", process.http())).await.unwrap().error_for_status().unwrap();
        let (status, _, said) = Process::builder("healthcheck").env("FLEET_HTTP", &process.http()).output().await;
        assert!(status.success(), "{said}");
    }
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
