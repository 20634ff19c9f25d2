-- Who may ask the operators' API, and what a mutation was answered.

-- A person. Names that read alike are one person: `reads` is the name without case, compatibility forms and look-alikes.
create table operator (
    name    text   primary key,
    reads   text   not null unique,
    made_by text   not null,
    made_at bigint not null
);

-- A token of a person. Of the token itself only the hash is kept.
create table operator_token (
    id           text     primary key,
    operator     text     not null references operator (name),
    hash         bytea    not null check (octet_length(hash) = 32),
    scopes       text     not null,
    -- It may not be used before a second admin has confirmed it.
    second       boolean  not null,
    made_by      text     not null,
    made_at      bigint   not null,
    confirmed_by text,
    confirmed_at bigint,
    expires_at   bigint   not null,
    revoked_by   text,
    revoked_at   bigint,
    used_at      bigint,
    check ((confirmed_at is null) = (confirmed_by is null)),
    check ((revoked_at is null) = (revoked_by is null))
);

create index operator_token_of on operator_token (operator);

-- The same key and the same request have the same answer. Without one, it is under way since `at`.
create table idempotency (
    operator text     not null references operator (name),
    key      text     not null,
    request  bytea    not null check (octet_length(request) = 32),
    at       bigint   not null,
    status   smallint,
    answer   text,
    primary key (operator, key),
    check ((status is null) = (answer is null))
);

create index idempotency_age on idempotency (at);

-- The first of the two people whom lifting a halt of everything needs.
alter table halt add column lift_asked_by text;

grant select, insert, update on operator, operator_token to bellwether_serving;
grant select, insert, update, delete on idempotency to bellwether_serving;
