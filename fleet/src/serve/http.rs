//! HTTP/1.1 for routers: what is slow, or large, or too much, is cut off.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_service::Service;
use workers::http::{Health, metrics, probes};

use super::connections::Connections;

/// How long the head of a request may take to come, also of the next one on a connection that is kept.
const HEAD: Duration = Duration::from_secs(30);

/// Bytes of a head at most.
const HEAD_BYTES: usize = 16 << 10;

/// Its lines.
const HEADERS: usize = 64;

/// After an `accept` that failed.
const PAUSE: Duration = Duration::from_millis(100);

/// The ports of a role.
#[derive(Debug)]
pub struct Doors {
    pub(super) listener: TcpListener,
    /// Where everything is served, but metrics if they have a port of their own.
    pub address: SocketAddr,
    pub(super) metrics: Option<(TcpListener, SocketAddr)>,
}

impl Doors {
    /// Serves the health and the metrics of a role, and what else it has.
    ///
    /// # Errors
    /// Never: what fails is one connection.
    pub async fn serve(self, health: Health, others: Router, stop: CancellationToken) -> Result<()> {
        let all = probes(health.clone()).merge(others);
        let Some((listener, address)) = self.metrics else {
            return http(self.listener, all.merge(metrics(health)), stop).await;
        };
        tracing::info!(metrics = %address, "metrics have a port of their own");
        tokio::try_join!(http(self.listener, all, stop.clone()), http(listener, metrics(health), stop))
            .map(|((), ())| ())
    }
}

/// Serves until stopped, and then until what was begun is answered.
///
/// # Errors
/// Never: what fails is one connection.
pub async fn http(listener: TcpListener, router: Router, stop: CancellationToken) -> Result<()> {
    let connections = Connections::new();
    let served = GracefulShutdown::new();
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD).max_headers(HEADERS).max_buf_size(HEAD_BYTES);
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let stream = match accepted {
            Ok((stream, _)) => connections.take(stream),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let router = router.clone();
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let mut router = router.clone();
            // A router is always ready, and what fails in it is an answer.
            async move {
                Ok::<_, Infallible>(router.call(request.map(Body::new)).await.unwrap_or_else(|never| match never {}))
            }
        });
        let connection = served.watch(server.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }
    drop(listener);
    served.shutdown().await;
    Ok(())
}
