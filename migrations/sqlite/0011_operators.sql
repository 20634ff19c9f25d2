-- Operators; see the migration of the same name for PostgreSQL.
create table operator (
    name    text    primary key,
    reads   text    not null unique,
    made_by text    not null,
    made_at integer not null
) strict;

create table operator_token (
    id           text    primary key,
    operator     text    not null references operator (name),
    hash         blob    not null check (length(hash) = 32),
    scopes       text    not null,
    second       integer not null,
    made_by      text    not null,
    made_at      integer not null,
    confirmed_by text,
    confirmed_at integer,
    expires_at   integer not null,
    revoked_by   text,
    revoked_at   integer,
    used_at      integer,
    check ((confirmed_at is null) = (confirmed_by is null)),
    check ((revoked_at is null) = (revoked_by is null))
) strict;

create index operator_token_of on operator_token (operator);

create table idempotency (
    operator text    not null references operator (name),
    key      text    not null,
    request  blob    not null check (length(request) = 32),
    at       integer not null,
    status   integer,
    answer   text,
    primary key (operator, key),
    check ((status is null) = (answer is null))
) strict;

create index idempotency_age on idempotency (at);

alter table halt add column lift_asked_by text;
