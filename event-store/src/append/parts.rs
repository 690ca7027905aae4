//! What is left to write of a batch, and how it is cut when it does not go through, so that one request does not fail its
//! neighbours. Pure.
//!
//! Requests stay in their order: the next one may build on the version that the one before it makes.

/// Failures without a success between them after which it is Postgres that is not well.
const FAILURES_IN_A_ROW: u32 = 3;

#[derive(Debug)]
pub(super) struct Parts<T> {
    /// The next one last.
    waiting: Vec<Vec<T>>,
    /// Each part is less than what was to be written.
    cut: bool,
    /// In a row.
    failures: u32,
}

/// What to do with a part that was too much.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TooMuch<T> {
    /// It was cut, and is tried again in parts.
    Cut,
    /// A request that is too much without its neighbours.
    Alone(Vec<T>),
    /// Nothing goes through, or there never was more than this.
    Unwell(Vec<T>),
}

impl<T> Parts<T> {
    pub fn of(batch: Vec<T>) -> Self {
        Self { waiting: vec![batch], cut: false, failures: 0 }
    }

    /// The next requests to try, at most `most`.
    pub fn next(&mut self, most: usize) -> Option<Vec<T>> {
        let mut part = self.waiting.pop().filter(|part| !part.is_empty())?;
        if part.len() > most {
            let rest = part.split_off(most.max(1));
            self.waiting.push(rest);
            self.cut = true;
        }
        Some(part)
    }

    /// Some of a part was answered; the rest is for another try.
    pub fn went_through(&mut self, rest: Vec<T>) {
        self.failures = 0;
        self.again(rest);
    }

    /// A part is to be tried once more as it is.
    pub fn again(&mut self, part: Vec<T>) {
        if !part.is_empty() {
            self.waiting.push(part);
        }
    }

    /// Somebody's data in the part is refused. Returns what is to be answered with that: the one request whose it is.
    pub fn is_refused(&mut self, mut part: Vec<T>) -> Vec<T> {
        if part.len() == 1 {
            return part;
        }
        let second = part.split_off(part.len() / 2);
        self.waiting.extend([second, part]);
        Vec::new()
    }

    /// The part took longer than it may, or something is short. It is cut where half of its weight is, so that a request that
    /// is heavier than all others is soon alone.
    pub fn is_too_much(&mut self, mut part: Vec<T>, weight: impl Fn(&T) -> usize) -> TooMuch<T> {
        self.failures += 1;
        if self.failures >= FAILURES_IN_A_ROW {
            part.extend(self.waiting.drain(..).rev().flatten());
            *self = Self::of(Vec::new());
            return TooMuch::Unwell(part);
        }
        if part.len() > 1 {
            let second = part.split_off(middle(&part, weight));
            self.waiting.extend([second, part]);
            self.cut = true;
            return TooMuch::Cut;
        }
        if self.cut { TooMuch::Alone(part) } else { TooMuch::Unwell(part) }
    }
}

/// How many of the first have half of the weight, or as near to it as can be; neither none nor all.
fn middle<T>(part: &[T], weight: impl Fn(&T) -> usize) -> usize {
    let total: usize = part.iter().map(&weight).sum();
    let mut before = 0;
    let off = |before: usize| (2 * before).abs_diff(total);
    for (count, request) in part.iter().enumerate() {
        let after = before + weight(request);
        if 2 * after >= total {
            let middle = if off(before) < off(after) { count } else { count + 1 };
            return middle.clamp(1, part.len() - 1);
        }
        before = after;
    }
    part.len() - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes what is not too much, which this one of the requests always is; what was answered with a failure, and how many
    /// tries failed.
    fn written(batch: Vec<usize>, culprit: impl Fn(&[usize]) -> bool) -> (Vec<usize>, u32) {
        let expected: Vec<_> = batch.iter().copied().filter(|weight| !culprit(&[*weight])).collect();
        let mut parts = Parts::of(batch);
        let (mut done, mut failed, mut failures) = (Vec::new(), Vec::new(), 0);
        while let Some(part) = parts.next(usize::MAX) {
            if culprit(&part) {
                failures += 1;
                match parts.is_too_much(part, |weight| *weight) {
                    TooMuch::Cut => {}
                    TooMuch::Alone(part) | TooMuch::Unwell(part) => failed.extend(part),
                }
            } else {
                done.extend(part);
                parts.went_through(Vec::new());
            }
        }
        if failed.len() == 1 {
            assert_eq!(done, expected, "in their order");
        }
        (failed, failures)
    }

    #[test]
    fn the_heavy_one_is_soon_alone_and_its_neighbours_are_written_in_their_order() {
        for place in 0..512 {
            let mut batch = vec![200; 512];
            batch[place] = 8_000_000;
            let (failed, failures) = written(batch, |part| part.contains(&8_000_000));
            assert_eq!(failed, [8_000_000], "at {place}");
            assert!(failures <= 3, "{failures} failures at {place}");
        }
    }

    #[test]
    fn what_is_too_much_together_is_written_in_parts() {
        let (failed, failures) = written(vec![1; 512], |part| part.len() > 200);
        assert_eq!((failed.len(), failures), (0, 3));
    }

    #[test]
    fn if_nothing_goes_through_everybody_hears_of_it_after_three_tries() {
        let batch: Vec<_> = (1..=512).collect();
        let (failed, failures) = written(batch.clone(), |_| true);
        assert_eq!((failed, failures), (batch, 3));
    }

    #[test]
    fn who_never_had_neighbours_is_no_reason_to_suspect_it() {
        let mut parts = Parts::of(vec![1]);
        let part = parts.next(512).expect("the batch");
        assert_eq!(parts.is_too_much(part, |_| 1), TooMuch::Unwell(vec![1]));
        let mut parts = Parts::of(vec![1, 2]);
        let part = parts.next(1).expect("one of the batch");
        assert_eq!(parts.is_too_much(part, |_| 1), TooMuch::Alone(vec![1]));
        assert_eq!(parts.next(512), Some(vec![2]));
        assert_eq!(parts.next(512), None);
    }

    #[test]
    fn whose_data_is_refused_is_found_by_halving() {
        let mut parts = Parts::of(vec![1, 2, 3, 4]);
        let mut refused = Vec::new();
        let mut written = Vec::new();
        while let Some(part) = parts.next(512) {
            if part.contains(&3) { refused.extend(parts.is_refused(part)) } else { written.extend(part) }
        }
        assert_eq!((refused, written), (vec![3], vec![1, 2, 4]));
    }
}
