-- Health: a worker that sees evidence cross its bound says so, because what crossed once counts, whatever comes after it.
alter table breaker drop constraint breaker_kind_check;
alter table breaker add constraint breaker_kind_check
    check (kind in ('credentials', 'rejections', 'provider_down', 'health'));

-- What was seen of the numbers of our own systems that a rollout is watched by: whoever coordinates next goes on from there.
create table downstream (
    rollout        bigint not null references rollout (id),
    name           text   not null,
    -- As JSON; see src/rollout/downstream.
    seen           text   not null,
    -- How old a number may be, in milliseconds.
    stale_after_ms bigint not null check (stale_after_ms > 0),
    primary key (rollout, name)
);

grant select, insert, update on downstream to bellwether_serving;
