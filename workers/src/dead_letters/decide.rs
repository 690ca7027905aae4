//! Decisions: retry and discard. Each is one transaction that writes the operation, the decision on every letter it is
//! about, and the line in the audit log.

use database::Lent;
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::plan::upto;
use super::{DeadLetter, Filter, MAX_PLANNED};
use crate::audit::{self, Attribution};
use crate::operations::{self, Accepted, New, Rate};
use crate::tag::{Seen, Tag};

#[derive(Debug, Clone)]
pub struct Retry {
    pub filter: Filter,
    pub plan_token: String,
    /// Events a second, of each worker.
    pub rate: f64,
    pub by: Attribution,
    pub idempotency_key: Option<String>,
}

/// What the person saw is part of the request, so that nobody discards something else than was looked at.
#[derive(Debug, Clone)]
pub struct Discard {
    pub id: Uuid,
    pub event_id: Option<Uuid>,
    pub error: String,
    /// The letter as a whole, if the person says so.
    pub seen: Option<Seen>,
    pub by: Attribution,
    pub idempotency_key: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error("there is no dead letter {0}")]
    Unknown(Uuid),
    #[error("{decision} was decided about it already, in operation {operation}")]
    Decided { decision: String, operation: Uuid },
    #[error("the plan is of another selection: plan again")]
    StalePlan,
    #[error("nothing of the plan is left to do")]
    NothingLeft,
    /// What it is now.
    #[error("it is not what you have seen: event_id is {}, error is {error:?}", event_id.map_or("null".to_owned(), |id| id.to_string()))]
    Changed { event_id: Option<Uuid>, error: String },
    /// Of the same event there is one in the generation that is read.
    #[error(
        "it is of generation {generation}, which is not read: in generation {live}, which is, dead letter {letter} holds the aggregate. \
         Decide about that one"
    )]
    NotRead { generation: i32, live: i32, letter: Uuid },
    #[error("it is not as you have seen it: its tag is {0}")]
    Unseen(Tag),
    #[error(transparent)]
    Operation(#[from] operations::Refused),
}

/// Decides that everything of a plan is tried again.
pub async fn retry(pool: &PgPool, retry: &Retry) -> Result<Uuid, Refused> {
    let upto = upto(&retry.filter, &retry.plan_token).ok_or(Refused::StalePlan)?;
    let letters = retry.filter.select(pool, None, Some(upto), true, MAX_PLANNED).await?;
    let ids: Vec<_> = letters.iter().map(|letter| letter.id).collect();
    let selection = json!({"filter": retry.filter, "plan_token": retry.plan_token});
    let new = decision("retry", &selection, Some(retry.rate), &retry.by, retry.idempotency_key.as_deref());
    decide(pool, &new, &ids).await
}

/// Decides that one letter is tried again; if it is as it was seen, should somebody say so.
pub async fn retry_one(
    pool: &PgPool,
    id: Uuid,
    rate: f64,
    seen: Option<&Seen>,
    by: &Attribution,
    idempotency_key: Option<&str>,
) -> Result<Uuid, Refused> {
    let selection = json!({"filter": Filter::one(id)});
    let new = decision("retry", &selection, Some(rate), by, idempotency_key);
    decide_one(pool, &new, id, seen, |_, _| true).await
}

/// Decides that the fleet goes on without one letter, which stays among the discarded.
pub async fn discard_one(pool: &PgPool, discard: &Discard) -> Result<Uuid, Refused> {
    let selection = json!({"filter": Filter::one(discard.id), "event_id": discard.event_id, "error": discard.error});
    let new = decision("discard", &selection, None, &discard.by, discard.idempotency_key.as_deref());
    let same = |event_id, error: &str| event_id == discard.event_id && error.trim() == discard.error.trim();
    decide_one(pool, &new, discard.id, discard.seen.as_ref(), same).await
}

