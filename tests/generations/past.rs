//! A read model as it was.

use rand::Rng;
use workers::generations::as_of::{self, AsOf, NewAsOf};
use workers::generations::gate::{self, Way};
use workers::generations::{Refused, Standing};
use workers::operations::State;

use crate::harness::catalogue;
use crate::harness::parts::Parts;
use crate::histories::History;
use crate::oracle::Held;
use crate::sample::seeded;

use super::{Keeping, PROGRESS, all, by, exchanged, is, retired, start};

#[tokio::test]
async fn a_read_model_as_of_a_past_position_is_what_the_store_folded_to_there_and_stays_so() {
    let mut rng = seeded();
    let history = History::of(rng.random(), 3000);
    let parts = Parts::new().await;
    let pool = &parts.database.pool;
    let projection = catalogue().projection(PROGRESS).unwrap();
    let half = history.lines.len() / 2;
    parts.load(&history.lines[..half]).await;
    let position = parts.database.head().await.0;
    parts.load(&history.lines[half..]).await;
    parts.sweep().await;
    let time: chrono::DateTime<chrono::Utc> = sqlx::query_scalar("select created_at from events where position = $1")
        .bind(position)
        .fetch_one(pool)
        .await
        .unwrap();
    let by_time = as_of::plan(pool, projection, AsOf::Time(time)).await.unwrap();
    assert!(by_time.position >= position && by_time.recorded_at == time, "{by_time:?}");
    let none = as_of::plan(pool, projection, AsOf::Position(position * 10)).await.unwrap_err();
    assert!(none.to_string().contains("the store has no position"), "{none}");

    let plan = as_of::plan(pool, projection, AsOf::Position(position)).await.unwrap();
    let new = NewAsOf {
        as_of: AsOf::Position(position),
        parts: 2,
        rate: None,
        plan_token: plan.plan_token,
        by: by(),
        idempotency_key: Some("once".to_owned()),
    };
    let operation = as_of::ask(pool, projection, &new).await.unwrap();
    assert_eq!(as_of::ask(pool, projection, &new).await.unwrap(), operation, "one key, one of them");
    let again = NewAsOf { idempotency_key: None, ..new.clone() };
    assert!(matches!(as_of::ask(pool, projection, &again).await, Err(Refused::UnderWay { kind: "as_of", .. })));
    // Nobody waits for it: a rebuild goes on beside it.
    let rebuild = start(&parts, PROGRESS, 1).await;
    let keeping = Keeping::of(&parts);
    is(&parts, operation, State::Succeeded).await;
    is(&parts, rebuild, State::Waiting).await;
    let built = all(&parts, PROGRESS).await.into_iter().find(|it| it.operation == Some(operation)).unwrap();
    assert_eq!((built.standing, built.as_of), (Standing::AsOf, Some(position)));
    crate::oracle::assert_equal_as_of(pool, PROGRESS, &built.schema_name, position).await;
    let gate = gate::look(pool, projection, Way::Promote, Some(built.generation)).await.unwrap();
    assert!(gate.refusals.iter().any(|it| it.contains("to be looked at")), "{gate:?}");
    parts.load(&History::of(13, 300).lines).await;
    exchanged(&parts, PROGRESS, Way::Promote).await;
    crate::oracle::assert_equal_as_of(pool, PROGRESS, &built.schema_name, position).await;
    let written = "select count(*) from pg_class as class cross join lateral aclexplode(class.relacl) as granted
                   where class.relnamespace = 'learner_progress__g2'::regnamespace and class.relkind = 'r'
                   and granted.privilege_type in ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')";
    assert_eq!(
        (&*built.schema_name, parts.database.count(written).await),
        ("learner_progress__g2", 0),
        "it is to be read only"
    );
    retired(&parts, built.generation).await;
    keeping.stop().await;
    parts.converge(&Held::default()).await;
}
