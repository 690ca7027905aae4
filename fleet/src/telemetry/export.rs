//! Spans by OTLP, to a collector beside the process. Whatever becomes of them, work goes on: they wait in a queue that is bounded,
//! and go out from a runtime of their own, so that a receiver which hangs takes no thread from anybody.

use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use opentelemetry::trace::{Link, SpanKind, TraceContextExt, TraceId, TraceState};
use opentelemetry::{Context as Parent, KeyValue, global};
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SamplingDecision, SamplingResult, SdkTracerProvider, ShouldSample,
    Span, SpanData, SpanExporter, SpanProcessor,
};
use prometheus::{IntCounter, IntCounterVec, Opts};
use tokio::runtime::Runtime;
use traces::names::CHANGES;

/// Spans that wait at most, unless `OTEL_BSP_MAX_QUEUE_SIZE` says otherwise. What comes then is lost. One has about 1 kB.
const QUEUE: usize = 32_768;

/// Spans of one request at most.
const AT_A_TIME: usize = 1024;

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
    provider: SdkTracerProvider,
    /// Of the exporter alone. `None` when it has ended.
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
        let exporter = {
            let _within = runtime.enter();
            let exporter = opentelemetry_otlp::SpanExporter::builder().with_tonic().with_endpoint(endpoint);
            exporter.with_timeout(REQUEST).build().context("OTEL_EXPORTER_OTLP_ENDPOINT")?
        };
        let exporter = Watched { exporter, endpoint: endpoint.clone(), failing: Mutex::new(None) };
        let mut config =
            BatchConfigBuilder::default().with_scheduled_delay(GATHER).with_max_export_batch_size(AT_A_TIME);
        if std::env::var_os("OTEL_BSP_MAX_QUEUE_SIZE").is_none() {
            config = config.with_max_queue_size(QUEUE);
        }
        let batches = BatchSpanProcessor::builder(exporter).with_batch_config(config.build()).build();
        let mut resource =
            Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
        if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
            resource = resource.with_service_name(format!("fleet-{role}"));
        }
        let provider = SdkTracerProvider::builder()
            .with_span_processor(Counted(batches))
            .with_sampler(Sampling(Sampler::TraceIdRatioBased(traces.trace_share)))
            .with_resource(resource.build())
            .build();
        global::set_tracer_provider(provider.clone());
        ::traces::turn_on();
        Ok(Some(Self { provider, runtime: Some(runtime) }))
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        if let Err(error) = self.provider.shutdown_with_timeout(END) {
            tracing::debug!(%error, "the last spans did not go out");
        }
        // To wait for it is not allowed here, and nothing is left to be waited for.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A span within a trace is kept if that is. One without is kept if it is of a request for a change, if it links to one that is kept,
/// or by chance.
#[derive(Debug, Clone)]
struct Sampling(Sampler);

impl ShouldSample for Sampling {
    fn should_sample(
        &self,
        parent: Option<&Parent>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let parent_kept = parent.filter(|parent| parent.has_active_span()).and_then(|parent| {
            let parent = parent.span().span_context().clone();
            parent.is_valid().then(|| parent.is_sampled())
        });
        let kept = match parent_kept {
            Some(kept) => kept,
            None if links.iter().any(|link| link.span_context.is_sampled()) => true,
            None if attributes.iter().any(|said| said.key.as_str() == CHANGES && said.value == true.into()) => true,
            None => return self.0.should_sample(None, trace_id, name, kind, attributes, links),
        };
        let decision = if kept { SamplingDecision::RecordAndSample } else { SamplingDecision::Drop };
        SamplingResult { decision, attributes: Vec::new(), trace_state: TraceState::NONE }
    }
}

/// Counts the spans that end.
#[derive(Debug)]
struct Counted<P>(P);

impl<P: SpanProcessor> SpanProcessor for Counted<P> {
    fn on_start(&self, span: &mut Span, parent: &Parent) {
        self.0.on_start(span, parent);
    }

    fn on_end(&self, span: SpanData) {
        ENDED.inc();
        self.0.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}

/// Counts what became of spans, and says once that they are not taken, and once that they are again.
#[derive(Debug)]
struct Watched<E> {
    exporter: E,
    endpoint: String,
    failing: Mutex<Option<Failing>>,
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

impl<E> Watched<E> {
    fn failing(&self) -> std::sync::MutexGuard<'_, Option<Failing>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E: SpanExporter> SpanExporter for Watched<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        let endpoint = &*self.endpoint;
        let before = *self.failing();
        if before.is_some_and(|failing| Instant::now() < failing.until) {
            SPANS.with_label_values(&["failed"]).inc_by(spans);
            return Err(OTelSdkError::InternalFailure(format!("{endpoint} has not taken the spans before")));
        }
        let exported = self.exporter.export(batch).await;
        let result = if exported.is_ok() { "exported" } else { "failed" };
        SPANS.with_label_values(&[result]).inc_by(spans);
        *self.failing() = exported.is_err().then(|| Failing::again(before));
        match (&exported, before) {
            (Ok(()), Some(_)) => tracing::info!(endpoint, "spans go out again"),
            (Err(error), None) => {
                tracing::warn!(endpoint, %error, "spans do not go out; until they do they are lost, and all else goes on");
            }
            _ => {}
        }
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags};

    fn of_span(sampled: bool) -> SpanContext {
        let flags = if sampled { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
        SpanContext::new(TraceId::from(7), SpanId::from(7), flags, true, TraceState::NONE)
    }

    fn kept(share: f64, parent: Option<bool>, link: Option<bool>) -> bool {
        let parent = parent.map(|sampled| Parent::new().with_remote_span_context(of_span(sampled)));
        let links: Vec<_> = link.map(|sampled| Link::with_context(of_span(sampled))).into_iter().collect();
        let sampling = Sampling(Sampler::TraceIdRatioBased(share));
        let id = TraceId::from(u128::MAX);
        let result = sampling.should_sample(parent.as_ref(), id, "", &SpanKind::Internal, &[], &links);
        result.decision == SamplingDecision::RecordAndSample
    }

    #[test]
    fn whoever_brings_a_trace_has_decided_and_else_it_is_a_link_or_chance() {
        for (share, parent, link, expected) in [
            (0.0, Some(true), None, true),
            (1.0, Some(false), None, false),
            (1.0, Some(false), Some(true), false),
            (0.0, None, Some(true), true),
            (0.0, None, Some(false), false),
            (0.0, None, None, false),
            (1.0, None, None, true),
        ] {
            assert_eq!(kept(share, parent, link), expected, "{share} {parent:?} {link:?}");
        }
    }

    #[test]
    fn an_endpoint_has_a_scheme_and_none_is_none() {
        assert!(parse_endpoint("").is_ok_and(|endpoint| endpoint.0.is_none()));
        assert!(parse_endpoint("http://127.0.0.1:4317").is_ok_and(|endpoint| endpoint.0.is_some()));
        for wrong in ["127.0.0.1:4317", "https://collector:4317", "http://"] {
            assert!(parse_endpoint(wrong).is_err(), "{wrong}");
        }
    }
}
