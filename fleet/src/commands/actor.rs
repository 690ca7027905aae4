//! Who asks, and why: the flags of every command that is recorded.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use tokio::process::Command;
use workers::admin::Look;

use crate::exit::Exit;

/// How long the system may take to say whose process this is: it may have to ask a directory in the network.
const LOOK_UP_LIMIT: Duration = Duration::from_secs(2);

/// Of a command that is refused without a reason.
#[derive(Debug, Clone, Args)]
pub struct Recorded {
    /// Why, for those who read it later.
    #[arg(long)]
    pub reason: String,
    #[command(flatten)]
    who: Who,
}

/// Of a command that may only say what it would do, which is not recorded.
#[derive(Debug, Clone, Args)]
pub struct Tried {
    /// Only say what would be done.
    #[arg(long)]
    pub dry_run: bool,
    /// Why, for those who read it later. Not needed with --dry-run.
    #[arg(long, required_unless_present = "dry_run")]
    reason: Option<String>,
    #[command(flatten)]
    who: Who,
}

/// Of a command that may say why. A flag that cannot do without the reason asks for it.
#[derive(Debug, Clone, Args)]
pub struct Actor {
    /// Why, for those who read it later.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub reason: String,
    #[command(flatten)]
    who: Who,
}

#[derive(Debug, Clone, Args)]
struct Who {
    /// Who you are. Default: USER, LOGNAME, or what `id -un` says.
    #[arg(long, env = "FLEET_ACTOR")]
    actor: Option<String>,
}

impl Recorded {
    /// As [`Actor::actor`].
    pub async fn actor(&self) -> Result<String> {
        self.who.name().await
    }
}

impl Tried {
    /// As [`Actor::actor`].
    pub async fn actor(&self) -> Result<String> {
        self.who.name().await
    }

    pub fn reason(&self) -> String {
        self.reason.clone().unwrap_or_default()
    }
}

impl Who {
    async fn name(&self) -> Result<String> {
        let said = [self.actor.clone(), std::env::var("USER").ok(), std::env::var("LOGNAME").ok()];
        if let Some(name) = said.into_iter().flatten().find(|name| !name.trim().is_empty()) {
            return Ok(name);
        }
        match system_user().await {
            Some(name) => Ok(name),
            None => Err(Exit::Usage.because(
                "this is recorded with your name, and the system does not know it: say --actor NAME, or set FLEET_ACTOR",
            )),
        }
    }
}

impl Actor {
    /// Who it is that asks. What is changed is recorded with a name.
    ///
    /// # Errors
    /// Nobody has said it, and the system does not know.
    pub async fn actor(&self) -> Result<String> {
        self.who.name().await
    }

    /// What is asked by whoever wants to see something, and perhaps its payload, which is recorded.
    ///
    /// # Errors
    /// Those of [`actor`](Self::actor), with a payload.
    pub async fn look(&self, payload: bool) -> Result<Look> {
        if !payload {
            return Ok(Look::default());
        }
        Ok(Look { payload, actor: self.actor().await?, reason: self.reason.clone() })
    }
}

async fn system_user() -> Option<String> {
    let asked = Command::new("id").arg("-un").kill_on_drop(true).output();
    let output = tokio::time::timeout(LOOK_UP_LIMIT, asked).await.ok()?.ok()?;
    let name = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !name.is_empty()).then_some(name)
}
