//! What Terraform would make of an environment: its plan, as `terraform show -json` prints it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::container::{self, Container};

const IMAGE: &str = "europe-docker.pkg.dev/fleet-test/fleet/fleet@sha256:0000000000000000000000000000000000000000000000000000000000000000";

pub struct Plan(Value);

/// A subscription as Pub/Sub's REST API takes it, without its push configuration.
pub struct Subscription {
    pub name: String,
    pub body: Value,
    /// The audience and the service account of its pushes, if it pushes.
    pub push: Option<(String, String)>,
}

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// All files of a folder and of those below it, without what `terraform init` leaves behind.
fn all_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.file_name().and_then(|name| name.to_str()) {
            Some(".terraform" | ".terraform.lock.hcl") => {}
            _ if path.is_dir() => found.extend(all_files(&path)),
            _ => found.push(path),
        }
    }
    found.sort();
    found
}

/// The configuration in a folder and below it.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    all_files(folder).into_iter().filter(|path| path.extension() == Some("tf".as_ref())).collect()
}

/// A file's blocks.
pub fn parse(file: &Path) -> hcl::Body {
    let text = std::fs::read_to_string(file).unwrap();
    hcl::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The terraform to use, as in `.ci/run`: `TERRAFORM`, or one that needs no network, or one that has its registry.
async fn terraform() -> Result<OsString, &'static str> {
    if let Some(given) = std::env::var_os("TERRAFORM").filter(|path| !path.is_empty()) {
        return Ok(given);
    }
    if !Command::new("terraform").arg("-version").output().is_ok_and(|output| output.status.success()) {
        return Err("there is no terraform");
    }
    let offline = root().join("../shared/terraform-offline/terraform");
    if offline.exists() {
        return Ok(offline.into());
    }
    let http = reqwest::Client::builder().timeout(Duration::from_secs(15)).build().unwrap();
    match http.get("https://registry.terraform.io/.well-known/terraform.json").send().await {
        Ok(answer) if answer.status().is_success() => Ok("terraform".into()),
        _ => Err("its registry cannot be reached"),
    }
}

/// The plan with `terraform/environments/*/example/NAME.tfvars`; `None`, loudly, where there is no terraform to make one.
pub async fn plan(environment: &str) -> Option<Plan> {
    let terraform = match terraform().await {
        Ok(terraform) => terraform,
        Err(reason) => {
            assert_ne!(std::env::var("CI_REQUIRE_TERRAFORM").as_deref(), Ok("1"), "nothing can be planned: {reason}");
            eprintln!("\n*** SKIPPED: what {environment} plans was NOT held against the fleet: {reason}.\n");
            return None;
        }
    };
    // In a copy, so that no lock file, provider or state is left behind.
    let copy = tempfile::tempdir().unwrap();
    let mut read = ["terraform", "deploy/prometheus"].map(|folder| all_files(&root().join(folder))).concat();
    read.push(root().join("deploy/topics.json"));
    for file in &read {
        let to = copy.path().join(file.strip_prefix(root()).unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(&file, to).unwrap();
    }
    let values = Path::new("example").join(format!("{environment}.tfvars"));
    let example = read.iter().find(|file| file.ends_with(&values)).unwrap_or_else(|| panic!("no {}", values.display()));
    let folder = example.ancestors().nth(2).unwrap().strip_prefix(root()).unwrap();
    let folder = copy.path().join(folder);
    // Its own backend is a bucket that does not exist here.
    std::fs::write(folder.join("override.tf"), "terraform {\n  backend \"local\" {}\n}\n").unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&terraform);
        // The provider wants to be somebody, though planning an empty project asks nobody.
        command.current_dir(&folder).env("GOOGLE_OAUTH_ACCESS_TOKEN", "none").args(arguments);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "terraform {arguments:?}: {said}");
        output.stdout
    };
    run(&["init", "-input=false", "-no-color"]);
    // As its README says, but with an image that is known here, and without a budget, for which the project's number would
    // have to be a real one.
    let values = format!("-var-file={}", values.display());
    std::fs::write(folder.join("here.tfvars"), format!("image = {IMAGE:?}\nbilling_account = null\n")).unwrap();
    run(&["plan", "-input=false", "-no-color", "-out=plan", &values, "-var-file=here.tfvars"]);
    Some(Plan(serde_json::from_slice(&run(&["show", "-json", "plan"])).unwrap()))
}

