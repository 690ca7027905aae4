//! `balances`: what each customer has ordered and paid, over all orders and all payments.

use std::collections::BTreeMap;

use fleet::sqlx::{self, PgConnection};
use fleet::uuid::Uuid;
use fleet::{DecodeError, Error, EventSet, Payload, Projection, Recorded, Topic, column};

use crate::orders::{ORDERS, OrderEvent};
use crate::payments::{PAYMENTS, PaymentEvent};

pub struct Balances;

/// Orders and payments come in any order: a payment may be here before what it is for.
pub enum MoneyEvent {
    Order(OrderEvent),
    Payment(PaymentEvent),
}

/// What is added to a customer's row.
#[derive(Debug, Default, PartialEq)]
pub struct Difference {
    ordered: i64,
    paid: i64,
    failed: i64,
}

impl EventSet for MoneyEvent {
    const TOPICS: &'static [&'static Topic] = &[&ORDERS, &PAYMENTS];

    fn decode(event: &Payload) -> Result<Option<Self>, DecodeError> {
        Ok(match event.aggregate_type.as_str() {
            "Order" => OrderEvent::decode(event)?.map(Self::Order),
            _ => PaymentEvent::decode(event)?.map(Self::Payment),
        })
    }
}

impl Projection for Balances {
    const NAME: &'static str = "balances";
    const VERSION: u32 = 1;
    const TABLES: &'static str = include_str!("schema.sql");
    type Event = MoneyEvent;
    type Changes = BTreeMap<Uuid, Difference>;

    fn fold(changes: &mut Self::Changes, event: &Recorded<MoneyEvent>) {
        let (customer, ordered, paid, failed) = match &event.data {
            MoneyEvent::Order(OrderEvent::Placed(order)) => (order.customer_id, order.total_cents, 0, 0),
            MoneyEvent::Order(OrderEvent::Shipped(_)) => return,
            MoneyEvent::Order(OrderEvent::Cancelled(order)) => (order.customer_id, -order.total_cents, 0, 0),
            MoneyEvent::Payment(PaymentEvent::Received(payment)) => (payment.customer_id, 0, payment.cents, 0),
            MoneyEvent::Payment(PaymentEvent::Refunded(payment)) => (payment.customer_id, 0, -payment.cents, 0),
            MoneyEvent::Payment(PaymentEvent::Failed(payment)) => (payment.customer_id, 0, 0, 1),
        };
        let row = changes.entry(customer).or_default();
        row.ordered += ordered;
        row.paid += paid;
        row.failed += failed;
    }

    // Differences are added, not values set: a worker of the other topic may be adding to the same customer.
    async fn write(changes: Self::Changes, db: &mut PgConnection) -> Result<(), Error> {
        sqlx::query(
            "insert into balances as stored
             select * from unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[])
             on conflict (customer_id) do update
             set ordered_cents = stored.ordered_cents + excluded.ordered_cents,
                 paid_cents = stored.paid_cents + excluded.paid_cents,
                 failed_payments = stored.failed_payments + excluded.failed_payments",
        )
        .bind(column(&changes, |(customer, _)| *customer))
        .bind(column(&changes, |(_, difference)| difference.ordered))
        .bind(column(&changes, |(_, difference)| difference.paid))
        .bind(column(&changes, |(_, difference)| difference.failed))
        .execute(db)
        .await?;
        Ok(())
    }
}

#[test]
fn what_was_ordered_and_paid_meets_in_one_row() {
    use crate::orders::OrderCancelled;
    use crate::payments::Payment;
    use fleet::testing::{folded, recorded};

    let (order_id, customer_id) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let at = "2026-03-01T08:00:00Z";
    let events = [
        recorded(
            order_id,
            2,
            at,
            MoneyEvent::Order(OrderEvent::Cancelled(OrderCancelled { order_id, customer_id, total_cents: 500 })),
        ),
        recorded(customer_id, 1, at, MoneyEvent::Payment(PaymentEvent::Received(Payment { customer_id, cents: 700 }))),
    ];
    let difference = Difference { ordered: -500, paid: 700, failed: 0 };
    assert_eq!(folded::<Balances>(&events), BTreeMap::from([(customer_id, difference)]));
}
