//! Listening: bind first, say where, then serve until stopped.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use clap::Args;
use event_store::proto::FILE_DESCRIPTOR_SET;
use event_store::proto::event_store_server::EventStoreServer;
use event_store::service::Service;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding::Gzip;
use tonic::transport::server::TcpIncoming;

/// Where the HTTP of a role listens.
#[derive(Debug, Clone, Args)]
pub struct Http {
    /// host:port of health, metrics and admin API.
    #[arg(long = "http", env = "FLEET_HTTP_LISTEN", default_value_t = default_http())]
    pub listen: String,
}

/// Cloud Run says in PORT where it wants us.
fn default_http() -> String {
    let port = std::env::var("PORT").ok().filter(|port| port.parse::<u16>().is_ok());
    format!("0.0.0.0:{}", port.as_deref().unwrap_or("8080"))
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

pub async fn http(listener: TcpListener, router: Router, stop: CancellationToken) -> Result<()> {
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await.context("serving HTTP")
}

/// How often a connection that says nothing is asked whether it is still there, and how long it has to answer: a client
/// that was unplugged must not keep its streams for ever.
pub const KEEPALIVE: Duration = Duration::from_secs(30);
pub const KEEPALIVE_ANSWER: Duration = Duration::from_secs(20);

/// Calls of one connection at a time; further ones wait in the client.
const CALLS: u32 = 4_096;

/// Calls that were cancelled before the server had even looked at them. With more of them at once a connection is closed,
/// with all its other calls. The library's own limit, 20, is reached by a caller that gives up on fifty at once.
const CANCELLED_CALLS: usize = 10_000;

/// The event store's gRPC, with health and reflection. Requests may come as gzip; answers go as gzip to those who say that
/// they take it.
pub async fn grpc(listener: TcpListener, service: Service, stop: CancellationToken) -> Result<()> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<EventStoreServer<Service>>().await;
    // Python's clients and older ones of grpcurl ask in the language of v1alpha.
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let newest = reflection().build_v1().context("building gRPC reflection")?;
    let older = reflection().build_v1alpha().context("building gRPC reflection v1alpha")?;
    // What is accepted elsewhere has the options of its listener, not those of the server.
    let connections = TcpIncoming::from(listener).with_nodelay(Some(true));
    tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_ANSWER))
        .max_concurrent_streams(CALLS)
        .http2_max_pending_accept_reset_streams(Some(CANCELLED_CALLS))
        .add_service(health_service.accept_compressed(Gzip).send_compressed(Gzip))
        .add_service(newest.accept_compressed(Gzip).send_compressed(Gzip))
        .add_service(older.accept_compressed(Gzip).send_compressed(Gzip))
        .add_service(service.into_server().accept_compressed(Gzip).send_compressed(Gzip))
        .serve_with_incoming_shutdown(connections, async move {
            stop.cancelled().await;
            health.set_not_serving::<EventStoreServer<Service>>().await;
        })
        .await
        .context("serving gRPC")
}
