//! The numbers of the workers. Labels are of closed sets: topics, projections, modes, results. Every series is there from the
//! start, at zero: what appears with its first event has no rate before the second.

use std::time::Duration;

use bus::Delivery;
use chrono::{DateTime, Utc};
use event_store::metrics::{DELAYS, Registrar};
use events::Topic;
use prometheus::core::Collector;
use prometheus::{
    CounterVec, HistogramTimer, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
};

use crate::admin::Kind;
use crate::apply::{Mode, Tally};
use crate::dead_letters::park::Reason;
use crate::generations::Resting;
use crate::lag::LagGauges;
use crate::push;
use crate::retry;

#[derive(Debug, Clone)]
pub struct Metrics {
    events: IntCounterVec,
    apply_duration_seconds: HistogramVec,
    freshness_seconds: HistogramVec,
    bus_delay_seconds: HistogramVec,
    worker_delay_seconds: HistogramVec,
    deliveries: IntCounterVec,
    redeliveries: IntCounterVec,
    in_hand: IntGaugeVec,
    pub(crate) retried_transactions: IntCounter,
    pub(crate) parked_messages: IntCounterVec,
    pub(crate) broker_dead_letters: IntCounterVec,
    pub(crate) adopted_events: IntCounterVec,
    pub(crate) push_requests: IntCounterVec,
    pub(crate) push_auth_failures: IntCounterVec,
    admin_refused_requests: IntCounterVec,
    build_duration_seconds: HistogramVec,
    throttled_seconds: CounterVec,
    pub(crate) outdated: IntGaugeVec,
    pub(crate) lag: LagGauges,
}

pub(crate) const OF_TOPIC: &[&str] = &["topic"];
pub(crate) const OF_PROJECTION: &[&str] = &["projection"];
pub(crate) const OF_BOTH: &[&str] = &["topic", "projection"];

