//! What is read while applying.

use rand::Rng;
use workers::apply::Mode;

use crate::harness::eventually;
use crate::harness::parts::{LIMIT, Parts};
use crate::histories::History;
use crate::sample::seeded;

/// Plans are made on empty tables and kept: one that went through whole tables would do so for ever.
#[tokio::test]
async fn what_applying_reads_it_reaches_by_key() {
    let mut rng = seeded();
    let parts = Parts::new().await;
    let history = History::of(rng.random(), 4000);
    parts.load(&history.lines).await;
    let events = parts.events(events::Position::START).await;
    for batch in events.chunks(100) {
        parts.apply(batch, Mode::Live).await.unwrap();
    }
    // Its connections tell the statistics what they did when they end.
    parts.appliers[0].pool.close().await;
    let applied =
        "select coalesce(sum(n_tup_ins), 0)::bigint from pg_stat_user_tables where relname = 'projected_aggregates'";
    eventually("the statistics have come", LIMIT, async || {
        let applied = parts.database.count(applied).await;
        if applied > 100 { Ok(()) } else { Err(format!("{applied}")) }
    })
    .await;
    let read = parts
        .database
        .count(
            "select coalesce(sum(seq_tup_read), 0)::bigint from pg_stat_user_tables
             where schemaname in (select schema_name from projections)
             or relname in ('projected_aggregates', 'processed_event_ids')",
        )
        .await;
    assert_eq!(read, 0, "rows read by going through whole tables");
}
