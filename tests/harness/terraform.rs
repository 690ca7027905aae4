//! What Terraform would make of an environment: its plan, as `terraform show -json` prints it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::container::{self, Container};

const IMAGE: &str = "europe-docker.pkg.dev/fleet-test/fleet/fleet@sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// Outputs of modules in place of what the stand-in of the provider makes up, which validations refuse.
const STOOD_IN: [(&str, &str); 3] = [
    (
        "database",
        r#"
        output "connections" {
          value = { for name in keys(var.users) : name => {
            url = "postgres://fleet@10.0.0.1/fleet", password_secret = "some", password_version = "1", instance = null
          } }
        }
        "#,
    ),
    (
        "event-store",
        r#"
        output "uri" {
          value = "https://some.store"
        }
        "#,
    ),
    (
        "worker",
        r#"
        output "push" {
          value = var.push == null ? null : merge(var.push, { endpoint = "https://some.service/push" })
        }
        "#,
    ),
];

/// What runs containers.
const CLOUD_RUN: [&str; 3] =
    ["google_cloud_run_v2_service", "google_cloud_run_v2_worker_pool", "google_cloud_run_v2_job"];

/// A copy of the configuration of one environment, in which nothing is left behind but in itself.
pub struct Environment {
    terraform: OsString,
    copy: TempDir,
    folder: PathBuf,
    values: String,
}

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

/// The environment whose values are `terraform/environments/*/example/NAME.tfvars`; `None`, loudly, where there is no
/// terraform that could plan it.
pub async fn environment(name: &str) -> Option<Environment> {
    let terraform = match terraform().await {
        Ok(terraform) => terraform,
        Err(reason) => {
            assert_ne!(std::env::var("CI_REQUIRE_TERRAFORM").as_deref(), Ok("1"), "nothing can be planned: {reason}");
            eprintln!("\n*** SKIPPED: what {name} plans was NOT held against the fleet: {reason}.\n");
            return None;
        }
    };
    let copy = tempfile::tempdir().unwrap();
    let mut read = ["terraform", "deploy/prometheus"].map(|folder| all_files(&root().join(folder))).concat();
    read.push(root().join("deploy/topics.json"));
    for file in &read {
        let to = copy.path().join(file.strip_prefix(root()).unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(file, to).unwrap();
    }
    let values = Path::new("example").join(format!("{name}.tfvars"));
    let example = read.iter().find(|file| file.ends_with(&values)).unwrap_or_else(|| panic!("no {}", values.display()));
    let folder = copy.path().join(example.ancestors().nth(2).unwrap().strip_prefix(root()).unwrap());
    // Its own backend is a bucket that does not exist here.
    std::fs::write(folder.join("override.tf"), "terraform {\n  backend \"local\" {}\n}\n").unwrap();
    let values = format!("-var-file={}", values.display());
    let environment = Environment { terraform, copy, folder, values };
    environment.run(&["init", "-input=false", "-no-color"]);
    Some(environment)
}

/// The plan of an environment.
pub async fn plan(name: &str) -> Option<Plan> {
    Some(environment(name).await?.plan())
}

impl Environment {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.terraform);
        // The provider wants to be somebody, though planning an empty project asks nobody.
        command.current_dir(&self.folder).env("GOOGLE_OAUTH_ACCESS_TOKEN", "none").args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Vec<u8> {
        let output = self.command(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "terraform {arguments:?}: {said}");
        output.stdout
    }

    /// As its README says, but with an image that is known here, and without a budget, for which the project's number would
    /// have to be a real one.
    fn values(&self, image: &str) {
        std::fs::write(self.folder.join("here.tfvars"), format!("image = {image:?}\nbilling_account = null\n"))
            .unwrap();
    }

    pub fn plan(&self) -> Plan {
        self.values(IMAGE);
        self.run(&["plan", "-input=false", "-no-color", "-out=plan", &self.values, "-var-file=here.tfvars"]);
        Plan(serde_json::from_slice(&self.run(&["show", "-json", "plan"])).unwrap())
    }

    /// Whether an apply makes nothing but a file: only with the stand-in of a provider.
    pub fn may_be_applied(&self) -> bool {
        let may = Path::new(&self.terraform).ends_with("terraform-offline/terraform");
        if !may {
            eprintln!("\n*** SKIPPED: applying asks for a stand-in of the provider, or it would be a real project.\n");
        }
        may
    }

    /// Applies beside a `gcloud` that notes how it was called and then does `what`.
    ///
    /// # Errors
    /// What terraform said.
    pub fn apply(&self, image: &str, what: &str) -> Result<(), String> {
        assert!(self.may_be_applied());
        let bin = self.copy.path().join("bin");
        std::fs::create_dir_all(&bin).unwrap();
        let gcloud = bin.join("gcloud");
        let noting = format!("#!/bin/sh\necho \"$@\" >>{:?}\n{what}\n", self.copy.path().join("gcloud"));
        std::fs::write(&gcloud, noting).unwrap();
        std::fs::set_permissions(&gcloud, PermissionsExt::from_mode(0o755)).unwrap();
        for (module, output) in STOOD_IN {
            let file = self.copy.path().join("terraform/modules").join(module).join("override.tf");
            std::fs::write(file, output).unwrap();
        }
        self.values(image);
        let path = std::env::join_paths(
            std::iter::once(bin).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
        );
        let arguments = ["apply", "-input=false", "-no-color", "-auto-approve", &self.values, "-var-file=here.tfvars"];
        let output = self.command(&arguments).env("PATH", path.unwrap()).output().unwrap();
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    }

    /// The images that run, or wait to be run, and in which resources of Cloud Run.
    pub fn images(&self) -> BTreeMap<String, Vec<String>> {
        let state: Value = serde_json::from_slice(&self.run(&["show", "-json"])).unwrap();
        let mut images = BTreeMap::<_, Vec<_>>::new();
        for resource in resources(&state["values"], &CLOUD_RUN) {
            let template = &resource["values"]["template"][0];
            let container = template.pointer("/containers/0").or_else(|| template.pointer("/template/0/containers/0"));
            let image = string(&container.expect("it runs something")["image"]).to_owned();
            images.entry(image).or_default().push(string(&resource["address"]).to_owned());
        }
        images
    }

    /// How `gcloud` was called.
    pub fn gcloud(&self) -> Vec<String> {
        let called = std::fs::read_to_string(self.copy.path().join("gcloud")).unwrap_or_default();
        called.lines().map(str::to_owned).collect()
    }
}

impl Plan {
    fn resources(&self, kinds: &[&str]) -> Vec<&Value> {
        resources(&self.0["planned_values"], kinds)
    }

    /// Every container of the fleet that Cloud Run would run.
    pub fn containers(&self) -> Vec<Container> {
        let resources = self.resources(&CLOUD_RUN).into_iter();
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

/// The resources of some kinds in a plan or a state.
fn resources<'a>(values: &'a Value, kinds: &[&str]) -> Vec<&'a Value> {
    fn collect<'a>(module: &'a Value, found: &mut Vec<&'a Value>) {
        found.extend(items(&module["resources"]));
        items(&module["child_modules"]).for_each(|module| collect(module, found));
    }
    let mut found = Vec::new();
    collect(&values["root_module"], &mut found);
    found.retain(|resource| kinds.contains(&resource["type"].as_str().unwrap()));
    found
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
