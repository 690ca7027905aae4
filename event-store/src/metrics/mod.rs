//! The numbers of the event store and its relay.

mod registrar;

use chrono::{DateTime, Utc};
use events::Topic;
use identity::Refusal;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Registry, exponential_buckets};

pub use registrar::{DELAYS, Registrar};

use crate::append;

#[derive(Debug, Clone)]
pub struct Metrics {
    pub(crate) appended_events: IntCounter,
    pub(crate) refused_appends: IntCounterVec,
    pub(crate) append_wait_seconds: Histogram,
    pub(crate) append_duration_seconds: Histogram,
    pub(crate) append_batch_requests: Histogram,
    pub(crate) relay_published_events: IntCounterVec,
    relay_delay_seconds: HistogramVec,
    pub(crate) relay_leader: IntGaugeVec,
    pub(crate) relay_position: IntGaugeVec,
    pub(crate) relay_rewinds: IntCounterVec,
    pub(crate) unreadable_events: IntCounter,
    refused_calls: IntCounterVec,
}

const OF_TOPIC: &[&str] = &["topic"];

impl Metrics {
    /// # Errors
    /// One of the names is in the registry already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let new = Registrar::of(registry);
        let metrics = Self {
            appended_events: new.counter("eventstore_appended_events_total", "Events appended.")?,
            refused_appends: new.counters(
                "eventstore_refused_appends_total",
                "Append requests refused, by reason.",
                &["reason"],
            )?,
            append_wait_seconds: new.histogram(
                "eventstore_append_wait_seconds",
                "Time from an append request's coming to its being taken into a batch.",
                &exponential_buckets(0.000_05, 4.0, 10)?,
            )?,
            append_duration_seconds: new.histogram(
                "eventstore_append_duration_seconds",
                "Time from taking a batch of appends to its last answer.",
                &exponential_buckets(0.000_5, 2.0, 15)?,
            )?,
            append_batch_requests: new.histogram(
                "eventstore_append_batch_requests",
                "Append requests written in one commit.",
                &exponential_buckets(1.0, 2.0, 10)?,
            )?,
            relay_published_events: new.counters(
                "relay_published_events_total",
                "Events given to the bus: confirmed, failed (published again later), refused for good (recorded, left to the sweep).",
                &["topic", "result"],
            )?,
            relay_delay_seconds: new.histograms(
                "relay_delay_seconds",
                "The first part of the way: from an event's append to the bus's confirming it.",
                &DELAYS,
                OF_TOPIC,
            )?,
            relay_leader: new.gauges(
                "relay_leader",
                "1 if this process holds the relay's lease of the topic.",
                OF_TOPIC,
            )?,
            relay_position: new.gauges(
                "relay_position",
                "Every event of the topic up to this position is with the bus, as this process knows.",
                OF_TOPIC,
            )?,
            relay_rewinds: new.counters(
                "relay_rewinds_total",
                "Times the relay found the store shorter than what it had relayed.",
                OF_TOPIC,
            )?,
            unreadable_events: new.counter(
                "eventstore_unreadable_events_total",
                "Events found that are in the store and cannot be given to any reader.",
            )?,
            refused_calls: new.counters(
                "eventstore_refused_calls_total",
                "Calls whose caller was not let through, by reason.",
                &["reason"],
            )?,
        };
        for reason in append::Error::REASONS {
            metrics.refused_appends.with_label_values(&[reason]);
        }
        for reason in Refusal::REASONS {
            metrics.refused_calls.with_label_values(&[reason]);
        }
        Ok(metrics)
    }

    /// A caller was not let through.
    pub fn refused_call(&self, refusal: &Refusal) {
        self.refused_calls.with_label_values(&[refusal.reason()]).inc();
    }

    /// Has every series of a topic's relay begin at zero.
    pub(crate) fn begin(&self, topic: &Topic) {
        for result in ["confirmed", "failed", "refused"] {
            self.relay_published_events.with_label_values(&[topic.name, result]);
        }
        self.relay_delay_seconds.with_label_values(&[topic.name]);
        self.relay_leader.with_label_values(&[topic.name]);
        self.relay_position.with_label_values(&[topic.name]);
        self.relay_rewinds.with_label_values(&[topic.name]);
    }

    /// The bus has just confirmed events that were recorded at these times.
    pub(crate) fn confirmed(&self, topic: &Topic, recorded_at: impl Iterator<Item = DateTime<Utc>>) {
        let now = Utc::now();
        let delay = self.relay_delay_seconds.with_label_values(&[topic.name]);
        for recorded_at in recorded_at {
            delay.observe((now - recorded_at).as_seconds_f64().max(0.0));
        }
    }
}