impl Metrics {
    /// # Errors
    /// One of the names is in the registry already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let new = Registrar::of(registry);
        registry.register(Box::new(retry::FAILED_TRIES.clone()))?;
        Ok(Self {
            events: new.counters(
                "projection_events_total",
                "Events settled: applied, duplicate, skipped (unknown type), parked, held (behind a parked one).",
                &["topic", "projection", "mode", "result"],
            )?,
            apply_duration_seconds: new.histograms(
                "projection_apply_duration_seconds",
                "Time of one projection transaction.",
                prometheus::DEFAULT_BUCKETS,
                &["topic", "projection", "mode"],
            )?,
            freshness_seconds: new.histograms(
                "projection_freshness_seconds",
                "The whole way of what the bus brought: from append to commit in the read model. What the sweep brought is not in it.",
                &DELAYS,
                OF_BOTH,
            )?,
            bus_delay_seconds: new.histograms(
                "bus_delay_seconds",
                "The second part of the way: from the bus's taking a message to a worker's beginning with it. \
                 Only of first deliveries, and only where the bus says when it took it.",
                &DELAYS,
                OF_TOPIC,
            )?,
            worker_delay_seconds: new.histograms(
                "worker_delay_seconds",
                "The last part of the way: from a worker's beginning with messages to its answer to the bus, for each batch.",
                &DELAYS,
                OF_TOPIC,
            )?,
            deliveries: new.counters(
                "worker_deliveries_total",
                "Messages answered: acked, and given back, which are delivered again.",
                &["topic", "result"],
            )?,
            redeliveries: new.counters(
                "worker_redeliveries_total",
                "Messages that came for the second time, or the third; only where the bus counts.",
                OF_TOPIC,
            )?,
            in_hand: new.gauges(
                "worker_messages_in_hand",
                "Messages that a worker has begun with and not answered.",
                OF_TOPIC,
            )?,
            retried_transactions: new.counter(
                "db_transaction_retries_total",
                "Projection transactions tried again after a lost race (serialization, deadlock, new aggregate).",
            )?,
            parked_messages: new.counters(
                "worker_parked_messages_total",
                "Messages parked that are no event of the store.",
                &["topic", "reason"],
            )?,
            broker_dead_letters: new.counters(
                "worker_broker_dead_letters_total",
                "Messages taken from the dead-letter topic of the broker.",
                OF_TOPIC,
            )?,
            adopted_events: new.counters(
                "worker_adopted_events_total",
                "Foreign events appended to the store.",
                OF_TOPIC,
            )?,
            push_requests: new.counters(
                "push_requests_total",
                "Push deliveries: acked, nacked, busy, refused, too_large, malformed.",
                &["topic", "outcome"],
            )?,
            push_auth_failures: new.counters(
                "push_auth_failures_total",
                "Push requests whose token was refused, by reason.",
                &["reason"],
            )?,
            admin_refused_requests: new.counters(
                "admin_refused_requests_total",
                "Requests that the admin API has refused: of those that read and of those that change something, by the kind of problem.",
                &["request", "reason"],
            )?,
            build_duration_seconds: new.histograms(
                "projection_build_duration_seconds",
                "Time of one transaction of a builder of a generation; it aims at 0.5 s.",
                &[0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0, 30.0],
                OF_PROJECTION,
            )?,
            throttled_seconds: new.seconds(
                "operation_throttled_seconds_total",
                "Time for which builders of generations rested: for live lag, because lag was not measured, for a rate that a \
                 person had set, because all operations were stopped, because the operation was paused.",
                &["projection", "reason"],
            )?,
            outdated: new.gauges(
                "projection_outdated",
                "1 while what is read was built by an older version of the projection's code than this one; else 0.",
                OF_BOTH,
            )?,
            lag: LagGauges::new()?,
        })
    }

    /// Has every series of a worker of this topic begin at zero.
    pub fn begin(&self, topic: &Topic, projections: &[&str], pushed: bool) {
        let name = topic.name;
        for projection in projections {
            self.freshness_seconds.with_label_values(&[name, projection]);
            for mode in Mode::ALL {
                self.apply_duration_seconds.with_label_values(&[name, projection, mode.as_str()]);
                for (result, _) in results(Tally::default()) {
                    self.events.with_label_values(&[name, projection, mode.as_str(), result]);
                }
            }
            self.build_duration_seconds.with_label_values(&[projection]);
            for why in Resting::ALL {
                self.throttled_seconds.with_label_values(&[projection, why.as_str()]);
            }
        }
        self.bus_delay_seconds.with_label_values(&[name]);
        self.worker_delay_seconds.with_label_values(&[name]);
        for result in ["acked", "given_back"] {
            self.deliveries.with_label_values(&[name, result]);
        }
        self.redeliveries.with_label_values(&[name]);
        self.in_hand.with_label_values(&[name]);
        for reason in Reason::ALL {
            self.parked_messages.with_label_values(&[name, reason.as_str()]);
        }
        self.broker_dead_letters.with_label_values(&[name]);
        self.adopted_events.with_label_values(&[name]);
        if pushed {
            for outcome in push::OUTCOMES {
                self.push_requests.with_label_values(&[name, outcome]);
            }
            for reason in push::REFUSALS {
                self.push_auth_failures.with_label_values(&[reason]);
            }
        }
    }

    /// Has every series of the admin API begin at zero.
    pub(crate) fn begin_admin(&self) {
        for changes in [false, true] {
            for kind in Kind::ALL {
                self.admin_refused_requests.with_label_values(&[request(changes), kind.reason()]);
            }
        }
    }

    /// The admin API has refused a request.
    pub(crate) fn refused_request(&self, changes: bool, kind: Kind) {
        self.admin_refused_requests.with_label_values(&[request(changes), kind.reason()]).inc();
    }

    /// Lag is measured from the store, by an admin; a worker alone does not export it, because it could not report
    /// its own death.
    ///
    /// # Errors
    /// One of the names is in the registry already.
    pub fn register_lag(&self, registry: &Registry) -> prometheus::Result<()> {
        self.lag.all().into_iter().try_for_each(|gauge| registry.register(gauge))
    }

    pub(crate) fn count(&self, topic: &Topic, projection: &str, mode: Mode, tally: Tally) {
        for (result, count) in results(tally) {
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

    /// A worker begins with these messages. They are in hand until what is returned is dropped.
    pub(crate) fn begun(&self, topic: &Topic, batch: &[Delivery]) -> InHand {
        let now = Utc::now();
        let delay = self.bus_delay_seconds.with_label_values(&[topic.name]);
        let mut again = 0;
        for delivery in batch {
            if delivery.attempt.is_some_and(|attempt| attempt > 1) {
                again += 1;
            } else if let Some(published_at) = delivery.published_at {
                delay.observe((now - published_at).as_seconds_f64().max(0.0));
            }
        }
        self.redeliveries.with_label_values(&[topic.name]).inc_by(again);
        let gauge = self.in_hand.with_label_values(&[topic.name]);
        gauge.add(batch.len() as i64);
        InHand { gauge, messages: batch.len() as i64 }
    }

    /// A batch was answered.
    pub(crate) fn answered(&self, topic: &Topic, acked: usize, given_back: usize, took: Duration) {
        self.worker_delay_seconds.with_label_values(&[topic.name]).observe(took.as_secs_f64());
        self.deliveries.with_label_values(&[topic.name, "acked"]).inc_by(acked as u64);
        self.deliveries.with_label_values(&[topic.name, "given_back"]).inc_by(given_back as u64);
    }

    /// One transaction of a builder took so long.
    pub(crate) fn built(&self, projection: &str, took: Duration) {
        self.build_duration_seconds.with_label_values(&[projection]).observe(took.as_secs_f64());
    }

    /// A builder does nothing for so long.
    pub(crate) fn rests(&self, projection: &str, why: Resting, time: Duration) {
        self.throttled_seconds.with_label_values(&[projection, why.as_str()]).inc_by(time.as_secs_f64());
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

const fn request(changes: bool) -> &'static str {
    if changes { "change" } else { "read" }
}

fn results(tally: Tally) -> [(&'static str, u64); 5] {
    [
        ("applied", tally.applied),
        ("duplicate", tally.duplicate),
        ("skipped", tally.skipped),
        ("parked", tally.parked),
        ("held", tally.held),
    ]
}

/// Messages that a worker has begun with.
pub(crate) struct InHand {
    gauge: IntGauge,
    messages: i64,
}

impl Drop for InHand {
    fn drop(&mut self) {
        self.gauge.sub(self.messages);
    }
}
