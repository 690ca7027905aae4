//! The rate of an operation: how many events a second it may go through, for how long. A limit that a person sets ends by
//! itself, or it would slow down what nobody watches any more.

use database::Lent;
use serde_json::json;
use sqlx::{Connection, PgConnection, PgPool};
use uuid::Uuid;

use super::{Accepted, New, Refused, State};
use crate::audit::{self, Attribution};
use crate::invalid::Invalid;
use crate::tag::{Seen, Tag};

/// How long a rate holds if nobody says otherwise.
pub const SECONDS: u32 = 60 * 60;

/// How long it holds at most.
pub const LONGEST_SECONDS: u32 = 7 * 24 * 60 * 60;

/// Events a second, at least and at most.
const BOUNDS: std::ops::RangeInclusive<f64> = 0.1..=1_000_000.0;

/// Events a second at most, and for how long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    pub events: f64,
    /// By the database's clock; `None`: as long as the operation.
    pub seconds: Option<u32>,
}

impl Rate {
    /// Of what a request says, if it says one.
    ///
    /// # Errors
    /// A number is out of bounds, or there is a time without a rate; the field of the time is named `seconds`.
    pub fn of(rate: Option<f64>, seconds: Option<u32>, field: &'static str) -> Result<Option<Self>, Invalid> {
        if let Some(rate) = rate.filter(|rate| !BOUNDS.contains(rate)) {
            let problem =
                format!("is {rate}, and must be events a second, from {} to {}", BOUNDS.start(), BOUNDS.end());
            return Err(Invalid { field: "rate", problem });
        }
        if seconds.is_some_and(|seconds| !(1..=LONGEST_SECONDS).contains(&seconds)) {
            return Err(Invalid { field, problem: format!("must be 1 to {LONGEST_SECONDS}") });
        }
        if rate.is_none() && seconds.is_some() {
            return Err(Invalid { field, problem: "is of a rate, and there is none".to_owned() });
        }
        Ok(rate.map(|events| Self { events, seconds: Some(seconds.unwrap_or(SECONDS)) }))
    }
}

/// A change that is asked for.
#[derive(Debug, Clone)]
pub struct NewRate {
    /// `None`: it may go as fast as it can.
    pub rate: Option<Rate>,
    /// The operation as the person has seen it.
    pub seen: Option<Seen>,
    pub by: Attribution,
    pub idempotency_key: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum Unchanged {
    #[error(transparent)]
    Asked(#[from] Refused),
    #[error("there is no operation {0}")]
    Unknown(Uuid),
    #[error("{0}")]
    Impossible(String),
    #[error("it is not as you have seen it: its tag is {0}")]
    Unseen(Tag),
}

impl From<sqlx::Error> for Unchanged {
    fn from(error: sqlx::Error) -> Self {
        Self::Asked(error.into())
    }
}

/// Sets the rate of an operation that is open. Whoever works on it knows within two seconds.
///
/// # Errors
/// There is no such operation, it has no rate or is over, or it is not what was seen.
pub async fn set(pool: &PgPool, id: Uuid, new: &NewRate) -> Result<(), Unchanged> {
    let mut db = Lent::by(pool).await?;
    let set = set_on(&mut db, id, new).await;
    db.give_back();
    set
}

async fn set_on(db: &mut PgConnection, id: Uuid, new: &NewRate) -> Result<(), Unchanged> {
    let mut tx = db.begin().await?;
    let now = sqlx::query!(
        r#"select kind, projection, state as "state: State", rate from operations where id = $1 for no key update"#,
        id
    );
    let now = now.fetch_optional(&mut *tx).await?.ok_or(Unchanged::Unknown(id))?;
    let (rate, seconds) = (new.rate.map(|rate| rate.events), new.rate.and_then(|rate| rate.seconds));
    let selection = json!({"operation": id, "rate": rate, "seconds": seconds});
    let asked = New {
        kind: "rate",
        projection: now.projection.as_deref(),
        selection: &selection,
        by: &new.by,
        idempotency_key: new.idempotency_key.as_deref(),
        positions: None,
        selected: 0,
        rate: None,
    };
    let Accepted::New(asked) = super::ask(&mut tx, &asked).await? else { return Ok(()) };
    if !matches!(&*now.kind, "repair" | "rebuild" | "verify" | "as_of") {
        let kind = now.kind;
        return Err(Unchanged::Impossible(format!(
            "this is a {kind}: what has a rate is a repair, a rebuild or a verification"
        )));
    }
    match now.state {
        State::Pending | State::Running | State::Paused => {}
        State::Waiting => {
            return Err(Unchanged::Impossible("it is built, and follows the store without a brake".to_owned()));
        }
        over => return Err(Unchanged::Impossible(format!("it is {}", over.as_str()))),
    }
    if let Some(seen) = &new.seen {
        let shown = super::get_on(&mut tx, id).await?.ok_or(Unchanged::Unknown(id))?;
        let tag = Tag::of(&shown);
        if !seen.is(&tag) {
            return Err(Unchanged::Unseen(tag));
        }
    }
    sqlx::query!(
        "update operations set rate = $2, rate_until = clock_timestamp() + make_interval(secs => $3) where id = $1",
        id,
        rate,
        seconds.map(f64::from)
    )
    .execute(&mut *tx)
    .await?;
    super::done(&mut tx, asked).await?;
    let detail = json!({"rate": rate, "seconds": seconds, "before": now.rate});
    audit::record(&mut tx, &new.by, "operation.rate", id, &detail).await?;
    tx.commit().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_ends_by_itself() {
        let of = |rate, seconds| Rate::of(rate, seconds, "seconds").map_err(|invalid| invalid.field);
        assert_eq!(of(None, None), Ok(None));
        assert_eq!(of(Some(5.0), None), Ok(Some(Rate { events: 5.0, seconds: Some(3600) })));
        assert_eq!(of(Some(5.0), Some(60)), Ok(Some(Rate { events: 5.0, seconds: Some(60) })));
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, 0.01, 1e9] {
            assert_eq!(of(Some(rate), None), Err("rate"), "{rate}");
        }
        for seconds in [0, LONGEST_SECONDS + 1] {
            assert_eq!(of(Some(5.0), Some(seconds)), Err("seconds"), "{seconds}");
        }
        assert_eq!(of(None, Some(60)), Err("seconds"));
    }
}
