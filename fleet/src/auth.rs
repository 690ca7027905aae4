//! Who may come through a door, as it is configured.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use identity::{GOOGLE_KEYS, Gate, IAP_KEYS, Keys, Members, Role, Tokens, Verifier, Way};

use crate::exit::Exit;
use crate::serve;

/// How callers show who they are, and what they may do then.
#[derive(Debug, Clone, Args)]
pub struct Auth {
    /// How callers show who they are: iap:AUDIENCE (the assertion of Identity-Aware Proxy), google:AUDIENCE (an ID token of
    /// Google as bearer), cloud-run (a token that Cloud Run has checked before), tokens:FILE (a token of `fleet token`). Several
    /// are separated by commas. Without any, nobody is asked, and only this machine can be listened to.
    #[arg(long, env = "FLEET_AUTH", value_delimiter = ',', value_name = "WAY")]
    auth: Vec<String>,
    /// Who has which role, as JSON: {"operator": ["ada@example.com", "group:on-call"], "viewer": ["domain:example.com"]}. Roles:
    /// viewer, operator, payload-reader for the admin API; appender, reader for the event store.
    #[arg(long, env = "FLEET_ROLES", value_name = "JSON")]
    roles: Option<String>,
    /// A file with that JSON in it.
    #[arg(long, env = "FLEET_ROLES_FILE", value_name = "FILE", conflicts_with = "roles")]
    roles_file: Option<PathBuf>,
    /// Where Google publishes the keys of its ID tokens.
    #[arg(long, env = "FLEET_AUTH_GOOGLE_KEYS", value_name = "URL", default_value = GOOGLE_KEYS)]
    auth_google_keys: String,
    /// Where Identity-Aware Proxy publishes its keys.
    #[arg(long, env = "FLEET_AUTH_IAP_KEYS", value_name = "URL", default_value = IAP_KEYS)]
    auth_iap_keys: String,
}

impl Auth {
    /// The gate before what listens at `address`, where these roles are good for something.
    ///
    /// # Errors
    /// It cannot be meant, or it would let everybody in who is not on this machine.
    pub fn gate(&self, address: SocketAddr, what: &str, roles: &[Role]) -> Result<Gate> {
        self.configured(address, what, roles).map_err(|error| Exit::Usage.because(format!("{error:#}")))
    }

    fn configured(&self, address: SocketAddr, what: &str, useful: &[Role]) -> Result<Gate> {
        let ways: Vec<&str> = self.auth.iter().map(|way| way.trim()).filter(|way| !way.is_empty()).collect();
        let roles = self.roles()?;
        let gate = match (ways.is_empty(), roles) {
            (true, None) => Gate::open(),
            (true, Some(_)) => bail!("there are roles and no way to show who one is: say --auth"),
            (false, None) => bail!("there is nobody who may come in: say who has which role with --roles"),
            (false, Some(roles)) => {
                let members = Members::parse(&roles).map_err(anyhow::Error::msg).context("--roles")?;
                ensure!(
                    members.have_one_of(useful),
                    "--roles: nobody has a role that is good for anything at {what}: {}",
                    names(useful)
                );
                let ways: Result<_> = ways.into_iter().map(|way| self.way(way)).collect();
                Gate::new(ways.context("--auth")?, members)
            }
        };
        serve::refuse_open(&gate, address, what)?;
        Ok(gate)
    }

    fn roles(&self) -> Result<Option<String>> {
        let file = self.roles_file.as_ref().filter(|file| !file.as_os_str().is_empty());
        match (self.roles.as_ref().filter(|roles| !roles.trim().is_empty()), file) {
            (Some(roles), _) => Ok(Some(roles.clone())),
            (None, Some(file)) => {
                let roles = std::fs::read_to_string(file);
                roles.map(Some).with_context(|| format!("reading the roles in {}", file.display()))
            }
            (None, None) => Ok(None),
        }
    }

    fn way(&self, way: &str) -> Result<Way> {
        let keys = |url: &str| Keys::at(url).context("building the HTTP client");
        Ok(match way.split_once(':') {
            Some(("iap", audience)) if !audience.is_empty() => {
                Way::Iap(Verifier::iap(audience, keys(&self.auth_iap_keys)?))
            }
            Some(("google", audience)) if !audience.is_empty() => {
                Way::Google(Verifier::google(audience, keys(&self.auth_google_keys)?))
            }
            Some(("tokens", file)) if !file.is_empty() => {
                let text = std::fs::read_to_string(file).with_context(|| format!("reading the tokens in {file}"))?;
                Way::Tokens(Tokens::parse(&text).map_err(anyhow::Error::msg).with_context(|| file.to_owned())?)
            }
            None if way == "cloud-run" => Way::CloudRun,
            _ => bail!("{way:?} is no way to show who one is: iap:AUDIENCE, google:AUDIENCE, cloud-run or tokens:FILE"),
        })
    }
}

fn names(roles: &[Role]) -> String {
    roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(", ")
}
