//! `open_orders`: what is still to be shipped.

use std::collections::BTreeMap;

use fleet::chrono::{DateTime, Utc};
use fleet::sqlx::{self, PgConnection};
use fleet::uuid::Uuid;
use fleet::{Error, Projection, Recorded, column};

use crate::orders::OrderEvent;

pub struct OpenOrders;

/// An order as it was placed.
#[derive(Debug, PartialEq)]
pub struct Open {
    customer_id: Uuid,
    total_cents: i64,
    currency: String,
    placed_at: DateTime<Utc>,
}

impl Projection for OpenOrders {
    const NAME: &'static str = "open_orders";
    const VERSION: u32 = 1;
    const TABLES: &'static str = include_str!("schema.sql");
    type Event = OrderEvent;
    /// `None`: not open any more.
    type Changes = BTreeMap<Uuid, Option<Open>>;

    fn fold(changes: &mut Self::Changes, event: &Recorded<OrderEvent>) {
        match &event.data {
            OrderEvent::Placed(placed) => {
                let open = Open {
                    customer_id: placed.customer_id,
                    total_cents: placed.total_cents,
                    currency: placed.currency.clone(),
                    placed_at: event.occurred_at,
                };
                changes.insert(placed.order_id, Some(open));
            }
            OrderEvent::Shipped(shipped) => drop(changes.insert(shipped.order_id, None)),
            OrderEvent::Cancelled(cancelled) => drop(changes.insert(cancelled.order_id, None)),
        }
    }

    async fn write(changes: Self::Changes, db: &mut PgConnection) -> Result<(), Error> {
        let closed = changes.iter().filter(|(_, open)| open.is_none());
        sqlx::query("delete from open_orders where order_id = any($1::uuid[])")
            .bind(column(closed, |(id, _)| *id))
            .execute(&mut *db)
            .await?;
        let open: Vec<_> = changes.iter().filter_map(|(id, open)| Some((*id, open.as_ref()?))).collect();
        sqlx::query(
            "insert into open_orders
             select * from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::timestamptz[])",
        )
        .bind(column(&open, |(id, _)| *id))
        .bind(column(&open, |(_, open)| open.customer_id))
        .bind(column(&open, |(_, open)| open.total_cents))
        .bind(column(&open, |(_, open)| &*open.currency))
        .bind(column(&open, |(_, open)| open.placed_at))
        .execute(db)
        .await?;
        Ok(())
    }
}

#[test]
fn an_order_that_was_shipped_is_not_open() {
    use crate::orders::{OrderPlaced, OrderShipped};
    use fleet::testing::{folded, history};

    let order_id = Uuid::from_u128(1);
    let placed =
        OrderPlaced { order_id, customer_id: Uuid::from_u128(2), total_cents: 1200, currency: "EUR".to_owned() };
    let events = history(
        order_id,
        [
            ("2026-03-01T08:00:00Z", OrderEvent::Placed(placed)),
            ("2026-03-02T08:00:00Z", OrderEvent::Shipped(OrderShipped { order_id })),
        ],
    );
    assert!(folded::<OpenOrders>(&events[..1])[&order_id].is_some());
    assert_eq!(folded::<OpenOrders>(&events), BTreeMap::from([(order_id, None)]));
}
