//! How far a topic's relay is behind, for people: measured from the store, because a dead relay reports nothing.

use events::{Position, Topic};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use utoipa::ToSchema;

/// Positions looked at in one statement.
const WINDOW: i64 = 20_000;

/// Windows looked at. A relay that leads, of a topic that hardly speaks, may not have written down how far it has looked.
const WINDOWS: i64 = 5;

/// Events are counted up to here.
const COUNTED: i64 = 10_000;

/// A topic's relay, as its row of `relay_cursors` and the store show it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Behind {
    pub topic: String,
    /// Everything up to here is published.
    pub position: i64,
    /// A relay has the lease; otherwise none has, or the one that had it has not renewed it for 10 s.
    pub led: bool,
    /// The one that had it has neither renewed it nor given it back: it is dead, or hangs.
    #[serde(default)]
    pub lapsed: bool,
    /// The age of the first event of the topic that is not published; 0 if there is none.
    pub seconds: f64,
    /// Events of the topic that are not published, as far as was looked. 10,000: or more.
    #[serde(default)]
    pub events: i64,
    /// A hundred thousand positions were looked at and the first such event was not among them: it may lie behind them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unknown: bool,
}

/// # Errors
/// The store cannot be asked.
pub async fn behind(pool: &PgPool, topic: &Topic, head: Position) -> sqlx::Result<Behind> {
    let cursor = sqlx::query!(
        r#"select position, coalesce(leased_until > clock_timestamp(), false) as "led!",
               coalesce(leased_until <= clock_timestamp(), false) as "lapsed!"
           from relay_cursors
           where topic = $1"#,
        topic.name
    )
    .fetch_optional(pool)
    .await?;
    // A topic that was never relayed has no row.
    let (position, led, lapsed) = cursor.map_or((0, false, false), |it| (it.position, it.led, it.lapsed));
    let topic_name = topic.name.to_owned();
    let mut behind = Behind { topic: topic_name, position, led, lapsed, seconds: 0.0, events: 0, unknown: false };
    let mut after = position;
    while after < head.0 {
        if after >= position + WINDOWS * WINDOW || behind.events >= COUNTED {
            behind.unknown = behind.events == 0;
            break;
        }
        let upto = head.0.min(after + WINDOW);
        let row = sqlx::query!(
            r#"select count(*) as "events!", extract(epoch from clock_timestamp() - min(found.created_at))::float8 as seconds
               from (
                   select created_at from events
                   where position > $1 and position <= $2 and aggregate_type = any($3)
                   order by position
                   limit $4
               ) as found"#,
            after,
            upto,
            topic.aggregate_types as &[&str],
            COUNTED - behind.events
        );
        let found = row.fetch_one(pool).await?;
        if behind.events == 0 {
            behind.seconds = found.seconds.unwrap_or_default().max(0.0);
        }
        behind.events += found.events;
        after = upto;
    }
    Ok(behind)
}
