//! The event store of a running fleet.

use anyhow::Result;
use clap::Args;
use event_store::proto::event_store_client::EventStoreClient;
use event_store::validate::MAX_REQUEST_BYTES;
use identity::Channel;
use tonic::transport::Endpoint;
use tonic::{Code, Status};

use super::shown::{HINT, Shown};
use super::wait::{Patience, Wait};
use crate::exit::Exit;
use crate::host;

/// Where the gRPC of `fleet dev` listens, and so where commands look.
pub const GRPC: &str = "127.0.0.1:50051";

#[derive(Debug, Clone, Args)]
pub struct EventStore {
    /// host:port (or URL) of the event store's gRPC.
    #[arg(long, env = "FLEET_GRPC", default_value = GRPC)]
    grpc: String,
    #[command(flatten)]
    shown: Shown,
    #[command(flatten)]
    wait: Wait,
}

impl EventStore {
    pub fn at(address: &str) -> Self {
        Self { grpc: address.to_owned(), shown: Shown::default(), wait: Wait { seconds: 30 } }
    }

    pub fn patience(&self) -> Patience {
        self.wait.start()
    }

    /// Connects as soon as somebody answers.
    pub async fn connect(&self, patience: &Patience) -> Result<EventStoreClient<Channel>> {
        let endpoint = endpoint(&self.grpc)?;
        loop {
            match endpoint.connect().await {
                Ok(channel) => {
                    let channel = Channel::new(channel, self.shown.credentials());
                    return Ok(EventStoreClient::new(channel).max_decoding_message_size(2 * MAX_REQUEST_BYTES));
                }
                Err(_) if patience.wait().await => {}
                Err(error) => {
                    let reason = innermost(&error);
                    let why =
                        format!("no event store answers at {} ({reason}); start one, or set FLEET_GRPC", self.grpc);
                    return Err(Exit::Unreachable.because(why));
                }
            }
        }
    }
}

/// The gRPC endpoint at `host:port` or at a URL.
pub fn endpoint(address: &str) -> Result<Endpoint> {
    host::worker::endpoint(address).map_err(|error| Exit::Usage.because(format!("FLEET_GRPC: {error:#}")))
}

/// The error of a command that the store has answered with a status.
pub fn refusal(status: &Status, what: &str) -> anyhow::Error {
    let exit = if unavailable(status) { Exit::Unreachable } else { Exit::Refused };
    let hint = if status.code() == Code::Unauthenticated { format!("; {HINT}") } else { String::new() };
    exit.because(format!("{what}: {}{hint}", status.message()))
}

/// The store is away, not unwilling: another try may succeed.
pub fn unavailable(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Cancelled | Code::Unknown | Code::Internal)
}

/// tonic's own message says only "transport error".
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
