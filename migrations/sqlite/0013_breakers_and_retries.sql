-- Breakers and retries; see the migration of the same name for PostgreSQL.
create table breaker (
    rollout    integer not null references rollout (id),
    provider   text    not null check (provider in ('apns', 'fcm')),
    kind       text    not null check (kind in ('credentials', 'rejections', 'provider_down')),
    epoch      integer not null,
    reason     text    not null,
    worker     text    not null,
    tripped_at integer not null,
    mended_at  integer,
    primary key (rollout, provider)
) strict;

alter table campaign add column retry_of integer references campaign (id);
create index campaign_retries on campaign (retry_of) where retry_of is not null;
