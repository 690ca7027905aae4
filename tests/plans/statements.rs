//! Every statement of the event store and of the workers: which connections send it, what it binds, and how much it may
//! read.
//!
//! In `binds` a word in braces stands for an array, which is tried with two elements and with a thousand.

use Pool::{Applying, Plain, Writer};

/// Whose settings a statement is planned with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// The writer's connection: plans by key, kept.
    Writer,
    /// Connections that apply: plans by key, kept.
    Applying,
    /// All others: planned each time.
    Plain,
}

/// Rows that a statement may read from tables that grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// A few for each row that it returns or binds.
    Few,
    /// So many more at most, however large the tables are, and why.
    Window(u64, &'static str),
    /// The whole of one table, and why.
    Whole(&'static str),
}

pub struct Statement {
    /// Text that only this statement has in it; white space is one blank.
    pub is: &'static str,
    /// All of those that send it, and at least one.
    pub pools: &'static [Pool],
    pub binds: &'static str,
    pub reads: Reads,
}

const fn few(pools: &'static [Pool], is: &'static str, binds: &'static str) -> Statement {
    Statement { is, pools, binds, reads: Reads::Few }
}

const fn window(
    pools: &'static [Pool],
    is: &'static str,
    binds: &'static str,
    most: u64,
    why: &'static str,
) -> Statement {
    Statement { is, pools, binds, reads: Reads::Window(most, why) }
}

const fn whole(pools: &'static [Pool], is: &'static str, binds: &'static str, why: &'static str) -> Statement {
    Statement { is, pools, binds, reads: Reads::Whole(why) }
}

#[rustfmt::skip]
pub const STATEMENTS: &[Statement] = &[
    // append
    few(&[Writer], "where ctid = $4::text::tid", "2, 1, 5, '(0,1)', {new_ids}, {aggregates}, {texts}, {texts}, {ones}, {objects}, {objects}, {times}, {ones}, {texts}, {bytes}, {bigs}, {ones}"),
    few(&[Writer], "where ctid >= ( select format(", "1"),
    whole(&[Writer], "update event_store_head set epoch = epoch + $1 returning", "1", "one row; only when its newest version lies elsewhere"),
    few(&[Writer], "cross join lateral ( select event_version, aggregate_type from events where events.aggregate_id = wanted.aggregate_id", "{aggregates}"),
    few(&[Writer], "from unnest($1::text[]) as wanted (key)", "{keys}"),
    few(&[Writer], "select event_id, aggregate_id, event_version, position from events where event_id = any($1)", "{events}"),
    // read
    few(&[Plain, Applying], "select coalesce(max(position), 0) as \"position!\" from events", ""),
    window(&[Plain], "order by position desc limit $1) as latest", "10000", 10_000, "so many are looked at, for a hint to whoever has misspelt one"),
    few(&[Applying], "select created_at from events where created_at >= $1 order by created_at limit 1", "now() - interval '99.9 days'"),
    window(&[Plain, Applying], "over (order by position rows unbounded preceding) as stored_so_far", "20000, 21000, array['User'], array[]::text[], array[]::uuid[], 8000000, 8000000, 1, 0", 1000, "a page is a window of positions: bounded, however rare what is wanted"),
    few(&[Plain, Applying], "where event_id = any($1::uuid[])", "{events}, 8000000, 8000000"),
    few(&[Plain, Applying], "event_version between $2 and $3", "md5('7')::uuid, 1, 1000, 1000, 8000000, 8000000"),
    few(&[Applying], "as wanted (aggregate_id, first_version, last_version)", "{aggregates}, {ones}, {ones}, 8000000, 8000000"),
    few(&[Applying], "insert into unreadable_events", "1, gen_random_uuid(), gen_random_uuid(), 1, 'User', 'x', 1, 'no'"),
    few(&[Plain, Applying], "null::jsonb as \"event_data: _\"", "100, md5('7')::uuid, 1, null"),
    // snapshots
    few(&[Applying], "select from events where aggregate_id = $1 and event_version = $2 and aggregate_type = $3", "md5('7')::uuid, 1, 'LearningSession'"),
    few(&[Applying], "insert into snapshots", "md5('7')::uuid, 'LearningSession', '{}', 1"),
    few(&[Applying], "from snapshots where aggregate_id = $1", "md5('7')::uuid, 8000000"),
    // relay, tail
    few(&[Applying], "insert into relay_cursors", "'vocabulary-events', gen_random_uuid(), 10, null, null"),
    few(&[Applying], "update relay_cursors set position = $3", "'vocabulary-events', gen_random_uuid(), 10, 5, 100, gen_random_uuid(), 10, null"),
    few(&[Applying], "update relay_cursors set lease_holder = null", "'vocabulary-events', gen_random_uuid()"),
    whole(&[Applying], "update relay_cursors as cursor set position = head.position", "'vocabulary-events', gen_random_uuid()", "the head is one row, and the topics are few"),
    few(&[Applying], "select lease_holder as \"holder!\"", "'vocabulary-events'"),
    few(&[Applying], "update relay_cursors set leased_until", "'vocabulary-events', gen_random_uuid(), 10"),
    window(&[Applying], "insert into refused_messages", "'vocabulary-events', {bigs}, {texts}, 90", 3000, "a thousand at most are forgotten at a time, and looked at twice"),
    few(&[Applying], "exists (select from events as known where known.position = $1 and known.event_id = $2)", "100, gen_random_uuid()"),
    few(&[Applying], "select pg_notify($1, $2)", "'nobody', '1'"),
    // fence
    few(&[Applying], "from projections where name = $1 for share", "'vocabulary'"),
    few(&[Plain], "insert into projections (name", "'vocabulary', 'vocabulary-events', 1"),
    few(&[Plain], "insert into projection_progress", "'spare', 1, array['vocabulary-events']"),
    whole(&[Plain], "join unnest($2::text[], $3::text[]) as carried", "'vocabulary', array['User'], array['integration-events']", "once, while migrating, when a topic is new to a read model: all that is parked of it"),
    whole(&[Plain], "update processed_event_ids as id set topic", "'vocabulary', array['integration-events']", "once, while migrating, when a topic is new to a read model: the ids of what is not settled"),
    few(&[Applying], "from projections join projection_progress using (generation) where name = $1 and projection = name and projection_progress.topic = $2 ) as \"listens!\"", "'vocabulary', 'vocabulary-events'"),
    few(&[Plain, Applying], "pg_advisory_xact_lock(hashtextextended($1, 1))", "'vocabulary'"),
    // pause
    few(&[Plain], "select set_config('lock_timeout', $1, true)", "'10s'"),
    few(&[Plain], "as \"expired!\"", "'vocabulary'"),
    few(&[Plain], "set paused_at = asked.created_at", "'vocabulary', '01900000-0000-7000-9000-000000000007'"),
    few(&[Plain], "set paused_at = null", "'vocabulary'"),
    few(&[Plain], "set state = 'succeeded', started_at = created_at", "'01900000-0000-7000-9000-000000000007'"),
    // apply
    few(&[Applying], "select aggregate_id, version, held from projected_aggregates where projection = $1", "'vocabulary', 1, {aggregates}"),
    few(&[Applying], "inserted as ( insert into projected_aggregates", "'vocabulary', 1, {aggregates}, {ones}, {bools}, {new_ids}, {ones}, {bools}, {new_ids}, {bigs}, 'vocabulary-events', null"),
    few(&[Applying], "insert into parked_events as parked ( id, topic, projection", "gen_random_uuid(), 'vocabulary-events', 'vocabulary', 1, 'wrong_data', 'no', gen_random_uuid(), md5('7')::uuid, 1, 1, 'x', '{}'"),
    few(&[Applying], "insert into parked_events as parked ( id, topic, reason", "gen_random_uuid(), 'vocabulary-events', 'undecodable', 'no', gen_random_uuid(), md5('7')::uuid, 'message', 'x', '{}'"),
    few(&[Applying], "select coalesce(max(event_version), 0)", "md5('7')::uuid"),
    // sweep
    few(&[Applying], "from projections join projection_progress using (generation)", "'vocabulary', 'vocabulary-events'"),
    window(&[Applying], "order by event.position limit $6", "'vocabulary', 1, 15000, 25000, array['User'], 1000", 20_000, "the sweep looks at 10,000 positions, and at how far their aggregates are"),
    window(&[Applying], "delete from processed_event_ids using progress", "'vocabulary', 1, {settled} + 1000, 0, {settled}, 'vocabulary-events'", 1000, "the ids that it forgets"),
    // redrive
    few(&[Applying], "generation = $2 order by topic for no key update", "'vocabulary', 1"),
    few(&[Applying], "for no key update of progress", "'vocabulary', 'vocabulary-events'"),
    few(&[Applying], "set releases = releases + 1", "'vocabulary', 1"),
    few(&[Applying], "where projection = $1 and generation = $2 and aggregate_id = $3 for update", "'vocabulary', 1, md5('9')::uuid"),
    few(&[Applying], "select parked.aggregate_id as \"aggregate_id!\", operation.rate", "'vocabulary', '01900000-0000-7000-9000-000000000001', 100, 'vocabulary-events'"),
    window(&[Applying], "coalesce(parked.message_id, '') as \"message_id!\"", "'integration-events', '01900000-0000-7000-9000-000000000001', 100", 12_000, "the letters of one operation: a batch has 10,000 at most"),
    window(&[Applying], "operation.kind in ('retry', 'discard') and exists", "'vocabulary', 'vocabulary-events', 100", 20_000, "the operations that are open, and the letters of each until one is the projection's: a batch has 10,000 at most"),
    few(&[Applying], "delete from parked_events where id = $1 and operation_id = $2", "'01900000-0000-7000-8000-0000000003e8', '01900000-0000-7000-9000-000000000001'"),
    few(&[Applying], "delete from parked_events where id = $1 and decision = 'discard'", "'01900000-0000-7000-8000-0000000003e8'"),
    few(&[Applying], "delete from parked_events where id = $1", "'01900000-0000-7000-8000-0000000003e8'"),
    few(&[Applying], "seen = least(seen + $2, selected)", "'01900000-0000-7000-9000-000000000007', 1, 1, 1"),
    window(&[Applying], "as lasting from operations as operation where operation.kind in ('retry', 'discard')", "", 20_000, "the operations that are open"),
    window(&[Applying], "operation.kind in ('retry', 'discard') and exists ( select from parked_events as parked join generations as generation", "'vocabulary', 1, 1000", 20_000, "the operations that are open, and the letters of each until one is of such a generation: a batch has 10,000 at most"),
    window(&[Applying], "parked.generation as \"generation!\", operation.rate", "'vocabulary', '01900000-0000-7000-9000-000000000001', 1, 100", 12_000, "the letters of one operation: a batch has 10,000 at most"),
    few(&[Applying], "true) as \"values!\" from generations where projection = $1 and generation = $2 and version = $3", "'vocabulary', 2, 1"),
    // replay
    few(&[Plain, Applying], "as \"of_aggregates!\"", "{aggregates}, '1970-01-01', '1970-01-01', 100001"),
    window(&[Plain], "min(selected.position) as first", "now() - interval '99.9 days', now() - interval '99.9 days' + interval '10 minutes', 1000001", 1000, "the events of that time, a million at most"),
    few(&[Plain, Applying], "where aggregate_id = wanted.aggregate_id offset 0 ) as event where event.position > $2", "'vocabulary', 0, 3000000, array['VocabularyItem', 'LearningSession'], array[]::text[], {aggregates}, null, null, 1000"),
    few(&[Plain, Applying], "from ( select event_id, position, aggregate_id, event_version, aggregate_type, event_type from events where occurred_at", "'vocabulary', 0, 3000000, array['VocabularyItem', 'LearningSession'], array[]::text[], array[]::uuid[], now() - interval '99.9 days', now() - interval '99.9 days' + interval '10 minutes', 1000"),
    window(&[Plain], "where event.event_version > coalesce(aggregate.version, 0) and not coalesce(aggregate.held, false) ) as \"unsettled!\"", "'vocabulary', 15000, 16000, array['VocabularyItem'], array[]::text[], array[]::uuid[], null, null", 2000, "the caller bounds the range of positions"),
    window(&[Applying], "for update skip locked", "gen_random_uuid(), array['vocabulary'], 30", 1000, "the operations that are open"),
    few(&[Applying], "set position = $3, seen = seen + $4", "'01900000-0000-7000-9000-000000000007', gen_random_uuid(), 1, 1, 1, 1"),
    few(&[Applying], "set state = 'succeeded', finished_at = clock_timestamp() where id = $1", "'01900000-0000-7000-9000-000000000007', gen_random_uuid()"),
    few(&[Applying], "set state = 'failed', error = $3", "'01900000-0000-7000-9000-000000000007', gen_random_uuid(), 'no'"),
    few(&[Applying], "set state = 'pending', runner = null", "'01900000-0000-7000-9000-000000000007', gen_random_uuid()"),
    window(&[Applying], "and exists ( select from operations as waiting where", "'01900000-0000-7000-9000-000000000007', gen_random_uuid(), array['vocabulary']", 1000, "the operations that are open"),
    few(&[Applying], "update operations set heartbeat_at = clock_timestamp()", "'01900000-0000-7000-9000-000000000007', gen_random_uuid()"),
    few(&[Applying], "as \"have_all!\"", "'vocabulary', 1"),
    // as of
    few(&[Plain], "select position, created_at from events where position = $1", "100"),
    few(&[Plain], "select position, created_at from events where created_at <= $1", "now() - interval '99.9 days'"),
    few(&[Plain], "as \"following!\"", "'vocabulary'"),
    // steering
    few(&[Plain], "rate from operations where id = $1 for no key update", "'01900000-0000-7000-9000-000000000007'"),
    few(&[Plain], "update operations set rate = $2, rate_until", "'01900000-0000-7000-9000-000000000007', 5, 60"),
    few(&[Plain], "nullif(stopped_until, 'infinity') as until from operations_stop", ""),
    few(&[Plain], "select from operations_stop for no key update", ""),
    few(&[Plain], "update operations_stop set stopped_at = asked.created_at", "'01900000-0000-7000-9000-000000000007', 60"),
    few(&[Plain], "update operations_stop set stopped_at = null", ""),
    few(&[Plain], "blocker.said as \"blocker?\"", "array['01900000-0000-7000-9000-000000000007']::uuid[]"),
    few(&[Applying], "insert into keepers as kept", "array['vocabulary'], array[1], array['an error'], array[false]"),
    few(&[Plain], "update generation_parts set pace = $3", "'vocabulary', 2, 'busy'"),
    few(&[Applying], "update generation_parts set pace = ''", "'vocabulary', 2"),
    // generations
    few(&[Applying], "for share of generation skip locked", "'vocabulary', 2, 0, 1, null, null"),
    few(&[Applying], "true) as \"values!\" from generations where projection = $1 and generation = $2", "'vocabulary', 2"),
    few(&[Plain], "insert into generations (projection, generation, version, schema_name, built_at, live_since) select", "'nobody'"),
    few(&[Applying], "from discarded_events where projection = $1) as \"any!\"", "'vocabulary'"),
    few(&[Applying], "select from discarded_events where projection = $1 and event_id = wanted.event_id", "'vocabulary', {events}"),
    few(&[Applying], "chunks = chunks + 1", "'vocabulary', 2, 0, 10, 1, 1, 10, false"),
    few(&[Plain], "from unnest($1::text[], $2::integer[]) as code (projection, version)", "array['vocabulary'], array[2]"),
    few(&[Applying], "from unnest($1::text[], $2::integer[]) as ours (projection, version)", "array['vocabulary'], array[1]"),
    few(&[Applying], "where stop.stopped_until > clock_timestamp() ) as stopped_by", "'vocabulary', 2, 0"),
    few(&[Applying], "set pace = $4", "'vocabulary', 2, 0, 'slow'"),
    window(&[Applying], "select ctid from processed_event_ids where projection = $1 and generation = $2 order by position", "'vocabulary', 1, 500", 2000, "what it forgets"),
    window(&[Plain], "percentile_cont(0.1) within group (order by positions / seconds)", "'vocabulary', 50", 20_000, "what is parked in each generation is counted up to 10,000"),
    few(&[Plain], "as \"under_way?\"", "'vocabulary'"),
    few(&[Plain], "counted.attname = 'aggregate_type'", "array['VocabularyItem']"),
    window(&[Plain], "where fold.projection = $1 and fold.generation = $3", "'vocabulary', 1, 2", 20_000, "what a fold has parked is counted up to 10,000"),
    few(&[Plain], "select version as \"version!\" from projections", "'vocabulary'"),
    window(&[Plain], "string_agg(differing.name", "'vocabulary', 'learner_progress'", 20_000, "the columns of all tables of two schemas, of which the catalogue has no index"),
    few(&[Plain], "pg_total_relation_size(class.oid) end as \"bytes!\" from pg_class", "'vocabulary'"),
    few(&[Plain, Applying], "and operation.result ? 'generation' order by operation.finished_at desc limit $2", "'vocabulary', 100"),
    window(&[Plain], "type.typnamespace = class.relnamespace", "'vocabulary'", 20_000, "the columns of a schema's tables, of which the catalogue has an index"),
    window(&[Plain, Applying], "when foreign_key.oid is not null", "'vocabulary', 'user_directory'", 20_000, "the tables of a schema, and what the catalogue knows of them"),
    few(&[Plain, Applying], "select schema_name from generations where schema_name <> $1", "'vocabulary'"),
    few(&[Plain], "select generation from projections where name = $1 for no key update", "'vocabulary'"),
    few(&[Plain], "select id from operations where kind = $1 and kind in ('rebuild', 'verify', 'as_of') and projection = $2", "'rebuild', 'vocabulary'"),
    few(&[Plain], "generation from operations where id = $1 for no key update", "'01900000-0000-7000-9000-000000000007'"),
    few(&[Plain], "case when $2 = 'cancelled'", "'01900000-0000-7000-9000-000000000007', 'paused'"),
    few(&[Applying], "(selection ->> 'parts')::integer", "'vocabulary', 1, array['rebuild', 'verify', 'as_of']"),
    few(&[Applying], "select id from operations where id = $1 and state = 'pending' for no key update skip locked", "'01900000-0000-7000-9000-000000000007'"),
    few(&[Applying], "select max(generation) + 1 as \"next!\" from generations", "'vocabulary'"),
    few(&[Applying], "insert into generations (projection, generation, version, schema_name, operation_id, purpose, upto)", "'vocabulary', 9, 1, 'vocabulary__g9', '01900000-0000-7000-9000-000000000007', 'verify'"),
    few(&[Applying], "from generate_series(0, $3 - 1) as part", "'vocabulary', 1, 2"),
    few(&[Applying], "set state = 'running', generation = $2", "'01900000-0000-7000-9000-000000000007', 2, 'vocabulary'"),
    few(&[Applying], "for update of generation skip locked", "'vocabulary', 2"),
    few(&[Applying], "update generations set built_at", "'vocabulary', 2"),
    few(&[Applying], "case kind when 'as_of' then 'succeeded' else 'waiting' end", "'01900000-0000-7000-9000-000000000007'"),
    few(&[Applying], "set state = 'failed', error = $2, finished_at = clock_timestamp() where id = $1", "'01900000-0000-7000-9000-000000000007', 'no'"),
    window(&[Plain], "(generation.replaced_at is not null) = $3", "'vocabulary', 2, false", 40_000, "what is parked in it is looked at, up to 10,000 that the live one has applied"),
    few(&[Plain], "update operations set generation = $2", "'01900000-0000-7000-9000-000000000007', 2"),
    few(&[Applying], "split_part(operation.selection", "'vocabulary', 1"),
    few(&[Applying], "set state = 'failed', error = $2, finished_at = clock_timestamp() where id = $1 and state = 'pending'", "'01900000-0000-7000-9000-000000000007', 'no'"),
    few(&[Applying], "from generations where projection = $1 and generation = $2 for update", "'vocabulary', 2"),
    few(&[Applying], "select generation, schema_name from projections where name = $1 for update", "'vocabulary'"),
    window(&[Applying], "and applied.generation = $3", "'vocabulary', 2, 1", 40_000, "what is parked in it, up to 10,000 that the live one has applied"),
    few(&[Applying], "is live by now: verify that", "'vocabulary', 2"),
    few(&[Applying], "set state = 'succeeded', started_at = now(), finished_at = clock_timestamp(), position = $2", "'01900000-0000-7000-9000-000000000007', 1, '{}'"),
    few(&[Applying], "select part, parts, position from generation_parts", "'vocabulary', 2"),
    few(&[Applying], "set position = greatest(position, $4)", "'vocabulary', 2, 0, 10"),
    few(&[Applying], "set live_since = null, replaced_at", "'vocabulary', 1, 'vocabulary__g1', 24"),
    window(&[Applying], "releases = projection_progress.releases + 1", "'spare', 1, 2, 'spare', 10, array['vocabulary-events']", 1000, "the operations that are open"),
    few(&[Applying], "select $1, $2, 0, 1, coalesce(min(settled_position), 0), $3", "'vocabulary', 1, 10"),
    few(&[Plain], "coalesce(generation.kept_until > clock_timestamp(), false) as \"kept!\"", "'vocabulary', 2"),
    few(&[Applying], "asked.id as \"operation?\"", "'vocabulary'"),
    few(&[Applying], "and live_since is null and retired_at is null for update skip locked", "'vocabulary', 2"),
    few(&[Applying], "error = 'it is live, or retired'", "'01900000-0000-7000-9000-000000000007', 'vocabulary', 2"),
    few(&[Applying], "update generations set retired_at", "'vocabulary', 2"),
    few(&[Applying], "delete from generation_parts where projection = $1 and generation = $2", "'vocabulary', 2"),
    few(&[Applying], "set state = 'succeeded', started_at = now(), finished_at = clock_timestamp() where id = $1", "'01900000-0000-7000-9000-000000000007'"),
    window(&[Applying], "set forgotten_at = clock_timestamp()", "'vocabulary', 1, 500", 8000, "what it forgets of each kind"),
    few(&[Plain], "select version from projections where name = $1 for no key update", "'vocabulary'"),
    few(&[Plain], "from differences where operation_id = $1", "'01900000-0000-7000-9000-000000000007'"),
    few(&[Applying], "where live.name = $1 and known.held", "'vocabulary', {aggregates}"),
    few(&[Applying], "fold.settled > fold.upto + $3", "'vocabulary', 3, 5000"),
    few(&[Plain], "and built_at is null and retired_at is null for update skip locked", "'vocabulary', 3"),
    few(&[Plain], "select generation, version, schema_name from projections where name = $1", "'vocabulary'"),
    few(&[Plain], "generation.generation = coalesce($2::int, live.generation)", "'vocabulary', null"),
    few(&[Plain], "where not has_table_privilege(", "array['events'], array['select']"),
    few(&[Plain], "and not has_schema_privilege(", "array['vocabulary']"),
    whole(&[Plain], "as \"different!\"", "'vocabulary', 1, 2", "both ledgers, whole: a verification compares everything"),
    whole(&[Plain], "coalesce(fold.version, 0) + 1 as \"first!\"", "'vocabulary', 1, 2", "both ledgers, whole: a verification compares everything"),
    few(&[Plain], "key.indkey::smallint[]", "'public'"),
    few(&[Plain], "insert into differences", "'01900000-0000-7000-9000-000000000007', array['t'], array['{}']::jsonb[], array['extra'], array['[]']::jsonb[]"),
    few(&[Plain], "then 'succeeded' else 'failed' end, result = $2", "'01900000-0000-7000-9000-000000000007', '{}', null"),
    // foreign events
    window(&[Applying], "insert into awaited_events", "'integration-events', {new_ids}, {new_ids}, {ones}, 100000, 60", 100_000, "the rows of the topic are counted up to the room it has"),
    few(&[Applying], "delete from awaited_events where topic = $1 and event_id = any($2)", "'integration-events', {events}"),
    window(&[Applying], "delete from awaited_events as awaited", "'integration-events', 100", 100_000, "the rows of the topic, which has room for so many"),
    few(&[Applying], "select event_id, aggregate_id from events where event_id = any($1)", "{events}"),
    // dead letters
    few(&[Plain], "newest.event_version - parked.event_version", "null, null, null, null, null, null, null, null, false, 1000, null, array['gone']"),
    few(&[Plain], "select payload, attributes", "'01900000-0000-7000-8000-00000000000a'"),
    few(&[Plain], "for update of letter", "'01900000-0000-7000-8000-00000000000a'"),
    few(&[Plain], "select name from projections where name <> all($1::text[])", "array['vocabulary', 'learner_progress']"),
    window(&[Plain], "for update of parked", "'retry', '01900000-0000-7000-9000-000000000007', {letters}", 12_000, "a batch that is a good part of all letters goes through them"),
    few(&[Applying], "select count(*) as \"count!\" from parked_events", "'01900000-0000-7000-8000-00000000000a'"),
    few(&[Plain], "select pg_advisory_xact_lock", "'key'"),
    few(&[Plain], "from operations where idempotency_key = $1", "'operation-7'"),
    few(&[Plain], "insert into operations (", "gen_random_uuid(), 'repair', 'vocabulary', '{}', '', '', 'new', 0, 1, 1, null, null, null"),
    few(&[Plain], "update operations set selected = $2", "'01900000-0000-7000-9000-000000000007', 1"),
    // doctor
    few(&[Plain], "select position, coalesce(leased_until > clock_timestamp(), false)", "'vocabulary-events'"),
    window(&[Plain], "aggregate_type = any($3) order by position limit $4 ) as found", "20000, 40000, array['User'], 10000", 20_000, "a window of the store, and no more than is counted"),
    few(&[Plain], "select progress.generation, progress.settled_position, clock_timestamp() as \"now!\"", "'vocabulary', 'vocabulary-events'"),
    window(&[Plain], "as \"ahead!\"", "'vocabulary', 1, 'vocabulary-events', 10000, 20000, array['VocabularyItem', 'LearningSession'], 10", 60_000, "10,000 positions, and of each aggregate how far it is applied, its event of that version, its letter"),
    // until settled
    few(&[Plain], "where live.name = any($1) and progress.topic = $2", "array['vocabulary', 'user_directory'], 'vocabulary-events'"),
    window(&[Plain], "as \"open!\"", "'vocabulary-events', array['vocabulary'], now()", 20_000, "the operations that are open, and the letters of each until one is ours: a batch has 10,000 at most"),
    // retention
    window(&[Plain, Applying], "delete from idempotency_keys", "now(), 1000, 31", 12_000, "a thousand rows, and each looked up to go"),
    window(&[Plain, Applying], "delete from operations where id = any", "now(), 1000", 12_000, "a thousand rows, each with the letters that may point to it"),
    window(&[Plain, Applying], "update discarded_events set payload", "now(), 1000", 12_000, "a thousand rows, and each looked up to be emptied or to go"),
    few(&[Plain, Applying], "select prune_audit_log($1, $2)", "now() - interval '100 days', 1000"),
    few(&[Applying], "join pg_namespace on nspname = schema_name join pg_roles as owner", "'vocabulary'"),
    window(&[Plain, Applying], "select from idempotency_keys where created_at < least(", "now(), 1000, 31", 2000, "the count ends at its most"),
    window(&[Plain, Applying], "select from operations where finished_at < $1 order by finished_at limit $2", "now(), 1000", 2000, "the count ends at its most"),
    window(&[Plain, Applying], "where discarded_at < $1 and pruned_at is null order by discarded_at limit $2", "now(), 1000", 2000, "the count ends at its most"),
    window(&[Plain, Applying], "select from audit_log where at < $1 order by at limit $2", "now(), 1000", 2000, "the count ends at its most"),
    few(&[Plain], "where action = 'retention.prune' and target = $1", "'key'"),
    few(&[Plain], "values ($1, $2, 'retention.prune'", "gen_random_uuid(), 'ada', 'key', 'old', '{}'"),
    // what people look at
    few(&[Plain], "select event_version, position, aggregate_type from events", "md5('7')::uuid, 1"),
    few(&[Plain], "select event_version, aggregate_type from events where aggregate_id = $1 order by event_version desc", "md5('7')::uuid"),
    few(&[Plain], "unnest($1::integer[], $2::text[], $3::uuid[], $4::text[]) as wanted", "{ones}, {projections}, {aggregates}, {no_topics}"),
    few(&[Plain], "event.metadata ->> 'traceparent'", "md5('7')::uuid, 0, 100, true, 65536"),
    few(&[Plain], "with ordinality as wanted (name, place)", "md5('9')::uuid, array['vocabulary', 'user_directory'], 101"),
    few(&[Plain], "from unreadable_events as finding", "20000, null, 100"),
    few(&[Plain], "select position from events where position = $1 or event_id = $2", "null, '01900000-0000-7000-8000-00000000000a'"),
    few(&[Plain], "jsonb_path_query_first(event_data, '$')", "100, 200, 2000000, 1000"),
    few(&[Plain], "select set_config('statement_timeout', $1, true)", "'2s'"),
    few(&[Plain], "fetch first $3 rows with ties", "null, 20000, 100"),
    few(&[Plain], "as parts on true where ($1::uuid[] is null or id = any($1)) and ($2::uuid is null", "null, '01900000-0000-7000-9000-000000000007', 100"),
    window(&[Plain], "select id from operations where state in ('pending', 'running', 'paused', 'waiting') order by id desc", "200", 1000, "the operations that are open"),
    few(&[Plain], "coalesce(verified.differences, 0)::bigint", "{projections}"),
    few(&[Plain], "from audit_log where", "null, 100"),
    few(&[Plain], "insert into audit_log", "gen_random_uuid(), '', '', '', '', '{}'"),
    window(&[Plain], "as \"parked_oldest!\"", "'vocabulary', 'vocabulary-events', 10000", 50_000, "three counts, each of which ends at 10,000"),
    window(&[Plain], "extract(epoch from clock_timestamp() - min(event.created_at))::float8 as seconds", "'vocabulary', 1, 0, 20000, array['VocabularyItem']", 40_000, "lag looks at 20,000 positions, and at how far their aggregates are"),
    few(&[Plain], "from events where position > $1 order by position limit 1", "20000"),
    few(&[Plain], "from pg_prepared_xacts", ""),
    few(&[Plain], "insert into lag_samples", "now(), {projections}, {texts}, {ones}, {bigs}, {bigs}, array_fill(1.0::float8, array[cardinality({ones})]), {bools}, 20000"),
    few(&[Plain], "delete from lag_samples", "100, 2000000000"),
    window(&[Plain], "from lag_samples where slot between $1 and $2", "1000, 1008", 3000, "eight samples of each projection and topic"),
    few(&[Plain], "as \"held_by!: Json<Vec<Holder>>\"", "100"),
    few(&[Plain], "coalesce(session.application_name, '') as \"name!\"", "'fleet', 10, 10"),
    few(&[Plain], "as \"held!\", position, moved_at from relay_cursors", "1000"),
    few(&[Plain], "from keepers order by projection, version desc", "1000"),
    few(&[Plain], "from discarded_events as letter join operations", "null, 100"),
    few(&[Plain, Applying], "select clock_timestamp() as \"now!\"", ""),
];
