//! A receiver of spans, as a collector is: OTLP over gRPC.

use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
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
    spans: Arc<Mutex<Vec<Received>>>,
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
        let shared = Shared { spans: Arc::default(), mood: Arc::new(Mutex::new(Mood::Takes)) };
        let service = TraceServiceServer::new(shared.clone()).max_decoding_message_size(64 << 20);
        let serving = tonic::transport::Server::builder().add_service(service);
        let serving = tokio::spawn(async move {
            serving.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
        });
        Self { endpoint, shared, serving }
    }

    pub fn set(&self, mood: Mood) {
        *self.shared.mood.lock().unwrap() = mood;
    }

    pub fn spans(&self) -> Vec<Received> {
        self.shared.spans.lock().unwrap().clone()
    }

    pub fn count(&self, name: &str) -> usize {
        self.shared.spans.lock().unwrap().iter().filter(|it| it.span.name == name).count()
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

#[tonic::async_trait]
impl TraceService for Shared {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mood = *self.mood.lock().unwrap();
        match mood {
            Mood::Takes => {}
            Mood::Refuses => return Err(Status::resource_exhausted("too many")),
            Mood::Hangs => std::future::pending().await,
        }
        let mut spans = self.spans.lock().unwrap();
        for of_resource in request.into_inner().resource_spans {
            let service = of_resource.resource.and_then(|it| said(&it.attributes, "service.name")).unwrap_or_default();
            for span in of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                spans.push(Received { service: service.clone(), span });
            }
        }
        Ok(Response::new(ExportTraceServiceResponse { partial_success: None }))
    }
}
