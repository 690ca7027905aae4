//! What is missing before early events comes from the store, in the same transaction: as much as is good for one, in order
//! of aggregates. What is left stays early for the next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use event_store::read;
use events::{AggregateId, Version};
use sqlx::PgConnection;

use super::Error;
use super::ledger::Ledger;
use crate::verdict::{self, Event};

/// Missing versions fetched for one transaction at most, of all its aggregates.
const MOST: usize = 2000;

type Range = (AggregateId, Version, Version);

/// Puts what is missing, as far as there is room, into `batch`. Returns the aggregates of which the store itself lacks
/// versions.
pub(super) async fn heal(
    db: &mut PgConnection,
    batch: &mut Vec<Event>,
    ledger: &Ledger,
    most: usize,
) -> Result<BTreeSet<AggregateId>, Error> {
    let wanted = within(most.min(MOST), verdict::missing(batch, ledger.aggregates()));
    if wanted.is_empty() {
        return Ok(BTreeSet::new());
    }
    let found = read::ranges(&mut *db, &wanted, MOST as i32).await?;
    let holes = lacking(&wanted, &found);
    batch.extend(found.into_iter().map(Arc::new));
    verdict::in_order(batch);
    Ok(holes)
}

/// The first `most` of the missing versions.
fn within(most: usize, missing: Vec<Range>) -> Vec<Range> {
    let mut room = i32::try_from(most).unwrap_or(i32::MAX);
    let mut wanted = Vec::new();
    for (aggregate_id, from, to) in missing {
        if room == 0 {
            break;
        }
        let to = Version(to.0.min(from.0.saturating_add(room - 1)));
        room -= to.0 - from.0 + 1;
        wanted.push((aggregate_id, from, to));
    }
    wanted
}

/// The aggregates of which not all that was wanted was found.
fn lacking(wanted: &[Range], found: &[events::Recorded<events::Payload>]) -> BTreeSet<AggregateId> {
    let mut lacking: BTreeMap<AggregateId, i32> = BTreeMap::new();
    for (aggregate_id, from, to) in wanted {
        *lacking.entry(*aggregate_id).or_default() += to.0 - from.0 + 1;
    }
    for event in found {
        lacking.entry(event.aggregate_id).and_modify(|count| *count -= 1);
    }
    lacking.into_iter().filter(|(_, count)| *count > 0).map(|(aggregate_id, _)| aggregate_id).collect()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn no_more_is_wanted_than_there_is_room_for_and_the_first_come_first() {
        let range = |id, from, to| (AggregateId(Uuid::from_u128(id)), Version(from), Version(to));
        let missing = vec![range(1, 1, 3), range(1, 5, 5), range(2, 1, 4000)];
        assert_eq!(within(2, missing.clone()), [range(1, 1, 2)]);
        assert_eq!(within(3, missing.clone()), [range(1, 1, 3)]);
        assert_eq!(within(2000, missing), [range(1, 1, 3), range(1, 5, 5), range(2, 1, 1996)]);
    }
}
