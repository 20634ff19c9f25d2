-- Steering; see the migration of the same name for PostgreSQL.
alter table campaign add column requester text;

alter table rollout add column pause text
    check (pause in ('manual', 'gate', 'inconclusive', 'no_data', 'credentials', 'provider_down'));
alter table rollout add column held text check (held in ('start', 'running', 'baking'));
alter table rollout add column started integer not null default true;
alter table rollout add column promoted integer not null default false;
alter table rollout add column people integer not null default 0 check (people >= 0);
alter table rollout add column barred text not null default '[]';
alter table rollout add column approved text not null default '[]';
alter table rollout add column approvals_until integer;
alter table rollout add column policy blob check (length(policy) = 32);
alter table rollout add column sends integer not null generated always as
    (state in ('running', 'baking') or (state = 'paused' and pause is 'gate')) virtual;

create table approval (
    rollout   integer not null references rollout (id),
    operator  text   not null,
    at        integer not null,
    digest    blob   not null check (length(digest) = 32),
    reason    text,
    until     integer not null,
    voided_at integer,
    voided_by text,
    primary key (rollout, operator, at),
    check ((voided_at is null) = (voided_by is null))
) strict;

create unique index approval_holds on approval (rollout, operator) where voided_at is null;
