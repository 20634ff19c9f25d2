-- The ledger on SQLite: the same tables as on PostgreSQL, without partitions and roles. See there for what
-- each column means.

create table device (
    id            integer primary key autoincrement,
    bucket        integer not null check (bucket between 0 and 9999),
    public_id     blob    not null,
    user_id       text    not null,
    app           text    not null,
    platform      text    not null check (platform in ('ios', 'android')),
    environment   text    not null check (environment in ('production', 'sandbox')),
    token         text    not null,
    country       text,
    language      text,
    timezone      text,
    app_version   text,
    tags          text    not null default '[]',
    attributes    text    not null default '{}',
    last_seen_at  integer,
    registered_at integer not null,
    gone_at       integer,
    unique (bucket, id),
    unique (bucket, public_id)
) strict;

create index device_user on device (user_id, app) where gone_at is null;

create table token_owner (
    owner_key blob    primary key check (length(owner_key) = 32),
    bucket    integer not null,
    public_id blob    not null
) strict, without rowid;

create table direct_job (
    producer     text    not null,
    job_id       text    not null,
    digest       blob    not null check (length(digest) = 32),
    app          text,
    intent       text,
    at_most_once integer not null,
    job          text,
    policy       blob,
    received_at  integer not null,
    expires_at   integer not null,
    state        text    not null check (state in ('waiting', 'sending', 'finished')),
    tries        integer not null,
    due_at       integer,
    claim_until  integer,
    devices      blob    not null,
    outcomes     blob    not null,
    unreachable  integer not null,
    traceparent  text,
    finished_at  integer,
    primary key (producer, job_id),
    check (length(devices) = 24 * length(outcomes)),
    check ((state = 'finished') = (finished_at is not null)),
    check ((state = 'sending') = (claim_until is not null)),
    check ((state = 'finished') = (due_at is null))
) strict;

create index direct_job_due on direct_job (due_at) where due_at is not null;
create index direct_job_finished on direct_job (finished_at) where job is not null;

create table failure_word (
    producer text    not null,
    job_id   text    not null,
    position integer not null,
    outcome  integer not null,
    reason   text    not null,
    at       integer not null,
    primary key (producer, job_id, position)
) strict, without rowid;

create table outbox (
    seq         integer primary key autoincrement,
    routing_key text    not null,
    event       text    not null,
    lease_until integer not null default 0
) strict;

create table halt (
    scope  text    primary key check (scope = 'all' or scope like 'app:%'),
    actor  text    not null,
    reason text    not null,
    at     integer not null
) strict;

create table audit (
    seq   integer primary key,
    at    integer not null,
    actor text    not null,
    kind  text    not null,
    body  text    not null,
    prev  blob    not null check (length(prev) = 32),
    hash  blob    not null check (length(hash) = 32)
) strict;

create trigger audit_refuses_update before update on audit
begin
    select raise(abort, 'the audit is append-only: UPDATE is refused');
end;

create trigger audit_refuses_delete before delete on audit
begin
    select raise(abort, 'the audit is append-only: DELETE is refused');
end;

create table meta (
    key   text primary key,
    value text not null
) strict;
