-- Health; see the migration of the same name for PostgreSQL.
create table breaker_now (
    rollout    integer not null references rollout (id),
    provider   text    not null check (provider in ('apns', 'fcm')),
    kind       text    not null check (kind in ('credentials', 'rejections', 'provider_down', 'health')),
    epoch      integer not null,
    reason     text    not null,
    worker     text    not null,
    tripped_at integer not null,
    mended_at  integer,
    primary key (rollout, provider)
) strict;

insert into breaker_now select rollout, provider, kind, epoch, reason, worker, tripped_at, mended_at from breaker;
drop table breaker;
alter table breaker_now rename to breaker;

create table downstream (
    rollout        integer not null references rollout (id),
    name           text    not null,
    seen           text    not null,
    stale_after_ms integer not null check (stale_after_ms > 0),
    primary key (rollout, name)
) strict;
