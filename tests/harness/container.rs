//! A container of the fleet as a file or a plan describes it, held against the program: what it is given must be what the
//! program takes.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};
use serde_json::Value;

use super::{Builder, Database, Process};

/// Read by the Postgres client itself, so that no URL needs to hold a password.
const PASSWORD: &str = "PGPASSWORD";

/// What a process on this machine is not given: who may call it, what it shows to others, and users that its database lacks.
const ELSEWHERE: [&str; 5] = ["FLEET_AUTH", "FLEET_ROLES", "FLEET_TOKEN_FILE", "FLEET_GOOGLE_AUDIENCE", "FLEET_GRANT"];

#[derive(Debug, Clone)]
pub struct Container {
    /// The file or the resource. Containers of one resource share a network.
    pub of: String,
    pub args: Vec<String>,
    /// `None`: known only when it is deployed, such as a secret.
    pub env: BTreeMap<String, Option<String>>,
    /// The port that Cloud Run sends requests to, and says in `PORT`.
    pub exposed: Option<u16>,
    pub probes: Vec<Probe>,
}

/// By HTTP, as all are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    pub port: u16,
    pub path: String,
}

/// The command line, with all that is flattened into it.
pub fn command_line() -> Command {
    let mut command = projections::program().build().unwrap().command();
    command.build();
    command
}

/// Every environment variable that the command line knows.
pub fn variables() -> BTreeSet<String> {
    let command = command_line();
    let mut known = BTreeSet::new();
    let mut commands = vec![&command];
    while let Some(command) = commands.pop() {
        let names = command.get_arguments().filter_map(|arg| arg.get_env());
        known.extend(names.map(|name| name.to_string_lossy().into_owned()));
        commands.extend(command.get_subcommands());
    }
    known
}

/// The containers that run `image` in a Cloud Run resource of a plan of Terraform, which writes every block as a list.
pub fn of_cloud_run(of: &str, resource: &Value, image: &str) -> Vec<Container> {
    let mut found = Vec::new();
    find_containers(resource, &mut found);
    found.into_iter().filter(|container| container["image"] == image).map(|container| parse(of, container)).collect()
}

fn find_containers<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::Array(containers) if name == "containers" => found.extend(containers),
                    _ => find_containers(value, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| find_containers(value, found)),
        _ => {}
    }
}

fn parse(of: &str, container: &Value) -> Container {
    let variable = |entry: &Value| (text(&entry["name"]), entry["value"].as_str().map(str::to_owned));
    let probes = ["startup_probe", "liveness_probe", "readiness_probe"].map(|name| block(container, name));
    let exposed = port(block(container, "ports"), "container_port");
    Container {
        of: of.to_owned(),
        args: list(&container["args"]).iter().map(text).collect(),
        env: list(&container["env"]).iter().map(variable).collect(),
        exposed,
        probes: probes.into_iter().filter(|probe| !probe.is_null()).map(|it| probe(of, it, exposed)).collect(),
    }
}

fn probe(of: &str, probe: &Value, exposed: Option<u16>) -> Probe {
    let http = block(probe, "http_get");
    assert!(http.is_object(), "{of}: not by HTTP: {probe}");
    let default = || exposed.unwrap_or_else(|| panic!("{of}: a probe names no port, and none is exposed"));
    Probe { port: port(http, "port").unwrap_or_else(default), path: text(&http["path"]) }
}

/// A field; of a list, its first.
fn block<'a>(value: &'a Value, name: &str) -> &'a Value {
    let found = &value[name];
    found.as_array().map_or(found, |blocks| blocks.first().unwrap_or(&Value::Null))
}

fn port(value: &Value, name: &str) -> Option<u16> {
    block(value, name).as_u64().map(|port| port.try_into().unwrap())
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}")).to_owned()
}

impl Container {
    pub fn role(&self) -> &str {
        self.args.first().map_or("", String::as_str)
    }

    /// The topic that it works on, if it is a worker.
    pub fn topic(&self) -> Option<String> {
        let matches = self.parsed();
        let (_, matches) = matches.subcommand()?;
        matches.try_get_one::<String>("topic").ok().flatten().cloned()
    }

