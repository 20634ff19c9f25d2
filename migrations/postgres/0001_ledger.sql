-- The ledger on PostgreSQL. Append-only history: a file that was released is never edited.
--
-- Instants are bigint, microseconds since 1970-01-01T00:00:00Z, on both engines: one row type and one SQL
-- text serve both, and nothing depends on a session's time zone.

-- The registry ------------------------------------------------------------------------------------

create sequence device_id_seq as bigint;

create table device (
    -- hash(user) % 10000: a person's place in the rotation. First in the key, because stages are ranges of it.
    bucket        smallint not null check (bucket between 0 and 9999),
    id            bigint   not null default nextval('device_id_seq'),
    public_id     uuid     not null,
    user_id       text     not null,
    app           text     not null,
    platform      text     not null check (platform in ('ios', 'android')),
    environment   text     not null check (environment in ('production', 'sandbox')),
    token         text     not null,
    country       text,
    language      text,
    timezone      text,
    app_version   text,
    tags          text[]   not null default '{}',
    attributes    jsonb    not null default '{}',
    last_seen_at  bigint,
    registered_at bigint   not null,
    gone_at       bigint,
    primary key (bucket, id),
    unique (bucket, public_id)
) partition by range (bucket);

-- 64 partitions: a page by (bucket, id) then reads neighbouring blocks instead of one for each row.
do $$
begin
    for n in 0..63 loop
        execute format(
            'create table device_p%s partition of device for values from (%s) to (%s)',
            lpad(n::text, 2, '0'), n * 10000 / 64, (n + 1) * 10000 / 64);
    end loop;
end
$$;

-- Whom does a job ring: only live devices are ever asked for by user.
create index device_user on device (user_id, app) where gone_at is null;

alter sequence device_id_seq owned by device.id;

-- One (app, platform, environment, token) has one owner. Not partitioned, because a unique key of a
-- partitioned table must contain the bucket, and the point is to be unique across people.
create table token_owner (
    owner_key bytea    primary key check (octet_length(owner_key) = 32),
    bucket    smallint not null,
    public_id uuid     not null
);

-- The direct lane ---------------------------------------------------------------------------------

create table direct_job (
    producer     text     not null,
    job_id       text     not null,
    digest       bytea    not null check (octet_length(digest) = 32),
    app          text,
    intent       text,
    at_most_once boolean  not null,
    -- The canonical job; null once its text is forgotten (the digest stays).
    job          text,
    policy       bytea,
    received_at  bigint   not null,
    expires_at   bigint   not null,
    state        text     not null check (state in ('waiting', 'sending', 'finished')),
    -- How many tries are over.
    tries        integer  not null,
    due_at       bigint,
    claim_until  bigint,
    -- 24 bytes a device: its public id, then its row number, in the order of positions.
    devices      bytea    not null,
    -- One byte a device, by position.
    outcomes     bytea    not null,
    unreachable  integer  not null,
    traceparent  text,
    finished_at  bigint,
    primary key (producer, job_id),
    check (octet_length(devices) = 24 * octet_length(outcomes)),
    check ((state = 'finished') = (finished_at is not null)),
    check ((state = 'sending') = (claim_until is not null)),
    check ((state = 'finished') = (due_at is null))
);

-- The sweeper's question; finished jobs (nearly all) are not in it.
create index direct_job_due on direct_job (due_at) where due_at is not null;
-- Retention's question. Rows are finished in about the order in which they are stored, so a few pages do.
create index direct_job_finished on direct_job using brin (finished_at);

-- Words for the few outcomes that one byte does not explain.
create table failure_word (
    producer text     not null,
    job_id   text     not null,
    position integer  not null,
    outcome  smallint not null,
    reason   text     not null,
    at       bigint   not null,
    primary key (producer, job_id, position)
);

-- Events, halts, audit ----------------------------------------------------------------------------

create table outbox (
    seq         bigint generated always as identity primary key,
    routing_key text   not null,
    event       text   not null,
    -- A relay holds the row until then; 0 was never taken.
    lease_until bigint not null default 0
);

create table halt (
    scope  text   primary key check (scope = 'all' or scope like 'app:%'),
    actor  text   not null,
    reason text   not null,
    at     bigint not null
);

create table audit (
    seq   bigint primary key,
    at    bigint not null,
    actor text   not null,
    kind  text   not null,
    -- JSON, as text: the hash is over these bytes.
    body  text   not null,
    prev  bytea  not null check (octet_length(prev) = 32),
    hash  bytea  not null check (octet_length(hash) = 32)
);

create function audit_is_append_only() returns trigger language plpgsql as $$
begin
    raise exception 'the audit is append-only: % is refused', tg_op using errcode = 'insufficient_privilege';
end
$$;

-- For the owner too: whoever wants to rewrite the past has to disable this first, and be seen doing it.
create trigger audit_append_only before update or delete or truncate on audit
    for each statement execute function audit_is_append_only();

create table meta (
    key   text primary key,
    value text not null
);
