//! The store as a builder reads it: while one chunk is applied, the next is read.

use event_store::read::{self, Filter};
use events::Position;
use sqlx::PgPool;
use tokio::task::JoinHandle;

use crate::apply::Chunk;
use crate::verdict::Event;

/// Positions read at a time for each share of the aggregates, at most: whoever builds one of several shares looks further, for as
/// many events.
const WINDOW: i64 = 50_000;

/// Shares for which it looks further. The rest of the way is what a statement may take.
const WIDEST: i32 = 8;

/// Positions read first, when nothing is there to be applied meanwhile. From then on it is at most twice as many each time.
const FIRST: i64 = 2000;

pub(super) struct Source {
    pool: PgPool,
    filter: Filter,
    /// Positions to read next.
    window: i64,
    /// Positions to read at a time, at most.
    widest: i64,
    /// What is read and not applied, the next of it last.
    chunks: Vec<Chunk>,
    ahead: Option<Ahead>,
}

/// What is being read.
struct Ahead {
    after: Position,
    read: JoinHandle<Result<Read, read::Error>>,
}

/// What was read at once.
struct Read {
    chunk: Chunk,
    bytes: i64,
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.read.abort();
    }
}

impl Source {
    pub fn new(pool: PgPool, filter: Filter) -> Self {
        let widest = WINDOW * i64::from(filter.share.map_or(1, |share| share.of).min(WIDEST));
        Self { pool, filter, window: FIRST, widest, chunks: Vec::new(), ahead: None }
    }

    /// The next chunk after `position`.
    pub async fn next(&mut self, position: Position, head: Position) -> Result<Chunk, read::Error> {
        if let Some(next) = self.chunks.pop_if(|next| next.after == position) {
            return Ok(next);
        }
        // Another has built since, or the store has lost its end.
        self.chunks.clear();
        let ahead = self.ahead.take().filter(|ahead| ahead.after == position);
        let Read { chunk, bytes } = match ahead {
            Some(mut ahead) => match (&mut ahead.read).await {
                Ok(read) => read?,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            },
            None => page(&self.pool, &self.filter, position, head, self.window).await?,
        };
        self.window = fitting(chunk.upto.0 - chunk.after.0, bytes, self.widest).min(self.window * 2);
        if chunk.upto < head {
            let (pool, filter, after, window) = (self.pool.clone(), self.filter.clone(), chunk.upto, self.window);
            let read = tokio::spawn(async move { page(&pool, &filter, after, head, window).await });
            self.ahead = Some(Ahead { after, read });
        }
        Ok(chunk)
    }

    /// To be given again before all else.
    pub fn give_back(&mut self, chunk: Chunk) {
        self.chunks.push(chunk);
    }

    /// Nothing of what was read is true any more: another was first with it.
    pub fn forget(&mut self) {
        self.chunks.clear();
        self.ahead = None;
    }

    /// Nothing could be read, or what was read could not be applied: a window that took too long is not asked for again.
    pub fn failed(&mut self) {
        self.forget();
        self.window = FIRST;
    }
}

async fn page(
    pool: &PgPool,
    filter: &Filter,
    after: Position,
    head: Position,
    window: i64,
) -> Result<Read, read::Error> {
    let mut db = pool.acquire().await?;
    let page = match read::page(&mut *db, after, head, window, filter).await {
        Err(read::Error::Database(error)) if database::is_unreadable(&error) || database::is_too_much(&error) => {
            read::careful::page(&mut db, after, head, window, filter).await?
        }
        page => page?,
    };
    drop(db);
    let mut events: Vec<_> = Event::all(page.events, page.unreadable).collect();
    events.sort_unstable_by_key(|event| event.position);
    Ok(Read { chunk: Chunk { after, upto: page.upto, events }, bytes: page.bytes })
}

/// How many positions fit into one answer if they are like these. What does not fit is looked at for nothing, so that an
/// eighth is left free.
fn fitting(positions: i64, bytes: i64, widest: i64) -> i64 {
    let free = read::BUDGET / 8 * 7;
    (free.saturating_mul(positions.max(1)) / bytes.max(1)).clamp(1, widest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_after_an_error_does_it_begin_with_a_small_window_again() {
        let pool = PgPool::connect_lazy("postgres://nobody@127.0.0.1:1/nothing").expect("a URL");
        let mut source = Source::new(pool, Filter::default());
        let chunk = |after, upto| Chunk { after: Position(after), upto: Position(upto), events: Vec::new() };
        source.window = WINDOW;
        source.give_back(chunk(0, 9));
        source.forget();
        assert!(source.chunks.is_empty() && source.window == WINDOW, "another was first");
        source.give_back(chunk(9, 18));
        source.failed();
        assert!(source.chunks.is_empty() && source.window == FIRST);
    }

    #[test]
    fn a_window_has_what_fits_into_one_answer() {
        assert_eq!(fitting(50_000, 5_000_000, WINDOW), WINDOW);
        assert_eq!(fitting(50_000, 5_000_000, 2 * WINDOW), 2 * WINDOW, "half of the events, twice the way");
        assert_eq!(fitting(40_000, read::BUDGET, WINDOW), 35_000);
        assert_eq!(fitting(1, read::BUDGET, WINDOW), 1, "an event that fills an answer alone");
        assert_eq!(fitting(50_000, 0, WINDOW), WINDOW, "nothing was wanted");
    }
}
