//! Reading as streams: page after page, as fast as the caller takes them.

use events::{AggregateId, Payload, Position, Recorded, Version};
use futures::{Stream, TryStreamExt, stream};
use sqlx::PgPool;
use tonic::Status;

use super::{named, recorded};
use crate::proto::RecordedEvent;
use crate::read::{self, Filter, Unreadable};
use crate::tail::Head;
use crate::{Metrics, unreadable};

/// Positions read at a time.
const WINDOW: i64 = 1000;

/// What reading needs.
#[derive(Clone)]
pub(super) struct Reader {
    pub pool: PgPool,
    pub metrics: Metrics,
}

impl Reader {
    /// The events of a page with those that cannot be read at their places, after these were written down.
    async fn merged(
        &self,
        events: Vec<Recorded<Payload>>,
        found: Vec<Unreadable>,
    ) -> Result<impl Iterator<Item = Result<RecordedEvent, Status>> + use<>, Status> {
        super::in_time(unreadable::record(&self.pool, &self.metrics, &found)).await.map_err(super::away)?;
        let mut all: Vec<_> = events.into_iter().map(recorded).chain(found.into_iter().map(named)).collect();
        // Positions rise with the versions of an aggregate, so that both orders are this one.
        all.sort_by_key(|event| event.position);
        Ok(all.into_iter().map(Ok))
    }
}

pub(super) fn aggregate(
    reader: Reader,
    aggregate_id: AggregateId,
    from: Version,
    to: Version,
) -> impl Stream<Item = Result<RecordedEvent, Status>> {
    let pages = stream::try_unfold(Some(from), move |from| {
        let reader = reader.clone();
        async move {
            let Some(from) = from else { return Ok(None) };
            let reading = async {
                let mut db = reader.pool.acquire().await?;
                read::careful::aggregate(&mut db, aggregate_id, from, to, WINDOW).await
            };
            let part = super::in_time(reading).await.map_err(super::away)?;
            let next = part.rest.first().map(|(_, from, _)| *from);
            Ok::<_, Status>(Some((reader.merged(part.events, part.unreadable).await?, next)))
        }
    });
    pages.map_ok(stream::iter).try_flatten()
}

/// Everything wanted after `after`; with `follow`, also what is appended later.
pub(super) fn all(
    reader: Reader,
    head: Head,
    after: Position,
    filter: Filter,
    follow: bool,
) -> impl Stream<Item = Result<RecordedEvent, Status>> {
    let pages = stream::try_unfold((after, None), move |(after, end)| {
        let (reader, head, filter) = (reader.clone(), head.clone(), filter.clone());
        let pool = reader.pool.clone();
        async move {
            // Without `follow` the end is where the store ended when the reading began.
            let mut upto: Position = match end {
                Some(end) => end,
                None => super::in_time(read::head(&pool)).await.map_err(super::away)?,
            };
            while upto <= after {
                if !follow {
                    return Ok(None);
                }
                head.past(after).await;
                upto = super::in_time(head.look(&pool)).await.map_err(super::away)?;
            }
            let reading = async {
                let mut db = pool.acquire().await?;
                read::careful::page(&mut db, after, upto, WINDOW, &filter).await
            };
            let page = super::in_time(reading).await?;
            let end = (!follow).then_some(upto);
            Ok::<_, Status>(Some((reader.merged(page.events, page.unreadable).await?, (page.upto, end))))
        }
    });
    pages.map_ok(stream::iter).try_flatten()
}