    /// What the program makes of arguments and environment; fails where it would refuse to start, where no role knows a
    /// variable, and where a flag overrules one. Roles of one deployment may share variables that not all of them look at.
    pub fn parsed(&self) -> ArgMatches {
        let known = variables();
        let command = command_line();
        let Some(role) = command.find_subcommand(self.role()) else {
            panic!("{}: fleet has no command {:?}", self.of, self.role());
        };
        let mut line = vec!["fleet".to_owned()];
        line.extend(self.args.iter().cloned());
        for (name, value) in self.env.iter().filter(|(name, _)| *name != PASSWORD) {
            assert!(known.contains(name), "{}: {name} is no variable of the program", self.of);
            let of_name = role.get_arguments().find(|arg| arg.get_env() == Some(OsStr::new(name)));
            let Some(arg) = of_name else { continue };
            let flag = format!("--{}", arg.get_long().expect("every variable is a flag, too"));
            assert!(!self.args.contains(&flag), "{}: {flag} overrules {name}", self.of);
            let value = value.clone().unwrap_or_else(|| example(name).to_owned());
            match (arg.get_action().takes_values(), value.as_str()) {
                (true, _) => line.push(format!("{flag}={value}")),
                (false, "true") => line.push(flag),
                (false, "false") => {}
                (false, _) => panic!("{}: {name} is true or false, not {value}", self.of),
            }
        }
        let matches = projections::program().build().unwrap().command().try_get_matches_from(line);
        matches.unwrap_or_else(|error| panic!("{}: {error}", self.of))
    }

    /// The ports that it listens on, HTTP first.
    pub fn listens(&self) -> (Option<u16>, Option<u16>) {
        let matches = self.parsed();
        let (role, matches) = matches.subcommand().expect("parsed() has found it");
        let port = |id| {
            let address: &String = matches.try_get_one(id).ok().flatten()?;
            let default = matches.value_source(id) == Some(ValueSource::DefaultValue);
            let port = address.rsplit(':').next().unwrap().parse().unwrap();
            // Without a word of ours, HTTP is where Cloud Run wants it.
            Some(if id == "listen" && default { self.exposed.unwrap_or(port) } else { port })
        };
        (port("listen"), (role == "event-store").then(|| port("grpc")).flatten())
    }

    /// The port of its metrics, if they have one of their own.
    pub fn metrics(&self) -> Option<u16> {
        let matches = self.parsed();
        let (_, matches) = matches.subcommand().expect("parsed() has found it");
        let address: &String = matches.try_get_one("metrics").ok().flatten()?;
        Some(address.rsplit(':').next().unwrap().parse().unwrap())
    }

    /// Its process on this machine: arguments and environment as described, but the database, the bus and the addresses of
    /// the test; and without doors and users of the database, because nobody here has an account with Google.
    pub fn process(&self, database: &Database) -> Builder {
        let mut builder = Process::builder(self.role());
        for arg in &self.args[1..] {
            builder = builder.arg(arg);
        }
        for (name, value) in self.env.iter().filter(|(name, _)| !ELSEWHERE.contains(&name.as_str())) {
            if let Some(value) = value {
                builder = builder.env(name, value);
            }
        }
        if self.env.contains_key("FLEET_METRICS_LISTEN") {
            builder = builder.env("FLEET_METRICS_LISTEN", "127.0.0.1:0");
        }
        let (http, grpc) = self.listens();
        if http.is_some() {
            builder = builder.env("FLEET_HTTP_LISTEN", "127.0.0.1:0");
        }
        if grpc.is_some() {
            builder = builder.env("FLEET_GRPC_LISTEN", "127.0.0.1:0");
        }
        match database.without_password() {
            Some((url, password)) if self.env.contains_key(PASSWORD) => {
                builder.env("DATABASE_URL", &url).env(PASSWORD, &password)
            }
            _ => builder.env("DATABASE_URL", &database.url),
        }
    }
}

/// Something of the right form for what only a deployment knows.
fn example(variable: &str) -> &'static str {
    match variable {
        "DATABASE_URL" => "postgres://fleet@127.0.0.1/fleet",
        "GOOGLE_CLOUD_PROJECT" => "some-project",
        "FLEET_PUSH_AUDIENCE" => "https://some.service",
        "FLEET_PUSH_SERVICE_ACCOUNT" => "push@some-project.iam.gserviceaccount.com",
        "FLEET_AUTH" => "cloud-run,google:https://some.service",
        "FLEET_GRPC" | "FLEET_GOOGLE_AUDIENCE" => "https://some.store",
        _ => panic!("{variable} should be known before it is deployed"),
    }
}
