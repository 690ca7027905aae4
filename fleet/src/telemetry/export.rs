//! Spans by OTLP, to a collector beside the process. Whatever becomes of them, work goes on: they wait in a queue that is bounded,
//! and go out from a runtime of their own, so that a receiver which hangs takes no thread from anybody.

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use ::traces::{Keeper, names};
use anyhow::{Context, Result};
use clap::Args;
use opentelemetry::KeyValue;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use prometheus::{IntCounter, IntCounterVec, Opts};
use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint as Receiver};
use tonic::{Request, Status};

use super::request::{self, Sender, Written};
use super::waiting::{Batch, Waiting};

/// Spans that wait at most, unless `OTEL_BSP_MAX_QUEUE_SIZE` says otherwise. What comes then is lost. One has about half a kB.
const QUEUE: usize = 32_768;

/// How long spans wait for others to go with.
const GATHER: Duration = Duration::from_secs(1);

/// How long the receiver may take for a request.
const REQUEST: Duration = Duration::from_secs(2);

/// How long it is left alone after it has not taken one; twice as long after each that follows, up to the most. What comes meanwhile
/// is lost, as it would have been, and costs nobody the time to send it.
const REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(8);

/// How long the end of the process waits for what is left: parts have 8 s, and Cloud Run kills after 10.
pub const END: Duration = Duration::from_millis(1500);

static SPANS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Spans that ended, and of these: those that the receiver took (exported), and those that it did not (failed). \
                What is neither waits, or was lost because too many waited.";
    let spans = IntCounterVec::new(Opts::new("trace_spans_total", help), &["result"]).expect("the name is valid");
    for result in ["ended", "exported", "failed"] {
        spans.with_label_values(&[result]);
    }
    spans
});

/// Of a span that ends, whoever ends it does not want to look for its counter.
static ENDED: LazyLock<IntCounter> = LazyLock::new(|| SPANS.with_label_values(&["ended"]));

/// The metric that says what becomes of spans.
pub fn spans() -> &'static IntCounterVec {
    &SPANS
}

/// Where spans go, and how many.
#[derive(Debug, Clone, Args)]
pub struct Traces {
    /// Where spans go by OTLP: the URL of a collector, http and gRPC, such as http://127.0.0.1:4317. Without it there are none.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_parser = parse_endpoint)]
    otlp_endpoint: Option<Endpoint>,
    /// How many of the appends that come without a trace begin one: a share from 0 to 1. Whoever brings a trace has decided.
    #[arg(long, env = "OTEL_TRACES_SAMPLER_ARG", default_value_t = 0.01, value_parser = parse_share)]
    trace_share: f64,
}

/// `None` is said by a variable that is empty.
#[derive(Debug, Clone)]
struct Endpoint(Option<String>);

fn parse_endpoint(text: &str) -> Result<Endpoint, String> {
    let rest = text.strip_prefix("http://").filter(|rest| !rest.is_empty());
    match (text, rest) {
        ("", _) => Ok(Endpoint(None)),
        (_, Some(_)) => Ok(Endpoint(Some(text.to_owned()))),
        _ => {
            Err("must be an http:// URL: the collector is beside the process, and goes on from there by TLS".to_owned())
        }
    }
}

fn parse_share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("must be a share, from 0 to 1".to_owned()),
    }
}

/// Spans go out for as long as it is there.
#[derive(Debug)]
pub(super) struct Export {
    end: CancellationToken,
    /// Is closed when what was left has gone out.
    gone: std::sync::mpsc::Receiver<()>,
    /// Of the export alone. `None` when it has ended.
    runtime: Option<Runtime>,
}

impl Export {
    /// `None`: nobody wants spans.
    pub fn begin(role: &str, traces: &Traces) -> Result<Option<Self>> {
        let Some(Endpoint(Some(endpoint))) = &traces.otlp_endpoint else { return Ok(None) };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("spans")
            .enable_all()
            .build()
            .context("starting the runtime of the export of spans")?;
        let receiver = {
            let _within = runtime.enter();
            let receiver = Receiver::from_shared(endpoint.clone()).context("OTEL_EXPORTER_OTLP_ENDPOINT")?;
            Grpc::new(receiver.connect_timeout(REQUEST).timeout(REQUEST).connect_lazy())
        };
        let (waiting, end) = (Arc::new(Waiting::new(queue()?)), CancellationToken::new());
        let (going, gone) = sync_channel(0);
        let sender = Sender::new(&resource(role), names::SCOPE);
        let mut out = Out { receiver, endpoint: endpoint.clone(), sender, failing: None };
        let (to_send, ending) = (waiting.clone(), end.clone());
        runtime.spawn(async move {
            out.run(&to_send, &ending).await;
            drop(going);
        });
        ::traces::turn_on(traces.trace_share, Queue(waiting));
        Ok(Some(Self { end, gone, runtime: Some(runtime) }))
    }
}