impl Plan {
    fn resources(&self, kinds: &[&str]) -> Vec<&Value> {
        fn collect<'a>(module: &'a Value, found: &mut Vec<&'a Value>) {
            found.extend(items(&module["resources"]));
            items(&module["child_modules"]).for_each(|module| collect(module, found));
        }
        let mut found = Vec::new();
        collect(&self.0["planned_values"]["root_module"], &mut found);
        found.retain(|resource| kinds.contains(&resource["type"].as_str().unwrap()));
        found
    }

    /// Every container of the fleet that Cloud Run would run.
    pub fn containers(&self) -> Vec<Container> {
        let kinds = ["google_cloud_run_v2_service", "google_cloud_run_v2_worker_pool", "google_cloud_run_v2_job"];
        let resources = self.resources(&kinds).into_iter();
        resources.flat_map(|it| container::of_cloud_run(string(&it["address"]), &it["values"], IMAGE)).collect()
    }

    /// Topics as Pub/Sub's REST API takes them.
    pub fn topics(&self) -> Vec<(String, Value)> {
        let topic = |resource: &&Value| {
            let values = &resource["values"];
            let body = present(json!({ "messageRetentionDuration": values["message_retention_duration"] }));
            (string(&values["name"]).to_owned(), body)
        };
        self.resources(&["google_pubsub_topic"]).iter().map(topic).collect()
    }

    /// Subscriptions of those topics; `project` is where they are made.
    pub fn subscriptions(&self, project: &str) -> Vec<Subscription> {
        let topic = |name: &str| format!("projects/{project}/topics/{name}");
        let subscription = |resource: &&Value| {
            let values = &resource["values"];
            let (retry, dead) = (&values["retry_policy"][0], &values["dead_letter_policy"][0]);
            let retry =
                json!({ "minimumBackoff": retry["minimum_backoff"], "maximumBackoff": retry["maximum_backoff"] });
            let dead = dead.is_object().then(|| {
                json!({
                    "deadLetterTopic": topic(&self.reference(resource, "/dead_letter_policy/0/dead_letter_topic")),
                    "maxDeliveryAttempts": dead["max_delivery_attempts"],
                })
            });
            let body = json!({
                "topic": topic(&self.reference(resource, "/topic")),
                "ackDeadlineSeconds": values["ack_deadline_seconds"],
                "messageRetentionDuration": values["message_retention_duration"],
                "retainAckedMessages": values["retain_acked_messages"],
                "enableMessageOrdering": values["enable_message_ordering"],
                "filter": values["filter"],
                "retryPolicy": values["retry_policy"][0].is_object().then_some(retry),
                "deadLetterPolicy": dead,
            });
            let token = &values["push_config"][0]["oidc_token"][0];
            let said = |name: &str| string(&token[name]).to_owned();
            Subscription {
                name: string(&values["name"]).to_owned(),
                body: present(body),
                push: token.is_object().then(|| (said("audience"), said("service_account_email"))),
            }
        };
        self.resources(&["google_pubsub_subscription"]).iter().map(subscription).collect()
    }

    /// The name of the topic that an argument refers to. A plan does not know ids yet, but the configuration beside it says
    /// whose id it is.
    fn reference(&self, resource: &Value, argument: &str) -> String {
        let address = string(&resource["address"]);
        let own = format!("{}.{}", string(&resource["type"]), string(&resource["name"]));
        let module = address.strip_suffix(&own).unwrap_or_else(|| panic!("{address} is not one of a kind"));
        let mut configuration = &self.0["configuration"]["root_module"];
        let unindexed: String = module.split(']').filter_map(|part| part.split('[').next()).collect();
        for name in unindexed.split('.').filter(|part| !part.is_empty() && *part != "module") {
            configuration = &configuration["module_calls"][name]["module"];
        }
        let found = items(&configuration["resources"]).find(|it| it["address"] == own.as_str());
        let expressions = &found.unwrap_or_else(|| panic!("{own} is not configured in {module}"))["expressions"];
        let references =
            &expressions.pointer(argument).unwrap_or_else(|| panic!("{own} has no {argument}"))["references"];
        let target = string(&references[0]).trim_end_matches(".id").trim_end_matches(".name");
        let target = format!("{module}{target}");
        let topics = self.resources(&["google_pubsub_topic"]);
        let topic = topics.iter().find(|topic| topic["address"] == target.as_str());
        string(&topic.unwrap_or_else(|| panic!("{target} is not planned"))["values"]["name"]).to_owned()
    }
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn string(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}"))
}

/// Without what is not stated.
fn present(body: Value) -> Value {
    let Value::Object(fields) = body else { return body };
    Value::Object(fields.into_iter().filter(|(_, value)| !value.is_null()).collect::<Map<_, _>>())
}
