//! Who asks, and why: the flags of every command that is recorded.

use clap::Args;

#[derive(Debug, Clone, Args)]
pub struct By {
    /// Why, for those who read it later.
    #[arg(long, default_value = "")]
    pub reason: String,
    /// Who you are. Default: the name of the system's user.
    #[arg(long, env = "FLEET_ACTOR")]
    actor: Option<String>,
}

impl By {
    pub fn actor(&self) -> String {
        self.actor.clone().or_else(|| std::env::var("USER").ok()).unwrap_or_default()
    }

    /// What a query says of whoever wants to see a payload.
    pub fn look(&self) -> Vec<(&'static str, String)> {
        vec![("payload", "true".to_owned()), ("reason", self.reason.clone()), ("actor", self.actor())]
    }
}
