-- Orders that are neither shipped nor cancelled.
create table open_orders (
    order_id uuid primary key,
    customer_id uuid not null,
    total_cents bigint not null,
    currency text not null,
    placed_at timestamptz not null
);
