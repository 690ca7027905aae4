//! A gRPC channel whose calls show who they are of.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use tonic::body::Body;
use tonic::{Status, transport};
use tower_service::Service;

use crate::Credentials;

/// A connection to a gRPC server, and what is shown there with each call.
#[derive(Debug, Clone)]
pub struct Channel {
    inner: transport::Channel,
    credentials: Credentials,
}

impl Channel {
    pub fn new(inner: transport::Channel, credentials: Credentials) -> Self {
        Self { inner, credentials }
    }
}

impl From<transport::Channel> for Channel {
    fn from(inner: transport::Channel) -> Self {
        Self::new(inner, Credentials::default())
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        // The one that is ready is the one that is used.
        let inner = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, inner);
        let credentials = self.credentials.clone();
        Box::pin(async move {
            let shown = credentials.show(request.headers_mut()).await;
            shown.map_err(|error| Status::unauthenticated(error.to_string()))?;
            Ok(inner.call(request).await?)
        })
    }
}
