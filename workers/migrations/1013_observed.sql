-- What is measured at each scrape: the operations that are not over, and the last verification of each projection.
create index operations_unfinished on operations (id) where state in ('pending', 'running', 'paused', 'waiting');
create index operations_verified on operations (projection, finished_at)
where kind = 'verify' and finished_at is not null and result is not null;

-- The trace of the request that asked for an operation: what is done for it goes on there.
alter table operations add column traceparent text check (octet_length(traceparent) = 55);
