//! What a command shows at the fleet's doors.

use std::path::PathBuf;

use clap::Args;
use identity::Credentials;

/// Who one is, as a command shows it.
#[derive(Debug, Clone, Default, Args)]
pub struct Shown {
    /// A file whose first line is the token to show, as of `fleet token` or `gcloud auth print-identity-token`.
    #[arg(global = true, long, env = "FLEET_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Show ID tokens of Google for this audience, of the account that this process has with Google.
    #[arg(global = true, long, env = "FLEET_GOOGLE_AUDIENCE", value_name = "AUDIENCE", conflicts_with = "token_file")]
    google_audience: Option<String>,
}

impl Shown {
    pub fn credentials(&self) -> Credentials {
        let file = self.token_file.as_ref().filter(|file| !file.as_os_str().is_empty());
        let audience = self.google_audience.as_ref().filter(|audience| !audience.is_empty());
        match (file, audience) {
            (Some(file), _) => Credentials::file(file),
            (None, Some(audience)) => Credentials::google(audience),
            (None, None) => Credentials::default(),
        }
    }
}

/// What to do about an answer that says that somebody has to show who he is.
pub const HINT: &str = "show who you are with --token-file or --google-audience";
