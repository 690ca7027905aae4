//! What is missing before early events comes from the store, in the same transaction: as much as is good for one, in order
//! of aggregates. What is left stays early for the next.

use std::collections::{BTreeMap, BTreeSet};

use event_store::read::{self, Part, Range};
use events::{AggregateId, Version};
use sqlx::PgConnection;

use super::Error;
use super::ledger::Ledger;
use crate::verdict::{self, Event};

/// Missing versions fetched for one transaction at most, of all its aggregates.
const MOST: i32 = 2000;

/// Puts what is missing, as far as there is room, into `batch`. Returns the aggregates of which the store itself lacks
/// versions.
pub(super) async fn heal(
    db: &mut PgConnection,
    batch: &mut Vec<Event>,
    ledger: &Ledger,
    most: usize,
) -> Result<BTreeSet<AggregateId>, Error> {
    let wanted = verdict::missing(batch, ledger.aggregates());
    if wanted.is_empty() {
        return Ok(BTreeSet::new());
    }
    let limit = i32::try_from(most).map_or(MOST, |most| most.min(MOST));
    let part = read::careful::ranges(db, &wanted, limit).await?;
    let holes = lacking(&wanted, &part);
    batch.extend(Event::all(part.events, part.unreadable));
    verdict::in_order(batch);
    Ok(holes)
}

/// The aggregates of which the store has not all that was wanted. What did not fit into the part is not lacking.
fn lacking(wanted: &[Range], part: &Part) -> BTreeSet<AggregateId> {
    let count = |from: Version, to: Version| i64::from(to.0) - i64::from(from.0) + 1;
    let mut lacking: BTreeMap<AggregateId, i64> = BTreeMap::new();
    for &(aggregate_id, from, to) in wanted {
        *lacking.entry(aggregate_id).or_default() += count(from, to);
    }
    for &(aggregate_id, from, to) in &part.rest {
        lacking.entry(aggregate_id).and_modify(|left| *left -= count(from, to));
    }
    let readable = part.events.iter().map(|event| event.aggregate_id);
    for aggregate_id in readable.chain(part.unreadable.iter().map(|event| event.aggregate_id)) {
        lacking.entry(aggregate_id).and_modify(|left| *left -= 1);
    }
    lacking.into_iter().filter(|(_, left)| *left > 0).map(|(aggregate_id, _)| aggregate_id).collect()
}

#[cfg(test)]
mod tests {
    use std::ops::Deref;

    use uuid::Uuid;

    use super::*;
    use crate::verdict::tests::event;

    #[test]
    fn what_did_not_fit_is_not_lacking_and_what_is_not_there_is() {
        let range = |id, from, to| (AggregateId(Uuid::from_u128(id)), Version(from), Version(to));
        let wanted = [range(1, 1, 2), range(2, 1, 3), range(3, 1, 9)];
        let part = |events: &[(u128, i32)], rest: &[Range]| Part {
            events: events.iter().map(|(id, version)| event(*id, *version).deref().clone()).collect(),
            unreadable: Vec::new(),
            rest: rest.to_vec(),
        };
        let ids = |ids: &[u128]| ids.iter().map(|id| AggregateId(Uuid::from_u128(*id))).collect::<BTreeSet<_>>();
        assert_eq!(lacking(&wanted, &part(&[(1, 1), (1, 2), (2, 1)], &[range(2, 2, 3), range(3, 1, 9)])), ids(&[]));
        assert_eq!(lacking(&wanted, &part(&[(1, 2), (2, 1)], &[range(2, 2, 3), range(3, 1, 9)])), ids(&[1]));
        assert_eq!(lacking(&wanted, &part(&[(1, 1), (1, 2), (2, 1), (2, 2), (2, 3)], &[])), ids(&[3]));
    }
}
