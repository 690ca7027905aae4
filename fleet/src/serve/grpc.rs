//! The event store's gRPC.

use std::time::Duration;

use anyhow::{Context, Result};
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use event_store::Metrics;
use event_store::proto::FILE_DESCRIPTOR_SET;
use event_store::proto::event_store_server::EventStoreServer;
use event_store::service::Service;
use event_store::service::access::{self, Needs};
use futures::StreamExt;
use identity::Gate;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::codec::CompressionEncoding::Gzip;
use tonic::service::Routes;

use super::connections::Connections;
use super::whole::{self, Unfinished};

/// How often a connection that says nothing is asked whether it is still there, and how long it has to answer: a client
/// that was unplugged must not keep its streams for ever.
pub const KEEPALIVE: Duration = Duration::from_secs(30);
pub const KEEPALIVE_ANSWER: Duration = Duration::from_secs(20);

/// Calls of one connection at a time; further ones wait in the client.
const CALLS: u32 = 4_096;

/// Calls that were cancelled before the server had even looked at them. With more of them at once a connection is closed,
/// with all its other calls. The library's own limit, 20, is reached by a caller that gives up on fifty at once.
const CANCELLED_CALLS: usize = 10_000;

/// Bytes of the headers of a call.
const HEAD_BYTES: u32 = 16 << 10;

/// What a call passes before it is answered.
#[derive(Clone)]
struct Door {
    gate: Gate,
    metrics: Metrics,
    unfinished: Unfinished,
}

/// Serves it, with health and reflection. Requests may come as gzip; answers go as gzip to those who say that they take it.
///
/// # Errors
/// The server ends without being asked to.
pub async fn grpc(
    listener: TcpListener,
    service: Service,
    gate: Gate,
    metrics: Metrics,
    stop: CancellationToken,
) -> Result<()> {
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
    let routes = Routes::new(health_service.accept_compressed(Gzip).send_compressed(Gzip))
        .add_service(newest.accept_compressed(Gzip).send_compressed(Gzip))
        .add_service(older.accept_compressed(Gzip).send_compressed(Gzip))
        .add_service(service.into_server().accept_compressed(Gzip).send_compressed(Gzip));
    let door = Door { gate, metrics, unfinished: Unfinished::default() };
    let routes = routes.into_axum_router().layer(middleware::from_fn_with_state(door, admitted));
    let connections = Connections::new();
    let accepted = TcpListenerStream::new(listener).map(move |stream| stream.map(|stream| connections.take(stream)));
    tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_ANSWER))
        .max_concurrent_streams(CALLS)
        .http2_max_pending_accept_reset_streams(Some(CANCELLED_CALLS))
        .http2_max_header_list_size(HEAD_BYTES)
        .add_routes(routes.into())
        .serve_with_incoming_shutdown(accepted, async move {
            stop.cancelled().await;
            health.set_not_serving::<EventStoreServer<Service>>().await;
        })
        .await
        .context("serving gRPC")
}

/// Lets through who may make the call. What it sends has to come whole, and in time.
async fn admitted(State(door): State<Door>, request: Request, next: Next) -> Response {
    let refused = match access::needs(request.uri().path()) {
        None => Some(Status::unimplemented("there is no such call")),
        Some(Needs::Nothing) => None,
        Some(Needs::Role(role)) => {
            let caller = door.gate.admit(request.headers()).await;
            let refusal = caller.and_then(|caller| caller.needs(role)).err();
            refusal.map(|refusal| {
                door.metrics.refused_call(&refusal);
                access::refusal(&refusal)
            })
        }
    };
    match refused {
        Some(status) => status.into_http(),
        None => next.run(whole::guarded(request, &door.unfinished)).await,
    }
}
