//! Listening: bind first, say where, then serve until stopped.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use axum::Router;
use event_store::proto::FILE_DESCRIPTOR_SET;
use event_store::proto::event_store_server::EventStoreServer;
use event_store::service::Service;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;

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

/// The event store's gRPC, with health and reflection.
pub async fn grpc(listener: TcpListener, service: Service, stop: CancellationToken) -> Result<()> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<EventStoreServer<Service>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .context("building gRPC reflection")?;
    tonic::transport::Server::builder()
        .tcp_nodelay(true)
        .add_service(health_service)
        .add_service(reflection)
        .add_service(service.into_server())
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async move {
            stop.cancelled().await;
            health.set_not_serving::<EventStoreServer<Service>>().await;
        })
        .await
        .context("serving gRPC")
}