/// How many spans wait at most.
fn queue() -> Result<usize> {
    const NAME: &str = "OTEL_BSP_MAX_QUEUE_SIZE";
    let Some(size) = std::env::var_os(NAME).filter(|size| !size.is_empty()) else { return Ok(QUEUE) };
    let size = size.to_str().and_then(|size| size.parse().ok()).filter(|size| (1..=1 << 24).contains(size));
    size.with_context(|| format!("{NAME} must be a number of spans, from 1 to 16777216"))
}

/// Who sends them, as far as the environment does not say it: `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`.
fn resource(role: &str) -> Resource {
    let resource = opentelemetry_sdk::Resource::builder();
    let mut resource = resource.with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name(format!("fleet-{role}"));
    }
    let attributes = ResourceAttributesWithSchema::from(&resource.build()).attributes.0;
    Resource { attributes, ..Resource::default() }
}

impl Drop for Export {
    fn drop(&mut self) {
        self.end.cancel();
        if self.gone.recv_timeout(END) == Err(RecvTimeoutError::Timeout) {
            tracing::debug!("the last spans did not go out");
        }
        // To wait for it is not allowed here, and nothing is left to be waited for.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Where the spans go that have ended.
#[derive(Debug)]
struct Queue(Arc<Waiting>);

impl Keeper for Queue {
    fn keep(&self, span: &[u8]) {
        ENDED.inc();
        self.0.put(span);
    }
}

/// Sends spans, counts what became of them, and says once that they are not taken, and once that they are again.
#[derive(Debug)]
struct Out {
    receiver: Grpc<Channel>,
    endpoint: String,
    sender: Sender,
    failing: Option<Failing>,
}

/// It does not take spans.
#[derive(Debug, Clone, Copy)]
struct Failing {
    rest: Duration,
    /// When it is asked again.
    until: Instant,
}

impl Failing {
    /// After one more failure.
    fn again(before: Option<Self>) -> Self {
        let rest = before.map_or(REST, |before| (before.rest * 2).min(LONGEST_REST));
        Self { rest, until: Instant::now() + rest }
    }
}

impl Out {
    /// Until `end`, and then what is left.
    async fn run(&mut self, waiting: &Waiting, end: &CancellationToken) {
        let mut all_at = Instant::now() + GATHER;
        loop {
            let all = tokio::select! {
                biased;
                () = end.cancelled() => true,
                () = sleep_until(all_at) => true,
                () = waiting.enough() => false,
            };
            // What is less than goes out at a time waits for others.
            for _ in 0..waiting.requests(all) {
                if let Some(batch) = waiting.take() {
                    self.send(batch).await;
                }
            }
            if end.is_cancelled() {
                return;
            }
            if all {
                all_at = Instant::now() + GATHER;
            }
        }
    }

    async fn send(&mut self, batch: Batch) {
        let spans = batch.spans as u64;
        let before = self.failing;
        if before.is_some_and(|failing| Instant::now() < failing.until) {
            SPANS.with_label_values(&["failed"]).inc_by(spans);
            return;
        }
        let exported = self.export(batch).await;
        let result = if exported.is_ok() { "exported" } else { "failed" };
        SPANS.with_label_values(&[result]).inc_by(spans);
        self.failing = exported.is_err().then(|| Failing::again(before));
        let endpoint = &*self.endpoint;
        match (&exported, before) {
            (Ok(_), Some(_)) => tracing::info!(endpoint, "spans go out again"),
            (Err(status), None) => {
                let (code, error) = (status.code(), status.message());
                tracing::warn!(
                    endpoint,
                    ?code,
                    error,
                    "spans do not go out; until they do they are lost, and all else goes on"
                );
            }
            _ => {}
        }
    }

    async fn export(&mut self, batch: Batch) -> Result<(), Status> {
        let ready = self.receiver.ready().await;
        ready.map_err(|error| Status::unavailable(format!("{error:#}")))?;
        let request = Request::new(self.sender.request(batch));
        self.receiver.unary(request, PathAndQuery::from_static(request::PATH), Written).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn an_endpoint_has_a_scheme_and_none_is_none() {
        assert!(parse_endpoint("").is_ok_and(|endpoint| endpoint.0.is_none()));
        assert!(parse_endpoint("http://127.0.0.1:4317").is_ok_and(|endpoint| endpoint.0.is_some()));
        for wrong in ["127.0.0.1:4317", "https://collector:4317", "http://"] {
            assert!(parse_endpoint(wrong).is_err(), "{wrong}");
        }
    }
}
