//! The numbers of the workers. Labels are of closed sets: topics, projections, modes, results.

use chrono::{DateTime, Utc};
use events::Topic;
use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, HistogramOpts, HistogramTimer, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry,
};

use crate::apply::{Mode, Tally};

/// Seconds; one bucket stands at the objective of 30 s.
const FRESHNESS: [f64; 12] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0];

#[derive(Debug, Clone)]
pub struct Metrics {
    events: IntCounterVec,
    apply_duration_seconds: HistogramVec,
    freshness_seconds: HistogramVec,
    pub(crate) retried_transactions: IntCounter,
    pub(crate) parked_messages: IntCounterVec,
    pub(crate) broker_dead_letters: IntCounterVec,
    pub(crate) adopted_events: IntCounterVec,
    pub(crate) push_requests: IntCounterVec,
    pub(crate) push_auth_failures: IntCounterVec,
    pub(crate) outdated: IntGaugeVec,
    pub(crate) lag: LagGauges,
}

/// What is measured from the store, by whoever serves `/metrics` of an admin.
#[derive(Debug, Clone)]
pub(crate) struct LagGauges {
    pub seconds: GaugeVec,
    pub events: IntGaugeVec,
    pub settled_position: IntGaugeVec,
    pub parked: IntGaugeVec,
    pub parked_oldest_seconds: GaugeVec,
    pub held_aggregates: IntGaugeVec,
    pub paused: IntGaugeVec,
    pub paused_seconds: GaugeVec,
    pub stopped: IntGauge,
    pub stopped_seconds: Gauge,
    pub oldest_snapshot_seconds: Gauge,
    pub observed: Gauge,
    pub head: Gauge,
}

