//! Going on from where an answer ended.

use events::{AggregateId, Version};

use super::budget::{Found, Row};
use super::{Part, Range};

impl Part {
    /// Rows in order, up to the first that did not fit. `asked` is what the statement was asked for, in order.
    pub(super) fn of(rows: Vec<Row>, asked: &[Range]) -> Self {
        let mut part = Self { events: Vec::with_capacity(rows.len()), ..Self::default() };
        for row in rows {
            match row.into() {
                Found::Event(event) => part.events.push(event),
                Found::Unreadable(event) => part.unreadable.push(event),
                Found::Rest { aggregate_id, version, .. } => {
                    part.rest = from(asked, (aggregate_id, version));
                    break;
                }
            }
        }
        part
    }

    /// Nothing that was wanted comes after this part.
    pub fn is_complete(&self) -> bool {
        self.rest.is_empty()
    }

    /// The aggregate and version that it ends with.
    pub(super) fn last(&self) -> Option<(AggregateId, Version)> {
        let readable = self.events.last().map(|event| (event.aggregate_id, event.version));
        let unreadable = self.unreadable.last().map(|event| (event.aggregate_id, event.version));
        readable.max(unreadable)
    }
}

/// What of the ranges is not before `first`.
fn from(ranges: &[Range], first: (AggregateId, Version)) -> Vec<Range> {
    let after = ranges.iter().filter(|(id, _, to)| (*id, *to) >= first);
    after.map(|&(id, from, to)| (id, if id == first.0 { from.max(first.1) } else { from }, to)).collect()
}

/// The first `limit` versions of the ranges, in order of aggregate and version, and what comes after them.
pub(super) fn split(wanted: &[Range], limit: i32) -> (Vec<Range>, Vec<Range>) {
    let mut sorted = wanted.to_vec();
    sorted.sort_unstable();
    let mut left = i64::from(limit);
    let (mut first, mut rest) = (Vec::with_capacity(sorted.len()), Vec::new());
    for (id, from, to) in sorted {
        let count = i64::from(to.0) - i64::from(from.0) + 1;
        if count <= left {
            first.push((id, from, to));
            left -= count;
        } else {
            let middle = Version(from.0 + left as i32);
            if left > 0 {
                first.push((id, from, Version(middle.0 - 1)));
            }
            rest.push((id, middle, to));
            left = 0;
        }
    }
    (first, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(aggregate: u128, from: i32, to: i32) -> Range {
        (AggregateId(uuid::Uuid::from_u128(aggregate)), Version(from), Version(to))
    }

    #[test]
    fn a_limit_counts_all_ranges_together() {
        let wanted = [range(2, 5, 9), range(1, 1, 4), range(3, 1, 1)];
        assert_eq!(split(&wanted, 6), (vec![range(1, 1, 4), range(2, 5, 6)], vec![range(2, 7, 9), range(3, 1, 1)]));
        assert_eq!(split(&wanted, 9), (vec![range(1, 1, 4), range(2, 5, 9)], vec![range(3, 1, 1)]));
        assert_eq!(split(&wanted, 10), (vec![range(1, 1, 4), range(2, 5, 9), range(3, 1, 1)], vec![]));
        assert_eq!(split(&[range(1, 1, i32::MAX)], 3), (vec![range(1, 1, 3)], vec![range(1, 4, i32::MAX)]));
        assert_eq!(split(&[], 3), (vec![], vec![]));
    }

    #[test]
    fn what_did_not_fit_is_the_beginning_of_the_rest() {
        let asked = [range(1, 1, 4), range(2, 5, 9), range(2, 12, 13), range(3, 1, 1)];
        let first = (asked[1].0, Version(7));
        assert_eq!(from(&asked, first), [range(2, 7, 9), range(2, 12, 13), range(3, 1, 1)]);
        assert_eq!(from(&asked, (asked[1].0, Version(12))), [range(2, 12, 13), range(3, 1, 1)]);
    }
}
