//! How a replay gets at what is selected: by the index that leads to few events, or through all positions.
//!
//! One aggregate, or ten minutes, is a few thousand events in a store of any size. Whichever way is taken, events come in
//! the order of their positions, so that how far a replay is remains one position.

use chrono::{DateTime, Utc};
use events::{AggregateId, EventId, Position, Topic};
use sqlx::PgPool;

use super::Selection;

/// Events that an index may lead to for its way to be taken. Each page goes through all of them.
pub(super) const FEW: i64 = 100_000;

const NEVER: DateTime<Utc> = DateTime::UNIX_EPOCH;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Path {
    /// Window by window, picking out what is selected.
    Positions,
    /// From the aggregates to their events.
    Aggregates,
    /// By the index on the time of occurrence.
    Times,
}

/// An event that is selected.
pub(super) struct Selected {
    pub event_id: EventId,
    pub position: Position,
    pub unsettled: bool,
}

/// `of_aggregates` and `of_times` are what the indexes lead to, counted a little beyond [`FEW`]; `None`: not selected by.
fn choose(positions: i64, of_aggregates: Option<i64>, of_times: Option<i64>) -> Path {
    let few = |count: Option<i64>| count.filter(|count| *count <= FEW);
    match (few(of_aggregates), few(of_times)) {
        _ if positions <= FEW => Path::Positions,
        (Some(aggregates), Some(times)) if times < aggregates => Path::Times,
        (Some(_), _) => Path::Aggregates,
        (None, Some(_)) => Path::Times,
        (None, None) => Path::Positions,
    }
}

impl Path {
    pub async fn to(selection: &Selection, after: Position, upto: Position, pool: &PgPool) -> sqlx::Result<Self> {
        let positions = upto.0 - after.0;
        if positions <= FEW || selection.aggregates.is_none() && selection.times.is_none() {
            return Ok(Self::Positions);
        }
        let aggregates = selection.aggregates.as_ref().map(|ids| ids.iter().map(|id: &AggregateId| id.0).collect());
        // Without times: a range that is empty, so that nothing is counted by it.
        let times = selection.times.map_or((Some(NEVER), Some(NEVER)), |range| (range.from, range.to));
        let counted = sqlx::query_file!(
            "src/replay/paths.sql",
            &aggregates.clone().unwrap_or_else(Vec::new),
            times.0,
            times.1,
            FEW + 1
        )
        .fetch_one(pool)
        .await?;
        Ok(choose(positions, aggregates.map(|_| counted.of_aggregates), selection.times.map(|_| counted.of_times)))
    }

    /// The next events of the selection, at most `limit`; on [`Self::Positions`] there are none to be had this way.
    pub async fn page(
        self,
        pool: &PgPool,
        projection: &str,
        topics: &[&Topic],
        selection: &Selection,
        (after, upto): (Position, Position),
        limit: i64,
    ) -> sqlx::Result<Vec<Selected>> {
        let filter = selection.filter(topics);
        let aggregates: Vec<_> = filter.aggregate_ids.iter().map(|id| id.0).collect();
        let (from, to) = selection.times.map_or((None, None), |range| (range.from, range.to));
        let selected = |event_id, position, unsettled| Selected {
            event_id: EventId(event_id),
            position: Position(position),
            unsettled,
        };
        Ok(match self {
            Self::Positions => Vec::new(),
            Self::Aggregates => sqlx::query_file!(
                "src/replay/by_aggregate.sql",
                projection,
                after.0,
                upto.0,
                &filter.aggregate_types,
                &filter.event_types,
                &aggregates,
                from,
                to,
                limit
            )
            .fetch_all(pool)
            .await?
            .into_iter()
            .map(|row| selected(row.event_id, row.position, row.unsettled))
            .collect(),
            Self::Times => sqlx::query_file!(
                "src/replay/by_time.sql",
                projection,
                after.0,
                upto.0,
                &filter.aggregate_types,
                &filter.event_types,
                &aggregates,
                from,
                to,
                limit
            )
            .fetch_all(pool)
            .await?
            .into_iter()
            .map(|row| selected(row.event_id, row.position, row.unsettled))
            .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_with_the_fewest_events_is_taken_if_it_has_few() {
        let many = Some(FEW + 1);
        for (positions, aggregates, times, path) in [
            (i64::MAX, None, None, Path::Positions),
            (FEW, Some(1), Some(1), Path::Positions),
            (i64::MAX, Some(5), None, Path::Aggregates),
            (i64::MAX, Some(5), many, Path::Aggregates),
            (i64::MAX, Some(5), Some(6), Path::Aggregates),
            (i64::MAX, Some(6), Some(5), Path::Times),
            (i64::MAX, many, Some(5), Path::Times),
            (i64::MAX, None, Some(FEW), Path::Times),
            (i64::MAX, many, many, Path::Positions),
        ] {
            assert_eq!(choose(positions, aggregates, times), path, "{positions} {aggregates:?} {times:?}");
        }
    }
}
