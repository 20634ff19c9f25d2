-- What workers saw that must stop a rollout, for its coordinator; and campaigns that repeat what another left unsent.

-- One row a rollout and provider: the last time that a breaker tripped there.
create table breaker (
    rollout    bigint  not null references rollout (id),
    provider   text    not null check (provider in ('apns', 'fcm')),
    kind       text    not null check (kind in ('credentials', 'rejections', 'provider_down')),
    -- The run in which it was seen: a pause begins another, so that nothing is acted on twice.
    epoch      integer not null,
    -- The provider's word.
    reason     text    not null,
    worker     text    not null,
    tripped_at bigint  not null,
    -- When the provider was seen to answer again; null: what goes on is on probation.
    mended_at  bigint,
    primary key (rollout, provider)
);

grant select, insert, update on breaker to bellwether_serving;

-- The campaign whose lists this one is frozen from.
alter table campaign add column retry_of bigint references campaign (id);
create index campaign_retries on campaign (retry_of) where retry_of is not null;
