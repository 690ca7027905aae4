//! What the outcomes of a load mean for the cursor.

use events::Position;

use super::cursor::Refusal;
use super::load::Outgoing;
use super::publish::Outcome;

/// What can be said of a load for good.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) confirmed: usize,
    pub(super) unknown: usize,
    /// What is passed, in order.
    pub(super) refusals: Vec<Refusal>,
    /// Everything up to here is confirmed, or refused.
    pub(super) upto: Position,
}

impl Settled {
    /// `refusals` are of events that were not even sent, and `upto` is where the load ends.
    pub(super) fn of(
        events: &[Outgoing],
        outcomes: Vec<Outcome>,
        mut refusals: Vec<Refusal>,
        mut upto: Position,
    ) -> Self {
        let (mut confirmed, mut unknown) = (0, 0);
        for (Outgoing { event, .. }, outcome) in events.iter().zip(outcomes) {
            match outcome {
                Outcome::Confirmed => confirmed += 1,
                Outcome::Refused(reason) => refusals.push(Refusal { position: event.position, reason }),
                Outcome::Unknown => {
                    unknown += 1;
                    upto = upto.min(Position(event.position.0 - 1));
                }
            }
        }
        // What comes after the first unknown one is published again, and refused again.
        refusals.retain(|refusal| refusal.position <= upto);
        refusals.sort_unstable_by_key(|refusal| refusal.position);
        Self { confirmed, unknown, refusals, upto }
    }
}

/// How many messages the bus has refused since it last took one.
pub(super) fn refused_in_a_row(before: usize, outcomes: &[Outcome]) -> usize {
    if outcomes.contains(&Outcome::Confirmed) {
        return 0;
    }
    before + outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Refused(_))).count()
}

pub(super) fn last_reason(outcomes: Vec<Outcome>) -> String {
    let reason = |outcome| if let Outcome::Refused(reason) = outcome { Some(reason) } else { None };
    outcomes.into_iter().filter_map(reason).next_back().unwrap_or_default()
}
