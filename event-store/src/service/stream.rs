//! Reading as streams: page after page, as fast as the caller takes them.

use events::{AggregateId, Position, Version};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use sqlx::PgPool;
use tonic::Status;

use super::recorded;
use crate::proto::RecordedEvent;
use crate::read::{self, Filter};
use crate::tail::Head;

/// Positions read at a time.
const WINDOW: i64 = 1000;

pub(super) fn aggregate(
    pool: PgPool,
    aggregate_id: AggregateId,
    from: Version,
    to: Version,
) -> impl Stream<Item = Result<RecordedEvent, Status>> {
    let pages = stream::try_unfold(Some(from), move |from| {
        let pool = pool.clone();
        async move {
            let Some(from) = from else { return Ok(None) };
            let page = read::aggregate(&pool, aggregate_id, from, to, WINDOW).await.map_err(super::away)?;
            let next = page.rest.first().map(|(_, from, _)| *from);
            Ok::<_, Status>(Some((page.events, next)))
        }
    });
    pages.map_ok(|page| stream::iter(page).map(|event| Ok(recorded(event)))).try_flatten()
}

/// Everything wanted after `after`; with `follow`, also what is appended later.
pub(super) fn all(
    pool: PgPool,
    head: Head,
    after: Position,
    filter: Filter,
    follow: bool,
) -> impl Stream<Item = Result<RecordedEvent, Status>> {
    let pages = stream::try_unfold((after, None), move |(after, end)| {
        let (pool, head, filter) = (pool.clone(), head.clone(), filter.clone());
        async move {
            // Without `follow` the end is where the store ended when the reading began.
            let mut upto: Position = match end {
                Some(end) => end,
                None => read::head(&pool).await.map_err(super::away)?,
            };
            while upto <= after {
                if !follow {
                    return Ok(None);
                }
                head.past(after).await;
                upto = head.look(&pool).await.map_err(super::away)?;
            }
            let page = read::page(&pool, after, upto, WINDOW, &filter).await?;
            let end = (!follow).then_some(upto);
            Ok::<_, Status>(Some((page.events, (page.upto, end))))
        }
    });
    pages.map_ok(|page| stream::iter(page).map(|event| Ok(recorded(event)))).try_flatten()
}
