//! A receiver of spans, as a collector is: OTLP over gRPC.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes};
use futures::future::BoxFuture;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::{Service, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};

/// What it does with what it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Takes,
    Refuses,
    /// Never answers.
    Hangs,
}

/// It is gone when it is dropped.
pub struct Receiver {
    pub endpoint: String,
    shared: Shared,
    serving: tokio::task::JoinHandle<()>,
}

#[derive(Clone)]
struct Shared {
    /// As they came: whoever measures what sending costs must not pay for reading.
    requests: Arc<Mutex<Vec<Bytes>>>,
    mood: Arc<Mutex<Mood>>,
}

/// A span, and who sent it.
#[derive(Debug, Clone)]
pub struct Received {
    pub service: String,
    pub span: Span,
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let shared = Shared { requests: Arc::default(), mood: Arc::new(Mutex::new(Mood::Takes)) };
        let serving = tonic::transport::Server::builder().add_service(shared.clone());
        let serving = tokio::spawn(async move {
            serving.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
        });
        Self { endpoint, shared, serving }
    }

    pub fn set(&self, mood: Mood) {
        *self.shared.mood.lock().unwrap() = mood;
    }

    pub fn spans(&self) -> Vec<Received> {
        let requests = self.shared.requests.lock().unwrap().clone();
        let of_resources = requests.into_iter().flat_map(|request| {
            ExportTraceServiceRequest::decode(request).expect("a collector could read it").resource_spans
        });
        let received = of_resources.flat_map(|of_resource| {
            let service = of_resource.resource.and_then(|it| said(&it.attributes, "service.name")).unwrap_or_default();
            let spans = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            spans.map(move |span| Received { service: service.clone(), span })
        });
        received.collect()
    }

    pub fn count(&self, name: &str) -> usize {
        self.spans().iter().filter(|it| it.span.name == name).count()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Received {
    pub fn trace_id(&self) -> String {
        hex(&self.span.trace_id)
    }

    pub fn id(&self) -> String {
        hex(&self.span.span_id)
    }

    pub fn parent(&self) -> String {
        hex(&self.span.parent_span_id)
    }

    /// As text, whatever its type.
    pub fn said(&self, name: &str) -> Option<String> {
        said(&self.span.attributes, name)
    }
}

fn said(attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue], name: &str) -> Option<String> {
    let value = attributes.iter().find(|it| it.key == name)?.value.as_ref()?.value.as_ref()?;
    Some(match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl NamedService for Shared {
    const NAME: &'static str = "opentelemetry.proto.collector.trace.v1.TraceService";
}

impl Service<http::Request<Body>> for Shared {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let export = Export(self.clone());
        let mut grpc = Grpc::new(Unread).apply_max_message_size_config(Some(64 << 20), None);
        Box::pin(async move { Ok(grpc.unary(export, request).await) })
    }
}

/// The only call that there is.
struct Export(Shared);

impl UnaryService<Bytes> for Export {
    type Response = Bytes;
    type Future = BoxFuture<'static, Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let Shared { requests, mood } = self.0.clone();
        Box::pin(async move {
            let mood = *mood.lock().unwrap();
            match mood {
                Mood::Takes => requests.lock().unwrap().push(request.into_inner()),
                Mood::Refuses => return Err(Status::resource_exhausted("too many")),
                Mood::Hangs => std::future::pending().await,
            }
            // Nothing to say, which is all that there can be in it.
            Ok(Response::new(Bytes::new()))
        })
    }
}

/// Messages as they are.
struct Unread;

impl Codec for Unread {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Unread {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}

impl Decoder for Unread {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
