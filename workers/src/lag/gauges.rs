//! From measurements to gauges. What could not be measured takes its own away, because a held value would be a lie.

use super::Report;
use crate::Metrics;
use crate::under_way::{KINDS, STATES, UnderWay};

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
            lag.differences.with_label_values(&[&projection.name]).set(projection.differences);
        }
    }
}