/// Decides about a letter that is what was seen. It is locked before it is compared, so that nothing can come between.
async fn decide_one(
    pool: &PgPool,
    new: &New<'_>,
    id: Uuid,
    seen: Option<&Seen>,
    same: impl FnOnce(Option<Uuid>, &str) -> bool,
) -> Result<Uuid, Refused> {
    let mut db = Lent::by(pool).await?;
    let mut tx = db.begin().await?;
    let operation = match operations::ask(&mut tx, new).await? {
        Accepted::Before(operation) => return Ok(operation),
        Accepted::New(operation) => operation,
    };
    let now = sqlx::query!(
        r#"select letter.event_id, letter.error, letter.generation as "generation?", live.generation as "live?", read.id as "read?"
           from parked_events as letter
           left join projections as live on live.name = letter.projection and live.generation <> letter.generation
           left join parked_events as read
               on read.projection = live.name
               and read.generation = live.generation
               and read.event_id = letter.event_id
               and read.decision is null
           where letter.id = $1 and letter.decision is null
           for update of letter"#,
        id
    );
    let Some(now) = now.fetch_optional(&mut *tx).await? else { return Err(why_not(pool, id).await?) };
    if let (Some(generation), Some(live), Some(letter)) = (now.generation, now.live, now.read)
        && new.kind == "discard"
    {
        return Err(Refused::NotRead { generation, live, letter });
    }
    if !same(now.event_id, &now.error) {
        return Err(Refused::Changed { event_id: now.event_id, error: now.error });
    }
    if let Some(seen) = seen {
        let letter = Filter::one(id).select(&mut *tx, None, None, true, 1).await?.pop().ok_or(Refused::Unknown(id))?;
        let tag = Tag::of(&letter);
        if !seen.is(&tag) {
            return Err(Refused::Unseen(tag));
        }
    }
    write(&mut tx, operation, new, &[id]).await?;
    tx.commit().await?;
    db.give_back();
    Ok(operation)
}

/// An operation that decides about dead letters; how many is known when they are locked.
fn decision<'a>(
    kind: &'static str,
    selection: &'a Value,
    rate: Option<f64>,
    by: &'a Attribution,
    idempotency_key: Option<&'a str>,
) -> New<'a> {
    let rate = rate.map(|events| Rate { events, seconds: None });
    New { kind, projection: None, selection, by, idempotency_key, positions: None, selected: 0, rate }
}

async fn decide(pool: &PgPool, new: &New<'_>, ids: &[Uuid]) -> Result<Uuid, Refused> {
    let mut db = Lent::by(pool).await?;
    let mut tx = db.begin().await?;
    let operation = match operations::ask(&mut tx, new).await? {
        Accepted::Before(operation) => return Ok(operation),
        Accepted::New(operation) => operation,
    };
    write(&mut tx, operation, new, ids).await?;
    tx.commit().await?;
    db.give_back();
    Ok(operation)
}

/// Writes decisions and audit; nothing is to be kept if no letter is left to decide about.
async fn write(db: &mut PgConnection, operation: Uuid, new: &New<'_>, ids: &[Uuid]) -> Result<(), Refused> {
    // What is decided about the front of an aggregate in the live generation holds for those that are kept beside it: a rebuild
    // that lacked it could never be promoted. Going on without an event is of that event only.
    let selected = sqlx::query!(
        "with beside as (
             select twin.id
             from parked_events as named
             join projections as live on live.name = named.projection and live.generation = named.generation
             join generations as kept
                 on kept.projection = named.projection and kept.generation <> named.generation
                 and kept.purpose = 'rebuild' and kept.retired_at is null
                 and (kept.kept_until is null or kept.kept_until > clock_timestamp())
             cross join lateral (
                 select parked.id
                 from parked_events as parked
                 where parked.projection = kept.projection and parked.generation = kept.generation
                 and parked.aggregate_id = named.aggregate_id
                 and ($1 = 'retry' or parked.event_id = named.event_id)
                 offset 0
             ) as twin
             where named.id = any($3)
         ),
         decided as (
             select parked.id
             from (select unnest($3::uuid[]) as id union select id from beside) as wanted
             join parked_events as parked on parked.id = wanted.id
             where parked.decision is null
             order by parked.id
             for update of parked
         )
         update parked_events set decision = $1, operation_id = $2 from decided where parked_events.id = decided.id",
        new.kind,
        operation,
        ids
    )
    .execute(&mut *db)
    .await?
    .rows_affected();
    if selected == 0 {
        return Err(Refused::NothingLeft);
    }
    operations::selects(db, operation, selected as i64).await?;
    audit::record(db, new.by, &format!("dead_letter.{}", new.kind), operation, new.selection).await?;
    Ok(())
}

/// Why one letter cannot be decided about.
async fn why_not(pool: &PgPool, id: Uuid) -> sqlx::Result<Refused> {
    let letter: Option<DeadLetter> = super::get(pool, id).await?;
    Ok(match letter.and_then(|letter| letter.decision.zip(letter.operation_id)) {
        Some((decision, operation)) => Refused::Decided { decision, operation },
        None => Refused::Unknown(id),
    })
}
