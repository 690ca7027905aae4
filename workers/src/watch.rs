//! Code of an author's that does not come back, a fold or a write. Nothing can take back the thread that it keeps. So that it
//! keeps no second one, and the others go on, a thread of its own looks for such code: it says at which event it is, has that
//! projection left alone by this process, and wakes the runtime.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, Once, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use events::Position;
use tokio::runtime::Handle;

/// How often it is looked. What is still where it was the time before does not come back: it takes microseconds.
const EVERY: Duration = Duration::from_secs(5);

/// Between two lines about the same, in looks.
const AGAIN: u32 = 12;

/// An author's code at an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    pub projection: &'static str,
    /// fold, write
    pub what: &'static str,
    /// The event, or the first of those that are written.
    pub position: Position,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "its {} at position {}", self.what, self.position.0)
    }
}

/// Where a thread is now, and how often it was anywhere.
#[derive(Debug, Default)]
struct Now {
    entered: u64,
    at: Option<At>,
}

type Place = Mutex<Now>;

static PLACES: Mutex<Vec<Weak<Place>>> = Mutex::new(Vec::new());

/// By projection, where its code is that does not come back.
static STUCK: Mutex<BTreeMap<&'static str, At>> = Mutex::new(BTreeMap::new());

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

/// This thread is there, until it is dropped.
pub(crate) fn enter(at: At) -> impl Drop {
    struct Watched;
    impl Drop for Watched {
        fn drop(&mut self) {
            here(|now| now.at = None);
        }
    }
    here(|now| {
        now.entered += 1;
        now.at = Some(at);
    });
    Watched
}

/// Each thread that goes on with it is there. While it waits, none is.
pub(crate) async fn whenever<T>(at: At, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|context| {
        let _there = enter(at);
        work.as_mut().poll(context)
    })
    .await
}

/// Where code of this projection is that does not come back.
pub(crate) fn stuck(projection: &str) -> Option<At> {
    locked(&STUCK).get(projection).copied()
}

/// From now on what does not come back is named in the log, and what belongs to it left alone.
pub fn begin() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let runtime = Handle::try_current().ok();
        let watching = move || {
            let mut looks = Looks::default();
            loop {
                thread::sleep(EVERY);
                let stuck = looks.look();
                for (At { projection, what, position }, looks) in stuck.iter().filter(|(_, looks)| looks % AGAIN == 1) {
                    let seconds = (EVERY * *looks).as_secs();
                    tracing::error!(
                        projection,
                        position = position.0,
                        seconds,
                        "its {what} is at this event, and does not come back: this process leaves the projection alone until it does"
                    );
                }
                // The thread that is kept may be the one that was to wake the others.
                if let Some(runtime) = runtime.as_ref().filter(|_| !stuck.is_empty()) {
                    runtime.spawn(async {});
                }
                *locked(&STUCK) = stuck.into_iter().map(|(at, _)| (at.projection, at)).collect();
            }
        };
        // Without it everything goes on as well.
        let _ = thread::Builder::new().name("watch".to_owned()).spawn(watching);
    });
}

/// What was seen when it was looked last: of each thread which time it was, and how often it was seen.
#[derive(Debug, Default)]
struct Looks(HashMap<usize, (u64, u32)>);

impl Looks {
    /// What does not come back, and how many looks ago it was seen first.
    fn look(&mut self) -> Vec<(At, u32)> {
        let mut places = locked(&PLACES);
        places.retain(|place| place.strong_count() > 0);
        let mut stuck = Vec::new();
        let mut seen = HashMap::new();
        for place in places.iter().filter_map(Weak::upgrade) {
            let now = locked(&place);
            let Some(at) = now.at else { continue };
            let thread = Arc::as_ptr(&place) as usize;
            let looks = match self.0.get(&thread) {
                Some((entered, looks)) if *entered == now.entered => looks + 1,
                _ => 0,
            };
            if looks > 0 {
                stuck.push((at, looks));
            }
            seen.insert(thread, (now.entered, looks));
        }
        self.0 = seen;
        stuck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(looks: &mut Looks, projection: &str) -> Vec<(At, u32)> {
        let mut found = looks.look();
        found.retain(|(at, _)| at.projection == projection);
        found
    }

    #[test]
    fn a_fold_that_does_not_come_back_is_found_until_it_has() {
        let at = |position| At { projection: "stuck", what: "fold", position: Position(position) };
        let named = |looks: &mut Looks| named(looks, "stuck");
        let mut looks = Looks::default();
        for position in 1..=3 {
            let _folding = enter(at(position));
            assert_eq!(named(&mut looks), [], "each look sees another fold");
        }
        let folding = enter(at(4));
        assert_eq!(named(&mut looks), [], "it is seen for the first time");
        assert_eq!(named(&mut looks), [(at(4), 1)]);
        assert_eq!(named(&mut looks), [(at(4), 2)]);
        drop(folding);
        assert_eq!((named(&mut looks), named(&mut looks)), (vec![], vec![]), "it has come back");
    }

    #[tokio::test]
    async fn a_write_is_named_while_it_keeps_its_thread_and_not_while_it_waits() {
        let at = At { projection: "busy", what: "write", position: Position(7) };
        let looks = Mutex::new(Looks::default());
        let twice = || [(); 2].map(|()| named(&mut locked(&looks), "busy"));
        let write = async {
            assert_eq!(twice(), [vec![], vec![(at, 1)]]);
            tokio::task::yield_now().await;
            assert_eq!(twice(), [vec![], vec![(at, 1)]], "it has come back since");
        };
        let mut write = pin!(whenever(at, write));
        assert!(futures::poll!(&mut write).is_pending());
        assert_eq!(twice(), [vec![], vec![]]);
        write.await;
    }
}
