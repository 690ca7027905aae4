//! Making metrics, each of which is registered where it is made.

use prometheus::core::Collector;
use prometheus::{
    CounterVec, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, Result,
};

/// Upper bounds in seconds of the delays on an event's way, from a few milliseconds to an hour. One stands at the objective of
/// 30 s. The same for each part of the way, so that they can be compared.
pub const DELAYS: [f64; 17] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 300.0, 900.0, 3600.0];

/// Makes metrics and registers them. Each method fails if the name is in the registry already.
#[derive(Debug, Default)]
pub struct Registrar<'a>(Option<&'a Registry>);

#[expect(missing_docs, clippy::missing_errors_doc, reason = "each makes what it is named after")]
impl<'a> Registrar<'a> {
    pub fn of(registry: &'a Registry) -> Self {
        Self(Some(registry))
    }

    fn registered<M: Collector + Clone + 'static>(&self, metric: M) -> Result<M> {
        if let Some(registry) = self.0 {
            registry.register(Box::new(metric.clone()))?;
        }
        Ok(metric)
    }

    pub fn counter(&self, name: &str, help: &str) -> Result<IntCounter> {
        self.registered(IntCounter::new(name, help)?)
    }

    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec> {
        self.registered(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    /// A counter of time, which is not whole.
    pub fn seconds(&self, name: &str, help: &str, labels: &[&str]) -> Result<CounterVec> {
        self.registered(CounterVec::new(Opts::new(name, help), labels)?)
    }

    pub fn gauge(&self, name: &str, help: &str) -> Result<IntGauge> {
        self.registered(IntGauge::new(name, help)?)
    }

    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec> {
        self.registered(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    pub fn float_gauge(&self, name: &str, help: &str) -> Result<Gauge> {
        self.registered(Gauge::new(name, help)?)
    }

    pub fn float_gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec> {
        self.registered(GaugeVec::new(Opts::new(name, help), labels)?)
    }

    pub fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Result<Histogram> {
        self.registered(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))?)
    }

    pub fn histograms(&self, name: &str, help: &str, buckets: &[f64], labels: &[&str]) -> Result<HistogramVec> {
        self.registered(HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels)?)
    }
}
