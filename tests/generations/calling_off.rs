//! What was asked for and is not wanted any more, before anybody has done it.

use workers::generations::gate::Way;
use workers::generations::retire::{self, NewRetirement};
use workers::generations::{Refused, Standing, rebuild, verify};
use workers::operations::{self, State};
use workers::replay::{self, NewReplay, Selection};

use crate::harness::catalogue;
use crate::harness::parts::Parts;
use crate::sample::seeded;
use rand::Rng;

use super::{Keeping, PROGRESS, all, ask, by, exchanged, is, retired, start};

/// Without a worker of the version that it needs, a promote or a retirement waits. It can be called off, and whoever comes then does not
/// do it.
#[tokio::test]
async fn what_no_worker_has_done_yet_can_be_called_off_and_is_not_done_afterwards() {
    let (parts, _) = Parts::with_history(seeded().random(), 300).await;
    parts.sweep().await;
    let pool = &parts.database.pool;
    let projection = catalogue().projection(PROGRESS).unwrap();
    let keeping = Keeping::of(&parts);
    let rebuild = start(&parts, PROGRESS, 1).await;
    is(&parts, rebuild, State::Waiting).await;
    keeping.stop().await;

    let promote = ask(&parts, PROGRESS, Way::Promote).await.unwrap();
    let plan = retire::plan(pool, projection, 2).await.unwrap();
    let new = NewRetirement { generation: 2, plan_token: plan.plan_token, by: by(), idempotency_key: None };
    let retirement = retire::ask(pool, projection, &new).await.unwrap();
    let selection = Selection::default();
    let plan = replay::plan(pool, projection, &selection).await.unwrap();
    let new = NewReplay { selection, rate: None, by: by(), idempotency_key: None };
    let repair = replay::create(pool, projection, plan, &new).await.unwrap();
    for operation in [promote, retirement, repair] {
        rebuild::cancel(pool, operation, &by()).await.unwrap();
        rebuild::cancel(pool, operation, &by()).await.unwrap();
        let cancelled = operations::get(pool, operation).await.unwrap().unwrap();
        assert!(cancelled.state == State::Cancelled && cancelled.finished_at.is_some(), "{cancelled:?}");
    }
    let audited = "select count(*) from audit_log where action = 'operation.cancel'";
    assert_eq!(parts.database.count(audited).await, 3, "each once");
    assert!(matches!(rebuild::pause(pool, promote, &by()).await, Err(Refused::Impossible(_))));

    // Whoever has carried out a verification has looked for promotes and retirements since.
    let keeping = Keeping::of(&parts);
    let verification = verify::ask(pool, projection, &by(), None).await.unwrap();
    is(&parts, verification, State::Succeeded).await;
    let generations = all(&parts, PROGRESS).await;
    let standing = |number| generations.iter().find(|it| it.generation == number).map(|it| it.standing);
    assert_eq!((standing(1), standing(2)), (Some(Standing::Live), Some(Standing::Ready)));
    retired(&parts, 2).await;
    keeping.stop().await;
}

/// A verification by code whose generation is not live any more ends, and is in nobody's way.
#[tokio::test]
async fn a_verification_of_another_version_ends_when_a_generation_takes_the_place_of_what_it_compares() {
    let (parts, _) = Parts::with_history(seeded().random(), 300).await;
    parts.sweep().await;
    let pool = &parts.database.pool;
    let keeping = Keeping::of(&parts);
    let rebuild = start(&parts, PROGRESS, 1).await;
    is(&parts, rebuild, State::Waiting).await;
    let projection = catalogue().projection(PROGRESS).unwrap();
    let verification = verify::ask(pool, projection, &by(), None).await.unwrap();
    // As if it had been asked for by the version before.
    sqlx::query(
        "update operations set selection = jsonb_set(selection, '{version}', '0'), state = 'running' where id = $1",
    )
    .bind(verification)
    .execute(pool)
    .await
    .unwrap();
    let refused = verify::ask(pool, projection, &by(), None).await.unwrap_err();
    assert_eq!(refused.to_string(), format!("a verification of it is under way: operation {verification}"));
    exchanged(&parts, PROGRESS, Way::Promote).await;
    is(&parts, verification, State::Failed).await;
    let again = verify::ask(pool, projection, &by(), None).await.unwrap();
    is(&parts, again, State::Succeeded).await;
    keeping.stop().await;
}
