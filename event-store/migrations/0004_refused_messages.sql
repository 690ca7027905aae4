-- What the relay passed because the bus refuses it for good. The workers have it from the store; other consumers of the
-- topic never see it.
create table refused_messages (
    topic varchar(255) not null,
    position bigint not null,
    reason text not null,
    refused_at timestamptz not null default clock_timestamp(),
    constraint refused_messages_topic_position primary key (topic, position)
);
