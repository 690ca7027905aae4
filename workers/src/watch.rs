//! A fold that does not come back. It has a thread of the process to itself, and with as many of them as there are threads the process
//! answers nobody any more: so a thread of its own says at which event it is.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, Once, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use events::Position;

/// How often it is looked. A fold that is still where it was the time before does not come back: it takes microseconds.
const EVERY: Duration = Duration::from_secs(5);

/// Between two lines about the same fold, in looks.
const AGAIN: u32 = 12;

/// What a thread folds now, and how many it has folded.
#[derive(Debug, Default)]
struct Now {
    folds: u64,
    at: Option<(&'static str, Position)>,
}

type Place = Mutex<Now>;

static PLACES: Mutex<Vec<Weak<Place>>> = Mutex::new(Vec::new());

thread_local! {
    static PLACE: OnceCell<Arc<Place>> = const { OnceCell::new() };
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn here(change: impl FnOnce(&mut Now)) {
    PLACE.with(|place| {
        let place = place.get_or_init(|| {
            let place = Arc::new(Place::default());
            locked(&PLACES).push(Arc::downgrade(&place));
            place
        });
        change(&mut locked(place));
    });
}

/// This thread folds an event, until it is dropped.
pub(crate) fn at(projection: &'static str, position: Position) -> impl Drop {
    struct Watched;
    impl Drop for Watched {
        fn drop(&mut self) {
            here(|now| now.at = None);
        }
    }
    here(|now| {
        now.folds += 1;
        now.at = Some((projection, position));
    });
    Watched
}

/// From now on a fold that does not come back is named in the log.
pub fn begin() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let watching = || {
            let mut looks = Looks::default();
            loop {
                thread::sleep(EVERY);
                for (projection, position, looks) in looks.look() {
                    let seconds = (EVERY * looks).as_secs();
                    tracing::error!(
                        projection,
                        position = position.0,
                        seconds,
                        "its fold is at this event, and does not come back: it has a thread to itself, and others wait"
                    );
                }
            }
        };
        // Without it everything goes on as well.
        let _ = thread::Builder::new().name("watch".to_owned()).spawn(watching);
    });
}

/// What was seen when it was looked last: of each thread the fold, and how often.
#[derive(Debug, Default)]
struct Looks(HashMap<usize, (u64, u32)>);

impl Looks {
    /// Folds to be named now: with the projection, the position, and how many looks ago they were seen first.
    fn look(&mut self) -> Vec<(&'static str, Position, u32)> {
        let mut places = locked(&PLACES);
        places.retain(|place| place.strong_count() > 0);
        let mut stuck = Vec::new();
        let mut seen = HashMap::new();
        for place in places.iter().filter_map(Weak::upgrade) {
            let now = locked(&place);
            let Some((projection, position)) = now.at else { continue };
            let thread = Arc::as_ptr(&place) as usize;
            let looks = match self.0.get(&thread) {
                Some((folds, looks)) if *folds == now.folds => looks + 1,
                _ => 0,
            };
            if looks % AGAIN == 1 {
                stuck.push((projection, position, looks));
            }
            seen.insert(thread, (now.folds, looks));
        }
        self.0 = seen;
        stuck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fold_that_does_not_come_back_is_named_and_again_after_a_minute_only() {
        let named = |looks: &mut Looks| {
            let mut found = looks.look();
            found.retain(|(projection, ..)| *projection == "stuck");
            found
        };
        let mut looks = Looks::default();
        for position in 1..=3 {
            let _folding = at("stuck", Position(position));
            assert_eq!(named(&mut looks), [], "each look sees another fold");
        }
        let folding = at("stuck", Position(4));
        assert_eq!(named(&mut looks), [], "it is seen for the first time");
        assert_eq!(named(&mut looks), [("stuck", Position(4), 1)]);
        for _ in 2..=AGAIN {
            assert_eq!(named(&mut looks), []);
        }
        assert_eq!(named(&mut looks), [("stuck", Position(4), AGAIN + 1)]);
        drop(folding);
        assert_eq!((named(&mut looks), named(&mut looks)), (vec![], vec![]), "it has come back");
    }
}