impl Metrics {
    /// # Errors
    /// One of the names is in the registry already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let per_projection = &["topic", "projection"];
        let metrics = Self {
            events: IntCounterVec::new(
                Opts::new(
                    "projection_events_total",
                    "Events settled: applied, duplicate, skipped (unknown type), parked, held (behind a parked one).",
                ),
                &["topic", "projection", "mode", "result"],
            )?,
            apply_duration_seconds: HistogramVec::new(
                HistogramOpts::new("projection_apply_duration_seconds", "Time of one projection transaction."),
                &["topic", "projection", "mode"],
            )?,
            freshness_seconds: HistogramVec::new(
                HistogramOpts::new(
                    "projection_freshness_seconds",
                    "Time from append to commit in the read model, live events only.",
                )
                .buckets(FRESHNESS.to_vec()),
                per_projection,
            )?,
            retried_transactions: IntCounter::new(
                "db_transaction_retries_total",
                "Projection transactions tried again after a lost race (serialization, deadlock, new aggregate).",
            )?,
            parked_messages: IntCounterVec::new(
                Opts::new("worker_parked_messages_total", "Messages parked that are no event of the store."),
                &["topic", "reason"],
            )?,
            broker_dead_letters: IntCounterVec::new(
                Opts::new(
                    "worker_broker_dead_letters_total",
                    "Messages taken from the dead-letter topic of the broker.",
                ),
                &["topic"],
            )?,
            adopted_events: IntCounterVec::new(
                Opts::new("worker_adopted_events_total", "Foreign events appended to the store."),
                &["topic"],
            )?,
            push_requests: IntCounterVec::new(
                Opts::new(
                    "push_requests_total",
                    "Push deliveries: acked, nacked, busy, refused, too_large, malformed.",
                ),
                &["topic", "outcome"],
            )?,
            push_auth_failures: IntCounterVec::new(
                Opts::new("push_auth_failures_total", "Push requests whose token was refused, by reason."),
                &["reason"],
            )?,
            outdated: IntGaugeVec::new(
                Opts::new(
                    "projection_outdated",
                    "1 while what is read was built by an older version of the projection's code than this one; else 0.",
                ),
                per_projection,
            )?,
            lag: LagGauges {
                seconds: GaugeVec::new(
                    Opts::new("projection_lag_seconds", "Age of the oldest unsettled event; 0 if there is none."),
                    per_projection,
                )?,
                events: IntGaugeVec::new(
                    Opts::new("projection_lag_events", "Unsettled events of the store."),
                    per_projection,
                )?,
                settled_position: IntGaugeVec::new(
                    Opts::new("projection_settled_position", "Every event up to this position is settled."),
                    per_projection,
                )?,
                parked: IntGaugeVec::new(
                    Opts::new("projection_parked_events", "Parked events that wait for a person."),
                    per_projection,
                )?,
                parked_oldest_seconds: GaugeVec::new(
                    Opts::new(
                        "projection_parked_oldest_seconds",
                        "Age of the oldest parked event; 0 if there is none.",
                    ),
                    per_projection,
                )?,
                held_aggregates: IntGaugeVec::new(
                    Opts::new("projection_held_aggregates", "Aggregates that wait behind a parked event."),
                    per_projection,
                )?,
                paused: IntGaugeVec::new(
                    Opts::new("projection_paused", "1 while a person has paused the projection; else 0."),
                    per_projection,
                )?,
                paused_seconds: GaugeVec::new(
                    Opts::new("projection_paused_seconds", "How long the projection has been paused; 0 if it is not."),
                    per_projection,
                )?,
                stopped: IntGauge::new(
                    "fleet_operations_stopped",
                    "1 while a person has stopped all operations; else 0.",
                )?,
                stopped_seconds: Gauge::new(
                    "fleet_operations_stopped_seconds",
                    "How long all operations have been stopped; 0 if they are not.",
                )?,
                oldest_snapshot_seconds: Gauge::new(
                    "database_oldest_snapshot_seconds",
                    "Age of the oldest snapshot or transaction that keeps dead rows from being removed; 0 if there is none.",
                )?,
                observed: Gauge::new(
                    "projection_lag_observed_timestamp_seconds",
                    "When lag was last measured, in Unix time.",
                )?,
                head: Gauge::new("eventstore_head_position", "Position of the last event of the store.")?,
            },
        };
        registry.register(Box::new(metrics.events.clone()))?;
        registry.register(Box::new(metrics.apply_duration_seconds.clone()))?;
        registry.register(Box::new(metrics.freshness_seconds.clone()))?;
        registry.register(Box::new(metrics.retried_transactions.clone()))?;
        registry.register(Box::new(metrics.parked_messages.clone()))?;
        registry.register(Box::new(metrics.broker_dead_letters.clone()))?;
        registry.register(Box::new(metrics.adopted_events.clone()))?;
        registry.register(Box::new(metrics.push_requests.clone()))?;
        registry.register(Box::new(metrics.push_auth_failures.clone()))?;
        registry.register(Box::new(metrics.outdated.clone()))?;
        Ok(metrics)
    }

    /// Lag is measured from the store, by an admin; a worker alone does not export it, because it could not report
    /// its own death.
    pub fn register_lag(&self, registry: &Registry) -> prometheus::Result<()> {
        registry.register(Box::new(self.lag.seconds.clone()))?;
        registry.register(Box::new(self.lag.events.clone()))?;
        registry.register(Box::new(self.lag.settled_position.clone()))?;
        registry.register(Box::new(self.lag.parked.clone()))?;
        registry.register(Box::new(self.lag.parked_oldest_seconds.clone()))?;
        registry.register(Box::new(self.lag.held_aggregates.clone()))?;
        registry.register(Box::new(self.lag.paused.clone()))?;
        registry.register(Box::new(self.lag.paused_seconds.clone()))?;
        registry.register(Box::new(self.lag.stopped.clone()))?;
        registry.register(Box::new(self.lag.stopped_seconds.clone()))?;
        registry.register(Box::new(self.lag.oldest_snapshot_seconds.clone()))?;
        registry.register(Box::new(self.lag.observed.clone()))?;
        registry.register(Box::new(self.lag.head.clone()))
    }

    pub(crate) fn count(&self, topic: &Topic, projection: &str, mode: Mode, tally: Tally) {
        for (result, count) in [
            ("applied", tally.applied),
            ("duplicate", tally.duplicate),
            ("skipped", tally.skipped),
            ("parked", tally.parked),
            ("held", tally.held),
        ] {
            if count > 0 {
                self.events.with_label_values(&[topic.name, projection, mode.as_str(), result]).inc_by(count);
            }
        }
    }

    /// What this process has parked of a topic: events, in any of its read models, and messages.
    pub fn parked(&self, topic: &Topic) -> u64 {
        let of_topic = |labels: &[prometheus::proto::LabelPair], result: Option<&str>| {
            let has = |name: &str, value: &str| labels.iter().any(|it| it.name() == name && it.value() == value);
            has("topic", topic.name) && result.is_none_or(|result| has("result", result))
        };
        let sum = |counters: &IntCounterVec, result| {
            let families = counters.collect();
            let metrics = families.iter().flat_map(|family| family.get_metric());
            let counted = metrics.filter(|metric| of_topic(metric.get_label(), result));
            counted.map(|metric| metric.get_counter().get_value() as u64).sum::<u64>()
        };
        sum(&self.events, Some("parked")) + sum(&self.parked_messages, None)
    }

    pub(crate) fn apply_timer(&self, topic: &Topic, projection: &str, mode: Mode) -> HistogramTimer {
        self.apply_duration_seconds.with_label_values(&[topic.name, projection, mode.as_str()]).start_timer()
    }

    /// Whether the live generation was built by an older version than this code.
    pub(crate) fn observe_outdated(&self, topic: &Topic, projection: &str, outdated: bool) {
        self.outdated.with_label_values(&[topic.name, projection]).set(outdated.into());
    }

    pub(crate) fn observe_freshness(&self, topic: &Topic, projection: &str, recorded_at: &[DateTime<Utc>]) {
        let now = Utc::now();
        let freshness = self.freshness_seconds.with_label_values(&[topic.name, projection]);
        for recorded_at in recorded_at {
            freshness.observe((now - recorded_at).as_seconds_f64().max(0.0));
        }
    }
}
