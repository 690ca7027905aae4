//! From measurements to gauges. What could not be measured takes its own away, because a held value would be a lie.

use event_store::metrics::Registrar;
use prometheus::core::Collector;
use prometheus::{Gauge, GaugeVec, IntGauge, IntGaugeVec};

use super::Report;
use crate::Metrics;
use crate::metrics::{OF_BOTH, OF_PROJECTION, OF_TOPIC};
use crate::under_way::{KINDS, STATES, UnderWay};

/// What is measured from the store, by whoever serves `/metrics` of an admin.
#[derive(Debug, Clone)]
pub(crate) struct LagGauges {
    seconds: GaugeVec,
    events: IntGaugeVec,
    settled_position: IntGaugeVec,
    parked: IntGaugeVec,
    parked_oldest_seconds: GaugeVec,
    held_aggregates: IntGaugeVec,
    paused: IntGaugeVec,
    paused_seconds: GaugeVec,
    relay_seconds: GaugeVec,
    relay_events: IntGaugeVec,
    operations: IntGaugeVec,
    stalled_seconds: GaugeVec,
    ready_seconds: GaugeVec,
    diverges: IntGaugeVec,
    differences: IntGaugeVec,
    stopped: IntGauge,
    stopped_seconds: Gauge,
    oldest_snapshot_seconds: Gauge,
    observed: Gauge,
    head: Gauge,
}

impl Metrics {
    /// The time of the measurement stands still until everything was measured.
    pub fn observe_lag(&self, report: Option<&Report>) {
        let lag = &self.lag;
        lag.seconds.reset();
        lag.events.reset();
        lag.settled_position.reset();
        lag.parked.reset();
        lag.parked_oldest_seconds.reset();
        lag.held_aggregates.reset();
        lag.paused.reset();
        lag.paused_seconds.reset();
        self.outdated.reset();
        let Some(report) = report else { return };
        for status in &report.projections {
            let labels = &[status.topic.as_str(), &status.name];
            lag.seconds.with_label_values(labels).set(status.lag_seconds);
            lag.events.with_label_values(labels).set(status.lag_events);
            lag.settled_position.with_label_values(labels).set(status.settled_position);
            lag.parked.with_label_values(labels).set(status.parked);
            lag.parked_oldest_seconds.with_label_values(labels).set(status.parked_oldest_seconds);
            lag.held_aggregates.with_label_values(labels).set(status.held_aggregates);
            lag.paused.with_label_values(labels).set(status.paused.is_some().into());
            lag.paused_seconds.with_label_values(labels).set(report.since(status.paused.as_ref()));
            self.outdated.with_label_values(labels).set((status.version < status.code_version).into());
        }
        lag.stopped.set(report.operations_stopped.is_some().into());
        lag.stopped_seconds.set(report.since(report.operations_stopped.as_ref()));
        lag.head.set(report.store.head_position as f64);
        let oldest = report.store.oldest_snapshot.as_ref().map_or(0.0, |oldest| oldest.seconds);
        lag.oldest_snapshot_seconds.set(oldest);
        if report.unmeasured.is_empty() {
            lag.observed.set(report.observed_at.timestamp_millis() as f64 / 1000.0);
        }
    }

    pub(crate) fn observe_under_way(&self, under_way: Option<&UnderWay>) {
        let lag = &self.lag;
        lag.relay_seconds.reset();
        lag.relay_events.reset();
        lag.operations.reset();
        lag.stalled_seconds.reset();
        lag.ready_seconds.reset();
        lag.diverges.reset();
        lag.differences.reset();
        let Some(under_way) = under_way else { return };
        // What may lie behind what was looked at is not known, and is not 0.
        for relay in under_way.relays.iter().filter(|relay| !relay.unknown) {
            lag.relay_seconds.with_label_values(&[&relay.topic]).set(relay.seconds);
            lag.relay_events.with_label_values(&[&relay.topic]).set(relay.events);
        }
        for kind in KINDS {
            for state in STATES {
                lag.operations.with_label_values(&[kind, state.as_str()]).set(under_way.count(kind, state));
            }
            lag.stalled_seconds.with_label_values(&[kind]).set(under_way.stalled(kind));
        }
        for projection in &under_way.projections {
            lag.ready_seconds.with_label_values(&[&projection.name]).set(projection.ready_seconds);
            let diverges = under_way.diverging.contains(&projection.name);
            lag.diverges.with_label_values(&[&projection.name]).set(diverges.into());
            lag.differences.with_label_values(&[&projection.name]).set(projection.differences);
        }
    }
}

