//! The event store of a running fleet.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use event_store::proto::event_store_client::EventStoreClient;
use event_store::validate::MAX_REQUEST_BYTES;
use identity::Channel;
use tonic::transport::Endpoint;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::address::{START, instead_of_grpc, refuse_port};
use super::cause::innermost;
use super::found;
use super::shown::{HINT, Shown};
use super::wait::{Patience, Silent, Wait};
use crate::exit::Exit;
use crate::host;

/// Where the gRPC of `fleet dev` listens, and so where commands look.
pub const GRPC: &str = "127.0.0.1:50051";

/// How long a store that has not answered may take to say that it lives.
const ASKED_AGAIN: Duration = Duration::from_millis(400);

#[derive(Debug, Clone, Args)]
pub struct EventStore {
    /// host:port (or URL) of the event store's gRPC. Default: that of the `fleet dev` that runs in this folder, else
    /// 127.0.0.1:50051.
    #[arg(long, env = "FLEET_GRPC", value_name = "ADDRESS")]
    grpc: Option<String>,
    #[command(flatten)]
    shown: Shown,
    #[command(flatten)]
    wait: Wait,
}

impl EventStore {
    pub fn at(address: &str) -> Self {
        Self { grpc: Some(address.to_owned()), shown: Shown::default(), wait: Wait { seconds: 2 }.begun() }
    }

    /// Where it was found; as long as it was not, the usual place.
    fn address(&self) -> String {
        found::grpc(self.grpc.as_deref(), GRPC).unwrap_or_else(|_| GRPC.to_owned())
    }

    async fn place(&self, patience: &mut Patience) -> Result<String> {
        loop {
            match found::grpc(self.grpc.as_deref(), GRPC) {
                Ok(at) => return Ok(at),
                Err(nowhere) if patience.wait(&nowhere.to_string()).await => {}
                Err(nowhere) => return Err(Exit::Unreachable.because(format!("{nowhere}; {START} FLEET_GRPC"))),
            }
        }
    }

    pub fn patience(&self) -> Patience {
        self.wait.start()
    }

    /// Connects as soon as somebody answers.
    pub async fn connect(&self, patience: &mut Patience) -> Result<EventStoreClient<Channel>> {
        let endpoint = endpoint(&self.place(patience).await?)?;
        loop {
            let reason = match patience.answer(endpoint.connect()).await {
                Ok(Ok(channel)) => {
                    let channel = Channel::new(channel, self.shown.credentials());
                    return Ok(EventStoreClient::new(channel).max_decoding_message_size(2 * MAX_REQUEST_BYTES));
                }
                Ok(Err(error)) => innermost(&error),
                Err(silent) => return Err(self.silent(silent).await),
            };
            let why = format!("no event store answers at {} ({reason})", self.address());
            if !patience.wait(&why).await {
                return Err(Exit::Unreachable.because(format!("{why}; {START} FLEET_GRPC")));
            }
        }
    }

    /// What was answered.
    ///
    /// # Errors
    /// Nothing was, for as long as it is waited for.
    pub async fn heard<T>(&self, answer: Result<T, Silent>) -> Result<T> {
        match answer {
            Ok(answer) => Ok(answer),
            Err(silent) => Err(self.silent(silent).await),
        }
    }

    /// The error of a command whose store has fallen silent: it is, or only its database.
    async fn silent(&self, silent: Silent) -> anyhow::Error {
        let at = self.address();
        match tokio::time::timeout(ASKED_AGAIN, self.lives()).await {
            Ok(true) => Exit::Unhealthy.because(format!(
                "the event store at {at} is there, and has not answered for {}: its database may be slow or away, which its /readyz says, or locked, which `fleet locks` says",
                silent.seconds()
            )),
            _ => Exit::Unreachable.because(format!("the event store at {at} does not answer: {silent}")),
        }
    }

    /// The error of a command that the store has answered with a status, or what is there in its place.
    pub async fn refusal(&self, status: &Status, what: &str) -> anyhow::Error {
        let port = if unavailable(status) { instead_of_grpc(&self.address()).await } else { "" };
        refusal(status, what, port)
    }

    /// What is said of a store that has gone away.
    pub fn gone(&self, status: &Status) -> String {
        format!("the event store at {} does not answer ({})", self.address(), status.message())
    }

    /// Whether it answers anything.
    async fn lives(&self) -> bool {
        let Ok(endpoint) = endpoint(&self.address()) else { return false };
        HealthClient::new(Channel::new(endpoint.connect_lazy(), self.shown.credentials()))
            .check(HealthCheckRequest::default())
            .await
            .is_ok()
    }
}

/// The gRPC endpoint at `host:port` or at a URL.
pub fn endpoint(address: &str) -> Result<Endpoint> {
    refuse_port(address)?;
    host::worker::endpoint(address).map_err(|error| Exit::Usage.because(format!("FLEET_GRPC: {error:#}")))
}

/// The error of a command that the store has answered with a status.
fn refusal(status: &Status, what: &str, port: &str) -> anyhow::Error {
    let exit = match status.code() {
        // It lacks its tables.
        Code::FailedPrecondition => Exit::Unhealthy,
        _ if unavailable(status) => Exit::Unreachable,
        _ => Exit::Refused,
    };
    let hint = if status.code() == Code::Unauthenticated { format!("; {HINT}") } else { String::new() };
    exit.because(format!("{what}: {}{hint}{port}", status.message()))
}

/// The store is away, not unwilling: another try may succeed.
pub fn unavailable(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Cancelled | Code::Unknown | Code::Internal)
}
