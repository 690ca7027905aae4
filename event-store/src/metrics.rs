//! The numbers of the event store and its relay.

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry, exponential_buckets,
};

#[derive(Debug, Clone)]
pub struct Metrics {
    pub(crate) appended_events: IntCounter,
    pub(crate) refused_appends: IntCounterVec,
    pub(crate) append_duration_seconds: Histogram,
    pub(crate) append_batch_requests: Histogram,
    pub(crate) relay_published_events: IntCounterVec,
    pub(crate) relay_leader: IntGaugeVec,
    pub(crate) relay_position: IntGaugeVec,
    pub(crate) relay_rewinds: IntCounterVec,
    pub(crate) unreadable_events: IntCounter,
}

impl Metrics {
    /// # Errors
    /// One of the names is in the registry already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let metrics = Self {
            appended_events: IntCounter::new("eventstore_appended_events_total", "Events appended.")?,
            refused_appends: IntCounterVec::new(
                Opts::new("eventstore_refused_appends_total", "Append requests refused, by reason."),
                &["reason"],
            )?,
            append_duration_seconds: Histogram::with_opts(
                HistogramOpts::new(
                    "eventstore_append_duration_seconds",
                    "Time from taking a batch of appends to its last answer.",
                )
                .buckets(exponential_buckets(0.000_5, 2.0, 15)?),
            )?,
            append_batch_requests: Histogram::with_opts(
                HistogramOpts::new("eventstore_append_batch_requests", "Append requests written in one commit.")
                    .buckets(exponential_buckets(1.0, 2.0, 10)?),
            )?,
            relay_published_events: IntCounterVec::new(
                Opts::new(
                    "relay_published_events_total",
                    "Events given to the bus: confirmed, failed (published again later), refused for good (recorded, left to the sweep).",
                ),
                &["topic", "result"],
            )?,
            relay_leader: IntGaugeVec::new(
                Opts::new("relay_leader", "1 if this process holds the relay's lease of the topic."),
                &["topic"],
            )?,
            relay_position: IntGaugeVec::new(
                Opts::new("relay_position", "Every event of the topic up to this position is with the bus."),
                &["topic"],
            )?,
            relay_rewinds: IntCounterVec::new(
                Opts::new("relay_rewinds_total", "Times the relay found the store shorter than what it had relayed."),
                &["topic"],
            )?,
            unreadable_events: IntCounter::new(
                "eventstore_unreadable_events_total",
                "Events found that are in the store and cannot be given to any reader.",
            )?,
        };
        registry.register(Box::new(metrics.appended_events.clone()))?;
        registry.register(Box::new(metrics.refused_appends.clone()))?;
        registry.register(Box::new(metrics.append_duration_seconds.clone()))?;
        registry.register(Box::new(metrics.append_batch_requests.clone()))?;
        registry.register(Box::new(metrics.relay_published_events.clone()))?;
        registry.register(Box::new(metrics.relay_leader.clone()))?;
        registry.register(Box::new(metrics.relay_position.clone()))?;
        registry.register(Box::new(metrics.relay_rewinds.clone()))?;
        registry.register(Box::new(metrics.unreadable_events.clone()))?;
        Ok(metrics)
    }
}