impl LagGauges {
    pub fn new() -> prometheus::Result<Self> {
        let new = Registrar::default();
        Ok(Self {
            seconds: new.float_gauges(
                "projection_lag_seconds",
                "Age of the oldest unsettled event; 0 if there is none.",
                OF_BOTH,
            )?,
            events: new.gauges("projection_lag_events", "Unsettled events of the store.", OF_BOTH)?,
            settled_position: new.gauges(
                "projection_settled_position",
                "Every event up to this position is settled.",
                OF_BOTH,
            )?,
            parked: new.gauges(
                "projection_parked_events",
                "Parked events that wait for a person.",
                OF_BOTH,
            )?,
            parked_oldest_seconds: new.float_gauges(
                "projection_parked_oldest_seconds",
                "Age of the oldest parked event; 0 if there is none.",
                OF_BOTH,
            )?,
            held_aggregates: new.gauges(
                "projection_held_aggregates",
                "Aggregates that wait behind a parked event.",
                OF_BOTH,
            )?,
            paused: new.gauges("projection_paused", "1 while a person has paused the projection; else 0.", OF_BOTH)?,
            paused_seconds: new.float_gauges(
                "projection_paused_seconds",
                "How long the projection has been paused; 0 if it is not.",
                OF_BOTH,
            )?,
            relay_seconds: new.float_gauges(
                "relay_lag_seconds",
                "Age of the topic's oldest event that is not with the bus; 0 if there is none.",
                OF_TOPIC,
            )?,
            relay_events: new.gauges(
                "relay_lag_events",
                "Events of the topic that are not with the bus. 10,000: or more.",
                OF_TOPIC,
            )?,
            operations: new.gauges(
                "fleet_operations",
                "Operations that are not over.",
                &["kind", "state"],
            )?,
            stalled_seconds: new.float_gauges(
                "fleet_operation_stalled_seconds",
                "For how long the operation that has stood still longest has, although it waits for nobody; 0 if there is none.",
                &["kind"],
            )?,
            ready_seconds: new.float_gauges(
                "projection_ready_seconds",
                "For how long a generation has been ready that nobody has promoted; 0 if there is none.",
                OF_PROJECTION,
            )?,
            diverges: new.gauges(
                "projection_rebuild_diverges",
                "1 while a rebuild is slower than the store grows, so that it would never end; else 0.",
                OF_PROJECTION,
            )?,
            differences: new.gauges(
                "projection_differences",
                "Rows and aggregates of the live generation that its last verification found to differ from the store.",
                OF_PROJECTION,
            )?,
            stopped: new.gauge(
                "fleet_operations_stopped",
                "1 while a person has stopped all operations; else 0.",
            )?,
            stopped_seconds: new.float_gauge(
                "fleet_operations_stopped_seconds",
                "How long all operations have been stopped; 0 if they are not.",
            )?,
            oldest_snapshot_seconds: new.float_gauge(
                "database_oldest_snapshot_seconds",
                "Age of the oldest snapshot or transaction that keeps dead rows from being removed; 0 if there is none.",
            )?,
            observed: new.float_gauge(
                "projection_lag_observed_timestamp_seconds",
                "When lag was last measured, in Unix time.",
            )?,
            head: new.float_gauge("eventstore_head_position", "Position of the last event of the store.")?,
        })
    }

    pub fn all(&self) -> Vec<Box<dyn Collector>> {
        vec![
            Box::new(self.seconds.clone()),
            Box::new(self.events.clone()),
            Box::new(self.settled_position.clone()),
            Box::new(self.parked.clone()),
            Box::new(self.parked_oldest_seconds.clone()),
            Box::new(self.held_aggregates.clone()),
            Box::new(self.paused.clone()),
            Box::new(self.paused_seconds.clone()),
            Box::new(self.relay_seconds.clone()),
            Box::new(self.relay_events.clone()),
            Box::new(self.operations.clone()),
            Box::new(self.stalled_seconds.clone()),
            Box::new(self.ready_seconds.clone()),
            Box::new(self.diverges.clone()),
            Box::new(self.differences.clone()),
            Box::new(self.stopped.clone()),
            Box::new(self.stopped_seconds.clone()),
            Box::new(self.oldest_snapshot_seconds.clone()),
            Box::new(self.observed.clone()),
            Box::new(self.head.clone()),
        ]
    }
}
