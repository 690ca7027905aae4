//! Listening: bind first, say where, then serve until stopped.

mod connections;
mod grpc;
mod http;
mod whole;

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use clap::Args;
use identity::Gate;
use tokio::net::TcpListener;

pub use grpc::{KEEPALIVE, KEEPALIVE_ANSWER, grpc};
pub use http::{Doors, http};

/// Where the HTTP of a role listens.
#[derive(Debug, Clone, Args)]
pub struct Http {
    /// host:port of what the role serves by HTTP: health, metrics, and what else it has.
    #[arg(long = "http", env = "FLEET_HTTP_LISTEN", default_value_t = default_http())]
    pub listen: String,
    /// host:port of metrics, if whoever reaches the other one is not to see them.
    #[arg(long = "metrics", env = "FLEET_METRICS_LISTEN", value_name = "METRICS")]
    pub metrics: Option<String>,
}

/// Cloud Run says in PORT where it wants us.
fn default_http() -> String {
    let port = std::env::var("PORT").ok().filter(|port| port.parse::<u16>().is_ok());
    format!("0.0.0.0:{}", port.as_deref().unwrap_or("8080"))
}

impl Http {
    /// # Errors
    /// Somebody else has a port, or it is none.
    pub async fn bind(&self) -> Result<Doors> {
        let (listener, address) = bind(&self.listen, "--http").await?;
        let metrics = match self.metrics.as_deref().filter(|metrics| !metrics.is_empty()) {
            Some(metrics) => Some(bind(metrics, "--metrics").await?),
            None => None,
        };
        Ok(Doors { listener, address, metrics })
    }
}

/// # Errors
/// Somebody else has the port, or it is not an address; `flag` is how to choose another.
pub async fn bind(address: &str, flag: &str) -> Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}; choose another host:port with {flag}"))?;
    let local = listener.local_addr().context("asking for the address it listens on")?;
    Ok((listener, local))
}

/// What lets everybody through may be reached from this machine only.
///
/// # Errors
/// It listens beyond.
pub fn refuse_open(gate: &Gate, address: SocketAddr, what: &str) -> Result<()> {
    ensure!(
        !gate.is_open() || address.ip().is_loopback(),
        "{what} would let in whoever reaches {address}: say how callers show who they are (--auth) and what they may do \
         (--roles), or listen on a loopback address"
    );
    Ok(())
}
