//! Where a fleet is, as it is given; and whether that is the wrong one of its two ports, because the errors of that would send
//! people elsewhere.

use std::time::Duration;

use anyhow::Result;
use reqwest::Client;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::exit::Exit;
use crate::host;

/// How long an answer may take: whoever asks has waited for one already.
const LIMIT: Duration = Duration::from_millis(400);

/// What is to be done where nobody answers; the variable comes after it.
pub const START: &str = "start it (for development: `fleet dev`), or say where it is, in";

/// A port alone would be taken for the name of a host.
pub fn refuse_port(address: &str) -> Result<()> {
    if address.parse::<u16>().is_ok() {
        return Err(Exit::Usage.because(format!("{address:?} is not host:port; did you mean 127.0.0.1:{address}?")));
    }
    Ok(())
}

/// The URL of what is given as host:port, or as a URL.
pub fn base(address: &str) -> String {
    let base = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    base.trim_end_matches('/').to_owned()
}

/// What is to be said of an address at which nobody answered in HTTP.
pub async fn instead_of_http(at: &str) -> &'static str {
    let Ok(endpoint) = host::worker::endpoint(at) else { return "" };
    let mut client = HealthClient::new(endpoint.connect_lazy());
    let asking = tokio::time::timeout(LIMIT, client.check(HealthCheckRequest::default()));
    let code = match asking.await {
        Ok(Ok(_)) => Code::Ok,
        Ok(Err(status)) => status.code(),
        Err(_) => Code::Unknown,
    };
    if matches!(code, Code::Ok | Code::Unauthenticated | Code::PermissionDenied) {
        "; what answers there is gRPC: FLEET_HTTP is the address of the HTTP port"
    } else {
        ""
    }
}

/// What is to be said of an address at which nobody answered in gRPC.
pub async fn instead_of_grpc(at: &str) -> &'static str {
    let asking = Client::new().get(format!("{}/healthz", base(at))).timeout(LIMIT).send();
    // Whoever stands before a fleet that is gone answers in HTTP, too.
    if asking.await.is_ok_and(|answer| answer.status().is_success()) {
        "; what answers there is HTTP: FLEET_GRPC is the address of the gRPC port"
    } else {
        ""
    }
}
