-- What each customer has ordered and paid. Whoever has paid more than ordered is owed the rest.
create table balances (
    customer_id uuid primary key,
    ordered_cents bigint not null,
    paid_cents bigint not null,
    failed_payments bigint not null
) with (fillfactor = 85);
